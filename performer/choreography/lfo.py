"""Low-frequency oscillators: sources of routes that swing by themselves, in hertz or in beats.

Thread: any. Pure; an oscillator is a function of its phase.
"""

import hashlib
import math
from collections.abc import Callable

from performer.params import Kind, Param

LFO_NAMES = tuple(f"lfo.{number}" for number in range(1, 5))


def random_of(seed: int, name: str, index: int) -> float:
    """A number 0..1, another for each seed, name and index, and for the same three always the same."""
    digest = hashlib.blake2b(f"{seed} {name} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


def _noise(seed: int, name: str, phase: float) -> float:
    """From one number to the next without a corner."""
    index = math.floor(phase)
    part = phase - index
    part = part * part * (3.0 - 2.0 * part)
    before, after = random_of(seed, name, index), random_of(seed, name, index + 1)
    return before + (after - before) * part


# (seed, name, phase) -> 0..1; the first four begin at 0 but for the falling ramp
SHAPES: dict[str, Callable[[int, str, float], float]] = {
    "sine": lambda seed, name, phase: 0.5 - 0.5 * math.cos(2.0 * math.pi * phase),
    "triangle": lambda seed, name, phase: 1.0 - abs(1.0 - 2.0 * (phase % 1.0)),
    "ramp": lambda seed, name, phase: phase % 1.0,
    "fall": lambda seed, name, phase: 1.0 - phase % 1.0,
    "square": lambda seed, name, phase: float(phase % 1.0 >= 0.5),
    "steps": lambda seed, name, phase: random_of(seed, name, math.floor(phase)),
    "noise": _noise,
}
_SHAPES = tuple(SHAPES.values())


def lfo_params() -> tuple[Param, ...]:
    """The parameters of all oscillators."""
    shapes = ", ".join(f"{number} {name}" for number, name in enumerate(SHAPES))
    return tuple(
        param
        for name in LFO_NAMES
        for param in (
            Param(id=f"{name}.shape", kind=Kind.INT, high=float(len(SHAPES) - 1), help=shapes),
            Param(id=f"{name}.rate", default=0.25, high=20.0, unit="hz", help="how often it swings"),
            Param(id=f"{name}.beats", high=64.0, unit="beats", help="or how long it swings; 0 for the rate in hertz"),
            Param(id=f"{name}.phase", unit="turns", help="how far it is ahead"),
        )
    )


def lfo_value(name: str, *, shape: float, seed: int, phase: float) -> float:
    """What the oscillator reads at `phase` (1 is once round), 0..1. Each seed has random shapes of its own."""
    return _SHAPES[int(shape)](seed, name, phase)
