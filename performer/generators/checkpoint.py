"""A species: one safetensors file with the weights, and the family, sizes and provenance in its header.

Reading executes nothing: safetensors holds numbers and strings. Tensors may be stored in half precision; they are read
as float32. Keys follow the StyleGAN2 layout (`mapping.fc0.weight`, `synthesis.b4.conv1.affine.bias`).

Thread: any.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from performer.files import write_whole
from performer.flow import F32, GROUPS, U8
from performer.refusal import Refused

PREVIEW_KEY = "preview"
TRAITS_KEY = "traits"
HEADER_KEY = "performer"  # one key: safetensors writes several in an order that changes from run to run


class CheckpointError(Refused):
    """A file that cannot be played. The message names the file, the value, what was expected and the remedy."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a generator, as the rest of the program needs to know it."""

    height_px: int
    width_px: int
    z_dim: int
    w_dim: int
    num_ws: int  # rows of ws
    noise_layers: int  # length of the noise gains
    coarse: int  # ws[:coarse] shape the form
    middle: int  # ws[coarse:middle] shape the parts; the rest is texture and colour
    classes: int = 0  # labels that the generator knows; 0 for one that knows none

    @property
    def resolution(self) -> int:
        """The longer side of the picture, px."""
        return max(self.height_px, self.width_px)

    @property
    def labels(self) -> range:
        """The labels that may be asked for; 0 alone where the generator knows no classes."""
        return range(max(self.classes, 1))

    def rows(self, group: int) -> slice:
        """The rows of ws that belong to a layer group (0 coarse, 1 middle, 2 fine)."""
        edges = (0, self.coarse, self.middle, self.num_ws)
        return slice(edges[group], edges[group + 1])


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a species comes from."""

    name: str
    origin: str  # how it was made: trained on what, by whom, or a random initialisation
    licence: str
    trained: bool  # False for a random initialisation
    made_with: str = ""
    seed: int = 0
    source: str = ""  # of an imported species: the format of the file that it was read from ...
    source_sha256: str = ""  # ... and its hash


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    family: str
    sizes: Sizes
    provenance: Provenance
    options: dict[str, Any] = {}
    traits: list[str] = []


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A species in memory."""

    family: str
    sizes: Sizes
    provenance: Provenance
    tensors: dict[str, F32]
    content_hash: str  # sha256 of the file: the key of every cache
    path: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)  # what the family knows and the tensors do not say
    preview: U8 | None = None  # [H, W, 3] sRGB, a picture to know the species by
    traits: tuple[str, ...] = ()  # names of the directions in w that were found in it, see `traits.py`
    trait_directions: F32 | None = None  # [traits, 3 layer groups, w_dim]; of length 1 where a trait is one deviation


def load(path: Path) -> Checkpoint:
    """Read a species.

    Raises:
        CheckpointError: the file is missing, cut short, not a species, or its weights are not finite numbers.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a species (.safetensors)")
    try:
        with safe_open(path, framework="numpy") as file:
            header = _parse_header(path, file.metadata() or {})
            keys = set(file.keys())
            tensors = {key: np.asarray(file.get_tensor(key), np.float32) for key in sorted(keys - {PREVIEW_KEY})}
            preview = file.get_tensor(PREVIEW_KEY) if PREVIEW_KEY in keys else None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); {path.stat().st_size:,} bytes are there. "
            "It was probably cut short while copying: copy or download it again"
        ) from None
    for key, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinity; expected finite weights; export it again")
    directions = tensors.pop(TRAITS_KEY, None)
    wanted = (len(header.traits), GROUPS, header.sizes.w_dim)
    if header.traits and (directions is None or directions.shape != wanted):
        raise CheckpointError(f"{path}: its traits are damaged; expected {list(wanted)}; run `performer traits` again")
    return Checkpoint(
        family=header.family,
        sizes=header.sizes,
        provenance=header.provenance,
        tensors=tensors,
        content_hash=hashlib.sha256(path.read_bytes()).hexdigest(),
        path=path,
        options=header.options,
        preview=preview,
        traits=tuple(header.traits),
        trait_directions=directions if header.traits else None,
    )


def _parse_header(path: Path, metadata: dict[str, str]) -> _Header:
    if HEADER_KEY not in metadata:
        raise CheckpointError(
            f"{path}: no {HEADER_KEY!r} in its header; expected a species: "
            "this is a safetensors file of another program"
        )
    try:
        return msgspec.json.decode(metadata[HEADER_KEY], type=_Header)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path}: header is damaged ({error}); make the species again") from None


def save(
    path: Path,
    *,
    family: str,
    sizes: Sizes,
    provenance: Provenance,
    tensors: dict[str, np.ndarray],
    options: dict[str, Any] | None = None,
    preview: U8 | None = None,
    traits: Sequence[str] = (),
    trait_directions: F32 | None = None,
) -> None:
    """Write a species; the same arguments give the same bytes. Raises OSError."""
    written = _Header(family=family, sizes=sizes, provenance=provenance, options=options or {}, traits=list(traits))
    header = msgspec.json.encode(written, order="sorted").decode()
    if preview is not None:
        tensors = {**tensors, PREVIEW_KEY: preview}
    if trait_directions is not None:
        tensors = {**tensors, TRAITS_KEY: trait_directions}
    ordered = {key: np.array(tensors[key], order="C") for key in sorted(tensors)}  # keeps scalars 0-d
    # Not by the library: there a full disk is an exception of its own, and the file's owner alone can read it.
    write_whole(path, safetensors.numpy.save(ordered, metadata={HEADER_KEY: header}))


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`, as `save` does. Raises OSError."""
    save(
        path,
        family=checkpoint.family,
        sizes=checkpoint.sizes,
        provenance=checkpoint.provenance,
        tensors=checkpoint.tensors,
        options=checkpoint.options,
        preview=checkpoint.preview,
        traits=checkpoint.traits,
        trait_directions=checkpoint.trait_directions,
    )


def stranger(first: Checkpoint, second: Checkpoint) -> str:
    """Why two species are no siblings, which alone can be blended layer by layer; empty where they are.

    Siblings are of one family and one shape: tensor for tensor, and in what their family must know beside them. One was
    usually trained on from the other; of two that were trained apart a blend is defined too, but seldom beautiful.
    """
    if first.family != second.family:
        return f"{first.family} and {second.family} are different families"
    if first.sizes != second.sizes:
        sizes = [f"{each.sizes.width_px}x{each.sizes.height_px} px" for each in (first, second)]
        if sizes[0] == sizes[1]:
            return "their layers or latents differ in number"
        return f"one draws {sizes[0]}, the other {sizes[1]}"
    for key in sorted({*first.tensors, *second.tensors}):
        shapes = [list(each.tensors[key].shape) if key in each.tensors else None for each in (first, second)]
        if shapes[0] != shapes[1]:
            return f"tensor {key} has shape {shapes[0] or 'none'} in one and {shapes[1] or 'none'} in the other"
    if first.options != second.options:
        keys = sorted(k for k in {*first.options, *second.options} if first.options.get(k) != second.options.get(k))
        return f"they differ in {', '.join(keys)}"
    return ""
