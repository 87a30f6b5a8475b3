"""The parent's side of control: what people did since the last frame.

The socket is bound here, before doors open, so that a port in use is refused at once; the control process inherits it.
When that process dies it is started again with the same socket, whose buffer keeps what arrives meanwhile.

Thread: `drain`, `publish`, `status` and `news` on the render thread; a watcher of its own restarts the process.
"""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from performer.control import child, wire
from performer.control.ableton import LiveSpec
from performer.control.addresses import Bind
from performer.control.job import Job, Sockets
from performer.control.matrix import holding
from performer.control.shelf import still_shelved
from performer.exchange import SPAWN, Mailbox, SharedLatest, SharedLevels, SharedMailbox
from performer.flow import F32, ControlEvent, Pulse, frozen_array
from performer.params import ParamTable
from performer.presets import Preset
from performer.refusal import Refused
from performer.routes import RouteEdit, RouteFile, Span, names_in, route_of
from performer.triggers import Press

RECEIVE_BUFFER_BYTES = 4 << 20
TEMPI_FRESH_S = 1.0  # what the control process said before it died is no clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowState:
    """What control surfaces are told of the show."""

    values: F32  # [P], what the knobs are at: the cue's values and the hands', before routes
    cue: int
    beat: float
    bpm: float
    fps: float
    frame_p99_ms: float
    latency_ms: float  # sound to light, median; 0 while unknown
    leader: str = ""  # who leads the tempo
    engine: str = ""
    notice: str = ""  # the newest that was said to people
    standby: int = -1  # the cue that GO starts; -1 for none
    waiting: int = -1  # a cue that was asked for and waits for its beat; -1 for none
    wait_beats: float = 0.0  # how long
    state: str = "playing"  # or panic, freeze, blackout
    disarmed: Sequence[int] = ()  # the cues that GO passes over
    absent: Sequence[int] = ()  # the cues whose species are not ready: they wait for them
    meters: F32 | None = None  # [routes, 2], before and after each; None for nothing
    begun: int = 0  # cues that have begun before the one that plays
    preset: int = 0  # number of the one that was glided to last; 0 for none


@dataclass(frozen=True, slots=True)
class HandsStatus:
    """How control is."""

    messages_per_s: float = 0.0
    received: int = 0
    refused: int = 0
    unknown: int = 0
    held: int = 0  # values of sources that do not lead
    subscribers: int = 0
    refusal: str = ""  # the newest
    driver: str = ""  # who moved a parameter last, and which: "10.0.0.7:9001 macro.1"
    driven_s: float = 0.0  # when
    buffer_bytes: int = 0
    restarts: int = 0
    live: str = ""  # how it stands with Ableton Live; empty where nobody asked for it
    midi: str = ""  # the MIDI inputs that are open, or why there are none
    peers: int = 0  # others in Ableton Link's session
    dropped_presses: int = 0
    reloads: int = 0  # how often somebody has asked for the setlist to be read again
    saved: tuple[str, ...] = ()  # sha256 of the setlist before it was saved, and after each of the last times


