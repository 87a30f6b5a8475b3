"""What the audience sees, pixel by pixel, on a real GL context."""

import threading
from collections.abc import Callable
from typing import Any

import moderngl
import numpy as np
import pytest
from PIL import Image as Pillow

from performer import resources
from performer.flow import Image, Params, Tick
from performer.stage import chain, compositor
from performer.stage.compositor import DEFAULT_EFFECTS, effect_params
from performer.stage.hud import HudMessage, HudState
from performer.stage.outputs import headless, still
from performer.stage.outputs.still import StillWriter
from tests.stage.conftest import FPS, Rig, flat

MIDDLE = (36, 64)
GREY = flat(120, 120, 120)


def busy(seed: int = 0, side: int = 32) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 4), np.uint8)
    pixels[..., 3] = 255
    return pixels


def test_it_is_black_before_the_first_image(rig: Rig) -> None:
    assert rig.show(None).max() == 0
    assert rig.screen().max() == 0


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
def test_colours_arrive_as_they_were_sent(rig: Rig, color: tuple[int, int, int]) -> None:
    seen = rig.show(flat(*color))
    assert np.abs(seen - np.array(color)).max() <= 2, "the whole frame, its sides too, has the colour of the picture"
    assert np.abs(rig.screen() - np.array(color)).max() <= 2


def test_the_picture_stands_upright_and_is_not_mirrored(rig: Rig) -> None:
    pixels = flat(0, 0, 0)
    pixels[:16, :16, 0] = 255  # upper left
    pixels[:16, 16:, 1] = 255  # upper right
    seen = rig.show(pixels)
    assert seen[18, 50, 0] > 200 and seen[18, 50, 1] < 50
    assert seen[18, 78, 1] > 200 and seen[18, 78, 0] < 50
    assert seen[54].max() < 50


def test_without_a_new_image_the_last_is_held(rig: Rig) -> None:
    before = rig.show(busy())
    assert np.abs(rig.show(None) - before).max() <= 1


def test_a_picture_that_is_not_square_keeps_its_shape(rig: Rig) -> None:
    wide = np.full((32, 64, 4), 255, np.uint8)
    wide[..., :3] = 10, 10, 200
    wide[:, :16, :3] = 200, 10, 10  # a quarter of its width
    shown = rig.show(wide)[36]  # a row in the middle; on a frame of 16:9 the picture is as wide as the frame
    assert shown[int(0.20 * 128), 0] > 150 and shown[int(0.31 * 128), 2] > 150


def test_blackout_is_exactly_black_with_everything_on_and_comes_back(rig: Rig) -> None:
    rig.set(**{"grade.grain": 1.0, "feedback.amount": 1.0, "out.blackout": 1.0})
    assert rig.show(busy()).max() == 0
    assert rig.screen().max() == 0
    rig.set(**{"out.blackout": 0.0})
    assert rig.show(busy()).max() > 50


def test_freeze_holds_every_pixel_even_through_a_blackout_and_a_dimmer_ride(rig: Rig) -> None:
    rig.set(**{"grade.grain": 0.5, "feedback.amount": 1.0, "frame.breath": 0.1, "grade.contrast": 0.3})
    for seed in range(4):
        held = rig.show(busy(seed))
    rig.set(**{"out.freeze": 1.0})
    for seed in range(4, 8):
        rig.set(**{"grade.hue": seed / 20})
        assert np.array_equal(rig.show(busy(seed)), held)
    rig.set(**{"out.blackout": 1.0})
    assert rig.show(busy(9)).max() == 0
    rig.set(**{"out.blackout": 0.0, "out.dimmer": 0.5})
    assert np.abs(rig.show(busy(9)) - held / 2).max() <= 1
    rig.set(**{"out.dimmer": 1.0})
    assert np.array_equal(rig.show(busy(10)), held)
    rig.set(**{"out.freeze": 0.0})
    assert not np.array_equal(rig.show(busy(11)), held)


def test_the_dimmer_scales_code_values(rig: Rig) -> None:
    full = rig.show(flat(200, 100, 50))[MIDDLE]
    rig.set(**{"out.dimmer": 0.5})
    assert np.abs(rig.show(flat(200, 100, 50))[MIDDLE] - full / 2).max() <= 1
    rig.set(**{"out.dimmer": 0.0})
    assert rig.show(flat(200, 100, 50)).max() == 0


