"""The beat: found within four seconds, told ahead, kept through breaks and fills, followed where it goes; not where there
is none."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from performer.audio.analyser import Analyser, Tuning, analyse
from performer.audio.beat import BPM_HIGH, BPM_LOW, BeatTracker
from performer.flow import AudioBlock, AudioEvent, AudioEventKind
from tests.rig import signals

RATE_HZ = 44100
HOP_S = 256 / RATE_HZ
LOCK_S = 4.0
LEVELS = (1.0, 2.0, 0.5, 3.0, 1 / 3)  # of the tempo that count as right
TEMPI = (60, 75, 92, 120, 150, 200)


class Track:
    """What was told of each hop, beside beats that are known."""

    def __init__(self, centre_s, bpm, beat, confidence, beats_s):
        self.centre_s, self.bpm, self.beat, self.confidence = centre_s, bpm, beat, confidence
        self.beats_s = np.asarray(beats_s)

    @classmethod
    def of(cls, sound, beats_s=(0.0, 1.0)):
        analysis = analyse(sound, RATE_HZ)
        return cls(analysis.centre_s, analysis.bpm, analysis.beat, analysis.confidence, beats_s)

    def true_bpm(self):
        return np.interp(self.centre_s, self.beats_s[1:], 60.0 / np.diff(self.beats_s))

    def level(self):
        """[hops], which of `LEVELS` the tempo told is of the true one, to 4 %; 0 for none."""
        ratio = self.bpm / self.true_bpm()
        level = np.zeros(len(ratio))
        for each in LEVELS:
            level[np.abs(ratio / each - 1) < 0.04] = each
        return level

    def off_s(self, *, ahead_s=0.0):
        """[hops], how far the true beats lie from those told `ahead_s` before; NaN where the tempo is wrong."""
        level = self.level()
        beat = self.beat + ahead_s * self.bpm / 60.0
        place = np.interp(self.centre_s + ahead_s, self.beats_s, np.arange(len(self.beats_s)))
        off = np.where(level >= 1, beat - place * level, beat / np.maximum(level, 0.1) - place)
        period_s = 60.0 / self.true_bpm() / np.maximum(level, 1.0)
        return np.where(level > 0, np.abs((off + 0.5) % 1 - 0.5) * period_s, np.nan)

    def between(self, first_s, end_s=None):
        """The hops from one time to another, before the last beat."""
        end_s = self.beats_s[-1] if end_s is None else end_s
        return (self.centre_s >= first_s) & (self.centre_s < end_s)


def metronome(bpm, length_s):
    beats_s = signals.beats(bpm, length_s)
    return signals.placed([(at_s, signals.tick()) for at_s in beats_s], length_s), beats_s


def pattern(bpm, length_s):
    beats_s = signals.beats(bpm, length_s)
    return signals.placed(signals.drums(beats_s), length_s), beats_s


def assert_locked(track, first_s, end_s=None):
    late = track.between(first_s, end_s)
    assert (track.level()[late] > 0).all(), f"tempo {np.median(track.bpm[late]):.1f}"
    assert np.median(track.off_s()[late]) < 0.03
    assert np.quantile(track.off_s()[late], 0.95) < 0.03


# Steady


@pytest.mark.parametrize("bpm", TEMPI)
def test_a_metronome_is_found_within_four_seconds(bpm):
    sound, beats_s = metronome(bpm, 8.0)
    assert_locked(Track.of(sound, beats_s), beats_s[0] + LOCK_S)


@pytest.mark.parametrize("bpm", TEMPI)
def test_drums_are_found_within_four_seconds_and_told_ahead(bpm):
    sound, beats_s = pattern(bpm, 8.0)
    track = Track.of(sound, beats_s)
    assert_locked(track, beats_s[0] + LOCK_S)
    late = track.between(beats_s[0] + LOCK_S, beats_s[-1] - 0.1)
    assert np.quantile(track.off_s(ahead_s=0.1)[late], 0.95) < 0.03
    assert track.confidence[late][-1] > 0.5


@pytest.mark.parametrize("bpm", [80, 97, 115, 128, 134.5, 150, 163])
def test_plain_drums_are_counted_as_they_are_played(bpm):
    sound, beats_s = pattern(bpm, 10.0)
    track = Track.of(sound, beats_s)
    assert (track.level()[track.between(beats_s[0] + LOCK_S)] == 1).all()


def test_the_bar_begins_with_its_kick():
    sound, _ = pattern(110, 10.5)
    analysis = analyse(sound, RATE_HZ)
    one_s = 0.5 + 16 * 60.0 / 110
    hop = int(one_s / HOP_S)
    beat = round(float(analysis.beat[hop]))
    assert (beat - analysis.downbeat[hop]) % 4 == 0


def test_the_line_never_runs_backwards_once_it_holds():
    sound, beats_s = pattern(128, 8.0)
    track = Track.of(sound, beats_s)
    late = track.between(beats_s[0] + LOCK_S)
    steps = np.diff(track.beat[late])
    assert steps.min() > 0
    assert steps.max() < 4 * HOP_S * 128 / 60


# Where it goes


def test_two_bars_of_silence_do_not_break_it():
    bpm = 110
    beats_s = signals.beats(bpm, 16.5)
    gap = beats_s[16], beats_s[24]
    shots = [shot for shot in signals.drums(beats_s) if not gap[0] - 0.01 <= shot[0] < gap[1] - 0.01]
    track = Track.of(signals.placed(shots, 16.5), beats_s)
    inside = track.between(*gap)
    assert np.abs(track.bpm[inside] / (bpm * track.level()[inside][0]) - 1).max() < 0.02
    assert track.off_s()[inside].max() < 0.1 * 60.0 / bpm
    assert_locked(track, gap[1] + 1.0)


def test_a_fill_does_not_break_it():
    bpm = 128
    beats_s = signals.beats(bpm, 12.0)
    first_s, end_s = beats_s[16], beats_s[20]
    shots = [shot for shot in signals.drums(beats_s) if not first_s - 0.01 <= shot[0] < end_s - 0.01]
    sixteenth_s = 15.0 / bpm
    shots += [(first_s + n * sixteenth_s, signals.snare(db=-16.0 + n / 2, seed=n)) for n in range(16)]
    assert_locked(Track.of(signals.placed(shots, 12.0), beats_s), beats_s[12])


def test_half_time_does_not_break_it():
    beats_s = signals.beats(140, 15.0)
    shots = [shot for shot in signals.drums(beats_s) if shot[0] < beats_s[16] - 0.01]
    shots += signals.drums(beats_s[16:], half_time=True)
    assert_locked(Track.of(signals.placed(shots, 15.0), beats_s), beats_s[12])


def test_a_slow_drift_is_followed_over_an_octave():
    beats_s = [0.5]
    while beats_s[-1] < 24.0:
        beats_s.append(beats_s[-1] + 60.0 / (80.0 * 2 ** (min(beats_s[-1], 20.0) / 20.0)))
    track = Track.of(signals.placed(signals.drums(beats_s), 24.5), beats_s)
    during = track.between(6.0, 20.0)
    ratio = track.bpm[during] / track.true_bpm()[during]
    nearest = np.min([np.abs(ratio / level - 1) for level in (0.5, 1.0, 2.0)], axis=0)
    assert np.quantile(nearest, 0.9) < 0.1  # a tempo that moves by a twentieth of an octave a second
    assert_locked(track, 23.0)


def test_a_leap_of_the_tempo_is_found_within_eight_seconds():
    before_s = signals.beats(100, 10.0)
    beats_s = np.concatenate([before_s, np.arange(before_s[-1] + 60 / 140, 23.0, 60 / 140)])
    track = Track.of(signals.placed(signals.drums(beats_s), 23.5), beats_s)
    assert_locked(track, 5.0, before_s[-1])
    assert_locked(track, before_s[-1] + 8.0)


# Where there is none


def speech(length_s, seed=0):
    """Syllables of uneven length and height, some with a hiss before them, with pauses."""
    rng = np.random.default_rng(seed)
    shots, at_s = [], 0.3
    while at_s < length_s - 0.5:
        long_s = rng.uniform(0.06, 0.3)
        syllable = signals.tone(rng.uniform(90.0, 220.0), long_s, "sung", db=rng.uniform(-24.0, -10.0))
        shots.append((at_s, syllable * np.sqrt(np.hanning(len(syllable))).astype(np.float32)))
        if rng.random() < 0.5:
            hiss = signals.noise(0.06, db=-30.0, seed=int(rng.integers(1000)))
            shots.append((at_s - 0.05, hiss * np.hanning(len(hiss)).astype(np.float32)))
        at_s += long_s + (rng.uniform(0.0, 0.1) if rng.random() < 0.75 else rng.uniform(0.2, 0.7))
    return signals.placed(shots, length_s)


@pytest.mark.parametrize(
    "sound",
    [
        signals.silence(4.0),
        signals.noise(8.0, db=-20.0),
        speech(12.0, 0),
        speech(12.0, 1),
        signals.tone(110.0, 8.0, "saw") + signals.tone(164.8, 8.0, "saw"),
    ],
    ids=["silence", "noise", "speech", "other speech", "drone"],
)
def test_where_there_is_no_beat_nothing_is_sure(sound):
    confidence = Track.of(sound).confidence
    assert (confidence < 0.2).mean() > 0.95
    assert confidence[-1] < 0.2


# The tracker alone, told of hits


def rows(beats_s):
    """Hits of a simple pattern: [(time, kind)]."""
    hits = []
    for index, (at_s, next_s) in enumerate(zip(beats_s, beats_s[1:], strict=False)):
        drum = AudioEventKind.SNARE if index % 2 else AudioEventKind.KICK
        hits += [(at_s, drum), (at_s, AudioEventKind.ONSET), (at_s, AudioEventKind.HAT)]
        hits += [((at_s + next_s) / 2, AudioEventKind.ONSET), ((at_s + next_s) / 2, AudioEventKind.HAT)]
    return hits


def told(tracker, hits, first_s, end_s, *, hop_s=HOP_S, strength=0.8, heard_after_s=0.008):
    """Step through time; arrays [hops] of time, bpm, beat and confidence."""
    waiting = sorted((at_s + heard_after_s, at_s, int(kind)) for at_s, kind in hits)
    out = []
    for hop in range(round(first_s / hop_s) + 1, round(end_s / hop_s) + 1):
        now_s, due = hop * hop_s, []
        while waiting and waiting[0][0] <= now_s:
            _, at_s, kind = waiting.pop(0)
            due.append(AudioEvent(0, kind, at_s, strength))
        tracker.step(due, now_s=now_s)
        out.append((now_s, tracker.bpm, tracker.beat_at(now_s), tracker.confidence))
    return np.array(out).T


@settings(max_examples=12, deadline=None)
@given(
    bpm=st.floats(62.0, 198.0),
    spread_s=st.floats(0.0, 0.008),
    first_s=st.floats(0.1, 1.0),
    hop_s=st.sampled_from([HOP_S, 256 / 48000, 0.0065]),
)
@example(bpm=187.0, spread_s=0.0, first_s=0.5, hop_s=256 / 48000)  # was told of at half, and drifted away from it
def test_a_player_who_is_a_little_loose_is_followed(bpm, spread_s, first_s, hop_s):
    beats_s = signals.beats(bpm, 12.0, first_s=first_s)
    rng = np.random.default_rng(round(bpm * 1000))
    hits = [(at_s + rng.normal(0.0, spread_s), kind) for at_s, kind in rows(beats_s)]
    track = Track(*told(BeatTracker(hop_s=hop_s), hits, 0.0, 11.0, hop_s=hop_s), beats_s)
    late = track.between(first_s + 6.0, 10.5)
    assert (track.level()[late] > 0).all()
    assert np.quantile(track.off_s()[late], 0.95) < 0.03


@settings(max_examples=15, deadline=None)
@given(
    hits=st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(list(AudioEventKind))), max_size=150),
    strength=st.floats(0.0, 1.0),
    heard_after_s=st.floats(0.0, 0.5),
)
def test_whatever_is_hit_all_stays_finite(hits, strength, heard_after_s):
    tracker = BeatTracker(hop_s=HOP_S)
    late = {"strength": strength, "heard_after_s": heard_after_s}
    now_s, bpm, beat, confidence = told(tracker, hits, 0.0, 3.5, **late)
    for each in (now_s, bpm, beat, confidence):
        assert np.isfinite(each).all()
    assert 0 <= confidence.min() <= confidence.max() <= 1
    known = bpm[bpm > 0]
    assert not len(known) or (known.min() > BPM_LOW * 0.9 and known.max() < BPM_HIGH * 1.1)
    assert 0 <= tracker.downbeat <= 3


def test_after_an_hour_of_silence_it_locks_again():
    hop_s = 0.02  # coarse, so that an hour is soon over
    tracker = BeatTracker(hop_s=hop_s)
    told(tracker, rows(signals.beats(100, 10.0)), 0.0, 10.0, hop_s=hop_s)
    _, bpm, beat, confidence = told(tracker, [], 10.0, 3610.0, hop_s=hop_s)
    assert np.isfinite([bpm, beat, confidence]).all()
    assert confidence[round(60 / hop_s)] == confidence[-1] == 0
    beats_s = signals.beats(140, 3625.0, first_s=3611.0)
    track = Track(*told(tracker, rows(beats_s), 3610.0, 3624.0, hop_s=hop_s), beats_s)
    late = track.between(3611.0 + LOCK_S, 3623.0)
    assert (track.level()[late] > 0).all()
    assert track.off_s()[late].max() < 3 * hop_s  # a frame of the model is two hops


def test_the_same_hits_are_the_same_beat():
    hits = rows(signals.beats(117, 6.0))
    first, again = (told(BeatTracker(hop_s=HOP_S), hits, 0.0, 6.0) for _ in range(2))
    assert first.tobytes() == again.tobytes()


# A hand


@pytest.mark.parametrize("playing_bpm", [0, 100])
def test_a_tap_sets_tempo_and_phase_at_once(playing_bpm):
    """Whether drums play beside it or nobody does."""
    sound = pattern(playing_bpm, 8.0)[0] if playing_bpm else signals.silence(8.0)
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    split = round(7.1 * RATE_HZ)
    analyser.step(AudioBlock(sound[:split, None], 0, 0.0))
    tap_s = 7.07
    analyser.tune(Tuning(taps=1, tap_bpm=133.0, tap_s=tap_s))
    told_after = analyser.step(AudioBlock(sound[split : split + 6 * 256, None], split, split / RATE_HZ))
    features, _ = told_after[-1]
    assert features.bpm == pytest.approx(133.0, rel=0.04)
    off = features.beat - (features.centre_s - tap_s) * 133.0 / 60.0
    assert abs((off + 0.5) % 1 - 0.5) * 60.0 / 133.0 < 0.03


def test_a_tap_without_a_tempo_moves_the_phase_alone():
    tracker = BeatTracker(hop_s=HOP_S)
    told(tracker, rows(signals.beats(120, 8.0)), 0.0, 7.0)
    tracker.tapped(6.98, bpm=0.0)
    told(tracker, [], 7.0, 7.05)
    assert tracker.bpm == pytest.approx(120.0, rel=0.06) or tracker.bpm == pytest.approx(60.0, rel=0.06)
    off = tracker.beat_at(6.98)
    assert abs(off - round(off)) * 60.0 / tracker.bpm < 0.05


def test_before_anything_is_heard_there_is_no_beat():
    tracker = BeatTracker(hop_s=HOP_S)
    _, bpm, beat, confidence = told(tracker, [], 0.0, 2.0)
    assert max(bpm.max(), np.abs(beat).max(), confidence.max()) == 0
    assert math.isfinite(tracker.beat_at(1e6))
