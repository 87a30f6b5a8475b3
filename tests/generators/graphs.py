"""Species of every family as ONNX graphs, each exported once in a test session: exports take seconds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from weakref import WeakKeyDictionary

import pytest

from performer.generators import checkpoint as checkpoints
from performer.generators import export, light, network
from performer.generators.checkpoint import Checkpoint
from performer.generators.network import PictureNetwork
from tests.conftest import EMBRYO
from tests.generators import test_small_families as small
from tests.generators.latents import sibling_of
from tests.generators.test_parity import reference

SPECIES = ("sg2_64", "sg3t_64", "sg3r_64", "embryo", *small.REFERENCES)
FORMS = ("single", "pair")

_build, _to_onnx = network.build, export.to_onnx
_recipes: WeakKeyDictionary[PictureNetwork, tuple[str, bool]] = WeakKeyDictionary()
_graphs: dict[tuple[str, bool, bool], bytes] = {}


@cache
def species(name: str) -> Checkpoint:
    """One of SPECIES."""
    if name == "embryo":
        return checkpoints.load(EMBRYO)
    if name not in small.REFERENCES:
        return reference(name)[0]
    found = small.reference(*small.REFERENCES[name])[0]
    if name == "lightweight":  # without its alpha, which leaves nothing to see of most animals
        opaque = {key: found.tensors[key][:3] for key in ("out_conv.weight", "out_conv.bias")}
        found = replace(found, tensors=found.tensors | opaque)
    return replace(found, content_hash=name)


def partner_of(checkpoint: Checkpoint, *, seed: int = 11) -> Checkpoint:
    """A sibling that can be had in half precision.

    The embryo draws small differences of large features, which kernels that were moved at random no longer cancel: what is
    left is noise, in half precision another. Its sibling differs in styles alone.
    """
    sibling = sibling_of(checkpoint, amount=0.1, seed=seed)
    if checkpoint.family != light.NAME:
        return sibling
    tensors = {key: (sibling if ".affine." in key else checkpoint).tensors[key] for key in checkpoint.tensors}
    return replace(sibling, tensors=tensors, content_hash=f"{sibling.content_hash}-styles")


def siblings(name: str, form: str) -> tuple[Checkpoint, Sequence[Checkpoint]]:
    """What a network of that form is built from."""
    first = species(name)
    return first, [partner_of(first)] if form == "pair" else []


def graph(name: str, form: str, *, products: bool = True) -> bytes:
    """In half precision, as `graph_of`."""
    return graph_of(*siblings(name, form), products=products)


def graph_of(first: Checkpoint, siblings: Sequence[Checkpoint] = (), *, products: bool = True) -> bytes:
    """A species, or all between siblings, as it is exported in half precision."""
    return _recalled(_noted(first, siblings, half=True), products=products)


def remember(patch: pytest.MonkeyPatch) -> None:
    """Let nothing be exported that was exported before."""
    patch.setattr(network, "build", _noted)
    patch.setattr(export, "to_onnx", _recalled)


def _noted(first: Checkpoint, siblings: Sequence[Checkpoint] = (), *, half: bool = False) -> PictureNetwork:
    net = _build(first, siblings, half=half)
    _recipes[net] = ("\n".join(each.content_hash for each in (first, *siblings)), half)
    return net


def _recalled(net: PictureNetwork, *, products: bool = True) -> bytes:
    key = (*_recipes[net], products)
    if key not in _graphs:
        _graphs[key] = _to_onnx(net, products=products)
    return _graphs[key]
