"""A generator that learns: the mapping and the synthesis network of a species, to and from its checkpoint.

Thread: whoever calls.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from performer.flow import F32, NOISE_MAPS
from performer.generators import family, light, stylegan2
from performer.generators.checkpoint import Checkpoint
from performer.generators.mapping import LEARNING_RATE_FACTOR
from performer.generators.ops import ACTIVATION_GAIN, LEAK, StyledConv

NAMES = {light.NAME: light.names_of, stylegan2.NAME: stylegan2.names_of}


class Generator(nn.Module):
    """z to pictures in about -1..1, in the arithmetic that `performer.generators` plays."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointError."""
        super().__init__()
        self.sizes = checkpoint.sizes
        self.mapping = Mapping(checkpoint)
        self.synthesis = family.build(checkpoint).train()
        self.register_buffer("w_avg", torch.from_numpy(checkpoint.tensors["mapping.w_avg"].copy()))
        self.w_avg: Tensor
        self._names = NAMES[checkpoint.family](checkpoint)
        self.requires_grad_(True)

    def ws(
        self,
        z: Tensor,  # [N, z_dim], standard normal.
        other: Tensor,  # [N, z_dim], for style mixing.
        crossover: Tensor,  # [N], whole numbers: rows of ws from here on come from `other`.
    ) -> Tensor:  # [N, num_ws, w_dim]
        """Style mixing: Karras et al., "A Style-Based Generator Architecture" (2019), section 3.1."""
        with torch.autocast(z.device.type, enabled=False):  # latents are too fine for eight bits of mantissa
            w, v = self.mapping(torch.cat([z, other])).chunk(2)
        rows = torch.arange(self.sizes.num_ws, device=z.device)
        return torch.where((rows < crossover[:, None])[:, :, None], w[:, None], v[:, None])

    def forward(self, ws: Tensor) -> Tensor:  # [N, num_ws, w_dim] -> [N, 3, R, R]
        noise = torch.eye(1, NOISE_MAPS, device=ws.device).expand(self.sizes.noise_layers, -1)
        return self.synthesis(ws, noise)

    def truncated(self, z: Tensor, psi: float) -> Tensor:  # [N, z_dim] -> [N, num_ws, w_dim]
        """Latents drawn towards the mean animal: Karras et al. (2019), appendix B."""
        w = self.w_avg + psi * (self.mapping(z) - self.w_avg)
        return w[:, None].expand(-1, self.sizes.num_ws, -1)

    def noise_maps(self) -> Iterator[Tensor]:
        """The noise of each layer [H, W], to be drawn anew for each step and fixed when the species is written."""
        for module in self.synthesis.modules():
            if isinstance(module, StyledConv):
                yield module.noise_const

    def tensors(self) -> dict[str, F32]:
        """Its numbers, named as in a checkpoint."""
        found: dict[str, Tensor] = {"mapping.w_avg": self.w_avg}
        for number, layer in enumerate(self.mapping.layers):
            found |= {f"mapping.fc{number}.{part}": numbers for part, numbers in layer.state_dict().items()}
        for key, value in self.synthesis.state_dict().items():
            prefix = key if key in self._names else ".".join(key.split(".")[:2])
            found[self._names[prefix] + key[len(prefix) :]] = value
        return {key: value.detach().float().cpu().numpy().copy() for key, value in found.items()}


class Mapping(nn.Module):
    """z to w, as `performer.generators.mapping` computes it, with gradients."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        while f"mapping.fc{len(self.layers)}.weight" in checkpoint.tensors:
            name = f"mapping.fc{len(self.layers)}"
            self.layers.append(Dense(checkpoint.tensors[f"{name}.weight"], checkpoint.tensors[f"{name}.bias"]))

    def forward(self, z: Tensor) -> Tensor:  # [N, z_dim] -> [N, w_dim]
        x = z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), LEAK) * ACTIVATION_GAIN
        return x


class Dense(nn.Module):
    """A layer of the mapping. What is stored is a hundred times what acts, so that it learns a hundred times slower."""

    def __init__(self, weight: F32, bias: F32) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.from_numpy(weight.copy())),
            nn.Parameter(torch.from_numpy(bias.copy())),
        )

    def forward(self, x: Tensor) -> Tensor:
        gain = LEARNING_RATE_FACTOR / math.sqrt(self.weight.shape[1])
        return F.linear(x, self.weight * gain, self.bias * LEARNING_RATE_FACTOR)
