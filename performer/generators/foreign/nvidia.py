"""NVIDIA's layout of StyleGAN2 and StyleGAN3, which projected GAN, StyleGAN-XL and eps696's fork share.

Either a network with its attributes, or only its state dict.

Thread: any.
"""

import re
from typing import Any

import numpy as np

from performer.flow import F32
from performer.generators.foreign import averages, stylegan2
from performer.generators.foreign.arrays import numbers_of
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.shapes import Shapes
from performer.generators.foreign.trees import Tree, number

STYLEGAN3 = "StyleGAN3"
DEFAULT_OUTPUT_SCALE = 0.25
_LAYER = re.compile(r"synthesis\.(L(\d+)_\d+_\d+)\.")
_SAVED = (  # attributes of a StyleGAN3 layer, with what they may be
    *("is_torgb", "is_critically_sampled", "conv_kernel", "conv_clamp", "up_factor", "up_taps", "down_factor"),
    *("down_taps", "down_radial", "padding", "in_size", "out_size", "in_channels", "out_channels"),
    *("in_sampling_rate", "out_sampling_rate", "tmp_sampling_rate"),
    *("in_cutoff", "out_cutoff", "in_half_width", "out_half_width"),
)
_NEEDED = ("is_torgb", "conv_kernel", "up_factor", "down_factor", "padding", "in_size", "out_size")


def read_stylegan2(tree: Tree, *, container: str, file_bytes: int) -> Draft:
    """StyleGAN2 as stylegan2-ada-pytorch and its descendants keep it."""
    keys = stylegan2.without_filters(key for key in tree.tensors if key.startswith(("mapping.", "synthesis.")))
    tensors = numbers_of({key: tree.tensors[key] for key in keys}, file_bytes=file_bytes)
    label = stylegan2.label_of(tensors)
    notes = complete_average(tensors, lr_multiplier=stylegan2.lr_multiplier_of(tree), label=label)
    stylegan2.check(tensors, label=label)
    conv_clamp, certain = stylegan2.clamp_of(tree)
    if not certain:
        notes.append("the file does not say whether its layers are clamped; none is assumed")
    return Draft(
        family="stylegan2",
        source=f"{_origin(tree, stylegan2.FAMILY, label=label)} {container}",
        tensors=tensors,
        options=stylegan2.options(
            tensors,
            label=label,
            conv_clamp=conv_clamp,
            lr_multiplier=stylegan2.lr_multiplier_of(tree),
            resample=_resample(tree, file_bytes=file_bytes),
        ),
        notes=notes,
    )


def _resample(tree: Tree, *, file_bytes: int) -> list:
    for key in ("synthesis.b8.resample_filter", "synthesis.b8.conv0.resample_filter"):
        if key in tree.tensors:
            kernel = numbers_of({key: tree.tensors[key]}, file_bytes=file_bytes)[key]
            if kernel.ndim in (1, 2) and kernel.any() and np.isfinite(kernel).all():
                return stylegan2.taps_of(kernel)
            raise Unreadable(f"tensor {key} is no filter; expected taps such as {stylegan2.DEFAULT_TAPS}")
    saved = stylegan2.arguments_of(tree).get("resample_filter")
    if isinstance(saved, list | tuple) and 1 < len(saved) < 16 and all(number(tap, None) is not None for tap in saved):
        return list(saved)
    return stylegan2.DEFAULT_TAPS


def complete_average(tensors: dict[str, F32], *, lr_multiplier: float, label: str | None) -> list[str]:
    """Add mapping.w_avg where it is missing or was never set; the notes for people.

    Raises:
        Unreadable: a layer of the mapping is missing or misshapen.
    """
    if label == "table":
        return []  # it has one average a class, and always has them
    width = stylegan2.check_mapping_layers(Shapes(tensors), label=label)
    present = tensors.get("mapping.w_avg")
    if present is not None and (present.any() or present.shape != (width,)):
        return []
    tensors["mapping.w_avg"] = averages.average_w(tensors, lr_multiplier=lr_multiplier, label=label)
    return [averages.NOTE]


def _origin(tree: Tree, family: str, *, label: str | None) -> str:
    if not tree.attributes:
        return f"{family} state dict,"
    if label == "table":
        return "StyleGAN-XL" if family == STYLEGAN3 else "projected GAN (stylegan2)"
    arguments = stylegan2.arguments_of(tree)
    if family == stylegan2.FAMILY and (arguments["nested"] or not arguments["known"]):
        return "NVIDIA stylegan2-ada-pytorch"
    return "NVIDIA stylegan3" if family == STYLEGAN3 else "NVIDIA stylegan3 (StyleGAN2 network)"


