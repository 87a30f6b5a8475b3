"""Finding the generator in what a file holds, by keys: never by class names, and the averaged one before the raw.

Thread: any.
"""

import re
from pathlib import Path
from typing import Any

from performer.generators.foreign import fastgan, lucidrains, nvidia, rosinality, tensorflow
from performer.generators.foreign.arrays import Array, Lazy, Tensor
from performer.generators.foreign.containers import Content
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable
from performer.generators.foreign.trees import Tree, described, entries, is_network, is_state_dict, tree_of

GENERATORS = ("G_ema", "g_ema", "G", "g", "g_running", "generator", "netG", "params_ema", "model", "state_dict")
RAW = ("G", "g")
PREFIXES = ("module.", "G_ema.", "g_ema.", "generator.", "G.")
NOT_AVERAGED = "the averaged generator (EMA) is not in the file; the raw one is used"

STYLEGAN_T = "is a StyleGAN-T network, which needs a text encoder and cannot be played; expected StyleGAN2 or 3"
_STYLEGAN_T = re.compile(r"synthesis\.(b\d+\.input\.freqs$|(.+\.)?convs1\.)")
_STYLEGAN1 = re.compile(r"(generator\.)?progression\.0\.|g_synthesis\.|g_mapping\.|synthesis\.(blocks\.)?4x4\.")
_STYLEGAN3 = re.compile(r"synthesis\.L0_\d+_\d+\.weight")


def read_layout(content: Content, *, path: Path, file_bytes: int) -> Draft:
    """The generator in `content`.

    Raises:
        Unreadable: there is none, or it is of a kind that cannot be played.
    """
    top, container = content.top, content.container
    network = tensorflow.generator_in(top)
    if network is not None:
        return tensorflow.read(network, container=container, file_bytes=file_bytes)
    held = entries(top) or {}
    if is_state_dict(gan := held.get("GAN")):
        top = gan
    for key in GENERATORS:
        candidate = held.get(key)
        if key == "g_ema" and isinstance(candidate, list | tuple) and is_state_dict(held.get("g")):
            state = _stripped(tree_of(held["g"])).tensors
            return fastgan.read_fastgan(state, averaged=list(candidate), container=container, file_bytes=file_bytes)
        if is_network(candidate) or is_state_dict(candidate):
            draft = _of_kind(candidate, path=path, container=container, file_bytes=file_bytes, average=_average(held))
            if draft is not None:
                if key in RAW and draft.family != "fastgan":
                    draft.notes.append(NOT_AVERAGED)  # FastGAN keeps the averaged one under g
                return draft
    if is_network(top) or is_state_dict(top):
        draft = _of_kind(top, path=path, container=container, file_bytes=file_bytes, average=None)
        if draft is not None:
            return draft
    raise Unreadable(
        f"no generator that can be played was found; at its top level is {described(content.top)}; "
        "expected StyleGAN2, StyleGAN3, FastGAN, projected GAN, StyleGAN-XL, rosinality's or lucidrains' files"
    )


def _average(held: dict) -> Lazy | None:
    average = held.get("latent_avg")
    return average if isinstance(average, Tensor | Array) else None


def _stripped(tree: Tree) -> Tree:
    """Without a prefix that all keys share, as data-parallel training adds."""
    for prefix in PREFIXES:
        if tree.tensors and all(key.startswith(prefix) for key in tree.tensors):
            tree.tensors = {key[len(prefix) :]: lazy for key, lazy in tree.tensors.items()}
            tree.attributes = {
                f"{path}."[len(prefix) : -1]: own
                for path, own in tree.attributes.items()
                if f"{path}.".startswith(prefix)
            }
    return tree


def _of_kind(candidate: Any, *, path: Path, container: str, file_bytes: int, average: Lazy | None) -> Draft | None:
    """`candidate` read as the kind that its keys show, or None where they show none."""
    tree = _stripped(tree_of(candidate))
    keys = tree.tensors
    if any(_STYLEGAN_T.match(key) for key in keys):
        raise Unreadable(STYLEGAN_T)
    if any(_STYLEGAN1.match(key) for key in keys):
        raise Unreadable(tensorflow.STYLEGAN1)
    if any(_STYLEGAN3.fullmatch(key) for key in keys):
        return nvidia.read_stylegan3(tree, container=container, file_bytes=file_bytes)
    if "synthesis.b4.const" in keys:
        return nvidia.read_stylegan2(tree, container=container, file_bytes=file_bytes)
    if any(key.startswith("synthesis.init.init.0.") for key in keys):
        return fastgan.read_projected(tree, container=container, file_bytes=file_bytes)
    if any(key.startswith("init.init.0.") for key in keys):
        return fastgan.read_fastgan(keys, averaged=None, container=container, file_bytes=file_bytes)
    if "input.input" in keys and "conv1.conv.weight" in keys:
        return rosinality.read(keys, average=average, container=container, file_bytes=file_bytes)
    if lucidrains.is_lightweight(keys):
        return lucidrains.read_lightweight(keys, path=path, container=container, file_bytes=file_bytes)
    if lucidrains.is_stylegan2(keys):
        return lucidrains.read_stylegan2(keys, path=path, container=container, file_bytes=file_bytes)
    return None
