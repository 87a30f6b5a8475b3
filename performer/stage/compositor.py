"""The stage: puts the generator's picture into the frame, through the effects, onto the display.

    images ─► picture ─► frame.fs ─► effect … ─► last effect ─► canvas ─► screen (+ HUD)
              256 px     └──── internal size ────┘  display's size

All but the last effect run at an internal size, which a software renderer can afford; the last one draws the display's
pixels. The canvas holds the picture as displayed, without the HUD; outputs read it there.

Thread: main. Owns: everything on the graphics card but the context. Real-time: `show` never raises; where GL refuses,
the last picture is held.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from performer import resources
from performer.flow import U8, Frame, Image, Params, Tick
from performer.params import Param, ParamTable
from performer.stage.chain import Canvas, Effect, full_screen_corners
from performer.stage.hud import Hud, HudState
from performer.stage.isf import IsfEffect, IsfError, IsfInput, IsfPass, params_of, read_isf
from performer.stage.outputs.output import Display
from performer.stage.picture import Picture

log = logging.getLogger(__name__)

FRAME_SHADER = resources.SHADERS / "frame.fs"
DEFAULT_EFFECTS = (resources.SHADERS / "feedback.fs", resources.SHADERS / "grade.fs")
SOFTWARE_LINES = 360  # height of the internal picture on a software renderer, px

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
        self._picture = Picture(self._ctx, corners=self._corners)
        self._effects = self._load(effects)
        self._hud = Hud(self._ctx)
        # The frozen frame's time and knobs: with them the last pass can be drawn again, dimmed, bit for bit.
        self._drawn: tuple[Any, Tick, float] | None = None  # values, tick and gain of what the canvas holds
        self._tail: moderngl.Texture | None = None  # what the last effect was given
        self.spent_ms: dict[str, float] = {}

    # --- loading -----------------------------------------------------------------------------------------------------

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that went wrong so far, each once, with a count where it came again."""
        return tuple(text if count == 1 else f"{text} (x{count})" for text, count in self._warnings.items())

    @property
    def internal_px(self) -> tuple[int, int]:
        """(width, height) at which all but the last effect run."""
        if self._wished_px is not None:
            return self._wished_px
        width, height = self._size
        if not self._display.is_software or height <= SOFTWARE_LINES:
            return self._size
        return 2 * round(width * SOFTWARE_LINES / height / 2), SOFTWARE_LINES

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
        # The last one must be compiled as the last one: where it fails, the one before takes its place.
        effects: list[Effect] = []
        for isf in reversed([_PLAIN, *found]):
            if isf is _PLAIN and effects:
                break
            try:
                final = not effects
                size = self._size if final else self.internal_px
                effects.insert(0, self._compile(isf, size=size, final=final))
            except IsfError as error:
                self._warn(f"effect left out: {error}")
        return effects

    def _compile(self, isf: IsfEffect, *, size: tuple[int, int], final: bool) -> Effect:
        return Effect(self._ctx, isf, table=self._table, size=size, corners=self._corners, final=final)

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
    ) -> Frame:
        """Draw and present one frame. Never raises.

        image
            the newest the generator has; the same serial twice is the same picture. None holds what is there; before
            the first image the frame is black.
        hud
            the figures to lay over the screen; never part of the returned texture.
        """
        start_s = time.perf_counter()  # durations only; the picture's time is the tick's
        try:
            # moderngl goes back to the framebuffer that was in use after every copy and clear; if that one is released
            # meanwhile (another size), GL complains. The screen is there always.
            self._display.framebuffer.use()
            self._fit()
            self._draw(image, params, tick)
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
        for effect in self._effects:
            effect.resize(size if effect is self._effects[-1] else self.internal_px)
        self._tail = None
        if self._drawn is not None:
            self._drawn = (*self._drawn[:2], -1.0)

    def _draw(self, image: Image | None, params: Params, tick: Tick) -> None:
        values = params.values
        frozen = self._value(values, "out.freeze", 0.0) > 0
        dark = self._value(values, "out.blackout", 0.0) > 0
        gain = 0.0 if dark else min(max(self._value(values, "out.dimmer", 1.0), 0.0), 1.0)
        # While frozen no image is taken either: the newest is there again at the release.
        if not frozen or self._picture.texture is None:
            self._picture.step(image, photon_s=tick.photon_s, dt_s=tick.dt_s)
        if self._picture.texture is None:
            return
        *before, last = self._effects
        if self._tail is None or self._drawn is None or not frozen:
            texture = self._picture.texture
            for effect in before:
                texture = effect.render({"inputImage": texture}, values=values, tick=tick)
            self._tail = texture
            last.render({"inputImage": texture}, values=values, tick=tick, gain=gain, into=self._canvas)
            self._drawn = (values, tick, gain)
        elif gain != self._drawn[2]:
            old_values, old_tick, _ = self._drawn
            last.render(
                {"inputImage": self._tail},
                values=old_values,
                tick=old_tick,
                gain=gain,
                into=self._canvas,
                only_last=True,
            )
            self._drawn = (old_values, old_tick, gain)
        if gain <= 0:
            self._canvas.clear()  # exact, whatever a shader adds after its light

    def _value(self, values: Any, param_id: str, default: float) -> float:
        return float(values[self._table.row(param_id)]) if param_id in self._table else default

    # --- reading -----------------------------------------------------------------------------------------------------

    def read_pixels(self) -> U8:
        """[H, W, 4] sRGB, the picture as displayed without the HUD, top row first. Waits for the card."""
        return pixels_of(self._canvas.texture)

    def close(self) -> None:
        """Give everything back to the card; the display stays the caller's."""
        for effect in self._effects:
            effect.release()
        self._canvas.release()


def pixels_of(texture: moderngl.Texture) -> U8:
    """[H, W, 4] u8, top row first, of an RGBA8 texture."""
    width, height = texture.size
    return np.frombuffer(texture.read(), np.uint8).reshape(height, width, 4)[::-1]
