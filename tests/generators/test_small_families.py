"""FastGAN, projected GAN, and lucidrains' two: against pictures that the original implementations drew."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from performer.generators import family, fastgan, lightweight, lucidrains, projected
from performer.generators.checkpoint import Checkpoint, CheckpointError, Provenance
from performer.generators.network import build as picture_network
from tests.generators.latents import noise_of, sibling_of

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
TOLERANCE = 1e-5  # of the largest value
CROP_PX = 128  # of the pictures kept of the 256 px sets
UNUSED = ("to_128.", "mapping.", ".f")  # what a picture does not depend on


def spectral_norms_folded(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """W / (u^T W v) under X.weight, as an importer leaves it."""
    folded = {}
    for key, value in stored.items():
        if key.endswith("weight_orig"):
            matrix = value.swapaxes(0, 1) if "init.init.0" in key else value
            matrix = matrix.reshape(matrix.shape[0], -1).astype(np.float64)
            prefix = key.removesuffix("orig")
            folded[key.removesuffix("_orig")] = value / (stored[f"{prefix}u"] @ matrix @ stored[f"{prefix}v"])
        elif not key.endswith(("weight_u", "weight_v", "num_batches_tracked")):
            folded[key] = value
    return {key: np.asarray(value, np.float32) for key, value in folded.items()}


def species_of(name: str, tensors: dict[str, np.ndarray], options: dict[str, Any] | None = None) -> Checkpoint:
    return Checkpoint(
        family=name,
        sizes=family.families()[name].sizes_of(tensors, options or {}),
        provenance=Provenance(name=name, origin="random", licence="", trained=False),
        tensors=tensors,
        content_hash="",
        options=options or {},
    )


def reference(name: str, file: str, prefixes: dict[str, str]) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    tensors = {}
    for key, value in spectral_norms_folded(load_file(REFERENCE / f"{file}.safetensors")).items():
        old = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
        tensors[prefixes.get(old, "") + key.removeprefix(old)] = value
    with np.load(REFERENCE / f"{file}.npz") as arrays:
        return species_of(name, tensors), dict(arrays)


# Family, file, and how its names become ours.
REFERENCES = {
    "fastgan": ("fastgan", "fastgan_256", {"module.": ""}),
    "projected": ("projected", "pg_fastgan_lite_cond_256", {}),
    "lucidrains": ("lucidrains", "lucid_sg2_32", {"GE.": "synthesis.", "SE.": "mapping."}),
    "lightweight": ("lightweight", "lwgan_64_fca", {"GE.": ""}),
}


@pytest.fixture(scope="module")
def fast():
    return reference(*REFERENCES["fastgan"])


@pytest.fixture(scope="module")
def lite():
    return reference(*REFERENCES["projected"])


@pytest.fixture(scope="module")
def lucid():
    return reference(*REFERENCES["lucidrains"])


@pytest.fixture(scope="module")
def light_gan():
    return reference(*REFERENCES["lightweight"])


@pytest.fixture(params=["fast", "lite", "lucid", "light_gan"])
def any_species(request: pytest.FixtureRequest) -> Checkpoint:
    return request.getfixturevalue(request.param)[0]


def drawn(network: nn.Module, ws: Tensor, noise: Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(ws, noise).numpy()


def some_ws(species: Checkpoint) -> Tensor:
    """One z or w, and the first label where there are labels."""
    sizes = species.sizes
    ws = torch.randn(1, sizes.num_ws, sizes.w_dim, generator=torch.Generator().manual_seed(1))
    if sizes.classes:
        ws[:, 1] = torch.eye(sizes.w_dim)[0]
    return ws


def assert_same_picture(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_fastgan_draws_the_reference(fast):
    species, arrays = fast
    image = drawn(family.build(species), torch.from_numpy(arrays["z"])[:, None], noise_of(6, 0.0))
    assert image.shape == (2, 3, 256, 256)
    assert_same_picture(image[:, :, :CROP_PX, :CROP_PX], arrays["img_eval_nonoise"])


def test_projected_draws_the_reference_of_each_label(lite):
    species, arrays = lite
    ws = torch.zeros(2, 2, 256)
    ws[:, 0] = torch.from_numpy(arrays["z"])
    ws[:, 1, :7] = torch.from_numpy(arrays["c"])
    image = drawn(family.build(species), ws, noise_of(0))
    assert image.shape == (2, 3, 256, 256)
    assert_same_picture(image[:, :, :CROP_PX, :CROP_PX], arrays["img_nonoise"])


@pytest.mark.parametrize(("name", "psi"), [("img", 1.0), ("img_psi07", 0.7)])
def test_lucidrains_draws_the_reference(lucid, name, psi):
    species, arrays = lucid
    network = family.build(species)
    picture = torch.from_numpy(arrays["noise"]).permute(0, 3, 2, 1)  # theirs comes with height and width swapped
    for layer in range(species.sizes.noise_layers):
        size_px = 4 << (layer // 2)
        maps = getattr(network, f"noise_{layer}").repeat(1, len(picture), 1, 1, 1)
        maps[0] = picture[:, :, :size_px, :size_px] - 0.5  # kept about 0
        setattr(network, f"noise_{layer}", maps)
    w = torch.from_numpy(arrays["w_mean"] + psi * (arrays["w"] - arrays["w_mean"]))
    image = drawn(network, w[:, None].repeat(1, 4, 1), noise_of(8))
    assert_same_picture((image + 1) / 2, arrays[name])


@pytest.mark.parametrize(("name", "gain"), [("img", 1.0), ("img_nonoise", 0.0)])
def test_lightweight_draws_the_reference(light_gan, name, gain):
    species, arrays = light_gan
    network = family.build(species)
    for layer in range(species.sizes.noise_layers):
        theirs = torch.from_numpy(arrays[f"noise{layer}"])
        maps = getattr(network, f"noise_{layer}").repeat(1, len(theirs), 1, 1, 1)
        maps[0] = theirs
        setattr(network, f"noise_{layer}", maps)
    image = drawn(network, torch.from_numpy(arrays["z"])[:, None], noise_of(4, gain))
    assert_same_picture((image + 1) / 2, arrays[name])


def as_projected(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """FastGAN's tensors in the layout of projected GAN, whole and without labels."""
    renamed = {f"synthesis.{key}": value for key, value in tensors.items()}
    return renamed | {"synthesis.to_big.bias": np.zeros(3, np.float32)}


