"""The hearing process: it opens the source, listens, and publishes. It is killed and started again at will.

It is a process of its own because PortAudio freezes its list of devices when it starts, and may hang for ever in a
driver whose device was pulled. Nothing here tries to survive that: after a second without sound the process says what
it knows and ends, and `ears` starts another.

Thread: the sound card's callback writes the ring; the main thread analyses and publishes, every 2.5 ms.
Owns: the open source and the analyser. Real-time: no lock between the two threads.
It ignores SIGINT (its parent ends it) and ends by itself when its parent is gone.
"""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from performer.audio.analyser import Analyser, Tuning
from performer.audio.feeds import Feed, first_line, open_feed
from performer.audio.prepared import Prepared, known
from performer.audio.source import SourceError, restart_portaudio
from performer.audio.wire import Errand, State, empty_record, text_bytes, tuning_of
from performer.clock import SystemClock
from performer.exchange import SharedLatest, SharedMailbox
from performer.flow import AudioFeatures

POLL_S = 0.0025
HEARTBEAT_S = 0.05
CALLBACKS_LATE_S = 1.0  # no block for so long: the device is gone
FIRST_CALLBACK_S = 3.0
OPEN_PATIENCE_S = {"device": 8.0, "file": 120.0}  # a driver may hang while it opens; long music takes time to decode
RETRY_S = 0.5  # from one attempt to open an absent device to the next

EXIT_DONE, EXIT_LOST = 0, 3


class _Reporter:
    """The record that this process publishes."""

    def __init__(self, errand: Errand, latest: SharedLatest, clock: SystemClock) -> None:
        self._latest = latest
        self._clock = clock
        self._source = errand.source
        self.prepared: Prepared | None = None  # what is known of the file beforehand
        self.record = empty_record(len(errand.voices), errand.bands)
        r = self.record
        r["generation"] = errand.generation
        r["values"][0] = errand.values
        r["heard_s"] = errand.heard_s
        r["time_ns"][0] = errand.memory.time_ns
        r["reference_db"][0] = errand.memory.reference_db
        r["start_s"] = errand.start_s
        r["music_s"], r["music_length_s"] = errand.music
        self.say(State.STARTING, f"opening {errand.source.name()}")

    def say(self, state: State, detail: str) -> None:
        self.record["state"] = int(state)
        self.record["detail"] = text_bytes(detail)
        self.publish()

    def publish(self) -> None:
        self.record["heartbeat_s"] = self._clock.now_s()
        self._latest.publish(self.record)

    def hear(self, features: AudioFeatures, analyser: Analyser) -> None:
        r, now_s = self.record, self._clock.now_s()
        r["values"][0] = features.values
        r["centre_s"] = features.centre_s
        r["spectrum"][0], r["waveform"][0] = features.spectrum, features.waveform
        if self.prepared is None or not self.prepared.beats_s or not self._follow(self.prepared, features.centre_s):
            r["bpm"], r["beat"], r["confidence"] = features.bpm, features.beat, features.confidence
            r["downbeat"] = features.downbeat
        r["is_learning"] = analyser.hits.is_learning
        r["time_ns"][0] = analyser.levels.time_ns
        r["reference_db"][0] = analyser.levels.reference_db
        # Peaks fall by half in about 60 ms, so that a meter that looks sixty times a second misses none.
        r["peak"][0] = np.maximum(analyser.front.peak, r["peak"][0] * np.float32(0.94))
        r["heard_s"] = now_s
        r["latency_s"] += 0.02 * (now_s - features.centre_s - r["latency_s"])

    def _follow(self, prepared: Prepared, at_s: float) -> bool:
        """Take the beat that is known of the file at show time `at_s`; False where the music does not play."""
        r, source = self.record, self._source
        position_s = source.offset_s + at_s - float(r["start_s"][0])
        if source.loop:
            position_s %= prepared.duration_s
        if not 0.0 <= position_s <= prepared.duration_s:
            return False
        r["beat"], r["bpm"] = prepared.beat_at(position_s)
        r["confidence"], r["downbeat"] = 1.0, 0
        return True

    def count(self, feed: Feed) -> None:
        r = self.record
        r["callback_s"] = feed.callback_s()
        r["start_s"] = feed.start_s
        if (ring := feed.ring) is not None:
            r["callbacks"], r["overruns"] = ring.blocks, ring.overruns
            r["overflows"], r["clipped"] = ring.lost_by_driver, ring.clipped


