"""StyleGAN2 as NVIDIA's TensorFlow programs pickled it (2019 and ADA), and their forks for pictures that are not square.

A tuple of three networks, of which the third is the averaged generator; or that one alone. The variables of a network
and of its parts are lists of names and arrays.

Thread: any.
"""

import re
from typing import Any

import numpy as np

from performer.flow import F32
from performer.generators.foreign import stylegan2
from performer.generators.foreign.arrays import Array, Lazy, Tensor, numbers_of
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.nvidia import complete_average
from performer.generators.foreign.rosinality import noise_layer
from performer.generators.foreign.trees import attributes, entries, number

VERSIONS = (4, 5)
STYLEGAN1 = (
    "is a StyleGAN1 or ProGAN network (2018), which has other layers; expected StyleGAN2 or later: "
    "its maker may have a newer one"
)
ATTENTION = "is a StyleGAN2 fork with attention layers, which this program cannot play; expected plain StyleGAN2"
_ATTENTION = re.compile(r"attention|selfatten|non_?local", re.IGNORECASE)
_SCOPE = re.compile(r"synthesis/(\d+)x(\d+)/(.+)")
_RGB_AT_LEVEL = re.compile(r"synthesis/(?:\d+x\d+/)?ToRGB_lod(\d+)/(.+)")
_NOISE = re.compile(r"synthesis/noise(\d+)")
_DENSE = re.compile(r"mapping/Dense(\d+)/(weight|bias)")
_LAYERS = {"Conv": "conv1", "Conv1": "conv1", "Conv0_up": "conv0", "ToRGB": "torgb", "Skip": "skip"}
_PARTS = {
    "weight": "weight",
    "bias": "bias",
    "noise_strength": "noise_strength",
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
}
MAX_BLOCKS = 12
MAX_PARTS = 8


def is_network(value: Any) -> bool:
    own = attributes(value)
    return own is not None and "variables" in own and "static_kwargs" in own


def generator_in(top: Any) -> Any | None:
    """The generator in a file of TensorFlow networks, or None where it holds none."""
    if is_network(top):
        return top
    if isinstance(top, tuple | list) and top and any(is_network(item) for item in top):
        for item in (*top[2:3], *top[:1], *top):  # the third is the averaged one
            if is_network(item):
                return item
    return None


def read(network: Any, *, container: str, file_bytes: int) -> Draft:
    """StyleGAN2 from a pickled TensorFlow network.

    Raises:
        Unreadable: it is of another kind, or a variable is missing or misshapen.
    """
    own = attributes(network) or {}
    version = own.get("version")
    if version in (1, 2, 3):
        raise Unreadable(STYLEGAN1)
    if version not in VERSIONS:
        raise Unreadable(f"is a TensorFlow network of version {quoted(version)}; expected 4 or 5")
    variables = _variables(network)
    if any(_ATTENTION.search(name) for name in variables):
        raise Unreadable(ATTENTION)
    if any("StyleMod" in name for name in variables):  # config A of the StyleGAN2 programs is StyleGAN1
        raise Unreadable(STYLEGAN1)
    renamed, label = _renamed(variables)
    stored = numbers_of({name: variables[name] for name in renamed}, file_bytes=file_bytes)
    tensors = {key: _converted(key, name, stored[name]) for name, key in renamed.items()}
    arguments = _arguments(network)
    lr_multiplier = number(arguments.get("mapping_lrmul"), stylegan2.DEFAULT_LR_MULTIPLIER)
    notes = complete_average(tensors, lr_multiplier=lr_multiplier, label=label)
    stylegan2.check(tensors, label=label)
    _, height, width = tensors["synthesis.b4.const"].shape
    if height != width:
        notes.append(f"its pictures are not square: they grow from {height} rows of {width} pixels")
    return Draft(
        family="stylegan2",
        source=f"TensorFlow StyleGAN2 {container} (version {version})",
        tensors=tensors,
        options=stylegan2.options(
            tensors,
            label=label,
            conv_clamp=number(arguments.get("conv_clamp"), None),
            lr_multiplier=lr_multiplier,
            resample=_taps(arguments.get("resample_kernel")),
        ),
        notes=notes,
    )


def _taps(saved: Any) -> list:
    fits = (
        isinstance(saved, list | tuple) and 1 < len(saved) < 16 and all(number(tap, None) is not None for tap in saved)
    )
    return list(saved) if fits else stylegan2.DEFAULT_TAPS


