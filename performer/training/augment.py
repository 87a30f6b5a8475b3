"""Augmentations that gradients pass through, so that a critic of few pictures cannot learn them by heart.

Both kinds are applied to what the critic sees, real and generated alike:

- `light_touch`: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020), section 3: colour,
  translation and cutout, always; but colours less than published, where any colour passes for any other.
- `adaptive`: Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020), appendix B: flips, moves,
  turns, scales and colours, each with a probability that follows how sure the critic is of the real pictures.

Thread: whoever calls.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from performer.training.draws import Draws

BRIGHTER, MORE_SATURATED, MORE_CONTRAST = 0.1, 0.3, 0.15  # at most; published are 0.5, 1 and 0.5


def light_touch(x: Tensor, draws: Draws, name: str) -> Tensor:  # [N, 3, H, W] in -1..1
    """Colour, translation by up to an eighth, and a hole of half the side."""

    def uniform(part: str) -> Tensor:  # [N, 1, 1, 1]
        return draws.uniform(f"{name} {part}")[:, None, None, None]

    x = x + (uniform("brightness") * 2 - 1) * BRIGHTER
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + (uniform("saturation") * 2 - 1) * MORE_SATURATED)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + (uniform("contrast") * 2 - 1) * MORE_CONTRAST)
    x = moved(x, draws.uniform(f"{name} move", 2) * 0.25 - 0.125)
    return x * (1 - hole(x, draws.uniform(f"{name} hole", 2)))


def moved(
    x: Tensor,  # [N, C, H, W]
    shift: Tensor,  # [N, 2], in heights and widths; rounded to whole pixels.
) -> Tensor:  # [N, C, H, W]
    """`x` moved; what comes in from outside is 0, as published."""
    n, _, height, width = x.shape
    limits = torch.tensor([height, width], device=x.device)
    steps = (shift * limits).round().long()
    rows = torch.arange(height, device=x.device) - steps[:, :1]  # [N, H]
    columns = torch.arange(width, device=x.device) - steps[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    image = torch.arange(n, device=x.device)[:, None, None]
    gathered = x.permute(0, 2, 3, 1)[image, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return (gathered * inside[..., None]).permute(0, 3, 1, 2)


def hole(
    x: Tensor,  # [N, C, H, W]
    place: Tensor,  # [N, 2], 0..1: the middle of the hole, in heights and widths.
) -> Tensor:  # [N, 1, H, W], 1 in the hole
    """A square of half the picture's side, which may hang over its edge."""
    inside = []
    for axis, size in enumerate(x.shape[2:]):
        middle = (place[:, axis] * size).floor()[:, None]
        inside.append((torch.arange(size, device=x.device) - middle).abs() < size / 4)
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None].to(x.dtype)


def adaptive(x: Tensor, draws: Draws, name: str, probability: float) -> Tensor:  # [N, 3, H, W] in -1..1
    """Moves and colours, each with `probability` 0..1. At 0 nothing changes."""
    if probability <= 0:
        return x
    x = _placed(x, draws, name, probability)
    return _coloured(x, draws, name, probability)


def _chosen(draws: Draws, name: str, probability: float, value: Tensor, rest: float) -> Tensor:
    """`value` [N] with `probability`, else `rest`."""
    return torch.where(draws.uniform(f"{name}?") < probability, value, torch.full_like(value, rest))


def _placed(x: Tensor, draws: Draws, name: str, p: float) -> Tensor:
    """One affine map for each picture, sampled bilinearly, its edges held."""
    zeros = torch.zeros(len(x), device=x.device)
    turns = 1 - math.sqrt(1 - p)  # twice a chance to turn: the probability that either happens is p
    flip = 1 - 2 * _chosen(draws, f"{name} flip", p, (draws.uniform(f"{name} flip") < 0.5).float(), 0.0)
    quarter = _chosen(draws, f"{name} quarter", p, (draws.uniform(f"{name} quarter") * 4).floor(), 0.0) * (math.pi / 2)
    scale = _chosen(draws, f"{name} scale", p, torch.exp2(draws.normal(f"{name} scale") * 0.2), 1.0)
    first = _chosen(draws, f"{name} turn", turns, (draws.uniform(f"{name} turn") * 2 - 1) * math.pi, 0.0)
    stretch = _chosen(draws, f"{name} stretch", p, torch.exp2(draws.normal(f"{name} stretch") * 0.2), 1.0)
    second = _chosen(draws, f"{name} turn 2", turns, (draws.uniform(f"{name} turn 2") * 2 - 1) * math.pi, 0.0)
    move = [_chosen(draws, f"{name} move {axis}", p, draws.normal(f"{name} move {axis}") * 0.125, 0.0) for axis in "xy"]

    def turned(angle: Tensor) -> Tensor:
        return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())

    linear = (
        _matrix(flip, zeros, zeros, zeros + 1)
        @ turned(quarter)
        @ _matrix(scale, zeros, zeros, scale)
        @ turned(first)
        @ _matrix(stretch, zeros, zeros, 1 / stretch)
        @ turned(second)
    )
    theta = torch.cat([linear, 2 * torch.stack(move, dim=1)[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid.to(x.dtype), mode="bilinear", padding_mode="border", align_corners=False)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:  # [N, 2, 2]
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)


def _coloured(x: Tensor, draws: Draws, name: str, p: float) -> Tensor:
    """Brightness, contrast, a turn of the hue about grey, and saturation."""

    def spread(number: Tensor) -> Tensor:
        return number[:, None, None, None]

    brightness = _chosen(draws, f"{name} brightness", p, draws.normal(f"{name} brightness") * 0.2, 0.0)
    contrast = _chosen(draws, f"{name} contrast", p, torch.exp2(draws.normal(f"{name} contrast") * 0.5), 1.0)
    hue = _chosen(draws, f"{name} hue", p, (draws.uniform(f"{name} hue") * 2 - 1) * math.pi, 0.0)
    saturation = _chosen(draws, f"{name} saturation", p, torch.exp2(draws.normal(f"{name} saturation")), 1.0)
    x = x * spread(contrast) + spread(brightness)
    grey = x.mean(dim=1, keepdim=True)
    colour = (x - grey) * spread(saturation)
    # Rodrigues' rotation about the grey axis; the part along the axis is `grey`.
    crossed = (colour.roll(1, 1) - colour.roll(-1, 1)) / math.sqrt(3)
    return grey + colour * spread(hue.cos()) + crossed * spread(hue.sin())
