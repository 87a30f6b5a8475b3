"""Open sources: each gives blocks of sound with the show time at which they sound.

Thread: the sound card's callback writes the ring; `read` belongs to the analysis.
Owns: the stream and its ring. Real-time: the callbacks copy, count and convert one time; no lock, no log. The one that
plays a file also copies the music out.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from performer.audio.ring import CaptureRing
from performer.audio.source import (
    SYNTHETIC_RATE_HZ,
    SourceError,
    SourceSpec,
    channels_needed,
    channels_to_open,
    decode,
    find_device,
    portaudio,
    tone_block,
)
from performer.audio.wire import Errand
from performer.clock import SystemClock
from performer.flow import F32, AudioBlock, CaptureFlags

BLOCK_SAMPLES = 256
RING_S = 2.0
HEARD_LEAD_S = 0.020  # music that is being played is analysed so long before it is heard: a picture takes longer
LEAP_S = 0.5  # a clock-paced source that is so late leaps instead of running after the time


class Feed(Protocol):
    """An open source."""

    rate_hz: float
    channels: int
    device: str
    detail: str
    audible: bool
    start_s: float
    ring: CaptureRing | None  # where there is a driver whose callbacks can be watched
    music_length_s: float  # of a file that begins again at its end; else infinite

    def music_s(self, block: AudioBlock) -> float:
        """Show time at which the file's first sample sounded, by a block of it; NaN where there is no file."""
        ...

    def read(self) -> AudioBlock | None:
        """What has arrived since the last call."""
        ...

    def callback_s(self) -> float:
        """Show time of the last sign of life."""
        ...


class TimeLine:
    """Turns the times that a driver claims into times that run as evenly as its samples.

    Each claim is compared with what the samples counted so far predict. Small differences (jitter, and two crystals
    drifting apart) are followed slowly; a large one is believed when it stays.
    """

    _FOLLOW = 0.02  # part of a difference that is followed per block
    _BELIEVE_S = 0.008

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._at_s = math.nan
        self._sample = 0
        self._offs_s = [0.0] * 9

    def smoothed(self, first_sample: int, claimed_s: float) -> float:
        """Show time of `first_sample`, given what the driver claims for it."""
        expected_s = self._at_s + (first_sample - self._sample) / self._rate_hz
        self._sample = first_sample
        if math.isnan(expected_s):
            self._at_s = claimed_s
            return claimed_s
        off_s = claimed_s - expected_s
        self._offs_s = [*self._offs_s[1:], off_s]
        # Far off once is a hiccup of the scheduler; most of nine times running is another time line, such as that of
        # a sound server which has just settled on another latency.
        middle_s = sorted(self._offs_s)[4]
        if abs(middle_s) > self._BELIEVE_S:
            self._offs_s = [0.0] * 9
            self._at_s = expected_s + middle_s
        else:
            self._at_s = expected_s + self._FOLLOW * min(max(off_s, -self._BELIEVE_S), self._BELIEVE_S)
        return self._at_s


class _StreamFeed:
    """What capture and playback have in common: the ring, and the time that the driver names."""

    audible = False
    music_length_s = math.inf

    def __init__(self, clock: SystemClock, *, rate_hz: float, channels: int) -> None:
        self.rate_hz = rate_hz
        self.channels = channels
        self._ring = CaptureRing(channels=channels, capacity_samples=int(RING_S * rate_hz))
        self.ring: CaptureRing | None = self._ring
        self.start_s = math.nan
        self.device = self.detail = ""
        self._clock = clock
        self._line = TimeLine(rate_hz)
        self._stream: Any = None
        self._callback_s = -math.inf

    def callback_s(self) -> float:
        return self._callback_s

    def music_s(self, block: AudioBlock) -> float:
        return math.nan

    def _latest_s(self) -> float:
        return math.inf

    def read(self) -> AudioBlock | None:
        block = self._ring.read(up_to_s=self._latest_s())
        if block is None:
            return None
        return AudioBlock(
            block.samples, block.first_sample, self._line.smoothed(block.first_sample, block.adc_s), block.flags
        )


