"""The control process: one socket, one loop. Datagrams in; features and state out to whoever subscribed.

Levels go into a table of newest values, presses into a bounded mailbox: six thousand messages a second into a
hundred addresses are a hundred numbers to the show.

Thread: the main thread of its own process. Owns: the socket after it was inherited.
"""

import contextlib
import logging
import select
import signal
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from performer.clock import SystemClock
from performer.control import wire
from performer.control.addresses import Bind, Dispatcher, number_in
from performer.control.leads import Leads
from performer.control.learning import Learner, Learnt
from performer.control.osc import OscError, OscMessageIn, float_message, message, messages_of
from performer.control.saving import save_binds
from performer.control.surfaces import Changes, Surfaces, Target, encoders_of, is_told
from performer.exchange import SharedLatest, SharedLevels, SharedMailbox
from performer.flow import F32
from performer.params import FREE_INPUTS, Kind, ParamTable
from performer.refusal import Refused

SEND_HZ = 30.0
DRAIN = 2048  # datagrams taken between two looks at the clock
LEAST_FEATURE, LEAST_PART = 1e-3, 1e-5  # smaller changes are told to nobody: of a feature; of a parameter's range
OWN_S = 0.25  # so long after a hand set it, a parameter is what the hand said, whatever the show still tells
GLIDE_S = 5.0  # over which what a vanished source held goes back to the cue


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the control process is given."""

    table: ParamTable
    prefix: str
    binds: dict[str, Bind]
    setlist: Path | None  # where what was learnt is saved
    silence_s: float  # a source that sends nothing for so long lets go of what it holds; 0 for never
    epoch_s: float
    levels: SharedLevels
    presses: SharedMailbox
    status: SharedLatest
    state: SharedLatest
    features: tuple[tuple[SharedLatest, tuple[int, ...]], ...]  # what is heard, and the voices' rows of each part
    feature_names: tuple[str, ...]
    voices: tuple[str, ...]
    cues: tuple[tuple[str, str], ...]  # (id, name)
    cue_values: F32  # [cues, P]


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
            job.table,
            set_level=self._set_level,
            press=self._press,
            current=self._current,
            prefix=job.prefix,
            binds=job.binds,
        )
        self._leads = Leads()
        self._learner, self._learns = Learner(), ""
        self._asked: Target = ("", 0)  # who wants to know what is learnt
        self._surfaces = Surfaces(self._post)
        self._now_s = 0.0
        self._from: Target = ("", 0)
        self._source = ""
        self._set: dict[int, tuple[float, float]] = {}  # by row: what a hand set, and when
        self._heard_s: dict[str, float] = {}  # by source, where silence matters
        self._gliding: dict[int, tuple[float, float]] = {}  # by row: from what, since when
        job.status.take_over()
        self._status = np.zeros(1, wire.STATUS)
        before = job.status.read()
        if before is not None:  # counts go on after a restart
            self._status[0] = before
        self._status["buffer_bytes"] = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._rate_from = (self._clock.now_s(), int(self._status["received"][0]))
        encoders = encoders_of(job.table, prefix=job.prefix)
        spans = np.array([LEAST_PART * (param.high - param.low) for param in job.table.params], np.float32)
        self._changes = Changes(encoders, np.maximum(spans, 1e-7))
        self._encoders = encoders
        self._features = [
            Changes(
                [float_message(f"{job.prefix}/audio/{voice}/{name.replace('.', '/')}") for name in job.feature_names],
                np.full(len(job.feature_names), LEAST_FEATURE, np.float32),
            )
            for voice in job.voices
        ]
        self._sent_cue = -1
        self._sent_leads: dict[int, str] = {}

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
            self._source = f"{self._from[0]}:{self._from[1]}"
            try:
                messages = messages_of(datagram)
            except OscError as error:
                status["received"] += 1
                self._refuse(error)
                continue
            if self._job.silence_s > 0.0:
                self._heard_s[self._source] = self._now_s
            for each in messages:
                status["received"] += 1
                try:
                    if not self._handle(each):
                        status["unknown"] += 1
                except OscError as error:
                    self._refuse(error)

    def _refuse(self, error: OscError) -> None:
        self._status["refused"] += 1
        self._status["refusal"] = f"{self._from[0]}: {error}".encode()[:120]

    def _handle(self, each: OscMessageIn) -> bool:
        if each.args[-1:] == ("?",):
            return self._answer(each.address)
        system = f"{self._job.prefix}/sys/"
        if each.address.startswith(system):
            return self._serve(each.address[len(system) :], each.args)
        if not self._dispatcher.is_own(each.address):
            told = number_in(each.args) if each.args else 1.0
            if told is not None:
                self._learner.note(each.address, told, at_s=self._now_s)
        return self._dispatcher.apply(each, at_s=self._now_s, source=self._source)

    def _set_level(self, row: int, value: float) -> None:
        if not self._leads.admits(row, value, at_s=self._now_s, source=self._source):
            self._status["held"] += 1
            return
        self._gliding.pop(row, None)
        self._set[row] = (value, self._now_s)
        self._job.levels.set(row, value, at_s=self._now_s, source=wire.packed_address(self._from[0]))

    def _press(self, row: int, text: str) -> None:
        source = wire.packed_address(self._from[0])
        if not self._job.presses.post(row, source, self._now_s, text.encode()[:64]):
            raise OscError("too many presses at once; this one was dropped")

    def _current(self, row: int) -> float:
        """What a relative value starts from: what a hand has just set, or what the show says."""
        value, set_s = self._set.get(row, (0.0, -1e9))
        return value if self._now_s - set_s < OWN_S else float(self._values()[row])

    def _serve(self, command: str, args: tuple[object, ...]) -> bool:
        """`sys/...`: what is asked of the control process itself."""
        match command:
            case "ping":
                self._post(self._from, self._told("pong"))
            case "subscribe":
                target = self._target(args)
                if self._surfaces.subscribe(target, origin=self._source, now_s=self._now_s):
                    self._surfaces.dump(target, self._dump())
            case "unsubscribe":
                self._surfaces.unsubscribe(self._target(args))
            case "sync":
                self._surfaces.dump(self._target(args), self._dump())
            case "take" | "release":
                self._give_lead(command, args)
            case "learn":
                self._learn(args)
            case "unbind":
                address = args[-1] if args else None
                if not isinstance(address, str) or not self._dispatcher.unbind(address):
                    raise OscError(f"{address!r} is bound to nothing")
                self._announce("unbound", address)
            case "binds":
                self._surfaces.dump(self._from, [self._bound(address) for address in self._dispatcher.binds])
            case "save":
                self._save()
            case _:
                return False
        return True

    def _row(self, args: tuple[object, ...]) -> int:
        """The parameter that a message names, by its id or its address. Raises OscError."""
        name = args[-1] if args else None
        if isinstance(name, str):
            if name in self._job.table:
                return self._job.table.row(name)
            for target in self._dispatcher.targets(name):
                return target.row
        raise OscError(f"{name!r} is no parameter; expected an id such as macro.1")

    def _give_lead(self, command: str, args: tuple[object, ...]) -> None:
        if command == "take":
            self._leads.take(self._row(args), at_s=self._now_s, source=self._source)
        elif args:
            self._leads.let_go(self._row(args))
        else:
            self._leads.of.clear()

    def _target(self, args: tuple[object, ...]) -> Target:
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

    # Learning

    def _learn(self, args: tuple[object, ...]) -> None:
        """Begin to learn for the parameter that is named, or for the first free input."""
        if args[-1:] == ("cancel",):
            self._learner.cancel()
            self._announce("learning", "")
            return
        if args:
            param = self._job.table.params[self._row(args)]
        else:
            taken = {bind.param for bind in self._dispatcher.binds.values()}
            free = next((name for name in FREE_INPUTS if name not in taken and name in self._job.table), None)
            if free is None:
                raise OscError("all free inputs are bound; name a parameter, or unbind an address")
            param = self._job.table[free]
        self._learns, self._asked = param.id, self._from
        is_press = param.kind in (Kind.TRIGGER, Kind.BOOL)
        self._learner.begin(at_s=self._now_s, is_press=is_press)
        self._announce("learning", param.id)

    def _learnt(self, learnt: Learnt) -> None:
        """Bind what was wiggled."""
        kind = self._job.table[self._learns].kind
        span = (learnt.low, learnt.high) if is_told(kind) and kind is not Kind.BOOL else None
        self._dispatcher.bind(learnt.address, Bind(self._learns, span))
        datagram = self._bound(learnt.address)
        self._post(self._asked, datagram)
        self._surfaces.tell([datagram], but="{}:{}".format(*self._asked))

    def _bound(self, address: str) -> bytes:
        """`sys/bound`: address, parameter, and the sender's range where it has one."""
        bind = self._dispatcher.binds[address]
        return self._told("bound", address, bind.param, *(bind.span or ()))

    def _save(self) -> None:
        """Write what is bound into the setlist."""
        if self._job.setlist is None:
            raise OscError("there is no setlist to save to")
        try:
            save_binds(self._job.setlist, self._dispatcher.binds)
        except Refused as error:
            self._announce("error", str(error))
            raise OscError(str(error)) from None
        self._announce("saved", self._job.setlist.name)

    def _announce(self, what: str, *args: str) -> None:
        """Tell all subscribers, and who asked."""
        datagram = self._told(what, *args)
        self._post(self._from, datagram)
        self._surfaces.tell([datagram], but=self._source)

    def _told(self, what: str, *args: str | float) -> bytes:
        return message(f"{self._job.prefix}/sys/{what}", args)

    # Out

    def _answer(self, address: str) -> bool:
        """A `?`: the current value to whoever asks."""
        targets = self._dispatcher.targets(address)
        for target in targets:
            self._post(self._from, self._value_of(target.row))
        return bool(targets)

    def _values(self) -> np.ndarray:
        state = self._job.state.read()
        return self._job.table.defaults() if state is None else state["values"]

    def _dump(self) -> list[bytes | int]:
        """Everything that there is to know, the values as rows."""
        rows = [row for row, param in enumerate(self._job.table.params) if is_told(param.kind)]
        return [*self._cue_messages(), *rows]

    def _value_of(self, row: int) -> bytes:
        return self._encoders[row](float(self._values()[row]))

    def _send(self, now_s: float) -> None:
        self._now_s = now_s
        learnt = self._learner.answer(now_s=now_s)
        if learnt is not None:
            self._learnt(learnt)
        if self._job.silence_s > 0.0:
            self._let_go_of_silent(now_s)
        for row, datagram in self._changed():
            self._surfaces.tell([datagram], but=self._leads.driver(row, now_s=now_s, within_s=OWN_S))
        self._surfaces.tell([*self._changed_state(), *self._changed_leads()])
        if len(self._surfaces):
            self._surfaces.tell(self._changed_features())
        self._surfaces.step(now_s, value_of=self._value_of)
        since_s, before = self._rate_from
        if now_s - since_s >= 1.0:
            received = int(self._status["received"][0])
            self._status["messages_per_s"] = (received - before) / (now_s - since_s)
            self._rate_from = (now_s, received)
        newest = self._leads.newest()
        if newest is not None:
            row, lead = newest
            self._status["driver"] = f"{lead.source} {self._job.table.params[row].id}".encode()[:120]
            self._status["driven_s"] = lead.moved_s
        self._status["subscribers"] = len(self._surfaces)
        self._status["heartbeat_s"] = now_s
        self._job.status.publish(self._status)

    def _changed(self) -> list[tuple[int, bytes]]:
        """What knobs are at, by row, where that changed."""
        state = self._job.state.read()
        if state is None:
            return []
        params = self._job.table.params
        return [(row, datagram) for row, datagram in self._changes.of(state["values"]) if is_told(params[row].kind)]

    def _changed_features(self) -> list[bytes]:
        """What the room sounds like: `/perf/audio/<voice>/<feature>`, where that changed."""
        datagrams = []
        for features, rows in self._job.features:
            record = features.read()
            if record is not None:
                for voice, values in zip(rows, record["values"], strict=True):
                    datagrams += [datagram for _, datagram in self._features[voice].of(values)]
        return datagrams

    def _changed_state(self) -> list[bytes]:
        state, prefix = self._job.state.read(), self._job.prefix
        if state is None:
            return []
        datagrams = [
            float_message(f"{prefix}/transport/beat")(float(state["beat"])),
            float_message(f"{prefix}/transport/phase")(float(state["beat"]) % 1.0),
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
        prefix = self._job.prefix
        return [message(f"{prefix}/cue/current", (cue_id,)), message(f"{prefix}/cue/name", (name,))]

    def _changed_leads(self) -> list[bytes]:
        """`sys/lead`: who drives a parameter, where that changed."""
        datagrams = []
        for row, lead in self._leads.of.items():
            if self._sent_leads.get(row) != lead.source:
                self._sent_leads[row] = lead.source
                datagrams.append(self._told("lead", self._job.table.params[row].id, lead.source))
        return datagrams

    def _let_go_of_silent(self, now_s: float) -> None:
        """What a source held that sends nothing any more glides back to the cue."""
        for row, lead in list(self._leads.of.items()):
            if now_s - self._heard_s.get(lead.source, lead.moved_s) > self._job.silence_s:
                self._leads.let_go(row)
                self._heard_s.pop(lead.source, None)
                self._gliding[row] = (self._current(row), now_s)
        state = self._job.state.read()
        if not self._gliding or state is None:
            return
        rests = self._job.cue_values[int(state["cue"])]
        for row, (begun_at, since_s) in list(self._gliding.items()):
            part = min((now_s - since_s) / GLIDE_S, 1.0)
            value = self._job.table.params[row].admit(begun_at + (float(rests[row]) - begun_at) * part)
            self._job.levels.set(row, value, at_s=now_s)
            if part >= 1.0:
                del self._gliding[row]

    def _post(self, target: Target, datagram: bytes) -> None:
        with contextlib.suppress(OSError):  # a target that is gone must not hold up the others
            self._socket.sendto(datagram, target)
