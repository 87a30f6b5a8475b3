"""Contact sheets: many pictures on one, as arrays or from files; and the content of PNG files.

Thread: any.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from performer.flow import U8

Colour = tuple[int, ...]  # sRGB, three of 0 to 255

WHITE: Colour = (255, 255, 255)


def sheet(
    pictures: Iterable[U8],  # [H, W, 3] each, sRGB; of any sizes
    *,
    columns: int,
    px: int,  # side of the square that each picture gets
    gap_px: int = 0,  # between pictures; none around them
    ground: Colour = WHITE,
) -> U8:
    """The pictures in rows of `columns`, row by row: u8 [rows·px + gaps, columns·px + gaps, 3].

    A picture that is no square is shown whole, in the middle of its own. Without pictures, one empty row.
    """
    tiles = [fitted(picture, px=px, ground=ground) for picture in pictures]
    rows = max(1, math.ceil(len(tiles) / columns))
    step_px = px + gap_px
    canvas = np.empty((rows * step_px - gap_px, columns * step_px - gap_px, 3), np.uint8)
    canvas[:] = ground
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        canvas[row * step_px : row * step_px + px, column * step_px : column * step_px + px] = tile
    return canvas


def sheet_of_files(
    paths: Sequence[Path],
    *,
    columns: int,
    px: int,
    gap_px: int = 0,
    ground: Colour = WHITE,
) -> U8:
    """`sheet` of picture files. The place of one that cannot be read stays empty."""

    def opened(path: Path) -> U8:
        try:
            with Pillow.open(path) as image:
                return fitted(np.asarray(image.convert("RGB")), px=px, ground=ground)
        except (OSError, SyntaxError, ValueError):  # a damaged PNG is a syntax error
            return np.full((px, px, 3), ground, np.uint8)

    return sheet(map(opened, paths), columns=columns, px=px, gap_px=gap_px, ground=ground)


def columns_for(count: int) -> int:
    """How many columns make a sheet of `count` pictures about square; 1 at least."""
    return max(1, math.ceil(math.sqrt(count)))


def fitted(
    picture: U8,  # [H, W, 3], sRGB
    *,
    px: int,
    ground: Colour = WHITE,
) -> U8:
    """The whole picture in the middle of a square on `ground`: u8 [px, px, 3]. One that fits already is not resampled."""
    height, width = picture.shape[:2]
    scale = px / max(height, width)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if picture.shape[:2] != (height, width):
        image = Pillow.fromarray(picture).resize((width, height), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
        picture = np.asarray(image)
    square = np.empty((px, px, 3), np.uint8)
    square[:] = ground
    top, left = (px - height) // 2, (px - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def png(
    picture: U8,  # [H, W, 3], sRGB
    *,
    texts: Mapping[str, str] | None = None,  # Latin letters; before the pixels, so that they are read cheaply
) -> bytes:
    """The picture as the content of a PNG file that says it is sRGB."""
    info = PngInfo()
    info.add(b"sRGB", b"\0")  # perceptual
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    # Into memory first: where a disk is full, writing bytes says so, and the encoder does not.
    content = io.BytesIO()
    Pillow.fromarray(picture).save(content, format="PNG", pnginfo=info)
    return content.getvalue()
