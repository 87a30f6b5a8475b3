"""The CUDA runtime, as far as a show needs it: which card there is, a stream, fixed memory on both sides, copies, capture.

NVIDIA's own bindings (`cuda-bindings`, on the package index) do the calls; here every call is checked, and what was
allocated is known, so that it can be given back. torch is not needed: a show whose engine is in the cache never loads it.

Thread: any. The runtime keeps a current device for each thread, which begins as device 0, the only one used here:
`CUDA_VISIBLE_DEVICES` decides which card that is.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from performer.flow import U8, DevicePixels, Pixels

DEVICE = 0
INSTALL = "pip install cuda-bindings"
NOT_BLOCKING = 1  # cudaStreamNonBlocking: of no concern to the legacy default stream
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card that CUDA can use."""

    name: str
    capability: tuple[int, int]  # (major, minor) of its architecture
    driver: str  # version of the driver; empty where it cannot be told

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability[0]}.{self.capability[1]}, driver {self.driver}"


@cache
def lacking() -> str:
    """What keeps this machine from CUDA, with the remedy; empty where nothing does. Cheap where there is no driver.

    The answer is kept: a card that comes or goes does so with a restart.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver on this machine (for an NVIDIA card: nvidia.com/drivers)"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == _NO_DEVICE or not (code or count.value):
        return "the NVIDIA driver finds no card"
    if code:
        return f"the NVIDIA driver answers with error {code}; install it again, then start the machine anew"
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        return f"the CUDA bindings are not installed: {INSTALL}"
    try:
        call("cudaGetDeviceCount")
    except CudaError as error:  # such as a driver that is older than the bindings
        return f"{error}; install a newer NVIDIA driver"
    return ""


def runtime() -> Any:
    """The bindings' module of the CUDA runtime. Raises CudaError where they are not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise CudaError(f"the CUDA bindings cannot be loaded ({error}): {INSTALL}") from error


def call(name: str, *args: Any) -> Any:
    """Call a function of the CUDA runtime: its result, a tuple where there are several, None where there is none.

    Raises CudaError with the runtime's own words.
    """
    bindings = runtime()
    code, *results = getattr(bindings, name)(*args)
    if code != bindings.cudaError_t.cudaSuccess:
        _, words = bindings.cudaGetErrorString(code)
        raise CudaError(f"{name}: {words.decode() if isinstance(words, bytes) else words} ({code.name})")
    return results[0] if len(results) == 1 else tuple(results) or None


def card() -> Card:
    """The card that is used. Raises CudaError where there is none."""
    if reason := lacking():
        raise CudaError(reason)
    properties = call("cudaGetDeviceProperties", DEVICE)
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Card(name=name.strip("\0"), capability=(properties.major, properties.minor), driver=_driver_version())


def free_bytes() -> int:
    """Memory that is free on the card; 0 where there is none that can be used."""
    return 0 if lacking() else int(call("cudaMemGetInfo")[0])


def _driver_version() -> str:
    """As people know it, such as 580.65.06; else the newest CUDA that the driver speaks."""
    try:
        nvml = importlib.import_module("cuda.bindings.nvml")
        nvml.init_v2()
        try:
            return str(nvml.system_get_driver_version())
        finally:
            nvml.shutdown()
    except Exception:  # older bindings have no nvml, and containers often lack its library
        return f"for CUDA {call('cudaDriverGetVersion') / 1000:g}"


class Memory:
    """A stream of its own, and fixed memory on the card and beside it.

    Everything is allocated before a show and given back by `close`, which may be called twice.

    Raises CudaError.
    """

    def __init__(self) -> None:
        self._on_card: list[int] = []
        self._beside: list[int] = []
        self._graphs: list[Any] = []
        call("cudaSetDevice", DEVICE)
        self.stream: Any = call("cudaStreamCreateWithFlags", NOT_BLOCKING)

    @property
    def stream_address(self) -> int:
        """The stream as other libraries want it."""
        return int(self.stream)

    def on_card(self, nbytes: int) -> int:
        """The address of so many bytes on the card, aligned to 256 of them, all 0."""
        nbytes = max(nbytes, 256)
        address = int(call("cudaMalloc", nbytes))
        self._on_card.append(address)
        call("cudaMemsetAsync", address, 0, nbytes, self.stream)
        return address

    def pinned(self, *shape: int, dtype: Any = np.uint8) -> np.ndarray:
        """An array whose memory the card reads and writes by itself, so that copies run beside the processor."""
        nbytes = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        address = int(call("cudaHostAlloc", nbytes, 0))
        self._beside.append(address)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        array[:] = 0
        return array.view(dtype).reshape(shape)

    def pixels(self, height_px: int, width_px: int) -> DevicePixels:
        """Room for a picture on the card."""
        return DevicePixels(self.on_card(4 * height_px * width_px), height_px, width_px)

    def send(self, array: np.ndarray, address: int) -> None:
        """Copy a pinned array to the card, in the stream's order."""
        self._copy(address, array.ctypes.data, array.nbytes, "cudaMemcpyHostToDevice")

    def fetch(self, address: int, into: Pixels) -> None:
        """Copy a picture from the card to a pinned array or to another place on the card, in the stream's order."""
        if isinstance(into, DevicePixels):
            self._copy(into.address, address, into.nbytes, "cudaMemcpyDeviceToDevice")
        else:
            self._copy(into.ctypes.data, address, into.nbytes, "cudaMemcpyDeviceToHost")

    def _copy(self, to: int, source: int, nbytes: int, kind: str) -> None:
        call("cudaMemcpyAsync", to, source, nbytes, getattr(runtime().cudaMemcpyKind, kind), self.stream)

    def wait(self) -> None:
        """Until the stream has done all that it was given. Other Python threads run meanwhile."""
        call("cudaStreamSynchronize", self.stream)

    def captured(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What `enqueue` puts into the stream, as a graph: the call that launches all of it at once.

        Raises CudaError where something in it cannot be captured; the stream is good all the same.
        """
        bindings = runtime()
        # Of this thread alone: others, which upload pictures or build engines, may allocate meanwhile.
        call("cudaStreamBeginCapture", self.stream, bindings.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            enqueue()
        except BaseException:
            with contextlib.suppress(CudaError):  # the capture may have failed as well
                call("cudaGraphDestroy", call("cudaStreamEndCapture", self.stream))
            raise
        graph = call("cudaStreamEndCapture", self.stream)
        try:
            ready = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)
        self._graphs.append(ready)
        return lambda: call("cudaGraphLaunch", ready, self.stream)

    def stop(self) -> None:
        """Wait for what still runs, and drop the graphs: whatever they use may be let go then."""
        if self.stream is not None:
            _quietly("cudaStreamSynchronize", self.stream)
        while self._graphs:
            _quietly("cudaGraphExecDestroy", self._graphs.pop())

    def close(self) -> None:
        """Give everything back; of a card that no longer answers, what can be."""
        self.stop()
        while self._on_card:
            _quietly("cudaFree", self._on_card.pop())
        while self._beside:
            _quietly("cudaFreeHost", self._beside.pop())
        if self.stream is not None:
            _quietly("cudaStreamDestroy", self.stream)
            self.stream = None


def _quietly(name: str, *args: Any) -> None:
    with contextlib.suppress(CudaError):
        call(name, *args)


def downloaded(pixels: DevicePixels) -> U8:
    """[H, W, 4], a copy of a picture on the card. Waits for it. Raises CudaError."""
    array = np.empty((pixels.height_px, pixels.width_px, 4), np.uint8)
    kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
    call("cudaMemcpy", array.ctypes.data, pixels.address, array.nbytes, kind)
    return array
