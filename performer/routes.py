"""Routes as they are written: how sound, beat and knobs move parameters. One object does it all.

    source -> hold -> gate -> attack and release -> range -> curve -> invert -> amount -> mode -> target
    hit -> gate -> range -> curve -> ring, with attack and release -> invert -> amount -> mode -> target

How one acts from frame to frame stands in `choreography.modulation`.

Thread: any; values only.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from performer.params import Kind, Param, ParamTable, nearest


def _exp(x: float) -> float:
    return math.expm1(3.0 * x) / math.expm1(3.0)


def _log(x: float) -> float:
    return math.log1p(x * math.expm1(3.0)) / 3.0


CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "smooth": lambda x: x * x * (3.0 - 2.0 * x),
    "square": lambda x: x * x,
    "root": math.sqrt,
    "exp": _exp,
    "log": _log,
}

MODES = ("add", "mul", "max", "replace", "trigger")
DRAWN = ("random", "toggle")  # sources that are drawn anew whenever the route's hold lets go
HOLDS = 'beat, bar, a length such as "2 beats" or "4 bars", or a source that strikes or rises'
BEATS = {"beat": 1.0, "beats": 1.0, "bar": 4.0, "bars": 4.0}
SPARE = 16  # routes that can be added while the show plays
RING_MOST_HZ = 12.0  # half of 24 frames a second: above, it would look like something else
MOST = 1e6  # of any number of a route: what is larger is a slip


class RouteFile(
    msgspec.Struct,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"source": "from", "target": "to", "range_in": "in", "range_out": "out"},
):
    """A route as a setlist has it, and as a message changes it."""

    source: str
    target: str
    name: str = ""
    amount: float = 1.0
    gate: tuple[float, float] = (0.0, 0.0)
    attack: float = 0.0
    release: float = 0.15
    range_in: tuple[float, float] | None = None  # the source's own range
    range_out: tuple[float, float] = (0.0, 1.0)
    curve: str = "linear"
    invert: bool = False
    mode: str = "add"
    hold: str = ""
    ring: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """What a source may read."""

    low: float = 0.0
    high: float = 1.0
    rest: float = 0.0  # while there is nothing; loudness rests at its lowest decibel
    is_hit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One connection."""

    name: str
    source: str  # "drums.bass.hit", "mix.level", "beat", "lfo.1", "random", or the id of a parameter
    target: str  # the id of a parameter
    amount: float = 1.0  # scales what reaches the target; in the target's own unit
    gate_on: float = 0.0  # the source passes once it reaches this ...
    gate_off: float = 0.0  # ... until it falls below this
    attack_s: float = 0.0  # time to rise (63 % for a level, the whole way for a hit)
    release_s: float = 0.15  # time to fall to 37 %
    in_low: float = 0.0
    in_high: float = 1.0
    out_low: float = 0.0
    out_high: float = 1.0
    curve: str = "linear"
    invert: bool = False
    mode: str = "add"
    hold: str = ""  # the source is read only when this strikes, or rises ...
    hold_at: float = 0.5  # ... above this
    hold_beats: float = 0.0  # ... or each time so many beats have passed; 0 for never
    rest: float = 0.0  # what the source reads while there is nothing
    ring_hz: float = 0.0  # a hit swings to and fro so often, ever less; 0 where it only falls

    @property
    def is_gated(self) -> bool:
        """Whether the source has to reach anything before it passes."""
        return (self.gate_on, self.gate_off) != (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class RouteEdit:
    """What a hand did to a route of this name: another one, or none any more."""

    name: str
    route: Route | None


def sources(
    voices: Iterable[str], heard: Mapping[str, Span], table: ParamTable, *, made: Iterable[str] = ()
) -> dict[str, Span]:
    """Every name that a route may start from, with what it may read. heard: the features of each voice. made: sources that
    choreography makes."""
    spans = {f"{voice}.{name}": span for voice in voices for name, span in heard.items()}
    return spans | dict.fromkeys((*made, *DRAWN, *table.ids()), Span())


def default_name(index: int, *, cue: str = "") -> str:
    """The name of a route that has none: its place in the file, or in its cue."""
    return f"{cue}-{index + 1}" if cue else f"r{index + 1}"


def route_params(routes: Iterable[tuple[str, str]]) -> tuple[Param, ...]:
    """The parameters of all routes. routes: (name, what it does) of each."""
    toggle = Kind.BOOL
    return tuple(
        param
        for name, text in routes
        for param in (
            Param(id=f"route.{name}", default=1.0, high=2.0, by_hand=True, help=f"how much of {text}"),
            Param(id=f"mute.{name}", kind=toggle, by_hand=True, help=f"nothing of {text}"),
            Param(id=f"solo.{name}", kind=toggle, by_hand=True, help=f"of all routes only those with solo: {text}"),
        )
    )


def spare_names(taken: Iterable[str]) -> tuple[str, ...]:
    """Names for the routes that are added while the show plays."""
    used = set(taken)
    free = (name for number in itertools.count(1) if (name := f"new{number}") not in used)
    return tuple(itertools.islice(free, SPARE))


def names_in(table: ParamTable) -> tuple[str, ...]:
    """The names of all routes that there are or may be, in order: each has its parameters."""
    return tuple(name[len("mute.") :] for name in table.ids() if name.startswith("mute."))


def route_of(file: RouteFile, known: Mapping[str, Span], *, name: str = "") -> Route:
    """A route, resolved. name: where the file has none. An unknown source is taken for one that reads 0 to 1."""
    span = known.get(file.source, Span())
    in_low, in_high = (span.low, span.high) if file.range_in is None else file.range_in
    hold_beats = beats_of(file.hold)
    waits_for = known.get(file.hold, Span())
    return Route(
        name=file.name or name,
        source=file.source,
        target=file.target,
        amount=file.amount,
        gate_on=file.gate[0],
        gate_off=file.gate[1],
        attack_s=file.attack,
        release_s=file.release,
        in_low=in_low,
        in_high=in_high,
        out_low=file.range_out[0],
        out_high=file.range_out[1],
        curve=file.curve,
        invert=file.invert,
        mode=file.mode,
        hold="" if hold_beats else file.hold,
        hold_at=0.5 * (waits_for.low + waits_for.high),
        hold_beats=hold_beats,
        rest=span.rest,
        ring_hz=file.ring,
    )


def beats_of(text: str) -> float:
    """The beats of a length in words: 1 for `beat`, 8 for `2 bars`; 0 where it is none."""
    number, _, unit = text.rpartition(" ")
    try:
        beats = float(number or 1.0) * BEATS[unit]
    except (ValueError, KeyError):
        return 0.0
    return beats if 0.0 < beats < MOST else 0.0


def problems(route: Route, *, known: Mapping[str, Span], table: ParamTable) -> list[tuple[str, str]]:
    """What is wrong with a route, as (field, sentence) pairs."""
    found = []
    if route.source not in known:
        found.append(("from", f"{route.source!r} is no source{nearest(route.source, known)}"))
    if route.target not in table:
        found.append(("to", f"{route.target!r} is no parameter{nearest(route.target, table.ids())}"))
    elif route.mode != "trigger" and table[route.target].kind.is_command:
        found.append(("mode", f'{route.target!r} is a command; expected mode = "trigger"'))
    if route.curve not in CURVES:
        found.append(("curve", f"{route.curve!r}; expected one of {', '.join(CURVES)}"))
    if route.mode not in MODES:
        found.append(("mode", f"{route.mode!r}; expected one of {', '.join(MODES)}"))
    if route.in_high == route.in_low:
        found.append(("in", f"[{route.in_low}, {route.in_high}] has no width; expected two different numbers"))
    if route.gate_off > route.gate_on:
        found.append(("gate", f"[{route.gate_on}, {route.gate_off}] closes above where it opens; expected on >= off"))
    if route.attack_s < 0 or route.release_s < 0:
        found.append(("release", "times cannot be negative; expected seconds >= 0"))
    if route.hold and route.hold not in known:
        found.append(("hold", f"{route.hold!r} is no source{nearest(route.hold, known)}; expected {HOLDS}"))
    if route.hold in DRAWN:
        found.append(("hold", f"{route.hold!r} strikes never; expected {HOLDS}"))
    is_held = bool(route.hold or route.hold_beats)
    if route.source in DRAWN and not is_held:
        found.append(("hold", f"missing; {route.source!r} is drawn anew each time; expected {HOLDS}"))
    if is_held and known.get(route.source, Span()).is_hit:
        found.append(("hold", f"{route.source!r} is an instant, which cannot be held; let it hold another source"))
    found += _ring_problems(route, known)
    for field in (each.name for each in fields(route)):
        value: Any = getattr(route, field)
        if isinstance(value, float) and not abs(value) <= MOST:  # neither infinities nor what is no number
            found.append((_KEYS.get(field, field), f"{value}; expected a number of {MOST:g} at most"))
    return found


def _ring_problems(route: Route, known: Mapping[str, Span]) -> list[tuple[str, str]]:
    if route.ring_hz == 0.0:
        return []
    found = []
    if not 0.0 < route.ring_hz <= RING_MOST_HZ:
        found.append(("ring", f"{route.ring_hz}; expected 0 to {RING_MOST_HZ:g} Hz, which every frame rate shows"))
    if route.source in known and not known[route.source].is_hit:
        found.append(("ring", f"{route.source!r} strikes never; expected a hit, such as mix.kick, or no ring"))
    if route.mode == "trigger":
        found.append(("ring", 'a press does not ring; expected another mode than "trigger", or no ring'))
    if route.release_s == 0:
        found.append(("release", "0 leaves no time to ring; expected seconds > 0, or no ring"))
    return found


_KEYS = {
    "gate_on": "gate",
    "gate_off": "gate",
    "attack_s": "attack",
    "release_s": "release",
    "in_low": "in",
    "in_high": "in",
    "out_low": "out",
    "out_high": "out",
    "ring_hz": "ring",
}
