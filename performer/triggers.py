"""Triggers as they are written: what begins a cue besides GO.

When those that watch a clock or the room have come stands in `choreography.triggers`; messages are the control process's.

Thread: any; values only.
"""

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from performer.params import nearest

KINDS = ("osc", "midi", "scene", "locator", "at", "position", "silence")
BY_HAND = ("osc", "midi", "scene")  # somebody presses: a cue that plays begins anew
DAY_S = 86400.0
LEAST_SILENCE_S = 1.0  # the ear says of a shorter one nothing
MIDI_WORDS = ("note", "cc", "cc14", "pc")

# Of each word: the least and the greatest number, the greatest value behind a slash (0 for none), and the address.
_MIDI = {
    "note": (0, 127, 0, "note/{number}"),
    "cc": (0, 127, 127, "cc/{number}"),
    "cc14": (0, 31, 16383, "cc14/{number}"),
    "pc": (1, 128, 0, "program"),
}
_MIDI_TEXT = re.compile(r"(\w+) (\d{1,5})(?:/(\d{1,5}))?")
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_POSITION = re.compile(r"(?:(\d{1,3}):(?=\d\d:))?(\d{1,4}):(\d\d(?:\.\d+)?)")

EXPECTED = {
    "osc": "an address of another program, such as /intro",
    "midi": 'a word and a number, such as "note 36", "pc 3", "cc 20", or "cc 20/10" for a value',
    "scene": "the name of a scene",
    "locator": "the name of a locator",
    "at": 'a time of day in text, such as "20:15" or "20:15:00"',
    "position": 'seconds, or text such as "1:03.2" or "1:02:03"',
    "silence": f"{LEAST_SILENCE_S:g} or more seconds",
}


class TriggerFile(msgspec.Struct, forbid_unknown_fields=True):
    """A trigger as a setlist has it: one of the first seven keys."""

    osc: str | None = None
    midi: str | None = None
    scene: str | None = None
    locator: str | None = None
    at: Any = None  # text; TOML's own kind of time as well
    position: float | str | None = None
    silence: float | None = None
    channel: int | None = None  # of midi; any without it


@dataclass(frozen=True, slots=True)
class Trigger:
    """What begins a cue."""

    kind: str  # one of KINDS
    name: str = ""  # of osc the address, of scene and locator their name; of midi the words, for people
    amount: float = 0.0  # of at seconds since midnight, local time; of position and silence seconds
    addresses: tuple[str, ...] = ()  # where it arrives, of osc and midi
    number: int | None = None  # what the message has to carry; None for any value that rises above zero

    def in_words(self) -> str:
        """For people: `at 20:15:00`, `scene Intro`, `silence 4 s`."""
        match self.kind:
            case "at":
                return f"at {_clock_text(self.amount)}"
            case "position":
                hours, rest_s = divmod(round(self.amount, 3), 3600.0)
                minutes, seconds = divmod(rest_s, 60.0)
                head = f"{hours:.0f}:{minutes:02.0f}" if hours else f"{minutes:.0f}"
                return f"position {head}:{'0' * (seconds < 10)}{seconds:.6g}"
            case "silence":
                return f"silence {self.amount:g} s"
            case "osc":
                return self.name
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Press:
    """What a message to an address begins."""

    cue: str  # its id
    kind: str  # of the trigger
    number: int | None = None  # what the message has to carry; None for any value that rises above zero


class Triggered(Protocol):
    """A cue, as far as it matters here."""

    @property
    def id(self) -> str: ...
    @property
    def triggers(self) -> tuple[Trigger, ...]: ...


def presses_of(cues: Iterable[Triggered]) -> dict[str, tuple[Press, ...]]:
    """By address: what it begins, in the order of the cues."""
    found: dict[str, tuple[Press, ...]] = {}
    for cue in cues:
        for trigger in cue.triggers:
            for address in trigger.addresses:
                found[address] = (*found.get(address, ()), Press(cue.id, trigger.kind, trigger.number))
    return found


def names_of(cues: Iterable[Triggered], kind: str) -> dict[str, tuple[str, ...]]:
    """By the name of a scene, or of a locator: the ids of the cues that it begins."""
    found: dict[str, tuple[str, ...]] = {}
    for cue in cues:
        for trigger in cue.triggers:
            if trigger.kind == kind:
                found[trigger.name] = (*found.get(trigger.name, ()), cue.id)
    return found


def triggers_of(
    files: Sequence[TriggerFile], where: str, note: Any, *, has_live: bool, music_s: float | None
) -> tuple[Trigger, ...]:
    """The triggers of a cue; what is wrong with them is told to note(where, sentence).

    has_live: whether the setlist has Ableton Live. music_s: length of its sound file, infinite while unknown; None where
    the source of its sound is none.
    """
    found = []
    for index, file in enumerate(files):
        at = f"{where}.trigger[{index}]"
        kinds = [kind for kind in KINDS if getattr(file, kind) is not None]
        if len(kinds) != 1:
            what = ", ".join(kinds) if kinds else "none"
            note(at, f"{what}; expected one of: {', '.join(KINDS)}; write a table of its own for each")
            continue
        (kind,) = kinds
        if file.channel is not None and kind != "midi":
            note(f"{at}.channel", f"{file.channel} beside {kind}; a channel belongs to midi; take it out")
        trigger = _trigger(kind, getattr(file, kind), file.channel, at, note)
        if trigger is None:
            continue
        found.append(trigger)
        if kind in ("scene", "locator") and not has_live:
            note(f"{at}.{kind}", f"{trigger.name!r} is Ableton Live's, which nobody listens to; add a table [ableton]")
        if kind == "position":
            _check_position(trigger, f"{at}.{kind}", note, music_s=music_s)
    return tuple(found)


