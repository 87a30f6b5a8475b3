"""Thousands of animals of a species, drawn and described, in a file that an interrupted run goes on from.

Animals are described a batch at a time, and batches begin at the same numbers whether a run was interrupted or not: so
what it finds is the same to the bit, on one machine.

Thread: whoever calls.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError, safe_open

from performer.bridges import SIDES
from performer.bridging.descriptors import Descriptor
from performer.bridging.drawing import Drawing
from performer.files import write_whole
from performer.flow import F32

HEADER_KEY = "samples"
SAVE_EVERY_S = 15.0

Progress = Callable[[int, int], None]  # (pictures described, of how many)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what the samples are."""

    species: tuple[str, str]  # content hashes
    samples: int  # of each
    seed: int
    truncation: tuple[float, float]
    descriptor: str
    device: str
    version: int = 1  # of the descriptors and of the way of sampling


@dataclass(slots=True)
class Samples:
    """What is described so far: for each side its blocks [n, numbers], as far as they are there."""

    plan: Plan
    path: Path  # the partial file
    blocks: list[list[list[F32]]] = field(default_factory=lambda: [[] for _ in range(SIDES)])  # side, batch, block

    @classmethod
    def resume(cls, path: Path, plan: Plan) -> tuple["Samples", int]:
        """(the samples of an interrupted run of the same plan, how many pictures it has); empty where there is none."""
        samples = cls(plan, path)
        try:
            with safe_open(path, framework="numpy") as file:
                written = (file.metadata() or {}).get(HEADER_KEY, "")
                if msgspec.json.decode(written, type=Plan) != plan:
                    return samples, 0
                for side in range(SIDES):
                    keys = sorted(key for key in file.keys() if key.startswith(f"{side}."))  # noqa: SIM118
                    if keys:
                        samples.blocks[side].append([file.get_tensor(key) for key in keys])
        except (OSError, SafetensorError, msgspec.MsgspecError):
            return cls(plan, path), 0
        return samples, sum(samples.count(side) for side in range(SIDES))

    def count(self, side: int) -> int:
        """How many pictures of a side are described."""
        return sum(len(batch[0]) for batch in self.blocks[side])

    def of(self, side: int) -> list[F32]:  # [n, numbers] each
        """The blocks of a side."""
        return [np.concatenate(block) for block in zip(*self.blocks[side], strict=True)]

    def save(self) -> None:
        """Write what is there. Raises OSError."""
        tensors: dict[str, np.ndarray] = {}
        for side in range(SIDES):
            blocks = self.of(side) if self.blocks[side] else []
            self.blocks[side] = [blocks] if blocks else []
            tensors |= {f"{side}.{number:02}": block for number, block in enumerate(blocks)}
        header = {HEADER_KEY: msgspec.json.encode(self.plan, order="sorted").decode()}
        write_whole(self.path, safetensors.numpy.save(tensors, metadata=header))


@torch.inference_mode()
def describe(samples: Samples, drawings: Sequence[Drawing], descriptor: Descriptor, *, progress: Progress) -> None:
    """Describe what is not described yet. Where that is interrupted, or fails, what was done is kept in the file.

    Raises:
        Refused: a species draws no finite numbers.
        OSError: the file cannot be written.
    """
    plan, total = samples.plan, SIDES * samples.plan.samples
    saved_s = time.monotonic()
    try:
        for side, drawing in enumerate(drawings):
            for first in range(samples.count(side), plan.samples, drawing.batch):
                numbers = range(first, min(first + drawing.batch, plan.samples))
                animals = drawing.latents(numbers, seed=plan.seed, side=side, truncation=plan.truncation)
                blocks = descriptor(drawing.pictures(torch.from_numpy(animals.w).to(drawing.device)))
                samples.blocks[side].append([block.float().cpu().numpy() for block in blocks])
                progress(sum(map(samples.count, range(SIDES))), total)
                if time.monotonic() - saved_s > SAVE_EVERY_S:
                    samples.save()
                    saved_s = time.monotonic()
    finally:
        samples.save()
