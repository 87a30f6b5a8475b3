"""The score: which cue plays, since when, and what comes next. Pure, and without any picture.

A cue begins at an instant of its own, which is seldom a frame's: where a duration ends, where the beat falls that it waits
for. The frame whose light is nearest to that instant shows it first, and counts from the instant, so that a hundred cues
that follow each other end at the same time at 24 frames a second and at 60.

Thread: render. No clock, no I/O.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from performer.choreography.keyframes import Keyframes
from performer.choreography.lfo import random_of
from performer.choreography.transition import Transition
from performer.flow import F32, ControlEvent, Tick
from performer.routes import Route
from performer.triggers import BY_HAND, Trigger

ENDS = ("follow", "continue", "loop")  # how a cue ends by itself, besides `goto <id>`, `random` and `random <tag>`


@dataclass(frozen=True, slots=True)
class Length:
    """A stretch of time, in seconds or in beats."""

    amount: float
    in_beats: bool = False

    def elapsed(self, *, since_s: float, since_beat: float, tick: Tick) -> float:
        """How much of it has passed, 0 .. 1 and beyond; a length of nothing is over at once."""
        if self.amount <= 0:
            return 1.0
        passed = tick.beat - since_beat if self.in_beats else tick.photon_s - since_s
        return passed / self.amount


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant, by both clocks."""

    at_s: float
    beat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One scene of the show, resolved: nothing is looked up while it plays."""

    id: str
    name: str = ""
    notes: str = ""  # for people
    tags: tuple[str, ...] = ()
    creature: int = 0  # which of the show's creatures draws it
    seed: int = 1
    values: F32  # [P], the complete state
    named: np.ndarray  # [P] bool, which parameters this cue names itself
    routes: tuple[Route, ...] = ()
    keyframes: Keyframes | None = None  # what its latent and values pass, and when
    pre_wait: Length = Length(0.0)  # from the press, or from the end of the cue before, to its beginning
    fade: Length = Length(4.0)
    curve: str = "smooth"  # of the fade
    transition: Transition = Transition()
    duration: Length | None = None
    post_wait: Length = Length(0.0)  # from its end, or with `continue` from its beginning, to the next cue
    next: str = "hold"  # hold, one of ENDS, `goto <id>`, `random`, `random <tag>`
    quantize: float | None = None  # in beats: it begins on a multiple of these, whoever asks; None as the knob says
    armed: bool = True  # at first; GO passes over what is not, and its triggers do nothing
    triggers: tuple[Trigger, ...] = ()  # what begins it besides GO


@dataclass(frozen=True, slots=True)
class Waiting:
    """A cue that was asked for and has yet to begin."""

    index: int
    asked: Moment
    by_hand: bool = True  # or because the cue before it has ended
    beat: float = math.inf  # when it begins, as far as can be told
    is_late: bool = False  # its time has come, and its species is not ready


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the score the show is."""

    index: int
    began: Moment
    count: int = 0  # cues that have begun before
    waiting: Waiting | None = None
    loaded: int | None = None  # what GO starts, where a hand has chosen another than the one that follows
    is_panicked: bool = False
    has_ended: bool = False  # it has asked for the next one
    switched: frozenset[int] = frozenset()  # cues that hands have armed or disarmed, against what the setlist says


