"""The programme preview as the web server gives it out: JPEG, one of each picture, however many ask.

The show makes pictures while it is told that somebody watches; being asked tells it so. Who asks for the next picture is
woken when it is there, and looks at nothing in between.

Thread: the control process, in its event loop; pictures are encoded by the loop's executor, for OSC must not wait.
"""

import asyncio
import io
from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow

from performer.control import wire
from performer.exchange import SharedLatest

WAIT_S = 1.0  # so long an answer waits for a picture
FRESH_S = 2.0  # an older one is not what the audience sees: nobody watched, or the show stands still
QUALITY = 70


class Pictures:
    """What there is to see.

    pictures
        of `wire.PICTURE`, written by the show.
    watched
        of `wire.WATCHED`, read by the show.
    now_s
        show time.
    """

    def __init__(self, pictures: SharedLatest, watched: SharedLatest, *, now_s: Callable[[], float]) -> None:
        self._pictures, self._watched, self._now_s = pictures, watched, now_s
        self._published = -1
        self._is_closed = False
        self._renewed = asyncio.Event()
        self._encoded: tuple[int, asyncio.Future[bytes]] | None = None
        watched.take_over()

    def step(self) -> None:
        """Wake who waits, where there is another picture. Called many times a second."""
        if self._pictures.published != self._published:
            self._published = self._pictures.published
            self._wake()

    def close(self) -> None:
        """Nobody waits any more: there will be no other picture."""
        self._is_closed = True
        self._wake()

    async def jpeg(self, *, after: int | None = None) -> tuple[int, bytes] | None:
        """(serial, JPEG) of the newest picture that is not number `after`; None where none comes in `WAIT_S` seconds.

        Another serial counts as newer, whether or not it is larger: a show that was started again counts from the
        beginning.
        """
        self._watched.publish(np.array([(self._now_s(),)], wire.WATCHED))
        try:
            async with asyncio.timeout(WAIT_S):
                while (picture := self._newest()) is None or int(picture["serial"]) == after:
                    if self._is_closed:
                        return None
                    await self._renewed.wait()
        except TimeoutError:
            return None
        serial = int(picture["serial"])
        if self._encoded is None or self._encoded[0] != serial:
            loop = asyncio.get_running_loop()
            self._encoded = serial, loop.run_in_executor(None, _encoded, picture)
        return serial, await asyncio.shield(self._encoded[1])  # one who leaves must not end it for the others

    def _newest(self) -> np.void | None:
        picture = self._pictures.read()
        return None if picture is None or self._now_s() - float(picture["at_s"]) > FRESH_S else picture

    def _wake(self) -> None:
        self._renewed.set()
        self._renewed.clear()  # who waits has been woken; who comes now has something to look at first


def _encoded(picture: np.void) -> bytes:
    width, height = int(picture["width_px"]), int(picture["height_px"])
    pixels = np.ascontiguousarray(picture["pixels"][:height, :width])
    file = io.BytesIO()
    Pillow.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
