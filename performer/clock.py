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


def local_offset_s(wall_s: float) -> float:
    """Seconds by which local time is ahead of UTC at a POSIX time."""
    return float(time.localtime(wall_s).tm_gmtoff)


@dataclass(frozen=True, slots=True)
class Line:
    """A phase as a straight line through time: exact at any distance, never a sum of small steps.

    Beats, walks and breaths are lines. A change of rate makes a new line through the phase that was reached, so that
    nothing jumps, and where the rate never changed a moment can be asked for without the moments before it.
    """

    rate_hz: float  # phase a second
    at_s: float = 0.0  # a show time ...
    phase: float = 0.0  # ... and the phase that fell on it

    def at(self, at_s: float) -> float:
        """The phase at show time `at_s`."""
        return self.phase + (at_s - self.at_s) * self.rate_hz

    def with_rate(self, rate_hz: float, *, at_s: float) -> "Line":
        """The line that goes on from the phase at `at_s` with another rate; this very line where nothing changes."""
        if rate_hz == self.rate_hz:
            return self
        return Line(rate_hz=rate_hz, at_s=at_s, phase=self.at(at_s))

    def resynced(self, *, at_s: float) -> "Line":
        """The line on which `at_s` is a whole number: the nearest one."""
        return replace(self, at_s=at_s, phase=float(math.floor(self.at(at_s) + 0.5)))


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
