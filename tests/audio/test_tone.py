"""Tone: what librosa and scipy say of the same frames, and notes and pitches whose truth is known."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter

from performer.audio.analyser import Analyser, analyse
from performer.audio.features import TABLE, column
from performer.audio.front import NARROW_EDGES_HZ, band_matrix, hop_samples, lopsided_window
from performer.audio.hits import FLOOR_DB
from performer.audio.tone import (
    CHROMA_HIGH_HZ,
    CHROMA_LOW_HZ,
    COLOUR_HIGH_HZ,
    FIFTHS,
    LEAST_POWER,
    NOTES,
    PARTS_BANDS,
    PARTS_EVERY,
    PARTS_FREQUENCY,
    PARTS_TIME,
    PITCH_HIGH_HZ,
    PITCH_LOW_HZ,
    TURNS,
    Tone,
)
from performer.flow import AudioBlock
from tests.rig import signals

DATA = Path(__file__).parent.parent / "data"
RATE_HZ = 44100


def chord(*midi, length_s=0.6, rate_hz=RATE_HZ):
    return sum(signals.tone(440.0 * 2 ** ((n - 69) / 12), length_s, "saw", db=-20.0, rate_hz=rate_hz) for n in midi)


def sounds():
    drums, _ = soundfile.read(DATA / "groove_rock_105.ogg", dtype="float32", frames=2 * RATE_HZ)
    return {
        "drums": drums,
        "noise": signals.noise(1.0, db=-20.0),
        "chord": chord(60, 64, 67),
        "sung": signals.tone(220.0, 1.0, "sung"),
    }


def heard(sound, rate_hz=RATE_HZ):
    """(values [hops, features], power [bins, hops]) of one voice."""
    analyser = Analyser(rate_hz=rate_hz, channels=1)
    values, powers = [], []
    for first in range(0, len(sound) - analyser.hop + 1, analyser.hop):
        block = AudioBlock(sound[first : first + analyser.hop, None], first, first / rate_hz)
        ((features, _),) = analyser.step(block)
        values.append(features.values[0])
        powers.append(analyser.front.power[0].copy())
    return np.stack(values), np.stack(powers, axis=1).astype(np.float64)


@pytest.fixture(scope="module", params=["drums", "noise", "chord", "sung"])
def frames(request):
    return heard(sounds()[request.param])


def coloured(frames):
    """(magnitudes, frequencies of the bins) below 16 kHz."""
    frequencies_hz = librosa.fft_frequencies(sr=RATE_HZ, n_fft=4 * hop_samples(RATE_HZ))
    below = frequencies_hz <= COLOUR_HIGH_HZ
    return np.sqrt(frames[1][below]), frequencies_hz[below]


def beside(frames, name, theirs, turn):
    """Ours and theirs, of the hops in which this feature is renewed and something sounds."""
    values, power = frames
    renewed = np.flatnonzero((np.arange(len(values)) % TURNS == turn) & (power.sum(axis=0) > 2 * LEAST_POWER))
    assert len(renewed) > 20
    return values[renewed, column(name)], theirs[renewed]


def test_centroid_is_that_of_librosa(frames):
    magnitude, frequencies_hz = coloured(frames)
    theirs = librosa.feature.spectral_centroid(S=magnitude, freq=frequencies_hz)[0]
    ours, theirs = beside(frames, "centroid", theirs, 0)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_flatness_is_that_of_librosa(frames):
    magnitude, _ = coloured(frames)
    ours, theirs = beside(frames, "flatness", librosa.feature.spectral_flatness(S=magnitude)[0], 0)
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_contrast_is_that_of_librosa(frames):
    magnitude, frequencies_hz = coloured(frames)
    theirs = librosa.feature.spectral_contrast(S=magnitude, freq=frequencies_hz).mean(axis=0)
    ours, theirs = beside(frames, "contrast", theirs, 3)
    assert ours == pytest.approx(theirs, abs=0.01)


def test_flux_is_that_of_librosa(frames):
    values, power = frames
    bands = band_matrix(NARROW_EDGES_HZ, rate_hz=RATE_HZ, window=4 * hop_samples(RATE_HZ)).T @ power
    decibels = 10 * np.log10(np.maximum(bands, 10 ** (FLOOR_DB / 10)))
    theirs = librosa.onset.onset_strength(S=decibels, lag=1, max_size=1, detrend=False, center=False)
    high = TABLE[column("flux")].high
    assert np.minimum(values[:, column("flux")], high) == pytest.approx(np.minimum(theirs, high), abs=1e-3)


def test_level_is_that_of_librosa(frames):
    """In decibels of a full-scale sine, which lie 3 dB above those of a mean square."""
    values, power = frames
    window = 2 * (len(power) - 1)
    shape, scale = lopsided_window(window)
    rms = librosa.feature.rms(S=np.sqrt(power / scale), frame_length=window)[0]
    rms *= np.sqrt(window / np.square(shape).sum())  # librosa's reads low by the window
    frequencies_hz = librosa.fft_frequencies(sr=RATE_HZ, n_fft=window)
    inside = power[(frequencies_hz > 20.0) & (frequencies_hz < 16000.0)].sum(axis=0) > 0.99 * power.sum(axis=0)
    inside &= power.sum(axis=0) > 1e-6
    ours = values[inside, column("all.db")]
    assert ours == pytest.approx(20 * np.log10(rms[inside]) + 3.01, abs=0.06)


def test_colour_does_not_depend_on_the_rate():
    sound = sounds()["drums"]
    names = [column(name) for name in ("centroid", "flatness", "contrast")]
    medians = []
    for rate_hz in (44100, 48000, 96000, 192000):
        values = analyse(soxr.resample(sound, RATE_HZ, rate_hz), rate_hz).values[:, 0]
        medians.append(np.median(values[values[:, column("all.db")] > -50.0][:, names], axis=0))
    medians = np.array(medians)
    assert (medians.max(axis=0) / medians.min(axis=0)).max() < 1.1


def test_colour_tells_tones_from_noise_and_dark_from_bright():
    colours = {
        name: np.median(heard(sound)[0][20:, [column("flatness"), column("contrast"), column("centroid")]], axis=0)
        for name, sound in {
            "tone": signals.tone(220.0, 0.5, "saw"),
            "noise": signals.noise(0.5, db=-20.0),
            "dark": signals.sine(150.0, 0.5),
            "bright": signals.sine(6000.0, 0.5),
        }.items()
    }
    assert colours["tone"][0] < 0.05 < 0.4 < colours["noise"][0]
    assert colours["tone"][1] > 1.5 * colours["noise"][1]
    assert colours["dark"][2] == pytest.approx(150.0, rel=0.15)
    assert colours["bright"][2] == pytest.approx(6000.0, rel=0.01)


def test_silence_has_no_colour():
    values = analyse(signals.silence(0.2), RATE_HZ).values[:, 0]
    for name in (
        "centroid",
        "flatness",
        "contrast",
        "flux",
        "pitch.confidence",
        "clarity",
        *(f"chroma.{n}" for n in NOTES),
    ):
        assert values[:, column(name)].max() == 0


# Notes


def chroma(values):
    first = column("chroma.c")
    return values[..., first : first + 12]


@pytest.mark.parametrize("root", [45, 48, 53, 58, 63, 66])
@pytest.mark.parametrize("third", [3, 4])
def test_chroma_is_that_of_librosa(root, third):
    notes = [root, root + third, root + 7]
    sound = sum(signals.tone(librosa.midi_to_hz(n), 0.4, "sung", db=-20.0) for n in notes)
    size = 16 * hop_samples(RATE_HZ)
    spectrum = librosa.stft(sound, n_fft=size, hop_length=size // 16, window=np.hanning(size + 1)[:-1], center=False)
    frequencies_hz = librosa.fft_frequencies(sr=RATE_HZ, n_fft=size)
    spectrum[(frequencies_hz < CHROMA_LOW_HZ) | (frequencies_hz > CHROMA_HIGH_HZ)] = 0
    theirs = librosa.feature.chroma_stft(S=np.abs(spectrum) ** 2, sr=RATE_HZ, n_fft=size, tuning=0.0, octwidth=None).T
    ours = chroma(heard(sound)[0])[15:]
    for hop in range(2, len(ours), TURNS):  # 15 hops fill the window
        assert np.corrcoef(ours[hop], theirs[hop])[0, 1] > 0.95


@pytest.mark.parametrize("rate_hz", [22050, 48000, 96000])
def test_every_note_is_told_by_its_name(rate_hz):
    notes = range(48, 96)
    sound = np.concatenate([signals.sine(librosa.midi_to_hz(midi), 0.15, rate_hz=rate_hz) for midi in notes])
    analysis = analyse(sound, rate_hz)
    for index, midi in enumerate(notes):
        told = chroma(analysis.at(0.15 * (index + 1)).values[0])
        assert NOTES[told.argmax()] == NOTES[midi % 12]
        assert told[midi % 12] == 1


def test_hue_goes_round_the_circle_of_fifths():
    notes = range(66, 78)
    analysis = analyse(np.concatenate([signals.sine(librosa.midi_to_hz(midi), 1.0) for midi in notes]), RATE_HZ)
    for index, midi in enumerate(notes):
        values = analysis.at(index + 1.0).values[0]
        off = values[column("hue")] - FIFTHS[midi % 12] / 12
        assert abs((off + 0.5) % 1 - 0.5) < 0.02
        assert values[column("clarity")] > 0.8
    muddle = sum(signals.sine(librosa.midi_to_hz(midi), 1.0, db=-30.0) for midi in range(60, 72))
    assert analyse(muddle, RATE_HZ).values[-1, 0, column("clarity")] < 0.3


# Pitch


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("kind", ["pluck", "sung", "square", "saw"])
def test_pitch_is_right_and_within_yin(kind, rate_hz):
    hop, size = hop_samples(rate_hz), 16 * hop_samples(rate_hz)
    frequencies_hz = np.geomspace(60.0, 1500.0, 7)
    sounds = [signals.tone(each_hz, 48 * hop / rate_hz, kind, rate_hz=rate_hz) for each_hz in frequencies_hz]
    told = analyse(np.concatenate(sounds), rate_hz).values[:, 0]
    for index, (each_hz, sound) in enumerate(zip(frequencies_hz, sounds, strict=True)):
        values = told[48 * index + 20 : 48 * index + 48]  # the window is full after 16 hops, and every fourth is read
        pitch_hz = values[:, column("pitch")]
        assert pitch_hz == pytest.approx(np.full(len(pitch_hz), each_hz), rel=0.01)
        assert values[:, column("pitch.confidence")].min() > 0.9
        yin_hz = librosa.yin(
            sound, fmin=PITCH_LOW_HZ, fmax=PITCH_HIGH_HZ, sr=rate_hz, frame_length=size, hop_length=hop, center=False
        )
        assert np.median(pitch_hz) == pytest.approx(np.median(yin_hz), rel=0.01)


def test_pitch_in_noise_keeps_its_octave():
    frequencies_hz = np.geomspace(80.0, 1200.0, 6)
    sound = np.concatenate([signals.tone(each_hz, 0.4, "saw") for each_hz in frequencies_hz])
    analysis = analyse(sound + signals.noise(2.4, db=-32.0)[: len(sound)], RATE_HZ)
    for index, each_hz in enumerate(frequencies_hz):
        settled = (analysis.centre_s > 0.4 * index + 0.12) & (analysis.centre_s < 0.4 * (index + 1))
        assert np.abs(analysis.values[settled, 0, column("pitch")] / each_hz - 1).max() < 0.02


def test_pitch_follows_a_glide():
    at_s = np.arange(2 * RATE_HZ) / RATE_HZ
    pitch_hz = 110.0 * 4.0 ** (at_s / 2)  # an octave a second
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound = sum(0.1 / partial * np.sin(partial * phase) for partial in range(1, 8)).astype(np.float32)
    analysis = analyse(sound, RATE_HZ)
    truth_hz = np.interp(analysis.centre_s - TABLE[column("pitch")].latency_s, at_s, pitch_hz)
    off = np.abs(analysis.values[20:, 0, column("pitch")] / truth_hz[20:] - 1)
    assert off.max() < 0.025


def test_pitch_holds_through_noise_and_silence():
    sound = np.concatenate([signals.tone(330.0, 0.5, "sung"), signals.noise(0.5, db=-30.0), signals.silence(0.5)])
    values = analyse(sound, RATE_HZ).values[:, 0]
    assert values[-1, column("pitch")] == pytest.approx(330.0, rel=0.02)
    assert values[int(0.75 * RATE_HZ / 256), column("pitch.confidence")] < 0.45
    assert values[-1, column("pitch.confidence")] == 0
    octaves = np.log2(330.0 / 55.0) / np.log2(1600.0 / 55.0)
    assert values[-1, column("pitch.height")] == pytest.approx(octaves, abs=0.01)


# Harmonic and percussive parts


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), voices=st.integers(1, 3))
def test_parts_are_medians_and_the_soft_mask_between_them(seed, voices):
    rng = np.random.default_rng(seed)
    hops = 50
    power = 10.0 ** rng.uniform(-8.0, 0.0, (hops, voices, PARTS_BANDS)).astype(np.float32)
    tone = Tone(voices=voices, rate_hz=RATE_HZ, hop=256, short=1024, long=4096)
    ours = []
    for hop in range(hops):
        tone.step(
            hops=hop,
            power=np.zeros((voices, 513), np.float32),
            narrow_db=np.zeros((voices, 30), np.float32),
            parts=power[hop],
            sound=np.zeros((voices, 4096), np.float32),
        )
        ours.append(tone.parts.copy())
    seen = power[::PARTS_EVERY]
    past = (PARTS_TIME - 1) // 2  # moves the window so that it ends at the newest
    lasting = median_filter(seen, size=(PARTS_TIME, 1, 1), mode="constant", cval=1e-12, origin=(past, 0, 0))
    broad = median_filter(seen, size=(1, 1, PARTS_FREQUENCY), mode="reflect")
    mask = np.repeat(librosa.util.softmask(lasting, broad, power=1), PARTS_EVERY, axis=0)
    harmonic = (mask * power).sum(axis=2)
    assert np.array(ours)[..., 0] == pytest.approx(harmonic, rel=1e-4)
    assert np.array(ours).sum(axis=2) == pytest.approx(power.sum(axis=2), rel=1e-4)


def test_what_lasts_is_harmonic_and_what_is_struck_is_percussive():
    harmonic, percussive = column("harmonic.db"), column("percussive.db")
    values = analyse(chord(48, 55, 64, length_s=1.5), RATE_HZ).values[80:, 0]
    assert np.median(values[:, harmonic] - values[:, percussive]) > 1.0
    drums = signals.placed([(0.3 + 0.25 * n, signals.snare(seed=n)) for n in range(5)], 1.6)
    analysis = analyse(drums, RATE_HZ)
    for n in range(5):
        struck = (analysis.centre_s > 0.3 + 0.25 * n + 0.005) & (analysis.centre_s < 0.3 + 0.25 * n + 0.03)
        values = analysis.values[struck, 0]
        assert np.median(values[:, percussive] - values[:, harmonic]) > 6.0
