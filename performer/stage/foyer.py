"""What the window shows before doors: black, and in words what is being made ready.

Thread: main. Owns: the text's texture and buffers.
"""

import logging
from collections.abc import Sequence

from performer.stage.hud import Hud
from performer.stage.outputs.output import Display

log = logging.getLogger(__name__)

TITLE = "getting ready"


class Foyer:
    """Draws words on `display`, as long as there is no stage."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._hud = Hud(display.ctx)

    def show(self, lines: Sequence[str]) -> None:
        """Show what was done last, the newest lowest. Never raises: nobody came for this."""
        try:
            screen = self._display.framebuffer
            screen.use()
            screen.clear(0.0, 0.0, 0.0, 1.0)
            self._hud.write(TITLE, lines, size_px=self._display.size_px)
            self._display.present()
        except Exception as error:
            log.info("the foyer is not drawn: %s", error)

    def release(self) -> None:
        """Give everything back to the card."""
        self._hud.release()
