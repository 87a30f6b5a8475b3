"""Surprise: another look, drawn so that it seems to be chosen.

Noise would move everything a little. This moves few things far: one theme at least is the creature's own, others are of its
movement, its skin, its colours or the effects; of each theme the parameters that belong together. How far follows from
`wildness`, measured along each parameter's curve. What is drawn stays within what has been looked at: nothing here can
take the picture away.

Thread: render. Pure: the same seed and count draw the same look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from performer.flow import F32, GROUP_NAMES
from performer.params import Kind, ParamTable

STREAM = 6  # of the generator; those below are animals

# How far each may be taken, whatever the knob can do.
BOUNDS: dict[str, tuple[float, float]] = {
    "latent.coarse": (-1.8, 1.8),
    "latent.middle": (-1.8, 1.8),
    "latent.fine": (-2.0, 2.0),
    "latent.strangeness": (-0.5, 0.7),
    "latent.truncation": (0.5, 1.1),
    "latent.noise": (0.2, 2.5),
    "noise.coarse": (0.0, 2.5),
    "noise.middle": (0.0, 2.5),
    "noise.fine": (0.0, 2.5),
    "noise.speed": (0.0, 0.8),
    **{f"blend.{group}": (0.0, 1.0) for group in GROUP_NAMES},
    "walk.amount": (0.6, 1.3),
    "walk.speed": (0.03, 0.7),
    "walk.lag": (0.0, 1.5),
    "orbit.amount": (0.0, 0.55),
    "breathe.depth": (0.05, 0.8),
    "breathe.rate": (0.06, 0.5),
    "frame.zoom": (0.85, 1.8),
    "feedback.amount": (0.0, 0.88),
    "feedback.trail": (0.3, 3.0),
    "feedback.middle": (0.0, 0.3),
    "feedback.zoom": (-0.5, 0.5),
    "feedback.turn": (-0.15, 0.15),
    "feedback.drift": (-0.3, 0.3),
    "halo.strength": (0.0, 1.0),
    "halo.radius": (0.26, 0.48),
    "halo.reach": (0.05, 0.35),
    "grade.exposure": (-0.2, 0.35),
    "grade.contrast": (0.0, 0.45),
    "grade.saturation": (0.2, 1.6),
    "grade.hue": (-0.5, 0.5),
    "grade.warmth": (-0.9, 0.9),
    "grade.grain": (0.0, 0.6),
}
TRAIT = (-3.0, 3.0)  # deviations
# These go up where there is room: what goes with them is seen only where they are strong.
RISING = ("feedback.amount", "halo.strength", "orbit.amount", "breathe.depth")
UNKNOWN = (0.15, 0.85)  # of the range of an effect's input that nobody here has seen

# Themes: (weight, what always moves, how many of what may move besides, that). `trait` is any one of them.
Theme = tuple[float, tuple[str, ...], int, tuple[str, ...]]
CREATURE: tuple[Theme, ...] = (
    (3.0, ("latent.coarse",), 1, ("latent.middle", "latent.strangeness")),
    (2.0, ("latent.fine",), 1, ("latent.middle", "latent.noise")),
    (1.5, ("latent.middle",), 1, ("latent.coarse", "latent.fine")),
    (3.0, ("trait",), 1, ("latent.coarse", "latent.fine")),
    (1.5, ("latent.strangeness",), 1, ("latent.truncation", "latent.fine")),
    (2.0, ("blend.coarse",), 1, ("blend.middle",)),
    (2.0, ("blend.fine",), 1, ("blend.middle",)),
)
AROUND: tuple[Theme, ...] = (
    (3.0, ("grade.hue",), 1, ("grade.saturation", "grade.warmth")),
    (1.0, ("grade.saturation",), 1, ("grade.contrast", "grade.warmth")),
    (1.0, ("grade.exposure", "grade.contrast"), 1, ("grade.warmth", "grade.grain")),
    (2.0, ("feedback.amount",), 2, ("feedback.zoom", "feedback.turn", "feedback.trail", "feedback.middle")),
    (1.5, ("frame.zoom",), 0, ()),
    (1.0, ("halo.strength",), 1, ("halo.radius", "halo.reach")),
)
MOVEMENT: tuple[Theme, ...] = (
    (2.0, ("walk.speed",), 1, ("walk.lag", "walk.amount")),
    (1.0, ("orbit.amount",), 0, ()),
    (1.0, ("breathe.depth",), 1, ("breathe.rate",)),
    (1.0, ("latent.noise", "noise.speed"), 1, ("noise.coarse", "noise.middle", "noise.fine")),
)


@dataclass(frozen=True, slots=True)
class Acting:
    """What a cue's species has, of what not every one has."""

    traits: int = 0
    has_kin: bool = False  # whether it becomes another