def main(errand: Errand, latest: SharedLatest, events: SharedMailbox, tuning: SharedLatest, parent: Connection) -> None:
    """Body of the process. `parent` says b"end", or falls silent when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hush_libraries()
    clock = SystemClock(errand.epoch_s)
    latest.take_over()
    reporter = _Reporter(errand, latest, clock)
    code = EXIT_LOST
    try:
        feed = _opened(errand, clock, reporter, parent)
        code = _listen(errand, feed, reporter, events, tuning, clock, parent) if feed is not None else EXIT_DONE
    except Exception as error:
        reporter.say(State.LOST, _sentence(errand, error))
    # Closing a stream whose device is gone can hang in the driver for ever; ending the process cannot.
    sys.stderr.flush()
    os._exit(code)


def _hush_libraries() -> None:
    """Send what C libraries print to nowhere; Python's own stderr stays.

    PortAudio and ALSA write pages to the terminal for every device that is absent, at every retry. What matters of it
    comes back as an exception, and from there to the log, once.
    """
    try:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    except OSError:  # no stderr at all: nothing to hush
        pass


def _opened(errand: Errand, clock: SystemClock, reporter: _Reporter, parent: Connection) -> Feed | None:
    """The open source, None where the parent has no more use for it. Says every 50 ms that it is still at it.

    A device that is not there is asked for again and again, with PortAudio started afresh each time, so that it sees
    what was plugged in: that is quicker, and costs less, than another process for every attempt. Raises what the driver
    raised, or SourceError where an attempt hangs; then it takes another process.
    """
    while True:
        found: list[Feed] = []
        failed: list[BaseException] = []
        thread = threading.Thread(
            target=_attempt, args=(errand, clock, reporter, found, failed), name="open", daemon=True
        )
        began_s = clock.now_s()
        thread.start()
        while thread.is_alive():
            if _dismissed(parent):
                return None
            patience_s = OPEN_PATIENCE_S.get(errand.source.kind, OPEN_PATIENCE_S["device"])
            if clock.now_s() - began_s > patience_s:
                raise SourceError(f"{errand.source.name()} has not opened within {patience_s:g} s")
            reporter.publish()
            thread.join(HEARTBEAT_S)
        if found:
            return found[0]
        if errand.source.kind != "device":
            raise failed[0]
        reporter.say(State.LOST, _sentence(errand, failed[0]))
        while clock.now_s() - began_s < RETRY_S:
            if _dismissed(parent):
                return None
            time.sleep(HEARTBEAT_S)
            reporter.publish()


def _attempt(
    errand: Errand, clock: SystemClock, reporter: _Reporter, found: list[Feed], failed: list[BaseException]
) -> None:
    """Open the source once; a thread of its own, because a driver may hang."""
    try:
        if errand.source.kind == "device":
            restart_portaudio()
        elif errand.source.kind == "file":
            reporter.prepared = known(Path(errand.source.path))
        found.append(open_feed(errand, clock))
    except BaseException as error:
        failed.append(error)


def _sentence(errand: Errand, error: BaseException) -> str:
    """An error in one line for people."""
    if isinstance(error, SourceError):
        return first_line(error)
    return f"{errand.source.name()}: {type(error).__name__}: {first_line(error)}"


def _listen(
    errand: Errand,
    feed: Feed,
    reporter: _Reporter,
    events: SharedMailbox,
    tuning: SharedLatest,
    clock: SystemClock,
    parent: Connection,
) -> int:
    """Hear until the parent or the device is gone; the exit code."""
    analyser = Analyser(
        rate_hz=feed.rate_hz,
        channels=feed.channels,
        voices=errand.voices,
        bands=errand.bands,
        beat_voice=errand.beat_voice,
        memory=errand.memory,
        tuning=_wished(tuning),
    )
    tuned = tuning.published
    record = reporter.record
    record["sample_rate"] = feed.rate_hz
    record["audible"] = feed.audible
    record["start_s"] = feed.start_s
    record["device"] = text_bytes(feed.device, 96)
    opened_s = reported_s = clock.now_s()
    started = False
    while True:
        heard = False
        if tuning.published != tuned:
            tuned = tuning.published
            analyser.tune(_wished(tuning))
        if (block := feed.read()) is not None:
            record["music_s"], record["music_length_s"] = feed.music_s(block), feed.music_length_s
            for features, found in analyser.step(block):
                for event in found:
                    events.post(event.voice, event.kind, event.at_s, event.strength, 0)
                reporter.hear(features, analyser)
                heard = True
        now_s = clock.now_s()
        if heard and not started:
            started = True
            record["latency_s"] = now_s - record["centre_s"]
            reporter.count(feed)
            reporter.say(State.HEARING, feed.detail)
        if heard or now_s - reported_s >= HEARTBEAT_S:
            reporter.count(feed)
            reporter.publish()
        if now_s - reported_s >= HEARTBEAT_S:
            reported_s = now_s
            if _dismissed(parent):
                return EXIT_DONE
            silent_s = now_s - max(feed.callback_s(), opened_s)
            if silent_s > (CALLBACKS_LATE_S if started else FIRST_CALLBACK_S):
                reporter.say(State.LOST, f"{feed.device or errand.source.name()} has sent nothing for {silent_s:.1f} s")
                return EXIT_LOST
        time.sleep(POLL_S)


def _wished(tuning: SharedLatest) -> Tuning:
    """How the parent wishes it to listen."""
    record = tuning.read()
    return Tuning() if record is None else tuning_of(record)


def _dismissed(parent: Connection) -> bool:
    """True when the parent said so, or is gone."""
    try:
        return parent.poll() and parent.recv_bytes() == b"end"
    except (EOFError, OSError):
        return True
