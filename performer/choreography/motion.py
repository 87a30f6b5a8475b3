"""Motions: how latents move by themselves. Each is a pure function of a phase, a seed and the species.

A motion is one entry in `MOTIONS`: the parameters it declares, the rate at which its phase advances, and the offset from
the mean latent that it makes for each layer group. Offsets of all motions are added and then truncated.

Thread: render. Immutable but for the memo of mapped latents, which only saves time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from performer.flow import F32, F64
from performer.params import Param

GROUPS = ("coarse", "middle", "fine")
Values = Mapping[str, float]  # parameter id to value, for one frame


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What choreography must know of a species: its sizes and its mapping from z to w."""

    num_ws: int
    w_dim: int
    z_dim: int
    noise_layers: int
    coarse: int  # ws[:coarse] shape the form
    middle: int  # ws[coarse:middle] shape the parts, the rest texture and colour
    w_avg: F32  # [w_dim]
    w_from_z: Callable[[F32], F32]  # [z_dim] -> [w_dim]
    traits: F32 | None = None  # [traits, groups, w_dim], one deviation each
    label_row: F32 | None = None  # [w_dim], the last row of ws where it is a label and no latent
    _memo: dict[tuple[int, int, int], F32] = field(default_factory=dict, repr=False)

    _MEMO_SIZE = 512  # anchors; at 512 dimensions a megabyte

    def rows(self, group: int) -> slice:
        """The rows of ws that belong to a layer group (0 coarse, 1 middle, 2 fine)."""
        edges = (0, self.coarse, self.middle, self.num_ws)
        return slice(edges[group], edges[group + 1])

    def anchor(self, seed: int, stream: int, index: int) -> F32:
        """The offset [w_dim] from the mean of animal `index` in a seeded, endless row of animals.

        A counter-based generator (Philox; Salmon et al. 2011) makes animal one million as quickly as animal one.
        """
        key = (seed, stream, index)
        offset = self._memo.get(key)
        if offset is None:
            word = (stream & 0xFFFF) << 48 | index & 0xFFFF_FFFF_FFFF
            bits = np.random.Philox(key=np.array([seed & 0xFFFF_FFFF_FFFF_FFFF, word], np.uint64))
            z = np.random.Generator(bits).standard_normal(self.z_dim, np.float32)
            offset = self.w_from_z(z) - self.w_avg
            if len(self._memo) >= self._MEMO_SIZE:
                self._memo.clear()
            self._memo[key] = offset
        return offset


