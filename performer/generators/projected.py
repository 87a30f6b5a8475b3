"""The generators of projected GAN in FastGAN form, whole (two convolutions a block) and lite (one), with labels or not.

Written from Sauer et al., "Projected GANs Converge Faster" (2021), whose generator is FastGAN's (see `fastgan`) with z
normalised and no tanh. A label acts as in Brock et al., "Large Scale GAN Training for High Fidelity Natural Image
Synthesis" (2019): it gives every normalisation after the first its gain and shift.

There is no w: row 0 of ws is z as drawn, padded with zeros to w_dim if that is larger. Of a conditional generator row 1
is the label, one-hot and padded likewise; a blend of labels has to sum to 1. Truncation, which scales z towards 0, does
nothing since z is normalised, and there is no style mixing. All layers blend with a sibling alike.

Thread: whoever calls.
"""

import math
from typing import Any

import torch
from torch import nn

from performer.flow import F32
from performer.generators.checkpoint import Checkpoint, Sizes
from performer.generators.fastgan import (
    BATCH_NORM_EPSILON,
    FIRST_PX,
    Norm,
    Stage,
    batch_norm,
    network,
    size_px_of,
    stages_of,
)
from performer.generators.weights import Weights

NAME = "projected"
PREFIX = "synthesis."
EMBED = "synthesis.embed.weight"


def sizes_of(tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of a generator, from its tensors. Raises CheckpointError."""
    weights = Weights(tensors)
    size_px = size_px_of(weights, prefix=PREFIX)
    if "resolution" in options:  # blocks for larger pictures may be there, unused
        size_px = min(size_px, int(options["resolution"]))
    z_dim = weights.numbers("synthesis.init.init.0.weight", None, None, FIRST_PX, FIRST_PX).shape[0]
    classes = weights.numbers(EMBED, None, None).shape[0] if EMBED in weights else 0
    stages = _conditional_stages if classes else stages_of
    blocks = [f"synthesis.feat_{FIRST_PX << level}" for level in range(1, int(math.log2(size_px // FIRST_PX)) + 1)]
    return Sizes(
        height_px=size_px,
        width_px=size_px,
        z_dim=z_dim,
        w_dim=max(z_dim, classes),
        num_ws=2 if classes else 1,
        noise_layers=sum(stage.noise is not None for block in blocks for stage in stages(weights, block)),
        coarse=1,
        middle=1,
        classes=classes,
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """The network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    classes = checkpoint.sizes.classes
    return network(
        Weights(checkpoint.tensors, path=checkpoint.path),
        size_px=checkpoint.sizes.resolution,
        prefix=PREFIX,
        stages=_conditional_stages if classes else stages_of,
        norm=_conditional_norm if classes else batch_norm,
        classes=classes,
        normalise_z=True,
        head_biased=True,
    )


def _conditional_stages(weights: Weights, block: str) -> list[Stage]:
    """The convolutions of a block: two that share one noise strength, or one without noise."""
    if weights.any_under(f"{block}.conv1.", f"{block}.conv2."):
        return [Stage(f"{block}.conv{i}.weight", f"{block}.noise.weight", f"{block}.bn{i}") for i in (1, 2)]
    return [Stage(f"{block}.conv.weight", None, f"{block}.bn")]


def _conditional_norm(weights: Weights, key: str, channels: int) -> Norm:
    """The normalisation `key`, with the label's embedding and what it drives multiplied out into one table each."""
    embed = weights.take(EMBED, None, None)
    tables = {}
    for part in ("gain", "bias"):
        weight = weights.take(f"{key}.{part}.weight", channels, embed.shape[1])
        tables[part] = embed @ weight.t() + weights.take(f"{key}.{part}.bias", channels)
    gain = torch.rsqrt(weights.take(f"{key}.stored_var", channels) + BATCH_NORM_EPSILON)
    return Norm(gain, -weights.take(f"{key}.stored_mean", channels) * gain, 1 + tables["gain"], tables["bias"])
