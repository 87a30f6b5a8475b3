"""StyleGAN2 in canonical form, whoever wrote the file: which tensors it has, and what they say by their shapes.

Blocks are named b4, b8, b16 ... by doublings, also where the picture is not square.

Thread: any.
"""

import re
from typing import Any

import numpy as np

from performer.flow import F32
from performer.generators.foreign.shapes import Shapes
from performer.generators.foreign.trees import Tree, number

FAMILY = "StyleGAN2"
DEFAULT_TAPS = [1, 3, 3, 1]
DEFAULT_LR_MULTIPLIER = 0.01
STYLEGAN3_CLAMP = 256  # the default of StyleGAN2 as the StyleGAN3 repository trains it; not among the saved arguments
_FILTER = re.compile(r"(^|\.)resample_filter$")


def without_filters(keys: Any) -> list[str]:
    """The keys of tensors to keep: the filters are in the options."""
    return [key for key in keys if not _FILTER.search(key)]


def check(tensors: dict[str, F32], *, label: str | None) -> None:
    """Tick off every tensor of a StyleGAN2.

    Raises:
        Unreadable: naming the tensor that is missing, misshapen or too many.
    """
    shapes = Shapes(tensors)
    w_dim = check_mapping(shapes, tensors, label=label)
    channels, height, width = shapes.expect("synthesis.b4.const", None, None, None)
    last = top_block(tensors)
    image_channels = None
    name = 4
    while name <= last:
        block = f"synthesis.b{name}"
        before = channels
        if name > 4:
            height, width = 2 * height, 2 * width
            channels = _layer(shapes, f"{block}.conv0", inputs=channels, size=(height, width), w_dim=w_dim)
        _layer(shapes, f"{block}.conv1", inputs=channels, outputs=channels, size=(height, width), w_dim=w_dim)
        if f"{block}.torgb.weight" in shapes or name == last:
            image_channels = _torgb(shapes, f"{block}.torgb", inputs=channels, outputs=image_channels, w_dim=w_dim)
        if name > 4 and f"{block}.skip.weight" in shapes:
            shapes.expect(f"{block}.skip.weight", channels, before, 1, 1)
        name *= 2
    shapes.finish(family=FAMILY)


def check_mapping(shapes: Shapes, tensors: dict[str, F32], *, label: str | None) -> int:
    """Tick off the mapping network; return the size of w."""
    width = check_mapping_layers(shapes, label=label)
    if label == "table" and tensors.get("mapping.w_avg", np.zeros(1)).ndim == 2:
        shapes.expect("mapping.w_avg", tensors["mapping.embed.weight"].shape[0], width)  # one a class
    else:
        shapes.expect("mapping.w_avg", width)
    return width


def check_mapping_layers(shapes: Shapes, *, label: str | None) -> int:
    """Tick off the layers of the mapping network; return the size of w."""
    embedded = 0
    if label == "table":
        _, columns = shapes.expect("mapping.embed.weight", None, None)
        embedded, _ = shapes.expect("mapping.embed_proj.weight", None, columns)
        shapes.vectors("mapping.embed_proj", rows=embedded, names=("bias",))
    elif label is not None:
        embedded, _ = shapes.expect("mapping.embed.weight", None, None)
        if label == "embed":
            shapes.vectors("mapping.embed", rows=embedded, names=("bias",))
    width, inputs = shapes.expect("mapping.fc0.weight", None, None)
    if inputs <= embedded:
        shapes.expect("mapping.fc0.weight", width, embedded + width)
    shapes.vectors("mapping.fc0", rows=width, names=("bias",))
    layer = 1
    while f"mapping.fc{layer}.weight" in shapes:
        width, _ = shapes.expect(f"mapping.fc{layer}.weight", None, width)
        shapes.vectors(f"mapping.fc{layer}", rows=width, names=("bias",))
        layer += 1
    return width


def _layer(
    shapes: Shapes, layer: str, *, inputs: int, size: tuple[int, int], w_dim: int, outputs: int | None = None
) -> int:
    outputs, *_ = shapes.expect(f"{layer}.weight", outputs, inputs, 3, 3)
    shapes.expect(f"{layer}.bias", outputs)
    shapes.expect(f"{layer}.affine.weight", inputs, w_dim)
    shapes.expect(f"{layer}.affine.bias", inputs)
    if f"{layer}.noise_strength" in shapes:
        shapes.expect(f"{layer}.noise_strength")
        shapes.expect(f"{layer}.noise_const", *size)
    return outputs


