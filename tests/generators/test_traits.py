"""Traits: found by the formulas, kept in the species, and moved by one knob each."""

from dataclasses import replace

import numpy as np
import pytest

from performer.flow import GROUP_NAMES
from performer.generators import checkpoint as species
from performer.generators import traits
from performer.generators.checkpoint import CheckpointError
from performer.generators.mapping import Mapping
from tests.conftest import small_stylegan2


@pytest.fixture(scope="module")
def found():
    checkpoint = small_stylegan2(resolution=32)
    checkpoint = replace(checkpoint, sizes=species.Sizes(**_sizes(checkpoint) | {"coarse": 3, "middle": 5}))
    names, directions = traits.find(checkpoint, count=6)
    return checkpoint, names, directions


def _sizes(checkpoint) -> dict:
    return {name: getattr(checkpoint.sizes, name) for name in checkpoint.sizes.__struct_fields__}


def test_ganspace_is_the_principal_components_of_w(found):
    checkpoint, names, directions = found
    assert names[:6] == tuple(f"ganspace {n}" for n in range(1, 7))
    mapping = Mapping(checkpoint)
    rng = np.random.default_rng(99)  # other animals than those that the traits were found with
    w = np.stack([mapping.w_from_z(z) for z in rng.standard_normal((6000, mapping.z_dim), np.float32)])
    centred = w - w.mean(0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    spread = spread / np.sqrt(len(w))
    first = directions[0, 0]
    assert (directions[0] == first).all(), "it acts on all layers alike"
    assert abs(first @ axes[0]) / np.linalg.norm(first) > 0.98
    for trait, expected in zip(directions[:6, 0], spread, strict=False):
        assert np.linalg.norm(trait) == pytest.approx(expected, rel=0.1), "one is one standard deviation"


def test_sefa_is_what_styles_react_to_most_in_one_group_alone(found):
    checkpoint, names, directions = found
    assert names[6:] == tuple(f"sefa {group} {rank}" for rank in (1, 2) for group in GROUP_NAMES)
    rng = np.random.default_rng(1)
    layers = {  # rows 0..2, 3..4 and 5..6 of ws
        0: ["b4.conv1", "b8.conv0", "b8.conv1"],
        1: ["b16.conv0", "b16.conv1"],
        2: ["b32.conv0", "b32.conv1"],
    }
    for group, names_of_layers in layers.items():
        direction = directions[6 + group]
        assert (np.delete(direction, group, axis=0) == 0).all()
        weights = [checkpoint.tensors[f"synthesis.{layer}.affine.weight"] for layer in names_of_layers]
        rows = np.concatenate([weight / np.linalg.norm(weight, axis=1, keepdims=True) for weight in weights])
        unit = direction[group] / np.linalg.norm(direction[group])
        others = rng.standard_normal((2000, len(unit)))
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        assert np.linalg.norm(rows @ unit) > np.linalg.norm(rows @ others.T, axis=0).max()
        second = directions[9 + group][group]
        assert abs(second @ unit) < 1e-4 * np.linalg.norm(second)


def test_the_same_species_has_the_same_traits(found):
    checkpoint, names, directions = found
    again = traits.find(checkpoint, count=6)
    assert again[0] == names and (again[1] == directions).all()


def test_traits_are_kept_in_the_species(found, tmp_path):
    checkpoint, names, directions = found
    arguments = {
        "family": checkpoint.family,
        "sizes": checkpoint.sizes,
        "provenance": checkpoint.provenance,
        "tensors": checkpoint.tensors,
    }
    path = tmp_path / "kept.safetensors"
    species.save(path, **arguments, traits=names, trait_directions=directions)
    kept = species.load(path)
    assert kept.traits == names and (kept.trait_directions == directions).all()
    assert kept.tensors.keys() == checkpoint.tensors.keys()
    species.save(path, **arguments, traits=names, trait_directions=directions[:2])
    with pytest.raises(CheckpointError, match="its traits are damaged"):
        species.load(path)


def test_a_species_without_w_is_refused():
    checkpoint = small_stylegan2()
    tensors = {key: value for key, value in checkpoint.tensors.items() if not key.startswith("mapping.")}
    with pytest.raises(CheckpointError, match="family fastgan has no w"):
        traits.find(replace(checkpoint, family="fastgan", tensors=tensors), count=3)
