"""The programme preview: pictures of frames, both ways, against means that numpy takes."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import moderngl
import numpy as np
import pytest

from performer.control import wire
from performer.exchange import SharedLatest
from performer.flow import Frame, Tick
from performer.stage.hud import HudState
from performer.stage.outputs import preview as module
from performer.stage.outputs.headless import Headless
from performer.stage.outputs.output import is_software
from performer.stage.outputs.preview import Preview
from tests.stage.conftest import FPS, Rig, flat

BOTH = pytest.mark.parametrize("on_card", [True, False], ids=["card", "host"])
NEVER = float("-inf")
ALWAYS = float("inf")


class Bench:
    """Frames of a display's size, pixels known, and a preview that somebody watches while `watched_s` says so."""

    def __init__(self, *, on_card: bool | None) -> None:
        self.display = Headless(size_px=(64, 36))
        self.display.framebuffer.use()  # as the stage leaves it
        self.pictures = SharedLatest(wire.PICTURE)
        self.watched_s = ALWAYS
        self.preview = Preview(self.pictures, watched_s=lambda: self.watched_s, on_card=on_card)
        self.frame = 0
        self._textures: dict[tuple[int, int], moderngl.Texture] = {}

    def put(self, pixels: np.ndarray, *, step: int = 1) -> bool:
        """A frame of [H, W, 3], top row first; `step` frames after the one before."""
        self.frame += step
        height, width, _ = pixels.shape
        whole = np.full((height, width, 4), 99, np.uint8)  # an effect may leave any alpha, which nobody sees
        whole[..., :3] = pixels[::-1]
        if (width, height) not in self._textures:
            self._textures[width, height] = self.display.ctx.texture((width, height), 4)
        texture = self._textures[width, height]
        texture.write(whole)
        at_s = self.frame / FPS
        taken = self.preview.put(Frame(texture, texture.size, Tick(self.frame, at_s, 1 / FPS, 0.0, at_s)))
        self.settle()
        return taken

    def settle(self) -> None:
        """Wait until the thread, where there is one, has finished."""
        wait_for(lambda: not getattr(self.preview._way, "_is_busy", False))

    def picture_of(self, pixels: np.ndarray) -> np.ndarray:
        """[h, w, 3] int, of a frame that stands for a second."""
        for _ in range(int(FPS)):
            self.put(pixels)
        return self.newest()

    def newest(self) -> np.ndarray:
        return picture_in(self.pictures)[1]

    def close(self) -> None:
        self.preview.close()
        self.display.close()


def picture_in(pictures: SharedLatest) -> tuple[int, np.ndarray]:
    """(serial, [h, w, 3] int)"""
    record = pictures.read()
    assert record is not None, "there is no picture"
    pixels = record["pixels"][: record["height_px"], : record["width_px"], :3]
    return int(record["serial"]), pixels.astype(int)


