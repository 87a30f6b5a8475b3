"""Transitions: nothing leaps but a cut, each species draws its own, and what is not ready is waited for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.bridges import Bridge, Side
from performer.choreography.safe import Chosen
from performer.choreography.score import Length
from performer.choreography.transition import (
    ARRIVES,
    FORM_FIRST,
    KINDS,
    LEAVES,
    TEXTURE_FIRST,
    TOGETHER,
    Transition,
    stand_of,
)
from performer.flow import ControlEvent
from performer.params import Controls, reduce
from performer.routes import CURVES
from tests.choreography.test_plan import FPS, QUIET, anatomy, plan_of, siblings, tick_at
from tests.choreography.test_safe import outside

LASTS = Length(2.0)
FRAMES = int(2.0 * FPS)


def pressing(plan, presses):
    """Controls in which each frame of `presses` has a press, of a name or of (name, text)."""

    def controls(frame):
        at = Controls.none(plan.table)
        if frame not in presses:
            return at
        name, text = presses[frame] if isinstance(presses[frame], tuple) else (presses[frame], "")
        return reduce(at, [ControlEvent(name, 1.0, frame / FPS, text=text)], table=plan.table)

    return controls


def played(plan, frames, presses, *, absent=lambda frame: ()):
    """[(memory, params, latent)] of the first frames."""
    memory, seen = plan.enter(0, at_s=0.0, beat=0.0), []
    controls = pressing(plan, presses)
    for frame in range(frames):
        memory, params, latent = plan.step(memory, QUIET, (), controls(frame), tick_at(frame), absent=absent(frame))
        seen.append((memory, params, latent))
    return seen


def far():
    """A species whose animals are all elsewhere."""
    near = anatomy()
    return replace(near, w_avg=near.w_avg + np.float32(3.0), w_from_z=lambda z: near.w_from_z(z) + np.float32(3.0))


def two(kind: str, *, shader: str = "", bridges=None, **changes):
    """Two cues of two species."""
    transition = Transition(kind, shader=shader)
    cues = ({}, {"creature": 1, "fade": LASTS, "transition": transition} | changes)
    return plan_of(*cues, bodies=(anatomy(), far()), bridges=bridges)


def bridge() -> Bridge:
    rng = np.random.default_rng(3)
    sides = [
        Side(
            name=name, content_hash=name, family="light", psi=np.ones(4, np.float32), z=np.zeros((4, 16), np.float32),
            w=(rng.standard_normal((4, 16)) * 0.5 + shift).astype(np.float32), spread=np.ones(16, np.float32),
        )
        for name, shift in (("a", 0.0), ("b", 3.0))
    ]  # fmt: skip
    return Bridge(
        sides=(sides[0], sides[1]), distances=(0.3,) * 4, found=(0.5,) * 4, random=1.0, seed=0, samples=10,
        truncation=(0.8, 1.0), descriptor="figure",
    )  # fmt: skip


WAYS = {(0, 1): bridge(), (1, 0): bridge().turned()}


@given(
    st.sampled_from([kind for kind in KINDS if kind not in ("cut", "dip")]),
    st.sampled_from(list(CURVES)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([TOGETHER, FORM_FIRST, TEXTURE_FIRST]),
)
def test_a_transition_begins_with_one_cue_ends_with_the_other_and_never_goes_back(kind, curve, one, has, timing):
    how = Transition(kind, timing)
    way = [stand_of(how, done=done, curve=curve, is_one_species=one, has_bridge=has) for done in np.linspace(0, 1, 201)]
    numbers = np.array([(each.mix, each.part, *each.groups, each.to_bridge, -each.from_bridge) for each in way])
    assert (np.diff(numbers, axis=0) >= -1e-12).all()
    assert (numbers[0, :5] == 0).all() and (numbers[-1, :5] == 1).all() and way[-1].from_bridge == 0
    assert np.diff(numbers[:, :5], axis=0).max() < 0.2


def test_the_form_comes_before_the_texture_or_after_it():
    for timing, order in ((FORM_FIRST, 1), (TEXTURE_FIRST, -1)):
        how = Transition("form first", timing)
        groups = stand_of(how, done=0.5, curve="linear", is_one_species=True, has_bridge=False).groups
        assert list(groups[::order]) == sorted(groups, reverse=True) and len(set(groups)) == 3


def test_a_crossfade_is_of_two_pictures_each_by_its_own_species():
    seen = played(two("crossfade"), 40 + FRAMES + 5, {40: "cue.go"})
    latents = [latent for _, _, latent in seen]
    assert {latent.creature for latent in latents[:41]} == {0} and latents[39].partner is None
    middle = latents[40 + FRAMES // 2]
    assert (middle.creature, middle.partner.creature) == (0, 1) and middle.part == pytest.approx(0.5, abs=0.02)
    assert middle.ws.mean() < 1 < middle.partner.ws.mean()
    assert latents[-1].creature == 1 and latents[-1].partner is None
    parts = [latent.part if latent.creature == 0 else 1.0 for latent in latents]
    assert np.diff(parts).max() < 0.03 and np.diff(parts).min() >= 0


def test_a_cut_is_there_in_the_frame_of_its_cue():
    seen = played(two("cut"), 45, {40: "cue.go"})
    assert [latent.creature for _, _, latent in seen][39:42] == [0, 1, 1]
    assert all(latent.partner is None for _, _, latent in seen)


def test_a_dip_turns_in_the_dark_and_draws_one_species_at_a_time():
    seen = played(two("dip", values={"cue.quantize": 4.0}), 40 + FRAMES + 5, {40: "cue.go"})
    turn = next(at for at, (_, _, latent) in enumerate(seen) if latent.creature == 1)
    assert turn == 40 + FRAMES // 2 and all(latent.partner is None for _, _, latent in seen)
    light = [params.light for _, params, _ in seen]
    assert light[turn - 1] == light[turn] == 0.0 and light[40] == light[-1] == 1.0
    assert np.abs(np.diff(light)).max() < 0.05


def test_a_shader_is_told_how_far_the_transition_is():
    seen = played(two("shader", shader="moult"), 40 + FRAMES + 5, {40: "cue.go"})
    told = [params.mix.progress for _, params, _ in seen if params.mix is not None]
    assert len(told) == FRAMES and told[0] == 0.0 and np.diff(told).min() >= 0 and told[-1] > 0.99
    assert seen[60][1].mix.shader == "moult"


def test_a_bridge_is_walked_to_crossed_where_both_look_alike_and_left():
    plan = two("bridge", bridges=WAYS)
    seen = played(plan, 40 + FRAMES + 5, {40: "cue.go"})
    latents = [latent for _, _, latent in seen]
    nearest = bridge().nearest(latents[40].ws, 0)
    assert seen[50][0].pair == nearest and seen[-1][0].pair is None
    ends = [side.w[nearest] for side in bridge().sides]
    at = lambda part: latents[40 + round(part * FRAMES)]  # noqa: E731
    assert at(ARRIVES - 0.05).partner is None, "who is not seen is not drawn"
    crossing = at(0.5)
    assert crossing.ws == pytest.approx(np.tile(ends[0], (8, 1)), abs=1e-5)
    assert crossing.partner.ws == pytest.approx(np.tile(ends[1], (8, 1)), abs=1e-5)
    assert crossing.part == pytest.approx(0.5, abs=0.05)
    assert at(LEAVES + 0.05).creature == 1 and at(LEAVES + 0.05).partner is None
    for creature in (0, 1):
        way = [latent.ws for latent in latents if latent.creature == creature]
        steps = np.abs(np.diff(way, axis=0)).max(axis=(1, 2))
        assert steps.max() < 0.35, "no leap"
    apart = np.abs(at(LEAVES + 0.01).ws - ends[1]).max()
    assert apart < 0.05 and np.abs(latents[-1].ws - ends[1]).max() > 0.5


def test_a_bridge_leads_back_as_well():
    cues = ({"creature": 1}, {"creature": 0, "fade": LASTS, "transition": Transition("auto")})
    plan = plan_of(*cues, bodies=(anatomy(), far()), bridges=WAYS)
    crossing = played(plan, 41 + FRAMES // 2, {40: "cue.go"})[-1][2]
    pair = bridge().turned().nearest(played(plan, 41, {40: "cue.go"})[-1][2].ws, 0)
    assert (crossing.creature, crossing.partner.creature) == (1, 0)
    assert crossing.partner.ws == pytest.approx(np.tile(bridge().sides[0].w[pair], (8, 1)), abs=1e-5)


def test_what_has_no_bridge_fades_over():
    seen = played(two("auto"), 41 + FRAMES // 2, {40: "cue.go"})
    assert seen[-1][2].part == pytest.approx(0.5, abs=0.02) and seen[-1][0].pair is None


def test_traits_and_partners_of_the_one_are_not_given_to_the_other():
    bodies = (siblings(), far())
    cues = ({"values": {"blend.coarse": 1.0, "walk.amount": 0.0}}, {"creature": 1, "fade": LASTS})
    seen = played(plan_of(*cues, bodies=bodies), 40 + FRAMES // 2, {40: "cue.go"})
    assert all(latent.blend[0] == 1.0 for _, _, latent in seen), "it stays what it was until it is gone"


def test_layer_groups_of_one_species_come_one_after_the_other():
    still = {"walk.amount": 0.0, "breathe.depth": 0.0}
    pushed = {f"latent.{group}": 1.0 for group in ("coarse", "middle", "fine")}
    cue = {"fade": LASTS, "values": still | pushed, "transition": Transition("form first", FORM_FIRST)}
    seen = played(plan_of({"values": still}, cue), 40 + FRAMES + 2, {40: "cue.go"})
    first, last = seen[39][2].ws, seen[-1][2].ws
    at = seen[40 + FRAMES // 2][2].ws
    parts = [np.abs(at[row] - first[row]).max() / np.abs(last[row] - first[row]).max() for row in (0, 3, 7)]
    assert parts[0] > 0.9 > parts[1] > 0.3 > parts[2] > 0


@pytest.mark.parametrize("creatures", [(0, 0, 0), (0, 0, 1), (0, 1, 1)])
def test_a_second_go_in_the_middle_of_a_fade_makes_nothing_leap(creatures):
    pushed = {"latent.coarse": 1.5, "latent.fine": 1.5}
    cues = (
        {"creature": creatures[0]},
        {"creature": creatures[1], "fade": LASTS, "values": pushed, "seed": 5},
        {"creature": creatures[2], "fade": LASTS, "seed": 9},
    )
    plan = plan_of(*cues, bodies=(anatomy(), far()))
    seen = played(plan, 60 + FRAMES + 10, {40: "cue.go", 60: "cue.go"})

    def drawn_by(creature):
        return [
            next((each.ws for each in (latent, latent.partner) if each is not None and each.creature == creature), None)
            for _, _, latent in seen
        ]

    for creature in (0, 1):
        way = drawn_by(creature)
        steps = [np.abs(b - a).max() for a, b in zip(way, way[1:], strict=False) if a is not None and b is not None]
        assert not steps or max(steps) < 0.25
    values = np.array([params.values for _, params, _ in seen])
    row = plan.table.row("latent.coarse")
    assert np.abs(np.diff(values[:, row])).max() < 0.1
    assert seen[-1][0].remnant is None
    alone = played(replace_start(plan, 2), 30, {})
    assert seen[-1][2].creature == alone[-1][2].creature


def replace_start(plan, index):
    """The same plan, whose first cue is another."""
    made = plan_of({}, bodies=plan.anatomies)
    made.score.cues = made.cues = (replace(plan.cues[index]),)
    return made


def test_a_cue_whose_species_is_not_ready_waits_and_what_plays_goes_on():
    absent = lambda frame: (1,) if frame < 90 else ()  # noqa: E731
    seen = played(two("cut"), 120, {40: "cue.go"}, absent=absent)
    assert [latent.creature for _, _, latent in seen][88:92] == [0, 0, 1, 1]
    waiting = seen[80][0].place.waiting
    assert waiting.index == 1 and waiting.is_late
    assert seen[95][0].place.began.at_s == pytest.approx(90 / FPS), "it counts from when it came"
    steps = [np.abs(b[2].ws - a[2].ws).max() for a, b in zip(seen, seen[1:89], strict=False)]
    assert min(steps) > 0, "what plays goes on"


def test_what_is_late_still_begins_on_its_beat():
    absent = lambda frame: (1,) if frame < 90 else ()  # noqa: E731
    seen = played(two("cut", quantize=4.0), 200, {30: "cue.go"}, absent=absent)
    began = next(memory.place.began for memory, _, latent in seen if latent.creature == 1)
    assert began.beat % 4 == pytest.approx(0.0, abs=1e-9) and began.at_s > 90 / FPS


def test_what_waits_can_be_taken_back():
    seen = played(two("cut"), 120, {40: "cue.go", 60: "cue.prev"}, absent=lambda frame: (1,) if frame < 90 else ())
    assert {latent.creature for _, _, latent in seen} == {0}


def test_a_panic_in_the_middle_of_a_transition_holds_both():
    seen = played(two("shader", shader="moult"), 140, {40: "cue.go", 70: "cue.panic"})
    held, last = seen[75], seen[-1]
    assert held[2].partner is not None and last[2] is held[2] and last[1].mix == held[1].mix


def test_two_runs_of_every_transition_are_equal_bit_for_bit():
    for kind in KINDS:
        runs = [played(two(kind, bridges=WAYS), 120, {30: "cue.go", 80: ("cue.goto", "1")}) for _ in range(2)]
        for one, other in zip(*runs, strict=True):
            assert (one[2].ws == other[2].ws).all() and one[2].part == other[2].part
            assert (one[1].values == other[1].values).all()


def test_a_second_go_does_not_lead_out_of_a_safe_region():
    body = replace(anatomy(), chosen=Chosen(numbers=(3, 5, 8, 13)))
    cues = [
        {"seed": seed, "fade": LASTS, "values": {"latent.coarse": 3.0 * seed, "walk.speed": 2.0}} for seed in (0, 1, -1)
    ]
    seen = played(plan_of(*cues, body=body), 160, {40: "cue.go", 60: "cue.go"})
    rows = np.concatenate([latent.ws for _, _, latent in seen[38::4]])
    assert outside(body.hull(), rows - body.w_avg) < 1e-3
