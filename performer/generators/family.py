"""Families of generators, found by scanning this folder: a module with `NAME` and `build` is a family.

To add one, write one file here with

    NAME = "myfamily"                                # as in the header of its checkpoints
    def sizes_of(tensors, options) -> Sizes          # of an imported checkpoint, from the shapes of its tensors
    def build(checkpoint: Checkpoint) -> nn.Module   # forward(ws [N, num_ws, w_dim], noise [L, 3]) -> [N, 3 or 4, H, W]

The network may have

- `takes_transform = True`, where its input can be moved; `forward` then takes `transform=` [3, 3] too;
- `bends`, an `nn.ModuleDict` of `ops.Bend`; where that is not empty, `forward` takes `bends=` [3, 7];
- `row_of(tensor) -> int`, the row of ws to whose layer a tensor of its state belongs, for blending with a sibling layer
  by layer; without it all layers blend alike;
- modules with `in_half`, the names of their tensors that become half precision where the network is built so; without
  any, the family has no such form, and that is said;
- `forward_rgba`, with the same arguments as `forward`, `-> [N, H, W, 4]`: the same picture channels-last with alpha 1,
  where that saves time; engines prefer it.

`sizes_of` may be left out where nobody else trains such a family.

The scan also parameterises the contract tests.

Thread: whoever calls. Importing this module imports no torch; `build` does.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

import performer.generators
from performer.flow import F32
from performer.generators.checkpoint import Checkpoint, CheckpointError, Sizes

if TYPE_CHECKING:
    from torch import nn


def families() -> dict[str, ModuleType]:
    """Every family by name."""
    found = {}
    for entry in pkgutil.iter_modules(performer.generators.__path__):
        module = importlib.import_module(f"performer.generators.{entry.name}")
        if hasattr(module, "NAME") and hasattr(module, "build"):
            found[module.NAME] = module
    return found


def sizes_of(name: str, tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of an imported generator of family `name`. Raises CheckpointError."""
    return families()[name].sizes_of(tensors, options)


def build(checkpoint: Checkpoint) -> "nn.Module":
    """The synthesis network of a species, with its weights.

    Raises:
        CheckpointError: the family is unknown, or the weights do not fit it.
    """
    known = families()
    if checkpoint.family not in known:
        raise CheckpointError(
            f"{checkpoint.path}: family {checkpoint.family!r} is unknown; expected one of {', '.join(sorted(known))}; "
            "a newer performer may know it"
        )
    return known[checkpoint.family].build(checkpoint)
