"""The embryo: a seeded random initialisation of the light generator, which stands in until species are trained.

Run `python -m performer.generators.embryo OUT.safetensors` to make the file in `checkpoints/` again, bit for bit.

Nothing here was learnt from pictures. A plain random network draws noise; what makes this one look like something that
might hatch is structure in the random numbers: kernels, constants and noise are mirrored left to right, so that every
picture has the bilateral symmetry of an animal; kernels are smooth, so that forms are round; and one channel carries a
soft body through all layers, which lets texture live inside it and die out on the ground around it.

Thread: a program of its own.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from performer.flow import F32
from performer.generators import light
from performer.generators.checkpoint import Checkpoint, Provenance, save
from performer.generators.mapping import LEARNING_RATE_FACTOR, Mapping
from performer.generators.ops import StyledConv

SEED = 20
RESOLUTION = 256
Z_DIM = W_DIM = 512
MAPPING_LAYERS = 8
BODY = 0  # the channel that carries the body
GROUND = (-0.30, -0.36, -0.40)  # mean colour, -1..1
CONTRAST = 0.42  # spread of the picture around it
DETAIL = {4: 0.0, 8: 0.2, 16: 0.35, 32: 0.35, 64: 0.3, 128: 0.15}  # share of features that answer to edges
CALIBRATION_IMAGES = 24


def _mirrored(array: np.ndarray) -> np.ndarray:
    """The part of `array` that is symmetric along its last axis."""
    return (array + array[..., ::-1]) * 0.5


def _smooth_kernels(rng: np.random.Generator, out: int, inside: int, *, sharpness: float, detail: float) -> np.ndarray:
    """[out, inside, 3, 3]: random kernels, mirrored, weighted towards a smooth profile."""
    profile = np.outer([1.0, sharpness, 1.0], [1.0, sharpness, 1.0])
    profile /= np.sqrt(np.square(profile).sum())
    kernels = (
        _mirrored(rng.standard_normal((out, inside, 1, 1)) + rng.standard_normal((out, inside, 3, 3)) * 0.5) * profile
    )
    # Half of the features answer to edges and spots (kernels whose sum is small) instead of to areas.
    edges = _mirrored(rng.standard_normal((out, inside, 3, 3)))
    edges -= edges.mean(axis=(2, 3), keepdims=True) * 0.7
    detailed = rng.random((out, 1, 1, 1)) < detail
    return np.where(detailed, edges * 0.6, kernels)


def _body(size: int, *, width: float, height: float) -> np.ndarray:
    """[size, size]: a soft upright ellipse, 1 in the middle, below 0 at the rim."""
    y, x = np.mgrid[:size, :size]
    centre = (size - 1) / 2
    distance = np.hypot((x - centre) / (width * size), (y - centre) / (height * size))
    return 1.0 - distance**2


def tensors(seed: int = SEED) -> dict[str, np.ndarray]:
    """All weights of the embryo, float32. The same seed gives the same numbers."""
    rng = np.random.Generator(np.random.Philox(seed))
    weights: dict[str, np.ndarray] = {}
    for layer in range(MAPPING_LAYERS):
        inside = Z_DIM if layer == 0 else W_DIM
        weights[f"mapping.fc{layer}.weight"] = rng.standard_normal((W_DIM, inside)) / LEARNING_RATE_FACTOR
        weights[f"mapping.fc{layer}.bias"] = np.zeros(W_DIM)

    def affine(prefix: str, channels: int, *, swing: float) -> None:
        # Equalised learning rate divides by sqrt(w_dim) again, so that a swing of 1 moves styles by about 1.
        swings = np.full((channels, 1), swing)
        swings[BODY] *= 0.3  # the body changes less than what lives in it
        weights[f"{prefix}.affine.weight"] = rng.standard_normal((channels, W_DIM)) * swings
        weights[f"{prefix}.affine.bias"] = np.ones(channels)

    const = _mirrored(rng.standard_normal((light.CHANNELS[4], 4, 4)))
    const[BODY] = 1.5 * _body(4, width=0.45, height=0.55)
    weights["synthesis.b4.const"] = const

    before = light.CHANNELS[4]
    for resolution, out in light.CHANNELS.items():
        for name in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            prefix = f"synthesis.b{resolution}.{name}"
            kernels = _smooth_kernels(rng, out, before, sharpness=2.0, detail=DETAIL[resolution])
            # The body channel listens to itself, and a little to the rest, which lets its outline wander.
            kernels[BODY] *= 0.25
            kernels[BODY, BODY] = np.outer([1, 2, 1], [1, 2, 1]) / 16 * np.sqrt(before) * 1.2
            # Texture listens to the body: where there is none it is pushed below zero, where the ReLU quiets it.
            kernels[1:, BODY] = np.outer([1, 2, 1], [1, 2, 1]) / 16 * np.sqrt(before) * 0.35
            weights[f"{prefix}.weight"] = kernels
            bias = rng.standard_normal(out) * 0.15 - 0.25
            bias[BODY] = -0.15
            weights[f"{prefix}.bias"] = bias
            weights[f"{prefix}.noise_const"] = _mirrored(rng.standard_normal((resolution, resolution))) * np.sqrt(2)
            weights[f"{prefix}.noise_strength"] = np.array(0.02)
            affine(prefix, before, swing=0.9 if resolution < 32 else 0.6)
            before = out

    weights |= _head(rng, before)
    affine("synthesis.head", before, swing=0.35)
    weights["mapping.w_avg"] = np.zeros(W_DIM)
    w = _mapped(weights, rng)
    weights["mapping.w_avg"] = w.mean(0)
    _calibrate(weights, w[:CALIBRATION_IMAGES], rng)
    return {key: value.astype(np.float32) for key, value in weights.items()}


def checkpoint_of(weights: dict[str, np.ndarray]) -> Checkpoint:
    """The species that `weights` make, in memory."""
    return Checkpoint(
        family=light.NAME,
        sizes=light.sizes(resolution=RESOLUTION, z_dim=Z_DIM, w_dim=W_DIM),
        provenance=Provenance(
            name="embryo",
            origin="a structured random initialisation; learnt from nothing",
            licence="CC0-1.0",
            trained=False,
            made_with=f"performer.generators.embryo, seed {SEED}",
            seed=SEED,
        ),
        tensors={key: value.astype(np.float32) for key, value in weights.items()},
        content_hash="",
    )


def _mapped(weights: dict[str, np.ndarray], rng: np.random.Generator, count: int = 2048) -> F32:
    mapping = Mapping(checkpoint_of(weights))
    return np.stack([mapping.w_from_z(z) for z in rng.standard_normal((count, Z_DIM)).astype(np.float32)])


@torch.no_grad()
def _calibrate(weights: dict[str, np.ndarray], w: F32, rng: np.random.Generator) -> None:
    """Set biases and style gains from what the layers do on some latents, in the manner of LSUV (Mishkin and Matas 2016).

    Each channel is centred, and weighs by its spread in the next layer: without this the constant part of a random
    ReLU network grows from layer to layer and the picture ends flat.
    """
    ws = torch.from_numpy(w)
    x = torch.from_numpy(weights["synthesis.b4.const"].astype(np.float32)).permute(1, 2, 0)[None]
    x = x.expand(len(w), -1, -1, -1)  # [N, H, W, C]
    for resolution in light.CHANNELS:
        for name in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            prefix = f"synthesis.b{resolution}.{name}"
            gain = 1.0 / (x.std(dim=(0, 1, 2)) + 0.05)
            weights[f"{prefix}.affine.bias"] = gain.double().numpy()
            weights[f"{prefix}.affine.weight"] *= gain.double().numpy()[:, None]
            conv = StyledConv(
                x.shape[-1],
                len(weights[f"{prefix}.bias"]),
                w_dim=W_DIM,
                resolution=resolution,
                up="bilinear" if name == "conv0" else "",
            )
            state = {
                key: torch.from_numpy(np.asarray(weights[f"{prefix}.{key}"], np.float32)) for key in conv.state_dict()
            }
            state["bias"] = torch.zeros_like(state["bias"])
            conv.load_state_dict(state)
            linear = conv.before_activation(x, ws, torch.tensor(1.0))
            bias = -linear.mean(dim=(0, 1, 2)) + torch.from_numpy(rng.standard_normal(linear.shape[-1]) * 0.3).float()
            bias[BODY] = -linear[..., BODY].mean() * 0.8
            weights[f"{prefix}.bias"] = bias.double().numpy()
            x = conv.activate(linear + bias)
    head = torch.from_numpy(weights["synthesis.head.weight"].astype(np.float32))
    gain = 1.0 / (x.std(dim=(0, 1, 2)) + 0.05)
    weights["synthesis.head.affine.bias"] = gain.double().numpy()
    weights["synthesis.head.affine.weight"] *= gain.double().numpy()[:, None]
    scaled = x * gain / np.sqrt(head.shape[1] * 9)
    image = torch.nn.functional.conv2d(scaled.permute(0, 3, 1, 2), head, padding=1)
    weights["synthesis.head.weight"] *= CONTRAST / float(image.std())
    weights["synthesis.head.bias"] -= float(image.mean()) * CONTRAST / float(image.std())


def _head(rng: np.random.Generator, channels: int) -> dict[str, np.ndarray]:
    """Colours: each feature a hue near the palette; the four phases of the pixel shuffle interpolate bilinearly."""
    palette = np.array([[0.9, 0.55, 0.3], [0.2, 0.45, 0.6], [0.85, 0.75, 0.6], [0.5, 0.2, 0.3], [0.3, 0.5, 0.35]])
    colours = (
        rng.standard_normal((channels, len(palette))) @ (palette - 0.35) + rng.standard_normal((channels, 3)) * 0.15
    )
    colours[BODY] = [0.55, 0.42, 0.30]
    taps = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
    weight = np.zeros((12, channels, 3, 3))
    for colour in range(3):
        for dy in range(2):
            for dx in range(2):
                kernel = np.outer(taps[dy], taps[dx])
                weight[colour * 4 + dy * 2 + dx] = colours[:, colour, None, None] * kernel
    bias = np.repeat(GROUND, 4)
    return {"synthesis.head.weight": weight * 3.0, "synthesis.head.bias": bias}


def main() -> None:
    """Write the embryo."""
    parser = argparse.ArgumentParser(description="Write the embryo, bit for bit as it is in checkpoints/.")
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    embryo = checkpoint_of(tensors())
    # Half precision halves the file; the noise of rounding is far below what a random network cares about.
    half = {key: value.astype(np.float16) for key, value in embryo.tensors.items()}
    save(out, family=embryo.family, sizes=embryo.sizes, provenance=embryo.provenance, tensors=half)


if __name__ == "__main__":
    main()