def check_alone(cues: Sequence[tuple[str, bool, Sequence[Trigger]]], note: Any) -> None:
    """Whether no two cues that are armed begin by the same. cues: (where, whether it is armed, its triggers) of each."""
    seen: dict[Trigger, str] = {}
    for where, is_armed, triggers in cues:
        for index, trigger in enumerate(triggers if is_armed else ()):
            for each in _singly(trigger):
                first = seen.setdefault(each, where)
                if first != where:
                    note(
                        f"{where}.trigger[{index}]",
                        f"{trigger.in_words()} begins {first} too; expected a different one for each, or armed = false "
                        "for all but one",
                    )
                    break


def _singly(trigger: Trigger) -> Iterable[Trigger]:
    """The same, once for each address, so that those of one MIDI channel meet those of all."""
    if not trigger.addresses:
        return (trigger,)
    return (Trigger("press", address, number=trigger.number) for address in trigger.addresses)


def _trigger(kind: str, given: Any, channel: int | None, at: str, note: Any) -> Trigger | None:
    """One trigger; None where it cannot be read."""
    match kind:
        case "osc":
            if re.fullmatch(r"/[^\s#*,?\[\]{}]+", given):
                return Trigger(kind, given, addresses=(given,))
        case "midi":
            return _midi(given, channel, at, note)
        case "at":
            seconds = _of_day_s(given)
            if seconds is not None:
                return Trigger(kind, amount=seconds)
        case "position":
            seconds = _position_s(given)
            if seconds is not None:
                return Trigger(kind, amount=seconds)
        case "silence":
            if LEAST_SILENCE_S <= given < math.inf:
                return Trigger(kind, amount=float(given))
        case _:
            if given.strip():
                return Trigger(kind, given)
    note(f"{at}.{kind}", f"{given!r}; expected {EXPECTED[kind]}")
    return None


def _midi(given: str, channel: int | None, at: str, note: Any) -> Trigger | None:
    found = _MIDI_TEXT.fullmatch(given)
    if found is None or found[1] not in _MIDI:
        hint = nearest(given.partition(" ")[0], MIDI_WORDS) if given else ""
        note(f"{at}.midi", f"{given!r}{hint}; expected {EXPECTED['midi']}")
        return None
    low, high, most, address = _MIDI[found[1]]
    number, value = int(found[2]), None if found[3] is None else int(found[3])
    if not low <= number <= high:
        note(f"{at}.midi", f"{given!r}: {number}; expected {low} to {high}")
        return None
    if value is not None and not (most and value <= most):
        ends = f"a value of 0 to {most}" if most else f"no value behind {found[1]}"
        note(f"{at}.midi", f"{given!r}: {value}; expected {ends}")
        return None
    if channel is not None and not 1 <= channel <= 16:
        note(f"{at}.channel", f"{channel}; expected 1 to 16, or nothing for any")
        return None
    channels = range(1, 17) if channel is None else (channel,)
    return Trigger(
        "midi",
        given if channel is None else f"{given} on {channel}",
        addresses=tuple(f"/midi/{each}/{address.format(number=number)}" for each in channels),
        number=number if found[1] == "pc" else value,
    )


def _of_day_s(given: Any) -> float | None:
    """Seconds since midnight of a time of day."""
    if isinstance(given, datetime.time):
        given = given.isoformat() if given.tzinfo is None and not given.microsecond else ""
    found = _TIME_OF_DAY.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def _position_s(given: float | str) -> float | None:
    """Seconds of a place in a sound."""
    if isinstance(given, str):
        found = _POSITION.fullmatch(given)
        if found is None or float(found[3]) >= 60.0 or (found[1] and int(found[2]) >= 60):
            return None
        return 3600.0 * int(found[1] or 0) + 60.0 * int(found[2]) + float(found[3])
    return float(given) if 0.0 <= given < math.inf else None


def _check_position(trigger: Trigger, at: str, note: Any, *, music_s: float | None) -> None:
    if music_s is None:
        note(
            at,
            f'{trigger.in_words().partition(" ")[2]} of a sound file, and there is none; expected source = "file" in '
            "[audio], or another kind of trigger",
        )
    elif trigger.amount > music_s:
        note(at, f"{trigger.amount:g} s lies beyond the end of the sound file; expected 0 to {music_s:g} s")


def _clock_text(of_day_s: float) -> str:
    minutes, seconds = divmod(int(of_day_s), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
