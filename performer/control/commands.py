"""What is asked of the control process itself: `sys/...`. Subscriptions, leads, learning, routes, presets, undo, saving.

Thread: the control process; a setlist is written on a thread of its own, since a long one takes seconds to read.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from performer.control.addresses import Bind, Dispatcher
from performer.control.history import History, Step
from performer.control.leads import Leads
from performer.control.learning import Learner, Learnt
from performer.control.matrix import Matrix
from performer.control.osc import OscError, message
from performer.control.saving import Ahead, save, save_presets
from performer.control.shelf import Shelf
from performer.control.surfaces import Addressee, Sender, Surfaces, Target
from performer.flow import F32
from performer.params import FREE_INPUTS, Kind, ParamTable
from performer.refusal import Refused

TELL_S = 1.0  # the longest that a save waits until the show could know of it


class Commands:
    """Serves commands.

    own_port: where OSC arrives here; 0 for nowhere. dump(): everything that there is to know, the values as rows. to_save():
    (id of the cue that plays, knobs that hands have left elsewhere than it has them). look(): (where the knobs stand, where
    the cue has them, which of them hands have set in it), [P] each. announce(datagram, asker): tells who asked and
    everybody else. reload(): has the show read the setlist again. saving(before, after): the setlist is about to be saved;
    its hashes. bound(address, bind): that was learnt, or, of None, unbound.
    """

    def __init__(
        self,
        table: ParamTable,
        *,
        prefix: str,
        own_port: int,
        setlist: Path | None,
        dispatcher: Dispatcher,
        leads: Leads,
        matrix: Matrix,
        shelf: Shelf,
        history: History,
        surfaces: Surfaces,
        dump: Callable[[], list[bytes | int]],
        to_save: Callable[[], tuple[str, Mapping[str, float]]],
        look: Callable[[], tuple[F32, F32, np.ndarray]],
        announce: Callable[[bytes, Addressee], None],
        reload: Callable[[], None],
        saving: Ahead,
        bound: Callable[[str, Bind | None], None],
    ) -> None:
        self._reload, self._tell_saving, self._keep_bound = reload, saving, bound
        self._table, self._prefix, self._setlist, self._own_port = table, prefix, setlist, own_port
        self._dispatcher, self._leads, self._matrix, self._surfaces = dispatcher, leads, matrix, surfaces
        self._shelf, self._history = shelf, history
        self._dump, self._to_save, self._look, self._announce = dump, to_save, look, announce
        self.learner, self._learns = Learner(), ""
        self._asked: Addressee = ("", 0)  # who wants to know what is learnt
        self._saving: asyncio.Task[None] | None = None
        self._waits_to_save: Addressee | None = None  # who has changed a preset while the setlist is being written

    def take(self, table: ParamTable) -> None:
        """Go on with a table that has grown."""
        self._table = table

    def serve(self, command: str, args: tuple[object, ...], *, sender: Sender, at_s: float) -> bool:
        """Do what `sys/<command>` asks; False where there is no such command. Raises OscError."""
        asker = sender.addressee
        match command:
            case "ping":
                self._surfaces.answer(asker, self.told("pong"))
            case "subscribe":
                target = _target(args, sender, own_port=self._own_port)
                if self._surfaces.subscribe(target, origin=sender.source, now_s=at_s):
                    self._surfaces.dump(target, self._dump())
            case "unsubscribe":
                self._surfaces.unsubscribe(_target(args, sender, own_port=self._own_port))
            case "sync":
                self._surfaces.dump(_target(args, sender, own_port=self._own_port) if args else asker, self._dump())
            case "take":
                self._leads.take(self._row(args), at_s=at_s, source=sender.source)
            case "release" if args:
                self._leads.let_go(self._row(args))
            case "release":
                self._leads.of.clear()
            case "learn":
                self._learn(args, asker, at_s=at_s)
            case "unbind":
                address = args[-1] if args else None
                if not isinstance(address, str) or not self._dispatcher.unbind(address):
                    raise OscError(f"{address!r} is bound to nothing")
                self._keep_bound(address, None)
                self._announce(self.told("unbound", address), asker)
            case "binds":
                self._surfaces.dump(asker, [self._bound(address) for address in self._dispatcher.binds])
            case "save":
                self._save(asker)
            case "reload":
                self._reload()
            case "routes":
                self._surfaces.dump(asker, [self._route(name) for name in self._matrix.names])
            case "route/add":
                self._tell_route(self._matrix.add(args), asker)
            case "route/set":
                self._tell_route(self._matrix.change(args), asker)
            case "route/remove":
                self._tell_route(self._matrix.remove(args), asker)
            case "route/undo":
                self._tell_step("undone", self._history.undo("route"), asker)
            case "undo":
                self._tell_step("undone", self._history.undo(), asker)
            case "redo":
                self._tell_step("redone", self._history.redo(), asker)
            case "presets":
                there = [each.name for each in self._shelf.presets if each.is_there]
                self._surfaces.dump(asker, [self._preset(name) for name in there])
            case "preset/save":
                knobs, cue, touched = self._look()
                name = self._shelf.save(args[-1] if args else "", knobs=knobs, cue=cue, touched=touched)
                self._tell_preset(name, asker)
            case "preset/remove":
                self._tell_preset(self._shelf.remove(args[-1] if args else ""), asker)
            case _:
                return False
        return True

    def step(self, *, now_s: float) -> None:
        """Bind what was wiggled, once that is clear."""
        learnt = self.learner.answer(now_s=now_s)
        if learnt is not None:
            self._learnt(learnt)

    def told(self, what: str, *args: str | float) -> bytes:
        """`sys/<what>`."""
        return message(f"{self._prefix}/sys/{what}", args)

    def _row(self, args: tuple[object, ...]) -> int:
        """The parameter that a message names, by its id or its address. Raises OscError."""
        name = args[-1] if args else None
        if isinstance(name, str):
            if name in self._table:
                return self._table.row(name)
            for target in self._dispatcher.targets(name):
                return target.row
        raise OscError(f"{name!r} is no parameter; expected an id such as macro.1")

    def _learn(self, args: tuple[object, ...], asker: Addressee, *, at_s: float) -> None:
        """Begin to learn for the parameter that is named, or for the first free input."""
        if args[-1:] == ("cancel",):
            self.learner.cancel()
            self._announce(self.told("learning", ""), asker)
            return
        if args:
            param = self._table.params[self._row(args)]
        else:
            taken = {bind.param for bind in self._dispatcher.binds.values()}
            free = next((name for name in FREE_INPUTS if name not in taken and name in self._table), None)
            if free is None:
                raise OscError("all free inputs are bound; name a parameter, or unbind an address")
            param = self._table[free]
        self._learns, self._asked = param.id, asker
        self.learner.begin(at_s=at_s, is_press=param.kind in (Kind.TRIGGER, Kind.BOOL))
        self._announce(self.told("learning", param.id), asker)

    def _learnt(self, learnt: Learnt) -> None:
        """Bind what was wiggled."""
        kind = self._table[self._learns].kind
        span = (learnt.low, learnt.high) if kind in (Kind.FLOAT, Kind.INT) else None
        bind = Bind(self._learns, span)
        self._dispatcher.bind(learnt.address, bind)
        self._keep_bound(learnt.address, bind)
        self._announce(self._bound(learnt.address), self._asked)

    def _bound(self, address: str) -> bytes:
        """`sys/bound`: address, parameter, and the sender's range where it has one."""
        bind = self._dispatcher.binds[address]
        return self.told("bound", address, bind.param, *(bind.span or ()))

    def _route(self, name: str) -> bytes:
        return self.told("route", *self._matrix.words(name))

    def _tell_route(self, name: str, asker: Addressee) -> None:
        """Tell what has become of a route."""
        self._announce(self._route(name) if name in self._matrix else self.told("route/removed", name), asker)

    def _preset(self, name: str) -> bytes:
        """`sys/preset`: its name and its number."""
        number = next(at for at, each in enumerate(self._shelf.presets, 1) if each.name == name)
        return self.told("preset", name, float(number))

    def _tell_preset(self, name: str, asker: Addressee) -> None:
        """Tell what has become of a preset, and write it into the setlist."""
        there = any(each.name == name and each.is_there for each in self._shelf.presets)
        self._announce(self._preset(name) if there else self.told("preset/removed", name), asker)
        if self._setlist is None:
            self._announce(self.told("refused", f"there is no setlist to save to; {name} is kept for this show"), asker)
        elif self._saving is not None and not self._saving.done():
            self._waits_to_save = asker
        else:
            self._saving = asyncio.get_running_loop().create_task(self._saved_presets(self._setlist, asker))

    def _tell_step(self, how: str, step: Step, asker: Addressee) -> None:
        """Tell what was taken back, or done again, and what has become of it."""
        if step.kind == "route":
            self._tell_route(step.what, asker)
        elif step.kind == "preset":
            self._tell_preset(step.what, asker)
        self._announce(self.told(how, step.text), asker)

    def _save(self, asker: Addressee) -> None:
        """Write what is bound, the routes and presets that were changed, and the knobs of routes into the setlist."""
        if self._setlist is None:
            raise OscError("there is no setlist to save to")
        if self._saving is not None and not self._saving.done():
            raise OscError("it is being saved already")
        self._saving = asyncio.get_running_loop().create_task(self._saved(self._setlist, asker))

    async def _saved(self, setlist: Path, asker: Addressee) -> None:
        cue, knobs = self._to_save()
        binds, routes, presets = dict(self._dispatcher.binds), dict(self._matrix.edits), self._shelf.to_save()
        write = partial(save, setlist, binds=binds, routes=routes, knobs=knobs, presets=presets, cue=cue)
        await self._written(write, setlist, asker)

    async def _saved_presets(self, setlist: Path, asker: Addressee) -> None:
        await self._written(partial(save_presets, setlist, self._shelf.to_save()), setlist, asker)

    async def _written(self, write: Callable[..., None], setlist: Path, asker: Addressee) -> None:
        """Write on a thread, tell how it went, and write what has come meanwhile."""
        loop = asyncio.get_running_loop()

        def ahead(before: str, after: str) -> None:  # on the thread that writes
            told = threading.Event()

            def tell() -> None:
                self._tell_saving(before, after)
                told.set()

            with contextlib.suppress(RuntimeError):  # this process ends: then nobody is to be told
                loop.call_soon_threadsafe(tell)
                told.wait(TELL_S)

        try:
            await asyncio.to_thread(write, ahead=ahead)
        except Refused as error:
            self._announce(self.told("refused", str(error)), asker)
        except Exception as error:  # a file can be strange in more ways than there are names for
            self._announce(self.told("refused", f"{setlist.name}: {error!r}; nothing was saved"), asker)
        else:
            self._announce(self.told("saved", setlist.name), asker)
        waiting, self._waits_to_save = self._waits_to_save, None
        if waiting is not None:
            await self._saved_presets(setlist, waiting)


def _target(args: tuple[object, ...], sender: Sender, *, own_port: int) -> Target:
    """Who is meant by (host, port), (port) or nothing: the sender fills what is missing. Raises OscError."""
    host, port = sender.addressee if isinstance(sender.addressee, tuple) else (sender.host, 0)
    for arg in args:
        if isinstance(arg, str):
            host = arg
        elif isinstance(arg, (int, float)) and not isinstance(arg, bool):
            port = int(arg)
    if not 0 < port < 65536:
        raise OscError(f"port {port}; expected 1 to 65535")
    try:
        ipaddress.IPv4Address(host)  # names are not looked up: a lookup can stall for seconds
    except ValueError:
        raise OscError(f"{host!r} is not an IPv4 address") from None
    if port == own_port and _is_here(host):
        raise OscError(f"{host} port {port} is performer itself; expected the port where the other program listens")
    return host, port


def _is_here(host: str) -> bool:
    """Whether an address is one of this machine: only such a one can be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True
