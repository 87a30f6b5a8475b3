"""A generator as engines compile it: latents in, finished bytes out.

Imports torch; engines import this module only when they have to build, so that a show from the cache needs none.

Thread: whoever calls.
"""

import torch
from torch import Tensor, nn

from performer.generators import family
from performer.generators.checkpoint import Checkpoint


class PictureNetwork(nn.Module):
    """ws [1, num_ws, w_dim] and noise gains [L] to a picture, u8 [R, R, 4] sRGB with alpha 255.

    -1..1 maps to bytes as x * 127.5 + 128, rounded down, as StyleGAN's own samplers do.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: Tensor, noise: Tensor) -> Tensor:
        return (rgba(self.generator, ws, noise)[0] * 127.5 + 128.0).clamp(0.0, 255.0).to(torch.uint8)


class SignalNetwork(nn.Module):
    """The same before quantisation: float [R, R, 4] in about -1..1. For measuring engines against the oracle."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: Tensor, noise: Tensor) -> Tensor:
        return rgba(self.generator, ws, noise)[0]


def rgba(generator: nn.Module, ws: Tensor, noise: Tensor) -> Tensor:  # [N, R, R, 4]
    """The picture channels-last with alpha 1, by the family's own fast form where it has one."""
    fast = getattr(generator, "forward_rgba", None)
    if fast is not None:
        return fast(ws, noise)
    image = generator(ws, noise).permute(0, 2, 3, 1)
    return torch.cat([image, torch.ones_like(image[..., :1])], dim=-1)


def build(checkpoint: Checkpoint) -> PictureNetwork:
    """The network of a species. Raises CheckpointError."""
    return PictureNetwork(family.build(checkpoint)).eval()
