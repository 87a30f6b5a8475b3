"""The stage: puts the generators' pictures into the frame, through the effects, onto the display.

    images ─► picture ─► frame.fs ─┬─► effect … ─► last effect ─► canvas ─► screen (+ HUD)
    over ───► picture ─► frame.fs ─┘
              256 px     └──── internal size ────┘  display's size

All but the last effect run at an internal size, which a software renderer can afford; the last one draws the display's
pixels. The canvas holds the picture as displayed, without the HUD; outputs read it there. A machine that is short of
time draws the inner effects smaller (`Stage.detail`); trails go on through that.

The second row is there while two generators are seen at once. Their sizes may differ: each is framed from its own, and
what is mixed has the frame's size. The effects after that see one picture and run once, so trails stay what they are.

Thread: main. Owns: everything on the graphics card but the context. Real-time: `show` never raises; where GL refuses,
the last picture is held.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from performer import resources
from performer.flow import F32, U8, AudioFeatures, Frame, Image, Params, Tick
from performer.params import Param, ParamTable
from performer.stage.chain import Canvas, Copier, Effect, full_screen_corners
from performer.stage.hud import Hud, HudState
from performer.stage.isf import IsfEffect, IsfError, IsfInput, IsfPass, params_of, read_isf
from performer.stage.outputs.output import Display
from performer.stage.picture import Mixer, Picture
from performer.stage.sound import SoundTextures

log = logging.getLogger(__name__)

FRAME_SHADER = resources.SHADERS / "frame.fs"
DEFAULT_EFFECTS = (resources.SHADERS / "feedback.fs", resources.SHADERS / "grade.fs")
SOFTWARE_LINES = 360  # height of the internal picture on a software renderer, px
DETAILS = (1.0, 0.75, 0.5)  # parts of the internal size at which the effects may run, finest first

# What remains when a shader fails: the picture, stretched, or the picture as it comes.
_PLAIN = IsfEffect(
    name="plain",
    path=Path("plain"),
    description="shows what it is given",
    inputs=(IsfInput("inputImage", "image"),),
    passes=(IsfPass(),),
    fragment="void main() { gl_FragColor = IMG_THIS_PIXEL(inputImage); }",
    vertex=None,
    notes=(),
)


def stage_params() -> tuple[Param, ...]:
    """The parameters of the stage itself: how the square picture sits in the frame. Effects declare their own."""
    return params_of(FRAME_SHADER)


def effect_params(effects: Sequence[str | Path] = DEFAULT_EFFECTS) -> tuple[tuple[Param, ...], tuple[str, ...]]:
    """(parameters, warnings) of all `effects`; one that cannot be read is left out with a warning."""
    params: list[Param] = []
    warnings = []
    for path in effects:
        try:
            params += params_of(path)
        except IsfError as error:
            warnings.append(f"effect left out: {error}")
    return tuple(params), tuple(warnings)


class Stage:
    """Draws frames on `display`.

    effects
        paths of ISF files, in order. One that fails is left out; `warnings` says why.
    table
        the show's parameters; an input whose parameter is missing there keeps its default.
    internal_px
        (width, height) at which all but the last effect run. By default 360 lines on a software renderer, else the
        display's size.
    """

    def __init__(
        self,
        display: Display,
        *,
        table: ParamTable,
        effects: Sequence[str | Path] = DEFAULT_EFFECTS,
        internal_px: tuple[int, int] | None = None,
    ) -> None:
        self._display = display
        self._ctx: moderngl.Context = display.ctx
        self._table = table
        self._wished_px = internal_px
        self._warnings: dict[str, int] = {}
        self._ctx.disable(moderngl.BLEND)
        self._corners = full_screen_corners(self._ctx)
        self._size = display.size_px
        self._canvas = Canvas(self._ctx, self._size)
        self.detail = DETAILS[0]  # the part of the internal size that is wished for; it is taken up in the next frame
        self._detail = self.detail  # and the one that is there
        self._copier = Copier(self._ctx, corners=self._corners)
        self._mixer = Mixer(self._ctx, corners=self._corners)
        self._sounds = SoundTextures(self._ctx)
        self._picture = self._make_picture()
        self._over: Picture | None = None  # of the second generator, from when it is first seen
        self._part = 0.0  # how much of it is seen
        self._spare: list[Canvas] = []  # of a crossfade: each picture framed, and the two mixed
        self._effects = self._load(effects)
        self._hud = Hud(self._ctx)
        # The frozen frame's time and knobs: with them the last pass can be drawn again, dimmed, bit for bit.
        self._drawn: tuple[F32, Tick, float] | None = None  # values, tick and gain of what the canvas holds
        self._tail: tuple[moderngl.Texture, ...] = ()  # what the last effect was given; two if they are mixed last
        self.spent_ms: dict[str, float] = {}
        # Drawing on a card goes on after the calls have returned. It is asked how long it took two frames later, when
        # that is known; asking sooner would wait for it.
        self._queries = [] if display.is_software else [self._ctx.query(time=True) for _ in range(2)]
        self._asked = 0
        self.card_ms = 0.0  # what the card took to draw a frame; 0 where the processor draws

    # --- loading -----------------------------------------------------------------------------------------------------

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that went wrong so far, each once, with a count where it came again."""
        return tuple(text if count == 1 else f"{text} (x{count})" for text, count in self._warnings.items())

    @property
    def internal_px(self) -> tuple[int, int]:
        """(width, height) at which all but the last effect run."""
        width, height = self._full_px
        if self._detail == 1.0:
            return width, height
        return _even(width * self._detail), _even(height * self._detail)

    @property
    def hears(self) -> bool:
        """True where an effect has an audio input, so that `show` has a use for sound."""
        return self._sounds.are_wanted

    @property
    def _full_px(self) -> tuple[int, int]:
        if self._wished_px is not None:
            return self._wished_px
        width, height = self._size
        if not self._display.is_software or height <= SOFTWARE_LINES:
            return self._size
        return _even(width * SOFTWARE_LINES / height), SOFTWARE_LINES

    @property
    def details(self) -> tuple[float, ...]:
        """What `detail` may be, finest first; 1 alone where no effect runs at the internal size."""
        return DETAILS if len(self._effects) > 1 else DETAILS[:1]

    def _load(self, paths: Sequence[str | Path]) -> list[Effect]:
        found: list[IsfEffect] = []
        for path in (FRAME_SHADER, *paths):
            try:
                isf = read_isf(path)
                found.append(isf)
                for note in isf.notes:
                    log.info("%s", note)
            except IsfError as error:
                self._warn(f"effect left out: {error}")
        # The last one must be compiled as the last one: where it fails, the one before takes its place. The first is
        # drawn twice in a crossfade, so where frame.fs fails no other takes its place: the picture is stretched.
        effects: list[Effect] = []
        for isf in reversed([_PLAIN, *found]):
            if isf is _PLAIN and effects and effects[0].isf.path == FRAME_SHADER:
                break
            try:
                final = not effects
                size = self._size if final else self.internal_px
                effects.insert(0, self._compile(isf, size=size, final=final))
            except IsfError as error:
                self._warn(f"effect left out: {error}")
        return effects

    def _compile(self, isf: IsfEffect, *, size: tuple[int, int], final: bool) -> Effect:
        return Effect(
            self._ctx,
            isf,
            table=self._table,
            size=size,
            corners=self._corners,
            copier=self._copier,
            sounds=self._sounds,
            final=final,
        )

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            log.warning("%s", text)
        self._warnings[text] = self._warnings.get(text, 0) + 1

    # --- the frame ---------------------------------------------------------------------------------------------------

    def show(
        self,
        image: Image | None,
        params: Params,
        tick: Tick,
        *,
        hud: HudState | None = None,
        over: Image | None = None,
        part: float = 0.0,
        sound: AudioFeatures | None = None,
    ) -> Frame:
        """Draw and present one frame. Never raises.

        image
            the newest the generator has; the same serial twice is the same picture. None holds what is there; before
            the first image the frame is black.
        hud
            the figures to lay over the screen; never part of the returned texture.
        over
            the newest of a second generator, like `image`.
        part
            0..1, how much of `over` is seen. At 0 and 1 one generator is seen alone, and images of the other are not
            taken; another may have its place by the next frame. While one has no picture yet, the other is shown.
        sound
            what the audio inputs of effects read; None leaves them what they had.
        """
        start_s = time.perf_counter()  # durations only; the picture's time is the tick's
        try:
            # moderngl goes back to the framebuffer that was in use after every copy and clear; if that one is released
            # meanwhile (another size), GL complains. The screen is there always.
            self._display.framebuffer.use()
            self._fit()
            with self._timed():
                self._draw(image, params, tick, over=over, part=part, sound=sound)
        except Exception as error:  # the show goes on with the picture that is there
            self._warn(f"the picture is held: {type(error).__name__}: {error}")
        try:
            screen = self._display.framebuffer
            self._ctx.copy_framebuffer(screen, self._canvas.framebuffer)
            if hud is not None:
                screen.use()
                self._hud.draw(hud, size_px=self._size)
        except Exception as error:
            self._warn(f"the screen was not drawn: {type(error).__name__}: {error}")
        laid_s = time.perf_counter()
        try:
            self._display.present()
            if (code := self._ctx.error) != "GL_NO_ERROR":
                self._warn(f"OpenGL reports {code}")
        except Exception as error:
            self._warn(f"nothing was presented: {type(error).__name__}: {error}")
        end_s = time.perf_counter()
        self.spent_ms = {
            "stage": 1e3 * (laid_s - start_s),
            "display": 1e3 * (end_s - laid_s),
        }
        return Frame(self._canvas.texture, self._size, tick, self.spent_ms)

    def _fit(self) -> None:
        """Follow the display's size."""
        size = self._display.size_px
        if size == self._size:
            return
        self._size = size
        self._canvas.release()
        self._canvas = Canvas(self._ctx, size)
        self._effects[-1].resize(size)
        self._fit_inner()
        if self._drawn is not None:
            self._drawn = (*self._drawn[:2], -1.0)

    def _fit_inner(self) -> None:
        """Give all but the last effect their size."""
        self._tail = ()
        for canvas in self._spare:
            canvas.release()
        self._spare = []
        for effect in self._effects[:-1]:
            effect.resize(self.internal_px)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Have the card time what is drawn within."""
        if not self._queries:
            yield
            return
        query = self._queries[self._asked % len(self._queries)]
        if self._asked >= len(self._queries):
            self.card_ms = query.elapsed / 1e6
        self._asked += 1
        with query:
            yield

    def _draw(
        self,
        image: Image | None,
        params: Params,
        tick: Tick,
        *,
        over: Image | None,
        part: float,
        sound: AudioFeatures | None,
    ) -> None:
        values = params.values
        frozen = self._value(values, "out.freeze", 0.0) > 0
        dark = self._value(values, "out.blackout", 0.0) > 0
        gain = 0.0 if dark else min(max(self._value(values, "out.dimmer", 1.0), 0.0), 1.0)
        # While frozen no image and no sound is taken either: the newest is there again at the release.
        if not frozen or self._alone.texture is None:
            if self.detail != self._detail:
                self._detail = self.detail  # before the card can refuse it: the effects then stay as they are
                self._fit_inner()
            self._step(image, tick, over=over, part=part)
            if sound is not None:
                self._sounds.take(sound)
        if self._alone.texture is None:
            return
        if not self._tail or self._drawn is None or not frozen:
            self._tail = self._render_tail(values, tick)
            self._render_last(values, tick, gain=gain)
        elif gain != self._drawn[2]:
            self._render_last(*self._drawn[:2], gain=gain, only_last=True)
        if gain <= 0:
            self._canvas.clear()  # exact, whatever a shader adds after its light

    @property
    def _alone(self) -> Picture:
        """The picture that is seen where one is seen alone, and the first of two."""
        return self._over if self._over is not None and self._part >= 1 else self._picture

    def _make_picture(self) -> Picture:
        return Picture(self._ctx, corners=self._corners, mixer=self._mixer)

    def _step(self, image: Image | None, tick: Tick, *, over: Image | None, part: float) -> None:
        """Move on the pictures that are seen, and settle how much of each that is."""
        if self._over is None and over is not None and part > 0:
            self._over = self._make_picture()
        if self._over is not None and part > 0:
            self._over.step(over, photon_s=tick.photon_s, dt_s=tick.dt_s)
        elif self._over is not None:
            self._over.rest()
        if self._over is None or self._over.texture is None:
            part = 0.0
        if part < 1:
            self._picture.step(image, photon_s=tick.photon_s, dt_s=tick.dt_s)
        else:
            self._picture.rest()
        self._part = part if self._picture.texture is not None else 1.0

    def _render_tail(self, values: F32, tick: Tick) -> tuple[moderngl.Texture, ...]:
        """Draw all that comes before the last step, and return what that step is to be given."""
        texture, before = self._alone.texture, self._effects[:-1]
        over = self._over.texture if self._over is not None else None
        assert texture is not None
        if over is not None and 0 < self._part < 1:
            if not self._spare:
                self._spare = [Canvas(self._ctx, self._effects[0].size) for _ in range(3)]
            *sides, mixed = self._spare
            framed = tuple(
                self._effects[0].render({"inputImage": seen}, values=values, tick=tick, into=side)
                for seen, side in zip((texture, over), sides, strict=True)
            )
            if not before:
                return framed
            self._mixer.draw(*framed, part=self._part, into=mixed)
            texture, before = mixed.texture, before[1:]
        for effect in before:
            texture = effect.render({"inputImage": texture}, values=values, tick=tick)
        return (texture,)

    def _render_last(self, values: F32, tick: Tick, *, gain: float, only_last: bool = False) -> None:
        """Draw the display's pixels from what the last step was given."""
        if len(self._tail) == 2:
            self._mixer.draw(*self._tail, part=self._part, gain=gain, into=self._canvas)
        else:
            images = {"inputImage": self._tail[0]}
            last = self._effects[-1]
            last.render(images, values=values, tick=tick, gain=gain, into=self._canvas, only_last=only_last)
        self._drawn = (values, tick, gain)

    def _value(self, values: Any, param_id: str, default: float) -> float:
        return float(values[self._table.row(param_id)]) if param_id in self._table else default

    # --- reading -----------------------------------------------------------------------------------------------------

    def read_pixels(self) -> U8:
        """[H, W, 4] sRGB, the picture as displayed without the HUD, top row first. Waits for the card."""
        return pixels_of(self._canvas.texture)

    def close(self) -> None:
        """Give everything back to the card; the display stays the caller's."""
        drawn = (*self._effects, self._picture, self._over, *self._spare, self._canvas)
        for each in (*drawn, self._mixer, self._copier, self._sounds, self._corners):
            if each is not None:
                each.release()


def _even(pixels: float) -> int:
    return max(2 * round(pixels / 2), 2)


def pixels_of(texture: moderngl.Texture) -> U8:
    """[H, W, 4] u8, top row first, of an RGBA8 texture."""
    width, height = texture.size
    return np.frombuffer(texture.read(), np.uint8).reshape(height, width, 4)[::-1]
