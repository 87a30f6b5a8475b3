"""FastGAN: plain convolutions, and gates from the small pictures onto the large ones.

Written from Liu et al., "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis" (2021),
section 3.1. Batch norms use their running statistics and are folded into the convolutions.

There is no w: the one row of ws is z as drawn. Truncation scales z towards 0, and there is no style mixing. All layers
blend with a sibling alike, with their norms folded in.

Thread: whoever calls.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from performer.flow import F32
from performer.generators.checkpoint import Checkpoint, Sizes
from performer.generators.ops import Bend, bent_planes, channels_last, clamped, drawn_noise, mixed_noise
from performer.generators.weights import Weights

NAME = "fastgan"
FIRST_PX = 4
GATE_LEVELS = 4  # a gate acts on the picture this many doublings above its own
LAST_GATED_PX = 512  # as published; larger pictures may have gates
GATE_PX = 4  # a gate sees its picture shrunk to this
LIMITED_PX = 1024  # at this size, and no other, the picture is limited by tanh
BATCH_NORM_EPSILON = 1e-5
BENT_LEVELS = (0, 2, 4)  # where each layer group is bent: 4, 16 and 64 px
NOISE_SEED = 0


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation as a gain and a shift of each channel; the label's come on top where there is one."""

    gain: Tensor  # [C]
    shift: Tensor  # [C]
    label_gain: Tensor | None = None  # [classes, C]
    label_shift: Tensor | None = None  # [classes, C]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the parts of one convolution stand in the checkpoint."""

    conv: str
    noise: str | None
    norm: str


class ConvGlu(nn.Module):
    """Convolution, noise, normalisation, and a half of the channels that gates the other."""

    in_half = ("weight",)

    weight: Tensor
    shift: Tensor
    noise_strength: Tensor | None
    label_gain: Tensor | None
    label_shift: Tensor | None

    def __init__(
        self,
        weight: Tensor,  # [2O, I, 3, 3]
        norm: Norm,  # Of 2O channels.
        *,
        noise_strength: Tensor | None = None,  # [1]; None without noise.
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight * norm.gain[:, None, None, None])
        self.register_buffer("shift", norm.shift)
        # Noise comes before the normalisation, which therefore scales it too.
        self.register_buffer("noise_strength", None if noise_strength is None else noise_strength * norm.gain)
        self.register_buffer("label_gain", norm.label_gain)
        self.register_buffer("label_shift", norm.label_shift)

    def forward(
        self,
        x: Tensor,  # [N, I, H, W]
        noise: Tensor | None,  # [1 or N, 1, H, W], with its gain applied; None for a layer without.
        label: Tensor | None,  # [N, classes]; None for a generator without labels.
    ) -> Tensor:  # [N, O, H, W]
        x = F.conv2d(x, self.weight, self.shift.to(x.dtype), padding=1)
        if noise is not None and self.noise_strength is not None:
            x = x + noise * self.noise_strength.to(x.dtype)[:, None, None]
        if label is not None and self.label_gain is not None and self.label_shift is not None:
            gain, shift = (label @ self.label_gain).to(x.dtype), (label @ self.label_shift).to(x.dtype)
            x = x * gain[:, :, None, None] + shift[:, :, None, None]
        return glu(clamped(x, None))


class Gate(nn.Module):
    """A gain for each channel of a large picture, from a small one."""

    in_half = ("first", "second")

    first: Tensor
    second: Tensor

    def __init__(self, first: Tensor, second: Tensor, *, size_px: int) -> None:
        super().__init__()
        self.register_buffer("first", first)  # [O, I, 4, 4]
        self.register_buffer("second", second)  # [O, O, 1, 1]
        self.pool_px = size_px // GATE_PX

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, O, 1, 1]
        x = F.avg_pool2d(x, self.pool_px) if self.pool_px > 1 else x
        return torch.sigmoid(F.conv2d(F.silu(F.conv2d(x, self.first)), self.second))


class FirstPicture(nn.Module):
    """z to the picture of 4 px that all others grow from."""

    weight: Tensor
    shift: Tensor

    def __init__(
        self,
        weight: Tensor,  # Before its normalisation, [z_dim, 2C, 4, 4].
        norm: Norm,  # Of 2C channels.
        *,
        bias: Tensor | None = None,  # [2C]
    ) -> None:
        super().__init__()
        self.z_dim, self.channels = weight.shape[0], weight.shape[1] // 2
        # On a picture of one pixel the transposed convolution is a matrix product.
        self.register_buffer("weight", (weight * norm.gain[:, None, None]).flatten(1))
        shift = norm.shift if bias is None else bias * norm.gain + norm.shift
        self.register_buffer("shift", shift[:, None, None].clone())

    def forward(self, z: Tensor) -> Tensor:  # [N, z_dim] -> [N, C, 4, 4]
        return glu((z @ self.weight).reshape(-1, 2 * self.channels, FIRST_PX, FIRST_PX) + self.shift)


