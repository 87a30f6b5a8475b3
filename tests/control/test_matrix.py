"""Routes edited over real datagrams: what the show gets, what everybody is told, what is refused, what is saved."""

import os
import signal
import time
import tomllib

import numpy as np
import pytest

from performer.control.hands import Hands, ShowState
from performer.params import ParamTable, base_params
from performer.routes import (
    SPARE,
    RouteEdit,
    RouteFile,
    Span,
    names_in,
    problems,
    route_of,
    route_params,
    sources,
    spare_names,
)
from tests.control.test_hands import Peer, free_port
from tests.show.program import free_tcp_port

ROUTES = (
    ("", RouteFile("mix.bass.hit", "latent.coarse", name="kick", amount=0.9)),
    ("2", RouteFile("mix.db", "latent.fine", name="2-1", range_in=(-50.0, -10.0))),
)
NAMES = ("kick", "2-1", *spare_names(["kick", "2-1"]))
TABLE = ParamTable((*base_params(), *route_params((name, "it") for name in NAMES)))
KNOWN = sources(["mix"], {"bass.hit": Span(is_hit=True), "db": Span(-80.0, 0.0, -80.0)}, TABLE, made=["beat", "lfo.1"])
FILE = """schema = 1

[[route]]  # the drum
name = "kick"
from = "mix.bass.hit"
to = "latent.coarse"
amount = 0.9

[[cue]]
id = "1"

[[cue]]
id = "2"
[[cue.route]]
from = "mix.db"
to = "latent.fine"
in = [-50.0, -10.0]
"""


@pytest.fixture
def hands(tmp_path):
    setlist = tmp_path / "show.toml"
    setlist.write_text(FILE)
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), cues=[("1", ""), ("2", "")],
        setlist=setlist, routes=ROUTES, sources=KNOWN, http_port=free_tcp_port(),
    )  # fmt: skip
    made.start()
    yield made
    made.close()


def edit_of(hands: Hands) -> RouteEdit:
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        found = hands.edits()
        if found:
            (edit,) = found
            return edit
        time.sleep(0.005)
    raise AssertionError("no edit came")


def words(told: tuple) -> dict[str, object]:
    """`sys/route` as a mapping; a pair is under the name of its key."""
    found, left = {"name": told[0]}, list(told[1:])
    while left:
        key = left.pop(0)
        count = 2 if key in ("gate", "in", "out") else 1
        found[key] = left[0] if count == 1 else tuple(left[:2])
        del left[:count]
    return found


def test_all_routes_are_told_in_the_words_that_change_them(peer):
    peer.send("/perf/sys/routes")
    got = peer.heard(until=lambda got: len(got.get("/perf/sys/route", ())) == 2)
    first, second = (words(told) for told in got["/perf/sys/route"])
    assert first == {
        "name": "kick", "cue": "", "from": "mix.bass.hit", "to": "latent.coarse", "amount": pytest.approx(0.9),
        "gate": (0.0, 0.0), "attack": 0.0, "release": pytest.approx(0.15), "in": (0.0, 1.0), "out": (0.0, 1.0),
        "curve": "linear", "invert": 0, "mode": "add", "hold": "", "ring": 0.0,
    }  # fmt: skip
    assert (second["name"], second["cue"], second["in"]) == ("2-1", "2", (-50.0, -10.0))


def test_a_route_is_changed_and_everybody_is_told(hands, peer):
    other = Peer(hands)
    other.send("/perf/sys/subscribe", other.socket.getsockname()[1])
    peer.send(
        "/perf/sys/route/set", "kick", "amount", 0.4, "gate", 0.5, 0.25, "invert", 1.0, "curve", "exp", "release", 1,
        "ring", 2.5,
    )  # fmt: skip
    edit = edit_of(hands)
    assert edit.name == "kick" and edit.route is not None
    found = edit.route
    assert (found.amount, found.gate_on, found.gate_off, found.invert, found.curve, found.release_s, found.ring_hz) == (
        0.4, 0.5, 0.25, True, "exp", 1.0, 2.5,
    )  # fmt: skip
    assert (found.source, found.target) == ("mix.bass.hit", "latent.coarse")
    for each in (peer, other):
        got = each.heard(until=lambda got: "/perf/sys/route" in got)
        assert words(got["/perf/sys/route"][0])["curve"] == "exp"
    other.socket.close()


