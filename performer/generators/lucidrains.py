"""The StyleGAN2 of lucidrains' stylegan2_pytorch: one w a block, pictures enlarged bilinearly, noise from one image.

The modulated convolution is that of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), with
styles around 0 instead of 1 and no equalised learning rate. Each block enlarges its input before it convolves; the RGB
skips are enlarged with Zhang, "Making Convolutional Networks Shift-Invariant Again" (2019).

Rows of ws: one a block, 4, 8, 16 … px. Noise layers: two a block. A noise map is uniform in 0..1, as in training, so
without noise the picture also shifts a little. Networks with attention or without a constant start are refused: their
arithmetic could not be checked.

Thread: whoever calls.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from performer.flow import F32, NOISE_MAPS
from performer.generators.checkpoint import Checkpoint, Sizes
from performer.generators.fastgan import NOISE_SEED
from performer.generators.ops import (
    LEAK,
    Guarded,
    bends_of,
    bent_planes,
    channels_last,
    clamped,
    demodulation,
    guarded,
    mixed_noise,
)
from performer.generators.weights import Weights

NAME = "lucidrains"
FIRST_PX = 4
BLUR_TAPS = (1.0, 2.0, 1.0)


class Modulated(Guarded):
    """A convolution whose input channels are scaled by w."""

    style_weight: Tensor
    style_bias: Tensor

    def __init__(self, weight: Tensor, style_weight: Tensor, style_bias: Tensor, *, demodulate: bool = True) -> None:
        super().__init__()
        self.register_buffer("weight", weight)  # [O, I, k, k]
        self.register_buffer("style_weight", style_weight)  # [I, w_dim]
        self.register_buffer("style_bias", style_bias + 1)  # [I]
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, I, H, W], [N, w_dim] -> [N, O, H, W]
        style = F.linear(w, self.style_weight, self.style_bias)
        scale, makeup = guarded(style, self.norm)
        x = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if not self.demodulate:  # as in `ops.ToRgb`
            return x.float() if makeup is None else x.float() * makeup[:, :, None, None]
        return x * demodulation(style, self.energy(), makeup).to(x.dtype)[:, :, None, None]


class NoisyConv(nn.Module):
    """Modulated convolution, noise with its own strength for each channel, leaky ReLU."""

    strength: Tensor
    bias: Tensor

    def __init__(self, conv: Modulated, strength: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("strength", strength.reshape(-1, 1, 1))  # [O, 1, 1]
        self.register_buffer("bias", bias.reshape(-1, 1, 1))  # [O, 1, 1]

    def forward(
        self,
        x: Tensor,  # [N, I, H, W]
        w: Tensor,  # [N, w_dim]
        noise: Tensor,  # [1 or N, 1, H, W], with its gain applied.
    ) -> Tensor:  # [N, O, H, W]
        x = self.conv(x, w) + noise * self.strength.to(x.dtype) + self.bias.to(x.dtype)
        return clamped(F.leaky_relu(x, LEAK), None)


class Lucidrains(nn.Module):
    """ws and noise gains to a picture in about -1..1."""

    const: Tensor

    def __init__(
        self,
        const: Tensor,  # The start, [1, C, 4, 4].
        convs: list[NoisyConv],  # Two a block.
        rgbs: list[Modulated],  # One a block.
    ) -> None:
        super().__init__()
        self.register_buffer("const", const)
        self.convs = nn.ModuleList(convs)
        self.rgbs = nn.ModuleList(rgbs)
        # Every layer cuts its noise out of the corner of one picture. It is kept about 0: `forward` adds the middle.
        size_px = FIRST_PX << (len(rgbs) - 1)
        generator = torch.Generator().manual_seed(NOISE_SEED)
        pictures = torch.rand(NOISE_MAPS, 1, 1, size_px, size_px, generator=generator) - 0.5
        for layer in range(len(convs)):
            layer_px = FIRST_PX << (layer // 2)
            self.register_buffer(f"noise_{layer}", pictures[..., :layer_px, :layer_px].clone())
        self.in_half = ("const", *(f"noise_{layer}" for layer in range(len(convs))))
        self.bends = nn.ModuleDict()  # by row

    def forward(
        self,
        ws: Tensor,  # [N, num_ws, w_dim]
        noise: Tensor,  # [noise_layers, 3]
        *,
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, 3 or 4, R, R]
        middle = torch.sqrt(noise.square().sum(dim=1)) * 0.5  # [noise_layers]
        x = channels_last(self.const).expand(ws.shape[0], -1, -1, -1)
        image: Tensor | None = None
        for block, to_rgb in enumerate(self.rgbs):
            w = ws[:, block]
            if block:
                x = enlarged(x)
            for layer in (2 * block, 2 * block + 1):
                drawn = mixed_noise(getattr(self, f"noise_{layer}"), noise[layer]) + middle[layer].to(x.dtype)
                x = self.convs[layer](x, w, drawn)
                x = bent_planes(x, bends, self.bends, block) if layer % 2 == 0 else x
            rgb = to_rgb(x, w)
            image = rgb if image is None else rgb + blurred(enlarged(image))
        assert image is not None, "a generator has at least one block"
        return 2 * image - 1  # drawn in 0..1

    def row_of(self, tensor: str) -> int:
        """The row of ws to whose layer a tensor of the network belongs."""
        part, index = (*tensor.split("."), "0")[:2]
        return {"convs": int(index) // 2, "rgbs": int(index)}.get(part, 0) if index.isdecimal() else 0


def enlarged(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
    """Twice the size, bilinearly."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def blurred(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
    """A small low-pass, mirrored at the border."""
    channels = x.shape[1]
    taps = torch.tensor(BLUR_TAPS)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    kernel = kernel.repeat(channels, 1, 1, 1).to(x)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=channels)


