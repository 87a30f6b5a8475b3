"""Latents for the pictures of a set, to start from: similar pictures get similar ones.

A generator that starts from nothing spends most of its time on learning what a butterfly is. So for its first pictures
it is not criticised but shown: each picture of the set has a latent, and the generator learns to draw it from that
(Bojanowski et al., "Optimizing the Latent Space of Generative Networks" (2018)). Here the latents are the principal
components of small versions of the pictures, whitened: they are spread as the normal latents that are drawn later, and
directions in them mean something: light and dark, wide and narrow.

Thread: whoever calls.
"""

import numpy as np

from performer.flow import F32, U8

SMALL_PX = 32


def codes_of(small: U8, *, dimensions: int, seed: int) -> F32:
    """For pictures [N, P, P, 3] the latents of each and of its mirror image, [N, 2, dimensions], each about normal.

    Where there are fewer pictures than `dimensions`, the rest is filled with normal numbers.
    """
    flat = np.concatenate([small, small[:, :, ::-1]]).reshape(2 * len(small), -1).astype(np.float32) / 127.5 - 1
    flat -= flat.mean(axis=0)
    left, strengths, _ = np.linalg.svd(flat, full_matrices=False)
    real = min(dimensions, len(small) - 1, int((strengths > strengths[0] * 1e-4).sum()))
    codes = np.random.default_rng(seed).standard_normal((2 * len(small), dimensions), np.float32)
    codes[:, :real] = left[:, :real] * np.sqrt(len(flat))
    # The mapping looks at directions alone; a picture unlike all others shall not be farther away than any latent drawn.
    codes *= np.sqrt(dimensions) / np.linalg.norm(codes, axis=1, keepdims=True)
    return np.ascontiguousarray(codes.reshape(2, len(small), dimensions).transpose(1, 0, 2))
