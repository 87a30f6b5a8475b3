"""The control process: one socket, one loop. Datagrams in; features and state out to whoever subscribed.

Levels go into a table of newest values, presses into a bounded mailbox: six thousand messages a second into a hundred
addresses are a hundred numbers to the show.

Thread: the main thread of its own process. Owns: the socket after it was inherited.
"""

import contextlib
import logging
import select
import signal
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from pythonosc.osc_message_builder import OscMessageBuilder

from performer.clock import SystemClock
from performer.control import wire
from performer.control.osc import Dispatcher, OscError, OscMessageIn, float_message, messages_of
from performer.exchange import SharedLatest, SharedLevels, SharedMailbox
from performer.params import Kind, ParamTable

SEND_HZ = 30.0
SUBSCRIPTION_S = 60.0  # a subscriber that is not renewed is forgotten: it may have been switched off
MOST_SUBSCRIBERS = 32
SYNC_BURST = 200  # messages of a dump sent at once; the rest follows in the next rounds
DRAIN = 2048  # datagrams taken between two looks at the clock


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the control process is given."""

    table: ParamTable
    prefix: str
    aliases: dict[str, str]
    epoch_s: float
    levels: SharedLevels
    presses: SharedMailbox
    status: SharedLatest
    state: SharedLatest
    features: tuple[tuple[SharedLatest, tuple[int, ...]], ...]  # what is heard, and the voices' rows of each part
    feature_names: tuple[str, ...]
    voices: tuple[str, ...]
    cues: tuple[tuple[str, str], ...]  # (id, name)


def main(job: Job, receiver: socket.socket, lifeline: Connection) -> None:
    """Entry point of the process; ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.disable(
        logging.WARNING
    )  # python-osc logs each odd message: a flood of them must not become a flood of text
    ControlLoop(job, receiver).run(lifeline)