class CaptureFeed(_StreamFeed):
    """A sound device's input."""

    def __init__(self, errand: Errand, clock: SystemClock) -> None:
        device = find_device(errand.source)
        needed = channels_needed(errand.voices)
        if needed > device.max_input_channels:
            raise SourceError(
                f"audio.voices: channel {needed} was asked for, but {device.name!r} has {device.max_input_channels}"
            )
        channels = channels_to_open(errand.voices, device)
        super().__init__(clock, rate_hz=device.default_rate_hz, channels=channels)
        self.device = f"{device.name} ({device.host_api})"
        self._stream = portaudio().InputStream(
            device=device.index,
            samplerate=device.default_rate_hz,
            channels=channels,
            blocksize=BLOCK_SAMPLES,
            latency="low",
            dtype="float32",
            callback=self._callback,
        )
        self.rate_hz = float(self._stream.samplerate)
        self._latency_s = float(self._stream.latency)
        self._stream.start()
        self.start_s = clock.now_s()
        self.detail = f"hearing {self.device} at {self.rate_hz:g} Hz"

    def _callback(self, samples: F32, count: int, times: Any, status: Any) -> None:
        now_s = self._clock.now_s()
        self._callback_s = now_s
        lag_s = times.currentTime - times.inputBufferAdcTime
        # Some back ends say 0 or nonsense: then the driver's own estimate must do.
        if not 0.0 < lag_s < 1.0:
            lag_s = self._latency_s
        # No sample is younger than the block that it came in: ALSA forgets this for every second block of a pair.
        lag_s = max(lag_s, count / self.rate_hz)
        self._ring.write(samples, now_s - lag_s, 1 if status.input_overflow else 0)


class PlayFeed(_StreamFeed):
    """A file, played through the default output; what is heard is what is analysed, when it is heard."""

    audible = True

    def __init__(self, errand: Errand, clock: SystemClock, sound: F32, rate_hz: int) -> None:
        sd = portaudio()
        about = sd.query_devices(kind="output")
        super().__init__(clock, rate_hz=float(rate_hz), channels=sound.shape[1])
        self._outputs = min(2, int(about["max_output_channels"]))
        api = sd.query_hostapis(about["hostapi"])["name"]
        # Windows' shared mode plays at the mixer's rate only, unless it is asked to convert.
        extra = sd.WasapiSettings(auto_convert=True) if "WASAPI" in api else None
        self.device = f"{about['name']} ({api})"
        self._sound, self._loop = sound, errand.source.loop
        self._offset = round(errand.source.offset_s * rate_hz)
        self.music_length_s = len(sound) / rate_hz if self._loop else math.inf
        self.start_s = errand.start_s
        self._position: int | None = None  # of the next sample to be played, since start_s; set by the first callback
        self._first_position = 0  # of the first sample of the ring
        self._slice = np.zeros((8192, self.channels), np.float32)
        self._stream = sd.OutputStream(
            samplerate=rate_hz,
            channels=self._outputs,
            latency="low",
            dtype="float32",
            callback=self._callback,
            extra_settings=extra,
        )
        self._latency_s = float(self._stream.latency)
        self._stream.start()
        self.detail = f"playing {errand.source.name()} through {self.device}"

    def music_s(self, block: AudioBlock) -> float:
        """By the card's own clock, which after an hour is not where the machine's is."""
        return block.adc_s - (self._offset + self._first_position + block.first_sample) / self.rate_hz

    def _latest_s(self) -> float:
        return self._clock.now_s() + HEARD_LEAD_S

    def _callback(self, out: F32, count: int, times: Any, status: Any) -> None:
        now_s = self._clock.now_s()
        self._callback_s = now_s
        ahead_s = times.outputBufferDacTime - times.currentTime
        if not 0.0 < ahead_s < 2.0:
            ahead_s = self._latency_s
        heard_s = now_s + ahead_s
        if self._position is None:
            if math.isnan(self.start_s):
                self.start_s = heard_s
            self._position = max(round((heard_s - self.start_s) * self.rate_hz), 0)
            self._first_position = self._position
        done = 0
        while done < count:
            part = self._slice[: min(count - done, len(self._slice))]
            fill(part, self._sound, self._offset + self._position, loop=self._loop)
            shown = out[done : done + len(part)]
            if self.channels == self._outputs:
                shown[:] = part
            elif self._outputs == 1 or self.channels == 1:
                shown[:] = part.mean(axis=1, keepdims=True)
            else:  # more tracks than loudspeakers: odd ones left, even ones right
                shown[:, 0] = part[:, 0::2].mean(axis=1)
                shown[:, 1] = part[:, 1::2].mean(axis=1)
            self._ring.write(part, heard_s + done / self.rate_hz, 2 if status.output_underflow else 0)
            self._position += len(part)
            done += len(part)


