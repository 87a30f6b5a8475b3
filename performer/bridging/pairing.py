"""Pairs of look-alikes: mutual nearest neighbours without hubs, and of these some that differ from each other.

Thread: any. Pure; no torch.
"""

import numpy as np
import numpy.typing as npt

from performer.flow import F64

I64 = npt.NDArray[np.int64]

NEIGHBOURS = 10  # that say how crowded it is about a picture: Conneau et al. (2018), section 2.3
CANDIDATES = 8  # times as many pairs as are wanted are chosen from, the nearest ...
SHARE = 0.5  # ... and of the mutual pairs the nearer half: a pair that differs from all is often none that is alike
LIKENESS = 1.0  # how much nearness counts beside diversity


def distances(first: F64, second: F64) -> F64:  # [N, D], [M, D] -> [N, M]
    """Euclidean."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * (first @ second.T)
    return np.sqrt(np.maximum(squares, 0.0))


def csls(apart: F64) -> F64:  # [N, M], distances -> the same, corrected
    """Distances in which hubs are no nearer than others: 2 d(a, b) - r(a) - r(b).

    Cross-domain similarity local scaling: Conneau et al., "Word Translation Without Parallel Data" (2018), section 2.3,
    for distances instead of cosines. r is the mean distance to the nearest neighbours on the other side. In many
    dimensions a few pictures, mostly bland ones, are near to all; they would be the partner of everything.
    """
    count = min(NEIGHBOURS, *apart.shape)
    ours = np.partition(apart, count - 1, axis=1)[:, :count].mean(axis=1)
    theirs = np.partition(apart, count - 1, axis=0)[:count].mean(axis=0)
    return 2 * apart - ours[:, None] - theirs


def mutual(apart: F64) -> I64:  # [N, M] -> [pairs, 2]
    """The pairs of which each is the nearest of the other, in the order of the first."""
    nearest, back = apart.argmin(axis=1), apart.argmin(axis=0)
    first = np.flatnonzero(back[nearest] == np.arange(len(apart)))
    return np.stack([first, nearest[first]], axis=1)


def diverse(
    places: F64,  # [pairs, D], where the pairs are
    apart: F64,  # [pairs], how far their two pictures are
    *,
    count: int,
) -> I64:  # [count], all different
    """The numbers of `count` pairs that are near and that differ from each other.

    The greedy search for the likeliest set of a determinantal point process: Chen et al., "Fast Greedy MAP Inference for
    Determinantal Point Process to Improve Recommendation Diversity" (2018), algorithm 1. The likeness of two pairs is a
    Gaussian of their distance, as wide as the median distance; the quality of a pair falls with the distance of its two.
    The first is the nearest pair of all.
    """
    between = distances(places, places)
    width = float(np.median(between[between > 0])) if (between > 0).any() else 1.0
    span = max(float(np.median(apart) - apart.min()), 1e-12)
    quality = np.exp(-LIKENESS * (apart - apart.min()) / span)
    kernel = np.exp(-((between / width) ** 2)) * quality[:, None] * quality
    gains = np.diag(kernel).copy()
    rows = np.zeros((0, len(apart)))
    chosen: list[int] = []
    for _ in range(count):
        open_gains = gains.copy()
        open_gains[chosen] = -np.inf
        best = int(open_gains.argmax())
        row = (kernel[best] - (rows[:, best] @ rows if chosen else 0.0)) / np.sqrt(max(gains[best], 1e-12))
        rows = np.concatenate([rows, row[None]])
        gains = np.maximum(gains - row * row, 0.0)
        chosen.append(best)
    return np.array(chosen, np.int64)


def choose(first: F64, second: F64, *, count: int) -> I64:  # places [N, D] and [M, D] -> [count, 2]
    """`count` pairs, one of each side, no picture in two of them, those that look most alike first.

    Raises:
        ValueError: a side has fewer than `count` pictures.
    """
    if count > min(len(first), len(second)):
        raise ValueError(f"{count} pairs of {len(first)} and {len(second)} pictures; expected as many of each or more")
    apart = distances(first, second)
    pairs = mutual(csls(apart))
    near = apart[pairs[:, 0], pairs[:, 1]]
    most = min(CANDIDATES * count, max(count, round(SHARE * len(pairs))))
    pairs = pairs[np.argsort(near, kind="stable")[:most]]
    if len(pairs) < count:
        pairs = _filled(pairs, apart, count=count)
    near = apart[pairs[:, 0], pairs[:, 1]]
    middles = (first[pairs[:, 0]] + second[pairs[:, 1]]) / 2
    chosen = diverse(middles, near, count=count)
    return pairs[chosen[np.argsort(near[chosen], kind="stable")]]


def _filled(pairs: I64, apart: F64, *, count: int) -> I64:
    """With the nearest of the pictures that are left, where too few pairs are mutual."""
    left = apart.copy()
    left[pairs[:, 0]] = np.inf
    left[:, pairs[:, 1]] = np.inf
    found = list(pairs)
    while len(found) < count:
        ours, theirs = np.unravel_index(int(left.argmin()), left.shape)
        left[ours], left[:, theirs] = np.inf, np.inf
        found.append(np.array([ours, theirs], np.int64))
    return np.array(found, np.int64)
