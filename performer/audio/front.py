"""The front end of hearing: sound of one device to the power spectra of its voices, hop by hop.

Every hop (256 samples at 44.1 and 48 kHz, 5.3 to 5.8 ms) the last four hops of each voice are windowed and transformed.
The window is lopsided, a slow rise and a fall of half a hop at the newest end, so that a new sound counts at once
instead of after half a window. Sums over bands are one matrix product: a bin that lies across an edge counts in parts, so
that the bands are the same in Hz at every sample rate.

Thread: one. No clock, no I/O.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from performer.audio.source import VoiceSpec
from performer.flow import F32

SHORT_HOPS, LONG_HOPS = 4, 16  # lengths of the two windows
LOUDEST = 8.0  # of a sample; beyond that a driver is broken
OFFSET_S = 0.5  # converters and cheap preamplifiers add DC: the slow mean that is taken off
GATE_HYSTERESIS_DB = 6.0
GATE_HOLD_S = 0.1

NARROW_EDGES_HZ = np.concatenate(  # 30 bands in which a new sound is looked for; the wide bands are sums of them
    [
        [20.0, 60.0, 100.0, 150.0, 200.0, 250.0],
        np.geomspace(300.0, 1500.0, 10)[:-1],
        np.geomspace(1500.0, 5000.0, 9)[:-1],
        np.geomspace(5000.0, 16000.0, 8),
    ]
)
WIDE_FIRST = (0, 3, 15, 23)  # the narrow band with which bass, mid, midhigh and high begin


def hop_samples(rate_hz: float) -> int:
    """Samples from one set of features to the next: 256 at 44.1 and 48 kHz, 4.5 to 6.9 ms at any rate.

    Powers of two and three halves of them, whose transforms are quick.
    """
    if rate_hz <= 0:
        return 256
    wanted = 256 * rate_hz / 46000.0
    sizes = sorted({size for power in range(5, 13) for size in (2**power, 3 * 2 ** (power - 1))})
    return min(sizes, key=lambda size: abs(math.log(size / wanted)))


class Front:
    """What has come in, and its spectra.

    rate_hz: sample rate.
    channels: of the blocks that will come.
    voices: groups of these channels; a channel beyond `channels` is silent.
    """

    def __init__(self, *, rate_hz: float, channels: int, voices: Sequence[VoiceSpec]) -> None:
        self.rate_hz = float(rate_hz)
        self.hop = hop_samples(rate_hz)
        self.hop_s = self.hop / self.rate_hz
        self.window = SHORT_HOPS * self.hop
        self.long_window = LONG_HOPS * self.hop
        self._members = [
            [c - 1 for c in voice.channels if c <= channels] if voice.channels else list(range(channels))
            for voice in voices
        ]
        count = len(voices)
        self.sound = np.zeros((count, self.long_window), np.float32)  # newest last
        self.peak = np.zeros(count)  # largest sample of the newest hop
        self.power: F32 = np.zeros(
            (count, self.window // 2 + 1), np.float32
        )  # a full-scale sine sums to 1 over its bins
        self._offset = np.zeros((count, 1), np.float32)
        self._offset_step = np.float32(1 - math.exp(-self.hop_s / OFFSET_S))
        self._shape, scale = lopsided_window(self.window)
        self._scale = np.float32(scale)
        self._windowed = np.zeros((count, self.window), np.float32)
        self._spectrum: Any = np.zeros((count, self.window // 2 + 1), np.complex64)
        self._is_open = np.zeros(count, bool)  # the gate
        self._gate = np.ones(count)  # what the gate lets through
        self._quiet_hops = np.zeros(count, np.int64)
        self._gate_hops = math.ceil(GATE_HOLD_S / self.hop_s)

    @property
    def short(self) -> F32:
        """[voices, window], the newest samples."""
        return self.sound[:, -self.window :]

    def take(self, incoming: F32, *, gain: np.ndarray, gate_db: np.ndarray) -> None:
        """Mix one hop [hop, channels] into voices, slide the windows, and transform the short one.

        gain: [voices], factors.
        gate_db: [voices], a voice quieter than this is silent; -inf for no gate.
        """
        hop, sound = self.hop, self.sound
        sound[:, :-hop] = sound[:, hop:]
        newest = sound[:, -hop:]
        for row, members in enumerate(self._members):
            own = newest[row]
            if not members:
                own[:] = 0.0
                continue
            own[:] = incoming[:, members[0]]
            for member in members[1:]:
                own += incoming[:, member]
            if len(members) > 1:
                own *= np.float32(1.0 / len(members))
        # One NaN from a broken driver would stay in every average for ever.
        if not np.isfinite(newest.sum()):
            np.nan_to_num(newest, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        newest *= gain[:, None].astype(np.float32)
        np.clip(newest, -LOUDEST, LOUDEST, out=newest)
        self._offset += self._offset_step * (newest.mean(axis=1, keepdims=True) - self._offset)
        if gate_db.max() > -np.inf:
            self._shut(newest, gate_db)
        self.peak = np.maximum(newest.max(axis=1), -newest.min(axis=1)).astype(np.float64)
        np.subtract(sound[:, -self.window :], self._offset, out=self._windowed)
        self._windowed *= self._shape
        spectrum = np.fft.rfft(self._windowed, axis=1, out=self._spectrum)
        np.multiply(spectrum.real, spectrum.real, out=self.power)
        self.power += spectrum.imag * spectrum.imag
        self.power *= self._scale

    def _shut(self, newest: F32, gate_db: np.ndarray) -> None:
        """The noise gate: opens at once, shuts over one hop after `GATE_HOLD_S` below."""
        mean_square = np.maximum((newest * newest).mean(axis=1) - self._offset[:, 0] ** 2, 0.0).astype(np.float64)
        level_db = 10.0 * np.log10(mean_square + 1e-12)
        self._quiet_hops = np.where(level_db < gate_db - GATE_HYSTERESIS_DB, self._quiet_hops + 1, 0)
        is_open = (level_db >= gate_db) | (self._is_open & (self._quiet_hops < self._gate_hops))
        after = is_open.astype(np.float64)
        before = np.maximum(self._gate, after)
        newest *= np.linspace(before, after, newest.shape[1], axis=1, dtype=np.float32)
        self._is_open, self._gate = is_open, after


def lopsided_window(window: int) -> tuple[F32, float]:
    """The window, and the factor that makes a full-scale sine's power 1 when summed over its bins."""
    fall = window // 8
    rise = window - fall
    shape = np.concatenate(
        [
            0.5 - 0.5 * np.cos(np.pi * (np.arange(rise) + 0.5) / rise),
            0.5 + 0.5 * np.cos(np.pi * (np.arange(fall) + 0.5) / fall),
        ]
    )
    return shape.astype(np.float32), float(4.0 / (np.square(shape).sum() * window))


def band_matrix(edges_hz: np.ndarray, *, rate_hz: float, window: int) -> F32:
    """[bins, bands], the part of each bin of a transform of `window` samples that lies in each band.

    edges_hz: [bands + 1] ascending, or [bands, 2] low and high of each.
    """
    edges = np.asarray(edges_hz, np.float64)
    low, high = (edges[:-1], edges[1:]) if edges.ndim == 1 else (edges[:, 0], edges[:, 1])
    width_hz = rate_hz / window
    centres_hz = np.arange(window // 2 + 1)[:, None] * width_hz
    shared = np.minimum(centres_hz + width_hz / 2, high) - np.maximum(centres_hz - width_hz / 2, low)
    return (np.clip(shared, 0.0, None) / width_hz).astype(np.float32)
