"""The program as a person starts it: a process of its own, with its own ports and somebody who reads what it says."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

PATIENCE_S = 60.0


def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_tcp_port() -> int:
    """A TCP port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(*words: str) -> list[str]:
    """The command line of `performer words...`."""
    return [sys.executable, "-m", "performer", *words]


def run(*words: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end; stdout and stderr together in `stdout`."""
    return subprocess.run(
        command(*words),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )


class Program:
    """A show that runs beside the test. Context manager; killed at the end where it did not end by itself."""

    def __init__(self, words: Sequence[str], *, cwd: Path) -> None:
        self.said = ""
        self._process = subprocess.Popen(
            command(*words), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            for child in self.children():
                child.kill()
            self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line

    def children(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def wait_for(self, pattern: str) -> None:
        """Wait until it has said `pattern`. Raises AssertionError with all that it said instead."""
        end_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.said):
            assert time.monotonic() < end_s and self._process.poll() is None, f"never said {pattern!r}:\n{self.said}"
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit status."""
        status = self._process.wait(timeout=PATIENCE_S)
        self._reader.join()
        return status


def left_of(pids: Sequence[int], *, within_s: float = 10.0) -> list[int]:
    """Those of `pids` that still run after `within_s`; a zombie does not, for in a container nobody collects orphans."""
    end_s = time.monotonic() + within_s
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < end_s:
        time.sleep(0.05)
    return left


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
