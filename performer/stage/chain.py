"""Running ISF effects on the graphics card: programs, buffers, and the order of passes.

Thread: main. Owns: the programs and textures of its effects.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import moderngl
import numpy as np

from performer.flow import F32, Tick
from performer.params import ParamTable
from performer.stage.isf import PROGRESS, SOUNDS, IsfEffect, IsfError, IsfInput, glsl_of, size_px
from performer.stage.sound import SoundTextures

Size = tuple[int, int]

# Of `full_screen_corners`, for whoever draws a whole target and finds its place in gl_FragCoord.
FULL_SCREEN_VERTEX = """#version 330 core
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }
"""

_COPY_VERTEX = """#version 330 core
in vec2 corner;
out vec2 at;
void main() { gl_Position = vec4(corner, 0.0, 1.0); at = corner * 0.5 + 0.5; }
"""

_COPY = """#version 330 core
uniform sampler2D image;
uniform float gain;
in vec2 at;
out vec4 color;
void main() {
  vec4 c = texture(image, at);
  color = vec4(gain * c.rgb, c.a);
}
"""


def make_texture(ctx: moderngl.Context, size: Size, pixels: bytes | None = None) -> moderngl.Texture:
    """A smooth, clamped RGBA8 texture. Never RGB8: three bytes break every alignment that makes a copy fast."""
    texture = ctx.texture(size, 4, pixels)
    texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
    texture.repeat_x = texture.repeat_y = False
    return texture


class Canvas:
    """A texture that can be drawn into; black at first, or empty: black, and of no opacity."""

    def __init__(self, ctx: moderngl.Context, size: Size, *, is_empty: bool = False) -> None:
        self.texture = make_texture(ctx, size)
        self.framebuffer = ctx.framebuffer([self.texture])
        self.size = size
        self.framebuffer.clear(0.0, 0.0, 0.0, 0.0 if is_empty else 1.0)

    def clear(self) -> None:
        """Exact black."""
        self.framebuffer.clear(0.0, 0.0, 0.0, 1.0)

    def release(self) -> None:
        """Give the memory back."""
        self.framebuffer.release()
        self.texture.release()


class Copier:
    """Copies a texture into a canvas of any size. GL's own copy of framebuffers keeps sizes."""

    def __init__(self, ctx: moderngl.Context, *, corners: moderngl.Buffer) -> None:
        self._program = ctx.program(vertex_shader=_COPY_VERTEX, fragment_shader=_COPY)
        self._array = ctx.vertex_array(self._program, [(corners, "2f", "corner")])

    def draw(self, texture: moderngl.Texture, *, into: Canvas, gain: float = 1.0) -> None:
        """Draw `texture`, times `gain`, all over `into`."""
        texture.use(0)
        self._program["image"], self._program["gain"] = 0, gain
        into.framebuffer.use()
        self._array.render()

    def release(self) -> None:
        """Give everything back to the card."""
        self._array.release()
        self._program.release()


@dataclass(slots=True)
class _Pass:
    """One compiled pass, with its uniforms looked up once."""

    program: moderngl.Program
    array: moderngl.VertexArray
    uniforms: dict[str, moderngl.Uniform]

    def set(self, name: str, value: object) -> None:
        """Set a uniform; one that the compiler found unused is no fault."""
        uniform = self.uniforms.get(name)
        if uniform is not None:
            uniform.value = value


