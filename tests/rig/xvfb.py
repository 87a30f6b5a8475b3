"""A screen for tests and benchmarks: Xvfb on a free display number.

Thread: any. Owns: the Xvfb process. `DISPLAY` is set while the context lasts, and put back after it.
"""

import ctypes
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_START_S = 15.0


@contextmanager
def xvfb(*, size_px: tuple[int, int] = (1280, 720)) -> Iterator[str]:
    """Run Xvfb with one screen of `size_px` and yield its display, such as `:3`. Raises RuntimeError.

    Xvfb picks the number itself and tells it through a pipe: two test runs never fight over `:99`.
    """
    if shutil.which("Xvfb") is None:
        raise RuntimeError("Xvfb is missing: apt-get install xvfb xdotool")
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{size_px[0]}x{size_px[1]}x24"]
    command += ["-nolisten", "tcp", "-noreset"]
    process = subprocess.Popen(
        command, pass_fds=(write_end,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(write_end)
    before = {name: os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")}
    try:
        number = _number_from(read_end)
        os.environ["DISPLAY"] = f":{number}"
        os.environ.pop("WAYLAND_DISPLAY", None)
        yield f":{number}"
    finally:
        os.close(read_end)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _number_from(pipe: int) -> int:
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], _START_S)
        piece = os.read(pipe, 16) if ready else b""
        if not piece:
            raise RuntimeError("Xvfb did not start")
        text += piece
    return int(text)


class _ClientMessage(ctypes.Structure):
    """XClientMessageEvent of X11/Xlib.h, padded to the size of an XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("pad", ctypes.c_long * 24),
    )


def ask_to_close(window: int) -> None:
    """Send WM_DELETE_WINDOW to a window: what a window manager does for its close button. Xvfb has no manager."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XSendEvent.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    x11.XCloseDisplay.argtypes = (ctypes.c_void_p,)
    display = x11.XOpenDisplay(None)
    if not display:
        raise RuntimeError(f"no X display {os.environ.get('DISPLAY')!r}")
    message = _ClientMessage(type=33, window=window, format=32)  # ClientMessage
    message.message_type = x11.XInternAtom(display, b"WM_PROTOCOLS", False)
    message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", False)
    x11.XSendEvent(display, window, False, 0, ctypes.byref(message))
    x11.XCloseDisplay(display)  # sends what waits
