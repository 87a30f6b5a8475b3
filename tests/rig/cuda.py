"""CUDA on the host: stands in for the bindings' module of the CUDA runtime where there is no card.

It keeps the runtime's return convention, with the real bindings' codes and handles, and is as strict as its documentation
allows. What a stream is given is done when somebody waits for it, and no sooner, so that a missing wait shows as an old
picture. Memory on the card has addresses that mean nothing to the host, and cannot be read before it was written. Copies
in a stream take pinned memory only. A capture records and does nothing, and is spoilt by what it must not meet.

Misuse answers with an error, and is kept in `offences`, where the caller's own handling cannot hide it.

Thread: any; one call at a time. A texture is written by the thread that shared its context.
"""

import contextlib
import ctypes
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import moderngl
import numpy as np
import pytest
from cuda.bindings import runtime as bindings

from performer import cuda

Code = bindings.cudaError_t
Kind = bindings.cudaMemcpyKind
Work = Callable[[], None]

ALIGNMENT = 256
GAP = 4096  # bytes between two pieces of the card's memory, so that a step too far is noticed
FIRST_ADDRESS = 0x7_0000_0000_0000  # of the card's memory; no address of the host
RUBBISH = 0xA5
TEXTURE_2D = 0x0DE1


class Fault(Exception):
    """A call that fails with `code`."""

    def __init__(self, code: Any) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(slots=True)
class Block:
    """A piece of memory, on the card or pinned."""

    address: int
    data: np.ndarray  # u8
    written: np.ndarray  # bool, byte by byte
    pinned: bool


@dataclass(slots=True)
class Capture:
    """What a stream records instead of doing it."""

    mode: Any
    thread: int
    work: list[Work] = field(default_factory=list)
    spoilt: bool = False


@dataclass(slots=True)
class Stream:
    """What is to be done, in order."""

    work: deque[Work] = field(default_factory=deque)
    capture: Capture | None = None


@dataclass(slots=True)
class Shared:
    """A texture that CUDA knows."""

    texture: int  # its OpenGL name
    array: int = 0  # while it is mapped
    pieces: list[tuple[tuple[int, int, int, int], bytes]] = field(default_factory=list)  # (viewport, pixels)


@dataclass(slots=True)
class Planned:
    """A failure to come."""

    name: str
    code: Any
    countdown: int
    sticky: bool