def read_stylegan3(tree: Tree, *, container: str, file_bytes: int) -> Draft:
    """StyleGAN3 T and R, and StyleGAN-XL with its layers for higher resolutions."""
    wanted = {key: value for key, value in tree.tensors.items() if key.startswith(("mapping.", "synthesis."))}
    tensors = numbers_of(wanted, file_bytes=file_bytes)
    label = stylegan2.label_of(tensors)
    lr_multiplier = stylegan2.lr_multiplier_of(tree)
    notes = complete_average(tensors, lr_multiplier=lr_multiplier, label=label)
    names = _layer_names(tree, tensors)
    _check_stylegan3(tensors, names, label=label)
    if not np.array_equal(tensors["synthesis.input.transform"], np.eye(3, dtype=np.float32)):
        notes.append("the saved input transform is not the identity: its maker had moved or turned the picture")
    first = tensors[f"synthesis.{names[0]}.weight"]
    saved_input = {name: tree.attribute("synthesis.input", name) for name in ("size", "sampling_rate", "bandwidth")}
    options: dict[str, Any] = {
        "config": "R" if first.shape[2] == 1 else "T",
        "layer_names": names,
        "output_scale": number(tree.attribute("synthesis", "output_scale"), DEFAULT_OUTPUT_SCALE),
        "lr_multiplier": lr_multiplier,
        **stylegan2.label_options(tensors, label=label),
    }
    layers = [_saved_layer(tree, name) for name in names]
    if all(layers) and None not in saved_input.values():
        options["layers"] = layers
        options["input"] = saved_input
    else:
        notes.append("only the weights are saved: sizes and filters follow from the design of StyleGAN3")
    return Draft(
        family="stylegan3",
        source=f"{_origin(tree, STYLEGAN3, label=label)} {container}",
        tensors=tensors,
        options=options,
        notes=notes,
    )


def _layer_names(tree: Tree, tensors: dict[str, F32]) -> list[str]:
    """The names of the layers in order, as saved, or by their numbers."""
    numbered = {match[1]: int(match[2]) for key in tensors if (match := _LAYER.match(key))}
    saved = tree.attribute("synthesis", "layer_names")
    if isinstance(saved, list) and len(saved) == len(numbered) and set(saved) == set(numbered):
        return saved
    names = sorted(numbered, key=lambda name: numbered[name])
    if len(set(numbered.values())) != len(names) or not names:
        raise Unreadable("the layers of its StyleGAN3 are not numbered in order")
    return names


def _saved_layer(tree: Tree, name: str) -> dict[str, Any] | None:
    """The attributes of a layer, or None where those that a builder needs are missing."""
    saved = tree.attributes.get(f"synthesis.{name}", {})
    layer = {key: tree.attribute(f"synthesis.{name}", key) for key in _SAVED if key in saved}
    if any(layer.get(key) is None for key in _NEEDED):
        return None
    for key, length in (("padding", 4), ("in_size", 2), ("out_size", 2)):
        value = layer[key]
        if not isinstance(value, list) or len(value) != length or not all(_is_size(item) for item in value):
            raise Unreadable(f"layer {quoted(name)} has {key} {quoted(value)}; expected {length} integers")
    for key in ("conv_kernel", "up_factor", "down_factor"):
        if type(layer[key]) is not int or not 1 <= layer[key] <= 16:
            raise Unreadable(f"layer {quoted(name)} has {key} {quoted(layer[key])}; expected an integer, 1 to 16")
    return {"name": name, **layer}


def _is_size(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 16


def _check_stylegan3(tensors: dict[str, F32], names: list[str], *, label: str | None) -> None:
    shapes = Shapes(tensors)
    w_dim = stylegan2.check_mapping(shapes, tensors, label=label)
    inputs, _ = shapes.expect("synthesis.input.weight", None, None)
    shapes.expect("synthesis.input.weight", inputs, inputs)
    shapes.expect("synthesis.input.transform", 3, 3)
    shapes.expect("synthesis.input.freqs", inputs, 2)
    shapes.expect("synthesis.input.phases", inputs)
    shapes.expect("synthesis.input.affine.weight", 4, w_dim)
    shapes.expect("synthesis.input.affine.bias", 4)
    for name in names:
        layer = f"synthesis.{name}"
        outputs, _, kernel, _ = shapes.expect(f"{layer}.weight", None, inputs, None, None)
        shapes.expect(f"{layer}.weight", outputs, inputs, kernel, kernel)
        shapes.expect(f"{layer}.bias", outputs)
        shapes.expect(f"{layer}.magnitude_ema")
        shapes.expect(f"{layer}.affine.weight", inputs, w_dim)
        shapes.expect(f"{layer}.affine.bias", inputs)
        shapes.allow(f"{layer}.up_filter")
        shapes.allow(f"{layer}.down_filter")
        inputs = outputs
    shapes.finish(family=STYLEGAN3)
