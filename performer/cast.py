"""The cast: the engines of all creatures of a show, and who of them is ready.

Before doors all are made, while the window already stands. As many as the memory holds stay ready; the others are let go
again, and come back from the cache of built engines when their cues draw near. What has never been built, after a setlist
was changed, is built in a process of its own, which takes nothing from the frames.

Thread: `made` on the main thread, which keeps the window; before doors engines are made on a thread of their own, in a show
on the worker. `want` on the render thread: who is ready and who is not changes there alone.
"""

import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial

import psutil

from performer import cuda
from performer.clock import Clock, SystemClock
from performer.creatures import Creature
from performer.engines.host import EngineHost
from performer.notices import Notices
from performer.role import Role
from performer.setlist import Setlist
from performer.stage.foyer import Foyer
from performer.stage.outputs.output import Display
from performer.stage.upload import fault_of_sharing

log = logging.getLogger(__name__)

FOYER_AFTER_S = 1.0  # a start from the cache is over before anybody could read
FOYER_PERIOD_S = 0.05
FOYER_LINES = 8
BUDGET_PART = 0.5  # of the memory that is free before doors: what engines may take
# What an engine takes: its libraries' own, and times the bytes of a species' weights, for each network of a chain. On the
# safe side: one of 4 MB takes 38 MB in OpenVINO, and is reckoned as 50.
ROLE_BYTES, WEIGHT_COPIES = 24 << 20, 6
BUILDER = "performer.building"


class Ended(Exception):
    """Somebody wanted to leave before doors."""


class Cast:
    """The roles of a show, by the numbers of its creatures.

    budget_bytes
        memory that engines may take together; by default half of what is free. What is on stage, or was asked for, may
        take more.

    Raises EngineError where the engine that was asked for cannot run here.
    """

    def __init__(
        self, setlist: Setlist, *, clock: Clock, notices: Notices, choice: str, budget_bytes: int | None = None
    ) -> None:
        self._clock, self._notices, self._choice = clock, notices, choice
        self._host = partial(EngineHost, clock=clock, notices=notices)
        self._stays_on_card = False
        self.creatures = list(setlist.creatures)
        self.roles = [self._role(each) for each in self.creatures]
        self._costs = [_cost_of(each) for each in self.creatures]
        self.faults: dict[int, str] = {}  # why a role cannot be made, by its number
        self.card_fault = ""  # why pictures on the graphics card cannot stay there, where an engine draws them there
        self.loads = 0  # roles that were made ready in the show
        self._budget_bytes = budget_bytes
        self._fps = 0.0
        self._finished = 0  # images of engines that are gone
        self._ready: set[int] = set()
        self._built: set[int] = set()  # those whose engines are in the cache
        self._wanted: list[int] = []
        self._retired: frozenset[int] = frozenset()
        self._leaving: list[Role] = []
        self._came: deque[int] = deque()  # from the worker: made ready, or failed
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._builder: subprocess.Popen[bytes] | None = None
        self._is_closing = False

    def _role(self, creature: Creature) -> Role:
        role = Role.of(creature, host=self._host, choice=self._choice)
        for host in role.hosts:
            host.stays_on_card = self._stays_on_card
        return role

    @property
    def host(self) -> EngineHost:
        """The engine of the setlist's own species."""
        return self.roles[0].host

    @property
    def hosts(self) -> list[EngineHost]:
        """All engines that there are."""
        return [host for role in self.roles for host in role.hosts]

    @property
    def images(self) -> int:
        """Pictures finished by all engines since the show began."""
        return self._finished + sum(host.images for host in self.hosts)

    @property
    def absent(self) -> frozenset[int]:
        """The roles that cannot be drawn now. Thread: render."""
        return frozenset(range(len(self.roles))) - self._ready

    # Before doors

    def meet(self, display: Display) -> None:
        """Find out whether pictures can go from the engines to `display` without the host. Thread: main."""
        if any(host.may_use_card for host in self.hosts):
            self.card_fault = fault_of_sharing(display.ctx)
            self._stays_on_card = not self.card_fault
            for host in self.hosts:
                host.stays_on_card = self._stays_on_card

    def make(self, *, fps: float, progress: Callable[[str], None], first: Sequence[int] = ()) -> None:
        """Make all roles, and keep ready those that the memory holds; takes up to minutes.

        first
            numbers of roles, in the order in which they will be wanted.

        Thread: any. Raises EngineError.
        """
        self._fps = fps
        if self._budget_bytes is None:
            self._budget_bytes = int(BUDGET_PART * free_bytes(on_card=any(host.may_use_card for host in self.hosts)))
        order = list(dict.fromkeys((*first, *range(len(self.roles)))))
        keeps = self._affordable(order)
        for number in order:
            self.roles[number].make(fps=fps, host=self._host, progress=progress)
            self._built.add(number)
            if number in keeps:
                self._ready.add(number)
            else:
                self._let_go(number).close()

    # In the show

    def add(self, creature: Creature) -> int:
        """Another creature, not ready yet: its number. Thread: render."""
        self.creatures.append(creature)
        self.roles.append(self._role(creature))
        self._costs.append(_cost_of(creature))
        return len(self.roles) - 1

    def want(self, order: Sequence[int], *, needed: Sequence[int]) -> None:
        """Say who may be needed, the likeliest first; never waits.

        needed
            those that are seen, and the one that a hand has asked for: they are kept, and made, whatever the memory holds.
        """
        while self._came:
            number = self._came.popleft()
            if number not in self.faults:
                self._ready.add(number)
                self.loads += 1
        order = list(dict.fromkeys((*needed, *order)))
        keeps = self._affordable(order) | {*needed}
        missing = [each for each in order if each in keeps and each not in self._ready and each not in self.faults]
        leaving = []
        for number in (self._retired & self._ready) - set(needed):
            self._ready.discard(number)
            leaving.append(self._let_go(number))
        for number in reversed([*order, *(self._ready - set(order))]):
            if sum(self._costs[each] for each in (*self._ready, *missing[:1])) <= (self._budget_bytes or 0):
                break
            if number in self._ready and number not in keeps:
                self._ready.discard(number)
                leaving.append(self._let_go(number))
        if not (missing or leaving or self._wanted):
            return
        with self._wake:
            self._wanted = missing
            self._leaving += leaving
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="cast", daemon=True)
                self._worker.start()
            self._wake.notify()

    def retire(self, numbers: Collection[int]) -> None:
        """Say whom no cue names any more: they are let go once they are not seen. Thread: render."""
        self._retired = frozenset(numbers)

    def _affordable(self, order: Sequence[int]) -> set[int]:
        """Those, the first in any case, that the memory holds."""
        kept, taken = set(), 0
        for number in order:
            taken += self._costs[number]
            if kept and taken > (self._budget_bytes or 0):
                break
            kept.add(number)
        return kept

    def _let_go(self, number: int) -> Role:
        """A role that is to be closed; another one stands in its place, yet to be made."""
        role = self.roles[number]
        self._finished += sum(host.images for host in role.hosts)
        self.roles[number] = self._role(self.creatures[number])
        return role

    def _work(self) -> None:
        """Close what leaves and make what is wanted, one at a time. Thread: the worker."""
        while True:
            with self._wake:
                while not (self._wanted or self._leaving or self._is_closing):
                    self._wake.wait()
                if self._is_closing:
                    return
                leaving, self._leaving = self._leaving, []
                number = self._wanted[0] if self._wanted else None
                self._wanted = []
            for role in leaving:
                try:
                    role.close()
                except Exception as error:  # a card that no longer answers
                    log.info("an engine does not close: %s", error)
            del leaving
            if number is not None and number not in self.faults and not self.roles[number].is_made:
                self._make_ready(number)

    def _make_ready(self, number: int) -> None:
        role = self.roles[number]
        try:
            if number not in self._built:
                self._build(number)
                self._built.add(number)
            role.make(fps=self._fps, host=self._host, progress=log.info)
        except Exception as error:
            if self._is_closing:
                return
            self.faults[number] = str(error)
            name = self.creatures[number].name
            text = f"{name} cannot play ({error}); cues of it do not begin, and what plays goes on"
            self._notices.say(text, at_s=self._clock.now_s(), severe=True)
        self._came.append(number)

    def _build(self, number: int) -> None:
        """Have the engines of a role built by a process of its own, into the cache."""
        paths = [str(each.path) for each in self.creatures[number].chain]
        command = [sys.executable, "-m", BUILDER, self._choice, str(self._fps), *paths]
        self._builder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        code = self._builder.wait()
        if code and not self._is_closing:
            log.warning("%s: the engine was not built beforehand (%s)", self.creatures[number].name, code)

    def close(self) -> None:
        """Stop them all, also what is being built. May be called twice."""
        self._is_closing = True
        with self._wake:
            self._wake.notify()
        if self._builder is not None:
            self._builder.kill()
        for role in [*self.roles, *self._leaving]:
            role.close()
        if self._worker is not None:
            self._worker.join(timeout=10.0)


