"""What tests of engines share: a card and a TensorRT on the host."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def card() -> Iterator:
    """A card on the host."""
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings, for their codes and handles")
    from tests.rig.cuda import host_card

    with host_card() as made:
        yield made


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def library(request: pytest.FixtureRequest, card) -> Iterator:
    """TensorRT of either kind on it."""
    from tests.generators import graphs
    from tests.rig.tensorrt import host_tensorrt

    with host_tensorrt(request.param, card) as made, graphs.remembered():
        yield made
