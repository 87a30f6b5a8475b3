"""Presets, undo and redo over real datagrams: what the show gets, what everybody is told, what is refused, what is saved."""

import math
import os
import signal
import time
import tomllib

import numpy as np
import pytest

from performer.audio.features import feature_names, hit_kinds
from performer.choreography.lfo import lfo_params
from performer.choreography.motion import bend_params, motion_params
from performer.choreography.plan import Plan
from performer.choreography.score import Cue, Length
from performer.control.hands import Hands, ShowState
from performer.flow import ControlEvent, Tick
from performer.params import Controls, ParamTable, base_params, reduce
from performer.presets import Preset
from performer.routes import RouteEdit, RouteFile, Span, route_params, sources, spare_names
from tests.choreography.test_plan import QUIET, anatomy
from tests.control.test_hands import Peer, events_until, free_port

NAMES = ("kick", *spare_names(["kick"]))
TABLE = ParamTable((*base_params(), *route_params((name, "it") for name in NAMES)))
ROUTES = (("", RouteFile("mix.bass.hit", "latent.coarse", name="kick", amount=0.9)),)
KNOWN = sources(["mix"], {"bass.hit": Span(is_hit=True)}, TABLE, made=["beat"])
FILE = """# mine
schema = 1

[preset.night]  # dark
latent.noise = 0.25    # hardly any
[preset.day]
"latent.fine" = 1.5

[[cue]]
id = "1"  # the first
"""


def preset(name: str, **values: float) -> Preset:
    named, all_ = np.zeros(len(TABLE), bool), TABLE.defaults()
    for key, value in values.items():
        row = TABLE.row(key.replace("__", "."))
        named[row], all_[row] = True, value
    return Preset(name, named, all_)


PRESETS = (preset("night", latent__noise=0.25), preset("day", latent__fine=1.5))


@pytest.fixture
def hands(tmp_path):
    setlist = tmp_path / "show.toml"
    setlist.write_text(FILE)
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), cues=[("1", "egg"), ("2", "wing")],
        setlist=setlist, routes=ROUTES, sources=KNOWN, presets=PRESETS,
    )  # fmt: skip
    made.start()
    yield made
    made.close()


def publish(hands: Hands, *, begun: int = 0, number: int = 0, disarmed=(), **values: float) -> None:
    """Tell where the knobs stand, and let that arrive."""
    knobs = TABLE.defaults()
    for key, value in values.items():
        knobs[TABLE.row(key.replace("__", "."))] = value
    hands.publish(
        ShowState(
            values=knobs,
            cue=0,
            beat=0.0,
            bpm=120.0,
            fps=40.0,
            frame_p99_ms=25.0,
            latency_ms=0.0,
            begun=begun,
            preset=number,
            disarmed=disarmed,
        )
    )
    time.sleep(0.1)


def edit_of(hands: Hands) -> RouteEdit | Preset:
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        if found := hands.edits():
            (edit,) = found
            return edit
        time.sleep(0.005)
    raise AssertionError("no edit came")


def named(edit: RouteEdit | Preset) -> dict[str, float]:
    assert isinstance(edit, Preset)
    return {TABLE.params[row].id: pytest.approx(float(edit.values[row])) for row in np.flatnonzero(edit.named)}


def told(peer: Peer, address: str) -> list:
    return peer.heard(until=lambda got: address in got)[address]


def refused(hands: Hands, peer: Peer) -> str:
    end = time.monotonic() + 5.0
    while not hands.status().refused and time.monotonic() < end:
        time.sleep(0.01)
    return hands.status().refusal


# Presets


