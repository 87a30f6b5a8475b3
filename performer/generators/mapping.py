"""From z to w, in numpy: the StyleGAN2 mapping network, which choreography calls a few times a second.

It stays outside the engines (truncation and style mixing happen on w), and outside torch, so that a show that plays
from a compiled cache imports no torch. `tests/generators` holds it to the torch form.

Formulas: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), with the equalised learning
rate of "Progressive Growing of GANs" (2018), section 4.1.

Thread: any; immutable after construction.
"""

import numpy as np

from performer.flow import F32, frozen_array
from performer.generators.checkpoint import Checkpoint

LEARNING_RATE_FACTOR = (
    0.01  # the mapping trains a hundred times slower, so its stored weights are 100 times the effective
)
LEAK = 0.2


class Mapping:
    """The mapping network of one species."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.z_dim = checkpoint.sizes.z_dim
        self.w_dim = checkpoint.sizes.w_dim
        self.w_avg = frozen_array(checkpoint.tensors["mapping.w_avg"].copy())  # [w_dim]
        self._layers = []
        while (key := f"mapping.fc{len(self._layers)}") + ".weight" in checkpoint.tensors:
            weight = checkpoint.tensors[key + ".weight"]  # [out, in]
            gain = LEARNING_RATE_FACTOR / np.sqrt(weight.shape[1])
            self._layers.append(
                (
                    np.ascontiguousarray(weight.T * np.float32(gain)),
                    checkpoint.tensors[key + ".bias"] * np.float32(LEARNING_RATE_FACTOR),
                )
            )

    def w_from_z(self, z: F32) -> F32:
        """Map z [z_dim] (standard normal) to w [w_dim]."""
        x = np.asarray(z, np.float32)
        x = x / np.sqrt(np.mean(x * x) + np.float32(1e-8))
        for weight, bias in self._layers:
            x = x @ weight + bias
            x = np.maximum(x, x * np.float32(LEAK)) * np.float32(np.sqrt(2.0))
        return x
