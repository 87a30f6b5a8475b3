"""A safe region: latents kept within the convex hull of chosen animals and the mean one, for walls that anybody passes.

Whatever moves a latent, it is brought to the nearest point of the hull at the end. The nearest point of a convex set never
moves further than what it is nearest to, so that a motion which did not leap still does not, whichever faces of the hull it
passes. It is found in barycentric coordinates c >= 0, sum c = 1, by the alternating direction method of multipliers (Boyd
et al., "Distributed Optimization and Statistical Learning via the Alternating Direction Method of Multipliers" (2011),
section 5.2), over-relaxed, with a fixed number of steps: every step is a continuous function of the one before, other than
those of active-set and conditional-gradient methods, which choose a vertex and jump where they choose another one.

Thread: render. Immutable.
"""

from dataclasses import dataclass

import numpy as np

from performer.flow import F32, F64

MOST = 256  # chosen animals; a frame takes longer by the square of them
_STEPS = 64  # within a few thousandths of the species' radius, with 64 animals; closer with fewer
_RELAXED = 1.8
_PENALTY = 1.0  # in mean squared lengths of what is chosen
_RIDGE = 1e-3  # the same, of the start


@dataclass(frozen=True, slots=True)
class Chosen:
    """Animals that people have looked at: by their numbers, or as latents."""

    numbers: tuple[int, ...] = ()
    latents: F32 | None = None  # [chosen, w_dim]

    def __len__(self) -> int:
        return len(self.numbers) if self.latents is None else len(self.latents)

    def lot(self, seed: int, stream: int, index: int) -> int:
        """Which of them stands for an animal of a seed: all in turn, in an order by lot, before any comes again."""
        turn, place = divmod(index, len(self))
        word = (stream & 0xFFFF) << 48 | turn & 0xFFFF_FFFF_FFFF
        bits = np.random.Philox(key=np.array([seed & 0xFFFF_FFFF_FFFF_FFFF, word], np.uint64))
        return int(np.random.Generator(bits).permutation(len(self))[place])


class Hull:
    """The convex hull of offsets [chosen, w_dim] from the mean animal, and of that one."""

    def __init__(self, offsets: np.ndarray) -> None:
        self.offsets: F64 = np.vstack([np.zeros_like(offsets[:1]), offsets]).astype(np.float64)
        gram = self.offsets @ self.offsets.T
        size = float(np.trace(gram)) / len(gram) or 1.0
        self._start = _solved(gram, _RIDGE * size)
        self._base = _solved(gram, _PENALTY * size)
        self._step: F64 = _RELAXED * (_PENALTY * size * self._base[0] - 0.5 * np.eye(len(gram)))

    def nearest(self, points: np.ndarray) -> F64:
        """The nearest points of the hull to offsets [points, w_dim]: [points, w_dim]."""
        along = np.asarray(points, np.float64) @ self.offsets.T
        base = _RELAXED * (along @ self._base[0] + self._base[1])
        # With s = c + u: z = max(s, 0) and u = min(s, 0), so that z - u = |s|. It begins at the least squares, which within
        # the hull is the answer.
        s = np.clip(along @ self._start[0] + self._start[1], -1.0, 2.0)
        size, moved = np.empty_like(s), np.empty_like(s)
        for _ in range(_STEPS):
            np.abs(s, out=size)
            np.dot(size, self._step, out=moved)
            s *= 1.0 - 0.5 * _RELAXED
            s += moved
            s += base
        weights = np.maximum(s, 0.0)
        return (
            weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
        ) @ self.offsets  # the rest is the mean one's


def _solved(gram: F64, penalty: float) -> tuple[F64, F64]:
    """Of the minimum of |offsets' c - x|^2 + penalty |c - z|^2 where the sum of c is 1: (what offsets x + penalty z is
    multiplied with [chosen, chosen], what is added [chosen])."""
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    ones = inverse.sum(axis=0)
    return inverse - np.outer(ones, ones) / ones.sum(), ones / ones.sum()


def kept(ws: F32, mean: F32, hull: Hull, *, label: bool = False) -> F32:
    """Latents [num_ws, w_dim], each row within the hull about the mean [w_dim]. label: the last is one, and stays."""
    rows = ws[:-1] if label else ws
    runs = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]).any(axis=1)])  # most rows of a group are the same
    near = hull.nearest(rows[runs] - mean)
    out = ws.copy()
    out[: len(rows)] = np.repeat(near + mean, np.diff(np.r_[runs, len(rows)]), axis=0)
    return out
