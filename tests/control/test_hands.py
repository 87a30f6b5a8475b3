"""The control process, with real datagrams."""

import os
import signal
import socket
import time
import tomllib

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage

from performer.audio.features import feature_names
from performer.audio.wire import empty_record, features_dtype
from performer.control.addresses import NORM, Bind
from performer.control.hands import Hands, ShowState
from performer.exchange import SharedLatest
from performer.params import ParamTable, base_params
from performer.refusal import Refused
from tests.control.test_osc import message

TABLE = ParamTable(base_params())


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Peer:
    """A control surface: sends from a socket of its own and keeps what it is sent."""

    def __init__(self, hands: Hands) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.settimeout(0.05)
        self.target = ("127.0.0.1", hands.port)

    def send(self, address: str, *args: object) -> None:
        self.socket.sendto(message(address, *args), self.target)

    def heard(self, *, until, seconds: float = 5.0) -> dict[str, list]:
        got: dict[str, list] = {}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                parsed = OscMessage(self.socket.recv(65535))
            except TimeoutError:
                continue
            args = parsed.params
            got.setdefault(parsed.address, []).append(args[0] if len(args) == 1 else tuple(args) or None)
            if until(got):
                return got
        raise AssertionError(f"never heard; got {sorted(got)}")


@pytest.fixture
def features() -> SharedLatest:
    return SharedLatest(features_dtype(1))


@pytest.fixture
def hands(features, tmp_path):
    setlist = tmp_path / "show.toml"
    setlist.write_text('# mine\nschema = 1\n\n[osc]  # of the desk\n"/td/low" = "macro.1"\n"/gone" = "macro.2"\n')
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), features=[(features, (0,))],
        feature_names=feature_names(), voices=["mix"], cues=[("1", "egg"), ("2", "wing")],
        setlist=setlist, binds={"/td/low": Bind("macro.1"), "/td/bpm": Bind("transport.bpm", NORM)},
    )  # fmt: skip
    made.start()
    yield made
    made.close()


def events_until(hands: Hands, until, *, seconds: float = 5.0) -> list:
    events: list = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        events += hands.drain()
        if until(events):
            return events
        time.sleep(0.005)
    raise AssertionError(f"never came; got {events}")


def state(**changes) -> ShowState:
    base = {
        "values": TABLE.defaults(),
        "cue": 0,
        "beat": 1.5,
        "bpm": 120.0,
        "fps": 36.0,
        "frame_p99_ms": 30.0,
        "latency_ms": 50.0,
    }
    return ShowState(**(base | changes))


def test_levels_and_presses_arrive_with_their_source(hands, peer):
    peer.send("/perf/out/dimmer", 0.5)
    peer.send("/perf/cue/go", 1)
    peer.send("/perf/cue/goto", "wing")
    peer.send("/td/low", 0.25)
    peer.send("/td/bpm", 0.5)
    events = events_until(hands, lambda events: len(events) >= 5)
    got = {event.param: (event.value, event.text) for event in events}
    assert got == {
        "out.dimmer": (0.5, ""),
        "cue.go": (1.0, ""),
        "cue.goto": (1.0, "wing"),
        "macro.1": (0.25, ""),
        "transport.bpm": (160.0, ""),
    }
    assert {event.source for event in events} == {"osc 127.0.0.1"}


def test_junk_is_counted_and_the_show_goes_on(hands, peer):
    for junk in (b"", b"junk", b"#bundle\0", b"/perf/out/dimmer\0\0\0\0,f\0\0\x7f\xc0\0\0"):
        peer.socket.sendto(junk, peer.target)
    peer.send("/perf/out/dimmer", "loud")
    peer.send("/nobody", 1.0)
    peer.send("/perf/macro/8", 0.75)
    events = events_until(hands, bool)
    assert [(event.param, event.value) for event in events] == [("macro.8", 0.75)]
    end = time.monotonic() + 5
    while hands.status().received < 7 and time.monotonic() < end:
        time.sleep(0.02)
    status = hands.status()
    assert (status.received, status.refused, status.unknown) == (7, 5, 1)
    assert "out.dimmer wants a number" in status.refusal


