"""Tempo from outside: what Ableton Link's session, MIDI clock and OSC messages say the beat is.

Thread: the control process. Time is an argument.
"""

import importlib
import math
from typing import Any

import numpy as np

from performer.control import wire
from performer.exchange import SharedLatest
from performer.flow import Pulse
from performer.params import ParamTable

SETTLED_S = 0.5  # after others were found, the session's tempo is theirs
WAIT_S, WAIT_BPM = 2.0, 0.5  # alone, the session's tempo is set at most so often, and where it differs by so much
QUANTUM = 4.0  # beats of a bar, in Link's session
BPM_LOW, BPM_HIGH = 20.0, 300.0
FRESH_S = 4.0  # an OSC clock that says nothing for so long has stopped
BEATS_KEPT = 16
TICKS = 24  # of MIDI clock, in a beat
TICKS_KEPT = 96  # over which the tempo is a line: with 2 ms of jitter 0.02 BPM
FEWEST_TICKS = 24
TICKS_FRESH_S = 0.5
JUMP = 0.25  # another tempo by so much begins anew
JUMP_TICKS = 12
LATENESS_S = 0.25  # a beat that comes later than this beside the others belongs to another count


class LinkPeer:
    """This program in the session of Ableton Link, while it is joined. Without the library there is no session.

    The library (LinkPython-extern) contains Ableton Link, which is under the GPL: it is an extra, and loaded only here.
    """

    def __init__(self) -> None:
        self._link: Any = None
        self._alone_s = -math.inf
        self._waits_s: float | None = None  # until when it waits before it sets a tempo; None while it has not begun to
        try:
            # Made at the start and joined later: who joins at once has been seen to bring its own tempo along.
            self._link = importlib.import_module("link").Link(120.0)
        except ImportError:
            self.problem = "Ableton Link is not installed; pip install 'performer[link]'"
        else:
            self.problem = ""

    @property
    def peers(self) -> int:
        """Others in the session."""
        return self._link.numPeers() if self._link is not None else 0

    def join(self, wanted: bool) -> None:
        """Join the session, or leave it."""
        if self._link is not None and self._link.enabled != wanted:
            self._link.enabled = wanted
            self._waits_s = None

    def pulse(self, *, now_s: float) -> Pulse | None:
        """The session's beat; None while nobody else is in it."""
        if self._link is None or not self._link.enabled or self.peers == 0:
            self._alone_s = now_s
            return None
        if now_s - self._alone_s < SETTLED_S:
            return None
        session = self._link.captureSessionState()
        beat = session.beatAtTime(self._link.clock().micros(), QUANTUM)
        return Pulse("link", session.tempo(), beat, now_s)

    def wait_at(self, bpm: float, *, now_s: float) -> None:
        """While nobody else is in the session, let its tempo be this one: whoever comes takes over what is there.

        Seldom, and not just after joining: what is set in the moment in which others are found is set for them too.
        """
        if self._link is None or not self._link.enabled:
            return
        if self._waits_s is None or self.peers:
            self._waits_s = now_s + WAIT_S
        elif now_s >= self._waits_s:
            self._waits_s = now_s + WAIT_S
            if abs(self._link.captureSessionState().tempo() - bpm) > WAIT_BPM:
                self.set_bpm(bpm)

    def set_bpm(self, bpm: float) -> None:
        """Set the tempo of all peers: only where a person asked for it."""
        if self._link is not None and self._link.enabled:
            session = self._link.captureSessionState()
            session.setTempo(min(max(bpm, BPM_LOW), BPM_HIGH), self._link.clock().micros())
            self._link.commitSessionState(session)


class TickClock:
    """A beat from MIDI clock: the tempo as a line over the last ticks, the place by counting them."""

    def __init__(self) -> None:
        self._ticks_s: list[float] = []
        self._count = 0  # of the newest tick, since the song's beginning
        self._has_phase = False

    def tick(self, at_s: float) -> None:
        """A tick came."""
        if self._ticks_s and at_s - self._ticks_s[-1] > TICKS_FRESH_S:
            self._ticks_s = []
        self._ticks_s.append(at_s)
        self._count += 1
        if len(self._ticks_s) > TICKS_KEPT:
            del self._ticks_s[0]
        if len(self._ticks_s) >= FEWEST_TICKS + JUMP_TICKS:
            recent = self._ticks_s[-JUMP_TICKS - 1 :]
            newest_s = (recent[-1] - recent[0]) / JUMP_TICKS
            before_s = (self._ticks_s[-JUMP_TICKS - 1] - self._ticks_s[0]) / (len(self._ticks_s) - JUMP_TICKS - 1)
            if before_s > 0 and abs(newest_s / before_s - 1.0) > JUMP:
                self._ticks_s = recent

    def start(self) -> None:
        """The next tick is the beginning of the song."""
        self.at_position(0)

    def go_on(self) -> None:
        """The next tick goes on where the song was stopped."""
        self._has_phase = True
        self._ticks_s = []

    def at_position(self, sixteenths: int) -> None:
        """The next tick lies so many sixteenths into the song."""
        self._count = sixteenths * TICKS // 4 - 1
        self._has_phase = True
        self._ticks_s = []

    def pulse(self, *, now_s: float) -> Pulse | None:
        """The clock's beat; None while it does not tick."""
        ticks_s = self._ticks_s
        if len(ticks_s) < FEWEST_TICKS or now_s - ticks_s[-1] > TICKS_FRESH_S:
            return None
        slope_s, newest_s = np.polyfit(np.arange(len(ticks_s)) - (len(ticks_s) - 1), ticks_s, 1)
        if slope_s <= 0:
            return None
        bpm = 60.0 / (TICKS * slope_s)
        beat = (self._count + (now_s - newest_s) / slope_s) / TICKS
        return Pulse("midi", float(bpm), float(beat), now_s, has_phase=self._has_phase)


