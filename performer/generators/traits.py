"""Traits: directions in w along which a species changes in one way, found without labels.

Two ways to find them:

- GANSpace: the principal components of w over many animals (Härkönen et al., "GANSpace: Discovering Interpretable GAN
  Controls" (2020), section 2.1). They say how the species varies. They act on all layers.
- SeFa: the eigenvectors of the weights that turn w into styles (Shen and Zhou, "Closed-Form Factorization of Latent
  Semantics in GANs" (2021), section 3.2). They say what the network reacts to most, here for each layer group apart.

Every direction is scaled so that 1 is one standard deviation of the animals along it.

Thread: whoever calls. No torch.
"""

import re

import numpy as np

from performer.flow import F32, GROUP_NAMES, GROUPS
from performer.generators.checkpoint import Checkpoint, CheckpointError
from performer.generators.mapping import Mapping

SAMPLES = 4096
SEED = 0


def find(checkpoint: Checkpoint, *, count: int) -> tuple[tuple[str, ...], F32]:
    """(names, directions [traits, 3, w_dim]): `count` by GANSpace, and `count` by SeFa where the species has styles.

    Deterministic: the same species gives the same traits; the sign is such that the largest component is positive.

    Raises:
        CheckpointError: the species has no w to look for directions in.
    """
    if not any(key.startswith("mapping.") for key in checkpoint.tensors):
        raise CheckpointError(
            f"{checkpoint.path}: family {checkpoint.family} has no w, only z, in which all directions are alike; "
            "expected a StyleGAN2, a StyleGAN3 or a light species"
        )
    mapping = Mapping(checkpoint)
    rng = np.random.default_rng(SEED)
    w = mapping.w_from_z(rng.standard_normal((SAMPLES, mapping.z_dim), np.float32))
    w = w.astype(np.float64) - w.mean(0, dtype=np.float64)
    names: list[str] = []
    directions: list[np.ndarray] = []
    for number, direction in enumerate(_leading(w.T @ w, count), 1):
        names.append(f"ganspace {number}")
        directions.append(np.broadcast_to(_scaled(direction, w), (GROUPS, len(direction))))
    affines = _affines(checkpoint)
    by_group = [_reactions(checkpoint, affines[checkpoint.sizes.rows(group)], count) for group in range(GROUPS)]
    for number in range(count):
        group, rank = number % GROUPS, number // GROUPS
        if rank >= len(by_group[group]):
            continue
        direction = np.zeros((GROUPS, w.shape[1]))
        direction[group] = _scaled(by_group[group][rank], w)
        names.append(f"sefa {GROUP_NAMES[group]} {rank + 1}")
        directions.append(direction)
    return tuple(names), np.array(directions, np.float32)


def _leading(square: np.ndarray, count: int) -> list[np.ndarray]:
    """The `count` eigenvectors of a symmetric matrix with the largest eigenvalues, each with a fixed sign."""
    _, vectors = np.linalg.eigh(square)
    found = vectors[:, ::-1].T[:count]
    return [vector * np.sign(vector[np.abs(vector).argmax()]) for vector in found]


def _scaled(direction: np.ndarray, w: np.ndarray) -> np.ndarray:
    """`direction` with the length of one standard deviation of `w` [samples, w_dim] along it."""
    return direction * (w @ direction).std()


def _reactions(checkpoint: Checkpoint, keys: list[str], count: int) -> list[np.ndarray]:
    """The directions of w that the style weights `keys` react to most; none where there are no such weights."""
    if not keys:
        return []
    weights = np.concatenate([checkpoint.tensors[key].astype(np.float64) for key in keys])
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    # Rows of unit length, as published: a channel that is driven hard must not drown the others.
    rows = (weights / np.where(lengths > 0, lengths, 1.0))[lengths[:, 0] > 0]
    return _leading(rows.T @ rows, count)


def _affines(checkpoint: Checkpoint) -> list[str]:
    """The names of the style weights in the order of the rows of ws; layers that draw colour alone are left out."""
    places = {}
    for key in checkpoint.tensors:
        if match := re.fullmatch(r"synthesis\.b(\d+)\.conv(\d)\.affine\.weight", key):
            places[key] = (int(match[1]), int(match[2]))
        elif match := re.fullmatch(r"synthesis\.L(\d+)_.*\.affine\.weight", key):
            places[key] = (int(match[1]), 0)
    first = ["synthesis.input.affine.weight"] if "synthesis.input.affine.weight" in checkpoint.tensors else []
    return first + sorted(places, key=places.__getitem__)
