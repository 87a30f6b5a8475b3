"""The internal clock's tempo: the bpm parameter, taps and resync make the line of beats.

Thread: render. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from performer.clock import Line, TapTempo
from performer.flow import ControlEvent

BPM_LOW, BPM_HIGH = 20.0, 300.0


@dataclass(frozen=True, slots=True)
class Transport:
    """Beats now, and what was asked for last."""

    line: Line = Line(rate_hz=2.0)
    asked_bpm: float = 120.0  # the parameter's value that the line has already followed
    taps: TapTempo = TapTempo()

    @classmethod
    def at_bpm(cls, bpm: float) -> "Transport":
        """A transport whose beat zero is show time zero."""
        return cls(line=Line(rate_hz=bpm / 60.0), asked_bpm=bpm)

    @property
    def bpm(self) -> float:
        """Beats per minute as they run: the taps', where a hand tapped after the parameter was set."""
        return self.line.rate_hz * 60.0

    def step(self, presses: Sequence[ControlEvent], *, bpm: float, at_s: float) -> "Transport":
        """Follow the parameter where it changed, and this frame's taps and resyncs."""
        after = self
        if bpm != self.asked_bpm:
            after = replace(after, line=after.line.with_rate(bpm / 60.0, at_s=at_s), asked_bpm=bpm)
        for press in presses:
            if press.param == "transport.tap":
                taps = after.taps.tapped(press.at_s)
                line = after.line
                if taps.bpm is not None:
                    line = line.with_rate(min(max(taps.bpm, BPM_LOW), BPM_HIGH) / 60.0, at_s=press.at_s)
                after = replace(after, taps=taps, line=line.resynced(at_s=press.at_s))
            elif press.param == "transport.resync":
                after = replace(after, line=after.line.resynced(at_s=press.at_s))
        return after