def as_conditional(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`as_projected` with labels that change nothing: every normalisation keeps its gain and shift in the biases."""
    result = {"synthesis.embed.weight": np.ones((5, 6), np.float32)}
    conv_names = {"1": "conv1", "3": "bn1", "5": "conv2", "7": "bn2"}
    for key, value in tensors.items():
        _, block, number, name = (*key.split("."), "")[:4]
        if not block.startswith("feat_"):
            result[key] = value
            continue
        whole = f"synthesis.{block}.3.weight" in tensors
        part = conv_names.get(number) if whole else {"1": "conv", "2": "bn"}[number]
        if part is None:
            result[f"synthesis.{block}.noise.weight"] = value
        elif part.startswith("conv"):
            result[f"synthesis.{block}.{part}.weight"] = value
        else:
            norm = f"synthesis.{block}.{part}"
            if name.startswith("running"):
                result[f"{norm}.{name.replace('running', 'stored')}"] = value
            else:
                driven, offset = ("gain", 1) if name == "weight" else ("bias", 0)
                result[f"{norm}.{driven}.bias"] = value - offset
                result[f"{norm}.{driven}.weight"] = np.zeros((len(value), 6), np.float32)
    return result


@pytest.mark.parametrize("conditional", [False, True])
def test_whole_projected_is_fastgan_of_a_normalised_z(fast, conditional):
    species, arrays = fast
    tensors = {key: np.float32([0.3]) if value.shape == (1,) else value for key, value in species.tensors.items()}
    z, gains = torch.from_numpy(arrays["z"]), noise_of(6, torch.linspace(0.5, 1, 6))
    unit = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    expected = drawn(fastgan.build(replace(species, tensors=tensors)), unit[:, None], gains)
    renamed = as_projected(tensors)
    ws = z[:, None]
    if conditional:
        renamed = as_conditional(renamed)
        ws = torch.stack([z, torch.eye(256)[[0, 4]]], dim=1)
    assert_same_picture(drawn(projected.build(species_of("projected", renamed)), ws, gains), expected)


def test_labels_blend(lite):
    """Halfway between two labels every normalisation is halfway, which only the tables of a label can do."""
    species, arrays = lite
    ws = torch.zeros(3, 2, 256)
    ws[:, 0] = torch.from_numpy(arrays["z"][0])
    ws[0, 1, 2] = ws[1, 1, 5] = 1
    ws[2] = (ws[0] + ws[1]) / 2
    first, second, blend = drawn(projected.build(species), ws, noise_of(0))
    assert np.abs(first - second).max() > 0.01
    assert 0 < np.abs(blend - first).max() < np.abs(second - first).max()


def test_blocks_above_the_resolution_are_left_out(lite):
    species, _ = lite
    sizes = projected.sizes_of(species.tensors, {"resolution": 128})
    assert (sizes.height_px, sizes.width_px) == (128, 128)


def test_more_labels_than_numbers_in_z_widen_the_rows(lite):
    species, _ = lite
    many = np.zeros((300, 256), np.float32)
    sizes = projected.sizes_of({**species.tensors, "synthesis.embed.weight": many}, {})
    assert (sizes.z_dim, sizes.w_dim, sizes.classes, sizes.num_ws) == (256, 300, 300, 2)


def test_only_the_largest_fastgan_is_limited(fast):
    species, _ = fast
    extended = dict(species.tensors)
    for px in (512, 1024):  # continued with copies of the last block
        for part in ("1.weight", "2.weight", "2.bias", "2.running_mean", "2.running_var"):
            value = species.tensors[f"feat_256.{part}"]
            extended[f"feat_{px}.{part}"] = value[:, :4] if value.ndim == 4 else value
    extended["se_512.main.1.weight"] = np.zeros((4, 16, 4, 4), np.float32)
    extended["se_512.main.3.weight"] = np.zeros((4, 4, 1, 1), np.float32)
    extended["to_big.weight"] = species.tensors["to_big.weight"] * 1000
    large = species_of("fastgan", extended)
    assert large.sizes.resolution == 1024
    assert np.abs(drawn(fastgan.build(large), some_ws(large), noise_of(6))).max() == 1
    loud = replace(species, tensors={**species.tensors, "to_big.weight": extended["to_big.weight"]})
    assert np.abs(drawn(fastgan.build(loud), some_ws(loud), noise_of(6))).max() > 1


def test_grey_pictures_come_out_as_rgb(light_gan):
    species, _ = light_gan
    grey = {**species.tensors, **{key: species.tensors[key][:1] for key in ("out_conv.weight", "out_conv.bias")}}
    image = drawn(lightweight.build(species_of("lightweight", grey)), some_ws(species), noise_of(4))
    assert image.shape == (1, 3, 64, 64)
    assert (image == image[:, :1]).all()


def test_every_noise_gain_reaches_the_picture(any_species):
    network, ws = family.build(any_species), some_ws(any_species)
    layers = any_species.sizes.noise_layers
    silent = drawn(network, ws, noise_of(layers, 0.0))
    seen = [silent]
    for layer in range(layers):
        for which in range(3):
            gains = torch.zeros(layers, 3)
            gains[layer, which] = 1
            seen.append(drawn(network, ws, gains))
    assert len({image.tobytes() for image in seen}) == 1 + 3 * layers
    assert np.array_equal(drawn(network, ws, noise_of(layers)), drawn(family.build(any_species), ws, noise_of(layers)))
    for layer in range(layers):
        maps = getattr(network, f"noise_{layer}")
        maps[0].fill_(-0.5 if any_species.family == "lucidrains" else 0.0)  # the nothing of a noise of 0..1
    assert np.array_equal(drawn(network, ws, noise_of(layers)), silent)


def test_a_missing_tensor_is_refused_by_name(any_species):
    for key in any_species.tensors:
        if any(part in key if part.endswith(".") else key.endswith(part) for part in UNUSED):
            continue
        rest = {name: value for name, value in any_species.tensors.items() if name != key}
        with pytest.raises(CheckpointError, match=r"tensor [\w.]+ (is missing|has shape .*); expected .*\[") as refusal:
            family.build(replace(any_species, tensors=rest))
        assert key.rsplit(".", 1)[0] in str(refusal.value)


def test_a_misshapen_tensor_is_refused_by_name(any_species):
    for key, value in any_species.tensors.items():
        if any(part in key if part.endswith(".") else key.endswith(part) for part in UNUSED):
            continue
        bent = {**any_species.tensors, key: value[None]}
        with pytest.raises(CheckpointError, match=r"has shape \[1, .*; expected \[") as refusal:
            family.build(replace(any_species, tensors=bent))
        assert f"tensor {key} has" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("fastgan", "feat_8.1.weight"),
        ("projected", "synthesis.feat_8.1.weight"),
        ("lucidrains", "synthesis.blocks.0.to_style1.weight"),
        ("lightweight", "initial_conv.0.weight"),
    ],
)
def test_sizes_refuse_what_is_not_of_the_family(name, tensor):
    with pytest.raises(CheckpointError, match=rf"tensor {re.escape(tensor)} is missing; expected shape \["):
        family.families()[name].sizes_of({}, {})


@pytest.mark.parametrize(
    ("fixture", "extra", "sentence"),
    [
        ("lucid", "synthesis.attns.2.0.fn.to_q.weight", r"attention \(synthesis\.attns\)"),
        ("light_gan", "layers.1.1.net.0.weight", r"a gate \(layers\.1\.1\)"),
        ("light_gan", "layers.3.2.fn.to_q.weight", r"attention \(layers\.3\.2\)"),
    ],
)
def test_what_could_not_be_checked_is_refused(request, fixture, extra, sentence):
    species, _ = request.getfixturevalue(fixture)
    with pytest.raises(CheckpointError, match=sentence):
        family.build(replace(species, tensors={**species.tensors, extra: np.zeros((1, 1), np.float32)}))


@pytest.mark.parametrize(
    ("fixture", "key", "build"),
    [
        ("lucid", "to_rgb.conv.weight", lucidrains.build),
        ("light_gan", "out_conv", lightweight.build),
    ],
)
def test_pictures_of_two_channels_are_refused(request, fixture: str, key: str, build: Callable):
    species, _ = request.getfixturevalue(fixture)
    cut = {name: value[:2] if key in name else value for name, value in species.tensors.items()}
    with pytest.raises(CheckpointError, match="draws 2 channels"):
        build(replace(species, tensors=cut))


def test_every_family_blends_and_ends_in_its_siblings(any_species):
    second = sibling_of(any_species, amount=0.1)
    pair, ws, noise = (
        picture_network(any_species, [second]),
        some_ws(any_species),
        noise_of(any_species.sizes.noise_layers),
    )

    def between(part: float) -> np.ndarray:
        with pair.blended.at(torch.full((any_species.sizes.num_ws,), part)):
            return drawn(pair.generator, ws, noise)

    ends = [drawn(family.build(each), ws, noise) for each in (any_species, second)]
    assert (between(0.0) == ends[0]).all() and (between(1.0) == ends[1]).all()
    middle = between(0.5)
    assert min(np.abs(middle - end).max() for end in ends) > 1e-3


def test_a_row_of_every_tensor_is_known(any_species):
    net = family.build(any_species)
    rows = {getattr(net, "row_of", lambda name: 0)(name) for name in net.state_dict()}
    assert rows <= set(range(any_species.sizes.num_ws))
