"""Tempo from outside: a clock that is told by OSC, and the session of Ableton Link with real peers."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.control.addresses import Bind
from performer.control.hands import Hands
from performer.control.tempo import FRESH_S, WAIT_S, LinkPeer, ToldTempo
from performer.params import ParamTable, base_params
from tests.control.test_hands import Peer, free_port, state

TABLE = ParamTable(base_params())


def apart(beats):
    return (beats + 0.5) % 1.0 - 0.5


# Told by OSC


@given(bpm=st.floats(40, 220), begun_s=st.floats(0, 1), seed=st.integers(0, 1000))
def test_beats_that_come_late_are_placed_where_they_fell(bpm, begun_s, seed):
    """As Ableton Live tells them: whole beats, at ticks of a tenth of a second."""
    told, rng = ToldTempo(), np.random.default_rng(seed)
    told.told_bpm(bpm, at_s=0.0)
    tick_s, last_s = rng.uniform(0, 0.1), 0.0
    for beat in range(24):
        at_s = begun_s + beat * 60.0 / bpm
        last_s = at_s + (tick_s - at_s) % 0.1  # at the next tick
        told.told_beat(float(beat), at_s=last_s + rng.uniform(0, 0.002))
    pulse = told.pulse(now_s=last_s)
    late_s = apart(pulse.at(last_s) - (last_s - begun_s) * bpm / 60.0) * 60.0 / bpm
    assert pulse.bpm == bpm
    assert -0.11 < late_s < 1e-6  # never early; a tenth late where the beats fall in step with the ticks


def test_a_tempo_alone_has_no_phase_and_silence_ends_it():
    told = ToldTempo()
    assert told.pulse(now_s=0.0) is None
    told.told_bpm(0.0, at_s=0.0)
    told.told_bpm(1e9, at_s=0.0)
    assert told.pulse(now_s=0.0) is None
    told.told_bpm(100.0, at_s=0.0)
    assert (told.pulse(now_s=1.0).bpm, told.pulse(now_s=1.0).has_phase) == (100.0, False)
    assert told.pulse(now_s=FRESH_S + 0.1) is None


def test_beats_without_a_tempo_are_no_clock():
    told = ToldTempo()
    told.told_beat(3.0, at_s=0.0)
    told.told_beat(float("nan"), at_s=0.1)
    assert told.pulse(now_s=0.1) is None


def test_a_jump_in_the_song_and_a_new_tempo_begin_anew():
    told = ToldTempo()
    told.told_bpm(120.0, at_s=0.0)
    for beat in range(8):
        told.told_beat(beat, at_s=0.5 * beat)
    for beat in range(4):  # a locator, a quarter of a beat off
        told.told_beat(64 + beat, at_s=4.125 + 0.5 * beat)
    assert apart(told.pulse(now_s=5.625).at(5.625)) == pytest.approx(0.0, abs=1e-6)
    told.told_bpm(90.0, at_s=5.625)
    told.told_beat(68, at_s=5.625 + 60 / 90)
    assert told.pulse(now_s=6.0).bpm == 90.0
    assert apart(told.pulse(now_s=7.0).at(5.625)) == pytest.approx(0.0, abs=1e-6)


# Through the process


@pytest.fixture
def hands():
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), cues=[("1", "")],
        binds={"/live/song/get/tempo": Bind("clock.bpm"), "/live/song/get/beat": Bind("clock.beat")},
    )  # fmt: skip
    made.start()
    made.began_s = time.monotonic()
    yield made
    made.close()


def now_s(hands):
    return time.monotonic() - hands._job.epoch_s


def pulse_until(hands, until, *, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pulses = hands.pulses(now_s=now_s(hands))
        if pulses and until(pulses[0]):
            return pulses[0]
        time.sleep(0.02)
    raise AssertionError(f"never came; got {hands.pulses(now_s=now_s(hands))}")


def test_a_clock_that_is_told_by_osc_reaches_the_show(hands):
    peer = Peer(hands)
    peer.send("/live/song/get/tempo", 150.0)
    start = time.monotonic()
    for beat in range(6):
        time.sleep(max(start + 0.4 * beat - time.monotonic(), 0))
        peer.send("/live/song/get/beat", beat)
    pulse = pulse_until(hands, lambda pulse: pulse.has_phase)
    assert (pulse.source, pulse.bpm) == ("osc", 150.0)
    since_s = start - hands._job.epoch_s
    assert abs(apart(pulse.at(since_s))) < 0.05
    peer.socket.close()


def test_what_a_dead_process_said_is_no_clock(hands):
    hands._tempi.publish(np.zeros(1, hands._tempi.dtype))
    assert hands.pulses(now_s=100.0) == ()


# Ableton Link. Peers are programs of their own, in the same process group and on the same machine; multicast on the
# loopback or another interface carries them.

PEER = """
import json, sys, time
import link
peer = link.Link(float(sys.argv[1]))
time.sleep(float(sys.argv[2]))
peer.enabled = True
for line in sys.stdin:
    session, micros, now_s = peer.captureSessionState(), peer.clock().micros(), time.monotonic()
    if line.startswith("tempo"):
        session.setTempo(float(line.split()[1]), micros)
        peer.commitSessionState(session)
    print(json.dumps([now_s, peer.numPeers(), session.tempo(), session.beatAtTime(micros, 4.0)]), flush=True)
