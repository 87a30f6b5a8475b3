"""The safe region: nothing leaves the hull of the chosen, nothing within it is moved, and nothing ever leaps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from performer.choreography.motion import NUMBERED
from performer.choreography.safe import Chosen, Hull, kept
from performer.choreography.score import Length
from tests.choreography.test_plan import ALIVE, FPS, anatomy, chain, music, plan_of, played, pressing

CHOSEN = Chosen(numbers=(3, 5, 8, 13, 21, 34))


def outside(hull: Hull, points: np.ndarray) -> float:
    """How far the furthest of the points is from the hull: by non-negative least squares, whose sum is held by a weight."""
    heavy = 1e4
    sides = np.vstack([hull.offsets.T, np.full(len(hull.offsets), heavy)])
    return max(nnls(sides, np.append(point, heavy), maxiter=5000)[1] for point in points.astype(float))


def hull_of(count: int, size: int, *, seed: int = 0) -> Hull:
    return Hull(np.random.default_rng(seed).standard_normal((count, size)))


def points_of(count: int, size: int, *, far: float = 1.5) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((count, size)) * far


@pytest.mark.parametrize(("count", "size"), [(1, 8), (2, 8), (12, 8), (24, 48), (64, 512)])
def test_the_nearest_point_is_in_the_hull_and_no_other_is_nearer(count, size):
    hull, points = hull_of(count, size), points_of(8, size)
    near = hull.nearest(points)
    radius = np.sqrt((hull.offsets[1:] ** 2).sum(axis=1).mean())
    assert outside(hull, near) < 1e-4 * radius
    best = [outside(hull, point[None]) for point in points]
    assert np.linalg.norm(near - points, axis=1) == pytest.approx(best, rel=5e-3)


@pytest.mark.parametrize(("count", "size"), [(1, 8), (12, 48), (64, 512)])
def test_what_is_within_stays_where_it_is(count, size):
    hull = hull_of(count, size)
    weights = np.random.default_rng(1).dirichlet(np.full(count + 1, 0.4), size=12)
    points = weights @ hull.offsets
    radius = np.sqrt((hull.offsets[1:] ** 2).sum(axis=1).mean())
    assert np.linalg.norm(hull.nearest(points) - points, axis=1).max() < 0.01 * radius
    assert np.linalg.norm(hull.nearest(hull.offsets) - hull.offsets, axis=1).max() < 0.01 * radius


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40), size=st.integers(2, 40), step=st.floats(1e-6, 1.0))
@settings(max_examples=100, deadline=None)
def test_two_points_end_no_further_apart_than_they_were(seed, count, size, step):
    """Lipschitz: whatever face of the hull is met, also where it changes between the two."""
    rng = np.random.default_rng(seed)
    hull = Hull(rng.standard_normal((count, size)))
    first = rng.standard_normal((4, size)) * rng.uniform(0.1, 4.0)
    aside = rng.standard_normal((4, size))
    second = first + aside * step / np.linalg.norm(aside, axis=1, keepdims=True)
    apart = np.linalg.norm(hull.nearest(second) - hull.nearest(first), axis=1)
    assert apart.max() <= 1.15 * step + 1e-9  # 1 for the very nearest point; the rest is what fixed steps leave


def test_a_way_through_many_faces_has_no_leap():
    hull = hull_of(24, 48)
    turn = np.linspace(0, 2 * np.pi, 4001)[:, None]
    first, second = points_of(2, 48)
    way = first * np.cos(turn) + second * np.sin(turn)
    near = hull.nearest(way)
    faces = {tuple(np.flatnonzero(row > 0.02)) for row in near[::40] @ np.linalg.pinv(hull.offsets)}
    assert len(faces) > 5
    steps = np.linalg.norm(np.diff(near, axis=0), axis=1)
    assert steps.max() <= 1.02 * np.linalg.norm(np.diff(way, axis=0), axis=1).max()


def test_rows_are_kept_each_for_itself_and_a_label_stays():
    body = anatomy()
    hull = replace(body, chosen=CHOSEN).hull()
    ws = np.repeat(points_of(4, 16, far=3.0), 2, axis=0).astype(np.float32) + body.w_avg
    out = kept(ws, body.w_avg, hull)
    assert (out[0] == out[1]).all() and (out[6] == out[7]).all() and outside(hull, out - body.w_avg) < 1e-3
    one_by_one = np.concatenate([kept(row[None], body.w_avg, hull) for row in ws])
    assert out == pytest.approx(one_by_one, abs=1e-5)
    labelled = kept(ws, body.w_avg, hull, label=True)
    assert (labelled[-1] == ws[-1]).all() and labelled[:-1] == pytest.approx(out[:-1], abs=1e-5)


def test_all_of_the_chosen_come_in_turn():
    for turn in range(4):
        lots = [CHOSEN.lot(7, 0, turn * 6 + place) for place in range(6)]
        assert sorted(lots) == list(range(6))
    assert [CHOSEN.lot(7, 0, -index) for index in range(12)] != [CHOSEN.lot(8, 0, -index) for index in range(12)]


WILD = {
    "walk.speed": 2.0, "orbit.amount": 1.5, "orbit.period": 2.0, "latent.truncation": 1.5, "latent.middle": 3.0,
    "latent.strangeness": 1.0, "breathe.depth": 1.0,
}  # fmt: skip


def test_whatever_moves_a_latent_it_stays_in_the_region_and_moves_no_faster(monkeypatch):
    safe = replace(anatomy(), chosen=CHOSEN)
    features, events = music(3)
    plan = plan_of({"values": WILD}, routes=ALIVE, body=safe)
    _, _, latents = played(plan, 5 * FPS, features=features, events=events)
    hull = safe.hull()
    assert outside(hull, np.concatenate([latent.ws for latent in latents[::7]]) - safe.w_avg) < 1e-3
    steps = [np.linalg.norm(b.ws - a.ws, axis=1).max() for a, b in zip(latents, latents[1:], strict=False)]
    monkeypatch.setattr("performer.choreography.figures.kept", lambda ws, mean, hull, label: ws)
    _, _, wild = played(plan, 5 * FPS, features=features, events=events)
    wildest = [np.linalg.norm(b.ws - a.ws, axis=1).max() for a, b in zip(wild, wild[1:], strict=False)]
    assert outside(hull, wild[-1].ws - safe.w_avg) > 1.0
    assert max(steps) > 0.05 and all(step <= 1.02 * free + 1e-3 for step, free in zip(steps, wildest, strict=True))


def test_a_fade_stays_within_and_has_no_leap():
    safe = replace(anatomy(), chosen=CHOSEN)
    plan = plan_of({"values": WILD}, {"seed": 4, "fade": Length(2.0), "values": WILD}, body=safe)
    _, _, latents = played(plan, 4 * FPS, controls=pressing(plan, {FPS: "cue.go"}))
    assert outside(safe.hull(), np.concatenate([latent.ws for latent in latents[::5]]) - safe.w_avg) < 1e-3
    assert max(np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)) < 0.8


def test_traits_end_within_too():
    trait = np.random.default_rng(2).standard_normal((1, 3, 16)).astype(np.float32) * 4
    body = replace(anatomy(), traits=trait, chosen=CHOSEN)
    ws = body.w_avg + np.repeat(trait[0, :1], 8, axis=0) * 5
    assert outside(body.hull(), kept(ws, body.w_avg, body.hull()) - body.w_avg) < 1e-3


def test_the_walk_passes_the_chosen_alone():
    body = replace(anatomy(), chosen=CHOSEN)
    offsets = np.stack([body.anchor(1, (0, index)) for index in range(12)])
    mine = np.stack([body.anchor(0, (NUMBERED, number)) for number in CHOSEN.numbers])
    assert {row.tobytes() for row in offsets} == {row.tobytes() for row in mine}
    given_ = replace(anatomy(), chosen=Chosen(latents=mine + anatomy().w_avg))
    assert given_.hull().offsets == pytest.approx(body.hull().offsets, abs=1e-5)
    assert np.stack([given_.anchor(1, (0, index)) for index in range(12)]) == pytest.approx(offsets, abs=1e-5)
    _, _, latents = played(plan_of({"values": {"walk.speed": 1.0}}, body=body), 8 * FPS)
    assert np.ptp([latent.ws[0] for latent in latents], axis=0).max() > 1.0


def test_the_region_goes_along_through_a_chain_of_siblings_without_a_leap():
    first = chain()
    body = replace(
        first,
        chosen=CHOSEN,
        partner=replace(first.partner, chosen=CHOSEN, partner=replace(first.partner.partner, chosen=CHOSEN)),
    )
    places = np.linspace(0, 2, 801)
    hulls = np.stack([body.hull(place=place).offsets for place in places])
    assert np.abs(np.diff(hulls, axis=0)).max() < 0.02
    ways = {"fade": Length(2.0), "values": {f"blend.{group}": 1.0 for group in ("coarse", "middle", "fine")}}
    plan = plan_of({}, ways, body=body)
    _, _, latents = played(plan, 4 * FPS, controls=pressing(plan, {FPS: "cue.go"}))
    assert max(np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)) < 0.25


def test_without_a_region_nothing_is_touched():
    _, _, latents = played(plan_of({}), 30)
    _, _, again = played(plan_of({}, body=replace(anatomy(), chosen=None)), 30)
    assert all((a.ws == b.ws).all() for a, b in zip(latents, again, strict=True))
