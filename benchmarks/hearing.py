"""What hearing costs, for real: two voices with everything on, captured from a null sink.

    python -m benchmarks.hearing --minutes 10 --json hearing.json

Music is played into PulseAudio's null sink and captured through PortAudio. Counted are the processor time of the hearing
process, from the callback to the published features; overruns (the analysis was too slow) and overflows (the driver lost
samples); and what the callback's ring allocates, which has to be nothing once it is warm.

Thread: main; the ears are a process of their own.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from performer.audio.ears import Ears, wait_until
from performer.audio.ring import CaptureRing
from performer.audio.source import SourceSpec, VoiceSpec, decode
from tests.rig.pulse import PulseServer

ROOT = Path(__file__).resolve().parents[1]
MUSIC = ROOT / "setlists" / "music" / "itchidan_the_laundry_room.ogg"
VOICES = (VoiceSpec("left", (1,)), VoiceSpec("right", (2,)))
WARM_S = 5.0
WRITES = 20_000


def measure(minutes: float) -> dict[str, float | int | bool]:
    """Hear music for so long."""
    sound = decode(str(MUSIC))
    seconds = 60.0 * minutes
    times = -(-int((seconds + WARM_S + 5.0) * sound.rate_hz) // len(sound.samples))
    music = np.tile(np.repeat(sound.samples[:, :1], 2, axis=1), (times, 1))
    with PulseServer() as server, Ears(source=SourceSpec(), voices=VOICES, epoch_s=time.monotonic()) as ears:
        if not wait_until(lambda: ears.status().state == "hearing", timeout_s=15.0):
            sys.exit(f"nothing is heard: {ears.status().detail}")
        server.play(music, sound.rate_hz)
        time.sleep(WARM_S)
        process = psutil.Process(ears.child_pid)
        before, began_s = process.cpu_times(), time.monotonic()
        memory = process.memory_info().rss
        events = 0
        while time.monotonic() - began_s < seconds:
            time.sleep(0.5)
            events += len(ears.drain())
        took_s, after, status = time.monotonic() - began_s, process.cpu_times(), ears.status()
        return {
            "seconds": round(took_s, 1),
            "cpu_percent": round(100.0 * (after.user + after.system - before.user - before.system) / took_s, 1),
            "overruns": status.overruns,
            "overflows": status.overflows,
            "restarts": status.restarts,
            "dropped_events": status.dropped_events,
            "events": events,
            "latency_ms": round(1e3 * status.latency_s, 1),
            "memory_growth_mib": round((process.memory_info().rss - memory) / 2**20, 2),
        }


def blocks_allocated() -> int:
    """Memory blocks that so many writes into a warm ring leave behind."""
    ring = CaptureRing(channels=2, capacity_samples=96_000)
    block = np.random.default_rng(0).standard_normal((256, 2)).astype(np.float32) * np.float32(0.1)
    for _ in range(2000):
        ring.write(block, 0.5)
    before = sys.getallocatedblocks()
    for _ in range(WRITES):
        ring.write(block, 0.5)
    return sys.getallocatedblocks() - before


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    figures = {
        "commit": report.commit(),
        "machine": report.machine(),
        "voices": len(VOICES),
        "ring_blocks_allocated": blocks_allocated(),
        **measure(args.minutes),
    }
    report.publish("hearing", figures, path=args.json)


if __name__ == "__main__":
    main()
