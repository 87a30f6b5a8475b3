"""History: what hands did, step by step, to be taken back and done again.

A step knows how it is taken back; doing so gives the step that takes that back in turn. The moves of a knob by one source
are one step while they follow each other closely.

Thread: the control process. Time is an argument.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from performer.control.osc import OscError

KEPT = 64  # steps
GESTURE_S = 1.0  # what moves again within so long is the same gesture
GRACE_S = 0.1  # the show tells late that a cue has begun: what a hand did so shortly before may be of that cue

NONE = {"": "nothing was done", "route": "no route was changed"}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One thing that a hand did."""

    kind: str  # knob, look, route, preset or cue
    what: str  # which, for people
    undo: Callable[[], "Step"]  # takes it back; raises OscError where that cannot be
    at_s: float = 0.0
    is_of_cue: bool = False  # over with the cue that plays

    @property
    def text(self) -> str:
        """For people: `macro.1`, `preset night`, `route kick`."""
        return self.what if self.kind in ("knob", "look") else f"{self.kind} {self.what}"


@dataclass(slots=True)
class _Gesture:
    """The newest moves of a knob."""

    source: str
    moved_s: float
    step: Step


@dataclass(slots=True)
class History:
    """All steps."""

    _done: list[Step] = field(default_factory=list)
    _undone: list[Step] = field(default_factory=list)
    _gestures: dict[int, _Gesture] = field(default_factory=dict)  # by row

    def add(self, step: Step) -> None:
        """A hand did something; what was taken back before cannot be done again."""
        self._done = [*self._done, step][-KEPT:]
        self._undone.clear()

    def goes_on(self, row: int, *, source: str, at_s: float) -> bool:
        """Whether this move of a knob belongs to a gesture that is under way."""
        gesture = self._gestures.get(row)
        if gesture is None or gesture.source != source or at_s - gesture.moved_s > GESTURE_S:
            return False
        if gesture.step not in self._done:  # it was taken back meanwhile, or forgotten
            return False
        gesture.moved_s = at_s
        return True

    def moved(self, row: int, step: Step, *, source: str) -> None:
        """A gesture begins."""
        self._gestures[row] = _Gesture(source, step.at_s, step)
        self.add(step)

    def undo(self, kind: str = "") -> Step:
        """Take back the newest step, or the newest of a kind; says which. Raises OscError where there is none."""
        return _turned(self._done, self._undone, kind, "that could be taken back")

    def redo(self, kind: str = "") -> Step:
        """Do again what was taken back last. Raises OscError where there is none."""
        return _turned(self._undone, self._done, kind, "that was taken back")

    def has(self, kind: str, *, undone: bool = False) -> bool:
        """Whether there is a step of this kind."""
        return any(step.kind == kind for step in (self._undone if undone else self._done))

    def forget(self) -> None:
        """Nothing can be taken back any more: the setlist was edited, and what was there before is no more."""
        self._done.clear()
        self._undone.clear()
        self._gestures.clear()

    def cue_began(self, *, at_s: float) -> None:
        """Another cue plays: what belonged to the one before cannot be taken back any more."""
        for steps in (self._done, self._undone):
            steps[:] = [step for step in steps if not step.is_of_cue or step.at_s > at_s - GRACE_S]


def _turned(steps: list[Step], onto: list[Step], kind: str, what: str) -> Step:
    found = next((step for step in reversed(steps) if kind in ("", step.kind)), None)
    if found is None:
        raise OscError(f"{NONE.get(kind, NONE[''])} {what}")
    inverse = found.undo()
    steps.remove(found)
    onto.append(inverse)
    return found
