"""Engine `tensorrt`: the network in half precision, compiled for the card by NVIDIA's TensorRT.

One path for all its kinds. Core TensorRT 10 and 11 is used where it is installed; TensorRT for RTX, which the package index
has and which suits the cards of performers, otherwise. Networks are strongly typed: precision lives in the ONNX graph
(`generators.export`), and there are no flags for it.

Plans are kept on disk by content, kind, version, card and driver, and so are the kernels that TensorRT for RTX compiles when
it first meets a card. What does not fit any more is built again, never trusted.

Thread: as every engine on a card. Owns: the runtime, an engine and a context for each form, and their scratch memory.
"""

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from typing import Any

from performer import cuda
from performer.clock import Clock
from performer.cuda import CudaError
from performer.engines import cache
from performer.engines.device import DeviceEngine, Launch
from performer.engines.engine import Availability, EngineError, Progress, names_of
from performer.generators.checkpoint import Checkpoint
from performer.refusal import Refused

log = logging.getLogger(__name__)

INSTALL = 'pip install "performer[tensorrt]"'
# By the module's name, best first. The wheels of the RTX bindings also come without the small package around them.
KINDS = {
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT for RTX",
    "tensorrt_rtx_bindings": "TensorRT for RTX",
}
KERNELS = "tensorrt-kernels"  # folder of the cache for what TensorRT for RTX compiles on the card
REPORT_S = 2.0  # between two words about a build that takes long
MOST_ERRORS = 8  # kept until somebody asks


class TensorRtEngine(DeviceEngine):
    """TensorRT on an NVIDIA card."""

    name = "tensorrt"
    rank = 10
    suits = "an NVIDIA card"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._library: Library | None = None
        self._runtime: Any = None
        self._made: list[Any] = []  # engines and contexts, which their graphs outlive only in error
        self._scratch = (0, 0)  # (address, bytes), for all forms: one runs at a time

    @classmethod
    def probe(cls) -> Availability:
        if reason := cuda.lacking():
            return Availability(False, reason)
        name = installed()
        if not name:
            return Availability(False, f"TensorRT is not installed: {INSTALL}")
        return Availability(True, f"{KINDS[name]} is installed")

    @classmethod
    def fingerprint(cls) -> str:
        try:
            return f"{Library()} on {cuda.card()}"
        except EngineError as error:  # what does not load is told at the trial, and tried again once that changes
            return str(error)

    def _prepare(self, checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, progress: Progress) -> Launch:
        if self._library is None:
            self._library = Library()
            self._runtime = self._library.runtime()
        library = self._library
        key = cache.key_of(checkpoint, str(library), str(cuda.card()), siblings=siblings)
        stored = cache.fetch(self.name, key)
        engine = library.opened(stored, runtime=self._runtime) if stored is not None else None
        if engine is None:
            if stored is not None:
                progress("the cached engine is of another kind; building it again")
            plan = library.built(
                checkpoint,
                siblings,
                targets=("CURRENT", ""),
                products=cuda.card().capability >= (8, 0),
                progress=progress,
                clock=self._clock,
                ends=lambda: self.given_up,
            )
            engine = library.opened(plan, runtime=self._runtime)
            if engine is None:
                raise EngineError(f"{checkpoint.path}: {library} cannot run on {cuda.card()}: {library.why(plan)}")
            cache.store(self.name, key, plan)
        return self._launch_of(engine, key=key, progress=progress)

    def _launch_of(self, engine: Any, *, key: str, progress: Progress) -> Launch:
        """A context on fixed addresses, run once and captured."""
        library = self._library
        assert library is not None
        context, kernels, is_fresh = library.context(engine, known=cache.fetch(KERNELS, key))
        self._made += [engine, kernels, context]
        memory = self.memory
        # What was compiled for this card may need other than what the plan says.
        nbytes = max(engine.device_memory_size_v2, context.update_device_memory_size_for_shapes())
        if nbytes > self._scratch[1]:
            self._scratch = (memory.on_card(nbytes), nbytes)
        context.set_device_memory(*self._scratch)
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == library.trt.TensorIOMode.INPUT
            if is_input and tuple(engine.get_tensor_shape(name)) != self._ports.arrays[name].shape:
                raise EngineError(
                    f"the engine takes {name} in another shape than latents have; delete {cache.folder()}"
                )
            address = self._ports.addresses[name] if is_input else self._picture
            if not context.set_tensor_address(name, address):
                raise EngineError(f"{library} takes no address for {name}: {library.said()}")
        stream = memory.stream_address

        def enqueue() -> None:
            if not context.execute_async_v3(stream):
                raise EngineError(f"{library} does not run: {library.said()}")

        enqueue()  # makes what is made at the first run, and must not be captured
        memory.wait()
        if is_fresh and (compiled := kernels.serialize()) is not None:
            cache.store(KERNELS, key, bytes(compiled))
        why = ""
        if library.captures(context, stream):
            try:
                return memory.captured(enqueue)
            except (CudaError, EngineError) as error:
                why = f" ({error})"
        progress(f"this engine cannot be captured as a graph{why}; its steps are launched one by one")
        enqueue()  # which must go on working after that
        memory.wait()
        return enqueue

    def _let_go(self) -> None:
        while self._made:  # a context before its kernels and its engine, all before the runtime
            self._made.pop()
        self._runtime = self._library = None
        self._scratch = (0, 0)


