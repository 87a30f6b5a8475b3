"""lucidrains' lightweight-gan: FastGAN with pixel shuffles, blurs and a first picture of unit length.

After Liu et al., "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis" (2021). Batch
norms use their running statistics and are folded into the convolutions. Grey pictures come out as RGB.

There is no w: the one row of ws is z as drawn. Truncation scales z towards 0, and there is no style mixing. All layers
blend with a sibling alike, with their norms folded in.

Networks with gates between sizes or with attention are refused: their arithmetic could not be checked.

Thread: whoever calls.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from performer.flow import F32
from performer.generators.checkpoint import Checkpoint, Sizes
from performer.generators.fastgan import FIRST_PX, FirstPicture, Norm, batch_norm, glu, level_bends, register_noise
from performer.generators.lucidrains import blurred
from performer.generators.ops import bent_planes, channels_last, clamped, mixed_noise
from performer.generators.weights import Weights

NAME = "lightweight"
SHUFFLE = 2


class Block(nn.Module):
    """Twice the size by a pixel shuffle, low-pass, convolution, noise, half of the channels gated by the other."""

    in_half = ("up_weight", "weight")

    up_weight: Tensor
    up_bias: Tensor
    weight: Tensor
    bias: Tensor
    noise_strength: Tensor

    def __init__(
        self,
        up: tuple[Tensor, Tensor],  # Weight [4I, I, 1, 1] and bias [4I], before the shuffle.
        conv: tuple[Tensor, Tensor],  # Weight [2O, I, 4, 4] and bias [2O].
        norm: Norm,  # Of 2O channels.
        *,
        noise_strength: Tensor,  # [1]
    ) -> None:
        super().__init__()
        self.register_buffer("up_weight", up[0])
        self.register_buffer("up_bias", up[1])
        self.register_buffer("weight", conv[0] * norm.gain[:, None, None, None])
        self.register_buffer("bias", conv[1] * norm.gain + norm.shift)
        # Noise comes before the normalisation, which therefore scales it too.
        self.register_buffer("noise_strength", (noise_strength * norm.gain)[:, None, None])

    def forward(
        self,
        x: Tensor,  # [N, I, H, W]
        noise: Tensor,  # [1 or N, 1, 2H, 2W], with its gain applied.
    ) -> Tensor:  # [N, O, 2H, 2W]
        x = blurred(F.pixel_shuffle(F.silu(F.conv2d(x, self.up_weight, self.up_bias.to(x.dtype))), SHUFFLE))
        # The kernel of 4 has no middle: one zero more goes before than after.
        x = F.conv2d(F.pad(x, (2, 1, 2, 1)), self.weight, self.bias.to(x.dtype))
        return glu(clamped(x + noise * self.noise_strength.to(x.dtype), None))


class Lightweight(nn.Module):
    """z and noise gains to a picture in about -1..1."""

    head: Tensor
    head_bias: Tensor

    def __init__(
        self,
        first: FirstPicture,
        blocks: list[Block],
        head: tuple[Tensor, Tensor],  # Weight [3 or 4, C, 3, 3] and bias [3 or 4].
    ) -> None:
        super().__init__()
        self.first = first
        self.blocks = nn.ModuleList(blocks)
        # Drawn in 0..1; the last convolution brings that to -1..1.
        self.register_buffer("head", 2 * head[0])
        self.register_buffer("head_bias", 2 * head[1] - 1)
        names = register_noise(self, [FIRST_PX << (level + 1) for level in range(len(blocks))])
        self.in_half = ("head", *names)
        self.bends = level_bends([first.channels, *(len(block.bias) // 2 for block in blocks)])

    def forward(
        self,
        ws: Tensor,  # z in its one row, [N, 1, z_dim].
        noise: Tensor,  # [noise_layers, 3]
        *,
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, 3 or 4, R, R]
        x = bent_planes(
            channels_last(F.normalize(self.first(ws[:, 0]), dim=1).to(self.head.dtype)), bends, self.bends, 0
        )
        for layer, block in enumerate(self.blocks):
            x = block(x, mixed_noise(getattr(self, f"noise_{layer}"), noise[layer]))
            x = bent_planes(x, bends, self.bends, layer + 1)
        return F.conv2d(x, self.head, self.head_bias.to(x.dtype), padding=1).float()


def sizes_of(tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of a generator, from its tensors. Raises CheckpointError."""
    weights = Weights(tensors)
    z_dim = weights.numbers("initial_conv.0.weight", None, None, FIRST_PX, FIRST_PX).shape[0]
    blocks = 0
    while weights.any_under(f"layers.{blocks}.0."):
        blocks += 1
    if not blocks:
        raise weights.refusal("tensor layers.0.0.0.net.0.weight is missing; expected shape [any, any, 1, 1]")
    size_px = FIRST_PX << blocks
    return Sizes(
        height_px=size_px,
        width_px=size_px,
        z_dim=z_dim,
        w_dim=z_dim,
        num_ws=1,
        noise_layers=blocks,
        coarse=1,
        middle=1,
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """The network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape, or the network has gates or attention.
    """
    weights = Weights(checkpoint.tensors, path=checkpoint.path)
    z_dim = checkpoint.sizes.z_dim
    first = weights.take("initial_conv.0.weight", z_dim, None, FIRST_PX, FIRST_PX)
    first_bias = weights.take("initial_conv.0.bias", first.shape[1])
    width = first.shape[1] // 2
    blocks = []
    for layer in range(checkpoint.sizes.noise_layers):
        for part, what in ((1, "a gate"), (2, "attention")):
            if weights.any_under(f"layers.{layer}.{part}."):
                raise weights.refusal(f"has {what} (layers.{layer}.{part}); expected plain layers, as up to 64 px")
        prefix = f"layers.{layer}.0"
        up = _conv(weights, f"{prefix}.0.net.0", (SHUFFLE * SHUFFLE * width, width, 1))
        conv = _conv(weights, f"{prefix}.2.1", (None, width, 4))
        outputs = conv[0].shape[0]
        norm = batch_norm(weights, f"{prefix}.4", outputs)
        blocks.append(Block(up, conv, norm, noise_strength=weights.take(f"{prefix}.3.weight", 1)))
        width = outputs // 2
    head, head_bias = _conv(weights, "out_conv", (None, width, 3))
    if len(head) not in (1, 3, 4):
        raise weights.refusal(f"draws {len(head)} channels; expected 1, 3, or 4 with alpha")
    if len(head) == 1:
        head, head_bias = head.repeat(3, 1, 1, 1), head_bias.repeat(3)
    first_norm = batch_norm(weights, "initial_conv.1", first.shape[1])
    picture = FirstPicture(first, first_norm, bias=first_bias)
    return Lightweight(picture, blocks, (head, head_bias)).eval().requires_grad_(False)


def _conv(
    weights: Weights,
    key: str,
    shape: tuple[int | None, int, int],  # Output channels, input channels, kernel.
) -> tuple[Tensor, Tensor]:  # [O, I, k, k], [O]
    """A convolution's weight and bias."""
    outputs, inputs, kernel = shape
    weight = weights.take(f"{key}.weight", outputs, inputs, kernel, kernel)
    return weight, weights.take(f"{key}.bias", weight.shape[0])