"""


FOUNDED_S = 1.7  # a session that is younger than about a second may lose against one that is begun now
JOINS = 3


class LinkProgram:
    """Another program in the session."""

    def __init__(self, bpm, *, wait_s=0.0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PEER, str(bpm), str(wait_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line=""):
        """[its monotonic time, its peers, its tempo, its beat]"""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=5)


@pytest.fixture(scope="module")
def multicast():
    """Whether programs on this machine can find each other at all."""
    pytest.importorskip("link")
    first, second = LinkProgram(120.0), LinkProgram(120.0)
    end, found = time.monotonic() + 10, False
    while not found and time.monotonic() < end:
        found = first.ask()[1] > 0 and second.ask()[1] > 0
        time.sleep(0.05)
    first.close()
    second.close()
    if not found:
        pytest.skip("no network interface here carries multicast: two Link programs do not find each other")


def joined(**more):
    """The show's state, joined to the session."""
    values = TABLE.defaults()
    for name, value in {"transport.link": 1.0, **more}.items():
        values[TABLE.row(name)] = value
    return state(values=values)


@pytest.fixture
def linked(hands, multicast):
    """A program that is there first, and whose session we have joined."""
    program = LinkProgram(101.0)
    program.ask()
    time.sleep(FOUNDED_S)
    hands.publish(joined())
    yield program
    program.close()


def test_the_sessions_beat_is_ours_within_five_milliseconds(hands, linked):
    pulse = pulse_until(hands, lambda pulse: pulse.source == "link")
    assert pulse.bpm == pytest.approx(101.0, rel=1e-4)
    time.sleep(0.5)
    off_ms = []
    for _ in range(20):
        at_s, _, bpm, beat = linked.ask()
        pulse = pulse_until(hands, lambda pulse: pulse.source == "link")
        ours = pulse.at(at_s - hands._job.epoch_s)
        off_ms.append(1e3 * ((ours - beat + 2.0) % 4.0 - 2.0) * 60.0 / bpm)  # of the bar, too
        time.sleep(0.05)
    assert np.abs(off_ms).max() < 5.0
    assert hands.status().peers == 1


def test_a_new_tempo_of_the_session_is_followed_and_ours_is_set_for_all(hands, linked):
    pulse_until(hands, lambda pulse: pulse.source == "link")
    linked.ask("tempo 133")
    pulse_until(hands, lambda pulse: pulse.bpm == pytest.approx(133.0, rel=1e-4))
    peer = Peer(hands)
    peer.send("/perf/transport/bpm", 88.0)
    end = time.monotonic() + 5
    while linked.ask()[2] != pytest.approx(88.0, rel=1e-4):
        assert time.monotonic() < end
        time.sleep(0.02)
    peer.socket.close()


def test_who_is_not_joined_follows_nobody(hands, linked):
    pulse_until(hands, lambda pulse: pulse.source == "link")
    hands.publish(state())
    end = time.monotonic() + 5
    while hands.pulses(now_s=now_s(hands)) or linked.ask()[1]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_who_comes_later_takes_over_the_tempo_of_the_show(hands, multicast):
    hands.publish(joined(**{"transport.bpm": 93.0}))
    time.sleep(WAIT_S + 0.5)
    program = LinkProgram(150.0)
    try:
        pulse_until(hands, lambda pulse: pulse.source == "link")
        assert program.ask()[2] == pytest.approx(93.0, rel=1e-4)
    finally:
        program.close()


def test_joining_never_brings_our_tempo_along(hands, linked):
    for _ in range(JOINS):
        hands.publish(joined())
        pulse = pulse_until(hands, lambda pulse: pulse.source == "link")
        assert pulse.bpm == pytest.approx(101.0, rel=1e-4)
        assert linked.ask()[2] == pytest.approx(101.0, rel=1e-4)
        hands.publish(state())
        end = time.monotonic() + 5
        while linked.ask()[1] and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(FOUNDED_S)  # alone again, it has a session anew
    assert linked.ask()[2] == pytest.approx(101.0, rel=1e-4)


def test_who_joins_sets_no_tempo_before_it_had_time_to_find_others():
    pytest.importorskip("link")
    peer = LinkPeer()
    peer.join(True)
    try:
        for now_s, expected in ((1000.0, 120.0), (1000.0 + 0.9 * WAIT_S, 120.0), (1000.0 + 1.1 * WAIT_S, 150.0)):
            peer.wait_at(150.0, now_s=now_s)
            assert peer._link.captureSessionState().tempo() == pytest.approx(expected)
        peer.join(False)
        peer.join(True)
        peer.wait_at(90.0, now_s=2000.0)
        assert peer._link.captureSessionState().tempo() == pytest.approx(150.0)
    finally:
        peer.join(False)