class Score:
    """The cues of a setlist, in order."""

    def __init__(self, cues: Sequence[Cue]) -> None:
        self.cues = tuple(cues)
        self._ids = {cue.id: index for index, cue in reversed(list(enumerate(self.cues)))}
        self._names = {cue.name: index for index, cue in reversed(list(enumerate(self.cues))) if cue.name}

    def find(self, text: str) -> int | None:
        """The cue with this id, or else this name."""
        return self._ids.get(text, self._names.get(text))

    def is_armed(self, place: Place, index: int) -> bool:
        """Whether a cue is armed, by the setlist or by a hand since."""
        return self.cues[index].armed != (index in place.switched)

    def disarmed(self, place: Place) -> tuple[int, ...]:
        """The cues that are not armed, in order."""
        return tuple(index for index in range(len(self.cues)) if not self.is_armed(place, index))

    def standby(self, place: Place) -> int | None:
        """What GO starts; None where there is nothing more."""
        return place.loaded if place.loaded is not None else self._following(place, place.index)

    def step(
        self,
        place: Place,
        presses: Sequence[ControlEvent],
        tick: Tick,
        *,
        quantize: float,
        bpm: float,
        absent: Collection[int] = (),
    ) -> Place:
        """One frame.

        quantize
            the beats on whose multiples cues begin that a hand asks for; 0 for at once.
        absent
            creatures that cannot be drawn yet: their cues wait for them, and what plays goes on.
        """
        clock = _Clock(tick, bpm, absent)
        for press in presses:
            before, place = place, self._pressed(place, press, clock)
            if place.waiting is not None and place.waiting is not before.waiting:
                place = self._waited(place, place.waiting, clock, quantize=quantize)
        if not (place.is_panicked or place.has_ended):
            place = self._ended(place, clock)
        if place.waiting is not None:
            place = self._waited(place, place.waiting, clock, quantize=quantize)
        return place

    def soon(self, place: Place) -> list[int]:
        """The cues that may come, what plays first and then the likeliest."""
        found = [place.index]
        if place.waiting is not None:
            found.append(place.waiting.index)
        standby = self.standby(place)
        found += [each for each in (standby, *self._by_itself(place)) if each is not None]
        after = standby if standby is not None else place.index
        found += [*range(after + 1, len(self.cues)), *range(after, -1, -1)]
        return list(dict.fromkeys(found))

    def _following(self, place: Place, index: int) -> int | None:
        return next((i for i in range(index + 1, len(self.cues)) if self.is_armed(place, i)), None)

    def _pressed(self, place: Place, press: ControlEvent, clock: "_Clock") -> Place:
        """What a press does."""

        def asked(index: int) -> Place:
            if place.waiting is not None and place.waiting.index == index and place.waiting.by_hand:
                return place  # a second press does not begin the wait anew
            return replace(place, waiting=Waiting(index, clock.now))

        only = len(self.cues) == 1
        match press.param:
            case "cue.go":
                standby = self.standby(place)
                if standby is not None:
                    return asked(standby)
                # The last cue stays when the hand asks for more; from a panic, and where it is the only one, it begins.
                return asked(place.index) if place.is_panicked or only else place
            case "cue.prev" if place.waiting is not None:  # what waits is taken back
                return replace(place, waiting=None)
            case "cue.prev":
                before = next((i for i in range(place.index - 1, -1, -1) if self.is_armed(place, i)), None)
                if before is not None:
                    return asked(before)
                return asked(place.index) if place.is_panicked or only else place
            case "cue.next":
                standby = self.standby(place)
                following = None if standby is None else self._following(place, standby)
                return place if following is None else replace(place, loaded=following)
            case "cue.load" if (wanted := self.find(press.text)) is not None:
                return replace(place, loaded=wanted)
            case "cue.goto" if (wanted := self.find(press.text)) is not None:
                if press.trigger and not self.is_armed(place, wanted):
                    return place
                if press.trigger and press.trigger not in BY_HAND:
                    return self._triggered(place, wanted, clock.at(press.at_s))
                return asked(wanted)
            case "cue.arm" | "cue.disarm" if (wanted := self.find(press.text)) is not None:
                return self._switched(place, wanted, arms=press.param == "cue.arm")
            case "cue.panic":
                return replace(place, is_panicked=True, waiting=None)
        return place

    def _triggered(self, place: Place, index: int, asked: Moment) -> Place:
        """A cue's own trigger has come by itself. What plays goes on; a panic is a hand's to end."""
        is_waiting = place.waiting is not None and place.waiting.index == index
        if place.is_panicked or place.index == index or is_waiting:
            return place
        return replace(place, waiting=Waiting(index, asked, by_hand=False))

    def _switched(self, place: Place, index: int, *, arms: bool) -> Place:
        """Arm or disarm a cue. What is disarmed stands by no more, and waits no more."""
        if self.is_armed(place, index) == arms:
            return place
        place = replace(place, switched=place.switched ^ {index})
        if not arms and place.loaded == index:
            place = replace(place, loaded=None)
        if not arms and place.waiting is not None and place.waiting.index == index:
            place = replace(place, waiting=None)
        return place

    def _ended(self, place: Place, clock: "_Clock") -> Place:
        """Ask for the next cue where this one is over."""
        cue = self.cues[place.index]
        if cue.next == "hold" or (cue.duration is None and cue.next != "continue"):
            return place
        end = place.began
        if cue.next != "continue" and cue.duration is not None:
            end = clock.after(end, cue.duration)
        end = clock.after(end, cue.post_wait)
        if end.at_s > clock.now.at_s + clock.half_frame_s:
            return place
        following = self._then(place)
        if following is None:
            return replace(place, has_ended=True)
        return replace(place, has_ended=True, waiting=Waiting(following, end, by_hand=False))

    def _then(self, place: Place) -> int | None:
        """The cue that comes by itself."""
        cue, fits = self.cues[place.index], self._by_itself(place)
        return fits[int(random_of(cue.seed, cue.id, place.count) * len(fits))] if fits else None

    def _by_itself(self, place: Place) -> list[int]:
        """The cues one of which comes by itself."""
        how, _, which = self.cues[place.index].next.partition(" ")
        match how:
            case "hold":
                return []
            case "loop":
                return [next((index for index in range(len(self.cues)) if self.is_armed(place, index)), 0)]
            case "goto":
                found = self.find(which)
            case "random":
                armed = [index for index in range(len(self.cues)) if self.is_armed(place, index)]
                fits = [index for index in armed if not which or which in self.cues[index].tags]
                return [index for index in fits if index != place.index] or fits
            case _:
                found = self._following(place, place.index)
        return [] if found is None else [found]

    def _waited(self, place: Place, waiting: Waiting, clock: "_Clock", *, quantize: float) -> Place:
        """Begin the cue that waits, in the frame whose light is nearest to its instant."""
        cue = self.cues[waiting.index]
        beats = cue.quantize if cue.quantize is not None else quantize if waiting.by_hand else 0.0
        due = clock.line(clock.after(waiting.asked, cue.pre_wait), beats)
        longest = beats + (cue.pre_wait.amount if cue.pre_wait.in_beats else cue.pre_wait.amount * clock.beats_hz)
        if due.beat - clock.now.beat > longest + 2.0 * clock.half_frame:  # the clock has leapt back: it waits from now
            waiting = replace(waiting, asked=clock.now)
            due = clock.line(clock.after(waiting.asked, cue.pre_wait), beats)
        if waiting.is_late:
            due = clock.line(clock.now, beats)
        if due.beat - clock.now.beat > clock.half_frame:
            return replace(place, waiting=replace(waiting, beat=due.beat))
        if cue.creature in clock.absent:
            return replace(place, waiting=replace(waiting, beat=due.beat, is_late=True))
        return Place(
            index=waiting.index,
            began=clock.near(due),
            count=place.count + 1,
            loaded=None if waiting.by_hand else place.loaded,
            switched=place.switched,
        )


