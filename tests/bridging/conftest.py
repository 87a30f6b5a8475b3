"""What the tests of bridges share: two small species as files, which differ in size and in the width of w."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from performer.generators import checkpoint as species
from performer.generators.checkpoint import Checkpoint
from tests.conftest import small_stylegan2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small are drawn sooner by one thread, and sums come out the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two species that are no siblings: 16 px with w of 24 numbers, and 32 px with w of 16."""
    folder = tmp_path_factory.mktemp("species")
    paths = folder / "moth.safetensors", folder / "fern.safetensors"
    species.write(paths[0], small_stylegan2(resolution=16, w_dim=24, seed=3))
    species.write(paths[1], small_stylegan2(resolution=32, w_dim=16, seed=4))
    return paths


@pytest.fixture(scope="session")
def pair(files: tuple[Path, Path]) -> tuple[Checkpoint, Checkpoint]:
    """The same, loaded."""
    return species.load(files[0]), species.load(files[1])