class Surprise:
    """Draws. effects: the names of the effects whose inputs are parameters."""

    def __init__(self, table: ParamTable, *, effects: Sequence[str] = ()) -> None:
        self._table = table
        self._bounds: dict[str, tuple[float, float]] = {}  # 0..1 along the parameter's curve
        own, known = set(effects), {name.partition(".")[0] for name in BOUNDS}
        for param in table.params:
            if param.kind is not Kind.FLOAT or param.by_hand:
                continue
            head = param.id.partition(".")[0]
            if param.id in BOUNDS or head == "trait":
                low, high = BOUNDS.get(param.id, TRAIT)
                self._bounds[param.id] = (param.to_norm(max(low, param.low)), param.to_norm(min(high, param.high)))
            elif head in own and head not in known:
                self._bounds[param.id] = UNKNOWN
        strangers = dict.fromkeys(name.partition(".")[0] for name in self._bounds)
        self._effects: tuple[Theme, ...] = tuple(
            (1.5, (members[0],), 2, members[1:])
            for head in strangers
            if head not in known and head != "trait"
            for members in [tuple(name for name in self._bounds if name.partition(".")[0] == head)]
        )

    def drawn(self, values: F32, *, seed: int, count: int, wildness: float, acting: Acting) -> tuple[np.ndarray, F32]:
        """([P] bool, which parameters change; [P], the values). values: from where. wildness: 0..1, and no parameter goes
        further than that part of its range, along its curve. count: of surprises before."""
        word = STREAM << 48 | count & 0xFFFF_FFFF_FFFF
        lots = np.random.Generator(np.random.Philox(key=np.array([seed & 0xFFFF_FFFF_FFFF_FFFF, word], np.uint64)))
        named, goal = np.zeros(len(self._table), bool), values.copy()
        for name in self._names(lots, wildness=wildness, acting=acting):
            param, row = self._table[name], self._table.row(name)
            here = param.to_norm(float(values[row]))
            there = _moved(lots, here, self._bounds[name], wildness=wildness, rises=name in RISING)
            named[row], goal[row] = True, param.admit(param.from_norm(there))
        return named, goal

    def _names(self, lots: np.random.Generator, *, wildness: float, acting: Acting) -> list[str]:
        """The parameters that move."""
        traits = [f"trait.{number}" for number in range(1, acting.traits + 1)]

        def acts(name: str) -> bool:
            if name == "trait":
                return bool(traits)
            return name in self._bounds and (acting.has_kin or not name.startswith("blend."))

        pools = [[each for each in CREATURE if all(map(acts, each[1]))]]
        others = [each for each in (*AROUND, *self._effects, *MOVEMENT) if all(map(acts, each[1]))]
        wanted = int(1.0 + 2.4 * wildness + lots.random())
        pools += [others] * (wanted - 1)
        found: dict[str, None] = {}
        taken: set[str] = set()  # of a theme, by what leads it: two of one kind would cancel each other
        for pool in pools:
            fits = [each for each in pool if each[1][0].partition(".")[0] not in taken]
            if not fits:
                continue
            weights = np.array([each[0] for each in fits])
            _, always, most, besides = fits[int(lots.choice(len(fits), p=weights / weights.sum()))]
            taken.add(always[0].partition(".")[0])
            there = [name for name in besides if acts(name)]
            more = lots.permutation(len(there))[: min(most, len(there))]
            names = [*always, *(there[index] for index in more)]
            found |= dict.fromkeys(str(lots.choice(traits)) if name == "trait" else name for name in names)
        return list(found)


def _moved(
    lots: np.random.Generator, here: float, bounds: tuple[float, float], *, wildness: float, rises: bool
) -> float:
    """Another place 0..1, a good part of the way to one of the bounds. Who stands beyond one is not pushed back."""
    low, high = min(bounds[0], here), max(bounds[1], here)
    below, above = here - low, high - here
    is_up = lots.random() * (below + above) < above
    if rises:
        is_up = above > 0.25 * (below + above)
    elif min(below, above) < 0.25 * (below + above):  # hardly any room on one side
        is_up = above > below
    way = min((above if is_up else below) * wildness**0.7 * lots.uniform(0.6, 1.0), wildness)
    return here + way if is_up else here - way
