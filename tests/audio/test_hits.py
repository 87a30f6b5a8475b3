"""Hits: each stroke once, told apart, at its time; hold, hysteresis, sensitivity, learning; gain, gate and delay."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.audio.analyser import Analyser, Tuning, analyse
from performer.audio.hits import Hits, rise_sample
from performer.audio.source import BandSpec, VoiceSpec
from performer.flow import USER_KIND, AudioBlock, AudioEventKind
from tests.rig import signals

RATE_HZ = 44100
HOP_S = 256 / RATE_HZ
DRUMS = {AudioEventKind.KICK: signals.kick, AudioEventKind.SNARE: signals.snare, AudioEventKind.HAT: signals.hat}


def times(analysis, kind=AudioEventKind.ONSET, voice=0):
    return np.array([event.at_s for event in analysis.events if event.kind == kind and event.voice == voice])


def nearest(found_s, truth_s):
    """For each found, how far it lies from the nearest true one."""
    return np.array([np.abs(truth_s - each).min() for each in found_s])


def strokes(drum, count=10, *, rate_hz=RATE_HZ, seed=1):
    """(sound, times): single strokes, some soft, some loud."""
    rng = np.random.default_rng(seed)
    at_s = 0.5 + 0.4 * np.arange(count) + rng.uniform(0, 0.05, count)
    shots = []
    for index, each_s in enumerate(at_s):
        more = {} if drum is signals.kick else {"seed": index}
        shots.append((each_s, drum(db=rng.uniform(-14.0, -4.0), rate_hz=rate_hz, **more)))
    length_s = at_s[-1] + 0.6
    return signals.placed(shots, length_s, rate_hz=rate_hz) + signals.noise(length_s, db=-80.0, rate_hz=rate_hz), at_s


# The trigger, with scores of our own: the rise of one of the user's bands


def fired(rises_db, *, hold_s=0.03, hysteresis=0.5, sensitivity=0.5):
    """The hops at which a detector fires, of a band that lies at -40 dB and rises by so much in each hop."""
    hits = Hits(voices=1, narrow=30, user_bins=[[10]], hop_s=HOP_S)
    found = []
    for hop, rise_db in enumerate(rises_db):
        power = np.full((1, 30), 1e-4, np.float32)
        power[0, 10] *= np.float32(10 ** (rise_db / 10))
        fires = hits.step(
            hop,
            narrow_db=10 * np.log10(power),
            narrow_power=power,
            whole=power.sum(axis=1),
            sensitivity=np.array([sensitivity]),
            hold_s=hold_s,
            hysteresis=hysteresis,
        )
        if fires[0, USER_KIND]:
            found.append(hop)
    return found


def steps(*heights_db, each=30):
    """Rises that stay for a while, with calm between: each is one hit at most."""
    return [0.0] * each + [db for height_db in heights_db for db in [height_db] * 3 + [0.0] * (each - 3)]


def test_one_rise_is_one_hit():
    assert fired(steps(20.0, 20.0, 20.0)) == [30, 60, 90]


@pytest.mark.parametrize("hold_s", [0.0, 0.03, 0.1, 0.3])
def test_two_hits_are_at_least_the_hold_apart(hold_s):
    rises = [0.0] * 40 + [20.0, 20.0, 0.0, 0.0, 0.0, 0.0] * 60
    found = fired(rises, hold_s=hold_s)
    assert len(found) > 1
    assert np.diff(found).min() * HOP_S >= hold_s - 1e-9


def test_it_is_armed_again_only_below_the_hysteresis():
    # It rises fast, slowly and fast again: in the lull the score is about two thirds of the threshold.
    heights_db = np.cumsum([0.0] * 40 + [8.0] * 4 + [1.1] * 6 + [8.0] * 4)
    assert len(fired(heights_db, hold_s=0.0, hysteresis=0.3)) == 1
    assert len(fired(heights_db, hold_s=0.0, hysteresis=0.95)) == 2


@settings(max_examples=15, deadline=None)
@given(
    heights_db=st.lists(st.floats(1.0, 30.0), min_size=1, max_size=8), keen=st.floats(0.0, 1.0), more=st.floats(0, 1)
)
def test_a_keener_ear_never_hears_less(heights_db, keen, more):
    rises = steps(*heights_db)
    low, high = sorted((keen, more))
    assert set(fired(rises, sensitivity=low)) <= set(fired(rises, sensitivity=high))


def test_a_keener_ear_hears_more_of_a_take():
    rng = np.random.default_rng(4)
    shots = [(0.5 + 0.2 * n, signals.snare(db=rng.uniform(-50.0, -6.0), seed=n)) for n in range(20)]
    take = signals.placed(shots, 5.0) + signals.noise(5.0, db=-70.0)
    keenness = (0.0, 0.3, 0.5, 0.7, 1.0)
    voices = [VoiceSpec(str(each)) for each in keenness]
    analysis = analyse(take, RATE_HZ, voices, tuning=Tuning(sensitivity=keenness))
    for kind in (AudioEventKind.ALL, AudioEventKind.MID, AudioEventKind.ONSET):
        counts = [len(times(analysis, kind, voice)) for voice in range(len(voices))]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]


# Strokes


@cache
def take(kind, rate_hz):
    """(analysis of single strokes of one drum, their times)."""
    sound, at_s = strokes(DRUMS[kind], rate_hz=rate_hz)
    return analyse(sound, rate_hz), at_s


@pytest.mark.parametrize("kind", DRUMS, ids=["kick", "snare", "hat"])
@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_one_stroke_is_one_hit_of_every_detector(kind, rate_hz):
    analysis, at_s = take(kind, rate_hz)
    assert len(times(analysis, AudioEventKind.ALL)) == len(times(analysis, AudioEventKind.ONSET)) == len(at_s)
    for kind in AudioEventKind:
        found_s = times(analysis, kind)
        assert len({int(np.abs(at_s - each).argmin()) for each in found_s}) == len(found_s)


@pytest.mark.parametrize("rate_hz", [44100, 48000])
@pytest.mark.parametrize("kind", DRUMS, ids=["kick", "snare", "hat"])
def test_drums_are_told_apart(kind, rate_hz):
    analysis, at_s = take(kind, rate_hz)
    heard = {other.name: int((nearest(times(analysis, other), at_s) < 0.03).sum()) for other in DRUMS}
    assert heard.pop(kind.name) >= 8
    assert max(heard.values()) <= 2, heard


def test_a_band_of_the_setlists_own_hears_its_own_strokes():
    bands = (BandSpec("thump", 40.0, 90.0), BandSpec("tick", 8000.0, 12000.0))
    for drum, own, other in ((signals.kick, 0, None), (signals.hat, 1, 0)):
        sound, at_s = strokes(drum)
        analysis = analyse(sound, RATE_HZ, bands=bands)
        found_s = times(analysis, USER_KIND + own)
        assert len(found_s) == len(at_s)
        assert nearest(found_s, at_s).max() < 0.003
        if other is not None:
            assert len(times(analysis, USER_KIND + other)) <= 2


# Times


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000, 96000])
def test_clicks_are_placed_and_told_at_once(rate_hz):
    sound, at_s = signals.clicks(30, every_s=0.15, bed_db=-70.0, rate_hz=rate_hz)
    analysis = analyse(sound, rate_hz)
    for kind in (AudioEventKind.ONSET, AudioEventKind.ALL):
        pairs = [(e.at_s, h) for e, h in zip(analysis.events, analysis.heard_s, strict=True) if e.kind == kind]
        found_s, heard_s = np.array(pairs).T
        assert len(found_s) == len(at_s)
        assert np.median(nearest(found_s, at_s)) < 0.003
        late_s = heard_s - at_s
        assert np.median(late_s) <= 0.012
        assert np.quantile(late_s, 0.95) <= 0.025


@pytest.mark.parametrize("kind", DRUMS, ids=["kick", "snare", "hat"])
def test_drums_are_placed_and_told_at_once(kind):
    analysis, at_s = take(kind, RATE_HZ)
    pairs = [
        (e.at_s, h) for e, h in zip(analysis.events, analysis.heard_s, strict=True) if e.kind == AudioEventKind.ONSET
    ]
    found_s, heard_s = np.array(pairs).T
    assert np.median(nearest(found_s, at_s)) < 0.003
    late_s = heard_s - at_s[np.abs(at_s[:, None] - found_s).argmin(axis=0)]
    assert np.median(late_s) <= 0.012
    assert np.quantile(late_s, 0.95) <= 0.025


@settings(max_examples=50, deadline=None)
@given(at=st.integers(300, 950), db=st.floats(-40.0, 0.0), seed=st.integers(0, 1000))
def test_the_rise_is_found_to_the_sample(at, db, seed):
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal(1024) * 10 ** ((db - 30.0) / 20)
    sound[at:] += rng.standard_normal(1024 - at) * 10 ** (db / 20)
    assert abs(rise_sample(sound.astype(np.float32), 8) - at) <= 24


def test_what_grows_nowhere_has_no_rise():
    assert rise_sample(np.zeros(1024, np.float32), 8) is None
    assert rise_sample(np.exp(-np.arange(1024) / 200).astype(np.float32) * signals.noise(1.0, db=0.0)[:1024], 8) is None


@pytest.mark.parametrize("drum", DRUMS.values(), ids=["kick", "snare", "hat"])
def test_equal_strokes_are_equally_strong_wherever_they_fall_in_a_hop(drum):
    at_s = 0.5 + 0.3 * np.arange(24) + np.random.default_rng(0).uniform(0, 0.02, 24)
    shots = [(each_s, drum(db=-6.0 if index % 2 else -18.0)) for index, each_s in enumerate(at_s)]
    events = [e for e in analyse(signals.placed(shots, 8.0), RATE_HZ).events if e.kind == AudioEventKind.ALL]
    strength = np.array([event.strength for event in events])
    assert len(strength) == len(at_s)
    soft, loud = strength[6::2], strength[7::2]  # the reference has climbed
    assert np.ptp(loud) < 0.15
    assert np.ptp(soft) < 0.15
    assert np.median(soft) / np.median(loud) == pytest.approx(0.5, abs=0.1)  # 12 dB less


# Learning


LOUD_DB, GHOST_DB = -6.0, -36.0


def ghosts(length_s=18.0, seed=2):
    """(take, times of the loud strokes, times of the ghosts): ghost notes between loud ones, in noise."""
    rng = np.random.default_rng(seed)
    loud_s = np.arange(0.5, length_s - 0.3, 0.5)
    ghost_s = loud_s + 0.25
    shots = [(at_s, signals.snare(db=LOUD_DB + rng.uniform(-2, 2), seed=1)) for at_s in loud_s]
    shots += [(at_s, signals.snare(db=GHOST_DB + rng.uniform(-2, 2), seed=1)) for at_s in ghost_s]
    return signals.placed(shots, length_s) + signals.noise(length_s, db=-50.0, seed=seed), loud_s, ghost_s


def listen(sound, tunings=()):
    """(analyser, events): `tunings` are (time, Tuning), in order."""
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    edges = [0, *(round(at_s * RATE_HZ) for at_s, _ in tunings), len(sound)]
    events = []
    for index, (first, end) in enumerate(zip(edges, edges[1:], strict=False)):
        if index:
            analyser.tune(tunings[index - 1][1])
        block = AudioBlock(sound[first:end, None], first, first / RATE_HZ)
        events += [event for _, found in analyser.step(block) for event in found]
    return analyser, events


def heard_of(events, truth_s, *, kind, after_s):
    """The part of `truth_s` since `after_s` that was heard."""
    found_s = np.array([event.at_s for event in events if event.kind == kind])
    later_s = truth_s[truth_s > after_s]
    return (nearest(later_s, found_s) < 0.03).mean() if len(found_s) else 0.0


def test_learning_parts_the_loud_strokes_from_the_ghosts():
    sound, loud_s, ghost_s = ghosts()
    _, plain = listen(sound)
    analyser, learnt = listen(sound, [(2.0, Tuning(learns=1))])
    assert not analyser.hits.is_learning
    for kind in (AudioEventKind.ALL, AudioEventKind.MID):
        assert heard_of(plain, ghost_s, kind=kind, after_s=12.5) > 0.3
        assert heard_of(learnt, ghost_s, kind=kind, after_s=12.5) < 0.1
        assert heard_of(learnt, loud_s, kind=kind, after_s=12.5) > 0.9


def test_too_little_heard_leaves_all_as_it_was():
    sound = signals.placed([(1.0, signals.snare()), (3.0, signals.snare())], 14.0)
    analyser, _ = listen(sound, [(0.2, Tuning(learns=1))])
    assert not analyser.hits.is_learning
    assert np.array_equal(analyser.hits.scale, np.ones_like(analyser.hits.scale))


def test_a_reset_forgets_what_was_learnt():
    sound, _, _ = ghosts()
    analyser, _ = listen(sound, [(2.0, Tuning(learns=1)), (15.0, Tuning(learns=1, resets=1))])
    assert np.array_equal(analyser.hits.scale, np.ones_like(analyser.hits.scale))
    analyser, _ = listen(sound[: 6 * RATE_HZ], [(2.0, Tuning(learns=1)), (5.0, Tuning(learns=1, resets=1))])
    assert not analyser.hits.is_learning


# Hands on a voice


TWO = (VoiceSpec("first", (1,)), VoiceSpec("second", (2,)))


def two(tuning):
    sound, at_s = signals.clicks(12, every_s=0.3, bed_db=-80.0)
    return analyse(np.stack([sound, sound], axis=1), RATE_HZ, TWO, tuning=tuning), at_s


def test_a_voices_delay_is_taken_off_its_times():
    analysis, _ = two(Tuning(delay_s=(0.0, 0.02)))
    assert times(analysis, voice=0) - times(analysis, voice=1) == pytest.approx(0.02, abs=1e-9)


def test_a_gate_hears_what_is_above_it():
    analysis, at_s = two(Tuning(gate_db=(-np.inf, -1.0)))
    assert len(times(analysis, voice=0)) == len(at_s)
    assert len(times(analysis, voice=1)) == 0
    open_, _ = two(Tuning(gate_db=(-np.inf, -60.0)))
    assert np.array_equal(times(open_, voice=1), times(open_, voice=0))


def test_gain_lifts_a_soft_voice_to_its_hits():
    sound, at_s = signals.clicks(12, every_s=0.3, db=-70.0)
    both = np.stack([sound, sound], axis=1)
    analysis = analyse(both, RATE_HZ, TWO, tuning=Tuning(gain_db=(0.0, 50.0)))
    assert len(times(analysis, AudioEventKind.ALL, voice=0)) == 0
    assert len(times(analysis, AudioEventKind.ALL, voice=1)) == len(at_s)


def test_sensitivity_is_each_voices_own():
    shots = [(0.5 + 0.3 * n, signals.snare(db=-52.0, seed=n)) for n in range(10)]
    sound = signals.placed(shots, 4.0) + signals.noise(4.0, db=-75.0)
    both = np.stack([sound, sound], axis=1)
    analysis = analyse(both, RATE_HZ, TWO, tuning=Tuning(sensitivity=(0.0, 1.0)))
    assert len(times(analysis, AudioEventKind.ALL, voice=0)) < len(times(analysis, AudioEventKind.ALL, voice=1))
