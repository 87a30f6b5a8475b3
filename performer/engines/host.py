"""The engine on stage, and those that stand in for it.

Which one plays is decided by measurement (`trial`), or by whoever forces one. When an engine fails in a show the last
picture is held, the engine is rebuilt off the render thread, and if that fails too a humbler one takes over. Each step is
announced; the frame never waits.

Thread: `submit` and `latest` on the render thread; building on a worker.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from performer import cuda
from performer.clock import Clock
from performer.engines import trial
from performer.engines.engine import Engine, EngineError, Progress, engines
from performer.flow import DevicePixels, Image, LatentFrame
from performer.generators.checkpoint import Checkpoint
from performer.notices import Notices

log = logging.getLogger(__name__)

REBUILDS = 2  # of one engine, before a humbler one is tried
AUTO, MEASURE = "auto", "measure"  # choices besides the engines' names: the fastest, as remembered or measured anew


class EngineHost:
    """One species, or a chain of siblings and all between them, run by the best engine that works."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        clock: Clock,
        notices: Notices,
        choice: str = AUTO,
        siblings: Sequence[Checkpoint] = (),
    ) -> None:
        """`choice` is `auto`, `measure`, or an engine by name, which is then not put to the trial.

        Raises EngineError where it is unknown or cannot run here.
        """
        self.checkpoint, self.siblings = checkpoint, tuple(siblings)
        self.refused: EngineError | None = None  # why no engine plays, once all have failed in a show
        self.stays_on_card = False  # set before `activate` where the stage takes pictures from the graphics card
        self.measured_ms: float | None = None  # of a picture, by the trial; None where there was none
        self._clock = clock
        self._notices = notices
        self._candidates, self._reason, self._missing = candidates(choice)
        self._tries = choice if choice in (AUTO, MEASURE) else ""  # empty once an engine is settled
        self._engine: Engine | None = None
        self._image: Image | None = None
        self._rebuilds = 0
        self._worker: threading.Thread | None = None
        self._making: list[Engine] = []
        self._is_closing = False
        self._finished = 0  # images of engines that are gone

    @property
    def name(self) -> str:
        """Of the engine that runs; empty before the first."""
        return self._engine.name if self._engine is not None else ""

    @property
    def why(self) -> str:
        """Why this engine plays and no other, in words."""
        return "; ".join([self._reason, *self._missing])

    @property
    def images(self) -> int:
        """Pictures finished since the show began."""
        return self._finished + (self._engine.images if self._engine is not None else 0)

    @property
    def infer_ms(self) -> float:
        """How long the newest picture took, milliseconds."""
        return self._engine.infer_ms if self._engine is not None else 0.0

    @property
    def may_use_card(self) -> bool:
        """Whether an engine that may play draws on an NVIDIA card."""
        return any(kind.on_card for kind in self._candidates)

    def activate(self, *, progress: Progress) -> None:
        """Make the best engine that works ready. Raises EngineError when none does."""
        try:
            self._activate(progress)
        finally:
            self._making.clear()

    def _activate(self, progress: Progress) -> None:
        if self._tries:
            measure, self._tries = self._tries == MEASURE, ""
            self._settle(progress, measure=measure)
        failures = []
        while self._candidates and not self._is_closing:
            engine = self._made(self._candidates[0])
            try:
                engine.activate(self.checkpoint, siblings=self.siblings, progress=progress)
            except Exception as error:
                _close(engine)
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
        """Hand a latent to the engine; while none runs it is dropped. Rows beyond the species' own are left out."""
        engine = self._engine
        if engine is None:
            return
        if engine.failure is not None:
            self._replace(engine)
            return
        sizes = self.checkpoint.sizes
        if len(latent.ws) > sizes.num_ws:
            rows, layers = slice(sizes.num_ws), slice(sizes.noise_layers)
            latent = replace(latent, ws=latent.ws[rows], noise=latent.noise[layers], blend=latent.blend[rows])
        engine.submit(latent)

    def latest(self) -> Image | None:
        """The newest picture; the last good one while an engine is rebuilt."""
        if self._engine is not None:
            image = self._engine.latest()
            # Engines count from 1; over a change of engine no serial may come again, or the stage takes it for known.
            if image is not None and (self._image is None or self._image.serial != image.serial + self._finished):
                self._image = replace(image, serial=image.serial + self._finished)
        return self._image

    def close(self) -> None:
        """Stop, also what is being built. May be called twice."""
        self._is_closing = True
        for engine in self._making:
            engine.given_up = True
        if self._worker is not None:
            self._worker.join(timeout=10.0)
        if self._engine is not None:
            self._engine.close()

    def _made(self, kind: type[Engine]) -> Engine:
        engine = kind(self._clock)
        engine.stays_on_card = self.stays_on_card
        self._making.append(engine)
        return engine

    def _settle(self, progress: Progress, *, measure: bool) -> None:
        """Put the candidates in the order of their trial, and say so; leave out those that must not play."""
        if len(self._candidates) < 2 or trial.ORACLE not in [kind.name for kind in self._candidates]:
            return
        kinds, species = self._candidates, (self.checkpoint, self.siblings)
        try:
            verdicts = None if measure else trial.remembered(kinds, *species)
            if verdicts is None:
                made = [self._made(kind) for kind in kinds]
                verdicts = trial.held(made, *species, clock=self._clock, progress=progress)
                if not any(verdict.may_pass for verdict in verdicts):
                    trial.remember(verdicts, kinds, *species)
        except Exception as error:  # a library that does not load, an oracle that fails: there is a show all the same
            said = f"engines could not be compared ({error}); they are tried in their order"
            self._notices.say(said, at_s=self._clock.now_s(), severe=True)
            return
        by_name = {kind.name: kind for kind in kinds}
        self._candidates = [by_name[verdict.engine] for verdict in verdicts if not verdict.fault]
        self.measured_ms = verdicts[0].ms
        told = ", ".join(str(verdict) for verdict in verdicts)
        self._reason = f"the fastest that draws this species right ({told})"

    def _replace(self, failed: Engine) -> None:
        """Let go of a failed engine and build the next on a worker."""
        self._finished += failed.images
        self._image = _kept(self._image)  # its memory goes with the engine
        self._engine = None
        self._rebuilds += 1
        if self._rebuilds > REBUILDS and len(self._candidates) > 1:
            self._candidates = self._candidates[1:]
            self._rebuilds = 0
        next_name = self._candidates[0].name
        said = f"engine {failed.name} failed ({failed.failure}); the picture is held while {next_name} is built"
        self._notices.say(said, at_s=self._clock.now_s(), severe=True)

        def rebuild() -> None:
            _close(failed)
            try:
                self.activate(progress=lambda _: None)
            except Exception as error:
                self.refused = error if isinstance(error, EngineError) else EngineError(repr(error))
                self._notices.say(f"{error}; the picture stays held", at_s=self._clock.now_s(), severe=True)
            else:
                self._notices.say(f"engine {self.name} plays again", at_s=self._clock.now_s())

        self._worker = threading.Thread(target=rebuild, name="engine-rebuild", daemon=True)
        self._worker.start()


