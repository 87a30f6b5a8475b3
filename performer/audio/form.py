"""The form of a whole piece: bars, sections and drops.

- Bars: the meter, and the beat on which the kick comes down and harmony and timbre change.
- Sections: novelty along the diagonal of the self-distances of timbre, harmony and loudness, beat by beat (Foote 2000);
  what lies between its peaks is clustered, and equal letters sound alike.
- Drops: bass and loudness jump after a quieter stretch.

Thread: any, but slow.
"""

import math
from dataclasses import dataclass

import numpy as np

from performer.audio.offline import CHROMA_EVERY, FRAMES_HZ, SILENT_DB, Heard
from performer.flow import F32, F64

BRIGHT_BANDS = slice(12, 33)  # 1 to 6 kHz: the snare's
WALTZ, WALTZ_LIKENESS = 1.2, 0.1  # by so much three must explain more than four

UNIT_S = 0.5  # where there are no beats
LEAST_UNIT_S = 0.05
MOST_UNITS = 2000
KERNEL_UNITS = 16
LEAST_SECTION_S = 7.0
NOVELTY_LEAST = 0.25  # how far a peak stands out to be a bound
ALIKE = 1.0  # sections that are less far apart, in deviations, have one letter
FEWEST_SECTIONS, FEWEST_FROM_S = 3, 75.0  # so many are looked for in music that lasts so long ...
KEENER, KEENEST = 0.7, 0.3  # ... with thresholds that fall by this factor, down to this one
ENERGY_RANGE_DB = 24.0

