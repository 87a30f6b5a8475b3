"""Transitions on the stage: pictures keep their creatures, shaders mix two, and nothing leaps or goes black."""

import moderngl
import numpy as np
import pytest

from performer import resources
from performer.flow import Mix
from performer.stage.chain import Effect
from performer.stage.isf import IsfError, read_isf
from tests.stage.conftest import Rig
from tests.stage.test_compositor import MIDDLE, flat

RED, BLUE, GREEN = flat(200, 0, 0), flat(0, 0, 200, side=64), flat(0, 200, 0)
TRANSITIONS = sorted(resources.TRANSITIONS.glob("*.fs"))


@pytest.fixture
def mixing():
    """Makes stages with transitions."""
    made = []

    def make(*mixes, **how):
        made.append(Rig(mixes=mixes, **how))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.mark.parametrize("path", TRANSITIONS, ids=lambda path: path.stem)
def test_every_bundled_transition_begins_with_one_picture_and_ends_with_the_other(path, mixing):
    rig = mixing(path)
    assert read_isf(path).is_transition and not rig.stage.warnings
    ends, parts = [], np.linspace(0, 1, 41)
    for progress in parts:
        ends.append(rig.show(RED, over=BLUE, part=max(progress, 1e-6), mix=Mix(path.stem, progress)))
    assert np.abs(ends[0] - np.array((200, 0, 0))).max() <= 1
    assert np.abs(ends[-1] - rig.show(None, over=BLUE, part=1.0)).max() <= 1
    assert np.array(ends).max(axis=(1, 2)).sum(axis=1).min() > 150, "never dark"
    steps = [np.abs(b - a).mean() for a, b in zip(ends, ends[1:], strict=False)]
    assert 0 < max(steps) < 30


def test_a_transition_draws_over_one_picture_as_well(mixing):
    rig = mixing(resources.TRANSITIONS / "moult.fs")
    assert np.abs(rig.show(RED, mix=Mix("moult", 0.5)) - np.array((200, 0, 0))).max() <= 1


def test_where_there_is_but_one_effect_the_shader_mixes_all_the_same(mixing):
    rig = mixing(resources.TRANSITIONS / "ink.fs", effects=())
    rig.show(RED, over=BLUE, part=0.5)
    seen = rig.show(RED, over=BLUE, part=0.99, mix=Mix("ink", 1.0))
    assert np.abs(seen[MIDDLE] - np.array((0, 0, 200))).max() <= 1


def test_a_transition_that_does_not_compile_is_left_out_and_pictures_fade_over(mixing, write_effect):
    header = '/*{"INPUTS": [{"NAME": "startImage", "TYPE": "image"}, {"NAME": "endImage", "TYPE": "image"}, '
    bad = write_effect(header + '{"NAME": "progress", "TYPE": "float"}]}*/\nvoid main() { gl_FragColor = nonsense; }\n')
    rig = mixing(bad)
    (warning,) = rig.stage.warnings
    assert "transition left out" in warning
    assert tuple(rig.show(RED, over=BLUE, part=0.5, mix=Mix("probe", 0.5))[MIDDLE]) == (100, 0, 100)


def test_progress_is_no_knob_and_other_inputs_are():
    isf = read_isf(resources.TRANSITIONS / "moult.fs")
    assert [param.id for param in isf.params] == ["moult.grain", "moult.softness"]
    assert not read_isf(resources.SHADERS / "grade.fs").is_transition
    with pytest.raises(IsfError):
        read_isf(resources.TRANSITIONS / "nothing.fs")


def test_a_picture_stays_its_creatures_when_that_becomes_the_first(rig: Rig, monkeypatch):
    rig.show(RED, who=(4, 4))
    rig.show(RED, over=BLUE, part=0.5, who=(4, 7))
    made = []
    monkeypatch.setattr(moderngl.Context, "texture", lambda *args, **how: made.append(args))
    assert tuple(rig.show(BLUE, who=(7, 7))[MIDDLE]) != (0, 0, 0)
    assert not made, "nothing is made anew"


def test_while_the_next_has_no_picture_yet_the_one_before_is_held(rig: Rig):
    rig.show(RED, who=(1, 1))
    for _ in range(5):
        assert tuple(rig.show(None, who=(2, 2))[MIDDLE]) == (200, 0, 0)
    assert tuple(rig.show(GREEN, who=(2, 2))[MIDDLE]) == (0, 200, 0)


def test_who_comes_back_brings_no_old_picture(rig: Rig):
    rig.show(RED, who=(1, 1))
    rig.show(GREEN, who=(2, 2))
    rig.show(GREEN, who=(2, 2))
    assert tuple(rig.show(None, who=(1, 1))[MIDDLE]) == (0, 200, 0)


def test_of_two_pictures_the_one_that_is_left_behind_fades(rig: Rig):
    """GO in the middle of a crossfade: three pictures, of which two are left."""
    for _ in range(3):
        seen = rig.show(RED, over=GREEN, part=0.5, who=(1, 2))
    levels = [seen[MIDDLE][0]]
    for _ in range(40):
        levels.append(rig.show(GREEN, over=BLUE, part=0.0, who=(2, 3))[MIDDLE][0])
    assert levels[0] == 100 and levels[-1] == 0
    assert min(np.diff(levels)) > -25, "it does not go at once"


def test_a_knob_that_leaps_leaves_nothing_behind(rig: Rig):
    rig.show(RED, over=GREEN, part=0.5)
    rig.show(RED, over=GREEN, part=0.5)
    assert tuple(rig.show(RED, over=GREEN, part=1.0)[MIDDLE]) == (0, 200, 0)


def test_a_dip_dims_all_of_it_trails_and_all(rig: Rig):
    rig.set(**{"feedback.amount": 1.0, "feedback.trail": 0.9, "feedback.middle": 1.0})
    for _ in range(120):
        whole = rig.show(RED)
    assert np.abs(rig.show(RED, light=0.5) - whole / 2).max() <= 2
    assert rig.show(RED, light=0.0).max() == 0
    assert rig.show(RED)[MIDDLE][0] == pytest.approx(whole[MIDDLE][0], abs=2)


def test_a_stage_that_changes_its_size_in_the_middle_goes_on(mixing):
    rig = mixing(resources.TRANSITIONS / "moult.fs")
    for size in ((128, 72), (200, 100), (64, 64)):
        rig.display.resize(size)
        for part in (0.2, 0.6):
            seen = rig.show(RED, over=BLUE, part=part, mix=Mix("moult", part))
            assert seen.max() > 100
    assert not rig.stage.warnings and all(isinstance(each, Effect) for each in rig.stage._mixes.values())
