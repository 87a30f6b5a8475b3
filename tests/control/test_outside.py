"""Programs that others wrote, beside a running control process: liblo's commands, osc.js, and a peer of Ableton Link."""

import json
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from performer.control.hands import Hands
from performer.control.tempo import LinkPeer
from performer.params import ParamTable, base_params
from tests.control.test_hands import events_until, free_port, state, subscribed
from tests.rig import liblo, node
from tests.rig.liblo import OscDump, oscsend
from tests.rig.node import NodeClient, packet

TABLE = ParamTable(base_params())


@pytest.fixture
def hands():
    made = Hands(table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), cues=[("1", "egg")])
    made.start()
    yield made
    made.close()


def status_until(hands, received):
    """The counts, once so many messages have arrived."""
    end = time.monotonic() + 5
    while (status := hands.status()).received < received:
        assert time.monotonic() < end, status
        time.sleep(0.01)
    return status


def at(**moved):
    """The show's state, with some knobs moved."""
    values = TABLE.defaults()
    for name, value in moved.items():
        values[TABLE.row(name.replace("_", "."))] = value
    return state(values=values)


# liblo

commands = pytest.mark.skipif(bool(liblo.why_not()), reason=liblo.why_not())


@commands
@pytest.mark.parametrize(
    ("tag", "values", "expected"),
    [("f", (0.25,), 0.25), ("i", (1,), 1.0), ("d", (0.625,), 0.625), ("h", (1,), 1.0), ("T", (), 1.0),
     ("ff", (0.5, 0.125), 0.125)],
)  # fmt: skip
def test_oscsend_moves_a_knob_with_every_kind_of_number(hands, tag, values, expected):
    oscsend(hands.port, "/perf/macro/1", tag, *values)
    events = events_until(hands, bool)
    assert [(event.param, event.value, event.source) for event in events] == [("macro.1", expected, "osc 127.0.0.1")]


@commands
def test_oscsend_lets_go_of_a_switch_with_false(hands):
    for tag, expected in (("T", 1.0), ("F", 0.0)):
        oscsend(hands.port, "/perf/out/freeze", tag)
        assert [event.value for event in events_until(hands, bool)] == [expected]


@commands
@pytest.mark.parametrize(
    "press", [[("i", 1), ("i", 0)], [("f", 1.0)], [("T",), ("F",)], [("N",)], [("I",)], [()]], ids=str
)
def test_oscsend_presses_once(hands, press):
    for types_and_value in press:
        oscsend(hands.port, "/perf/cue/go", *types_and_value)
    oscsend(hands.port, "/perf/cue/goto", "s", "egg")
    events = events_until(hands, lambda events: any(event.param == "cue.goto" for event in events))
    assert [(event.param, event.text) for event in events] == [("cue.go", ""), ("cue.goto", "egg")]


@commands
def test_many_oscsends_after_each_other_all_take_effect(hands):
    """Each is a program of its own, from another port: they are one hand, and none takes the knob from the other."""
    knobs = [f"in.{number}" for number in range(1, 33)]
    sent = {name: number / 64 for number, name in enumerate(knobs, 1)}
    for name, value in sent.items():
        oscsend(hands.port, f"/perf/{name.replace('.', '/')}", "f", value)
    got = {event.param: event.value for event in events_until(hands, lambda events: len(events) >= len(sent))}
    assert got == sent
    presses = 0
    for step in range(1, 25):
        oscsend(hands.port, "/perf/macro/1", "f", step / 32)
        oscsend(hands.port, "/perf/cue/go", "i", 1)
        events = events_until(hands, lambda events: {event.param for event in events} == {"macro.1", "cue.go"})
        assert [event.value for event in events if event.param == "macro.1"][-1] == step / 32
        presses += sum(event.param == "cue.go" for event in events)
    assert presses == 24
    status = status_until(hands, 32 + 48)
    assert (status.received, status.held, status.refused, status.unknown) == (32 + 48, 0, 0, 0)


