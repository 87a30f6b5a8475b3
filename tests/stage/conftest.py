"""What the tests of the stage share: a headless stage, pictures, and a screen for the real window."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from performer.flow import AudioFeatures, Frame, Image, Mix, Params, Tick, frozen_array
from performer.params import ParamTable, base_params
from performer.stage.compositor import DEFAULT_EFFECTS, Stage, effect_params, stage_params
from performer.stage.hud import HudState
from performer.stage.outputs.headless import Headless
from tests.rig.xvfb import xvfb

FPS = 60.0


def flat(red: int, green: int, blue: int, *, side: int = 32) -> np.ndarray:
    """[side, side, 4], one colour."""
    pixels = np.full((side, side, 4), 255, np.uint8)
    pixels[..., :3] = red, green, blue
    return pixels


class Rig:
    """A stage on a headless display, with a hand on every knob. All that colours a picture is off."""

    NEUTRAL: ClassVar = {
        "frame.breath": 0.0,
        "frame.sides": 1.0,
        "frame.zoom": 1.0,
        "feedback.amount": 0.0,
        "grade.contrast": 0.0,
        "grade.saturation": 1.0,
        "grade.vignette": 0.0,
        "grade.grain": 0.0,
    }

    def __init__(self, *, size_px: tuple[int, int] = (128, 72), effects=DEFAULT_EFFECTS, mixes=()) -> None:
        self.display = Headless(size_px=size_px)
        params, _ = effect_params((*effects, *mixes))
        self.table = ParamTable((*base_params(), *stage_params(), *params))
        self.stage = Stage(self.display, table=self.table, effects=effects, mixes=mixes)
        self.values = self.table.defaults()
        self.frame = 0
        self.set(**self.NEUTRAL)

    def set(self, **values: float) -> None:
        for name, value in values.items():
            if name in self.table:
                self.values[self.table.row(name)] = value

    def show(self, pixels: np.ndarray | None, **how: Any) -> np.ndarray:
        """Show one frame, as `show_frame` does; [H, W, 3] int as displayed."""
        self.show_frame(pixels, **how)
        return self.stage.read_pixels()[..., :3].astype(int)

    def show_frame(
        self,
        pixels: np.ndarray | None,
        *,
        serial: int | None = None,
        hud: HudState | None = None,
        over: np.ndarray | None = None,
        over_serial: int | None = None,
        part: float = 0.0,
        who: tuple[int, int] = (0, 1),
        mix: Mix | None = None,
        light: float = 1.0,
        sound: AudioFeatures | None = None,
    ) -> Frame:
        tick = Tick(self.frame, self.frame / FPS, 1 / FPS, 0.0, self.frame / FPS)
        values = frozen_array(self.values.copy())
        params = Params(values, knobs=values, mix=mix, light=light)
        images = self._image(pixels, serial), self._image(over, over_serial)
        frame = self.stage.show(images[0], params, tick, hud=hud, over=images[1], part=part, who=who, sound=sound)
        self.frame += 1
        return frame

    def _image(self, pixels: np.ndarray | None, serial: int | None) -> Image | None:
        at_s = self.frame / FPS
        return None if pixels is None else Image(pixels, self.frame if serial is None else serial, at_s, at_s)

    def screen(self) -> np.ndarray:
        """[H, W, 3] int, what the audience sees, HUD included."""
        width, height = self.display.size_px
        data = self.display.framebuffer.read(components=3, alignment=1)
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)[::-1].astype(int)

    def close(self) -> None:
        self.stage.close()
        self.display.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


@pytest.fixture
def write_effect(tmp_path: Path):
    """A function that writes an ISF file and returns its path."""

    def write(text: str, name: str = "probe.fs") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """A real X display."""
    with xvfb(size_px=(800, 600)) as display:
        yield display
