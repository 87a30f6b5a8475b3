"""What the benchmarks share: the machine's description, percentiles, the table and the JSON.

Thread: main.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

LIBRARIES = ("numpy", "openvino", "torch")
ROOT = Path(__file__).resolve().parents[1]


def percentiles(values: Iterable[float], *wanted: int) -> dict[str, float]:
    """{"p50": ..., "max": ...} of `values`, to two decimals; empty values give NaN."""
    array = np.array(list(values), float)
    if not array.size:
        return {f"p{p}": float("nan") for p in wanted} | {"max": float("nan")}
    return {f"p{p}": round(float(np.percentile(array, p)), 2) for p in wanted} | {"max": round(float(array.max()), 2)}


def machine() -> dict[str, Any]:
    """The processor, the system and the versions that the figures hang on."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in LIBRARIES if find_spec(package) is not None},
        "load_before": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def commit() -> str:
    """The commit that was measured, with a plus where the tree had changes; empty outside a checkout."""
    try:
        run = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **run).stdout.strip()
        return name + ("+" if subprocess.run(["git", "status", "--porcelain"], **run).stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def rss_mb(process: psutil.Process) -> float:
    """Resident memory of a process and its children, megabytes."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return round(total / 1e6, 1)


def publish(title: str, figures: dict[str, Any], *, path: Path | None) -> None:
    """Print the table and write the JSON."""
    table = Table(title=title, show_header=False)
    for key, value in figures.items():
        text = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(key, text)
    Console(soft_wrap=True, highlight=False).print(table)
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
