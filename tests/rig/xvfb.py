"""A screen for tests and benchmarks: Xvfb on a free display number.

Thread: any. Owns: the Xvfb process. `DISPLAY` is set while the context lasts, and put back after it.
"""

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
