"""From z to w, in numpy: the mapping network, which choreography calls a few times a second.

It stays outside the engines (truncation and style mixing happen on w), and outside torch, so that a show that plays
from a compiled cache imports no torch. `tests/generators` holds it to the torch form.

| checkpoints | mapping |
| --- | --- |
| `mapping.fc{i}` | StyleGAN2 and 3: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), with the equalised learning rate of "Progressive Growing of GANs" (2018), section 4.1 |
| ... with `mapping.embed` | conditional: the label's embedding beside z |
| `mapping.net.{i}` | lucidrains' StyleGAN2 |
| none | families without a w: z is used as it is |

Thread: any; immutable after construction.
"""  # noqa: E501

import re

import numpy as np

from performer.flow import F32, frozen_array
from performer.generators.checkpoint import Checkpoint, CheckpointError

LEARNING_RATE_FACTOR = (
    0.01  # the mapping trains a hundred times slower, so its stored weights are 100 times the effective
)
LUCID_FACTOR = 0.1
LEAK = 0.2
GAIN = float(np.sqrt(2.0))


class Mapping:
    """The mapping network of one species.

    label
        the class that a conditional species draws, 0 to classes - 1.

    Raises CheckpointError for a label that the species does not know.
    """

    def __init__(self, checkpoint: Checkpoint, *, label: int = 0) -> None:
        tensors, options = checkpoint.tensors, checkpoint.options
        self.z_dim = checkpoint.sizes.z_dim
        self.w_dim = checkpoint.sizes.w_dim
        labels = checkpoint.sizes.labels
        if label not in labels:
            raise CheckpointError(f"{checkpoint.path}: class {label}; expected 0 to {labels[-1]}")
        # A generator without a w takes the label itself, in its last row of ws.
        self.label_row: F32 | None = None  # [w_dim]
        if checkpoint.sizes.classes and "mapping.fc0.weight" not in tensors:
            self.label_row = frozen_array(np.eye(1, self.w_dim, label, dtype=np.float32)[0])
        self._lucid = any(key.startswith("mapping.net.") for key in tensors)
        self._layers: list[tuple[F32, F32]] = []  # ([in, out], [out]), learning rate applied
        usual = LUCID_FACTOR if self._lucid else LEARNING_RATE_FACTOR
        factor = np.float32(options.get("lr_multiplier", usual))
        for prefix in _layers_of(tensors):
            weight = tensors[f"{prefix}.weight"]
            gain = factor if self._lucid else factor / np.float32(np.sqrt(weight.shape[1]))
            self._layers.append((np.ascontiguousarray(weight.T * gain), tensors[f"{prefix}.bias"] * factor))
        self._embedded, self._normalised_apart = _embedded(checkpoint, label)
        w_avg = tensors.get("mapping.w_avg", np.zeros(self.w_dim, np.float32))
        # StyleGAN-XL keeps a mean for each class: truncation goes towards the class, not towards all of them.
        self.w_avg = frozen_array((w_avg[label] if w_avg.ndim == 2 else w_avg).astype(np.float32))  # [w_dim]

    def w_from_z(self, z: F32) -> F32:
        """Map z [z_dim] (standard normal) to w [w_dim]."""
        x = np.asarray(z, np.float32)
        if not self._layers:
            return np.pad(x, (0, self.w_dim - len(x)))
        if self._lucid:
            x = x / np.maximum(np.sqrt(np.sum(x * x)), np.float32(1e-12))
            for weight, bias in self._layers:
                x = _leaky(x @ weight + bias)
            return x
        if self._embedded is not None:
            parts = (_unit(x), _unit(self._embedded)) if self._normalised_apart else (x, self._embedded)
            x = np.concatenate(parts)
        if self._embedded is None or not self._normalised_apart:
            x = _unit(x)
        for weight, bias in self._layers:
            x = _leaky(x @ weight + bias) * np.float32(GAIN)
        return x


def _unit(x: F32) -> F32:
    """`x` with a root mean square of 1."""
    return x / np.sqrt(np.mean(x * x) + np.float32(1e-8))


def _leaky(x: F32) -> F32:
    return np.maximum(x, x * np.float32(LEAK))


def _layers_of(tensors: dict[str, F32]) -> list[str]:
    """The prefixes of the layers, in order."""
    found = {match[1]: int(match[2]) for key in tensors if (match := re.match(r"(mapping\.(?:fc|net\.)(\d+))\.", key))}
    return sorted(found, key=found.__getitem__)


def _embedded(checkpoint: Checkpoint, label: int) -> tuple[F32 | None, bool]:
    """(what stands beside z for the class `label`, whether it is normalised by itself); None without classes."""
    tensors, kind = checkpoint.tensors, checkpoint.options.get("label")
    embed = tensors.get("mapping.embed.weight")
    if embed is None:
        return None, True
    if kind == "table":  # a row of a table, then a layer of its own
        projection = tensors["mapping.embed_proj.weight"]
        row = embed[label] @ projection.T / np.float32(np.sqrt(projection.shape[1]))
        return _leaky(row + tensors["mapping.embed_proj.bias"]) * np.float32(GAIN), True
    if kind == "concat":  # the StyleGAN2 of 2019 has no bias, and normalises z and label together
        return embed[:, label], False
    return embed[:, label] / np.float32(np.sqrt(embed.shape[1])) + tensors["mapping.embed.bias"], True
