"""Faults: whatever comes down the cable, numbers stay finite and in range, and are soon what a clean run gives."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from performer.audio.analyser import Analyser, Tuning, analyse
from performer.audio.features import TABLE, column, hit_kinds, table_with
from performer.audio.source import BandSpec, VoiceSpec
from performer.flow import USER_KIND, AudioBlock, AudioEventKind, CaptureFlags
from tests.rig import signals

RATE_HZ = 44100
HOP_S = 256 / RATE_HZ
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # each example is a second of sound: none is made smaller
BANDS = (BandSpec("guitar", 300.0, 900.0), BandSpec("thin", 1010.0, 1012.0))
VOICES = (VoiceSpec(), VoiceSpec("second", (2,)), VoiceSpec("absent", (99,)))
TUNING = Tuning(
    gain_db=(6.0, -3.0), gate_db=(-60.0,), delay_s=(0.0, 0.01), sensitivity=(0.8,), adapt_s=5.0, hold_s=0.05
)


def music(length_s, *, rate_hz=RATE_HZ, seed=0):
    """Drums and a chord."""
    drums = signals.drums(signals.beats(120.0, length_s, first_s=0.05))
    sound = signals.placed(drums, length_s) + signals.tone(220.0, length_s, "sung", db=-24.0)
    sound += signals.noise(length_s, db=-66.0, seed=seed)
    if rate_hz == RATE_HZ:
        return sound
    at_s = np.arange(round(length_s * rate_hz)) / rate_hz
    return np.interp(at_s, np.arange(len(sound)) / RATE_HZ, sound).astype(np.float32)


def blocks(sound, sizes, *, rate_hz=RATE_HZ):
    """`sound` in blocks of these sizes, over and over."""
    at, turn = 0, 0
    while at < len(sound):
        size = sizes[turn % len(sizes)]
        yield AudioBlock(sound[at : at + size], at, at / rate_hz)
        at, turn = at + size, turn + 1


def hear(stream, *, rate_hz=RATE_HZ, channels=1, voices=VOICES[:1], bands=(), tuning=None):
    """[(features, events)] of every hop."""
    analyser = Analyser(rate_hz=rate_hz, channels=channels, voices=voices, bands=bands, tuning=tuning)
    return [hop for block in stream for hop in analyser.step(block)]


def assert_sound(heard, *, bands=(), voices=1):
    """Finite and in the range of the table, all of it."""
    table = table_with(bands)
    low, high = np.array([(feature.low, feature.high) for feature in table]).T
    values = np.stack([features.values for features, _ in heard])
    assert values.shape[1:] == (voices, len(table))
    assert np.isfinite(values).all()
    outside = (values < low - 1e-4).any(axis=(0, 1)) | (values > high * (1 + 1e-6) + 1e-4).any(axis=(0, 1))
    assert not outside.any(), {
        table[each].name: (values[..., each].min(), values[..., each].max()) for each in np.flatnonzero(outside)
    }
    for features, events in heard:
        assert 0 <= features.confidence <= 1
        assert np.isfinite([features.bpm, features.beat, features.centre_s]).all()
        assert 0 <= features.spectrum.min() <= features.spectrum.max() <= 1
        assert np.isfinite(features.waveform).all()
        for event in events:
            assert 0 <= event.voice < voices
            assert 0 <= event.kind < USER_KIND + len(bands)
            assert 0 < event.strength <= 1
            assert np.isfinite(event.at_s)


def bits(heard):
    """Everything that was told, as bytes."""
    return [
        (
            features.values.tobytes(),
            features.spectrum.tobytes(),
            features.waveform.tobytes(),
            (features.centre_s, features.bpm, features.beat, features.confidence, features.downbeat),
            events,
        )
        for features, events in heard
    ]


# Streaming equals batch


STREAM = np.stack([music(1.5, seed=1), music(1.5, seed=2)], axis=1)


@pytest.fixture(scope="module")
def whole():
    setting = {"channels": 2, "voices": VOICES, "bands": BANDS, "tuning": TUNING}
    return setting, bits(hear([AudioBlock(STREAM, 0, 0.0)], **setting))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=12))
def test_all_that_is_told_is_the_same_in_blocks_of_any_size(whole, sizes):
    setting, expected = whole
    assert bits(hear(blocks(STREAM, sizes), **setting)) == expected


def test_a_sample_at_a_time_is_the_same_as_all_at_once(whole):
    setting, expected = whole
    first = STREAM[: RATE_HZ // 3]
    heard = bits(hear(blocks(first, [1]), **setting))
    assert heard == expected[: len(heard)]


def test_the_beat_is_the_same_in_blocks_of_any_size():
    sound = music(8.0)[:, None]
    small, large = (hear(blocks(sound, sizes)) for sizes in ([441], [8 * RATE_HZ]))
    assert bits(small) == bits(large)
    assert small[-1][0].bpm > 0


def test_a_voice_hears_the_same_alone_and_beside_others():
    """To rounding: products of matrices may add in another order."""
    alone = hear([AudioBlock(STREAM, 0, 0.0)], channels=2, voices=VOICES[1:2])
    beside = hear([AudioBlock(STREAM, 0, 0.0)], channels=2, voices=VOICES)
    one = np.stack([features.values[0] for features, _ in alone])
    other = np.stack([features.values[1] for features, _ in beside])
    assert np.abs(one - other).max(axis=0) == pytest.approx(np.zeros(len(TABLE)), abs=0.05)


# Whatever comes


@st.composite
def ruined(draw, length=int(1.2 * RATE_HZ)):
    """Music to which something happened."""
    sound = music(1.2) * np.float32(10.0 ** draw(st.floats(-9.0, 6.0)))
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.integers(0, length - 1))
        part = slice(first, first + draw(st.integers(1, 20000)))
        match draw(st.sampled_from(["nan", "inf", "-inf", "huge", "denormal", "clip", "zero", "dc", "square"])):
            case "huge":
                sound[part] *= np.float32(1e30)
            case "denormal":
                sound[part] = np.float32(1e-42)
            case "clip":
                sound[part] = np.clip(sound[part] * 100, -1, 1)
            case "zero":
                sound[part] = 0
            case "dc":
                sound[part] += np.float32(0.7)
            case "square":
                sound[part] = np.sign(np.sin(np.arange(len(sound[part])) / 30.0))
            case value:
                sound[part] = np.float32(value)
    return sound


@pytest.mark.filterwarnings("ignore:overflow encountered")
@settings(max_examples=12, deadline=None, phases=QUICK)
@given(sound=ruined())
def test_whatever_comes_all_is_finite_and_in_range(sound):
    assert_sound(hear([AudioBlock(sound[:, None], 0, 0.0)], bands=BANDS), bands=BANDS)


@pytest.mark.parametrize("db", [-180.0, -100.0, 0.0, 60.0, 120.0])
@pytest.mark.parametrize("kind", ["noise", "sine", "square"])
def test_any_loudness_is_in_range(kind, db):
    gain = np.float32(10 ** (db / 20))
    sound = {
        "noise": signals.noise(0.6, db=-10.0),
        "sine": signals.sine(440.0, 0.6, db=0.0),
        "square": np.sign(signals.sine(82.0, 0.6)),
    }[kind]
    assert_sound(hear([AudioBlock(sound[:, None] * gain, 0, 0.0)]))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 32000, 37800, 44100, 48000, 88200, 96000, 192000])
def test_every_rate_is_heard(rate_hz):
    sound = music(1.0, rate_hz=rate_hz)
    heard = hear([AudioBlock(sound[:, None], 0, 0.0)], rate_hz=rate_hz, bands=BANDS)
    assert_sound(heard, bands=BANDS)
    assert np.array([features.values[0, column("bass.level")] for features, _ in heard]).max() > 0.5
    onsets = [event for _, events in heard for event in events if event.kind == AudioEventKind.ALL]
    assert len(onsets) >= 2


@settings(max_examples=12, deadline=None)
@given(
    channels=st.integers(1, 8),
    groups=st.lists(st.lists(st.integers(1, 40), max_size=4), min_size=1, max_size=3),
    rate_hz=st.integers(8000, 192000),
)
def test_any_channels_and_any_voices(channels, groups, rate_hz):
    sound = np.random.default_rng(channels).uniform(-1, 1, (rate_hz // 4, channels)).astype(np.float32)
    voices = tuple(VoiceSpec(str(index), tuple(group)) for index, group in enumerate(groups))
    heard = hear(blocks(sound, [777], rate_hz=rate_hz), rate_hz=rate_hz, channels=channels, voices=voices)
    assert_sound(heard, voices=len(voices))


def test_blocks_of_ten_seconds_and_of_nothing():
    sound = music(10.0)[:, None]
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    assert analyser.step(AudioBlock(sound[:0], 0, 0.0)) == []
    heard = analyser.step(AudioBlock(sound, 0, 0.0))
    assert len(heard) == len(sound) // 256
    assert_sound(heard)


@settings(max_examples=10, deadline=None, phases=QUICK)
@given(
    gain_db=st.floats(-200.0, 200.0),
    gate_db=st.floats(-200.0, 50.0),
    sensitivity=st.floats(0.0, 1.0),
    hold_s=st.floats(0.0, 2.0),
    hysteresis=st.floats(0.0, 1.0),
    adapt_s=st.floats(0.01, 1e4),
    is_frozen=st.booleans(),
    counts=st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
    tap_bpm=st.floats(0.0, 1000.0),
    tap_s=st.floats(-10.0, 10.0),
)
def test_whatever_hands_do_all_is_in_range(counts, **knobs):
    resets, learns, taps = counts
    per_voice = {name: (knobs.pop(name),) for name in ("gain_db", "gate_db", "sensitivity")}
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    sound = music(0.8)[:, None]
    half = len(sound) // 2
    heard = analyser.step(AudioBlock(sound[:half], 0, 0.0))
    analyser.tune(Tuning(**per_voice, **knobs, resets=resets, learns=learns, taps=taps))
    heard += analyser.step(AudioBlock(sound[half:], half, half / RATE_HZ))
    assert_sound(heard)


# Nothing stays


REMEMBER = ("level", "presence", "time", "hue", "pitch", "height")  # what was loud, or what was heard last


def spoilt(sound, fault, part):
    """A copy to which `fault` happens."""
    ruin = sound.copy()
    match fault:
        case "nan" | "inf":
            ruin[part] = np.float32(fault)
        case "clipped":
            ruin[part] = np.sign(ruin[part])
        case "offset":
            ruin[part] += np.float32(0.5)
        case "dropout":
            ruin[part] = 0
        case "huge":
            ruin[part] *= np.float32(1e9)
        case "denormal":
            ruin[part] = np.float32(1e-42)
    return ruin


@pytest.mark.parametrize("fault", ["nan", "inf", "clipped", "offset", "dropout", "huge", "denormal"])
def test_after_a_fault_all_is_what_a_clean_run_gives(fault):
    clean = music(5.0)
    first_s, end_s = 1.0, 1.3
    ruin = spoilt(clean, fault, slice(int(first_s * RATE_HZ), int(end_s * RATE_HZ)))
    heard, wanted = (hear([AudioBlock(sound[:, None], 0, 0.0)]) for sound in (ruin, clean))
    assert_sound(heard)
    ours, theirs = (np.stack([features.values[0] for features, _ in each]) for each in (heard, wanted))
    at_s = np.array([features.centre_s for features, _ in heard])
    again = at_s > end_s + 2.5  # an offset takes 0.5 s to be taken off, and is 60 dB down after seven times that
    for index, feature in enumerate(TABLE):
        if feature.name.rpartition(".")[2] in REMEMBER or feature.name in hit_kinds():
            continue
        span = feature.high - feature.low
        off = np.abs(ours[again, index] - theirs[again, index])
        assert np.median(off) < 0.02 * span, feature.name
    events, expected = (
        [e.at_s for _, found in each for e in found if e.at_s > end_s + 1.0 and e.kind == AudioEventKind.ALL]
        for each in (heard, wanted)
    )
    assert len(events) == len(expected)
    assert events == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("fault", ["nan", "clipped", "huge"])
def test_levels_come_back_as_fast_as_they_adapt(fault):
    """A fault may raise the reference of relative levels, which then falls by 10 dB in `adapt_s`."""
    clean = music(6.0)
    ruin = spoilt(clean, fault, slice(RATE_HZ, int(1.3 * RATE_HZ)))
    tuning = Tuning(adapt_s=0.5)
    ours, theirs = (analyse(sound, RATE_HZ, tuning=tuning).values[-200:, 0] for sound in (ruin, clean))
    for band in ("all", "bass", "mid", "high"):
        level = column(f"{band}.level")
        assert np.abs(ours[:, level] - theirs[:, level]).max() < 0.05


def test_gaps_are_no_hits_and_their_flags_are_heeded():
    sound = signals.tone(220.0, 4.0, "sung")[:, None]
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    at, heard = 0, []
    for turn in range(20):
        flags = CaptureFlags.GAP if turn % 4 == 3 else CaptureFlags.NONE
        block = AudioBlock(sound[at : at + 5000], at, at / RATE_HZ, flags)
        heard += analyser.step(block)
        at += 5000
        if turn % 4 == 2:
            at += 137
    assert_sound(heard)
    begun = [event for _, events in heard for event in events if event.at_s > 0.3]
    assert begun == []
    times = [features.centre_s for features, _ in heard]
    assert np.all(np.diff(times) > 0)


def test_time_is_that_of_the_blocks_after_a_gap():
    sound, _ = signals.clicks(4, every_s=0.5)
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    half = len(sound) // 2
    analyser.step(AudioBlock(sound[:half, None], 0, 0.0))
    later_s = 100.0
    heard = analyser.step(AudioBlock(sound[half:, None], 10 * RATE_HZ, later_s, CaptureFlags.GAP))
    assert heard[-1][0].centre_s == pytest.approx(later_s + (len(sound) - half) / RATE_HZ, abs=2 * HOP_S)


def test_a_clock_that_drifts_is_followed():
    """The converter runs 100 ppm fast beside the show's clock."""
    sound = music(4.0)[:, None]
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    times = []
    for at in range(0, len(sound), 1000):
        block = AudioBlock(sound[at : at + 1000], at, at / RATE_HZ * (1 + 1e-4))
        times += [(features.centre_s, at + 1000) for features, _ in analyser.step(block)]
    told_s, newest = np.array(times).T
    assert np.all(np.diff(told_s) > 0)
    assert np.abs(told_s - newest / RATE_HZ * (1 + 1e-4)).max() < 0.03