def wait_for(condition, *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@pytest.fixture(params=[True, False], ids=["card", "host"])
def bench(request) -> Iterator[Bench]:
    made = Bench(on_card=request.param)
    yield made
    assert made.display.ctx.error == "GL_NO_ERROR"
    made.close()


def quarters(width: int, height: int, *colours: tuple[int, int, int]) -> np.ndarray:
    """[H, W, 3]: upper left, upper right, lower left, lower right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(colours):
        down, right = divmod(index, 2)
        pixels[down * height // 2 : (down + 1) * height // 2, right * width // 2 : (right + 1) * width // 2] = colour
    return pixels


def means(pixels: np.ndarray, most_px: int = wire.PREVIEW_PX) -> np.ndarray:
    """The means of squares from the lower left, those at the other edges cut."""
    side = max(int(np.ceil(max(pixels.shape[:2]) / most_px)), 1)
    turned = pixels[::-1].astype(float)
    rows, columns = (np.arange(0, length, side) for length in pixels.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(turned, rows, axis=0), columns, axis=1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(turned), rows, axis=0), columns, axis=1)
    return (sums / counts)[::-1]


def recorded(function: Callable[..., Any], *, into: list[Any]) -> Callable[..., Any]:
    """The function, which keeps all that it returns."""

    def record(*args: Any, **how: Any) -> Any:
        into.append(function(*args, **how))
        return into[-1]

    return record


RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 200, 0), (0, 0, 131), (7, 90, 201)


@pytest.mark.parametrize(
    ("size", "small"), [((1280, 720), (320, 180)), ((720, 1280), (180, 320)), ((640, 640), (320, 320))]
)
def test_it_is_upright_and_has_the_colours_that_are_shown(bench, size, small):
    seen = bench.picture_of(quarters(*size, RED, GREEN, BLUE, GREY))
    # No tolerance: a mean of equal bytes is that byte.
    assert np.array_equal(seen, quarters(*small, RED, GREEN, BLUE, GREY))


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1366, 768), (274, 154)),
        ((701, 333), (234, 111)),
        ((333, 701), (111, 234)),
        ((1280, 3), (320, 1)),
        ((321, 320), (161, 160)),
        ((320, 180), (320, 180)),
        ((160, 90), (160, 90)),
        ((1, 1), (1, 1)),
    ],
)
def test_every_pixel_is_the_mean_of_its_square(bench, size, small):
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    seen = bench.picture_of(pixels)
    assert seen.shape == (small[1], small[0], 3)
    # A card rounds to the nearest, within the 0.6 that its makers allow it (an H200: 0.56). Pillow adds half the number of
    # pixels, cut to a whole one, before it divides by that number: of three, which a corner may have, that is one, so that
    # it is off by two thirds at most.
    most = 0.6 if bench.preview._on_card else 2 / 3
    assert np.abs(seen - means(pixels)).max() <= most + 1e-3


def test_the_size_may_change_while_a_picture_is_under_way(bench):
    wide, tall = np.full((360, 640, 3), RED, np.uint8), np.full((700, 350, 3), BLUE, np.uint8)
    assert bench.put(wide)
    first = bench.frame
    bench.put(tall)
    bench.put(tall)
    serial, seen = picture_in(bench.pictures)
    assert serial == first
    assert seen.shape == (180, 320, 3) and np.array_equal(seen[0, 0], RED) and np.ptp(seen, axis=(0, 1)).max() == 0
    for pixels, small in ((tall, (234, 117)), (wide, (180, 320)), (tall, (234, 117))):
        seen = bench.picture_of(pixels)
        assert seen.shape == (*small, 3)
        assert np.array_equal(seen, np.broadcast_to(pixels[0, 0], seen.shape))


def test_a_picture_is_numbered_by_its_frame_and_says_when_it_was(bench):
    bench.put(np.zeros((36, 64, 3), np.uint8), step=7)
    for _ in range(3):
        bench.put(np.full((36, 64, 3), 255, np.uint8))
    record = bench.pictures.read()
    assert (record["serial"], record["at_s"]) == (7, 7 / FPS)
    assert record["pixels"][:36, :64, :3].max() == 0, "of that frame, not of a later one"


def test_while_nobody_watches_nothing_is_read(bench, monkeypatch):
    read: list[object] = []
    for kind, name in (
        (moderngl.Framebuffer, "read_into"),
        (moderngl.Texture, "read_into"),
        (moderngl.Texture, "read"),
        (moderngl.Buffer, "read"),
        (moderngl.VertexArray, "render"),
    ):
        monkeypatch.setattr(kind, name, recorded(getattr(kind, name), into=read))
    pixels = np.zeros((36, 64, 3), np.uint8)
    bench.watched_s = NEVER
    bench.put(pixels)
    read.clear()  # the first frame may compile what it takes
    for _ in range(100):
        bench.put(pixels)
    assert (read, bench.pictures.published) == ([], 0)
    bench.watched_s = bench.frame / FPS
    for _ in range(int(2 * module.WATCH_S * FPS)):
        bench.put(pixels)
    assert len(read) >= bench.preview.taken == pytest.approx(module.WATCH_S * module.PICTURES_HZ, abs=1)
    read.clear()
    bench.put(pixels, step=1000)
    assert read == [], "who asked two seconds ago has gone"


@pytest.mark.parametrize("fps", [60, 40, 36, 24, 10])
def test_there_are_at_most_eight_a_second(bench, fps):
    pixels = np.zeros((36, 64, 3), np.uint8)
    bench.put(pixels)
    before, step = bench.preview.taken, round(1e6 * FPS / fps) / 1e6
    for _ in range(10 * fps):
        bench.put(pixels, step=step)
    # A frame that comes late must not put off those after it. What the card has begun is read two frames later, and no
    # other is begun before.
    expected = 80 if fps > 16 or bench.preview._on_card is False else 50
    assert bench.preview.taken - before == pytest.approx(expected, abs=1)
    assert bench.preview.taken == bench.pictures.published + (getattr(bench.preview._way, "_begun", None) is not None)


@BOTH
def test_the_stage_draws_as_if_nobody_watched(on_card):
    """Bit for bit, trails, figures and another size included."""
    shown, pictures = [], SharedLatest(wire.PICTURE)
    for watched_s in (None, ALWAYS):
        rig = Rig()
        rig.set(**{"feedback.amount": 1.0, "feedback.trail": 1.0, "grade.grain": 0.4, "frame.breath": 0.1})
        preview = Preview(pictures, watched_s=lambda: ALWAYS, on_card=on_card)
        rng = np.random.default_rng(5)
        for index in range(40):
            if index in (15, 30):
                rig.display.resize((72, 128) if index == 15 else (701, 333))
            pixels = rng.integers(0, 256, (32, 32, 4), np.uint8)
            frame = rig.show_frame(pixels, hud=HudState(cue_now="egg") if index % 3 else None)
            before, viewport = rig.display.ctx.fbo, rig.display.ctx.fbo.viewport
            if watched_s is not None:
                preview.put(frame)
                assert rig.display.ctx.fbo is before and before.viewport == viewport
                wait_for(lambda of=preview: not getattr(of._way, "_is_busy", False))
            shown.append((rig.stage.read_pixels().copy(), rig.screen()))
        assert rig.stage.warnings == ()
        preview.close()
        rig.close()
    assert pictures.published >= 4, "somebody watched"
    for (canvas, screen), (watched_canvas, watched_screen) in zip(shown[:40], shown[40:], strict=True):
        assert np.array_equal(canvas, watched_canvas) and np.array_equal(screen, watched_screen)


@BOTH
def test_dimmer_and_blackout_are_seen_and_the_figures_are_not(on_card):
    rig, pictures = Rig(size_px=(640, 360)), SharedLatest(wire.PICTURE)
    preview = Preview(pictures, watched_s=lambda: ALWAYS, on_card=on_card)
    for values, expected in (({}, 200), ({"out.dimmer": 0.5}, 100), ({"out.blackout": 1.0}, 0)):
        rig.set(**values)
        for _ in range(30):
            frame = rig.show_frame(flat(200, 200, 200), hud=HudState(cue_now="egg", fps_displayed=40))
            preview.put(frame)
            wait_for(lambda: not getattr(preview._way, "_is_busy", False))
        _, seen = picture_in(pictures)
        # One more than the stage's own test of colours allows: a mean is rounded once more.
        assert seen.shape == (180, 320, 3) and np.abs(seen - expected).max() <= (3 if expected else 0)
    assert np.ptp(rig.screen()) > 100, "the figures are on the screen"
    preview.close()
    rig.close()


def test_a_slow_thread_drops_pictures_and_counts(monkeypatch):
    bench, gate, publish = Bench(on_card=False), threading.Event(), module._publish
    monkeypatch.setattr(bench, "settle", lambda: None)
    monkeypatch.setattr(module, "_publish", lambda *args, **how: gate.wait(10) and publish(*args, **how))
    grey = np.full((36, 64, 3), 90, np.uint8)
    taken = [bench.put(grey, step=10) for _ in range(4)]
    assert taken == [True, False, False, False] and bench.preview.dropped == 3
    gate.set()
    Bench.settle(bench)
    assert bench.put(grey, step=10)
    bench.close()
    assert bench.pictures.published == 2, "what was begun is finished"


def test_what_fails_in_the_thread_is_raised_at_the_next_frame(monkeypatch):
    bench = Bench(on_card=False)
    monkeypatch.setattr(bench, "settle", lambda: None)

    def broken(*_args, **_how):
        raise ArithmeticError("no mean")

    monkeypatch.setattr(module, "_publish", broken)
    grey = np.full((36, 64, 3), 90, np.uint8)
    bench.put(grey)
    wait_for(lambda: not bench.preview._way._thread.is_alive())
    with pytest.raises(ArithmeticError, match="no mean"):
        bench.put(grey)
    bench.close()


@BOTH
def test_a_refusal_of_opengl_is_raised(on_card):
    bench = Bench(on_card=on_card)
    bench.put(np.zeros((36, 64, 3), np.uint8))
    way = bench.preview._way
    take = way.take

    def refused(texture, tick):
        bench.display.ctx.viewport = (0, 0, -1, -1)  # GL_INVALID_VALUE
        return take(texture, tick)

    way.take = refused
    with pytest.raises(RuntimeError, match="GL_INVALID_VALUE"):
        for _ in range(20):
            bench.put(np.zeros((36, 64, 3), np.uint8))
    bench.close()


@BOTH
def test_it_gives_everything_back(on_card, monkeypatch):
    made: list[Any] = []
    for name in ("texture", "framebuffer", "buffer", "program", "vertex_array"):
        monkeypatch.setattr(moderngl.Context, name, recorded(getattr(moderngl.Context, name), into=made))
    bench = Bench(on_card=on_card)
    for size in ((640, 360), (360, 640), (64, 36)):
        bench.picture_of(np.zeros((size[1], size[0], 3), np.uint8))
    own = [bench.display.framebuffer, *bench.display.framebuffer.color_attachments, *bench._textures.values()]
    bench.preview.close()
    left = [each for each in made if type(each.mglo).__name__ != "InvalidObject"]
    assert {id(each) for each in left} == {id(each) for each in own}
    assert len(made) > len(own) or not on_card
    assert not any(thread.name == "preview" for thread in threading.enumerate())
    bench.preview.close()  # twice is no fault
    bench.display.close()


def test_the_way_is_chosen_by_who_draws(monkeypatch):
    for renderer, way in (("llvmpipe (LLVM 15)", module.OnHost), ("NVIDIA H100/PCIe/SSE2", module.OnCard)):
        bench = Bench(on_card=None)
        monkeypatch.setattr(module, "is_software", lambda name, renderer=renderer: is_software(renderer))
        bench.put(np.zeros((36, 64, 3), np.uint8))
        assert type(bench.preview._way) is way
        bench.close()
