"""The tempo: the bpm parameter, taps, clocks of other programs and the ear make the line of beats.

Who leads: a hand (taps, the bpm parameter), else the first of the clocks that come from outside, else the ear while it is
followed and sure enough, else the tempo that ran last. Another leader takes over at the beginning of a bar. The line never
leaps: a leader's beat is approached over a beat or two. Asked for at the time at which the light leaves the screen, it
looks ahead by itself, since the leader's beat is a line too.

Thread: render. Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from performer.clock import Line, TapTempo
from performer.flow import AudioFeatures, ControlEvent, Pulse

BPM_LOW, BPM_HIGH = 20.0, 300.0
SURE, UNSURE = 0.4, 0.2  # confidence from which the ear is followed, and below which it no longer is
GLIDE_BEATS = 1.5  # a difference of phase is made up over so many beats
GLIDE_MOST = 0.2  # of the tempo
TAPS_LEAD_S = 4.0  # nobody else is followed for so long after a tap
EAR = "ear"
NUDGE_BEATS = 1.0 / 32.0
BAR_BEATS = 4
BAR_WINDOW_BEATS = 0.25  # a new leader takes over so shortly after the beginning of a bar
LEAST_BPM = 0.05  # a smaller change of tempo is told to nobody
BAR_PATIENCE_BEATS = 8.0  # another first beat of the bar is believed after so many


@dataclass(frozen=True, slots=True)
class Transport:
    """Beats now, and what was asked for last."""

    line: Line = Line(rate_hz=2.0)
    asked_bpm: float = 120.0  # the parameter's value that the line has already followed
    taps: TapTempo = TapTempo()
    tapped_s: float = -math.inf
    leader: str = ""  # the source of the pulse that is followed; empty for none
    lead_bpm: float = 0.0  # its tempo, as the line counts it
    octave: int = 0  # beats of the line to one of the leader's, as a power of two
    nudge: float = 0.0  # beats by which a hand has moved the line from the leader's
    downbeat: int = 0  # beats that are congruent to it modulo 4 begin a bar
    bar_by_hand: bool = False
    bar_off_beat: float | None = None  # since when the ear has guessed another

    @classmethod
    def at_bpm(cls, bpm: float) -> "Transport":
        """A transport whose beat zero is show time zero."""
        return cls(line=Line(rate_hz=bpm / 60.0), asked_bpm=bpm)

    @property
    def follows(self) -> bool:
        """Whether anybody leads."""
        return bool(self.leader)

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
        pulses: Sequence[Pulse] = (),
    ) -> "Transport":
        """Follow the parameter where it changed, this frame's presses, and who leads.

        bpm: the parameter. at_s: when this frame's light leaves the screen. heard: with the ear's beat. follow: whether
        the ear may lead. pulses: clocks from outside that run now, the one that counts most first.
        """
        after = self
        if bpm != self.asked_bpm:
            after = replace(after, line=after.line.with_rate(bpm / 60.0, at_s=at_s), asked_bpm=bpm)
        for press in presses:
            after = after._pressed(press)
        if at_s - after.tapped_s < TAPS_LEAD_S:
            return replace(after, leader="")
        offered = [*pulses, *self._by_ear(heard if follow else None)]
        return after._led(offered, at_s=at_s) if offered else replace(after, leader="")

    def told_since(self, before: "Transport", *, asked_bpm: float) -> float | None:
        """The tempo that taps or a leader have made since `before`, to be set as the parameter; None for none.

        What counts in beats, and every surface, reads the tempo from there.
        """
        bpm = self.lead_bpm if self.follows else self.bpm
        is_new = self.asked_bpm == before.asked_bpm and abs(bpm - asked_bpm) > LEAST_BPM
        return bpm if is_new and (self.follows or bpm != before.bpm) else None

    def _by_ear(self, heard: AudioFeatures | None) -> tuple[Pulse, ...]:
        """The ear's pulse, where it is sure."""
        if heard is None or heard.bpm <= 0 or heard.confidence < (UNSURE if self.leader == EAR else SURE):
            return ()
        return (Pulse(EAR, heard.bpm, heard.beat, heard.centre_s, downbeat=heard.downbeat),)

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

    def _led(self, offered: Sequence[Pulse], *, at_s: float) -> "Transport":
        """The line, led by the first of `offered`, once the bar is over that another led."""
        pulse = offered[0]
        if self.leader and pulse.source != self.leader:
            if not self._begins_bar(at_s):
                before = next((each for each in offered if each.source == self.leader), None)
                return self._along(before, at_s=at_s) if before is not None else self
            # Octaves and nudges were for the one before.
            return replace(self, octave=0, nudge=0.0)._along(pulse, at_s=at_s)
        return self._along(pulse, at_s=at_s)

    def _begins_bar(self, at_s: float) -> bool:
        """Whether a bar begins in about this frame."""
        into = (self.line.at(at_s) - self.downbeat) % BAR_BEATS
        return into < BAR_WINDOW_BEATS

    def _along(self, pulse: Pulse, *, at_s: float) -> "Transport":
        """The line, drawn to a pulse."""
        factor = 2.0**self.octave
        rate_hz = pulse.bpm / 60.0 * factor
        here = self.line.at(at_s)
        if not pulse.has_phase:
            line = self.line.with_rate(rate_hz, at_s=at_s)
            return replace(self, line=line, leader=pulse.source, lead_bpm=60.0 * rate_hz)
        theirs = pulse.at(at_s) * factor + self.nudge
        off = (theirs - here + 0.5) % 1.0 - 0.5
        glide = min(max(off / GLIDE_BEATS, -GLIDE_MOST), GLIDE_MOST)
        line = Line(rate_hz=rate_hz * (1.0 + glide), at_s=at_s, phase=here)
        after = replace(self, line=line, leader=pulse.source, lead_bpm=60.0 * rate_hz)
        if self.bar_by_hand or self.octave:
            return after
        return after._barred(pulse, at_s=at_s, theirs=theirs)

    def _barred(self, pulse: Pulse, *, at_s: float, theirs: float) -> "Transport":
        """Begin bars where the pulse does; an ear guesses, and is believed when it has long guessed the same."""
        here = self.line.at(at_s)
        guess = (pulse.downbeat + round(here - theirs)) % BAR_BEATS
        if guess == self.downbeat or pulse.source != EAR:
            return replace(self, downbeat=guess, bar_off_beat=None)
        if self.bar_off_beat is None:
            return replace(self, bar_off_beat=here)
        if here - self.bar_off_beat < BAR_PATIENCE_BEATS:
            return self
        return replace(self, downbeat=guess, bar_off_beat=None)
