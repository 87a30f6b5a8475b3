"""Measures of a generator: how far its pictures are from real ones, whether it copies, how many it has, how it moves.

Pictures are arrays [N, H, W, 3] in 0..255, bytes or fractions, squares of one size. What compares pictures by their look
does so by what an `Eye` of `looks.py` sees of them.

Everything is deterministic: random positions, directions and subsets come from a seed.

Thread: any. Pure; no torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from performer.flow import F32, F64
from performer.training.looks import BINOMIAL, Pictures, halved

I64 = npt.NDArray[np.int64]

# Sliced Wasserstein distance, as published.
PATCH_PX = 7
PATCHES = 128  # of a picture and level
LEAST_LEVEL_PX = 16
REPEATS, DIRECTIONS = 4, 128

NEIGHBOURS = 5  # k of density and coverage: Naeem et al. (2020), section 3.2
SHIFT_PX = 1  # of a thumbnail: a 24th of the picture
NEAR = 0.05  # the part of real pictures that counts as near to another
ROUNDING = 1e-4  # of distances in an `Eye`, where pictures are about 10 apart


# Sliced Wasserstein distance.


def sliced_wasserstein(
    real: Pictures,
    generated: Pictures,  # as many
    *,
    seed: int = 0,
) -> dict[int, float]:
    """The distance x 1000 between the patches of two sets, by the side in pixels of the level, finest first.

    Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation" (2018), section 5: 7x7
    patches of the levels of a Laplacian pyramid (the last is what is left), each set normalised by its own mean and
    deviation in each colour channel; then the mean distance of the sorted projections on 4 x 128 random directions. So
    it sees grain, lines and their sharpness in the fine levels and shapes in the coarse ones, but no cast of colour.

    It grows as pictures become fewer: compare values of one count only. Both sets are cut at the same places, so that a
    set has no distance from itself.

    Raises:
        ValueError: the sets differ in number or size.
    """
    if real.shape != generated.shape:
        raise ValueError(f"pictures {list(real.shape)} and {list(generated.shape)}; expected as many, of one size")
    patches = zip(_patches(real, seed=seed), _patches(generated, seed=seed), strict=True)
    found = {}
    for level, (size_px, (ours, theirs)) in enumerate(zip(level_sizes(real.shape[1]), patches, strict=True)):
        rng = np.random.default_rng((seed, 1, level))
        distances = []
        for _ in range(REPEATS):
            directions = rng.standard_normal((ours.shape[1], DIRECTIONS), np.float32)
            directions /= np.linalg.norm(directions, axis=0)
            projected = [np.sort((directions.T @ patches.T), axis=1) for patches in (ours, theirs)]
            distances.append(np.abs(projected[0] - projected[1]).mean(dtype=np.float64))
        found[size_px] = 1000 * float(np.mean(distances))
    return found


def level_sizes(size_px: int) -> list[int]:
    """The sides of the levels of the pyramid of a picture, finest first; 16 px or more, but for a smaller picture."""
    sizes = [size_px]
    while -(-sizes[-1] // 2) >= LEAST_LEVEL_PX:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def _patches(pictures: Pictures, *, seed: int) -> list[F32]:
    """For each level [N * PATCHES, PATCH_PX * PATCH_PX * 3], normalised by channel."""
    sizes = level_sizes(pictures.shape[1])
    found = [np.empty((len(pictures), PATCHES, PATCH_PX, PATCH_PX, 3), np.float32) for _ in sizes]
    reach = np.arange(PATCH_PX)
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, 0, number))
        for level, band in enumerate(_laplacian(picture.astype(np.float32).transpose(2, 0, 1), len(sizes))):
            top, left = rng.integers(0, sizes[level] - PATCH_PX + 1, (2, PATCHES))
            rows, columns = (top[:, None] + reach)[:, :, None], (left[:, None] + reach)[:, None, :]
            found[level][number] = band.transpose(1, 2, 0)[rows, columns]
    for patches in found:
        patches -= patches.mean(axis=(0, 1, 2, 3), dtype=np.float64).astype(np.float32)
        patches /= np.maximum(patches.std(axis=(0, 1, 2, 3), dtype=np.float64), 1e-6).astype(np.float32)
    return [patches.reshape(-1, PATCH_PX * PATCH_PX * 3) for patches in found]


def _laplacian(planes: F32, levels: int) -> Iterator[F32]:  # [C, H, W]
    """The bands of a picture, finest first, and then what is left: Burt and Adelson (1983)."""
    for _ in range(levels - 1):
        small = halved(planes, edge="reflect")
        yield planes - _doubled(small, planes.shape[-2:])
        planes = small
    yield planes


def _doubled(planes: F32, size_px: tuple[int, ...]) -> F32:  # [C, h, w] -> [C, *size_px]
    """Twice as large: zeros between the pixels, smoothed with the same weights, times four."""
    sparse = np.zeros((planes.shape[0], *size_px), np.float32)
    sparse[:, ::2, ::2] = planes
    padded = np.pad(sparse, [(0, 0), (2, 2), (2, 2)], mode="reflect")
    height, width = size_px
    wide = sum(np.float32(2 * weight) * padded[:, tap : tap + height] for tap, weight in enumerate(BINOMIAL))
    return sum(np.float32(2 * weight) * wide[..., tap : tap + width] for tap, weight in enumerate(BINOMIAL))  # pyright: ignore


# Distances of sets of features.


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over subsets, and how far they scatter."""

    mean: float
    deviation: float