class Effect:
    """A compiled ISF effect. Raises IsfError where it does not compile.

    size
        of the effect's output, (width, height) px.
    copier
        for persistent pictures that change their size; stays the caller's.
    sounds
        what its audio inputs read; stays the caller's.
    final
        True for the last effect of the chain, which the stage dims.
    """

    def __init__(
        self,
        ctx: moderngl.Context,
        isf: IsfEffect,
        *,
        table: ParamTable,
        size: Size,
        corners: moderngl.Buffer,
        copier: Copier,
        sounds: SoundTextures,
        final: bool = False,
    ) -> None:
        self.isf = isf
        self.name = isf.name
        self._ctx = ctx
        self._copier = copier
        self._sounds = sounds
        self._final = final
        images = [source.name for source in isf.inputs if source.type == "image"]
        targets = list(dict.fromkeys(p.target for p in isf.passes if p.target))
        self._image_names = images
        self._heard = [source for source in isf.inputs if source.type in SOUNDS]
        names = [*images, *(source.name for source in self._heard), *targets]
        self._units = {name: unit for unit, name in enumerate(names)}
        self._knobs: list[tuple[IsfInput, int]] = [
            (source, table.row(isf.param_id(source)) if isf.param_id(source) in table else -1)
            for source in isf.inputs
            if source.type in ("float", "bool", "long")
        ]
        self._black = make_texture(ctx, (1, 1), bytes((0, 0, 0, 255)))
        last = len(isf.passes) - 1
        self._passes = [
            self._compile(index, corners=corners, final=final and index == last) for index in range(len(isf.passes))
        ]
        for source in self._heard:
            sounds.want(source)
        self._fronts: dict[str, Canvas] = {}  # what readers of a target see
        self._backs: dict[str, Canvas] = {}  # what a persistent target is drawn into
        self._own: Canvas | None = None  # output of an effect whose last pass names no target
        self.size = (0, 0)
        self.resize(size)

    def _compile(self, index: int, *, corners: moderngl.Buffer, final: bool) -> _Pass:
        vertex, fragment = glsl_of(self.isf, pass_index=index, final=final)
        try:
            program = self._ctx.program(vertex_shader=vertex, fragment_shader=fragment)
            array = self._ctx.vertex_array(program, [(corners, "2f", "isf_corner")])
        except moderngl.Error as error:
            text = " ".join(str(error).split())
            raise IsfError(f"{self.isf.path}: does not compile ({text}); the numbers are 0:line(column)") from None
        uniforms = {name: program[name] for name in program if isinstance(program[name], moderngl.Uniform)}
        made = _Pass(program, array, uniforms)  # type: ignore[arg-type]
        for name, unit in self._units.items():
            made.set(name, unit)
        for source in self.isf.inputs:
            if source.type in ("color", "point2D"):
                made.set(source.name, source.default)
        made.set("STAGE_GAIN", 1.0)
        return made

    def resize(self, size: Size) -> None:
        """Make the buffers for another output size; persistent pictures go on in them, scaled."""
        if size == self.size:
            return
        old = [*self._fronts.values(), *self._backs.values(), *((self._own,) if self._own else ())]
        fronts, backs, own = {}, {}, None  # all of them, or none where the card refuses one
        for one in self.isf.passes:
            if one.target and one.target not in fronts:
                pixels = (
                    size_px(one.width, width_px=size[0], height_px=size[1]),
                    size_px(one.height, width_px=size[0], height_px=size[1]),
                )
                fronts[one.target] = Canvas(self._ctx, pixels, is_empty=one.persistent)
            if one.persistent and one.target not in backs:
                backs[one.target] = Canvas(self._ctx, fronts[one.target].size, is_empty=True)
        if not self._final and not self.isf.passes[-1].target:
            own = Canvas(self._ctx, size)
        for target in backs:
            if target in self._fronts:
                self._copier.draw(self._fronts[target].texture, into=fronts[target])
        self.size, self._fronts, self._backs, self._own = size, fronts, backs, own
        for canvas in old:
            canvas.release()

    def render(
        self,
        images: Mapping[str, moderngl.Texture],
        *,
        values: F32,
        tick: Tick,
        gain: float = 1.0,
        into: Canvas | None = None,
        only_last: bool = False,
        progress: float | None = None,
    ) -> moderngl.Texture:
        """Draw one frame and return its texture.

        images
            by the name of the input; `inputImage` by ISF's custom. One that is missing reads as black.
        values
            [P], in the order of the table.
        into
            canvas of the last pass, instead of the effect's own; a final effect has none.
        gain
            0..1, multiplies the light of a final effect.
        only_last
            draw the last pass again from buffers as they are: another gain on a frozen picture.
        progress
            of a transition, 0..1.
        """
        last = len(self._passes) - 1
        result = into
        for index, (one, compiled) in enumerate(zip(self.isf.passes, self._passes, strict=True)):
            if only_last and index != last:
                continue
            feeds_back = index == last and into is not None and one.persistent
            if feeds_back and only_last:
                continue  # what it has drawn is there; once more would be a frame more
            if index == last and into is not None and not feeds_back:
                canvas = into
            elif one.target:
                canvas = self._backs[one.target] if one.persistent else self._fronts[one.target]
            else:
                canvas = self._own or into
                assert canvas is not None, "a final effect needs a canvas"
            self._set_uniforms(compiled, values=values, tick=tick, size=canvas.size)
            if progress is not None:
                compiled.set(PROGRESS, progress)
            compiled.set("STAGE_GAIN", 1.0 if feeds_back else gain)  # the dimmer is no part of what it sees again
            for name in self._image_names:
                images.get(name, self._black).use(self._units[name])
            for source in self._heard:
                self._sounds.texture(source).use(self._units[source.name])
            for name, front in self._fronts.items():
                # A pass that draws into its own plain target would read what it writes: it reads black instead.
                texture = self._black if front is canvas else front.texture
                texture.use(self._units[name])
            canvas.framebuffer.use()
            compiled.array.render()
            if one.persistent:
                self._fronts[one.target], self._backs[one.target] = canvas, self._fronts[one.target]
            result = canvas
        if into is not None and self.isf.passes[last].persistent:
            self._copier.draw(self._fronts[self.isf.passes[last].target].texture, into=into, gain=gain)
            result = into
        assert result is not None
        return result.texture

    def _set_uniforms(self, compiled: _Pass, *, values: F32, tick: Tick, size: Size) -> None:
        compiled.set("TIME", tick.photon_s)
        compiled.set("TIMEDELTA", tick.dt_s)
        compiled.set("FRAMEINDEX", tick.frame & 0x7FFFFFFF)
        compiled.set("RENDERSIZE", (float(size[0]), float(size[1])))
        for source, row in self._knobs:
            value = float(values[row]) if row >= 0 else float(source.default)  # type: ignore[arg-type]
            if source.type == "float":
                compiled.set(source.name, value)
            elif source.type == "bool":
                compiled.set(source.name, value > 0)
            else:
                choice = round(value)
                if source.choices:
                    choice = min(source.choices, key=lambda one: abs(one - value))
                compiled.set(source.name, choice)

    def release(self) -> None:
        """Give everything back to the card."""
        for canvas in (*self._fronts.values(), *self._backs.values(), *((self._own,) if self._own else ())):
            canvas.release()
        self._black.release()
        for one in self._passes:
            one.array.release()
            one.program.release()


def full_screen_corners(ctx: moderngl.Context) -> moderngl.Buffer:
    """One triangle that covers the screen: no seam along a diagonal, and one edge test instead of two."""
    return ctx.buffer(np.array([-1, -1, 3, -1, -1, 3], np.float32).tobytes())
