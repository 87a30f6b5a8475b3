"""Frames while a setlist is edited, over and over, against the same show that nobody edits.

    python -m benchmarks.reload --seconds 40 --json reload.json

A copy of the setlist plays, headless or under Xvfb. In one stretch its values are edited as often as they are taken, each
time through a file that replaces the one before; in the other nothing is done. Told are the percentiles of the intervals
between two displayed frames, how long an edit takes from its file to the show, and what the render thread spends on it.

Thread: main.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer import resources
from performer.audio.source import SourceSpec
from performer.choreography.plan import Plan
from performer.setlist import Setlist
from performer.show import Show

BETWEEN_S = 0.5  # from one edit that is taken to the next
CUE = '\n[[cue]]\nid = "edited {number}"\nparams = {{ "walk.speed" = {value} }}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each stretch")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds that are not counted")
    parser.add_argument("--cues", type=int, default=0, help="so many cues more than the setlist has")
    parser.add_argument("--setlist", default="metamorphosis")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=None)
    parser.add_argument("--headless", action="store_true", help="EGL instead of a window under Xvfb")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edited.toml"
        shutil.copy(resources.SETLISTS / f"{options.setlist}.toml", path)
        with path.open("a") as file:
            file.writelines(CUE.format(number=number, value=0.5) for number in range(options.cues + 1))
        with rig.show_of(
            str(path),
            size_px=rig.parsed_size(options.size),
            audio=SourceSpec(kind="silence"),
            headless=options.headless,
            fps=options.fps,
        ) as show:
            show.run(seconds=options.warm_up)
            quiet = _played(show, options.seconds)
            edited, latencies_s, takes_s = _edited(show, path, options.seconds)
            figures: dict[str, Any] = {
                "nobody edits": _summary(quiet),
                "edited": _summary(edited),
                "edits": len(latencies_s),
                "file to show, median s": round(statistics.median(latencies_s), 2),
                "render thread, ms": [round(each * 1e3, 2) for each in (statistics.median(takes_s), max(takes_s))],
                "cues": len(show.setlist.cues),
                "params": len(show.table),
                "target_fps": show.fps,
                "size": options.size,
                "machine": context,
                "commit": report.commit(),
            }
    report.publish("reload", figures, path=options.json)


def _played(show: Show, seconds: float) -> list[float]:
    show.frame_intervals_s = intervals_s = []
    show.run(seconds=seconds)
    show.frame_intervals_s = None
    return intervals_s


def _edited(show: Show, path: Path, seconds: float) -> tuple[list[float], list[float], list[float]]:
    """(intervals, seconds from each edit until it plays, seconds that the render thread spent on each)."""
    text, latencies_s, takes_s = path.read_text(), [], []
    take = show._take

    def timed(setlist: Setlist, plan: Plan) -> None:
        began_s = time.perf_counter()
        take(setlist, plan)
        takes_s.append(time.perf_counter() - began_s)

    show._take = timed
    show.frame_intervals_s = intervals_s = []
    end_s, number = show.clock.now_s() + seconds, 0
    while show.clock.now_s() < end_s:
        number += 1
        beside = path.with_suffix(".part")
        beside.write_text(text.replace('"walk.speed" = 0.5', f'"walk.speed" = {0.5 + number / 1000}'))
        os.replace(beside, path)
        before, began_s = show.setlist, show.clock.now_s()
        while show.setlist is before:
            show.frame()
        latencies_s.append(show.clock.now_s() - began_s)
        show.run(seconds=BETWEEN_S)
    show.frame_intervals_s = None
    return intervals_s, latencies_s, takes_s


def _summary(intervals_s: list[float]) -> dict[str, float]:
    spread = np.percentile(np.array(intervals_s) * 1e3, (50, 95, 99, 99.9, 100))
    return dict(zip(("p50", "p95", "p99", "p99.9", "longest"), spread.round(1).tolist(), strict=True))


if __name__ == "__main__":
    main()
