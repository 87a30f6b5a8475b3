"""The average of w, for files that do not keep it: the mean over many random latents, always the same ones.

The centre of truncation; the training keeps a running mean, converted files and some trainers drop it.

Thread: any.
"""

import numpy as np

from performer.flow import F32
from performer.generators.mapping import mapped, mapping_layers

LATENTS = 8192
BATCH = 1024
SEED = 0x5EED
NOTE = f"the average of w is not in the file and was estimated from {LATENTS:,} random latents"


def average_w(tensors: dict[str, F32], *, lr_multiplier: float, label: str | None = None) -> F32:
    """The mean of w [w_dim] over latents and, with labels, over all classes.

    label
        how a class enters the mapping: "embed", "concat", or None where there are none.
    """
    rng = np.random.default_rng(SEED)
    layers, lucid = mapping_layers(tensors, lr_multiplier=lr_multiplier)
    embed = tensors["mapping.embed.weight"] if label else None  # [embedded, classes]
    z_dim = layers[0][0].shape[0] - (0 if embed is None else len(embed))
    total: np.ndarray = np.zeros(1)
    for _ in range(LATENTS // BATCH):
        z = rng.standard_normal((BATCH, z_dim), np.float32)
        embedded = None
        if embed is not None:
            embedded = embed.T[rng.integers(embed.shape[1], size=BATCH)]
            if label == "embed":
                embedded = embedded / np.float32(np.sqrt(embed.shape[1])) + tensors["mapping.embed.bias"]
        w = mapped(z, layers, embedded=embedded, apart=label != "concat", lucid=lucid)
        total = total + w.sum(0, dtype=np.float64)
    return (total / LATENTS).astype(np.float32)
