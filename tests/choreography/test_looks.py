"""Presets, the morph and surprises: equal at any frame rate, without a leap, below what a hand sets after them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from performer.audio.features import feature_names, hit_kinds
from performer.choreography.keyframes import Keyframe, keyframes
from performer.choreography.lfo import lfo_params
from performer.choreography.motion import bend_params, motion_params
from performer.choreography.plan import Plan
from performer.choreography.score import Cue, Length
from performer.choreography.surprise import BOUNDS, Acting, Surprise
from performer.flow import AudioEvent, AudioEventKind, ControlEvent, frozen_array
from performer.params import Controls, Kind, Param, ParamTable, base_params, reduce
from performer.presets import Preset, find, name_fault, put
from performer.routes import Route, route_params
from tests.choreography.test_plan import QUIET, anatomy, tick_at

EFFECT = (
    Param(id="glow.amount", default=0.2, help="it"),
    Param(id="glow.zoom", default=1.0, low=0.1, high=10.0, curve="exp", help="it"),
    Param(id="glow.is_on", kind=Kind.BOOL, default=1.0, help="it"),
)
ROUTE = Route(name="sway", source="macro.1", target="preset.morph", attack_s=0.0, release_s=0.0)
PRESSING = Route(name="dare", source="mix.kick", target="preset.surprise", mode="trigger")
LATER = Route(name="more", source="macro.2", target="glow.amount", attack_s=0.0, release_s=0.0)
TABLE = ParamTable(
    (
        *base_params(), *motion_params(), *lfo_params(), *bend_params(), *EFFECT,
        *route_params((name, "it") for name in ("sway", "dare", "more")),
    )
)  # fmt: skip


def preset(name: str, **values: float) -> Preset:
    named, all_ = np.zeros(len(TABLE), bool), TABLE.defaults()
    for key, value in values.items():
        row = TABLE.row(key.replace("__", "."))
        named[row], all_[row] = True, value
    return Preset(name, frozen_array(named), frozen_array(all_))


NIGHT = preset("night", glow__amount=0.8, glow__zoom=4.0, glow__is_on=0.0, latent__cutoff=4)
DAY = preset("day", glow__amount=0.0, walk__speed=1.0)
STAGE = preset("stage", macro__3=0.75, glow__amount=0.5)
PRESETS = (NIGHT, DAY, STAGE)


def plan_of(*cues: dict, routes=(), presets=PRESETS) -> Plan:
    made = []
    for index, changes in enumerate(cues or ({},)):
        changes = dict(changes)
        values, named = TABLE.defaults(), np.zeros(len(TABLE), bool)
        for key, value in changes.pop("values", {}).items():
            values[TABLE.row(key)], named[TABLE.row(key)] = value, True
        base = {"id": str(index + 1), "fade": Length(0.0), "routes": routes}
        made.append(Cue(**(base | changes), values=values, named=named))
    return Plan(
        table=TABLE, cues=made, anatomies=(anatomy(),), voices=("mix", "drums"), feature_names=feature_names(),
        hit_kinds=hit_kinds(), presets=presets, effects=("glow",),
    )  # fmt: skip


def press(name: str, at_s: float, text: str = "", source: str = "") -> ControlEvent:
    return ControlEvent(name, 1.0, at_s, text=text, source=source)


def move(name: str, value: float, at_s: float) -> ControlEvent:
    return ControlEvent(name, value, at_s)


class Seen:
    """A show of so many seconds, and what its knobs and values were."""

    def __init__(self, plan: Plan, seconds: float, events=(), *, fps: float = 40, hits=(), edits=()):
        self.fps = fps
        memory, controls = plan.enter(0, at_s=0.0, beat=0.0), Controls.none(TABLE)
        left, self.knobs, self.values, self.memories = sorted(events, key=lambda event: event.at_s), [], [], []
        left_hits, left_edits = list(hits), list(edits)
        for frame in range(round(seconds * fps) + 1):
            tick = tick_at(frame, fps=fps)
            due = [event for event in left if event.at_s <= tick.photon_s]
            struck = [hit for hit in left_hits if hit.at_s <= tick.photon_s]
            changed = [edit for at_s, edit in left_edits if at_s <= tick.photon_s]
            left, left_hits, left_edits = left[len(due) :], left_hits[len(struck) :], left_edits[len(changed) :]
            controls = reduce(controls, due, table=TABLE)
            memory, params, _ = plan.step(memory, QUIET, struck, controls, tick, edits=changed)
            self.knobs.append(params.knobs)
            self.values.append(params.values)
            self.memories.append(memory)

    def at(self, at_s: float, name: str, *, routed: bool = False) -> float:
        return float((self.values if routed else self.knobs)[round(at_s * self.fps)][TABLE.row(name)])

    def way(self, name: str) -> np.ndarray:
        return np.array([knobs[TABLE.row(name)] for knobs in self.knobs])


def test_a_preset_is_glided_to_and_arrives_exactly():
    show = Seen(plan_of(), 4.0, [press("preset.load", 0.5, "night")])
    assert show.at(0.5, "glow.amount") == pytest.approx(0.2)
    assert show.at(1.5, "glow.amount") == pytest.approx(0.5)
    assert show.at(1.5, "glow.zoom") == pytest.approx(2.0)  # the half along its own curve
    assert (show.at(2.5, "glow.amount"), show.at(2.5, "glow.zoom")) == (np.float32(0.8), 4.0)
    assert (show.at(1.45, "glow.is_on"), show.at(1.5, "glow.is_on")) == (1.0, 0.0)
    assert (show.at(1.45, "latent.cutoff"), show.at(1.5, "latent.cutoff")) == (64.0, 4.0)
    steps = np.diff(show.way("glow.amount"))
    assert steps.min() >= 0.0 and steps.max() < 0.6 * 1.5 / 2.0 / 40 * 1.05


@pytest.mark.parametrize("how", [("preset.load", "day"), ("preset.load", "2"), ("preset.2", "")])
def test_it_is_asked_for_by_name_by_number_and_by_its_pad(how):
    name, text = how
    show = Seen(plan_of(), 3.0, [press(name, 0.5, text)])
    assert show.at(3.0, "walk.speed") == 1.0
    assert show.memories[-1].current.worn.look.number == 2


@pytest.mark.parametrize("text", ["", "nobody", "0", "4", "-1", "1.5", "²"])
def test_what_is_no_preset_does_nothing(text):
    show = Seen(plan_of(), 1.0, [press("preset.load", 0.5, text), press("preset.9", 0.6), press("preset.back", 0.7)])
    assert (show.knobs[-1] == show.knobs[0]).all()


def test_no_time_is_at_once():
    show = Seen(plan_of({"values": {"preset.time": 0.0}}), 1.0, [press("preset.load", 0.5, "night")])
    assert (show.at(0.475, "glow.amount"), show.at(0.5, "glow.amount")) == (np.float32(0.2), np.float32(0.8))


def test_a_hand_wins_that_comes_after_and_not_one_that_was_before():
    events = [move("glow.amount", 0.4, 0.2), press("preset.load", 0.5, "night"), move("glow.zoom", 9.0, 1.0)]
    show = Seen(plan_of(), 4.0, events)
    assert show.at(0.5, "glow.amount") == pytest.approx(0.4)
    assert show.at(3.0, "glow.amount") == np.float32(0.8)
    assert show.at(1.0, "glow.zoom") == show.at(4.0, "glow.zoom") == 9.0
    again = Seen(plan_of(), 6.0, [*events, press("preset.load", 3.0, "night")])
    assert again.at(3.0, "glow.zoom") == 9.0 and again.at(5.0, "glow.zoom") == 4.0


def test_a_new_cue_ends_it_but_for_what_belongs_to_the_hand():
    cues = ({}, {}, {"values": {"macro.3": 0.25}})
    events = [press("preset.load", 0.0, "stage"), press("cue.go", 3.0), press("cue.go", 4.0)]
    show = Seen(plan_of(*cues), 5.0, events)
    assert (show.at(2.9, "macro.3"), show.at(2.9, "glow.amount")) == (0.75, 0.5)
    assert (show.at(3.5, "macro.3"), show.at(3.5, "glow.amount")) == (0.75, np.float32(0.2))
    assert (show.at(4.5, "macro.3"), show.at(4.5, "glow.amount")) == (0.25, np.float32(0.2))


def test_what_is_pressed_right_after_a_go_belongs_to_the_next_cue():
    plan = plan_of({}, {})
    for first, wanted in ((0.999, 0.2), (1.012, 0.8)):
        show = Seen(plan, 4.0, [press("cue.go", 1.006), press("preset.load", first, "night")])
        assert show.at(4.0, "glow.amount") == pytest.approx(wanted)


def test_nothing_leaps_where_one_is_asked_for_in_the_middle_of_another_or_of_a_fade():
    plan = plan_of({}, {"fade": Length(2.0), "values": {"glow.amount": 0.9}})
    events = [
        press("preset.load", 0.1, "night"), press("preset.load", 0.9, "day"), press("cue.go", 2.0),
        press("preset.load", 2.7, "night"), press("preset.surprise", 3.1), press("preset.back", 3.3),
        press("preset.back", 3.7), press("preset.again", 4.1),
    ]  # fmt: skip
    show = Seen(plan, 8.0, events, fps=200)
    way = show.way("glow.amount")
    assert np.abs(np.diff(way)).max() < 0.02
    assert np.abs(np.diff(way, 2)).max() < 0.002  # nor does its speed
    assert way.max() - way.min() > 0.5


def test_it_goes_on_from_where_keyframes_are():
    way = keyframes([Keyframe(at=0.0, values=((TABLE.row("glow.amount"), 0.0),)),
                     Keyframe(at=4.0, values=((TABLE.row("glow.amount"), 1.0),))])  # fmt: skip
    show = Seen(plan_of({"keyframes": way}), 6.0, [press("preset.load", 2.0, "night"), press("preset.back", 4.5)])
    assert np.abs(np.diff(show.way("glow.amount"))).max() < 0.03
    assert show.at(4.0, "glow.amount") == np.float32(0.8)
    assert show.at(2.0, "glow.amount") == pytest.approx(0.5, abs=0.02)


# The same at any frame rate

PRESS = st.one_of(
    st.sampled_from(["night", "day", "stage", "3"]).map(lambda text: ("preset.load", text)),
    st.sampled_from(["preset.1", "preset.surprise", "preset.back", "preset.again", "cue.go"]).map(lambda n: (n, "")),
)


@settings(max_examples=40)
@example(presses=[(("preset.load", "night"), 2)], moves={"preset.b": 2}, first=0)  # both in one frame of the slower
@given(
    presses=st.lists(st.tuples(PRESS, st.integers(0, 40)), max_size=6),
    moves=st.dictionaries(st.sampled_from(["glow.amount", "glow.zoom", "preset.b"]), st.integers(1, 40), max_size=2),
    first=st.integers(0, 3),
)
def test_what_was_asked_for_is_the_same_at_any_frame_rate(presses, moves, first):
    """Asked for in between frames, seen at the times that both rates have frames at."""
    events = [press(name, at / 16 + 0.02, text) for (name, text), at in presses]
    events += [move(name, 2.0, at / 16 + 0.03) for name, at in moves.items()]
    cues = ({"values": {"preset.a": first, "preset.morph": 0.3}}, {"seed": 4}, {"values": {"preset.time": 0.3}})
    seen = {fps: Seen(plan_of(*cues), 5.0, events, fps=fps) for fps in (24, 48, 120)}
    for at_s in np.arange(0, 5.01, 1 / 8):  # a cue begins with a frame, and what it began by lies one before
        frames = {fps: show.knobs[round(at_s * fps)] for fps, show in seen.items()}
        if any(name == "cue.go" for (name, _), _ in presses):
            continue
        assert frames[24] == pytest.approx(frames[120], abs=2e-5), at_s
        assert frames[48] == pytest.approx(frames[120], abs=2e-5), at_s
    if any(name == "cue.go" for (name, _), _ in presses):
        assert seen[24].knobs[-1] == pytest.approx(seen[120].knobs[-1], abs=2e-5)


# The morph


def test_the_morph_lies_between_two_presets_and_the_cue_where_there_is_none():
    plan = plan_of({"values": {"preset.a": 2, "preset.b": 1}})
    for part, amount, zoom, is_on, speed in (
        (0.0, 0.0, 1.0, 1.0, 1.0),
        (0.25, 0.2, 4.0**0.25, 1.0, 0.75 + 0.25 * 0.12),
        (0.5, 0.4, 2.0, 0.0, 0.5 + 0.5 * 0.12),
        (1.0, 0.8, 4.0, 0.0, 0.12),
    ):
        show = Seen(plan, 0.5, [move("preset.morph", part, 0.1)])
        assert show.at(0.5, "glow.amount") == pytest.approx(amount)
        assert show.at(0.5, "glow.zoom") == pytest.approx(zoom)
        assert show.at(0.5, "glow.is_on") == is_on
        assert show.at(0.5, "walk.speed") == pytest.approx(speed)


def test_another_pair_is_glided_to():
    events = [
        move("preset.b", 1, 1.0),
        move("preset.morph", 1.0, 1.0),
        move("preset.a", 2, 4.0),
        move("preset.b", 0, 4.0),
    ]
    show = Seen(plan_of(), 7.0, events)
    assert show.at(1.0, "glow.amount") == pytest.approx(0.2)
    assert show.at(2.0, "glow.amount") == pytest.approx(0.5)
    assert show.at(3.5, "glow.amount") == np.float32(0.8)
    assert show.at(6.5, "glow.amount") == pytest.approx(0.2)
    assert np.abs(np.diff(show.way("glow.amount"))).max() < 0.02


def test_a_hand_wins_over_the_morph_until_presets_are_chosen_anew():
    cue = {"values": {"preset.a": 2, "preset.b": 1}}
    events = [move("glow.amount", 0.6, 0.5), move("preset.morph", 1.0, 1.0), move("preset.a", 3, 2.0)]
    show = Seen(plan_of(cue), 5.0, events)
    assert (show.at(0.45, "glow.amount"), show.at(1.5, "glow.amount")) == (0.0, pytest.approx(0.6))
    assert show.at(1.5, "glow.zoom") == 4.0
    assert show.at(5.0, "glow.amount") == np.float32(0.8)
    assert np.abs(np.diff(show.way("glow.amount"))[25:]).max() < 0.02


def test_a_preset_covers_the_morph_until_a_hand_moves_it():
    cue = {"values": {"preset.a": 2, "preset.b": 1}}
    events = [press("preset.load", 0.5, "stage"), move("preset.morph", 1.0, 4.0), move("preset.morph", 0.5, 7.0)]
    show = Seen(plan_of(cue), 8.0, events)
    assert show.at(3.9, "glow.amount") == 0.5
    assert show.at(5.0, "glow.amount") == pytest.approx(0.65)
    assert (show.at(6.5, "glow.amount"), show.at(7.5, "glow.amount")) == (np.float32(0.8), pytest.approx(0.4))
    assert show.at(7.5, "macro.3") == 0.75


def test_sound_moves_the_morph_before_all_other_routes():
    cue = {"values": {"preset.a": 2, "preset.b": 1, "macro.1": 0.5, "macro.2": 0.1}}
    show = Seen(plan_of(cue, routes=(LATER, ROUTE)), 0.5)
    assert show.at(0.5, "glow.amount") == 0.0  # the knob, without routes
    assert show.at(0.5, "preset.morph", routed=True) == pytest.approx(0.5)
    assert show.at(0.5, "glow.zoom", routed=True) == pytest.approx(2.0)
    assert show.at(0.5, "glow.amount", routed=True) == pytest.approx(0.5)  # 0.4 by the morph, 0.1 by the other


def test_a_preset_that_is_changed_or_removed_meanwhile_leaps_nowhere():
    cue = {"values": {"preset.b": 1, "preset.morph": 1.0}}
    gone = Preset("night", np.zeros(len(TABLE), bool), TABLE.defaults())
    edits = [(1.0, preset("night", glow__amount=0.1)), (4.0, gone), (4.5, preset("new", glow__amount=0.9))]
    show = Seen(plan_of(cue), 8.0, [press("preset.4", 7.0), press("preset.1", 7.5)], edits=edits)
    assert (show.at(0.9, "glow.amount"), show.at(3.5, "glow.amount")) == (np.float32(0.8), np.float32(0.1))
    assert show.at(6.9, "glow.amount") == np.float32(0.2)
    assert np.abs(np.diff(show.way("glow.amount"))).max() < 0.03
    assert show.memories[-1].current.worn.look.number == 4


# Back, and again


def test_what_was_asked_for_is_taken_back_step_by_step_and_again():
    events = [
        move("glow.amount", 0.4, 0.1), press("preset.load", 0.5, "night"), press("preset.load", 3.0, "stage"),
        press("preset.back", 6.0), press("preset.back", 9.0), press("preset.back", 12.0), press("preset.again", 13.0),
        press("preset.again", 16.0), press("preset.again", 19.0),
    ]  # fmt: skip
    show = Seen(plan_of(), 20.0, events)
    seen = [
        (show.at(at, "glow.amount"), show.at(at, "glow.zoom"), show.at(at, "macro.3")) for at in (2.9, 5.9, 8.9, 11.9)
    ]
    assert seen == [
        (np.float32(0.8), 4.0, 0.0), (0.5, 4.0, 0.75), (np.float32(0.8), 4.0, 0.0), (np.float32(0.4), 1.0, 0.0),
    ]  # fmt: skip
    assert (show.at(12.9, "glow.amount"), show.at(15.9, "glow.amount")) == (np.float32(0.4), np.float32(0.8))
    assert (show.at(18.9, "glow.amount"), show.at(18.9, "macro.3"), show.at(20.0, "macro.3")) == (0.5, 0.75, 0.75)
    assert [show.memories[round(at * 40)].current.worn.look.number for at in (5.9, 8.9, 11.9, 18.9)] == [3, 1, 0, 3]


def test_what_a_hand_has_moved_since_is_not_taken_back():
    events = [press("preset.load", 0.5, "night"), move("glow.amount", 0.3, 3.0), press("preset.back", 4.0)]
    show = Seen(plan_of(), 7.0, events)
    assert (show.at(7.0, "glow.amount"), show.at(7.0, "glow.zoom")) == (np.float32(0.3), 1.0)


def test_what_sound_asks_for_goes_with_what_a_hand_asked_for_before():
    kicks = [AudioEvent(0, AudioEventKind.KICK, at, 0.9) for at in (3.0, 4.0)]
    events = [press("preset.load", 0.5, "night"), press("preset.back", 6.0)]
    show = Seen(plan_of(routes=(PRESSING,)), 9.0, events, hits=kicks)
    assert show.memories[-1].current.worn.surprises == 2
    assert (show.knobs[round(5.9 * 40)] != show.knobs[round(2.9 * 40)]).any()
    assert show.knobs[-1] == pytest.approx(show.knobs[0])


# Surprises


@pytest.mark.parametrize("wildness", [0.0, 0.1, 0.3, 0.8, 1.0])
def test_a_surprise_is_near_in_every_parameter_and_moves_few(wildness):
    drawer = Surprise(TABLE, effects=("glow",))
    allowed = {*BOUNDS, "glow.amount", "glow.zoom"}
    here, counts = TABLE.defaults(), []
    for count in range(200):
        named, goal = drawer.drawn(here, seed=7, count=count, wildness=wildness, acting=Acting(has_kin=count % 2 == 0))
        again = drawer.drawn(here, seed=7, count=count, wildness=wildness, acting=Acting(has_kin=count % 2 == 0))
        assert (named == again[0]).all() and (goal == again[1]).all()
        assert (goal[~named] == here[~named]).all()
        rows = np.flatnonzero(named)
        names = [TABLE.params[row].id for row in rows]
        assert set(names) <= allowed and (count % 2 == 0 or not any(name.startswith("blend.") for name in names))
        ways = [abs(TABLE.params[row].to_norm(goal[row]) - TABLE.params[row].to_norm(here[row])) for row in rows]
        assert max(ways) <= wildness + 1e-6
        assert wildness == 0.0 or max(ways) > 0.2 * wildness
        for row, name in zip(rows, names, strict=True):
            low, high = BOUNDS.get(name, (TABLE[name].low, TABLE[name].high))
            assert min(low, here[row]) - 1e-6 <= goal[row] <= max(high, here[row]) + 1e-6
        counts.append(len(names))
        if count % 3 == 0:  # one after the other leads nowhere outside
            here = goal
    assert 2 <= np.mean(counts) <= 9 and max(counts) <= 12


def test_a_surprise_plays_again_in_a_rehearsal_and_is_another_each_time():
    events = [
        press("preset.surprise", 0.5),
        press("preset.surprise", 3.0),
        press("preset.back", 6.0),
        press("preset.surprise", 9.0),
    ]
    runs = [Seen(plan_of({"seed": seed}), 12.0, events) for seed in (3, 3, 4)]
    assert all((a == b).all() for a, b in zip(runs[0].knobs, runs[1].knobs, strict=True))
    assert (runs[0].knobs[-1] != runs[2].knobs[-1]).any()
    first, second, back, third = (runs[0].knobs[round(at * 40)] for at in (2.9, 5.9, 8.9, 12.0))
    assert (first != second).any() and (second != third).any()
    assert back == pytest.approx(first)


def test_wildness_zero_moves_nothing():
    show = Seen(plan_of({"values": {"preset.wildness": 0.0}}), 3.0, [press("preset.surprise", 0.5)])
    assert show.knobs[-1] == pytest.approx(show.knobs[0], abs=1e-6)


# Names and places


def test_presets_keep_their_numbers():
    gone = replace(NIGHT, named=np.zeros(len(TABLE), bool))
    held = put(put(PRESETS, gone), preset("new", walk__speed=2.0))
    assert [each.name for each in held] == ["night", "day", "stage", "new"]
    assert (find(held, "night"), find(held, "1"), find(held, "day"), find(held, "4")) == (None, None, 2, 4)
    assert find(put(held, NIGHT), "1") == 1
    assert find((preset("2", macro__1=1.0), DAY), "2") == 1  # the name comes before the number


@pytest.mark.parametrize(
    ("name", "is_good"),
    [
        ("night", True),
        ("Ночь 2", True),
        ("", False),
        (" a", False),
        ("a\nb", False),
        ("x" * 60, True),
        ("ü" * 31, False),
    ],
)
def test_a_name_is_short_and_printable(name, is_good):
    assert bool(name_fault(name)) != is_good
