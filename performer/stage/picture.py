"""From a generator's images to one picture that is always there: upload, sharpening, and the fade between images.

Each generator on stage has a picture of its own, with its own size and pace.

When images come as often as frames, the newest is shown at once and nothing is added to the latency. When they come
slower, each new one is approached over the interval that was measured between them, so that twelve images a second
still move at the display's pace.

Thread: main. Owns: its textures.
"""

import statistics
from collections import deque

import moderngl

from performer.flow import DevicePixels, Image
from performer.stage.chain import FULL_SCREEN_VERTEX, Canvas, Size
from performer.stage.upload import Upload

# A frame that comes a little late must not switch the fade on: only images that come clearly slower than frames do.
SLOWER_THAN_FRAMES = 1.6
LONGEST_FADE_S = 0.5  # an engine that stalls longer has lost the motion anyway; then the new picture comes sooner
_INTERVALS = 5  # whose median is the pace: one stall is no change of pace

# Cubic B-splines, which upscale without any grid, blur what they are given. Sharpening the 256 pixel picture once,
# by the first terms of the spline's inverse, costs little and gives back what the spline takes away. The rows of an
# image begin at the top and those of GL at the bottom: it is turned over here, once, and nowhere else.
_SHARPEN = """#version 330 core
uniform sampler2D image;
uniform float amount;
out vec4 color;
void main() {
  ivec2 size = textureSize(image, 0), most = size - 1;
  ivec2 at = ivec2(gl_FragCoord.xy);
  at.y = most.y - at.y;
  vec3 c = texelFetch(image, at, 0).rgb;
  vec3 cross_sum = texelFetch(image, min(at + ivec2(1, 0), most), 0).rgb
                 + texelFetch(image, max(at - ivec2(1, 0), ivec2(0)), 0).rgb
                 + texelFetch(image, min(at + ivec2(0, 1), most), 0).rgb
                 + texelFetch(image, max(at - ivec2(0, 1), ivec2(0)), 0).rgb;
  color = vec4(c + amount * (4.0 * c - cross_sum), 1.0);
}
"""

# Both textures have the size of what is drawn into, so that nothing is filtered and the ends are exact.
_MIX = """#version 330 core
uniform sampler2D before;
uniform sampler2D after;
uniform float part;
uniform float gain;
out vec4 color;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  color = vec4(gain * mix(texelFetch(before, at, 0).rgb, texelFetch(after, at, 0).rgb, part), 1.0);
}
"""


class Mixer:
    """Mixes two textures of one size, in sRGB values as everything on this stage."""

    def __init__(self, ctx: moderngl.Context, *, corners: moderngl.Buffer) -> None:
        self._program = ctx.program(vertex_shader=FULL_SCREEN_VERTEX, fragment_shader=_MIX)
        self._program["before"], self._program["after"] = 0, 1
        self._array = ctx.vertex_array(self._program, [(corners, "2f", "corner")])

    def draw(
        self, before: moderngl.Texture, after: moderngl.Texture, *, part: float, into: Canvas, gain: float = 1.0
    ) -> None:
        """Draw `part` (0..1) of `after` and the rest of `before`, times `gain`, into a canvas of their size."""
        before.use(0)
        after.use(1)
        self._program["part"], self._program["gain"] = part, gain
        into.framebuffer.use()
        self._array.render()

    def release(self) -> None:
        """Give everything back to the card."""
        self._array.release()
        self._program.release()


class Sharpener:
    """Copies an uploaded image into a canvas of its size, the right way up and sharpened.

    sharpness
        0 leaves images as they are, 0.2 undoes most of the spline's blur, more draws halos.
    """

    def __init__(self, ctx: moderngl.Context, *, corners: moderngl.Buffer, sharpness: float = 0.16) -> None:
        self._program = ctx.program(vertex_shader=FULL_SCREEN_VERTEX, fragment_shader=_SHARPEN)
        self._program["amount"] = sharpness
        self._array = ctx.vertex_array(self._program, [(corners, "2f", "corner")])

    def draw(self, texture: moderngl.Texture, *, into: Canvas) -> None:
        """Draw `texture` all over `into`."""
        texture.use(0)
        into.framebuffer.use()
        self._array.render()

    def release(self) -> None:
        """Give everything back to the card."""
        self._array.release()
        self._program.release()