def test_a_route_is_added_removed_and_both_are_taken_back(hands, peer):
    peer.send("/perf/sys/route/add", "mix.db", "macro.1", "hold", "2 beats", "amount", -1)
    edit = edit_of(hands)
    assert edit.name == "new1" and edit.route is not None
    assert (edit.route.in_low, edit.route.hold_beats, edit.route.amount) == (-80.0, 2.0, -1.0)
    peer.send("/perf/sys/route/remove", "kick")
    assert edit_of(hands) == RouteEdit("kick", None)
    got = peer.heard(until=lambda got: "/perf/sys/route/removed" in got)
    assert got["/perf/sys/route/removed"] == ["kick"]
    peer.send("/perf/sys/route/undo")
    back = edit_of(hands)
    assert back == RouteEdit("kick", route_of(ROUTES[0][1], KNOWN))
    peer.send("/perf/sys/route/undo")
    assert edit_of(hands) == RouteEdit("new1", None)
    peer.send("/perf/sys/route/undo")  # there is nothing left to take back
    peer.send("/perf/sys/route/add", "beat", "macro.2")
    assert edit_of(hands).name == "new1"


@pytest.mark.parametrize(
    ("address", "args", "sentence"),
    [
        ("add", ("mix.bas.hit", "macro.1"), "did you mean 'mix.bass.hit'"),
        ("add", ("mix.db", "makro.1"), "did you mean 'macro.1'"),
        ("add", ("mix.db",), "wants a source and a target"),
        ("add", (1, 2), "wants a source and a target"),
        ("add", ("mix.db", "cue.go"), 'expected mode = "trigger"'),
        ("set", ("kik", "amount", 1.0), "did you mean 'kick'"),
        ("set", ("kick", "amont", 1.0), "did you mean 'amount'"),
        ("set", ("kick", "name", "other"), "no key"),
        ("set", ("kick", "gate", 0.5), "wants 2 values"),
        ("set", ("kick", "amount", 1e9), "expected a number"),
        ("set", ("kick", "amount", float("nan")), "not a finite number"),
        ("set", ("kick", "amount", "much"), "Expected 'float'"),
        ("set", ("kick", "curve", "{0.__class__}"), "expected one of"),
        ("set", ("kick", "hold", "beat"), "an instant"),
        ("set", ("2-1", "ring", 3.0), "strikes never"),
        ("remove", ("nobody",), "is no route"),
        ("remove", (), "is no route"),
    ],
)
def test_what_does_not_fit_is_refused_in_words_and_changes_nothing(hands, peer, address, args, sentence):
    peer.send(f"/perf/sys/route/{address}", *args)
    peer.send("/perf/sys/route/set", "2-1", "amount", 0.5)
    assert edit_of(hands).name == "2-1"
    assert hands.status().refused == 1 or time.sleep(0.1) or hands.status().refused == 1
    assert sentence in hands.status().refusal or sentence in _error(peer, hands)


def _error(peer: Peer, hands: Hands) -> str:
    """`sys/error`, which has room for whole sentences."""
    hands.publish(
        ShowState(values=TABLE.defaults(), cue=0, beat=0.0, bpm=120.0, fps=40.0, frame_p99_ms=25.0, latency_ms=0)
    )
    peer.send("/perf/sys/subscribe", peer.socket.getsockname()[1])
    return peer.heard(until=lambda got: "/perf/sys/error" in got)["/perf/sys/error"][0]


