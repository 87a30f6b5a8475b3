"""Species files: what is written is read, what is damaged is refused with a remedy."""

import json
import struct

import numpy as np
import pytest

from performer.generators import checkpoint as species
from performer.generators import family
from performer.generators.checkpoint import Checkpoint, CheckpointError
from performer.generators.embryo import tensors as make_embryo
from tests.conftest import EMBRYO, small_stylegan2


def saved(checkpoint: Checkpoint, path, **changed):
    arguments = {
        "family": checkpoint.family,
        "sizes": checkpoint.sizes,
        "provenance": checkpoint.provenance,
        "tensors": checkpoint.tensors,
    }
    species.save(path, **(arguments | changed))
    return path


def test_round_trip_keeps_everything(tmp_path, stylegan2):
    got = species.load(saved(stylegan2, tmp_path / "small.safetensors"))
    assert (got.family, got.sizes, got.provenance) == (stylegan2.family, stylegan2.sizes, stylegan2.provenance)
    assert got.tensors.keys() == stylegan2.tensors.keys()
    for key, tensor in stylegan2.tensors.items():
        assert got.tensors[key].shape == tensor.shape, key  # scalars stay scalars
        assert (got.tensors[key] == tensor).all()


def test_same_species_gives_same_bytes(tmp_path, stylegan2):
    first, second = saved(stylegan2, tmp_path / "a"), saved(stylegan2, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert species.load(first).content_hash == species.load(second).content_hash


def test_the_embryo_can_be_made_again(embryo):
    """Within a step of half precision: other processors add in another order."""
    made = make_embryo()
    assert made.keys() == embryo.tensors.keys()
    for key, tensor in made.items():
        assert tensor == pytest.approx(embryo.tensors[key], rel=2e-3, abs=1e-4), key


def test_the_embryo_says_that_it_is_untrained(embryo):
    assert embryo.provenance.name == "embryo"
    assert not embryo.provenance.trained
    assert embryo.provenance.licence


@pytest.mark.parametrize("kept", [0, 4, 100, 20_000])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(EMBRYO.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors.*cut short.*again"):
        species.load(path)


def test_a_file_that_lies_about_its_size_is_refused(tmp_path):
    path = tmp_path / "lie.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match=r"lie\.safetensors"):
        species.load(path)


def test_weights_that_are_not_numbers_are_refused(tmp_path, stylegan2):
    tensors = dict(stylegan2.tensors)
    tensors["synthesis.b8.conv0.bias"] = np.full_like(tensors["synthesis.b8.conv0.bias"], np.nan)
    path = saved(stylegan2, tmp_path / "nan.safetensors", tensors=tensors)
    with pytest.raises(CheckpointError, match=r"synthesis\.b8\.conv0\.bias.*NaN"):
        species.load(path)


def test_a_stranger_is_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "lora.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="another program"):
        species.load(path)
    with pytest.raises(CheckpointError, match="no such file"):
        species.load(tmp_path / "nothing.safetensors")


def test_a_missing_or_misshapen_tensor_is_named():
    checkpoint = small_stylegan2(seed=9)
    del checkpoint.tensors["synthesis.b8.conv1.affine.weight"]
    with pytest.raises(CheckpointError, match=r"b8\.conv1\.affine\.weight is missing"):
        family.build(checkpoint)
    checkpoint = small_stylegan2(seed=9)
    checkpoint.tensors["synthesis.b8.conv1.affine.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(CheckpointError, match=r"has shape \[2, 2\]; expected \[8, 24\]"):
        family.build(checkpoint)


def test_an_unknown_family_is_named(stylegan2):
    from dataclasses import replace

    with pytest.raises(
        CheckpointError, match=r"'styledragon' is unknown; expected one of .*light, .*stylegan2, stylegan3"
    ):
        family.build(replace(stylegan2, family="styledragon"))
