"""The contact sheet of a bridge: its pairs side by side with their distances, and random pairs to compare.

Thread: any. No torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from performer.flow import U8
from performer.training.sheet import fitted

COLUMNS = 4
PX = 160  # of a picture
GAP_PX, MARGIN_PX = 16, 24
CAPTION_PX, HEADER_PX = 28, 56
GROUND, INK, DIM = (255, 255, 255), (20, 22, 26), (120, 126, 136)


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair on the sheet."""

    first: U8  # [H, W, 3] sRGB
    second: U8
    caption: str


def sheet(pairs: Sequence[Shown], random: Sequence[Shown], *, title: str, random_title: str) -> U8:  # [H, W, 3]
    """The pairs under a title, and random pairs under another."""
    cell = 2 * PX + GAP_PX, PX + CAPTION_PX
    rows = [-(-len(part) // COLUMNS) for part in (pairs, random)]
    width = 2 * MARGIN_PX + COLUMNS * cell[0] - GAP_PX
    height = 2 * MARGIN_PX + 2 * HEADER_PX + sum(rows) * cell[1]
    canvas = Pillow.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(canvas)
    top = MARGIN_PX
    for text, part, count in ((title, pairs, rows[0]), (random_title, random, rows[1])):
        pen.text((MARGIN_PX, top + 10), text, font=ImageFont.load_default(size=18), fill=INK)
        top += HEADER_PX
        for place, pair in enumerate(part):
            row, column = divmod(place, COLUMNS)
            x, y = MARGIN_PX + column * cell[0], top + row * cell[1]
            for side, picture in enumerate((pair.first, pair.second)):
                canvas.paste(Pillow.fromarray(fitted(picture, px=PX)), (x + side * PX, y))
            pen.text((x, y + PX + 5), pair.caption, font=ImageFont.load_default(size=13), fill=DIM)
        top += count * cell[1]
    return np.asarray(canvas)
