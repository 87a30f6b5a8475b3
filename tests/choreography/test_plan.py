"""The plan is a pure function: jumping equals playing, two runs are equal bit for bit, cues are complete states."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.audio.features import column, feature_names, hit_kinds
from performer.choreography.lfo import lfo_params
from performer.choreography.memory import Memory
from performer.choreography.motion import (
    MOTIONS,
    Anatomy,
    Terms,
    bend_params,
    bend_row,
    breath,
    motion_params,
    noise_gains,
    spline,
    ws_from_offsets,
)
from performer.choreography.plan import Plan
from performer.choreography.score import Cue, Length
from performer.flow import (
    STRAIGHT,
    AudioEvent,
    AudioEventKind,
    AudioFeatures,
    ControlEvent,
    Tick,
    frozen_array,
    species_at,
)
from performer.params import Controls, ParamTable, base_params, reduce
from performer.routes import Route, RouteEdit, route_params

FPS = 40


def anatomy(*, shift: float = 0.0) -> Anatomy:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0].astype(np.float32)
    return Anatomy(
        num_ws=8, w_dim=16, z_dim=16, noise_layers=7, coarse=2, middle=5,
        w_avg=np.linspace(-1, 1, 16, dtype=np.float32) + np.float32(shift), w_from_z=lambda z: np.tanh(z @ turn) * 2,
    )  # fmt: skip


def table_with(*routes: Route) -> ParamTable:
    own = route_params((name, "it") for name in (*(route.name for route in routes), "new1"))
    return ParamTable((*base_params(), *motion_params(), *lfo_params(), *bend_params(), *own))


def plan_of(
    *cues: dict,
    routes: tuple[Route, ...] = (),
    voices=("mix", "drums"),
    body: Anatomy | None = None,
    bodies=(),
    bridges=None,
) -> Plan:
    table = table_with(*routes)
    made = []
    for index, changes in enumerate(cues or ({},)):
        changes = dict(changes)
        values, named = table.defaults(), np.zeros(len(table), bool)
        for key, value in changes.pop("values", {}).items():
            values[table.row(key)], named[table.row(key)] = value, True
        own = changes.pop("routes", routes)
        made.append(
            Cue(**({"id": str(index + 1), "fade": Length(0.0)} | changes), values=values, named=named, routes=own)
        )
    bodies = bodies or (body or anatomy(),)
    stranger = bodies[0].partner if bodies[0].partner is not None and bodies[0].w_between is None else None
    return Plan(
        table=table,
        cues=made,
        anatomies=bodies if stranger is None else (*bodies, stranger),
        voices=voices,
        feature_names=feature_names(),
        hit_kinds=hit_kinds(),
        bridges=bridges,
    )


QUIET = AudioFeatures(frozen_array(np.zeros((2, len(feature_names())), np.float32)), 0.0)


def tick_at(frame: int, *, fps: float = FPS) -> Tick:
    at_s = frame / fps
    return Tick(frame, at_s, 1 / fps, at_s * 2.0, at_s)


def played(
    plan: Plan, frames: int, *, memory: Memory | None = None, features=None, events=None, controls=None, fps=FPS
):
    """(memory, [params], [latents]) of the first frames."""
    memory = memory or plan.enter(0, at_s=0.0, beat=0.0)
    controls = controls or (lambda frame: Controls.none(plan.table))
    params, latents = [], []
    for frame in range(frames):
        memory, param, latent = plan.step(
            memory,
            features(frame) if features else QUIET,
            events(frame) if events else (),
            controls(frame),
            tick_at(frame, fps=fps),
        )
        params.append(param)
        latents.append(latent)
    return memory, params, latents


def pressing(plan: Plan, presses: dict[int, str], text: str = ""):
    def controls(frame: int) -> Controls:
        events = [ControlEvent(presses[frame], 1.0, frame / FPS, text=text)] if frame in presses else []
        return reduce(Controls.none(plan.table), events, table=plan.table)

    return controls


def music(seed: int):
    """Features and hits as a recording would give them: seeded, different each frame."""
    width = len(feature_names())

    def features(frame: int) -> AudioFeatures:
        values = np.random.default_rng((seed, frame)).random((2, width)).astype(np.float32)
        return AudioFeatures(frozen_array(values), frame / FPS)

    def events(frame: int) -> list[AudioEvent]:
        return [AudioEvent(0, AudioEventKind.BASS, frame / FPS - 0.011, 0.8)] if frame % 17 == 3 else []

    return features, events


ALIVE = (
    Route(name="kick", source="mix.bass.hit", target="latent.coarse", amount=0.8, attack_s=0.02, release_s=0.3),
    Route(name="haste", source="drums.mid.level", target="walk.speed", amount=1.5, attack_s=0.1, release_s=0.4),
)


def test_two_runs_of_one_recording_are_equal_bit_for_bit():
    runs = []
    for _ in range(2):
        plan = plan_of({"values": {"orbit.amount": 0.5}}, routes=ALIVE)
        features, events = music(5)
        _, params, latents = played(plan, 300, features=features, events=events)
        runs.append(b"".join(latent.ws.tobytes() for latent in latents) + b"".join(p.values.tobytes() for p in params))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("moment", [1, 97, 411])
def test_jumping_to_a_moment_equals_playing_there(moment):
    values = {"walk.speed": 0.7, "orbit.amount": 0.4, "orbit.beats": 8, "breathe.depth": 0.3}
    _, _, latents = played(plan_of({"values": values}), moment + 1)
    fresh = plan_of({"values": values})
    _, _, jumped = fresh.step(
        fresh.enter(0, at_s=0.0, beat=0.0), QUIET, (), Controls.none(fresh.table), tick_at(moment)
    )
    assert jumped.ws.tobytes() == latents[moment].ws.tobytes()


def test_jumping_to_a_cue_equals_playing_there():
    cues = ({}, {"seed": 5, "values": {"walk.speed": 0.5}}, {"seed": 9, "values": {"breathe.depth": 0.4}})
    plan = plan_of(*cues)
    _, _, latents = played(plan, 200, controls=pressing(plan, {40: "cue.go", 80: "cue.go"}))
    jumped = plan_of(*cues)
    start = jumped.enter(2, at_s=80 / FPS, beat=tick_at(80).beat)
    for frame in (80, 120, 199):
        _, _, latent = jumped.step(start, QUIET, (), Controls.none(jumped.table), tick_at(frame))
        assert latent.ws.tobytes() == latents[frame].ws.tobytes()


def test_goto_goes_by_id_and_by_name_and_ignores_strangers():
    plan = plan_of({"name": "egg"}, {"name": "wing"}, {"name": "ash"})
    for text, expected in (("2", 1), ("ash", 2), ("nobody", 0)):
        memory, _, _ = played(plan, 3, controls=pressing(plan, {1: "cue.goto"}, text))
        assert memory.current.index == expected


def test_prev_and_go_stop_at_the_ends():
    plan = plan_of({}, {})
    memory, _, _ = played(plan, 5, controls=pressing(plan, {1: "cue.prev"}))
    assert (memory.current.index, memory.current.started_s) == (0, 0.0)
    memory, _, _ = played(plan, 9, controls=pressing(plan, {1: "cue.go", 3: "cue.go", 5: "cue.go"}))
    assert memory.current.index == 1
    assert memory.current.started_s == 1 / FPS  # the later presses did not begin it again


@pytest.mark.parametrize(
    ("next_", "expected"), [("hold", [0, 0, 0, 0]), ("follow", [0, 1, 1, 1]), ("loop", [0, 0, 0, 0])]
)
def test_what_follows_a_duration(next_, expected):
    plan = plan_of({"duration": Length(1.0), "next": next_}, {})
    memory = plan.enter(0, at_s=0.0, beat=0.0)
    seen = []
    for frame in range(4 * FPS):
        memory, _, _ = plan.step(memory, QUIET, (), Controls.none(plan.table), tick_at(frame))
        if frame % FPS == FPS // 2:
            seen.append(memory.current.index)
    assert seen == expected


def test_the_first_of_several_cues_can_loop_by_itself():
    plan = plan_of({"duration": Length(1.0), "next": "loop"}, {})
    memory, _, _ = played(plan, 2 * FPS + FPS // 2)
    assert (memory.current.index, memory.current.started_s) == (0, 2.0)


def test_a_duration_in_beats_follows_the_beat():
    plan = plan_of({"duration": Length(4, in_beats=True), "next": "follow"}, {})  # 2 beats a second
    memory, _, _ = played(plan, 2 * FPS)
    assert memory.current.index == 0
    memory, _, _ = played(plan, 2 * FPS + 1)
    assert memory.current.index == 1


def test_a_fade_goes_smoothly_from_one_cue_to_the_other():
    cues = ({"values": {"latent.noise": 0.0}}, {"seed": 3, "fade": Length(1.0), "values": {"latent.noise": 2.0}})
    plan = plan_of(*cues)
    _, params, latents = played(plan, 3 * FPS, controls=pressing(plan, {FPS: "cue.go"}))
    noise = np.array([p.values[plan.table.row("latent.noise")] for p in params])
    assert noise[FPS] == pytest.approx(0.0, abs=0.01) and noise[-1] == 2.0
    assert (np.diff(noise) >= 0).all() and np.diff(noise).max() < 0.15
    steps = [np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)]
    assert max(steps) < 0.35  # no jump: the two cues are 3 and more apart


def test_a_hand_wins_until_the_next_cue_and_keeps_what_is_its_own():
    plan = plan_of({"values": {"latent.noise": 0.5}}, {"values": {"latent.noise": 0.7}})
    table = plan.table
    touched = reduce(
        Controls.none(table),
        [ControlEvent("latent.noise", 3.0, 0.5), ControlEvent("out.dimmer", 0.25, 0.5)],
        table=table,
    )
    press = reduce(touched, [ControlEvent("cue.go", 1.0, 1.0)], table=table)

    def controls(frame: int) -> Controls:
        return Controls.none(table) if frame < 20 else press if frame == 40 else touched

    _, params, _ = played(plan, 60, controls=controls)
    noise, dimmer = table.row("latent.noise"), table.row("out.dimmer")
    assert [params[f].values[noise] for f in (10, 30, 50)] == pytest.approx([0.5, 3.0, 0.7])
    assert [params[f].values[dimmer] for f in (10, 30, 50)] == [1.0, 0.25, 0.25]


def test_panic_holds_the_picture_without_routes_and_the_next_cue_resumes():
    plan = plan_of({}, {}, routes=ALIVE)
    features, events = music(1)
    controls = pressing(plan, {20: "cue.panic", 60: "cue.go"})
    _, params, latents = played(plan, 90, features=features, events=events, controls=controls)
    still = {latent.ws.tobytes() for latent in latents[21:60]}
    assert len(still) == 1
    assert all(p.values[plan.table.row("walk.speed")] == pytest.approx(0.12) for p in params[21:60])
    assert len({latent.ws.tobytes() for latent in latents[60:]}) > 20


def test_a_kick_has_one_shape_at_any_frame_rate():
    """The envelope is evaluated at the photon's time: frames that fall on the same time agree exactly."""
    route = ALIVE[0]
    shapes = {}
    for fps in (24, 48, 120):
        plan = plan_of(routes=(route,))

        def events(frame, fps=fps):
            return [AudioEvent(0, AudioEventKind.BASS, 0.5, 1.0)] if frame == round(0.5 * fps) + 1 else []

        _, params, _ = played(plan, fps + fps // 2, events=events, fps=fps)
        row = plan.table.row("latent.coarse")
        shapes[fps] = [params[round(t * fps)].values[row] for t in (0.625, 0.75, 1.0, 1.25)]
    assert shapes[24] == pytest.approx(shapes[48], abs=1e-6)
    assert shapes[24] == pytest.approx(shapes[120], abs=1e-6)
    assert shapes[24][0] > shapes[24][-1] > 0


def test_what_rings_reaches_below_the_knob_and_is_the_same_at_any_frame_rate():
    route = Route(name="tap", source="mix.bass.hit", target="latent.coarse", amount=1.5, ring_hz=3.0, release_s=0.6)
    struck = (0.5, 0.75, 0.78125)
    seen = {}
    for fps in (24, 120):
        plan = plan_of({"values": {"latent.coarse": 0.25}}, routes=(route,))
        due = {math.ceil(at * fps): at for at in struck}
        assert len(due) == len(struck)
        hits = lambda frame, due=due: [AudioEvent(0, AudioEventKind.BASS, due[frame], 0.7)] if frame in due else []  # noqa: E731
        _, params, latents = played(plan, 3 * fps, events=hits, fps=fps)
        seen[fps] = [
            (v, x.ws.tobytes()) for v, x in zip(values_of(plan, params, "latent.coarse"), latents, strict=True)
        ]
    assert seen[24] == seen[120][::5]
    reached = [value for value, _ in seen[120]]
    assert reached[0] == 0.25 and max(reached) > 0.9 and min(reached) < -0.3
    assert abs(reached[-1] - 0.25) < 0.1


def test_a_rain_of_hits_never_makes_what_rings_leap():
    """Hits are forgotten one at a time; by then they no longer swing."""
    route = Route(name="tap", source="mix.hat", target="latent.fine", amount=0.2, ring_hz=1.5, release_s=0.9)
    plan = plan_of(routes=(route,))
    hits = lambda frame: [AudioEvent(0, AudioEventKind.HAT, frame / FPS, 0.9)] if frame % 4 == 0 else []  # noqa: E731
    _, params, _ = played(plan, 30 * FPS, events=hits)
    steps = np.abs(np.diff(values_of(plan, params, "latent.fine")))
    assert steps[15 * FPS :].max() <= steps[5 * FPS : 10 * FPS].max() * 1.01  # 128 hits are 12.8 s


def test_a_trigger_route_presses_once_a_hit():
    route = Route(name="next", source="drums.onset", target="cue.go", mode="trigger")
    plan = plan_of({}, {}, {}, {}, routes=(route,))

    def events(frame: int) -> list[AudioEvent]:
        return [AudioEvent(1, AudioEventKind.ONSET, frame / FPS, 0.6)] if frame in (10, 30) else []

    memory, _, _ = played(plan, 50, events=events)
    assert memory.current.index == 2


def test_routes_never_leave_a_parameters_range():
    route = Route(name="wild", source="mix.bass.hit", target="latent.truncation", amount=1e9)
    plan = plan_of(routes=(route,))
    _, params, _ = played(plan, 30, events=lambda f: [AudioEvent(0, AudioEventKind.BASS, f / FPS, 1.0)])
    assert max(p.values[plan.table.row("latent.truncation")] for p in params) == pytest.approx(1.5)


def test_the_masters_silence_routes():
    plan = plan_of({"values": {"routes.amount": 0.0}}, routes=ALIVE)
    features, events = music(2)
    _, params, _ = played(plan, 40, features=features, events=events)
    assert all(p.values[plan.table.row("latent.coarse")] == 0 for p in params)


def test_level_routes_read_their_own_voice():
    route = Route(name="v", source="drums.mid.level", target="latent.fine", release_s=0.0)
    plan = plan_of(routes=(route,))
    values = np.zeros((2, len(feature_names())), np.float32)
    values[1, column("mid.level")] = 0.5
    _, params, _ = played(plan, 2, features=lambda f: AudioFeatures(frozen_array(values), 0.0))
    assert params[-1].values[plan.table.row("latent.fine")] == pytest.approx(0.5)


@given(position=st.floats(0, 1e6), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_the_walk_is_smooth(position, seed):
    """Twice differentiable: halving the step quarters the second difference, also across an anchor."""
    body = anatomy()

    def at(place: float) -> np.ndarray:
        terms = [(0, key, weight) for key, weight in spline(stream=0, position=place)]
        return body.mean_and_offsets(seed, terms)[1][0].astype(float)

    a, b, c = (at(position + k * 0.02) for k in (-1, 0, 1))
    assert np.abs(a - 2 * b + c).max() < 0.02
    assert np.abs(b).max() > 0.05  # never collapses to the mean


def test_the_orbit_closes_without_a_seam():
    orbit = next(motion for motion in MOTIONS if motion.name == "orbit")
    body = anatomy()
    values = {param.id: param.default for param in orbit.params}
    values |= {"orbit.amount": 1.0, "orbit.points": 5.0, "orbit.period": 9.0}
    phases = (0.0, 1.0, 2.0, 0.999999, 1000.0)
    at = [body.mean_and_offsets(3, orbit.terms(values, 3, phase))[1][0] for phase in phases]
    assert all((at[0] == other).all() for other in (at[1], at[2], at[4]))
    assert np.abs(at[0] - at[3]).max() < 1e-3
    assert orbit.rate_hz(values, 2.0) == pytest.approx(1 / 9)
    assert orbit.rate_hz(values | {"orbit.beats": 16.0}, 2.0) == pytest.approx(1 / 8)


def test_breath_is_a_loop_and_goes_in_quicker_than_out():
    phases = np.linspace(0, 1, 2000, endpoint=False)
    wave = np.array([breath(phase) for phase in phases])
    rising = np.mean(np.diff(wave, append=wave[:1]) > 0)
    assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-3)
    assert rising < 0.45
    assert breath(0.3) == pytest.approx(breath(7.3))


def test_groups_move_apart_when_the_texture_trails():
    _, _, together = played(plan_of({"values": {"walk.lag": 0.0, "breathe.depth": 0.0}}), 5)
    _, _, apart = played(plan_of({"values": {"walk.lag": 1.0, "breathe.depth": 0.0}}), 5)
    assert np.ptp(together[-1].ws, axis=0).max() < 1e-5
    assert np.ptp(apart[-1].ws, axis=0).max() > 0.1


def test_truncation_zero_is_the_mean_animal():
    plan = plan_of({"values": {"latent.truncation": 0.0}})
    _, _, latents = played(plan, 3)
    assert (latents[-1].ws == plan.anatomies[0].w_avg).all()


def test_changing_speed_never_makes_the_walk_jump():
    plan = plan_of()
    table = plan.table

    def controls(frame: int) -> Controls:
        speed = 4.0 if frame % 2 else 0.0
        return reduce(Controls.none(table), [ControlEvent("walk.speed", speed, frame / FPS + 1e-3)], table=table)

    _, _, latents = played(plan, 400, controls=controls)
    steps = [np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)]
    assert 0.01 < max(steps) < 0.5


