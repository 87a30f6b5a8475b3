"""What the tests of foreign files share."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from performer.generators.foreign import Foreign, read


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Foreign]:
    """Write bytes to a file and read it, and check what holds for every foreign generator."""

    def write_and_read(raw: bytes, name: str = "network.bin") -> Foreign:
        path = tmp_path / name
        path.write_bytes(raw)
        foreign = read(path)
        for key, tensor in foreign.tensors.items():
            assert tensor.dtype == np.float32, key
            assert tensor.flags.c_contiguous, key
            assert np.isfinite(tensor).all(), key
        assert json.loads(json.dumps(foreign.options)) == foreign.options
        return foreign

    return write_and_read


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """The same keys, shapes and bits."""
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].shape == value.shape, key  # scalars stay scalars
        assert (got[key] == value).all(), key
