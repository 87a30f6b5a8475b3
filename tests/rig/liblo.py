"""liblo's commands: oscsend, which sends one message and ends, and oscdump, which prints what it receives.

They need the package liblo-tools; `why_not` says what is missing.
"""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType

PATIENCE_S = 10.0
_LINE = re.compile(r"\S+ (/\S+) ?(\S*) ?(.*)")


def why_not() -> str:
    """Why the commands cannot be used on this machine; empty where they can."""
    return next((f"{tool} is not installed" for tool in ("oscsend", "oscdump") if shutil.which(tool) is None), "")


def oscsend(port: int, address: str, types: str = "", *values: object) -> None:
    """Send one message to a port of this machine, and wait until the command has ended."""
    words = ["oscsend", "127.0.0.1", str(port), address, *([types] if types else []), *map(str, values)]
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE_S)


class OscDump:
    """Context manager: an oscdump that listens on `port`, and what it printed: (address, type tags, values as text)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._printed: list[tuple[str, str, str]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "OscDump":
        self._process = subprocess.Popen(["oscdump", "-L", str(self.port)], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        end_s = time.monotonic() + PATIENCE_S
        while not self._printed:  # until it listens, what is sent to it is lost
            assert time.monotonic() < end_s, "oscdump does not listen"
            oscsend(self.port, "/are/you/there")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=5)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found = _LINE.fullmatch(line.rstrip("\n"))
            assert found is not None, line
            self._printed.append((found[1], found[2], found[3]))

    def printed(self, *, until: Callable[[list[tuple[str, str, str]]], bool]) -> list[tuple[str, str, str]]:
        """Everything that it has printed."""
        end_s = time.monotonic() + PATIENCE_S
        while not until(printed := list(self._printed)):
            assert time.monotonic() < end_s, f"never printed; got {printed[-20:]}"
            time.sleep(0.01)
        return printed
