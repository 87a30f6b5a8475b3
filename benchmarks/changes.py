"""Whether a change of species is seen in the frames: GO after GO between species that are ready, and what they cost.

    python -m benchmarks.changes --json changes.json

Three parts, each against the same show while nothing changes: fifty GOs between two species; twenty while a third is built
by the machine for the first time and loaded; and two hundred between three, of which the memory holds two, so that each
change loads one and lets go of another.

Thread: main.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pythonosc.udp_client import SimpleUDPClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer import resources
from performer.audio.source import SourceSpec
from performer.creatures import Creature
from performer.generators import checkpoint as species
from performer.show import Show

KINDS = ("crossfade", "bridge", "dip", "cut", "shader moult")
HEAD = """
schema = 1
name = "Changes"
species = "larva"
[audio]
source = "silence"
[params]
feedback.amount = 0.3
"""
CUE = """
[[cue]]
id = "{id}"
species = "{species}"
transition = "{kind}"
fade = 0.8
next = "{next}"
"""
EVERY_S = 1.25
LARGE_FRAMES = 1.5  # a gap longer than this was seen


def setlist_of(folder: Path, names: list[str], changes: int) -> Path:
    """So many cues, each of another species than the one before."""
    path = folder / "changes.toml"
    cues = [
        CUE.format(id=index, species=names[index % len(names)], kind=KINDS[index % len(KINDS)], next="hold")
        for index in range(changes + 1)
    ]
    path.write_text(HEAD + "".join(cues))
    return path


def changed(show: Show, *, times: int) -> tuple[list[float], int]:
    """(frame intervals over so many GOs, in seconds; how many of the cues did not begin in time)."""
    client = SimpleUDPClient("127.0.0.1", show.hands.port)
    show.frame_intervals_s = intervals = []
    late = 0
    for _ in range(times):
        before = show.cue
        client.send_message("/perf/cue/go", [])
        show.run(seconds=EVERY_S)
        late += show.cue == before
    show.frame_intervals_s = None
    return intervals, late


def still(show: Show, *, seconds: float) -> list[float]:
    """Frame intervals while nothing changes."""
    show.frame_intervals_s = intervals = []
    show.run(seconds=seconds)
    show.frame_intervals_s = None
    return intervals


def figures_of(intervals: list[float], fps: float) -> dict[str, Any]:
    """Percentiles in milliseconds, and the frames that were missed."""
    return report.percentiles((1e3 * each for each in intervals), 50, 95, 99) | {
        "frames": len(intervals),
        "large": sum(each > LARGE_FRAMES / fps for each in intervals),
    }


@contextlib.contextmanager
def fresh_cache() -> Any:
    """A cache that has never seen an engine of the third species."""
    before = os.environ.get("PERFORMER_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(resources.cache_folder(), folder, dirs_exist_ok=True)
        os.environ["PERFORMER_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("PERFORMER_CACHE")
            if before is not None:
                os.environ["PERFORMER_CACHE"] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--loads", type=int, default=200)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    how = {
        "size_px": rig.parsed_size(options.size),
        "audio": SourceSpec(kind="silence"),
        "headless": options.headless,
        "fps": options.fps,
    }
    with tempfile.TemporaryDirectory() as folder, fresh_cache():
        setlist = setlist_of(Path(folder), ["larva", "imago"], options.changes + 30)
        with rig.show_of(str(setlist), **how) as show:
            show.run(seconds=6.0)
            changed(show, times=4)
            figures["still"] = figures_of(still(show, seconds=30.0), options.fps)
            intervals, late = changed(show, times=options.changes)
            figures["changes"] = figures_of(intervals, options.fps) | {"late": late}
            third = _never_built(Path(folder))
            number = show.cast.add(Creature(checkpoint=third))
            want = show.cast.want
            show.cast.want = lambda order, **how: want([*order, number], **how)  # type: ignore[method-assign]
            intervals, late = changed(show, times=20)
            figures["while a third is built"] = figures_of(intervals, options.fps) | {
                "late": late,
                "ready after": show.cast.loads,
            }
        if options.loads:
            setlist = setlist_of(Path(folder), ["larva", "imago", "pupa"], options.loads + 10)
            with rig.show_of(str(setlist), **how, memory_mb=_two_of_three()) as show:
                process = psutil.Process()
                show.run(seconds=6.0)
                changed(show, times=10)
                before_mb, loads = report.rss_mb(process), show.cast.loads
                began_s = time.monotonic()
                intervals, late = changed(show, times=options.loads)
                figures["two of three fit"] = figures_of(intervals, options.fps) | {
                    "late": late,
                    "loads": show.cast.loads - loads,
                    "rss_mb_before": before_mb,
                    "rss_mb_after": report.rss_mb(process),
                    "seconds": round(time.monotonic() - began_s),
                }
    report.publish("changes", figures | {"commit": report.commit(), "machine": report.machine()}, path=options.json)


def _never_built(folder: Path) -> species.Checkpoint:
    """A species that no cache knows: the pupa with one weight changed."""
    pupa = species.load(resources.CHECKPOINTS / "pupa.safetensors")
    tensors = {key: tensor * np.float32(1.001) for key, tensor in pupa.tensors.items()}
    path = folder / "third.safetensors"
    species.write(path, replace(pupa, tensors=tensors))
    return species.load(path)


def _two_of_three() -> float:
    """Megabytes that hold two of the three species."""
    from performer.cast import ROLE_BYTES, WEIGHT_COPIES

    sizes = [(resources.CHECKPOINTS / f"{name}.safetensors").stat().st_size for name in ("larva", "imago", "pupa")]
    return 2.5 * (ROLE_BYTES + WEIGHT_COPIES * sum(sizes) / 3) / 1e6


if __name__ == "__main__":
    main()
