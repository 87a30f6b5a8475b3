"""MIDI: what bytes say, faders that wait for their knobs, clocks that tremble, and a real controller on a real server."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.control.addresses import Bind
from performer.control.hands import Hands
from performer.control.midi import PAIRS, MidiPorts, Pickup, Words, bytes_of
from performer.control.tempo import FEWEST_TICKS, TICKS, TickClock
from performer.params import ParamTable, base_params
from performer.triggers import Press
from tests.control.test_hands import Peer, events_until, free_port, state
from tests.rig import jack

TABLE = ParamTable(base_params())


# Words


@pytest.mark.parametrize(
    ("message", "address", "value"),
    [
        ((0xB0, 21, 64), "/midi/1/cc/21", 64),
        ((0xBF, 127, 0), "/midi/16/cc/127", 0),
        ((0x90, 36, 100), "/midi/1/note/36", 100),
        ((0x90, 36, 0), "/midi/1/note/36", 0),
        ((0x81, 36, 64), "/midi/2/note/36", 0),
        ((0xC0, 6), "/midi/1/program", 7),
        ((0xD0, 90), "/midi/1/pressure", 90),
        ((0xE0, 0, 64), "/midi/1/bend", 8192),
    ],
)
def test_bytes_are_addresses(message, address, value):
    word = Words().of(message, at_s=0.0)
    assert (word.address, word.args) == (address, (value,))


@given(st.lists(st.integers(0, 255), max_size=4))
def test_any_bytes_are_a_word_or_nothing(message):
    word = Words().of(tuple(message), at_s=0.0)
    assert word is None or word.address.startswith("/midi/")


def test_two_control_changes_that_always_come_together_are_one_of_14_bits():
    words, heard = Words(), []
    for step in range(6):
        for message in ((0xB0, 7, step), (0xB0, 39, 5)):
            word = words.of(message, at_s=step * 0.02)
            heard.append((word.address, word.args[0]) if word else None)
    assert heard[2 * PAIRS - 1] == ("/midi/1/cc14/7", (PAIRS - 1 << 7) + 5)
    assert heard[-2:] == [None, ("/midi/1/cc14/7", (5 << 7) + 5)]


def test_two_knobs_of_their_own_stay_two():
    words = Words()
    for step in range(6):
        first = words.of((0xB0, 7, step), at_s=step)
        second = words.of((0xB0, 39, step), at_s=step + 0.5)
        assert (first.address, second.address) == ("/midi/1/cc/7", "/midi/1/cc/39")


@pytest.mark.parametrize(
    ("address", "told", "messages"),
    [
        ("/midi/1/cc/21", 63.6, [(0xB0, 21, 64)]),
        ("/midi/3/note/36", 200.0, [(0x92, 36, 127)]),
        ("/midi/1/cc14/7", 645.0, [(0xB0, 7, 5), (0xB0, 39, 5)]),
        ("/midi/1/program", 3.0, []),
        ("/1/fader", 3.0, []),
    ],
)
def test_a_value_is_shown_where_it_came_from(address, told, messages):
    assert list(bytes_of(address, told)) == messages


# Soft take-over


def test_a_fader_waits_until_it_passes_its_knob():
    pickup = Pickup()
    assert [pickup.passes("a", part, knob=0.5) for part in (0.0, 0.2, 0.4)] == [False, False, False]
    assert pickup.passes("a", 0.6, knob=0.5)  # passed
    assert pickup.passes("a", 0.9, knob=0.6)
    assert pickup.passes("a", 0.1, knob=0.9)  # a fast hand
    assert not pickup.passes("a", 0.12, knob=0.7)  # a cue has moved the knob meanwhile
    assert pickup.passes("a", 0.69, knob=0.7)


# MIDI clock


def ticks(bpm, beats, jitter_s, seed=0):
    """Times of the ticks, late by chance and never out of order (as the research's probe makes them)."""
    rng = np.random.default_rng(seed)
    true_s = np.arange(int(beats * TICKS)) * 60.0 / bpm / TICKS
    return np.maximum.accumulate(true_s + np.abs(rng.normal(0, jitter_s, len(true_s)))) + 1.0


@pytest.mark.parametrize(("jitter_s", "most_bpm"), [(0.0005, 0.05), (0.002, 0.1), (0.005, 0.3)])
@pytest.mark.parametrize("bpm", [84.0, 120.0, 168.0])
def test_a_clock_that_trembles_tells_the_tempo_and_the_beat(jitter_s, most_bpm, bpm):
    errors, off_s = [], []
    for seed in range(4):
        clock = TickClock()
        clock.start()
        for count, at_s in enumerate(ticks(bpm, 40, jitter_s, seed)):
            clock.tick(at_s)
            if count > 100:
                pulse = clock.pulse(now_s=at_s)
                errors.append(pulse.bpm - bpm)
                off_s.append((pulse.at(at_s) - (at_s - 1.0) * bpm / 60.0) * 60.0 / bpm)
    # The bound is of the mean size of the error; no single reading is far off either.
    assert np.sqrt(np.mean(np.square(errors))) < most_bpm
    assert np.abs(errors).max() < 4 * most_bpm
    assert np.abs(off_s).max() < 2 * jitter_s + 0.001


def test_another_tempo_is_found_within_two_beats():
    clock = TickClock()
    clock.start()
    for at_s in ticks(120.0, 8, 0.001):
        clock.tick(at_s)
    first_s = 1.0 + 8 * 0.5
    for at_s in first_s + np.arange(2 * TICKS) * 60.0 / 170.0 / TICKS:
        clock.tick(at_s)
    assert clock.pulse(now_s=at_s).bpm == pytest.approx(170.0, abs=0.5)


def test_the_beat_is_counted_from_start_and_from_a_song_position():
    clock = TickClock()
    for at_s in ticks(120.0, 4, 0.0):
        clock.tick(at_s)
    assert not clock.pulse(now_s=at_s).has_phase  # it ran before we came
    clock.start()
    for count in range(FEWEST_TICKS + 1):
        clock.tick(10.0 + count * 0.5 / TICKS)
    assert clock.pulse(now_s=10.5).at(10.0) == pytest.approx(0.0, abs=1e-6)
    clock.at_position(16)
    for count in range(FEWEST_TICKS + 1):
        clock.tick(20.0 + count * 0.5 / TICKS)
    assert clock.pulse(now_s=20.5).at(20.0) == pytest.approx(4.0, abs=1e-6)


def test_a_clock_that_stops_is_none():
    clock = TickClock()
    assert clock.pulse(now_s=0.0) is None
    for at_s in ticks(120.0, 4, 0.0):
        clock.tick(at_s)
    assert clock.pulse(now_s=at_s + 1.0) is None


# A real server, a real controller


@pytest.fixture(scope="module")
def server():
    if why := jack.why_not():
        pytest.skip(why)
    with jack.JackServer() as made:
        yield made


@pytest.fixture
def box(server):
    made = jack.Box()
    yield made
    made.pull_out()


@pytest.fixture
def hands(server, box):
    binds = {
        "/midi/1/cc/21": Bind("macro.1", (0.0, 127.0)),
        "/midi/1/cc/40": Bind("out.freeze"),
        "/midi/1/note/36": Bind("cue.go"),
    }
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(), binds=binds,
        cues=[("intro", ""), ("drop", ""), ("end", "")],
        triggers={"/midi/1/program": (Press("end", "midi", 1),), "/midi/1/note/40": (Press("intro", "midi"),)},
    )  # fmt: skip
    made.start()
    until(made, "box")
    yield made
    made.close()


