"""What hands do to knobs and buttons, on its way to the show, and how it is taken back.

Thread: the control process.
"""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np

from performer.control import wire
from performer.control.facts import Facts
from performer.control.history import History, Step
from performer.control.job import Job
from performer.control.leads import Leads
from performer.control.osc import OscError
from performer.control.shelf import Shelf
from performer.control.surfaces import Sender, UdpSender
from performer.params import PRESET_PADS

OWN_S = 0.25  # so long after a hand set it, a parameter is what the hand said, whatever the show still tells
GLIDE_S = 5.0  # over which what a vanished source held goes back to the cue
# Knobs that are not taken back: the tempo, what waits for beats, inputs that stream, and what makes the stage dark.
NOT_UNDONE = ("transport.", "clock.", "cue.", "in.", "out.")


class Moves:
    """Sets knobs and presses buttons, for `sender` at `now_s`, which its owner keeps."""

    def __init__(self, job: Job, facts: Facts, *, history: History, leads: Leads, shelf: Shelf) -> None:
        self._history, self._leads, self._shelf = history, leads, shelf
        self.now_s = 0.0
        self.sender: Sender = UdpSender(("", 0), "", "")
        self._set: dict[int, tuple[float, float]] = {}  # by row: what a hand set, and when
        self._gliding: dict[int, tuple[float, float]] = {}  # by row: from what, since when
        row = job.table.row
        self._goto = row("cue.goto")
        self._pads = {row(name): name.rpartition(".")[2] for name in PRESET_PADS}
        self._load, self._surprise = row("preset.load"), row("preset.surprise")
        self._back, self._again = row("preset.back"), row("preset.again")
        self._arm, self._disarm = row("cue.arm"), row("cue.disarm")
        self.take(job, facts)

    def take(self, job: Job, facts: Facts) -> None:
        """Go on with an edited setlist. Rows of the table keep their places."""
        self._job, self._facts = job, facts

    @property
    def rows(self) -> Iterable[int]:
        """The rows of all knobs that hands have set."""
        return self._set.keys()

    def touched(self, *, since_s: float) -> np.ndarray:  # [P]
        """Whether hands have set each knob since then."""
        touched = np.zeros(len(self._job.table), bool)
        touched[[row for row, (_, at_s) in self._set.items() if at_s >= since_s]] = True
        return touched

    def go_to(self, cue: str) -> None:
        """Begin a cue, by its id or name."""
        self.press(self._goto, cue)

    def set(self, row: int, value: float) -> None:
        """Set a knob."""
        self._note_move(row, value)
        self._gliding.pop(row, None)
        self._set[row] = (value, self.now_s)
        self._job.levels.set(row, value, at_s=self.now_s, source=wire.packed_address(self.sender.host))

    def _note_move(self, row: int, value: float) -> None:
        """Keep what a move of a knob changes, where it begins a gesture."""
        before, source = self._set.get(row), self.sender.source
        if before is not None and before[0] == value:
            return
        if self._job.table.params[row].id.startswith(NOT_UNDONE):
            return
        if self._history.goes_on(row, source=source, at_s=self.now_s):
            return
        if np.float32(value) != np.float32(self.current(row)):
            self._history.moved(row, self._knob_step(row, before), source=source)

    def _knob_step(self, row: int, before: tuple[float, float] | None, *, is_again: bool = False) -> Step:
        param = self._job.table.params[row]
        undo = partial(self._put_back, row, before, is_again=is_again)
        return Step("knob", param.id, undo, self.now_s, is_of_cue=not param.by_hand)

    def _put_back(self, row: int, before: tuple[float, float] | None, *, is_again: bool) -> Step:
        """Put a knob back to what a hand had set, and when; or let go of it. is_again: as if it were set now."""
        after = self._set.get(row)
        value, at_s = before or (self.current(row), -math.inf)  # set never: the cue has it, or what it wears
        if is_again:
            at_s = self.now_s
        if before is None:
            self._set.pop(row, None)
        else:
            self._set[row] = (value, at_s)
        self._leads.taken_back(row)
        self._gliding.pop(row, None)
        self._job.levels.set(row, value, at_s=at_s, source=wire.packed_address(self.sender.host))
        return self._knob_step(row, after, is_again=not is_again)

    def press(self, row: int, text: str, trigger: str = "") -> None:
        """Press for a hand; what presets do, and who is armed, can be taken back."""
        if row in (self._back, self._again):
            is_again = row == self._again
            if self._history.has("look", undone=is_again):
                (self._history.redo if is_again else self._history.undo)("look")
                return
        elif row == self._load or row in self._pads:
            number = self._shelf.number(self._pads.get(row, text))
            self._post_press(row, text)
            self._history.add(self._look_step(f"preset {self._shelf.name(number)}", self._back))
            return
        elif row == self._surprise:
            self._post_press(row, text)
            self._history.add(self._look_step("surprise", self._back))
            return
        elif row in (self._arm, self._disarm):
            cue = next((at for key in (0, 1) for at, each in enumerate(self._job.cues) if each[key] == text), None)
            if cue is not None and self._facts.is_disarmed(cue) == (row == self._arm):
                self._history.add(self._switched(row, self._job.cues[cue][0]))
                return
        self._post_press(row, text, trigger)

    def _look_step(self, what: str, row: int) -> Step:
        """What presets did, to be taken back by a press of `row`."""
        return Step("look", what, partial(self._look_turned, what, row), self.now_s, is_of_cue=True)

    def _look_turned(self, what: str, row: int) -> Step:
        self._post_press(row, "")
        return self._look_step(what, self._again if row == self._back else self._back)

    def _switched(self, row: int, cue: str) -> Step:
        """Arm or disarm a cue: the step that takes that back."""
        self._post_press(row, cue)
        other, how = (self._disarm, "armed") if row == self._arm else (self._arm, "disarmed")
        return Step("cue", f"{cue} {how}", partial(self._switched, other, cue))

    def _post_press(self, row: int, text: str, trigger: str = "") -> None:
        source = wire.packed_address(self.sender.host)
        if not self._job.presses.post(row, source, self.now_s, text.encode()[:64], trigger.encode()):
            raise OscError("too many presses at once; this one was dropped")

    def fire(self, cue: str, kind: str) -> None:
        """A trigger of a cue has come; whether that is armed, the show knows."""
        self.press(self._goto, cue, kind)

    def current(self, row: int) -> float:
        """What a relative value starts from: what a hand has just set, or what the show says."""
        value, set_s = self._set.get(row, (0.0, -1e9))
        return value if self.now_s - set_s < OWN_S else float(self._facts.knobs()[row])

    def glide_back(self, row: int) -> None:
        """Begin to let a knob go back to the cue."""
        self._gliding[row] = (self.current(row), self.now_s)

    def step(self) -> None:
        """Move on the knobs that go back."""
        if not self._gliding:
            return
        rests = self._job.cue_values[self._facts.cue()]
        for row, (begun_at, since_s) in list(self._gliding.items()):
            part = min((self.now_s - since_s) / GLIDE_S, 1.0)
            value = self._job.table.params[row].admit(begun_at + (float(rests[row]) - begun_at) * part)
            self._job.levels.set(row, value, at_s=self.now_s)
            if part >= 1.0:
                del self._gliding[row]
