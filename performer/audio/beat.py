"""The beat: tempo, phase and bar, followed as they are played and told ahead of time.

A hidden Markov model whose state is a place in a bar of four beats and a tempo: the bar pointer of Whiteley, Cemgil and
Godsill 2006, in the state space of Krebs, Böck and Widmer 2015, where the place moves on by one frame a frame and the tempo
may change at a beat alone. Only the forward pass is run, so that nothing of the future is needed. What is seen are the
hits of the voice: onset, kick, snare and hat, each with a template of where in a bar it is likely (`PATTERNS`). Which
template a tempo is judged by depends on how many hits there are in its beat.

A line through time follows the model: what is asked for is a place on the line, at any moment, also ahead; the line goes
on through a break, is pulled gently while the model agrees with it, and leaps when it disagrees for long.

Thread: one. No clock, no I/O.
Real-time: about 100 us every second hop.
"""

import math
from collections.abc import Sequence

import numpy as np

from performer.flow import F32, AudioEvent, AudioEventKind

BEATS = 4  # in a bar
BPM_LOW, BPM_HIGH = 55.0, 215.0
FRAME_HOPS = 2
LAG_FRAMES = 2  # hits are known so long after they sounded: the model stands so far in the past

KINDS = (AudioEventKind.ONSET, AudioEventKind.KICK, AudioEventKind.SNARE, AudioEventKind.HAT)
WEIGHTS = np.array([0.45, 0.73, 1.58, 0.7])
# How likely each is in each sixteenth of a bar of popular music, by how many hits there are in a beat: half of one, one, two
# and four. A tempo is judged by the pattern that so many hits would make in it, so that more hits do not mean a faster one.
_KICK = (0.9, 0.04, 0.2, 0.08, 0.35, 0.04, 0.3, 0.08, 0.65, 0.04, 0.3, 0.08, 0.35, 0.04, 0.25, 0.1)
_SNARE = (0.06, 0.04, 0.06, 0.06, 0.9, 0.05, 0.06, 0.08, 0.08, 0.08, 0.08, 0.06, 0.9, 0.05, 0.08, 0.1)
PATTERNS = (
    (
        (0.9, 0.01, 0.03, 0.01, 0.3, 0.01, 0.03, 0.01) * 2,
        _KICK,
        _SNARE,
        (0.8, 0.01, 0.03, 0.01, 0.3, 0.01, 0.03, 0.01) * 2,
    ),
    ((0.95, 0.02, 0.08, 0.03) * 4, _KICK, _SNARE, (0.9, 0.02, 0.08, 0.03) * 4),
    ((0.95, 0.06, 0.6, 0.08) * 4, _KICK, _SNARE, (0.7, 0.03, 0.55, 0.04) * 4),
    (
        (0.95, 0.6, 0.8, 0.6) * 4,
        (0.9, 0.08, 0.25, 0.25, 0.2, 0.15, 0.4, 0.25, 0.6, 0.15, 0.45, 0.2, 0.2, 0.15, 0.3, 0.25),
        (0.08, 0.15, 0.1, 0.15, 0.95, 0.15, 0.1, 0.25, 0.1, 0.25, 0.12, 0.15, 0.95, 0.12, 0.12, 0.2),
        (0.75, 0.5, 0.65, 0.5) * 4,
    ),
)
FINER_HITS = (0.0, 0.0, 0.0, 0.4)  # in a beat, by pattern: hits that lie between all of these places
FINER = 2  # steps from one of these patterns to the next
DENSITY_S = 4.7  # over which hits are counted
TRIPLETS = ((0.08, 0.2), (0.03, 0.1), (0.03, 0.06), (0.06, 0.2))  # at one and two thirds of a beat: swing
SWUNG = (0.1, 0.15, 1.0, 1.0)  # how much of that there is, by pattern
ACCENT = 2.0  # loud hits count for more: a groove's soft notes lie between its beats
SPREAD_S = 0.0175  # standard deviation of a hit about its place: hands are as uneven in slow music as in fast
ANYWHERE = 0.06  # the part of a template that is spread evenly
USUAL_BPM, USUAL_SPREAD = 97.0, 0.22  # the tempo of music, and the standard deviation of its logarithm
TEMPO_STEP = 0.0125  # from one tempo to the next
TEMPO_CHANGE = 145.0  # the probability of a change of tempo by a ratio r is exp(-TEMPO_CHANGE |r - 1|)
TEMPO_LEAP = 2.4e-4  # probability of any other tempo at a beat

