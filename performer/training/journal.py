"""What a run tells of itself: a log, a bar of progress, and numbers that say how far the species has come.

Thread: main.
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from performer.files import write_whole
from performer.flow import U8
from performer.training import looks, measures
from performer.training.pictures import Pictures

GAUGED = 160  # animals and pictures that are compared at each sheet
MOST_PX = 128  # the side at which they are
SAID_EVERY_S = 10.0  # where there is no bar


class Gauge:
    """How far the species has come, in three numbers; `performer measure` knows more."""

    def __init__(self, pictures: Pictures, *, seed: int) -> None:
        places = np.random.default_rng(seed).permutation(len(pictures))[:GAUGED]
        features = looks.features(_small(pictures.of(places)))
        self._eye = looks.Eye.of(features)
        self._real = self._eye.seen(features)

    def read(self, animals: U8) -> dict[str, float]:  # [N, R, R, 3]
        """The distance to the pictures it learns from, how much animals differ, and the part of their kinds it knows."""
        seen = self._eye.seen(looks.features(_small(animals[: len(self._real)])))
        variety = measures.variety(self._real, seen)
        distance = measures.kernel_distance(self._real, seen).mean
        return {"distance": distance, "spread": variety.spread, "coverage": variety.coverage}


def _small(pictures: U8) -> U8:  # [N, R, R, 3] -> [N, MOST_PX at most, ..., 3]
    """Pictures at a size at which they are compared in seconds."""
    n, side, _, _ = pictures.shape
    by = max(side // MOST_PX, 1)
    return pictures.reshape(n, side // by, by, side // by, by, 3).mean(axis=(2, 4)).astype(np.uint8)


class Journal:
    """log.jsonl and, where it is installed, TensorBoard."""

    def __init__(self, folder: Path, *, seen: int) -> None:
        """What was written after `seen` pictures, by a run that ended before it saved, is taken back. Raises OSError."""
        self._path = folder / "log.jsonl"
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        kept = [line for line in lines if _is_within(line, seen)]
        write_whole(self._path, "".join(f"{line}\n" for line in kept).encode())
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=seen + 1)

    def write(self, seen: int, line: dict[str, float]) -> None:
        text = json.dumps({"seen": seen} | {key: round(value, 5) for key, value in line.items()})
        # A full disk is told where the species is saved.
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(f"{text}\n")
        if self._board is not None:
            for key, value in line.items():
                self._board.add_scalar(key, value, seen)


def _is_within(line: str, seen: int) -> bool:
    """Whether a line was written by then; one that a power cut left half written was not."""
    try:
        return json.loads(line)["seen"] <= seen
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def progress(announce: Callable[[str], None], shown: bool) -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Progress: a bar on a terminal, a line now and then elsewhere."""
    if shown and sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("training", figures="")

            def move(seen: int, images: int, line: dict[str, float]) -> None:
                bar.update(task, total=images, completed=seen, figures=_figures(seen, images, line))

            yield move
        return
    last_s = -math.inf

    def say(seen: int, images: int, line: dict[str, float]) -> None:
        nonlocal last_s
        if time.monotonic() - last_s > SAID_EVERY_S:
            last_s = time.monotonic()
            left_s = (images - seen) / line["images_per_s"]
            announce(f"{_figures(seen, images, line)}, {_lasting(left_s)} left")

    yield say


def _lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _figures(seen: int, images: int, line: dict[str, float]) -> str:
    others = listed({key: value for key, value in line.items() if key != "images_per_s"})
    return f"{seen / 1000:.1f} of {images / 1000:.0f} thousand pictures, {line['images_per_s']:.1f} a second, {others}"


def listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.3g}" for key, value in figures.items())
