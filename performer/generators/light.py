"""The light variant of StyleGAN2, for machines without a GPU.

The same mapping and modulated blocks, but the trunk stops at half the resolution; each upsampling layer convolves at the
low resolution and enlarges bilinearly; there are no RGB skips, but one modulated 3x3 head to 12 channels and a pixel
shuffle to full size. About a fiftieth of the work of the original at the same resolution.

Rows of ws: one a convolution, from the coarsest, and the last for the head.

Thread: whoever calls.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from performer.generators.checkpoint import Checkpoint, CheckpointError, Sizes
from performer.generators.ops import StyledConv, ToRgb, bends_of, bent
from performer.generators.stylegan2 import fill

NAME = "light"
CHANNELS = {4: 192, 8: 192, 16: 128, 32: 96, 64: 48, 128: 32}  # of the 256 px variant
SHUFFLE = 2  # the head makes SHUFFLE x SHUFFLE pixels of each feature


class Light(nn.Module):
    """ws and noise gains to an RGB image in about -1..1."""

    in_half = ("const",)

    def __init__(self, channels: dict[int, int], *, w_dim: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.empty(channels[4], 4, 4))
        self.convs = nn.ModuleList()
        self.bends = nn.ModuleDict()  # by row
        for resolution in sorted(channels):
            out = channels[resolution]
            if resolution > 4:
                self.convs.append(
                    StyledConv(
                        channels[resolution // 2],
                        out,
                        w_dim=w_dim,
                        size_px=(resolution, resolution),
                        up="bilinear",
                        layer=len(self.convs),
                    )
                )
            self.convs.append(
                StyledConv(out, out, w_dim=w_dim, size_px=(resolution, resolution), layer=len(self.convs))
            )
        self.head = ToRgb(out, 3 * SHUFFLE * SHUFFLE, w_dim=w_dim, kernel=3)

    def forward(
        self,
        ws: Tensor,  # [N, num_ws, w_dim]
        noise: Tensor,  # [noise_layers, 3]
        *,
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, 3, R, R]
        x = self.head(self._trunk(ws, noise, bends), ws[:, -1])
        return F.pixel_shuffle(x.permute(0, 3, 1, 2), SHUFFLE)

    def forward_rgba(
        self,
        ws: Tensor,  # [N, num_ws, w_dim]
        noise: Tensor,  # [noise_layers, 3]
        *,
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, R, R, 4]
        """The same picture channels-last, with an opaque alpha of 1.

        Alpha comes out of the head as a constant, and the head's channels are ordered so that the shuffle moves whole
        pixels: a twelfth of the time of the light generator on one core, compared with appending alpha afterwards.
        """
        head = self.head
        norm = None if head.norm is None else with_alpha(head.norm, 1.0)
        x = head.convolve(
            self._trunk(ws, noise, bends), ws[:, -1], with_alpha(head.weight, 0.0), with_alpha(head.bias, 1.0), norm
        )
        n, h, w, _ = x.shape
        x = x.reshape(n, h, w, SHUFFLE, SHUFFLE, 4).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(n, h * SHUFFLE, w * SHUFFLE, 4)

    def row_of(self, tensor: str) -> int:
        """The row of ws to whose layer a tensor of the network belongs."""
        part = tensor.split(".")
        return {"const": 0, "head": len(self.convs)}.get(part[0], int(part[1]) if part[0] == "convs" else 0)

    def _trunk(self, ws: Tensor, noise: Tensor, bends: Tensor | None) -> Tensor:  # [N, R/2, R/2, C]
        x = self.const.permute(1, 2, 0).contiguous()[None].expand(ws.shape[0], -1, -1, -1)
        for row, conv in enumerate(self.convs):
            x = bent(conv(x, ws[:, row], noise[row]), bends, self.bends, row)
        return x


def with_alpha(
    rows: Tensor,  # Of the head's output channels: all phases of red, of green, of blue, [12, ...].
    alpha: float,
) -> Tensor:  # [16, ...]
    """The same for a head that draws RGBA: red, green, blue and alpha of each phase."""
    phases = SHUFFLE * SHUFFLE
    rows = torch.cat([rows, torch.full_like(rows[:phases], alpha)])
    return rows.reshape(4, phases, *rows.shape[1:]).transpose(0, 1).flatten(0, 1)


def sizes(*, resolution: int, z_dim: int, w_dim: int) -> Sizes:
    """The sizes of a light generator for `resolution` px."""
    levels = int(math.log2(resolution)) - 2  # resolutions in the trunk, 4..resolution/2
    return Sizes(
        height_px=resolution,
        width_px=resolution,
        z_dim=z_dim,
        w_dim=w_dim,
        num_ws=2 * levels,
        noise_layers=2 * levels - 1,
        coarse=3,
        middle=7,
    )


def names_of(checkpoint: Checkpoint) -> dict[str, str]:
    """What the parts of the network are called in a checkpoint, by their name in the module."""
    names = {"const": "synthesis.b4.const"}
    for level in range(int(math.log2(checkpoint.sizes.resolution)) - 2):
        if level:
            names[f"convs.{2 * level - 1}"] = f"synthesis.b{4 << level}.conv0"
        names[f"convs.{2 * level}"] = f"synthesis.b{4 << level}.conv1"
    return names | {f"head.{part}": f"synthesis.head.{part}" for part in ("weight", "bias", "affine")}


def build(checkpoint: Checkpoint) -> nn.Module:
    """The synthesis network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    resolutions = [4 << i for i in range(int(math.log2(checkpoint.sizes.resolution)) - 2)]
    try:
        channels = {r: checkpoint.tensors[f"synthesis.b{r}.conv1.bias"].shape[0] for r in resolutions}
    except KeyError as error:
        raise CheckpointError(
            f"{checkpoint.path}: {error} is missing; expected light blocks 4..{resolutions[-1]}"
        ) from None
    network = Light(channels, w_dim=checkpoint.sizes.w_dim)
    network.bends = bends_of(checkpoint.sizes, lambda row: channels[resolutions[(row + 1) // 2]])
    return fill(network, checkpoint, names_of(checkpoint))
