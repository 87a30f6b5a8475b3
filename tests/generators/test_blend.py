"""Two siblings in one network: layer by layer, any network between them."""

import re
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


def interpolated(first: Checkpoint, second: Checkpoint, blend: np.ndarray) -> Checkpoint:
    """The species whose every tensor lies between those of two."""
    tensors = {}
    for key, tensor in first.tensors.items():
        part = blend[row_of(key, first)]
        tensors[key] = np.asarray(tensor * (1 - part) + second.tensors[key] * part, np.float32)
    return replace(first, tensors=tensors)


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
        expected = signal(network.build(interpolated(first, second, blend)), trial)
        got = signal(pair, trial, blend=torch.from_numpy(blend))
        assert np.abs(got - expected).max() <= 1e-4
        assert np.abs(got - signal(network.build(first), trial)).max() > 0.01


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
        between = interpolated(first, second, np.full(first.sizes.num_ws, part, np.float32))
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
