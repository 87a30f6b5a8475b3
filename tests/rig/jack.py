"""MIDI without a card: a private JACK server with a dummy driver, through which programs send each other MIDI.

Owns: a jackd process and, while the context is open, a variable of this process's environment, so that children started
meanwhile use the private server. Needs the package jackd2; `why_not` says what is missing.
"""

import importlib.util
import os
import shutil
import subprocess
import time
from types import TracebackType
from typing import Any


def why_not() -> str:
    """Why there can be no `JackServer` on this machine; empty where there can."""
    if shutil.which("jackd") is None:
        return "jackd is not installed"
    if importlib.util.find_spec("rtmidi") is None:
        return "python-rtmidi is not installed"
    return ""


class JackServer:
    """Context manager."""

    def __init__(self) -> None:
        self._name = f"performer-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._before: str | None = None

    def __enter__(self) -> "JackServer":
        self._before = os.environ.get("JACK_DEFAULT_SERVER")
        os.environ["JACK_DEFAULT_SERVER"] = self._name
        self._process = subprocess.Popen(
            ["jackd", "-r", "-n", self._name, "-d", "dummy", "-r", "48000", "-p", "128"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while subprocess.run(["jack_wait", "-c", "-s", self._name], capture_output=True).stdout.strip() != b"running":
            if time.monotonic() > end or self._process.poll() is not None:
                self.__exit__(None, None, None)
                raise RuntimeError("jackd did not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=5)
        if self._before is None:
            os.environ.pop("JACK_DEFAULT_SERVER", None)
        else:
            os.environ["JACK_DEFAULT_SERVER"] = self._before


class Box:
    """A controller: knobs and keys that send, lights that listen."""

    def __init__(self, name: str = "box") -> None:
        import rtmidi

        jack = rtmidi.API_UNIX_JACK
        self.knobs: Any = rtmidi.MidiOut(jack, name)
        self.knobs.open_virtual_port("knobs")
        self.lights: Any = rtmidi.MidiIn(jack, f"{name}-lights")
        self.lights.open_virtual_port("lights")
        self.shown: list[list[int]] = []
        self.lights.set_callback(lambda event, _: self.shown.append(event[0]))

    def send(self, *message: int) -> None:
        """One message."""
        self.knobs.send_message(list(message))

    def pull_out(self) -> None:
        """It is gone."""
        for port in (self.knobs, self.lights):
            port.close_port()
            port.delete()
