"""Levels: relative and absolute, references that adapt, freeze and begin anew; loudness, peak and silence."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import freqz, lfilter

from performer.audio.analyser import Analyser, Tuning, analyse
from performer.audio.features import BANDS, PARTS, TABLE, column, feature_names
from performer.audio.levels import (
    ADAPT_S,
    LEAST_ABOVE_FLOOR_DB,
    LOUDNESS_LEAST_LUFS,
    LUFS_OFFSET_DB,
    RANGE_DB,
    Levels,
    Loudness,
    k_weights,
)
from performer.audio.source import BandSpec, VoiceSpec
from performer.flow import AudioBlock
from tests.rig import signals

DATA = Path(__file__).parent.parent / "data"
RATE_HZ = 44100
HOP_S = 256 / RATE_HZ
FLOOR_DB = -50.0

# BS.1770-4, annex 1, tables 1 and 2: numerator and denominator, at 48 kHz.
SHELF = (1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)
HIGH_PASS = (1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)


def levels_of_one():
    return Levels(voices=1, floor_db=np.array([FLOOR_DB]), hop_s=HOP_S)


def play(levels, db, length_s, *, adapt_s=ADAPT_S, is_frozen=False):
    """Step through so long a stretch of a steady level; the `level` after each hop."""
    power = np.array([[10 ** (db / 10)]])
    after = []
    for _ in range(round(length_s / HOP_S)):
        levels.step(power, adapt_s=adapt_s, is_frozen=is_frozen)
        after.append(levels.level[0, 0])
    return np.array(after)


def column_of(sound, name, rate_hz=RATE_HZ, **more):
    return analyse(sound, rate_hz, **more).values[:, 0, column(name)]


# Relative levels


@settings(max_examples=25, deadline=None)
@given(adapt_s=st.floats(2.0, 120.0), db=st.floats(-25.0, 0.0))
def test_the_reference_falls_by_ten_decibels_in_adapt_s(adapt_s, db):
    levels = levels_of_one()
    play(levels, db, 1.0, adapt_s=adapt_s)
    before_db = levels.reference_db[0, 0]
    play(levels, -60.0, 2.0, adapt_s=adapt_s)
    fallen_db = 10.0 * round(2.0 / HOP_S) * HOP_S / adapt_s
    least_db = FLOOR_DB + LEAST_ABOVE_FLOOR_DB
    assert levels.reference_db[0, 0] == pytest.approx(max(before_db - fallen_db, least_db))


def test_relative_levels_span_the_range_below_the_reference():
    for below_db in (0.0, 9.0, 18.0, 27.0, 36.0):
        levels = levels_of_one()
        levels.reference_db[:] = -6.0
        level = play(levels, -6.0 - below_db, 2.0, is_frozen=True)[-1]
        assert level == pytest.approx(1 - below_db / RANGE_DB, abs=1e-3)


def test_a_soft_passage_stays_soft_and_then_the_reference_comes_down_to_it():
    levels = levels_of_one()
    play(levels, -6.0, 2.0, adapt_s=10.0)
    soft = play(levels, -24.0, 30.0, adapt_s=10.0)
    at = [soft[int(s / HOP_S)] for s in (1.0, 5.0, 10.0)]
    assert at == pytest.approx([0.53, 0.64, 0.78], abs=0.03)  # 18 dB below, then 1 dB a second nearer
    assert soft[-1] > 0.97


def test_the_ratio_of_loud_and_soft_is_that_of_their_decibels():
    loud, soft = signals.sine(400.0, 1.5, db=-6.0), signals.sine(400.0, 1.5, db=-15.0)
    level = column_of(np.concatenate([loud, soft, loud]), "mid.level")
    end = [level[int(s / HOP_S)] for s in (1.45, 2.95, 4.4)]
    assert end[0] - end[1] == pytest.approx(9.0 / RANGE_DB, abs=0.03)
    assert end[2] == pytest.approx(end[0], abs=0.02)


def test_a_crackle_does_not_silence_what_follows():
    sound = signals.sine(400.0, 3.0, db=-30.0)
    clean = column_of(sound, "all.level")
    sound = sound.copy()
    sound[RATE_HZ : RATE_HZ + 4] = 0.9
    after = slice(int(1.3 / HOP_S), None)
    assert np.abs(column_of(sound, "all.level") - clean)[after].max() < 0.15


def test_frozen_the_reference_stands():
    levels = levels_of_one()
    play(levels, -12.0, 1.0)
    before_db = levels.reference_db[0, 0]
    play(levels, -40.0, 30.0, is_frozen=True)
    play(levels, 0.0, 5.0, is_frozen=True)
    assert levels.reference_db[0, 0] == before_db
    assert levels.level[0, 0] == pytest.approx(1.0)


def after_tuning(tuning):
    """`mid.level` of a soft tone, half a second after the tuning; a loud tone came before."""
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    sound = np.concatenate([signals.sine(400.0, 2.0, db=-3.0), signals.sine(400.0, 1.0, db=-25.0)])[:, None]
    split = int(2.5 * RATE_HZ)
    analyser.step(AudioBlock(sound[:split], 0, 0.0))
    analyser.tune(tuning)
    features, _ = analyser.step(AudioBlock(sound[split:], split, split / RATE_HZ))[-1]
    return features.values[0, column("mid.level")]


def test_a_reset_begins_anew():
    assert after_tuning(Tuning()) < 0.45
    assert after_tuning(Tuning(resets=1)) > 0.9


def test_a_quicker_hand_adapts_sooner():
    assert after_tuning(Tuning(adapt_s=1.0)) > after_tuning(Tuning(adapt_s=25.0)) + 0.1


def test_nothing_below_the_floor_is_a_level():
    levels = levels_of_one()
    assert play(levels, FLOOR_DB - 1.0, 5.0).max() == 0
    assert levels.reference_db[0, 0] == FLOOR_DB + LEAST_ABOVE_FLOOR_DB


@settings(max_examples=30, deadline=None)
@given(power_db=st.lists(st.floats(-200.0, 40.0), min_size=1, max_size=60), adapt_s=st.floats(0.01, 1e4))
def test_levels_stay_in_range_and_time_goes_on(power_db, adapt_s):
    levels = levels_of_one()
    before_ns = 0
    for db in power_db:
        levels.step(np.array([[10 ** (db / 10)]]), adapt_s=adapt_s, is_frozen=False)
        for value in (levels.level, levels.presence):
            assert 0 <= value[0, 0] <= 1
        assert 0 <= levels.time_ns[0, 0] - before_ns <= round(HOP_S * 1e9)
        before_ns = levels.time_ns[0, 0]


def test_time_passes_as_fast_as_it_is_loud():
    levels = levels_of_one()
    levels.reference_db[:] = 0.0
    play(levels, 0.0, 2.0, is_frozen=True)
    began_ns = int(levels.time_ns[0, 0])
    play(levels, 0.0, 3.0, is_frozen=True)
    assert (levels.time_ns[0, 0] - began_ns) * 1e-9 == pytest.approx(round(3.0 / HOP_S) * HOP_S)
    play(levels, -90.0, 3.0, is_frozen=True)
    stopped_ns = int(levels.time_ns[0, 0])
    play(levels, -90.0, 3.0, is_frozen=True)
    assert levels.time_ns[0, 0] - stopped_ns < 1e6


def test_presence_takes_three_seconds():
    levels = levels_of_one()
    levels.reference_db[:] = 0.0
    play(levels, 0.0, 3.0, is_frozen=True)
    assert levels.presence[0, 0] == pytest.approx(1 - np.exp(-1), abs=0.02)


# Absolute levels


@pytest.mark.parametrize("rate_hz", [22050, 37800, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize(
    ("frequency_hz", "band", "off_db", "apart_db"),
    # A window of 21 ms tells low frequencies apart only roughly.
    [(80.0, "bass", 0.5, 12.0), (500.0, "mid", 0.2, 25.0), (2700.0, "midhigh", 0.2, 25.0), (9000.0, "high", 0.2, 25.0)],
)
def test_a_sine_reads_its_decibels_in_its_own_band(rate_hz, frequency_hz, band, off_db, apart_db):
    for db in (-6.0, -40.0):
        values = analyse(signals.sine(frequency_hz, 0.3, db=db, rate_hz=rate_hz), rate_hz).values[-1, 0]
        assert values[column(f"{band}.db")] == pytest.approx(db, abs=off_db)
        assert values[column("all.db")] == pytest.approx(db, abs=off_db)
        others = [values[column(f"{name}.db")] for name, _, _ in BANDS[1:] if name != band]
        assert max(others) < db - apart_db


def test_bands_add_up_to_the_whole():
    sound, _ = soundfile.read(DATA / "groove_rock_105.ogg", dtype="float32", frames=2 * RATE_HZ)
    values = analyse(sound, RATE_HZ).values[:, 0]
    power = {name: 10 ** (values[:, column(f"{name}.db")] / 10) for name in (*(b[0] for b in BANDS), *PARTS)}
    loud = values[:, column("all.db")] > -60.0
    parts = power["bass"] + power["mid"] + power["midhigh"] + power["high"]
    assert (parts / power["all"])[loud] == pytest.approx(1.0, rel=1e-3)


def test_a_setlists_own_bands_hear_their_own():
    bands = (BandSpec("low", 100.0, 200.0), BandSpec("guitar", 500.0, 900.0), BandSpec("air", 10000.0, 15000.0))
    names = feature_names(bands)
    for frequency_hz, own in ((140.0, "low"), (700.0, "guitar"), (12000.0, "air")):
        values = analyse(signals.sine(frequency_hz, 1.0, db=-10.0), RATE_HZ, bands=bands).values[-1, 0]
        db = {band.name: values[names.index(f"{band.name}.db")] for band in bands}
        assert values[names.index(f"{own}.level")] > 0.9
        assert db.pop(own) == pytest.approx(-10.0, abs=1.0)
        assert max(db.values()) < -30.0


def test_a_band_between_two_bins_is_not_deaf():
    bands = (BandSpec("thin", 1010.0, 1012.0),)
    names = feature_names(bands)
    values = analyse(signals.sine(1011.0, 0.5, db=-10.0), RATE_HZ, bands=bands).values[-1, 0]
    assert values[names.index("thin.db")] > -35.0
    assert np.isfinite(values).all()


# Loudness


def lufs_by_filters(sound, ends):
    """Momentary loudness of 48 kHz sound in the 400 ms before each of `ends`, filtered in time."""
    weighted = lfilter(*HIGH_PASS, lfilter(*SHELF, sound.astype(np.float64)))
    sums = np.concatenate([[0.0], np.cumsum(np.square(weighted))])
    length = round(0.4 * 48000)
    return LUFS_OFFSET_DB + 10 * np.log10((sums[ends] - sums[np.maximum(ends - length, 0)]) / length + 1e-12)


def test_the_weights_are_the_response_of_the_published_filters():
    frequencies_hz = np.geomspace(10.0, 23000.0, 200)
    response = freqz(*SHELF, frequencies_hz, fs=48000)[1] * freqz(*HIGH_PASS, frequencies_hz, fs=48000)[1]
    assert k_weights(frequencies_hz) == pytest.approx(np.abs(response) ** 2, rel=1e-3)


@pytest.mark.parametrize("rate_hz", [22050, 32000, 44100, 48000, 96000, 192000])
def test_a_full_scale_sine_of_997_hz_reads_minus_three(rate_hz):
    assert column_of(signals.sine(997.0, 0.6, db=0.0, rate_hz=rate_hz), "loudness", rate_hz)[-1] == pytest.approx(
        -3.01, abs=0.1
    )


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000, 96000, 192000])
def test_low_and_high_tones_are_weighted_as_the_filters_weigh_them(rate_hz):
    frequencies_hz = (60.0, 100.0, 300.0, 3000.0, 10000.0)
    sound = np.concatenate([signals.sine(each_hz, 0.6, rate_hz=rate_hz) for each_hz in frequencies_hz])
    analysis = analyse(sound, rate_hz)
    for index, each_hz in enumerate(frequencies_hz):
        theirs = lufs_by_filters(signals.sine(each_hz, 0.6, rate_hz=48000), np.array([28800]))[0]
        ours = analysis.at(0.6 * (index + 1)).values[0, column("loudness")]
        assert ours == pytest.approx(theirs, abs=0.35)


def test_music_is_as_loud_as_the_filters_say():
    sound, _ = soundfile.read(DATA / "groove_rock_105.ogg", dtype="float32")
    sound = soxr.resample(sound, RATE_HZ, 48000)
    ours = column_of(sound, "loudness", 48000)
    ends = np.arange(1, len(ours) + 1) * 256 - 128  # the window weighs what is half a hop old most
    off = np.abs(ours - lufs_by_filters(sound, ends))[75:]
    assert np.median(off) < 0.1
    assert np.quantile(off, 0.95) < 0.3
    assert off.max() < 1.5


def test_two_equal_channels_are_as_loud_as_one():
    """A voice is the mean of its channels: stereo is not summed as broadcasters sum it."""
    mono = signals.sine(997.0, 0.6, db=-10.0)
    stereo = np.stack([mono, mono], axis=1)
    one = analyse(stereo, RATE_HZ, (VoiceSpec("mix"), VoiceSpec("left", (1,)))).values[-1, :, column("loudness")]
    assert one == pytest.approx([-13.01, -13.01], abs=0.1)


def meter(steps):
    """A loudness meter after each (LUFS, seconds): [[lufs, silence]]."""
    loudness = Loudness(voices=1, hop_s=HOP_S)
    seen = []
    for lufs, length_s in steps:
        power = np.array([2 * 10 ** ((lufs - LUFS_OFFSET_DB) / 10)])
        for _ in range(round(length_s / HOP_S)):
            loudness.step(power, np.zeros(1))
        seen.append((loudness.lufs[0], loudness.silence[0]))
    return seen


def test_silence_is_told_after_a_second_and_leaves_with_hysteresis():
    silence = [s for _, s in meter([(-30, 1), (-62, 1.2), (-62, 0.5), (-57, 5), (-52, 0.5), (-57, 5), (-62, 2)])]
    assert silence == [0, 0, 1, 1, 0, 0, 1]


def test_it_begins_in_silence_and_hears_the_first_sound():
    assert [s for _, s in meter([(-90, 0.1), (-40, 0.1)])] == [1, 0]


def test_loudness_forgets_after_400_ms():
    (_, _), (lufs, _) = meter([(-10, 2), (-40, 0.41)])
    assert lufs == pytest.approx(-40, abs=0.1)
    (_, _), (half, _) = meter([(-10, 2), (-90, 0.2)])
    assert half == pytest.approx(-13.0, abs=0.2)
    assert meter([(-200, 1)])[0][0] == LOUDNESS_LEAST_LUFS


def test_the_peak_falls_by_twenty_decibels_a_second():
    sound = np.concatenate([signals.sine(500.0, 0.3, db=-6.0), signals.silence(4.0)])
    peak_db = column_of(sound, "peak")
    end = int(0.3 / HOP_S)
    assert peak_db[end - 2] == pytest.approx(-6.0, abs=0.05)
    falling = peak_db[end + 10 : end + 10 + round(3 / HOP_S)]
    assert np.diff(falling) == pytest.approx(-20.0 * HOP_S, abs=1e-4)


# Latencies


@cache
def told_of(kind):
    """Half a second of silence, then noise or a tone."""
    after = signals.noise(0.8, db=-20.0) if kind == "noise" else signals.tone(880.0, 0.8, "sung")
    return analyse(np.concatenate([signals.silence(0.5), after]), RATE_HZ)


def half_way_s(kind, name):
    """How long after it begins a feature stands at half of its step."""
    analysis = told_of(kind)
    values = analysis.values[:, 0, column(name)]
    before, after = values[int(0.45 / HOP_S)], np.median(values[-60:])
    return analysis.centre_s[np.flatnonzero((values - before) / (after - before) >= 0.5)[0]] - 0.5


@pytest.mark.parametrize(
    "name",
    [
        *(f"{band}.{kind}" for band, _, _ in BANDS for kind in ("level", "db")),
        *("percussive.level", "percussive.db", "peak", "centroid", "flatness", "contrast"),
    ],
)
def test_noise_is_heard_as_soon_as_the_table_says(name):
    assert 0 < half_way_s("noise", name) <= TABLE[column(name)].latency_s + HOP_S


@pytest.mark.parametrize(
    "name", ["harmonic.level", "harmonic.db", "pitch", "pitch.confidence", "pitch.height", "chroma.a"]
)
def test_a_tone_is_heard_as_soon_as_the_table_says(name):
    assert 0 < half_way_s("tone", name) <= TABLE[column(name)].latency_s + HOP_S
