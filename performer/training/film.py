"""Pictures of equal size as a film.

Thread: whoever calls.
"""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

FPS = 12


def write_film(path: Path, pictures: Sequence[Path]) -> None:
    """The picture files one after the other, H.264 in MP4. Raises OSError."""
    partial = path.with_name(f"{path.stem}.part{path.suffix}")
    with av.open(str(partial), "w") as film:
        stream = None
        for file in pictures:
            with Pillow.open(file) as image:
                picture = np.asarray(image.convert("RGB"))
            height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2  # the format wants even numbers
            if stream is None:
                stream = film.add_stream("libx264", rate=FPS, options={"crf": "18"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            film.mux(
                stream.encode(av.VideoFrame.from_ndarray(picture[: stream.height, : stream.width], format="rgb24"))
            )
        if stream is not None:
            film.mux(stream.encode())
    partial.replace(path)