def test_a_query_is_answered_with_the_current_value(hands, peer):
    values = TABLE.defaults()
    values[TABLE.row("out.dimmer")] = 0.375
    hands.publish(state(values=values))
    peer.send("/perf/out/dimmer", "?")
    got = peer.heard(until=lambda got: "/perf/out/dimmer" in got)
    assert got == {"/perf/out/dimmer": [0.375]}


def test_ping_is_answered(hands, peer):
    peer.send("/perf/sys/ping")
    assert "/perf/sys/pong" in peer.heard(until=bool)


def test_a_subscriber_gets_everything_then_features_and_state(hands, peer, features):
    record = empty_record(1)
    record["values"][0, 0, feature_names().index("bass.level")] = 0.625
    features.publish(record)
    hands.publish(state(cue=0))
    peer.send("/perf/sys/subscribe")
    wanted = {
        "/perf/audio/mix/bass/level",
        "/perf/cue/current",
        "/perf/sys/fps",
        "/perf/transport/beat",
        "/perf/macro/1",
    }
    got = peer.heard(until=lambda got: wanted <= set(got))
    assert got["/perf/audio/mix/bass/level"][-1] == 0.625
    assert set(got["/perf/cue/current"]) == {"1"}
    hands.publish(state(cue=1))
    peer.heard(until=lambda got: "wing" in got.get("/perf/cue/name", ()))
    peer.send("/perf/sys/unsubscribe")
    time.sleep(0.3)
    while True:
        try:
            peer.socket.recv(65535)
        except TimeoutError:
            break
    record["values"][0, 0, feature_names().index("bass.level")] = 0.1
    features.publish(record)
    with pytest.raises(AssertionError, match="never heard"):
        peer.heard(until=bool, seconds=0.5)


@pytest.fixture
def second(hands):
    made = Peer(hands)
    yield made
    made.socket.close()


def subscribed(peer: Peer) -> None:
    """Subscribe, and read the dump to its end."""
    peer.send("/perf/sys/subscribe")
    last = f"/perf/{TABLE.params[-1].id.replace('.', '/')}"
    peer.heard(until=lambda got: last in got)


def test_what_one_hand_moves_every_other_is_told_and_not_the_hand(hands, peer, second):
    hands.publish(state())
    subscribed(peer)
    subscribed(second)
    values = TABLE.defaults()
    for value in (0.25, 0.5):
        peer.send("/perf/macro/2", value)
        events_until(hands, bool)
        values[TABLE.row("macro.2")] = value
        hands.publish(state(values=values))
        second.heard(until=lambda got, value=value: value in got.get("/perf/macro/2", ()))
    values[TABLE.row("out.freeze")] = 1.0  # a key at the computer
    hands.publish(state(values=values))
    got = peer.heard(until=lambda got: 1 in got.get("/perf/out/freeze", ()))
    assert set(got.get("/perf/macro/2", ())) <= {0.0}  # of the beginning
    assert isinstance(got["/perf/out/freeze"][-1], int)


def test_two_hands_on_one_knob_do_not_fight(hands, peer, second):
    subscribed(second)
    for value in (0.125, 0.25):  # a program: it says more than one thing
        peer.send("/perf/macro/1", value)
    events_until(hands, lambda events: events and events[-1].value == 0.25)
    second.send("/perf/macro/1", 0.75)
    second.send("/perf/macro/3", 0.75)
    assert [(event.param, event.value) for event in events_until(hands, bool)] == [("macro.3", 0.75)]
    mine = "{}:{}".format(*peer.socket.getsockname())
    got = second.heard(until=lambda got: len(got.get("/perf/sys/lead", ())) >= 2)
    assert ("macro.1", mine) in got["/perf/sys/lead"]
    end = time.monotonic() + 5
    while not hands.status().driver.endswith("macro.3") and time.monotonic() < end:
        time.sleep(0.02)
    assert hands.status().held == 1
    second.send("/perf/sys/take", "macro.1")
    second.send("/perf/macro/1", 0.5)
    assert [(event.param, event.value) for event in events_until(hands, bool)] == [("macro.1", 0.5)]


