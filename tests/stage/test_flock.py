"""A swarm on the stage: alone an animal is shown as it is, several share the ground, and nobody comes or goes at once."""

import numpy as np
import pytest

from performer.flow import Image
from performer.stage.compositor import Stage
from performer.stage.flock import Flock, _place_of
from tests.stage.conftest import FPS, Rig
from tests.stage.test_compositor import busy


def animal(colour, *, side: int = 64, ground=(240, 235, 220)) -> np.ndarray:
    """A disc on paper."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    inside = (x * x + y * y < 0.5)[..., None]
    return np.concatenate(
        [np.where(inside, colour, ground), np.full((side, side, 1), 255)], axis=2
    ).astype(np.uint8)  # fmt: skip


COLOURS = ((200, 0, 0), (0, 160, 0), (0, 0, 200), (160, 0, 160), (0, 150, 150))


@pytest.fixture
def flocks(rig: Rig):
    """Shows frames of swarms: show(members) draws the next frame, with the image of the animal whose turn it is."""

    def show(members: int, *, frames: int = 1, who=(0, 0)) -> np.ndarray:
        for _ in range(frames):
            member = rig.frame % members
            image = Image(
                animal(COLOURS[member]), rig.frame + 1, rig.frame / FPS, rig.frame / FPS, member=member, members=members
            )
            rig._image = lambda pixels, serial, made=image: made  # type: ignore[method-assign]
            seen = rig.show(None, who=who)
        return seen

    return show


def share_of(seen: np.ndarray, colour) -> float:
    """The part of the frame that has this colour."""
    return float((np.abs(seen - np.array(colour)).max(axis=2) < 60).mean())


def test_one_animal_is_its_picture_untouched(rig: Rig):
    pixels = busy(3, 64)
    rig.show(pixels)
    (flock,) = rig.stage._pictures.values()
    assert flock.texture is flock._pictures[0].texture and flock._canvas is None


def test_several_share_the_frame_each_in_its_place(flocks):
    seen = flocks(5, frames=int(5 * FPS))
    shares = [share_of(seen, colour) for colour in COLOURS]
    assert min(shares) > 0.01 and max(shares) < 0.2
    assert share_of(seen, (240, 235, 220)) > 0.3, "they share one paper"


def test_they_come_and_go_by_and_by(flocks):
    one = flocks(1, frames=5)
    way = [one] + [flocks(5) for _ in range(int(4 * FPS))]
    back = [way[-1]] + [flocks(1) for _ in range(int(8 * FPS))]
    for frames in (way, back):
        steps = [np.abs(b - a).mean() for a, b in zip(frames, frames[1:], strict=False)]
        assert max(steps) < 0.25 * max(np.abs(frames[-1] - frames[0]).mean(), 20)
    assert np.abs(back[-1] - one).mean() < 1.0
    assert min(frame.mean() for frame in way + back) > 60, "never dark"


def test_who_comes_back_after_a_while_is_one_again(flocks, rig: Rig):
    flocks(4, frames=60, who=(1, 1))
    flocks(1, frames=3, who=(2, 2))
    seen = flocks(1, frames=2, who=(1, 1))
    assert share_of(seen, COLOURS[1]) == share_of(seen, COLOURS[2]) == 0.0
    assert len(rig.stage._pictures) == 1 and rig.stage._resting, "and its pictures are used again"


@pytest.mark.parametrize("count", range(2, 10))
def test_places_are_apart_and_within_the_frame(count):
    places = [_place_of(member, count, size=1.0) for member in range(count)]
    for x, y, size in places:
        assert max(abs(x), abs(y)) + 0.7 * size < 1.15 and 0.3 < size < 0.8
    apart = min(np.hypot(a[0] - b[0], a[1] - b[1]) for at, a in enumerate(places) for b in places[:at])
    assert apart > 0.6 * places[0][2]


def test_a_stage_that_closes_lets_go_of_all_of_a_swarm(flocks, rig: Rig, monkeypatch):
    flocks(5, frames=10)
    released = []
    release = Flock.release
    monkeypatch.setattr(Flock, "release", lambda flock: released.append(flock) or release(flock))
    Stage.close(rig.stage)
    assert len(released) == len(rig.stage._pictures) + len(rig.stage._resting) == 1
    monkeypatch.setattr(rig.stage, "close", lambda: None)
