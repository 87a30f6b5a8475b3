"""Modulation: how a route acts from frame to frame.

A hit becomes an envelope evaluated at the time at which the light leaves the screen, so that a kick has one shape at any
frame rate. A level is followed with time constants in seconds.

Thread: render. Pure: what a route remembers travels in `RouteMemory`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from performer.choreography.lfo import LFO_NAMES, random_of
from performer.routes import CURVES, Route

MADE = ("beat", "bar", "breathe", *LFO_NAMES)  # sources that neither are heard nor are knobs


@dataclass(frozen=True, slots=True)
class RouteMemory:
    """What one route remembers between frames."""

    value: float = 0.0  # of the follower, before range and curve
    is_open: bool = False  # the gate
    held: float | None = None  # what the source read when its hold let go last; None before it did
    count: int = 0  # how often it let go; with a hold of beats, how many of those have passed
    was_high: bool = False  # whether what it waits for had risen


def held(
    route: Route, memory: RouteMemory, read: Callable[[int], float], *, passed: int | None, is_struck: bool
) -> RouteMemory:
    """Sample and hold: read the source now, or keep what it read.

    read(count): the source. passed: how many of the hold's beats have passed since the beginning of time; None where it
    waits for something else, which is_struck tells.
    """
    count = memory.count + is_struck if passed is None else passed
    if memory.held is not None and count == memory.count:
        return memory
    return replace(memory, held=read(count), count=count)


def drawn(route: Route, *, seed: int, count: int) -> float:
    """A number for each `count`, 0..1: any for `random`, in turn 0 and 1 for `toggle`. Each route has its own."""
    if route.source == "toggle":
        return float(count % 2)
    return random_of(seed, route.name, count)


def followed(route: Route, memory: RouteMemory, source: float, *, dt_s: float) -> tuple[RouteMemory, bool]:
    """Follow a level for one frame. Also says whether the gate opened in this frame."""
    threshold = route.gate_off if memory.is_open else route.gate_on
    is_open = source >= threshold if route.is_gated else True
    goal = source if is_open else route.rest
    time_s = route.attack_s if goal > memory.value else route.release_s
    step = 1.0 if time_s <= 0 else -math.expm1(-max(dt_s, 0.0) / time_s)
    value = memory.value + (goal - memory.value) * step
    return replace(memory, value=value, is_open=is_open), is_open and not memory.is_open


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


def rung(route: Route, hits: tuple[tuple[float, float], ...], *, photon_s: float) -> float:
    """How far what hits [(at_s, strength), ...] set swinging is out at `photon_s`: 1 for one of full strength.

    A damped oscillator that is struck: its impulse response is exp(-t / release) sin(2 pi ring t), here scaled so that the
    first swing reaches as far as the hit is strong, and eased in over the attack. Responses add, as those of every linear
    oscillator do: a hit in time with the swing drives it on, one against it stops it. Range and curve say how hard a hit
    strikes, not where the swing is: a curve over the swing would bend it at its middle.
    """
    turn_hz = 2.0 * math.pi * route.ring_hz
    slope = turn_hz * route.release_s  # radians in which it falls to 37 %
    highest = math.exp(-math.atan(slope) / slope) * slope / math.hypot(1.0, slope)  # of its first swing
    out = 0.0
    for at_s, strength in hits:
        age_s = photon_s - at_s
        if age_s < 0 or strength < route.gate_on:
            continue
        eased = CURVES["smooth"](min(age_s / route.attack_s, 1.0)) if route.attack_s > 0 else 1.0
        hard = CURVES[route.curve](unit_of(route, strength))
        out += hard * eased * math.exp(-age_s / route.release_s) * math.sin(turn_hz * age_s)
    return out / highest


def unit_of(route: Route, value: float) -> float:
    """Where in the route's range a value of its source lies, 0..1."""
    return min(max((value - route.in_low) / (route.in_high - route.in_low), 0.0), 1.0)


def shaped(route: Route, value: float) -> float:
    """Range, curve, inversion and amount: what the route brings to its target."""
    return scaled(route, CURVES[route.curve](unit_of(route, value)))


def scaled(route: Route, unit: float) -> float:
    """Inversion and amount: what the route brings where its source is at `unit`, below zero too for what swings."""
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