def test_steps_start_from_what_was_just_sent(hands, peer):
    hands.publish(state())
    peer.send("/perf/macro/4", 0.5)
    for _ in range(4):
        peer.send("/perf/macro/4", "+", 0.0625)
    events_until(hands, lambda events: any(event.value == 0.75 for event in events))


def test_a_fader_that_is_wiggled_is_bound_and_saved_with_every_comment(hands, peer):
    peer.send("/perf/sys/learn", "macro.5")
    assert peer.heard(until=lambda got: "/perf/sys/learning" in got)["/perf/sys/learning"] == ["macro.5"]
    subscribed(peer)
    start = time.monotonic()
    while time.monotonic() - start < 3.5:
        peer.send("/mine/fader", 64.0 + 63.0 * np.sin(9.0 * (time.monotonic() - start)))
        time.sleep(0.02)
    (bound,) = peer.heard(until=lambda got: "/perf/sys/bound" in got)["/perf/sys/bound"]
    assert bound[:2] == ("/mine/fader", "macro.5")
    low, high = bound[2:]
    assert (1.0 <= low < 3.0) and (125.0 < high <= 127.0)
    peer.send("/mine/fader", low)
    events_until(hands, lambda events: events and events[-1].value == 0.0)
    peer.send("/mine/fader", high)
    events_until(hands, lambda events: events and events[-1].value == pytest.approx(1.0))
    peer.send("/perf/sys/save")
    got = peer.heard(until=lambda got: "/perf/sys/saved" in got)
    assert got["/perf/sys/saved"] == ["show.toml"]
    text = hands._job.setlist.read_text()
    assert text.startswith("# mine\n")
    assert "# of the desk" in text
    saved = tomllib.loads(text)["osc"]
    assert saved["/td/low"] == "macro.1"
    assert saved["/td/bpm"] == "transport.bpm/norm"
    assert saved["/mine/fader"] == {"to": "macro.5", "in": [pytest.approx(low), pytest.approx(high)]}
    peer.send("/perf/sys/unbind", "/mine/fader")
    peer.heard(until=lambda got: "/perf/sys/unbound" in got)


def test_the_first_free_input_is_learnt_where_nothing_is_named(hands, peer):
    peer.send("/perf/sys/learn")
    assert peer.heard(until=bool) == {"/perf/sys/learning": ["in.1"]}
    peer.send("/perf/sys/learn", "cancel")
    assert peer.heard(until=bool) == {"/perf/sys/learning": [""]}
    peer.send("/perf/sys/learn", "cue.go")
    peer.send("/pad", 0)
    peer.send("/pad", 1)
    got = peer.heard(until=lambda got: "/perf/sys/bound" in got)
    assert got["/perf/sys/bound"] == [("/pad", "cue.go")]


def test_what_a_silent_source_held_glides_back_to_the_cue():
    values = np.tile(TABLE.defaults(), (2, 1))
    values[1, TABLE.row("macro.1")] = 0.25
    hands = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), silence_s=0.3,
        cues=[("1", ""), ("2", "")], cue_values=values,
    )  # fmt: skip
    hands.start()
    peer = Peer(hands)
    try:
        hands.publish(state(cue=1))
        peer.send("/perf/macro/1", 1.0)
        events = events_until(hands, lambda events: events and events[-1].value < 0.9)
        told = [event.value for event in events]
        assert told[0] == 1.0
        assert told == sorted(told, reverse=True)
        peer.send("/perf/macro/1", 0.625)  # it is back: the glide ends
        events_until(hands, lambda events: events and events[-1].value == 0.625)
        time.sleep(0.1)
        assert hands.drain() == []
    finally:
        peer.socket.close()
        hands.close()