def test_a_trait_moves_by_whole_deviations_whatever_the_truncation():
    still = replace(anatomy(), traits=np.random.default_rng(2).standard_normal((2, 3, 16)).astype(np.float32))
    offsets = np.ones((3, 16), np.float32)
    for truncation in (0.0, 0.5, 1.0):
        plain = ws_from_offsets(still, still.w_avg, offsets, truncation=truncation, traits=[0.0, 0.0])
        moved = ws_from_offsets(still, still.w_avg, offsets, truncation=truncation, traits=[0.0, -2.5])
        for group in range(3):
            expected = np.broadcast_to(still.traits[1, group] * np.float32(-2.5), moved[still.rows(group)].shape)
            assert moved[still.rows(group)] - plain[still.rows(group)] == pytest.approx(expected, abs=1e-5)
    assert (plain == ws_from_offsets(anatomy(), still.w_avg, offsets, truncation=1.0)).all()


def test_a_label_stands_in_the_last_row_whatever_moves():
    labelled = replace(anatomy(), label_row=np.eye(16, dtype=np.float32)[3])
    ws = ws_from_offsets(labelled, labelled.w_avg, np.full((3, 16), 9.0, np.float32), truncation=1.0)
    assert (ws[-1] == labelled.label_row).all() and (ws[:-1] != labelled.label_row).any()