def _torgb(shapes: Shapes, layer: str, *, inputs: int, outputs: int | None, w_dim: int) -> int:
    outputs, *_ = shapes.expect(f"{layer}.weight", outputs, inputs, 1, 1)
    shapes.expect(f"{layer}.bias", outputs)
    shapes.expect(f"{layer}.affine.weight", inputs, w_dim)
    shapes.expect(f"{layer}.affine.bias", inputs)
    return outputs


def top_block(tensors: dict[str, Any]) -> int:
    """The name of the last block, a power of two."""
    name = 4
    while f"synthesis.b{2 * name}.conv1.weight" in tensors:
        name *= 2
    return name


def label_of(tensors: dict[str, Any]) -> str | None:
    """How a label enters the mapping, by the keys: None where there is none."""
    if "mapping.embed_proj.weight" in tensors:
        return "table"
    return "embed" if "mapping.embed.weight" in tensors else None


def label_options(tensors: dict[str, F32], *, label: str | None) -> dict[str, Any]:
    classes = tensors["mapping.embed.weight"].shape[0 if label == "table" else 1] if label else 0
    return {"c_dim": classes, "label": label}


def options(
    tensors: dict[str, F32], *, label: str | None, conv_clamp: float | None, lr_multiplier: float, resample: list
) -> dict[str, Any]:
    """What a builder needs beyond the tensors."""
    last = top_block(tensors)
    if "synthesis.b8.skip.weight" in tensors:
        architecture = "resnet"
    else:
        architecture = "skip" if last == 4 or "synthesis.b4.torgb.weight" in tensors else "orig"
    return {
        "architecture": architecture,
        "conv_clamp": conv_clamp,
        "lr_multiplier": lr_multiplier,
        "resample": resample,
        "use_noise": any(key.endswith(".noise_strength") for key in tensors),
        **label_options(tensors, label=label),
    }


def taps_of(kernel: F32) -> list:
    """The taps of a resampling filter, smallest 1, from its outer product [n, n] or the taps [n] in any scale."""
    row = kernel.sum(0) if kernel.ndim == 2 else kernel
    smallest = np.abs(row[row != 0]).min(initial=np.inf)
    taps = [float(tap / smallest) for tap in row]
    whole = [round(tap) for tap in taps]
    return whole if np.allclose(taps, whole, atol=1e-3) else taps


def arguments_of(tree: Tree) -> dict[str, Any]:
    """The saved constructor arguments that matter, of either NVIDIA repository, flattened; plain data only.

    Adds "nested": whether they were written by stylegan2-ada-pytorch, which keeps those of the parts apart.
    """
    kept = tree.attributes.get("", {}).get("_init_kwargs")
    top = kept if isinstance(kept, dict) else {}
    flat: dict[str, Any] = {"nested": "synthesis_kwargs" in top, "known": bool(top)}
    for part in (top, top.get("synthesis_kwargs"), top.get("mapping_kwargs")):
        if isinstance(part, dict):
            flat |= {name: part[name] for name in ("conv_clamp", "lr_multiplier", "resample_filter") if name in part}
    return flat


def clamp_of(tree: Tree) -> tuple[float | None, bool]:
    """The clamp of the layers' outputs, None for none; and whether the file says so."""
    for path in ("synthesis.b4.conv1", "synthesis.b4.torgb"):
        saved = tree.attributes.get(path, {})
        if "conv_clamp" in saved:
            return number(saved["conv_clamp"], None), True
    arguments = arguments_of(tree)
    if "conv_clamp" in arguments:
        return number(arguments["conv_clamp"], None), True
    if arguments["known"]:
        return (None if arguments["nested"] else STYLEGAN3_CLAMP), True
    return None, False


def lr_multiplier_of(tree: Tree) -> float:
    """How much slower the mapping trained, which scales its weights."""
    saved = tree.attributes.get("mapping.fc0", {}).get("bias_gain")
    return number(arguments_of(tree).get("lr_multiplier"), number(saved, DEFAULT_LR_MULTIPLIER))
