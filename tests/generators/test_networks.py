"""The networks against slow and obvious twins written from the papers' own form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from performer.generators import family, light, ops
from performer.generators.checkpoint import Checkpoint, CheckpointError, Provenance
from performer.generators.coarser import coarser
from performer.generators.mapping import Mapping
from performer.generators.network import rgba
from tests.conftest import small_stylegan2
from tests.foreign import generators as small
from tests.generators.latents import noise_of


def test_static_weights_equal_modulated_weights():
    """Scaling activations and demodulating afterwards is the published modulated convolution."""
    torch.manual_seed(0)
    conv = ops.StyledConv(6, 5, w_dim=7, size_px=(8, 8))
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_()
        conv.noise_const.normal_()
        x, w = torch.randn(2, 8, 8, 6), torch.randn(2, 7)
        style = F.linear(w, conv.affine.weight / math.sqrt(7), conv.affine.bias)
        expected = ops.modulated_conv_reference(x.permute(0, 3, 1, 2), conv.weight, style)
        expected = expected + 0.7 * conv.noise_strength * conv.noise_const + conv.bias[None, :, None, None]
        expected = F.leaky_relu(expected, 0.2) * math.sqrt(2)
        got = conv(x, w, torch.tensor([0.7, 0.0, 0.0])).permute(0, 3, 1, 2)
    assert torch.allclose(got, expected, atol=1e-5)


def test_activations_are_clamped():
    loud = torch.tensor([1e9, -1e9])
    assert ops.StyledConv(1, 1, w_dim=1, size_px=(1, 1)).activate(loud).tolist() == [256.0, -256.0]
    halved = ops.StyledConv(1, 1, w_dim=1, size_px=(1, 1), clamp=100.0, gain=0.5)
    assert halved.activate(loud).tolist() == [50.0, -50.0]
    free = ops.StyledConv(1, 1, w_dim=1, size_px=(1, 1), clamp=None)
    assert free.activate(loud)[0] > 1e9


def test_fir_upsampling_is_transposed_convolution_then_low_pass():
    """Against zero insertion, full convolution and the FIR written out."""
    torch.manual_seed(1)
    x, weight = torch.randn(1, 3, 5, 5), torch.randn(4, 3, 3, 3)
    spread = torch.zeros(1, 3, 10, 10)
    spread[:, :, ::2, ::2] = x
    # A transposed convolution is a true convolution with the weights, so a correlation with them flipped.
    full = F.conv2d(F.pad(spread, (2, 1, 2, 1)), weight.flip(2, 3))
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    fir = torch.outer(taps, taps) * 4
    expected = F.conv2d(F.pad(full, (1, 1, 1, 1)).reshape(4, 1, 13, 13), fir[None, None]).reshape(1, 4, 10, 10)
    assert torch.allclose(ops.conv_up_fir(x, weight), expected, atol=1e-5)


def test_image_upsampling_keeps_a_flat_picture_flat():
    up = ops.image_up_fir(torch.full((1, 3, 8, 8), 0.5))
    assert up.shape == (1, 3, 16, 16)
    assert torch.allclose(up[:, :, 2:-2, 2:-2], torch.tensor(0.5))


def reference_stylegan2(checkpoint: Checkpoint, ws: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """StyleGAN2 straight from the tensors, in the weight form, one layer after the other."""
    t = {key: torch.from_numpy(value) for key, value in checkpoint.tensors.items()}
    architecture, clamp = checkpoint.options.get("architecture", "skip"), checkpoint.options.get("conv_clamp", 256)

    def style(prefix: str, w: torch.Tensor) -> torch.Tensor:
        return F.linear(w, t[f"{prefix}.affine.weight"] / math.sqrt(w.shape[1]), t[f"{prefix}.affine.bias"])

    def limited(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)

    x, image = t["synthesis.b4.const"][None].repeat(len(ws), 1, 1, 1), None
    row = layer = 0
    for level in (4 << i for i in range(checkpoint.sizes.num_ws // 2)):
        gain = math.sqrt(0.5) if architecture == "resnet" and level > 4 else 1.0
        short = None
        if gain < 1:
            weight = t[f"synthesis.b{level}.skip.weight"]
            short = ops.image_up_fir(F.conv2d(x, weight / math.sqrt(weight.shape[1]))) * gain
        for name in ("conv0", "conv1") if level > 4 else ("conv1",):
            prefix = f"synthesis.b{level}.{name}"
            s = style(prefix, ws[:, row])
            if name == "conv0":
                weight = t[f"{prefix}.weight"][None] * s[:, None, :, None, None]
                weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
                x = torch.cat([ops.conv_up_fir(xi[None], wi) for xi, wi in zip(x, weight, strict=True)])
            else:
                x = ops.modulated_conv_reference(x, t[f"{prefix}.weight"], s)
            if f"{prefix}.noise_const" in t:
                x = x + t[f"{prefix}.noise_const"] * t[f"{prefix}.noise_strength"] * noise[layer]
            own = gain if name == "conv1" else 1.0
            x = F.leaky_relu(x + t[f"{prefix}.bias"][None, :, None, None], 0.2) * math.sqrt(2) * own
            x = limited(x, own)
            row, layer = row + 1, layer + 1
        x = x if short is None else x + short
        prefix = f"synthesis.b{level}.torgb"
        if f"{prefix}.weight" in t:
            s = style(prefix, ws[:, row]) / math.sqrt(x.shape[1])
            rgb = ops.modulated_conv_reference(x, t[f"{prefix}.weight"], s, demodulate=False)
            rgb = limited(rgb + t[f"{prefix}.bias"][None, :, None, None])
            image = rgb if image is None else ops.image_up_fir(image) + rgb
    return image


def imported(tensors: dict[str, np.ndarray], options: dict) -> Checkpoint:
    """A StyleGAN2 as an import makes it: its sizes come from its tensors."""
    return Checkpoint(
        family="stylegan2",
        sizes=family.sizes_of("stylegan2", tensors, options),
        provenance=Provenance(name="small", origin="random", licence="CC0-1.0", trained=False),
        tensors=tensors,
        content_hash="",
        options=options,
    )


def assert_equals_its_weight_form(checkpoint: Checkpoint) -> torch.Tensor:
    torch.manual_seed(2)
    ws = torch.randn(2, checkpoint.sizes.num_ws, checkpoint.sizes.w_dim)
    noise = torch.rand(checkpoint.sizes.noise_layers)
    gains = noise_of(len(noise), noise)
    with torch.no_grad():
        got = family.build(checkpoint)(ws, gains)
        expected = reference_stylegan2(checkpoint, ws, noise)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    return got


def test_stylegan2_equals_its_weight_form(stylegan2):
    assert assert_equals_its_weight_form(stylegan2).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "options", "shape"),
    [
        ({"architecture": "orig"}, {}, (3, 16, 16)),
        ({"architecture": "resnet"}, {}, (3, 16, 16)),
        ({"architecture": "resnet"}, {"conv_clamp": 0.5}, (3, 16, 16)),
        ({"const": (3, 5)}, {}, (3, 12, 20)),
        ({"image_channels": 4}, {"conv_clamp": None}, (4, 16, 16)),
        ({"noise": False}, {"use_noise": False}, (3, 16, 16)),
    ],
    ids=["original", "residual", "residual, clamped", "not square", "RGBA, not clamped", "no noise"],
)
def test_every_variant_of_stylegan2_equals_its_weight_form(changes, options, shape):
    tensors = small.stylegan2(**changes)
    options = {"architecture": changes.get("architecture", "skip")} | options
    checkpoint = imported(tensors, options)
    assert (checkpoint.sizes.height_px, checkpoint.sizes.width_px) == shape[1:]
    assert assert_equals_its_weight_form(checkpoint).shape == (2, *shape)


def test_a_transparent_picture_shows_black_where_nothing_is():
    def faded(ws, noise):
        return torch.cat([torch.full((1, 3, 2, 2), 0.5), torch.tensor([[[[-1.0, 0.0], [1.0, 3.0]]]])], dim=1)

    got = rgba(faded, torch.zeros(1), torch.zeros(1), {})[0, :, :, 0]
    assert got.flatten().tolist() == pytest.approx([-1.0, -0.25, 0.5, 0.5])


@pytest.mark.parametrize("label", ["embed", "concat", "table"])
def test_a_label_enters_the_mapping(label):
    """Against the formulas written out in torch; the class changes the animal."""
    tensors = small.stylegan2(c_dim=3, label=label)
    options = {"label": label, "c_dim": 3}
    checkpoint = imported(tensors, options)
    assert (checkpoint.sizes.classes, checkpoint.sizes.z_dim) == (3, small.Z)
    t = {key: torch.from_numpy(value) for key, value in tensors.items()}
    z = torch.randn(small.Z, generator=torch.Generator().manual_seed(1))

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean() + 1e-8)

    for index in range(3):
        if label == "table":
            y = F.linear(t["mapping.embed.weight"][index], t["mapping.embed_proj.weight"] / math.sqrt(7))
            y = F.leaky_relu(y + t["mapping.embed_proj.bias"], 0.2)
        else:
            y = t["mapping.embed.weight"] @ torch.eye(3)[index] / (1 if label == "concat" else math.sqrt(3))
            y = y + t.get("mapping.embed.bias", torch.zeros(()))
        x = unit(torch.cat([z, y])) if label == "concat" else torch.cat([unit(z), unit(y)])
        for layer in range(2):
            weight = t[f"mapping.fc{layer}.weight"] * (0.01 / math.sqrt(len(x)))
            x = F.leaky_relu(F.linear(x, weight, t[f"mapping.fc{layer}.bias"] * 0.01), 0.2) * math.sqrt(2)
        got = Mapping(checkpoint, label=index).w_from_z(z.numpy())
        assert np.abs(got - x.numpy()).max() <= 1e-5 * np.abs(x.numpy()).max()
    with pytest.raises(CheckpointError, match="class 3; expected 0 to 2"):
        Mapping(checkpoint, label=3)


def test_light_rgba_is_the_same_picture(embryo):
    torch.manual_seed(3)
    network = family.build(embryo)
    assert isinstance(network, light.Light)
    ws, noise = torch.randn(1, 12, 512), torch.rand(11, 3)
    with torch.no_grad():
        plain, fast = network(ws, noise), rgba(network, ws, noise, {})
    assert torch.allclose(fast[..., :3], plain.permute(0, 2, 3, 1), atol=1e-5)
    assert (fast[..., 3] == 1).all()


def test_mapping_in_numpy_equals_torch(stylegan2):
    rng = np.random.default_rng(4)
    z = rng.standard_normal((5, stylegan2.sizes.z_dim)).astype(np.float32)
    x = torch.from_numpy(z)
    x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
    for layer in range(3):
        weight = torch.from_numpy(stylegan2.tensors[f"mapping.fc{layer}.weight"]) * (0.01 / math.sqrt(x.shape[1]))
        bias = torch.from_numpy(stylegan2.tensors[f"mapping.fc{layer}.bias"]) * 0.01
        x = F.leaky_relu(F.linear(x, weight, bias), 0.2) * math.sqrt(2)
    mapping = Mapping(stylegan2)
    got = np.stack([mapping.w_from_z(row) for row in z])
    assert np.abs(got - x.numpy()).max() <= 1e-5 * np.abs(x.numpy()).max()


@pytest.mark.parametrize("name", sorted(family.families()))
def test_every_family_is_named_as_its_file(name):
    assert family.families()[name].__name__.endswith(f".{name}")


def test_the_coarser_species_is_the_picture_before_the_finest_block():
    """With a finest block that draws nothing, the whole is the coarser picture, enlarged."""
    species = small_stylegan2(resolution=32)
    last = [f"synthesis.b32.torgb.{part}" for part in ("weight", "bias")]
    silent = {key: np.zeros_like(species.tensors[key]) for key in last}
    species = replace(species, tensors=species.tensors | silent)
    halved = coarser(species)
    assert halved is not None and (halved.sizes.height_px, halved.sizes.width_px) == (16, 16)
    rows, layers = halved.sizes.num_ws, halved.sizes.noise_layers
    ws, noise = torch.randn(1, species.sizes.num_ws, species.sizes.w_dim), noise_of(species.sizes.noise_layers)
    with torch.inference_mode():
        whole = family.build(species)(ws, noise)
        enlarged = ops.image_up_fir(family.build(halved)(ws[:, :rows], noise[:layers]))
    assert whole.std() > 0.1
    assert torch.allclose(whole, enlarged, atol=1e-5)
    assert halved.content_hash != species.content_hash


def test_what_draws_only_at_the_end_has_no_coarser_form(stylegan2, embryo):
    assert coarser(embryo) is None
    assert coarser(replace(stylegan2, options={"architecture": "orig"})) is None
