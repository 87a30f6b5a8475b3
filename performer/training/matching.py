"""Latents for the pictures of a set that another species goes on to: its animals become those that they resemble most.

Pictures and freshly drawn latents are paired one to one, such that the pictures and what the species draws from their
latents are as alike as can be, all together: the assignment of optimal transport, as in Tong et al., "Improving and
Generalizing Flow-Based Generative Models with Minibatch Optimal Transport" (2024), section 3.2. So the same latent is, in
both siblings, what looks most alike, and the way from one to the other is short; and training begins with the least that
there is to change.

Thread: whoever calls.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from performer.flow import F32
from performer.generators.checkpoint import Checkpoint
from performer.training.generator import Generator
from performer.training.lite0 import Lite0, signal
from performer.training.pictures import Pictures

COLOURS_PX, SEEN_PX = 16, 4  # sides to which colours, and what the eyes see, are averaged for the comparison
LOOKED_AT = (2, 3)  # the scales of the eyes that see forms and patterns
WEIGHTS = (0.15, 0.0093, 0.0062)  # of colours and of these scales: with them each varies by about one over a set
TOGETHER = 2048  # pictures that are paired at once: the cost grows with the square
AT_ONCE = 16  # pictures drawn and looked at


@torch.inference_mode()
def alike(
    pictures: Pictures, checkpoint: Checkpoint, eyes: Lite0 | None, *, device: str, seed: int
) -> F32:  # [N, 2, z_dim]
    """For each picture and for its mirror image a latent, of those that `checkpoint` draws most like them.

    They are as long as normal latents are on average. Without `eyes`, colours alone are compared.
    """
    generator = Generator(checkpoint).eval().to(device)
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((len(pictures), 2, checkpoint.sizes.z_dim), np.float32)
    codes *= np.sqrt(codes.shape[2]) / np.linalg.norm(codes, axis=2, keepdims=True)
    for places in np.array_split(rng.permutation(len(pictures)), -(-len(pictures) // TOGETHER)):
        offered_z = torch.from_numpy(codes[places]).to(device).flatten(0, 1)
        offered = [look(generator(generator.truncated(few, 1.0)), eyes) for few in offered_z.split(AT_ONCE)]
        wanted = [_both_ways(pictures, few, eyes, device) for few in np.array_split(places, -(-len(places) // AT_ONCE))]
        order = paired(torch.cat(wanted), torch.cat(offered))
        codes[places] = codes[places].reshape(-1, codes.shape[2])[order].reshape(codes[places].shape)
    return codes


def _both_ways(pictures: Pictures, places: np.ndarray, eyes: Lite0 | None, device: str) -> Tensor:  # [2 N, numbers]
    """Looks of pictures, each followed by that of its mirror image."""
    x = signal(pictures.of(places), device)
    return torch.stack([look(x, eyes), look(x.flip(3), eyes)], dim=1).flatten(0, 1)


def look(x: Tensor, eyes: Lite0 | None) -> Tensor:  # [N, 3, R, R] in -1..1 -> [N, numbers], on the processor
    """What pictures are compared by: their colours, and what eyes see in them, each kind with the same weight."""
    kinds = [F.adaptive_avg_pool2d(x, min(COLOURS_PX, x.shape[-1]))]
    if eyes is not None:
        found = eyes(x)
        kinds += [F.adaptive_avg_pool2d(found[scale], min(SEEN_PX, found[scale].shape[-1])) for scale in LOOKED_AT]
    return torch.cat([kind.float().flatten(1) * by for kind, by in zip(kinds, WEIGHTS, strict=False)], dim=1).cpu()


def paired(wanted: Tensor, offered: Tensor) -> np.ndarray:  # looks [N, numbers] of each -> [N], places in `offered`
    """For each of the wanted looks one of the offered, all different, with the smallest sum of squared distances."""
    _, places = linear_sum_assignment(torch.cdist(wanted, offered).square().numpy())
    return places
