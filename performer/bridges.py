"""A bridge: where pictures of one species look most like pictures of another. The file, and what a show asks of it.

`performer bridge` makes the file (`performer.bridging`); this module reads and checks it. One safetensors file: numbers,
and a header in JSON. Reading executes nothing.

| tensor (k is 0 or 1, the side) | shape | what |
| --- | --- | --- |
| `w.k` | [pairs, w_dim] f32 | the latents of the pairs, truncated already, nearest look-alikes first |
| `z.k` | [pairs, z_dim] f32 | what they were mapped from; of a refined pair, where it began |
| `psi.k` | [pairs] f32 | the truncation that they were drawn with |
| `spread.k` | [w_dim] f32 | the standard deviation of w in the species, above 0 |

Thread: any. Immutable. No torch, and no generators, so that choreography may hold one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from performer.files import write_whole
from performer.flow import F32, frozen_array
from performer.refusal import Refused

SUFFIX = ".bridge.safetensors"
HEADER_KEY = "bridge"
VERSION = 1  # of the file
SIDES = 2


class BridgeError(Refused):
    """A bridge that cannot be crossed. The message names the file, the value, what was expected and the remedy."""


class Sizes(Protocol):
    """What a bridge must know of the shape of a species."""

    @property
    def w_dim(self) -> int: ...


class Species(Protocol):
    """A species as a bridge knows it again; a `Checkpoint` is one."""

    @property
    def content_hash(self) -> str: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def sizes(self) -> Sizes: ...


class _Side(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    content_hash: str
    family: str
    w_dim: int
    z_dim: int


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    species: list[_Side]
    seed: int
    samples: int
    truncation: tuple[float, float]
    descriptor: str
    found: list[float]
    refined: list[float]
    random: float
    made_with: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One bank: a species, and its latents of all pairs."""

    name: str
    content_hash: str  # of the species' file, as `Checkpoint.content_hash`
    family: str
    w: F32  # [pairs, w_dim], as they are drawn: truncation is worked in
    z: F32  # [pairs, z_dim], what w was mapped from; of a refined pair, where it began
    psi: F32  # [pairs], the truncation that they were drawn with
    spread: F32  # [w_dim], the standard deviation of w in the species, above 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """Pairs of look-alikes of two species, those that look most alike first.

    Side 0 is the species that is left and side 1 the one that is reached; `turned` is the way back.

    Distances are those of the descriptor, in which two random pictures, one of each species, are about 1 apart.
    """

    sides: tuple[Side, Side]
    distances: tuple[float, ...]  # of each pair, as it is stored
    found: tuple[float, ...]  # the same before refinement: equal where a pair was not refined
    random: float  # the mean of all pairs that could be drawn
    seed: int
    samples: int  # that were drawn of each species
    truncation: tuple[float, float]  # lowest and highest psi that they were drawn with
    descriptor: str  # what likeness means, see `performer.bridging.descriptors`
    made_with: str = ""
    path: Path | None = None

    def __len__(self) -> int:
        """How many pairs there are, 1 at least."""
        return len(self.distances)

    def nearest(self, w: F32, side: int) -> int:
        """The number of the pair whose latent on `side` is nearest to `w`, one [w_dim] or a row for each layer.

        Of [num_ws, w_dim] all rows count alike. Distances are Euclidean in standard deviations of the species, so that a
        direction in which animals hardly differ counts as much as one in which they differ greatly.

        Raises:
            ValueError: `w` is not of the width of that side.
        """
        bank = self.sides[side]
        rows = np.atleast_2d(np.asarray(w, np.float32))
        if rows.ndim != 2 or rows.shape[1] != bank.w.shape[1]:
            raise ValueError(f"w {list(np.shape(w))}; expected [{bank.w.shape[1]}], or a row of that for each layer")
        apart = (rows[None] - bank.w[:, None]) / bank.spread
        return int(np.mean(apart * apart, axis=(1, 2)).argmin())

    def turned(self) -> "Bridge":
        """The same bridge from the other end."""
        return replace(self, sides=(self.sides[1], self.sides[0]))


def load(path: Path, *, between: Sequence[Species] = ()) -> Bridge:
    """Read a bridge. With `between`, the two species of a show, side 0 is the first of them, whatever the file says.

    Raises:
        BridgeError: the file is missing, cut short, no bridge, of another version, of wrong sizes or not of finite
            numbers; or it does not join these two species.
    """
    if not path.is_file():
        raise BridgeError(f"{path}: no such file; expected a bridge ({SUFFIX}); make one: performer bridge A B")
    try:
        with safe_open(path, framework="numpy") as file:
            header = _parsed(path, file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except SafetensorError as error:
        raise BridgeError(
            f"{path}: not a whole safetensors file ({error}); {path.stat().st_size:,} bytes are there. "
            "It was probably cut short while copying: copy it again, or make it anew: performer bridge A B"
        ) from None
    pairs = len(header.refined)
    first, second = (_side(path, tensors, header, side, pairs) for side in range(SIDES))
    bridge = Bridge(
        sides=(first, second),
        distances=tuple(header.refined),
        found=tuple(header.found),
        random=header.random,
        seed=header.seed,
        samples=header.samples,
        truncation=header.truncation,
        descriptor=header.descriptor,
        made_with=header.made_with,
        path=path,
    )
    return _between(bridge, between) if between else bridge


def save(path: Path, bridge: Bridge) -> None:
    """Write a bridge; the same bridge gives the same bytes, whatever its `path`. Raises OSError."""
    header = _Header(
        version=VERSION,
        species=[
            _Side(
                name=side.name,
                content_hash=side.content_hash,
                family=side.family,
                w_dim=side.w.shape[1],
                z_dim=side.z.shape[1],
            )
            for side in bridge.sides
        ],
        seed=bridge.seed,
        samples=bridge.samples,
        truncation=bridge.truncation,
        descriptor=bridge.descriptor,
        found=list(bridge.found),
        refined=list(bridge.distances),
        random=bridge.random,
        made_with=bridge.made_with,
    )
    tensors = {}
    for number, side in enumerate(bridge.sides):
        for name in ("psi", "spread", "w", "z"):
            tensors[f"{name}.{number}"] = np.array(getattr(side, name), np.float32, order="C")
    ordered = {key: tensors[key] for key in sorted(tensors)}
    text = msgspec.json.encode(header, order="sorted").decode()
    write_whole(path, safetensors.numpy.save(ordered, metadata={HEADER_KEY: text}))


def _parsed(path: Path, metadata: dict[str, str]) -> _Header:
    if HEADER_KEY not in metadata:
        raise BridgeError(
            f"{path}: no {HEADER_KEY!r} in its header; expected a bridge: this is another safetensors file, perhaps a "
            "species; make a bridge: performer bridge A B"
        )
    try:
        version = msgspec.json.decode(metadata[HEADER_KEY], type=dict).get("version")
        if version != VERSION:
            raise BridgeError(
                f"{path}: a bridge of version {version!r}; expected {VERSION}; make it anew: performer bridge A B"
            )
        header = msgspec.json.decode(metadata[HEADER_KEY], type=_Header)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BridgeError(f"{path}: header is damaged ({error}); make it anew: performer bridge A B") from None
    pairs = len(header.refined)
    if len(header.species) != SIDES or not pairs or len(header.found) != pairs:
        raise BridgeError(
            f"{path}: header is damaged ({len(header.species)} species, {pairs} distances and {len(header.found)} before "
            f"refinement); expected {SIDES} species and as many of both, 1 or more; make it anew: performer bridge A B"
        )
    return header


def _side(path: Path, tensors: dict[str, np.ndarray], header: _Header, number: int, pairs: int) -> Side:
    known = header.species[number]
    shapes = {"w": (pairs, known.w_dim), "z": (pairs, known.z_dim), "psi": (pairs,), "spread": (known.w_dim,)}
    found: dict[str, F32] = {}
    for name, shape in shapes.items():
        key = f"{name}.{number}"
        tensor = tensors.get(key)
        if tensor is None or tensor.shape != shape or tensor.dtype != np.float32:
            has = "none" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
            raise BridgeError(
                f"{path}: tensor {key} is {has}; expected float32 {list(shape)}; make it anew: performer bridge A B"
            )
        if not np.isfinite(tensor).all():
            raise BridgeError(
                f"{path}: tensor {key} holds NaN or infinity; expected finite numbers; "
                "make it anew: performer bridge A B"
            )
        found[name] = frozen_array(tensor)
    if not (found["spread"] > 0).all():
        raise BridgeError(
            f"{path}: tensor spread.{number} holds {found['spread'].min():g}; expected deviations above 0; "
            "make it anew: performer bridge A B"
        )
    return Side(name=known.name, content_hash=known.content_hash, family=known.family, **found)


def _between(bridge: Bridge, between: Sequence[Species]) -> Bridge:
    first, second = between
    for way in (bridge, bridge.turned()):
        if [side.content_hash for side in way.sides] == [first.content_hash, second.content_hash]:
            for side, each in zip(way.sides, between, strict=True):
                if side.w.shape[1] != each.sizes.w_dim:
                    raise BridgeError(
                        f"{bridge.path}: its latents of {side.name} have {side.w.shape[1]} numbers; "
                        f"expected {each.sizes.w_dim}, as {each.path} has; make it anew: performer bridge A B"
                    )
            return way
    known = {side.content_hash for side in bridge.sides}
    stranger = first if first.content_hash not in known else second
    joined = " and ".join(f"{side.name} ({side.content_hash[:8]})" for side in bridge.sides)
    raise BridgeError(
        f"{bridge.path}: joins {joined}, not {stranger.path} ({stranger.content_hash[:8]}); expected a bridge between "
        f"{first.path} and {second.path} as they are now; make it anew: performer bridge {first.path} {second.path}"
    )