def test_a_flood_loses_nothing(hands, peer):
    """A burst of 5,000 and 6,000 a second for two seconds: all counted, the last values stand, every press is there."""
    sent = presses = 0
    datagrams = [[message(f"/perf/macro/{n}", k / 100) for n in range(1, 9)] for k in range(101)]
    for k in range(625):
        for datagram in datagrams[k % 101]:
            peer.socket.sendto(datagram, peer.target)
            sent += 1
    start = time.monotonic()
    for tick in range(120):
        for k in range(12):
            for datagram in datagrams[(tick + k) % 101]:
                peer.socket.sendto(datagram, peer.target)
                sent += 1
        for value in (1, 0):
            peer.send("/perf/cue/go", value)
            sent += 1
        presses += 1
        time.sleep(max(start + (tick + 1) / 60 - time.monotonic(), 0))
    for n in range(1, 9):
        peer.send(f"/perf/macro/{n}", n / 10)
        sent += 1
    last = {f"macro.{n}": pytest.approx(n / 10) for n in range(1, 9)}
    levels, pressed = {}, 0
    end = time.monotonic() + 5
    while (levels != last or hands.status().received < sent) and time.monotonic() < end:
        for event in hands.drain():
            if event.param == "cue.go":
                pressed += 1
            else:
                levels[event.param] = event.value
        time.sleep(0.01)
    assert hands.status().received == sent
    assert levels == last
    assert pressed == presses
    assert hands.status().dropped_presses == 0


def test_a_killed_process_is_replaced_and_loses_nothing(hands, peer):
    peer.send("/perf/macro/1", 0.5)
    events_until(hands, bool)
    os.kill(hands._process.pid, signal.SIGKILL)
    peer.send("/perf/macro/2", 0.25)  # waits in the socket, which is the parent's
    events = events_until(hands, bool)
    assert [(event.param, event.value) for event in events] == [("macro.2", 0.25)]
    assert hands.status().restarts == 1
    assert hands.news() == ["the control process died and was started again"]


def test_what_was_learnt_and_unbound_outlives_the_process(hands, peer):
    peer.send("/perf/sys/learn", "cue.go")
    peer.send("/pad", 0)
    peer.send("/pad", 1)
    peer.heard(until=lambda got: "/perf/sys/bound" in got)
    peer.send("/perf/sys/unbind", "/td/low")
    peer.heard(until=lambda got: "/perf/sys/unbound" in got)
    assert hands.edits() == [], "they are the control process's own business"
    os.kill(hands._process.pid, signal.SIGKILL)
    peer.send("/perf/sys/binds")
    got = peer.heard(until=lambda got: len(got.get("/perf/sys/bound", ())) == 2, seconds=15.0)
    assert got["/perf/sys/bound"] == [("/td/bpm", "transport.bpm", 0.0, 1.0), ("/pad", "cue.go")]
    peer.send("/pad", 1)
    assert [event.param for event in events_until(hands, bool)] == ["cue.go"]


def test_a_port_in_use_is_refused_with_a_remedy():
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        with pytest.raises(Refused, match=rf"port {port}.*--osc-port {port + 1}"):
            Hands(table=TABLE, host="127.0.0.1", port=port, epoch_s=0.0)


def test_port_zero_is_no_osc():
    hands = Hands(table=TABLE, port=0, epoch_s=0.0)
    hands.start()
    hands.publish(state())
    assert (hands.drain(), hands.status().received, hands.port) == ([], 0, 0)
    hands.close()


def test_values_survive_the_table(hands):
    """What is published is what the control process reads, in the table's order."""
    values = np.arange(len(TABLE), dtype=np.float32)
    hands.publish(state(values=values))
    assert (hands._state.read()["values"][: len(values)] == values).all()


@pytest.mark.parametrize("word", ["subscribe", "sync"])
@pytest.mark.parametrize("host", [(), ("127.0.0.1",), ("127.1.2.3",), ("0.0.0.0",)], ids=lambda host: "".join(host))
def test_it_is_never_told_itself(hands, peer, word, host):
    hands.publish(state())
    peer.send(f"/perf/sys/{word}", *host, hands.port)
    peer.send("/perf/sys/ping")
    peer.heard(until=lambda got: "/perf/sys/pong" in got)
    time.sleep(0.3)
    assert (hands.drain(), hands.status().subscribers, hands.status().refused) == ([], 0, 1)
    assert "is performer itself" in hands.status().refusal


def test_a_host_is_an_address_and_nothing_more(hands, peer):
    peer.send("/perf/sys/subscribe", "127.0.0.1 ../../etc/passwd", 9)
    peer.send("/perf/sys/ping")
    peer.heard(until=lambda got: "/perf/sys/pong" in got)
    time.sleep(0.2)
    assert (hands.status().subscribers, hands.status().refused) == (0, 1)
