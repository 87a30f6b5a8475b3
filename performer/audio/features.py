"""The table of features: what is heard, as numbers.

Add a feature by adding one entry to `TABLE`: its `read` says which numbers of the analyser to show. Routes, meters and
the OSC output find it there. `latency_s` is the time from the sound at the converter to the number, at 48 kHz, without the
driver's share: for a level the delay at which it stands at half of a step's height, for a hit the median delay.

Thread: any; values only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from performer.audio.levels import LEAST_DB, LOUDNESS_LEAST_LUFS
from performer.audio.source import BandSpec
from performer.audio.tone import NOTES, PITCH_HIGH_HZ, PITCH_LOW_HZ
from performer.flow import F32, USER_KIND, AudioEventKind, frozen_array

if TYPE_CHECKING:
    from performer.audio.analyser import Analyser

BANDS: tuple[tuple[str, float, float], ...] = (  # name, from Hz, to Hz; in the order of AudioEventKind
    ("all", 20.0, 16000.0),
    ("bass", 20.0, 150.0),
    ("mid", 150.0, 1500.0),
    ("midhigh", 1500.0, 5000.0),
    ("high", 5000.0, 16000.0),
)
PARTS = ("harmonic", "percussive")
TIME_WRAP_S = 3600.0  # `time` features begin again at zero here; see `time_advance_s`


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of `AudioFeatures.values`."""

    name: str  # `bass.hit`; a route writes it as it is, or after a voice: `drums.bass.hit`
    unit: str  # empty for a bare number
    low: float
    high: float
    latency_s: float
    help: str
    read: Callable[["Analyser"], np.ndarray]  # -> [voices]
    rest: float | None = 0.0  # where it falls to when nothing can be heard; None: it stays as it is


def _level_features(row: int, name: str, where: str) -> tuple[Feature, ...]:
    slower_s = 0.09 if name == "harmonic" else 0.0  # it is known only when it has lasted

    def of(
        suffix: str,
        unit: str,
        low: float,
        high: float,
        latency_s: float,
        text: str,
        read: Any,
        rest: float | None = 0.0,
    ) -> Feature:
        return Feature(f"{name}.{suffix}", unit, low, high, latency_s + slower_s, text, read, rest)

    return (
        of("level", "", 0.0, 1.0, 0.012, f"{where}, relative to the recent loudest", lambda a: a.levels.level[:, row]),
        of(
            "db",
            "db",
            LEAST_DB,
            0.0,
            0.010,
            f"{where}, absolutely: 0 is a sine at full scale",
            lambda a: a.levels.db[:, row],
            LEAST_DB,
        ),
        of("presence", "", 0.0, 1.0, 3.0, f"slow level of {where}, over 3 s", lambda a: a.levels.presence[:, row]),
        of(
            "time",
            "s",
            0.0,
            TIME_WRAP_S,
            0.012,
            f"seconds that pass faster while {where} is loud; wraps after an hour",
            lambda a: a.time_s(row),
            None,
        ),
    )


def _band_features(row: int, kind: int, name: str, low_hz: float, high_hz: float) -> tuple[Feature, ...]:
    where = f"energy in {low_hz:g}-{high_hz:g} Hz"
    hit = f"jumps at a hit in {low_hz:g}-{high_hz:g} Hz, gone after 150 ms"
    return (
        *_level_features(row, name, where),
        Feature(f"{name}.hit", "", 0.0, 1.0, 0.006, hit, lambda a: a.hits.hit[:, kind]),
    )


def _hit_feature(name: str, latency_s: float, text: str) -> Feature:
    kind = int(AudioEventKind[name.upper()])
    return Feature(name, "", 0.0, 1.0, latency_s, f"{text}, gone after 150 ms", lambda a: a.hits.hit[:, kind])


def _chroma_feature(note: int, name: str) -> Feature:
    text = f"how much of the note {name} there is beside the strongest"
    return Feature(f"chroma.{name}", "", 0.0, 1.0, 0.055, text, lambda a: a.tone.chroma[:, note])


_PARTS_TEXT = {"harmonic": "what lasts: chords, voices, drones", "percussive": "what is struck"}

