"""The pace of frames: an absolute schedule where no display sets it, and the count of slots that were missed.

Thread: main. No clock of its own; one is handed in.
"""

import math
from dataclasses import dataclass

from performer.clock import Clock

SWAP_MARGIN_S = 0.003  # how long before a display's next slot a frame should be drawn


class Pace:
    """An absolute schedule of frames. Late frames do not push later ones back; slots that were missed are skipped.

    Sleeping a period after each frame would add every frame's own delay to the next; here frame k begins at
    start + k * period, whatever the frames before did.

    fps
        the pace to begin with, frames a second.
    refresh_hz
        of a display that paces. Its swap is the schedule then; slots are counted from one presented frame to the next.
    """

    def __init__(self, *, fps: float, clock: Clock, refresh_hz: float | None = None) -> None:
        self.missed = 0  # slots that no frame came for
        self._clock = clock
        self._refresh_hz = refresh_hz
        self._presented_s: float | None = None
        self.change(fps)

    @property
    def period_s(self) -> float:
        """Seconds from one frame to the next, as asked for."""
        return 1.0 / self.fps

    @property
    def slot_s(self) -> float:
        """Seconds from one slot to the next: on a display that paces, whole refreshes."""
        if self._refresh_hz is None:
            return self.period_s
        refreshes = math.ceil((self.period_s - SWAP_MARGIN_S) * self._refresh_hz - 1e-6)
        return max(refreshes, 1) / self._refresh_hz

    def change(self, fps: float) -> None:
        """Go on with another pace, from now."""
        self.fps = fps
        self._start_s = self._clock.now_s()
        self._slot = 0

    def next_draw_s(self) -> float:
        """Show time at which the next frame begins to be drawn, where no display paces."""
        self._slot += 1
        late_s = self._clock.now_s() - (self._start_s + self._slot * self.period_s)
        if late_s > self.period_s / 2:
            skipped = int(late_s / self.period_s + 0.5)
            self.missed += skipped
            self._slot += skipped
        return self._start_s + self._slot * self.period_s

    def presented(self, *, at_s: float) -> None:
        """A display that paces has shown a frame."""
        if self._presented_s is not None:
            self.missed += max(round((at_s - self._presented_s) / self.slot_s) - 1, 0)
        self._presented_s = at_s


@dataclass(slots=True)
class Spent:
    """A slowly following estimate of how long something takes, seconds."""

    typical_s: float

    def took(self, seconds: float) -> None:
        """Take in one measurement: up quickly, down slowly, so that plans err on the safe side."""
        self.typical_s += (seconds - self.typical_s) * (0.3 if seconds > self.typical_s else 0.05)
