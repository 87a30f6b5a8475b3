"""What the sound is made of: centroid, flatness, flux, contrast; chroma and pitch; harmonic and percussive parts.

The slow ones take turns, so that no hop carries them all: each is renewed every fourth hop, 23 ms.

- Centroid, flatness and contrast are librosa's, on the short window (Jiang et al. 2002 for the contrast), of what lies
  below 16 kHz: above it a compressed file is empty, and how much of it there is depends on the sample rate.
- Flux is the mean rise in dB of narrow bands over one hop: `librosa.onset.onset_strength` with a lag of 1.
- Chroma sums the power of a window of 16 hops into the twelve pitch classes, each note with a Gaussian of a semitone's
  width; the bin's share falls with its distance from the note.
- Pitch is the highest peak of the autocorrelation, divided by that of the window (Boersma 1993, "Accurate short-term
  analysis of the fundamental frequency"), with his cost for low octaves; the height of the peak is its confidence.
- Harmonic and percussive parts: medians along time and along frequency, and the soft mask between them (Fitzgerald 2010),
  on 64 bands, with the median of the past alone instead of past and future.

Thread: one. No clock, no I/O.
"""

import math
from typing import Any

import numpy as np

from performer.flow import F32, F64

NOTES = ("c", "db", "d", "eb", "e", "f", "gb", "g", "ab", "a", "bb", "b")
FIFTHS = (0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5)  # place of each pitch class on the circle of fifths: c g d a ...

TURNS = 4  # hops from one renewal to the next
COLOUR_HIGH_HZ = 16000.0  # of the centroid, the flatness and the contrast
CHROMA_LOW_HZ, CHROMA_HIGH_HZ = 110.0, 2500.0
CHROMA_S = 0.2  # time constant of the smoothed harmony behind `hue`

PITCH_LOW_HZ, PITCH_HIGH_HZ = 55.0, 1600.0
OCTAVE_COST = 0.02
VOICED = 0.45  # confidence below which the pitch holds what it was
LEAST_POWER = 10.0 ** (-70.0 / 10.0)  # quieter than this nothing has a pitch, a colour or a harmony

PARTS_BANDS, PARTS_TIME, PARTS_FREQUENCY = 64, 17, 9  # bands, and lengths of the two medians
PARTS_EVERY = 2  # hops

CONTRAST_LOW_HZ, CONTRAST_BANDS, CONTRAST_QUANTILE = 200.0, 6, 0.02


