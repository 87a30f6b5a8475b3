"""The figures over the picture (F1): what the person at the computer needs to see from a metre away, in the dark.

One texture holds all glyphs; two draw calls show everything, boxes and then letters. Text that stays is laid out once.

Thread: main. Owns: an atlas texture, a program and a buffer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import moderngl
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from performer.flow import F32

Color = tuple[float, float, float, float]

WHITE: Color = (0.93, 0.92, 0.88, 1.0)
GREY: Color = (0.60, 0.60, 0.58, 1.0)
DIM: Color = (1.0, 1.0, 1.0, 0.13)
AMBER: Color = (1.0, 0.70, 0.18, 1.0)
RED: Color = (1.0, 0.30, 0.24, 1.0)
PANEL: Color = (0.03, 0.03, 0.035, 0.72)

_CHARACTERS = "".join(map(chr, range(32, 127))) + "·…µ°äöüßéèêàçñ"
_SMALL_PX, _LARGE_PX = 17, 26  # text heights on a screen of 720 lines
_ATLAS_PX = 512
_FLOATS = 12  # of a rectangle: x y w h, u v du dv, r g b a
_MOST_BOXES, _MOST_GLYPHS = 256, 2048


@dataclass(frozen=True, slots=True)
class HudMessage:
    """A warning for people."""

    text: str
    count: int = 1
    severe: bool = False  # red instead of amber: sound is lost, the engine fell back


@dataclass(frozen=True, slots=True, kw_only=True)
class HudState:
    """All that the figures show. Everything has a default: a room that is not there leaves its line empty."""

    fps_displayed: float = 0.0
    fps_generated: float = 0.0
    effects_eased: str = ""  # what the governor has taken from the effects, after `fps_displayed` ...
    generator_eased: str = ""  # ... and from the generator, after `fps_generated`
    frame_p99_ms: float = 0.0
    missed_frames: int = 0
    sound_to_light_ms: float | None = None  # None while unknown
    sound_to_ear_ms: float = 0.0  # of that, from the converter to the features
    # (voice, ((band, level 0..1, hit 0..1), ...)), the first five of each
    voices: tuple[tuple[str, tuple[tuple[str, float, float], ...]], ...] = ()
    clip: bool = False
    audio: str = ""
    audio_lost: bool = False
    engine: str = ""
    osc_per_s: float = 0.0
    osc_refused: int = 0
    osc_unknown: int = 0  # messages to addresses that nobody has: a misspelt one shows here
    live: str = ""  # how it stands with Ableton Live; empty where nobody asked for it
    driver: str = ""  # who moved a parameter last, and which
    is_driven: bool = False  # whether that was in the last second
    cue_now: str = ""
    cue_next: str = ""
    beat: float = 0.0  # whole numbers that four divides begin a bar
    bpm: float = 0.0
    lead: str = ""  # who leads the tempo, after `bpm`
    messages: tuple[HudMessage, ...] = ()  # the newest last; the last four are shown
    spent_ms: Mapping[str, float] = field(default_factory=dict)  # by room


class _Atlas:
    """Glyphs of two heights, for a screen of `lines` lines."""

    def __init__(self, ctx: moderngl.Context, lines: int) -> None:
        self.lines = lines
        self.scale = max(lines, 360) / 720.0
        side = _ATLAS_PX if self.scale <= 1.6 else 2 * _ATLAS_PX
        sheet = Pillow.new("L", (side, side), 0)
        pen = ImageDraw.Draw(sheet)
        self._glyphs: list[dict[str, tuple[float, ...]]] = []  # by height: dx, dy, w, h, u, v, du, dv, advance
        x, y = 0, 0
        for height_px in (_SMALL_PX, _LARGE_PX):
            size = max(round(height_px * self.scale), 8)
            font = ImageFont.load_default(size=size)
            tall = round(size * 1.3)
            digit = max(font.getlength(one) for one in "0123456789")
            glyphs = {}
            for one in _CHARACTERS:
                # Digits are as wide as one another: a number that changes must not make its line tremble.
                advance = digit if one.isdigit() else font.getlength(one)
                wide = int(advance) + 3
                if x + wide > side:
                    x, y = 0, y + tall + 1
                shift = 1 + (advance - font.getlength(one)) / 2
                pen.text((x + shift, y + size), one, font=font, fill=255, anchor="ls")
                # Only the ink is drawn: half of a cell is empty, and costs as much to blend.
                left, top, right, bottom = font.getbbox(one, anchor="ls")
                ink = (int(shift + left), int(size + top), int(right - left) + 2, int(bottom - top) + 1)
                texels = ((x + ink[0]) / side, (y + ink[1]) / side, ink[2] / side, ink[3] / side)
                glyphs[one] = (ink[0] - 1, ink[1], ink[2], ink[3], *texels, advance)
                x += wide + 1
            self._glyphs.append(glyphs)
            x, y = 0, y + tall + 1
        self.texture = ctx.texture((side, side), 1, sheet.tobytes(), alignment=1)
        self.texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self.run = lru_cache(maxsize=512)(self._run)

    def _run(self, text: str, large: bool) -> tuple[F32, float]:
        """([n, 8] places and texels of `text` from x 0, its width in px)."""
        glyphs, x, rows = self._glyphs[large], 0.0, []
        for one in text:
            dx, dy, *rest, advance = glyphs.get(one) or glyphs["?"]
            if one != " ":
                rows.append((round(x) + dx, dy, *rest))
            x += advance
        return np.array(rows, np.float32).reshape(-1, 8), x


class _Sheet:
    """The rectangles of one frame, in px from the upper left: plain boxes below, glyphs above."""

    def __init__(self, atlas: _Atlas) -> None:
        self._atlas = atlas
        self._boxes: list[tuple[float, ...]] = []
        self._rows = np.empty((_MOST_GLYPHS, _FLOATS), np.float32)
        self._glyphs = 0

    @property
    def boxes(self) -> F32:
        """[n, 12], the plain rectangles, in order."""
        return np.array(self._boxes[:_MOST_BOXES], np.float32).reshape(-1, _FLOATS)

    @property
    def glyphs(self) -> F32:
        """[n, 12], the characters, in order."""
        return self._rows[: self._glyphs]

    def box(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """A plain rectangle."""
        self._boxes.append((round(x), round(y), round(width), round(height), 0.0, 0.0, 0.0, 0.0, *color))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        color: Color = WHITE,
        *,
        large: bool = False,
        right: bool = False,
    ) -> float:
        """`text` with its upper left (or right) corner at (x, y); returns its width in px."""
        run, width = self._atlas.run(text, large)
        room = min(len(run), _MOST_GLYPHS - self._glyphs)
        rows = self._rows[self._glyphs : self._glyphs + room]
        rows[:, :8] = run[:room]
        rows[:, 0] += round(x - width if right else x)
        rows[:, 1] += round(y)
        rows[:, 8:] = color
        self._glyphs += room
        return width


class Hud:
    """Draws `HudState` values onto whatever framebuffer is in use."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._atlas: _Atlas | None = None
        vertex = """#version 330 core
in vec4 place;
in vec4 texels;
in vec4 color;
uniform vec2 screen;
out vec2 uv;
flat out vec4 paint;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  vec2 at = (place.xy + corner * place.zw) / screen;
  gl_Position = vec4(at.x * 2.0 - 1.0, 1.0 - at.y * 2.0, 0.0, 1.0);
  uv = texels.xy + corner * texels.zw;
  paint = color;
}
"""
        # Two programs, because most of the area is plain panel, and a software renderer pays for every texel it reads.
        plain = """#version 330 core
flat in vec4 paint;
out vec4 color;
void main() { color = paint; }
"""
        glyph = """#version 330 core
uniform sampler2D glyphs;
in vec2 uv;
flat in vec4 paint;
out vec4 color;
void main() { color = vec4(paint.rgb, paint.a * texture(glyphs, uv).r); }
"""
        self._layers = []
        for fragment, most, layout in (
            (plain, _MOST_BOXES, ("4f 4x4 4f/i", "place", "color")),
            (glyph, _MOST_GLYPHS, ("4f 4f 4f/i", "place", "texels", "color")),
        ):
            program = ctx.program(vertex_shader=vertex, fragment_shader=fragment)
            buffer = ctx.buffer(reserve=most * _FLOATS * 4, dynamic=True)
            self._layers.append((program, buffer, ctx.vertex_array(program, [(buffer, *layout)])))

    def draw(self, state: HudState, *, size_px: tuple[int, int]) -> None:
        """Lay the figures over the framebuffer in use, of `size_px`."""
        sheet = self._sheet(size_px)
        _compose(sheet, state, size_px=size_px, unit=max(size_px[1], 360) / 720)
        self._lay(sheet, size_px=size_px)

    def write(self, title: str, lines: Sequence[str], *, size_px: tuple[int, int]) -> None:
        """Lay a title and lines of text, the newest lowest and brightest, over the framebuffer in use, of `size_px`."""
        sheet = self._sheet(size_px)
        unit = max(size_px[1], 360) / 720
        x, y = 48 * unit, size_px[1] - 56 * unit
        room = int((size_px[0] - 2 * x) / (9 * unit))
        for age, text in enumerate(reversed(lines)):
            sheet.text(x, y, _short(text, room), WHITE if age == 0 else GREY)
            y -= 26 * unit
        sheet.text(x, y - 16 * unit, _short(title, room // 2), WHITE, large=True)
        self._lay(sheet, size_px=size_px)

    def release(self) -> None:
        """Give everything back to the card."""
        for program, buffer, array in self._layers:
            for each in (array, buffer, program):
                each.release()
        if self._atlas is not None:
            self._atlas.texture.release()

    def _sheet(self, size_px: tuple[int, int]) -> _Sheet:
        """An empty sheet for a screen of `size_px`."""
        if self._atlas is None or self._atlas.lines != size_px[1]:
            if self._atlas is not None:
                self._atlas.texture.release()
            self._atlas = _Atlas(self._ctx, size_px[1])
        return _Sheet(self._atlas)

    def _lay(self, sheet: _Sheet, *, size_px: tuple[int, int]) -> None:
        """Draw a sheet."""
        assert self._atlas is not None
        self._atlas.texture.use(0)
        self._ctx.enable(moderngl.BLEND)
        self._ctx.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        try:
            for (program, buffer, array), rows in zip(self._layers, (sheet.boxes, sheet.glyphs), strict=True):
                program["screen"] = size_px
                buffer.orphan()
                buffer.write(rows.tobytes())
                array.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=len(rows))
        finally:
            self._ctx.disable(moderngl.BLEND)


def _compose(sheet: _Sheet, state: HudState, *, size_px: tuple[int, int], unit: float) -> None:
    """Lay out the panel at the left edge and the messages at the bottom. `unit` is a px of a 720 line screen."""
    left, right, line = 28 * unit, 274 * unit, 23 * unit
    height = (_LINES * 23 + 58 * len(state.voices[:5]) + 42) * unit
    sheet.box(14 * unit, 14 * unit, 276 * unit, height, PANEL)
    y = 22 * unit

    def row(name: str, value: str, color: Color = WHITE) -> None:
        nonlocal y
        sheet.text(left, y, name, GREY)
        sheet.text(right, y, value, color, right=True)
        y += line

    sheet.text(left, y, _short(state.cue_now, 18) or "no cue", WHITE, large=True)
    y += 33 * unit
    row("next", _short(state.cue_next, 22) or "-")
    pulse = 1.0 - state.beat % 1.0 if state.bpm > 0 else 0.0
    lead = f", {_short(state.lead, 12)}" if state.lead else ""
    row("tempo", f"{state.bpm:.1f} bpm{lead}" if state.bpm > 0 else "-")
    for beat in range(4):
        now = state.bpm > 0 and int(state.beat) % 4 == beat
        color = (*AMBER[:3], 0.25 + 0.75 * pulse) if now else DIM
        sheet.box(left + beat * 62 * unit, y + 2 * unit, 58 * unit, 5 * unit, color)
    y += 15 * unit
    for name, fps, eased in (
        ("shown", state.fps_displayed, state.effects_eased),
        ("generated", state.fps_generated, state.generator_eased),
    ):
        row(name, f"{fps:.1f} fps" + (f", {_short(eased, 13)}" if eased else ""), AMBER if eased else WHITE)
    row("frame p99", f"{state.frame_p99_ms:.1f} ms")
    row("missed", f"{state.missed_frames}", AMBER if state.missed_frames else WHITE)
    known = state.sound_to_light_ms is not None
    row("sound to light", f"{state.sound_to_light_ms:.0f} ms, to ear {state.sound_to_ear_ms:.0f}" if known else "-")
    row("engine", _short(state.engine, 22) or "-")
    spent = sorted(state.spent_ms.items(), key=lambda item: -item[1])[:3]
    for name, ms in spent:
        row(f"  {name}", f"{ms:.1f} ms", GREY)
    y += (3 - len(spent)) * line
    row("osc", f"{state.osc_per_s:.0f}/s")
    row("  refused, unknown", f"{state.osc_refused}, {state.osc_unknown}", GREY)
    row("  moved by", _short(state.driver, 27) or "-", AMBER if state.is_driven else GREY)
    if state.live:
        row("live", _short(state.live, 27))
    row("sound", _short(state.audio, 22) or "-", RED if state.audio_lost else WHITE)
    if state.clip:
        sheet.box(left, y - 1 * unit, 58 * unit, 20 * unit, RED)
        sheet.text(left + 9 * unit, y - 1 * unit, "CLIP", (0.0, 0.0, 0.0, 1.0))
    y += 8 * unit
    for name, bands in state.voices[:5]:
        _meters(sheet, name, bands, left=left, top=y, unit=unit)
        y += 58 * unit
    _messages(sheet, state, size_px=size_px, unit=unit)


_LINES = 16
_BAND_LABELS = {"midhigh": "m-h"}  # what the eye can hold in the width of a meter


def _meters(
    sheet: _Sheet,
    name: str,
    bands: tuple[tuple[str, float, float], ...],
    *,
    left: float,
    top: float,
    unit: float,
) -> None:
    sheet.text(left, top + 22 * unit, _short(name, 7), WHITE)
    for column, (band, level, hit) in enumerate(bands[:5]):
        x, tall = left + (64 + column * 37) * unit, 34 * unit
        level, hit = min(max(level, 0.0), 1.0), min(max(hit, 0.0), 1.0)
        sheet.box(x, top, 32 * unit, tall, DIM)
        sheet.box(x, top + tall * (1 - level), 32 * unit, tall * level, (0.72, 0.74, 0.72, 0.9))
        if hit > 0.02:
            sheet.box(x, top - 2 * unit, 32 * unit, 5 * unit, (*AMBER[:3], hit))
        sheet.text(x, top + tall, _BAND_LABELS.get(band, band[:4]), GREY)


def _messages(sheet: _Sheet, state: HudState, *, size_px: tuple[int, int], unit: float) -> None:
    messages = list(state.messages[-4:])
    if state.audio_lost:
        messages.append(HudMessage(f"NO SOUND  {state.audio}", severe=True))
    # The gravest stands lowest, where the eye goes first.
    messages.sort(key=lambda message: message.severe)
    y = size_px[1] - 14 * unit
    for message in reversed(messages):
        text = _short(message.text, 90) + (f"  x{message.count}" if message.count > 1 else "")
        y -= 38 * unit
        x = 304 * unit
        most = size_px[0] - x - 30 * unit
        severe = message.severe
        color = RED if severe else AMBER
        drop = 1 if severe else 5
        if severe:
            text = _short(text, 66)
        width = min(sheet.text(x + 16 * unit, y + drop * unit, text, color, large=severe), most)
        sheet.box(x, y, width + 30 * unit, 34 * unit, PANEL)
        sheet.box(x, y, 5 * unit, 34 * unit, color)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