def sizes_of(tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of a generator, from its tensors. Raises CheckpointError."""
    weights = Weights(tensors)
    w_dim = weights.numbers("synthesis.blocks.0.to_style1.weight", None, None).shape[1]
    z_dim = weights.numbers("mapping.net.0.weight", w_dim, None).shape[1]
    blocks = 1
    while weights.any_under(f"synthesis.blocks.{blocks}."):
        blocks += 1
    size_px = FIRST_PX << (blocks - 1)
    return Sizes(
        height_px=size_px,
        width_px=size_px,
        z_dim=z_dim,
        w_dim=w_dim,
        num_ws=blocks,
        noise_layers=2 * blocks,
        coarse=min(2, blocks),
        middle=min(4, blocks),
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """The synthesis network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape, or the network has attention.
    """
    weights, w_dim = Weights(checkpoint.tensors, path=checkpoint.path), checkpoint.sizes.w_dim
    if weights.any_under("synthesis.attns."):
        raise weights.refusal("has attention (synthesis.attns); expected a network trained without attn_layers")
    const = weights.take("synthesis.initial_block", 1, None, FIRST_PX, FIRST_PX)
    width = const.shape[1]
    weight = weights.take("synthesis.initial_conv.weight", width, width, 3, 3)
    # The first convolution sees the same constant always: its result is the constant.
    const = F.conv2d(const, weight, weights.take("synthesis.initial_conv.bias", width), padding=1)
    convs, rgbs = [], []
    channels = None
    for block in range(checkpoint.sizes.num_ws):
        prefix = f"synthesis.blocks.{block}"
        for part in (1, 2):
            conv = _modulated(weights, f"{prefix}.conv{part}", f"{prefix}.to_style{part}", (None, width, 3), w_dim)
            width = conv.weight.shape[0]
            strength = weights.take(f"{prefix}.to_noise{part}.weight", width, 1)
            convs.append(NoisyConv(conv, strength, weights.take(f"{prefix}.to_noise{part}.bias", width)))
        to_rgb = f"{prefix}.to_rgb"
        rgb = _modulated(weights, f"{to_rgb}.conv", f"{to_rgb}.to_style", (channels, width, 1), w_dim, demodulate=False)
        channels = rgb.weight.shape[0]
        rgbs.append(rgb)
    if channels not in (3, 4):
        raise weights.refusal(f"draws {channels} channels; expected 3, or 4 with alpha")
    network = Lucidrains(const, convs, rgbs)
    network.bends = bends_of(checkpoint.sizes, lambda row: len(convs[2 * row].bias))
    return network.eval().requires_grad_(False)


def _modulated(
    weights: Weights,
    conv: str,
    style: str,
    shape: tuple[int | None, int, int],  # Output channels, input channels, kernel.
    w_dim: int,
    *,
    demodulate: bool = True,
) -> Modulated:
    outputs, inputs, kernel = shape
    return Modulated(
        weights.take(f"{conv}.weight", outputs, inputs, kernel, kernel),
        weights.take(f"{style}.weight", inputs, w_dim),
        weights.take(f"{style}.bias", inputs),
        demodulate=demodulate,
    )
