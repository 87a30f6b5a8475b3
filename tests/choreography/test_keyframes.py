"""Keyframes: the way passes each at its time, smoothly, the same at any frame rate and wherever one jumps in."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.choreography.keyframes import Keyframe, keyframes
from performer.choreography.motion import NUMBERED
from performer.choreography.score import Length
from performer.flow import Tick
from performer.params import Controls
from performer.routes import Route
from tests.choreography.test_plan import FPS, QUIET, anatomy, plan_of, played, pressing, setting, tick_at

BODY = anatomy()
STILL = {"walk.amount": 0.0, "breathe.depth": 0.0, "latent.truncation": 1.0}


def led(*frames: tuple[float, int], **how):
    return keyframes([Keyframe(at=at, animals=(number,) * 3) for at, number in frames], **how)


def offset(ways, at: float) -> np.ndarray:
    return BODY.mean_and_offsets(9, ways.terms(at))[1].astype(float)


def animal(number: int) -> np.ndarray:
    return BODY.anchor(0, (NUMBERED, number))


times = st.lists(st.floats(0.0, 60.0), min_size=1, max_size=7, unique_by=lambda at: round(at, 1))
numbers = st.lists(st.integers(0, 5), min_size=7, max_size=7)


@given(times=times, numbers=numbers, is_loop=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_way_passes_each_animal_at_its_time(times, numbers, is_loop):
    ways = led(*zip(times, numbers, strict=False), loop=61.0 if is_loop else 0.0)
    for at, number in zip(times, numbers, strict=False):
        assert offset(ways, at)[0] == pytest.approx(animal(number), abs=1e-4)
    if not is_loop:
        last = max(zip(times, numbers, strict=False))[1]
        assert offset(ways, 1e6)[1] == pytest.approx(animal(last), abs=1e-6)
        assert offset(ways, -3.0)[1] == pytest.approx(animal(min(zip(times, numbers, strict=False))[1]), abs=1e-6)


@given(times=times, numbers=numbers, is_loop=st.booleans(), at=st.floats(-5, 130))
@settings(max_examples=120, deadline=None)
def test_the_way_never_leaps_and_its_speed_does_not_either(times, numbers, is_loop, at):
    """Continuously differentiable: the difference of two steps shrinks with the square of their length."""
    ways = led(*zip(times, numbers, strict=False), loop=61.0 if is_loop else 0.0)
    ordered = sorted(times)
    gaps = [b - a for a, b in zip(ordered, ordered[1:], strict=False)] + (
        [61.0 + ordered[0] - ordered[-1]] if is_loop else []
    )
    shortest = min(gaps, default=1.0)
    step = shortest / 200
    size = max(np.linalg.norm(animal(number)) for number in range(6))
    a, b, c = (offset(ways, at + k * step)[0] for k in (-1, 0, 1))
    assert np.linalg.norm(c - b) < 0.05 * size
    assert np.linalg.norm(a - 2 * b + c) < 0.003 * size
    assert np.linalg.norm(b) < 2.0 * size


def test_a_stretch_between_two_short_ones_is_not_thrown_beyond_its_ends():
    ways = led((0, 1), (1, 2), (50, 3), (51, 4))
    for at in np.linspace(1, 50, 99):
        weights = {key[1]: weight for group, key, weight in ways.terms(at) if group == 0}
        assert min(weights.values()) > -0.25 and max(weights.values()) <= 1.03


def test_an_animal_that_is_told_twice_is_rested_at():
    ways = led((0, 1), (4, 2), (8, 2), (12, 3))
    assert all(offset(ways, at)[0] == pytest.approx(animal(2), abs=1e-6) for at in np.linspace(4, 8, 21))


def test_each_layer_group_has_its_own_way():
    ways = keyframes([
        Keyframe(at=0.0, animals=(1, 2, None)),
        Keyframe(at=4.0, animals=(None, 3, None)),
        Keyframe(at=8.0, animals=(4, 5, None)),
    ])  # fmt: skip
    coarse, middle, fine = offset(ways, 4.0)
    assert middle == pytest.approx(animal(3), abs=1e-6) and not fine.any()
    assert coarse == pytest.approx((animal(1) + animal(4)) / math.sqrt(2), abs=1e-5)


def test_a_loop_has_no_seam():
    ways = led((0.5, 1), (3, 2), (5, 3), in_beats=True, loop=8.0)
    at = np.linspace(0, 24, 2401)
    way = np.stack([offset(ways, each)[0] for each in at])
    assert way[:800] == pytest.approx(way[800:1600], abs=1e-4)
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert np.abs(np.diff(steps)).max() < 0.02 * np.linalg.norm(way, axis=1).max()


@given(
    stops=st.lists(
        st.tuples(st.floats(0, 50), st.floats(0.0, 1.5)), min_size=1, max_size=8, unique_by=lambda s: round(s[0], 1)
    ),
    is_loop=st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_value_passes_its_keyframes_and_never_leaves_what_lies_between_two(stops, is_loop):
    ways = keyframes([Keyframe(at=at, values=((3, value),)) for at, value in stops], loop=51.0 if is_loop else 0.0)
    value = lambda at: dict(ways.rows(at))[3]  # noqa: E731
    for at, stop in stops:
        assert value(at) == pytest.approx(stop, abs=1e-6)
    found = [value(at) for at in np.linspace(0, 60, 601)]
    assert min(stop for _, stop in stops) <= min(found) and max(found) <= max(stop for _, stop in stops)
    ordered = sorted(stops)
    for (start, low), (end, high) in zip(ordered, ordered[1:], strict=False):
        between = [value(at) for at in np.linspace(start, end, 33)]
        assert all((b - a) * (high - low) >= -1e-12 for a, b in zip(between, between[1:], strict=False))


def test_a_value_rises_without_a_corner():
    ways = keyframes([Keyframe(at=at, values=((0, v),)) for at, v in ((0.0, 0.0), (2.0, 1.0), (3.0, 4.0), (9.0, 4.5))])
    at = np.linspace(-1, 11, 12001)
    slopes = np.diff([dict(ways.rows(each))[0] for each in at]) / 0.001
    assert np.abs(np.diff(slopes)).max() < 0.05


def test_switches_and_whole_numbers_change_at_their_keyframe():
    ways = keyframes([Keyframe(at=0.0, values=((0, 1.0),)), Keyframe(at=2.0, values=((0, 5.0),))], steps=[0])
    assert [dict(ways.rows(at))[0] for at in (-1.0, 0.0, 1.999, 2.0, 9.0)] == [1.0, 1.0, 1.0, 5.0, 5.0]


# In the plan

WAYS = led((0, 1), (1.0, 2), (2.5, 3))


def test_a_keyframed_cue_is_the_same_at_any_frame_rate_and_wherever_one_jumps_in():
    seen = {}
    for fps in (24, 120):
        plan = plan_of({"values": STILL | {"breathe.depth": 0.2}, "keyframes": WAYS})
        _, _, latents = played(plan, 3 * fps, fps=fps)
        seen[fps] = [latent.ws.tobytes() for latent in latents]
    assert seen[24] == seen[120][::5]
    plan = plan_of({}, {"values": STILL | {"breathe.depth": 0.2}, "keyframes": WAYS})
    start = plan.enter(1, at_s=0.0, beat=0.0)
    for frame in (0, 17, 60):
        _, _, latent = plan.step(start, QUIET, (), Controls.none(plan.table), tick_at(frame, fps=24))
        assert latent.ws.tobytes() == seen[24][frame]


def test_a_cue_passes_its_animals_and_motions_and_pushes_go_on_top():
    plan = plan_of({"values": STILL, "keyframes": WAYS})
    _, _, latents = played(plan, 3 * FPS)
    for at, number in ((0.0, 1), (1.0, 2), (2.5, 3)):
        assert latents[round(at * FPS)].ws[4] - BODY.w_avg == pytest.approx(animal(number), abs=1e-5)
    plan = plan_of({"values": STILL | {"latent.coarse": 0.5}, "keyframes": WAYS})
    _, _, pushed = played(plan, 3 * FPS)
    apart = np.stack([a.ws - b.ws for a, b in zip(pushed, latents, strict=True)])
    assert np.ptp(apart, axis=0).max() < 1e-5 and np.abs(apart[0, 0]).max() > 0.1 and not apart[:, 2:].any()


def test_beats_lead_where_keyframes_count_them():
    ways = led((0, 1), (4, 2), in_beats=True)
    plan = plan_of({"values": STILL, "keyframes": ways})
    memory = plan.enter(0, at_s=0.0, beat=10.0)
    _, _, latent = plan.step(memory, QUIET, (), Controls.none(plan.table), Tick(1, 77.0, 0.02, 14.0, 77.0))
    assert latent.ws[0] - BODY.w_avg == pytest.approx(animal(2), abs=1e-5)


def test_values_follow_their_keyframes_below_hands_and_routes():
    plan = plan_of({})
    row, noise = plan.table.row("latent.fine"), plan.table.row("latent.noise")
    ways = keyframes([
        Keyframe(at=0.0, values=((row, 0.0), (noise, 1.0))), Keyframe(at=2.0, values=((row, 1.0), (noise, 3.0))),
    ])  # fmt: skip
    add = Route(name="add", source="mix.bass.level", target="latent.fine", invert=True, amount=0.25, release_s=0.0)
    plan = plan_of({"values": STILL, "keyframes": ways}, routes=(add,))
    _, params, _ = played(plan, 3 * FPS)
    sampled = [params[frame] for frame in (0, FPS, 3 * FPS - 1)]
    fine, noise = plan.table.row("latent.fine"), plan.table.row("latent.noise")
    assert [each.values[fine] for each in sampled] == pytest.approx([0.25, 0.75, 1.25])
    assert [each.knobs[noise] for each in sampled] == pytest.approx([1.0, 2.0, 3.0])
    _, params, _ = played(plan, 2 * FPS, controls=setting(plan, latent_noise=0.5))
    assert params[-1].values[plan.table.row("latent.noise")] == 0.5


def test_a_fade_between_keyframed_cues_has_no_leap():
    other = led((0, 4), (0.5, 5), loop=1.0)
    plan = plan_of({"values": STILL, "keyframes": WAYS}, {"values": STILL, "keyframes": other, "fade": Length(1.0)})
    _, _, latents = played(plan, 4 * FPS, controls=pressing(plan, {FPS: "cue.go"}))
    steps = [np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)]
    alone = [played(alone_in_a_plan(ways), 3 * FPS)[2] for ways in (WAYS, other)]
    fastest = [max(np.abs(b.ws - a.ws).max() for a, b in zip(each, each[1:], strict=False)) for each in alone]
    apart = 2 * max(np.abs(animal(number)).max() for number in range(1, 6))
    assert max(steps) < sum(fastest) + 1.5 * apart / FPS  # their own, and a smooth fade over what lies between them


def alone_in_a_plan(ways):
    return plan_of({"values": STILL, "keyframes": ways})