@commands
def test_oscdump_prints_what_another_hand_moves(hands, peer):
    hands.publish(at())
    subscribed(peer)  # another program of this machine, which is a subscriber itself
    with OscDump(free_port()) as dump:
        oscsend(hands.port, "/perf/sys/subscribe", "i", dump.port)
        dump.printed(until=lambda printed: ("/perf/macro/1", "f", "0.000000") in printed)
        peer.send("/perf/macro/1", 0.5)
        events_until(hands, bool)
        hands.publish(at(macro_1=0.5, out_freeze=1.0))
        told = [("/perf/macro/1", "f", "0.500000"), ("/perf/out/freeze", "i", "1")]
        dump.printed(until=lambda printed: set(told) <= set(printed))
        me = "{}:{}".format(*peer.socket.getsockname())
        dump.printed(until=lambda printed: ("/perf/sys/lead", "ss", f'"macro.1" "{me}"') in printed)
        oscsend(hands.port, "/perf/sys/unsubscribe", "i", dump.port)
        end = time.monotonic() + 5
        while hands.status().subscribers > 1:
            assert time.monotonic() < end
            time.sleep(0.02)
        hands.publish(at(macro_1=0.75))
        peer.send("/perf/sys/ping")
        peer.heard(until=lambda got: "/perf/sys/pong" in got)
        assert ("/perf/macro/1", "f", "0.750000") not in dump.printed(until=bool)


# osc.js

needs_node = pytest.mark.skipif(bool(node.why_not()), reason=node.why_not())


@pytest.fixture
def client(hands):
    with NodeClient(hands.port) as made:
        yield made


@needs_node
def test_osc_js_sets_levels_and_presses(hands, client):
    client.send("/perf/macro/1", ("f", 0.25))
    client.send("/perf/macro/2", ("d", 0.625))
    client.send("/perf/macro/3", ("i", 1))
    client.send("/perf/macro/4", ("h", {"high": 0, "low": 1, "unsigned": False}))
    client.send("/perf/macro/5", ("T", True))
    client.send("/perf/macro/[67]", ("f", 0.5))
    client.send("/perf/transport/bpm/norm", ("f", 0.5))
    client.send("/perf/macro/8", ("s", "a"), ("f", 0.125))
    client.send("/perf/cue/goto", ("s", "egg"))
    client.send("/perf/cue/go", ("I", None))
    client.send("/perf/cue/go", ("i", 1))
    client.send("/perf/cue/go", ("i", 0))
    events = events_until(hands, lambda events: Counter(event.param for event in events)["cue.go"] == 2)
    got = {event.param: (event.value, event.text) for event in events}
    assert got == {
        "macro.1": (0.25, ""), "macro.2": (0.625, ""), "macro.3": (1.0, ""), "macro.4": (1.0, ""), "macro.5": (1.0, ""),
        "macro.6": (0.5, ""), "macro.7": (0.5, ""), "macro.8": (0.125, ""), "transport.bpm": (160.0, ""),
        "cue.goto": (1.0, "egg"), "cue.go": (1.0, ""),
    }  # fmt: skip
    assert hands.status().refused == 0


@needs_node
def test_a_bundle_of_osc_js_for_later_takes_effect_at_once(hands, client):
    later_s = 60.0  # longer than anybody here waits
    inner = {"timeTag": 2 * later_s, "packets": [packet("/perf/macro/3", ("f", 0.75)), packet("/perf/cue/go")]}
    one, two = packet("/perf/macro/1", ("f", 0.25)), packet("/perf/macro/2", ("f", 0.5))
    client.send_bundle(one, two, inner, in_s=later_s)
    events = events_until(hands, lambda events: len(events) >= 4)
    assert {event.param: event.value for event in events} == {
        "macro.1": 0.25,
        "macro.2": 0.5,
        "macro.3": 0.75,
        "cue.go": 1.0,
    }


@needs_node
def test_osc_js_is_told_what_another_moves_and_not_what_it_moves_itself(hands, client, peer):
    hands.publish(at())
    subscribed(peer)
    client.send("/perf/sys/subscribe")
    last = f"/perf/{TABLE.params[-1].id.replace('.', '/')}"
    dump = client.heard(until=lambda got: last in got)
    assert dump["/perf/transport/bpm"] == [("f", 120.0)]
    assert dump["/perf/latent/cutoff"] == [("i", 64)]
    assert dump["/perf/cue/current"][0] == ("s", "1")
    client.send("/perf/macro/1", ("f", 0.25))
    events_until(hands, bool)
    hands.publish(at(macro_1=0.25))
    peer.heard(until=lambda got: 0.25 in got.get("/perf/macro/1", ()))
    peer.send("/perf/macro/2", 0.5)
    events_until(hands, bool)
    hands.publish(at(macro_1=0.25, macro_2=0.5, out_freeze=1.0))
    lead = [("s", "macro.2"), ("s", "{}:{}".format(*peer.socket.getsockname()))]
    told = client.heard(
        until=lambda got: {"/perf/macro/2", "/perf/out/freeze"} <= set(got) and lead in got.get("/perf/sys/lead", ())
    )
    assert told["/perf/macro/2"] == [("f", 0.5)]
    assert told["/perf/out/freeze"] == [("i", 1)]
    assert "/perf/macro/1" not in told
    client.send("/perf/macro/2", ("s", "?"))
    assert client.heard(until=lambda got: "/perf/macro/2" in got)["/perf/macro/2"] == [("f", 0.5)]