DROP_UNITS = 4
DROP_BELOW_DB = 6.0  # what follows a drop is no quieter than the loud parts by more, and no unit of it than the rest
DROP_BASS_DB, DROP_LOUD_DB = 6.0, 3.0
DROP_FULL_DB = 30.0  # of bass and loudness together: strength 1
DROPS_APART_S = 4.0


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of the piece that is of one kind."""

    start_s: float
    end_s: float
    label: str  # "A", "B" …: equal letters sound alike
    loudness_db: float  # mean power, 0 is a full-scale square wave
    energy: float  # 0..1, beside the other sections: half loudness, half how much begins


@dataclass(frozen=True, slots=True)
class Drop:
    """Bass and loudness come back at once after a quieter stretch."""

    at_s: float
    strength: float  # 0..1


@dataclass(frozen=True, slots=True)
class Looks:
    """What each unit of the piece, a beat or half a second, is like."""

    timbre: F32  # [units, MEL_BANDS], dB
    chroma: F32  # [units, 12], unit vectors; zeros in silence
    loudness_db: F64  # [units]
    bass_db: F64  # [units]
    begins: F64  # [units], mean flux


def units(beats_s: F64, duration_s: float) -> F64:
    """[units + 1] edges in s: the beats, or every half second where there are none; 0 and the end as well."""
    inner_s = beats_s if len(beats_s) else np.arange(UNIT_S, duration_s, UNIT_S)
    inner_s = inner_s[(inner_s > LEAST_UNIT_S) & (inner_s < duration_s - LEAST_UNIT_S)]
    return np.concatenate([[0.0], inner_s, [duration_s]])


def look(heard: Heard, units_s: F64) -> Looks:
    """What each unit of the piece is like."""
    edges = np.clip(np.round(units_s * FRAMES_HZ).astype(int), 0, len(heard.flux))
    # A unit needs one frame at least, even in a file of a few samples.
    starts = np.minimum(edges[:-1], len(heard.flux) - 1)
    lengths = np.diff(np.append(starts, len(heard.flux)))

    def mean(rows: np.ndarray) -> np.ndarray:  # [..., F] -> [..., units]
        return np.add.reduceat(rows, starts, axis=-1) / np.maximum(lengths, 1)

    wide = np.repeat(heard.chroma, CHROMA_EVERY, axis=1)[:, : len(heard.flux)]
    chroma = mean(wide).T
    norm = np.linalg.norm(chroma, axis=1, keepdims=True)
    return Looks(
        timbre=mean(heard.mel_db).T,
        chroma=np.where(norm > 1e-3, chroma / np.maximum(norm, 1e-9), 0.0),
        loudness_db=10.0 * np.log10(mean(heard.power) + 1e-8),
        bass_db=10.0 * np.log10(mean(heard.bass_power) + 1e-8),
        begins=mean(heard.flux),
    )


def bars(heard: Heard, beats_s: F64, looks: Looks, units_s: F64) -> tuple[int, int]:
    """(beats in a bar, which beat begins the first bar).

    A bar begins with the kick, that is bass without the snare's brightness, and where harmony and timbre change.
    """
    if len(beats_s) < 8:
        return 4, 0
    bass_db = heard.bass_db_at(beats_s)
    frames = np.round(beats_s * FRAMES_HZ).astype(int)[:, None] + np.arange(8)
    frames = np.minimum(frames, len(heard.flux) - 1)
    bright_db = heard.mel_db[BRIGHT_BANDS][:, frames].mean(axis=(0, 2))
    unit = np.searchsorted(units_s[:-1], beats_s + LEAST_UNIT_S) - 1  # the one that begins with the beat
    evidence = (
        _standard(bass_db)
        + 0.5 * _standard(bass_db - bright_db)
        + _standard(_change(looks.chroma)[unit])
        + 0.5 * _standard(_change(looks.timbre)[unit])
    )
    contrasts, firsts, likeness = {}, {}, {}
    for meter in (4, 3):
        means = np.array([evidence[phase::meter].mean() for phase in range(meter)])
        firsts[meter] = int(np.argmax(means))
        # The more bars a meter has, the less its best phase stands out by chance.
        contrasts[meter] = float(means.max()) * math.sqrt(len(beats_s) / meter)
        likeness[meter] = float(np.mean(evidence[meter:] * evidence[:-meter]) / max(float(evidence.var()), 1e-9))
    waltzes = contrasts[3] > WALTZ * contrasts[4] and likeness[3] > likeness[4] + WALTZ_LIKENESS
    beats_per_bar = 3 if waltzes else 4
    return beats_per_bar, firsts[beats_per_bar]


def _standard(values: np.ndarray) -> F64:
    """Mean 0, deviation 1; zeros where all are equal."""
    return (values - values.mean()) / max(float(values.std()), 1e-6)


def _change(
    rows: F32,  # [units, any]
) -> F64:
    """[units]: how far the two units from each on differ from the two before it."""
    padded = np.pad(rows, ((2, 1), (0, 0)), mode="edge")
    after, before = padded[2:-1] + padded[3:], padded[:-3] + padded[1:-2]
    return np.linalg.norm(after - before, axis=1) / 2


# Sections and drops.


def sections(looks: Looks, units_s: F64, bars_s: F64) -> tuple[F64, list[str]]:
    """(bounds in s [sections + 1], label of each section). Bounds lie on downbeats (`bars_s`) where there are any."""
    from scipy.signal import find_peaks

    whole = np.array([units_s[0], units_s[-1]])
    features = _features(looks)
    # Many beats of a long piece count as one, so that the work grows no faster than the piece.
    group = -(-len(features) // MOST_UNITS)
    starts = np.arange(0, len(features), group)
    features = np.add.reduceat(features, starts, axis=0) / np.diff(np.append(starts, len(features)))[:, None]
    edges_s = np.append(units_s[starts], units_s[-1])
    unit_s = float(np.median(np.diff(edges_s)))
    least = max(round(LEAST_SECTION_S / unit_s), 16 // group, 2)
    if len(features) < 2 * least:
        return whole, ["A"]
    novelty = _novelty(features, reach=min(max(KERNEL_UNITS // group, 4), len(features) // 2))
    wanted = FEWEST_SECTIONS if units_s[-1] > FEWEST_FROM_S else 1
    keen = 1.0
    while True:
        peaks, _ = find_peaks(novelty, distance=least, prominence=keen * NOVELTY_LEAST)
        peaks = peaks[(peaks >= least // 2) & (peaks <= len(features) - least // 2)]
        inner_s = [_snapped(float(edges_s[peak]), bars_s) for peak in peaks]
        bounds_s = np.unique(np.concatenate([whole[:1], inner_s, whole[1:]]))
        places = np.searchsorted(edges_s, bounds_s - LEAST_UNIT_S)
        means = [features[a : max(b, a + 1)].mean(axis=0) for a, b in zip(places, places[1:], strict=False)]
        kinds = _kinds(np.array(means), alike=keen * ALIKE)
        kept = np.flatnonzero(np.diff(kinds, prepend=-1))  # two of a kind side by side are one
        keen *= KEENER
        if len(kept) >= wanted or keen < KEENEST:
            break
    letters: dict[int, str] = {}
    for kind in kinds[kept]:
        letters.setdefault(int(kind), _letter(len(letters)))
    return np.append(bounds_s[kept], whole[1]), [letters[int(kind)] for kind in kinds[kept]]


def _features(looks: Looks) -> F64:
    """[units, any]: timbre, harmony, loudness and bass, in deviations; timbre and harmony count as one each."""
    from scipy.fft import dct

    cepstrum = np.asarray(dct(looks.timbre, axis=1, norm="ortho"))[:, 1:13]
    # What hardly changes must not be blown up to look like a change: hence the least deviations.
    parts = (
        _scaled(cepstrum, least=3.0) / math.sqrt(12.0),
        _scaled(looks.chroma, least=0.1) / math.sqrt(12.0),
        _scaled(looks.loudness_db[:, None], least=3.0),
        0.7 * _scaled(looks.bass_db[:, None], least=4.0),
    )
    return np.concatenate(parts, axis=1)


def _scaled(columns: np.ndarray, *, least: float) -> F64:
    """Each column less its mean, in its own deviations or `least`, whichever is larger."""
    return (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), least)


def _novelty(features: F64, *, reach: int) -> F64:
    """[units]: how much the `reach` units from each on differ from those before it, and are like one another (Foote).

    0 where all is alike; 1 where two even parts meet that are a deviation apart. A checkerboard kernel with a Gaussian
    taper slides along the diagonal of the distances; before the beginning lies the first unit.
    """
    side = np.arange(-reach, reach) + 0.5
    taper = np.exp(-0.5 * np.square(side / (0.5 * reach)))
    sign = np.sign(side)
    kernel = np.outer(taper, taper)
    across = kernel * (np.outer(sign, sign) < 0)
    within = kernel * (np.outer(sign, sign) > 0)
    padded = np.pad(features, ((reach, reach), (0, 0)), mode="edge")
    novelty = np.empty(len(features))
    for at in range(len(features)):
        piece = padded[at : at + 2 * reach]
        squares = np.square(piece).sum(axis=1)
        apart = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * piece @ piece.T, 0.0))
        novelty[at] = (across * apart).sum() / across.sum() - (within * apart).sum() / within.sum()
    return novelty


def _snapped(at_s: float, bars_s: F64) -> float:
    """The nearest downbeat within half a bar, or the time itself where there is none."""
    if len(bars_s) < 2:
        return at_s
    nearest_s = float(bars_s[np.argmin(np.abs(bars_s - at_s))])
    return nearest_s if abs(nearest_s - at_s) <= 0.51 * float(np.median(np.diff(bars_s))) else at_s


def _kinds(
    means: F64,  # [sections, features]
    *,
    alike: float,  # distance
) -> np.ndarray:
    """[sections] i64: which sections are alike, by average linkage."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(means) == 1:
        return np.zeros(1, np.int64)
    return fcluster(linkage(means, "average"), alike, "distance").astype(np.int64)