def test_as_many_routes_can_be_added_as_there_are_names(hands, peer):
    for _ in range(SPARE + 1):
        peer.send("/perf/sys/route/add", "beat", "macro.1")
    found, end = [], time.monotonic() + 5.0
    while len(found) < SPARE and time.monotonic() < end:
        found += hands.edits()
        time.sleep(0.01)
    time.sleep(0.1)
    assert [edit.name for edit in [*found, *hands.edits()]] == list(NAMES[2:])
    assert "no more routes" in hands.status().refusal


def test_a_control_process_that_starts_again_knows_what_was_changed(hands, peer):
    peer.send("/perf/sys/route/set", "kick", "amount", 0.4)
    peer.send("/perf/sys/route/remove", "2-1")
    found, end = [], time.monotonic() + 5.0
    while len(found) < 2 and time.monotonic() < end:
        found += hands.edits()
        time.sleep(0.01)
    os.kill(hands.child_pid or 0, signal.SIGKILL)
    end = time.monotonic() + 10.0
    while hands.status().restarts == 0 and time.monotonic() < end:
        time.sleep(0.05)
    peer.send("/perf/sys/routes")
    got = peer.heard(until=lambda got: "/perf/sys/route" in got, seconds=10.0)
    assert [(each["name"], each["amount"]) for each in map(words, got["/perf/sys/route"])] == [
        ("kick", pytest.approx(0.4))
    ]


def test_meters_and_what_waits_can_be_read(hands, peer):
    meters = np.zeros((len(names_in(TABLE)), 2), np.float32)
    meters[1] = 0.25, -0.5
    shown = ShowState(
        values=TABLE.defaults(), cue=0, beat=1.0, bpm=120.0, fps=40.0, frame_p99_ms=25.0, latency_ms=0.0,
        standby=1, waiting=1, wait_beats=2.5, state="freeze", meters=meters,
    )  # fmt: skip
    hands.publish(shown)
    import urllib.request

    def read(path: str) -> object:
        with urllib.request.urlopen(f"http://127.0.0.1:{hands.http_port}/perf/{path}?VALUE", timeout=5) as answer:
            import json

            return json.load(answer)["VALUE"][0]

    assert (read("meter/2-1/in"), read("meter/2-1/out"), read("meter/kick/in")) == (0.25, -0.5, 0.0)
    found = [read(f"cue/{name}") for name in ("standby", "waiting", "wait")]
    assert (found, read("sys/state")) == (["2", "2", 2.5], "freeze")


def test_what_was_changed_is_saved_and_loads_as_it_played(hands, peer, tmp_path):
    hands.publish(
        ShowState(values=TABLE.defaults(), cue=1, beat=1.0, bpm=1.0, fps=1.0, frame_p99_ms=1.0, latency_ms=0.0)
    )
    peer.send("/perf/sys/route/set", "2-1", "amount", 0.7)
    peer.send("/perf/sys/route/add", "beat", "macro.1")
    peer.send("/perf/route/kick", 0.5)
    values = TABLE.defaults()
    values[TABLE.row("route.kick")] = 0.5
    hands.publish(ShowState(values=values, cue=1, beat=1.0, bpm=1.0, fps=1.0, frame_p99_ms=1.0, latency_ms=0.0))
    time.sleep(0.1)
    peer.send("/perf/sys/save")
    peer.heard(until=lambda got: "/perf/sys/saved" in got)
    text = (tmp_path / "show.toml").read_text()
    content = tomllib.loads(text)
    assert "# the drum" in text
    assert content["cue"][1]["route"] == [{"from": "mix.db", "to": "latent.fine", "in": [-50.0, -10.0], "amount": 0.7}]
    assert content["route"][1] == {"name": "new1", "from": "beat", "to": "macro.1"}
    assert content["params"] == {"route.kick": 0.5}
    assert problems(route_of(RouteFile("beat", "macro.1"), KNOWN), known=KNOWN, table=TABLE) == []
