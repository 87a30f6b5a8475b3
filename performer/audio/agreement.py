"""The live ear beside the offline pass: what it heard of a file, and how far the two agree.

Thread: any. Pure.
"""

from dataclasses import dataclass

import numpy as np

from performer.audio.analyser import Analysis
from performer.audio.prepared import Prepared
from performer.flow import F64, AudioEventKind

ONSET_WINDOW_S, BEAT_WINDOW_S = 0.050, 0.070  # as mir_eval judges
LOCK_BEATS = 8  # live beats running that are right: it holds the tempo
LIVE_BEATS_PER_BAR = 4
TEMPO_LEVELS = {"twice": 2.0, "half": 1 / 2, "three times": 3.0, "a third of": 1 / 3, "3/2 of": 3 / 2, "2/3 of": 2 / 3}
TEMPO_TOLERANCE = 0.04
BETWEEN_F = 0.6


@dataclass(frozen=True, slots=True)
class Hits:
    """Events of one kind."""

    at_s: F64  # [n], ascending
    strength: F64  # [n], 0..1


@dataclass(frozen=True, slots=True)
class Live:
    """What the live ear heard of a file, first voice. Times are seconds from its first sample."""

    hits: dict[str, Hits]  # by the name of each AudioEventKind, in small letters: kick, onset …
    beats_s: F64  # [beats]
    is_downbeat: np.ndarray  # [beats] bool
    centre_s: F64  # [hops]
    bpm: F64  # [hops], 0 while unknown
    confidence: F64  # [hops], 0..1

    @classmethod
    def of(cls, analysis: Analysis) -> "Live":
        """A beat is where the phase crosses a whole number, between two hops at its place."""
        first = [event for event in analysis.events if event.voice == 0]
        hits = {}
        for kind in AudioEventKind:
            pairs = sorted((event.at_s, event.strength) for event in first if event.kind == kind)
            hits[kind.name.lower()] = Hits(*np.array(pairs, np.float64).reshape(-1, 2).T)
        whole = np.floor(analysis.beat)
        hop = np.flatnonzero((np.diff(whole) > 0) & (analysis.bpm[1:] > 0))
        part = (whole[hop + 1] - analysis.beat[hop]) / (analysis.beat[hop + 1] - analysis.beat[hop])
        beats_s = analysis.centre_s[hop] + part * (analysis.centre_s[hop + 1] - analysis.centre_s[hop])
        from_downbeat = whole[hop + 1].astype(np.int64) - analysis.downbeat[hop + 1]
        return cls(
            hits=hits,
            beats_s=beats_s,
            is_downbeat=from_downbeat % LIVE_BEATS_PER_BAR == 0,
            centre_s=analysis.centre_s,
            bpm=analysis.bpm,
            confidence=analysis.confidence,
        )


@dataclass(frozen=True, slots=True)
class Match:
    """Which of the times that were found are true: each true one may be found once, within a window."""

    found: np.ndarray  # [found] bool
    true: np.ndarray  # [true] bool: was found
    off_s: F64  # [pairs], found less true

    @property
    def f(self) -> float:
        """Twice the pairs over all times of both sides: 1 where they agree, also where both are empty."""
        count = len(self.found) + len(self.true)
        return 2.0 * len(self.off_s) / count if count else 1.0

    @property
    def precision(self) -> float:
        """How much of what was found is true."""
        return float(self.found.mean()) if len(self.found) else 1.0

    @property
    def recall(self) -> float:
        """How much of what is true was found."""
        return float(self.true.mean()) if len(self.true) else 1.0

    @property
    def off_ms(self) -> float:
        """Median of how late what was found is; 0 without pairs."""
        return 1000.0 * float(np.median(self.off_s)) if len(self.off_s) else 0.0


def match(found_s: F64, true_s: F64, *, window_s: float) -> Match:
    """Pair times of two ascending lists that are `window_s` apart at most; as many pairs as can be."""
    found, true, off_s = np.zeros(len(found_s), bool), np.zeros(len(true_s), bool), []
    i = j = 0
    while i < len(found_s) and j < len(true_s):
        apart_s = found_s[i] - true_s[j]
        if abs(apart_s) <= window_s:
            found[i] = true[j] = True
            off_s.append(apart_s)
        i += apart_s <= window_s
        j += apart_s >= -window_s
    return Match(found, true, np.array(off_s, np.float64))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the live ear agrees with the offline pass."""

    onsets: Match
    beats: Match
    locked_s: float | None  # since when LOCK_BEATS beats running were right; None: never
    bpm: float  # the live ear's, median of the second half; 0 where it had none
    level: str  # "twice" and so on, where it is another level of the same pulse; "" where it is the same or none
    between: bool  # most live beats stand halfway between the offline ones

    @classmethod
    def of(cls, live: Live, prepared: Prepared) -> "Agreement":
        true_s = np.array(prepared.beats_s)
        onsets = match(live.hits["onset"].at_s, np.array(prepared.onsets_s), window_s=ONSET_WINDOW_S)
        late = live.bpm[len(live.bpm) // 2 :]
        bpm = float(np.median(late[late > 0])) if np.any(late > 0) else 0.0
        level = ""
        if bpm and prepared.bpm:
            ratio = bpm / prepared.bpm
            near = (name for name, times in TEMPO_LEVELS.items() if abs(ratio / times - 1) < TEMPO_TOLERANCE)
            level = next(near, "")
        halfway = match(live.beats_s, true_s[:-1] + np.diff(true_s) / 2, window_s=BEAT_WINDOW_S)
        return cls(
            onsets=onsets,
            beats=match(live.beats_s, true_s, window_s=BEAT_WINDOW_S),
            locked_s=_locked_s(live.beats_s, true_s),
            bpm=bpm,
            level=level,
            between=len(true_s) > 1 and not level and halfway.f > BETWEEN_F,
        )


def _locked_s(found_s: F64, true_s: F64) -> float | None:
    """The first of LOCK_BEATS live beats running that each stand at a beat, each at the next one."""
    if len(found_s) < LOCK_BEATS or len(true_s) < LOCK_BEATS:
        return None
    nearest = np.clip(np.searchsorted(true_s, found_s), 1, len(true_s) - 1)
    nearest -= found_s - true_s[nearest - 1] < true_s[nearest] - found_s
    right = np.abs(found_s - true_s[nearest]) <= BEAT_WINDOW_S
    running = 0
    for index in range(len(found_s)):
        follows = index > 0 and nearest[index] == nearest[index - 1] + 1
        running = (running + 1 if running and follows else 1) if right[index] else 0
        if running == LOCK_BEATS:
            return float(found_s[index - LOCK_BEATS + 1])
    return None