def until(hands, name, *, there=True, seconds=15.0):
    end = time.monotonic() + seconds
    while (name in hands.status().midi) is not there:
        assert time.monotonic() < end, hands.status().midi
        time.sleep(0.02)


def test_a_controller_moves_presses_and_calls_cues(hands, box):
    box.send(0xB0, 21, 0)  # where the knob is
    box.send(0xB0, 21, 127)
    box.send(0xB0, 40, 127)
    box.send(0x90, 36, 100)
    box.send(0x80, 36, 0)
    box.send(0xC0, 1)
    events = events_until(hands, lambda events: len(events) >= 4)
    assert {(event.param, event.value, event.text) for event in events} >= {
        ("macro.1", 1.0, ""),
        ("out.freeze", 1.0, ""),
        ("cue.go", 1.0, ""),
        ("cue.goto", 1.0, "drop"),
    }
    assert [event.param for event in events].count("cue.go") == 1


def test_a_controller_triggers_cues(hands, box):
    box.send(0x90, 40, 100)
    box.send(0x80, 40, 0)
    box.send(0xC0, 0)  # the first program, which a cue waits for, and is not the first cue
    box.send(0xC0, 1)
    events = events_until(hands, lambda events: len(events) >= 3)
    assert [(event.param, event.text, event.trigger) for event in events] == [
        ("cue.goto", "intro", "midi"),
        ("cue.goto", "end", "midi"),
        ("cue.goto", "drop", ""),
    ]


