"""Time as an argument: the only place where a wall clock is read.

Thread: any; clocks are read, never written, except `SteppedClock`, which belongs to the test or render that steps it.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Protocol


class Clock(Protocol):
    """Show time in seconds, monotonic, zero when the show began."""

    def now_s(self) -> float: ...

    def sleep_until(self, at_s: float) -> None: ...


class SystemClock:
    """The machine's monotonic clock, which all processes of one machine share.

    `epoch_s` is the reading of `time.monotonic` at show time zero; a child process that is given the same epoch
    speaks the same show time.
    """

    # A sleep may end late by the scheduler's slice. The last stretch is therefore slept in short naps, whose
    # lateness is small, instead of one long one; a busy wait would take a core from the generator.
    _NAP_S = 0.001

    def __init__(self, epoch_s: float | None = None) -> None:
        self.epoch_s = time.monotonic() if epoch_s is None else epoch_s

    def now_s(self) -> float:
        return time.monotonic() - self.epoch_s

    def sleep_until(self, at_s: float) -> None:
        while (left_s := at_s - self.now_s()) > 0:
            time.sleep(left_s - self._NAP_S if left_s > 2 * self._NAP_S else min(left_s, self._NAP_S))


class SteppedClock:
    """A clock that moves only when it is told to: tests and offline renders run as fast as they can."""

    def __init__(self, at_s: float = 0.0) -> None:
        self._at_s = at_s

    def now_s(self) -> float:
        return self._at_s

    def sleep_until(self, at_s: float) -> None:
        self._at_s = max(self._at_s, at_s)


@dataclass(frozen=True, slots=True)
class BeatLine:
    """Beats as a straight line through time: exact at any distance, never a sum of small steps.

    A change of tempo or a tap makes a new line through the beat that was reached; nothing is accumulated.
    """

    bpm: float = 120.0  # beats per minute, 20..300
    at_s: float = 0.0  # a show time ...
    beat: float = 0.0  # ... and the beat that fell on it

    def beat_at(self, at_s: float) -> float:
        """Beats since the show began at show time `at_s`."""
        return self.beat + (at_s - self.at_s) * self.bpm / 60.0

    def with_bpm(self, bpm: float, *, at_s: float) -> "BeatLine":
        """The line that goes on from the beat at `at_s` with another tempo."""
        if bpm == self.bpm:
            return self
        return BeatLine(bpm=bpm, at_s=at_s, beat=self.beat_at(at_s))

    def resynced(self, *, at_s: float) -> "BeatLine":
        """The line on which `at_s` is a whole beat: the nearest one."""
        return replace(self, at_s=at_s, beat=float(math.floor(self.beat_at(at_s) + 0.5)))


@dataclass(frozen=True, slots=True)
class TapTempo:
    """Tempo from a hand: the mean interval of the last taps. A pause of two seconds begins anew."""

    taps_s: tuple[float, ...] = ()

    def tapped(self, at_s: float) -> "TapTempo":
        """The taps with one more at show time `at_s`."""
        recent = self.taps_s if self.taps_s and at_s - self.taps_s[-1] < 2.0 else ()
        return TapTempo((*recent, at_s)[-8:])

    @property
    def bpm(self) -> float | None:
        """Beats per minute; None before the second tap."""
        if len(self.taps_s) < 2:
            return None
        return 60.0 * (len(self.taps_s) - 1) / max(self.taps_s[-1] - self.taps_s[0], 1e-3)
