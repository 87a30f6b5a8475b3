"""Motions: how latents move by themselves. Each is a pure function of a phase, a seed and the species.

A motion is one entry in `MOTIONS`: the parameters it declares, the rate at which its phase advances, and the animals whose
offsets from the mean one it mixes, for each layer group. What all motions mix is added and then truncated.

Thread: render. Immutable but for the memo of mapped latents, which only saves time.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from performer.choreography.safe import Chosen, Hull
from performer.flow import F32, F64, GROUP_NAMES, GROUPS, NOISE_MAPS
from performer.params import Kind, Param

Values = Mapping[str, float]  # parameter id to value, for one frame


NOTES = ("c", "db", "d", "eb", "e", "f", "gb", "g", "ab", "a", "bb", "b")  # as features name them
_HUSH = 0.25  # the loudness squared of a note whose animal is still half way from the mean one

Key = tuple[int, int]  # (stream, index): an animal in one of a seed's endless rows of animals
NUMBERED = 5  # the stream of animals that have a number, the same in every cue: those of the official tools
Terms = list[tuple[int, Key, float]]  # (layer group, animal, how much of its offset from the mean animal)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What choreography must know of a species: its sizes and its mapping from z to w; and of what it may become.

    With a `partner` and `w_between` the two are siblings, and there is an animal of every seed at each blend of their
    mappings; the partner may have such a partner too, and so on. With a partner alone they are strangers, each with animals
    of its own.
    """

    num_ws: int
    w_dim: int
    z_dim: int
    noise_layers: int
    coarse: int  # ws[:coarse] shape the form
    middle: int  # ws[coarse:middle] shape the parts, the rest texture and colour
    w_avg: F32  # [w_dim]
    w_from_z: Callable[[F32], F32]  # [..., z_dim] -> [..., w_dim]
    traits: F32 | None = None  # [traits, groups, w_dim], one deviation each
    label_row: F32 | None = None  # [w_dim], the last row of ws where it is a label and no latent
    chosen: Chosen | None = None  # who stand for all others, and span the region that nothing leaves
    partner: "Anatomy | None" = None
    w_between: Callable[[F32, float], F32] | None = None  # ([..., z_dim], blend 0..1) -> [..., w_dim]
    _memo: dict[tuple[int, Key], F32] = field(default_factory=dict, repr=False)  # offsets
    _drawn: dict[tuple[int, Key], F32] = field(default_factory=dict, repr=False)  # and what they are mapped from
    _hull: list[Hull] = field(default_factory=list, repr=False)  # its own, once it was asked for

    _MEMO_SIZE = 512  # animals; at 512 dimensions a megabyte

    @property
    def siblings(self) -> int:
        """How many species it becomes, one after the other, through all that lies between."""
        return 0 if self.partner is None or self.w_between is None else 1 + self.partner.siblings

    @property
    def trait_count(self) -> int:
        """How many traits it has."""
        return 0 if self.traits is None else len(self.traits)

    def rows(self, group: int) -> slice:
        """The rows of ws that belong to a layer group (0 coarse, 1 middle, 2 fine)."""
        edges = (0, self.coarse, self.middle, self.num_ws)
        return slice(edges[group], edges[group + 1])

    def noise_rows(self, group: int) -> slice:
        """The noise layers that belong to a layer group; in thirds where the rows of ws are too few to tell."""
        if self.num_ws < GROUPS:
            edges = [self.noise_layers * third // GROUPS for third in range(GROUPS + 1)]
            return slice(edges[group], edges[group + 1])
        rows = self.rows(group)
        # As many noise layers a row in one family as in another: a row, two rows, or all but the last have one.
        return slice(*(-(-edge * self.noise_layers // self.num_ws) for edge in (rows.start, rows.stop)))

    def z(self, seed: int, key: Key) -> F32:
        """[z_dim], standard normal: an animal of a seed before the mapping.

        A counter-based generator (Philox; Salmon et al. 2011) makes animal one million as quickly as animal one.
        """
        drawn = self._drawn.get((seed, key))
        if drawn is not None:
            return drawn
        stream, index = key
        if self.chosen is not None and self.chosen.numbers and stream != NUMBERED:
            stream, index = NUMBERED, self.chosen.numbers[self.chosen.lot(seed, stream, index)]
        if stream == NUMBERED:  # numpy keeps this generator as it is for ever
            drawn = np.random.RandomState(index).randn(self.z_dim).astype(np.float32)
        else:
            word = (stream & 0xFFFF) << 48 | index & 0xFFFF_FFFF_FFFF
            bits = np.random.Philox(key=np.array([seed & 0xFFFF_FFFF_FFFF_FFFF, word], np.uint64))
            drawn = np.random.Generator(bits).standard_normal(self.z_dim, np.float32)
        if len(self._drawn) >= self._MEMO_SIZE:
            self._drawn.clear()
        self._drawn[seed, key] = drawn
        return drawn

    def anchor(self, seed: int, key: Key) -> F32:
        """The offset [w_dim] of an animal from the mean."""
        offset = self._memo.get((seed, key))
        if offset is None:
            if self.chosen is not None and self.chosen.latents is not None and key[0] != NUMBERED:
                offset = self.chosen.latents[self.chosen.lot(seed, *key)] - self.w_avg
            else:
                offset = self.w_from_z(self.z(seed, key)) - self.w_avg
            if len(self._memo) >= self._MEMO_SIZE:
                self._memo.clear()
            self._memo[seed, key] = offset
        return offset

    def radius(self) -> float:
        """How far animals are from the mean one, in the root mean square of sixteen."""
        offsets = [self.anchor(0, (NUMBERED, number)) for number in range(16)]
        return math.sqrt(sum(float(offset @ offset) for offset in offsets) / len(offsets))

    def hull(self, *, place: float = 0.0) -> Hull:
        """The region of the chosen, at a place on the way through siblings: between two, what lies between theirs."""
        assert self.chosen is not None
        if self.partner is not None and self.w_between is not None and place > 0.0:
            if place >= 1.0:
                return self.partner.hull(place=place - 1.0)
            ends = [each.hull().offsets[1:] for each in (self, self.partner)]
            return Hull(ends[0] + (ends[1] - ends[0]) * place)
        if not self._hull:
            if self.chosen.latents is not None:
                offsets = self.chosen.latents - self.w_avg
            else:
                offsets = np.stack([self.anchor(0, (NUMBERED, number)) for number in self.chosen.numbers])
            self._hull.append(Hull(offsets))
        return self._hull[0]

    def mean_and_offsets(self, seed: int, terms: Terms, *, place: float = 0.0) -> tuple[F32, F32]:
        """(the mean animal [w_dim], offsets from it [groups, w_dim]), at a place on the way through siblings.

        At 0 the mapping is its own, at 1 its partner's, at 2 that one's partner's; these are remembered. Between two of
        them the mapping is another in every frame: all animals pass it at once.
        """
        keys = dict.fromkeys(key for _, key, _ in terms)
        if self.partner is None or self.w_between is None or place <= 0.0:
            mean, anchors = self.w_avg, {key: self.anchor(seed, key) for key in keys}
        elif place >= 1.0:
            return self.partner.mean_and_offsets(seed, terms, place=place - 1.0)
        else:
            part = np.float32(place)
            mean = np.asarray(self.w_avg * (1 - part) + self.partner.w_avg * part, np.float32)
            z = np.array([self.z(seed, key) for key in keys], np.float32).reshape(-1, self.z_dim)
            anchors = dict(zip(keys, self.w_between(z, float(part)) - mean, strict=True))
        offsets = np.zeros((GROUPS, self.w_dim), np.float32)
        for group, key, amount in terms:
            offsets[group] += anchors[key] * np.float32(amount)
        return mean, offsets


def spline(*, stream: int, position: float, period: int = 0) -> list[tuple[Key, float]]:
    """Which animals, and how much of each: `position` on a smooth path past them, or on a closed loop of `period`.

    A uniform cubic B-spline: twice continuously differentiable, so that neither speed nor acceleration jumps. It averages
    four animals, which would shrink the offset towards the mean one; since they are independent, dividing by the root of
    the summed squares of the weights gives the spread back.
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
    places = [index - 1 + step for step in range(4)]
    return [
        ((stream, at % period if period else at), weight / spread) for at, weight in zip(places, weights, strict=True)
    ]


def breath(phase: float) -> float:
    """One breath a unit of phase, -1..1: in quickly, out slowly."""
    turn = 2 * math.pi * phase
    return math.sin(turn + 0.45 * math.sin(turn))


def _flutter(seed: int, phase: float) -> float:
    """Smooth noise about 1, so that no two breaths are alike: three sines whose periods share no multiple."""
    start = (seed * 0.618034) % 1.0
    turns = (phase * ratio + start * ratio * 7 for ratio in (0.381966, 0.7548777, 1.2207441))
    return 1.0 + 0.2 * sum(math.sin(2 * math.pi * turn) for turn in turns)


def _walk(values: Values, seed: int, phase: float) -> Terms:
    amount, lag = values["walk.amount"], values["walk.lag"]
    return [
        (group, key, weight * amount * reach)
        for group, reach in _reaches(values, "walk")
        for key, weight in spline(stream=0, position=phase - group * lag)
    ]


def _orbit(values: Values, seed: int, phase: float) -> Terms:
    points, amount = round(values["orbit.points"]), values["orbit.amount"]
    path = spline(stream=1, position=(phase % 1.0) * points, period=points)
    return [(group, key, weight * amount * reach) for group, reach in _reaches(values, "orbit") for key, weight in path]


def _breathe(values: Values, seed: int, phase: float) -> Terms:
    terms = []
    for group, reach in _reaches(values, "breathe"):
        # The breath runs through the body: form first, skin last, each along a direction of its own.
        later = phase - 0.12 * group
        swell = values["breathe.depth"] * breath(later) * _flutter(seed, later)
        terms.append((group, (2, group), swell * reach))
    return terms


def _reaches(values: Values, name: str) -> list[tuple[int, float]]:
    """(layer group, how much of a motion there is in it), without those that it does not reach."""
    reaches = [values[f"{name}.{group}"] for group in GROUP_NAMES]
    return [(group, reach) for group, reach in enumerate(reaches) if reach != 0.0]


def _reach_params(name: str) -> tuple[Param, ...]:
    return tuple(
        Param(id=f"{name}.{group}", default=1.0, high=2.0, help=f"of that, in the {group} layers ({what})")
        for group, what in zip(GROUP_NAMES, ("form", "parts", "texture and colour"), strict=True)
    )


def _chroma(values: Values, seed: int, phase: float) -> Terms:
    """An animal for each of the twelve notes, mixed as the notes sound together: chroma-weighted latents, as they are known
    from H. Brouwer, "Audio-reactive Latent Interpolations with StyleGAN" (2020).

    Loudness squared, so that a chord stands out of the overtones between its notes. As in `spline` the spread of one animal
    is given back to the mixture, but softly: where all notes are soft it goes to the mean, and nothing leaps as they die.
    """
    notes = [values[f"chroma.{note}"] ** 2 for note in NOTES]
    spread = math.sqrt(sum(loud * loud for loud in notes) + _HUSH**2)
    amount = values["chroma.amount"]
    return [
        (group, (4, number), loud / spread * amount * reach)
        for group, reach in _reaches(values, "chroma")
        for number, loud in enumerate(notes)
        if loud > 0.0
    ]


def push(group: int, amount: float) -> Terms:
    """A layer group pushed along a direction of its own."""
    return [(group, (3, group), amount)]


@dataclass(frozen=True, slots=True)
class Motion:
    """One way to move."""

    name: str
    help: str
    params: tuple[Param, ...]
    rate_hz: Callable[[Values, float], float]  # (values, beats a second) -> phase a second
    terms: Callable[[Values, int, float], Terms]  # (values, seed, phase) -> the animals that it mixes
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
            *_reach_params("walk"),
        ),
        rate_hz=lambda values, _: values["walk.speed"],
        terms=_walk,
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
            *_reach_params("orbit"),
        ),
        rate_hz=_orbit_rate_hz,
        terms=_orbit,
        amount="orbit.amount",
    ),
    Motion(
        name="breathe",
        help="the slow bubbling of something alive",
        params=(
            Param(id="breathe.depth", default=0.15, high=1.0, help="how deep a breath reaches"),
            Param(id="breathe.rate", default=0.18, low=0.01, high=4.0, unit="hz", curve="exp", help="breaths a second"),
            *_reach_params("breathe"),
        ),
        rate_hz=lambda values, _: values["breathe.rate"],
        terms=_breathe,
        amount="breathe.depth",
    ),
    Motion(
        name="chroma",
        help="an animal for each of the twelve notes, mixed as they sound",
        params=(
            Param(id="chroma.amount", default=0.0, high=1.5, help="how far the notes stray from the mean animal"),
            *(Param(id=f"chroma.{note}", help=f"how much of the animal of {note}") for note in NOTES),
            *_reach_params("chroma"),
        ),
        rate_hz=lambda values, _: 0.0,
        terms=_chroma,
        amount="chroma.amount",
    ),
)


def motion_params() -> tuple[Param, ...]:
    """The parameters of all motions, and of how many animals make them."""
    return (*(param for motion in MOTIONS for param in motion.params), *_SWARM)


SWARM_MOST = 9
_SWARM = (
    Param(
        id="swarm.count",
        kind=Kind.INT,
        default=1.0,
        low=1.0,
        high=float(SWARM_MOST),
        help="animals that share the frame, each on a walk of its own",
    ),
    Param(id="swarm.spread", default=1.0, help="how far they differ from the first"),
)


def ws_from_offsets(
    anatomy: Anatomy,
    mean: F32,  # [w_dim]
    offsets: F32,  # [groups, w_dim]
    *,
    truncation: float,
    cutoff: int | None = None,
    strange: Callable[[F32], F32] | None = None,
    traits: Sequence[float] = (),
) -> F32:
    """Spread group offsets over the layers, truncate, and add traits, in deviations: [num_ws, w_dim].

    Rows from `cutoff` on are not truncated. Nor are traits: a knob does the same to a tame animal as to a wild one. strange:
    what becomes of truncated offsets [num_ws, w_dim].

    Truncation is w_avg + psi (w - w_avg): Karras et al., "A Style-Based Generator Architecture" (2019), section 3.
    """
    ws = np.empty((anatomy.num_ws, anatomy.w_dim), np.float32)
    for group in range(GROUPS):
        ws[anatomy.rows(group)] = offsets[group]
    ws[:cutoff] *= np.float32(truncation)
    if strange is not None:
        ws = strange(ws)
    ws += mean
    for amount, direction in zip(traits, anatomy.traits if anatomy.traits is not None else (), strict=True):
        if amount != 0.0:
            for group in range(GROUPS):
                ws[anatomy.rows(group)] += direction[group] * np.float32(amount)
    if anatomy.label_row is not None:
        ws[-1] = anatomy.label_row
    return ws


def noise_gains(
    anatomy: Anatomy,
    *,
    strengths: Sequence[float],  # of each layer group
    seed: int,
    phase: float,
) -> F32:
    """[noise_layers, 3], the gains of the noise maps of each layer, of length `strengths`.

    Three maps, mixed by a direction in space, are as strong as one, whatever the direction. Seed 0 at phase 0 is the map
    that the network was trained with; other seeds are other directions. With the phase the direction leaves where it
    began, on a way that does not come back: noise that lives, but does not flicker.
    """
    turn, tilt = 2 * math.pi * phase, 2 * math.pi * phase * 0.381966
    # Two turns about different axes, whose periods share no multiple.
    direction = np.array([math.cos(turn) * math.cos(tilt), math.sin(tilt), math.sin(turn) * math.cos(tilt)])
    direction = direction @ _noise_axes(seed)
    gains = np.empty((anatomy.noise_layers, NOISE_MAPS), np.float32)
    for group, strength in enumerate(strengths):
        gains[anatomy.noise_rows(group)] = direction * strength
    return gains


@functools.lru_cache(maxsize=64)
def _noise_axes(seed: int) -> F64:
    """[3, 3], orthonormal: where the direction of a noise seed begins, and where it turns to."""
    if not seed:
        return np.eye(NOISE_MAPS)
    drawn = np.random.Generator(np.random.Philox(key=seed)).standard_normal((NOISE_MAPS, NOISE_MAPS))
    return np.linalg.qr(drawn)[0]


def trait_params(names: Sequence[str]) -> tuple[Param, ...]:
    """The parameters `trait.1`, `trait.2` … of a species with traits of these names."""
    return tuple(
        Param(id=f"trait.{number}", low=-8.0, high=8.0, unit="deviations", help=f"{name}, from the mean animal")
        for number, name in enumerate(names, 1)
    )


BEND_KNOBS = ("x", "y", "turn", "zoom", "gain", "threshold", "drop")


def bend_params() -> tuple[Param, ...]:
    """The parameters of network bending: `BEND_KNOBS` for each layer group."""
    params = []
    for group in GROUP_NAMES:
        what = f"the features of the {group} layers"
        params += [
            Param(id=f"bend.{group}.x", low=-2.0, high=2.0, help=f"shift {what} right, in widths"),
            Param(id=f"bend.{group}.y", low=-2.0, high=2.0, help=f"shift {what} down, in heights"),
            Param(id=f"bend.{group}.turn", low=-2.0, high=2.0, unit="turns", help=f"turn {what} clockwise"),
            Param(id=f"bend.{group}.zoom", default=1.0, low=0.1, high=10.0, curve="exp", help=f"enlarge {what}"),
            Param(id=f"bend.{group}.gain", default=1.0, low=-2.0, high=4.0, help=f"amplify {what}"),
            Param(id=f"bend.{group}.threshold", high=8.0, help=f"silence {what} that are weaker"),
            Param(id=f"bend.{group}.drop", help=f"silence this part of {what}, channel by channel"),
        ]
    return tuple(params)


def bend_row(knobs: Sequence[float]) -> F32:
    """A layer group's row of `LatentFrame.bends` [7] from the values of `BEND_KNOBS`."""
    x, y, turns, zoom, *rest = knobs
    turn = 2 * math.pi * turns
    return np.array([math.cos(turn) / zoom, math.sin(turn) / zoom, x, y, *rest], np.float32)


def input_transform(*, x: float, y: float, turns: float, zoom: float) -> F32:
    """Where a movable input is sampled [3, 3], so that the picture shifts by (x, y), turns clockwise and grows.

    The inverse of the picture's own move, in units of the picture, about its middle; y runs downwards (Karras et al.,
    "Alias-Free Generative Adversarial Networks" (2021), section 3.2). The identity, bit for bit, where nothing moves.
    """
    cos, sin = math.cos(2 * math.pi * turns) / zoom, math.sin(2 * math.pi * turns) / zoom
    back = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    there = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
    return (back @ there).astype(np.float32)
