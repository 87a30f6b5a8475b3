"""Speed of training: pictures a second while pictures are shown, and with each critic.

    python -m benchmarks.training --device cpu --threads 1 --sizes 128 256 --json training.json

The pictures are random numbers: what a step costs does not hang on what is in them.

Thread: main.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from performer.training import fresh, lite0
from performer.training.loop import best_precision, settle_memory
from performer.training.teacher import Method, Teacher

WARM = 2  # steps that are not counted: memory is fetched, kernels are chosen
PHASES = {"shown": 10**9, "projected": 0, "plain": 0}  # pictures that are shown first


def images_per_s(
    phase: str, *, family: str, size_px: int, batch: int, device: str, precision: str, seconds: float
) -> dict[str, float]:
    """{"images_per_s": ..., "memory_mb": of a card} in one phase of training."""
    critic = "plain" if phase == "plain" else "projected"
    method = Method(critic=critic, batch=batch, shown=PHASES[phase], precision=precision)
    teacher = Teacher(fresh.species(family, size_px=size_px, seed=0), method, device=device)
    rng = np.random.default_rng(0)
    reals = rng.integers(0, 256, (batch, size_px, size_px, 3), np.uint8)
    codes = rng.standard_normal((batch, 2, fresh.Z_DIM), np.float32)

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    for _ in range(WARM):
        teacher.step(reals, codes)
    wait()
    begun_s, steps = time.perf_counter(), 0
    while time.perf_counter() - begun_s < seconds:
        teacher.step(reals, codes)
        wait()
        steps += 1
    figures = {"images_per_s": round(steps * batch / (time.perf_counter() - begun_s), 1)}
    if device.startswith("cuda"):
        figures["memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
        torch.cuda.reset_peak_memory_stats()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="light", choices=fresh.FAMILIES)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", choices=["single", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settle_memory()
    if given.threads:
        torch.set_num_threads(given.threads)
    precision = given.precision or best_precision(given.device)
    phases = [phase for phase in PHASES if phase == "plain" or lite0.is_there()]
    figures: dict[str, Any] = {
        "machine": report.machine(),
        "commit": report.commit(),
        "device": torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "processor",
        "threads": torch.get_num_threads(),
        "precision": precision,
        "batch": given.batch,
    }
    for size_px in given.sizes:
        for phase in phases:
            figures[f"{given.family} {size_px} px, {phase}"] = images_per_s(
                phase,
                family=given.family,
                size_px=size_px,
                batch=given.batch,
                device=given.device,
                precision=precision,
                seconds=given.seconds,
            )
    report.publish("training", figures, path=given.json)


if __name__ == "__main__":
    main()