def _letter(number: int) -> str:
    """A to Z, then A2 to Z2 and so on."""
    letter = chr(ord("A") + number % 26)
    return letter if number < 26 else f"{letter}{number // 26 + 1}"


def described(looks: Looks, units_s: F64, bounds_s: F64, labels: list[str]) -> tuple[Section, ...]:
    """The sections with how loud and how busy each is; `bounds_s` and `labels` as of `sections`."""
    lengths_s = np.diff(units_s)
    power, begins = [], []
    for start_s, end_s in zip(bounds_s, bounds_s[1:], strict=False):
        # Each unit counts by how much of it lies inside.
        inside_s = np.clip(np.minimum(units_s[1:], end_s) - np.maximum(units_s[:-1], start_s), 0.0, lengths_s)
        inside_s = inside_s / max(inside_s.sum(), 1e-9)
        power.append(float(inside_s @ 10.0 ** (looks.loudness_db / 10.0)))
        begins.append(float(inside_s @ looks.begins))
    loudness_db = 10.0 * np.log10(np.maximum(power, 1e-8))
    loud = np.clip(1.0 + (loudness_db - loudness_db.max()) / ENERGY_RANGE_DB, 0.0, 1.0)
    busy = np.array(begins) / max(*begins, 1e-9) if len(begins) > 1 else np.ones(1)
    energy = 0.5 * (loud + busy) * (loudness_db > SILENT_DB)
    return tuple(
        Section(float(start_s), float(end_s), label, float(db), float(each))
        for start_s, end_s, label, db, each in zip(bounds_s, bounds_s[1:], labels, loudness_db, energy, strict=False)
    )


