"""The engine on stage, and those that stand in for it.

When an engine fails in a show the last picture is held, the engine is rebuilt off the render thread, and if that fails
too a humbler one takes over. Each step is announced; the frame never waits.

Thread: `submit` and `latest` on the render thread; rebuilding on a worker.
"""

import threading
from collections.abc import Sequence

from performer.clock import Clock
from performer.engines.engine import Engine, EngineError, Progress, engines
from performer.flow import Image, LatentFrame
from performer.generators.checkpoint import Checkpoint
from performer.notices import Notices

REBUILDS = 2  # of one engine, before a humbler one is tried


class EngineHost:
    """One species, or two siblings and all between them, run by the best engine that works."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        clock: Clock,
        notices: Notices,
        choice: str = "",
        sibling: Checkpoint | None = None,
    ) -> None:
        """`choice` forces an engine by name. Raises EngineError where it is unknown or cannot run here."""
        self.checkpoint, self.sibling = checkpoint, sibling
        self._clock = clock
        self._notices = notices
        self._candidates, self.why = candidates(choice)
        self._engine: Engine | None = None
        self._image: Image | None = None
        self._rebuilds = 0
        self._worker: threading.Thread | None = None
        self._finished = 0  # images of engines that are gone

    @property
    def name(self) -> str:
        """Of the engine that runs; empty before the first."""
        return self._engine.name if self._engine is not None else ""

    @property
    def images(self) -> int:
        """Pictures finished since the show began."""
        return self._finished + (self._engine.images if self._engine is not None else 0)

    @property
    def infer_ms(self) -> float:
        """How long the newest picture took, milliseconds."""
        return self._engine.infer_ms if self._engine is not None else 0.0

    def activate(self, *, progress: Progress) -> None:
        """Make the first engine that works ready. Raises EngineError when none does."""
        failures = []
        while self._candidates:
            engine = self._candidates[0](self._clock)
            try:
                engine.activate(self.checkpoint, sibling=self.sibling, progress=progress)
            except EngineError as error:
                failures.append(f"{engine.name}: {error}")
                self._candidates = self._candidates[1:]
                continue
            for failure in failures:
                self._notices.say(
                    f"engine {failure}; {engine.name} plays instead", at_s=self._clock.now_s(), severe=True
                )
            self._engine = engine
            return
        raise EngineError("no engine can play this species: " + "; ".join(failures))

    def submit(self, latent: LatentFrame) -> None:
        """Hand a latent to the engine; while none runs it is dropped."""
        engine = self._engine
        if engine is None:
            return
        if engine.failure is not None:
            self._replace(engine)
            return
        engine.submit(latent)

    def latest(self) -> Image | None:
        """The newest picture; the last good one while an engine is rebuilt."""
        if self._engine is not None:
            image = self._engine.latest()
            if image is not None:
                self._image = image
        return self._image

    def close(self) -> None:
        """Stop. May be called twice."""
        if self._worker is not None:
            self._worker.join(timeout=10.0)
        if self._engine is not None:
            self._engine.close()

    def _replace(self, failed: Engine) -> None:
        """Let go of a failed engine and build the next on a worker."""
        self._finished += failed.images
        if self._image is not None:  # its memory goes with the engine
            self._image = Image(
                pixels=self._image.pixels.copy(),
                serial=self._image.serial,
                submitted_s=self._image.submitted_s,
                ready_s=self._image.ready_s,
            )
        self._engine = None
        self._rebuilds += 1
        if self._rebuilds > REBUILDS and len(self._candidates) > 1:
            self._candidates = self._candidates[1:]
            self._rebuilds = 0
        next_name = self._candidates[0].name
        said = f"engine {failed.name} failed ({failed.failure}); the picture is held while {next_name} is built"
        self._notices.say(said, at_s=self._clock.now_s(), severe=True)

        def rebuild() -> None:
            failed.close()
            try:
                self.activate(progress=lambda _: None)
            except EngineError as error:
                self._notices.say(f"{error}; the picture stays held", at_s=self._clock.now_s(), severe=True)
            else:
                self._notices.say(f"engine {self.name} plays again", at_s=self._clock.now_s())

        self._worker = threading.Thread(target=rebuild, name="engine-rebuild", daemon=True)
        self._worker.start()


def candidates(choice: str = "") -> tuple[Sequence[type[Engine]], str]:
    """Engines to try, best first, and why the first is chosen.

    Raises:
        EngineError: `choice` is unknown, cannot run here, or nothing can.
    """
    found = engines()
    probed = {name: engine.probe() for name, engine in found.items()}
    usable = [engine for name, engine in found.items() if probed[name].available]
    if choice:
        if choice not in found:
            raise EngineError(f"engine {choice!r} is unknown; expected one of: {', '.join(found)}")
        if not probed[choice].available:
            raise EngineError(f"engine {choice!r} cannot run here: {probed[choice].reason}")
        forced = found[choice]
        return [forced, *(e for e in usable if e.rank > forced.rank)], "asked for"
    if not usable:
        raise EngineError("; ".join(f"{name}: {state.reason}" for name, state in probed.items()))
    missing = [f"no {name}: {state.reason}" for name, state in probed.items() if not state.available]
    return usable, "; ".join([f"for {usable[0].suits}", *missing])
