"""TensorRT on the host: stands in for the library where there is no card, of its core kind or of the one for RTX.

A plan is a header and the ONNX model. What it is opened to runs by ONNX Runtime, on the addresses that it was given and in
the stream of `tests.rig.cuda`, once that stream is waited for. It insists on what the documentation asks for: an address for
every tensor, scratch memory that is large enough and nobody else's, a stream that is not the default, and a first run that
is not captured.

Thread: as TensorRT.
"""

import enum
import hashlib
import json
import sys
import weakref
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.rig.cuda import ALIGNMENT, Fault, HostCuda

CORE, RTX = "tensorrt", "tensorrt_rtx"
HEADER = 512  # bytes of a plan before its model


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity


class IProgressMonitor:
    pass


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class CoreBuilderFlag(enum.Enum):
    TF32 = 0


class RtxBuilderFlag(enum.Enum):
    TF32 = 0
    REQUIRE_USER_ALLOCATION = 1


ComputeCapability = enum.Enum(
    "ComputeCapability", ["NONE", "CURRENT", "SM75", "SM80", "SM86", "SM89", "SM120", "SM121"]
)
EngineValidity = enum.Enum("EngineValidity", ["VALID", "SUBOPTIMAL", "INVALID"])


class HostTensorRt(ModuleType):
    """The module, and what a test may turn on it."""

    def __init__(self, name: str, card: HostCuda, *, version: str = "1.2.3") -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__version__ = version
        self.card = card
        self.refused: dict[str, str] = {}  # target of a build, and what is logged when it is asked for
        self.opens = True  # whether plans are for this card
        self.captures = True  # whether a stream may be captured
        self.spoils = ""  # "stream": a run under capture spoils it; "run": it fails and leaves the capture whole
        self.gives_contexts = True
        self.starts = True
        self.stops_after: int | None = None  # runs
        self.targets: list[str] = []  # of the builds so far
        self.jitted = 0  # engines whose kernels were compiled on the card
        self.ran = 0
        self.ILogger, self.IProgressMonitor = ILogger, IProgressMonitor
        self.NetworkDefinitionCreationFlag, self.TensorIOMode = NetworkDefinitionCreationFlag, TensorIOMode
        self.ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
        self.BuilderFlag: Any = CoreBuilderFlag
        if self.is_rtx:
            self.BuilderFlag, self.ComputeCapability = RtxBuilderFlag, ComputeCapability

    @property
    def is_rtx(self) -> bool:
        return self.__name__ == RTX

    def Builder(self, logger: Any) -> "Builder":
        return Builder(self, logger)

    def OnnxParser(self, definition: "Definition", logger: Any) -> "Parser":
        return Parser(definition, logger)

    def Runtime(self, logger: Any) -> Any:
        if not self.starts:
            logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
            return None
        return RtxRuntime(self, logger) if self.is_rtx else Runtime(self, logger)


class Definition:
    def __init__(self) -> None:
        self.model = b""


class Parser:
    """Takes what ONNX Runtime takes."""

    def __init__(self, definition: Definition, logger: Any) -> None:
        self._definition, self._logger = definition, logger
        self._errors: list[SimpleNamespace] = []
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        for index, node in enumerate(onnx.load_from_string(model).graph.node):
            if not onnx.defs.has(node.op_type):
                desc = f"Plugin not found: {node.op_type}"
                self._errors.append(
                    SimpleNamespace(node=lambda at=index: at, node_name=lambda n=node: n.name, desc=lambda d=desc: d)
                )
        self.num_errors = len(self._errors)
        self._definition.model = model
        return not self._errors

    def get_error(self, index: int) -> SimpleNamespace:
        return self._errors[index]


class Config:
    def __init__(self, tf32: Any) -> None:
        self.flags: list[Any] = [tf32]  # which is on unless it is taken out
        self.num_compute_capabilities = 0
        self.target = ""
        self.progress_monitor: Any = None

    def set_flag(self, flag: Any) -> None:
        self.flags.append(flag)

    def clear_flag(self, flag: Any) -> None:
        if flag in self.flags:
            self.flags.remove(flag)

    def set_compute_capability(self, target: Any, index: int) -> None:
        assert index < self.num_compute_capabilities
        self.target = target.name