def drops(heard: Heard, looks: Looks, units_s: F64, bars_s: F64) -> tuple[Drop, ...]:
    """Where bass and loudness jump and stay, after at least DROP_UNITS quieter units.

    A drop lies on a downbeat, or where most begins nearby in a piece without beats.
    """
    loudness_db, bass_db = looks.loudness_db, looks.bass_db
    least_db = max(float(np.quantile(loudness_db, 0.9)) - DROP_BELOW_DB, SILENT_DB)
    jumps: list[tuple[float, float, float]] = []  # how sharp in dB, how much in dB, and where
    for at in range(DROP_UNITS + 1, len(loudness_db) - DROP_UNITS):
        after = slice(at, at + 2 * DROP_UNITS)
        loud_db = float(np.median(loudness_db[after]))
        # Music that begins out of silence is no drop, and neither is a blow that dies away.
        stays = np.sort(loudness_db[at : at + DROP_UNITS])[1] > loud_db - DROP_BELOW_DB
        if loud_db < least_db or not stays or np.median(loudness_db[:at]) < SILENT_DB:
            continue
        jump_db = loud_db - _calm_db(loudness_db[:at])
        bass_jump_db = float(np.median(bass_db[after])) - _calm_db(bass_db[:at])
        if jump_db > DROP_LOUD_DB and bass_jump_db > DROP_BASS_DB:
            # Stretches tell how much it is, and the units beside it where.
            sharp_db = sum(
                float(each[at : at + 2].mean() - each[at - 2 : at].mean()) for each in (loudness_db, bass_db)
            )
            jumps.append((sharp_db + jump_db + bass_jump_db, jump_db + bass_jump_db, float(units_s[at])))
    found: list[Drop] = []
    for _, both_db, at_s in sorted(jumps, reverse=True):
        if all(abs(at_s - drop.at_s) > DROPS_APART_S for drop in found):
            at_s = _snapped(at_s, bars_s) if len(bars_s) else _busiest_s(heard, at_s)
            found.append(Drop(at_s, min(both_db / DROP_FULL_DB, 1.0)))
    return tuple(sorted(found, key=lambda drop: drop.at_s))


def _busiest_s(heard: Heard, at_s: float) -> float:
    """Where most begins within a unit of a place."""
    first = max(round((at_s - UNIT_S) * FRAMES_HZ), 0)
    near = heard.flux[first : round((at_s + UNIT_S) * FRAMES_HZ)]
    return (first + int(np.argmax(near))) / FRAMES_HZ


def _calm_db(before_db: F64) -> float:
    """How loud the stretch before a drop is: the loudest of its last units but one, since a fill may lead into it."""
    return max(float(np.median(before_db[-2 * DROP_UNITS :])), float(np.sort(before_db[-DROP_UNITS:])[-2]))
