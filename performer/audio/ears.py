"""The parent's side of hearing: it starts the hearing processes, watches them, and reads what they publish.

Each device is heard by a process of its own, with the voices that come from it: one that is pulled out does not disturb
the others, and devices whose crystals drift apart need no common clock, since every hop carries its show time.

Thread: `latest`, `drain`, `tune` and `status` belong to the render thread and never wait: each is a copy out of, or into,
shared memory. A watcher thread for each process starts, kills and restarts it.
Owns: the shared memory, the processes, the watchers.
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
from performer.audio.analyser import Memory, Tuning
from performer.audio.features import feature_names, held, rest, table_with
from performer.audio.source import DEFAULT_VOICES, BandSpec, SourceSpec, VoiceSpec
from performer.audio.wire import (
    EVENT,
    EVENT_CAPACITY,
    STATE_WORDS,
    Errand,
    State,
    empty_record,
    event_of,
    features_dtype,
    tuning_dtype,
    tuning_record,
)
from performer.clock import SystemClock
from performer.exchange import SPAWN, SharedLatest, SharedMailbox
from performer.flow import SHAPE_SAMPLES, AudioEvent, AudioFeatures, Music, frozen_array

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
    is_learning: bool = False  # whether thresholds are being learnt


class Ears:
    """Hearing, whatever happens to the devices. Made cheaply; `start` returns at once.

    source, voices: what `check_source` has accepted. A voice with a device of its own is heard by another process.
    bands: the setlist's own.
    beat_voice: row of the voice in which the beat is followed.
    epoch_s: reading of `time.monotonic` at show time zero.
    """

    def __init__(
        self,
        *,
        source: SourceSpec,
        voices: Sequence[VoiceSpec] = DEFAULT_VOICES,
        bands: Sequence[BandSpec] = (),
        beat_voice: int = 0,
        epoch_s: float,
    ) -> None:
        self.source = source
        self.voices = tuple(voices)
        self._bands = tuple(bands)
        self._beat_voice = beat_voice
        self._clock = SystemClock(epoch_s)
        table = table_with(bands)
        self._held, self._rest = held(table), rest(table)
        rows: dict[tuple[str, str], list[int]] = {}
        for row, voice in enumerate(self.voices):
            rows.setdefault((voice.device, voice.host_api), []).append(row)
        self._ears = [self._ear(device, api, tuple(members)) for (device, api), members in rows.items()]
        self._main = next(ear for ear in self._ears if beat_voice in ear.rows)
        self._tuning = Tuning()

    def _ear(self, device: str, host_api: str, rows: tuple[int, ...]) -> "_Ear":
        source = SourceSpec(kind="device", device=device, host_api=host_api) if device else self.source
        return _Ear(
            source=source,
            voices=tuple(self.voices[row] for row in rows),
            bands=self._bands,
            beat_voice=rows.index(self._beat_voice) if self._beat_voice in rows else None,
            rows=rows,
            clock=self._clock,
        )

    def __enter__(self) -> "Ears":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to hear. Returns at once; a failure shows in `status`, not as an exception."""
        for ear in self._ears:
            ear.watcher.start()

    def close(self) -> None:
        """Stop hearing. Returns within about two seconds, usually at once."""
        for ear in self._ears:
            ear.watcher.ask_to_stop()
        for ear in self._ears:
            ear.watcher.stop()

    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `latest().values`."""
        return feature_names(self._bands)

    @property
    def shared_features(self) -> tuple[tuple[SharedLatest, tuple[int, ...]], ...]:
        """What each process publishes, and the rows of its voices, for another process to read."""
        return tuple((ear.shared, ear.rows) for ear in self._ears)

    def latest(self) -> AudioFeatures:
        """The newest features; at rest before the first.

        While nothing is heard, levels fall to rest instead of freezing (a frozen "loud" is a stuck creature), and the
        `time` columns stay where they are. The beat goes on from where it was, without confidence.
        """
        values = np.empty((len(self.voices), len(self._rest)), np.float32)
        shapes = np.empty((2, len(self.voices), SHAPE_SAMPLES), np.float32)
        now_s, main_age_s = self._clock.now_s(), 0.0
        main: np.void = self._main.record()
        music: Music | None = None
        for ear in self._ears:
            record = ear.record()
            rows = list(ear.rows)
            age_s = now_s - float(record["heard_s"])
            fading = np.float32(1.0)
            if age_s > STALE_S:
                fading = np.float32(math.exp(-(age_s - STALE_S) / DECAY_S))
            heard = record["values"]
            values[rows] = np.where(self._held, heard, self._rest + (heard - self._rest) * fading)
            shapes[0, rows] = record["spectrum"] * fading
            shapes[1, rows] = record["waveform"] * fading
            if ear is self._main:
                main, main_age_s = record, age_s
            if not math.isnan(record["music_s"]):  # one source at most is a file
                music = Music(float(record["music_s"]), float(record["music_length_s"]))
        shapes = frozen_array(shapes)
        return AudioFeatures(
            frozen_array(values),
            float(main["centre_s"]),
            bpm=float(main["bpm"]),
            beat=float(main["beat"]),
            confidence=float(main["confidence"]) if main_age_s <= STALE_S else 0.0,
            downbeat=int(main["downbeat"]),
            spectrum=shapes[0],
            waveform=shapes[1],
            music=music,
        )

    def drain(self) -> list[AudioEvent]:
        """All hits since the last call, each exactly once; oldest first, of each device."""
        return [
            replace(event, voice=ear.rows[event.voice])
            for ear in self._ears
            for event in map(event_of, ear.events.drain())
        ]

    def tune(self, tuning: Tuning) -> None:
        """Listen in another way, within a few milliseconds. Cheap where nothing changed."""
        if tuning == self._tuning:
            return
        self._tuning = tuning
        for ear in self._ears:
            ear.tuning.publish(tuning_record(tuning, ear.rows))

    def status(self) -> EarsStatus:
        """How hearing fares now: of the worst device, with counts of all."""
        now_s = self._clock.now_s()
        records = [ear.record() for ear in self._ears]
        verdicts = [ear.watcher.verdict(record) for ear, record in zip(self._ears, records, strict=True)]
        worst = max(range(len(verdicts)), key=lambda index: _BADNESS[verdicts[index][0]])
        state, detail = verdicts[worst]
        if state is State.HEARING and len(records) > 1:
            detail = "; ".join(each for _, each in verdicts)
        main = records[self._ears.index(self._main)]
        peaks = [0.0] * len(self.voices)
        for ear, record in zip(self._ears, records, strict=True):
            for row, peak in zip(ear.rows, record["peak"], strict=True):
                peaks[row] = float(peak)

        def total(name: str) -> int:
            return sum(int(record[name]) for record in records)

        return EarsStatus(
            state=STATE_WORDS[state],
            detail=detail,
            device=main["device"].decode(),
            sample_rate=float(main["sample_rate"]),
            restarts=sum(ear.watcher.restarts for ear in self._ears),
            dropped_events=sum(ear.events.dropped for ear in self._ears),
            overruns=total("overruns"),
            overflows=total("overflows"),
            clipped=total("clipped"),
            callback_age_s=max(now_s - float(record["callback_s"]) for record in records),
            latency_s=float(main["latency_s"]),
            peaks=tuple(peaks),
            voices=tuple(voice.name for voice in self.voices),
            is_learning=any(bool(record["is_learning"]) for record in records),
        )

    @property
    def child_pid(self) -> int | None:
        """Process id of the process that hears the beat's voice; None between two of them."""
        return self._main.watcher.pid


