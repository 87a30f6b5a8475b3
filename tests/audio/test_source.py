"""What is refused before doors open, and what the refusal says."""

import subprocess
import sys

import numpy as np
import pytest

from performer.audio import source as sources
from performer.audio.source import (
    DeviceInfo,
    SourceError,
    SourceSpec,
    VoiceSpec,
    check_source,
    decode,
    find_device,
    tone_block,
)
from tests.rig import signals

DEVICES = [
    DeviceInfo("Built-in Microphone", "Core Audio", 1, 0, 48000.0, 0),
    DeviceInfo("Scarlett 18i20 USB", "ALSA", 18, 20, 48000.0, 1),
    DeviceInfo("Scarlett 18i20 USB", "JACK", 18, 20, 48000.0, 2),
    DeviceInfo("scarlett", "ALSA", 2, 2, 44100.0, 3),
    DeviceInfo("Loudspeakers", "ALSA", 0, 2, 44100.0, 4),
]


@pytest.fixture
def devices(monkeypatch):
    monkeypatch.setattr(sources, "list_devices", lambda: DEVICES)


def test_importing_the_room_loads_no_sound_library():
    words = (
        "import sys, performer.audio, performer.audio.child; "
        "print([name for name in ('sounddevice', 'soundfile', 'av') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"


def test_exact_name_wins_over_part_of_a_name(devices):
    assert find_device(SourceSpec(device="scarlett")).index == 3
    assert find_device(SourceSpec(device="SCARLETT")).index == 3
    assert find_device(SourceSpec(device="18i20", host_api="jack")).index == 2
    assert find_device(SourceSpec(device="built-in")).index == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (SourceSpec(device="Fireface"), ["'Fireface'", "Built-in Microphone", "Scarlett 18i20 USB"]),
        (SourceSpec(device="Scarlett 18i20 USB"), ["fits 2 devices", "ALSA", "JACK", "host_api"]),
        (SourceSpec(device="Loudspeakers"), ["not an input device"]),
        (SourceSpec(device="scarlett", host_api="ASIO"), ["'ASIO'", "Core Audio"]),
    ],
)
def test_devices_refused(devices, spec, words):
    with pytest.raises(SourceError) as refusal:
        check_source(spec)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_voice_beyond_the_device(devices):
    with pytest.raises(SourceError, match=r"voices\.singer: channel 3 .* 2 channels"):
        check_source(SourceSpec(device="scarlett"), (VoiceSpec("mix"), VoiceSpec("singer", (3,))))


@pytest.mark.parametrize(
    "voices", [(), (VoiceSpec("a"), VoiceSpec("a")), (VoiceSpec("a.b"),), (VoiceSpec(""),), (VoiceSpec("a", (0,)),)]
)
def test_bad_voices(voices):
    with pytest.raises(SourceError, match="voices"):
        check_source(SourceSpec(kind="silence"), voices)


@pytest.mark.parametrize(
    "spec",
    [
        SourceSpec(kind="radio"),
        SourceSpec(kind="file"),
        SourceSpec(kind="file", path="/no/such/file.wav"),
        SourceSpec(kind="file", path="/tmp"),
        SourceSpec(kind="tone", tone_hz=float("nan")),
        SourceSpec(kind="silence", offset_s=-1.0),
    ],
)
def test_bad_specs(spec):
    with pytest.raises(SourceError, match=r"audio\."):
        check_source(spec)


def test_not_audio(tmp_path):
    path = tmp_path / "holiday.wav"
    path.write_text("this is a letter, not a sound\n" * 100)
    with pytest.raises(SourceError, match=r"holiday\.wav.*not audio"):
        check_source(SourceSpec(kind="file", path=str(path)))


def test_offset_beyond_the_end(click_file):
    with pytest.raises(SourceError, match="beyond the end"):
        check_source(SourceSpec(kind="file", path=str(click_file[0]), offset_s=9.0))
    assert "22050 Hz, 1 channels, 2.0 s" in check_source(SourceSpec(kind="file", path=str(click_file[0])))


def test_decodes_what_libsndfile_cannot(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "film.m4a"
    sound = signals.sine(440.0, 1.0, rate_hz=48000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for at in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, at : at + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "48000 Hz, 1 channels" in check_source(SourceSpec(kind="file", path=str(path)))
    decoded = decode(str(path))
    assert decoded.rate_hz == 48000
    assert decoded.samples.shape[1] == 1
    assert len(decoded.samples) == pytest.approx(48000, abs=3000)
    assert np.abs(decoded.samples[8000:40000]).max() == pytest.approx(10 ** (-12 / 20), rel=0.1)


def test_long_music_is_decoded_into_a_file(monkeypatch, click_file):
    whole = decode(str(click_file[0]))
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 1000)
    mapped = decode(str(click_file[0]))
    assert isinstance(mapped.samples.base, np.memmap) or isinstance(mapped.samples, np.memmap)
    assert np.array_equal(mapped.samples, whole.samples)


def test_tone_is_a_function_of_the_sample():
    spec = SourceSpec(kind="tone")
    whole = tone_block(spec, 1000, 500, 48000)
    parts = [tone_block(spec, 1000, 123, 48000), tone_block(spec, 1123, 377, 48000)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.abs(tone_block(spec, 0, 48000, 48000)).max() < 0.35
