"""StyleGAN2 synthesis: modulated blocks; skip, original and residual architectures; square or not; RGB or RGBA.

Written from Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020). Rows of ws: b4.conv1 takes
row 0 and b4.torgb row 1; every later block takes three, of which the last (torgb) is the next block's first. Blocks are
named by doublings (b4, b8, b16 …), also where the picture is not square.

Thread: whoever calls.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from performer.flow import F32
from performer.generators.checkpoint import Checkpoint, CheckpointError, Sizes
from performer.generators.mapping import z_dim_of
from performer.generators.ops import CLAMP, TAPS, Skip, StyledConv, ToRgb, bends_of, bent, image_up_fir

NAME = "stylegan2"
ARCHITECTURES = ("skip", "orig", "resnet")


class StyleGan2(nn.Module):
    """ws and noise gains to a picture in about -1..1."""

    in_half = ("const",)

    def __init__(
        self,
        channels: list[int],  # Of each block, the coarsest first.
        *,
        w_dim: int,
        const_px: tuple[int, int] = (4, 4),  # (height, width) of the first block.
        image_channels: int = 3,
        architecture: str = "skip",
        clamp: float | None = CLAMP,
        taps: tuple[float, ...] = TAPS,
    ) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.empty(channels[0], *const_px))
        self.convs = nn.ModuleList()
        self.rgbs = nn.ModuleList()
        self.skips = nn.ModuleList()
        self.bends = nn.ModuleDict()  # by row
        self.taps = taps
        self.architecture = architecture
        for level, out in enumerate(channels):
            size_px = (const_px[0] << level, const_px[1] << level)
            if level:
                self.convs.append(
                    StyledConv(
                        channels[level - 1],
                        out,
                        w_dim=w_dim,
                        size_px=size_px,
                        up="fir",
                        taps=taps,
                        clamp=clamp,
                        layer=2 * level - 1,
                    )
                )
            residual = architecture == "resnet" and level > 0
            half = math.sqrt(0.5) if residual else 1.0
            self.convs.append(
                StyledConv(out, out, w_dim=w_dim, size_px=size_px, clamp=clamp, gain=half, layer=2 * level)
            )
            if residual:
                self.skips.append(Skip(channels[level - 1], out, taps=taps, gain=half))
            if architecture == "skip" or level == len(channels) - 1:
                self.rgbs.append(ToRgb(out, image_channels, w_dim=w_dim, clamp=clamp))

    def forward(
        self,
        ws: Tensor,  # [N, num_ws, w_dim]
        noise: Tensor,  # [noise_layers, 3]
        *,
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, 3 or 4, H, W]
        x = self.const.permute(1, 2, 0).contiguous()[None].expand(ws.shape[0], -1, -1, -1)
        x = bent(self.convs[0](x, ws[:, 0], noise[0]), bends, self.bends, 0)
        summed = self.architecture == "skip"
        image = self.rgbs[0](x, ws[:, 1]).permute(0, 3, 1, 2) if summed else x
        for block in range(1, len(self.convs) // 2 + 1):
            row = 2 * block - 1
            short = self.skips[block - 1](x) if self.skips else None
            x = bent(self.convs[row](x, ws[:, row], noise[row]), bends, self.bends, row)
            x = bent(self.convs[row + 1](x, ws[:, row + 1], noise[row + 1]), bends, self.bends, row + 1)
            if short is not None:
                x = x + short
            if summed:
                image = image_up_fir(image, self.taps) + self.rgbs[block](x, ws[:, row + 2]).permute(0, 3, 1, 2)
        if not summed:  # one RGB layer, at the end
            image = self.rgbs[0](x, ws[:, -1]).permute(0, 3, 1, 2)
        return image

    def row_of(self, tensor: str) -> int:
        """The row of ws to whose layer a tensor of the network belongs."""
        part, index = tensor.split(".")[0], int(tensor.split(".")[1]) if "." in tensor else 0
        if part == "rgbs":
            return 2 * index + 1 if self.architecture == "skip" else len(self.convs)
        return {"const": 0, "convs": index, "skips": 2 * index + 1}[part]


def blocks_of(tensors: dict[str, F32]) -> list[int]:
    """The names of the blocks, as numbers: 4, 8, 16 …"""
    blocks = []
    while f"synthesis.b{4 << len(blocks)}.conv1.bias" in tensors:
        blocks.append(4 << len(blocks))
    return blocks


def sizes_of(tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of a generator, from its tensors. Raises CheckpointError."""
    blocks = blocks_of(tensors)
    if not blocks or "synthesis.b4.const" not in tensors:
        raise CheckpointError("no synthesis.b4 among the tensors; expected the blocks of a StyleGAN2")
    _, height, width = tensors["synthesis.b4.const"].shape
    return Sizes(
        height_px=height << (len(blocks) - 1),
        width_px=width << (len(blocks) - 1),
        z_dim=z_dim_of(tensors),
        w_dim=tensors["synthesis.b4.conv1.affine.weight"].shape[1],
        num_ws=2 * len(blocks),
        noise_layers=2 * len(blocks) - 1,
        coarse=min(4, 2 * len(blocks)),
        middle=min(8, 2 * len(blocks)),
        classes=int(options.get("c_dim", 0)),
    )