class FastGan(nn.Module):
    """z, for some a label, and noise gains to an RGB image in about -1..1."""

    head: Tensor
    head_bias: Tensor

    def __init__(
        self,
        first: FirstPicture,
        blocks: list[list[ConvGlu]],  # One for each doubling.
        gates: dict[int, Gate],  # By the index of the block whose result they act on.
        head: tuple[Tensor, Tensor],  # Weight [3, C, 3, 3] and bias [3].
        *,
        classes: int = 0,
        normalise_z: bool = False,
        limited: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.normalise_z, self.limited = classes, normalise_z, limited
        self.first = first
        self.blocks: list[list[ConvGlu]] = nn.ModuleList(nn.ModuleList(block) for block in blocks)  # type: ignore[assignment]
        self.gates = nn.ModuleDict({str(block): gate for block, gate in gates.items()})
        self.register_buffer("head", head[0])
        self.register_buffer("head_bias", head[1])
        sizes_px = [
            FIRST_PX << (level + 1)
            for level, block in enumerate(blocks)
            for conv in block
            if conv.noise_strength is not None
        ]
        self.in_half = ("head", *register_noise(self, sizes_px))
        self.bends = level_bends([first.channels, *(block[-1].weight.shape[0] // 2 for block in blocks)])

    def forward(
        self,
        ws: Tensor,  # z, and the label in the second row where there is one, [N, num_ws, w_dim].
        noise: Tensor,  # [noise_layers, 3]
        *,
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, 3, R, R]
        z = ws[:, 0, : self.first.z_dim]
        label = ws[:, 1, : self.classes] if self.classes else None
        if self.normalise_z:
            z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        x = bent_planes(channels_last(self.first(z).to(self.head.dtype)), bends, self.bends, 0)
        pictures = [x]  # 4, 8, 16 … px
        layer = 0
        for index, block in enumerate(self.blocks):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            for conv in block:
                noise_map = None
                if conv.noise_strength is not None:
                    noise_map = mixed_noise(getattr(self, f"noise_{layer}"), noise[layer])
                    layer += 1
                x = conv(x, noise_map, label)
            if str(index) in self.gates:
                x = x * self.gates[str(index)](pictures[index - GATE_LEVELS + 1])
            x = bent_planes(x, bends, self.bends, index + 1)
            pictures.append(x)
        image = F.conv2d(x, self.head, self.head_bias.to(x.dtype), padding=1).float()
        return torch.tanh(image) if self.limited else image


def glu(x: Tensor) -> Tensor:  # [N, 2C, H, W] -> [N, C, H, W]
    """The first half of the channels, gated by the second."""
    kept, gate = x.chunk(2, dim=1)
    return kept * torch.sigmoid(gate)


def register_noise(module: nn.Module, sizes_px: list[int]) -> list[str]:
    """Give `module` the noise maps of each layer, `noise_0`, `noise_1` … [3, 1, 1, H, W], always the same ones.

    Returns their names.

    Training drew new noise for every picture; a show wants a picture that stands still.
    """
    generator = torch.Generator().manual_seed(NOISE_SEED)
    for layer, size_px in enumerate(sizes_px):
        first = torch.randn(1, 1, 1, size_px, size_px, generator=generator)
        maps = torch.cat([first, drawn_noise(layer, 1, 1, size_px, size_px)])
        module.register_buffer(f"noise_{layer}", maps)
    return [f"noise_{layer}" for layer in range(len(sizes_px))]


def level_bends(
    widths: list[int],  # Channels of each picture, 4, 8, 16 … px.
) -> nn.ModuleDict:
    """A bend for each layer group at the picture of its size, where there is one."""
    return nn.ModuleDict(
        {str(level): Bend(group, widths[level]) for group, level in enumerate(BENT_LEVELS) if level < len(widths)}
    )


def batch_norm(weights: Weights, key: str, channels: int) -> Norm:
    """The batch norm `key` with its running statistics."""
    gain = weights.take(f"{key}.weight", channels)
    gain = gain * torch.rsqrt(weights.take(f"{key}.running_var", channels) + BATCH_NORM_EPSILON)
    return Norm(gain, weights.take(f"{key}.bias", channels) - weights.take(f"{key}.running_mean", channels) * gain)


def stages_of(weights: Weights, block: str) -> list[Stage]:
    """The convolutions of a block: two with noise, or one without."""
    if weights.any_under(f"{block}.3.", f"{block}.5.", f"{block}.7."):
        return [
            Stage(f"{block}.1.weight", f"{block}.2.weight", f"{block}.3"),
            Stage(f"{block}.5.weight", f"{block}.6.weight", f"{block}.7"),
        ]
    return [Stage(f"{block}.1.weight", None, f"{block}.2")]


def network(
    weights: Weights,
    *,
    size_px: int,
    prefix: str = "",  # Of all names.
    stages: Callable[[Weights, str], list[Stage]] = stages_of,
    norm: Callable[[Weights, str, int], Norm] = batch_norm,  # Of every convolution but the first.
    classes: int = 0,
    normalise_z: bool = False,
    head_biased: bool = False,
    limited: bool = False,
) -> FastGan:
    """A network with its weights, in evaluation mode. Raises CheckpointError."""
    first = weights.take(f"{prefix}init.init.0.weight", None, None, FIRST_PX, FIRST_PX)
    first_norm = batch_norm(weights, f"{prefix}init.init.1", first.shape[1])
    widths = [first.shape[1] // 2]  # channels of each picture, 4, 8, 16 … px
    blocks, gates = [], {}
    for index in range(int(math.log2(size_px // FIRST_PX))):
        block_px = FIRST_PX << (index + 1)
        width, convs = widths[-1], []
        for stage in stages(weights, f"{prefix}feat_{block_px}"):
            weight = weights.take(stage.conv, None, width, 3, 3)
            strength = None if stage.noise is None else weights.take(stage.noise, 1)
            convs.append(ConvGlu(weight, norm(weights, stage.norm, weight.shape[0]), noise_strength=strength))
            width = weight.shape[0] // 2
        gate = f"{prefix}se_{block_px}.main"
        if weights.any_under(f"{gate}."):
            source = index + 1 - GATE_LEVELS
            if source < 0:
                raise weights.refusal(
                    f"tensor {gate}.1.weight has no picture to act from; expected gates from 64 px on"
                )
            gates[index] = Gate(
                weights.take(f"{gate}.1.weight", width, widths[source], GATE_PX, GATE_PX),
                weights.take(f"{gate}.3.weight", width, width, 1, 1),
                size_px=FIRST_PX << source,
            )
        blocks.append(convs)
        widths.append(width)
    head = weights.take(f"{prefix}to_big.weight", 3, widths[-1], 3, 3)
    bias = weights.take(f"{prefix}to_big.bias", 3) if head_biased else torch.zeros(3)
    built = FastGan(
        FirstPicture(first, first_norm),
        blocks,
        gates,
        (head, bias),
        classes=classes,
        normalise_z=normalise_z,
        limited=limited,
    )
    return built.eval().requires_grad_(False)


def size_px_of(weights: Weights, *, prefix: str = "") -> int:
    """The size of the largest picture that there are blocks for. Raises CheckpointError."""
    size_px = FIRST_PX
    while weights.any_under(f"{prefix}feat_{2 * size_px}."):
        size_px *= 2
    if size_px == FIRST_PX:
        raise weights.refusal(f"tensor {prefix}feat_8.1.weight is missing; expected shape [any, any, 3, 3]")
    return size_px


def sizes_of(tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of a generator, from its tensors. Raises CheckpointError."""
    weights = Weights(tensors)
    size_px = size_px_of(weights)
    z_dim = weights.numbers("init.init.0.weight", None, None, FIRST_PX, FIRST_PX).shape[0]
    blocks = [f"feat_{FIRST_PX << level}" for level in range(1, int(math.log2(size_px // FIRST_PX)) + 1)]
    return Sizes(
        height_px=size_px,
        width_px=size_px,
        z_dim=z_dim,
        w_dim=z_dim,
        num_ws=1,
        noise_layers=sum(stage.noise is not None for block in blocks for stage in stages_of(weights, block)),
        coarse=1,
        middle=1,
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """The network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    weights = Weights(checkpoint.tensors, path=checkpoint.path)
    size_px = checkpoint.sizes.resolution
    return network(weights, size_px=size_px, limited=size_px == LIMITED_PX)
