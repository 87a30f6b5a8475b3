"""The tensors of a species, handed out by name and shape, for families that are built tensor by tensor.

Thread: whoever calls.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from performer.flow import F32
from performer.generators.checkpoint import CheckpointError


class Weights:
    """The tensors of a species, handed out by name and shape.

    Raises CheckpointError for a tensor that is missing or misshapen.
    """

    def __init__(self, tensors: dict[str, F32], *, path: Path | None = None) -> None:
        self._tensors = tensors
        self._where = "" if path is None else f"{path}: "

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def any_under(self, *prefixes: str) -> bool:
        """Whether a name begins as one of `prefixes` does."""
        return any(key.startswith(prefixes) for key in self._tensors)

    def numbers(self, key: str, *shape: int | None) -> F32:
        """A tensor; None in `shape` stands for any size."""
        tensor = self._tensors.get(key)
        wanted = f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
        if tensor is None:
            raise self.refusal(f"tensor {key} is missing; expected shape {wanted}")
        if tensor.ndim != len(shape) or any(
            there == 0 or size not in (None, there) for size, there in zip(shape, tensor.shape, strict=True)
        ):
            raise self.refusal(f"tensor {key} has shape {list(tensor.shape)}; expected {wanted}")
        return tensor

    def take(self, key: str, *shape: int | None) -> Tensor:
        """`numbers` for torch, as a copy."""
        return torch.from_numpy(np.array(self.numbers(key, *shape), np.float32))

    def refusal(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self._where}{message}")