class Picture:
    """A generator's picture as it stands at a frame, the right way up for GL.

    mixer, sharpener
        what all pictures are drawn by; stay the caller's.
    """

    def __init__(self, ctx: moderngl.Context, *, mixer: Mixer, sharpener: Sharpener) -> None:
        self._ctx = ctx
        self._mixer, self._sharpener = mixer, sharpener
        self._upload: Upload | None = None
        self._newest: Canvas | None = None
        self._mixes: list[Canvas] = []
        self._serial: int | None = None
        self._arrived_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)
        self._fade_end_s = -1.0
        self._shown_s = 0.0
        self.texture: moderngl.Texture | None = None  # None before the first image

    @property
    def interval_s(self) -> float:
        """Median time between the last images; 0 while unknown."""
        return statistics.median(self._intervals_s) if self._intervals_s else 0.0

    def step(self, image: Image | None, *, photon_s: float, dt_s: float) -> None:
        """Take the newest image, if it is new, and move on to `photon_s`."""
        before_s, self._shown_s = self._shown_s, photon_s
        if image is not None and image.serial != self._serial:
            self._take(image, photon_s=photon_s, dt_s=dt_s)
        if self._newest is None:
            return
        left_s = self._fade_end_s - before_s
        if left_s <= 0:
            self.texture = self._newest.texture
            return
        # The fade goes from what is shown now, not from the image before: one that comes early makes no jump. The
        # part of what is left makes it linear in time, whatever the frames' rhythm.
        part = min(max((photon_s - before_s) / left_s, 0.0), 1.0)
        self._fade(part)

    def rest(self) -> None:
        """Hold the picture out of sight. What comes after is shown at once: it may be much later, or another's."""
        self._serial = self._arrived_s = None
        self._intervals_s.clear()

    def forget(self) -> None:
        """Have no picture any more: the next is another's, or the same one's much later."""
        self.rest()
        self.texture = None
        self._fade_end_s = -1.0

    def _take(self, image: Image, *, photon_s: float, dt_s: float) -> None:
        # Recorded even when the image is no good: a broken one is skipped, not tried at every frame.
        self._serial = image.serial
        if self._arrived_s is not None:
            self._intervals_s.append(max(photon_s - self._arrived_s, 0.0))
        self._arrived_s = photon_s
        size = size_of(image)  # refuses a broken one before the picture that is there is given up
        first = self._newest is None
        interval_s = self.interval_s
        slower = interval_s > SLOWER_THAN_FRAMES * dt_s > 0
        if self._newest is not None and slower and self.texture is self._newest.texture:
            self._fade_from(self._newest)  # the newest canvas is about to be drawn over
        if self._upload is None or self._upload.size != size:
            self._resize(size)
        assert self._upload is not None and self._newest is not None
        self._upload.put(image.pixels)
        self._sharpener.draw(self._upload.texture, into=self._newest)
        self._fade_end_s = photon_s - dt_s + min(interval_s, LONGEST_FADE_S) if slower and not first else -1.0

    def _resize(self, size: tuple[int, int]) -> None:
        old = self._upload, self._newest
        made = Upload(self._ctx, size), Canvas(self._ctx, size)  # or neither, where the card refuses one
        self._upload, self._newest = made
        for each in old:
            if each is not None:
                each.release()

    def _fade_from(self, canvas: Canvas) -> None:
        """Keep a copy of `canvas` as the picture that the next fade starts from."""
        self._fit_mixes(canvas.size)
        self._ctx.copy_framebuffer(self._mixes[0].framebuffer, canvas.framebuffer)
        self.texture = self._mixes[0].texture

    def _fade(self, part: float) -> None:
        assert self._newest is not None
        if not self._mixes or self.texture is self._newest.texture:
            self.texture = self._newest.texture
            return
        if self._mixes[0].size != self._newest.size:  # the engine changed its size: no fade across that
            self.texture = self._newest.texture
            self._fade_end_s = -1.0
            return
        shown, other = self._mixes
        self._mixer.draw(shown.texture, self._newest.texture, part=part, into=other)
        self._mixes = [other, shown]
        self.texture = other.texture

    def _fit_mixes(self, size: tuple[int, int]) -> None:
        if self._mixes and self._mixes[0].size == size:
            return
        for canvas in self._mixes:
            canvas.release()
        self._mixes = [Canvas(self._ctx, size) for _ in range(2)]

    def release(self) -> None:
        """Give everything back to the card."""
        for each in (self._upload, self._newest, *self._mixes):
            if each is not None:
                each.release()


def size_of(image: Image) -> Size:
    """(width, height) of a picture, px. Raises ValueError where its pixels are none."""
    pixels = image.pixels
    if isinstance(pixels, DevicePixels):
        return pixels.width_px, pixels.height_px
    height, width = pixels.shape[:2]
    if pixels.nbytes != 4 * width * height:
        raise ValueError(f"an image of shape {pixels.shape}, {pixels.dtype}; expected (H, W, 4), uint8")
    return width, height
