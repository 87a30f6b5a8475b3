"""lucidrains' stylegan2_pytorch and lightweight_gan: one state dict under "GAN", where GE and SE are the averaged parts.

What the shapes do not say stands in `.config.json` beside the checkpoint, if it was copied along.

Thread: any.
"""

import re
from pathlib import Path
from typing import Any

import msgspec

from performer.flow import F32
from performer.generators.foreign import averages
from performer.generators.foreign.arrays import Lazy, numbers_of
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable
from performer.generators.foreign.shapes import Shapes, refuse_mismatched_siblings

CONFIG = ".config.json"
MAX_CONFIG_BYTES = 1 << 20
DEFAULT_LR_MULTIPLIER = 0.1
NOT_AVERAGED = "the averaged weights are not in the file; those of the last step are used"
_ATTENTION = {"stylegan2": re.compile(r"synthesis\.attns\.(\d+)\."), "lightweight": re.compile(r"layers\.(\d+)\.2\.")}


def is_lightweight(state: dict[str, Lazy]) -> bool:
    return any(key.startswith(("GE.initial_conv.0.", "G.initial_conv.0.")) for key in state)


def is_stylegan2(state: dict[str, Lazy]) -> bool:
    return any(key.startswith(("GE.blocks.0.conv1.", "G.blocks.0.conv1.")) for key in state)


def config_beside(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The settings beside the checkpoint at `path`, empty where there are none, and notes for people."""
    config = path.parent / CONFIG
    if not config.is_file():
        return {}, []
    try:
        with config.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
        read = msgspec.json.decode(raw, type=dict[str, Any]) if len(raw) <= MAX_CONFIG_BYTES else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        read = None
    if read is None:
        return {}, [f"{CONFIG} beside it is damaged and was not used"]
    return read, [f"settings were taken from {CONFIG} beside it"]


def read_stylegan2(state: dict[str, Lazy], *, path: Path, container: str, file_bytes: int) -> Draft:
    """stylegan2_pytorch: GE as `synthesis`, SE as `mapping`."""
    picked, notes = _averaged(state, {"G": "synthesis", "S": "mapping"})
    tensors = numbers_of(picked, file_bytes=file_bytes)
    config, config_notes = config_beside(path)
    lr_multiplier = _setting(config, "lr_mlp", float, DEFAULT_LR_MULTIPLIER)
    blocks, channels = _check_stylegan2(tensors)
    tensors["mapping.w_avg"] = averages.average_w(tensors, lr_multiplier=lr_multiplier)
    return Draft(
        family="lucidrains",
        source=f"lucidrains stylegan2_pytorch {container}",
        tensors=tensors,
        options={
            "image_size": 2 << blocks,
            "lr_multiplier": lr_multiplier,
            "transparent": channels == 4,
            "no_const": "synthesis.initial_block" not in tensors,
            "attn_layers": _attention(tensors, "stylegan2"),
        },
        notes=[*notes, *config_notes, averages.NOTE],
    )


def _check_stylegan2(tensors: dict[str, F32]) -> tuple[int, int]:
    """Blocks and picture channels; raises Unreadable where a tensor is missing or misshapen."""
    shapes = Shapes(tensors)
    layer, width = 0, None
    while f"mapping.net.{layer}.weight" in tensors:  # every second is an activation
        width, _ = shapes.expect(f"mapping.net.{layer}.weight", None, width)
        shapes.vectors(f"mapping.net.{layer}", rows=width, names=("bias",))
        layer += 2
    if width is None:
        raise Unreadable("tensor mapping.net.0.weight is missing: its style network (SE) is not in the file")
    inputs, *_ = shapes.expect("synthesis.initial_conv.weight", None, None, 3, 3)
    pixel_channels = None
    block = 0
    while (prefix := f"synthesis.blocks.{block}") + ".conv1.weight" in tensors:
        outputs, *_ = shapes.expect(f"{prefix}.conv1.weight", None, inputs, 3, 3)
        shapes.expect(f"{prefix}.conv2.weight", outputs, outputs, 3, 3)
        for name, rows in (("to_style1", inputs), ("to_style2", outputs), ("to_rgb.to_style", outputs)):
            shapes.expect(f"{prefix}.{name}.weight", rows, width)
            shapes.expect(f"{prefix}.{name}.bias", rows)
        for name in ("to_noise1", "to_noise2"):
            shapes.expect(f"{prefix}.{name}.weight", outputs, 1)
            shapes.expect(f"{prefix}.{name}.bias", outputs)
        pixel_channels, *_ = shapes.expect(f"{prefix}.to_rgb.conv.weight", pixel_channels, outputs, 1, 1)
        inputs = outputs
        block += 1
    if pixel_channels is None:
        raise Unreadable("tensor synthesis.blocks.0.conv1.weight is missing")
    return block, pixel_channels


def read_lightweight(state: dict[str, Lazy], *, path: Path, container: str, file_bytes: int) -> Draft:
    """lightweight_gan: GE without its prefix."""
    picked, notes = _averaged(state, {"G": ""})
    tensors = numbers_of(picked, file_bytes=file_bytes)
    config, config_notes = config_beside(path)
    refuse_mismatched_siblings(tensors)
    shapes = Shapes(tensors)
    shapes.expect("initial_conv.0.weight", None, None, 4, 4)
    channels, *_ = shapes.expect("out_conv.weight", None, None, 3, 3)
    layers = 0
    while any(key.startswith(f"layers.{layers}.0.") for key in tensors):
        layers += 1
    return Draft(
        family="lightweight",
        source=f"lucidrains lightweight_gan {container}",
        tensors=tensors,
        options={
            "image_size": 4 << layers,
            "transparent": channels == 4,
            "greyscale": channels == 1,
            "freq_chan_attn": _setting(config, "freq_chan_attn", bool, any("dct_weights" in key for key in tensors)),
            "attn_layers": _attention(tensors, "lightweight"),
            "attn_res_layers": _sizes(config.get("attn_res_layers")),
        },
        notes=[*notes, *config_notes],
    )


def _averaged(state: dict[str, Lazy], parts: dict[str, str]) -> tuple[dict[str, Lazy], list[str]]:
    """The tensors of each part (G, S) in its averaged form, under its new prefix."""
    averaged = any(key.startswith("GE.") for key in state)
    picked = {}
    for part, prefix in parts.items():
        old = f"{part}E." if averaged else f"{part}."
        for key, lazy in state.items():
            if key.startswith(old) and not key.endswith("num_batches_tracked"):
                picked[f"{prefix}.{key[len(old) :]}" if prefix else key[len(old) :]] = lazy
    return picked, [] if averaged else [NOT_AVERAGED]


def _attention(tensors: dict[str, F32], family: str) -> list[int]:
    """The layers that have attention, counted from 0."""
    return sorted({int(match[1]) for key in tensors if (match := _ATTENTION[family].match(key))})


def _setting(config: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = config.get(name)
    return value if isinstance(value, kind) else default


def _sizes(value: Any) -> list[int] | None:
    fits = isinstance(value, list) and len(value) <= 16 and all(type(size) is int for size in value)
    return value if fits else None
