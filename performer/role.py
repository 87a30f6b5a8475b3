"""A role: one creature of a show, the engine that draws it, and one that draws it at half its size.

Thread: `submit`, `latest` and `rest` on the render thread; `make` and `close` on any one other, while the role is not on
stage.
"""

from collections.abc import Callable
from dataclasses import replace

from performer.creatures import Creature
from performer.engines.engine import Progress
from performer.engines.host import EngineHost
from performer.flow import Image, LatentFrame
from performer.generators.coarser import coarser
from performer.governor import FAR_SLOTS

SMALL_FROM_FRAMES = 0.6  # that a picture may take before half its size is made ready too
LEAST_SMALL_PX = 256  # smaller ones are no longer the same animal

HostMaker = Callable[..., EngineHost]


def turn_of(latent: LatentFrame, number: int) -> LatentFrame:
    """Of several animals that share the frame, the one whose turn it is in the frame of this number."""
    return (latent, *latent.swarm)[number % latent.members]


class Role:
    """A creature on stage."""

    def __init__(self, host: EngineHost, *, small: EngineHost | None = None) -> None:
        self.host = host
        self.small = small
        self._drawing = host  # draws, of the two, and since when
        self._from_s = 0.0
        self._seen: EngineHost | None = None  # the one whose picture is seen; None where it was not on stage before
        self._is_on = False
        self.is_made = False

    @classmethod
    def of(cls, creature: Creature, *, host: HostMaker, choice: str) -> "Role":
        """A role whose engines are yet to be made. Raises EngineError where the engine that is asked for cannot run."""
        return cls(host(creature.checkpoint, siblings=creature.siblings, choice=choice))

    @property
    def hosts(self) -> list[EngineHost]:
        """Those that there are."""
        return [each for each in (self.host, self.small) if each is not None]

    @property
    def seen(self) -> EngineHost:
        """The one whose picture is seen."""
        return self._seen or self._drawing

    def make(self, *, fps: float, host: HostMaker, progress: Progress) -> None:
        """Make its engines ready; takes up to minutes. Raises EngineError."""
        self.host.activate(progress=progress)
        self._make_small(fps=fps, host=host, progress=progress)
        self.is_made = True

    def _make_small(self, *, fps: float, host: HostMaker, progress: Progress) -> None:
        # A machine that has hardly the time for a picture gets a smaller one made ready: in a show it is too late.
        frames = (self.host.measured_ms or 0.0) * fps / 1e3
        if not SMALL_FROM_FRAMES <= frames <= FAR_SLOTS:
            return
        halves = [half for each in (self.host.checkpoint, *self.host.siblings) if (half := coarser(each)) is not None]
        if not halves or halves[0].sizes.resolution < LEAST_SMALL_PX:
            return
        small = host(halves[0], siblings=halves[1:], choice=self.host.name)
        small.stays_on_card = self.host.stays_on_card
        small.activate(progress=progress)
        self.small = small

    def submit(self, latent: LatentFrame, *, small: bool, at_s: float) -> None:
        """Hand over a latent; never waits. small: draw the smaller picture, where there is one. at_s: now."""
        drawing = self.small if small and self.small is not None else self.host
        if not self._is_on or drawing is not self._drawing:
            self._seen = self._seen if self._is_on else None  # what it drew long ago is not shown again
            self._drawing, self._from_s, self._is_on = drawing, at_s, True
        drawing.submit(latent)

    def latest(self) -> Image | None:
        """The newest picture since it came on stage. While another engine takes over, that of the one before."""
        if self._seen is not self._drawing:
            image = self._drawing.latest()
            if image is not None and image.submitted_s >= self._from_s:
                self._seen = self._drawing
        image = self._seen.latest() if self._seen is not None else None
        if image is not None and self._seen is self.small:
            return replace(image, serial=-image.serial)  # both count from one, and no picture is to pass for another
        return image

    def rest(self) -> None:
        """It is not seen."""
        self._is_on = False

    def close(self) -> None:
        """Stop its engines, also what is being built."""
        for host in self.hosts:
            host.close()