class Builder:
    def __init__(self, library: HostTensorRt, logger: Any) -> None:
        self._library, self._logger = library, logger

    def create_network(self, flags: int) -> Definition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Definition()

    def create_builder_config(self) -> Config:
        return Config(self._library.BuilderFlag.TF32)

    def build_serialized_network(self, definition: Definition, config: Config) -> memoryview | None:
        self._library.targets.append(config.target)
        assert self._library.BuilderFlag.TF32 not in config.flags, "styles would be rounded to ten bits"
        if words := self._library.refused.get(config.target):
            self._logger.log(Severity.ERROR, words)
            return None
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building Engine", None, 3)
            for step in range(3):
                monitor.phase_start("Tactics", "Building Engine", 2)
                going = monitor.step_complete("Tactics", 0) and monitor.step_complete("Building Engine", step)
                monitor.phase_finish("Tactics")
                if not going:
                    self._logger.log(Severity.ERROR, "the build was given up")
                    return None
            monitor.phase_finish("Building Engine")
        user = self._library.is_rtx and RtxBuilderFlag.REQUIRE_USER_ALLOCATION in config.flags
        return memoryview(plan_of(self._library, definition.model, capturable=user or not self._library.is_rtx))


def plan_of(library: HostTensorRt, model: bytes, *, capturable: bool = True) -> bytes:
    """The plan of a model."""
    header = {
        "kind": library.__name__,
        "version": library.__version__,
        "capturable": capturable,
        "model": hashlib.sha256(model).hexdigest(),
    }
    return json.dumps(header).encode().ljust(HEADER) + model


class Runtime:
    """Opens plans of its own kind and version."""

    def __init__(self, library: HostTensorRt, logger: Any) -> None:
        self._library, self._logger = library, logger

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        fault = self._fault(plan)
        if fault:
            self._logger.log(Severity.ERROR, f"IRuntime::deserializeCudaEngine:\n  {fault}")
            return None
        header, model = json.loads(plan[:HEADER]), plan[HEADER:]
        made = RtxEngine if self._library.is_rtx else Engine
        return made(self._library, self._logger, model, capturable=header["capturable"])

    def _fault(self, plan: bytes) -> str:
        try:
            header = json.loads(plan[:HEADER])
        except ValueError:
            return "header.magicTag is not that of a plan"
        if (header["kind"], header["version"]) != (self._library.__name__, self._library.__version__):
            return f"the plan is of version {header['version']}"
        if header["model"] != hashlib.sha256(plan[HEADER:]).hexdigest():
            return "the plan is damaged"
        return "" if self._library.opens else "the plan is for another card"


class RtxRuntime(Runtime):
    engine_header_size = HEADER

    def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
        assert len(header) == HEADER
        return EngineValidity.VALID if self._library.opens else EngineValidity.INVALID, 32


