"""Frames as PNG files: a numbered folder of them, or one snapshot.

Encoding takes longer than a frame, so a thread of its own does it. When that falls behind, frames are dropped and
counted; the window never waits.

Thread: `put` on the main thread; files are written by one thread of this output. Owns: that thread and a queue.
"""

import io
import logging
import queue
import threading
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from performer.files import write_whole
from performer.flow import U8, Frame

log = logging.getLogger(__name__)

_QUEUED = 4  # frames; at 1080 lines 8 MB each


class StillWriter:
    """An `Output` that writes frames to `folder` as `000042.png`, named by the tick's frame number.

    every
        write one frame of so many.

    Raises OSError at once where the folder cannot be made.
    """

    def __init__(self, folder: str | Path, *, every: int = 1) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.every = max(every, 1)
        self.dropped = 0
        self.written = 0
        self.failed = 0
        self._queue: queue.Queue[tuple[Path, U8] | None] = queue.Queue(maxsize=_QUEUED)
        self._thread = threading.Thread(target=self._run, name="stills", daemon=True)
        self._thread.start()

    def put(self, frame: Frame) -> bool:
        """Take `frame`, or drop it where the queue is full. Reads the card only when there is room."""
        if frame.tick.frame % self.every:
            return True
        return self._post(frame, self.folder / f"{frame.tick.frame:06d}.png")

    def snapshot(self, frame: Frame, path: str | Path) -> bool:
        """Write this one frame to `path`; False where it was dropped."""
        return self._post(frame, Path(path))

    def _post(self, frame: Frame, path: Path) -> bool:
        if self._queue.full():
            self.dropped += 1
            return False
        width, height = frame.size_px
        pixels = np.frombuffer(frame.texture.read(), np.uint8).reshape(height, width, 4)
        self._queue.put_nowait((path, pixels))  # the main thread is the only one that puts: the room is still there
        return True

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            path, pixels = item
            try:
                write_png(path, pixels[::-1, :, :3])
                self.written += 1
            except Exception as error:
                self.failed += 1
                if self.failed == 1:
                    log.warning("stills cannot be written (%s): %s", error, path)


def write_png(path: str | Path, pixels: U8) -> None:
    """Write [H, W, 3 or 4] u8 sRGB, top row first. A viewer that polls the folder never opens half. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels[..., :3])).save(encoded, format="PNG", compress_level=1)
    write_whole(path, encoded.getvalue())
