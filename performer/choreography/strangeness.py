"""Strangeness: one knob between the animal that everybody knows and the one that nobody can name.

Downwards is truncation: w_avg + psi (w - w_avg), with a smaller and smaller psi; Karras et al., "A Style-Based Generator
Architecture" (2019), section 3. Upwards truncation alone does not lead far: what is further out along the same line is
soon a caricature, then a blur, then blank paper, since nothing was ever trained there. So an offset is also turned out of
the directions that the mapping yields, in each row of ws into others: the same animal, in a body that no animal has. A turn
changes no length and no distance, so a latent that moves smoothly still does, and is never faster than it grows.

The constants were chosen by eye, on the bundled species: the skin turns strange first, parts then, the form last, because a
form that has dissolved leaves nothing for a skin to be strange on.

Thread: render. Pure.
"""

import functools
import math

import numpy as np

from performer.choreography.motion import Anatomy
from performer.flow import F32, GROUPS

TAME_PSI = 0.35  # truncation at -1: still more than one animal
# Of the coarse, middle and fine layers: between which strangenesses they turn, how far, and how much they grow.
_FROM_TO = ((0.3, 1.0), (0.15, 0.9), (0.0, 0.75))
_TURNS = (math.radians(47), math.radians(70), math.radians(60))
_GROWTHS = (1.3, 2.8, 3.2)  # near the mean animal; the further out, the less
_MOST = (1.05, 2.1, 2.8)  # radii of the species that nothing gets beyond: a form that is further out fades away


def tamed(truncation: float, strangeness: float) -> float:
    """Truncation at a strangeness: as it is from 0 upwards, `TAME_PSI` at -1 where it was more."""
    if strangeness >= 0.0:
        return truncation
    return truncation + (min(truncation, TAME_PSI) - truncation) * min(-strangeness, 1.0)


def estranged(anatomy: Anatomy, offsets: F32, strangeness: float) -> F32:
    """Offsets [num_ws, w_dim] from the mean animal, turned and grown: [num_ws, w_dim].

    A length r becomes most tanh(growth r / most): what knobs and sound have already pushed far out grows no more, so that
    they and strangeness together end in neither white nor black.
    """
    radius = anatomy.radius()
    out = offsets.copy()
    for group in range(GROUPS):
        low, high = _FROM_TO[group]
        part = min(max((strangeness - low) / (high - low), 0.0), 1.0)
        part = part * part * (3.0 - 2.0 * part)
        if part == 0.0:
            continue
        cos, sin = math.cos(_TURNS[group] * part), math.sin(_TURNS[group] * part)
        for row in range(*anatomy.rows(group).indices(anatomy.num_ws)):
            far = _GROWTHS[group] / (_MOST[group] * radius) * float(np.linalg.norm(offsets[row]))
            grown = 1.0 + (_GROWTHS[group] * (math.tanh(far) / far if far > 1e-9 else 1.0) - 1.0) * part
            onto, signs = _quarter_turn(anatomy.w_dim, row)
            out[row] = offsets[row] * np.float32(grown * cos) + offsets[row][onto] * signs * np.float32(grown * sin)
    return out


@functools.lru_cache(maxsize=64)
def _quarter_turn(size: int, row: int) -> tuple[np.ndarray, F32]:
    """(which number comes to each place [size], with which sign): a turn by a right angle, another for each row of ws.

    Numbers are paired by lot, and each pair is turned in its plane; of an odd size one stays out, and becomes zero.
    """
    lot = np.random.Generator(np.random.Philox(key=row)).permutation(size)
    first, second = lot[: size // 2], lot[size // 2 : 2 * (size // 2)]
    onto, signs = np.arange(size), np.zeros(size, np.float32)
    onto[first], signs[first] = second, -1.0
    onto[second], signs[second] = first, 1.0
    return onto, signs
