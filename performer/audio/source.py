"""Where sound comes from: what a setlist may name, how it is found, and what is refused before doors open.

A device is named by its name and host API, never by its index: indices move when a cable is pulled. Files are decoded
by libsndfile, and by FFmpeg (PyAV) where libsndfile cannot read them, such as the sound of a video.

Thread: any; nothing here runs in a callback. Owns: nothing; `decode` returns memory that the caller owns.
sounddevice, soundfile and av are imported where they are used, so that importing this room costs nothing.
"""

import contextlib
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from performer.flow import F32

SourceKind = Literal["device", "file", "silence", "tone"]
KINDS: tuple[SourceKind, ...] = ("device", "file", "silence", "tone")

SYNTHETIC_RATE_HZ = 48000  # of silence and tone, which have no rate of their own
IN_MEMORY_BYTES = 600_000_000  # longer music is decoded into an unlinked temporary file, which the system pages


class SourceError(ValueError):
    """A source that cannot be opened. The message names the thing, the value, what was expected and the remedy."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What to listen to."""

    kind: SourceKind = "device"
    device: str = ""  # name or part of it; empty for the system's default input
    host_api: str = ""  # such as "ALSA", "Core Audio", "Windows WASAPI"; empty for any
    path: str = ""  # of a sound or video file
    loop: bool = True  # begin again at the end of the file; otherwise silence follows
    offset_s: float = 0.0  # where in the file to begin
    audible: bool = True  # play the file through the default output, where there is one
    tone_hz: float = 220.0  # pitch of the test signal

    def name(self) -> str:
        """For people: `file music.flac`."""
        match self.kind:
            case "device":
                return f"device {self.device!r}" if self.device else "the default input"
            case "file":
                return f"file {Path(self.path).name}"
            case "tone":
                return f"test tone {self.tone_hz:g} Hz"
            case _:
                return "silence"


@dataclass(frozen=True, slots=True)
class VoiceSpec:
    """A named group of input channels, averaged."""

    name: str = "mix"
    channels: tuple[int, ...] = ()  # numbers as on the box, from 1; empty for all channels
    device: str = ""  # name or part of it, where the voice comes from another device than the show's source
    host_api: str = ""  # of that device


DEFAULT_VOICES = (VoiceSpec(),)