def runtime_function(*, gives: int = 0, unsafe: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method answer as the bindings do: a tuple of the code and of so many results, which are None on failure.

    unsafe
        spoils a capture that it meets.
    """

    def made(body: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(body)
        def called(self: "HostCuda", *args: Any) -> tuple[Any, ...]:
            with self._lock:
                try:
                    self._begin(body.__name__, unsafe=unsafe)
                    result = body(self, *args)
                except Fault as fault:
                    return (fault.code, *[None] * gives)
            return (Code.cudaSuccess, *((result,) if gives == 1 else result or ()))

        return called

    return made


class HostCuda:
    """The functions that performer calls, over host memory."""

    cudaError_t = Code
    cudaMemcpyKind = Kind
    cudaStreamCaptureMode = bindings.cudaStreamCaptureMode
    cudaGLDeviceList = bindings.cudaGLDeviceList
    cudaGraphicsRegisterFlags = bindings.cudaGraphicsRegisterFlags
    cudaGetErrorString = staticmethod(bindings.cudaGetErrorString)

    def __init__(self, *, name: str = "Host card", capability: tuple[int, int] = (8, 9)) -> None:
        self.name, self.capability = name, capability
        self.offences: list[str] = []  # what no card would have forgiven
        self.calls: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._planned: list[Planned] = []
        self._lost: Any = None  # the code that every call answers with once the card is gone
        self._blocks: dict[int, Block] = {}
        self._gone: list[Block] = []  # kept, so that who still reads them reads rubbish
        self._next_address = FIRST_ADDRESS
        self._handles = itertools.count(0x1000)
        self._legacy = Stream()
        self._streams: dict[int, Stream] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._ready: dict[int, list[Work]] = {}  # graphs that can be launched
        self._shared: dict[int, Shared] = {}
        self._gl: moderngl.Context | None = None
        self._gl_thread = 0
        self._gl_devices: Sequence[int] = ()

    def fail(self, name: str, code: Any, *, at: int = 1, sticky: bool = False) -> None:
        """Let the `at`th call of a function from now on fail; with `sticky`, all calls after it too."""
        self._planned.append(Planned(name, code, at, sticky))

    def share(self, context: moderngl.Context, *, devices: Sequence[int] = (0,)) -> None:
        """Let the OpenGL of this thread hang on `devices`."""
        self._gl, self._gl_thread, self._gl_devices = context, threading.get_ident(), devices

    def left(self) -> list[str]:
        """What nobody gave back. A card that is gone takes all with it."""
        if self._lost is not None:
            return []
        blocks = [f"{len(block.data)} bytes, pinned: {block.pinned}" for block in self._blocks.values()]
        held = {"stream": self._streams, "graph": self._graphs, "ready graph": self._ready, "texture": self._shared}
        return blocks + [f"a {name}" for name, each in held.items() for _ in each]

    # What libraries that run on the card do.

    def put(self, stream: int, work: Work) -> None:
        """Give a stream something to do; under capture it is recorded. Raises Fault."""
        with self._lock:
            found = self._stream(stream)
            if found.capture is None:
                found.work.append(work)
                return
            if found.capture.spoilt:
                raise Fault(Code.cudaErrorStreamCaptureInvalidated)
            found.capture.work.append(work)

    def is_capturing(self, stream: int) -> bool:
        """Whether the stream records."""
        return self._stream(stream).capture is not None

    def spoil(self, stream: int) -> None:
        """Do in a stream what no capture survives."""
        capture = self._stream(stream).capture
        assert capture is not None
        capture.spoilt = True

    def read(self, address: int, nbytes: int) -> np.ndarray:
        """[nbytes], a copy of what lies on the card. Raises Fault."""
        return self._read(address, nbytes, pinned=False)

    def write(self, address: int, data: bytes | np.ndarray) -> None:
        """Put bytes on the card. Raises Fault."""
        self._write(address, np.frombuffer(data, np.uint8), pinned=False)

    def room(self, address: int) -> int:
        """How many bytes there are from `address` on, on the card; 0 for an address of nothing."""
        for block in self._blocks.values():
            if not block.pinned and 0 <= address - block.address < len(block.data):
                return block.address + len(block.data) - address
        return 0

    # The device.

    @runtime_function(gives=1)
    def cudaGetDeviceCount(self) -> int:
        return 1

    @runtime_function(gives=1)
    def cudaGetDeviceProperties(self, device: int) -> Any:
        self._check(device == 0, Code.cudaErrorInvalidDevice, f"there is no device {device}")
        properties = bindings.cudaDeviceProp()
        properties.name = self.name.encode().ljust(256, b"\0")
        properties.major, properties.minor = self.capability
        return properties

    @runtime_function(gives=2)
    def cudaMemGetInfo(self) -> tuple[int, int]:
        return 8 << 30, 16 << 30

    @runtime_function(gives=1)
    def cudaDriverGetVersion(self) -> int:
        return 13000

    @runtime_function()
    def cudaSetDevice(self, device: int) -> None:
        self._check(device == 0, Code.cudaErrorInvalidDevice, f"there is no device {device}")

    # Memory.

    @runtime_function(gives=1, unsafe=True)
    def cudaMalloc(self, nbytes: int) -> int:
        address = self._next_address
        self._next_address += -(-nbytes // ALIGNMENT) * ALIGNMENT + GAP
        self._keep(address, np.empty(nbytes, np.uint8), pinned=False)
        return address

    @runtime_function(gives=1, unsafe=True)
    def cudaHostAlloc(self, nbytes: int, flags: int) -> int:
        data = np.empty(nbytes, np.uint8)
        self._keep(data.ctypes.data, data, pinned=True)
        return data.ctypes.data

    @runtime_function(unsafe=True)
    def cudaFree(self, address: int) -> None:
        self._forget(address, pinned=False)

    @runtime_function(unsafe=True)
    def cudaFreeHost(self, address: int) -> None:
        self._forget(address, pinned=True)

    @runtime_function(unsafe=True)
    def cudaMemset(self, address: int, value: int, nbytes: int) -> None:
        """In the legacy stream, for which others that do not block do not wait; nor does the host."""
        self._fill(address, value, nbytes, stream=0)

    @runtime_function()
    def cudaMemsetAsync(self, address: int, value: int, nbytes: int, stream: Any) -> None:
        self._fill(address, value, nbytes, stream=stream)

    @runtime_function(unsafe=True)
    def cudaMemcpy(self, to: int, source: int, nbytes: int, kind: Any) -> None:
        """After the legacy stream; other streams go on. Takes any memory of the host."""
        self._run(self._legacy)
        if kind == Kind.cudaMemcpyDeviceToHost:
            self._check_host(to)
            ctypes.memmove(to, self.read(source, nbytes).tobytes(), nbytes)
        elif kind == Kind.cudaMemcpyHostToDevice:
            self._check_host(source)
            self.write(to, ctypes.string_at(source, nbytes))
        else:
            raise self._offence(Code.cudaErrorInvalidMemcpyDirection, f"cudaMemcpy: {kind} is not simulated")

    @runtime_function()
    def cudaMemcpyAsync(self, to: int, source: int, nbytes: int, kind: Any, stream: Any) -> None:
        ends = {  # (to is pinned, source is pinned)
            Kind.cudaMemcpyHostToDevice: (False, True),
            Kind.cudaMemcpyDeviceToHost: (True, False),
            Kind.cudaMemcpyDeviceToDevice: (False, False),
        }
        if kind not in ends:
            raise self._offence(Code.cudaErrorInvalidMemcpyDirection, f"cudaMemcpyAsync: {kind} is not simulated")
        to_pinned, source_pinned = ends[kind]
        self._place(to, nbytes, pinned=to_pinned)
        self._place(source, nbytes, pinned=source_pinned)
        self.put(stream, lambda: self._write(to, self._read(source, nbytes, pinned=source_pinned), pinned=to_pinned))

    # Streams and graphs.

    @runtime_function(gives=2)
    def cudaDeviceGetStreamPriorityRange(self) -> tuple[int, int]:
        return 0, -5

    @runtime_function(gives=1)
    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> Any:
        self._check(-5 <= priority <= 0, Code.cudaErrorInvalidValue, f"there is no priority {priority}")
        return self._stream_of(flags)

    @runtime_function(gives=1)
    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return self._stream_of(flags)

    def _stream_of(self, flags: int) -> Any:
        self._check(flags == 1, Code.cudaErrorInvalidValue, "only streams that do not block are simulated")
        handle = next(self._handles)
        self._streams[handle] = Stream()
        return bindings.cudaStream_t(handle)

    @runtime_function()
    def cudaStreamDestroy(self, stream: Any) -> None:
        self._run(self._stream(stream))
        self._check(int(stream) in self._streams, Code.cudaErrorInvalidResourceHandle, "the legacy stream stays")
        del self._streams[int(stream)]

    @runtime_function()
    def cudaStreamSynchronize(self, stream: Any) -> None:
        found = self._stream(stream)
        if found.capture is not None:
            found.capture.spoilt = True
            raise Fault(Code.cudaErrorStreamCaptureUnsupported)
        self._run(found)

    @runtime_function()
    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        found = self._stream(stream)
        self._check(found is not self._legacy, Code.cudaErrorStreamCaptureUnsupported, "the legacy stream is captured")
        self._check(found.capture is None, Code.cudaErrorIllegalState, "a stream is captured twice")
        found.capture = Capture(mode, threading.get_ident())

    @runtime_function(gives=1)
    def cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self._stream(stream)
        capture = found.capture
        if capture is None:
            raise self._offence(Code.cudaErrorIllegalState, "a capture ends that never began")
        relaxed = capture.mode == self.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        own = relaxed or capture.thread == threading.get_ident()
        self._check(own, Code.cudaErrorStreamCaptureWrongThread, "a capture ends in another thread")
        found.capture = None
        if capture.spoilt:
            raise Fault(Code.cudaErrorStreamCaptureInvalidated)
        handle = next(self._handles)
        self._graphs[handle] = capture.work
        return bindings.cudaGraph_t(handle)

    @runtime_function(gives=1)
    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        work = self._held(self._graphs, graph, "graph")
        handle = next(self._handles)
        self._ready[handle] = list(work)
        return bindings.cudaGraphExec_t(handle)

    @runtime_function()
    def cudaGraphDestroy(self, graph: Any) -> None:
        self._held(self._graphs, graph, "graph")
        del self._graphs[int(graph)]

    @runtime_function()
    def cudaGraphExecDestroy(self, ready: Any) -> None:
        self._held(self._ready, ready, "ready graph")
        del self._ready[int(ready)]

    @runtime_function()
    def cudaGraphLaunch(self, ready: Any, stream: Any) -> None:
        for work in self._held(self._ready, ready, "ready graph"):
            self.put(stream, work)

    # Textures of OpenGL.

    @runtime_function(gives=2)
    def cudaGLGetDevices(self, most: int, which: Any) -> tuple[int, list[int]]:
        self._check_gl()
        if not self._gl_devices:
            raise Fault(Code.cudaErrorNoDevice)
        return min(len(self._gl_devices), most), list(self._gl_devices[:most])

    @runtime_function(gives=1, unsafe=True)
    def cudaGraphicsGLRegisterImage(self, texture: int, target: int, flags: Any) -> Any:
        self._check_gl()
        self._check(target == TEXTURE_2D, Code.cudaErrorInvalidValue, f"target {target:#x} is not simulated")
        int(flags)
        handle = next(self._handles)
        self._shared[handle] = Shared(texture)
        return bindings.cudaGraphicsResource_t(handle)

    @runtime_function()
    def cudaGraphicsUnregisterResource(self, resource: Any) -> None:
        shared = self._held(self._shared, resource, "texture")
        self._check(not shared.array, Code.cudaErrorUnknown, "a texture that is mapped is let go")
        del self._shared[int(resource)]

    @runtime_function(unsafe=True)
    def cudaGraphicsMapResources(self, count: int, resource: Any, stream: Any) -> None:
        self._check_gl()
        self._check(count == 1, Code.cudaErrorInvalidValue, "only one texture at a time is simulated")
        self._stream(stream)
        shared = self._held(self._shared, resource, "texture")
        self._check(not shared.array, Code.cudaErrorUnknown, "a texture is mapped twice")
        shared.array = next(self._handles)

    @runtime_function(gives=1)
    def cudaGraphicsSubResourceGetMappedArray(self, resource: Any, index: int, level: int) -> Any:
        shared = self._held(self._shared, resource, "texture")
        self._check(shared.array != 0, Code.cudaErrorUnknown, "a texture is not mapped")
        self._check(index == level == 0, Code.cudaErrorInvalidValue, "a texture has one level")
        return bindings.cudaArray_t(shared.array)

    @runtime_function()
    def cudaMemcpy2DToArrayAsync(
        self, to: Any, x: int, y: int, source: int, pitch: int, width: int, height: int, kind: Any, stream: Any
    ) -> None:
        """`x`, `pitch` and `width` in bytes, of RGBA8."""
        shared = next((each for each in self._shared.values() if each.array == int(to) != 0), None)
        if shared is None:
            raise self._offence(Code.cudaErrorInvalidResourceHandle, "a copy into a texture that is not mapped")
        known = kind == Kind.cudaMemcpyDeviceToDevice
        self._check(known, Code.cudaErrorInvalidMemcpyDirection, f"cudaMemcpy2DToArrayAsync: {kind} is not simulated")
        self._check(width <= pitch, Code.cudaErrorInvalidPitchValue, "rows are longer than their pitch")
        nbytes = pitch * (height - 1) + width
        self._place(source, nbytes, pinned=False)

        def copy() -> None:
            rows = np.lib.stride_tricks.as_strided(self.read(source, nbytes), (height, width), (pitch, 1))
            shared.pieces.append(((x // 4, y, width // 4, height), rows.tobytes()))

        self.put(stream, copy)

    @runtime_function(unsafe=True)
    def cudaGraphicsUnmapResources(self, count: int, resource: Any, stream: Any) -> None:
        """OpenGL goes on after all that the stream was given, so that it is done here."""
        self._check_gl()
        self._check(count == 1, Code.cudaErrorInvalidValue, "only one texture at a time is simulated")
        shared = self._held(self._shared, resource, "texture")
        self._check(shared.array != 0, Code.cudaErrorUnknown, "a texture is not mapped")
        self._run(self._stream(stream))
        shared.array = 0
        assert self._gl is not None
        for viewport, pixels in shared.pieces:
            x, y, width, height = viewport
            texture = self._gl.external_texture(shared.texture, (x + width, y + height), 4, 0, "f1")
            texture.write(pixels, viewport=viewport)
        shared.pieces.clear()

    # What they have in common.

    def _begin(self, name: str, *, unsafe: bool) -> None:
        self.calls[name] += 1
        if self._lost is not None:
            raise Fault(self._lost)
        for planned in [each for each in self._planned if each.name == name]:
            planned.countdown -= 1
            if planned.countdown == 0:
                self._planned.remove(planned)
                self._lost = planned.code if planned.sticky else None
                raise Fault(planned.code)
        if not unsafe:
            return
        modes, thread = self.cudaStreamCaptureMode, threading.get_ident()
        for capture in (stream.capture for stream in self._streams.values()):
            if capture is None or capture.mode == modes.cudaStreamCaptureModeRelaxed:
                continue
            if capture.mode == modes.cudaStreamCaptureModeGlobal or capture.thread == thread:
                capture.spoilt = True
                raise Fault(Code.cudaErrorStreamCaptureUnsupported)

    def _offence(self, code: Any, text: str) -> Fault:
        self.offences.append(text)
        return Fault(code)

    def _check(self, holds: bool, code: Any, text: str) -> None:
        if not holds:
            raise self._offence(code, text)

    def _check_host(self, address: int) -> None:
        self._check(
            address < FIRST_ADDRESS, Code.cudaErrorInvalidValue, "an address of the card is taken for the host's"
        )

    def _check_gl(self) -> None:
        if self._gl is None:
            raise Fault(Code.cudaErrorInvalidGraphicsContext)
        own = threading.get_ident() == self._gl_thread
        self._check(own, Code.cudaErrorInvalidGraphicsContext, "OpenGL is used in a thread where it is not current")

    def _held(self, held: dict[int, Any], handle: Any, name: str) -> Any:
        self._check(int(handle) in held, Code.cudaErrorInvalidResourceHandle, f"a {name} that there is not")
        return held[int(handle)]

    def _stream(self, handle: Any) -> Stream:
        return self._held(self._streams, handle, "stream") if int(handle) else self._legacy

    def _run(self, stream: Stream) -> None:
        """Do what the stream was given. What goes wrong there, the card does not survive."""
        while stream.work:
            try:
                stream.work.popleft()()
            except Exception as error:
                self._lost = error.code if isinstance(error, Fault) else Code.cudaErrorLaunchFailure
                raise self._offence(self._lost, f"in a stream: {error}") from error

    def _keep(self, address: int, data: np.ndarray, *, pinned: bool) -> None:
        data[:] = RUBBISH
        # What the host writes into pinned memory is not seen here.
        self._blocks[address] = Block(address, data, np.full(len(data), pinned), pinned)

    def _forget(self, address: int, *, pinned: bool) -> None:
        """After all streams, as freeing waits for the card."""
        if not address:
            return
        block = self._blocks.get(address)
        if block is None or block.pinned != pinned:
            raise self._offence(Code.cudaErrorInvalidValue, f"{address:#x} is freed, which was not allocated")
        for stream in [self._legacy, *self._streams.values()]:
            self._run(stream)
        block.data[:] = RUBBISH
        self._gone.append(self._blocks.pop(address))

    def _place(self, address: int, nbytes: int, *, pinned: bool) -> tuple[Block, slice]:
        """Where so many bytes lie."""
        for block in self._blocks.values():
            first = address - block.address
            if block.pinned == pinned and first >= 0 and first + nbytes <= len(block.data):
                return block, slice(first, first + nbytes)
        where = "pinned" if pinned else "on the card"
        raise self._offence(Code.cudaErrorInvalidValue, f"{nbytes} bytes at {address:#x} are not {where}")

    def _read(self, address: int, nbytes: int, *, pinned: bool) -> np.ndarray:
        block, place = self._place(address, nbytes, pinned=pinned)
        known = bool(block.written[place].all())
        self._check(
            known, Code.cudaErrorIllegalAddress, f"{nbytes} bytes at {address:#x} are read before they are written"
        )
        return block.data[place].copy()

    def _write(self, address: int, data: np.ndarray, *, pinned: bool) -> None:
        block, place = self._place(address, data.nbytes, pinned=pinned)
        block.data[place] = data
        block.written[place] = True

    def _fill(self, address: int, value: int, nbytes: int, *, stream: Any) -> None:
        self._place(address, nbytes, pinned=False)
        self.put(stream, lambda: self.write(address, np.full(nbytes, value, np.uint8)))


@contextlib.contextmanager
def host_card(patch: pytest.MonkeyPatch) -> Iterator[HostCuda]:
    """A card for the time of a test. At its end nothing may be left on it, and nothing may have been misused."""
    card = HostCuda()
    patch.setattr(cuda, "runtime", lambda: card)
    patch.setattr(cuda, "lacking", lambda: "")
    yield card
    assert card.offences == []
    assert card.left() == []
