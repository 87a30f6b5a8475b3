"""What tests of engines share: a card and a TensorRT on the host."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """A card on the host."""
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings, for their codes and handles")
    from tests.rig.cuda import host_card

    with host_card(monkeypatch) as made:
        yield made


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, card):
    """TensorRT of either kind on it."""
    from tests.generators import graphs
    from tests.rig.tensorrt import host_tensorrt

    graphs.remember(monkeypatch)
    return host_tensorrt(request.param, card, monkeypatch)
