"""Tempo from outside: what Ableton Link's session and OSC messages say the beat is.

Thread: the control process. Time is an argument.
"""

import importlib
import math
from typing import Any

from performer.flow import Pulse

QUANTUM = 4.0  # beats of a bar, in Link's session
BPM_LOW, BPM_HIGH = 20.0, 300.0
FRESH_S = 4.0  # an OSC clock that says nothing for so long has stopped
BEATS_KEPT = 16
LATENESS_S = 0.25  # a beat that comes later than this beside the others belongs to another count


class LinkPeer:
    """This program in the session of Ableton Link, while it is joined. Without the library there is no session.

    The library (LinkPython-extern) contains Ableton Link, which is under the GPL: it is an extra, and loaded only here.
    """

    def __init__(self) -> None:
        self._link: Any = None
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

    def pulse(self, *, now_s: float) -> Pulse | None:
        """The session's beat; None while nobody else is in it."""
        if self._link is None or not self._link.enabled or self.peers == 0:
            return None
        session = self._link.captureSessionState()
        beat = session.beatAtTime(self._link.clock().micros(), QUANTUM)
        return Pulse("link", session.tempo(), beat, now_s)

    def set_bpm(self, bpm: float) -> None:
        """Set the tempo of all peers: only where a person asked for it."""
        if self._link is not None and self._link.enabled:
            session = self._link.captureSessionState()
            session.setTempo(min(max(bpm, BPM_LOW), BPM_HIGH), self._link.clock().micros())
            self._link.commitSessionState(session)


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
