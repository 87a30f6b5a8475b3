"""An OSC client that is not ours: osc.js, the npm package that Companion sends with and Open Stage Control has a fork of.

Its program is npm/osc_client.js. `make venv-test` installs what npm/package.json names, as its lock file has it, beside
the packages of the virtual environment; `why_not` says what is missing.

Owns: a node process.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

MODULES = Path(sys.prefix) / "npm" / "node_modules"
CLIENT = Path(__file__).with_name("npm") / "osc_client.js"
PATIENCE_S = 10.0


def why_not() -> str:
    """Why there can be no `NodeClient` on this machine; empty where there can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (MODULES / "osc").is_dir():
        return "osc.js is not installed; `make venv-test` does it"
    return ""


class NodeClient:
    """Context manager. What it hears is kept until it is asked for."""

    def __init__(self, port: int) -> None:
        """port: where it sends to, on this machine."""
        self._to = port
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.port = 0  # its own

    def __enter__(self) -> "NodeClient":
        self._process = subprocess.Popen(
            ["node", str(CLIENT), str(self._to)],
            env={**os.environ, "NODE_PATH": str(MODULES)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        self.port = self._lines.get(timeout=PATIENCE_S)["port"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()  # it ends then
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(json.loads(line))

    def send(self, address: str, *args: tuple[str, Any]) -> None:
        """Send a message; `args` are (type tag, value)."""
        self._say(packet(address, *args))

    def send_bundle(self, *packets: dict[str, Any], in_s: float) -> None:
        """Send a bundle whose time tag lies so many seconds ahead."""
        self._say({"timeTag": in_s, "packets": list(packets)})

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def heard(self, *, until: Callable[[dict[str, list]], bool]) -> dict[str, list]:
        """Everything since the last call, by address: the (type tag, value) of one-argument messages, lists of others."""
        got: dict[str, list] = {}
        end_s = time.monotonic() + PATIENCE_S
        while not until(got):
            try:
                message = self._lines.get(timeout=max(end_s - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"never heard; got {sorted(got)}") from None
            assert "error" not in message, message
            args = [(each["type"], each.get("value")) for each in message["args"]]
            got.setdefault(message["address"], []).append(args[0] if len(args) == 1 else args)
        return got


def packet(address: str, *args: tuple[str, Any]) -> dict[str, Any]:
    """A message as osc.js takes it; `args` are (type tag, value)."""
    return {"address": address, "args": [{"type": tag, "value": value} for tag, value in args]}
