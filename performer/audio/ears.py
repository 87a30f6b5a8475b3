"""The parent's side of hearing: it starts the hearing process, watches it, and reads what it publishes.

Thread: `latest`, `drain` and `status` belong to the render thread and never wait: each is a copy out of shared memory.
A watcher thread of its own starts, kills and restarts the process.
Owns: the shared memory, the process, the watcher.
"""

import contextlib
import copy
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from performer.audio import child
from performer.audio import features as table
from performer.audio.features import HELD, REST, Memory
from performer.audio.source import DEFAULT_VOICES, SourceSpec, VoiceSpec
from performer.audio.wire import (
    EVENT,
    EVENT_CAPACITY,
    STATE_WORDS,
    Errand,
    State,
    empty_record,
    event_of,
    features_dtype,
)
from performer.clock import SystemClock
from performer.exchange import SPAWN, SharedLatest, SharedMailbox
from performer.flow import F32, AudioEvent, AudioFeatures, frozen_array

_log = logging.getLogger(__name__)

PATIENCE_S = 1.0  # a process that says nothing for so long is hung
START_PATIENCE_S = 8.0  # from its start to its first word: a loaded machine imports slowly
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.1, 2.0
GOOD_AFTER_S = 5.0  # hearing for so long makes the next back-off short again
STALE_S = 0.25  # features older than this decay
DECAY_S = 0.3


@dataclass(frozen=True, slots=True)
class EarsStatus:
    """How hearing fares, for the HUD, the health page and the log."""

    state: str  # "starting", "hearing" or "lost"
    detail: str  # one sentence for people
    device: str  # empty where no device takes part
    sample_rate: float  # Hz; 0 while unknown
    restarts: int  # processes started after the first
    dropped_events: int  # events that nobody drained in time
    overruns: int  # times the analysis was too slow for the callback, in this process
    overflows: int  # times the driver lost samples, in this process
    clipped: int  # blocks that reached full scale, in this process
    callback_age_s: float  # since the driver last delivered; inf before the first
    latency_s: float  # from the converter to the features, without the converter's own
    peaks: tuple[float, ...]  # of each voice, 0..1 and above, falling slowly
    voices: tuple[str, ...]


class Ears:
    """Hearing, whatever happens to the device. Made cheaply; `start` returns at once.

    source, voices: what `check_source` has accepted.
    epoch_s: reading of `time.monotonic` at show time zero.
    """

    def __init__(
        self,
        *,
        source: SourceSpec,
        voices: Sequence[VoiceSpec] = DEFAULT_VOICES,
        epoch_s: float,
    ) -> None:
        self.source = source
        self.voices = tuple(voices)
        self.shared_features = SharedLatest(features_dtype(len(self.voices)))
        self._events = SharedMailbox(EVENT, capacity=EVENT_CAPACITY)
        self._clock = SystemClock(epoch_s)
        self._nothing: np.void = empty_record(len(self.voices))[0]
        self._watcher = _Watcher(self.source, self.voices, self._clock, self.shared_features, self._events)

    def __enter__(self) -> "Ears":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to hear. Returns at once; a failure shows in `status`, not as an exception."""
        self._watcher.start()

    def close(self) -> None:
        """Stop hearing. Returns within about two seconds, usually at once."""
        self._watcher.stop()

    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `latest().values`."""
        return table.feature_names()

    def latest(self) -> AudioFeatures:
        """The newest features; at rest before the first.

        While nothing is heard, levels fall to rest instead of freezing (a frozen "loud" is a stuck creature), and the
        `time` columns stay where they are.
        """
        record = self._record()
        values: F32 = record["values"].copy()
        age_s = self._clock.now_s() - float(record["heard_s"])
        if age_s > STALE_S:
            fading = np.float32(math.exp(-(age_s - STALE_S) / DECAY_S))
            values = np.where(HELD, values, REST + (values - REST) * fading)
        return AudioFeatures(
            frozen_array(values),
            float(record["centre_s"]),
            float(record["bpm"]),
            float(record["beat"]),
            float(record["confidence"]) if age_s <= STALE_S else 0.0,
        )

    def drain(self) -> list[AudioEvent]:
        """All hits since the last call, oldest first, each exactly once."""
        return [event_of(record) for record in self._events.drain()]

    def status(self) -> EarsStatus:
        """How hearing fares now."""
        record, now_s = self._record(), self._clock.now_s()
        state, detail = self._watcher.verdict(record)
        return EarsStatus(
            state=STATE_WORDS[state],
            detail=detail,
            device=record["device"].decode(),
            sample_rate=float(record["sample_rate"]),
            restarts=self._watcher.restarts,
            dropped_events=self._events.dropped,
            overruns=int(record["overruns"]),
            overflows=int(record["overflows"]),
            clipped=int(record["clipped"]),
            callback_age_s=now_s - float(record["callback_s"]),
            latency_s=float(record["latency_s"]),
            peaks=tuple(float(peak) for peak in record["peak"]),
            voices=tuple(voice.name for voice in self.voices),
        )

    @property
    def child_pid(self) -> int | None:
        """Process id of the hearing process; None between two of them."""
        return self._watcher.pid

    def _record(self) -> np.void:
        record = self.shared_features.read()
        return self._nothing if record is None else record