def _close(engine: Engine) -> None:
    """Close an engine that failed: its card may no longer answer, and what comes next must not hang on that."""
    try:
        engine.close()
    except Exception as error:
        log.info("%s does not close: %s", engine.name, error)


def _kept(image: Image | None) -> Image | None:
    """The picture in memory of its own; None where a card that failed does not give it back: the stage has it still."""
    if image is None:
        return None
    if not isinstance(image.pixels, DevicePixels):
        return replace(image, pixels=image.pixels.copy())
    try:
        return replace(image, pixels=cuda.downloaded(image.pixels))
    except cuda.CudaError:
        return None


def candidates(choice: str = AUTO) -> tuple[Sequence[type[Engine]], str, list[str]]:
    """(engines to try, best first until they are measured; why the first is chosen; what others lack).

    Raises:
        EngineError: `choice` is unknown, cannot run here, or nothing can.
    """
    found = engines()
    probed = {name: engine.probe() for name, engine in found.items()}
    usable = [engine for name, engine in found.items() if probed[name].available]
    if choice not in (AUTO, MEASURE):
        if choice not in found:
            raise EngineError(f"engine {choice!r} is unknown; expected one of: {', '.join([AUTO, MEASURE, *found])}")
        if not probed[choice].available:
            raise EngineError(f"engine {choice!r} cannot run here: {probed[choice].reason}")
        forced = found[choice]
        return [forced, *(e for e in usable if e.rank > forced.rank)], "asked for", []
    if not usable:
        raise EngineError("; ".join(f"{name}: {state.reason}" for name, state in probed.items()))
    lacks: dict[str, list[str]] = {}
    for name, state in probed.items():
        if not state.available:
            lacks.setdefault(state.reason, []).append(name)
    missing = [f"no {' and no '.join(names)}: {reason}" for reason, names in lacks.items()]
    return usable, f"for {usable[0].suits}", missing
