"""Presets as they are written: named looks, each the values of some parameters.

How one is glided to stands in `choreography.looks`.

Thread: any; values only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from performer.flow import F32
from performer.params import ParamTable, nearest

NAME_BYTES = 60  # of a name, at most: it is pressed by it


@dataclass(frozen=True, slots=True)
class Preset:
    """A named look. One that names nothing was removed, and only keeps its place: the others keep their numbers."""

    name: str
    named: np.ndarray  # [P] bool, the parameters that it changes
    values: F32  # [P], meaningful where it is named

    @property
    def is_there(self) -> bool:
        """Whether it has not been removed."""
        return bool(self.named.any())


def wide(preset: Preset, *, size: int) -> Preset:
    """The same in a table that has grown to `size` rows."""
    more = (0, size - len(preset.named))
    return preset if more[1] <= 0 else Preset(preset.name, np.pad(preset.named, more), np.pad(preset.values, more))


def is_same(first: Preset | None, second: Preset | None) -> bool:
    """Whether two presets of one size say the same, or neither is there."""
    if first is None or second is None:
        return first is second
    rows = first.named
    return np.array_equal(rows, second.named) and np.array_equal(first.values[rows], second.values[rows])


def put(presets: Sequence[Preset], preset: Preset) -> tuple[Preset, ...]:
    """The presets with another one: in the place of that name, or else the last."""
    if any(each.name == preset.name for each in presets):
        return tuple(preset if each.name == preset.name else each for each in presets)
    return (*presets, preset)


def find(presets: Sequence[Preset], text: str) -> int | None:
    """The number, from 1, of the preset with this name, or else of this number; None where there is none."""
    number = next((at for at, each in enumerate(presets, 1) if each.name == text), 0)
    number = number or (int(text) if text.isascii() and text.isdigit() else 0)
    return number if 0 < number <= len(presets) and presets[number - 1].is_there else None


def unknown(presets: Sequence[Preset], text: str) -> str:
    """What to tell somebody who asks for a preset that is not there."""
    names = [each.name for each in presets if each.is_there]
    there = f"expected one of: {', '.join(names)}" if names else "there are none: save one, or write [preset.<name>]"
    return f"{text!r} is no preset{nearest(text, names)}; {there}"


def name_fault(name: str) -> str:
    """What is wrong with the name of a preset; empty where it is good."""
    if name != name.strip() or not name or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        return f"{name[:NAME_BYTES]!r}; expected a name of {NAME_BYTES} letters at most, without spaces around it"
    return ""


def may_name(table: ParamTable) -> np.ndarray:
    """[P] bool: the parameters that a preset may change, which are all that hold a value but those of presets."""
    return np.array([not (each.kind.is_command or each.id.startswith("preset.")) for each in table.params], bool)
