"""The cast: all engines of a show, and how they are made while the window already stands.

Thread: `made` on the main thread, which keeps the window; the engines are made on one of their own.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from performer.clock import SystemClock
from performer.engines.host import EngineHost
from performer.generators.coarser import coarser
from performer.governor import FAR_SLOTS
from performer.notices import Notices
from performer.setlist import Setlist
from performer.stage.foyer import Foyer
from performer.stage.outputs.output import Display
from performer.stage.upload import fault_of_sharing

FOYER_AFTER_S = 1.0  # a start from the cache is over before anybody could read
FOYER_PERIOD_S = 0.05
FOYER_LINES = 8
SMALL_FROM_FRAMES = 0.6  # that a picture may take before half its size is made ready too
LEAST_SMALL_PX = 256  # smaller ones are no longer the same animal


class Ended(Exception):
    """Somebody wanted to leave before doors."""


class Cast:
    """The engines of a show: of the species and its siblings, of a partner that is none, and of the first at half its size.

    Raises EngineError where the engine that was asked for cannot run here.
    """

    def __init__(self, setlist: Setlist, *, clock: SystemClock, notices: Notices, choice: str) -> None:
        self._host = partial(EngineHost, clock=clock, notices=notices)
        self.host = self._host(setlist.checkpoint, siblings=setlist.siblings, choice=choice)
        self.over: EngineHost | None = None
        if setlist.stranger:
            self.over = self._host(setlist.partners[0], choice=choice)
        self.small: EngineHost | None = None
        self.card_fault = ""  # why pictures on the graphics card cannot stay there, where an engine draws them there

    @property
    def hosts(self) -> list[EngineHost]:
        """Those that there are."""
        return [each for each in (self.host, self.over, self.small) if each is not None]

    def meet(self, display: Display) -> None:
        """Find out whether pictures can go from the engines to `display` without the host. Thread: main."""
        if any(host.may_use_card for host in self.hosts):
            self.card_fault = fault_of_sharing(display.ctx)
            for host in self.hosts:
                host.stays_on_card = not self.card_fault

    def make(self, *, fps: float, progress: Callable[[str], None]) -> None:
        """Make all engines ready, one after the other; takes up to minutes. Thread: any. Raises EngineError."""
        for host in self.hosts:
            host.activate(progress=progress)
        # A machine that has hardly the time for a picture gets a smaller one made ready: in a show it is too late.
        frames = (self.host.measured_ms or 0.0) * fps / 1e3
        if not SMALL_FROM_FRAMES <= frames <= FAR_SLOTS:
            return
        halves = [half for each in (self.host.checkpoint, *self.host.siblings) if (half := coarser(each)) is not None]
        if not halves or halves[0].sizes.resolution < LEAST_SMALL_PX:
            return
        small = self._host(halves[0], siblings=halves[1:], choice=self.host.name)
        small.stays_on_card = self.host.stays_on_card
        small.activate(progress=progress)
        self.small = small

    def close(self) -> None:
        """Stop them all."""
        for host in self.hosts:
            host.close()


def made(
    cast: Cast,
    display: Display,
    *,
    fps: float,
    clock: SystemClock,
    announce: Callable[[str], None],
    ended: threading.Event,
) -> None:
    """Make the engines off this thread, while the window answers and says what is done. Raises Refused, Ended."""
    cast.meet(display)
    foyer, lines, errors = Foyer(display), deque[str](maxlen=FOYER_LINES), []

    def progress(text: str) -> None:
        announce(text)
        lines.append(text)

    def make() -> None:
        try:
            cast.make(fps=fps, progress=progress)
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
