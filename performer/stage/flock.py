"""A creature's picture: of one animal, or of several that share the frame.

Several are drawn in turn, one a frame, and each is approached in between as any slow picture is. They stand about the
middle as seeds do in a sunflower (Vogel, "A better way to construct the sunflower head" (1979)), and wander about their
places. What differs from the ground of its own picture is the animal: it is laid over the common ground, so that animals
overlap and their papers do not. Alone, an animal's picture is shown as it is.

Thread: main. Owns: its textures.
"""

import math
from dataclasses import dataclass

import moderngl
import numpy as np

from performer.flow import Image
from performer.params import Param
from performer.stage.chain import Canvas
from performer.stage.outputs.output import is_software
from performer.stage.picture import Mixer, Picture, Sharpener

SETTLES_S = 0.7  # an animal comes to its place, or goes, to 63 % in so long
NEAR = 0.004  # of the frame: it is there
GOLDEN = math.pi * (3.0 - math.sqrt(5.0))
SOFTWARE_PX, MOST_PX = 384, 1536  # side of the common picture, on a software renderer and elsewhere

_VERTEX = """#version 330 core
uniform sampler2D image;
uniform vec2 centre;
uniform vec2 turn;
uniform vec2 half_size;
in vec2 corner;
out vec2 at;
flat out vec3 ground;
void main() {
  vec2 p = corner * half_size;
  gl_Position = vec4(centre + vec2(turn.x * p.x - turn.y * p.y, turn.y * p.x + turn.x * p.y), 0.0, 1.0);
  at = corner * 0.5 + 0.5;
  ivec2 far = textureSize(image, 0) - 3;
  ground = 0.25 * (texelFetch(image, ivec2(2), 0).rgb + texelFetch(image, far, 0).rgb
                 + texelFetch(image, ivec2(2, far.y), 0).rgb + texelFetch(image, ivec2(far.x, 2), 0).rgb);
}
"""

_FRAGMENT = """#version 330 core
uniform sampler2D image;
uniform float presence;
uniform float solid;
uniform bool is_ground;
in vec2 at;
flat in vec3 ground;
out vec4 color;
void main() {
  if (is_ground) { color = vec4(ground, 1.0); return; }
  vec3 c = texture(image, at).rgb;
  vec2 edge = smoothstep(0.0, 0.08, 0.5 - abs(at - 0.5));
  float figure = smoothstep(0.03, 0.16, distance(c, ground)) * edge.x * edge.y;
  color = vec4(c, presence * mix(figure, 1.0, solid));
}
"""


def swarm_params() -> tuple[Param, ...]:
    """How several animals share the frame."""
    return (
        Param(
            id="swarm.size",
            default=1.0,
            low=0.3,
            high=2.5,
            help="size of each animal of several; 1 fills the frame",
        ),
        Param(id="swarm.drift", default=0.4, help="how far they wander about their places"),
    )


@dataclass(slots=True)
class _Place:
    """Where one animal stands, in halves of the frame; and how much of it is there."""

    x: float = 0.0
    y: float = 0.0
    size: float = 1.0
    presence: float = 0.0


