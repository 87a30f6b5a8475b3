"""Small sounds, made of numbers, whose truth is known."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from performer.flow import F32, F64


def silence(length_s: float, *, rate_hz: int = 44100) -> F32:
    """[n] zeros."""
    return np.zeros(round(length_s * rate_hz), np.float32)


def sine(frequency_hz: float, length_s: float, *, db: float = -12.0, rate_hz: int = 44100) -> F32:
    """[n], a sine whose peak lies at `db` of full scale."""
    at_s = np.arange(round(length_s * rate_hz)) / rate_hz
    return (10 ** (db / 20) * np.sin(2 * np.pi * frequency_hz * at_s)).astype(np.float32)


def noise(length_s: float, *, db: float = -60.0, rate_hz: int = 44100, seed: int = 0) -> F32:
    """[n], white noise whose RMS lies at `db` of full scale."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(round(length_s * rate_hz)) * 10 ** (db / 20)).astype(np.float32)


def clicks(
    count: int,
    *,
    db: float = -12.0,
    every_s: float = 0.25,
    bed_db: float | None = None,
    rate_hz: int = 44100,
    seed: int = 0,
) -> tuple[F32, np.ndarray]:
    """(sound [n], show times of the clicks [count]): ticks of a millisecond, a little off the grid."""
    rng = np.random.default_rng(seed)
    length_s = 0.5 + count * every_s + 0.5
    sound = silence(length_s, rate_hz=rate_hz)
    if bed_db is not None:
        sound += noise(length_s, db=bed_db, rate_hz=rate_hz, seed=seed)
    one = tick(db=db, rate_hz=rate_hz)
    first = np.round((0.5 + every_s * np.arange(count) + rng.uniform(0, 0.02, count)) * rate_hz).astype(int)
    for start in first:
        sound[start : start + len(one)] += one
    return sound, first / rate_hz


def tick(*, db: float = -12.0, rate_hz: int = 44100) -> F32:
    """[n], a tick of a millisecond."""
    since_s = np.arange(round(0.005 * rate_hz)) / rate_hz
    return (10 ** (db / 20) * np.exp(-since_s / 0.001) * np.cos(2 * np.pi * 3000.0 * since_s)).astype(np.float32)


def f_measure(found_s: list[float], truth_s: list[float], *, window_s: float = 0.05) -> tuple[float, float, float]:
    """(F, precision, recall): each true onset may be found once, within the window."""
    found, truth = sorted(found_s), sorted(truth_s)
    i = j = hits = 0
    while i < len(found) and j < len(truth):
        off_s = found[i] - truth[j]
        if abs(off_s) <= window_s:
            hits, i, j = hits + 1, i + 1, j + 1
        elif off_s < 0:
            i += 1
        else:
            j += 1
    precision, recall = hits / max(len(found), 1), hits / max(len(truth), 1)
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall


def kick(*, db: float = -6.0, rate_hz: int = 44100) -> F32:
    """[n], a bass drum: a thump that falls to 55 Hz, and the click of the beater."""
    at_s = np.arange(round(0.3 * rate_hz)) / rate_hz
    phase = 2 * np.pi * (55.0 * at_s + 4.0 * (1 - np.exp(-at_s / 0.02)))
    thump = np.sin(phase) * np.exp(-at_s / 0.09)
    beater = 0.3 * np.sin(2 * np.pi * 2500.0 * at_s) * np.exp(-at_s / 0.002)
    return _at_peak(thump + beater, db)


def snare(*, db: float = -8.0, rate_hz: int = 44100, seed: int = 0) -> F32:
    """[n], a snare drum: a burst of noise and a tone of 200 Hz."""
    at_s = np.arange(round(0.25 * rate_hz)) / rate_hz
    wires = np.random.default_rng(seed).standard_normal(len(at_s)) * np.exp(-at_s / 0.05)
    return _at_peak(0.4 * wires + np.sin(2 * np.pi * 200.0 * at_s) * np.exp(-at_s / 0.04), db)


def hat(*, db: float = -16.0, rate_hz: int = 44100, seed: int = 0) -> F32:
    """[n], a closed hi-hat: short noise above 7 kHz."""
    at_s = np.arange(round(0.08 * rate_hz)) / rate_hz
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(at_s)))
    spectrum *= np.clip((np.fft.rfftfreq(len(at_s), 1 / rate_hz) - 5000.0) / 2000.0, 0.0, 1.0)
    return _at_peak(np.fft.irfft(spectrum, len(at_s)) * np.exp(-at_s / 0.02), db)


def _at_peak(sound: np.ndarray, db: float) -> F32:
    return (sound * 10 ** (db / 20) / np.abs(sound).max()).astype(np.float32)


def placed(strokes: Iterable[tuple[float, F32]], length_s: float, *, rate_hz: int = 44100) -> F32:
    """[n], each sound of `strokes` from its time on, added up."""
    sound = silence(length_s, rate_hz=rate_hz)
    for at_s, stroke in strokes:
        first = round(at_s * rate_hz)
        sound[first : first + len(stroke)] += stroke[: max(len(sound) - first, 0)]
    return sound


def beats(bpm: float, length_s: float, *, first_s: float = 0.5) -> F64:
    """Times of the beats of a steady tempo, s."""
    return np.arange(first_s, length_s - 0.05, 60.0 / bpm)


def drums(beats_s: Sequence[float], *, half_time: bool = False) -> list[tuple[float, F32]]:
    """Strokes for `placed`: kick on one and three, snare on two and four, hats in eighths; bars begin at the first beat.

    half_time: kick on one, snare on three.
    """
    kicks, snares = ((0,), (2,)) if half_time else ((0, 2), (1, 3))
    strokes = []
    for index, (at_s, next_s) in enumerate(zip(beats_s, [*beats_s[1:], 2 * beats_s[-1] - beats_s[-2]], strict=True)):
        place = index % 4
        strokes += [(at_s, kick())] * (place in kicks) + [(at_s, snare(seed=index))] * (place in snares)
        strokes += [(at_s, hat(seed=index)), ((at_s + next_s) / 2, hat(db=-20.0, seed=index + 1))]
    return strokes


def tone(frequency_hz: float, length_s: float, kind: str, *, db: float = -12.0, rate_hz: int = 44100) -> F32:
    """[n], a harmonic tone: `pluck`, `sung`, `square` or `saw`, without a partial above 45 % of the rate."""
    at_s = np.arange(round(length_s * rate_hz)) / rate_hz
    sound = np.zeros(len(at_s))
    for partial in range(1, 1 + min(int(0.45 * rate_hz / frequency_hz), 40)):
        wave = np.sin(2 * np.pi * partial * frequency_hz * at_s + partial * partial)
        match kind:
            case "pluck":
                wave *= np.sin(np.pi * partial * 0.23) / partial * np.exp(-at_s * (0.5 + 0.8 * partial))
            case "sung":  # an open vowel: formants at 700, 1100 and 2500 Hz
                formants = ((700.0, 110.0, 1.0), (1100.0, 130.0, 0.6), (2500.0, 200.0, 0.25))
                wave *= 0.1 / partial + sum(
                    gain / (1 + ((partial * frequency_hz - hz) / width) ** 2) for hz, width, gain in formants
                ) / math.sqrt(partial)
            case "square":
                wave *= (partial % 2) / partial
            case _:
                wave *= 1 / partial
        sound += wave
    return _at_peak(sound, db)
