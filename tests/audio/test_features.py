"""The streaming analysis: equal bits, every click once, levels that keep their meaning."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.audio.analyser import Analyser, Memory, analyse
from performer.audio.features import BANDS, TABLE, TIME_WRAP_S, column, feature_names, level_rows, time_advance_s
from performer.audio.front import hop_samples
from performer.audio.source import VoiceSpec
from performer.flow import AudioBlock, AudioEventKind, CaptureFlags
from tests.rig import signals

DATA = Path(__file__).parent.parent / "data"
RATE_HZ = 44100


def hits(analysis, kind=AudioEventKind.ONSET):
    return [event for event in analysis.events if event.kind == kind]


def music(length_s=1.0, seed=3):
    sound, _ = signals.clicks(int(length_s * 8), every_s=0.125, bed_db=-40.0, seed=seed)
    return sound[: int(length_s * RATE_HZ)] + signals.sine(80.0, length_s)[: int(length_s * RATE_HZ)]


def test_table_is_whole():
    names = feature_names()
    assert len(set(names)) == len(names) == len(TABLE)
    for band, _, _ in BANDS:
        for part in ("level", "hit", "time", "presence"):
            column(f"{band}.{part}")
    assert TABLE[column("loudness")].unit == "lufs"
    with pytest.raises(KeyError, match=r"bass\.level"):
        column("bas.level")


@pytest.mark.parametrize(("rate_hz", "hop"), [(22050, 128), (44100, 256), (48000, 256), (96000, 512), (192000, 1024)])
def test_hop_follows_rate(rate_hz, hop):
    assert hop_samples(rate_hz) == hop


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12))
def test_block_sizes_do_not_matter(sizes):
    sound = np.stack([music(0.7, 1), music(0.7, 2)], axis=1)
    voices = (VoiceSpec(), VoiceSpec("left", (1,)))
    whole = analyse(sound, RATE_HZ, voices)
    analyser = Analyser(rate_hz=RATE_HZ, channels=2, voices=voices)
    at, turn, values, events = 0, 0, [], []
    while at < len(sound):
        part = sound[at : at + sizes[turn % len(sizes)]]
        for features, found in analyser.step(AudioBlock(part, at, at / RATE_HZ)):
            values.append((features.centre_s, features.values))
            events.extend(found)
        at, turn = at + len(part), turn + 1
    assert [centre_s for centre_s, _ in values] == whole.centre_s.tolist()
    assert np.stack([v for _, v in values]).tobytes() == whole.values.tobytes()
    assert tuple(events) == whole.events


@pytest.mark.parametrize("bed_db", [None, -60.0])
@pytest.mark.parametrize("db", [-12.0, -20.0, -30.0])
@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000])
def test_every_click_once(rate_hz, db, bed_db):
    sound, truth_s = signals.clicks(200, db=db, bed_db=bed_db, rate_hz=rate_hz)
    analysis = analyse(sound, rate_hz)
    for kind in (AudioEventKind.ONSET, AudioEventKind.ALL):
        found_s = np.array([event.at_s for event in hits(analysis, kind)])
        assert len(found_s) == 200
        assert np.abs(found_s - truth_s).max() < 0.002  # finer than a hop of 5.8 ms
    assert all(0 < event.strength <= 1 for event in analysis.events)


@pytest.mark.parametrize(
    "sound",
    [
        signals.silence(5.0),
        signals.noise(10.0, db=-60.0),
        signals.sine(220.0, 5.0),
        signals.sine(55.0, 5.0, db=-3.0),
        np.full(5 * RATE_HZ, 0.3, np.float32),
    ],
    ids=["silence", "quiet noise", "sine", "low sine", "dc"],
)
def test_what_stands_still_fires_nothing(sound):
    assert analyse(sound, RATE_HZ).events == ()


def test_noise_rarely_fires_an_onset():
    assert len(hits(analyse(signals.noise(20.0, db=-30.0), RATE_HZ))) <= 4


def test_drum_take():
    soundfile = pytest.importorskip("soundfile")
    sound, rate_hz = soundfile.read(DATA / "groove_rock_105.ogg", dtype="float32")
    truth_s = json.loads((DATA / "groove_rock_105.json").read_text())["onsets_s"]
    found_s = [event.at_s for event in hits(analyse(sound, rate_hz))]
    f, precision, recall = signals.f_measure(found_s, truth_s)
    assert f > 0.90, (f, precision, recall)


def test_bands_hear_their_own():
    for frequency_hz, band in ((60.0, "bass"), (600.0, "mid"), (3000.0, "midhigh"), (9000.0, "high")):
        values = analyse(signals.sine(frequency_hz, 2.0, db=-12.0), RATE_HZ).values[-1, 0]
        levels = {name: values[column(f"{name}.level")] for name, _, _ in BANDS[1:]}
        assert max(levels, key=levels.__getitem__) == band
        assert levels[band] > 0.9
        # Of 60 Hz a part lies below 20 Hz, as far as a window of 23 ms can tell.
        assert values[column(f"{band}.db")] == pytest.approx(-12.0, abs=0.6 if band == "bass" else 0.1)


def test_dynamics_survive_and_silence_is_not_blown_up():
    loud, soft = signals.sine(400.0, 3.0, db=-6.0), signals.sine(400.0, 2.0, db=-24.0)
    sound = np.concatenate([loud, soft, signals.noise(3.0, db=-66.0)])
    values = analyse(sound, RATE_HZ).values[:, 0, column("mid.level")]
    hop = RATE_HZ / 256
    assert values[int(2.9 * hop)] > 0.95
    assert 0.3 < values[int(4.9 * hop)] < 0.7
    assert values[-1] < 0.02


def test_hit_envelope_jumps_and_is_gone_in_150_ms():
    sound, truth_s = signals.clicks(2, db=-12.0, every_s=0.6)
    analysis = analyse(sound, RATE_HZ)
    onset = analysis.values[:, 0, column("onset")]
    after_s = analysis.centre_s - truth_s[0]
    assert onset[after_s < 0].max() == 0
    assert onset[(after_s > 0) & (after_s < 0.015)].max() > 0.4
    assert onset[(after_s > 0.16) & (after_s < 0.5)].max() < 0.1


def test_time_is_exact_monotonic_and_wraps():
    sound = music(1.0)
    first, again = analyse(sound, RATE_HZ), analyse(sound, RATE_HZ)
    at = column("all.time")
    assert np.all(np.diff(first.values[:, 0, at]) >= 0)
    assert first.values.tobytes() == again.values.tobytes()
    # A year on, the same music still advances it by the same whole number of nanoseconds.
    year_ns = int(365.25 * 86400e9)
    shape = (1, level_rows([]))
    reference_db = np.full(shape, -30.0)
    young = Analyser(rate_hz=RATE_HZ, channels=1, memory=Memory(np.zeros(shape, np.int64), reference_db))
    old = Analyser(rate_hz=RATE_HZ, channels=1, memory=Memory(np.full(shape, year_ns), reference_db))
    for analyser in (young, old):
        analyser.step(AudioBlock(sound[:, None], 0, 0.0))
    assert np.array_equal(old.levels.time_ns - year_ns, young.levels.time_ns)
    assert 0 <= old.time_s(0)[0] < TIME_WRAP_S
    assert time_advance_s(TIME_WRAP_S - 0.5, 0.25) == 0.75


def test_voices_hear_their_channels():
    sound = np.stack([signals.sine(60.0, 1.0), signals.silence(1.0), signals.sine(3000.0, 1.0)], axis=1)
    voices = (VoiceSpec("drums", (1,)), VoiceSpec("nobody", (2,)), VoiceSpec("singer", (3,)), VoiceSpec("absent", (9,)))
    values = analyse(sound, RATE_HZ, voices).values[-1]
    level = values[:, [column("bass.level"), column("midhigh.level")]]
    assert level[0, 0] > 0.9 > 0.1 > level[0, 1]
    assert level[2, 1] > 0.9 > 0.1 > level[2, 0]
    assert level[[1, 3]].max() == 0


def test_a_gap_is_no_hit():
    sound = signals.sine(441.0, 2.0)[:, None]
    analyser = Analyser(rate_hz=RATE_HZ, channels=1)
    half = RATE_HZ // 2 + 37
    events = [e for _, found in analyser.step(AudioBlock(sound[:half], 0, 0.0)) for e in found]
    rest = AudioBlock(sound[half + 5000 :], half + 5000, (half + 5000) / RATE_HZ, CaptureFlags.GAP)
    events += [e for _, found in analyser.step(rest) for e in found]
    assert events == []


def test_nan_passes():
    sound = music(0.5)
    sound[1000:1200] = np.nan
    sound[3000] = np.inf
    assert np.isfinite(analyse(sound, RATE_HZ).values).all()


def test_analysis_can_be_asked_for_a_time():
    analysis = analyse(music(1.0), RATE_HZ)
    assert analysis.at(-1.0).values.max() == 0
    assert np.array_equal(analysis.at(99.0).values, analysis.values[-1])
    assert analysis.at(0.5).centre_s <= 0.5
