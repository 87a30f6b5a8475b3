"""Reloading: the files of the setlist that plays are watched, and what was edited is made ready beside the show.

A file is read once two looks in a row, a second apart, find it as it is: while it is being written it is not. Reading and
checking happen in a process of their own (`performer.reading`); here the pieces are put together, a few at a time, and
checkpoints that the show has are not read again. The show takes what is ready between two frames, or is told why not.

Thread: `ask`, `hear`, `ready` and `close` on the render thread; everything else on a worker.
"""

import contextlib
import hashlib
import logging
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from performer.choreography.plan import Plan
from performer.creatures import Creature
from performer.edited import fitted, obstacles, plan_of
from performer.exchange import SPAWN
from performer.generators import checkpoint as species
from performer.params import ParamTable
from performer.reading import Asked, Named, main
from performer.refusal import Refused
from performer.setlist import Setlist

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two looks at the files
READ_S = 60.0  # a reader that says nothing for so long is given up
POLL_S = 0.02  # between two looks at whether the show has done something
BREATH_S = 0.002  # between two pieces: the frames come first

Look = tuple[tuple[int, int] | None, ...]  # (when it was changed, bytes) of each file; None where there is none


@dataclass(frozen=True, slots=True)
class Seen:
    """The files of a setlist at one time. The first is the setlist itself."""

    look: Look
    digest: str  # of the setlist

    @classmethod
    def of(cls, setlist: Setlist) -> "Seen":
        """As they are now."""
        return cls(_look(setlist.files), _digest(setlist.path))


@dataclass(slots=True)
class Edition:
    """An edited setlist, ready to be played; or why there is none."""

    problems: list[str]
    setlist: Setlist | None = None
    plan: Plan | None = None
    was_asked: bool = False
    is_taken: bool = False  # set by the show, before it sets `settled`
    settled: threading.Event = field(default_factory=threading.Event)


