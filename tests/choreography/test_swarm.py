"""A swarm: animals of their own that move as one, and one animal is what it always was."""

from dataclasses import replace

import numpy as np
import pytest

from performer.choreography.motion import SWARM_MOST
from performer.choreography.score import Length
from performer.choreography.transition import Transition
from performer.role import turn_of
from tests.choreography.test_plan import anatomy, plan_of, played, pressing
from tests.choreography.test_transition import FRAMES, WAYS, far


def swarming(**values):
    _, _, latents = played(plan_of({"values": values}), 40)
    return latents


def test_one_animal_is_what_it_is_without_a_swarm():
    for one, other in zip(swarming(), swarming(**{"swarm.count": 1, "swarm.spread": 0.3}), strict=True):
        assert (one.ws == other.ws).all() and other.swarm == () and other.members == 1


def test_each_has_a_walk_of_its_own():
    latent = swarming(**{"swarm.count": 5})[-1]
    members = (latent, *latent.swarm)
    assert [each.member for each in members] == list(range(5)) and {each.members for each in members} == {5}
    assert (latent.ws == swarming()[-1].ws).all(), "the first is the one that it was"
    apart = [np.abs(a.ws - b.ws).mean() for at, a in enumerate(members) for b in members[:at]]
    assert min(apart) > 0.1


def test_without_spread_all_are_the_first():
    latent = swarming(**{"swarm.count": 4, "swarm.spread": 0.0})[-1]
    assert all(each.ws == pytest.approx(latent.ws, abs=1e-6) for each in latent.swarm)


def test_each_has_its_turn():
    latent = swarming(**{"swarm.count": SWARM_MOST})[-1]
    assert [turn_of(latent, number).member for number in range(SWARM_MOST + 2)] == [*range(SWARM_MOST), 0, 1]
    assert turn_of(swarming()[-1], 7).member == 0


def test_nobody_leaps_in_a_fade_between_swarms():
    cues = ({"values": {"swarm.count": 3}}, {"fade": Length(1.0), "seed": 5, "values": {"swarm.count": 5}})
    plan = plan_of(*cues)
    _, _, latents = played(plan, 100, controls=pressing(plan, {30: "cue.go"}))
    assert {latent.members for latent in latents} == {3, 5}
    for member in range(2):
        way = [latent.swarm[member].ws for latent in latents]
        assert max(np.abs(b - a).max() for a, b in zip(way, way[1:], strict=False)) < 0.25


def test_a_swarm_crosses_a_bridge_together():
    cues = ({"values": {"swarm.count": 3}}, {"creature": 1, "fade": Length(2.0), "transition": Transition("bridge")})
    plan = plan_of(*cues, bodies=(anatomy(), far()), bridges=WAYS)
    _, _, latents = played(plan, 41 + FRAMES // 2, controls=pressing(plan, {40: "cue.go"}))
    crossing = latents[-1]
    assert crossing.members == 3 and crossing.partner.members == 1
    assert all(each.ws == pytest.approx(crossing.ws, abs=1e-5) for each in crossing.swarm)


def test_a_swarm_is_the_same_in_every_run():
    for one, other in zip(swarming(**{"swarm.count": 3}), swarming(**{"swarm.count": 3}), strict=True):
        assert all((a.ws == b.ws).all() for a, b in zip(one.swarm, other.swarm, strict=True))
        assert replace(one, swarm=()).member == 0
