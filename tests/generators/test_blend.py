"""Siblings in one network: layer by layer, any network between them."""

import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from performer.generators import network
from performer.generators.checkpoint import Checkpoint, stranger
from performer.generators.mapping import Mapping
from tests.foreign import generators as small
from tests.generators.latents import sibling_of
from tests.generators.test_networks import imported
from tests.generators.test_parity import reference


def row_of(key: str, checkpoint: Checkpoint) -> int:
    """The row of ws of a checkpoint's tensor, told by its name alone."""
    last = checkpoint.sizes.num_ws - 1
    if match := re.match(r"synthesis\.L(\d+)_", key):
        return int(match[1]) + 1
    if match := re.match(r"synthesis\.b(\d+)\.(\w+)", key):
        level, part = int(match[1]).bit_length() - 3, match[2]
        if part == "torgb" and checkpoint.options.get("architecture", "skip") != "skip":
            return last
        return max(
            {"const": 0, "conv0": 2 * level - 1, "skip": 2 * level - 1, "conv1": 2 * level}.get(part, 2 * level + 1), 0
        )
    return last if key.startswith("synthesis.head") else 0


def interpolated(chain: Sequence[Checkpoint], blend: np.ndarray) -> Checkpoint:
    """The species whose every tensor lies between those of two neighbours in a chain."""
    tensors = {}
    for key in chain[0].tensors:
        place = blend[row_of(key, chain[0])] * (len(chain) - 1)
        before = min(int(place), len(chain) - 2)
        first, second = (each.tensors[key] for each in chain[before : before + 2])
        part = place - before
        tensors[key] = np.asarray(first * (1 - part) + second * part, np.float32)
    return replace(chain[0], tensors=tensors)


def signal(net: network.PictureNetwork, seed: int, **given: torch.Tensor) -> np.ndarray:
    """The picture before quantisation, of seeded latents, with other inputs as given."""
    latent = dict(zip(net.inputs, net.examples(), strict=True))
    latent["ws"] = torch.randn(latent["ws"].shape, generator=torch.Generator().manual_seed(seed)) * 0.7
    with torch.inference_mode():
        return net.signal(*(latent | {k: v for k, v in given.items() if k in latent}).values()).numpy()


def species(name: str, request: pytest.FixtureRequest) -> Checkpoint:
    if name in ("orig", "resnet"):
        options = {"architecture": name}
        return imported(small.stylegan2(architecture=name), options)
    return request.getfixturevalue("embryo") if name == "embryo" else reference(name)[0]


@pytest.mark.parametrize("name", ["sg2_64", "sg3t_64", "sg3r_64", "embryo", "orig", "resnet"])
def test_a_blend_is_the_network_with_interpolated_weights(name, request):
    """The claim of the whole thing, for random blends of each layer: within 1e-4 before quantisation."""
    first = species(name, request)
    second = sibling_of(first)
    pair = network.build(first, [second])
    rng = np.random.default_rng(2)
    for trial in range(3):
        blend = rng.random(first.sizes.num_ws).astype(np.float32)
        expected = signal(network.build(interpolated((first, second), blend)), trial)
        got = signal(pair, trial, blend=torch.from_numpy(blend))
        assert np.abs(got - expected).max() <= 1e-4
        assert np.abs(got - signal(network.build(first), trial)).max() > 0.01


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("name", ["sg2_64", "sg3t_64", "embryo"])
def test_between_neighbours_a_chain_is_the_network_with_interpolated_weights(name, count, request):
    """With layers on both sides of a species in the middle, and at places of their own."""
    first = species(name, request)
    chain = [first, *(sibling_of(first, seed=seed) for seed in range(1, count))]
    net = network.build(first, chain[1:])
    blends = [np.random.default_rng(2).random(first.sizes.num_ws), np.linspace(0, 1, first.sizes.num_ws)]
    for trial, blend in enumerate(np.asarray(blends, np.float32)):
        expected = signal(network.build(interpolated(chain, blend)), trial)
        got = signal(net, trial, blend=torch.from_numpy(blend))
        assert np.abs(got - expected).max() <= 1e-4


def test_where_a_species_stands_a_chain_is_that_one_to_the_bit(stylegan2):
    chain = [stylegan2, sibling_of(stylegan2, seed=1), sibling_of(stylegan2, seed=2)]
    net = network.build(chain[0], chain[1:])
    pictures = [signal(net, 3, blend=torch.full((stylegan2.sizes.num_ws,), part)) for part in (0.0, 0.5, 1.0)]
    for picture, alone in zip(pictures, chain, strict=True):
        assert (picture == signal(network.build(alone), 3)).all()