class PacedFeed:
    """A source that has no device: its samples come as the clock says they are due."""

    ring: CaptureRing | None = None
    audible = False

    def __init__(
        self,
        errand: Errand,
        clock: SystemClock,
        *,
        rate_hz: int,
        channels: int,
        make: Callable[[int, int], F32],  # (first sample since start_s, samples) -> [samples, channels]
        detail: str,
        offset_s: float = math.nan,  # where in a file it begins
        music_length_s: float = math.inf,
    ) -> None:
        self.rate_hz = float(rate_hz)
        self.channels = channels
        self.device = ""
        self.detail = detail
        self.start_s = clock.now_s() if math.isnan(errand.start_s) else errand.start_s
        self._clock = clock
        self._make = make
        self._offset_s, self.music_length_s = offset_s, music_length_s
        self._next = max(round((clock.now_s() - self.start_s) * rate_hz), 0)
        self._read_s = clock.now_s()

    def callback_s(self) -> float:
        return self._read_s

    def music_s(self, block: AudioBlock) -> float:
        return self.start_s - self._offset_s

    def read(self) -> AudioBlock | None:
        self._read_s = self._clock.now_s()
        due = int((self._read_s - self.start_s) * self.rate_hz)
        flags = CaptureFlags.NONE
        if due - self._next > LEAP_S * self.rate_hz:
            self._next = due - BLOCK_SAMPLES
            flags = CaptureFlags.GAP
        if due <= self._next:
            return None
        first, self._next = self._next, due
        # The time is a product, not a sum: it is the same for the same sample in every process.
        return AudioBlock(self._make(first, due - first), first, self.start_s + first / self.rate_hz, flags)


def fill(out: F32, sound: F32, position: int, *, loop: bool) -> None:
    """Write `sound` from `position` on into `out`, around its end if `loop`, else followed by silence."""
    done = 0
    while done < len(out):
        at = position + done
        if loop:
            at %= len(sound)
        elif at >= len(sound):
            out[done:] = 0.0
            return
        take = min(len(out) - done, len(sound) - at)
        out[done : done + take] = sound[at : at + take]
        done += take


def open_feed(errand: Errand, clock: SystemClock) -> Feed:
    """Open the source. Raises SourceError, or whatever the driver raises."""
    source = errand.source
    match source.kind:
        case "device":
            return CaptureFeed(errand, clock)
        case "file":
            return _open_file(errand, clock)
        case _:
            return _open_synthetic(errand, clock, source)


def _open_file(errand: Errand, clock: SystemClock) -> Feed:
    sound = decode(errand.source.path)
    why = "as asked"
    if errand.source.audible:
        try:
            return PlayFeed(errand, clock, sound.samples, sound.rate_hz)
        except Exception as error:  # no library, no device, or a device that refuses: the picture dances in silence
            why = f"there is no output: {first_line(error)}"
    samples, offset, loop = sound.samples, round(errand.source.offset_s * sound.rate_hz), errand.source.loop

    def make(first: int, count: int) -> F32:
        out = np.empty((count, samples.shape[1]), np.float32)
        fill(out, samples, offset + first, loop=loop)
        return out

    detail = f"following {errand.source.name()} without playing it ({why})"
    return PacedFeed(
        errand,
        clock,
        rate_hz=sound.rate_hz,
        channels=samples.shape[1],
        make=make,
        detail=detail,
        offset_s=offset / sound.rate_hz,
        music_length_s=len(samples) / sound.rate_hz if loop else math.inf,
    )


def _open_synthetic(errand: Errand, clock: SystemClock, source: SourceSpec) -> Feed:
    channels = channels_needed(errand.voices)

    def silence(_: int, count: int) -> F32:
        return np.zeros((count, channels), np.float32)

    def tone(first: int, count: int) -> F32:
        return np.repeat(tone_block(source, first, count, SYNTHETIC_RATE_HZ)[:, None], channels, axis=1)

    return PacedFeed(
        errand,
        clock,
        rate_hz=SYNTHETIC_RATE_HZ,
        channels=channels,
        make=tone if source.kind == "tone" else silence,
        detail=f"hearing {source.name()}",
    )


def first_line(error: BaseException) -> str:
    """An error in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
