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
        self.num_ws = checkpoint.sizes.num_ws
        labels = checkpoint.sizes.labels
        if label not in labels:
            raise CheckpointError(f"{checkpoint.path}: class {label}; expected 0 to {labels[-1]}")
        # A generator without a w takes the label itself, in its last row of ws.
        self.label_row: F32 | None = None  # [w_dim]
        if checkpoint.sizes.classes and "mapping.fc0.weight" not in tensors:
            self.label_row = frozen_array(np.eye(1, self.w_dim, label, dtype=np.float32)[0])
        self._layers, self._lucid = mapping_layers(tensors, lr_multiplier=options.get("lr_multiplier"))
        self._label, self._label_kind = label, options.get("label")
        self._normalised_apart = self._label_kind != "concat"  # z and label; the StyleGAN2 of 2019 joins them first
        self._embeds = {key: tensor for key, tensor in tensors.items() if key.startswith("mapping.embed")}
        self._embedded = _embedded(self._embeds, self._label_kind, label)
        w_avg = tensors.get("mapping.w_avg", np.zeros(self.w_dim, np.float32))
        # StyleGAN-XL keeps a mean for each class: truncation goes towards the class, not towards all of them.
        self.w_avg = frozen_array((w_avg[label] if w_avg.ndim == 2 else w_avg).astype(np.float32))  # [w_dim]

    def w_from_z(self, z: F32) -> F32:
        """Map z [..., z_dim] (standard normal) to w [..., w_dim]."""
        return self._mapped(z, self._embedded, self._layers)

    def ws_from_w(self, w: F32, *, psi: float = 1.0, cutoff: int | None = None) -> F32:
        """Spread w [w_dim], or one for each row [num_ws, w_dim], over the rows [num_ws, w_dim], truncated.

        Only the first `cutoff` rows are truncated, all by default: Karras et al., "A Style-Based Generator Architecture"
        (2019), section 3 and appendix B.
        """
        ws = np.array(np.broadcast_to(w, (self.num_ws, self.w_dim)), np.float32)
        ws[:cutoff] = self.w_avg + np.float32(psi) * (ws[:cutoff] - self.w_avg)
        if self.label_row is not None:
            ws[-1] = self.label_row
        return ws

    def w_between(self, sibling: "Mapping", z: F32, part: float) -> F32:
        """Map z [..., z_dim] by the network between this one (part 0) and its sibling's (1): [..., w_dim].

        Its weights and biases, and the embedding of the class, are interpolated.
        """
        layers = [
            (_between(weight, other_weight, part), _between(bias, other_bias, part))
            for (weight, bias), (other_weight, other_bias) in zip(self._layers, sibling._layers, strict=True)
        ]
        embeds = {key: _between(tensor, sibling._embeds[key], part) for key, tensor in self._embeds.items()}
        return self._mapped(z, _embedded(embeds, self._label_kind, self._label), layers)

    def _mapped(self, z: F32, embedded: F32 | None, layers: list[tuple[F32, F32]]) -> F32:
        x = np.asarray(z, np.float32)
        if not layers:
            return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, self.w_dim - x.shape[-1])])
        return mapped(x, layers, embedded=embedded, apart=self._normalised_apart, lucid=self._lucid)


def mapped(
    z: F32,  # [..., z_dim]
    layers: list[tuple[F32, F32]],  # ([in, out], [out]), learning rate applied
    *,
    embedded: F32 | None,  # [embedded] or [..., embedded], what stands for the class; None without classes
    apart: bool,  # z and the class are normalised each by itself, not together
    lucid: bool,  # lucidrains' arithmetic
) -> F32:  # [..., w_dim]
    """The mapping network itself."""
    x: np.ndarray = z
    if lucid:
        x = x / np.maximum(np.sqrt(np.sum(x * x, axis=-1, keepdims=True)), np.float32(1e-12))
        for weight, bias in layers:
            x = _leaky(x @ weight + bias)
        return x
    if embedded is not None:
        embedded = np.broadcast_to(embedded, (*x.shape[:-1], embedded.shape[-1]))
        x = np.concatenate((_unit(x), _unit(embedded)) if apart else (x, embedded), axis=-1)
    if embedded is None or not apart:
        x = _unit(x)
    for weight, bias in layers:
        x = _leaky(x @ weight + bias) * np.float32(GAIN)
    return x


def mapping_layers(tensors: dict[str, F32], *, lr_multiplier: float | None) -> tuple[list[tuple[F32, F32]], bool]:
    """([(weight [in, out], bias [out]), ...] with their learning rate applied, whether they are lucidrains')."""
    lucid = any(key.startswith("mapping.net.") for key in tensors)
    factor = np.float32(lr_multiplier or (LUCID_FACTOR if lucid else LEARNING_RATE_FACTOR))
    layers = []
    for prefix in _layers_of(tensors):
        weight = tensors[f"{prefix}.weight"]
        gain = factor if lucid else factor / np.float32(np.sqrt(weight.shape[1]))
        layers.append((np.ascontiguousarray(weight.T * gain), tensors[f"{prefix}.bias"] * factor))
    return layers, lucid


def z_dim_of(tensors: dict[str, F32]) -> int:
    """The length of z of a mapping: what its first layer takes, without what stands beside z for a class."""
    embed = tensors.get("mapping.embed_proj.weight", tensors.get("mapping.embed.weight"))
    return tensors["mapping.fc0.weight"].shape[1] - (0 if embed is None else embed.shape[0])


def _between(first: F32, second: F32, part: float) -> F32:
    return np.asarray(first * np.float32(1 - part) + second * np.float32(part), np.float32)


def _unit(x: F32) -> F32:
    """`x` with a root mean square of 1 in each row."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(1e-8))


def _leaky(x: F32) -> F32:
    return np.maximum(x, x * np.float32(LEAK))


def _layers_of(tensors: dict[str, F32]) -> list[str]:
    """The prefixes of the layers, in order."""
    found = {match[1]: int(match[2]) for key in tensors if (match := re.match(r"(mapping\.(?:fc|net\.)(\d+))\.", key))}
    return sorted(found, key=found.__getitem__)


def _embedded(embeds: dict[str, F32], kind: str | None, label: int) -> F32 | None:
    """What stands beside z for the class `label` [embedded]; None without classes."""
    embed = embeds.get("mapping.embed.weight")
    if embed is None:
        return None
    if kind == "table":  # a row of a table, then a layer of its own
        projection = embeds["mapping.embed_proj.weight"]
        row = embed[label] @ projection.T / np.float32(np.sqrt(projection.shape[1]))
        return _leaky(row + embeds["mapping.embed_proj.bias"]) * np.float32(GAIN)
    if kind == "concat":  # without a bias
        return embed[:, label]
    return embed[:, label] / np.float32(np.sqrt(embed.shape[1])) + embeds["mapping.embed.bias"]