class Gatherer:
    """Lays pictures over a common ground."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        self.is_software = is_software(str(ctx.info["GL_RENDERER"]))
        self._program = ctx.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._quad = ctx.buffer(np.array([-1, -1, 1, -1, -1, 1, 1, 1], np.float32).tobytes())
        self._array = ctx.vertex_array(self._program, [(self._quad, "2f", "corner")])
        self._program["image"] = 0

    def ground(self, texture: moderngl.Texture, *, into: Canvas) -> None:
        """Fill all of it with what the corners of a picture are like."""
        into.framebuffer.use()
        self._draw(texture, _Place(presence=1.0), turn=0.0, is_ground=True)

    def lay(self, texture: moderngl.Texture, place: _Place, *, turn: float, into: Canvas) -> None:
        """Lay the animal of a picture over what is there."""
        into.framebuffer.use()
        self.ctx.enable(moderngl.BLEND)
        self.ctx.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA, moderngl.ONE, moderngl.ONE  # type: ignore
        try:
            self._draw(texture, place, turn=turn, is_ground=False)
        finally:
            self.ctx.disable(moderngl.BLEND)

    def _draw(self, texture: moderngl.Texture, place: _Place, *, turn: float, is_ground: bool) -> None:
        width, height = texture.size
        wide = width / max(width, height), height / max(width, height)
        texture.use(0)
        for name, value in (
            ("centre", (place.x, place.y)),
            ("turn", (math.cos(turn), math.sin(turn))),
            ("half_size", (1.0, 1.0) if is_ground else (place.size * wide[0], place.size * wide[1])),
            ("presence", place.presence),
            ("solid", min(max((place.size - 0.8) / 0.2, 0.0), 1.0)),
            ("is_ground", is_ground),
        ):
            self._program[name] = value
        self._array.render(moderngl.TRIANGLE_STRIP)

    def release(self) -> None:
        """Give everything back to the card."""
        for each in (self._array, self._quad, self._program):
            each.release()


class Flock:
    """The pictures of one creature, and the one that is made of them."""

    def __init__(self, *, mixer: Mixer, sharpener: Sharpener, gatherer: Gatherer) -> None:
        self._mixer, self._sharpener, self._gatherer = mixer, sharpener, gatherer
        self._pictures: list[Picture] = []
        self._places: list[_Place] = []
        self._canvas: Canvas | None = None
        self._serial: int | None = None
        self._count = 1
        self.texture: moderngl.Texture | None = None  # None before the first image

    def step(self, image: Image | None, *, photon_s: float, dt_s: float, size: float = 1.0, drift: float = 0.0) -> None:
        """Take the newest image, of one of the animals, and move on to `photon_s`. size, drift: the swarm's parameters."""
        if image is not None and image.serial != self._serial:
            self._serial, self._count = image.serial, image.members
            while len(self._pictures) <= image.member:
                self._pictures.append(Picture(self._gatherer.ctx, mixer=self._mixer, sharpener=self._sharpener))
                self._places.append(_Place())
        for member, picture in enumerate(self._pictures):
            own = image if image is not None and image.member == member else None
            picture.step(own, photon_s=photon_s, dt_s=dt_s)
        if not self._pictures or self._pictures[0].texture is None:
            return
        self._settle(dt_s, size=size)
        if self._count == 1 and not any(each.presence > NEAR for each in self._places[1:]) and self._is_whole:
            for picture in self._pictures[1:]:
                picture.forget()
            self.texture = self._pictures[0].texture
        else:
            self._gather(photon_s, drift=drift)

    @property
    def _is_whole(self) -> bool:
        """Whether the first animal has the frame for itself."""
        first = self._places[0]
        return max(abs(first.x), abs(first.y), abs(first.size - 1.0)) < NEAR

    def _settle(self, dt_s: float, *, size: float) -> None:
        """Let each animal come to its place, or go."""
        part = 1.0 - math.exp(-dt_s / SETTLES_S) if dt_s > 0.0 else 0.0
        for member, (place, picture) in enumerate(zip(self._places, self._pictures, strict=True)):
            x, y, own = _place_of(member, self._count, size=size)
            is_there = member < self._count and picture.texture is not None
            if place.presence <= NEAR and member:  # it appears where it belongs
                place.x, place.y, place.size = x, y, own
            if member < self._count:
                place.x += (x - place.x) * part
                place.y += (y - place.y) * part
                place.size += (own - place.size) * part
            place.presence = 1.0 if not member else place.presence + (is_there - place.presence) * part

    def _gather(self, photon_s: float, *, drift: float) -> None:
        """Draw all of them into one picture."""
        gatherer, first = self._gatherer, self._pictures[0].texture
        assert first is not None
        if self._canvas is None:
            side = SOFTWARE_PX if gatherer.is_software else min(2 * max(first.size), MOST_PX)
            self._canvas = Canvas(gatherer.ctx, (side, side))
        gatherer.ground(first, into=self._canvas)
        for member, (place, picture) in enumerate(zip(self._places, self._pictures, strict=True)):
            if picture.texture is None or place.presence <= NEAR:
                continue
            reach = drift * (1.0 - place.size if place.size < 1.0 else 0.0)
            at = _Place(
                place.x + 0.3 * reach * math.sin(0.37 * photon_s + 2.4 * member),
                place.y + 0.3 * reach * math.sin(0.29 * photon_s + 4.1 * member + 1.0),
                place.size,
                place.presence,
            )
            turn = 0.5 * reach * math.sin(0.23 * photon_s + 1.7 * member)
            gatherer.lay(picture.texture, at, turn=turn, into=self._canvas)
        self.texture = self._canvas.texture

    def rest(self) -> None:
        """Hold the picture out of sight. What comes after is shown at once: it may be much later, or another's."""
        self._serial = None
        for picture in self._pictures:
            picture.rest()

    def forget(self) -> None:
        """Have no picture any more: the next is another's, or the same one's much later."""
        self.rest()
        for picture in self._pictures:
            picture.forget()
        self._places = [_Place() for _ in self._pictures]
        self._count, self.texture = 1, None

    def release(self) -> None:
        """Give everything back to the card."""
        for each in (*self._pictures, self._canvas):
            if each is not None:
                each.release()


def _place_of(member: int, count: int, *, size: float) -> tuple[float, float, float]:
    """(x, y, size), in halves of the frame, of one of so many animals."""
    if count == 1:
        return 0.0, 0.0, 1.0
    far = 0.66 * math.sqrt((member + 0.35) / count)
    turn = GOLDEN * member + 0.6
    return far * math.cos(turn), far * math.sin(turn), min(size / math.sqrt(count), 0.79)