def kernel_distance(
    real: F64,  # [N, D]
    generated: F64,  # [M, D]
    *,
    subsets: int = 50,
    most: int = 200,  # pictures of each set in a subset; half of the smaller set at most
    seed: int = 0,
) -> Estimate:
    """KID: the squared distance of the means in the space of a cubic kernel, (x·y / D + 1)^3, without bias.

    Bińkowski et al., "Demystifying MMD GANs" (2018), section 4. About 0, and as often below as above, where both sets are
    drawn from the same pictures; since it has no bias, values of different counts can be compared.

    Raises:
        ValueError: a set has fewer than four pictures.
    """
    count = min(most, min(len(real), len(generated)) // 2)
    if count < 2:
        raise ValueError(f"{len(real)} and {len(generated)} pictures; expected 4 or more of each")
    rng = np.random.default_rng((seed, 2))
    found = []
    for _ in range(subsets):
        x, y = (each[rng.choice(len(each), count, replace=False)] for each in (real, generated))
        within = sum(
            (kernel.sum() - np.trace(kernel)) / (count * (count - 1)) for kernel in (_cubic(x, x), _cubic(y, y))
        )
        found.append(within - 2 * _cubic(x, y).mean())
    return Estimate(float(np.mean(found)), float(np.std(found)))


def _cubic(x: F64, y: F64) -> F64:
    kernel = x @ y.T / x.shape[1] + 1
    return kernel * kernel * kernel  # a tenth of the time of ** 3


def frechet_distance(
    real: F64,  # [N, D]
    generated: F64,  # [M, D]
) -> float:
    """FID: the squared distance of two normal distributions with the means and covariances of the sets.

    |m - n|² + tr(A + B - 2 (A B)^½): Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium" (2017), section 4. It grows as pictures become fewer: compare values of one count only.
    """
    x, y = real.astype(np.float64), generated.astype(np.float64)
    means = x.mean(axis=0), y.mean(axis=0)
    # A = X'X for the scaled offsets X; R of X = QR keeps that, and is no larger than it must be.
    ours, theirs = (
        np.asarray(np.linalg.qr((each - mean) / np.sqrt(len(each) - 1), mode="r"))
        for each, mean in zip((x, y), means, strict=True)
    )
    # tr (A B)^½ is the sum of the singular values of X Y': no root of a matrix, which rounding can make complex.
    shared = np.linalg.svd(ours @ theirs.T, compute_uv=False).sum()
    return float(((means[0] - means[1]) ** 2).sum() + (ours**2).sum() + (theirs**2).sum() - 2 * shared)


# Variety.


@dataclass(frozen=True, slots=True)
class Variety:
    """How many different pictures there are, beside as many real ones."""

    spread: float  # mean distance of two pictures, as part of that of real ones; 1 is as it should be
    twins: float  # 0..1, the part that is nearer to another than 19 of 20 real ones are; 0.05 is to be expected
    density: float  # how thickly real pictures are surrounded by others; about 1, less where pictures are unlike any
    coverage: float  # 0..1, the part of the real pictures that have another in their neighbourhood


def variety(
    real: F64,  # [N, D]
    generated: F64,  # [M, D]
) -> Variety:
    """Collapse in numbers, in the space of an `Eye`.

    Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (2020), equations
    (3) and (4), with k = 5; both depend on the counts: give as many pictures of both.

    Raises:
        ValueError: a set is not larger than k.
    """
    if min(len(real), len(generated)) <= NEIGHBOURS:
        raise ValueError(f"{len(real)} and {len(generated)} pictures; expected more than {NEIGHBOURS} of each")
    among_real, among_generated = _distances(real, real), _distances(generated, generated)
    for distances in (among_real, among_generated):
        np.fill_diagonal(distances, np.inf)  # nobody is one's own neighbour
    radii = np.partition(among_real, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    inside = _distances(generated, real) < radii
    return Variety(
        spread=_pairwise(among_generated) / max(_pairwise(among_real), 1e-12),
        twins=float((among_generated.min(axis=1) <= max(np.quantile(among_real.min(axis=1), NEAR), ROUNDING)).mean()),
        density=float(inside.sum() / (NEIGHBOURS * len(generated))),
        coverage=float(inside.any(axis=0).mean()),
    )


def mean_distance(seen: F64) -> float:  # [N, D]
    """The mean distance of two different pictures."""
    distances = _distances(seen, seen)
    np.fill_diagonal(distances, np.inf)
    return _pairwise(distances)


def _pairwise(distances: F64) -> float:
    """The mean of a square of distances with an infinite diagonal."""
    return float(distances[np.isfinite(distances)].mean())


def _distances(x: F64, y: F64) -> F64:  # [N, D], [M, D] -> [N, M]
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T)
    return np.sqrt(np.maximum(squares, 0))


# Copies.


def nearest(
    asked: F32,  # [N, T, T, 3], thumbs
    among: F32,  # [M, T, T, 3], thumbs
) -> tuple[I64, F32]:
    """Of each picture the one that is most like it: (its number [N], how far it is [N], RMS in steps of a byte).

    A picture may be mirrored and moved by up to a 24th of its side without becoming another.
    """
    flat = among.reshape(len(among), -1)
    lengths = (flat**2).sum(axis=1, dtype=np.float64).astype(np.float32)
    best = np.full(len(asked), np.inf, np.float32)
    found = np.zeros(len(asked), np.int64)
    moved = np.empty((len(asked), flat.shape[1]), np.float32)  # as it is most like that one
    for version in _versions(asked):
        squares = lengths - 2 * (version @ flat.T)
        place = squares.argmin(axis=1)
        square = np.take_along_axis(squares, place[:, None], axis=1)[:, 0] + (version**2).sum(axis=1)
        better = square < best
        best[better], found[better], moved[better] = square[better], place[better], version[better]
    # Anew from the differences: near 0, the difference of large numbers above is nothing but rounding.
    distances = np.sqrt(np.mean((moved - flat[found]) ** 2, axis=1, dtype=np.float64))
    return found, distances.astype(np.float32)


def _versions(pictures: F32) -> Iterator[F32]:  # [N, T * T * 3]
    """The pictures moved by -1 to 1 pixels in halves, and the same mirrored."""
    size_px, half_px = pictures.shape[1], 2 * SHIFT_PX
    for mirrored in (pictures, pictures[:, :, ::-1]):
        padded = np.pad(mirrored, [(0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX), (0, 0)], mode="edge")
        fine = _between(_between(padded, axis=1), axis=2)
        for top in range(2 * half_px + 1):
            for left in range(2 * half_px + 1):
                moved = fine[:, top : top + 2 * size_px - 1 : 2, left : left + 2 * size_px - 1 : 2]
                yield moved.reshape(len(pictures), -1)


def _between(array: F32, *, axis: int) -> F32:
    """With the mean of each two neighbours between them."""
    before, after = np.delete(array, -1, axis), np.delete(array, 0, axis)
    pairs = np.stack((before, (before + after) * np.float32(0.5)), axis=axis + 1)
    shape = list(array.shape)
    shape[axis] = 2 * (shape[axis] - 1)
    return np.concatenate((pairs.reshape(shape), np.take(array, [-1], axis)), axis)


@dataclass(frozen=True, slots=True)
class Copies:
    """How much nearer generated pictures are to the ones that were learnt from than unseen real pictures are."""

    ratio: float  # of the median distances; about 1 or more: no copies; near 0: nothing but copies
    near: float  # 0..1, the part that is nearer than 19 of 20 unseen ones; 0.05 is to be expected


def copies(
    generated: F32,  # [N], distances to the nearest picture that was learnt from
    unseen: F32,  # [M], the same of real pictures that were not
) -> Copies:
    """Both from distances by `nearest`. A blurred picture is nearer to all others than a sharp one, copied or not."""
    return Copies(
        ratio=float(np.median(generated) / max(float(np.median(unseen)), 1e-6)),
        near=float((generated < np.quantile(unseen, NEAR)).mean()),
    )


# Movement.


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How pictures follow each other along slow walks."""

    change: float  # mean change from frame to frame, RMS in steps of a byte
    jump: float  # the 99th percentile of the changes over their median: 1 is even, above 3 the walk jumps
    jerk: float  # how much the change itself changes, as part of it: 0 is a straight glide, above 1 it shakes
    reversal: float  # 0..1, the part of the change that is taken back by the next frame: flicker
    memory: float  # -1..1, lag-1 autocorrelation of the change: near 1 it flows, -0.5 is noise, -1 blinks


def steadiness(walks: Iterable[F32]) -> Steadiness:
    """Of frames [T, H, W, 3] in 0..255, not rounded to bytes (in a slow walk rounding would be most of the change).

    Walks are taken one after the other, so that they need not all be in memory.

    jerk is the median of |x(t+1) - 2 x(t) + x(t-1)| over the median of |x(t+1) - x(t)|, RMS over the picture. reversal
    takes each pixel's consecutive changes a, b of opposite sign: min(|a|, |b|) of |a| + |b|, doubled, summed over all.

    Raises:
        ValueError: a walk has fewer than three frames.
    """
    changes: list[float] = []
    bends: list[float] = []
    taken_back = moved = along = squares = 0.0
    for frames in walks:
        if len(frames) < 3:
            raise ValueError(f"a walk of {len(frames)} frames; expected three or more")
        before = None
        for one, next_one in zip(frames[:-1], frames[1:], strict=True):
            step = next_one.astype(np.float32) - one
            changes.append(_rms(step))
            if before is not None:
                bends.append(_rms(step - before))
                sizes = np.abs(before), np.abs(step)
                taken_back += 2 * float(np.minimum(*sizes)[before * step < 0].sum(dtype=np.float64))
                moved += float(sizes[0].sum(dtype=np.float64) + sizes[1].sum(dtype=np.float64))
                along += float((before * step).sum(dtype=np.float64))
                squares += float(np.sqrt((before**2).sum(dtype=np.float64) * (step**2).sum(dtype=np.float64)))
            before = step
    if not changes:
        raise ValueError("no walk; expected one or more")
    middle = max(float(np.median(changes)), 1e-9)
    return Steadiness(
        change=float(np.mean(changes)),
        jump=float(np.quantile(changes, 0.99)) / middle if max(changes) > 0 else 1.0,
        jerk=float(np.median(bends)) / middle,
        reversal=taken_back / max(moved, 1e-9),
        memory=along / max(squares, 1e-9),
    )


def _rms(array: F32) -> float:
    return float(np.sqrt(np.mean(array.astype(np.float64) ** 2)))


def path_length(
    walks: Sequence[F64],  # [T, D] each, what an `Eye` sees of consecutive frames
    *,
    step_rad: float,  # between frames, on a great circle of z
    apart: float,  # the mean distance of two real pictures
) -> float:
    """How far a walk goes in appearance, beside the straight way between two pictures: 1 is straight.

    After the perceptual path length of Karras et al., "A Style-Based Generator Architecture" (2019), section 4.1: the mean
    square of distance by angle. Here in the space of an `Eye` instead of VGG16's, and divided by that of a walk that
    reaches another picture, `apart` away, in a quarter circle at even speed. Compare species of one set.
    """
    speeds = [((walk[1:] - walk[:-1]) ** 2).sum(axis=1) / step_rad**2 for walk in walks]
    return float(np.mean(np.concatenate(speeds)) / max(apart / (np.pi / 2), 1e-12) ** 2)
