"""A species as bridges need it: numbered animals, pictures with gradients, and how far a latent is from the mean animal.

Thread: whoever calls.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from performer.flow import F32, NOISE_MAPS
from performer.generators import family
from performer.generators.checkpoint import Checkpoint
from performer.generators.mapping import Mapping
from performer.generators.network import rgba
from performer.refusal import Refused

BATCH_PIXELS = 1 << 18  # that are drawn at once: what fits into the memory of a laptop with gradients
MOST_BATCH = 16
SPREAD_SAMPLES = 4096  # animals that say how a species is spread
SPREAD_SEED = 0
LEAST_VARIANCE = 1e-4  # of the strongest direction's; weaker directions of w do not vary


@dataclass(frozen=True, slots=True)
class Latents:
    """Animals of a species, in the order of their numbers."""

    z: F32  # [N, z_dim], standard normal
    psi: F32  # [N], truncation
    w: F32  # [N, w_dim], truncated


@dataclass(frozen=True, slots=True)
class Spread:
    """How the w of a species are spread about the mean animal."""

    deviation: F32  # [w_dim], the standard deviation of each number, above 0
    directions: Tensor  # [k, w_dim] f32, the principal directions, each of the length of one standard deviation
    inverse: Tensor  # [w_dim, k] f32: an offset from the mean animal to coordinates along them
    mean: Tensor  # [w_dim]

    def coordinates(self, w: Tensor) -> Tensor:  # [N, w_dim] -> [N, k]
        """Where latents are, in standard deviations along the principal directions."""
        return (w - self.mean) @ self.inverse

    def truncation(self, w: Tensor) -> Tensor:  # [N, w_dim] -> [N]
        """The truncation distance: how far latents are from the mean animal, 1 for animals drawn at psi 1 on average.

        The root mean square of the coordinates: a Mahalanobis distance that reads like psi, since drawing at psi shrinks
        all of them by psi. Distances like it keep an inversion in the range of a generator in Zhu et al., "Improved
        StyleGAN Embedding: Where are the Good Latents?" (2020), section 3.
        """
        return self.coordinates(w).square().mean(dim=1).sqrt()


class Drawing:
    """One side of a bridge: a species that draws. Of a species with classes, the first."""

    def __init__(self, checkpoint: Checkpoint, *, device: str = "cpu") -> None:
        """Raises CheckpointError."""
        sizes = checkpoint.sizes
        self.checkpoint = checkpoint
        self.mapping = Mapping(checkpoint)
        self.network: nn.Module = family.build(checkpoint).eval().requires_grad_(False).to(device)
        self.device = device
        self.batch = max(1, min(MOST_BATCH, BATCH_PIXELS // (sizes.height_px * sizes.width_px)))
        self._noise = torch.eye(1, NOISE_MAPS, device=device).repeat(sizes.noise_layers, 1)
        takes_transform = getattr(self.network, "takes_transform", False)
        self._more = {"transform": torch.eye(3, device=device)} if takes_transform else {}
        row = self.mapping.label_row
        self._label_row = None if row is None else torch.from_numpy(row.copy()).to(device)

    def latents(
        self,
        numbers: range,
        *,
        seed: int,
        side: int,  # 0 or 1, so that the two species get animals of their own
        truncation: tuple[float, float],  # lowest and highest psi
    ) -> Latents:
        """The animals of these numbers, each by its number alone: Philox, a counter-based generator."""
        z = np.empty((len(numbers), self.mapping.z_dim), np.float32)
        psi = np.empty(len(numbers), np.float32)
        for place, number in enumerate(numbers):
            key = np.array([seed, side << 48 | number], np.uint64)
            random = np.random.Generator(np.random.Philox(key=key))
            z[place] = random.standard_normal(self.mapping.z_dim, np.float32)
            psi[place] = random.uniform(*truncation)
        mean = self.mapping.w_avg
        return Latents(z=z, psi=psi, w=mean + psi[:, None] * (self.mapping.w_from_z(z) - mean))

    def spread(self) -> Spread:
        """How its w are spread; the same every time."""
        z = np.random.default_rng(SPREAD_SEED).standard_normal((SPREAD_SAMPLES, self.mapping.z_dim), np.float32)
        offsets = self.mapping.w_from_z(z).astype(np.float64) - self.mapping.w_avg
        deviation = offsets.std(axis=0)
        # A number that is the same in all animals: a thousandth of the largest spread, so that nothing divides by 0.
        deviation = np.maximum(deviation, max(1e-3 * float(deviation.max()), 1e-12))
        variances, vectors = np.linalg.eigh(offsets.T @ offsets / len(offsets))
        kept = variances > LEAST_VARIANCE * variances[-1]
        lengths, vectors = np.sqrt(variances[kept]), vectors[:, kept]

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array, np.float32)).to(self.device)

        return Spread(
            deviation=deviation.astype(np.float32),
            directions=tensor((vectors * lengths).T),
            inverse=tensor(vectors / lengths),
            mean=tensor(self.mapping.w_avg),
        )

    def pictures(self, w: Tensor) -> Tensor:  # [N, w_dim] -> [N, 3, H, W], -1..1
        """The pictures of latents, with gradients; all rows of ws are alike.

        Raises:
            Refused: the species draws no finite numbers.
        """
        ws = w[:, None].expand(-1, self.mapping.num_ws, -1)
        if self._label_row is not None:
            ws = torch.cat([ws[:, :-1], self._label_row.expand(len(w), 1, -1)], dim=1)
        signal = rgba(self.network, ws, self._noise, self._more)
        if not torch.isfinite(signal).all():
            raise Refused(f"{self.checkpoint.path}: draws NaN or infinity; expected finite pictures; train it again")
        return signal[..., :3].float().clamp(-1, 1).permute(0, 3, 1, 2)