NEAR_TEMPO, NEAR_BEAT = 0.06, 0.12  # what counts as the same tempo and the same place
PULL_S, PULL_RATE_S = 0.15, 0.8  # time constants with which the line follows the model
AGREES_BEATS, DISAGREES_S = 0.12, 0.35  # farther off than this, for so long, and the line leaps ...
LEAP_KEEPS, OCTAVE_KEEPS = 1.65, 11.0  # ... where another place is so much likelier; at half or twice the tempo
GAIN_HITS = 12  # hits over which it is judged how well they were foretold
# Between these the confidence rises from none to full: how well hits are foretold, in nats a hit (what is played at random
# reads -0.2 to -0.4), and how much of the belief lies about one place and tempo (at random 0.1 to 0.45).
GAIN_NONE, GAIN_FULL = -0.22, 0.13
MASS_NONE, MASS_FULL = 0.4, 0.9
MASS_BEGIN = 0.2  # before that no tempo is told at all
QUIET_AFTER_S, FORGOTTEN_S = 2.0, 6.0  # without hits the confidence falls
DOWNBEAT_KEEPS = 1.3  # another downbeat must be so much likelier


class BeatTracker:
    """The beat of one voice."""

    def __init__(self, *, hop_s: float) -> None:
        self._frame_s = FRAME_HOPS * hop_s
        bars = _bars(60.0 * BEATS / BPM_HIGH / self._frame_s, 60.0 * BEATS / BPM_LOW / self._frame_s)
        self._intervals = bars / BEATS  # frames in a beat, of each tempo
        ends = np.cumsum(bars)
        starts = ends - bars
        first_in_bar = np.ceil(np.arange(BEATS + 1) * self._intervals[:, None] - 0.5).astype(int)
        self._firsts = starts[:, None] + first_in_bar[:, :-1]  # [tempi, beats]: states
        self._lasts = starts[:, None] + first_in_bar[:, 1:] - 1
        self._starts, self._ends = starts, ends
        tempo = np.repeat(np.arange(len(bars)), bars)
        self._place = (np.arange(ends[-1]) - starts[tempo] + 0.5) / self._intervals[tempo]  # in beats, 0..4
        self._tempo = tempo
        self._change = _changes(self._intervals)
        interval = self._intervals[tempo]
        bpm = 60.0 / (interval * self._frame_s)
        self._templates = _log_templates(self._place, SPREAD_S / (interval * self._frame_s))  # [levels, kinds, states]
        self._template = self._templates[0]
        self._hits_hz, self._counted, self._counted_s = 2.0, 0.0, 0.0
        likely = np.exp(-0.5 * (np.log(bpm / USUAL_BPM) / USUAL_SPREAD) ** 2)
        self._usual = (likely / interval).astype(np.float32)  # what is believed before anything is heard
        self._usual /= self._usual.sum()
        self._belief = self._usual.copy()
        self._spare = np.empty_like(self._belief)
        self._judge_by(self._hits_hz)

        # Hits of frames that the model has yet to see, oldest first.
        self._pending = np.zeros((LAG_FRAMES + 1, len(KINDS)))
        self._hops = 0
        self._gain = GAIN_NONE
        self._last_hit_s = -math.inf
        self._now_s = 0.0
        self._votes = np.zeros(BEATS)
        self._off_s = 0.0
        self._line_s, self._line_beat, self._rate_hz = 0.0, 0.0, 0.0
        self.confidence = 0.0
        self.downbeat = 0

    @property
    def bpm(self) -> float:
        """Beats per minute; 0 before any tempo was likely."""
        return 60.0 * self._rate_hz

    def beat_at(self, at_s: float) -> float:
        """Beats at show time `at_s`, also ahead; whole numbers are beats. 0 while `bpm` is."""
        return self._line_beat + (at_s - self._line_s) * self._rate_hz

    def step(self, hits: Sequence[AudioEvent], *, now_s: float) -> None:
        """One hop that ended at show time `now_s`, with the hits that were told in it."""
        self._now_s = now_s
        for hit in hits:
            if hit.kind in KINDS:
                frames_ago = int((now_s - hit.at_s) / self._frame_s)
                place = max(LAG_FRAMES - max(frames_ago, 0), 0)
                row = self._pending[place]
                kind = KINDS.index(AudioEventKind(hit.kind))
                row[kind] = max(row[kind], hit.strength**ACCENT)
                self._last_hit_s = now_s
        self._hops += 1
        if self._hops % FRAME_HOPS:
            return
        self._count(int(self._pending[0, 0] > 0))
        self._see(self._pending[0] * WEIGHTS)
        self._pending[:-1] = self._pending[1:]
        self._pending[-1] = 0.0
        if self._last_hit_s > -math.inf:
            self._follow(now_s - (LAG_FRAMES + 0.5) * self._frame_s)

    def tapped(self, at_s: float, *, bpm: float) -> None:
        """A hand said that there is a beat at `at_s`, and how fast they come (0: it did not)."""
        since = (self._now_s - (LAG_FRAMES + 0.5) * self._frame_s - at_s) / self._frame_s
        interval = self._intervals[self._tempo]
        place = (self._place - since / interval) % 1.0
        away = np.minimum(place, 1.0 - place)
        log_likely = -0.5 * (away / 0.08) ** 2
        believed = self._belief
        if bpm > 0:
            log_likely -= 0.5 * (np.log(interval * self._frame_s * bpm / 60.0) / 0.02) ** 2
            believed = self._usual  # what was heard before does not count against a hand
        self._belief = believed * np.exp(np.maximum(log_likely, -30.0)).astype(np.float32)
        self._belief += np.float32(1e-20) * self._usual
        self._belief /= self._belief.sum()
        self._line_beat = float(round(self.beat_at(at_s)))  # the line follows at once
        self._line_s = at_s
        self._off_s = 0.0
        if bpm > 0:
            self._rate_hz = bpm / 60.0

    def _see(self, seen: np.ndarray) -> None:
        """Move the belief on by a frame, in which the hits `seen` sounded."""
        before, after = self._belief, self._spare
        after[1:] = before[:-1]
        after[self._firsts] = self._change @ np.roll(before[self._lasts], 1, axis=1)
        weight = float(seen.sum())
        if weight > 0.0:
            # How well was it foretold? Beside an even spread, in nats a hit.
            likely = np.exp(seen.astype(np.float32) @ self._template)
            total = float(after.sum())
            after *= likely
            gain = math.log(max(float(after.sum()) / max(total, 1e-30), 1e-9)) / weight
            self._gain += (gain - self._gain) / GAIN_HITS
        after /= after.sum()
        self._belief, self._spare = after, before

    def _count(self, hits: int) -> None:
        """Count hits, to know how many there are in a second while somebody plays."""
        if self._now_s - self._last_hit_s < 1.0:
            kept = math.exp(-self._frame_s / DENSITY_S)
            self._counted = self._counted * kept + hits
            self._counted_s = self._counted_s * kept + self._frame_s
        if self._counted_s > 1.0 and not 0.9 < self._counted / self._counted_s / self._hits_hz < 1.1:
            self._judge_by(max(self._counted / self._counted_s, 0.1))

    def _judge_by(self, hits_hz: float) -> None:
        """Judge each tempo by the pattern that so many hits a second make in it."""
        self._hits_hz = hits_hz
        hits_in_beat = hits_hz * self._intervals * self._frame_s
        level = np.clip(np.rint((np.log2(hits_in_beat) + 1.0) * FINER), 0, len(self._templates) - 1).astype(int)
        # Runs of tempi share a level, and so do the runs of their states.
        self._template = np.empty_like(self._templates[0])
        firsts = np.flatnonzero(np.diff(level, prepend=-1))
        for first, end in zip(firsts, [*firsts[1:], len(level)], strict=True):
            span = slice(self._starts[first], self._ends[end - 1])
            self._template[:, span] = self._templates[level[first]][:, span]

    def _follow(self, at_s: float) -> None:
        """Let the line follow the belief, which stands at show time `at_s`."""
        place, rate_hz, mass, bar = self._likeliest()
        quiet_s = self._now_s - self._last_hit_s
        heard = 1.0 if quiet_s < QUIET_AFTER_S else max(1.0 - (quiet_s - QUIET_AFTER_S) / FORGOTTEN_S, 0.0)
        foretold = (self._gain - GAIN_NONE) / (GAIN_FULL - GAIN_NONE)
        # Beats of half and of twice the tempo that fall together with these are the same pulse, counted otherwise.
        pulse = mass + sum(self._about(other, rate_hz * times)[0] for other, times in _octaves(place))
        settled = (pulse - MASS_NONE) / (MASS_FULL - MASS_NONE)
        self.confidence = min(max(foretold, 0.0), 1.0) * min(max(settled, 0.0), 1.0) * heard
        if self._rate_hz == 0.0:  # the first tempo
            if mass < MASS_BEGIN:
                return
            self._line_s, self._line_beat, self._rate_hz = at_s, place % 1.0, rate_hz
            self._off_s = 0.0
        beat = self.beat_at(at_s)
        off = _around(place - beat)
        times = rate_hz / self._rate_hz
        is_same = abs(times - 1.0) < NEAR_TEMPO and abs(off) < AGREES_BEATS
        is_double, is_half = abs(times / 2.0 - 1.0) < NEAR_TEMPO, abs(times * 2.0 - 1.0) < NEAR_TEMPO
        self._line_beat = beat
        if is_same:
            self._pull(off, rate_hz)
        elif is_double:  # the same pulse, counted otherwise, pulls as well
            self._pull(_around(place - 2.0 * beat) / 2.0, rate_hz / 2.0)
        elif is_half:
            self._pull(_around(2.0 * place - beat), rate_hz * 2.0)
        keeps = OCTAVE_KEEPS if is_double or is_half else LEAP_KEEPS
        if is_same or mass < keeps * self._about(beat, self._rate_hz)[0]:
            self._off_s = 0.0  # as likely as another
        else:
            self._off_s += self._frame_s
            if self._off_s >= DISAGREES_S:
                self._off_s = 0.0
                self._line_beat = beat + off
                self._rate_hz = rate_hz
        self._line_s = at_s
        self._guess_downbeat(bar)

    def _pull(self, off: float, rate_hz: float) -> None:
        """Draw the line towards a place so many beats off, and a rate."""
        if abs(off) < AGREES_BEATS:
            self._line_beat += off * (1.0 - math.exp(-self._frame_s / PULL_S))
            self._rate_hz += (rate_hz - self._rate_hz) * (1.0 - math.exp(-self._frame_s / PULL_RATE_S))

    def _guess_downbeat(self, bar: np.ndarray) -> None:
        """bar: [4], how likely the nearest beat of the line is each beat of the bar."""
        nearest = round(self._line_beat)
        self._votes *= math.exp(-self._frame_s / 4.0)
        self._votes += bar[(np.arange(BEATS) * -1 + nearest) % BEATS]
        best = int(self._votes.argmax())
        if self._votes[best] > DOWNBEAT_KEEPS * self._votes[self.downbeat]:
            self.downbeat = best

    def _likeliest(self) -> tuple[float, float, float, np.ndarray]:
        """(place in beats, beats a second, probability of about that, [4] of each beat of the bar)."""
        best = int(self._belief.argmax())
        place = float(self._place[best])
        mass, span, near, away = self._about(place, 1.0 / (float(self._intervals[self._tempo[best]]) * self._frame_s))
        some, places = self._belief[span], self._place[span]
        weights = some * near
        mean = float(place + (weights * away).sum() / mass)
        frames = float((weights * self._intervals[self._tempo[span]]).sum() / mass)
        beat_of = (places[near] - away[near] - place + round(mean) + 0.5).astype(int) % BEATS
        bar = np.bincount(beat_of, weights=some[near], minlength=BEATS)
        return mean, 1.0 / (frames * self._frame_s), mass, bar / mass

    def _about(self, place: float, rate_hz: float) -> tuple[float, slice, np.ndarray, np.ndarray]:
        """(probability of about this place in a beat and tempo; the states of such tempi; which are near; beats away)."""
        interval = 1.0 / (rate_hz * self._frame_s)
        low = int(np.searchsorted(self._intervals, interval * (1 - NEAR_TEMPO)))
        high = max(int(np.searchsorted(self._intervals, interval * (1 + NEAR_TEMPO), side="right")), low + 1)
        low = min(low, len(self._intervals) - 1)
        span = slice(self._starts[low], self._ends[min(high, len(self._intervals)) - 1])
        away = (self._place[span] - place + 0.5) % 1.0 - 0.5
        near = np.abs(away) < NEAR_BEAT
        return float((self._belief[span] * near).sum()), span, near, away


