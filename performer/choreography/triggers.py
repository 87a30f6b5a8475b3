"""Triggers that come by themselves: a time of day, a place in the sound file, the first hit after a silence.

Each clock is followed up to the middle between a frame and the next, so that the frame nearest to an instant has it; what
has been passed once is not passed again when a clock is set back a little, and what is long gone is let go.

Thread: render. No clock, no I/O: what the clocks say comes with the tick and with what is heard.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from performer.choreography.score import Cue
from performer.flow import AudioEvent, AudioEventKind, AudioFeatures, ControlEvent, Tick
from performer.triggers import DAY_S, Trigger

STEP_S = 60.0  # a clock that leaps farther was wrong before: what lies in between, or comes again, is another day's
QUIET_S = 1.0  # the feature `silence` tells of one when it has lasted so long
RANGE_S = 1.5 * DAY_S  # no zone's offset changes twice within twice that


@dataclass(frozen=True, slots=True)
class Watch:
    """How far clocks and the room have been followed."""

    wall_s: float = math.nan  # POSIX time
    music_s: float = math.nan  # of the sound file, through all its rounds
    quiet_s: float = math.inf  # show time since when nothing has been heard; infinite while something is
    is_quiet: bool = False


class Triggers:
    """The triggers of all cues that need nobody to press.

    silence: column of that feature; None where there is none. offset_of(POSIX time): seconds by which local time is ahead
    of UTC.
    """

    def __init__(self, cues: Sequence[Cue], *, silence: int | None = None, offset_of: Callable[[float], float]) -> None:
        self._silence, self._offset_of = silence, offset_of
        self._of = {
            kind: [(cue.id, each) for cue in cues for each in cue.triggers if each.kind == kind]
            for kind in ("at", "position", "silence")
        }
        self._is_any = any(self._of.values())

    def step(
        self, watch: Watch, features: AudioFeatures, events: Sequence[AudioEvent], tick: Tick
    ) -> tuple[Watch, tuple[ControlEvent, ...]]:
        """One frame: the presses that fall into it, oldest first, each with its own instant."""
        if not self._is_any:
            return watch, ()
        ahead_s, pressed = 0.5 * tick.dt_s, list[ControlEvent]()
        if not math.isnan(tick.wall_s):
            low, high = _followed(watch.wall_s, tick.wall_s + ahead_s, tick.dt_s)
            watch = replace(watch, wall_s=high)
            for cue, trigger in self._of["at"]:
                for instant_s in passed_of_day(trigger.amount, low, high, offset_of=self._offset_of):
                    pressed.append(_press(cue, trigger, tick.photon_s + instant_s - tick.wall_s))
        if features.music is not None:
            music = features.music
            low, high = _followed(watch.music_s, tick.photon_s + ahead_s - music.begun_s, tick.dt_s)
            watch = replace(watch, music_s=high)
            for cue, trigger in self._of["position"]:
                for place_s in passed_in_music(trigger.amount, low, high, length_s=music.length_s):
                    pressed.append(_press(cue, trigger, music.begun_s + place_s))
        if self._of["silence"]:
            watch, struck = self._listened(watch, features, events)
            pressed += struck
        return watch, tuple(sorted(pressed, key=lambda press: press.at_s))

    def _listened(
        self, watch: Watch, features: AudioFeatures, events: Sequence[AudioEvent]
    ) -> tuple[Watch, list[ControlEvent]]:
        """The room after this frame, and what its hits have ended."""
        is_quiet = self._silence is not None and bool((features.values[:, self._silence] >= 0.5).all())
        quiet_s, pressed = watch.quiet_s, list[ControlEvent]()
        if is_quiet and not watch.is_quiet:
            quiet_s = features.centre_s - QUIET_S
        onsets = (event.at_s for event in events if event.kind == AudioEventKind.ONSET)
        for at_s in sorted(onsets):
            for cue, trigger in self._of["silence"]:
                if at_s - quiet_s >= trigger.amount:
                    pressed.append(_press(cue, trigger, at_s))
            quiet_s = max(quiet_s, at_s)  # the next hit is not the first one; loud ones end the silence below
        return replace(watch, quiet_s=quiet_s if is_quiet else math.inf, is_quiet=is_quiet), pressed


def passed_in_music(place_s: float, low: float, high: float, *, length_s: float) -> Iterator[float]:
    """Where a place in the sound file falls between `low` (left out) and `high`, counted through all rounds, in seconds.

    length_s: of a round; infinite where the file plays once.
    """
    if math.isinf(length_s):
        if low < place_s <= high:
            yield place_s
        return
    # One round too early to begin with: rounding must not skip one, and the comparison below is exact.
    number = max(math.floor((low - place_s) / length_s), 0)
    while (at_s := place_s + number * length_s) <= high:
        if at_s > low:
            yield at_s
        number += 1


def passed_of_day(of_day_s: float, low: float, high: float, *, offset_of: Callable[[float], float]) -> Iterator[float]:
    """The instants between `low` (left out) and `high`, POSIX times, at which a local time of day comes."""
    if low >= high:
        return
    first, last = (math.floor((at_s + offset_of(at_s)) / DAY_S) for at_s in (low, high))
    for day in range(first, last + 1):
        at_s = instant_of(of_day_s, day, offset_of=offset_of)
        if low < at_s <= high:
            yield at_s


def instant_of(of_day_s: float, day: int, *, offset_of: Callable[[float], float]) -> float:
    """POSIX time of a local time of day: the first where it comes twice, and the end of the gap where it does not come.

    day: local days since 1970.
    """
    local_s = day * DAY_S + of_day_s
    before_s, after_s = offset_of(local_s - RANGE_S), offset_of(local_s + RANGE_S)
    if before_s == after_s:
        return local_s - before_s
    low, high = math.floor(local_s - RANGE_S), math.ceil(local_s + RANGE_S)
    while high - low > 1:  # zones change at whole seconds
        middle = (low + high) // 2
        low, high = (middle, high) if offset_of(middle) == before_s else (low, middle)
    return local_s - before_s if local_s - before_s < high else max(local_s - after_s, high)


def _followed(reached_s: float, now_s: float, dt_s: float) -> tuple[float, float]:
    """(from where, up to where) a clock is followed in this frame."""
    if math.isnan(reached_s) or reached_s - now_s > STEP_S:
        reached_s = now_s - dt_s
    return max(reached_s, now_s - STEP_S), max(reached_s, now_s)


def _press(cue: str, trigger: Trigger, at_s: float) -> ControlEvent:
    return ControlEvent("cue.goto", 1.0, at_s, source=trigger.in_words(), text=cue, trigger=trigger.kind)