def test_presets_are_listed_and_asked_for(hands, peer):
    peer.send("/perf/sys/presets")
    got = peer.heard(until=lambda got: len(got.get("/perf/sys/preset", ())) == 2)
    assert got["/perf/sys/preset"] == [("night", 1.0), ("day", 2.0)]
    for word in ("routes", "presets", "routes"):  # all at once: none takes another's place
        peer.send(f"/perf/sys/{word}")
    got = peer.heard(until=lambda got: "/perf/sys/route" in got and len(got.get("/perf/sys/preset", ())) == 2)
    peer.send("/perf/preset/load", "night")
    peer.send("/perf/preset/load", 2)
    peer.send("/perf/preset/1")
    peer.send("/perf/preset/surprise", 1)
    peer.send("/perf/preset/a", "day")
    peer.send("/perf/preset/b", 1)
    peer.send("/perf/preset/morph", 0.5)
    events = events_until(hands, lambda events: len(events) >= 7)
    assert {(event.param, event.value, event.text) for event in events} == {
        ("preset.load", 1.0, "night"), ("preset.load", 1.0, "2"), ("preset.1", 1.0, ""), ("preset.surprise", 1.0, ""),
        ("preset.a", 2.0, ""), ("preset.b", 1.0, ""), ("preset.morph", 0.5, ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "args", "sentence"),
    [
        ("preset/load", ("nigt",), "'nigt' is no preset (did you mean 'night'?); expected one of: night, day"),
        ("preset/load", (3,), "'3' is no preset"),
        ("preset/9", (1,), "'9' is no preset"),
        ("preset/a", ("dya",), "'dya' is no preset (did you mean 'day'?)"),
        ("sys/preset/save", (), "''; expected a name"),
        ("sys/preset/save", (5,), "5; expected a name"),
        ("sys/preset/save", ("a\nb",), "expected a name of 60 letters at most"),
        ("sys/preset/save", ("still",), "nothing stands elsewhere than the cue has it"),
        ("sys/preset/remove", ("nobody",), "'nobody' is no preset"),
        ("sys/undo", (), "nothing was done that could be taken back"),
        ("sys/redo", (), "nothing was done that was taken back"),
        ("sys/route/undo", (), "no route was changed that could be taken back"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(hands, peer, address, args, sentence):
    publish(hands)
    peer.send(f"/perf/{address}", *args)
    assert sentence in refused(hands, peer)
    assert (hands.drain(), hands.edits()) == ([], [])


def test_the_look_that_is_seen_is_saved_with_every_comment(hands, peer, tmp_path):
    publish(hands)
    for name, value in (("latent/noise", 2.0), ("macro/3", 0.5), ("transport/bpm", 140.0), ("out/dimmer", 0.5)):
        peer.send(f"/perf/{name}", value)
    events_until(hands, lambda events: len(events) >= 4)
    publish(  # the look has moved more than the hand, and the ear what belongs to the hand
        hands, latent__noise=2.0, macro__3=0.5, macro__4=0.9, transport__bpm=140.0, out__dimmer=0.5, noise__seed=7.0,
    )  # fmt: skip
    other = Peer(hands)
    other.send("/perf/sys/subscribe", other.socket.getsockname()[1])
    peer.send("/perf/sys/preset/save", "mine")
    wanted = {"latent.noise": 2.0, "macro.3": 0.5, "noise.seed": 7.0}
    assert named(edit_of(hands)) == wanted
    got = peer.heard(until=lambda got: "/perf/sys/saved" in got)
    assert got["/perf/sys/preset"] == [("mine", 3.0)]
    assert told(other, "/perf/sys/preset") == [("mine", 3.0)]
    other.socket.close()
    text = (tmp_path / "show.toml").read_text()
    before, after = FILE.split("[[cue]]")
    assert text.startswith(before + "[preset.mine]\n") and text.endswith("\n\n[[cue]]" + after)
    assert tomllib.loads(text)["preset"] == {
        "night": {"latent": {"noise": 0.25}}, "day": {"latent.fine": 1.5}, "mine": wanted,
    }  # fmt: skip


def test_a_preset_is_saved_over_removed_and_both_are_taken_back(hands, peer, tmp_path):
    path = tmp_path / "show.toml"
    publish(hands, latent__noise=3.0, latent__fine=-1.0)
    peer.send("/perf/sys/preset/save", "night")
    assert named(edit_of(hands)) == {"latent.noise": 3.0, "latent.fine": -1.0}
    told(peer, "/perf/sys/saved")
    assert "# hardly any" in path.read_text() and "# dark" in path.read_text()
    assert tomllib.loads(path.read_text())["preset"]["night"] == {"latent": {"noise": 3}, "latent.fine": -1}
    peer.send("/perf/sys/preset/remove", "day")
    gone = edit_of(hands)
    assert isinstance(gone, Preset) and (gone.name, gone.is_there) == ("day", False)
    got = peer.heard(until=lambda got: "/perf/sys/saved" in got)
    assert got["/perf/sys/preset/removed"] == ["day"]
    assert tomllib.loads(path.read_text())["preset"].keys() == {"night"}
    peer.send("/perf/sys/undo")
    assert named(edit_of(hands)) == {"latent.fine": 1.5}
    got = peer.heard(until=lambda got: "/perf/sys/saved" in got)
    assert (got["/perf/sys/preset"], got["/perf/sys/undone"]) == ([("day", 2.0)], ["preset day"])
    peer.send("/perf/sys/undo")
    assert named(edit_of(hands)) == {"latent.noise": 0.25}
    told(peer, "/perf/sys/saved")
    assert tomllib.loads(path.read_text())["preset"] == {
        "night": {"latent": {"noise": 0.25}},
        "day": {"latent.fine": 1.5},
    }
    peer.send("/perf/sys/redo")
    peer.send("/perf/sys/redo")
    got = peer.heard(until=lambda got: len(got.get("/perf/sys/redone", ())) == 2)
    assert got["/perf/sys/redone"] == ["preset night", "preset day"]


def test_many_saved_at_once_are_all_written(hands, peer, tmp_path):
    publish(hands, latent__noise=3.0)
    for number in range(8):
        peer.send("/perf/sys/preset/save", f"p{number}")
    end = time.monotonic() + 10.0
    while len(tomllib.loads((tmp_path / "show.toml").read_text())["preset"]) < 10:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_control_process_that_starts_again_knows_the_presets(hands, peer):
    publish(hands, latent__noise=3.0)
    peer.send("/perf/sys/preset/save", "mine")
    edit_of(hands)
    peer.send("/perf/sys/preset/remove", "night")
    edit_of(hands)
    os.kill(hands.child_pid or 0, signal.SIGKILL)
    end = time.monotonic() + 10.0
    while hands.status().restarts == 0 and time.monotonic() < end:
        time.sleep(0.05)
    with pytest.raises(AssertionError):  # what was told before
        peer.heard(until=lambda got: False, seconds=0.3)
    peer.send("/perf/sys/presets")
    got = peer.heard(until=lambda got: len(got.get("/perf/sys/preset", ())) == 2, seconds=10.0)
    assert got["/perf/sys/preset"] == [("day", 2.0), ("mine", 3.0)]


def test_who_subscribes_is_told_which_preset_was_glided_to(hands, peer):
    publish(hands, number=2)
    peer.send("/perf/sys/subscribe")
    assert peer.heard(until=lambda got: "/perf/preset/current" in got)["/perf/preset/current"][0] == "day"
    publish(hands, number=0)
    peer.heard(until=lambda got: "" in got.get("/perf/preset/current", ()))


# Undo and redo

TABLE_OF_PLAN = ParamTable((*base_params(), *motion_params(), *lfo_params(), *bend_params()))


def _cue() -> Cue:
    values = TABLE_OF_PLAN.defaults()
    values[TABLE_OF_PLAN.row("preset.time")] = 0.4
    return Cue(id="1", values=values, named=np.zeros(len(values), bool), fade=Length(0.0))


CUE = _cue()


def preset_of_plan(noise: float) -> Preset:
    named, values = np.zeros(len(TABLE_OF_PLAN), bool), TABLE_OF_PLAN.defaults()
    named[TABLE_OF_PLAN.row("latent.noise")], values[TABLE_OF_PLAN.row("latent.noise")] = True, noise
    return Preset("night", named, values)


class Show:
    """What hands hold, as the show has it."""

    def __init__(self, hands: Hands) -> None:
        self.hands, self.controls, self.presses = hands, Controls.none(TABLE), []

    def until(self, count: int) -> list[ControlEvent]:
        events = events_until(self.hands, lambda events: len(events) >= count)
        self.controls = reduce(self.controls, events, table=TABLE)
        return events

    def hand(self, name: str) -> tuple[float, bool]:
        """(what was set, whether a hand holds it)."""
        row = TABLE.row(name)
        return float(self.controls.values[row]), math.isfinite(self.controls.set_s[row])


def moved(peer: Peer, show: Show, name: str, *values: float) -> None:
    for value in values:
        peer.send(f"/perf/{name.replace('.', '/')}", value)
        show.until(1)


def test_a_move_of_a_fader_is_one_step_and_the_hand_lets_go(hands, peer):
    publish(hands)
    show = Show(hands)
    moved(peer, show, "latent.noise", 1.5, 1.75, 2.0)
    assert show.hand("latent.noise") == (2.0, True)
    peer.send("/perf/sys/undo")
    show.until(1)
    assert not show.hand("latent.noise")[1]  # the cue has it again, or what it wears
    assert told(peer, "/perf/sys/undone") == ["latent.noise"]
    peer.send("/perf/sys/redo")
    show.until(1)
    assert show.hand("latent.noise") == (2.0, True)
    assert told(peer, "/perf/sys/redone") == ["latent.noise"]
    peer.send("/perf/sys/undo")
    show.until(1)
    assert not show.hand("latent.noise")[1]


def test_two_gestures_are_two_steps_and_go_back_to_when_they_were_made(hands, peer):
    publish(hands)
    show = Show(hands)
    moved(peer, show, "latent.noise", 1.5)
    first_s = show.controls.set_s[TABLE.row("latent.noise")]
    publish(hands, latent__noise=1.5)
    time.sleep(1.1)
    moved(peer, show, "latent.noise", 2.0, 2.5)
    peer.send("/perf/sys/undo")
    show.until(1)
    assert show.hand("latent.noise") == (1.5, True)
    assert show.controls.set_s[TABLE.row("latent.noise")] == first_s  # below what was glided to since
    peer.send("/perf/sys/undo")
    show.until(1)
    assert not show.hand("latent.noise")[1]


def test_two_sources_are_two_steps_and_a_repeated_value_is_none(hands, peer):
    publish(hands)
    show, other = Show(hands), Peer(hands)
    moved(peer, show, "latent.noise", 1.5)
    moved(other, show, "latent.fine", 1.0, 1.5)
    moved(peer, show, "latent.noise", 1.5)  # a stream
    other.send("/perf/latent/middle", 0.0)  # where it is
    show.until(1)
    for wanted in ("latent.fine", "latent.noise"):
        peer.send("/perf/sys/undo")
        show.until(1)
        assert told(peer, "/perf/sys/undone") == [wanted]
    peer.send("/perf/latent/noise", 1.5)  # the stream goes on: it moves nothing, and does not do it again
    peer.send("/perf/latent/coarse", 1.0)
    assert [event.param for event in show.until(1)] == ["latent.coarse"]
    other.socket.close()


def test_who_moved_it_is_told_that_it_was_taken_back(hands, peer):
    publish(hands)
    peer.send("/perf/sys/subscribe")
    peer.heard(until=lambda got: f"/perf/{TABLE.params[-1].id.replace('.', '/')}" in got)
    show = Show(hands)
    moved(peer, show, "latent.noise", 2.0)
    publish(hands, latent__noise=2.0)
    peer.send("/perf/sys/undo")
    show.until(1)
    publish(hands)
    assert told(peer, "/perf/latent/noise")[-1] == 1.0


def test_presets_and_surprises_are_taken_back_in_turn_with_knobs_and_routes(hands, peer):
    publish(hands)
    show = Show(hands)
    moved(peer, show, "latent.noise", 2.0)
    peer.send("/perf/preset/load", "day")
    show.until(1)
    peer.send("/perf/sys/route/set", "kick", "amount", 0.25)
    edit_of(hands)
    peer.send("/perf/preset/surprise")
    show.until(1)
    pressed = []
    for _ in range(4):
        peer.send("/perf/sys/undo")
        pressed.append(edit_of(hands).name if len(pressed) == 1 else show.until(1)[0].param)
    assert pressed == ["preset.back", "kick", "preset.back", "latent.noise"]
    got = peer.heard(until=lambda got: len(got.get("/perf/sys/undone", ())) == 4)
    assert got["/perf/sys/undone"] == ["surprise", "route kick", "preset day", "latent.noise"]
    again = []
    for _ in range(4):
        peer.send("/perf/sys/redo")
        again.append(edit_of(hands).name if len(again) == 2 else show.until(1)[0].param)
    assert again == ["latent.noise", "preset.again", "kick", "preset.again"]
    peer.send("/perf/sys/route/undo")  # of routes alone
    assert edit_of(hands).name == "kick"
    peer.send("/perf/preset/back")  # of presets alone: the same history
    assert show.until(1)[0].param == "preset.back"
    peer.send("/perf/preset/again")
    assert show.until(1)[0].param == "preset.again"
    peer.send("/perf/sys/undo")
    assert show.until(1)[0].param == "preset.back"
    assert told(peer, "/perf/sys/undone")[-1:] != ["latent.noise"]


def test_a_cue_that_was_disarmed_is_armed_again(hands, peer):
    publish(hands)
    peer.send("/perf/cue/disarm", "wing")
    peer.send("/perf/cue/arm", "egg")  # it is
    events = events_until(hands, lambda events: len(events) >= 2)
    assert [(event.param, event.text) for event in events] == [("cue.disarm", "2"), ("cue.arm", "egg")]
    publish(hands, disarmed=[1])
    peer.send("/perf/sys/undo")
    (event,) = events_until(hands, bool)
    assert (event.param, event.text) == ("cue.arm", "2")
    assert told(peer, "/perf/sys/undone") == ["cue 2 disarmed"]
    peer.send("/perf/sys/redo")
    (event,) = events_until(hands, bool)
    assert (event.param, event.text) == ("cue.disarm", "2")


def test_the_tempo_go_and_what_makes_it_dark_are_never_taken_back(hands, peer):
    publish(hands)
    for name, value in (
        ("transport/bpm", 150.0),
        ("out/blackout", 1),
        ("out/dimmer", 0.5),
        ("in/1", 0.5),
        ("cue/go", 1),
    ):
        peer.send(f"/perf/{name}", value)
    events_until(hands, lambda events: len(events) >= 5)
    peer.send("/perf/sys/undo")
    assert "nothing was done" in refused(hands, peer)


def test_another_cue_ends_what_belonged_to_the_one_before(hands, peer):
    publish(hands)
    show = Show(hands)
    moved(peer, show, "latent.noise", 2.0)
    moved(peer, show, "macro.1", 0.5)
    peer.send("/perf/preset/load", "day")
    show.until(1)
    time.sleep(0.2)
    publish(hands, begun=1, macro__1=0.5)
    peer.send("/perf/sys/undo")
    show.until(1)
    assert told(peer, "/perf/sys/undone") == ["macro.1"]
    peer.send("/perf/sys/undo")
    assert "nothing was done" in refused(hands, peer)


def test_no_more_than_so_many_steps_are_kept(hands, peer):
    publish(hands)
    for number in range(70):
        peer.send("/perf/sys/route/set", "kick", "amount", number / 100)
    for _ in range(64):
        peer.send("/perf/sys/undo")
    found, end = [], time.monotonic() + 10.0
    while len(found) < 134 and time.monotonic() < end:
        found += hands.edits()
        time.sleep(0.005)
    assert found[-1].route.amount == pytest.approx(0.05)
    peer.send("/perf/sys/undo")
    assert "nothing was done" in refused(hands, peer)


def test_what_is_taken_back_in_any_order_leaves_the_look_as_it_was(hands, peer):
    """With a real plan behind it: knob, preset over it, knob over that; then all three back."""
    plan = Plan(
        table=TABLE_OF_PLAN, cues=[CUE], anatomies=(anatomy(),), voices=("mix", "drums"), feature_names=feature_names(),
        hit_kinds=hit_kinds(), presets=(preset_of_plan(0.25),),
    )  # fmt: skip
    made = Hands(
        table=TABLE_OF_PLAN, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), presets=plan.presets,
        cues=[("1", "")],
    )  # fmt: skip
    made.start()
    hand = Peer(made)
    try:
        memory, controls, frame = plan.enter(0, at_s=0.0, beat=0.0), Controls.none(TABLE_OF_PLAN), 0
        row, seen = TABLE_OF_PLAN.row("latent.noise"), []

        def play(wanted: float, *, least_s: float = 0.6, most_s: float = 6.0) -> float:
            nonlocal memory, controls, frame
            begun = time.monotonic()
            while time.monotonic() < begun + most_s:
                if time.monotonic() > begun + least_s and seen[-1] == pytest.approx(wanted):
                    break
                now_s = time.monotonic() - made._job.epoch_s
                controls = reduce(controls, made.drain(), table=TABLE_OF_PLAN)
                tick = Tick(frame, now_s + 0.02, 0.02, 0.0, now_s)
                memory, params, _ = plan.step(memory, QUIET, (), controls, tick)
                made.publish(
                    ShowState(
                        values=params.knobs, cue=0, beat=0.0, bpm=120.0, fps=50.0, frame_p99_ms=20.0, latency_ms=0.0
                    )
                )
                frame += 1
                seen.append(float(params.knobs[row]))
                time.sleep(0.02)
            return seen[-1]

        assert play(1.0) == 1.0
        for address, args, wanted in (
            ("latent/noise", (2.0,), 2.0), ("preset/load", ("night",), 0.25), ("latent/noise", (3.0,), 3.0),
            ("sys/undo", (), 0.25), ("sys/undo", (), 2.0), ("sys/undo", (), 1.0),
            ("sys/redo", (), 2.0), ("sys/redo", (), 0.25), ("sys/redo", (), 3.0),
        ):  # fmt: skip
            hand.send(f"/perf/{address}", *args)
            assert play(wanted) == pytest.approx(wanted), address
    finally:
        hand.socket.close()
        made.close()
