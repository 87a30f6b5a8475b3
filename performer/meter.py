"""Figures of a running show: frame intervals, counts, time per room, sound to light.

Thread: render. Memory is fixed: a show of months holds as much as one of a minute.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np

from performer.flow import AudioEvent, Image


class FrameMeter:
    """Intervals between displayed frames, and how many frames and images there were."""

    _WINDOW = 600  # frames that the rolling figures look back on: 15 s at 40 a second

    def __init__(self) -> None:
        self._intervals_s = np.zeros(self._WINDOW)
        self._last_s: float | None = None
        self.frames = 0
        self._images: deque[tuple[float, int]] = deque(maxlen=64)

    def displayed(self, *, at_s: float, images: int) -> float | None:
        """A frame was presented at `at_s`, when the engine had finished `images`. Returns the interval in seconds."""
        interval_s = None
        if self._last_s is not None:
            interval_s = at_s - self._last_s
            self._intervals_s[self.frames % self._WINDOW] = interval_s
            self.frames += 1
        self._last_s = at_s
        self._images.append((at_s, images))
        return interval_s

    @property
    def fps(self) -> float:
        """Displayed frames a second, over the last ones."""
        return _rate(self._recent(64))

    @property
    def images_per_s(self) -> float:
        """Generated images a second, over the last 64 frames."""
        if len(self._images) < 2:
            return 0.0
        (from_s, before), (to_s, after) = self._images[0], self._images[-1]
        return (after - before) / max(to_s - from_s, 1e-6)

    @property
    def p99_ms(self) -> float:
        """99th percentile of the frame interval over the last 600 frames, milliseconds."""
        recent = self._recent(self._WINDOW)
        return float(np.percentile(recent, 99) * 1e3) if recent.size else 0.0

    def _recent(self, count: int) -> np.ndarray:
        count = min(count, self.frames, self._WINDOW)
        return self._intervals_s[np.arange(self.frames - count, self.frames) % self._WINDOW]


def _rate(intervals_s: np.ndarray) -> float:
    return float(len(intervals_s) / intervals_s.sum()) if intervals_s.size else 0.0


class LightMeter:
    """How long from a sound to the first displayed frame whose image knew of it. Live, from the hits of the music."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, float]] = deque(maxlen=64)  # (sound at_s, its latent submitted at_s)
        self._measured_s: deque[float] = deque(maxlen=64)

    def heard(self, events: Iterable[AudioEvent], *, submitted_s: float) -> None:
        """Hits went into the latent that was submitted at `submitted_s`."""
        for event in events:
            self._waiting.append((event.at_s, submitted_s))

    def shown(self, image: Image | None, *, at_s: float) -> None:
        """`image` was on the display at `at_s`."""
        while image is not None and self._waiting and self._waiting[0][1] <= image.submitted_s:
            sound_s, _ = self._waiting.popleft()
            self._measured_s.append(at_s - sound_s)

    @property
    def median_ms(self) -> float | None:
        """Milliseconds, over the last 64 hits; None before the first."""
        return float(np.median(self._measured_s) * 1e3) if self._measured_s else None
