"""A whole show to measure: a sound server, a screen, and the program between them.

Thread: main.
"""

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import soundfile

from performer import resources
from performer.audio.source import SourceSpec
from performer.play import PlayOptions, prepare
from performer.show import Show
from tests.rig.pulse import PulseServer
from tests.rig.xvfb import xvfb

MUSIC = resources.SETLISTS / "music" / "itchidan_the_laundry_room.ogg"


def parsed_size(text: str) -> tuple[int, int]:
    """`1280x720` as (width, height)."""
    width, height = (int(side) for side in text.split("x"))
    return width, height


class Music:
    """The bundled music as a file of bare floats, so that playing it costs this process nothing."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        samples, self._rate_hz = soundfile.read(MUSIC, dtype="float32", always_2d=True)
        self._channels = samples.shape[1]
        self._path = folder / "music.f32"
        with self._path.open("wb") as file:
            for _ in range(int(seconds * self._rate_hz / len(samples)) + 2):
                file.write(samples.tobytes())

    def play_into(self, pulse: PulseServer) -> None:
        """Play it into the null sink, from its beginning; returns at once."""
        pulse.play_raw(self._path, self._rate_hz, channels=self._channels)


@contextlib.contextmanager
def show_of(
    setlist: str,
    *,
    size_px: tuple[int, int],
    audio: SourceSpec,
    species: str = "",
    headless: bool = False,
    fps: float | None = None,
    hud: bool = False,
    memory_mb: float | None = None,
    osc: bool = True,
    http: bool = False,
) -> Iterator[Show]:
    """A running show in a window under Xvfb, or headless; closed at the end."""
    with contextlib.ExitStack() as stack:
        if not headless:
            stack.enter_context(xvfb(size_px=size_px))
        show = prepare(
            PlayOptions(
                setlist=setlist,
                species=species,
                audio=audio,
                headless=headless,
                size_px=size_px,
                fps=fps,
                hud=hud,
                memory_mb=memory_mb,
                osc_host="127.0.0.1",
                osc_port=_free_port() if osc else 0,
                http_port=_free_port() if http else 0,
            ),
            announce=lambda text: print(text, file=sys.stderr),
        )
        stack.callback(show.close)
        yield show


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
