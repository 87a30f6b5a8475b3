"""Fixtures of the audio room."""

import numpy as np
import pytest

from tests.rig import pulse, signals


@pytest.fixture
def pulse_server():
    if why := pulse.why_not():
        pytest.skip(why)
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))
    with pulse.PulseServer() as server:
        yield server


@pytest.fixture
def no_sound(monkeypatch, tmp_path):
    """A machine on which PortAudio finds no device."""
    monkeypatch.delenv("ALSA_CONFIG_PATH", raising=False)
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def click_file(tmp_path):
    """(path, times of the clicks in s): two seconds, four clicks, 22.05 kHz WAV."""
    import wave

    sound, at_s = signals.clicks(4, rate_hz=22050)
    sound = sound[: 2 * 22050]
    path = tmp_path / "clicks.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22050)
        file.writeframes((sound * 32767).astype(np.int16).tobytes())
    return path, at_s