class Reloads:
    """Watches the files of a setlist. watches: False for not, and then it is read only when somebody asks."""

    def __init__(self, setlist: Setlist, plan: Plan, *, asked: Asked, seen: Seen, watches: bool = True) -> None:
        self._setlist, self._plan, self._asked = setlist, plan, asked
        self._watches = watches
        self._seen, self._own = seen.look, seen.digest  # of the files as they were read, or as the show has saved them
        self._before = seen.look
        self._saved: tuple[str, ...] = ()  # as it was heard last
        self._heard = 0  # times
        self._is_asked = self._is_closing = False
        self._wake = threading.Event()
        self._ready: Edition | None = None
        self._reader: Any = None
        self._worker = threading.Thread(target=self._work, name="reloads", daemon=True)
        self._worker.start()

    def hear(self, saved: tuple[str, ...]) -> None:
        """Hear several times a second what the show itself has saved or is about to: the setlist's hash before that, and
        after each time.
        """
        if saved != self._saved:
            self._saved = saved
            if self._own in saved:  # and not what somebody has edited meanwhile
                self._own = saved[-1]
        self._heard += 1

    def ask(self) -> None:
        """Read the setlist now, whether it was edited or not."""
        self._is_asked = True
        self._wake.set()

    def ready(self) -> Edition | None:
        """What has become ready since the last call; whoever takes it settles it."""
        edition, self._ready = self._ready, None
        return edition

    def close(self) -> None:
        """End it. May be called twice."""
        self._is_closing = True
        self._wake.set()
        reader = self._reader
        if reader is not None:
            with contextlib.suppress(ValueError):  # it has just been put away
                reader.kill()
        self._worker.join(timeout=2.0)

    # Thread: the worker

    def _work(self) -> None:
        while not self._is_closing:
            self._wake.wait(LOOK_S if self._watches else None)
            self._wake.clear()
            if self._is_closing:
                return
            is_asked, self._is_asked = self._is_asked, False
            try:
                if is_asked or (self._watches and self._is_edited()):
                    self._offer(was_asked=is_asked)
            except Exception as error:
                log.exception("reloading")
                self._hand_over(Edition([f"{self._asked.path}: could not be read again ({error!r})"]))

    def _is_edited(self) -> bool:
        """Whether somebody else has edited a file, and is done with it."""
        now, before = _look(self._setlist.files), self._before
        self._before = now
        if now == self._seen or now != before or not self._is_up_to_date():
            return False
        self._before = _look(self._setlist.files)
        if self._before != now:
            return False
        if now[1:] == self._seen[1:] and _digest(self._asked.path) == self._own:
            self._seen = now
            return False
        return True

    def _is_up_to_date(self) -> bool:
        """Wait until all has been heard that was saved up to now. False where this is closing.

        A save is announced before the file is another one; what was looked up before this began may still be on its way.
        """
        heard = self._heard
        while self._heard < heard + 2:
            if self._is_closing:
                return False
            time.sleep(POLL_S)
        return True

    def _offer(self, *, was_asked: bool) -> None:
        """Read what was edited, and wait until the show has taken it, or not."""
        self._see()
        found = self._read()
        if self._is_closing:
            return
        problems = found if isinstance(found, list) else obstacles(self._setlist, found)
        if problems or isinstance(found, list):
            self._hand_over(Edition(problems, was_asked=was_asked))
            return
        setlist = fitted(self._setlist, found)
        plan = plan_of(setlist, anatomies=self._plan.anatomies)
        edition = Edition([], setlist, plan, was_asked=was_asked)
        self._hand_over(edition)
        while not (edition.settled.wait(0.1) or self._is_closing):
            pass
        if edition.is_taken:
            others = setlist.files != self._setlist.files
            self._setlist, self._plan = setlist, plan
            if others:  # files that have come into it: they are as they were just read
                self._see()

    def _see(self) -> None:
        self._seen = self._before = _look(self._setlist.files)
        self._own = _digest(self._asked.path)

    def _hand_over(self, edition: Edition) -> None:
        while self._ready is not None and not self._is_closing:
            time.sleep(0.05)
        self._ready = edition

    def _read(self) -> Setlist | list[str]:
        """The setlist as its files are now, or what is wrong with them."""
        ours, theirs = SPAWN.Pipe(duplex=False)
        reader = SPAWN.Process(target=main, args=(self._asked, theirs), name="performer-reader", daemon=True)
        reader.start()
        self._reader = reader
        with contextlib.suppress(psutil.Error):  # from its beginning: what it imports takes longer than what it reads
            psutil.Process(reader.pid).nice(psutil.IDLE_PRIORITY_CLASS if sys.platform == "win32" else 19)
        theirs.close()
        fields: dict[str, Any] = {}
        try:
            while ours.poll(READ_S):
                name, values = ours.recv()
                if name == "refused":
                    return values
                if name == "whole":
                    return self._whole(fields)
                if name in _LONG:
                    fields.setdefault(name, []).extend(values)
                else:
                    fields[name] = values
                time.sleep(BREATH_S)
        except EOFError:
            pass
        except Refused as error:  # a species that has gone since
            return str(error).splitlines()
        finally:
            ours.close()
            if reader.is_alive():
                reader.kill()
            reader.join()
            self._reader = None
            reader.close()
        return [f"{self._asked.path}: could not be read: the process that reads it ended before it was done"]

    def _whole(self, fields: dict[str, Any]) -> Setlist:
        known = {each.content_hash: each for creature in self._setlist.creatures for each in creature.chain}
        creatures = tuple(_creature(named, known) for named in fields["creatures"])
        whole: dict[str, Any] = fields | {"table": ParamTable(tuple(fields["table"])), "creatures": creatures}
        whole |= {name: tuple(fields[name]) for name in _ROWS} | {name: dict(fields[name]) for name in _MAPS}
        return Setlist(**whole)


_ROWS, _MAPS = ("cues", "presets", "routes"), ("sources", "binds", "bridges")
_LONG = ("creatures", "table", *_ROWS, *_MAPS)  # that come in pieces


def _look(files: Sequence[Path]) -> Look:
    found = []
    for path in files:
        try:
            stat = path.stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def _digest(path: Path) -> str:
    """Empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _creature(named: Named, known: dict[str, species.Checkpoint]) -> Creature:
    """A creature, with the weights that the show has, or else those of its files. Raises CheckpointError."""
    chain: Sequence[species.Checkpoint] = [
        known[digest] if digest in known else species.load(path) for path, digest in named.files
    ]
    first, *siblings = chain
    return Creature(checkpoint=first, label=named.label, siblings=tuple(siblings), chosen=named.chosen)
