"""A sound card made of software: a private PulseAudio with a null sink, which PortAudio sees as the default device.

What is played into the sink is captured from its monitor. The sink can be pulled and plugged in again. A second one, the
booth, can be plugged in besides: another device, with a rate of its own.

Owns: a pulseaudio process, a temporary folder, and, while the context is open, three variables of this process's
environment, so that children started meanwhile use the private server.
Needs the packages pulseaudio, pulseaudio-utils and libasound2-plugins; `why_not` says which is missing.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

_ALSA = """\
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "Private PulseAudio" } }
ctl.!default { type pulse }
pcm.booth { type pulse device "booth.monitor" hint { show on description "Booth" } }
"""


def why_not() -> str:
    """Why there can be no `PulseServer` on this machine; empty where there can."""
    for tool in ("pulseaudio", "pactl", "pacat"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if not Path("/usr/share/alsa/alsa.conf").exists():
        return "ALSA's configuration is not installed"
    return ""


def _swallow(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    while process.stdout.read(65536):
        pass


class PulseServer:
    """Context manager. `env` holds the variables that make any program use this server."""

    def __init__(self, *, rate_hz: int = 44100, channels: int = 2, sink: bool = True) -> None:
        self.rate_hz = rate_hz
        self.channels = channels
        self.env: dict[str, str] = {}
        self._with_sink = sink
        self._before: dict[str, str | None] = {}
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._module = ""
        self._players: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "PulseServer":
        self._folder = Path(tempfile.mkdtemp(prefix="pulse-"))
        socket = self._folder / "native"
        (self._folder / "asound.conf").write_text(_ALSA)
        self.env = {
            "PULSE_SERVER": f"unix:{socket}",
            "XDG_RUNTIME_DIR": str(self._folder),
            "ALSA_CONFIG_PATH": str(self._folder / "asound.conf"),
        }
        own = {**os.environ, **self.env, "HOME": str(self._folder)}
        del own["PULSE_SERVER"]  # the server itself would try to be a client of it
        self._process = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--use-pid-file=no",
                "--exit-idle-time=-1",
                "--disable-shm=yes",
                "--log-target=stderr",
                "--log-level=error",
                "-L",
                f"module-native-protocol-unix socket={socket} auth-anonymous=1",
            ],
            env=own,
            stdout=subprocess.DEVNULL,
            stderr=open(self._folder / "log", "wb"),
        )
        end_s = time.monotonic() + 10.0
        while subprocess.run(["pactl", "info"], env=self._all_env(), capture_output=True).returncode:
            if time.monotonic() > end_s or self._process.poll() is not None:
                log = (self._folder / "log").read_text(errors="replace")
                self.__exit__()
                raise RuntimeError(f"pulseaudio did not start: {log.strip() or 'no message'}")
            time.sleep(0.05)
        if self._with_sink:
            self.plug_in()
        self._before = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)
        return self

    def __exit__(self, *_: Any) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for process in [*self._players, self._process]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _all_env(self) -> dict[str, str]:
        return {**os.environ, **self.env}

    def pactl(self, *words: str) -> str:
        """Run pactl against this server; what it printed. Raises CalledProcessError."""
        return subprocess.run(
            ["pactl", *words], env=self._all_env(), check=True, capture_output=True, text=True, timeout=10
        ).stdout.strip()

    def plug_in(self) -> None:
        """Load the sink, and make it and its monitor the defaults."""
        self._module = self._load("stage", self.rate_hz)
        self.pactl("set-default-sink", "stage")
        self.pactl("set-default-source", "stage.monitor")
        self._listen("stage", self.rate_hz)

    def plug_in_booth(self, *, rate_hz: int = 48000) -> None:
        """Load another sink, whose monitor PortAudio sees as the device `booth`."""
        self._load("booth", rate_hz)
        self._listen("booth", rate_hz)

    def _load(self, name: str, rate_hz: int) -> str:
        return self.pactl(
            "load-module",
            "module-null-sink",
            f"sink_name={name}",
            "format=float32le",
            f"rate={rate_hz}",
            f"channels={self.channels}",
        )

    def _listen(self, name: str, rate_hz: int) -> None:
        # A null sink works in blocks of two seconds until somebody asks for less, and falls back when he leaves; a
        # card does not. This listener stays, and keeps the blocks short.
        listener = subprocess.Popen(
            ["parec", "--raw", "--latency-msec=5", f"--device={name}.monitor"],
            env=self._all_env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._players.append(listener)
        assert listener.stdout is not None
        listener.stdout.read(8 * rate_hz // 10 * self.channels)
        threading.Thread(target=_swallow, args=(listener,), daemon=True).start()

    def pull_out(self) -> None:
        """Unload the sink: the device is gone, and every stream with it, where there is no booth to move to."""
        self.pactl("unload-module", self._module)

    def hush(self, name: str, *, is_hushed: bool) -> None:
        """Have a sink and its monitor send nothing, as a device whose cable is loose; or send again."""
        self.pactl("suspend-sink", name, "1" if is_hushed else "0")

    def play(
        self, sound: np.ndarray, rate_hz: int, *, sink: str = "stage", wait: bool = False
    ) -> subprocess.Popen[bytes]:
        """Play `sound` ([n] or [n, channels], +-1) into a sink; returns at once unless `wait`."""
        assert self._folder is not None
        data = np.ascontiguousarray(sound, np.float32)
        channels = 1 if data.ndim == 1 else data.shape[1]
        path = self._folder / f"play-{len(self._players)}.f32"
        path.write_bytes(data.tobytes())
        player = self.play_raw(path, rate_hz, channels=channels, sink=sink)
        if wait:
            player.wait()
        return player

    def play_raw(self, path: Path, rate_hz: int, *, channels: int, sink: str = "stage") -> subprocess.Popen[bytes]:
        """Play a file of bare 32 bit floats into a sink; returns at once."""
        words = ["pacat", "--playback", "--raw", "--format=float32le", f"--rate={rate_hz}", f"--channels={channels}"]
        player = subprocess.Popen([*words, f"--device={sink}", "--latency-msec=20", str(path)], env=self._all_env())
        self._players.append(player)
        return player