# Ableton Link, by another binding

PEER = """
import asyncio, json, sys, time
import aalink
async def main():
    peer = aalink.Link(float(sys.argv[1]))
    peer.quantum = 4.0
    peer.enabled = True
    for line in sys.stdin:
        if line.startswith("tempo"):
            peer.tempo = float(line.split()[1])
        print(json.dumps([time.monotonic(), peer.num_peers, peer.tempo, peer.beat]), flush=True)
asyncio.run(main())
"""
BPM, OUR_BPM = 101.0, 150.0
JOINS = 20
FOUNDED_S = 1.7  # a session that is younger than about a second may lose against one that is begun now
STEP_S = 1 / 30  # of the control process's loop


class Aalink:
    """A program in the session that has Link from aalink."""

    def __init__(self, bpm):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PEER, str(bpm)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line=""):
        """[its monotonic time, its peers, its tempo, its beat]"""
        told, tells = self.process.stdin, self.process.stdout
        assert told is not None and tells is not None
        told.write(line + "\n")
        told.flush()
        return json.loads(tells.readline())

    def close(self):
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=5)


@pytest.fixture
def session():
    """Two programs that are in a session already; with two of them, it lives on when we leave."""
    pytest.importorskip("link")
    pytest.importorskip("aalink")
    programs = Aalink(BPM), Aalink(BPM)
    end, found = time.monotonic() + 10, False
    while not found and time.monotonic() < end:
        found = [program.ask()[1] for program in programs] == [1, 1]
        time.sleep(0.02)
    if found:
        time.sleep(FOUNDED_S)
        yield programs
    for program in programs:
        program.close()
    if not found:
        pytest.skip("no network interface here carries multicast: two Link programs do not find each other")


def joined(link, bpm):
    """Join as the control process does, with a tempo of its own in the show; the session's beat."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        now_s = time.monotonic()
        link.join(True)
        link.wait_at(bpm, now_s=now_s)
        pulse = link.pulse(now_s=now_s)
        if pulse is not None:
            return pulse
        time.sleep(STEP_S)
    raise AssertionError("never found the others")


def test_we_join_aalinks_session_twenty_times_in_time_and_never_bring_our_tempo_along(session):
    """A program that is started anew each time, and joins at once: so it is where a setlist asks for Link."""
    first, _ = session
    off_ms, tempi = [], []
    for _ in range(JOINS):
        ours = LinkPeer()
        tempi.append(joined(ours, OUR_BPM).bpm)
        for _ in range(5):
            at_s, _, bpm, beat = first.ask()
            pulse = ours.pulse(now_s=time.monotonic())
            assert pulse is not None
            off_ms.append(1e3 * ((pulse.at(at_s) - beat + 2.0) % 4.0 - 2.0) * 60.0 / bpm)  # of the bar, too
        tempi += [program.ask()[2] for program in session]
        ours.join(False)
        end = time.monotonic() + 5
        while [program.ask()[1] for program in session] != [1, 1]:
            assert time.monotonic() < end, "we never left"
            time.sleep(0.01)
    assert np.abs(off_ms).max() < 5.0
    assert tempi == pytest.approx([BPM] * len(tempi), rel=1e-4)
    ours = LinkPeer()
    joined(ours, OUR_BPM)
    ours.set_bpm(88.0)  # somebody asked for it: it is everybody's
    end = time.monotonic() + 5
    while [program.ask()[2] for program in session] != pytest.approx([88.0, 88.0], rel=1e-4):
        assert time.monotonic() < end
        time.sleep(0.01)
    first.ask("tempo 133")
    while (pulse := ours.pulse(now_s=time.monotonic())) is None or pulse.bpm != pytest.approx(133.0, rel=1e-4):
        assert time.monotonic() < end
        time.sleep(0.01)
    ours.join(False)
