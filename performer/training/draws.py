"""Random numbers of a step of training, which depend on the seed and the step alone.

So a run that was interrupted goes on bit for bit as if nothing had happened, with nothing to remember; and of several
processes each takes its part of the numbers that a single one would draw.

Thread: whoever calls.
"""

import zlib

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Numbers for a batch. Each draw has a name; the same name gives the same numbers."""

    def __init__(
        self,
        seed: int,
        step: int,
        *,
        batch: int,  # pictures in the whole batch
        part: slice = slice(None),  # those of this process
        device: torch.device | str = "cpu",
    ) -> None:
        self._seed, self._step, self._batch, self._part, self._device = seed, step, batch, part, device

    def normal(self, name: str, *shape: int) -> Tensor:  # [part, *shape]
        """Standard normal numbers."""
        return self._sent(torch.randn(self._batch, *shape, generator=self._generator(name))[self._part])

    def uniform(self, name: str, *shape: int) -> Tensor:  # [part, *shape], 0..1
        return self._sent(torch.rand(self._batch, *shape, generator=self._generator(name))[self._part])

    def whole(self, name: str, low: int, high: int) -> Tensor:  # [part], low..high - 1
        drawn = torch.randint(low, high, (self._batch,), generator=self._generator(name))
        return self._sent(drawn[self._part])

    def shared(self, name: str, *shape: int) -> Tensor:  # [*shape]
        """Standard normal numbers that the pictures of a batch have in common."""
        return self._sent(torch.randn(*shape, generator=self._generator(name)))

    def _generator(self, name: str) -> torch.Generator:
        # On the processor always, so that the numbers are the same on every device.
        words = np.random.SeedSequence((self._seed, self._step, zlib.crc32(name.encode()))).generate_state(2, np.uint32)
        return torch.Generator().manual_seed(int(words[0]) | int(words[1] & 0x7FFFFFFF) << 32)

    def _sent(self, numbers: Tensor) -> Tensor:
        return numbers.to(self._device, non_blocking=True)
