"""The control process: one loop. Datagrams and WebSocket frames in; features and state out to whoever wants them.

Levels go into a table of newest values, presses into a bounded mailbox: six thousand messages a second into a
hundred addresses are a hundred numbers to the show.

Thread: the main thread of its own process. Owns: the sockets after they were inherited.
"""

import asyncio
import contextlib
import logging
import math
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from performer.clock import SystemClock
from performer.control import wire
from performer.control.ableton import Live
from performer.control.addresses import Bind, Dispatcher, number_in
from performer.control.commands import Commands
from performer.control.controllers import Controllers
from performer.control.facts import Facts
from performer.control.history import GRACE_S, History
from performer.control.job import Job, Sockets
from performer.control.leads import Leads
from performer.control.matrix import Matrix
from performer.control.moves import OWN_S, Moves
from performer.control.osc import OscError, OscMessageIn, address_of, messages_of
from performer.control.query import Tree, host_info
from performer.control.shelf import Shelf
from performer.control.surfaces import Addressee, MidiSender, Sender, Surfaces, Target, UdpSender
from performer.control.tempo import OutsideClocks
from performer.flow import F32
from performer.params import Kind
from performer.presets import Preset, wide
from performer.routes import CURVES, MODES, RouteFile

if TYPE_CHECKING:
    from performer.control.web import Client, WebServer

SEND_HZ = 30.0
DRAIN = 2048  # datagrams taken between two looks at the clock


