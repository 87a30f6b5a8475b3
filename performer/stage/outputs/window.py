"""The window that the audience sees.

A full screen is an undecorated window that covers the monitor: glfw's own full screen iconifies as soon as somebody
clicks elsewhere, and a show must not vanish because the operator touched a mouse.

Thread: main, as glfw demands. Owns: the glfw window, its GL context and the keyboard.
"""

import logging
import os
import sys
from typing import Any

import moderngl

from performer.stage.keys import NAMES_BY_GLFW
from performer.stage.outputs.output import KeyPress, NoDisplay, is_software

log = logging.getLogger(__name__)

QUIT_HOLD_S = 1.0  # how long Esc is held to leave: a show must not end by a slip of the hand
_MOST_KEYS = 64  # kept between two polls; a key held down by a book must not grow a list


class Window:
    """A `Display` on a monitor. Black until the first frame.

    monitor
        part of a monitor's name, in any case; the window opens there. Raises ValueError with the names that exist
        where none fits.

    Raises NoDisplay with the reason where no window can be had.
    """

    def __init__(
        self,
        *,
        size_px: tuple[int, int] = (1280, 720),
        fullscreen: bool = False,
        monitor: str | None = None,
        title: str = "performer",
    ) -> None:
        self._glfw = glfw = _start_glfw()
        self._keys: list[KeyPress] = []
        self._lost_keys = 0
        self._esc_since_s: float | None = None
        self._closed = False
        try:
            self._monitor = self._find_monitor(monitor) if monitor else glfw.get_primary_monitor()
            glfw.default_window_hints()
            for hint, value in (
                (glfw.CONTEXT_VERSION_MAJOR, 3),
                (glfw.CONTEXT_VERSION_MINOR, 3),
                (glfw.OPENGL_PROFILE, glfw.OPENGL_CORE_PROFILE),
                (glfw.OPENGL_FORWARD_COMPAT, True),
                (glfw.AUTO_ICONIFY, False),
                (glfw.VISIBLE, False),
                (glfw.DEPTH_BITS, 0),
                (glfw.STENCIL_BITS, 0),
            ):
                glfw.window_hint(hint, value)
            self._window = glfw.create_window(*size_px, title, None, None)
            if not self._window:
                raise NoDisplay(f"no window with OpenGL 3.3 ({_last_error(glfw)}); check the graphics driver")
            self._windowed = self._centred(size_px)
            self._fullscreen = False
            if monitor and not fullscreen:
                glfw.set_window_pos(self._window, *self._windowed[:2])
            if fullscreen:
                self.toggle_fullscreen()
            glfw.make_context_current(self._window)
            self.ctx = moderngl.create_context(require=330)
        except BaseException:
            glfw.terminate()
            raise
        self.description = str(self.ctx.info["GL_RENDERER"])
        self.is_software = is_software(self.description)
        # A software renderer has no retrace to wait for; under Xvfb the wait would be a guess of the driver's.
        glfw.swap_interval(0 if self.is_software else 1)
        mode = glfw.get_video_mode(self._monitor) if self._monitor else None
        self.refresh_hz: float | None = float(mode.refresh_rate) if mode and not self.is_software else None
        glfw.set_key_callback(self._window, self._on_key)
        glfw.show_window(self._window)
        self._black()

    # --- Display -----------------------------------------------------------------------------------------------------

    @property
    def size_px(self) -> tuple[int, int]:
        width, height = self._glfw.get_framebuffer_size(self._window)
        return max(width, 1), max(height, 1)  # an iconified window has no size; nothing may divide by it

    @property
    def framebuffer(self) -> moderngl.Framebuffer:
        screen = self.ctx.screen
        screen.viewport = (0, 0, *self.size_px)  # moderngl keeps the size at which the context was made
        return screen

    @property
    def should_close(self) -> bool:
        return bool(self._glfw.window_should_close(self._window))

    def present(self) -> None:
        self._glfw.swap_buffers(self._window)

    def poll(self) -> list[KeyPress]:
        self._glfw.poll_events()
        # glfw's timer measures a hand, not the picture: choreography never sees it.
        if self._esc_since_s is not None and self._glfw.get_time() - self._esc_since_s >= QUIT_HOLD_S:
            self._glfw.set_window_should_close(self._window, True)
        keys, self._keys = self._keys, []
        return keys

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.ctx.release()
        self._glfw.destroy_window(self._window)
        self._glfw.terminate()

    # --- full screen -------------------------------------------------------------------------------------------------

    @property
    def fullscreen(self) -> bool:
        """Whether the window covers its monitor."""
        return self._fullscreen

    def toggle_fullscreen(self) -> None:
        """Cover the monitor, or go back to the window's former place. F11 does the same."""
        glfw = self._glfw
        self._fullscreen = not self._fullscreen
        if self._fullscreen:
            mode = glfw.get_video_mode(self._monitor) if self._monitor else None
            if mode is None:
                log.warning("no monitor to cover: the window stays a window")
                self._fullscreen = False
                return
            x, y = glfw.get_monitor_pos(self._monitor)
            self._windowed = (*glfw.get_window_pos(self._window), *glfw.get_window_size(self._window))
            place = (x, y, mode.size.width, mode.size.height)
        else:
            place = self._windowed
        glfw.set_window_attrib(self._window, glfw.DECORATED, not self._fullscreen)
        glfw.set_window_attrib(self._window, glfw.FLOATING, self._fullscreen)
        glfw.set_input_mode(self._window, glfw.CURSOR, glfw.CURSOR_HIDDEN if self._fullscreen else glfw.CURSOR_NORMAL)
        glfw.set_window_pos(self._window, *place[:2])
        glfw.set_window_size(self._window, *place[2:])

    def _find_monitor(self, name: str) -> Any:
        glfw = self._glfw
        monitors = [(_name_of(glfw, monitor), monitor) for monitor in glfw.get_monitors()]
        for found, monitor in monitors:
            if name.lower() in found.lower():
                return monitor
        names = ", ".join(repr(found) for found, _ in monitors) or "none at all"
        raise ValueError(f"no monitor named {name!r}; connected: {names}")

    def _centred(self, size_px: tuple[int, int]) -> tuple[int, int, int, int]:
        mode = self._glfw.get_video_mode(self._monitor) if self._monitor else None
        if mode is None:
            return (0, 0, *size_px)
        x, y = self._glfw.get_monitor_pos(self._monitor)
        spare = max(mode.size.width - size_px[0], 0), max(mode.size.height - size_px[1], 0)
        return (x + spare[0] // 2, y + spare[1] // 2, *size_px)

    def _black(self) -> None:
        for _ in range(2):  # both buffers: the second would else flash whatever the driver left in it
            self.framebuffer.clear(0.0, 0.0, 0.0, 1.0)
            self.present()

    # --- keys --------------------------------------------------------------------------------------------------------

    def _on_key(self, _window: Any, key: int, _scancode: int, action: int, mods: int) -> None:
        glfw = self._glfw
        if key == glfw.KEY_ESCAPE:
            if action == glfw.PRESS:
                self._esc_since_s = glfw.get_time()
            elif action == glfw.RELEASE:
                self._esc_since_s = None
            return
        # A held key is one press: a hand resting on the space bar must not run through the setlist. Combinations
        # belong to the desktop.
        if action != glfw.PRESS or mods & (glfw.MOD_CONTROL | glfw.MOD_ALT | glfw.MOD_SUPER):
            return
        name = NAMES_BY_GLFW.get(key)
        if name == "f11":
            self.toggle_fullscreen()
        elif name is not None and len(self._keys) < _MOST_KEYS:
            self._keys.append(KeyPress(name))


def monitor_names() -> list[str]:
    """Names of the connected monitors. Raises NoDisplay."""
    glfw = _start_glfw()
    return [_name_of(glfw, monitor) for monitor in glfw.get_monitors()]


def _start_glfw() -> Any:
    """The initialised glfw module, or NoDisplay."""
    if sys.platform.startswith("linux"):
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise NoDisplay("neither DISPLAY nor WAYLAND_DISPLAY is set: there is no screen to open a window on")
        # Under Wayland a window cannot choose its monitor; XWayland lets it.
        if os.environ.get("DISPLAY"):
            os.environ.setdefault("PYGLFW_LIBRARY_VARIANT", "x11")
    try:
        import glfw  # lazy: a server without a screen needs no glfw
    except ImportError as error:
        raise NoDisplay(f"glfw cannot be imported ({error}); install it, or play headless") from error
    glfw.ERROR_REPORTING = "ignore"  # reasons are read by get_error and put into exceptions of our own
    if not glfw.init():
        raise NoDisplay(f"glfw found no display ({_last_error(glfw)})")
    return glfw


def _last_error(glfw: Any) -> str:
    code, text = glfw.get_error()
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return str(text or f"error {code}")


def _name_of(glfw: Any, monitor: Any) -> str:
    name = glfw.get_monitor_name(monitor)
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
