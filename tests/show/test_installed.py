"""Which performer is tested: the checkout's, or the wheel's with its bundled files."""

import os
from pathlib import Path

import performer
from performer import resources


def test_the_program_under_test_is_the_one_that_is_meant():
    package = Path(performer.__file__).resolve().parent
    wheel = os.environ.get("PERFORMER_TEST_WHEEL")
    if wheel:
        assert package.parent == Path(wheel).resolve()
        assert package / "bundled" == resources.ROOT
    else:
        assert package.parent == Path(__file__).resolve().parents[2] == resources.ROOT
    for folder, pattern in (
        (resources.SHADERS, "*.fs"),
        (resources.SETLISTS, "*.toml"),
        (resources.MAPPINGS, "*.toml"),
        (resources.CHECKPOINTS, "*.safetensors"),
    ):
        assert list(folder.glob(pattern)), folder
