"""The way of an engine's pixels into a texture: from memory, or on the graphics card without the host.

A picture that lies on an NVIDIA card is copied into the texture there, by CUDA, where the display's OpenGL hangs on the same
card. `fault_of_sharing` finds out once, before an engine is made, by doing it. Pictures in memory go through a ring of pixel
buffers, so that neither side waits for the other; a software renderer copies them straight.

Thread: main. Owns: its texture, its buffers and their registration with CUDA.
"""

import logging
from typing import Any

import moderngl
import numpy as np

from performer import cuda
from performer.cuda import CudaError, call, runtime
from performer.flow import U8, DevicePixels, Pixels
from performer.stage.chain import Size, make_texture
from performer.stage.outputs.output import is_software

log = logging.getLogger(__name__)

RING = 3  # buffers: one being written, one on its way, one to spare
_TEXTURE_2D = 0x0DE1  # GL_TEXTURE_2D
_PROBE_PX = 16
_MOST_DEVICES = 16


class Upload:
    """A texture of one size that pictures are put into."""

    def __init__(self, ctx: moderngl.Context, size: Size) -> None:
        self.size = size
        self.texture = make_texture(ctx, size)
        nbytes = 4 * size[0] * size[1]
        straight = is_software(str(ctx.info["GL_RENDERER"]))
        self._ring = [] if straight else [ctx.buffer(reserve=nbytes, dynamic=True) for _ in range(RING)]
        self._next = 0
        self._shared: SharedTexture | None = None
        self._shares = True  # until it fails

    def put(self, pixels: Pixels) -> None:
        """Take a picture of this size. Raises CudaError where a card no longer gives it."""
        if isinstance(pixels, DevicePixels):
            self._put_from_card(pixels)
        else:
            self._put_from_memory(pixels)

    def _put_from_card(self, pixels: DevicePixels) -> None:
        if self._shares:
            try:
                if self._shared is None:
                    self._shared = SharedTexture(self.texture)
                self._shared.put(pixels)
            except RuntimeError as error:  # the next way works as long as the card answers at all
                log.warning("pictures go through the host from here on: %s", error)
                self._shares = False
            else:
                return
        self._put_from_memory(cuda.downloaded(pixels))

    def _put_from_memory(self, pixels: U8) -> None:
        data = pixels if pixels.flags.c_contiguous else pixels.tobytes()
        if not self._ring:
            self.texture.write(data)
            return
        buffer = self._ring[self._next]
        self._next = (self._next + 1) % len(self._ring)
        buffer.orphan()  # new memory where the card still reads the old
        buffer.write(data)
        self.texture.write(buffer)

    def release(self) -> None:
        """Give everything back to the card."""
        if self._shared is not None:
            self._shared.release()
        for buffer in self._ring:
            buffer.release()
        self.texture.release()


class SharedTexture:
    """An RGBA8 texture as CUDA knows it, for copies on the card.

    Raises CudaError where OpenGL and CUDA do not meet, and whenever CUDA refuses a call.
    """

    def __init__(self, texture: moderngl.Texture) -> None:
        self._size = texture.size
        discard = runtime().cudaGraphicsRegisterFlags.cudaGraphicsRegisterFlagsWriteDiscard
        self._resource: Any = call("cudaGraphicsGLRegisterImage", texture.glo, _TEXTURE_2D, discard)
        # Before all that engines have under way: the frame waits for this copy, and for nothing else on the card.
        _, highest = call("cudaDeviceGetStreamPriorityRange")
        self._stream: Any = call("cudaStreamCreateWithPriority", cuda.NOT_BLOCKING, highest)

    def put(self, pixels: DevicePixels) -> None:
        """Copy a picture of the texture's size into it. Waits for the copy: its engine may draw over it afterwards."""
        width, height = self._size
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice
        # Mapping waits for OpenGL to be done with the texture, unmapping makes OpenGL wait for the copy.
        call("cudaGraphicsMapResources", 1, self._resource, self._stream)
        try:
            array = call("cudaGraphicsSubResourceGetMappedArray", self._resource, 0, 0)
            row = 4 * width
            call("cudaMemcpy2DToArrayAsync", array, 0, 0, pixels.address, row, row, height, kind, self._stream)
        finally:
            call("cudaGraphicsUnmapResources", 1, self._resource, self._stream)
        call("cudaStreamSynchronize", self._stream)

    def release(self) -> None:
        """Let CUDA forget the texture; it stays the caller's."""
        for name, handle in (("cudaGraphicsUnregisterResource", self._resource), ("cudaStreamDestroy", self._stream)):
            try:
                call(name, handle)
            except CudaError as error:
                log.info("%s", error)


def fault_of_sharing(ctx: moderngl.Context) -> str:
    """Why pictures on the NVIDIA card cannot go into textures of `ctx` directly; empty where they can.

    Found out by doing it with a small texture. Run with `ctx` current.
    """
    if reason := cuda.lacking():
        return reason
    renderer = str(ctx.info["GL_RENDERER"])
    if is_software(renderer):
        return f"the display is drawn by the processor ({renderer})"
    texture = shared = memory = None
    try:
        if cuda.DEVICE not in _devices_of_gl():
            return f"the display hangs on another card ({renderer})"
        wanted = np.arange(4 * _PROBE_PX * _PROBE_PX, dtype=np.uint32).astype(np.uint8)
        texture = make_texture(ctx, (_PROBE_PX, _PROBE_PX))
        memory = cuda.Memory()
        staged = memory.pinned(*wanted.shape)
        staged[:] = wanted
        pixels = memory.pixels(_PROBE_PX, _PROBE_PX)
        memory.send(staged, pixels.address)
        memory.wait()
        shared = SharedTexture(texture)
        shared.put(pixels)
        if texture.read() != wanted.tobytes():
            return "a picture that CUDA wrote is not what OpenGL reads"
    except Exception as error:  # an odd driver lacks a function, a context refuses a texture: there is another way
        return str(error)
    finally:
        for each in (shared, texture):
            if each is not None:
                each.release()
        if memory is not None:
            memory.close()
    return ""


def _devices_of_gl() -> list[int]:
    """The CUDA devices that the current OpenGL context hangs on."""
    which = runtime().cudaGLDeviceList.cudaGLDeviceListAll
    count, devices = call("cudaGLGetDevices", _MOST_DEVICES, which)
    return [int(device) for device in devices[: int(count)]]