def names_of(checkpoint: Checkpoint) -> dict[str, str]:
    """What the parts of the network are called in a checkpoint, by their name in the module."""
    blocks = blocks_of(checkpoint.tensors)
    names = {"const": "synthesis.b4.const"}
    for level, name in enumerate(blocks):
        block = f"synthesis.b{name}"
        if level:
            names[f"convs.{2 * level - 1}"] = f"{block}.conv0"
            names[f"skips.{level - 1}"] = f"{block}.skip"
        names[f"convs.{2 * level}"] = f"{block}.conv1"
        names[f"rgbs.{level}"] = f"{block}.torgb"
    if checkpoint.options.get("architecture", "skip") != "skip":
        names["rgbs.0"] = f"synthesis.b{blocks[-1]}.torgb"
    return names


def build(checkpoint: Checkpoint) -> nn.Module:
    """The synthesis network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape, or an option is not known.
    """
    tensors, options = checkpoint.tensors, checkpoint.options
    blocks = blocks_of(tensors)
    architecture, taps = options.get("architecture", "skip"), tuple(options.get("resample", TAPS))
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"{checkpoint.path}: architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}"
        )
    if len(taps) != len(TAPS):
        raise CheckpointError(f"{checkpoint.path}: a low-pass of {len(taps)} taps; expected {len(TAPS)}")
    if 2 * len(blocks) != checkpoint.sizes.num_ws or "synthesis.b4.const" not in tensors:
        missing = f"synthesis.b{4 << len(blocks)}.conv1.bias"
        raise CheckpointError(
            f"{checkpoint.path}: {missing} is missing; expected {checkpoint.sizes.num_ws // 2} StyleGAN2 blocks"
        )
    rgb_bias = tensors.get(f"synthesis.b{blocks[-1]}.torgb.bias")
    channels = [tensors[f"synthesis.b{name}.conv1.bias"].shape[0] for name in blocks]
    network = StyleGan2(
        channels,
        w_dim=checkpoint.sizes.w_dim,
        const_px=tensors["synthesis.b4.const"].shape[1:],
        image_channels=3 if rgb_bias is None else len(rgb_bias),
        architecture=architecture,
        clamp=options.get("conv_clamp", CLAMP),
        taps=taps,
    )
    if not options.get("use_noise", True):
        for conv in network.modules():
            if isinstance(conv, StyledConv):
                conv.noise_strength.data.zero_()
                conv.noise_const.zero_()
    network.bends = bends_of(checkpoint.sizes, lambda row: channels[(row + 1) // 2])
    return fill(
        network, checkpoint, names_of(checkpoint), optional=() if options.get("use_noise", True) else ("noise_",)
    )


def fill(
    module: nn.Module,
    checkpoint: Checkpoint,
    renamed: dict[str, str],
    *,
    optional: tuple[str, ...] = (),
) -> nn.Module:
    """Load the tensors of `checkpoint` into `module`; `renamed` maps module prefixes to checkpoint prefixes.

    Of names that begin as `optional` does, what the checkpoint lacks stays as it is in the module.
    """
    state = module.state_dict()
    for key, value in state.items():
        prefix = key if key in renamed else ".".join(key.split(".")[:2])
        source = renamed[prefix] + key[len(prefix) :]
        tensor = checkpoint.tensors.get(source)
        if tensor is None and source.rpartition(".")[2].startswith(optional or ("\0",)):
            continue
        if tensor is None:
            raise CheckpointError(f"{checkpoint.path}: tensor {source} is missing; expected shape {list(value.shape)}")
        if source.endswith("torgb.weight") or tuple(tensor.shape) == tuple(value.shape):
            state[key] = torch.from_numpy(tensor.reshape(value.shape).copy())
        else:
            raise CheckpointError(
                f"{checkpoint.path}: tensor {source} has shape {list(tensor.shape)}; expected {list(value.shape)}"
            )
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)
