"""The click test: how late the ears hear what the loudspeakers play, and how late the program knows of it.

Clicks go out through the default output at times that its driver names; the ears hear them through the chosen input.
What lies between is the loop: the output's converter as far as its driver conceals it, the air, the input's converter.

Thread: the sound card's callback plays and notes times; the rest is main. Owns: the output stream while it measures.
Real-time: the callback copies, and writes two numbers into arrays that are there.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from performer.audio.ears import Ears, wait_until
from performer.audio.feeds import TimeLine, first_line
from performer.audio.source import SourceError, portaudio
from performer.clock import SystemClock
from performer.flow import F32, AudioEvent, AudioEventKind
from performer.refusal import Refused

CLICK_DB, CLICK_HZ, CLICK_S = -12.0, 3000.0, 0.005
FIRST_S = 1.5  # a sound server settles on a latency, and the ears on a floor
EVERY_S, STRAY_S = 0.6, 0.15  # apart so far, and up to so much more: no grid that a block could share
EARLIEST_S, LATEST_S = -0.05, 0.5  # heard so long after it was played
HEAR_PATIENCE_S = 15.0
PLAY_PATIENCE_S = 5.0
POLL_S = 0.001
BLOCKS_PER_S = 2000  # more callbacks than that no driver makes


@dataclass(frozen=True, slots=True)
class VoiceClicks:
    """How one voice heard the clicks."""

    name: str
    loop_s: tuple[float, ...]  # of each click that was heard: from played to heard
    known_s: tuple[float, ...]  # of the same: from heard to known
    missed: int
    besides: int  # other onsets, while the clicks ran

    @property
    def heard(self) -> int:
        """How many clicks were heard."""
        return len(self.loop_s)


@dataclass(frozen=True, slots=True)
class Clicks:
    """The outcome."""

    output: str
    detail: str  # what was heard on
    count: int
    voices: tuple[VoiceClicks, ...]

    def told(self) -> list[str]:
        """Lines for people, each with its key in front."""
        lines = [f"clicks   {self.count} at {CLICK_DB:g} dBFS, played through {self.output}; {self.detail}"]
        for voice in self.voices:
            lines.append(
                f"{voice.name:<8} {voice.heard} heard, {voice.missed} missed; {voice.besides} other onsets meanwhile"
            )
            if not voice.heard:
                continue
            lines.append(f"  loop   {_spread(voice.loop_s)}: output's converter, air, input's converter")
            lines.append(f"  known  {_spread(voice.known_s)}: from then until the program knew of it")
            lines.append(
                f"  set    voice.{voice.name}.delay = {np.median(voice.loop_s):z.3f}, and its hits carry the time at which "
                "the loudspeaker played them"
            )
        if any(voice.heard for voice in self.voices):
            lines.append("         out.latency is the display's own: no click measures it")
        else:
            lines.append(
                "         nothing was heard: is the loudspeaker on, the microphone open, the right --device named?"
            )
        return lines


def _spread(times_s: Sequence[float]) -> str:
    median_s, p95_s = np.percentile(times_s, (50, 95))
    return f"median {1e3 * median_s:.1f} ms, p95 {1e3 * p95_s:.1f} ms"


def measure(ears: Ears, clock: SystemClock, *, count: int, announce: Callable[[str], None]) -> Clicks:
    """Play `count` clicks, and pair each with its onset in every voice. Takes about 0.7 s for each.

    Raises:
        Refused: nothing can be heard, or nothing played.
    """
    if not wait_until(lambda: ears.status().state == "hearing", timeout_s=HEAR_PATIENCE_S):
        raise Refused(f"--clicks: nothing is heard ({ears.status().detail}); plug the input in, or name another")
    try:
        player = Player(clock, count=count)
    except SourceError as error:
        raise Refused(f"--clicks: {error}") from None
    except Exception as error:  # whatever a driver says
        raise Refused(f"--clicks: the default output refuses ({first_line(error)}); expected one that plays") from None
    heard: list[tuple[AudioEvent, float]] = []
    try:
        announce(f"playing {count} clicks through {player.output}: {player.length_s:.0f} s")
        ears.drain()
        end_s = clock.now_s() + player.length_s + PLAY_PATIENCE_S
        while not player.is_over(at_s=clock.now_s()) and clock.now_s() < end_s:
            events, known_s = ears.drain(), clock.now_s()
            heard += [(event, known_s) for event in events if event.kind == AudioEventKind.ONSET]
            time.sleep(POLL_S)
    finally:
        player.close()
    status, played_s = ears.status(), player.played_s()
    return Clicks(
        output=player.output,
        detail=status.detail,
        count=count,
        voices=tuple(
            paired(name, played_s, [(event.at_s, known_s) for event, known_s in heard if event.voice == row])
            for row, name in enumerate(status.voices)
        ),
    )


def paired(name: str, played_s: Sequence[float], heard: Sequence[tuple[float, float]]) -> VoiceClicks:
    """Pair each click with the first onset that can be its own.

    heard: (show time of the onset, show time at which it was known).
    """
    left = sorted(heard)
    loop_s, known_s = [], []
    for at_s in played_s:
        found = next((each for each in left if EARLIEST_S <= each[0] - at_s <= LATEST_S), None)
        if found is not None:
            left.remove(found)
            loop_s.append(found[0] - at_s)
            known_s.append(found[1] - found[0])
    begin_s, end_s = (played_s[0] + EARLIEST_S, played_s[-1] + LATEST_S) if len(played_s) else (0.0, 0.0)
    besides = sum(begin_s <= at_s <= end_s for at_s, _ in left)
    return VoiceClicks(name, tuple(loop_s), tuple(known_s), len(played_s) - len(loop_s), besides)


def clicks(count: int, *, rate_hz: float) -> tuple[F32, list[int]]:
    """([samples] of `count` clicks with silence around them, first sample of each click)."""
    strays_s = np.random.default_rng(count).uniform(0.0, STRAY_S, count)
    firsts = [round((FIRST_S + EVERY_S * index + stray_s) * rate_hz) for index, stray_s in enumerate(strays_s)]
    since_s = np.arange(round(CLICK_S * rate_hz)) / rate_hz
    click = 10 ** (CLICK_DB / 20) * np.exp(-since_s / 0.001) * np.cos(2 * np.pi * CLICK_HZ * since_s)
    sound = np.zeros(firsts[-1] + round((LATEST_S + 0.1) * rate_hz), np.float32)
    for first in firsts:
        sound[first : first + len(click)] = click
    return sound, firsts


class Player:
    """The clicks on their way out. Raises whatever the driver raises."""

    def __init__(self, clock: SystemClock, *, count: int) -> None:
        sd = portaudio()
        about = sd.query_devices(kind="output")
        api = sd.query_hostapis(about["hostapi"])["name"]
        self.output = f"{about['name']} ({api})"
        self._clock = clock
        self._rate_hz = float(about["default_samplerate"])
        self._sound, self._firsts = clicks(count, rate_hz=self._rate_hz)
        self.length_s = len(self._sound) / self._rate_hz
        most = int((self.length_s + PLAY_PATIENCE_S) * BLOCKS_PER_S)
        self._samples = np.zeros(most, np.int64)  # first sample of each block ...
        self._claims_s = np.zeros(most)  # ... and the show time that the driver names for it
        self._blocks = self._position = 0
        self._over_s = float("inf")
        self._latency_s = 0.0
        self._stream = sd.OutputStream(
            samplerate=self._rate_hz,
            channels=min(2, int(about["max_output_channels"])),
            latency="low",
            dtype="float32",
            callback=self._callback,
        )
        self._latency_s = float(self._stream.latency)
        self._stream.start()

    def _callback(self, out: F32, count: int, times: Any, _status: Any) -> None:
        now_s = self._clock.now_s()
        ahead_s = times.outputBufferDacTime - times.currentTime
        if not 0.0 < ahead_s < 2.0:  # some back ends say 0 or nonsense
            ahead_s = self._latency_s
        part = self._sound[self._position : self._position + count]
        out[: len(part)] = part[:, None]
        out[len(part) :] = 0.0
        if self._blocks < len(self._samples) and len(part):
            self._samples[self._blocks], self._claims_s[self._blocks] = self._position, now_s + ahead_s
            self._blocks += 1
        elif self._over_s == float("inf"):
            self._over_s = now_s + ahead_s
        self._position += len(part)

    def is_over(self, *, at_s: float) -> bool:
        """True when the last sample has been heard."""
        return at_s >= self._over_s

    def played_s(self) -> list[float]:
        """Show time of each click's first sample at the output's converter; of those that were played."""
        line = TimeLine(self._rate_hz)
        samples = self._samples[: self._blocks].tolist()
        starts_s = [
            line.smoothed(first, claim_s) for first, claim_s in zip(samples, self._claims_s.tolist(), strict=False)
        ]
        played = []
        for first in self._firsts:
            block = bisect_right(samples, first) - 1
            if block >= 0 and first < self._position:
                played.append(starts_s[block] + (first - samples[block]) / self._rate_hz)
        return played

    def close(self) -> None:
        """Stop playing."""
        self._stream.abort()
        self._stream.close()