class Hands:
    """OSC and OSCQuery, served by a process of their own. Where both ports are 0 all calls do nothing."""

    def __init__(
        self,
        *,
        table: ParamTable,
        port: int,
        epoch_s: float,
        host: str = "0.0.0.0",
        prefix: str = "/perf",
        binds: dict[str, Bind] | None = None,
        triggers: Mapping[str, Sequence[Press]] | None = None,
        setlist: Path | None = None,
        silence_s: float = 0.0,
        features: Sequence[tuple[SharedLatest, tuple[int, ...]]] = (),
        feature_names: Sequence[str] = (),
        voices: Sequence[str] = (),
        cues: Sequence[tuple[str, str]] = (("", ""),),
        cue_notes: Sequence[str] = (),
        cue_values: F32 | None = None,
        routes: Sequence[tuple[str, RouteFile]] = (),
        sources: Mapping[str, Span] | None = None,
        presets: Sequence[Preset] = (),
        name: str = "performer",
        http_port: int = 0,
        http_host: str = "127.0.0.1",
        token: str = "",
        live: LiveSpec | None = None,
    ) -> None:
        """Raises Refused where the port is taken.

        binds: foreign addresses. triggers: by address, the cues that begin by it. setlist: where what is learnt is saved.
        silence_s: a source that sends nothing for so long lets go of what it holds, which glides back to the cue; 0 for
        never. cue_values: [cues, P]. routes: with the cue of each, empty for all. sources: what a route may start from.
        presets: of the setlist, in its order.
        name: of the show, for programs that browse. http_port: of OSCQuery; 0 for none. token: what it takes to move
        anything by it. live: Ableton Live, by way of AbletonOSC.
        """
        self._table = table
        self._sources = sources or {}
        self._changed_routes: dict[str, RouteFile | None] = {}  # for a control process that has to start again
        self._changed_presets: dict[str, Preset] = {}  # the same
        self._changed_binds: dict[str, Bind | None] = {}
        self._process: Any = None
        self._lifeline: Any = None
        self._restarts = 0
        self._news: Mailbox[str] = Mailbox(64)
        self._outbox: Mailbox[dict[str, Any] | str] = Mailbox(64)  # for the control process
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._live_socket: socket.socket | None = None
        self._socket = _bound(host, port) if port else None
        self.port = self._socket.getsockname()[1] if self._socket is not None else 0
        try:
            self._listener = _listening(http_host, http_port) if http_port else None
            self._live_socket = _answers_bound(live.reply_port) if live is not None else None
        except Refused:
            self.close()
            raise
        self.token = token
        self.http_port = self._listener.getsockname()[1] if self._listener is not None else 0
        self._levels = SharedLevels(len(table) + wire.ROOM_PARAMS)
        self._presses = SharedMailbox(wire.PRESS, capacity=4096)
        self._edits = SharedMailbox(wire.EDIT, capacity=256)
        self._preset_edits = SharedMailbox(wire.preset_edit(len(table) + wire.ROOM_PARAMS), capacity=64)
        self._bind_edits = SharedMailbox(wire.BIND, capacity=256)
        self._status = SharedLatest(wire.STATUS)
        self._tempi = SharedLatest(wire.TEMPI)
        self.pictures = SharedLatest(wire.PICTURE) if http_port else None  # where an output puts them for the panel
        self._watched = SharedLatest(wire.WATCHED)
        self._room = (
            len(table) + wire.ROOM_PARAMS,
            len(names_in(table)) + wire.ROOM_ROUTES,
            len(cues) + wire.ROOM_CUES,
        )
        state_dtype = wire.show_state(*self._room)
        self._state = SharedLatest(state_dtype)
        self._record = np.zeros(1, state_dtype)
        self._job = Job(
            table=table,
            prefix=prefix,
            binds=binds or {},
            triggers=triggers or {},
            setlist=setlist,
            name=name,
            osc_port=self.port,
            token=token,
            live=live,
            silence_s=silence_s,
            epoch_s=epoch_s,
            levels=self._levels,
            presses=self._presses,
            edits=self._edits,
            status=self._status,
            state=self._state,
            tempi=self._tempi,
            pictures=self.pictures,
            watched=self._watched,
            features=tuple(features),
            feature_names=tuple(feature_names),
            voices=tuple(voices),
            cues=tuple(cues),
            cue_notes=tuple(cue_notes) or ("",) * len(cues),
            routes=tuple(routes),
            changed_routes=self._changed_routes,
            presets=tuple(presets),
            changed_presets=self._changed_presets,
            preset_edits=self._preset_edits,
            changed_binds=self._changed_binds,
            bind_edits=self._bind_edits,
            sources=self._sources,
            cue_values=np.tile(table.defaults(), (len(cues), 1)) if cue_values is None else cue_values,
        )

    def start(self) -> None:
        """Start the process; returns at once."""
        if (self._socket, self._listener, self._live_socket) == (None, None, None):
            return
        self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="hands-watcher", daemon=True)
        self._watcher.start()

    def drain(self) -> list[ControlEvent]:
        """What people did since the last call: every press, and the newest value of every level that moved."""
        events = []
        for row, value, at_s, source in self._levels.changed():
            param = self._table.params[row].id
            events.append(ControlEvent(param, value, at_s, source=_source(source)))
        for press in self._presses.drain():
            param = self._table.params[int(press["row"])].id
            text = bytes(press["text"]).decode("utf-8", "replace")
            source = _source(int(press["source"]))
            trigger = bytes(press["trigger"]).decode()
            events.append(ControlEvent(param, 1.0, float(press["at_s"]), source=source, text=text, trigger=trigger))
        return events

    def edits(self) -> list[RouteEdit | Preset]:
        """What people did to routes and presets since the last call."""
        found: list[RouteEdit | Preset] = []
        for each in self._edits.drain():
            name, route = msgspec.json.decode(bytes(each["text"]), type=tuple[str, RouteFile | None])
            self._changed_routes[name] = route
            found.append(RouteEdit(name, None if route is None else route_of(route, self._sources)))
        for each in self._preset_edits.drain():
            name = bytes(each["name"]).decode()
            size = len(self._table)
            preset = Preset(name, frozen_array(each["named"][:size] > 0), frozen_array(each["values"][:size].copy()))
            self._changed_presets[name] = preset
            found.append(preset)
        for each in self._bind_edits.drain():
            address, bind = msgspec.json.decode(bytes(each["text"]), type=tuple[str, Bind | None])
            self._changed_binds[address] = bind
        return found

    def pulses(self, *, now_s: float) -> tuple[Pulse, ...]:
        """The clocks that run outside, the one that counts most first."""
        record = self._tempi.read()
        if record is None or now_s - float(record["at_s"]) > TEMPI_FRESH_S:
            return ()
        return tuple(
            Pulse(
                source,
                float(each["bpm"]),
                float(each["beat"]),
                float(each["at_s"]),
                downbeat=int(each["downbeat"]),
                has_phase=bool(each["has_phase"]),
            )
            for source, each in zip(wire.PULSES, record["pulses"], strict=True)
            if each["is_there"]
        )

    def publish(self, state: ShowState) -> None:
        """Tell the control process how the show is."""
        record = self._record
        record["edition"] = self._job.edition
        record["values"][0, : len(state.values)] = state.values
        record["meters"][0] = 0.0
        if state.meters is not None:
            record["meters"][0, : len(state.meters)] = state.meters
        record["cue"], record["standby"], record["waiting"] = state.cue, state.standby, state.waiting
        record["begun"], record["preset"] = state.begun, state.preset
        record["wait_beats"] = state.wait_beats
        for name in ("disarmed", "absent"):
            record[name][0] = 0
            record[name][0, list(getattr(state, name))] = 1
        record["beat"] = state.beat
        record["bpm"] = state.bpm
        record["fps"] = state.fps
        record["frame_p99_ms"] = state.frame_p99_ms
        record["latency_ms"] = state.latency_ms
        for name in ("leader", "engine", "notice", "state"):
            text: str = getattr(state, name)
            record[name] = text.encode()[: record.dtype[name].itemsize]
        self._state.publish(record)

    def status(self) -> HandsStatus:
        """Counts and rates."""
        record, tempi = self._status.read(), self._tempi.read()
        if record is None:
            return HandsStatus(restarts=self._restarts)
        return HandsStatus(
            messages_per_s=float(record["messages_per_s"]),
            received=int(record["received"]),
            refused=int(record["refused"]),
            unknown=int(record["unknown"]),
            held=int(record["held"]),
            subscribers=int(record["subscribers"]),
            refusal=bytes(record["refusal"]).decode("utf-8", "replace"),
            driver=bytes(record["driver"]).decode("utf-8", "replace"),
            live=bytes(record["live"]).decode("utf-8", "replace"),
            midi=bytes(record["midi"]).decode("utf-8", "replace"),
            driven_s=float(record["driven_s"]),
            buffer_bytes=int(record["buffer_bytes"]),
            restarts=self._restarts,
            peers=int(tempi["peers"]) if tempi is not None else 0,
            dropped_presses=self._presses.dropped,
            reloads=int(record["reloads"]),
            saved=tuple(bytes(record["saved"]).decode("ascii", "replace").split()),
        )

    def has_room(self, table: ParamTable, *, cues: int) -> bool:
        """Whether an edited setlist is not too large for what was laid out before doors."""
        return all(
            there <= room for there, room in zip((len(table), len(names_in(table)), cues), self._room, strict=True)
        )

    def holding(self, routes: Sequence[tuple[str, RouteFile]], sources: Mapping[str, Span]) -> list[RouteEdit]:
        """What hands have made of routes, and what holds in an edited setlist: that of routes which were not edited."""
        held = holding(self._changed_routes, _by_name(self._job.routes), _by_name(routes))
        return [RouteEdit(name, None if each is None else route_of(each, sources)) for name, each in held.items()]

    def take(
        self,
        *,
        table: ParamTable,
        name: str,
        binds: dict[str, Bind],
        triggers: Mapping[str, Sequence[Press]],
        silence_s: float,
        cues: Sequence[tuple[str, str]],
        cue_notes: Sequence[str],
        cue_values: F32,
        routes: Sequence[tuple[str, RouteFile]],
        sources: Mapping[str, Span],
        presets: Sequence[Preset],
        live: LiveSpec | None,
    ) -> None:
        """Go on with an edited setlist; as `__init__` has them. Rows of the table keep their places."""
        before = self._job
        self._table, self._sources = table, sources
        self._changed_routes = holding(self._changed_routes, _by_name(before.routes), _by_name(routes))
        self._changed_presets = still_shelved(self._changed_presets, before.presets, presets, size=len(table))
        self._changed_binds = holding(self._changed_binds, before.binds, binds)
        news: dict[str, Any] = {
            "edition": before.edition + 1,
            "table": table,
            "name": name,
            "binds": binds,
            "triggers": triggers,
            "silence_s": silence_s,
            "cues": tuple(cues),
            "cue_notes": tuple(cue_notes),
            "cue_values": cue_values,
            "routes": tuple(routes),
            "sources": sources,
            "presets": tuple(presets),
            "live": live,
        }
        self._job = replace(
            before,
            **news,
            changed_routes=self._changed_routes,
            changed_presets=self._changed_presets,
            changed_binds=self._changed_binds,
        )
        self._outbox.post(news)

    def refuse(self, text: str) -> None:
        """Have the control process tell why an edited setlist is not taken."""
        self._outbox.post(text)

    def watched_s(self) -> float:
        """Show time at which somebody last asked for a picture; minus infinity before."""
        record = self._watched.read()
        return float(record["at_s"]) if record is not None else float("-inf")

    @property
    def child_pid(self) -> int | None:
        """Process id of the control process; None where there is none."""
        return self._process.pid if self._process is not None else None

    def news(self) -> list[str]:
        """What happened to the control process since the last call, in sentences."""
        return self._news.drain()

    def close(self) -> None:
        """End the process. May be called twice."""
        self._closing.set()
        if self._watcher is not None:
            self._watcher.join(timeout=2.0)
        self._end_process()
        for each in (self._socket, self._listener, self._live_socket):
            if each is not None:
                each.close()
        self._socket = self._listener = self._live_socket = None

    def _spawn(self) -> None:
        ours, theirs = SPAWN.Pipe(duplex=False)
        sockets = Sockets(self._socket, self._listener, self._live_socket)
        self._process = SPAWN.Process(
            target=child.main,
            args=(self._job, sockets, ours),
            name="performer-control",
            daemon=True,
        )
        self._process.start()
        ours.close()
        self._lifeline = theirs  # for news; closed with us, however we end: the child then ends too

    def _watch(self) -> None:
        """Start the process again when it dies, and tell it what is new. Thread: the watcher."""
        while not self._closing.wait(0.1):
            with contextlib.suppress(OSError):  # it has died, and the next one is given everything
                for news in self._outbox.drain():
                    self._lifeline.send(news)
            if not self._process.is_alive():
                self._restarts += 1
                self._news.post("the control process died and was started again")
                self._end_process()
                self._spawn()

    def _end_process(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._lifeline.close()
        self._process.join(timeout=1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(timeout=1.0)


def _by_name(routes: Sequence[tuple[str, RouteFile]]) -> dict[str, RouteFile]:
    return {route.name: route for _, route in routes}


def _source(packed: int) -> str:
    """Where an event came from, for people."""
    return f"osc {wire.address_text(packed)}" if packed else "midi"


def _bound(host: str, port: int) -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # The system's default holds a fifth of a second of a busy TouchDesigner; it grants up to its own limit.
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    try:
        receiver.bind((host, port))
    except OSError as error:
        receiver.close()
        raise _unusable(error, f"OSC port {port} on {host}", port, option="--osc-port", of_host="--osc-host") from None
    return receiver


def _answers_bound(port: int) -> socket.socket:
    answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        answers.bind(("0.0.0.0", port))
    except OSError as error:
        answers.close()
        raise Refused(
            f"UDP port {port}, where Live's answers arrive, cannot be used: {error.strerror}; close the other program that "
            "listens to AbletonOSC (there can be one on a machine), or take [ableton] out of the setlist"
        ) from None
    return answers


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # there, a port that was ours a moment ago may be used at once
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise _unusable(error, f"HTTP port {port} on {host}", port, option="--http-port", of_host="the host") from None
    return listener


def _unusable(error: OSError, what: str, port: int, *, option: str, of_host: str) -> Refused:
    """Why a port cannot be had, and what to do."""
    if error.errno == errno.EADDRINUSE:
        why = "another program, or another performer, has it"
        remedy = f"close that, or choose another, such as {option} {port + 1 if port < 65535 else 9001}"
    elif error.errno == errno.EACCES:
        why, remedy = "the system keeps it to itself", f"choose one above 1023 with {option}, such as 9000"
    else:
        why = error.strerror or str(error)
        remedy = f"expected {of_host} to be an address of this machine: 0.0.0.0 for all, 127.0.0.1 for itself alone"
    return Refused(f"{what} cannot be used: {why}; {remedy}")
