"""A display without a screen: EGL, for servers, tests and offline renders.

Thread: the one that made it. Owns: a GL context and one framebuffer.
"""

import ctypes
from typing import Any

import moderngl

from performer.stage.outputs.output import KeyPress, NoDisplay, is_software


class Headless:
    """A `Display` that nobody sees. Raises NoDisplay where the machine has no EGL."""

    def __init__(self, *, size_px: tuple[int, int] = (1280, 720)) -> None:
        try:
            self.ctx = moderngl.create_standalone_context(require=330, backend="egl")  # type: ignore[arg-type]
        except Exception as error:  # moderngl and glcontext raise bare Exceptions
            raise NoDisplay(f"no EGL context ({error}); install libegl1 and a Mesa or vendor driver") from error
        self._egl = _egl()
        self._egl_context = self._egl.eglGetCurrentContext() if self._egl else None
        self.description = str(self.ctx.info["GL_RENDERER"])
        self.is_software = is_software(self.description)
        self.refresh_hz: float | None = None
        self.should_close = False
        self._closed = False
        self._framebuffer = self._make(size_px)

    def _make(self, size_px: tuple[int, int]) -> moderngl.Framebuffer:
        framebuffer = self.ctx.framebuffer([self.ctx.texture(size_px, 4)])
        framebuffer.clear(0.0, 0.0, 0.0, 1.0)
        return framebuffer

    @property
    def size_px(self) -> tuple[int, int]:
        return self._framebuffer.size

    @property
    def framebuffer(self) -> moderngl.Framebuffer:
        return self._framebuffer

    def resize(self, size_px: tuple[int, int]) -> None:
        """What a window does when somebody drags its corner."""
        old, self._framebuffer = self._framebuffer, self._make(size_px)
        self._framebuffer.use()
        for texture in old.color_attachments:
            texture.release()
        old.release()

    def present(self) -> None:
        # Without this the driver may keep a whole second of frames in flight, and every timing would lie.
        self.ctx.finish()

    def poll(self) -> list[KeyPress]:
        return []

    def toggle_fullscreen(self) -> None:
        """Nothing to toggle."""

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            # moderngl leaves the dead context current, and X then refuses this thread a window (BadAccess).
            if self._egl and self._egl.eglGetCurrentContext() == self._egl_context:
                self._egl.eglReleaseThread()
            self.ctx.release()


def _egl() -> Any:
    """The EGL library that moderngl has loaded already, or None."""
    try:
        library = ctypes.CDLL("libEGL.so.1")
        library.eglGetCurrentContext.restype = ctypes.c_void_p
    except (OSError, AttributeError):
        return None
    return library
