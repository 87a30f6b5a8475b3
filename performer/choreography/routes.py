"""Routes: how sound, beat and knobs move parameters. One object does it all.

    source -> gate -> attack and release -> range -> curve -> invert -> amount -> mode -> target

A hit becomes an envelope evaluated at the time at which the light leaves the screen, so that a kick has one shape at any
frame rate. A level is followed with time constants in seconds.

Thread: render. Pure: what a route remembers travels in `RouteMemory`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from performer.params import ParamTable, nearest


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One connection."""

    name: str
    source: str  # "drums.bass.hit", "mix.level", "beat", "bar", "breathe", or the id of a parameter
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
    rest: float = 0.0  # what the source reads while there is nothing; loudness rests at its lowest decibel

    @property
    def is_gated(self) -> bool:
        """Whether the source has to reach anything before it passes."""
        return (self.gate_on, self.gate_off) != (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class RouteMemory:
    """What one route remembers between frames."""

    value: float = 0.0  # of the follower, before range and curve
    is_open: bool = False  # the gate


def followed(route: Route, memory: RouteMemory, source: float, *, dt_s: float) -> tuple[RouteMemory, bool]:
    """Follow a level for one frame. Also says whether the gate opened in this frame."""
    threshold = route.gate_off if memory.is_open else route.gate_on
    is_open = source >= threshold if route.is_gated else True
    goal = source if is_open else route.rest
    time_s = route.attack_s if goal > memory.value else route.release_s
    step = 1.0 if time_s <= 0 else -math.expm1(-max(dt_s, 0.0) / time_s)
    value = memory.value + (goal - memory.value) * step
    return RouteMemory(value=value, is_open=is_open), is_open and not memory.is_open


def struck(route: Route, hits: tuple[tuple[float, float], ...], *, photon_s: float) -> float:
    """The envelope of hits [(at_s, strength), ...] at `photon_s`: up over the attack, then an exponential fall.

    The highest of the hits counts, so that a soft one never cuts a loud one short. A hit lies in the past by the time
    it is known; its attack runs from the sound, not from the frame.
    """
    highest = 0.0
    for at_s, strength in hits:
        age_s = photon_s - at_s
        if age_s < 0 or strength < route.gate_on:
            continue
        if age_s < route.attack_s:
            level = age_s / route.attack_s
        else:
            level = math.exp(-(age_s - route.attack_s) / route.release_s) if route.release_s > 0 else 0.0
        highest = max(highest, strength * level)
    return highest


def shaped(route: Route, value: float) -> float:
    """Range, curve, inversion and amount: what the route brings to its target."""
    span = route.in_high - route.in_low
    unit = min(max((value - route.in_low) / span, 0.0), 1.0)
    unit = CURVES[route.curve](unit)
    if route.invert:
        unit = 1.0 - unit
    return (route.out_low + (route.out_high - route.out_low) * unit) * route.amount


def merged(route: Route, before: float, brought: float, *, master: float) -> float:
    """The target's value after the route; `master` 0 leaves it as it was."""
    if route.mode == "add":
        return before + brought * master
    if route.mode == "mul":
        return before * (1.0 + (brought - 1.0) * master)
    if route.mode == "max":
        return max(before, brought * master)
    return before + (brought - before) * min(master, 1.0)  # replace


def sources(voices: Iterable[str], features: Iterable[str], table: ParamTable) -> set[str]:
    """Every name that a route may start from."""
    columns = tuple(features)
    heard = {f"{voice}.{feature}" for voice in voices for feature in columns}
    return heard | {"beat", "bar", "breathe"} | set(table.ids())


def problems(route: Route, *, known: set[str], table: ParamTable) -> list[tuple[str, str]]:
    """What is wrong with a route, as (field, sentence) pairs."""
    found = []
    if route.source not in known:
        found.append(("from", f"{route.source!r} is no source{nearest(route.source, known)}"))
    if route.target not in table:
        found.append(("to", f"{route.target!r} is no parameter{nearest(route.target, table.ids())}"))
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
    return found
