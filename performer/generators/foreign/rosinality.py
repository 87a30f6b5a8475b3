"""rosinality's StyleGAN2, as its trainer and its converter from TensorFlow save it. Renamed only; no arithmetic.

Thread: any.
"""

import re

import numpy as np

from performer.flow import F32
from performer.generators.foreign import stylegan2
from performer.generators.foreign.arrays import Lazy, numbers_of
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.nvidia import complete_average

NOISE_SEED = 0x5EED
NOISE_NOTE = "the noise maps are not in the file and were drawn at random, always the same"
_STYLE = re.compile(r"style\.(\d+)\.(weight|bias)")
_CONV = re.compile(r"(conv1|convs\.(\d+))\.(.+)")
_RGB = re.compile(r"(to_rgb1|to_rgbs\.(\d+))\.(.+)")
_NOISE = re.compile(r"noises\.noise_(\d+)")
_PARTS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",  # of a torgb
}
_FILTERS = re.compile(r".*\.(blur|upsample)\.kernel")
MAX_LEVEL = 12


def read(state: dict[str, Lazy], *, average: Lazy | None, container: str, file_bytes: int) -> Draft:
    """StyleGAN2 from the state dict of rosinality's generator, and the average of w if the file keeps one.

    Raises:
        Unreadable: a tensor is missing, misshapen or unknown.
    """
    renamed: dict[str, Lazy] = {}
    taps = stylegan2.DEFAULT_TAPS
    for key, lazy in state.items():
        if _FILTERS.fullmatch(key):
            if "upsample" in key:
                kernel = numbers_of({key: lazy}, file_bytes=file_bytes)[key]
                if kernel.ndim != 2 or not kernel.any() or not np.isfinite(kernel).all():
                    raise Unreadable(f"tensor {quoted(key)} is no filter")
                taps = stylegan2.taps_of(kernel)
        else:
            renamed[_canonical(key)] = lazy
    if average is not None:
        renamed["mapping.w_avg"] = average
    tensors = {key: _shaped(key, value) for key, value in numbers_of(renamed, file_bytes=file_bytes).items()}
    notes = complete_average(tensors, lr_multiplier=stylegan2.DEFAULT_LR_MULTIPLIER, label=None)
    notes += _complete_noise(tensors)
    stylegan2.check(tensors, label=None)
    return Draft(
        family="stylegan2",
        source=f"rosinality stylegan2-pytorch {container}",
        tensors=tensors,
        options=stylegan2.options(
            tensors,
            label=None,
            conv_clamp=None,
            lr_multiplier=stylegan2.DEFAULT_LR_MULTIPLIER,
            resample=taps,
        ),
        notes=notes,
    )


def _canonical(key: str) -> str:
    if match := _STYLE.fullmatch(key):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}"  # style.0 normalises
    if key == "input.input":
        return "synthesis.b4.const"
    if match := _NOISE.fullmatch(key):
        return f"{noise_layer(int(match[1]))}.noise_const"
    if (match := _CONV.fullmatch(key)) and match[3] in _PARTS:
        layer = "b4.conv1" if match[2] is None else f"b{_block(int(match[2]) // 2)}.conv{int(match[2]) % 2}"
        return f"synthesis.{layer}.{_PARTS[match[3]]}"
    if (match := _RGB.fullmatch(key)) and match[3] in _PARTS:
        block = 4 if match[2] is None else _block(int(match[2]))
        return f"synthesis.b{block}.torgb.{_PARTS[match[3]]}"
    raise Unreadable(f"tensor {quoted(key)} has no place in rosinality's StyleGAN2: a fork that cannot be played here")


def _block(level: int) -> int:
    if level > MAX_LEVEL:
        raise Unreadable("its blocks are numbered beyond any picture")
    return 8 << level


def noise_layer(index: int) -> str:
    """The layer of the `index`-th noise map, counted from the coarsest, as TensorFlow and rosinality count."""
    if index > 2 * MAX_LEVEL:
        raise Unreadable("its noise maps are numbered beyond any picture")
    return f"synthesis.b{4 << (index + 1) // 2}.conv{0 if index % 2 else 1}"


def _shaped(key: str, tensor: F32) -> F32:
    """Without the axes of length one that rosinality keeps."""
    if tensor.ndim == 5 or (key == "synthesis.b4.const" and tensor.ndim == 4):
        return tensor[0] if tensor.shape[0] == 1 else tensor
    if key.endswith(("noise_strength", "torgb.bias")) and tensor.ndim:
        return tensor.reshape(()) if tensor.size == 1 and key.endswith("strength") else tensor.reshape(-1)
    if key.endswith("noise_const") and tensor.ndim == 4 and tensor.shape[:2] == (1, 1):
        return tensor[0, 0]
    return tensor


def _complete_noise(tensors: dict[str, F32]) -> list[str]:
    missing = [
        layer
        for key in tensors
        if key.endswith(".noise_strength")
        and f"{(layer := key.removesuffix('.noise_strength'))}.noise_const" not in tensors
    ]
    const = tensors.get("synthesis.b4.const")
    if not missing or const is None or const.ndim != 3:
        return []
    rng = np.random.default_rng(NOISE_SEED)
    for layer in sorted(missing):
        scale = int(layer.split(".")[1][1:]) // 4
        size = (const.shape[1] * scale, const.shape[2] * scale)
        tensors[f"{layer}.noise_const"] = rng.standard_normal(size, np.float32)
    return [NOISE_NOTE]
