"""The programme preview: small pictures of what the audience sees, for the panel, while somebody watches.

A picture shows what `Frame.texture` holds: the frame as displayed, with effects, freeze, dimmer and blackout, without the
HUD. Each of its pixels is the mean of a square of the frame's, so that nothing flickers that does not flicker on stage; in
sRGB values, as all that this stage mixes. The square's side is the smallest whole number of pixels at which the picture fits
into the record; squares at the upper and right edge may be cut.

There are two ways, whose pictures are the same but for rounding. A graphics card draws the picture small and copies it into
a buffer, which is read some frames later, when nothing has to be waited for. Where the processor draws, that shader takes
more than 2 ms of a frame at 1280x720, and copying the frame whole takes 0.2 ms: a thread makes it small then.

Thread: `put` and `close` on the main thread; the thread that makes pictures small belongs to its output. Owns: that thread,
or a framebuffer, a buffer and a program. Real-time: nothing is read while nobody watches.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

import moderngl
import numpy as np
from PIL import Image as Pillow

from performer.exchange import SharedLatest
from performer.flow import U8, Frame, Tick
from performer.stage.chain import FULL_SCREEN_VERTEX, Canvas, Size, full_screen_corners
from performer.stage.outputs.output import is_software

log = logging.getLogger(__name__)

PICTURES_HZ = 8.0  # at most
WATCH_S = 2.0  # so long after it was last asked for, somebody is taken to watch
READ_AFTER = 2  # frames after which what the card was asked for is read: before, it might have to be waited for

# The rows of a frame begin at the bottom, those of a picture at the top: it is turned over here.
_MEAN = """#version 330 core
uniform sampler2D image;
uniform int side;
out vec4 color;
void main() {
  ivec2 size = textureSize(image, 0);
  ivec2 at = ivec2(gl_FragCoord.xy);
  at.y = (size.y + side - 1) / side - 1 - at.y;
  ivec2 low = at * side, high = min(low + side, size);
  vec3 sum = vec3(0.0);
  for (int y = low.y; y < high.y; y++)
    for (int x = low.x; x < high.x; x++)
      sum += texelFetch(image, ivec2(x, y), 0).rgb;
  color = vec4(sum / float((high.x - low.x) * (high.y - low.y)), 1.0);
}
"""


class Preview:
    """An `Output` that writes small pictures into shared memory while somebody watches.

    pictures
        where they go: records with `serial` (the frame's number), `at_s` (show time), `width_px`, `height_px` and
        `pixels`, u8 [most, most, 4], of which the upper left is used: sRGB, top row first, the fourth byte means nothing.
    watched_s
        show time at which somebody last asked for a picture.
    on_card
        which of the two ways is taken; by default the card's, but where the processor draws.

    `put` raises where OpenGL refuses, or where the thread has failed: it is of no use any more then.
    """

    def __init__(self, pictures: SharedLatest, *, watched_s: Callable[[], float], on_card: bool | None = None) -> None:
        self.dropped = 0
        self.taken = 0
        self._pictures = pictures
        self._watched_s = watched_s
        self._on_card = on_card
        self._way: _Way | None = None
        self._due_s = float("-inf")

    def put(self, frame: Frame) -> bool:
        """Take a picture of `frame` if one is due and somebody watches; False where the one before is not finished."""
        if self._way is None:
            self._way = self._chosen(frame.texture)  # before doors, nearly: a program is compiled here
        self._way.step()
        now_s = frame.tick.deadline_s
        if now_s - self._watched_s() >= WATCH_S or now_s < self._due_s:
            return True
        if not self._way.take(frame.texture, frame.tick):
            self.dropped += 1
            return False
        if (code := frame.texture.ctx.error) != "GL_NO_ERROR":
            raise RuntimeError(f"OpenGL reports {code}")
        late_s = now_s - self._due_s  # one that comes late does not put off those after it
        self._due_s = now_s + 1.0 / PICTURES_HZ - (late_s if late_s < 1.0 / PICTURES_HZ else 0.0)
        self.taken += 1
        return True

    def _chosen(self, texture: moderngl.Texture) -> "_Way":
        on_card = self._on_card
        if on_card is None:
            on_card = not is_software(str(texture.ctx.info["GL_RENDERER"]))
        return OnCard(texture, self._pictures) if on_card else OnHost(self._pictures)

    def close(self) -> None:
        """End the thread, give everything back to the card."""
        if self._way is not None:
            self._way.release()
            self._way = None


class _Way(Protocol):
    """How a picture is made small."""

    def step(self) -> None:
        """Once a frame: finish what can be finished without waiting."""
        ...

    def take(self, texture: moderngl.Texture, tick: Tick) -> bool:
        """Begin a picture; False where the one before is not finished."""
        ...

    def release(self) -> None:
        """Let go of everything."""
        ...


class OnCard:
    """Draws the picture small, and reads it a few frames later."""

    def __init__(self, texture: moderngl.Texture, pictures: SharedLatest) -> None:
        self._pictures = pictures
        self._record = np.zeros(1, pictures.dtype)
        self._most_px = _most_px(pictures)
        self._ctx = texture.ctx
        self._corners = full_screen_corners(self._ctx)
        self._program = self._ctx.program(vertex_shader=FULL_SCREEN_VERTEX, fragment_shader=_MEAN)
        self._program["image"] = 0
        self._array = self._ctx.vertex_array(self._program, [(self._corners, "2f", "corner")])
        # Of the greatest size, so that what is under way survives another size of the frame.
        self._buffer = self._ctx.buffer(reserve=4 * self._most_px**2, dynamic=True)
        self._canvas: Canvas | None = None
        self._begun: tuple[Size, Tick] | None = None
        self._age = 0
        self._draw(texture)  # drivers compile at the first use: not when the first one watches

    def step(self) -> None:
        """Read what was begun, where it is old enough."""
        if self._begun is None:
            return
        self._age += 1
        if self._age < READ_AFTER:
            return
        (width, height), tick = self._begun
        self._begun = None
        pixels = np.frombuffer(self._buffer.read(4 * width * height), np.uint8).reshape(height, width, 4)
        _publish(pixels, tick, record=self._record, pictures=self._pictures)

    def take(self, texture: moderngl.Texture, tick: Tick) -> bool:
        """Draw and copy; neither is waited for."""
        if self._begun is not None:
            return False
        canvas = self._draw(texture)
        canvas.framebuffer.read_into(self._buffer, components=4)
        self._begun, self._age = (canvas.size, tick), 0
        return True

    def _draw(self, texture: moderngl.Texture) -> Canvas:
        side, size = _fitted(texture.size, self._most_px)
        before = self._ctx.fbo  # the stage finds everything as it was, its viewport too
        try:
            if self._canvas is None or self._canvas.size != size:
                old, self._canvas = self._canvas, Canvas(self._ctx, size)
                if old is not None:
                    old.release()
            self._program["side"] = side
            texture.use(0)
            self._canvas.framebuffer.use()
            self._array.render()
        finally:
            before.use()
        return self._canvas

    def release(self) -> None:
        """Give everything back to the card."""
        for each in (self._canvas, self._buffer, self._array, self._program, self._corners):
            if each is not None:
                each.release()


class OnHost:
    """Copies the frame whole; a thread makes it small."""

    def __init__(self, pictures: SharedLatest) -> None:
        self._pictures = pictures
        self._record = np.zeros(1, pictures.dtype)
        self._most_px = _most_px(pictures)
        self._whole: U8 = np.empty((0, 0, 4), np.uint8)  # the thread's while it is busy, else the caller's
        self._is_busy = False
        self._fault: Exception | None = None
        self._asked: queue.SimpleQueue[Tick | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def step(self) -> None:
        """Raise what the thread failed of."""
        if self._fault is not None:
            raise self._fault

    def take(self, texture: moderngl.Texture, tick: Tick) -> bool:
        """Copy the frame, and wake the thread."""
        if self._is_busy:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="preview", daemon=True)
            self._thread.start()
        width, height = texture.size
        if self._whole.shape[:2] != (height, width):
            self._whole = np.empty((height, width, 4), np.uint8)
        texture.read_into(self._whole)
        self._is_busy = True
        self._asked.put(tick)
        return True

    def _run(self) -> None:
        while (tick := self._asked.get()) is not None:
            try:
                height, width, _ = self._whole.shape
                side, _ = _fitted((width, height), self._most_px)
                # Four bytes that Pillow takes for plain numbers: it would multiply colours by an alpha.
                whole = Pillow.frombuffer("RGBX", (width, height), self._whole, "raw", "RGBX", 0, 1)
                small = np.asarray(whole.reduce(side))[::-1]
                _publish(small, tick, record=self._record, pictures=self._pictures)
            except Exception as error:
                self._fault = error
                return
            self._is_busy = False

    def release(self) -> None:
        """Finish the picture that was begun, then end the thread."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()


def _most_px(pictures: SharedLatest) -> int:
    """The longest side that a record holds."""
    return pictures.dtype["pixels"].shape[0]


def _fitted(size: Size, most_px: int) -> tuple[int, Size]:
    """(side of the squares, (width, height) of the picture) for a frame of this size, px."""
    side = max(-(-max(size) // most_px), 1)
    width, height = size
    return side, (-(-width // side), -(-height // side))


def _publish(pixels: U8, tick: Tick, *, record: Any, pictures: SharedLatest) -> None:
    height, width, _ = pixels.shape
    record["serial"], record["at_s"] = tick.frame, tick.deadline_s
    record["width_px"], record["height_px"] = width, height
    record["pixels"][0, :height, :width] = pixels
    pictures.publish(record)
