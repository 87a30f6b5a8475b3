"""Routes, piece by piece."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.choreography.lfo import SHAPES, lfo_value
from performer.choreography.modulation import RouteMemory, followed, merged, shaped, struck
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
