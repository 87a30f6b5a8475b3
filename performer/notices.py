"""What people must know during a show: said once in the log, kept with a count for the HUD.

Thread: any; `say` may be called from every thread of the process.
"""

import logging
import threading
from dataclasses import dataclass

log = logging.getLogger("performer")


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence, and how often it was said."""

    text: str
    count: int
    severe: bool
    at_s: float  # show time of the last time


class Notices:
    """The notices of a show, oldest first."""

    _KEPT = 50

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: dict[str, Notice] = {}

    def say(self, text: str, *, at_s: float, severe: bool = False) -> None:
        """Announce `text`. Repeats are counted, not logged again."""
        with self._lock:
            before = self._notices.pop(text, None)
            self._notices[text] = Notice(text, before.count + 1 if before else 1, severe, at_s)
            if len(self._notices) > self._KEPT:
                del self._notices[next(iter(self._notices))]
        if before is None:
            log.log(logging.ERROR if severe else logging.WARNING, "%s", text)

    def recent(self, *, at_s: float, within_s: float = 20.0) -> list[Notice]:
        """Those said in the last `within_s` seconds."""
        with self._lock:
            return [notice for notice in self._notices.values() if at_s - notice.at_s <= within_s]