def main(job: Job, sockets: Sockets, lifeline: Connection) -> None:
    """Entry point of the process; ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.disable(
        logging.WARNING
    )  # python-osc logs each odd message: a flood of them must not become a flood of text
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL + 1)  # nor must junk that passes for HTTP
    # Sockets are watched by the loop itself, which Windows' usual one cannot.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(ControlLoop(job, sockets).run(lifeline))


class ControlLoop:
    """Receives, dispatches, sends."""

    def __init__(self, job: Job, sockets: Sockets) -> None:
        self._job = job
        self._clock = SystemClock(job.epoch_s)
        self._socket, self._listener, self._live_socket = sockets.osc, sockets.http, sockets.live
        self._facts = self._facts_of(job)
        self._history, self._leads = History(), Leads()
        self._shelf = Shelf(
            job.presets, table=job.table, post=self._edit_preset, did=self._history.add, changed=job.changed_presets
        )
        self._moves = Moves(job, self._facts, history=self._history, leads=self._leads, shelf=self._shelf)
        self._dispatcher = Dispatcher(
            job.table,
            set_level=self._set_level,
            press=self._moves.press,
            current=self._moves.current,
            prefix=job.prefix,
            binds=job.binds,
            triggers=job.triggers,
            fire=self._moves.fire,
        )
        for address, bind in job.changed_binds.items():
            if bind is None:
                self._dispatcher.unbind(address)
            elif not self._dispatcher.is_own(address):
                self._dispatcher.bind(address, bind)
        self._matrix = Matrix(
            job.routes,
            known=job.sources,
            table=job.table,
            post=self._edit,
            did=self._history.add,
            changed=job.changed_routes,
        )
        self._sent_leads: dict[int, str] = {}
        self._surfaces = Surfaces(self._post)
        self._commands = Commands(
            job.table,
            prefix=job.prefix,
            own_port=job.osc_port,
            setlist=job.setlist,
            dispatcher=self._dispatcher,
            leads=self._leads,
            matrix=self._matrix,
            shelf=self._shelf,
            history=self._history,
            surfaces=self._surfaces,
            dump=self._dump,
            to_save=self._to_save,
            look=self._look,
            announce=self._announce,
            reload=self._reload,
            saving=self._saving,
            bound=self._bound,
        )
        self._clocks = OutsideClocks(job.table, job.tempi)
        self._pair = tuple(job.table.address(job.table[f"preset.{end}"], prefix=job.prefix) for end in "ab")
        self._begun, self._cue_s = 0, -math.inf  # the cue that plays: how many came before, and since when it is known
        self._controllers: Controllers | None = None
        self._web: WebServer | None = None
        self._heard_s: dict[str, float] = {}  # by source, where silence matters
        job.status.take_over()
        self._status = np.zeros(1, wire.STATUS)
        before = job.status.read()
        if before is not None:  # counts go on after a restart
            self._status[0] = before
        for each in (self._socket, self._live_socket):
            if each is not None:
                each.setblocking(False)
        if self._socket is not None:
            self._status["buffer_bytes"] = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._live: Live | None = None
        if job.live is not None:
            self._live = Live(
                job.live,
                send=self._send_to_live,
                begin_cue=self._moves.go_to,
                fire=self._moves.fire,
                set_knob=self._set_by_live,
                told_bpm=lambda bpm: self._clocks.told.told_bpm(bpm, at_s=self._moves.now_s),
                told_beat=lambda beat: self._clocks.told.told_beat(beat, at_s=self._moves.now_s),
            )
        self._rate_from = (self._clock.now_s(), int(self._status["received"][0]))

    async def run(self, lifeline: Connection) -> None:
        """Serve until the other end of `lifeline` is closed."""
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            loop.add_reader(self._socket.fileno(), self._receive)
        if self._live_socket is not None:
            loop.add_reader(self._live_socket.fileno(), self._receive_live)
        self._controllers = controllers = Controllers(
            received=partial(loop.call_soon_threadsafe, self._receive_midi),
            now_s=self._clock.now_s,
            ticks=self._clocks.ticks,
        )
        announcement = None
        if self._listener is not None and self._job.pictures is not None:
            from performer.control.discovery import Announcement  # what nobody asked for is not loaded
            from performer.control.preview import Pictures
            from performer.control.web import WebServer

            self._web = WebServer(
                self._tree(),
                about=self._about(),
                receive=self._receive_web,
                listened=self._listened,
                left=lambda client: self._leads.gone(client.source),
                pictures=Pictures(self._job.pictures, self._job.watched, now_s=self._clock.now_s),
                token=self._job.token,
            )
            await self._web.start(self._listener)
            announcement = Announcement(self._job.name, listener=self._listener, osc_port=self._job.osc_port)
            announcement.start()
        try:
            while self._hears(lifeline):
                began_s = self._clock.now_s()
                self._send(began_s)
                await asyncio.sleep(max(began_s + 1.0 / SEND_HZ - self._clock.now_s(), 0.001))
        finally:
            controllers.close()
            if announcement is not None:
                await announcement.close()
            if self._web is not None:
                await self._web.close()

    def _hears(self, lifeline: Connection) -> bool:
        """Take what the parent tells; False once it is gone."""
        try:
            while lifeline.poll():
                news = lifeline.recv()
                if isinstance(news, str):
                    self._facts.refusal = news
                else:
                    self._go_on_with(news)
        except (EOFError, OSError):
            return False
        return True

    def _go_on_with(self, news: dict[str, Any]) -> None:
        """Go on with an edited setlist. Rows of the table keep their places, and more may have come."""
        before = self._job
        if news["table"].params == before.table.params:
            news["table"] = before.table
        self._job = job = replace(before, **news)
        facts = self._facts_of(job)
        facts.goes_on(self._facts)
        self._facts = facts
        self._moves.take(job, facts)
        binds = {address: bind for address, bind in job.binds.items() if not self._dispatcher.is_own(address)}
        if len(binds) < len(job.binds):
            facts.refusal = f"{' and '.join(job.binds.keys() - binds.keys())}: our own addresses cannot be bound"
        self._dispatcher.take(job.table, binds=binds, triggers=job.triggers)
        if job.routes != before.routes or job.table is not before.table:
            self._history.forget()
        self._matrix.take(job.routes, known=job.sources, table=job.table)
        if self._shelf.take(job.presets, table=job.table):
            self._history.forget()
        self._commands.take(job.table)
        if self._live is not None and job.live is not None:
            self._live.take(job.live)
        if self._web is not None:
            self._web.take(self._tree(), about=self._about())
        self._tell_once([self._commands.told("setlist", job.name)])

    def _facts_of(self, job: Job) -> Facts:
        return Facts(
            table=job.table,
            prefix=job.prefix,
            state=job.state,
            features=job.features,
            feature_names=job.feature_names,
            voices=job.voices,
            cues=job.cues,
            preset_name=lambda number: self._shelf.name(number),
            edition=job.edition,
        )

    def _tree(self) -> Tree:
        return Tree(
            self._facts.leaves,
            value_of=self._facts.value,
            host_info=host_info(name=self._job.name, osc_port=self._job.osc_port),
        )

    def _reload(self) -> None:
        """Have the show read the setlist again."""
        self._status["reloads"] += 1

    def _saving(self, before: str, after: str) -> None:
        """The setlist is about to be saved. The show is to know at once: what it finds then is no edit of anybody else's."""
        chain = bytes(self._status["saved"][0]).decode("ascii", "replace").split()
        chain = [*chain, after] if chain[-1:] == [before] else [before, after]
        self._status["saved"] = " ".join(chain[-wire.SAVED :]).encode()
        self._job.status.publish(self._status)

    def _about(self) -> dict[str, object]:
        """What the panel wants to know beforehand."""
        cues = [
            {"id": cue_id, "name": name, "notes": notes}
            for (cue_id, name), notes in zip(self._job.cues, self._job.cue_notes, strict=True)
        ]
        return {
            "name": self._job.name,
            "prefix": self._job.prefix,
            "voices": self._job.voices,
            "cues": cues,
            "sources": tuple(self._job.sources),
            "curves": tuple(CURVES),
            "modes": MODES,
        }

    # In

    def _receive(self) -> None:
        """All datagrams that wait, up to a number at which others get their turn."""
        assert self._socket is not None
        for datagram, target in self._waiting(self._socket):
            self._take(datagram, UdpSender(target, f"{target[0]}:{target[1]}", target[0]))

    def _receive_live(self) -> None:
        """What Live answers."""
        assert self._live_socket is not None and self._live is not None
        for datagram, target in self._waiting(self._live_socket):
            self._moves.sender = UdpSender(target, "Ableton Live", target[0])
            try:
                for each in messages_of(datagram):
                    self._status["received"] += 1
                    self._live.receive(each, now_s=self._moves.now_s)
            except OscError as error:
                self._refuse(error)

    def _waiting(self, receiver: socket.socket) -> Iterator[tuple[bytes, Target]]:
        """The datagrams that wait, and where they came from."""
        self._moves.now_s = self._clock.now_s()
        for _ in range(DRAIN):
            try:
                yield receiver.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:  # an earlier answer bounced; there is nothing to read
                continue

    def _send_to_live(self, datagram: bytes) -> None:
        assert self._live_socket is not None and self._job.live is not None
        with contextlib.suppress(OSError):  # it is not there yet, or no more
            self._live_socket.sendto(datagram, (self._job.live.host, self._job.live.port))

    def _set_by_live(self, bind: Bind, value: float) -> None:
        row = self._job.table.row(bind.param)
        param = self._job.table.params[row]
        if param.kind is Kind.TRIGGER:
            if value > 0:
                self._moves.press(row, "")
        else:
            self._set_level(row, param.admit(bind.read(param, value)))

    def _receive_web(self, datagram: bytes, client: "Client") -> None:
        """A frame of a WebSocket."""
        self._moves.now_s = self._clock.now_s()
        self._take(datagram, client)

    def _receive_midi(self, port: str, heard: tuple[int, ...], at_s: float) -> None:
        """A message of a controller or a clock."""
        assert self._controllers is not None
        word = self._controllers.word(port, heard, at_s=at_s)
        if word is not None:
            self._moves.now_s = self._clock.now_s()
            self._moves.sender = MidiSender(f"midi {port}")
            self._apply([word], held_by=port)

    def _call_program(self, word: OscMessageIn) -> bool:
        """A program change that is bound to nothing is the cue of that number."""
        place = int(word.args[0]) - 1
        if (
            word.address in self._dispatcher.binds
            or self._dispatcher.awaits(word)
            or not word.address.endswith("/program")
            or place >= len(self._job.cues)
        ):
            return False
        self._moves.go_to(self._job.cues[place][0])
        return True

    def _take(self, datagram: bytes, sender: Sender) -> None:
        self._moves.sender = sender
        status = self._status
        try:
            messages = messages_of(datagram)
        except OscError as error:
            status["received"] += 1
            self._refuse(error)
            return
        if self._job.silence_s > 0.0:
            self._heard_s[sender.source] = self._moves.now_s
        self._apply(messages)

    def _apply(self, messages: list[OscMessageIn], *, held_by: str = "") -> None:
        """Handle what a sender told. held_by: the MIDI port, whose faders have to catch their knobs first."""
        status = self._status
        for each in messages:
            status["received"] += 1
            try:
                if not self._moves.sender.may_write and each.args[-1:] != ("?",):
                    raise OscError("came without the token, so it may only listen")
                if held_by and (self._call_program(each) or self._waits(each, held_by)):
                    continue
                if not self._handle(each):
                    status["unknown"] += 1
            except OscError as error:
                self._refuse(error)

    def _waits(self, word: OscMessageIn, port: str) -> bool:
        """Whether a fader is held back; it is learnt all the same."""
        assert self._controllers is not None
        targets = self._dispatcher.targets(word.address)
        if not self._controllers.waits(word, port, targets=targets, knob=self._moves.current):
            return False
        self._commands.learner.note(word.address, float(word.args[-1]), at_s=self._moves.now_s)
        self._status["held"] += 1
        return True

    def _listened(self, client: "Client", address: str) -> None:
        """Somebody listens from now on: what there is to know is told at once."""
        for leaf in self._facts.leaves:
            if leaf.has_value and (leaf.address == address or leaf.address.startswith(address.rstrip("/") + "/")):
                client.tell(leaf.address, self._facts.datagram(leaf.address))

    def _refuse(self, error: OscError) -> None:
        self._status["refused"] += 1
        self._facts.refusal = f"{self._moves.sender.host}: {error}"
        self._status["refusal"] = self._facts.refusal.encode()[:120]
        asker = self._moves.sender.addressee
        if not isinstance(asker, tuple):  # who is connected is told; junk of strangers is not answered
            self._post(asker, self._commands.told("refused", str(error)))

    def _handle(self, each: OscMessageIn) -> bool:
        if each.args[-1:] == ("?",):
            return self._answer(each.address)
        system = f"{self._job.prefix}/sys/"
        if each.address.startswith(system):
            command = each.address[len(system) :]
            return self._commands.serve(command, each.args, sender=self._moves.sender, at_s=self._moves.now_s)
        if not self._dispatcher.is_own(each.address):
            told = number_in(each.args) if each.args else 1.0
            if told is not None:
                self._commands.learner.note(each.address, told, at_s=self._moves.now_s)
        if each.address in self._pair and each.args and isinstance(each.args[-1], str):  # a preset by its name
            each = replace(each, args=(self._shelf.number(each.args[-1]),))
        return self._dispatcher.apply(each, at_s=self._moves.now_s, source=self._moves.sender.source)

    def _set_level(self, row: int, value: float) -> None:
        if not self._leads.admits(row, value, at_s=self._moves.now_s, source=self._moves.sender.source):
            self._status["held"] += 1
            return
        self._moves.set(row, value)
        self._clocks.set(row, value, at_s=self._moves.now_s)

    def _edit(self, name: str, route: RouteFile | None) -> bool:
        text = msgspec.json.encode((name, route))
        return len(text) <= wire.EDIT["text"].itemsize and self._job.edits.post(text)

    def _edit_preset(self, preset: Preset) -> bool:
        preset = wide(preset, size=self._job.preset_edits.dtype["values"].shape[0])
        return self._job.preset_edits.post(preset.name.encode(), preset.named, preset.values)

    def _bound(self, address: str, bind: Bind | None) -> None:
        """Have the show keep what was learnt or unbound, for a process that has to start again."""
        text = msgspec.json.encode((address, bind))
        if len(text) <= wire.BIND["text"].itemsize:
            self._job.bind_edits.post(text)

    def _look(self) -> tuple[F32, F32, np.ndarray]:
        """(where the knobs stand, where the cue that plays has them, which of them hands have set in it), [P] each."""
        touched = self._moves.touched(since_s=self._cue_s)
        return self._facts.knobs(), self._job.cue_values[self._facts.cue()], touched

    def _to_save(self) -> tuple[str, dict[str, float]]:
        """(the cue that plays, the knobs of routes and oscillators that hands have left elsewhere than it has them)."""
        at = self._facts.cue()
        knobs, cue = self._facts.knobs(), self._job.cue_values[at]
        names = ((row, self._job.table.params[row].id) for row in self._moves.rows)
        return self._job.cues[at][0], {
            name: float(knobs[row])
            for row, name in names
            if name.startswith(("lfo.", "route.", "mute.", "routes.")) and knobs[row] != cue[row]
        }

    # Out

    def _answer(self, address: str) -> bool:
        """A `?`: the current value to whoever asks."""
        targets = self._dispatcher.targets(address)
        for target in targets:
            self._post(self._moves.sender.addressee, self._facts.value_of(target.row))
        return bool(targets)

    def _dump(self) -> list[bytes | int]:
        """Everything that there is to know, the values as rows."""
        return [*self._facts.texts(), *self._facts.rows]

    def _send(self, now_s: float) -> None:
        self._moves.now_s = now_s
        if self._controllers is not None:
            self._controllers.look(now_s=now_s)
            self._status["midi"] = self._controllers.text.encode()[:120]
        if self._web is not None:
            self._web.pictures.step()
        if self._live is not None:
            self._live.step(now_s)
            self._status["live"] = self._live.text.encode()[:80]
        begun = self._facts.begun()
        if begun != self._begun:
            self._begun, self._cue_s = begun, now_s - GRACE_S
            self._history.cue_began(at_s=now_s)
        self._clocks.step(self._facts.knobs(), now_s=now_s)
        self._commands.step(now_s=now_s)
        if self._job.silence_s > 0.0:
            self._let_go_of_silent(now_s)
        for row, datagram in self._facts.changed_knobs():
            driver = self._leads.driver(row, now_s=now_s, within_s=OWN_S)
            self._tell_knob(row, datagram, but=driver)
            if not driver.startswith("midi ") and self._controllers is not None:
                value = float(self._facts.knobs()[row])
                self._controllers.show(self._job.table.params[row], value, binds=self._dispatcher.binds)
        self._tell(self._facts.changed_state())
        self._tell_once(self._changed_leads())
        if len(self._surfaces) or self._listeners():
            self._tell(self._facts.changed_features())
        listeners = self._listeners()
        if listeners:  # meters are for who looks at them, and not for every box of faders
            for datagram in self._facts.changed_meters():
                for client in listeners:
                    client.tell(address_of(datagram), datagram)
        self._surfaces.step(now_s, value_of=self._facts.value_of)
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

    def _tell_knob(self, row: int, datagram: bytes, *, but: str) -> None:
        """Tell where a knob is, but not the source that moved it there; switches typed to who knows the tree."""
        self._surfaces.tell([datagram], but=but)
        typed = self._facts.typed(row)
        for client in self._listeners(but):
            client.tell(address_of(typed), typed)

    def _tell(self, datagrams: list[bytes]) -> None:
        """Tell subscribers and listeners what is the case: to who is slow, only the newest."""
        self._surfaces.tell(datagrams)
        for client in self._listeners():
            for datagram in datagrams:
                client.tell(address_of(datagram), datagram)

    def _tell_once(self, datagrams: list[bytes]) -> None:
        """Tell what happened: of this, nothing may be left out for something newer."""
        self._surfaces.tell(datagrams)
        for client in self._listeners():
            for datagram in datagrams:
                if client.listens_to(address_of(datagram)):
                    client.reply(datagram)

    def _announce(self, datagram: bytes, asker: Addressee) -> None:
        """Tell who asked, and everybody else."""
        self._post(asker, datagram)
        self._surfaces.announce(datagram, but=asker)
        for client in self._listeners():
            if client is not asker and client.listens_to(address_of(datagram)):
                client.reply(datagram)

    def _listeners(self, but: str = "") -> "list[Client]":
        """Who is connected by WebSocket and is not this source."""
        return [client for client in self._web.clients if client.source != but] if self._web is not None else []

    def _changed_leads(self) -> list[bytes]:
        """`sys/lead`: who drives a parameter, where that changed."""
        datagrams = []
        for row, lead in self._leads.of.items():
            if self._sent_leads.get(row) != lead.source:
                self._sent_leads[row] = lead.source
                datagrams.append(self._commands.told("lead", self._job.table.params[row].id, lead.source))
        return datagrams

    def _let_go_of_silent(self, now_s: float) -> None:
        """What a source held that sends nothing any more glides back to the cue."""
        for row, lead in list(self._leads.of.items()):
            if now_s - self._heard_s.get(lead.source, lead.moved_s) > self._job.silence_s:
                self._leads.let_go(row)
                self._moves.glide_back(row)
        leading = {lead.source for lead in self._leads.of.values()}
        self._heard_s = {source: at_s for source, at_s in self._heard_s.items() if source in leading}
        self._moves.step()

    def _post(self, target: Addressee, datagram: bytes) -> None:
        if not isinstance(target, tuple):
            target.reply(datagram)
        elif self._socket is not None:
            with contextlib.suppress(OSError):  # a target that is gone must not hold up the others
                self._socket.sendto(datagram, target)
