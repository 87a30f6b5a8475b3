"""Engine `openvino`: the default where there is no GPU. Full precision, asynchronous, compiled once and cached.

Thread: the runtime's own; a finished inference calls back, publishes its picture and starts the latent that waits.
Owns: the compiled models and three inference requests of each, so that a picture can be read while the next is made.
"""

import contextlib
import importlib.util
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from performer.clock import Clock
from performer.engines import cache
from performer.engines.engine import (
    Availability,
    Engine,
    EngineError,
    Progress,
    form_for,
    forms_of,
    names_of,
    this_processor,
)
from performer.flow import Image, LatentFrame
from performer.generators.checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from performer.generators.network import PictureNetwork

REQUESTS = 3  # one runs, one holds the newest picture, and one the picture that the stage may still be reading
LET_GO_S = 1.0  # the runtime lets go of a callback within microseconds
HINTS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # The default precision is bf16 where the processor has it: three decimal digits, visible as banding.
    "INFERENCE_PRECISION_HINT": "f32",
}


_kept: list["OpenVinoEngine"] = []  # that could not be taken down


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU."""

    name = "openvino"
    rank = 50
    suits = "a machine without a GPU"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._lock = threading.Lock()
        self._compiled: list[Any] = []  # by form
        self._requests: list[Any] = []  # REQUESTS of each form, one form after the other
        self._callbacks: list[weakref.ref[partial[None]]] = []  # dead once the runtime has let go of them
        self._inputs: list[dict[str, np.ndarray]] = []  # by the name of the field of LatentFrame
        self._outputs: list[np.ndarray] = []
        self._waiting: tuple[LatentFrame, float] | None = None
        self._running: int | None = None  # index of the busy request
        self._held: int | None = None  # index of the request whose picture the render thread may be reading
        self._newest: Image | None = None
        self._newest_from: int | None = None
        self._animal = (0, 1)  # which of how many the busy request draws
        self._started_s = 0.0
        self._submitted_s = 0.0
        self._closing = False

    @classmethod
    def probe(cls) -> Availability:
        if importlib.util.find_spec("openvino") is None:
            return Availability(False, "OpenVINO is not installed: pip install openvino")
        return Availability(True, "OpenVINO is installed")

    @classmethod
    def fingerprint(cls) -> str:
        return f"openvino {version('openvino')} on {this_processor()}"

    def activate(self, checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = ()) -> None:
        for first, others in forms_of(checkpoint, siblings):
            self._add(compiled_model(first, siblings=others, progress=progress))

    def _add(self, compiled: Any) -> None:
        """Make the requests of the next form, and run each once."""
        import openvino

        self._compiled.append(compiled)
        for _ in range(REQUESTS):
            request = compiled.create_infer_request()
            inputs = {port.any_name: np.zeros(list(port.shape), np.float32) for port in compiled.inputs}
            for name, array in inputs.items():
                request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
            request.infer()
            callback = partial(self._finished)
            self._callbacks.append(weakref.ref(callback))
            request.set_callback(callback, len(self._requests))
            del callback  # the runtime's alone
            self._requests.append(request)
            self._inputs.append(inputs)
            self._outputs.append(request.get_output_tensor(0).data)

    def submit(self, latent: LatentFrame) -> None:
        with self._lock:
            self._waiting = (latent, self._clock.now_s())
            if self._running is None and self.failure is None and not self._closing:
                self._start_waiting()

    def latest(self) -> Image | None:
        with self._lock:
            self._held = self._newest_from
            return self._newest

    def close(self) -> None:
        with self._lock:
            self._closing = True
            self._waiting = None
        # A model that is taken down waits for the runtime's threads, with Python's lock held. One of them that still has a
        # callback to let go of needs that lock, and both would wait for ever: so all callbacks are let go of first, also
        # those of requests that have published their picture.
        for request in self._requests:
            with contextlib.suppress(RuntimeError):  # one that has failed is done, too
                request.wait()
            request.set_callback(_nothing, None)
        end_s = time.monotonic() + LET_GO_S
        while any(callback() is not None for callback in self._callbacks):
            if time.monotonic() > end_s:
                _kept.append(self)  # its memory is lost, and the show is not
                return
            time.sleep(0.001)
        with self._lock:
            # A request holds its callback, and that this engine: a circle that no collector sees through.
            self._requests, self._compiled, self._inputs, self._outputs = [], [], [], []

    def _start_waiting(self) -> None:
        """Start the waiting latent on a request whose picture nobody reads. The lock is held."""
        assert self._waiting is not None
        latent, self._submitted_s = self._waiting
        self._animal, self._waiting = (latent.member, latent.members), None
        first = REQUESTS * form_for(latent, forms=len(self._compiled))
        index = next(i for i in range(first, first + REQUESTS) if i not in (self._held, self._newest_from))
        for name, array in self._inputs[index].items():
            array[:] = getattr(latent, name)  # ws has one picture's axis more, which broadcasts
        self._running = index
        self._started_s = self._clock.now_s()
        try:
            self._requests[index].start_async()
        except Exception as error:  # nothing may escape into the show; it reads `failure` and rebuilds
            self._running = None
            self.failure = error

    def _finished(self, index: int) -> None:
        """An inference is done. Thread: the runtime's."""
        ready_s = self._clock.now_s()
        with self._lock:
            self._running = None
            if self._closing:
                return
            self.images += 1
            self.infer_ms = (ready_s - self._started_s) * 1000
            self._newest = Image(
                pixels=self._outputs[index],
                serial=self.images,
                submitted_s=self._submitted_s,
                ready_s=ready_s,
                member=self._animal[0],
                members=self._animal[1],
            )
            self._newest_from = index
            if self._waiting is not None:
                self._start_waiting()