def spline(anatomy: Anatomy, *, seed: int, stream: int, position: float, period: int = 0) -> F32:
    """The offset [w_dim] at `position` on a smooth path past the anchors; with `period`, on a closed loop of that many.

    A uniform cubic B-spline: twice continuously differentiable, so that neither speed nor acceleration jumps. It averages
    four anchors, which would shrink the offset towards the mean animal; since anchors are independent, dividing by the
    root of the summed squares of the weights gives the spread back.
    """
    index = math.floor(position)
    u = position - index
    weights = (
        (1 - u) ** 3 / 6,
        (3 * u**3 - 6 * u**2 + 4) / 6,
        (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
        u**3 / 6,
    )
    spread = math.sqrt(sum(weight * weight for weight in weights))
    offset = np.zeros(anatomy.w_dim, np.float32)
    for step, weight in enumerate(weights):
        at = index - 1 + step
        offset += anatomy.anchor(seed, stream, at % period if period else at) * np.float32(weight / spread)
    return offset


def breath(phase: float) -> float:
    """One breath a unit of phase, -1..1: in quickly, out slowly."""
    turn = 2 * math.pi * phase
    return math.sin(turn + 0.45 * math.sin(turn))


def _flutter(seed: int, phase: float) -> float:
    """Smooth noise about 1, so that no two breaths are alike: three sines whose periods share no multiple."""
    start = (seed * 0.618034) % 1.0
    turns = (phase * ratio + start * ratio * 7 for ratio in (0.381966, 0.7548777, 1.2207441))
    return 1.0 + 0.2 * sum(math.sin(2 * math.pi * turn) for turn in turns)


def _walk(anatomy: Anatomy, values: Values, seed: int, phase: float) -> F32:
    amount = values["walk.amount"]
    lag = values["walk.lag"]
    offsets = np.empty((len(GROUPS), anatomy.w_dim), np.float32)
    for group in range(len(GROUPS)):
        offsets[group] = spline(anatomy, seed=seed, stream=0, position=phase - group * lag)
    return offsets * np.float32(amount)


def _orbit(anatomy: Anatomy, values: Values, seed: int, phase: float) -> F32:
    points = round(values["orbit.points"])
    position = (phase % 1.0) * points
    offset = spline(anatomy, seed=seed, stream=1, position=position, period=points)
    return np.broadcast_to(offset * np.float32(values["orbit.amount"]), (len(GROUPS), anatomy.w_dim))


def _breathe(anatomy: Anatomy, values: Values, seed: int, phase: float) -> F32:
    depth = values["breathe.depth"]
    offsets = np.zeros((len(GROUPS), anatomy.w_dim), np.float32)
    for group in range(len(GROUPS)):
        # The breath runs through the body: form first, skin last, each along a direction of its own.
        later = phase - 0.12 * group
        swell = depth * breath(later) * _flutter(seed, later)
        offsets[group] = anatomy.anchor(seed, 2, group) * np.float32(swell)
    return offsets


@dataclass(frozen=True, slots=True)
class Motion:
    """One way to move."""

    name: str
    help: str
    params: tuple[Param, ...]
    rate_hz: Callable[[Values, float], float]  # (values, beats a second) -> phase a second
    offsets: Callable[[Anatomy, Values, int, float], F32]  # (species, values, seed, phase) -> [groups, w_dim]
    amount: str  # the parameter that, at zero, makes the motion not worth computing


def _orbit_rate_hz(values: Values, beats_hz: float) -> float:
    beats = values["orbit.beats"]
    return beats_hz / beats if beats > 0 else 1.0 / values["orbit.period"]


MOTIONS: tuple[Motion, ...] = (
    Motion(
        name="walk",
        help="smooth noise: an endless way past seeded animals",
        params=(
            Param(id="walk.amount", default=1.0, high=1.5, help="how far the walk strays from the mean animal"),
            Param(id="walk.speed", default=0.12, high=4.0, unit="hz", help="animals passed a second"),
            Param(
                id="walk.lag",
                default=0.25,
                high=2.0,
                help="how far parts and texture trail behind the form, in animals",
            ),
        ),
        rate_hz=lambda values, _: values["walk.speed"],
        offsets=_walk,
        amount="walk.amount",
    ),
    Motion(
        name="orbit",
        help="a seamless loop past a few animals, in seconds or in beats",
        params=(
            Param(id="orbit.amount", default=0.0, high=1.5, help="how far the loop strays from the mean animal"),
            Param(
                id="orbit.period", default=20.0, low=0.5, high=3600.0, unit="s", curve="exp", help="length of the loop"
            ),
            Param(id="orbit.beats", default=0.0, high=256.0, unit="beats", help="length in beats; 0 counts in seconds"),
            Param(id="orbit.points", default=6.0, low=4.0, high=64.0, help="animals on the loop"),
        ),
        rate_hz=_orbit_rate_hz,
        offsets=_orbit,
        amount="orbit.amount",
    ),
    Motion(
        name="breathe",
        help="the slow bubbling of something alive",
        params=(
            Param(id="breathe.depth", default=0.15, high=1.0, help="how deep a breath reaches"),
            Param(id="breathe.rate", default=0.18, low=0.01, high=4.0, unit="hz", curve="exp", help="breaths a second"),
        ),
        rate_hz=lambda values, _: values["breathe.rate"],
        offsets=_breathe,
        amount="breathe.depth",
    ),
)


def motion_params() -> tuple[Param, ...]:
    """The parameters of all motions."""
    return tuple(param for motion in MOTIONS for param in motion.params)


def ws_from_offsets(
    anatomy: Anatomy,
    offsets: F32 | F64,
    *,
    truncation: float,
    traits: Sequence[float] = (),
) -> F32:
    """Spread group offsets [groups, w_dim] over the layers, truncate, and add traits, in deviations: [num_ws, w_dim].

    Traits are not truncated: a knob does the same to a tame animal as to a wild one.

    Truncation is w_avg + psi (w - w_avg): Karras et al., "A Style-Based Generator Architecture" (2019), section 3.
    """
    ws = np.empty((anatomy.num_ws, anatomy.w_dim), np.float32)
    for group in range(len(GROUPS)):
        ws[anatomy.rows(group)] = anatomy.w_avg + offsets[group] * np.float32(truncation)
    for amount, direction in zip(traits, anatomy.traits if anatomy.traits is not None else (), strict=True):
        if amount != 0.0:
            for group in range(len(GROUPS)):
                ws[anatomy.rows(group)] += direction[group] * np.float32(amount)
    if anatomy.label_row is not None:
        ws[-1] = anatomy.label_row
    return ws


def trait_params(names: Sequence[str]) -> tuple[Param, ...]:
    """The parameters `trait.1`, `trait.2` … of a species with traits of these names."""
    return tuple(
        Param(id=f"trait.{number}", low=-8.0, high=8.0, unit="deviations", help=f"{name}, from the mean animal")
        for number, name in enumerate(names, 1)
    )


def input_transform(*, x: float, y: float, turns: float, zoom: float) -> F32:
    """Where a movable input is sampled [3, 3], so that the picture shifts by (x, y), turns clockwise and grows.

    The inverse of the picture's own move, in units of the picture, about its middle; y runs downwards (Karras et al.,
    "Alias-Free Generative Adversarial Networks" (2021), section 3.2). The identity, bit for bit, where nothing moves.
    """
    cos, sin = math.cos(2 * math.pi * turns) / zoom, math.sin(2 * math.pi * turns) / zoom
    back = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    there = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
    return (back @ there).astype(np.float32)
