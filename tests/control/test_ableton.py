"""Ableton Live: a script that behaves as AbletonOSC does, and a show that follows it."""

import socket
import threading
import time

import pytest

from performer.control.ableton import LOST_S, Live, LiveKnob, LiveSpec
from performer.control.addresses import Bind
from performer.control.hands import Hands
from performer.control.osc import OscMessageIn, messages_of
from performer.params import ParamTable, base_params
from performer.refusal import Refused
from tests.control.test_hands import events_until, free_port, state
from tests.control.test_osc import message

TABLE = ParamTable(base_params())
SCENES = ("Intro", "Drop", "", "Outro")
KNOB = (1, 0, 3)


class FakeLive:
    """AbletonOSC: looks every 100 ms, answers the host that asked last on a fixed port, forgets all at a restart."""

    TICK_S = 0.1

    def __init__(self, reply_port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self._reply_port = reply_port
        self._client = ""
        self.listening: set[tuple] = set()
        self.asked: list[str] = []
        self.bpm, self._began_s, self._beat = 117.0, time.monotonic(), -1
        self.locators: list[tuple[str, float]] = []
        self._song, self._song_s, self._is_playing = 0.0, 0.0, False
        self._todo: list = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self.socket.close()

    def do(self, what) -> None:
        """Something that happens in Live, in its own thread at its next tick."""
        self._todo.append(what)

    def restart(self) -> None:
        self.do(self._restart)

    def set_tempo(self, bpm: float) -> None:
        def change() -> None:
            self.bpm = bpm
            self._told(("song", "tempo"), "/live/song/get/tempo", bpm)

        self.do(change)

    def launch(self, scene: int, *, after_ticks: int = 3) -> None:
        """It blinks until the next bar."""
        self.do(lambda: self._triggered(scene, True))
        for _ in range(after_ticks):
            self.do(lambda: None)
        self.do(lambda: self._triggered(scene, False))

    def turn(self, value: float) -> None:
        def change() -> None:
            self._told(("parameter", *KNOB), "/live/device/get/parameter/value", *KNOB, value)
            self._told(("parameter", *KNOB), "/live/device/get/parameter/value_string", *KNOB, f"{value} dB")

        self.do(change)

    def play(self, *, at: float) -> None:
        """From a place in the song; once it plays, a jump."""

        def change() -> None:
            self._song, self._song_s = at, time.monotonic()
            if not self._is_playing:
                self._is_playing = True
                self._told(("song", "current_song_time"), "/live/song/get/current_song_time", at)
                self._told(("song", "is_playing"), "/live/song/get/is_playing", True)

        self.do(change)

    def stop(self) -> None:
        def change() -> None:
            self._is_playing = False
            self._told(("song", "is_playing"), "/live/song/get/is_playing", False)

        self.do(change)

    def _restart(self) -> None:
        self.listening.clear()
        self._send("/live/startup")

    def _triggered(self, scene: int, is_triggered: bool) -> None:
        self._told(("scene", scene), "/live/scene/get/is_triggered", scene, is_triggered)

    def _send(self, address: str, *args) -> None:
        if self._client:
            self.socket.sendto(message(address, *args), (self._client, self._reply_port))

    def _told(self, key: tuple, address: str, *args) -> None:
        if key in self.listening:
            self._send(address, *args)

    def _run(self) -> None:
        while not self._is_over.wait(self.TICK_S):
            while True:
                try:
                    datagram, (self._client, _) = self.socket.recvfrom(65535)
                except BlockingIOError:
                    break
                for each in messages_of(datagram):
                    self._answer(each)
            if self._todo:
                self._todo.pop(0)()
            if self._is_playing:
                at = self._song + (time.monotonic() - self._song_s) * self.bpm / 60
                self._told(("song", "current_song_time"), "/live/song/get/current_song_time", at)
            beat = int((time.monotonic() - self._began_s) * self.bpm / 60)
            if beat != self._beat:
                self._beat = beat
                self._told(("song", "beat"), "/live/song/get/beat", beat)

    def _answer(self, each: OscMessageIn) -> None:
        self.asked.append(each.address)
        match each.address.split("/")[2:], each.args:
            case ["test"], _:
                self._send("/live/test", "ok")
            case ["song", "start_listen", "tempo"], _:
                self.listening.add(("song", "tempo"))
                self._send("/live/song/get/tempo", self.bpm)
            case ["song", "start_listen", "beat"], _:
                self.listening.add(("song", "beat"))
            case ["song", "start_listen", ("is_playing" | "current_song_time") as what], _:
                self.listening.add(("song", what))
                told = self._is_playing if what == "is_playing" else self._song
                self._send(f"/live/song/get/{what}", told)
            case ["song", "get", "cue_points"], _:
                self._send("/live/song/get/cue_points", *(part for pair in self.locators for part in pair))
            case ["song", "get", "num_scenes"], _:
                self._send("/live/song/get/num_scenes", len(SCENES))
            case ["scene", "get", "name"], (scene,):
                self._send("/live/scene/get/name", scene, SCENES[scene])
            case ["scene", "start_listen", "is_triggered"], (scene,):
                self.listening.add(("scene", scene))
                self._send("/live/scene/get/is_triggered", scene, False)
            case ["device", "start_listen", "parameter", "value"], knob:
                self.listening.add(("parameter", *knob))
                self._send("/live/device/get/parameter/value", *knob, 0.25)
            case _:
                self._send("/live/error", f"Unknown OSC address: {each.address}")


@pytest.fixture
def live():
    made = FakeLive(free_port())
    yield made
    made.close()


@pytest.fixture
def hands(live):
    made = Hands(
        table=TABLE, port=0, epoch_s=time.monotonic(), cues=[("1", "Intro"), ("2", "Drop"), ("3", "Outro")],
        live=LiveSpec(
            port=live.port, reply_port=live._reply_port, knobs=(LiveKnob(*KNOB, Bind("macro.4", (0.0, 0.5))),)
        ),
    )  # fmt: skip
    made.publish(state())
    made.start()
    yield made
    made.close()


def until(what, *, seconds=15.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_scene_begins_its_cue_when_it_begins_and_not_when_it_is_launched(hands, live):
    until(lambda: hands.status().live.endswith("4 scenes"))
    until(lambda: ("scene", 1) in live.listening)
    time.sleep(0.5)  # names
    hands.drain()
    live.launch(1, after_ticks=6)
    time.sleep(0.4)
    assert [event for event in hands.drain() if event.param == "cue.goto"] == []
    events = events_until(hands, lambda events: any(event.param == "cue.goto" for event in events))
    assert [event.text for event in events if event.param == "cue.goto"] == ["Drop"]
    live.launch(2)  # it has no name
    live.launch(3)
    events = events_until(hands, lambda events: any(event.text == "Outro" for event in events))
    assert [event.text for event in events if event.param == "cue.goto"] == ["Outro"]


def test_the_tempo_and_the_beat_are_lives(hands, live):
    def pulse():
        pulses = hands.pulses(now_s=time.monotonic() - hands._job.epoch_s)
        return pulses[0] if pulses and pulses[0].has_phase else None

    until(pulse)
    assert (pulse().source, pulse().bpm) == ("osc", 117.0)
    time.sleep(3.0)  # beats are told at ticks; the earliest count
    at_s = live._began_s - hands._job.epoch_s
    off_s = ((pulse().at(at_s) + 0.5) % 1 - 0.5) * 60 / 117
    assert -0.12 < off_s < 0.02
    live.set_tempo(124.0)
    until(lambda: pulse() and pulse().bpm == 124.0)
    assert "124.0 bpm" in hands.status().live


def test_a_parameter_of_a_device_moves_a_knob(hands, live):
    events = events_until(hands, lambda events: any(event.param == "macro.4" for event in events), seconds=10.0)
    assert events[-1].value == pytest.approx(0.5)  # what it is at is told at once
    live.turn(0.5)
    events_until(hands, lambda events: any(event.value == 1.0 for event in events))


def test_a_live_that_is_started_again_is_listened_to_again(hands, live):
    until(lambda: ("song", "tempo") in live.listening and ("scene", 3) in live.listening)
    live.restart()
    until(lambda: not live.listening)
    until(lambda: {("song", "tempo"), ("song", "beat"), ("scene", 3), ("parameter", *KNOB)} <= live.listening)


def test_nobody_there_is_asked_and_asked_and_lost_after_a_while():
    sent: list[bytes] = []
    nothing = {"begin_cue": print, "fire": print, "set_knob": print, "told_bpm": print, "told_beat": print}
    live = Live(LiveSpec(), send=sent.append, **nothing)
    for now_s in range(10):
        live.step(float(now_s))
    assert [messages_of(each)[0].address for each in sent] == ["/live/test"] * 5
    assert live.text == "no answer from 127.0.0.1"
    live.receive(OscMessageIn("/live/test", ("ok",)), now_s=10.0)
    assert "/live/song/start_listen/tempo" in [messages_of(each)[0].address for each in sent]
    live.step(10.0 + LOST_S + 0.1)
    assert live.text == "no answer from 127.0.0.1"


@pytest.mark.parametrize(
    "told",
    [
        ("/live/song/get/tempo", ()),
        ("/live/song/get/tempo", ("fast",)),
        ("/live/song/get/num_scenes", (-5,)),
        ("/live/song/get/num_scenes", (10**9,)),
        ("/live/scene/get/name", (7,)),
        ("/live/scene/get/is_triggered", (99, False)),
        ("/live/device/get/parameter/value", (0, 0, 0, "loud")),
        ("/live/error", ("Unknown OSC address",)),
        ("/live", ()),
    ],
)
def test_answers_that_make_no_sense_do_nothing(told):
    sent: list[bytes] = []

    def never(*args):
        raise AssertionError(args)

    live = Live(
        LiveSpec(), send=sent.append, begin_cue=never, fire=never, set_knob=never, told_bpm=never, told_beat=never
    )
    live.receive(OscMessageIn(*told), now_s=0.0)
    assert len(sent) < 2000


def test_two_programs_cannot_hear_lives_answers():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"UDP port {port}, where Live's answers arrive.*\[ableton\]"):
            Hands(table=TABLE, port=0, epoch_s=0.0, live=LiveSpec(reply_port=port))