def test_a_fader_that_is_elsewhere_waits(hands, box):
    values = TABLE.defaults()
    values[TABLE.row("macro.1")] = 0.5
    hands.publish(state(values=values))
    time.sleep(0.1)
    for value in (10, 20, 30):
        box.send(0xB0, 21, value)
    time.sleep(0.2)
    assert hands.drain() == []
    box.send(0xB0, 21, 70)
    events = events_until(hands, bool)
    assert [(event.param, event.value) for event in events] == [("macro.1", pytest.approx(70 / 127, abs=1e-6))]


def test_a_knob_that_others_move_is_shown_on_the_controller(hands, box):
    hands.publish(state())
    time.sleep(0.2)
    box.shown.clear()
    values = TABLE.defaults()
    values[TABLE.row("macro.1")], values[TABLE.row("out.freeze")] = 1.0, 1.0
    hands.publish(state(values=values))
    end = time.monotonic() + 5
    while not ([0xB0, 21, 127] in box.shown and [0xB0, 40, 127] in box.shown):
        assert time.monotonic() < end, box.shown
        time.sleep(0.02)


def test_a_fader_is_learnt_as_osc_is(hands, box):
    peer = Peer(hands)
    peer.send("/perf/sys/learn", "macro.2")
    peer.heard(until=lambda got: "/perf/sys/learning" in got)
    start = time.monotonic()
    while time.monotonic() - start < 3.3:
        box.send(0xB2, 5, int(63.5 + 63.5 * np.sin(8 * (time.monotonic() - start))))
        time.sleep(0.02)
    ((address, param, low, high),) = peer.heard(until=lambda got: "/perf/sys/bound" in got)["/perf/sys/bound"]
    assert (address, param) == ("/midi/3/cc/5", "macro.2")
    assert low < 4 and high > 123
    peer.socket.close()


def test_a_clock_leads_the_tempo(hands, box):
    box.send(0xFA)
    start = time.monotonic()
    for count in range(2 * TICKS):
        while time.monotonic() < start + count * 60.0 / 132.0 / TICKS:
            time.sleep(0.0005)
        box.send(0xF8)
    (pulse,) = hands.pulses(now_s=time.monotonic() - hands._job.epoch_s)
    assert pulse.source == "midi" and pulse.has_phase
    assert pulse.bpm == pytest.approx(132.0, rel=0.02)
    off = pulse.at(start - hands._job.epoch_s)
    assert abs((off + 0.5) % 1 - 0.5) * 60 / 132 < 0.02


def test_controllers_come_and_go(hands, box):
    second = jack.Box("second")
    until(hands, "second")
    values = TABLE.defaults()
    hands.publish(state(values=values))
    second.send(0xB0, 21, 0)
    second.send(0xB0, 21, 64)
    events_until(hands, lambda events: events and events[-1].value > 0.4)
    second.pull_out()
    until(hands, "second", there=False)
    box.send(0x90, 36, 100)
    events_until(hands, lambda events: any(event.param == "cue.go" for event in events))


def test_a_machine_without_midi_has_none(monkeypatch):
    import importlib

    def nothing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", nothing)
    ports = MidiPorts(received=lambda *_: None, now_s=lambda: 0.0)
    assert "performer[midi]" in ports.problem
    ports.look()
    ports.close()


def test_a_machine_without_a_system_of_midi_says_so_and_prints_nothing(capfd, monkeypatch):
    pytest.importorskip("rtmidi")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody-runs-this")
    ports = MidiPorts(received=lambda *_: None, now_s=lambda: 0.0)
    ports.look()
    assert ports.names == [] or ports.problem == ""  # a machine with ALSA's sequencer has MIDI all the same
    ports.close()
    assert capfd.readouterr().err == ""
