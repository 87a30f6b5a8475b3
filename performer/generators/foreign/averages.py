"""The average of w, for files that do not keep it: the mean over many random latents, always the same ones.

The centre of truncation; the training keeps a running mean, converted files and some trainers drop it.

Thread: any.
"""

import numpy as np

from performer.flow import F32

LATENTS = 8192
BATCH = 1024
SEED = 0x5EED
LEAK = 0.2
NOTE = f"the average of w is not in the file and was estimated from {LATENTS:,} random latents"


def average_w(tensors: dict[str, F32], *, lr_multiplier: float, label: str | None) -> F32:
    """The mean of w [w_dim] of StyleGAN2's or StyleGAN3's mapping, over latents and, with labels, over all classes."""
    rng = np.random.default_rng(SEED)
    embed = tensors.get("mapping.embed.weight")  # [embedded, classes]
    embedded, classes = embed.shape if embed is not None and label else (0, 0)
    z_dim = tensors["mapping.fc0.weight"].shape[1] - embedded
    total: np.ndarray = np.zeros(1)
    for _ in range(LATENTS // BATCH):
        x = rng.standard_normal((BATCH, z_dim), np.float32)
        if embed is not None and label == "concat":  # joined, then normalised
            x = _unit_mean_square(np.concatenate([x, embed.T[rng.integers(classes, size=BATCH)]], 1))
        else:
            x = _unit_mean_square(x)
            if embed is not None and label == "embed":
                y = embed.T[rng.integers(classes, size=BATCH)] / np.float32(np.sqrt(classes))
                x = np.concatenate([x, _unit_mean_square(y + tensors["mapping.embed.bias"])], 1)
        layer = 0
        while (key := f"mapping.fc{layer}.weight") in tensors:
            weight = tensors[key]
            gain = np.float32(lr_multiplier / np.sqrt(weight.shape[1]))
            x = x @ (weight * gain).T + tensors[f"mapping.fc{layer}.bias"] * np.float32(lr_multiplier)
            x = np.maximum(x, x * np.float32(LEAK)) * np.float32(np.sqrt(2))
            layer += 1
        total = total + x.sum(0, dtype=np.float64)
    return (total / LATENTS).astype(np.float32)


def average_lucidrains_w(tensors: dict[str, F32], *, lr_multiplier: float) -> F32:
    """The mean of w [w_dim] of lucidrains' mapping: unit latents, unscaled weights."""
    layers = sorted(int(key.split(".")[2]) for key in tensors if key.startswith("mapping.net.") and "weight" in key)
    rng = np.random.default_rng(SEED)
    total: np.ndarray = np.zeros(1)
    for _ in range(LATENTS // BATCH):
        x = rng.standard_normal((BATCH, tensors[f"mapping.net.{layers[0]}.weight"].shape[1]), np.float32)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        for layer in layers:
            weight, bias = tensors[f"mapping.net.{layer}.weight"], tensors[f"mapping.net.{layer}.bias"]
            x = x @ (weight * np.float32(lr_multiplier)).T + bias * np.float32(lr_multiplier)
            x = np.maximum(x, x * np.float32(LEAK))
        total = total + x.sum(0, dtype=np.float64)
    return (total / LATENTS).astype(np.float32)


def _unit_mean_square(x: F32) -> F32:
    return x / np.sqrt(np.mean(x * x, axis=1, keepdims=True) + np.float32(1e-8))
