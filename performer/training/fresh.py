"""Species before they have learnt anything, and species with room for finer detail than they have learnt so far.

Initial values as in Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020): normal weights, style
biases of 1, no noise. The mapping trains a hundred times slower, so its stored weights are a hundred times larger.

Thread: whoever calls.
"""

import math
from dataclasses import replace

import numpy as np

from performer.flow import F32
from performer.generators import light, stylegan2
from performer.generators.checkpoint import Checkpoint, Provenance, Sizes
from performer.generators.mapping import LEARNING_RATE_FACTOR, z_dim_of
from performer.refusal import Refused

FAMILIES = (light.NAME, stylegan2.NAME)
LEAST_PX, MOST_PX = 32, 1024
# Small sets have few dimensions: Sauer et al., "StyleGAN-XL" (2022), section 3.1, measure that 64 are enough for ImageNet.
Z_DIM = 64
W_DIM = 256
MAPPING_LAYERS = 2  # as Karras et al., "Training GANs with Limited Data" (2020), take for small sets


def species(family: str, *, size_px: int, seed: int, width: float = 1.0) -> Checkpoint:
    """An untrained species of `size_px` square.

    size_px
        a power of two, 32 to 1024.
    width
        scales the number of channels of every layer.

    Raises Refused.
    """
    _check(family, size_px)
    writer = _Writer({}, family, channels_of(family, size_px=size_px, width=width), w_dim=W_DIM, seed=seed)
    writer.add_mapping()
    for resolution in writer.channels:
        writer.add_block(resolution)
    writer.add_end()
    return Checkpoint(
        family=family,
        sizes=_sizes(family, writer.tensors, size_px),
        provenance=Provenance(name="", origin="", licence="", trained=False, seed=seed),
        tensors=writer.tensors,
        content_hash="",
    )


def grown(checkpoint: Checkpoint, *, size_px: int, seed: int) -> Checkpoint:
    """The same species with finer layers on top, which have yet to learn; itself where it has that size.

    Raises:
        Refused: it is larger than `size_px`, or of a family that is not trained here.
    """
    _check(checkpoint.family, size_px)
    sizes = checkpoint.sizes
    if sizes.height_px != sizes.width_px or sizes.resolution > size_px:
        raise Refused(
            f"{checkpoint.path}: draws {sizes.width_px}x{sizes.height_px} px; expected a square of at most {size_px} px, "
            "since a species can grow, but not shrink; prepare the set in its size"
        )
    if sizes.resolution == size_px:
        return checkpoint
    have = {
        block: len(checkpoint.tensors[f"synthesis.b{block}.conv1.bias"])
        for block in stylegan2.blocks_of(checkpoint.tensors)
    }
    width = have[4] / channels_of(checkpoint.family, size_px=size_px)[4]
    channels = channels_of(checkpoint.family, size_px=size_px, width=width) | have
    writer = _Writer(dict(checkpoint.tensors), checkpoint.family, channels, w_dim=sizes.w_dim, seed=seed)
    for resolution in channels:
        if resolution not in have:
            writer.add_block(resolution)
            if checkpoint.family == stylegan2.NAME:  # adds nothing to the picture until it has learnt something
                writer.tensors[f"synthesis.b{resolution}.torgb.weight"][:] = 0
    writer.add_end()
    return replace(
        checkpoint,
        tensors=writer.tensors,
        sizes=_sizes(checkpoint.family, writer.tensors, size_px),
        content_hash="",
        preview=None,
        traits=(),
        trait_directions=None,
    )


def channels_of(family: str, *, size_px: int, width: float = 1.0) -> dict[int, int]:
    """Channels after each block, by its resolution."""
    if family == light.NAME:
        wide = light.CHANNELS | {256: 24, 512: 16}
        return {r: _eighths(wide[r] * width) for r in wide if r <= size_px // light.SHUFFLE}
    base = 32768 if size_px >= 512 else 16384  # of the published configurations
    resolutions = [4 << level for level in range(int(math.log2(size_px)) - 1)]
    return {r: _eighths(min(base // r, 512) * width) for r in resolutions}


class _Writer:
    """Adds layers to the tensors of a species."""

    def __init__(
        self, tensors: dict[str, F32], family: str, channels: dict[int, int], *, w_dim: int, seed: int
    ) -> None:
        self.tensors, self.family, self.channels, self.w_dim = tensors, family, channels, w_dim
        self._rng = np.random.Generator(np.random.Philox(key=seed))

    def add_mapping(self) -> None:
        self.tensors["mapping.w_avg"] = np.zeros(self.w_dim, np.float32)
        for layer in range(MAPPING_LAYERS):
            weight = self._normal(self.w_dim, Z_DIM if layer == 0 else self.w_dim)
            self.tensors[f"mapping.fc{layer}.weight"] = weight / np.float32(LEARNING_RATE_FACTOR)
            self.tensors[f"mapping.fc{layer}.bias"] = np.zeros(self.w_dim, np.float32)

    def add_block(self, resolution: int) -> None:
        out = self.channels[resolution]
        if resolution == 4:
            self.tensors["synthesis.b4.const"] = self._normal(out, 4, 4)
        for conv in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            inside = self.channels[resolution // 2] if conv == "conv0" else out
            name = f"synthesis.b{resolution}.{conv}"
            self._add_styled(name, out, inside, 3)
            self.tensors[f"{name}.noise_strength"] = np.zeros((), np.float32)
            self.tensors[f"{name}.noise_const"] = self._normal(resolution, resolution)
        if self.family == stylegan2.NAME:
            self._add_styled(f"synthesis.b{resolution}.torgb", 3, out, 1)

    def add_end(self) -> None:
        if self.family != light.NAME:
            return
        phases = light.SHUFFLE**2
        self._add_styled("synthesis.head", 3 * phases, self.channels[max(self.channels)], 3)
        # All phases of a pixel start alike, or the first pictures are chequered, and some remain so: Aitken et al.,
        # "Checkerboard artifact free sub-pixel convolution" (2017).
        weight = self.tensors["synthesis.head.weight"]
        self.tensors["synthesis.head.weight"] = np.repeat(weight[::phases], phases, axis=0)

    def _add_styled(self, name: str, out: int, inside: int, kernel: int) -> None:
        self.tensors[f"{name}.weight"] = self._normal(out, inside, kernel, kernel)
        self.tensors[f"{name}.bias"] = np.zeros(out, np.float32)
        self.tensors[f"{name}.affine.weight"] = self._normal(inside, self.w_dim)
        self.tensors[f"{name}.affine.bias"] = np.ones(inside, np.float32)

    def _normal(self, *shape: int) -> F32:
        return self._rng.standard_normal(shape, np.float32)


def _sizes(family: str, tensors: dict[str, F32], size_px: int) -> Sizes:
    if family == stylegan2.NAME:
        return stylegan2.sizes_of(tensors, {})
    w_dim = tensors["synthesis.b4.conv1.affine.weight"].shape[1]
    return light.sizes(resolution=size_px, z_dim=z_dim_of(tensors), w_dim=w_dim)


def _eighths(channels: float) -> int:
    """A multiple of 8, which is what processors of all kinds compute in one go."""
    return max(round(channels / 8), 1) * 8


def _check(family: str, size_px: int) -> None:
    if family not in FAMILIES:
        raise Refused(f"family {family!r} is not trained here; expected one of {', '.join(FAMILIES)}")
    if size_px & (size_px - 1) or not LEAST_PX <= size_px <= MOST_PX:
        raise Refused(f"size {size_px} px: expected a power of two from {LEAST_PX} to {MOST_PX}")
