"""A species: one safetensors file with the weights, and the family, sizes and provenance in its header.

Reading executes nothing: safetensors holds numbers and strings. Tensors may be stored in half precision; they are read
as float32. Keys follow the StyleGAN2 layout (`mapping.fc0.weight`, `synthesis.b4.conv1.affine.bias`).

Thread: any.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from performer.flow import F32
from performer.refusal import Refused

FORMAT = "performer-species"


class CheckpointError(Refused):
    """A file that cannot be played. The message names the file, the value, what was expected and the remedy."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a generator, as the rest of the program needs to know it."""

    resolution: int  # px, both sides
    z_dim: int
    w_dim: int
    num_ws: int  # rows of ws
    noise_layers: int  # length of the noise gains
    coarse: int  # ws[:coarse] shape the form
    middle: int  # ws[coarse:middle] shape the parts; the rest is texture and colour


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a species comes from."""

    name: str
    origin: str  # how it was made: trained on what, by whom, or a random initialisation
    licence: str
    trained: bool  # False for a random initialisation
    made_with: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A species in memory."""

    family: str
    sizes: Sizes
    provenance: Provenance
    tensors: dict[str, F32]
    content_hash: str  # sha256 of the file: the key of every cache
    path: Path | None = None


def load(path: Path) -> Checkpoint:
    """Read a species.

    Raises:
        CheckpointError: the file is missing, cut short, not a species, or its weights are not finite numbers.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a species (.safetensors)")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            sizes, provenance = _parse_header(path, header)
            tensors = {key: np.asarray(file.get_tensor(key), np.float32) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); {path.stat().st_size:,} bytes are there. "
            "It was probably cut short while copying: copy or download it again"
        ) from None
    for key, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinity; expected finite weights; export it again")
    return Checkpoint(
        family=header["family"],
        sizes=sizes,
        provenance=provenance,
        tensors=tensors,
        content_hash=hashlib.sha256(path.read_bytes()).hexdigest(),
        path=path,
    )


def _parse_header(path: Path, header: dict[str, str]) -> tuple[Sizes, Provenance]:
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: header says format {header.get('format')!r}; expected {FORMAT!r}: "
            "this is a safetensors file of another program, not a species"
        )
    try:
        sizes = msgspec.json.decode(header["sizes"], type=Sizes)
        provenance = msgspec.json.decode(header["provenance"], type=Provenance)
        header["family"]
    except (KeyError, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path}: header is damaged ({error}); make the species again") from None
    return sizes, provenance


def save(
    path: Path,
    *,
    family: str,
    sizes: Sizes,
    provenance: Provenance,
    tensors: dict[str, np.ndarray],
) -> None:
    """Write a species; the same arguments give the same bytes."""
    header = {
        "format": FORMAT,
        "family": family,
        "sizes": json.dumps(msgspec.to_builtins(sizes), sort_keys=True),
        "provenance": json.dumps(msgspec.to_builtins(provenance), sort_keys=True),
    }
    ordered = {key: np.array(tensors[key], order="C") for key in sorted(tensors)}  # keeps scalars 0-d
    save_file(ordered, path, metadata=header)