def installed() -> str:
    """The module of the TensorRT that is used; empty where there is none."""
    return next((name for name in KINDS if importlib.util.find_spec(name) is not None), "")


class Library:
    """TensorRT of whichever kind, and what it has to say.

    Raises EngineError where it is not installed or does not load.
    """

    def __init__(self, *names: str) -> None:
        """`names` are the modules to try, all by default."""
        faults = []
        for name in names or KINDS:
            kind = KINDS[name]
            if importlib.util.find_spec(name) is None:
                continue
            try:
                self.trt: Any = importlib.import_module(name)
            except (ImportError, OSError, RuntimeError) as error:  # bindings come without their library, too
                faults.append(f"{kind} does not load ({error})")
                continue
            self._kind = kind
            self._logger = _logger_of(self.trt)
            return
        if faults:
            raise EngineError(f"{'; '.join(faults)}; install it again: {INSTALL}")
        raise EngineError(f"TensorRT is not installed: {INSTALL}")

    def __str__(self) -> str:
        return f"{self._kind} {self.trt.__version__}"

    def said(self) -> str:
        """The errors that it has logged since this was last asked, else that it gave no reason."""
        errors, self._logger.errors = self._logger.errors, []
        return "; ".join(dict.fromkeys(errors)) or "it gives no reason"

    def runtime(self) -> Any:
        """What opens plans. Raises EngineError."""
        made = self.trt.Runtime(self._logger)
        if made is None:
            raise EngineError(f"{self} does not start: {self.said()}")
        return made

    def built(
        self,
        checkpoint: Checkpoint,
        siblings: Sequence[Checkpoint] = (),
        *,
        targets: tuple[str, ...] = ("",),
        products: bool = True,
        progress: Progress,
        clock: Clock,
        ends: Callable[[], bool] = lambda: False,
    ) -> bytes:
        """The plan of a species, or of all between siblings.

        targets
            compute capabilities to build for, as TensorRT for RTX names them (`SM89`), in order until one can be had;
            empty for what it builds by default, which needs no card.
        products
            as in `export.to_onnx`.
        ends
            asked now and then whether to give up.

        Raises EngineError with TensorRT's own words; CheckpointError.
        """
        progress("loading PyTorch, once, to build the engine")
        from performer.generators import export, network

        names = names_of(checkpoint, *siblings)
        built = network.build(checkpoint, siblings, half=True)
        progress(f"writing {names} as a graph in half precision")
        try:
            model = export.to_onnx(built, products=products)
        except Refused as error:
            raise EngineError(str(error)) from error
        reasons = []
        if not hasattr(self.trt, "ComputeCapability"):
            targets = ("",)  # core TensorRT builds for the card that is there
        for target in targets:
            progress(f"building the engine for {names} with {self}")
            plan = self.plan(model, target=target, monitor=_monitor_of(self.trt, progress, clock=clock, ends=ends))
            if plan is not None:
                return plan
            reasons.append(self.said())
            if ends():
                break
        raise EngineError(f"{checkpoint.path}: {self} could not build it: {'; '.join(dict.fromkeys(reasons))}")

    def plan(self, model: bytes, *, target: str = "", monitor: Any = None) -> bytes | None:
        """The plan of an ONNX model; None where it is refused, and `said` tells why."""
        trt = self.trt
        builder = trt.Builder(self._logger)
        # TensorRT 10 needs to be told; 11 and TensorRT for RTX know no other networks.
        definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(definition, self._logger)
        if not parser.parse(model):
            for index in range(parser.num_errors):
                error = parser.get_error(index)
                self._logger.errors.append(f"node {error.node_name() or error.node()}: {error.desc()}")
            return None
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # styles are in single precision, and no less
        if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
            # TensorRT for RTX may else allocate while it runs, which no capture survives.
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        if target and hasattr(trt, "ComputeCapability"):
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(definition, config)
        return None if plan is None else bytes(plan)

    def opened(self, plan: bytes, *, runtime: Any) -> Any:
        """The engine of a plan; None where it is not for this machine."""
        if not plan:
            return None
        return runtime.deserialize_cuda_engine(plan)

    def why(self, plan: bytes) -> str:
        """Why a plan does not open, as well as can be told."""
        runtime = self.runtime()
        words = self.said()
        if hasattr(runtime, "get_engine_validity"):
            validity, diagnostics = runtime.get_engine_validity(plan[: runtime.engine_header_size])
            words = f"{validity} {diagnostics}; {words}"
        return words

    def context(self, engine: Any, *, known: bytes | None) -> tuple[Any, Any, bool]:
        """(what runs the engine, in memory that is given to it; its compiled kernels; whether those are news).

        The kernels must outlive the context, which does not keep them. None of core TensorRT, whose plans have them.

        known
            kernels of an earlier time; those that do not fit are compiled anew.

        Raises EngineError.
        """
        strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        config = engine.create_runtime_config() if hasattr(engine, "create_runtime_config") else None
        kernels, is_fresh = None, False
        if config is not None and hasattr(config, "create_runtime_cache"):
            config.set_execution_context_allocation_strategy(strategy)
            kernels = config.create_runtime_cache()
            is_fresh = known is None or not kernels.deserialize(known)
            config.set_runtime_cache(kernels)
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise EngineError(f"{self} makes no context: {self.said()}")
        return context, kernels, is_fresh

    def captures(self, context: Any, stream: int) -> bool:
        """Whether what `context` runs can be captured as a graph. Core TensorRT can, with shapes that are fixed."""
        ask = getattr(context, "is_stream_capturable", None)
        return True if ask is None else bool(ask(stream))


@functools.cache
def _logger_of(trt: Any) -> Any:
    """A logger for TensorRT that keeps the errors, since its calls only tell that they failed.

    One for all engines of a process, for as long as that lives: TensorRT keeps the first that it is given.
    """

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                del self.errors[:-MOST_ERRORS]
                self.errors.append(" ".join(msg.split()))
            elif severity == trt.ILogger.Severity.WARNING:
                log.info("%s", msg)

    return Logger()


def _monitor_of(trt: Any, progress: Progress, *, clock: Clock, ends: Callable[[], bool]) -> Any:
    """Tells how far a build is, and gives it up when asked to. Its methods may be called from threads of TensorRT."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._due_s = clock.now_s() + REPORT_S

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps and clock.now_s() >= self._due_s:
                self._due_s = clock.now_s() + REPORT_S
                progress(f"{phase_name.lower()}: {step + 1} of {self._steps[phase_name]}")
            return not ends()

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


ENGINE = TensorRtEngine