def test_truncation_reaches_as_many_rows_as_the_cutoff_says():
    body = anatomy()
    ws = ws_from_offsets(body, body.w_avg, np.ones((3, 16), np.float32), truncation=0.0, cutoff=3)
    assert (ws[:3] == body.w_avg).all() and (ws[3:] == body.w_avg + 1).all()
    _, _, latents = played(plan_of({"values": {"latent.truncation": 0.0, "latent.cutoff": 3.0}}), 5)
    assert (latents[-1].ws[:3] == body.w_avg).all()
    assert np.abs(latents[-1].ws[3:] - body.w_avg).min(1).max() > 0


def test_noise_is_as_trained_until_a_knob_says_otherwise():
    _, _, latents = played(plan_of({}), 50)
    assert (latents[-1].noise == np.eye(1, 3)).all()
    _, _, latents = played(plan_of({"values": {"latent.noise": 2.0, "noise.middle": 0.0, "noise.fine": 0.25}}), 2)
    strengths = np.array([2, 2, 0, 0, 0, 0.5, 0.5], np.float32)  # rows 0-1 coarse, 2-4 middle, 5-6 fine
    assert (latents[-1].noise == strengths[:, None] * np.eye(1, 3)).all()


def test_noise_of_another_seed_is_as_strong_and_unlike():
    directions = [noise_gains(anatomy(), strengths=[1, 1, 1], seed=seed, phase=0.0)[0] for seed in range(40)]
    assert np.linalg.norm(directions, axis=1) == pytest.approx(np.ones(40), abs=1e-6)
    assert len({direction.tobytes() for direction in directions}) == 40
    assert (directions[0] == [1, 0, 0]).all()


