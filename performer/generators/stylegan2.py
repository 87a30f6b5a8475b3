"""StyleGAN2 synthesis (config F, skip architecture): modulated blocks, one RGB layer a resolution, summed.

Written from Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020). Rows of ws: b4.conv1 takes
row 0 and b4.torgb row 1; every later block takes three, of which the last (torgb) is the next block's first.

Thread: whoever calls.
"""

import math

import torch
from torch import Tensor, nn

from performer.generators.checkpoint import Checkpoint, CheckpointError, Sizes
from performer.generators.ops import StyledConv, ToRgb, image_up_fir

NAME = "stylegan2"


class StyleGan2(nn.Module):
    """ws and noise gains to an RGB image in about -1..1."""

    def __init__(self, channels: dict[int, int], *, w_dim: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.empty(channels[4], 4, 4))
        self.resolutions = tuple(sorted(channels))
        self.convs = nn.ModuleList()
        self.rgbs = nn.ModuleList()
        for resolution in self.resolutions:
            out = channels[resolution]
            if resolution > 4:
                self.convs.append(
                    StyledConv(channels[resolution // 2], out, w_dim=w_dim, resolution=resolution, up="fir")
                )
            self.convs.append(StyledConv(out, out, w_dim=w_dim, resolution=resolution))
            self.rgbs.append(ToRgb(out, 3, w_dim=w_dim))

    def forward(
        self,
        ws: Tensor,  # [N, num_ws, w_dim]
        noise: Tensor,  # [noise_layers]
    ) -> Tensor:  # [N, 3, R, R]
        x = self.const.permute(1, 2, 0)[None].expand(ws.shape[0], -1, -1, -1)
        x = self.convs[0](x, ws[:, 0], noise[0])
        image = self.rgbs[0](x, ws[:, 1]).permute(0, 3, 1, 2)
        for block in range(1, len(self.resolutions)):
            row = 2 * block - 1
            x = self.convs[row](x, ws[:, row], noise[row])
            x = self.convs[row + 1](x, ws[:, row + 1], noise[row + 1])
            image = image_up_fir(image) + self.rgbs[block](x, ws[:, row + 2]).permute(0, 3, 1, 2)
        return image


def sizes(*, resolution: int, z_dim: int, w_dim: int) -> Sizes:
    """The sizes of a generator for `resolution` px."""
    levels = int(math.log2(resolution))
    return Sizes(
        resolution=resolution,
        z_dim=z_dim,
        w_dim=w_dim,
        num_ws=2 * levels - 2,
        noise_layers=2 * levels - 3,
        coarse=4,
        middle=8,
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """The synthesis network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    tensors = checkpoint.tensors
    resolutions = [4 << i for i in range(int(math.log2(checkpoint.sizes.resolution)) - 1)]
    renamed = {"const": "synthesis.b4.const"}
    for level, resolution in enumerate(resolutions):
        block = f"synthesis.b{resolution}"
        if level:
            renamed[f"convs.{2 * level - 1}"] = f"{block}.conv0"
        renamed[f"convs.{2 * level}"] = f"{block}.conv1"
        renamed[f"rgbs.{level}"] = f"{block}.torgb"
    try:
        channels = {r: tensors[f"synthesis.b{r}.conv1.bias"].shape[0] for r in resolutions}
    except KeyError as error:
        raise CheckpointError(
            f"{checkpoint.path}: {error} is missing; expected StyleGAN2 blocks 4..{resolutions[-1]}"
        ) from None
    return fill(StyleGan2(channels, w_dim=checkpoint.sizes.w_dim), checkpoint, renamed)


def fill(module: nn.Module, checkpoint: Checkpoint, renamed: dict[str, str]) -> nn.Module:
    """Load the tensors of `checkpoint` into `module`; `renamed` maps module prefixes to checkpoint prefixes."""
    state = {}
    for key, value in module.state_dict().items():
        prefix = key if key in renamed else ".".join(key.split(".")[:2])
        source = renamed[prefix] + key[len(prefix) :]
        tensor = checkpoint.tensors.get(source)
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
