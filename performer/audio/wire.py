"""The records that cross from the hearing process to its parent, and what they mean.

Thread: any; only types and pure conversions.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from performer.audio.features import BANDS, TABLE, Memory
from performer.audio.source import SourceSpec, VoiceSpec
from performer.flow import AudioEvent, AudioEventKind


class State(IntEnum):
    """How the hearing process fares."""

    STARTING = 0
    HEARING = 1
    LOST = 2


STATE_WORDS = {State.STARTING: "starting", State.HEARING: "hearing", State.LOST: "lost"}

EVENT = np.dtype([("voice", "i4"), ("kind", "i4"), ("at_s", "f8"), ("strength", "f4"), ("pad", "i4")])
EVENT_CAPACITY = 4096

_DETAIL_BYTES = 400


def features_dtype(voices: int) -> np.dtype:
    """The record that the hearing process publishes, for so many voices."""
    return np.dtype(
        [
            ("values", "f4", (voices, len(TABLE))),
            ("centre_s", "f8"),
            ("bpm", "f8"),
            ("beat", "f8"),
            ("confidence", "f8"),
            ("time_ns", "i8", (voices, len(BANDS))),  # for a successor, see features.Memory
            ("reference_db", "f8", (voices, len(BANDS))),
            ("heard_s", "f8"),  # show time at which values was last renewed; -inf before the first
            ("heartbeat_s", "f8"),  # show time at which the process last said that it lives
            ("callback_s", "f8"),  # show time of the last block from the driver
            ("callbacks", "i8"),
            ("start_s", "f8"),  # show time at which the source's first sample was due; NaN while unknown
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


def empty_record(voices: int) -> np.ndarray:
    """[1], a record from before anything was heard."""
    record = np.zeros(1, features_dtype(voices))
    record["values"][0] = [feature.rest or 0.0 for feature in TABLE]
    record["heard_s"] = record["callback_s"] = record["heartbeat_s"] = -np.inf
    record["start_s"] = np.nan
    record["reference_db"] = -np.inf
    return record


def text_bytes(text: str, size: int = _DETAIL_BYTES) -> bytes:
    """UTF-8, cut between letters to fit `size` bytes."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


def event_of(record: np.void) -> AudioEvent:
    """The event in one mailbox record."""
    return AudioEvent(
        int(record["voice"]), AudioEventKind(int(record["kind"])), float(record["at_s"]), float(record["strength"])
    )


@dataclass(frozen=True, slots=True)
class Errand:
    """What a hearing process is sent out with."""

    source: SourceSpec
    voices: tuple[VoiceSpec, ...]
    epoch_s: float  # reading of time.monotonic at show time 0
    generation: int
    memory: Memory  # of the process before
    start_s: float  # where the music began, NaN if it did not yet
    heard_s: float
    values: np.ndarray  # [voices, features] f32, the last known
