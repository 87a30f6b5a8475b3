"""The pictures of a prepared set, in batches, in an order that depends on the seed alone.

Thread: whoever calls; decoding runs in a pool.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from performer.flow import U8
from performer.refusal import Refused

KEPT_BYTES = 4 << 30  # of decoded pictures in memory; beyond this they are read anew each time
FEWEST, FEW = 16, 200  # pictures: below the first there is nothing to learn from, below the second it is hard
TRAINING, HELD_OUT = "pictures", "held-out"  # folders of a prepared set


def files_of(folder: Path, part: str = TRAINING) -> list[Path]:
    """The pictures of one part of a prepared set, in order; none where it has no such part.

    Raises:
        Refused: this is no prepared set.
    """
    if not (folder / TRAINING).is_dir():
        raise Refused(f"{folder}: no prepared set (no folder {TRAINING!r} in it); make one: performer dataset {folder}")
    return sorted((folder / part).glob("*.png"))


class Pictures:
    """The pictures that a species is trained on."""

    def __init__(self, files: list[Path], *, size_px: int, seed: int) -> None:
        """`size_px` is the side to which they are scaled; they may not be smaller. Raises Refused."""
        self.files, self.size_px, self._seed = files, size_px, seed
        each = size_px * size_px * 3
        self._kept: dict[int, U8] | None = {} if each * len(files) <= KEPT_BYTES else None
        self._pool = ThreadPoolExecutor(2)
        self._order: tuple[int, np.ndarray] | None = None
        for file in files:
            _check(file, size_px)

    def __len__(self) -> int:
        return len(self.files)

    def places(self, first: int, count: int) -> list[int]:
        """Of the pictures `first` to `first + count` in an endless sequence, in which each round has an order of its own."""
        return [self._place(number) for number in range(first, first + count)]

    def of(self, places: Iterable[int]) -> U8:  # [count, R, R, 3]
        """The pictures at `places`."""
        return np.stack(list(self._pool.map(self._picture, places)))

    def _place(self, number: int) -> int:
        turn, place = divmod(number, len(self.files))
        if self._order is None or self._order[0] != turn:
            self._order = turn, np.random.default_rng((self._seed, turn)).permutation(len(self.files))
        return int(self._order[1][place])

    def _picture(self, place: int) -> U8:
        if self._kept is not None and place in self._kept:
            return self._kept[place]
        picture = read(self.files[place], self.size_px)
        if self._kept is not None:
            self._kept[place] = picture
        return picture


def read(file: Path, size_px: int) -> U8:  # [R, R, 3]
    """A picture of a prepared set, scaled to `size_px`. Raises Refused where it is damaged."""
    try:
        with Pillow.open(file) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise _unreadable(file, error) from None
    if picture.width != size_px:
        picture = picture.resize((size_px, size_px), Pillow.Resampling.LANCZOS)
    return np.asarray(picture)


def sides_of(file: Path) -> tuple[int, int]:
    """(width, height) of a picture of a prepared set, px; its pixels are not read. Raises Refused."""
    try:
        with Pillow.open(file) as image:
            return image.size
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> Refused:
    return Refused(f"{file}: cannot be read ({error}); delete it, or prepare the set again")


def _check(file: Path, size_px: int) -> None:
    width, height = sides_of(file)
    if width != height or width < size_px:
        raise Refused(
            f"{file}: {width}x{height} px; expected a square of {size_px} px or more; prepare the set again: "
            f"performer dataset FOLDER --size {size_px}"
        )
