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
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from performer import resources
from performer.flow import F32, U8, AudioFeatures, Frame, Image, Mix, Params, Tick
from performer.params import Param, ParamTable
from performer.stage.chain import Canvas, Copier, Effect, full_screen_corners
from performer.stage.flock import Flock, Gatherer, swarm_params
from performer.stage.hud import Hud, HudState
from performer.stage.isf import END_IMAGE, START_IMAGE, IsfEffect, IsfError, IsfInput, IsfPass, params_of, read_isf
from performer.stage.outputs.output import Display
from performer.stage.picture import Mixer, Sharpener
from performer.stage.sound import SoundTextures

log = logging.getLogger(__name__)

FRAME_SHADER = resources.SHADERS / "frame.fs"
DEFAULT_EFFECTS = (resources.SHADERS / "feedback.fs", resources.SHADERS / "grade.fs")
SOFTWARE_LINES = 360  # height of the internal picture on a software renderer, px
VISIBLE = 0.04  # of a picture: what the eye misses where it is gone at once ...
LEFT_S = 0.4  # ... so that more of one that is left behind in the middle of a crossfade fades in so long
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
    """The parameters of the stage itself: how the picture sits in the frame, and a swarm in the picture. Effects declare
    their own."""
    return (*params_of(FRAME_SHADER), *swarm_params())


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
    mixes
        paths of ISF transitions that two pictures may be mixed by; where one fails, they fade over.
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
        mixes: Sequence[str | Path] = (),
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
        self._sharpener = Sharpener(self._ctx, corners=self._corners)
        self._gatherer = Gatherer(self._ctx)
        self._pictures: dict[int, Flock] = {}  # by the creature that draws each
        self._resting: list[Flock] = []  # nobody's
        self._seen: tuple[Flock, ...] = ()  # one, or the two that are mixed
        self._part = 0.0  # how much of the second is seen
        self._spare: list[Canvas] = []  # of a crossfade: each picture framed, the two mixed, and what was left behind
        self._left_s = -math.inf  # when a picture was left behind that was still in sight
        self._effects = self._load(effects)
        self._mixes = self._load_mixes(mixes)
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

    def _load_mixes(self, paths: Sequence[str | Path]) -> dict[str, Effect]:
        mixes = {}
        for path in paths:
            try:
                isf = read_isf(path)
                mixes[isf.name] = self._compile(isf, size=self._effects[0].size, final=False)
            except IsfError as error:
                self._warn(f"transition left out: {error}")
        return mixes

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
        who: tuple[int, int] = (0, 1),
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
            taken. While one has no picture yet, the other is shown, or what was there before.
        who
            numbers of the creatures that draw the two: a picture stays its creature's, whichever of the two it is.
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
                self._draw(image, params, tick, over=over, part=part, who=who, sound=sound)
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
        for effect in (*self._effects[:-1], *self._mixes.values()):
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
        who: tuple[int, int],
        sound: AudioFeatures | None,
    ) -> None:
        values = params.values
        frozen = self._value(values, "out.freeze", 0.0) > 0
        dark = self._value(values, "out.blackout", 0.0) > 0
        gain = 0.0 if dark else params.light * min(max(self._value(values, "out.dimmer", 1.0), 0.0), 1.0)
        # While frozen no image and no sound is taken either: the newest is there again at the release.
        if not frozen or not self._seen:
            if self.detail != self._detail:
                self._detail = self.detail  # before the card can refuse it: the effects then stay as they are
                self._fit_inner()
            self._step({who[1]: over, who[0]: image}, values, tick, part=part, who=who)
            if sound is not None:
                self._sounds.take(sound)
        if not self._seen:
            return
        if not self._tail or self._drawn is None or not frozen:
            self._tail = self._render_tail(values, tick, params.mix)
            self._render_last(values, tick, gain=gain)
        elif gain != self._drawn[2]:
            self._render_last(*self._drawn[:2], gain=gain, only_last=True)
        if gain <= 0:
            self._canvas.clear()  # exact, whatever a shader adds after its light

    def _picture_of(self, creature: int, *, is_coming: bool) -> Flock | None:
        """Where its images go; None before the first is coming."""
        if creature not in self._pictures and is_coming:
            self._pictures[creature] = (
                self._resting.pop()
                if self._resting
                else Flock(mixer=self._mixer, sharpener=self._sharpener, gatherer=self._gatherer)
            )
        return self._pictures.get(creature)

    def _step(
        self, images: Mapping[int, Image | None], values: F32, tick: Tick, *, part: float, who: tuple[int, int]
    ) -> None:
        """Move on the pictures that are asked for, and settle which are seen, and how much of each."""
        asked = {who[0]} if part <= 0 else {who[1]} if part >= 1 else {*who}
        shown = []
        for creature in dict.fromkeys((who[1], who[0])):  # the second first: while it has none, the first is seen
            if creature in asked or (creature == who[0] and not shown):
                picture = self._picture_of(creature, is_coming=images[creature] is not None)
                if picture is not None:
                    picture.step(
                        images[creature],
                        photon_s=tick.photon_s,
                        dt_s=tick.dt_s,
                        size=self._value(values, "swarm.size", 1.0),
                        drift=self._value(values, "swarm.drift", 0.0),
                    )
                    shown[:0] = [creature] if picture.texture is not None else []
        if shown:  # or what was there before stays
            before = zip(self._seen, (1 - self._part, self._part), strict=False) if len(self._seen) == 2 else ()
            known = [self._pictures.get(each) for each in who]
            if any(share > VISIBLE and picture not in known for picture, share in before):
                self._leave_behind(tick)
            self._seen = tuple(self._pictures[each] for each in shown)
            self._part = part if len(shown) == 2 else 0.0
        for creature, picture in list(self._pictures.items()):
            if creature not in asked and picture not in self._seen:
                picture.forget()
                self._resting.append(self._pictures.pop(creature))

    def _leave_behind(self, tick: Tick) -> None:
        """Keep the mixture of two pictures, one of which is gone from one frame to the next, to let it fade."""
        if len(self._effects) > 1 and self._spare:
            self._spare[2], self._spare[3] = self._spare[3], self._spare[2]
            self._left_s = tick.photon_s

    def _render_tail(self, values: F32, tick: Tick, mix: Mix | None) -> tuple[moderngl.Texture, ...]:
        """Draw all that comes before the last step, and return what that step is to be given."""
        before, frame = self._effects[:-1], self._effects[0]
        textures = [picture.texture for picture in self._seen if picture.texture is not None]
        shader = self._mixes.get(mix.shader) if mix is not None else None
        left = 1.0 - (tick.photon_s - self._left_s) / LEFT_S  # of a picture that was left behind
        if len(textures) == 1 and shader is None and not 0.0 < left <= 1.0:
            texture = textures[0]
            for effect in before:
                texture = effect.render({"inputImage": texture}, values=values, tick=tick)
            return (texture,)
        if not self._spare:
            self._spare = [Canvas(self._ctx, frame.size) for _ in range(4)]
        *sides, mixed, kept = self._spare
        framed = [
            frame.render({"inputImage": texture}, values=values, tick=tick, into=side)
            for texture, side in zip(textures, sides, strict=False)
        ]
        first, last = framed[0], framed[-1]
        if shader is not None and mix is not None:
            given = {START_IMAGE: first, END_IMAGE: last}
            texture = shader.render(given, values=values, tick=tick, progress=mix.progress, into=mixed)
        elif not before:
            return first, last
        elif first is last:
            texture = first
        else:
            self._mixer.draw(first, last, part=self._part, into=mixed)
            texture = mixed.texture
        if not before:
            return texture, texture
        if 0.0 < left <= 1.0:
            spare = sides[0] if texture is mixed.texture else mixed
            self._mixer.draw(texture, kept.texture, part=left * left, into=spare)
            texture = spare.texture
        for effect in before[1:]:
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
        drawn = (
            *self._effects,
            *self._mixes.values(),
            *self._pictures.values(),
            *self._resting,
            *self._spare,
            self._canvas,
        )
        for each in (
            *drawn,
            self._mixer,
            self._sharpener,
            self._gatherer,
            self._copier,
            self._sounds,
            self._corners,
        ):
            if each is not None:
                each.release()


def _even(pixels: float) -> int:
    return max(2 * round(pixels / 2), 2)


def pixels_of(texture: moderngl.Texture) -> U8:
    """[H, W, 4] u8, top row first, of an RGBA8 texture."""
    width, height = texture.size
    return np.frombuffer(texture.read(), np.uint8).reshape(height, width, 4)[::-1]