class _Watcher:
    """Starts the process, and another when it is dead, silent or hung."""

    def __init__(
        self,
        source: SourceSpec,
        voices: tuple[VoiceSpec, ...],
        clock: SystemClock,
        latest: SharedLatest,
        events: SharedMailbox,
    ) -> None:
        self.restarts = 0
        self.pid: int | None = None
        self._source, self._voices = source, voices
        self._clock = clock
        self._latest = latest
        self._own_view = copy.copy(latest)  # a reader of its own: the render thread's is the render thread's
        self._events = events
        self._bell, self._ringer = SPAWN.Pipe(duplex=False)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._trouble = ""  # why the process before this one ended; empty while all is well
        self._said = ""

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ears-watcher", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        if self._thread is not None and self._thread.is_alive():
            self._ringer.send_bytes(b"stop")
            self._thread.join(3.0)

    def verdict(self, record: np.void) -> tuple[State, str]:
        """State and sentence, from the record and from what the watcher has seen."""
        mine = int(record["generation"]) == self._generation and self._generation > 0
        state = State(int(record["state"])) if mine else State.STARTING
        if state is State.HEARING and not self._trouble:
            late_s = self._clock.now_s() - float(record["heartbeat_s"])
            if late_s <= PATIENCE_S:
                return state, record["detail"].decode()
            return State.LOST, f"the hearing process has said nothing for {late_s:.1f} s"
        if self._trouble:
            return State.LOST, self._trouble
        return state, record["detail"].decode() if mine else f"opening {self._source.name()}"

    def _run(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._stopping:
            process, line = self._spawn()
            began_s = self._clock.now_s()
            try:
                trouble, heard_from_s = self._watch(process)
            except Exception:  # a watcher that dies leaves the show deaf: say so, and go on
                _log.exception("audio: the watcher stumbled")
                trouble, heard_from_s = "the watcher stumbled", math.nan
            died = process.exitcode not in (None, child.EXIT_DONE, child.EXIT_LOST)
            self._end(process, line, gently=self._stopping)
            if self._stopping:
                return
            self._trouble = trouble
            if self._source.kind == "file" and self._source.audible and math.isnan(heard_from_s) and died:
                # PortAudio has been seen to abort the whole process over a broken configuration. Music that cannot be
                # played can still be danced to.
                trouble += "; the next will follow the file without playing it"
                self._source = replace(self._source, audible=False)
            if trouble != self._said:
                _log.warning("audio: %s; starting again", trouble)
                self._said = trouble
            if self._clock.now_s() - heard_from_s > GOOD_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            # The wait counts from the start of the process before: one that lived for a while is replaced at once.
            self._pause(max(backoff_s - (self._clock.now_s() - began_s), BACKOFF_FIRST_S))
            backoff_s = min(2 * backoff_s, BACKOFF_MOST_S)
            self.restarts += 1

    def _pause(self, wait_s: float) -> None:
        wait([self._bell], wait_s)

    def _spawn(self) -> tuple[Any, Connection]:
        self._generation += 1
        record = self._own_view.read()
        last = empty_record(len(self._voices))[0] if record is None else record
        errand = Errand(
            source=self._source,
            voices=self._voices,
            epoch_s=self._clock.epoch_s,
            generation=self._generation,
            memory=Memory(last["time_ns"].copy(), last["reference_db"].copy()),
            start_s=float(last["start_s"]),
            heard_s=float(last["heard_s"]),
            values=last["values"].copy(),
        )
        theirs, ours = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(
            target=child.main, args=(errand, self._latest, self._events, theirs), name="performer-ears", daemon=True
        )
        process.start()
        theirs.close()  # ours is then the only other end: when this process dies, the child reads the end of the file
        self.pid = process.pid
        return process, ours

    def _watch(self, process: Any) -> tuple[str, float]:
        """Wait until something is wrong: what, and since when this process has been hearing (NaN: never)."""
        spawned_s = self._clock.now_s()
        hearing_since_s = math.nan
        while True:
            ready = wait([process.sentinel, self._bell], 0.1)
            if self._stopping or self._bell in ready:
                return "", hearing_since_s
            record, now_s = self._own_view.read(), self._clock.now_s()
            if record is None or int(record["generation"]) != self._generation:
                record = None
            state = None if record is None else State(int(record["state"]))
            if process.sentinel in ready:
                process.join(1.0)
                if record is not None and state is State.LOST:
                    return record["detail"].decode(), hearing_since_s
                return f"the hearing process ended by itself (exit code {process.exitcode})", hearing_since_s
            if record is None:
                if now_s - spawned_s > START_PATIENCE_S:
                    return f"the hearing process has not started within {START_PATIENCE_S:g} s", hearing_since_s
                continue
            if (late_s := now_s - float(record["heartbeat_s"])) > PATIENCE_S:
                return f"the hearing process has said nothing for {late_s:.1f} s", hearing_since_s
            if state is State.HEARING and math.isnan(hearing_since_s):
                hearing_since_s = now_s
                detail = record["detail"].decode()
                if self._trouble or detail != self._said:
                    _log.info("audio: %s", detail)
                self._trouble = ""
                self._said = detail

    def _end(self, process: Any, line: Connection, *, gently: bool) -> None:
        self.pid = None
        if gently:
            with contextlib.suppress(OSError):
                line.send_bytes(b"end")
            process.join(0.5)
        if process.is_alive():
            process.kill()
            process.join(2.0)
        line.close()
        if not process.is_alive():
            process.close()


def wait_until(condition: Any, *, timeout_s: float) -> bool:
    """True as soon as `condition()` holds; False after `timeout_s`. For tests and for commands, never for a frame."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
