"""The contract of an engine, and the scan that finds them.

An engine takes latents and gives pictures, and nobody waits for it: `submit` replaces the latent that is waiting,
`latest` gives the newest picture that is done. A module in this folder with a class named `ENGINE` is an engine; the scan
also parameterises the contract tests. A vendor library that is missing makes an engine unavailable with a reason, never
an ImportError.

Thread: `submit` and `latest` belong to the render thread; `activate` may run on any one thread before the first submit.
Real-time: all memory is allocated in `activate`.
"""

import importlib
import os
import pkgutil
import platform
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import performer.engines
from performer.clock import Clock
from performer.flow import Image, LatentFrame, Pixels, species_at
from performer.generators.checkpoint import Checkpoint
from performer.refusal import Refused

Progress = Callable[[str], None]  # told what is being done, for whatever takes longer than a second


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run here."""

    available: bool
    reason: str  # why, or why not and how to get it


class EngineError(Refused):
    """An engine that cannot go on. Raised by `activate`; found in `failure` during a show."""


class Engine(ABC):
    """Runs one species."""

    name: ClassVar[str]
    rank: ClassVar[int]  # lower is tried first until measurements decide
    suits: ClassVar[str]  # for which machine, in words for the announcement

    half: ClassVar[bool] = False  # in half precision, whose range a species may leave
    on_card: ClassVar[bool] = False  # draws on an NVIDIA card, and can leave its pictures there

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.stays_on_card = False  # set before `activate` where the stage takes pictures from the graphics card
        self.given_up = False  # set by any thread while `activate` runs: nobody waits for it any more
        self.failure: Exception | None = None  # set when pictures stopped coming; the show then rebuilds
        self.images = 0  # finished since activation
        self.infer_ms = 0.0  # time of the newest picture from start to finish, milliseconds

    @classmethod
    @abstractmethod
    def probe(cls) -> Availability:
        """Can this engine run on this machine? Cheap: imports nothing heavy."""

    @classmethod
    @abstractmethod
    def fingerprint(cls) -> str:
        """What its speed and its pictures depend on besides the species: versions, the card or the processor."""

    @abstractmethod
    def activate(self, checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = ()) -> None:
        """Load, build or fetch from the cache, and warm up.

        With siblings the engine draws each of the chain and, at about the cost of one (docs/performance.md), whatever
        lies between them, as each latent's `blend` asks.

        Raises EngineError.
        """

    @abstractmethod
    def submit(self, latent: LatentFrame) -> None:
        """Hand over a latent; it replaces one that is still waiting. Never waits, never raises."""

    @abstractmethod
    def latest(self) -> Image | None:
        """The newest finished picture, or None before the first. Its pixels are valid until the next call."""

    @abstractmethod
    def close(self) -> None:
        """Stop and free everything. May be called twice."""


class SlotEngine(Engine):
    """An engine around one blocking call, run on a thread of its own.

    Subclasses implement `_infer_impl`, which must release the GIL for most of its time. Three buffers are enough for the
    writer never to touch the picture that the render thread holds: the one being written, the newest, and the held.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._wake = threading.Condition()
        self._waiting: tuple[LatentFrame, float] | None = None
        self._closing = False
        self._newest: Image | None = None
        self._held: Image | None = None
        self._buffers: list[Pixels] = []
        self._thread: threading.Thread | None = None

    def _start(self, height_px: int, width_px: int) -> None:
        """Make the buffers and start the thread; the last act of a subclass's `activate`."""
        self._buffers = [self._buffer(height_px, width_px) for _ in range(3)]
        self._thread = threading.Thread(target=self._run, name=f"engine-{self.name}", daemon=True)
        self._thread.start()

    def submit(self, latent: LatentFrame) -> None:
        with self._wake:
            self._waiting = (latent, self._clock.now_s())
            self._wake.notify()

    def latest(self) -> Image | None:
        self._held = self._newest
        return self._held

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            if not self._thread.is_alive():
                self._thread = None

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._waiting is None and not self._closing:
                    self._wake.wait()
                if self._closing:
                    return
                assert self._waiting is not None
                latent, submitted_s = self._waiting
                self._waiting = None
            try:
                started_s = self._clock.now_s()
                in_use = {id(image.pixels) for image in (self._newest, self._held) if image is not None}
                buffer = next(b for b in self._buffers if id(b) not in in_use)
                self._infer_impl(latent, buffer)
            except Exception as error:  # nothing may escape into the show; it reads `failure` and rebuilds
                self.failure = error
                return
            ready_s = self._clock.now_s()
            self.infer_ms = (ready_s - started_s) * 1000
            self._newest = Image(
                pixels=buffer,
                serial=self.images + 1,
                submitted_s=submitted_s,
                ready_s=ready_s,
                member=latent.member,
                members=latent.members,
            )
            self.images += 1  # last: whoever sees the count finds the picture

    def _buffer(self, height_px: int, width_px: int) -> Pixels:
        """Room for one picture."""
        return np.zeros((height_px, width_px, 4), np.uint8)

    @abstractmethod
    def _infer_impl(self, latent: LatentFrame, out: Any) -> None:
        """Run one latent and write the picture into `out`, one of the buffers. Engine thread."""


Form = tuple[Checkpoint, Sequence[Checkpoint]]  # what a network is built from: a species, and its siblings


def forms_of(checkpoint: Checkpoint, siblings: Sequence[Checkpoint]) -> list[Form]:
    """The networks that draw a species, or a chain of siblings: each alone, in their order, then one for all between."""
    alone: list[Form] = [(each, ()) for each in (checkpoint, *siblings)]
    return [*alone, (checkpoint, siblings)] if siblings else alone


def form_for(latent: LatentFrame, *, forms: int) -> int:
    """Which of so many `forms_of` draws `latent`. Siblings at rest cost no more than one species."""
    at = species_at(latent.blend, siblings=max(forms - 2, 0))
    return forms - 1 if at is None else at


def this_processor() -> str:
    """The processor, well enough to know it again; its own name is not to be had everywhere."""
    return f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores"


def names_of(*species: Checkpoint) -> str:
    """What is built, for progress."""
    return " and ".join(each.provenance.name for each in species)


def engines() -> dict[str, type[Engine]]:
    """Every engine by name, best first."""
    found = []
    for entry in pkgutil.iter_modules(performer.engines.__path__):
        module = importlib.import_module(f"performer.engines.{entry.name}")
        if hasattr(module, "ENGINE"):
            found.append(module.ENGINE)
    return {engine.name: engine for engine in sorted(found, key=lambda engine: engine.rank)}