class _Clock:
    """A frame's two clocks, and the way from one to the other near it; and who cannot be drawn in it."""

    def __init__(self, tick: Tick, bpm: float, absent: Collection[int]) -> None:
        self.absent = absent
        self.now = Moment(tick.photon_s, tick.beat)
        self.beats_hz = max(bpm, 1e-3) / 60.0
        self.half_frame_s = 0.5 * tick.dt_s
        self.half_frame = self.half_frame_s * self.beats_hz  # in beats
        self._frame_s, self._downbeat = tick.dt_s, tick.downbeat

    def at_beat(self, beat: float) -> Moment:
        """When a beat falls, at this tempo."""
        return Moment(self.now.at_s + (beat - self.now.beat) / self.beats_hz, beat)

    def at(self, at_s: float) -> Moment:
        """A show time near this frame, by both clocks."""
        return Moment(at_s, self.now.beat + (at_s - self.now.at_s) * self.beats_hz)

    def after(self, moment: Moment, length: Length) -> Moment:
        """The instant so long after another."""
        if length.amount <= 0.0:
            return moment
        if length.in_beats:
            return self.at_beat(moment.beat + length.amount)
        return self.at(moment.at_s + length.amount)

    def line(self, moment: Moment, beats: float) -> Moment:
        """The next multiple of `beats`, counted from the bar; the one just passed, where a frame could not be nearer."""
        if beats <= 0.0:
            return moment
        grid = math.ceil((moment.beat - self._downbeat - self.half_frame) / beats)
        return self.at_beat(self._downbeat + beats * grid)

    def near(self, due: Moment) -> Moment:
        """The instant itself, where it lies within this frame; after a leap of the clock, now."""
        is_near = abs(due.at_s - self.now.at_s) <= self._frame_s and abs(due.beat - self.now.beat) <= (
            self._frame_s * self.beats_hz + 1e-9
        )
        return due if is_near else self.now
