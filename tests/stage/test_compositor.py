"""What the audience sees, pixel by pixel, on a real GL context."""

import threading

import numpy as np
import pytest
from PIL import Image as Pillow

from performer import resources
from performer.flow import Image, Params, Tick
from performer.stage.compositor import DEFAULT_EFFECTS, effect_params
from performer.stage.hud import HudMessage, HudState
from performer.stage.outputs import still
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
            rig.stage.show(Image(pixels, frame, 0.0, 0.0), Params(rig.values), tick)
            return rig.stage.read_pixels()[MIDDLE]

        for frame in range(int(6 * fps)):
            show(flat(200, 200, 200), frame)
        for frame in range(int(6 * fps), int(6.5 * fps)):
            last = show(flat(0, 0, 0), frame)
        left.append(int(last[0]))
        rig.close()
    assert abs(left[0] - 100) <= 5 and abs(left[1] - 100) <= 5, "half is left after the half life"


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
