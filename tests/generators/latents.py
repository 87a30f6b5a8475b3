"""Inputs of networks, and siblings to blend them with."""

from dataclasses import replace

import numpy as np
import torch

from performer.generators.checkpoint import Checkpoint


def noise_of(layers: int, gain: float | torch.Tensor = 1.0) -> torch.Tensor:  # [layers, 3]
    """The noise that the layers were trained with, times `gain` (a number, or [layers])."""
    return torch.eye(1, 3).repeat(layers, 1) * torch.as_tensor(gain).reshape(-1, 1)


def sibling_of(checkpoint: Checkpoint, *, amount: float = 0.3, seed: int = 11) -> Checkpoint:
    """A species as training on would leave it: every weight a little elsewhere; fixed filters as they are."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for key, tensor in checkpoint.tensors.items():
        fixed = key.endswith("_filter") or tensor.size == 0
        spread = tensor.std() if tensor.size > 1 else np.abs(tensor).max()
        moved = tensor + np.float32(amount * spread) * rng.standard_normal(tensor.shape).astype(np.float32)
        moved = np.abs(moved) if key.endswith(("magnitude_ema", "_var")) else moved
        tensors[key] = tensor if fixed else np.asarray(moved, np.float32)
    return replace(checkpoint, tensors=tensors, content_hash=f"{checkpoint.content_hash}-sibling-{seed}-{amount}")
