"""The pace of frames where no display sets it: an absolute schedule, and what to do when the machine cannot hold it.

Thread: main. No clock of its own; one is handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from performer.clock import Clock

WATCH_S = 2.0  # missed slots are counted over stretches so long ...
MOST_MISSED = 0.05  # ... of which this part may be missed ...
STRIKES = 2  # ... until so many stretches running were worse


class Pace:
    """An absolute schedule of frames. Late frames do not push later ones back; slots that were missed are skipped.

    Sleeping a period after each frame would add every frame's own delay to the next; here frame k begins at
    start + k * period, whatever the frames before did.

    fps
        the pace to begin with, frames a second.
    humbler
        slower paces, fastest first. A picture that moves evenly at 32 frames a second looks better than one that
        stumbles at 40, so a pace that the machine misses for seconds is given up for the next. It is not taken up
        again: a pace that changes back and forth is a stutter of its own.
    """

    def __init__(self, *, fps: float, clock: Clock, humbler: Sequence[float] = ()) -> None:
        self.fps = fps
        self.missed = 0  # slots that no frame came for
        self._clock = clock
        self._humbler = list(humbler)
        self._strikes = -1  # the first stretch is the start of everything, and forgiven
        self._begin()

    @property
    def period_s(self) -> float:
        """Seconds from one slot to the next."""
        return 1.0 / self.fps

    def next_draw_s(self) -> float:
        """Show time at which the next frame begins to be drawn."""
        self._slot += 1
        late_s = self._clock.now_s() - (self._start_s + self._slot * self.period_s)
        if late_s > self.period_s / 2:
            skipped = int(late_s / self.period_s + 0.5)
            self.missed += skipped
            self._slot += skipped
        return self._start_s + self._slot * self.period_s

    def eased(self) -> bool:
        """Whether the pace has just been made slower, because too many slots were missed. Ask once a frame."""
        if not self._humbler or (self._slot - self._from_slot) * self.period_s < WATCH_S:
            return False
        part = (self.missed - self._from_missed) / (self._slot - self._from_slot)
        self._strikes = self._strikes + 1 if part > MOST_MISSED or self._strikes < 0 else 0
        self._from_slot, self._from_missed = self._slot, self.missed
        if self._strikes < STRIKES:
            return False
        self.fps = self._humbler.pop(0)
        self._strikes = 0
        self._begin()
        return True

    def _begin(self) -> None:
        """Start the schedule now."""
        self._start_s = self._clock.now_s()
        self._slot = self._from_slot = 0
        self._from_missed = self.missed


@dataclass(slots=True)
class Spent:
    """A slowly following estimate of how long something takes, seconds."""

    typical_s: float

    def took(self, seconds: float) -> None:
        """Take in one measurement: up quickly, down slowly, so that plans err on the safe side."""
        self.typical_s += (seconds - self.typical_s) * (0.3 if seconds > self.typical_s else 0.05)
