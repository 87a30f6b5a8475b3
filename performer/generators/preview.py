"""A picture to know a species by.

Thread: whoever calls.
"""

import numpy as np
import torch
from PIL import Image as Pillow
from torch import nn

from performer.flow import U8
from performer.generators.checkpoint import Checkpoint
from performer.generators.mapping import Mapping
from performer.generators.network import PictureNetwork

PREVIEW_PX = 256
PREVIEW_SEED = 0  # as artists count: the z of numpy's RandomState(seed), which the official tools draw
PREVIEW_PSI = 0.7


def picture_of(checkpoint: Checkpoint, *, network: nn.Module, seed: int = PREVIEW_SEED, psi: float = PREVIEW_PSI) -> U8:
    """[H, W, 3] sRGB, the longer side at most 256 px: the animal of a seed, truncated."""
    picture = PictureNetwork(network, sizes=checkpoint.sizes)
    mapping = Mapping(checkpoint)
    z = np.random.RandomState(seed).randn(checkpoint.sizes.z_dim).astype(np.float32)
    w = mapping.w_avg + np.float32(psi) * (mapping.w_from_z(z) - mapping.w_avg)
    latent = list(picture.examples())
    latent[0][:] = torch.from_numpy(w)
    if mapping.label_row is not None:
        latent[0][:, -1] = torch.from_numpy(mapping.label_row.copy())
    with torch.inference_mode():
        pixels = picture(*latent).numpy()[..., :3]
    small = Pillow.fromarray(pixels)
    small.thumbnail((PREVIEW_PX, PREVIEW_PX), Pillow.Resampling.LANCZOS)
    return np.asarray(small)
