"""Strangeness: nothing at 0, the mean's neighbourhood at -1, and above no step that the motion does not make."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.choreography.motion import NUMBERED, ws_from_offsets
from performer.choreography.score import Length
from performer.choreography.strangeness import TAME_PSI, estranged, tamed
from tests.choreography.test_plan import FPS, anatomy, plan_of, played, pressing

BODY = anatomy()
HARDEST = 3.2  # of the growths


def rows_of(offsets: np.ndarray) -> np.ndarray:
    return ws_from_offsets(BODY, np.zeros(16, np.float32), offsets.astype(np.float32), truncation=0.8)


def animal(number: int) -> np.ndarray:
    return np.repeat(BODY.anchor(0, (NUMBERED, number))[None], 3, axis=0)


@pytest.mark.parametrize("values", [{}, {"walk.speed": 1.0, "latent.fine": 2.0, "latent.truncation": 1.3}])
def test_at_nought_a_cue_is_bit_for_bit_as_it_is(values):
    """Compared with latents put together without strangeness at all."""
    _, _, latents = played(plan_of({"values": values}), 50)
    _, _, faded = played(plan_of({"values": values | {"latent.strangeness": 1e-9}}), 50)
    assert max(np.abs(a.ws - b.ws).max() for a, b in zip(latents, faded, strict=True)) < 1e-5
    offsets = animal(3)
    plain = ws_from_offsets(BODY, BODY.w_avg, offsets, truncation=0.8)
    assert (ws_from_offsets(BODY, BODY.w_avg, offsets, truncation=tamed(0.8, 0.0)) == plain).all()


def test_downwards_is_truncation_and_never_wilder_than_it_was():
    for psi in (0.0, 0.2, 0.35, 0.8, 1.5):
        way = [tamed(psi, -step / 10) for step in range(11)]
        assert way[0] == psi and way[-1] == pytest.approx(min(psi, TAME_PSI))
        assert all(b <= a for a, b in zip(way, way[1:], strict=False))
    _, _, tame = played(plan_of({"values": {"latent.strangeness": -1.0}}), 30)
    _, _, same = played(plan_of({"values": {"latent.truncation": TAME_PSI}}), 30)
    assert tame[-1].ws == pytest.approx(same[-1].ws, abs=1e-6)


def test_upwards_the_skin_turns_first_and_the_form_last():
    plain = rows_of(animal(1))
    changed = {s: np.abs(estranged(BODY, plain, s) - plain).max(axis=1) for s in (0.1, 0.25, 0.4, 1.0)}
    assert not changed[0.1][:5].any() and changed[0.1][5:].all()
    assert not changed[0.25][:2].any() and changed[0.25][2:].all()
    assert changed[0.4].all() and (changed[1.0] > changed[0.4]).all()


@given(seed=st.integers(0, 2**32 - 1), far=st.floats(0, 8), strangeness=st.floats(0, 1), step=st.floats(1e-3, 1))
@settings(max_examples=80, deadline=None)
def test_a_smooth_motion_stays_smooth_and_ends_within_the_species_reach(seed, far, strangeness, step):
    """Two offsets a little apart end no further apart than growth alone makes them; and none ends in white or black."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((3, 16))
    first *= far * BODY.radius() / np.linalg.norm(first, axis=1, keepdims=True)
    aside = rng.standard_normal((3, 16))
    second = first + aside * step / np.linalg.norm(aside, axis=1, keepdims=True)
    ends = [estranged(BODY, rows_of(each), strangeness) for each in (first, second)]
    apart = np.linalg.norm(ends[1] - ends[0], axis=1)
    assert apart.max() <= HARDEST * 0.8 * step * 1.001 + 1e-4
    if strangeness == 1.0 or far < 1.0:
        assert np.linalg.norm(ends[0], axis=1).max() <= 2.8 * BODY.radius() * 1.001


@given(number=st.integers(0, 1000), at=st.floats(0, 0.999))
@settings(max_examples=40, deadline=None)
def test_turning_the_knob_moves_the_animal_steadily(number, at):
    plain = rows_of(animal(number))
    apart = estranged(BODY, plain, at + 1e-3) - estranged(BODY, plain, at)
    assert np.linalg.norm(apart, axis=1).max() < 0.02 * BODY.radius()


def test_the_same_strangeness_is_the_same_animal_and_no_number_is_lost():
    plain = rows_of(animal(7))
    assert (estranged(BODY, plain, 0.8) == estranged(BODY, plain, 0.8)).all()
    assert not np.allclose(estranged(BODY, plain, 0.8)[2], estranged(BODY, plain, 0.8)[3])  # each row turns its own way


def test_a_cue_that_turns_strange_fades_there_without_a_leap():
    plan = plan_of({}, {"fade": Length(2.0), "values": {"latent.strangeness": 1.0}})
    _, _, latents = played(plan, 4 * FPS, controls=pressing(plan, {FPS // 2: "cue.go"}))
    steps = [np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)]
    assert np.abs(latents[-1].ws - latents[0].ws).max() > 1.0 and max(steps) < 0.25


def test_traits_and_labels_are_not_estranged():
    strange = partial(estranged, BODY, strangeness=1.0)
    trait = np.random.default_rng(2).standard_normal((1, 3, 16)).astype(np.float32)
    body = replace(BODY, traits=trait, label_row=np.eye(16, dtype=np.float32)[3])
    plain = ws_from_offsets(body, body.w_avg, animal(1), truncation=0.8, strange=strange, traits=[0.0])
    moved = ws_from_offsets(body, body.w_avg, animal(1), truncation=0.8, strange=strange, traits=[2.0])
    assert moved[0] - plain[0] == pytest.approx(2 * trait[0, 0], abs=1e-5)
    assert (moved[-1] == body.label_row).all()