def test_moving_noise_is_as_strong_smooth_and_never_the_same():
    _, _, latents = played(plan_of({"values": {"noise.speed": 0.5}}), 400)
    gains = np.stack([latent.noise[0] for latent in latents])
    assert np.linalg.norm(gains, axis=1) == pytest.approx(np.ones(len(gains)), abs=1e-6)
    steps = np.abs(np.diff(gains, axis=0)).max(axis=1)
    assert 0.01 < steps.max() < 0.12
    apart = np.abs(gains[80:] - gains[:-80])  # a whole turn later
    assert apart.max(axis=1).min() > 0.05


@pytest.mark.parametrize(
    ("num_ws", "noise_layers", "coarse", "middle", "expected"),
    [
        (14, 13, 4, 8, [4, 4, 5]),  # StyleGAN2: all rows but the last have one
        (7, 14, 2, 4, [4, 4, 6]),  # lucidrains: two a row
        (1, 6, 1, 1, [2, 2, 2]),  # no rows to tell by
        (16, 0, 5, 10, [0, 0, 0]),
    ],
)
def test_noise_layers_belong_to_the_groups_of_their_rows(num_ws, noise_layers, coarse, middle, expected):
    body = replace(anatomy(), num_ws=num_ws, noise_layers=noise_layers, coarse=coarse, middle=middle)
    rows = [body.noise_rows(group) for group in range(3)]
    assert [row.stop - row.start for row in rows] == expected
    assert [row.start for row in rows[1:]] == [row.stop for row in rows[:-1]]