def _cost_of(creature: Creature) -> int:
    """Bytes that its engine takes, about."""
    forms = 1 if not creature.siblings else 2  # each species alone, and one network of all between them
    weights = sum(each.path.stat().st_size for each in creature.chain if each.path is not None)
    return ROLE_BYTES + WEIGHT_COPIES * forms * weights


def free_bytes(*, on_card: bool) -> int:
    """Memory that is free here: of the machine, or of its card where that has less."""
    free = psutil.virtual_memory().available
    return min(free, cuda.free_bytes() or free) if on_card else free


def made(
    cast: Cast,
    display: Display,
    *,
    fps: float,
    clock: SystemClock,
    announce: Callable[[str], None],
    ended: threading.Event,
    first: Sequence[int] = (),
) -> None:
    """Make the engines off this thread, while the window answers and says what is done. Raises Refused, Ended."""
    cast.meet(display)
    foyer, lines, errors = Foyer(display), deque[str](maxlen=FOYER_LINES), []

    def progress(text: str) -> None:
        announce(text)
        lines.append(text)

    def make() -> None:
        try:
            cast.make(fps=fps, progress=progress, first=first)
        except Exception as error:
            errors.append(error)

    maker = threading.Thread(target=make, name="engines", daemon=True)
    maker.start()
    shown_from_s = clock.now_s() + FOYER_AFTER_S
    while maker.is_alive() and not (ended.is_set() or display.should_close):
        maker.join(timeout=FOYER_PERIOD_S)
        display.poll()
        if clock.now_s() >= shown_from_s:
            foyer.show(tuple(lines))
    foyer.release()
    if maker.is_alive():
        cast.close()
        maker.join(timeout=10.0)  # a build that is given up ends soon
        raise Ended
    if errors:
        raise errors[0]
