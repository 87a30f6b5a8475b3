"""Small sounds, made of numbers, whose truth is known."""

import numpy as np

from performer.flow import F32


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
    since_s = np.arange(round(0.005 * rate_hz)) / rate_hz
    tick = 10 ** (db / 20) * np.exp(-since_s / 0.001) * np.cos(2 * np.pi * 3000.0 * since_s)
    first = np.round((0.5 + every_s * np.arange(count) + rng.uniform(0, 0.02, count)) * rate_hz).astype(int)
    for start in first:
        sound[start : start + len(tick)] += tick.astype(np.float32)
    return sound, first / rate_hz


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
