"""Onsets and beats of a whole piece, with hindsight: every decision may look at what comes after.

On one channel at 22.05 kHz:

- Onsets: spectral flux over 40 mel bands with a maximum filter (SuperFlux, Böck and Widmer 2013), each moved to the
  sample at which the sound grew, where two variances explain it best (Akaike's picker, Maeda 1985).
- Tempo: autocorrelation of the flux in windows of 8 s. A period counts with its double, its quadruple, its half and its
  quarter, so that three semiquavers are not taken for a beat.
- Beats: dynamic programming (Ellis 2007, librosa), then each is moved to the strong onset beside it. Where one even
  grid explains the onsets, the grid takes their place.

Thread: any, but slow. Memory: of an hour about 1 GB, since spectra are made a block at a time.
librosa and scipy are imported where they are used: their import costs a second.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from performer.audio.source import Sound
from performer.flow import F32, F64

RATE_HZ = 22050
HOP = 256  # samples from one frame to the next: 11.6 ms
FRAMES_HZ = RATE_HZ / HOP
WINDOW, CHROMA_WINDOW = 1024, 4096
CHROMA_EVERY = 4  # frames
BLOCK_FRAMES = 4096  # are transformed at once: 48 s
SLICE_SAMPLES = 1 << 20  # are resampled at once
MEL_BANDS = 40  # from 30 to 10500 Hz
BASS_BANDS = 3  # the lowest of them, to 300 Hz: in them a kick begins
BASS_HZ = 100.0  # below it there is the kick, and hardly the snare
SILENT_DB = -60.0  # mean square, of full scale: below this there is no sound

ONSET_DELTA = 0.012  # a peak stands out of its surroundings by so much of the highest; best on the annotated takes
STRONG_DELTA = 0.025  # the same for onsets that tell the beat: faint ones are played more loosely
ONSETS_APART_S = 0.030
RISE_BEFORE, RISE_AFTER = round(0.035 * RATE_HZ), round(0.020 * RATE_HZ)  # samples in which the attack is looked for
RISE_GRAIN = 8  # samples: 0.4 ms

TEMPO_LOW, TEMPO_HIGH = 50.0, 220.0  # beats per minute that are looked for
TEMPO_LIKELY, TEMPO_OCTAVES = 110.0, 0.8  # centre and deviation of the log-normal prior
TEMPO_COMB = ((0.25, 0.5), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 1.0))  # (periods, weight)
TEMPO_WINDOW_S, TEMPO_STEP_S = 8.0, 0.25
LOCAL_OCTAVES = 0.1  # how far the tempo of a place strays from that of the piece
LEAST_CLARITY = 0.15  # noise, speech and whales reach 0.07, music whose beat is found 0.2 and more
LEAST_ONSETS, LEAST_BEATS = 8, 4
BESIDE_S = 0.040  # an onset so near to a beat is the beat's

GRID_PARTS = (1, 2, 4)  # beats, quavers, semiquavers
GRID_LEAST_BEATS = 12
GRID_MOST_ONSETS = 6000  # take part in the search for the period
GRID_AGREEMENT = 0.4  # of the onsets' phases; drummers at a click reach 0.5, machines 0.9, rubato 0.2
GRID_WANDER_S, GRID_SHARE = 0.025, 0.95  # so far the phase may stray, in so many of the pieces
GRID_VOTE = 0.25  # what the tracked beats have to say about which semiquaver is the beat, beside the accents ...
GRID_BASS = 0.12  # ... and what a dB of bass: strums may be louder than the bass notes between which they stand


@dataclass(frozen=True, slots=True)
class Heard:
    """A track in frames of HOP samples; frame f is centred at sample f·HOP."""

    sound: F32  # [n] at RATE_HZ
    mel_db: F32  # [MEL_BANDS, F], 0 dB is the track's loudest, -80 at least
    power: F32  # [F], mean square
    bass_power: F32  # [F], power below BASS_HZ
    chroma: F32  # [12, F / CHROMA_EVERY], energy of each pitch class
    flux: F64  # [F], how much begins
    accent: F64  # [F], the same, and once more what begins in the bass; both 1 on the average

    @property
    def bounds_s(self) -> tuple[float, float]:
        """The first sound and the last."""
        sounding = np.flatnonzero(self.power > 10.0 ** (SILENT_DB / 10.0)) / FRAMES_HZ
        return float(sounding[0]), float(sounding[-1])

    def accent_at(self, times_s: F64) -> F64:
        """The accent at these times, give or take two frames."""
        frames = np.round(times_s * FRAMES_HZ).astype(int)
        return self.accent[np.clip(frames[:, None] + np.arange(-2, 3), 0, len(self.accent) - 1)].max(axis=1)

    def bass_db_at(self, times_s: F64) -> F64:
        """How strong the bass is in the 90 ms from each time on: there a kick sounds, or a bass note."""
        frames = np.round(times_s * FRAMES_HZ).astype(int)[:, None] + np.arange(8)
        return 10.0 * np.log10(self.bass_power[np.clip(frames, 0, len(self.flux) - 1)].mean(axis=1) + 1e-8)


def mono(sound: Sound) -> F32:
    """[n] at RATE_HZ, the mean of the channels; in slices, since the file may be larger than memory."""
    import soxr

    samples = sound.samples
    resampler = soxr.ResampleStream(sound.rate_hz, RATE_HZ, 1, dtype="float32")
    whole = np.zeros(math.ceil(len(samples) * RATE_HZ / sound.rate_hz), np.float32)
    at = 0
    for first in range(0, len(samples), SLICE_SAMPLES):
        part = np.nan_to_num(samples[first : first + SLICE_SAMPLES].mean(axis=1, dtype=np.float32))
        part = resampler.resample_chunk(part, last=first + SLICE_SAMPLES >= len(samples))[: len(whole) - at]
        whole[at : at + len(part)] = part
        at += len(part)
    return whole


def hear(sound: F32) -> Heard:
    """The spectra of `mono` sound, summed up."""
    import librosa

    frames = len(sound) // HOP + 1
    mel_filters = librosa.filters.mel(sr=RATE_HZ, n_fft=WINDOW, n_mels=MEL_BANDS, fmin=30.0, fmax=10500.0)
    chroma_filters = librosa.filters.chroma(sr=RATE_HZ, n_fft=CHROMA_WINDOW, tuning=0.0)
    bass = slice(1, math.ceil(BASS_HZ * WINDOW / RATE_HZ) + 1)
    mel = np.empty((MEL_BANDS, frames), np.float32)
    power, bass_power = np.empty(frames, np.float32), np.empty(frames, np.float32)
    chroma = np.empty((12, -(-frames // CHROMA_EVERY)), np.float32)
    margin = CHROMA_WINDOW // 2
    full_scale = float(np.square(np.hanning(WINDOW)).sum()) * WINDOW / 2  # of a mean square of 1, over half the bins
    for first in range(0, frames, BLOCK_FRAMES):
        last = min(first + BLOCK_FRAMES, frames)
        begin, end = first * HOP - margin, (last - 1) * HOP + margin
        piece = np.pad(sound[max(begin, 0) : end], (max(-begin, 0), max(end - len(sound), 0)))
        inner = piece[margin - WINDOW // 2 : len(piece) - margin + WINDOW // 2]
        spectrum = np.square(np.abs(librosa.stft(inner, n_fft=WINDOW, hop_length=HOP, center=False)))
        mel[:, first:last] = mel_filters @ spectrum
        power[first:last] = spectrum.sum(axis=0) / full_scale
        bass_power[first:last] = spectrum[bass].sum(axis=0) / full_scale
        wide = librosa.stft(piece, n_fft=CHROMA_WINDOW, hop_length=HOP * CHROMA_EVERY, center=False)
        at = first // CHROMA_EVERY
        chroma[:, at : at + wide.shape[1]] = chroma_filters @ np.square(np.abs(wide))
    # One loud click must not push the music under the floor.
    loud = max(float(np.quantile(mel.max(axis=0), 0.99)), 1e-7)
    mel_db = (10.0 * np.log10(np.maximum(mel / loud, 1e-8))).astype(np.float32)
    strength = partial(librosa.onset.onset_strength, sr=RATE_HZ, n_fft=WINDOW, hop_length=HOP)
    flux = strength(S=mel_db, max_size=3).astype(np.float64)
    low = strength(S=mel_db[:BASS_BANDS], max_size=1).astype(np.float64)
    accent = flux / max(flux.mean(), 1e-9) + low / max(low.mean(), 1e-9)
    return Heard(sound, mel_db, power, bass_power, chroma, flux, accent)


# Onsets.


def onsets(heard: Heard, *, delta: float = ONSET_DELTA) -> tuple[F64, F64]:
    """(times in s, strengths): when something begins, ascending. A larger `delta` leaves out what is faint."""
    import librosa

    if len(heard.flux) < 8 or heard.power.max() < 10.0 ** (SILENT_DB / 10.0):
        return np.zeros(0), np.zeros(0)
    frames = librosa.onset.onset_detect(
        onset_envelope=heard.flux, sr=RATE_HZ, hop_length=HOP, units="frames", delta=delta
    )
    frames = frames[heard.power[frames] > 10.0 ** (SILENT_DB / 10.0)]
    times_s = np.array([_rise_s(heard.sound, int(frame) * HOP) for frame in frames])
    strengths = heard.flux[frames]
    order = np.argsort(times_s, kind="stable")
    times_s, strengths = times_s[order], strengths[order]
    # Two peaks may turn out to be one sound.
    fresh = np.diff(times_s, prepend=-1.0) > ONSETS_APART_S
    return times_s[fresh], strengths[fresh]


def _rise_s(sound: F32, near: int) -> float:
    """Time at which the sound grew, near sample `near`: where two variances explain it best (Akaike's picker)."""
    first = max(near - RISE_BEFORE, 0)
    piece = np.diff(sound[first : near + RISE_AFTER]).astype(np.float64)  # lifts the attack above the bass
    grains = len(piece) // RISE_GRAIN
    if grains < 4:
        return near / RATE_HZ
    energy = np.square(piece[: grains * RISE_GRAIN]).reshape(grains, RISE_GRAIN).sum(axis=1) + 1e-9
    total = np.cumsum(energy)
    splits = np.arange(1, grains)
    before = total[splits - 1] / splits
    after = (total[-1] - total[splits - 1]) / (grains - splits)
    cost = splits * np.log(before) + (grains - splits) * np.log(after)
    cost[after <= before] = np.inf
    best = int(np.argmin(cost))
    return (first + int(splits[best]) * RISE_GRAIN) / RATE_HZ if np.isfinite(cost[best]) else near / RATE_HZ


# Beats.


def beats(heard: Heard, onsets_s: F64, strengths: F64) -> tuple[F64, bool]:
    """(beats in s, whether they are one even grid), from the strong onsets; none where nothing pulses."""
    none = np.zeros(0), False
    if len(onsets_s) < LEAST_ONSETS:
        return none
    tempi_bpm, clarity = _tempi(heard.flux)
    if clarity < LEAST_CLARITY:
        return none
    import librosa

    _, rough_s = librosa.beat.beat_track(
        onset_envelope=heard.accent, sr=RATE_HZ, hop_length=HOP, bpm=tempi_bpm, units="time", trim=False
    )
    if len(rough_s) < LEAST_BEATS:
        return none
    begin_s, end_s = heard.bounds_s
    grid_s = _grid(heard, rough_s, onsets_s, strengths)
    if grid_s is not None:
        return grid_s, True
    beats_s = _to_onsets(rough_s, onsets_s, strengths)
    beats_s = beats_s[(beats_s > begin_s - BESIDE_S) & (beats_s < end_s + BESIDE_S)]
    return (beats_s, False) if len(beats_s) >= LEAST_BEATS else none


def _tempi(flux: F64) -> tuple[F64, float]:
    """(tempo in beats per minute at every frame [F], how clear the pulse is, 0..1)."""
    from scipy.ndimage import gaussian_filter1d, median_filter

    window = round(TEMPO_WINDOW_S * FRAMES_HZ)
    stride = round(TEMPO_STEP_S * FRAMES_HZ)
    soft = gaussian_filter1d(flux, 1.0)  # so that people need not play to the frame
    views = [
        np.lib.stride_tricks.sliding_window_view(np.pad(each, window // 2), window)[::stride]
        for each in (soft, np.ones_like(soft))
    ]
    slices, inside = views  # and where the piece is, 0 beyond its ends
    shape = np.hanning(window)
    overlap = np.correlate(shape, shape, "full")[window - 1 : window - 1 + window // 2]
    acf = np.empty((len(slices), window // 2), np.float32)  # of each window, by lag in frames
    for first in range(0, len(slices), 256):
        some, weights = slices[first : first + 256], inside[first : first + 256]
        mean = (some * weights).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
        spectrum = np.fft.rfft((some - mean) * weights * shape, 2 * window, axis=1)
        raw = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, : window // 2]
        acf[first : first + 256] = raw / np.maximum(raw[:, :1], 1e-9) * (overlap[0] / overlap)

    periods = 60.0 * FRAMES_HZ / np.linspace(TEMPO_HIGH, TEMPO_LOW, 400)  # in frames
    octaves = np.log2(60.0 * FRAMES_HZ / periods / TEMPO_LIKELY)
    pulse = np.zeros((len(slices), len(periods)), np.float32)
    for times, weight in TEMPO_COMB:
        lags = np.minimum(periods * times, window // 2 - 1.001)
        low, part = lags.astype(int), (lags % 1.0).astype(np.float32)
        pulse += weight * (acf[:, low] * (1 - part) + acf[:, low + 1] * part)
    pulse /= sum(weight for _, weight in TEMPO_COMB)
    mean = pulse.mean(axis=0)
    best = int(np.argmax(np.maximum(mean, 0.0) * np.exp(-0.5 * np.square(octaves / TEMPO_OCTAVES))))
    # Locally near the one tempo of the whole: a piece drifts, but its beat rarely doubles.
    near = np.exp(-0.5 * np.square((octaves - octaves[best]) / LOCAL_OCTAVES))
    place = np.argmax(np.maximum(pulse, 0.0) * near, axis=1)
    place = median_filter(place, size=round(TEMPO_WINDOW_S / TEMPO_STEP_S) | 1, mode="nearest")
    clarity = float(np.mean(pulse[np.arange(len(pulse)), place]))
    local_bpm = 60.0 * FRAMES_HZ / periods[place]
    return np.interp(np.arange(len(flux)), np.arange(len(local_bpm)) * stride, local_bpm), clarity


def _to_onsets(
    beats_s: F64,  # ascending
    onsets_s: F64,
    strengths: F64,
) -> F64:
    """The beats, each moved to the strongest onset within BESIDE_S, where one is as strong as beats usually are."""
    least = 0.5 * float(np.median(strengths))
    moved_s = beats_s.copy()
    for index, beat_s in enumerate(beats_s):
        first, last = np.searchsorted(onsets_s, [beat_s - BESIDE_S, beat_s + BESIDE_S])
        if first < last:
            best = first + int(np.argmax(strengths[first:last]))
            if strengths[best] >= least:
                moved_s[index] = onsets_s[best]
    return moved_s[np.diff(moved_s, prepend=-np.inf) > 0.0]


def _grid(heard: Heard, rough_s: F64, onsets_s: F64, strengths: F64) -> F64 | None:
    """The even grid that explains the onsets from the first sound to the last, or None where none does.

    The period is where the phases of all onsets on beats, quavers and semiquavers agree best over the whole piece (the
    peak of their periodogram), which is far finer than any beat by itself; a line through the onsets makes it exact.
    """
    if len(rough_s) < GRID_LEAST_BEATS:
        return None
    begin_s, end_s = heard.bounds_s
    middle_s = float(np.median(np.diff(_to_onsets(rough_s, onsets_s, strengths))))
    weights = np.sqrt(strengths)
    # So fine that over the whole piece a semiquaver moves by a quarter of itself at most from one period to the next.
    step_s = middle_s**2 / (16.0 * (end_s - begin_s))
    some = slice(None, None, -(-len(onsets_s) // GRID_MOST_ONSETS))
    agreements = np.empty((len(GRID_PARTS), round(0.08 * middle_s / step_s)))
    periods_s = middle_s * 0.96 + step_s * np.arange(agreements.shape[1])
    for column, each_s in enumerate(periods_s):
        turn = np.exp(2j * np.pi * onsets_s[some] / each_s)
        agreements[:, column] = [abs(weights[some] @ turn**parts) for parts in GRID_PARTS]
    agreements /= weights[some].sum()
    best = int(np.argmax(agreements.sum(axis=0)))
    parts = GRID_PARTS[int(np.argmax(agreements[:, best]))]
    if agreements[:, best].max() < GRID_AGREEMENT:
        return None
    tatum_s = float(periods_s[best]) / parts
    phase_s = float(np.angle(weights @ np.exp(2j * np.pi * onsets_s / tatum_s))) / (2 * np.pi) * tatum_s
    for _ in range(2):
        number = np.round((onsets_s - phase_s) / tatum_s)
        on = np.abs(onsets_s - phase_s - number * tatum_s) < min(BESIDE_S, tatum_s / 4)
        if np.count_nonzero(on) < GRID_LEAST_BEATS:
            return None
        tatum_s, phase_s = (float(each) for each in np.polyfit(number[on], onsets_s[on], 1, w=np.sqrt(weights[on])))
    # A drift shows as phases that wander from one part of the piece to the next.
    off_s = (onsets_s - phase_s + tatum_s / 2) % tatum_s - tatum_s / 2
    pieces = [piece for piece in np.array_split(off_s, max(4, len(off_s) // 24)) if len(piece)]
    wander_s = [np.angle(np.mean(np.exp(2j * np.pi * piece / tatum_s))) / (2 * np.pi) * tatum_s for piece in pieces]
    if np.mean(np.abs(wander_s) < GRID_WANDER_S) < GRID_SHARE:
        return None
    return _on_the_beat(heard, rough_s, tatum_s=tatum_s, phase_s=phase_s, parts=parts)


def _on_the_beat(heard: Heard, rough_s: F64, *, tatum_s: float, phase_s: float, parts: int) -> F64:
    """Every `parts`th time of the tatum's grid: those on which the accents fall, and the tracked beats."""
    begin_s, end_s = heard.bounds_s
    period_s = parts * tatum_s
    grids_s, votes, bass_db = [], [], []
    for first_s in phase_s + tatum_s * np.arange(parts):
        low = math.ceil((max(begin_s - BESIDE_S, 0.0) - first_s) / period_s)
        grids_s.append(first_s + period_s * np.arange(low, math.floor((end_s - first_s) / period_s) + 1))
        off_s = (rough_s - first_s + period_s / 2) % period_s - period_s / 2
        votes.append(np.mean(np.abs(off_s) < BESIDE_S))
        bass_db.append(heard.bass_db_at(grids_s[-1]).mean())
    accents = np.array([heard.accent_at(grid_s).mean() for grid_s in grids_s])
    return grids_s[
        int(np.argmax(accents / accents.max() + GRID_VOTE * np.array(votes) + GRID_BASS * np.array(bass_db)))
    ]