def test_a_bend_is_straight_until_a_knob_moves_and_says_where_features_come_from():
    _, _, latents = played(plan_of({}), 3)
    assert latents[-1].bends is STRAIGHT
    assert (bend_row([0, 0, 0, 1, 1, 0, 0]) == STRAIGHT[0]).all()
    values = {"bend.middle.x": 0.25, "bend.middle.zoom": 2.0, "bend.fine.drop": 0.5, "bend.fine.gain": -1.0}
    _, _, latents = played(plan_of({"values": values}), 3)
    coarse, middle, fine = latents[-1].bends
    assert (coarse == STRAIGHT[0]).all()
    assert middle == pytest.approx([0.5, 0, 0.25, 0, 1, 0, 0])  # shifted right by a quarter, twice the size
    assert fine == pytest.approx([1, 0, 0, 0, -1, 0, 0.5])


def siblings() -> Anatomy:
    """Two whose mappings lie apart, and what lies between them."""
    first, second = anatomy(), replace(anatomy(shift=2.0), w_from_z=lambda z: np.sin(z * 3) + 2)
    between = lambda z, part: first.w_from_z(z) * (1 - part) + second.w_from_z(z) * part + part * (1 - part)  # noqa: E731
    return replace(first, partner=second, w_between=between)


def test_a_species_alone_is_never_blended():
    _, _, latents = played(plan_of({"values": {"blend.coarse": 1.0}}), 3)
    assert not latents[-1].blend.any() and latents[-1].partner is None


def test_siblings_blend_by_layer_group_and_their_mapping_by_the_mean():
    body = siblings()
    values = {"blend.coarse": 1.0, "blend.middle": 0.5, "latent.truncation": 0.0}
    _, _, latents = played(plan_of({"values": values}, body=body), 3)
    assert (latents[-1].blend == [1, 1, 0.5, 0.5, 0.5, 0, 0, 0]).all()
    part = np.float32(3.5 / 8)
    assert latents[-1].blend.mean() == part and latents[-1].partner is None
    assert latents[-1].ws[0] == pytest.approx(body.w_avg * (1 - part) + body.partner.w_avg * part)


def test_animals_between_siblings_are_mapped_by_what_lies_between_their_mappings():
    body = siblings()
    terms: Terms = [(0, (0, 5), 0.5), (2, (1, 7), 2.0), (2, (0, 5), 1.0)]
    mean, offsets = body.mean_and_offsets(3, terms, place=0.25)
    first, second = (body.w_between(body.z(3, key), 0.25) - mean for key in ((0, 5), (1, 7)))
    assert offsets == pytest.approx(np.stack([first * 0.5, np.zeros(16), second * 2 + first]), abs=1e-6)


def test_blends_of_nothing_and_all_are_the_siblings_themselves():
    ends = []
    for part, alone in ((0.0, siblings()), (1.0, siblings().partner)):
        values = {f"blend.{group}": part for group in ("coarse", "middle", "fine")}
        _, _, pair = played(plan_of({"values": values}, body=siblings()), 60)
        _, _, single = played(plan_of({}, body=alone), 60)
        ends.append([(a.ws == b.ws).all() for a, b in zip(pair, single, strict=True)])
    assert all(map(all, ends))


def chain() -> Anatomy:
    """Three species, each of which becomes the next."""
    first, third = siblings(), replace(anatomy(shift=-1.0), w_from_z=lambda z: np.cos(z) - 1)
    between = lambda z, part: first.partner.w_from_z(z) * (1 - part) + third.w_from_z(z) * part  # noqa: E731
    return replace(first, partner=replace(first.partner, partner=third, w_between=between))


def all_at(blend: float) -> dict[str, float]:
    return {f"blend.{group}": blend for group in ("coarse", "middle", "fine")}


def test_a_chain_is_each_of_its_species_in_turn():
    body = chain()
    for part, alone in ((0.0, anatomy()), (0.5, body.partner), (1.0, body.partner.partner)):
        _, _, latents = played(plan_of({"values": all_at(part)}, body=body), 60)
        _, _, single = played(plan_of({}, body=alone), 60)
        assert all((a.ws == b.ws).all() for a, b in zip(latents, single, strict=True))
        assert (latents[-1].blend == part).all()


def test_the_way_through_a_chain_has_no_seam():
    terms: Terms = [(0, (0, 5), 0.5), (2, (1, 7), 2.0), (2, (0, 5), 1.0)]
    places = np.linspace(0, 2, 2001)
    way = [np.vstack(chain().mean_and_offsets(3, terms, place=place)) for place in places]
    steps = np.abs(np.diff(way, axis=0)).max(axis=(1, 2))
    assert steps.max() < 0.02 and np.abs(way[0] - way[1000]).max() > 1 and np.abs(way[1000] - way[-1]).max() > 1


def test_a_fade_past_a_species_in_the_middle_draws_its_own_animals_there():
    """Not those between the animals of the first and the last."""
    body, still = chain(), {"latent.truncation": 0.0}
    cues = ({"values": still}, {"fade": Length(1.0), "values": still | all_at(1.0)})
    plan = plan_of(*cues, body=body)
    _, _, latents = played(plan, 80, controls=pressing(plan, {20: "cue.go"}))
    (middle,) = [latent for latent in latents if (latent.blend == 0.5).all()]
    assert middle.ws[0] == pytest.approx(body.partner.w_avg, abs=1e-5)
    assert max(np.abs(b.ws - a.ws).max() for a, b in zip(latents, latents[1:], strict=False)) < 0.4
    assert latents[-1].ws[0] == pytest.approx(body.partner.partner.w_avg)


