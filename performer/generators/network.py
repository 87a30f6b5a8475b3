"""A generator as engines compile it: latents in, finished bytes out.

Imports torch; engines import this module only when they have to build, so that a show from the cache needs none.

Thread: whoever calls.
"""

import torch
from torch import Tensor, nn

from performer.generators import family
from performer.generators.checkpoint import Checkpoint, Sizes


class PictureNetwork(nn.Module):
    """Latents to a picture, u8 [H, W, 4] sRGB with alpha 255.

    `inputs` names what it takes, in order, as fields of `LatentFrame`: `ws` [1, num_ws, w_dim]; `noise` [noise_layers],
    where the generator has noise; `transform` [3, 3], where its input can be moved.

    -1..1 maps to bytes as x * 127.5 + 128, rounded down, as StyleGAN's own samplers do.
    """

    def __init__(self, generator: nn.Module, *, sizes: Sizes) -> None:
        super().__init__()
        self.generator = generator
        self.sizes = sizes
        self.inputs = tuple(example_of(generator, sizes))

    def forward(self, *latent: Tensor) -> Tensor:
        return (self.signal(*latent) * 127.5 + 128.0).clamp(0.0, 255.0).to(torch.uint8)

    def signal(self, *latent: Tensor) -> Tensor:  # [H, W, 4]
        """The same before quantisation, in about -1..1."""
        given = dict(zip(self.inputs, latent, strict=True))
        noise = given.get("noise")
        if noise is None:
            noise = given["ws"].new_zeros(0)
        moved = (given["transform"],) if "transform" in given else ()
        return rgba(self.generator, given["ws"], noise, *moved)[0]

    def examples(self) -> tuple[Tensor, ...]:
        """One tensor for each input: what tracers start from."""
        return tuple(example_of(self.generator, self.sizes).values())


class SignalNetwork(nn.Module):
    """A picture network before quantisation. For measuring engines against the oracle."""

    def __init__(self, picture: PictureNetwork) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, *latent: Tensor) -> Tensor:
        return self.picture.signal(*latent)


def example_of(generator: nn.Module, sizes: Sizes) -> dict[str, Tensor]:
    """The inputs of a generator, by name, with values that leave the picture alone."""
    inputs = {"ws": torch.zeros(1, sizes.num_ws, sizes.w_dim)}
    if sizes.noise_layers:
        inputs["noise"] = torch.ones(sizes.noise_layers)
    if getattr(generator, "takes_transform", False):
        inputs["transform"] = torch.eye(3)
    return inputs


def rgba(generator: nn.Module, ws: Tensor, noise: Tensor, *moved: Tensor) -> Tensor:  # [N, H, W, 4]
    """The picture channels-last with alpha 1, by the family's own fast form where it has one."""
    fast = getattr(generator, "forward_rgba", None)
    if fast is not None:
        return fast(ws, noise, *moved)
    image = generator(ws, noise, *moved).permute(0, 2, 3, 1)
    color = image[..., :3]
    if image.shape[-1] == 4:  # what is transparent shows black, as an empty stage does
        color = (color + 1) * ((image[..., 3:] + 1) / 2).clamp(0, 1) - 1
    return torch.cat([color, torch.ones_like(image[..., :1])], dim=-1)


def build(checkpoint: Checkpoint) -> PictureNetwork:
    """The network of a species. Raises CheckpointError."""
    return PictureNetwork(family.build(checkpoint), sizes=checkpoint.sizes).eval()
