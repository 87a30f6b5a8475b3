"""Routes, piece by piece."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.choreography.lfo import SHAPES, lfo_value
from performer.choreography.modulation import RouteMemory, followed, merged, rung, scaled, shaped, struck
from performer.params import ParamTable, base_params
from performer.routes import CURVES, Route, RouteFile, Span, problems, route_of, sources

TABLE = ParamTable(base_params())


def route(**changes) -> Route:
    return Route(**({"name": "r", "source": "mix.bass.level", "target": "latent.coarse"} | changes))


def follow(r: Route, levels: list[float], *, dt_s: float) -> list[float]:
    memory, out = RouteMemory(), []
    for level in levels:
        memory, _ = followed(r, memory, level, dt_s=dt_s)
        out.append(memory.value)
    return out


def test_attack_and_release_are_in_seconds():
    r = route(attack_s=0.1, release_s=0.2)
    for fps in (50, 100, 400):
        rise = follow(r, [1.0] * (fps // 10), dt_s=1 / fps)[-1]
        assert rise == pytest.approx(0.632, abs=0.03)
        fall = follow(r, [1.0] * fps + [0.0] * (fps // 5), dt_s=1 / fps)[-1]
        assert fall == pytest.approx(0.368, abs=0.03)


def test_gate_has_hysteresis():
    r = route(gate_on=0.6, gate_off=0.4, release_s=0.0)
    assert follow(r, [0.5, 0.7, 0.5, 0.41, 0.39, 0.5], dt_s=0.02) == [0, 0.7, 0.5, 0.41, 0, 0]


def test_gate_opening_is_told_once():
    r, memory, opened = route(gate_on=0.5, gate_off=0.3), RouteMemory(), []
    for level in (0.2, 0.6, 0.9, 0.1, 0.8):
        memory, did = followed(r, memory, level, dt_s=0.02)
        opened.append(did)
    assert opened == [False, True, False, False, True]


def test_hit_rises_over_its_attack_and_falls_after():
    r = route(attack_s=0.1, release_s=0.2)
    at = [struck(r, ((1.0, 0.8),), photon_s=t) for t in (0.99, 1.0, 1.05, 1.1, 1.3)]
    assert at == pytest.approx([0.0, 0.0, 0.4, 0.8, 0.8 * 0.3679], abs=1e-4)


def test_a_soft_hit_never_cuts_a_loud_one_short():
    r = route(release_s=0.5)
    loud = struck(r, ((1.0, 1.0),), photon_s=1.2)
    assert struck(r, ((1.0, 1.0), (1.19, 0.1)), photon_s=1.2) == loud


def test_a_gate_keeps_soft_hits_out():
    assert struck(route(gate_on=0.5), ((1.0, 0.4),), photon_s=1.01) == 0.0


BELL = {"ring_hz": 3.0, "release_s": 0.5}


def test_what_rings_swings_to_both_sides_ever_less_and_comes_to_rest():
    swing = [rung(route(**BELL), ((1.0, 0.8),), photon_s=1.0 + step / 1000) for step in range(6000)]
    assert swing[0] == 0.0 and max(swing) == pytest.approx(0.8, abs=1e-4)
    assert min(swing) == pytest.approx(-0.8 * math.exp(-1 / 6 / 0.5), abs=1e-3)  # half a turn later
    turns = [at for at, (a, b) in enumerate(itertools.pairwise(swing)) if a <= 0.0 < b]
    assert np.diff(turns[:6]) == pytest.approx(1000 / 3, abs=2)
    assert max(map(abs, swing[-1000:])) < 1e-4
    assert rung(route(**BELL), ((1.0, 0.8),), photon_s=0.99) == 0.0


def test_hits_that_ring_add_and_one_against_the_swing_stops_it():
    whole, half = 1 / 3, 1 / 6

    def after(*at_s: float) -> float:
        hits = tuple((each, 0.5) for each in at_s)
        return max(abs(rung(route(**BELL), hits, photon_s=2.0 + step / 100)) for step in range(100))

    assert after(2.0 - whole, 2.0) > 1.3 * after(2.0) > 3.0 * after(2.0 - half, 2.0)
    each = [rung(route(**BELL), ((at, strength),), photon_s=2.5) for at, strength in ((1.9, 0.3), (2.2, 0.9))]
    assert rung(route(**BELL), ((1.9, 0.3), (2.2, 0.9)), photon_s=2.5) == pytest.approx(sum(each))


@given(
    hits=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=9),
    ring=st.floats(0.05, 12),
    release=st.floats(0.02, 3),
    attack=st.floats(0, 0.3),
)
@settings(max_examples=60, deadline=None)
def test_what_rings_is_the_same_at_any_frame_rate_and_never_leaps(hits, ring, release, attack):
    r = route(ring_hz=ring, release_s=release, attack_s=attack)
    swings = {fps: [rung(r, tuple(hits), photon_s=f / fps) for f in range(4 * fps)] for fps in (24, 120)}
    assert swings[24] == swings[120][::5]
    slope = 2 * math.pi * ring * release
    peak = math.exp(-math.atan(slope) / slope) * slope / math.hypot(1.0, slope)
    fastest = (2.5 * 2 * math.pi * ring + 1 / release) * sum(s for _, s in hits) / peak
    assert max(abs(b - a) for a, b in itertools.pairwise(swings[120])) <= fastest / 120 * 1.01 + 1e-12


def test_range_and_curve_say_how_hard_a_hit_strikes_and_the_swing_goes_below_zero():
    r = route(**BELL, in_low=0.5, curve="square", amount=2.0)
    soft, loud = (min(scaled(r, rung(r, ((0.0, s),), photon_s=t / 500)) for t in range(500)) for s in (0.75, 1.0))
    assert loud == pytest.approx(-2.0 * math.exp(-1 / 3), abs=0.01) and soft == pytest.approx(loud / 4)
    assert rung(r, ((0.0, 0.4),), photon_s=0.1) == 0.0


@pytest.mark.parametrize("name", CURVES)
def test_curves_keep_the_ends_and_never_fall(name):
    curve = CURVES[name]
    values = [curve(i / 100) for i in range(101)]
    assert values[0] == pytest.approx(0) and values[-1] == pytest.approx(1)
    assert all(b >= a for a, b in zip(values, values[1:], strict=False))


def test_range_inversion_and_amount():
    r = route(in_low=0.2, in_high=0.6, out_low=1.0, out_high=3.0, amount=2.0)
    assert [shaped(r, v) for v in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([2, 2, 4, 6, 6])
    assert shaped(route(invert=True), 0.25) == pytest.approx(0.75)


@pytest.mark.parametrize(("mode", "expected"), [("add", 0.8), ("mul", 0.15), ("max", 0.5), ("replace", 0.3)])
def test_modes(mode, expected):
    before = 0.5
    assert merged(route(mode=mode), before, 0.3, master=1.0) == pytest.approx(expected)
    if mode != "max":
        assert merged(route(mode=mode), before, 0.3, master=0.0) == pytest.approx(before)


@given(st.floats(-10, 10), st.floats(0, 1))
def test_shaping_never_leaves_its_range(value, low):
    assert 0.0 <= shaped(route(in_low=low, in_high=low + 0.5), value) <= 1.0


def test_problems_name_the_nearest():
    known = sources(["mix"], {"bass.level": Span()}, TABLE)
    wrong = route(source="mix.bas.level", target="latent.corse", curve="wobbly", mode="plus", in_low=1.0, gate_off=0.3)
    found = dict(problems(wrong, known=known, table=TABLE))
    assert "did you mean 'mix.bass.level'" in found["from"]
    assert "did you mean 'latent.coarse'" in found["to"]
    assert {"curve", "mode", "in", "gate"} <= set(found)
    assert problems(route(), known=known, table=TABLE) == []


def test_a_loudness_route_rests_at_its_lowest_decibel_and_has_gates_in_decibels():
    r = route(in_low=-50.0, in_high=-10.0, rest=-80.0, attack_s=0.1, release_s=0.1, gate_on=-20.0, gate_off=-26.0)
    memory = RouteMemory(value=r.rest)
    assert shaped(r, memory.value) == 0.0
    seen = []
    for level in (-30.0, -15.0, -24.0, -40.0):
        for _ in range(50):
            memory, _ = followed(r, memory, level, dt_s=0.02)
        seen.append(shaped(r, memory.value))
    assert seen == pytest.approx([0.0, 0.875, 0.65, 0.0], abs=0.01)


KNOWN = sources(["mix"], {"bass.level": Span(), "db": Span(-80.0, 0.0, -80.0), "bass.hit": Span(is_hit=True)}, TABLE)


@pytest.mark.parametrize(
    ("hold", "beats", "source"),
    [("beat", 1, ""), ("bar", 4, ""), ("2 beats", 2, ""), ("0.5 beats", 0.5, ""), ("4 bars", 16, ""),
     ("mix.bass.hit", 0, "mix.bass.hit"), ("", 0, "")],
)  # fmt: skip
def test_a_hold_is_a_length_or_a_source(hold, beats, source):
    found = route_of(RouteFile("mix.bass.level", "macro.1", hold=hold), KNOWN)
    assert (found.hold_beats, found.hold) == (beats, source)
    assert problems(found, known=KNOWN, table=TABLE) == []


@pytest.mark.parametrize(
    ("file", "key", "sentence"),
    [
        (RouteFile("random", "macro.1"), "hold", "missing"),
        (RouteFile("toggle", "macro.1"), "hold", "missing"),
        (RouteFile("mix.bass.hit", "macro.1", hold="beat"), "hold", "an instant"),
        (RouteFile("random", "macro.1", hold="mix.bas.hit"), "hold", "did you mean 'mix.bass.hit'"),
        (RouteFile("random", "macro.1", hold="-2 beats"), "hold", "is no source"),
        (RouteFile("random", "macro.1", hold="nan beats"), "hold", "is no source"),
        (RouteFile("random", "macro.1", hold="random"), "hold", "strikes never"),
        (RouteFile("mix.db", "macro.1", ring=3.0), "ring", "strikes never"),
        (RouteFile("mix.bass.hit", "macro.1", ring=-3.0), "ring", "expected 0 to 12 Hz"),
        (RouteFile("mix.bass.hit", "macro.1", ring=40.0), "ring", "expected 0 to 12 Hz"),
        (RouteFile("mix.bass.hit", "macro.1", ring=3.0, mode="trigger"), "ring", "a press does not ring"),
        (RouteFile("mix.bass.hit", "macro.1", ring=3.0, release=0.0), "release", "no time to ring"),
        (RouteFile("mix.db", "cue.go"), "mode", 'expected mode = "trigger"'),
        (RouteFile("mix.db", "macro.1", amount=float("nan")), "amount", "expected a number"),
        (RouteFile("mix.db", "macro.1", release=float("inf")), "release", "expected a number"),
        (RouteFile("mix.db", "macro.1", range_out=(0.0, 1e9)), "out", "expected a number"),
    ],
)
def test_what_is_wrong_with_a_route_is_said_at_its_key(file, key, sentence):
    found = problems(route_of(file, KNOWN), known=KNOWN, table=TABLE)
    assert [each for each, _ in found] == [key]
    assert sentence in found[0][1]


def test_a_route_takes_its_sources_range_rest_and_middle():
    found = route_of(RouteFile("mix.db", "macro.1", hold="mix.db"), KNOWN)
    assert (found.in_low, found.in_high, found.rest, found.hold_at) == (-80.0, 0.0, -80.0, -40.0)


@pytest.mark.parametrize(("number", "name"), list(enumerate(SHAPES)))
def test_every_lfo_stays_in_its_range_and_comes_round(number, name):
    phases = [step / 97 for step in range(1, 97 * 5)]
    values = [lfo_value("lfo.1", shape=number, seed=3, phase=phase) for phase in phases]
    assert 0.0 <= min(values) < 0.3 and 0.7 < max(values) <= 1.0
    if name not in ("steps", "noise"):
        again = [lfo_value("lfo.1", shape=number, seed=3, phase=phase + 2.0) for phase in phases]
        assert again == pytest.approx(values)
    if name in ("sine", "triangle", "noise"):
        assert max(abs(a - b) for a, b in itertools.pairwise(values)) < 0.04
    other = [lfo_value("lfo.2", shape=number, seed=3, phase=phase) for phase in phases]
    assert (other == values) == (name not in ("steps", "noise"))
