"""Pictures of a species that stands still: one to know it by, and a strip of its traits.

Thread: whoever calls.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as Pillow
from torch import nn

from performer.flow import F32, U8
from performer.generators.checkpoint import Checkpoint
from performer.generators.mapping import Mapping
from performer.generators.network import PictureNetwork

PREVIEW_PX = 256
PREVIEW_SEED = 0  # as artists count: the z of numpy's RandomState(seed), which the official tools draw
PREVIEW_PSI = 0.7


def picture_of(checkpoint: Checkpoint, *, network: nn.Module, seed: int = PREVIEW_SEED, psi: float = PREVIEW_PSI) -> U8:
    """[H, W, 3] sRGB, the longer side at most 256 px: the animal of a seed, truncated."""
    mapping = Mapping(checkpoint)
    z = np.random.RandomState(seed).randn(checkpoint.sizes.z_dim).astype(np.float32)
    ws = mapping.ws_from_w(mapping.w_from_z(z), psi=psi)
    return drawn(checkpoint, ws, network=network, most_px=PREVIEW_PX)


def drawn(checkpoint: Checkpoint, ws: F32, *, network: nn.Module, most_px: int) -> U8:
    """[H, W, 3] sRGB, the picture of `ws` [num_ws, w_dim], its longer side at most `most_px`."""
    picture = PictureNetwork(network, sizes=checkpoint.sizes)
    latent = list(picture.examples())
    latent[0] = torch.from_numpy(ws[None].copy())
    with torch.inference_mode():
        pixels = picture(*latent).numpy()[..., :3]
    small = Pillow.fromarray(pixels)
    small.thumbnail((most_px, most_px), Pillow.Resampling.LANCZOS)
    return np.asarray(small)


def strip(checkpoint: Checkpoint, *, network: nn.Module, steps: Sequence[float], most_px: int) -> U8:
    """[traits * h, steps * w, 3] sRGB: each trait in a row, at `steps` deviations from the mean animal."""
    assert checkpoint.trait_directions is not None
    sizes = checkpoint.sizes
    mean = np.repeat(Mapping(checkpoint).w_avg[None], sizes.num_ws, axis=0)
    rows = []
    for direction in checkpoint.trait_directions:
        by_row = np.empty_like(mean)
        for group, offset in enumerate(direction):
            by_row[sizes.rows(group)] = offset
        row = [drawn(checkpoint, mean + by_row * np.float32(step), network=network, most_px=most_px) for step in steps]
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)