@dataclass(frozen=True, slots=True)
class BandSpec:
    """A band of the setlist's own."""

    name: str
    low_hz: float
    high_hz: float


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A sound device, for people and for the search by name."""

    name: str
    host_api: str
    max_input_channels: int
    max_output_channels: int
    default_rate_hz: float
    index: int  # PortAudio's, valid in this process until the list is renewed; never stored


class Sound(NamedTuple):
    """A decoded file."""

    samples: F32  # [n, channels], full scale at -1..1; may be a memory map
    rate_hz: int


def list_devices() -> list[DeviceInfo]:
    """All sound devices. Raises SourceError where PortAudio is missing."""
    sd = portaudio()
    apis = [api["name"] for api in sd.query_hostapis()]
    return [
        DeviceInfo(
            name=str(entry["name"]),
            host_api=str(apis[entry["hostapi"]]),
            max_input_channels=int(entry["max_input_channels"]),
            max_output_channels=int(entry["max_output_channels"]),
            default_rate_hz=float(entry["default_samplerate"]),
            index=index,
        )
        for index, entry in enumerate(sd.query_devices())
    ]


def portaudio() -> Any:
    """The sounddevice module. Raises SourceError where it, or the PortAudio library, is missing or cannot start."""
    try:
        import sounddevice
    except ImportError as error:
        raise SourceError(f"audio: the package sounddevice is missing ({error}); pip install sounddevice") from error
    except Exception as error:  # OSError without the library; PortAudioError where it cannot start
        raise SourceError(
            f"audio: the PortAudio library is missing or cannot start ({error}); install it "
            "(apt install libportaudio2), or use a file, tone or silence as the source"
        ) from error
    return sounddevice


def restart_portaudio() -> None:
    """Make PortAudio look for devices again: it lists them once, when it starts. Only while no stream is open."""
    sounddevice = sys.modules.get("sounddevice")
    if sounddevice is None:  # it will look when it is imported
        return
    with contextlib.suppress(sounddevice.PortAudioError):  # it did not start the last time
        sounddevice._terminate()
    sounddevice._initialize()


def find_device(spec: SourceSpec) -> DeviceInfo:
    """The input device that `spec` names: the exact name first, then part of a name, letters' case ignored.

    Raises SourceError, with the devices that there are, where none or several fit.
    """
    devices = list_devices()
    inputs = [device for device in devices if device.max_input_channels > 0]
    if not inputs:
        raise SourceError(
            f"audio.device: {spec.device or 'the default input'!r} was asked for, but there is no input device at all; "
            "plug one in, start the sound server, or use a file, tone or silence"
        )
    pool = inputs
    if spec.host_api:
        wanted = spec.host_api.casefold()
        pool = [device for device in inputs if device.host_api.casefold() == wanted] or [
            device for device in inputs if wanted in device.host_api.casefold()
        ]
        if not pool:
            apis = ", ".join(sorted({device.host_api for device in inputs}))
            raise SourceError(
                f"audio.host_api: {spec.host_api!r} has no input device; expected one of: {apis}; "
                "correct it or leave it empty for any"
            )
    if not spec.device:
        return _default_input(devices, pool)
    wanted = spec.device.casefold()
    fits = [device for device in pool if device.name == spec.device]
    fits = fits or [device for device in pool if device.name.casefold() == wanted]
    fits = fits or [device for device in pool if wanted in device.name.casefold()]
    if not fits:
        raise SourceError(
            f"audio.device: {spec.device!r} is not an input device here; there are: {_names(pool)}; "
            "use one of these names, or a part of one"
        )
    if len(fits) > 1:
        raise SourceError(
            f"audio.device: {spec.device!r} fits {len(fits)} devices: {_names(fits)}; "
            "write more of the name, or set audio.host_api"
        )
    return fits[0]


def _default_input(devices: Sequence[DeviceInfo], pool: Sequence[DeviceInfo]) -> DeviceInfo:
    index = portaudio().default.device[0]
    for device in devices:
        if device.index == index and device in pool:
            return device
    return pool[0]


def _names(devices: Sequence[DeviceInfo]) -> str:
    return ", ".join(f"{device.name!r} ({device.host_api})" for device in devices) or "none"


def check_source(spec: SourceSpec, voices: Sequence[VoiceSpec] = DEFAULT_VOICES) -> str:
    """Refuse, before doors open, what could not be heard. Returns one sentence for people about what will be heard.

    Raises SourceError. A device that is checked here may still vanish during the show: `Ears` waits for it then.
    """
    if spec.kind not in KINDS:
        raise SourceError(f"audio.kind: {spec.kind!r} is unknown; expected one of: {', '.join(KINDS)}")
    _check_numbers(spec)
    _check_voices(voices)
    match spec.kind:
        case "file":
            channels, rate_hz, length_s = probe_file(spec.path)
            if length_s and spec.offset_s >= length_s:
                raise SourceError(
                    f"audio.offset_s: {spec.offset_s:g} s lies beyond the end of {spec.path!r} ({length_s:.1f} s); "
                    "make it smaller"
                )
            words = f"{spec.name()}, {rate_hz} Hz, {channels} channels, {length_s:.1f} s"
        case "device":
            device = find_device(spec)
            channels = device.max_input_channels
            words = f"{device.name!r} ({device.host_api}), {device.default_rate_hz:g} Hz, {channels} channels"
        case _:
            # A test signal stands in for any source, so any channel may be named.
            channels = channels_needed([voice for voice in voices if not voice.device])
            words = spec.name()
    for voice in voices:
        name, most = spec.name(), channels
        if voice.device:
            own = find_device(SourceSpec(device=voice.device, host_api=voice.host_api))
            name, most = repr(own.name), own.max_input_channels
        if any(channel > most for channel in voice.channels):
            raise SourceError(
                f"audio.voices.{voice.name}: channel {max(voice.channels)} was asked for, but {name} has "
                f"{most} channel{'s' if most != 1 else ''}; expected 1..{most}"
            )
    return words


def _check_numbers(spec: SourceSpec) -> None:
    if not (math.isfinite(spec.offset_s) and spec.offset_s >= 0):
        raise SourceError(f"audio.offset_s: {spec.offset_s} is not a time; expected 0 or more seconds")
    if not (20.0 <= spec.tone_hz <= 10000.0):
        raise SourceError(f"audio.tone_hz: {spec.tone_hz} cannot be heard; expected 20..10000 Hz")


def _check_voices(voices: Sequence[VoiceSpec]) -> None:
    if not voices:
        raise SourceError("audio.voices: there is none; expected at least one, such as mix = []")
    names = [voice.name for voice in voices]
    for name in names:
        if not name or "." in name or names.count(name) > 1:
            raise SourceError(f"audio.voices: {name!r} is not a good name; expected unique names without dots")
    for voice in voices:
        if any(channel < 1 for channel in voice.channels):
            raise SourceError(
                f"audio.voices.{voice.name}: channel {min(voice.channels)} does not exist; channels count from 1"
            )


def channels_needed(voices: Sequence[VoiceSpec], *, at_least: int = 1) -> int:
    """The number of input channels that `voices` ask for."""
    return max((channel for voice in voices for channel in voice.channels), default=at_least)


def channels_to_open(voices: Sequence[VoiceSpec], device: DeviceInfo) -> int:
    """How many channels of `device` to open: no more than the voices use.

    A voice of all channels means the first two at most: sound servers claim 32 or more channels that nobody plugged
    in, and averaging over those would bury the music.
    """
    all_of_them = min(device.max_input_channels, 2) if any(not voice.channels for voice in voices) else 1
    return max(all_of_them, channels_needed(voices))


def probe_file(path: str) -> tuple[int, int, float]:
    """(channels, rate in Hz, length in s or 0 where unknown) of the sound in a file. Raises SourceError."""
    _require_file(path)
    try:
        import soundfile

        try:
            about = soundfile.info(path)
            return int(about.channels), int(about.samplerate), about.frames / about.samplerate
        except soundfile.LibsndfileError:
            pass
    except (ImportError, OSError):
        pass
    with _open_av(path) as container:
        stream = container.streams.audio[0]
        length_s = float(container.duration or 0) / 1e6
        return int(stream.codec_context.channels), int(stream.codec_context.sample_rate), length_s


def decode(path: str) -> Sound:
    """Decode the whole sound of a file. Raises SourceError."""
    _require_file(path)
    try:
        import soundfile

        try:
            with soundfile.SoundFile(path) as file:
                samples = _room_for(file.frames, file.channels)
                at = 0
                while at < len(samples):  # in slices, so that other threads of this process get their turn
                    got = len(file.read(out=samples[at : at + 65536], dtype="float32"))
                    if got == 0:
                        break
                    at += got
                if at == 0:
                    raise SourceError(f"audio.path: {path!r} holds no sound at all; choose another file")
                return Sound(samples[:at], int(file.samplerate))
        except soundfile.LibsndfileError:
            pass
    except (ImportError, OSError):
        pass
    return _decode_av(path)


def _room_for(frames: int, channels: int) -> F32:
    if frames * channels * 4 <= IN_MEMORY_BYTES:
        return np.zeros((frames, channels), np.float32)
    with tempfile.TemporaryFile() as file:
        file.truncate(frames * channels * 4)
        return np.memmap(file, np.float32, "r+", shape=(frames, channels))


def _decode_av(path: str) -> Sound:
    import av
    from av.error import FFmpegError

    with _open_av(path) as container, tempfile.TemporaryFile() as raw:
        stream = container.streams.audio[0]
        rate_hz, channels = int(stream.codec_context.sample_rate), int(stream.codec_context.channels)
        resampler = av.AudioResampler(format="flt", layout=stream.codec_context.layout, rate=rate_hz)
        try:
            for frame in container.decode(stream):
                for part in resampler.resample(frame):
                    raw.write(part.to_ndarray().astype(np.float32, copy=False).tobytes())
            for part in resampler.resample(None):
                raw.write(part.to_ndarray().astype(np.float32, copy=False).tobytes())
        except FFmpegError as error:
            # A file cut short is played as far as it goes; one that gives nothing is refused below.
            if raw.tell() == 0:
                raise SourceError(f"audio.path: {path!r} cannot be decoded ({error}); convert it to WAV") from error
        size_bytes = raw.tell()
        raw.flush()
        if size_bytes < 4 * channels:
            raise SourceError(f"audio.path: {path!r} holds no sound at all; choose another file")
        shape = (size_bytes // (4 * channels), channels)
        mapped = np.memmap(raw, np.float32, "r", shape=shape)
        return Sound(mapped if size_bytes > IN_MEMORY_BYTES else np.array(mapped), rate_hz)


def _open_av(path: str) -> Any:
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise SourceError(
            f"audio.path: {path!r} is not a sound file that libsndfile reads (WAV, FLAC, OGG, MP3, AIFF), and the "
            "package av, which reads others, is missing; pip install av, or convert the file"
        ) from error
    try:
        container = av.open(path)
    except FFmpegError as error:
        raise SourceError(
            f"audio.path: {path!r} is not audio ({error}); expected a sound or video file such as WAV, FLAC, OGG, MP3, "
            "M4A or MP4"
        ) from error
    if not container.streams.audio or not container.streams.audio[0].codec_context.sample_rate:
        container.close()
        raise SourceError(f"audio.path: {path!r} has no sound track; choose another file")
    return container


def _require_file(path: str) -> None:
    if not path:
        raise SourceError("audio.path: it is empty; expected the path of a sound or video file")
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise SourceError(f"audio.path: {path!r} {what}; expected a sound or video file: check the spelling")


def tone_block(spec: SourceSpec, first_sample: int, samples: int, rate_hz: int) -> F32:
    """[samples] of the test signal: a soft sine at -26 dBFS with a click at -12 dBFS every half second.

    A function of the sample's number alone, so that it continues exactly after a restart.
    """
    number = np.arange(first_sample, first_sample + samples)
    # The phase is taken modulo one turn in float64 before the sine, so that it stays exact for days.
    sound = 0.05 * np.sin(2 * np.pi * ((number * (spec.tone_hz / rate_hz)) % 1.0))
    since_click = number % (rate_hz // 2)
    sound += 0.25 * np.exp(-since_click / (0.001 * rate_hz)) * np.cos(2 * np.pi * 3000.0 / rate_hz * since_click)
    return sound.astype(np.float32)