@pytest.mark.parametrize("siblings", range(9))
def test_every_place_of_a_chain_is_known_by_its_number(siblings):
    """In single precision, in which three thirds need not be one."""
    for place in range(siblings + 1):
        blend = np.full(8, place / max(siblings, 1), np.float32)
        assert species_at(blend, siblings=siblings) == place
        blend[3] = np.nextafter(blend[3], np.float32(0.5 if place != siblings / 2 else 1))
        assert species_at(blend, siblings=siblings) == (None if siblings else 0)


def test_a_stranger_has_a_latent_of_its_own_only_while_it_is_seen():
    stranger = replace(siblings().partner, num_ws=5, noise_layers=4, coarse=1, middle=3)
    body = replace(anatomy(), partner=stranger)
    _, _, latents = played(plan_of({"values": {"blend.fine": 0.0}}, body=body), 3)
    assert latents[-1].partner is None
    cues = ({}, {"fade": Length(1.0), "values": {f"blend.{group}": 1.0 for group in ("coarse", "middle", "fine")}})
    plan = plan_of(*cues, body=body)
    _, _, latents = played(plan, 80, controls=pressing(plan, {20: "cue.go"}))
    parts = [latent.part for latent in latents]
    assert parts[10] == 0 and parts[-1] == 1 and np.all(np.diff(parts) >= 0) and np.diff(parts).max() < 0.1
    assert latents[-1].partner.ws.shape == (5, 16) and latents[-1].partner.noise.shape == (4, 3)
    assert np.abs(latents[-1].partner.ws - stranger.w_avg).max() > 0.01  # it moves


# Routes that hands change


def values_of(plan: Plan, params, name: str) -> list[float]:
    return [float(each.values[plan.table.row(name)]) for each in params]


def loud(frame: int) -> AudioFeatures:
    values = np.zeros((2, len(feature_names())), np.float32)
    values[0, column("bass.level")], values[0, column("mid.level")] = 0.5, 1.0
    return AudioFeatures(frozen_array(values), frame / FPS)


BASS = Route(name="bass", source="mix.bass.level", target="latent.coarse", release_s=0.0)
MID = Route(name="mid", source="mix.mid.level", target="latent.fine", amount=2.0, release_s=0.0)


def setting(plan: Plan, **levels: float):
    events = [ControlEvent(name.replace("_", "."), value, 1e-3) for name, value in levels.items()]
    return lambda frame: reduce(Controls.none(plan.table), events, table=plan.table)


def test_a_muted_route_brings_nothing_and_its_meter_goes_on():
    plan = plan_of(routes=(BASS, MID))
    _, params, _ = played(plan, 3, features=loud, controls=setting(plan, mute_bass=1.0))
    assert values_of(plan, params, "latent.coarse") == [0.0] * 3
    assert values_of(plan, params, "latent.fine") == [2.0] * 3
    rows = [plan.route_names.index(name) for name in ("bass", "mid")]
    assert params[-1].meters[rows].tolist() == [[0.5, 0.0], [1.0, pytest.approx(2.0 / 6.0)]]


def test_where_a_route_has_solo_the_others_are_silent_and_press_nothing():
    go = Route(name="go", source="mix.bass.hit", target="cue.go", mode="trigger")
    plan = plan_of({}, {}, routes=(BASS, MID, go))
    hit = lambda frame: [AudioEvent(0, AudioEventKind.BASS, frame / FPS, 1.0)] if frame == 1 else []  # noqa: E731
    memory, params, _ = played(plan, 4, features=loud, events=hit, controls=setting(plan, solo_mid=1.0))
    assert (values_of(plan, params, "latent.coarse")[-1], values_of(plan, params, "latent.fine")[-1]) == (0.0, 2.0)
    assert memory.current.index == 0
    memory, _, _ = played(plan, 4, features=loud, events=hit)
    assert memory.current.index == 1


def test_a_route_is_added_changed_and_removed_while_the_cue_goes_on():
    plan = plan_of({}, {"routes": ()}, routes=(BASS,))
    memory, _, _ = played(plan, 1, features=loud)
    for edit, expected in (
        (RouteEdit("new1", replace(MID, name="new1")), (0.5, 2.0)),
        (RouteEdit("bass", replace(BASS, amount=-1.0)), (-0.5, 2.0)),
        (RouteEdit("new1", None), (-0.5, 0.0)),
        (RouteEdit("nobody", MID), (-0.5, 0.0)),  # a name that has no parameters
    ):
        started_s = memory.current.started_s
        memory, param, _ = plan.step(memory, loud(1), (), Controls.none(plan.table), tick_at(1), edits=[edit])
        found = values_of(plan, [param], "latent.coarse") + values_of(plan, [param], "latent.fine")
        assert found == pytest.approx(expected)
        assert memory.current.started_s == started_s
    memory, _, _ = plan.step(
        memory, loud(2), (), Controls.none(plan.table), tick_at(2), edits=[RouteEdit("new1", replace(MID, name="new1"))]
    )
    assert [[route.name for route in routes] for routes in memory.routes] == [["bass", "new1"], ["new1"]]


def test_a_route_that_comes_back_comes_back_to_its_cue_and_its_place():
    plan = plan_of({}, {"routes": (MID,)}, routes=(BASS, MID))
    memory = plan.enter(0, at_s=0.0, beat=0.0)
    for edit in (RouteEdit("new1", replace(MID, name="new1")), RouteEdit("bass", None), RouteEdit("bass", BASS)):
        memory, _, _ = plan.step(memory, QUIET, (), Controls.none(plan.table), tick_at(1), edits=[edit])
    assert [[route.name for route in routes] for routes in memory.routes] == [["bass", "mid", "new1"], ["mid", "new1"]]


