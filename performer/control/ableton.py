"""Ableton Live by way of AbletonOSC: its tempo and beat, its scenes and locators as cues, its devices' parameters as knobs.

AbletonOSC (a remote script, MIT) hears on UDP port 11000, and answers to port 11001 of the machine that asked last; it looks
ten times a second. It forgets who listens when Live or the script is started again, and then says `/live/startup`.

Thread: the control process. Time is an argument.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from performer.control.addresses import Bind
from performer.control.osc import OscMessageIn, message

ASK_S = 2.0  # between two questions while nobody answers
PULSE_S = 5.0  # between two while somebody does
LOST_S = 12.0
MOST_SCENES = 512
LATE_S = 0.25  # what Live says of its song is so old at most; usually a tenth of a second
USUAL_BPM = 120.0  # until it told its tempo

Stretch = tuple[float, float]  # beats of the song that it has gone through: the first is left out


@dataclass(frozen=True, slots=True)
class LiveKnob:
    """A parameter of a device in Live, by the numbers that AbletonOSC counts from 0."""

    track: int
    device: int
    parameter: int
    bind: Bind


@dataclass(frozen=True, slots=True)
class LiveSpec:
    """What a setlist says of Live."""

    host: str = "127.0.0.1"
    port: int = 11000
    reply_port: int = 11001
    scenes: bool = True  # a scene begins the cue that has its name
    knobs: tuple[LiveKnob, ...] = ()
    scene_cues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by its name: ids of cues it triggers
    locator_cues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the same of locators


class Playhead:
    """Where Live's song is: it is told about ten times a second, and what lies in between has been passed.

    A leap is no way that was gone: there, only what the song can have played since it landed counts.
    """

    def __init__(self) -> None:
        self.is_playing = False
        self._beat, self._beat_s = math.nan, -math.inf
        self._from = math.nan  # where the song stood, when it may have begun to play before it said so

    def moved(self, beat: float, *, at_s: float, beats_hz: float) -> Stretch | None:
        """The song is told to be at `beat`: what it has passed; None for nothing."""
        before, gone_s = self._beat, at_s - self._beat_s
        self._beat, self._beat_s = beat, at_s
        if not self.is_playing:
            self._from = before if 0.0 < beat - before <= LATE_S * beats_hz else beat
            return None
        if math.isnan(before):
            return None
        if 0.0 <= beat - before <= (gone_s + LATE_S) * beats_hz:
            return before, beat
        return _closed(beat - min(gone_s, LATE_S) * beats_hz, beat)

    def played(self, is_playing: bool, *, at_s: float) -> Stretch | None:
        """The song is told to play, or to stand: what it has passed already, where it began to play on it too."""
        begins = is_playing and not self.is_playing
        self.is_playing = is_playing
        began = self._from if at_s - self._beat_s <= LATE_S else self._beat
        self._beat_s = at_s
        return _closed(began, self._beat) if begins and not math.isnan(began) else None


def _closed(first: float, last: float) -> Stretch:
    return math.nextafter(first, -math.inf), last


class Live:
    """The conversation with one Live.

    send(datagram) goes to Live. begin_cue(name): a scene has begun. fire(id, kind): the scene or locator that triggers
    a cue has come. set_knob(bind, value): a device's parameter moved.
    tempo and beat are told to `told_bpm` and `told_beat`.
    """

    def __init__(
        self,
        spec: LiveSpec,
        *,
        send: Callable[[bytes], None],
        begin_cue: Callable[[str], None],
        fire: Callable[[str, str], None],
        set_knob: Callable[[Bind, float], None],
        told_bpm: Callable[[float], None],
        told_beat: Callable[[float], None],
    ) -> None:
        self._spec = spec
        self._send = send
        self._begin_cue, self._fire = begin_cue, fire
        self._set_knob = set_knob
        self._told_bpm, self._told_beat = told_bpm, told_beat
        self._knobs = {(each.track, each.device, each.parameter): each.bind for each in spec.knobs}
        self._heard_s = -math.inf
        self._asked_s = -math.inf
        self._scenes: dict[int, str] = {}
        self._launched: set[int] = set()
        self._bpm = 0.0
        self._locators: list[tuple[float, str]] = []
        self._playhead = Playhead()

    def take(self, spec: LiveSpec) -> None:
        """Begin other cues by scenes and locators, as an edited setlist says; everything else is as it was."""
        self._spec = spec

    @property
    def text(self) -> str:
        """How it stands, for people."""
        if self._heard_s == -math.inf:
            return f"no answer from {self._spec.host}"
        return f"{self._bpm:.1f} bpm, {len(self._scenes)} scenes"

    def step(self, now_s: float) -> None:
        """Ask whether it is there."""
        if now_s - self._heard_s > LOST_S:
            self._heard_s = -math.inf
        if now_s - self._asked_s >= (ASK_S if self._heard_s == -math.inf else PULSE_S):
            self._asked_s = now_s
            self._ask("/live/test")
            if self._spec.locator_cues:  # they are moved and renamed without a word
                self._ask("/live/song/get/cue_points")

    def receive(self, told: OscMessageIn, *, now_s: float) -> None:
        """An answer."""
        is_new = self._heard_s == -math.inf
        self._heard_s = now_s
        if is_new or told.address == "/live/startup":
            self._subscribe()
        args = told.args
        match told.address.split("/")[2:], args:
            case ["song", "get", "tempo"], (float() | int() as bpm,):
                self._bpm = float(bpm)
                self._told_bpm(self._bpm)
            case ["song", "get", "beat"], (float() | int() as beat,):
                self._told_beat(float(beat))
            case ["song", "get", "cue_points"], points:
                pairs = zip(points[::2], points[1::2], strict=False)
                self._locators = sorted((float(beat), str(name)) for name, beat in pairs if _is_number(beat))
            case ["song", "get", "is_playing"], (bool() | int() as is_playing,):
                self._passed(self._playhead.played(bool(is_playing), at_s=now_s))
            case ["song", "get", "current_song_time"], (float() | int() as beat,):
                beats_hz = (self._bpm or USUAL_BPM) / 60.0
                self._passed(self._playhead.moved(float(beat), at_s=now_s, beats_hz=beats_hz))
            case ["song", "get", "num_scenes"], (int() as count,):
                self._look_at_scenes(count)
            case ["scene", "get", "name"], (int() as scene, str() as name):
                if scene in self._scenes:
                    self._scenes[scene] = name
            case ["scene", "get", "is_triggered"], (int() as scene, bool() | int() as is_triggered):
                self._triggered(scene, bool(is_triggered))
            case ["device", "get", "parameter", "value"], (int() as track, int() as device, int() as parameter, value):
                bind = self._knobs.get((track, device, parameter))
                if bind is not None and isinstance(value, (int, float)):
                    self._set_knob(bind, float(value))

    def _ask(self, address: str, *args: int) -> None:
        self._send(message(address, args))

    def _subscribe(self) -> None:
        """Ask for everything that is wanted; the present values come at once."""
        self._scenes, self._launched = {}, set()
        for what in ("tempo", "beat"):
            self._ask(f"/live/song/start_listen/{what}")
        if self._spec.locator_cues:
            self._playhead = Playhead()
            self._ask("/live/song/get/cue_points")
            for what in ("is_playing", "current_song_time"):
                self._ask(f"/live/song/start_listen/{what}")
        if self._spec.scenes or self._spec.scene_cues:
            self._ask("/live/song/get/num_scenes")
        for knob in self._knobs:
            self._ask("/live/device/start_listen/parameter/value", *knob)

    def _look_at_scenes(self, count: int) -> None:
        for scene in range(min(max(count, 0), MOST_SCENES)):
            self._scenes[scene] = ""
            self._ask("/live/scene/get/name", scene)
            self._ask("/live/scene/start_listen/is_triggered", scene)

    def _triggered(self, scene: int, is_triggered: bool) -> None:
        """A scene blinks from its launch until it begins, at the bar that Live quantises to: that is when its cue begins."""
        if is_triggered:
            self._launched.add(scene)
        elif scene in self._launched:
            self._launched.discard(scene)
            name = self._scenes.get(scene, "")
            triggered = self._spec.scene_cues.get(name, ())
            for cue in triggered:
                self._fire(cue, "scene")
            if name and not triggered and self._spec.scenes:
                self._begin_cue(name)

    def _passed(self, stretch: Stretch | None) -> None:
        """The song has gone through a stretch of itself."""
        first, last = stretch or (0.0, 0.0)
        for beat, name in self._locators:
            if first < beat <= last:
                for cue in self._spec.locator_cues.get(name, ()):
                    self._fire(cue, "locator")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
