"""The tempo: the bpm parameter, taps and the ear make the line of beats.

Who leads: a hand (taps, the bpm parameter), else the ear while it is followed and sure enough, else the tempo that ran
last. The line never leaps: the ear's beat is approached over a beat or two. Asked for at the time at which the light
leaves the screen, it looks ahead by itself, since the ear's beat is a line too.

Thread: render. Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from performer.clock import Line, TapTempo
from performer.flow import AudioFeatures, ControlEvent

BPM_LOW, BPM_HIGH = 20.0, 300.0
SURE, UNSURE = 0.4, 0.2  # confidence from which the ear is followed, and below which it no longer is
GLIDE_BEATS = 1.5  # a difference of phase is made up over so many beats
GLIDE_MOST = 0.2  # of the tempo
TAPS_LEAD_S = 4.0  # the ear is not followed for so long after a tap
NUDGE_BEATS = 1.0 / 32.0
BAR_BEATS = 4
BAR_PATIENCE_BEATS = 8.0  # another first beat of the bar is believed after so many


@dataclass(frozen=True, slots=True)
class Transport:
    """Beats now, and what was asked for last."""

    line: Line = Line(rate_hz=2.0)
    asked_bpm: float = 120.0  # the parameter's value that the line has already followed
    taps: TapTempo = TapTempo()
    tapped_s: float = -math.inf
    follows: bool = False  # whether the ear leads
    octave: int = 0  # beats of the line to one of the ear's, as a power of two
    nudge: float = 0.0  # beats by which a hand has moved the line from the ear's
    downbeat: int = 0  # beats that are congruent to it modulo 4 begin a bar
    bar_by_hand: bool = False
    bar_off_beat: float | None = None  # since when the ear has guessed another

    @classmethod
    def at_bpm(cls, bpm: float) -> "Transport":
        """A transport whose beat zero is show time zero."""
        return cls(line=Line(rate_hz=bpm / 60.0), asked_bpm=bpm)

    @property
    def bpm(self) -> float:
        """Beats per minute as they run: the taps', where a hand tapped after the parameter was set."""
        return self.line.rate_hz * 60.0

    def step(
        self,
        presses: Sequence[ControlEvent],
        *,
        bpm: float,
        at_s: float,
        heard: AudioFeatures | None = None,
        follow: bool = False,
    ) -> "Transport":
        """Follow the parameter where it changed, this frame's presses, and the ear.

        bpm: the parameter. at_s: when this frame's light leaves the screen. heard: with the ear's beat. follow: whether
        the ear may lead.
        """
        after = self
        if bpm != self.asked_bpm:
            after = replace(after, line=after.line.with_rate(bpm / 60.0, at_s=at_s), asked_bpm=bpm)
        for press in presses:
            after = after._pressed(press)
        return after._led(heard, at_s=at_s) if follow and heard is not None else replace(after, follows=False)

    def _pressed(self, press: ControlEvent) -> "Transport":
        at_s = press.at_s
        match press.param:
            case "transport.tap":
                taps = self.taps.tapped(at_s)
                line = self.line
                if taps.bpm is not None:
                    line = line.with_rate(min(max(taps.bpm, BPM_LOW), BPM_HIGH) / 60.0, at_s=at_s)
                line = line.resynced(at_s=at_s)
                return replace(self, taps=taps, line=line, tapped_s=at_s, octave=0, nudge=0.0)
            case "transport.resync":
                line = self.line.resynced(at_s=at_s)
                moved = line.at(at_s) - self.line.at(at_s)
                return replace(self, line=line, nudge=self.nudge + moved if self.follows else self.nudge)
            case "transport.downbeat":
                downbeat = round(self.line.at(at_s)) % BAR_BEATS
                return replace(self, downbeat=downbeat, bar_by_hand=True)
            case "transport.half" | "transport.double":
                step = 1 if press.param == "transport.double" else -1
                bpm = self.bpm * 2.0**step
                if not BPM_LOW <= bpm <= BPM_HIGH:
                    return self
                octave = self.octave + step if self.follows else self.octave
                return replace(self, line=self.line.with_rate(bpm / 60.0, at_s=at_s), octave=octave)
            case "transport.earlier" | "transport.later":
                beats = NUDGE_BEATS if press.param == "transport.earlier" else -NUDGE_BEATS
                line = replace(self.line, phase=self.line.phase + beats)
                return replace(self, line=line, nudge=self.nudge + beats)
        return self

    def _led(self, heard: AudioFeatures, *, at_s: float) -> "Transport":
        """The line, led by the ear where it is sure."""
        needed = UNSURE if self.follows else SURE
        if heard.bpm <= 0 or heard.confidence < needed or at_s - self.tapped_s < TAPS_LEAD_S:
            return replace(self, follows=False)
        factor = 2.0**self.octave
        rate_hz = heard.bpm / 60.0 * factor
        ear = (heard.beat + (at_s - heard.centre_s) * heard.bpm / 60.0) * factor + self.nudge
        here = self.line.at(at_s)
        off = (ear - here + 0.5) % 1.0 - 0.5
        glide = min(max(off / GLIDE_BEATS, -GLIDE_MOST), GLIDE_MOST)
        line = Line(rate_hz=rate_hz * (1.0 + glide), at_s=at_s, phase=here)
        after = replace(self, line=line, follows=True)
        return after if self.bar_by_hand or self.octave else after._barred(heard, at_s=at_s, ear=ear)

    def _barred(self, heard: AudioFeatures, *, at_s: float, ear: float) -> "Transport":
        """Begin bars where the ear has long guessed that they do."""
        here = self.line.at(at_s)
        guess = (heard.downbeat + round(here - ear)) % BAR_BEATS
        if guess == self.downbeat:
            return replace(self, bar_off_beat=None)
        if self.bar_off_beat is None:
            return replace(self, bar_off_beat=here)
        if here - self.bar_off_beat < BAR_PATIENCE_BEATS:
            return self
        return replace(self, downbeat=guess, bar_off_beat=None)
