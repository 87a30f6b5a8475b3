"""Motions by layer group: each reaches where its knobs say, and is as it was where they stand at 1."""

import numpy as np
import pytest

from performer.audio.features import feature_names
from performer.choreography.motion import MOTIONS, NOTES
from performer.flow import GROUP_NAMES
from tests.choreography.test_plan import FPS, plan_of, played

ROWS = {"coarse": slice(0, 2), "middle": slice(2, 5), "fine": slice(5, 8)}
MOVING = {
    "walk": {"walk.amount": 1.0},
    "orbit": {"orbit.amount": 1.0},
    "breathe": {"breathe.depth": 0.5},
    "chroma": {"chroma.amount": 0.7, "chroma.e": 0.8, "chroma.g": 0.5},
}
STILL = {"walk.amount": 0.0, "breathe.depth": 0.0}


def latents_of(values: dict[str, float], seconds: float = 3.0) -> np.ndarray:
    _, _, latents = played(plan_of({"values": values}), round(seconds * FPS))
    return np.stack([latent.ws for latent in latents])


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("group", GROUP_NAMES)
def test_a_motion_reaches_each_layer_group_as_far_as_its_knob_says(name, group):
    whole = latents_of(STILL | MOVING[name])
    mean = latents_of(STILL)[0]
    for reach in (0.0, 0.5, 2.0):
        scaled = latents_of(STILL | MOVING[name] | {f"{name}.{group}": reach})
        for other, rows in ROWS.items():
            expected = (whole[:, rows] - mean[rows]) * (reach if other == group else 1.0)
            assert scaled[:, rows] - mean[rows] == pytest.approx(expected, abs=1e-5)
    assert (latents_of(STILL | MOVING[name] | {f"{name}.{each}": 1.0 for each in GROUP_NAMES}) == whole).all()


def test_the_form_walks_while_the_texture_goes_round():
    only_walk = {"walk.middle": 0.0, "walk.fine": 0.0, "walk.speed": 0.5}
    only_orbit = {"orbit.amount": 1.0, "orbit.coarse": 0.0, "orbit.middle": 0.0, "orbit.period": 1.0}
    both = latents_of(STILL | {"walk.amount": 1.0} | only_walk | only_orbit)
    form, parts, texture = (both[:, rows] for rows in ROWS.values())
    assert np.abs(texture[FPS:] - texture[:-FPS]).max() < 1e-5  # a whole turn later
    assert np.abs(form[FPS:] - form[:-FPS]).max() > 0.1
    assert np.ptp(parts, axis=0).max() == 0.0


def test_turning_a_reach_moves_the_latent_no_further_than_the_knob():
    """Nothing leaps where a group comes in at zero: what is not computed was nothing."""
    at = [latents_of(STILL | {"orbit.amount": 1.0, "orbit.fine": reach}, 0.05)[-1] for reach in (0.0, 1e-4, 2e-4)]
    steps = [np.abs(b - a).max() for a, b in zip(at, at[1:], strict=False)]
    assert 0.0 < max(steps) < 1e-3


def test_notes_mix_their_animals_softly_and_without_a_leap():
    """A chord that comes and goes: as far from the mean as one animal, and no step larger than the notes' own."""
    alone = STILL | {"chroma.amount": 1.0}
    mean = latents_of(alone, 0.05)[-1]
    c, g, both = (
        latents_of(alone | dict.fromkeys(notes, 1.0), 0.05)[-1] - mean
        for notes in (("chroma.c",), ("chroma.g",), ("chroma.c", "chroma.g"))
    )
    assert both == pytest.approx((c + g) / np.sqrt(2), rel=0.06, abs=0.02)
    assert np.abs(c - g).max() > 0.5
    way = [
        latents_of(alone | {"chroma.c": 1 - at, "chroma.g": at, "chroma.e": at / 2}, 0.03)[-1]
        for at in np.linspace(0, 1, 101)
    ]
    dying = [latents_of(alone | {"chroma.c": at}, 0.03)[-1] for at in np.linspace(1, 0, 101)]
    for path in (way, dying):
        assert max(np.abs(b - a).max() for a, b in zip(path, path[1:], strict=False)) < 0.05 * np.abs(c).max()
    assert (dying[-1] == mean).all()


def test_notes_are_named_as_their_features_are():
    assert [f"chroma.{note}" for note in NOTES] == [name for name in feature_names() if name.startswith("chroma.")]


def test_every_motion_that_reaches_all_groups_is_tested_here():
    reaching = [motion.name for motion in MOTIONS if any(param.id.endswith(".coarse") for param in motion.params)]
    assert reaching == list(MOVING)