class Tone:
    """The tonal features of all voices.

    rate_hz: sample rate. hop: samples. short, long: lengths of the two windows in samples.
    """

    def __init__(self, *, voices: int, rate_hz: float, hop: int, short: int, long: int) -> None:
        self._rate_hz, self._long = rate_hz, long
        frequencies_hz = np.fft.rfftfreq(short, 1.0 / rate_hz)
        frequencies_hz = frequencies_hz[frequencies_hz <= COLOUR_HIGH_HZ]
        self._frequencies_hz = frequencies_hz.astype(np.float32)
        self._octaves = _contrast_bands(frequencies_hz)
        self.centroid_hz = np.zeros(voices)
        self.flatness = np.zeros(voices)
        self.contrast_db = np.zeros(voices)
        self.flux_db = np.zeros(voices)
        self._narrow_db: F32 | None = None

        window = np.hanning(long + 1)[:-1]
        self._hann = window.astype(np.float32)
        self._long_scale = np.float32(4.0 / (np.square(window).sum() * long))
        self._notes = chroma_matrix(rate_hz, long)
        self.chroma = np.zeros((voices, 12))
        self._harmony = np.zeros((voices, 12))
        self.hue = np.zeros(voices)
        self.clarity = np.zeros(voices)
        self._follow = 1 - math.exp(-TURNS * hop / rate_hz / CHROMA_S)

        first, last = math.floor(rate_hz / PITCH_HIGH_HZ), math.ceil(rate_hz / PITCH_LOW_HZ)
        self._lags = np.arange(first - 1, last + 2)
        own = np.fft.irfft(np.abs(np.fft.rfft(window)) ** 2)[: last + 2]  # circular, as the correlation itself
        self._window_correlation = (own / own[0]).astype(np.float64)
        self._costs = OCTAVE_COST * np.log2(PITCH_LOW_HZ * self._lags / rate_hz)
        self._audible = (np.fft.rfftfreq(long, 1.0 / rate_hz) < 6000.0).astype(np.float32)
        self.pitch_hz = np.full(voices, PITCH_LOW_HZ)
        self.pitch_confidence = np.zeros(voices)
        self._power: F32 = np.zeros((voices, long // 2 + 1), np.float32)
        self._spectrum: Any = np.zeros((voices, long // 2 + 1), np.complex64)

        self._past = np.full((PARTS_TIME, voices, PARTS_BANDS), 1e-12, np.float32)
        self._at = 0
        self._padded = np.zeros((voices, PARTS_BANDS + PARTS_FREQUENCY - 1), np.float32)
        self._harmonic_share = np.full((voices, PARTS_BANDS), 0.5, np.float32)
        self.parts = np.zeros((voices, 2))  # power of the harmonic and the percussive part

    def step(self, *, hops: int, power: F32, narrow_db: F32, parts: F32, sound: F32) -> None:
        """One hop.

        hops: how many there were before.
        power: [voices, bins] of the short window.
        narrow_db: [voices, narrow bands].
        parts: [voices, 64] power in the bands in which harmonic and percussive parts are told apart.
        sound: [voices, long window] samples.
        """
        if self._narrow_db is not None:
            self.flux_db = np.maximum(narrow_db - self._narrow_db, 0.0).mean(axis=1).astype(np.float64)
        self._narrow_db = narrow_db.copy()
        if hops % PARTS_EVERY == 0:
            self._split(parts)
        self.parts[:, 0] = (parts * self._harmonic_share).sum(axis=1)
        self.parts[:, 1] = parts.sum(axis=1) - self.parts[:, 0]
        power = power[:, : len(self._frequencies_hz)]
        turn = hops % TURNS
        if turn == 0:
            self._colour(power)
        elif turn == 1:
            self._transform(sound)
            self._chroma()
        elif turn == 2:
            self._pitch()
        else:
            self._contrast(power)

    def _colour(self, power: F32) -> None:
        magnitude = np.sqrt(power)
        total = magnitude.sum(axis=1)
        sounds = power.sum(axis=1) > LEAST_POWER
        centroid = (magnitude @ self._frequencies_hz) / np.maximum(total, 1e-12)
        self.centroid_hz = np.where(sounds, centroid, 0.0)
        floored = np.maximum(power, np.float32(1e-10))  # librosa's amin
        flatness = np.exp(np.log(floored).mean(axis=1)) / floored.mean(axis=1)
        self.flatness = np.where(sounds, flatness, 0.0)

    def _contrast(self, power: F32) -> None:
        magnitude = np.sqrt(power)
        sums = np.zeros(len(power))
        for low, high, count in self._octaves:
            band = np.sort(magnitude[:, low:high], axis=1)
            valley, peak = band[:, :count].mean(axis=1), band[:, -count:].mean(axis=1)
            sums += 10.0 * np.log10(np.maximum(peak, 1e-10) / np.maximum(valley, 1e-10))
        sounds = power.sum(axis=1) > LEAST_POWER
        self.contrast_db = np.where(sounds, sums / len(self._octaves), 0.0)

    def _transform(self, sound: F32) -> None:
        spectrum = np.fft.rfft((sound - sound.mean(axis=1, keepdims=True)) * self._hann, axis=1, out=self._spectrum)
        np.multiply(spectrum.real, spectrum.real, out=self._power)
        self._power += spectrum.imag * spectrum.imag

    def _chroma(self) -> None:
        notes = self._power @ self._notes
        loudest = notes.max(axis=1, keepdims=True)
        sounds = loudest[:, 0] * self._long_scale > LEAST_POWER
        self.chroma = np.where(sounds[:, None], notes / np.maximum(loudest, 1e-12), 0.0)
        self._harmony += self._follow * (self.chroma - self._harmony)
        # The centre of gravity on the circle of fifths: its angle is a hue that turns little from chord to near chord.
        circle = self._harmony @ _CIRCLE
        length = np.abs(circle) / np.maximum(self._harmony.sum(axis=1), 1e-6)
        self.clarity = np.where(self._harmony.sum(axis=1) > 0.05, np.minimum(length, 1.0), 0.0)
        self.hue = np.where(self.clarity > 0.02, (np.angle(circle) / (2 * np.pi)) % 1.0, self.hue)

    def _pitch(self) -> None:
        power = self._power * self._audible
        correlation = np.fft.irfft(power, axis=1)[:, : self._lags[-1] + 1].astype(np.float64)
        energy = correlation[:, :1]
        correlation = correlation / np.maximum(energy, 1e-12) / self._window_correlation[: correlation.shape[1]]
        around = correlation[:, self._lags]
        inner = around[:, 1:-1]
        is_peak = (inner > around[:, :-2]) & (inner >= around[:, 2:])
        score = np.where(is_peak, inner - self._costs[1:-1], -1.0)
        best = score.argmax(axis=1)
        rows = np.arange(len(best))
        before, at, after = around[rows, best], around[rows, best + 1], around[rows, best + 2]
        bend = before - 2 * at + after
        shift = np.where(bend < -1e-9, 0.5 * (before - after) / np.minimum(bend, -1e-9), 0.0)
        height = at - 0.25 * (before - after) * shift
        sounds = (energy[:, 0] * self._long > 0) & (self._power.sum(axis=1) * self._long_scale > LEAST_POWER)
        found = sounds & (score[rows, best] > -1.0)
        self.pitch_confidence = np.where(found, np.clip(height, 0.0, 1.0), 0.0)
        is_voiced = self.pitch_confidence >= VOICED
        pitch_hz = np.clip(self._rate_hz / (self._lags[best + 1] + shift), PITCH_LOW_HZ, PITCH_HIGH_HZ)
        self.pitch_hz = np.where(is_voiced, pitch_hz, self.pitch_hz)

    def _split(self, parts: F32) -> None:
        """How much of each band is harmonic: what lasts along time, beside what stands out along frequency."""
        self._past[self._at] = parts
        self._at = (self._at + 1) % PARTS_TIME
        lasting = np.partition(self._past, PARTS_TIME // 2, axis=0)[PARTS_TIME // 2]
        side = PARTS_FREQUENCY // 2
        padded = self._padded
        padded[:, side:-side] = parts
        padded[:, :side] = parts[:, side - 1 :: -1]  # reflected at both ends
        padded[:, -side:] = parts[:, : -side - 1 : -1]
        windows = np.lib.stride_tricks.sliding_window_view(padded, PARTS_FREQUENCY, axis=1)
        broad = np.partition(windows, side, axis=2)[:, :, side]
        self._harmonic_share = lasting / np.maximum(lasting + broad, np.float32(1e-20))


def chroma_matrix(rate_hz: float, window: int) -> F32:
    """[bins, 12]: how much of each bin's power belongs to each pitch class, c first, at a' = 440 Hz.

    Each note takes a Gaussian about its pitch, as wide as a quarter tone or a bin, whichever is wider; bins outside
    `CHROMA_LOW_HZ` to `CHROMA_HIGH_HZ` belong to none.
    """
    frequencies_hz = np.fft.rfftfreq(window, 1.0 / rate_hz)
    matrix = np.zeros((len(frequencies_hz), 12))
    heard = (frequencies_hz >= CHROMA_LOW_HZ) & (frequencies_hz <= CHROMA_HIGH_HZ)
    midi = 69.0 + 12.0 * np.log2(frequencies_hz[heard] / 440.0)
    width = np.maximum(0.25, 12.0 * np.log2(1.0 + rate_hz / window / frequencies_hz[heard]) / 2)
    for note in range(12):
        away = (midi - note + 6.0) % 12.0 - 6.0
        matrix[heard, note] = np.exp(-0.5 * (away / width) ** 2) / width
    return matrix.astype(np.float32)


def _contrast_bands(frequencies_hz: np.ndarray) -> list[tuple[int, int, int]]:
    """(first bin, bin after the last, bins in a quantile) of each octave band, as librosa.feature.spectral_contrast.

    frequencies_hz: of the bins.
    """
    edges = [0.0, *(CONTRAST_LOW_HZ * 2.0**octave for octave in range(CONTRAST_BANDS + 1))]
    bands = []
    for index, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = np.flatnonzero((frequencies_hz >= low) & (frequencies_hz <= high))
        if not len(inside):
            continue
        first, end = int(inside[0]), int(inside[-1]) + 1
        if index > 0:
            first -= 1
        if index == CONTRAST_BANDS:
            end = len(frequencies_hz)
        count = max(round(CONTRAST_QUANTILE * (end - first)), 1)
        if index < CONTRAST_BANDS:
            end -= 1
        bands.append((first, end, count))
    return bands


_CIRCLE: F64 = np.array([np.exp(2j * np.pi * FIFTHS[note] / 12.0) for note in range(12)])
