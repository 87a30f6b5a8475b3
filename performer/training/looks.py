"""What a picture looks like, in numbers made by hand, which need no trained network.

Pictures are arrays [N, H, W, 3] in 0..255, bytes or fractions, squares of one size. An `Eye` sees the features of pictures
in the directions in which the real ones vary. It was chosen by what it says of 200 unseen moths of 128 px, spoilt on
purpose, beside 600 others. KID, in deviations of what it says of unspoilt ones:

| spoilt by | eye | features as they are | random convolutions | EfficientNet-Lite0 |
| --- | --- | --- | --- | --- |
| nothing | -2 | -1 | -1 | -2 |
| blur of 0.7 px; 1.5 px; 3 px | 140; 880; 2600 | 16; 110; 420 | 0; 3; 9 | 29; 180; 590 |
| a cast of 4 %; 10 % | 11; 160 | 10; 130 | 21; 1900 | 0; 6 |
| grain of 4 steps; a checkerboard of 3 | 2800; 780 | 170; 120 | 1; 1 | 140; 0 |
| two pictures in one | 110 | 19 | 4 | 29 |
| outlines bent by 2 px; 5 px | 5; 86 | -1; 1 | -1; -1 | 8; 185 |
| 30 of them again and again; 10 | 30; 110 | 6; 37 | 2; 3 | 31; 89 |
| a quarter are one picture | 17 | 4 | 0 | 38 |
| engravings of moths; caterpillars instead | 1100; 4900 | 560; 1200 | 32; 47 | 230; 2400 |

So the eye misses nothing of these, grain and patterns that Lite0 is blind to included; of shapes, Lite0 knows more.

Thread: any. Pure; no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from performer.flow import F32, F64, U8

Pictures = U8 | F32  # [N, H, W, 3], 0..255
Blocks = tuple[F32, ...]  # features by kind and scale, [N, ...] each

SHARE_PIXELS = 1 << 16  # that are looked at at once: what fits into the processor's cache
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)

COLOUR_GRID, GRID = 8, 4  # cells a side
OCTAVES = 5
HISTOGRAM_PX = 64
LUMAS = np.linspace(0.1, 0.9, 5)  # centres of the colour histogram ...
REDS = np.array([-0.15, 0.0, 0.12, 0.3, 0.5])  # ... of (red - blue) / 2
GREENS = np.array([-0.15, -0.05, 0.0, 0.08])  # ... of (2 green - red - blue) / 4
SEEN = 64  # directions
SOFTENING = 0.1
STILL_FEATURE = 2e-3  # a kind of feature that varies less than this does not vary: half a step of a byte

THUMB_PX = 24
THUMB_BLUR_PX = 1.4


def features(pictures: Pictures) -> Blocks:
    """What a picture looks like, in numbers of about 0 to 1, kind by kind: [N, ...] each.

    - The mean colour (luma and two differences of colours) in 8 x 8 cells.
    - A soft histogram of the colours of the whole picture.
    - For each of five octaves, in 4 x 4 cells, how strongly the luma changes in four directions and at points, how
      strongly the colour changes, and how strongly the change of luma itself changes one and two octaves coarser. The
      last is a scattering transform of second order, which tells one texture from another of the same fineness: Bruna
      and Mallat, "Invariant Scattering Convolution Networks" (2013), here with differences as wavelets. Octaves that a
      small picture has not are left out.

    Strengths are means of absolute values, as square roots: a faint texture on plain ground counts.
    """
    seen = [_looked_at(share) for share in _shares(pictures)]
    return tuple(np.concatenate(blocks) for blocks in zip(*seen, strict=True))


def _shares(pictures: Pictures) -> Iterator[Pictures]:
    size = max(1, SHARE_PIXELS // (pictures.shape[1] * pictures.shape[2]))
    return (pictures[first : first + size] for first in range(0, len(pictures), size))


def _looked_at(pictures: Pictures) -> list[F32]:
    red, green, blue = np.moveaxis(pictures.astype(np.float32) / np.float32(255), -1, 0)
    planes = np.stack(((red + green + blue) / 3, (red - blue) / 2, (2 * green - red - blue) / 4), axis=1)
    small = halved(planes)
    while small.shape[-1] > HISTOGRAM_PX:
        small = halved(small)
    found = [_pooled(planes, COLOUR_GRID), _histogram(small)]
    for _ in range(OCTAVES):
        if min(planes.shape[-2:]) < 2 * GRID:
            break
        luma, colours = planes[:, :1], planes[:, 1:]
        x, y = _slopes(luma)
        turned = np.float32(np.sqrt(0.5))
        directions = np.concatenate((x, (x + y) * turned, y, (y - x) * turned), axis=1)
        strengths = [_pooled(np.abs(directions), GRID), _pooled(np.abs(_points(luma)), GRID)]
        strengths.append(_pooled(sum(_lengths(*_slopes(colours[:, n : n + 1])) for n in range(2)) / 2, GRID))  # pyright: ignore
        strength = _lengths(x, y)
        for _ in range(2):
            strength = halved(strength)
            if min(strength.shape[-2:]) >= 2 * GRID:
                strengths.append(_pooled(np.abs(np.concatenate(_slopes(strength), axis=1)), GRID))
        found += [np.sqrt(block) for block in strengths]
        planes = halved(planes)
    return found


def _slopes(planes: F32) -> tuple[F32, F32]:  # [N, C, h, w]
    """Central differences to the right and downwards."""
    padded = np.pad(planes, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    half = np.float32(0.5)
    return (
        (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * half,
        (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * half,
    )


def _lengths(x: F32, y: F32) -> F32:
    return np.sqrt(x * x + y * y)  # a fifth of the time of numpy.hypot


def _points(planes: F32) -> F32:  # [N, C, h, w]
    """The difference from the mean of the four neighbours, times four."""
    padded = np.pad(planes, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    around = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2] + padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    return around - 4 * planes


def _pooled(planes: F32, cells: int) -> F32:  # [N, C, h, w] -> [N, C * cells * cells]
    """Means over cells; neighbouring cells differ by a pixel in size where the side is no multiple."""
    for axis in (-2, -1):
        size = planes.shape[axis]
        edges = np.arange(cells + 1) * size // cells
        # A picture smaller than the grid: each cell is the pixel that it lies in.
        counts = np.maximum(np.diff(edges), 1).astype(np.float32)
        sums = np.add.reduceat(planes, np.minimum(edges[:-1], size - 1), axis=axis)
        planes = sums / (counts[:, None] if axis == -2 else counts)
    return planes.reshape(len(planes), -1)


def _histogram(planes: F32) -> F32:  # [N, 3, h, w] -> [N, bins]
    """The part of the pixels that is near each colour, as square roots; the parts of a picture add up to 1."""
    nearness = []
    for values, centres in zip(np.moveaxis(planes, 1, 0), (LUMAS, REDS, GREENS), strict=True):
        width = np.float32(np.diff(centres).mean() / 2)
        exponent = -(((values.reshape(len(values), -1, 1) - centres.astype(np.float32)) / width) ** 2) / 2
        weight = np.exp(exponent - exponent.max(axis=-1, keepdims=True))
        nearness.append(weight / weight.sum(axis=-1, keepdims=True))
    lumas, reds, greens = nearness
    by_colour = (reds[..., :, None] * greens[..., None, :]).reshape(*reds.shape[:2], -1)
    parts = lumas.transpose(0, 2, 1) @ by_colour / np.float32(lumas.shape[1])
    return np.sqrt(parts.reshape(len(parts), -1))


@dataclass(frozen=True, slots=True)
class Eye:
    """The directions in which real pictures vary, and how much: what `features` are seen in.

    Each kind of feature is scaled to the same spread, so that none drowns the others; the 64 directions (fewer for fewer
    pictures) of the largest spread are kept, and the weaker ones are lifted to nearly the strength of the strongest:
    what breaks a rule that all real pictures keep shows, even where it is little beside what they differ in.
    """

    mean: F64  # [F]
    directions: F64  # [F, SEEN], scaled

    @classmethod
    def of(cls, real: Blocks) -> "Eye":
        """Made for these real pictures, two at least. What they show then has a mean square of 1 in each number."""
        scales = [
            np.hypot(np.sqrt(block.var(axis=0).mean()), STILL_FEATURE) * np.sqrt(block.shape[1]) for block in real
        ]
        scale = np.concatenate([np.full(block.shape[1], each) for block, each in zip(real, scales, strict=True)])
        whole = np.concatenate(real, axis=1).astype(np.float64)
        mean = whole.mean(axis=0)
        _, strengths, right = np.linalg.svd((whole - mean) / scale, full_matrices=False)
        kept = min(SEEN, len(whole) - 1, len(strengths))
        variances = np.maximum(strengths[:kept] ** 2 / len(whole), 1e-12)
        softened = np.sqrt(variances + SOFTENING * variances.mean())
        unit = np.sqrt(np.mean(variances / softened**2))
        return cls(mean=mean, directions=(right[:kept].T / (softened * unit)) / scale[:, None])

    def seen(self, blocks: Blocks) -> F64:  # [N, SEEN]
        """The same view of any pictures of the same size."""
        return (np.concatenate(blocks, axis=1) - self.mean) @ self.directions


def thumbs(pictures: Pictures) -> F32:  # [N, T, T, 3], 0..255
    """Small and soft pictures, 24 px a side, in which a copy is found though it is not the same to the pixel."""
    # About the middle of the picture the same to both sides: a mirrored picture gives the mirrored thumbnail.
    places, centres = ((np.arange(count) + 0.5) / count for count in (pictures.shape[1], THUMB_PX))
    weights = np.exp(-(((places - centres[:, None]) * THUMB_PX / THUMB_BLUR_PX) ** 2) / 2)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    found = np.empty((len(pictures), THUMB_PX, THUMB_PX, 3), np.float32)
    for number, picture in enumerate(pictures):
        for channel in range(3):
            found[number, ..., channel] = weights @ picture[..., channel].astype(np.float32) @ weights.T
    return found


def halved(planes: F32, *, edge: str = "edge") -> F32:  # [..., H, W] -> [..., ceil(H / 2), ceil(W / 2)]
    """Smoothed with (1 4 6 4 1) / 16 both ways, and every second pixel. `edge` is a mode of numpy.pad."""
    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(2, 2), (2, 2)], mode=edge)  # pyright: ignore
    height, width = planes.shape[-2:]
    wide = sum(np.float32(weight) * padded[..., tap : tap + height : 2, :] for tap, weight in enumerate(BINOMIAL))
    return sum(np.float32(weight) * wide[..., tap : tap + width : 2] for tap, weight in enumerate(BINOMIAL))  # pyright: ignore