class Engine:
    """What a plan is opened to."""

    def __init__(self, library: HostTensorRt, logger: Any, model: bytes, *, capturable: bool) -> None:
        self.library, self.logger, self.capturable = library, logger, capturable
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.digest = hashlib.sha256(model).hexdigest()
        self._modes = {port.name: TensorIOMode.INPUT for port in self.session.get_inputs()}
        self._modes |= {port.name: TensorIOMode.OUTPUT for port in self.session.get_outputs()}
        self.num_io_tensors = len(self._modes)
        self.device_memory_size_v2 = -(-len(model) // 4096) * ALIGNMENT

    def get_tensor_name(self, index: int) -> str:
        return list(self._modes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._modes[name]

    def get_tensor_shape(self, name: str) -> list[int]:
        return next(port.shape for port in self.session.get_inputs() if port.name == name)

    def create_runtime_config(self) -> Any:
        """Core TensorRT has one too, and no cache in it."""
        return SimpleNamespace()

    def create_execution_context(self, strategy: Any = ExecutionContextAllocationStrategy.STATIC) -> "Context | None":
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED, "memory would be allocated behind our back"
        if not self.library.gives_contexts:
            self.logger.log(Severity.ERROR, "the context is too large")
            return None
        return Context(self)


class RtxEngine(Engine):
    """Its kernels are compiled where it first runs, and can be kept."""

    def create_runtime_config(self) -> "RuntimeConfig":
        return RuntimeConfig(self)

    def create_execution_context(self, config: Any = None) -> "Context | None":
        assert isinstance(config, RuntimeConfig), "without a configuration its kernels cannot be kept"
        context = super().create_execution_context(config.strategy)
        return None if context is None else RtxContext(self, config.cache)


class RuntimeConfig:
    def __init__(self, engine: RtxEngine) -> None:
        self._library = engine.library
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.cache: weakref.ref[RuntimeCache] | None = None  # which nobody but its maker keeps

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> "RuntimeCache":
        return RuntimeCache(self._library)

    def set_runtime_cache(self, cache: "RuntimeCache") -> None:
        self.cache = weakref.ref(cache)


class RuntimeCache:
    """Kernels, which are good for one version on one kind of card."""

    def __init__(self, library: HostTensorRt) -> None:
        self._place = f"{library.__version__} on {library.card.name}"
        self.kernels: list[str] = []

    def deserialize(self, blob: bytes) -> bool:
        place, _, kernels = blob.decode(errors="replace").partition("\n")
        if place != self._place:
            return False
        self.kernels = kernels.split()
        return True

    def serialize(self) -> memoryview:
        return memoryview(f"{self._place}\n{' '.join(self.kernels)}".encode())


class Context:
    """Runs an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._card = engine.library.card
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)
        self._is_ready = False  # once it ran

    def update_device_memory_size_for_shapes(self) -> int:
        return self._engine.device_memory_size_v2

    def set_device_memory(self, address: int, nbytes: int) -> None:
        enough = nbytes >= self.update_device_memory_size_for_shapes()
        if address % ALIGNMENT or self._card.room(address) < nbytes or not enough:
            self._error(f"{nbytes} bytes at {address:#x} are no scratch memory")
            return
        self._scratch = (address, nbytes)

    def set_tensor_address(self, name: str, address: int) -> bool:
        if not self._card.room(address):
            self._error(f"{address:#x} is no address for {name}")
            return False
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        library = self._engine.library
        fault = self._fault(stream)
        if fault:
            self._error(fault)
            return False
        if not self._is_ready:
            self._get_ready()
            self._is_ready = True
        if self._card.is_capturing(stream) and library.spoils:
            if library.spoils == "stream":
                self._card.spoil(stream)
            self._error("operation not permitted when stream is capturing")
            return False
        library.ran += 1
        try:
            self._card.put(stream, self._draw)
        except Fault as error:
            self._error(str(error))
            return False
        return True

    def _get_ready(self) -> None:
        """What the first run makes."""

    def _fault(self, stream: int) -> str:
        library, engine = self._engine.library, self._engine
        names = map(engine.get_tensor_name, range(engine.num_io_tensors))
        if missing := [name for name in names if name not in self._addresses]:
            return f"{', '.join(missing)} without an address"
        if self._scratch[1] < self.update_device_memory_size_for_shapes():
            return "no scratch memory was given"
        if not stream:
            return "the default stream waits for the whole card"
        if self._card.is_capturing(stream) and not self._is_ready:
            self._card.spoil(stream)
            return "the first run allocates, which cannot be captured"
        if library.stops_after is not None and library.ran >= library.stops_after:
            return "the card fell off the bus"
        return ""

    def _draw(self) -> None:
        """Inputs to outputs; leaves rubbish in the scratch memory, as whoever shares it must expect."""
        given = {
            port.name: self._card.read(self._addresses[port.name], 4 * int(np.prod(port.shape)))
            .view(np.float32)
            .reshape(port.shape)
            for port in self._engine.session.get_inputs()
        }
        address, nbytes = self._scratch
        self._card.write(address, np.full(nbytes, 0x5A, np.uint8))
        for port, drawn in zip(self._engine.session.get_outputs(), self._engine.session.run(None, given), strict=True):
            self._card.write(self._addresses[port.name], np.ascontiguousarray(drawn).reshape(-1))

    def _error(self, text: str) -> None:
        self._engine.logger.log(Severity.ERROR, text)


class RtxContext(Context):
    def __init__(self, engine: Engine, cache: "weakref.ref[RuntimeCache] | None") -> None:
        super().__init__(engine)
        assert cache is not None, "kernels are compiled that nobody keeps"
        self._cache = cache

    def update_device_memory_size_for_shapes(self) -> int:
        """More than the plan says: kernels are chosen on the card."""
        return 2 * super().update_device_memory_size_for_shapes()

    def is_stream_capturable(self, stream: int) -> bool:
        return self._engine.capturable and self._engine.library.captures and self._is_ready

    def _fault(self, stream: int) -> str:
        return super()._fault(stream) or ("" if self._cache() else "the kernels were let go while they were in use")

    def _get_ready(self) -> None:
        cache = self._cache()
        assert cache is not None
        if self._engine.digest not in cache.kernels:
            self._engine.library.jitted += 1
            cache.kernels.append(self._engine.digest)


def host_tensorrt(name: str, card: HostCuda, patch: pytest.MonkeyPatch) -> HostTensorRt:
    """The library for the time of a test, in the place of any other."""
    library = HostTensorRt(name, card)
    for other in (CORE, RTX):
        patch.setitem(sys.modules, other, None)
    patch.setitem(sys.modules, name, library)
    return library
