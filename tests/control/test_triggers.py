"""Triggers that somebody presses: OSC by real datagrams, MIDI by real bytes, Live by what it tells."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.control.ableton import Live, LiveSpec, Playhead
from performer.control.addresses import Bind, Dispatcher
from performer.control.hands import Hands
from performer.control.midi import Words
from performer.control.osc import Impulse, OscError, OscMessageIn
from performer.params import ParamTable, base_params
from performer.triggers import Press, TriggerFile, presses_of, triggers_of
from tests.control.test_ableton import FakeLive, until
from tests.control.test_hands import events_until, free_port, state

TABLE = ParamTable(base_params())


class Cue:
    def __init__(self, cue_id: str, *files: TriggerFile) -> None:
        def never(where: str, sentence: str) -> None:
            raise AssertionError((where, sentence))

        self.id, self.triggers = cue_id, triggers_of(files, "cue", never, has_live=True, music_s=None)


CUES = (
    Cue("intro", TriggerFile(osc="/intro"), TriggerFile(midi="note 36"), TriggerFile(midi="pc 3")),
    Cue("drop", TriggerFile(osc="/desk/drop"), TriggerFile(midi="cc 20/10"), TriggerFile(midi="note 36", channel=10)),
    Cue("end", TriggerFile(midi="cc 30"), TriggerFile(midi="cc14 7/8192")),
)


@pytest.fixture
def hands():
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), epoch_s=time.monotonic(),
        cues=[(cue.id, "") for cue in CUES], triggers=presses_of(CUES), binds={"/desk/drop": Bind("macro.1")},
    )  # fmt: skip
    made.publish(state())
    made.start()
    yield made
    made.close()


def gone(events):
    return [(event.text, event.trigger) for event in events if event.param == "cue.goto"]


def test_an_address_begins_its_cue_once_a_press(hands, peer):
    peer.send("/intro", 1)
    peer.send("/intro", 0)
    peer.send("/desk/drop", 0.5)  # what it is bound to moves as well
    peer.send("/intro")
    peer.send("/intro", None)
    peer.send("/perf/cue/goto", "end")
    events = events_until(hands, lambda events: "end" in [event.text for event in events])
    assert gone(events) == [("intro", "osc"), ("drop", "osc"), ("intro", "osc"), ("intro", "osc"), ("end", "")]
    assert [(event.param, event.value) for event in events if event.param == "macro.1"] == [("macro.1", 0.5)]
    assert {event.source for event in events} == {"osc 127.0.0.1"}
    assert (hands.status().unknown, hands.status().refused) == (0, 0)


def test_text_is_refused_and_patterns_reach_triggers(hands, peer):
    peer.send("/intro", "loud")
    peer.send("/{intro,outro}", 1)
    events = events_until(hands, bool)
    assert gone(events) == [("intro", "osc")]
    until(lambda: "/intro wants a number, not 'loud'" in hands.status().refusal, seconds=5.0)


def test_what_is_disarmed_is_told_to_surfaces(hands, peer):
    peer.send("/perf/sys/subscribe")
    peer.heard(until=lambda got: "" in got.get("/perf/cue/disarmed", ()))
    hands.publish(state(disarmed=(0, 2)))
    peer.heard(until=lambda got: "intro\nend" in got.get("/perf/cue/disarmed", ()))
    peer.send("/perf/cue/disarm", "drop")
    peer.send("/perf/cue/arm", "intro")
    events = events_until(hands, lambda events: len(events) >= 2)
    assert [(event.param, event.text) for event in events] == [("cue.disarm", "drop"), ("cue.arm", "intro")]


def board():
    """(a dispatcher with the triggers of CUES, what it has fired)."""
    fired = []
    made = Dispatcher(
        TABLE,
        set_level=lambda row, value: None,
        press=lambda row, text: fired.append((TABLE.params[row].id, text)),
        current=lambda row: 0.0,
        triggers=presses_of(CUES),
        fire=lambda cue, kind: fired.append((cue, kind)),
    )
    return made, fired


@given(values=st.lists(st.one_of(st.floats(-2.0, 2.0), st.just(Impulse.IMPULSE), st.none()), max_size=30))
def test_a_press_is_a_value_that_rises_above_zero_or_no_value_at_all(values):
    made, fired = board()
    rises, before = 0, 0.0
    for number, value in enumerate(values):
        assert made.apply(OscMessageIn("/intro", (value,)), at_s=number / 1000, source="a")
        if isinstance(value, float):
            rises += before <= 0 < value
            before = value
        else:
            rises += 1
    assert fired == [("intro", "osc")] * rises


MIDI = [
    ([(0x90, 36, 100), (0x80, 36, 0)], ["intro"]),  # any channel
    ([(0x99, 36, 1), (0x99, 36, 0), (0x99, 36, 1)], ["intro", "drop", "intro", "drop"]),  # channel 10 is both
    ([(0x90, 37, 100)], []),
    ([(0xC0, 2)], ["intro"]),  # controllers count programs from 1
    ([(0xC0, 3)], []),
    ([(0xB4, 20, 9), (0xB4, 20, 10), (0xB4, 20, 11), (0xB4, 20, 10)], ["drop", "drop"]),  # a value, each time it comes
    ([(0xB0, 20, 10), (0xB0, 20, 10)], ["drop"]),
    ([(0xB0, 30, 1), (0xB0, 30, 127), (0xB0, 30, 0), (0xB0, 30, 5)], ["end", "end"]),
    ([(0xB0, 7, 64), (0xB0, 39, 0)] * 4, ["end"]),
]


@pytest.mark.parametrize(("sent", "expected"), MIDI)
def test_midi_begins_cues(sent, expected):
    (made, fired), words = board(), Words()
    for number, each in enumerate(sent):
        word = words.of(each, at_s=number / 1000)
        if word is not None:
            made.apply(word, at_s=number / 1000, source="midi box")
    assert fired == [(cue, "midi") for cue in expected]


def test_a_program_that_a_cue_waits_for_is_not_its_number_too():
    made, _ = board()
    assert made.awaits(OscMessageIn("/midi/1/program", (3,)))
    assert not made.awaits(OscMessageIn("/midi/1/program", (2,)))
    assert not made.awaits(OscMessageIn("/midi/1/cc/99", (2,)))


def test_two_addresses_of_one_cue_are_two_buttons():
    made, fired = board()
    for address in ("/midi/1/note/36", "/midi/2/note/36", "/intro"):
        made.apply(OscMessageIn(address, (1,)), at_s=0.0, source="a")
    assert len(fired) == 3
    with pytest.raises(OscError, match="/intro wants a number"):
        made.apply(OscMessageIn("/intro", ("?!",)), at_s=0.0, source="a")


# Ableton Live


@pytest.fixture
def live():
    made = FakeLive(free_port())
    made.locators = [("verse", 8.0), ("chorus", 10.0), ("verse", 100.0)]
    yield made
    made.close()


def test_scenes_and_locators_of_a_live_begin_cues(live):
    hands = Hands(
        table=TABLE, port=0, epoch_s=time.monotonic(), cues=[("1", "Intro"), ("2", "Drop"), ("3", "")],
        live=LiveSpec(
            port=live.port, reply_port=live._reply_port, scenes=False, scene_cues={"Drop": ("3",)},
            locator_cues={"verse": ("1", "2")},
        ),
    )  # fmt: skip
    hands.start()
    try:
        until(lambda: {("scene", 3), ("song", "current_song_time")} <= live.listening)
        time.sleep(0.5)  # names
        live.launch(0)  # it has the name of a cue, which does not count
        live.launch(1)
        events = events_until(hands, lambda events: bool(gone(events)))
        assert gone(events) == [("3", "scene")]
        live.play(at=7.5)
        events = events_until(hands, lambda events: len(gone(events)) >= 2)
        assert gone(events) == [("1", "locator"), ("2", "locator")]
        time.sleep(1.0)
        live.play(at=7.0)  # it loops
        events = events_until(hands, lambda events: len(gone(events)) >= 2)
        assert gone(events) == [("1", "locator"), ("2", "locator")]
        live.stop()
        time.sleep(0.3)
        live.play(at=100.0)  # it begins to play right there
        events = events_until(hands, lambda events: len(gone(events)) >= 2)
        assert gone(events) == [("1", "locator"), ("2", "locator")]
    finally:
        hands.close()


def listening(locators):
    """(a conversation that has been told of these locators, what it has fired)."""
    fired = []
    made = Live(
        LiveSpec(locator_cues={name: (name,) for name, _ in locators}),
        send=lambda datagram: None,
        begin_cue=lambda name: None,
        fire=lambda cue, kind: fired.append(cue),
        set_knob=lambda bind, value: None,
        told_bpm=lambda bpm: None,
        told_beat=lambda beat: None,
    )
    made.receive(OscMessageIn("/live/song/get/tempo", (120.0,)), now_s=0.0)
    points = tuple(part for pair in locators for part in pair)
    made.receive(OscMessageIn("/live/song/get/cue_points", points), now_s=0.0)
    return made, fired


def told(made, what, value, now_s):
    made.receive(OscMessageIn(f"/live/song/get/{what}", (value,)), now_s=now_s)


@given(
    places=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=6, unique=True),
    start=st.floats(0.0, 10.0),
    waits=st.lists(st.floats(0.02, 0.2), min_size=1, max_size=100),
)
def test_each_locator_on_the_way_fires_exactly_once(places, start, waits):
    names = {str(number): place for number, place in enumerate(places)}
    made, fired = listening(list(names.items()))
    told(made, "current_song_time", start, 1.0)
    told(made, "is_playing", True, 2.0)
    beat, now_s = start, 2.0
    for wait in waits:
        beat, now_s = beat + 2.0 * wait, now_s + wait
        told(made, "current_song_time", beat, now_s)
    passed = sorted((place, name) for name, place in names.items() if start <= place <= beat)
    assert fired == [name for _, name in passed]


def test_only_a_song_that_plays_passes_locators():
    made, fired = listening([("a", 8.0), ("b", 32.0)])
    for beat in (0.0, 7.9, 8.1, 40.0, 31.9, 8.0):  # the marker is moved
        told(made, "current_song_time", beat, beat)
    assert fired == []
    told(made, "is_playing", True, 60.0)
    assert fired == ["a"]  # it begins on it
    told(made, "current_song_time", 8.2, 60.1)
    told(made, "current_song_time", 31.0, 60.2)  # a jump: what lies in between was not played
    told(made, "current_song_time", 32.5, 60.95)
    assert fired == ["a", "b"]
    told(made, "current_song_time", 8.1, 61.05)  # back, to just before the locator
    assert fired == ["a", "b", "a"]
    told(made, "is_playing", False, 61.1)
    told(made, "current_song_time", 32.0, 62.0)
    told(made, "is_playing", True, 90.0)
    told(made, "is_playing", True, 90.1)
    assert fired == ["a", "b", "a", "b"]


def test_a_song_that_moves_before_it_says_that_it_plays_has_begun_where_it_stood():
    made, fired = listening([("a", 8.0)])
    told(made, "current_song_time", 8.0, 1.0)
    told(made, "current_song_time", 8.1, 30.0)
    told(made, "is_playing", True, 30.01)
    assert fired == ["a"]
    made, fired = listening([("a", 8.0)])
    told(made, "current_song_time", 8.0, 1.0)
    told(made, "current_song_time", 8.1, 30.0)  # by hand
    told(made, "is_playing", True, 40.0)
    assert fired == []


@pytest.mark.parametrize("points", [("a",), ("a", "b"), (1, 2, 3), (None, True), ()])
def test_locators_that_make_no_sense_are_none(points):
    made, fired = listening([("a", 1.0)])
    made.receive(OscMessageIn("/live/song/get/cue_points", points), now_s=0.0)
    told(made, "current_song_time", 0.0, 1.0)
    told(made, "is_playing", True, 2.0)
    told(made, "current_song_time", 3.0, 3.5)
    assert fired == []


def test_a_playhead_that_was_told_nothing_has_passed_nothing():
    playhead = Playhead()
    assert playhead.played(True, at_s=0.0) is None
    assert playhead.moved(5.0, at_s=0.1, beats_hz=2.0) is None
    assert playhead.moved(5.2, at_s=0.2, beats_hz=2.0) == (5.0, 5.2)


def test_presses_lie_by_address_in_the_order_of_the_cues():
    found = presses_of(CUES)
    assert found["/intro"] == (Press("intro", "osc"),)
    assert found["/midi/10/note/36"] == (Press("intro", "midi"), Press("drop", "midi"))
    assert found["/midi/16/cc/20"] == (Press("drop", "midi", 10),)
    assert len(found) == 2 + 16 * 5
