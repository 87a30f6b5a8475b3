"""The front end: spectra that librosa would give, bands that add up, mixing, the gate, and what stands still taken off."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from performer.audio.front import (
    GATE_HOLD_S,
    LOUDEST,
    NARROW_EDGES_HZ,
    OFFSET_S,
    Front,
    band_matrix,
    hop_samples,
    lopsided_window,
)
from performer.audio.source import VoiceSpec
from tests.rig import signals

RATE_HZ = 44100
OPEN = np.array([-np.inf])
MIX = (VoiceSpec(),)


def front_of(sound, *, rate_hz=RATE_HZ, voices=MIX, gain=1.0, gate_db=OPEN):
    """The front end after every whole hop of `sound`."""
    sound = sound[:, None] if sound.ndim == 1 else sound
    front = Front(rate_hz=rate_hz, channels=sound.shape[1], voices=voices)
    for end in range(front.hop, len(sound) + 1, front.hop):
        front.take(sound[end - front.hop : end], gain=np.full(len(voices), gain), gate_db=gate_db)
        yield front


def spectra_by_librosa(sound, rate_hz):
    """[bins, hops], power of the frames that end at each hop, without the slow mean of what came before."""
    hop = hop_samples(rate_hz)
    shape, scale = lopsided_window(4 * hop)
    before = np.concatenate([np.zeros(3 * hop), sound]).astype(np.float64)
    spectrum = librosa.stft(
        before, n_fft=4 * hop, hop_length=hop, window=shape.astype(np.float64), center=False, dtype=np.complex128
    )
    means = sound[: len(sound) // hop * hop].reshape(-1, hop).mean(axis=1)
    step = 1 - np.exp(-hop / rate_hz / OFFSET_S)
    spectrum -= np.fft.rfft(shape)[:, None] * lfilter([step], [1, step - 1], means)
    return np.abs(spectrum) ** 2 * scale


@pytest.mark.parametrize("rate_hz", [22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("name", ["drums", "noise", "offset"])
def test_spectra_are_those_of_librosa(name, rate_hz):
    sound = {
        "drums": lambda: signals.placed(signals.drums(signals.beats(120.0, 1.5, first_s=0.1)), 1.5, rate_hz=rate_hz),
        "noise": lambda: signals.noise(1.0, db=-20.0, rate_hz=rate_hz),
        "offset": lambda: signals.sine(441.0, 1.0, rate_hz=rate_hz) + np.float32(0.2),
    }[name]()
    ours = np.stack([front.power[0].copy() for front in front_of(sound, rate_hz=rate_hz)], axis=1)
    theirs = spectra_by_librosa(sound, rate_hz)
    assert ours.shape == theirs.shape
    assert np.abs(10 * np.log10((ours + 1e-9) / (theirs + 1e-9))).max() < 0.1
    assert np.abs(ours - theirs).max() < 1e-5 * theirs.max()


@pytest.mark.parametrize("rate_hz", [8000, 22050, 37800, 48000, 192000])
def test_a_sine_has_its_power_at_every_rate_and_place(rate_hz):
    for frequency_hz in np.geomspace(150.0, 0.4 * rate_hz, 7):
        *_, front = front_of(signals.sine(frequency_hz, 0.2, db=-10.0, rate_hz=rate_hz), rate_hz=rate_hz)
        assert 10 * np.log10(front.power.sum()) == pytest.approx(-10.0, abs=0.2)


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000, 96000, 192000])
def test_bands_share_bins_and_lose_none(rate_hz):
    window = 4 * hop_samples(rate_hz)
    edges_hz = NARROW_EDGES_HZ[: np.searchsorted(NARROW_EDGES_HZ, rate_hz / 2)]
    matrix = band_matrix(edges_hz, rate_hz=rate_hz, window=window)
    assert matrix.min() >= 0
    assert matrix.sum(axis=1).max() <= 1 + 1e-6
    width_hz = rate_hz / window
    assert matrix.sum(axis=0) * width_hz == pytest.approx(np.diff(edges_hz), rel=1e-4)
    pairs = np.stack([edges_hz[:-1], edges_hz[1:]], axis=1)
    assert np.array_equal(band_matrix(pairs, rate_hz=rate_hz, window=window), matrix)


@given(rate_hz=st.floats(8000, 192000))
def test_a_hop_is_about_five_milliseconds_and_quick_to_transform(rate_hz):
    hop = hop_samples(rate_hz)
    assert 0.0045 < hop / rate_hz < 0.0069
    assert hop % max(hop // 32, 1) == 0
    assert hop & (hop - 1) == 0 or (hop // 3) & (hop // 3 - 1) == 0


@settings(max_examples=20, deadline=None)
@given(
    channels=st.integers(1, 8),
    groups=st.lists(st.lists(st.integers(1, 10), max_size=4, unique=True), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_a_voice_is_the_mean_of_the_channels_that_are_there(channels, groups, seed):
    sound = np.random.default_rng(seed).uniform(-0.5, 0.5, (2048, channels)).astype(np.float32)
    voices = [VoiceSpec(str(index), tuple(group)) for index, group in enumerate(groups)]
    *_, front = front_of(sound, voices=voices)
    for row, group in enumerate(groups):
        own = [c - 1 for c in group if c <= channels] if group else list(range(channels))
        mixed = sound[:, own].mean(axis=1) if own else np.zeros(2048)
        assert front.sound[row, -2048:] == pytest.approx(mixed, abs=1e-6)


def test_gain_is_a_factor_of_the_samples():
    *_, plain = front_of(signals.sine(1000.0, 0.1))
    *_, half = front_of(signals.sine(1000.0, 0.1), gain=0.5)
    assert half.power.sum() / plain.power.sum() == pytest.approx(0.25, rel=1e-3)


def test_what_stands_still_is_taken_off():
    fronts = front_of(np.full(4 * RATE_HZ, 0.5, np.float32))
    powers = [float(front.power.sum()) for front in fronts]
    hops_a_second = RATE_HZ / 256
    assert powers[int(0.5 * hops_a_second)] < 0.2 * powers[3]  # one time constant: e squared
    assert 10 * np.log10(powers[-1]) < -60.0


def test_the_gate_opens_at_once_and_shuts_after_its_hold():
    loud = signals.sine(500.0, 0.5, db=-20.0)
    soft = signals.sine(500.0, 0.5, db=-50.0)
    sound = np.concatenate([soft, loud, soft])
    peaks = np.array([front.peak[0] for front in front_of(sound, gate_db=np.array([-40.0]))])
    at_s = np.arange(1, len(peaks) + 1) * 256 / RATE_HZ
    assert peaks[1 : int(0.5 / at_s[0])].max() == 0
    assert peaks[(at_s > 0.512) & (at_s < 1.0)].min() > 0.09
    hold = (at_s > 1.01) & (at_s < 1.0 + GATE_HOLD_S - 0.01)
    assert peaks[hold].min() > 0.002
    assert peaks[at_s > 1.0 + GATE_HOLD_S + 0.02].max() == 0


def test_the_gate_does_not_flutter():
    """A level between the two thresholds leaves the gate as it is."""
    between = signals.sine(500.0, 0.5, db=-40.0)  # 43 dB below full scale as a mean square
    loud = signals.sine(500.0, 0.3, db=-20.0)
    gate_db = np.array([-40.0])
    *_, shut = front_of(between, gate_db=gate_db)
    *_, open_ = front_of(np.concatenate([loud, between]), gate_db=gate_db)
    assert shut.peak[0] == 0
    assert open_.peak[0] == pytest.approx(0.01, rel=0.05)


@given(value=st.floats(width=32))
def test_no_sample_is_too_strange(value):
    sound = np.zeros((1024, 1), np.float32)
    sound[600] = value
    *_, front = front_of(sound)
    assert np.isfinite(front.power).all()
    assert np.abs(front.sound).max() <= LOUDEST
