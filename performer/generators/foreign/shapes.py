"""Checking tensors against the shapes that a family has: what is missing, misshapen or too many is named.

Thread: any.
"""

from collections.abc import Iterable

from performer.flow import F32
from performer.generators.foreign.errors import Unreadable, quoted


class Shapes:
    """Tensors that are ticked off one by one."""

    def __init__(self, tensors: dict[str, F32]) -> None:
        self._tensors = tensors
        self._unseen = dict.fromkeys(tensors)

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def expect(self, key: str, *shape: int | None) -> tuple[int, ...]:
        """The shape of `key`; None stands for any size.

        Raises:
            Unreadable: the tensor is missing or has another shape.
        """
        wanted = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
        tensor = self._tensors.get(key)
        if tensor is None:
            raise Unreadable(f"tensor {quoted(key)} is missing; expected shape {wanted}")
        self._unseen.pop(key, None)
        fits = len(shape) == tensor.ndim and all(
            size is None or size == there for size, there in zip(shape, tensor.shape, strict=True)
        )
        if not fits or 0 in tensor.shape:
            raise Unreadable(f"tensor {quoted(key)} has shape {list(tensor.shape)}; expected {wanted}")
        return tensor.shape

    def vectors(self, prefix: str, *, rows: int | None, names: Iterable[str] = ("weight", "bias")) -> int:
        """Expect vectors of one length; return it."""
        for name in names:
            (rows,) = self.expect(f"{prefix}.{name}", rows)
        return rows or 0

    def allow(self, key: str) -> None:
        """Tick off a tensor of any shape, if it is there."""
        self._unseen.pop(key, None)

    def finish(self, *, family: str) -> None:
        """Raises Unreadable where a tensor is left over: the network is not of this family after all."""
        if self._unseen:
            first = next(iter(self._unseen))
            raise Unreadable(
                f"tensor {quoted(first)} has no place in {family} ({len(self._unseen):,} such): "
                "a fork with other layers, which this program cannot play"
            )


def refuse_mismatched_siblings(tensors: dict[str, F32]) -> None:
    """Check what holds in any convolutional network: normalisations are of one length, biases fit their weights.

    Raises:
        Unreadable: naming the tensor that does not fit.
    """
    shapes = Shapes(tensors)
    for key, tensor in tensors.items():
        prefix, _, name = key.rpartition(".")
        if name == "running_mean":
            shapes.vectors(prefix, rows=tensor.size, names=("running_mean", "running_var", "weight", "bias"))
        elif name == "stored_mean":
            shapes.vectors(prefix, rows=tensor.size, names=("stored_mean", "stored_var"))
        elif name == "bias" and (weight := tensors.get(f"{prefix}.weight")) is not None and weight.ndim > 1:
            if tensor.size not in weight.shape[:2]:  # transposed convolutions have their outputs second
                shapes.expect(key, weight.shape[0])
        elif tensor.ndim and 0 in tensor.shape:
            raise Unreadable(f"tensor {quoted(key)} is empty")
