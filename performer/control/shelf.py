"""The shelf: the presets as hands see them, asked for, saved and removed by messages.

Thread: the control process.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from performer.control.history import Step
from performer.control.osc import OscError
from performer.flow import F32
from performer.params import PRESETS_MOST, Kind, ParamTable
from performer.presets import Preset, find, is_same, may_name, name_fault, put, unknown, wide

HELD = ("macro.", "route.", "mute.", "solo.", "routes.")  # of what belongs to the hand, these are part of a look


class Shelf:
    """All presets, in their places.

    post(preset): hands one to the show that was changed; False where that has no room. did(step): what was done, to be taken
    back. changed: by name, what was posted before this process began.
    """

    def __init__(
        self,
        presets: Sequence[Preset],
        *,
        table: ParamTable,
        post: Callable[[Preset], bool],
        did: Callable[[Step], None],
        changed: Mapping[str, Preset],
    ) -> None:
        self._post, self._did = post, did
        self.edits = dict(changed)  # what is other than in the setlist
        self._put_up(presets, table)

    def take(self, presets: Sequence[Preset], *, table: ParamTable) -> bool:
        """Go on with the presets of an edited setlist; what hands did to those that were not edited still holds. Whether
        any was edited."""
        before = [wide(preset, size=len(table)) for preset in self._written]
        names = [[each.name for each in written] for written in (before, presets)]
        self.edits = still_shelved(self.edits, before, presets, size=len(table))
        self._put_up(presets, table)
        return names[0] != names[1] or not all(map(is_same, before, presets))

    def _put_up(self, presets: Sequence[Preset], table: ParamTable) -> None:
        self._table = table
        self._written = self.presets = tuple(presets)
        for preset in self.edits.values():
            self.presets = put(self.presets, preset)
        by_hand = [param.by_hand and not param.id.startswith(HELD) for param in table.params]
        self._may = may_name(table) & ~np.array(by_hand)
        self._held = np.array([param.by_hand for param in table.params]) & self._may
        self._least = 1e-5 * (table.highs() - table.lows())

    def number(self, text: str) -> int:
        """The number of the preset that a text names. Raises OscError."""
        number = find(self.presets, text)
        if number is None:
            raise OscError(unknown(self.presets, text))
        return number

    def name(self, number: int) -> str:
        """The name of a preset; empty where there is none."""
        return self.presets[number - 1].name if 0 < number <= len(self.presets) else ""

    def save(self, name: object, *, knobs: F32, cue: F32, touched: np.ndarray) -> str:
        """Make a preset of the look that is seen, or make it anew: its name. Raises OscError.

        knobs: [P], where they stand. cue: [P], where the cue has them. touched: [P] bool, what hands have set in it.
        """
        if not isinstance(name, str):
            raise OscError(f"{name!r}; expected a name for the preset")
        if fault := name_fault(name):
            raise OscError(fault)
        if len(self.presets) >= PRESETS_MOST and all(each.name != name for each in self.presets):
            raise OscError(f"there are {PRESETS_MOST} presets already; save over one of them")
        named = self._may & (np.abs(knobs - cue) > self._least) & (touched | ~self._held)
        if not named.any():
            raise OscError("nothing stands elsewhere than the cue has it; move a knob first")
        self._put(Preset(name, named, np.where(named, knobs, self._table.defaults()).astype(np.float32)))
        return name

    def remove(self, name: object) -> str:
        """Take a preset out; the others keep their numbers: its name. Raises OscError."""
        preset = self.presets[self.number(str(name)) - 1]
        self._put(Preset(preset.name, np.zeros(len(self._table), bool), self._table.defaults()))
        return preset.name

    def to_save(self) -> dict[str, dict[str, float] | None]:
        """What was changed, as a setlist has it: values by parameter; None for what was removed."""
        return {name: self._content(preset) for name, preset in self.edits.items()}

    def _content(self, preset: Preset) -> dict[str, float] | None:
        if not preset.is_there:
            return None
        params = self._table.params
        return {
            params[row].id: float(preset.values[row]) if params[row].kind is Kind.FLOAT else int(preset.values[row])
            for row in np.flatnonzero(preset.named)
        }

    def _put(self, preset: Preset) -> None:
        self._did(self._replaced(preset))

    def _replaced(self, preset: Preset) -> Step:
        """Put a preset in its place: the step that takes that back."""
        gone = Preset(preset.name, np.zeros(len(self._table), bool), self._table.defaults())
        before = next((each for each in self.presets if each.name == preset.name), gone)
        preset = wide(preset, size=len(self._table))  # of a step that is older than an edit of the setlist
        if not self._post(preset):
            raise OscError("too many changes at once; this one was dropped")
        self.presets = put(self.presets, preset)
        self.edits[preset.name] = preset
        return Step("preset", preset.name, partial(self._replaced, before))


def still_shelved(
    edits: Mapping[str, Preset], before: Sequence[Preset], after: Sequence[Preset], *, size: int
) -> dict[str, Preset]:
    """What of hands' presets still holds once the setlist was edited, in `size` rows: the file has it where it says
    something else now."""
    written = [{preset.name: wide(preset, size=size) for preset in presets} for presets in (before, after)]
    return {
        name: wide(preset, size=size)
        for name, preset in edits.items()
        if is_same(written[0].get(name), written[1].get(name))
    }