class ControlLoop:
    """Receives, dispatches, sends."""

    def __init__(self, job: Job, receiver: socket.socket) -> None:
        self._job = job
        self._clock = SystemClock(job.epoch_s)
        self._socket = receiver
        self._socket.setblocking(False)
        self._dispatcher = Dispatcher(
            job.table, set_level=self._set_level, press=self._press, prefix=job.prefix, aliases=job.aliases
        )
        self._now_s = 0.0
        self._from: tuple[str, int] = ("", 0)
        self._source = 0
        self._subscribers: dict[tuple[str, int], float] = {}
        self._dumps: dict[tuple[str, int], list[bytes]] = {}
        job.status.take_over()
        self._status = np.zeros(1, wire.STATUS)
        before = job.status.read()
        if before is not None:  # counts go on after a restart
            self._status[0] = before
        self._status["buffer_bytes"] = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._rate_from = (self._clock.now_s(), int(self._status["received"][0]))
        self._out = _Features(job)
        self._sent_cue = -1

    def run(self, lifeline: Connection) -> None:
        """Serve until the other end of `lifeline` is closed."""
        send_s = self._clock.now_s()
        while True:
            wait_s = min(max(send_s - self._clock.now_s(), 0.0), 0.05)
            readable, _, _ = select.select([self._socket], [], [], wait_s)
            if readable:
                self._receive()
            now_s = self._clock.now_s()
            if now_s >= send_s:
                send_s = max(send_s + 1.0 / SEND_HZ, now_s)
                self._send(now_s)
                if lifeline.poll():  # nothing is ever sent: it is readable only once the parent is gone
                    return

    # In

    def _receive(self) -> None:
        self._now_s = self._clock.now_s()
        status = self._status
        for _ in range(DRAIN):
            try:
                datagram, self._from = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:  # an earlier answer bounced; there is nothing to read
                continue
            self._source = wire.packed_address(self._from[0])
            try:
                messages = messages_of(datagram)
            except OscError as error:
                status["received"] += 1
                self._refuse(error)
                continue
            for message in messages:
                status["received"] += 1
                try:
                    if not self._handle(message):
                        status["unknown"] += 1
                except OscError as error:
                    self._refuse(error)

    def _refuse(self, error: OscError) -> None:
        self._status["refused"] += 1
        self._status["refusal"] = f"{self._from[0]}: {error}".encode()[:120]

    def _handle(self, message: OscMessageIn) -> bool:
        if message.args[-1:] == ("?",):
            return self._answer(message.address)
        system = f"{self._job.prefix}/sys/"
        if message.address.startswith(system):
            return self._serve(message.address[len(system) :], message.args)
        return self._dispatcher.apply(message, at_s=self._now_s, source=self._from[0])

    def _set_level(self, row: int, value: float) -> None:
        self._job.levels.set(row, value, at_s=self._now_s, source=self._source)

    def _press(self, row: int, text: str) -> None:
        if not self._job.presses.post(row, self._source, self._now_s, text.encode()[:64]):
            raise OscError("too many presses at once; this one was dropped")

    def _serve(self, command: str, args: tuple[object, ...]) -> bool:
        """`sys/...`: ping, subscribe, unsubscribe, sync."""
        target = self._target(args)
        if command == "ping":
            self._post(self._from, _message(f"{self._job.prefix}/sys/pong", []))
        elif command == "subscribe":
            if target not in self._subscribers and len(self._subscribers) >= MOST_SUBSCRIBERS:
                raise OscError(f"{MOST_SUBSCRIBERS} subscribers are served already")
            fresh = target not in self._subscribers
            self._subscribers[target] = self._now_s + SUBSCRIPTION_S
            if fresh:
                self._dumps[target] = self._dump()
        elif command == "unsubscribe":
            self._subscribers.pop(target, None)
        elif command == "sync":
            self._dumps[target] = self._dump()
        else:
            return False
        return True

    def _target(self, args: tuple[object, ...]) -> tuple[str, int]:
        """Who is meant by (host, port), (port) or nothing: the sender fills what is missing."""
        host, port = self._from
        for arg in args:
            if isinstance(arg, str):
                host = arg
            elif isinstance(arg, (int, float)) and not isinstance(arg, bool):
                port = int(arg)
        if not 0 < port < 65536:
            raise OscError(f"port {port}; expected 1 to 65535")
        try:
            socket.inet_aton(host)  # names are not looked up: a lookup can stall for seconds
        except OSError:
            raise OscError(f"{host!r} is not an IPv4 address") from None
        return host, port

    # Out

    def _answer(self, address: str) -> bool:
        """A `?`: the current value to whoever asks."""
        targets = self._dispatcher.targets(address)
        values = self._values()
        for target in targets:
            encode = float_message(self._job.table.address(target.param, prefix=self._job.prefix))
            self._post(self._from, encode(float(values[target.row])))
        return bool(targets)

    def _values(self) -> np.ndarray:
        state = self._job.state.read()
        return self._job.table.defaults() if state is None else state["values"]

    def _dump(self) -> list[bytes]:
        values = self._values()
        return self._cue_messages() + [
            float_message(self._job.table.address(param, prefix=self._job.prefix))(float(values[row]))
            for row, param in enumerate(self._job.table.params)
            if param.kind not in (Kind.TRIGGER, Kind.TEXT)
        ]

    def _send(self, now_s: float) -> None:
        for target in [target for target, until_s in self._subscribers.items() if until_s < now_s]:
            del self._subscribers[target]
        if self._subscribers:
            for datagram in [*self._out.changed(), *self._changed_state()]:
                for target in self._subscribers:
                    self._post(target, datagram)
        for target, waiting in list(self._dumps.items()):
            for datagram in waiting[:SYNC_BURST]:
                self._post(target, datagram)
            del waiting[:SYNC_BURST]
            if not waiting:
                del self._dumps[target]
        since_s, before = self._rate_from
        if now_s - since_s >= 1.0:
            received = int(self._status["received"][0])
            self._status["messages_per_s"] = (received - before) / (now_s - since_s)
            self._rate_from = (now_s, received)
        self._status["subscribers"] = len(self._subscribers)
        self._status["heartbeat_s"] = now_s
        self._job.status.publish(self._status)

    def _changed_state(self) -> list[bytes]:
        state, prefix = self._job.state.read(), self._job.prefix
        if state is None:
            return []
        datagrams = [
            float_message(f"{prefix}/transport/beat")(float(state["beat"])),
            float_message(f"{prefix}/sys/fps")(float(state["fps"])),
            float_message(f"{prefix}/sys/latency_ms")(float(state["latency_ms"])),
        ]
        cue = int(state["cue"])
        if cue != self._sent_cue:
            self._sent_cue = cue
            datagrams += self._cue_messages()
        return datagrams

    def _cue_messages(self) -> list[bytes]:
        """Which cue plays; nothing before the first frame."""
        state = self._job.state.read()
        if state is None:
            return []
        cue_id, name = self._job.cues[int(state["cue"])]
        return [_message(f"{self._job.prefix}/cue/current", [cue_id]), _message(f"{self._job.prefix}/cue/name", [name])]

    def _post(self, target: tuple[str, int], datagram: bytes) -> None:
        with contextlib.suppress(OSError):  # a target that is gone must not hold up the others
            self._socket.sendto(datagram, target)


class _Features:
    """What the room sounds like, as OSC: `/perf/audio/<voice>/<feature>`, only what changed."""

    _LEAST_CHANGE = 1e-3

    def __init__(self, job: Job) -> None:
        self._features = job.features
        self._encoders = [
            [float_message(f"{job.prefix}/audio/{voice}/{name.replace('.', '/')}") for name in job.feature_names]
            for voice in job.voices
        ]
        self._sent = np.full((len(job.voices), len(job.feature_names)), np.inf, np.float32)

    def changed(self) -> list[bytes]:
        datagrams = []
        for features, rows in self._features:
            record = features.read()
            if record is None:
                continue
            for voice, values in zip(rows, record["values"], strict=True):
                sent = self._sent[voice]
                for column in np.flatnonzero(~(np.abs(values - sent) < self._LEAST_CHANGE)):
                    sent[column] = values[column]
                    datagrams.append(self._encoders[voice][column](float(values[column])))
        return datagrams


def _message(address: str, args: list[str]) -> bytes:
    builder = OscMessageBuilder(address)
    for arg in args:
        builder.add_arg(arg)
    return builder.build().dgram