class ToldTempo:
    """A clock that is told message by message: the tempo, and each beat as it falls.

    Messages come late, never early (Live sends ten times a second), so the line of beats lies along the earliest of them.
    """

    def __init__(self) -> None:
        self._bpm = 0.0
        self._told_s = -math.inf
        self._beats: list[tuple[float, float]] = []  # (beat, when it was told)

    def told_bpm(self, bpm: float, *, at_s: float) -> None:
        """The tempo. One that nobody can mean is not taken."""
        if not BPM_LOW <= bpm <= BPM_HIGH:
            return
        if abs(bpm - self._bpm) > 0.01:
            self._beats = self._beats[-1:]  # earlier ones lie on another line
        self._bpm, self._told_s = bpm, at_s

    def told_beat(self, beat: float, *, at_s: float) -> None:
        """The beat that falls now."""
        if not math.isfinite(beat):
            return
        self._told_s = at_s
        if self._beats and self._bpm > 0:
            last, last_s = self._beats[-1]
            expected = last + (at_s - last_s) * self._bpm / 60.0
            if abs(beat - expected) * 60.0 / self._bpm > LATENESS_S:  # somebody has jumped
                self._beats = []
        self._beats = [*self._beats, (beat, at_s)][-BEATS_KEPT:]

    def pulse(self, *, now_s: float) -> Pulse | None:
        """The clock's beat; None while it says nothing, or never said how fast."""
        if self._bpm <= 0 or now_s - self._told_s > FRESH_S:
            return None
        rate_hz = self._bpm / 60.0
        if not self._beats:
            return Pulse("osc", self._bpm, 0.0, now_s, has_phase=False)
        zero_s = min(at_s - beat / rate_hz for beat, at_s in self._beats)
        return Pulse("osc", self._bpm, (now_s - zero_s) * rate_hz, now_s)


class OutsideClocks:
    """All of them, told to the show.

    Rows of the table steer them: `clock.bpm` and `clock.beat` tell, `transport.bpm` sets the tempo of Link's session,
    `transport.link` joins it.
    """

    def __init__(self, table: ParamTable, tempi: SharedLatest) -> None:
        self.link, self.ticks, self.told = LinkPeer(), TickClock(), ToldTempo()
        rows = ("clock.bpm", "clock.beat", "transport.bpm", "transport.link")
        self._told_bpm, self._told_beat, self._bpm, self._joins = (table.row(name) for name in rows)
        self._shared, self._record = tempi, np.zeros(1, wire.TEMPI)
        tempi.take_over()

    def set(self, row: int, value: float, *, at_s: float) -> None:
        """A hand set a parameter."""
        if row == self._told_bpm:
            self.told.told_bpm(value, at_s=at_s)
        elif row == self._told_beat:
            self.told.told_beat(value, at_s=at_s)
        elif row == self._bpm:
            self.link.set_bpm(value)

    def step(self, knobs: np.ndarray, *, now_s: float) -> None:
        """Tell which clocks run now. knobs: [P]."""
        self.link.join(bool(knobs[self._joins] > 0))
        self.link.wait_at(float(knobs[self._bpm]), now_s=now_s)
        record = self._record
        for place, clock in enumerate((self.link, self.ticks, self.told)):  # in the order of wire.PULSES
            pulse = clock.pulse(now_s=now_s)
            record["pulses"][0, place] = (
                (0, 0, 0, 0.0, 0.0, 0.0)
                if pulse is None
                else (1, pulse.has_phase, pulse.downbeat, pulse.bpm, pulse.beat, pulse.at_s)
            )
        record["peers"], record["at_s"] = self.link.peers, now_s
        self._shared.publish(record)