def test_images_that_come_every_frame_are_shown_at_once(rig: Rig) -> None:
    for index in range(8):
        level = 40 + 150 * (index % 2)
        assert abs(rig.show(flat(level, level, level))[MIDDLE][0] - level) <= 2


def test_slower_images_are_approached_steadily(rig: Rig) -> None:
    every = 6  # ten images a second at sixty frames
    seen = []
    for index in range(every * 5):
        bright = 200 if (index // every) % 2 else 40
        seen.append(rig.show(flat(bright, bright, bright), serial=index // every)[MIDDLE][0])
    rise = seen[every * 3 : every * 4]
    assert np.all(np.diff(rise) > 0) and rise[0] < 100, "one step a frame, no jump"
    assert abs(rise[-1] - 200) <= 2, "and it has arrived when the next one comes"
    fall = seen[every * 4 : every * 5]
    assert np.all(np.diff(fall) < 0) and abs(fall[-1] - 40) <= 2


def test_an_image_on_every_second_frame_moves_evenly(rig: Rig) -> None:
    """Where the generator draws every second frame, each image is shown half way in between, and then whole."""
    for index in range(12):
        rig.show(flat(20, 20, 20), serial=index)
    seen = [rig.show(flat(*3 * (20 + 8 * (index // 2),)), serial=100 + index // 2)[MIDDLE][0] for index in range(40)]
    steps = np.diff(seen[8:])
    assert np.abs(steps - 4).max() <= 1, "as if an image had come with every frame"
    assert seen[-1] == 20 + 8 * 19, "and no later than the frame after the image came"
    seen = [rig.show(flat(*3 * (176 - 4 * index,)), serial=200 + index)[MIDDLE][0] for index in range(40)]
    assert np.diff(seen[1:]).max() <= 0, "and back to every frame without a step back"
    assert seen[-1] == 176 - 4 * 39, "and nothing is held back"


def test_one_stalled_image_does_not_start_the_fades(rig: Rig) -> None:
    for _ in range(6):
        rig.show(flat(40, 40, 40))
    for _ in range(10):
        rig.show(None)
    for _ in range(3):
        rig.show(flat(40, 40, 40))
    assert abs(rig.show(flat(200, 200, 200))[MIDDLE][0] - 200) <= 2


def test_an_engine_may_change_its_size(rig: Rig) -> None:
    for index, side in enumerate((32, 64, 64, 16, 32)):
        for _ in range(4):
            seen = rig.show(flat(200, 40, 40, side=side), serial=index)
    assert np.abs(seen[MIDDLE] - np.array((200, 40, 40))).max() <= 2
    assert rig.stage.warnings == ()


def test_trails_last_as_long_at_any_frame_rate() -> None:
    left = []
    for fps in (30.0, 60.0):
        rig = Rig()
        rig.set(**{"feedback.amount": 1.0, "feedback.trail": 0.5, "feedback.middle": 1.0, "feedback.zoom": 0.0})

        def show(pixels: np.ndarray, frame: int, rig: Rig = rig, fps: float = fps) -> np.ndarray:
            tick = Tick(frame, frame / fps, 1 / fps, 0.0, 0.0)
            rig.stage.show(Image(pixels, frame, 0.0, 0.0), Params(rig.values, knobs=rig.values), tick)
            return rig.stage.read_pixels()[MIDDLE]

        for frame in range(int(6 * fps)):
            show(flat(200, 200, 200), frame)
        for frame in range(int(6 * fps), int(6.5 * fps)):
            last = show(flat(0, 0, 0), frame)
        left.append(int(last[0]))
        rig.close()
    assert abs(left[0] - 100) <= 5 and abs(left[1] - 100) <= 5, "half is left after the half life"


@pytest.mark.parametrize("resized", [False, True])
def test_the_first_frame_is_lit_to_its_corners_whatever_the_trails(resized: bool) -> None:
    rig = Rig()
    rig.set(**{"feedback.amount": 1.0, "feedback.trail": 6.0, "feedback.middle": 1.0})
    if resized:
        rig.display.resize((200, 100))
    assert np.abs(rig.show(flat(200, 40, 40)) - np.array((200, 40, 40))).max() <= 2
    rig.close()


def test_trails_fade_to_the_very_end() -> None:
    rig = Rig()
    rig.set(**{"feedback.amount": 1.0, "feedback.trail": 0.5, "feedback.middle": 1.0})
    for _ in range(10):
        rig.show(flat(200, 200, 200))
    for _ in range(int(6 * FPS)):
        seen = rig.show(flat(0, 0, 0))
    assert seen.max() <= 2
    rig.close()


def test_the_figures_lie_over_the_screen_and_never_in_the_picture() -> None:
    rig = Rig(size_px=(640, 360))
    plain = rig.show(GREY)
    state = HudState(
        cue_now="Night",
        voices=(("mix", (("bass", 0.5, 1.0),)),),
        messages=(HudMessage("engine fell back", severe=True),),
        audio_lost=True,
        clip=True,
    )
    seen = rig.show(GREY, hud=state)
    assert np.abs(seen - plain).max() <= 1
    screen = rig.screen()
    assert np.abs(screen[:, :140] - plain[:, :140]).max() > 60
    assert np.abs(screen[60:270, 200:440] - plain[60:270, 200:440]).max() <= 1, "the middle stays free"
    rig.set(**{"out.blackout": 1.0})
    rig.show(GREY, hud=state)
    assert rig.screen().max() > 150, "who stands at the computer sees the figures in a blackout"
    assert rig.stage.warnings == ()
    rig.close()


def test_a_crowded_figure_panel_is_cut_not_broken(rig: Rig) -> None:
    crowd = HudState(
        cue_now="x" * 5000,
        voices=tuple((f"v{n}", tuple((f"b{m}", 9.0, -1.0) for m in range(99))) for n in range(99)),
        messages=tuple(HudMessage("ж" * 5000, count=9, severe=n % 2 == 0) for n in range(50)),
    )
    rig.show(GREY, hud=crowd)
    assert rig.stage.warnings == ()


def test_the_display_may_change_its_size(rig: Rig) -> None:
    rig.show(busy())
    rig.display.resize((200, 100))
    assert rig.show(flat(10, 200, 10)).shape == (100, 200, 3)
    assert np.abs(rig.screen() - np.array((10, 200, 10))).max() <= 2
    assert rig.stage.warnings == ()


# --- another size of the effects -------------------------------------------------------------------------------------

TRAILS = {"feedback.amount": 1.0, "feedback.trail": 2.0, "feedback.middle": 1.0}


def blot(*, side: int = 32) -> np.ndarray:
    """A soft bright spot on black."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    light = (255 * np.exp(-30 * (x**2 + y**2))).astype(np.uint8)
    return np.stack([light, light, light, np.full_like(light, 255)], axis=-1)


def trailing(*, size_px: tuple[int, int] = (320, 180), change: Callable[[Rig], None] | None = None) -> np.ndarray:
    """A spot that has gone, as its trail stands three frames after `change`."""
    rig = Rig(size_px=size_px)
    rig.set(**TRAILS)
    for _ in range(60):
        rig.show(blot())
    rig.show(flat(0, 0, 0))
    if change is not None:
        change(rig)
    for _ in range(3):
        seen = rig.show(flat(0, 0, 0))
    assert rig.stage.warnings == ()
    rig.close()
    return seen


@pytest.mark.parametrize("detail", [0.75, 0.5])
def test_a_trail_goes_on_through_another_size_of_the_effects(detail: float) -> None:
    kept = trailing()
    assert kept.max() > 60, "there is a trail"
    seen = trailing(change=lambda rig: setattr(rig.stage, "detail", detail))
    assert np.abs(seen - kept).max() <= 8 and np.abs(seen - kept).mean() < 1
    assert np.abs(seen[1:] - seen[:-1]).max() <= 12, "and smooth"

    def there_and_back(rig: Rig) -> None:
        rig.stage.detail = detail
        rig.show(flat(0, 0, 0))
        rig.stage.detail = 1.0

    again = trailing(change=there_and_back)
    assert np.abs(again - kept).max() <= 8


def test_a_trail_goes_on_through_another_size_of_the_window() -> None:
    kept = trailing(size_px=(160, 90))
    seen = trailing(change=lambda rig: rig.display.resize((160, 90)))
    assert kept.max() > 60 and np.abs(seen - kept).max() <= 8


def test_the_effects_run_at_even_parts_of_their_size(rig: Rig) -> None:
    for size, detail, expected in (
        ((1280, 720), 1.0, (640, 360)),
        ((1280, 720), 0.75, (480, 270)),
        ((1280, 720), 0.5, (320, 180)),
        ((1366, 768), 0.75, (480, 270)),
        ((202, 102), 0.75, (152, 76)),
        ((2, 2), 0.5, (2, 2)),
    ):
        rig.display.resize(size)
        rig.stage.detail = detail
        seen = rig.show(flat(200, 40, 40))
        assert seen.shape == (size[1], size[0], 3) and np.abs(seen - np.array((200, 40, 40))).max() <= 2
        assert rig.stage.internal_px == expected
        assert [effect.size for effect in rig.stage._effects] == [expected, expected, size]
    assert rig.stage.warnings == ()


def test_only_effects_at_the_internal_size_can_be_eased() -> None:
    for effects, details in ((DEFAULT_EFFECTS, (1.0, 0.75, 0.5)), ((), (1.0,))):
        rig = Rig(effects=effects)
        assert rig.stage.details == details
        rig.close()


def test_what_is_frozen_keeps_its_size(rig: Rig) -> None:
    rig.set(**TRAILS, **{"frame.breath": 0.1})
    for seed in range(4):
        held = rig.show(busy(seed))
    rig.set(**{"out.freeze": 1.0})
    rig.stage.detail = 0.5
    assert np.array_equal(rig.show(busy(5)), held) and rig.stage.internal_px == (128, 72)
    rig.set(**{"out.freeze": 0.0})
    rig.show(busy(6))
    assert rig.stage.internal_px == (64, 36)


def test_a_size_that_the_card_refuses_leaves_the_effects_as_they_are(rig: Rig, monkeypatch) -> None:
    for _ in range(4):
        held = rig.show(GREY)

    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(chain, "Canvas", refuses)
    rig.stage.detail = 0.5
    assert np.array_equal(rig.show(flat(200, 40, 40)), held)
    assert np.abs(rig.show(flat(200, 40, 40)) - np.array((200, 40, 40))).max() <= 2, "it is not tried again"
    assert rig.stage.warnings == ("the picture is held: RuntimeError: out of memory",)


def test_a_card_tells_how_long_it_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls return at once; what they cost is known later."""
    monkeypatch.setattr(headless, "is_software", lambda renderer: False)
    rig = Rig(size_px=(640, 360))
    for _ in range(2):
        rig.show(GREY)
        assert rig.stage.card_ms == 0
    for _ in range(3):
        rig.show(GREY)
    assert rig.stage.card_ms > 0 and rig.stage.warnings == ()
    rig.close()


# --- an effect that sees itself, placed last ---------------------------------------------------------------------------

ECHO = """/*{"INPUTS": [{"NAME": "inputImage", "TYPE": "image"}],
"PASSES": [{"TARGET": "echo", "PERSISTENT": true}]}*/
void main() { gl_FragColor = max(IMG_THIS_PIXEL(inputImage), 0.5 * IMG_THIS_PIXEL(echo)); }
"""


def test_an_effect_that_sees_itself_does_so_at_the_end_of_the_chain(write_effect) -> None:
    rig = Rig(effects=(write_effect(ECHO),))
    assert rig.show(flat(200, 40, 40))[MIDDLE][0] == 200
    levels = [rig.show(flat(0, 0, 0))[MIDDLE][0] for _ in range(3)]
    assert np.abs(np.array(levels) - (100, 50, 25)).max() <= 1
    rig.show(flat(200, 40, 40))
    rig.set(**{"out.dimmer": 0.5})
    assert abs(rig.show(flat(0, 0, 0))[MIDDLE][0] - 50) <= 1, "the dimmer dims what is seen ..."
    rig.set(**{"out.dimmer": 1.0})
    assert abs(rig.show(flat(0, 0, 0))[MIDDLE][0] - 50) <= 1, "... and not what the effect sees again"
    rig.set(**{"out.freeze": 1.0})
    held = rig.show(flat(0, 0, 0))
    for dimmer in (0.5, 0.25):
        rig.set(**{"out.dimmer": dimmer})
        assert np.abs(rig.show(flat(0, 0, 0)) - held * dimmer).max() <= 1, "nor does it see itself while frozen"
    rig.set(**{"out.dimmer": 1.0, "out.freeze": 0.0})
    assert abs(rig.show(flat(0, 0, 0))[MIDDLE][0] - 25) <= 1
    rig.display.resize((200, 100))
    assert abs(rig.show(flat(0, 0, 0))[50, 100][0] - 12) <= 1, "nor does a window of another size empty it"
    assert rig.stage.warnings == ()
    rig.close()


# --- effects that fail -----------------------------------------------------------------------------------------------


def test_an_effect_that_does_not_compile_is_left_out_and_announced(write_effect) -> None:
    bad = write_effect('/*{"INPUTS": []}*/\n\nvoid main() {\n  gl_FragColor = nonsense;\n}\n')
    rig = Rig(effects=(bad, resources.SHADERS / "grade.fs", bad))
    assert np.abs(rig.show(flat(200, 40, 40))[MIDDLE] - np.array((200, 40, 40))).max() <= 2
    (warning,) = rig.stage.warnings
    assert "probe.fs" in warning and "0:4(" in warning, "the line is that of the user's file"
    rig.close()


def test_with_no_effect_at_all_there_is_still_a_picture_and_a_dimmer() -> None:
    rig = Rig(effects=())
    assert rig.show(flat(200, 40, 40))[MIDDLE][0] > 195
    rig.set(**{"out.blackout": 1.0})
    assert rig.show(flat(200, 40, 40)).max() == 0
    rig.close()


def test_a_fault_in_mid_show_holds_the_picture_and_is_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    held = rig.show(busy())

    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("the card is gone")

    monkeypatch.setattr(rig.stage._effects[1], "render", broken)
    for _ in range(3):
        assert np.array_equal(rig.show(flat(0, 0, 0)), held)
    assert rig.stage.warnings == ("the picture is held: RuntimeError: the card is gone (x3)",)
    monkeypatch.undo()
    assert rig.show(flat(0, 0, 0)).max() <= 1, "the fault has passed, the show goes on"


def test_an_image_of_the_wrong_shape_is_skipped(rig: Rig) -> None:
    held = rig.show(busy())
    assert np.array_equal(rig.show(np.zeros((8, 8, 3), np.uint8)), held)
    assert len(rig.stage.warnings) == 1
    assert np.abs(rig.show(flat(200, 40, 40))[MIDDLE] - np.array((200, 40, 40))).max() <= 2


def test_a_broken_image_of_another_size_leaves_the_picture_that_is_there(rig: Rig) -> None:
    held = rig.show(busy(), serial=0)
    empty = np.zeros((0, 0, 4), np.uint8)
    for serial, broken in enumerate((np.zeros((8, 8, 3), np.uint8), empty, empty), start=1):
        assert np.array_equal(rig.show(broken, serial=serial), held)
        assert np.abs(rig.show(broken, serial=serial) - held).max() <= 1, "it is not tried again"
    assert len(rig.stage.warnings) == 2
    for _ in range(9):
        seen = rig.show(flat(200, 40, 40))
    assert np.abs(seen[MIDDLE] - np.array((200, 40, 40))).max() <= 2


def test_paper_goes_on_in_the_colour_of_its_corners(rig: Rig) -> None:
    """What reaches to the picture's edge, here a red band, does not stain the paper beside it."""
    banded = flat(240, 235, 220, side=64)
    banded[20:44, :, :3] = 200, 0, 0
    beside = np.s_[30:42, 2:12]
    stained = rig.show(banded)[beside]
    rig.set(**{"frame.ground": 1.0})
    clean = rig.show(banded)
    assert stained[..., 1].mean() < 150
    assert np.abs(clean[beside] - np.array([240, 235, 220])).max() <= 3
    assert clean[36, 64, 0] > 150 > clean[36, 64, 1], "the picture itself is as it was"


# --- two generators --------------------------------------------------------------------------------------------------

SMALL, LARGE = busy(1, 32), busy(2, 64)
CHAINS = pytest.mark.parametrize("effects", [DEFAULT_EFFECTS, DEFAULT_EFFECTS[1:], ()], ids=["all", "last", "none"])


def last_of(frames: list[dict], *, effects=DEFAULT_EFFECTS, **values: float) -> np.ndarray:
    """The last of some frames, on a stage of their own that hides nothing."""
    rig = Rig(effects=effects)
    rig.set(**{"frame.zoom": 1.12, "frame.breath": 0.05, **values})
    for how in frames:
        seen = rig.show(**how)
    assert rig.stage.warnings == ()
    rig.close()
    return seen


@CHAINS
def test_the_ends_of_a_crossfade_are_the_pictures_alone(effects) -> None:
    lively = {"feedback.amount": 0.6, "grade.grain": 0.3, "grade.contrast": 0.4, "out.dimmer": 0.8}
    for part, one in ((-1.0, SMALL), (0.0, SMALL), (1.0, LARGE), (2.0, LARGE)):
        alone = last_of([{"pixels": one}] * 4, effects=effects, **lively)
        both = last_of([{"pixels": SMALL, "over": LARGE, "part": part}] * 4, effects=effects, **lively)
        assert np.array_equal(both, alone), part


@CHAINS
def test_a_crossfade_begins_and_ends_unseen(effects) -> None:
    for part, one in ((1e-4, SMALL), (1 - 1e-4, LARGE)):
        for dimmer in (1.0, 0.7):
            alone = last_of([{"pixels": one}], effects=effects, **{"out.dimmer": dimmer})
            both = last_of([{"pixels": SMALL, "over": LARGE, "part": part}], effects=effects, **{"out.dimmer": dimmer})
            assert np.abs(both - alone).max() <= 1, part


@CHAINS
@pytest.mark.parametrize("part", [0.25, 0.5, 0.9])
def test_between_two_pictures_is_the_mean_of_both_as_framed(effects, part: float) -> None:
    wide = busy(3, 48)[:24]  # another size and another shape
    for over in (LARGE, wide):
        ends = [last_of([{"pixels": one}], effects=effects) for one in (SMALL, over)]
        seen = last_of([{"pixels": SMALL, "over": over, "part": part}], effects=effects)
        assert np.abs(ends[0] - ends[1]).max() > 60
        assert np.abs(seen - (ends[0] * (1 - part) + ends[1] * part)).max() <= 1.5


def test_a_second_picture_costs_nothing_until_it_is_seen(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for effect in rig.stage._effects:
        render = effect.render
        monkeypatch.setattr(
            effect, "render", lambda *a, _of=render, _name=effect.name, **k: drawn.append(_name) or _of(*a, **k)
        )
    rig.show(SMALL, over=LARGE)
    rig.show(SMALL, part=0.5)
    assert len(rig.stage._pictures) == 1 and drawn == ["frame", "feedback", "grade"] * 2
    drawn.clear()
    rig.show(SMALL, over=LARGE, part=0.5)
    assert drawn == ["frame", "frame", "feedback", "grade"], "what keeps a picture runs once a frame"
    assert not any(one.persistent for one in rig.stage._effects[0].isf.passes), "and this keeps none"
    drawn.clear()
    rig.show(SMALL, over=LARGE, part=1.0)
    rig.show(SMALL, over=LARGE, part=0.0)
    assert drawn == ["frame", "feedback", "grade"] * 2


def test_trails_follow_a_crossfade_as_they_follow_a_picture() -> None:
    trails = {"feedback.amount": 1.0, "feedback.trail": 0.3, "feedback.middle": 1.0}
    dark, both = {"pixels": flat(0, 0, 0)}, {"over": flat(0, 160, 200, side=64), "part": 0.5}
    mean = last_of([dark, *[{"pixels": flat(100, 100, 100)}] * 6], **trails)
    seen = last_of([dark, *[{"pixels": flat(200, 40, 0), **both}] * 6], **trails)
    assert 10 < mean[MIDDLE][0] < 60, "they are still on their way"
    assert np.abs(seen - mean).max() <= 2


def test_while_one_has_no_picture_the_other_is_shown(rig: Rig) -> None:
    red, blue = flat(200, 0, 0), flat(0, 0, 200, side=64)
    assert rig.show(None, over=blue).max() == 0, "no part of it is seen"
    assert tuple(rig.show(None, over=blue, part=0.5)[MIDDLE]) == (0, 0, 200)
    rig.set(**{"out.dimmer": 0.5})
    assert tuple(rig.show(None, part=0.0)[MIDDLE]) == (0, 0, 100), "never back into the dark"
    rig.set(**{"out.dimmer": 1.0})
    assert tuple(rig.show(red, part=0.5)[MIDDLE]) == (100, 0, 100), "and is held where none comes"
    assert tuple(rig.show(None, part=0.5)[MIDDLE]) == (100, 0, 100)
    assert tuple(rig.show(None, part=1.0)[MIDDLE]) == (0, 0, 200)
    assert tuple(rig.show(None)[MIDDLE]) == (0, 0, 200), "and stays until the first has a new one: its old one is gone"
    assert tuple(rig.show(red, serial=9)[MIDDLE]) == (200, 0, 0)
    fresh = Rig()
    for part in (0.5, 1.0):
        assert fresh.show(None, part=part).max() == 0
    for part in (0.5, 1.0):
        assert tuple(fresh.show(red, part=part)[MIDDLE]) == (200, 0, 0)
    fresh.close()


def test_each_picture_keeps_its_own_pace(rig: Rig) -> None:
    every, seen = 6, []
    for index in range(every * 5):
        slow = 200 if (index // every) % 2 else 40
        quick = 40 + 150 * (index % 2)
        over = flat(slow, 0, 0, side=64)
        seen.append(rig.show(flat(0, quick, 0), over=over, over_serial=index // every, part=0.5)[MIDDLE])
    red, green, _ = np.array(seen).T
    rise = red[every * 3 : every * 4]
    assert np.all(np.diff(rise) > 0) and rise[0] < 50 and abs(rise[-1] - 100) <= 1
    assert np.abs(green - np.tile((20, 95), len(seen) // 2)).max() <= 1, "the quick one is shown at once all the same"


def test_after_a_rest_a_picture_is_shown_at_once_even_with_a_number_it_had(rig: Rig) -> None:
    """Another generator may have the place by then; it counts its images from the beginning."""
    for index in range(30):
        rig.show(flat(200, 0, 0), serial=index // 6, over=flat(0, 0, 200), over_serial=index // 6, part=0.5)
    rig.show(None, over=flat(0, 0, 200), over_serial=5, part=1.0)
    assert tuple(rig.show(flat(0, 200, 0), serial=4)[MIDDLE]) == (0, 200, 0)
    assert tuple(rig.show(None, over=flat(90, 90, 0), over_serial=5, part=1.0)[MIDDLE]) == (90, 90, 0)


@CHAINS
def test_freeze_holds_both_pictures_and_their_parts(effects) -> None:
    rig = Rig(effects=effects)
    rig.set(**{"grade.grain": 0.5, "feedback.amount": 1.0, "frame.breath": 0.1})
    for seed in range(4):
        held = rig.show(busy(seed), over=busy(seed + 20, 64), part=0.3)
    rig.set(**{"out.freeze": 1.0})
    for seed, part in enumerate((0.3, 0.0, 0.6, 1.0), start=4):
        assert np.array_equal(rig.show(busy(seed), over=busy(seed + 20, 64), part=part), held)
    rig.set(**{"out.dimmer": 0.5})
    assert np.abs(rig.show(busy(9), over=LARGE, part=1.0) - held / 2).max() <= 1
    rig.set(**{"out.blackout": 1.0})
    assert rig.show(busy(9), over=LARGE, part=1.0).max() == 0
    rig.set(**{"out.blackout": 0.0, "out.dimmer": 1.0})
    assert np.array_equal(rig.show(busy(10), over=LARGE, part=1.0), held)
    rig.set(**{"out.freeze": 0.0})
    assert not np.array_equal(rig.show(busy(11), over=LARGE, part=0.3), held)
    assert rig.stage.warnings == ()
    rig.close()


@CHAINS
def test_the_display_may_change_its_size_in_a_crossfade(effects) -> None:
    red, blue = flat(200, 0, 0), flat(0, 0, 200, side=64)
    rig = Rig(effects=effects)
    rig.show(red, over=blue, part=0.5)
    for size in ((200, 100), (64, 64)):
        rig.display.resize(size)
        seen = rig.show(red, over=blue, part=0.25)
        assert seen.shape == (size[1], size[0], 3) and np.abs(seen - np.array((150, 0, 50))).max() <= 1
    rig.set(**{"out.freeze": 1.0})
    rig.display.resize((128, 72))
    assert np.abs(rig.show(GREY, over=GREY, part=1.0) - np.array((150, 0, 50))).max() <= 1, "frozen, it is as it was"
    assert rig.stage.warnings == ()
    rig.close()


def test_a_broken_image_of_either_is_skipped(rig: Rig) -> None:
    red, blue, broken = flat(200, 0, 0), flat(0, 0, 200, side=64), np.zeros((8, 8, 3), np.uint8)
    rig.show(red, over=broken, over_serial=0, part=0.5)
    for part, level in ((0.5, 200), (1.0, 100)):
        seen = rig.show(flat(level, 0, 0), over=broken, over_serial=0, part=part)
        assert tuple(seen[MIDDLE]) == (level, 0, 0), "there is no other yet"
    held = rig.show(red, serial=10, over=blue, over_serial=1, part=0.5)
    for how in ({"over": broken, "over_serial": 2}, {"pixels": broken, "serial": 11}):
        how = {"pixels": red, "serial": 10, "over": blue, "over_serial": 1, "part": 0.5} | how
        assert np.array_equal(rig.show(**how), held)
        assert np.array_equal(rig.show(**how), held)
    assert len(rig.stage.warnings) == 1


def test_where_the_frame_does_not_compile_pictures_are_stretched_and_mixed(write_effect, monkeypatch) -> None:
    bad = write_effect('/*{"INPUTS": []}*/\nvoid main() { gl_FragColor = nonsense; }\n')
    monkeypatch.setattr(compositor, "FRAME_SHADER", bad)
    for effects in (DEFAULT_EFFECTS, ()):
        alone, both = Rig(effects=effects), Rig(effects=effects)
        for rig in (alone, both):
            rig.set(**{"feedback.amount": 1.0, "feedback.trail": 0.3, "feedback.middle": 1.0})
        for _ in range(6):
            mean = alone.show(flat(100, 0, 100))
            seen = both.show(flat(200, 0, 0), over=flat(0, 0, 200, side=64), part=0.5)
        assert mean[MIDDLE][0] > 10 and np.abs(seen - mean).max() <= 2
        alone.close()
        both.close()


def test_a_stage_that_closes_leaves_nothing_of_a_crossfade_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def recorded(make: Callable[..., Any]) -> Callable[..., Any]:
        def make_and_record(*args: Any, **how: Any) -> Any:
            made.append(make(*args, **how))
            return made[-1]

        return make_and_record

    for name in ("texture", "framebuffer", "buffer", "program", "vertex_array"):
        monkeypatch.setattr(moderngl.Context, name, recorded(getattr(moderngl.Context, name)))
    rig = Rig()
    for index, size in enumerate(((128, 72), (64, 64), (200, 100))):
        rig.display.resize(size)
        rig.stage.detail = (1.0, 0.75, 0.5)[index]
        for frame in range(18):  # slower than frames, so that each fades
            rig.show(busy(0, 16 + index), serial=frame // 3, over=busy(1, 32 - index), over_serial=frame // 4, part=0.5)
    rig.stage.close()
    screen = rig.display.framebuffer
    others = [*(each for layer in rig.stage._hud._layers for each in layer), screen, *screen.color_attachments]
    left = [each for each in made if type(each.mglo).__name__ != "InvalidObject"]
    assert len(made) > 60 and {id(each) for each in left} == {id(each) for each in others}
    rig.display.close()


def test_every_default_effect_moves_its_picture_when_its_knobs_turn() -> None:
    """A knob that does nothing is a lie on the panel."""
    for param_id in [param.id for param in effect_params(DEFAULT_EFFECTS)[0]]:
        pictures = []
        for norm in (0.0, 0.7):
            rig = Rig()
            rig.set(**{"feedback.amount": 1.0, "feedback.trail": 2.0, "feedback.middle": 1.0})
            rig.set(**{param_id: rig.table[param_id].from_norm(norm)})
            for _ in range(6):
                rig.show(busy(3), serial=0)
            pictures.append(rig.show(busy(4), serial=1))
            rig.close()
        assert np.abs(pictures[0] - pictures[1]).max() > 2, param_id


def test_frames_become_files(rig: Rig, tmp_path) -> None:
    writer = StillWriter(tmp_path / "frames", every=2)
    for index in range(4):
        frame = rig.show_frame(flat(200, 50 * index, 40))
        writer.put(frame)
    seen = rig.stage.read_pixels()[..., :3]
    writer.snapshot(frame, tmp_path / "deep" / "one.png")
    writer.close()
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["000000.png", "000002.png"]
    assert np.array_equal(np.asarray(Pillow.open(tmp_path / "deep" / "one.png")), seen)
    assert (writer.written, writer.dropped, writer.failed) == (3, 0, 0)


def test_a_slow_disk_drops_and_counts(rig: Rig, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(still, "write_png", lambda *_: gate.wait(10))
    writer = StillWriter(tmp_path)
    taken = [writer.put(rig.show_frame(GREY)) for _ in range(12)]
    gate.set()
    writer.close()
    assert taken.count(False) == writer.dropped and writer.dropped in (7, 8)
    assert writer.written == 12 - writer.dropped


def test_a_full_disk_is_counted_and_nothing_escapes(rig: Rig, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = StillWriter(tmp_path)
    writer.snapshot(rig.show_frame(GREY), tmp_path / "file" / "one.png")
    writer.close()
    assert writer.failed == 1