_BADNESS = {State.HEARING: 0, State.STARTING: 1, State.LOST: 2}


class _Ear:
    """One device, and the process that hears it."""

    def __init__(
        self,
        *,
        source: SourceSpec,
        voices: tuple[VoiceSpec, ...],
        bands: tuple[BandSpec, ...],
        beat_voice: int | None,
        rows: tuple[int, ...],
        clock: SystemClock,
    ) -> None:
        self.source, self.voices, self.bands, self.beat_voice = source, voices, bands, beat_voice
        self.rows = rows  # of its voices among all
        self.shared = SharedLatest(features_dtype(len(voices), bands))
        self.events = SharedMailbox(EVENT, capacity=EVENT_CAPACITY)
        self.tuning = SharedLatest(tuning_dtype(len(voices)))
        self._nothing: np.void = empty_record(len(voices), bands)[0]
        self.watcher = _Watcher(self, clock)

    def record(self) -> np.void:
        """What its process published last."""
        record = self.shared.read()
        return self._nothing if record is None else record


class _Watcher:
    """Starts the process, and another when it is dead, silent or hung."""

    def __init__(self, ear: _Ear, clock: SystemClock) -> None:
        self.restarts = 0
        self.pid: int | None = None
        self._ear = ear
        self._source = ear.source  # played in silence once a player has died
        self._clock = clock
        self._own_view = copy.copy(ear.shared)  # a reader of its own: the render thread's is the render thread's
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

    def ask_to_stop(self) -> None:
        self._stopping = True
        if self._thread is not None and self._thread.is_alive():
            self._ringer.send_bytes(b"stop")

    def stop(self) -> None:
        if self._thread is not None and self._thread.is_alive():
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
        last = empty_record(len(self._ear.voices), self._ear.bands)[0] if record is None else record
        errand = Errand(
            source=self._source,
            voices=self._ear.voices,
            bands=self._ear.bands,
            beat_voice=self._ear.beat_voice,
            epoch_s=self._clock.epoch_s,
            generation=self._generation,
            memory=Memory(last["time_ns"].copy(), last["reference_db"].copy()),
            start_s=float(last["start_s"]),
            music=(float(last["music_s"]), float(last["music_length_s"])),
            heard_s=float(last["heard_s"]),
            values=last["values"].copy(),
        )
        theirs, ours = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(
            target=child.main,
            args=(errand, self._ear.shared, self._ear.events, self._ear.tuning, theirs),
            name="performer-ears",
            daemon=True,
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
