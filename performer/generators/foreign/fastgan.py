"""FastGAN, as its own trainer saves it, and as the generator of projected GAN (whole, and lite).

Convolutions are stored with spectral norm apart; here it is folded into the weights.

Thread: any.
"""

import re
from typing import Any

import numpy as np

from performer.flow import F32
from performer.generators.foreign.arrays import Lazy, Tensor, numbers_of
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.shapes import refuse_mismatched_siblings
from performer.generators.foreign.trees import Tree, number

BUFFERS = ("running_mean", "running_var", "stored_mean", "stored_var", "num_batches_tracked", "weight_u", "weight_v")
UNUSED = "num_batches_tracked"
TRANSPOSED = "init.init.0"  # the only transposed convolution
_FEATURES = re.compile(r"(?:synthesis\.)?feat_(\d+)\.")
_SECOND_CONVOLUTION = re.compile(r"(?:synthesis\.)?feat_\d+\.(5|conv2|conv\.2|bn2)\.")


def read_fastgan(state: dict[str, Lazy], *, averaged: list[Any] | None, container: str, file_bytes: int) -> Draft:
    """FastGAN from the state dict `g`, and the averaged parameters in order, if the file keeps them apart.

    Raises:
        Unreadable: the two do not fit each other, or a tensor is misshapen.
    """
    source = "FastGAN"
    if averaged is not None:
        state = _with_parameters(state, averaged)
        source = "FastGAN (all)"
    tensors = folded(numbers_of(_used(state), file_bytes=file_bytes))
    refuse_mismatched_siblings(tensors)
    return Draft(
        family="fastgan",
        source=f"{source} {container}",
        tensors=tensors,
        options={"resolution": _resolution(tensors)},
    )


def read_projected(tree: Tree, *, container: str, file_bytes: int) -> Draft:
    """Projected GAN with a FastGAN generator."""
    used = {key: lazy for key, lazy in _used(tree.tensors).items() if key.startswith("synthesis.")}
    tensors = folded(numbers_of(used, file_bytes=file_bytes))
    refuse_mismatched_siblings(tensors)
    embed = tensors.get("synthesis.embed.weight")
    return Draft(
        family="projected",
        source=f"projected GAN (FastGAN) {container}",
        tensors=tensors,
        options={
            "resolution": number(tree.attribute("", "img_resolution"), _resolution(tensors)),
            "lite": not any(_SECOND_CONVOLUTION.match(key) for key in tensors),
            "cond": embed is not None,
            "c_dim": 0 if embed is None else embed.shape[0],
        },
    )


def _used(state: dict[str, Lazy]) -> dict[str, Lazy]:
    return {key: lazy for key, lazy in state.items() if not key.endswith(UNUSED)}


def _with_parameters(state: dict[str, Lazy], averaged: list[Any]) -> dict[str, Lazy]:
    """`state` with its parameters replaced by `averaged`, which come in the same order."""
    keys = [key for key in state if not key.endswith(BUFFERS)]
    if len(keys) != len(averaged):
        raise Unreadable(f"its averaged parameters are {len(averaged):,}; expected {len(keys):,}, as many as in g")
    replaced = dict(state)
    for key, lazy in zip(keys, averaged, strict=True):
        if not isinstance(lazy, Tensor) or lazy.shape != state[key].shape:
            shape = list(getattr(lazy, "shape", ()))
            raise Unreadable(f"the averaged {quoted(key)} has shape {shape}; expected {list(state[key].shape)}")
        replaced[key] = lazy
    return replaced


def folded(tensors: dict[str, F32]) -> dict[str, F32]:
    """`tensors` with X.weight = W / (u^T W v) for every X.weight_orig, X.weight_u, X.weight_v.

    Raises:
        Unreadable: one of the three is missing or misshapen.
    """
    result = {}
    for key, tensor in tensors.items():
        if key.endswith(".weight_orig"):
            layer = key.removesuffix(".weight_orig")
            result[f"{layer}.weight"] = _fold(tensors, layer)
        elif not key.endswith((".weight_u", ".weight_v")):
            result[key] = tensor
    return result


def _fold(tensors: dict[str, F32], layer: str) -> F32:
    weight = tensors[f"{layer}.weight_orig"]
    matrix = weight.swapaxes(0, 1) if layer.endswith(TRANSPOSED) and weight.ndim > 1 else weight
    if weight.ndim < 2 or 0 in weight.shape:
        raise Unreadable(
            f"tensor {quoted(layer)}.weight_orig has shape {list(weight.shape)}; expected a matrix or kernel"
        )
    matrix = matrix.reshape(matrix.shape[0], -1).astype(np.float64)
    vectors = []
    for name, size in (("weight_u", matrix.shape[0]), ("weight_v", matrix.shape[1])):
        vector = tensors.get(f"{layer}.{name}")
        if vector is None:
            raise Unreadable(f"tensor {quoted(layer)}.{name} is missing; expected shape [{size}]")
        if vector.shape != (size,):
            raise Unreadable(f"tensor {quoted(layer)}.{name} has shape {list(vector.shape)}; expected [{size}]")
        vectors.append(vector.astype(np.float64))
    norm = vectors[0] @ matrix @ vectors[1]
    if not norm:
        raise Unreadable(f"tensor {quoted(layer)}.weight_orig has a spectral norm of zero")
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
        return (weight / norm).astype(np.float32)


def _resolution(tensors: dict[str, F32]) -> int:
    sizes = [int(match[1]) for key in tensors if (match := _FEATURES.match(key))]
    if not sizes:
        raise Unreadable("it has no feature blocks (feat_8 and so on); expected those of FastGAN")
    return max(sizes)
