"""The records that cross between the hearing process and its parent, and what they mean.

Thread: any; only types and pure conversions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from performer.audio.analyser import USUAL, Memory, Tuning
from performer.audio.features import level_rows, rest, table_with
from performer.audio.source import BandSpec, SourceSpec, VoiceSpec
from performer.flow import SHAPE_SAMPLES, AudioEvent


class State(IntEnum):
    """How the hearing process fares."""

    STARTING = 0
    HEARING = 1
    LOST = 2


STATE_WORDS = {State.STARTING: "starting", State.HEARING: "hearing", State.LOST: "lost"}

EVENT = np.dtype([("voice", "i4"), ("kind", "i4"), ("at_s", "f8"), ("strength", "f4"), ("pad", "i4")])
EVENT_CAPACITY = 4096

_DETAIL_BYTES = 400


def features_dtype(voices: int, bands: Sequence[BandSpec] = ()) -> np.dtype:
    """The record that the hearing process publishes, for so many voices and these bands of the setlist's own."""
    return np.dtype(
        [
            ("values", "f4", (voices, len(table_with(bands)))),
            ("spectrum", "f4", (voices, SHAPE_SAMPLES)),
            ("waveform", "f4", (voices, SHAPE_SAMPLES)),
            ("centre_s", "f8"),
            ("bpm", "f8"),
            ("beat", "f8"),
            ("confidence", "f8"),
            ("downbeat", "i8"),
            ("is_learning", "i4"),
            ("time_ns", "i8", (voices, level_rows(bands))),  # for a successor, see analyser.Memory
            ("reference_db", "f8", (voices, level_rows(bands))),
            ("heard_s", "f8"),  # show time at which values was last renewed; -inf before the first
            ("heartbeat_s", "f8"),  # show time at which the process last said that it lives
            ("callback_s", "f8"),  # show time of the last block from the driver
            ("callbacks", "i8"),
            ("start_s", "f8"),  # show time at which the source's first sample was due; NaN while unknown
            ("music_s", "f8"),  # show time at which the file's first sample sounded, or would have; NaN without a file
            ("music_length_s", "f8"),  # of the file, where it begins again; else infinite
            ("latency_s", "f8"),  # from the converter to the features, smoothed
            ("sample_rate", "f8"),
            ("overruns", "i8"),
            ("overflows", "i8"),
            ("clipped", "i8"),
            ("peak", "f4", (voices,)),
            ("generation", "i8"),  # counts processes
            ("state", "i4"),
            ("audible", "i4"),  # 1 where the music is also played
            ("device", "S96"),
            ("detail", f"S{_DETAIL_BYTES}"),
        ]
    )


def empty_record(voices: int, bands: Sequence[BandSpec] = ()) -> np.ndarray:
    """[1], a record from before anything was heard."""
    record = np.zeros(1, features_dtype(voices, bands))
    record["values"][0] = rest(table_with(bands))
    record["heard_s"] = record["callback_s"] = record["heartbeat_s"] = -np.inf
    record["start_s"] = record["music_s"] = np.nan
    record["music_length_s"] = np.inf
    record["reference_db"] = -np.inf
    return record


def tuning_dtype(voices: int) -> np.dtype:
    """The record in which the parent says how to listen."""
    return np.dtype(
        [
            *((name, "f8", (voices,)) for name in USUAL),
            *((name, "f8") for name in ("hold_s", "hysteresis", "adapt_s", "tap_bpm", "tap_s")),
            *((name, "i8") for name in ("is_frozen", "resets", "learns", "taps")),
        ]
    )


def tuning_record(tuning: Tuning, voices: Sequence[int]) -> np.ndarray:
    """[1], what the process of these voices is told of `tuning`."""
    record = np.zeros(1, tuning_dtype(len(voices)))
    for name in record.dtype.names or ():
        record[name] = tuning.each(name, voices) if name in USUAL else getattr(tuning, name)
    return record


def tuning_of(record: np.void) -> Tuning:
    """The tuning in one record."""
    fields: dict[str, Any] = {name: tuple(record[name].tolist()) for name in USUAL}
    fields |= {name: record[name].item() for name in record.dtype.names or () if name not in USUAL}
    fields["is_frozen"] = bool(fields["is_frozen"])
    return Tuning(**fields)


def text_bytes(text: str, size: int = _DETAIL_BYTES) -> bytes:
    """UTF-8, cut between letters to fit `size` bytes."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


def event_of(record: np.void) -> AudioEvent:
    """The event in one mailbox record."""
    return AudioEvent(int(record["voice"]), int(record["kind"]), float(record["at_s"]), float(record["strength"]))


@dataclass(frozen=True, slots=True)
class Errand:
    """What a hearing process is sent out with."""

    source: SourceSpec
    voices: tuple[VoiceSpec, ...]
    bands: tuple[BandSpec, ...]
    beat_voice: int | None  # row of the voice in which the beat is followed; None where another process follows it
    epoch_s: float  # reading of time.monotonic at show time 0
    generation: int
    memory: Memory  # of the process before
    start_s: float  # where the music began, NaN if it did not yet
    heard_s: float
    values: np.ndarray  # [voices, features] f32, the last known
    music: tuple[float, float] = (math.nan, math.inf)  # the last known music_s and music_length_s