def test_of_two_the_mix_is_a_weighted_mean_to_the_bit(stylegan2):
    second = sibling_of(stylegan2)
    net = network.build(stylegan2, [second])
    alone = [dict(network.build(each).named_parameters()) for each in (stylegan2, second)]
    blend = torch.tensor([0.0, 1e-12, 0.3, 0.7, float(np.nextafter(np.float32(1), np.float32(0))), 1.0])
    seen = 0
    with net.blended.at(blend):
        for module, name, row in net.blended._places:
            (path,) = [path for path, each in net.named_modules() if each is module]
            if f"{path}.{name}" in alone[0]:
                one, other = (each[f"{path}.{name}"] for each in alone)
                assert torch.equal(getattr(module, name), one * (1 - blend[row]) + other * blend[row])
                seen += 1
    assert seen > 20


def test_what_all_siblings_share_is_kept_once(stylegan2):
    """And what one of them has changed, once for each."""
    key = "synthesis.b8.conv1.bias"
    third = replace(stylegan2, tensors={**stylegan2.tensors, key: stylegan2.tensors[key] + 1})
    net = network.build(stylegan2, [stylegan2, third])
    assert [len(each) for each in net.blended.tensors] == [1, 1, 1]


def test_siblings_in_half_precision_are_of_one_scale(stylegan2):
    """Of the largest of all, not of the first and the last."""
    louder = {key: tensor * 50 for key, tensor in stylegan2.tensors.items() if key.endswith("conv1.weight")}
    loud = replace(stylegan2, tensors=stylegan2.tensors | louder)
    chain = [stylegan2, loud, sibling_of(stylegan2)]
    single, half = (network.build(chain[0], chain[1:], half=half) for half in (False, True))
    for part in (0.25, 0.5, 0.9):
        blend = torch.full((stylegan2.sizes.num_ws,), part)
        assert signal(half, 1, blend=blend) == pytest.approx(signal(single, 1, blend=blend), abs=0.05)


def test_a_pair_can_be_drawn_again_and_again(stylegan2):
    """What is mixed for one picture is gone before the next."""
    pair = network.build(stylegan2, [sibling_of(stylegan2)])
    blends = [torch.full((stylegan2.sizes.num_ws,), part) for part in (0.2, 0.8, 0.2)]
    first, other, again = (signal(pair, 3, blend=blend) for blend in blends)
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("label", [None, "embed", "concat", "table"])
def test_mappings_between_siblings_have_interpolated_weights(label):
    first = imported(small.stylegan2(c_dim=3, label=label) if label else small.stylegan2(), _labelled(label))
    second = sibling_of(first)
    mappings = [Mapping(each, label=1 if label else 0) for each in (first, second)]
    z = np.random.default_rng(0).standard_normal((5, first.sizes.z_dim)).astype(np.float32)
    for part in (0.0, 0.3, 1.0):
        between = interpolated((first, second), np.full(first.sizes.num_ws, part, np.float32))
        expected = Mapping(between, label=1 if label else 0).w_from_z(z)
        assert mappings[0].w_between(mappings[1], z, part) == pytest.approx(expected, abs=1e-5)


def _labelled(label: str | None) -> dict:
    return {} if label is None else {"label": label, "c_dim": 3}


def test_siblings_are_of_one_family_and_shape(stylegan2, embryo):
    assert stranger(stylegan2, sibling_of(stylegan2)) == ""
    assert "stylegan2 and light are different families" in stranger(stylegan2, embryo)
    large = replace(stylegan2, sizes=msgspec.structs.replace(stylegan2.sizes, height_px=32, width_px=32))
    assert stranger(stylegan2, large) == "one draws 16x16 px, the other 32x32 px"
    deep = replace(stylegan2, sizes=msgspec.structs.replace(stylegan2.sizes, z_dim=9))
    assert stranger(stylegan2, deep) == "their layers or latents differ in number"
    key = "synthesis.b8.conv1.bias"
    narrow = replace(stylegan2, tensors={**stylegan2.tensors, key: np.zeros(3, np.float32)})
    assert f"tensor {key} has shape" in stranger(stylegan2, narrow)
    other = replace(stylegan2, options={"architecture": "resnet"})
    assert stranger(stylegan2, other) == "they differ in architecture"