def _nothing(_: object) -> None:
    """In place of a callback."""


def compiled_model(checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = ()) -> Any:
    """The species, or all between it and its siblings, compiled for this processor; from the cache if it is there.

    Raises:
        EngineError: OpenVINO or the species refuses.
    """
    import openvino

    core = openvino.Core()
    key = cache.key_of(
        checkpoint,
        openvino.get_version(),
        core.get_property("CPU", "FULL_DEVICE_NAME"),
        repr(HINTS),
        siblings=siblings,
    )
    stored = cache.fetch(OpenVinoEngine.name, key)
    if stored is not None:
        try:
            return core.import_model(openvino.Tensor(np.frombuffer(stored, np.uint8)), "CPU", HINTS)
        except RuntimeError:
            progress("the cached engine is of another kind; building it again")
    try:
        compiled = core.compile_model(converted(checkpoint, siblings=siblings, progress=progress), "CPU", HINTS)
    except CheckpointError as error:
        raise EngineError(str(error)) from error
    except RuntimeError as error:
        raise EngineError(f"{checkpoint.path}: OpenVINO could not build it: {error}") from error
    cache.store(OpenVinoEngine.name, key, compiled.export_model().getvalue())
    return compiled


def converted(
    checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = (), signal: bool = False
) -> Any:
    """The species, or what lies between siblings, as an OpenVINO graph; with `signal`, its output before quantisation."""
    progress("loading PyTorch, once, to build the engine")
    from performer.generators import network

    module = network.build(checkpoint, siblings)
    progress(f"building the engine for {names_of(checkpoint, *siblings)}")
    return graph_of(module, signal=signal)


def graph_of(module: "PictureNetwork", *, signal: bool = False) -> Any:
    """A network as an OpenVINO graph, its inputs named as in `LatentFrame`; with `signal`, before quantisation."""
    import openvino

    from performer.generators import network

    example = module.examples()
    with warnings.catch_warnings():  # the tracer warns of constants, which these are meant to be, and of its own age
        warnings.simplefilter("ignore")
        model = openvino.convert_model(
            network.SignalNetwork(module) if signal else module,
            example_input=example,
            input=[openvino.PartialShape(list(tensor.shape)) for tensor in example],
        )
    for port, name in zip(model.inputs, module.inputs, strict=True):
        port.get_tensor().set_names({name})
    return model


ENGINE = OpenVinoEngine