TABLE: tuple[Feature, ...] = (
    *(feature for row, band in enumerate(BANDS) for feature in _band_features(row, row, *band)),
    _hit_feature("onset", 0.006, "jumps when any new sound begins"),
    _hit_feature("kick", 0.012, "jumps at a bass drum"),
    _hit_feature("snare", 0.012, "jumps at a snare drum or a clap"),
    _hit_feature("hat", 0.012, "jumps at a hi-hat or a cymbal"),
    *(
        feature
        for row, name in enumerate(PARTS)
        for feature in _level_features(len(BANDS) + row, name, _PARTS_TEXT[name])[:3]
    ),
    Feature(
        "loudness",
        "lufs",
        LOUDNESS_LEAST_LUFS,
        0.0,
        0.2,
        "momentary loudness as broadcasters measure it (ITU-R BS.1770): over 0.4 s, -3 is a sine at full scale",
        lambda a: a.loudness.lufs,
        LOUDNESS_LEAST_LUFS,
    ),
    Feature(
        "peak",
        "db",
        LEAST_DB,
        20.0,
        0.003,
        "highest sample, falling 20 dB a second",
        lambda a: a.loudness.peak_db,
        LEAST_DB,
    ),
    Feature(
        "silence",
        "",
        0.0,
        1.0,
        1.0,
        "1 after a second below -60 LUFS, until above -54",
        lambda a: a.loudness.silence,
        1.0,
    ),
    Feature(
        "centroid",
        "hz",
        0.0,
        16000.0,
        0.024,
        "where the middle of the spectrum lies: how bright it is",
        lambda a: a.tone.centroid_hz,
    ),
    Feature("flatness", "", 0.0, 1.0, 0.024, "0 a tone, 1 noise", lambda a: a.tone.flatness),
    Feature("flux", "db", 0.0, 40.0, 0.006, "how far the spectrum rose in a hop, on average", lambda a: a.tone.flux_db),
    Feature(
        "contrast",
        "db",
        0.0,
        60.0,
        0.024,
        "how far tones stand out of what is between them",
        lambda a: a.tone.contrast_db,
    ),
    *(_chroma_feature(note, name) for note, name in enumerate(NOTES)),
    Feature(
        "hue", "", 0.0, 1.0, 0.2, "where the harmony lies on the circle of fifths, c at 0", lambda a: a.tone.hue, None
    ),
    Feature("clarity", "", 0.0, 1.0, 0.2, "how clear that place is", lambda a: a.tone.clarity),
    Feature(
        "pitch",
        "hz",
        PITCH_LOW_HZ,
        PITCH_HIGH_HZ,
        0.055,
        "pitch of a single voice; holds where there is none",
        lambda a: a.tone.pitch_hz,
        None,
    ),
    Feature(
        "pitch.height",
        "",
        0.0,
        1.0,
        0.055,
        "the same by octaves: 0 is 55 Hz, 1 is 1,600 Hz",
        lambda a: a.pitch_height,
        None,
    ),
    Feature(
        "pitch.confidence", "", 0.0, 1.0, 0.055, "how surely there is one pitch", lambda a: a.tone.pitch_confidence
    ),
)


def table_with(bands: Sequence[BandSpec]) -> tuple[Feature, ...]:
    """`TABLE`, followed by the features of a setlist's own bands."""
    first_row = len(BANDS) + len(PARTS)
    own = [
        feature
        for index, band in enumerate(bands)
        for feature in _band_features(first_row + index, USER_KIND + index, band.name, band.low_hz, band.high_hz)
    ]
    return (*TABLE, *own)


def level_rows(bands: Sequence[BandSpec]) -> int:
    """How many levels are followed: of the bands, the two parts, and a setlist's own bands."""
    return len(BANDS) + len(PARTS) + len(bands)


def hit_kinds(bands: Sequence[BandSpec] = ()) -> dict[str, int]:
    """Features that are hits, and the kind of the events behind each."""
    kinds = {f"{name}.hit": kind for kind, (name, _, _) in enumerate(BANDS)}
    kinds |= {kind.name.lower(): int(kind) for kind in AudioEventKind if kind >= AudioEventKind.ONSET}
    return kinds | {f"{band.name}.hit": USER_KIND + index for index, band in enumerate(bands)}


_COLUMNS = {feature.name: index for index, feature in enumerate(TABLE)}


def held(table: Sequence[Feature]) -> np.ndarray:
    """[features] bool: which stay as they are while nothing can be heard."""
    return frozen_array(np.array([feature.rest is None for feature in table]))


def rest(table: Sequence[Feature]) -> F32:
    """[features]: where each falls to while nothing can be heard."""
    return frozen_array(np.array([feature.rest or 0.0 for feature in table], np.float32))


def column(name: str) -> int:
    """Column of the feature `name` in `AudioFeatures.values`. Raises KeyError with the names that there are."""
    try:
        return _COLUMNS[name]
    except KeyError:
        raise KeyError(f"no audio feature {name!r}; there are: {', '.join(_COLUMNS)}") from None


def feature_of(source: str, bands: Sequence[BandSpec] = ()) -> Feature | None:
    """The feature that a route's source such as `drums.bass.hit` names after its voice; None where it names none."""
    name = source.partition(".")[2]
    return next((feature for feature in table_with(bands) if feature.name == name), None)


def feature_names(bands: Sequence[BandSpec] = ()) -> tuple[str, ...]:
    """Names of all columns, in order."""
    return tuple(feature.name for feature in table_with(bands))


def time_advance_s(before: float, now: float) -> float:
    """How far a `time` feature has gone from `before` to `now`, across the wrap."""
    return (now - before) % TIME_WRAP_S