def test_a_held_source_is_read_at_each_beat_at_any_frame_rate():
    # tick_at has two beats a second; the level rises slowly, so that what was read tells when.
    rising = lambda frame, fps: AudioFeatures(  # noqa: E731
        frozen_array(np.full((2, len(feature_names())), frame / fps / 10, np.float32)), frame / fps
    )
    held = Route(name="held", source="mix.mid.level", target="latent.fine", hold_beats=1.0, release_s=0.0)
    for fps in (24, 40, 60):
        plan = plan_of(routes=(held,))
        _, params, _ = played(plan, 2 * fps, features=lambda frame, fps=fps: rising(frame, fps), fps=fps)
        values = values_of(plan, params, "latent.fine")
        assert len(set(values)) == 4
        assert values[:: fps // 2] == pytest.approx([0.0, 0.05, 0.1, 0.15])


@pytest.mark.parametrize(("hold", "at"), [("mix.bass.hit", 0.5), ("macro.1", 0.5)], ids=["a hit", "a knob that rises"])
def test_a_held_source_is_read_when_something_strikes(hold, at):
    rising = lambda frame: AudioFeatures(  # noqa: E731
        frozen_array(np.full((2, len(feature_names())), frame / 100, np.float32)), frame / FPS
    )
    route = Route(name="held", source="mix.mid.level", target="latent.fine", hold=hold, hold_at=at, release_s=0.0)
    plan = plan_of(routes=(route,))
    hits = lambda frame: [AudioEvent(0, AudioEventKind.BASS, frame / FPS, 0.3)] if frame in (10, 20) else []  # noqa: E731
    pressed = lambda frame: setting(plan, macro_1=float(10 <= frame < 15 or frame >= 20))(frame)  # noqa: E731
    _, params, _ = played(
        plan,
        30,
        features=rising,
        events=hits if hold != "macro.1" else None,
        controls=pressed if hold == "macro.1" else None,
    )
    values = values_of(plan, params, "latent.fine")
    assert values == pytest.approx([0.0] * 10 + [0.1] * 10 + [0.2] * 10)


def test_random_and_toggle_are_drawn_anew_at_each_beat_and_each_route_for_itself():
    routes = tuple(
        Route(name=name, source=source, target=target, hold_beats=1.0, release_s=0.0)
        for name, source, target in (
            ("a", "random", "latent.coarse"), ("b", "random", "latent.middle"), ("c", "toggle", "latent.fine"),
        )
    )  # fmt: skip
    plan = plan_of({}, {"seed": 7}, routes=routes)
    _, params, _ = played(plan, 20 * 100, fps=40)
    first, second, third = (values_of(plan, params, f"latent.{group}")[::20] for group in ("coarse", "middle", "fine"))
    assert third == [0.0, 1.0] * 50
    assert len(set(first)) == 100 and np.ptp(first) > 0.9
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.4 and abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.4
    _, jumped, _ = played(plan, 41, memory=plan.enter(0, at_s=0.0, beat=0.0), fps=40)
    assert values_of(plan, jumped, "latent.coarse")[::20] == first[:3]
    _, other, _ = played(plan, 1, memory=plan.enter(1, at_s=0.0, beat=0.0))
    assert values_of(plan, other, "latent.coarse")[0] != first[0]


@pytest.mark.parametrize("fps", [24, 40, 60])
def test_an_lfo_swings_in_hertz_or_in_beats_at_any_frame_rate(fps):
    swing = Route(name="swing", source="lfo.1", target="latent.fine", release_s=0.0)
    for knobs, period_s in (({"lfo.1.rate": 0.5}, 2.0), ({"lfo.1.beats": 2.0}, 1.0)):
        plan = plan_of({"values": knobs}, routes=(swing,))
        _, params, _ = played(plan, 4 * fps, fps=fps)
        values = values_of(plan, params, "latent.fine")
        expected = [0.5 - 0.5 * np.cos(2 * np.pi * frame / fps / period_s) for frame in range(4 * fps)]
        assert values == pytest.approx(expected, abs=1e-5)


def test_an_lfo_never_jumps_when_its_rate_is_turned():
    plan = plan_of(routes=(Route(name="swing", source="lfo.1", target="latent.fine", release_s=0.0),))
    turned = lambda frame: setting(plan, lfo_1_rate=0.1 if frame < 200 else 1.0)(frame)  # noqa: E731
    _, params, _ = played(plan, 400, controls=turned)
    steps = np.abs(np.diff(values_of(plan, params, "latent.fine")))
    assert steps[:195].max() < np.pi * 0.1 / FPS * 1.05
    assert steps.max() < np.pi * 1.0 / FPS * 1.05


# Cues that wait for their beat


def at_beat(beat: float, *, frame: int = 1, downbeat: int = 0, dt_s: float = 1 / FPS) -> Tick:
    return Tick(frame, beat / 2.0, dt_s, beat, beat / 2.0, downbeat)


def asked(plan: Plan, tick: Tick, memory: Memory, *presses: str, beats: float = 4.0, text: str = "") -> Memory:
    events = [ControlEvent("cue.quantize", beats, 0.0)]
    events += [ControlEvent(name, 1.0, tick.photon_s, text=text) for name in presses]
    memory, _, _ = plan.step(memory, QUIET, (), reduce(Controls.none(plan.table), events, table=plan.table), tick)
    return memory


@pytest.mark.parametrize("fps", [24, 25, 30, 40, 60])
@pytest.mark.parametrize(("beats", "downbeat"), [(1.0, 0), (4.0, 0), (4.0, 3), (16.0, 1), (3.0, 2)])
def test_a_cue_begins_in_the_frame_that_is_nearest_to_its_beat(fps, beats, downbeat):
    plan = plan_of({}, {})
    memory, dt_s = plan.enter(0, at_s=0.0, beat=0.0), 1 / fps
    pressed = False
    for frame in range(40 * fps):
        beat = 0.3 + frame * dt_s * 2.0
        tick = Tick(frame, frame * dt_s, dt_s, beat, frame * dt_s, downbeat)
        presses = ["cue.go"] if beat > 8.1 and not pressed else []
        pressed = pressed or bool(presses)
        memory = asked(plan, tick, memory, *presses, beats=beats)
        if memory.current.index == 1:
            break
    line = downbeat + beats * np.ceil((8.1 - downbeat) / beats)
    assert memory.current.index == 1
    assert abs(memory.current.started_beat - line) <= dt_s * 2.0 / 2 + 1e-9


def test_what_waits_is_shown_replaced_taken_back_and_dropped_by_panic():
    plan = plan_of({}, {}, {})
    fresh = plan.enter(0, at_s=0.0, beat=0.0)
    waits = asked(plan, at_beat(1.0), fresh, "cue.go")
    assert waits.current.index == 0 and waits.place.waiting is not None
    assert (waits.place.waiting.index, waits.place.waiting.beat) == (1, 4.0)
    other = asked(plan, at_beat(1.5), waits, "cue.goto", text="3")
    assert other.place.waiting is not None and other.place.waiting.index == 2
    assert asked(plan, at_beat(4.0), other).current.index == 2
    assert asked(plan, at_beat(1.5), waits, "cue.prev").place.waiting is None
    assert asked(plan, at_beat(1.5), waits, "cue.panic").place.waiting is None
    again = asked(plan, at_beat(2.0), waits, "cue.go")  # a second press changes nothing
    assert again.place.waiting == waits.place.waiting


def test_a_cue_never_waits_longer_than_one_length_of_the_grid():
    plan = plan_of({}, {})
    waits = asked(plan, at_beat(101.0), plan.enter(0, at_s=0.0, beat=0.0), "cue.go", beats=16.0)
    assert waits.place.waiting is not None and waits.place.waiting.beat == 112.0
    back = asked(plan, at_beat(3.0), waits, beats=16.0)  # the song began anew
    assert back.place.waiting is not None and back.place.waiting.beat == 16.0
    assert asked(plan, at_beat(102.0), waits, beats=0.0).current.index == 1  # nobody waits for anything any more
    assert asked(plan, at_beat(300.0), waits, beats=16.0).current.index == 1  # the line was leapt over


def test_two_presses_in_one_frame_are_two_cues_where_nothing_is_waited_for():
    plan = plan_of({}, {}, {})
    memory = asked(plan, at_beat(1.0), plan.enter(0, at_s=0.0, beat=0.0), "cue.go", "cue.go", beats=0.0)
    assert memory.current.index == 2


def test_a_hand_chooses_the_cue_that_starts_next():
    plan = plan_of({}, {"name": "two"}, {}, {})
    memory = plan.enter(0, at_s=0.0, beat=0.0)
    assert plan.score.standby(memory.place) == 1
    memory = asked(plan, at_beat(0.1), memory, "cue.next", beats=0.0)
    assert (memory.current.index, plan.score.standby(memory.place)) == (0, 2)
    memory = asked(plan, at_beat(0.2), memory, "cue.next", "cue.next", "cue.next", beats=0.0)
    assert plan.score.standby(memory.place) == 3
    memory = asked(plan, at_beat(0.3), memory, "cue.load", text="two", beats=0.0)
    assert plan.score.standby(memory.place) == 1
    memory = asked(plan, at_beat(0.4), memory, "cue.load", text="3", beats=0.0)
    memory = asked(plan, at_beat(0.5), memory, "cue.go", beats=0.0)
    assert (memory.current.index, plan.score.standby(memory.place)) == (2, 3)
    memory = asked(plan, at_beat(0.6), memory, "cue.load", text="nobody", beats=0.0)
    assert plan.score.standby(memory.place) == 3
    memory = asked(plan, at_beat(0.7), memory, "cue.go", "cue.go", beats=0.0)
    assert (memory.current.index, plan.score.standby(memory.place)) == (3, None)


def test_what_a_hand_moves_right_after_go_stands_and_what_it_moved_before_does_not():
    plan = plan_of({}, {"values": {"walk.speed": 0.3}})
    row = plan.table.row("walk.speed")

    def speed_after(*events: ControlEvent, more: ControlEvent | None = None) -> float:
        """The speed in the new cue. Its light leaves 0.1 s after the frame took its messages."""
        memory, controls = plan.enter(0, at_s=0.0, beat=0.0), Controls.none(plan.table)
        for frame, now in ((0, ()), (1, events), (2, (more,) if more else ())):
            controls = reduce(controls, now, table=plan.table)
            tick = Tick(frame, frame / FPS + 0.1, 1 / FPS, frame / FPS * 2.0, frame / FPS)
            memory, params, _ = plan.step(memory, QUIET, (), controls, tick)
        assert memory.current.index == 1
        return float(params.values[row])

    go, moved = ControlEvent("cue.go", 1.0, 0.010), ControlEvent("walk.speed", 1.5, 0.012)
    assert speed_after(go) == pytest.approx(0.3)
    assert speed_after(ControlEvent("walk.speed", 1.5, 0.008), go) == pytest.approx(0.3)
    assert speed_after(go, moved) == 1.5
    assert speed_after(go, more=ControlEvent("walk.speed", 1.5, 0.030)) == 1.5  # before the cue's first light