def _variables(network: Any) -> dict[str, Lazy]:
    own = attributes(network) or {}
    found: dict[str, Lazy] = {}
    components = entries(own.get("components")) or {}
    if len(components) > MAX_PARTS:
        raise Unreadable(f"its TensorFlow network has {len(components):,} parts; expected synthesis and mapping")
    parts = [("", network), *components.items()]
    for part, holder in parts:
        listed = (attributes(holder) or {}).get("variables")
        listed = list(listed.items()) if isinstance(listed, dict) else listed
        for pair in listed if isinstance(listed, list | tuple) else ():
            if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
                raise Unreadable("the variables of its TensorFlow network are damaged")
            if isinstance(pair[1], Array | Tensor):
                found[f"{part}/{pair[0]}" if part else pair[0]] = pair[1]
    if not any(name.startswith("synthesis/") for name in found):
        raise Unreadable(
            f"is a TensorFlow network without a synthesis part ({len(found):,} variables); expected a generator"
        )
    return found


def _arguments(network: Any) -> dict[str, Any]:
    own = attributes(network) or {}
    parts = list((entries(own.get("components")) or {}).values())
    merged: dict[str, Any] = {}
    for holder in (*parts, network):  # what the whole says wins
        merged |= entries((attributes(holder) or {}).get("static_kwargs")) or {}
    return merged


def _renamed(variables: dict[str, Lazy]) -> tuple[dict[str, str], str | None]:
    """Variables to canonical keys, and how labels enter."""
    sizes = {(int(match[1]), int(match[2])) for name in variables if (match := _SCOPE.match(name))}
    heights = sorted(sizes)
    if not heights or len(heights) > MAX_BLOCKS or len({height for height, _ in heights}) != len(heights):
        raise Unreadable("the blocks of its TensorFlow network are not numbered as StyleGAN2's")
    for (height, width), (next_height, next_width) in zip(heights, heights[1:], strict=False):
        if (next_height, next_width) != (2 * height, 2 * width):
            raise Unreadable(f"its blocks go from {height}x{width} to {next_height}x{next_width}; expected doublings")
    block = {size: 4 << level for level, size in enumerate(heights)}
    renamed: dict[str, str] = {}
    label = None
    for name in variables:
        if match := _DENSE.fullmatch(name):
            renamed[name] = f"mapping.fc{int(match[1])}.{match[2]}"
        elif name in ("mapping/LabelEmbed/weight", "mapping/LabelEmbed/bias", "mapping/LabelConcat/weight"):
            renamed[name] = f"mapping.embed.{name.rpartition('/')[2]}"
            label = "concat" if "Concat" in name else "embed"
        elif name == "dlatent_avg":
            renamed[name] = "mapping.w_avg"
        elif match := _NOISE.fullmatch(name):
            renamed[name] = f"{noise_layer(int(match[1]))}.noise_const"
        elif match := _RGB_AT_LEVEL.fullmatch(name):
            if int(match[1]) == 0 and match[2] in _PARTS:  # the others served the growth of the training
                renamed[name] = f"synthesis.b{4 << len(heights) - 1}.torgb.{_PARTS[match[2]]}"
        elif match := _SCOPE.fullmatch(name):
            renamed[name] = f"synthesis.b{block[int(match[1]), int(match[2])]}.{_in_block(match[3], name)}"
        elif name not in ("lod", "synthesis/lod") and not name.endswith(("_avg", "/lod")):
            raise Unreadable(f"variable {quoted(name)} has no place in StyleGAN2: a fork that cannot be played here")
    return renamed, label


def _in_block(rest: str, name: str) -> str:
    if rest == "Const/const":
        return "const"
    layer, _, part = rest.partition("/")
    if layer not in _LAYERS or part not in _PARTS:
        raise Unreadable(f"variable {quoted(name)} has no place in StyleGAN2: a fork that cannot be played here")
    return f"{_LAYERS[layer]}.{_PARTS[part]}"


def _converted(key: str, name: str, stored: F32) -> F32:
    """A variable in canonical order of axes."""
    last = key.rpartition(".")[2]
    if key.endswith(".affine.bias"):
        return stored + np.float32(1)  # stored relative to one
    if last == "const" and stored.ndim == 4:
        return stored[0]
    if last == "noise_const" and stored.ndim == 4:
        return stored[0, 0]
    if last != "weight":
        return stored
    if stored.ndim == 2:
        return np.array(stored.T, order="C")
    if stored.ndim != 4:
        return stored
    if "/Conv0_up/" in name or "/Skip/" in name:
        stored = stored[::-1, ::-1]  # correlation for convolution
    return np.array(stored.transpose(3, 2, 0, 1), order="C")
