"""The contract of what a picture is shown on (`Display`) and of what it is handed to besides (`Output`).

Thread: the main thread for both; an output that is slow does its work elsewhere, drops, and counts what it dropped.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from performer.flow import Frame

_SOFTWARE = ("llvmpipe", "softpipe", "swiftshader", "software rasterizer", "swrast", "basic render", "lavapipe")


class NoDisplay(RuntimeError):
    """No window can be had; the message says why. The show announces it and goes on without one."""


@dataclass(frozen=True, slots=True)
class KeyPress:
    """A key that went down. `key` is a name of `performer.stage.keys`: `space`, `left`, `f`, `f1` ..."""

    key: str


class Display(Protocol):
    """Where the picture is shown: owns the GL context and the screen."""

    ctx: Any  # moderngl.Context, version 3.3 core or above
    description: str  # the renderer's own name, for people
    is_software: bool  # True where the processor draws
    refresh_hz: float | None  # None where nothing paces the display: the show paces itself

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the screen in pixels; may change between frames."""
        ...

    @property
    def framebuffer(self) -> Any:
        """moderngl.Framebuffer of the screen."""
        ...

    @property
    def should_close(self) -> bool:
        """True once somebody wants to leave."""
        ...

    def present(self) -> None:
        """Make what was drawn visible. May wait for the display where `refresh_hz` is known."""
        ...

    def poll(self) -> list[KeyPress]:
        """The keys that went down since the last call, oldest first. Never waits."""
        ...

    def close(self) -> None:
        """Give the screen back. May be called twice."""
        ...


class Output(Protocol):
    """A taker of finished frames: a folder of stills, a recorder, a network stream."""

    dropped: int  # frames that found it busy

    def put(self, frame: Frame) -> bool:
        """Take `frame`; False where it was dropped. Never waits; called while the frame's texture is valid.

        Whatever it raises is announced, and it gets no other frame.
        """
        ...

    def close(self) -> None:
        """Finish what was taken, then let go."""
        ...


def is_software(renderer: str) -> bool:
    """Whether the GL renderer of this name draws with the processor."""
    return any(name in renderer.lower() for name in _SOFTWARE)