def _around(beats: float) -> float:
    """Brought to -0.5..0.5 by whole beats."""
    return (beats + 0.5) % 1.0 - 0.5


def _octaves(place: float) -> tuple[tuple[float, float], ...]:
    """(place, times the tempo) of the same pulse counted at twice and at half the tempo."""
    return (2.0 * place, 2.0), (place / 2.0, 0.5), (place / 2.0 + 0.5, 0.5)


def _bars(shortest: float, longest: float) -> np.ndarray:
    """[tempi], frames in a bar: whole numbers, each about `TEMPO_STEP` longer than the one before."""
    count = 1 + math.ceil(math.log(longest / shortest) / TEMPO_STEP)
    return np.unique(np.rint(np.geomspace(shortest, longest, count)).astype(int))


def _changes(intervals: np.ndarray) -> np.ndarray:
    """[to, from], probabilities of the tempo after a beat (Krebs et al. 2015, equation 5), and of a leap."""
    near = np.exp(-TEMPO_CHANGE * np.abs(intervals[None, :] / intervals[:, None] - 1.0))
    near /= near.sum(axis=1, keepdims=True)
    return ((1.0 - TEMPO_LEAP) * near + TEMPO_LEAP / len(intervals)).T.astype(np.float32)


def _log_templates(place: np.ndarray, spread: np.ndarray) -> F32:
    """[levels, kinds, states], log of how likely a hit is in each state, beside the mean.

    place: [states] in a bar, in beats. spread: [states], standard deviation of a hit about its place, in beats.
    Levels go from half a hit in a beat over one and two to four, in steps of 1 / FINER.
    """
    slots = np.concatenate([np.arange(4 * BEATS) / 4, np.arange(BEATS) + 1 / 3, np.arange(BEATS) + 2 / 3])
    away = (place[:, None] - slots + BEATS / 2) % BEATS - BEATS / 2
    near = np.exp(-0.5 * (away / spread[:, None]) ** 2) / (spread[:, None] * math.sqrt(2 * math.pi))  # area 1
    thirds = np.array([[early] * BEATS + [late] * BEATS for early, late in TRIPLETS])
    patterns = np.array(PATTERNS)
    levels = []
    for level in np.arange(FINER * (len(patterns) - 1) + 1) / FINER:
        before = min(int(level), len(patterns) - 2)
        swung = SWUNG[before] + (level - before) * (SWUNG[before + 1] - SWUNG[before])
        hits = np.concatenate(
            [patterns[before] + (level - before) * (patterns[before + 1] - patterns[before]), swung * thirds], axis=1
        )
        finer = FINER_HITS[before] + (level - before) * (FINER_HITS[before + 1] - FINER_HITS[before])
        mean = hits.sum(axis=1, keepdims=True) / BEATS + finer
        levels.append(np.log((1.0 - ANYWHERE) * (hits @ near.T) / mean + ANYWHERE))
    return np.array(levels, np.float32)
