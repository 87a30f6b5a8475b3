"""What a frame's choreography costs: the plan's step with what is new in it switched on, one after the other.

    python -m benchmarks.choreography --json choreography.json

Thread: main.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from performer import rehearsal, setlist

HEAD = """
schema = 1
name = "Cost"
species = "imago"
seed = 11
{head}
[audio]
source = "tone"
"""
CUE = """
[[cue]]
id = "{id}"
fade = 8
duration = 10
next = "follow"
{cue}
"""
KEYFRAMES = "".join(f"[[cue.keyframe]]\nat = {at}\nseed = {at}\n" for at in range(0, 9, 2))
CASES = {
    "plain": ("", ""),
    "three mappings": ('mapping = ["lucid", "maua", "touch"]', ""),
    "keyframes": ("", KEYFRAMES),
    "strangeness": ("", "[cue.params]\nlatent.strangeness = 0.7\n"),
    "region of 64": ("[safe]\nseeds = [" + ", ".join(map(str, range(64))) + "]", ""),
}


def spent_ms(head: str, cue: str, *, fps: float) -> list[float]:
    """Milliseconds of every frame of twenty seconds, half of them in a fade."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cost.toml"
        path.write_text(HEAD.format(head=head) + "".join(CUE.format(id=each, cue=cue) for each in "12"))
        show = setlist.load(path)
    recording = rehearsal.Recording(show, None, loops=False)
    spent, before = [], time.perf_counter()
    for _ in rehearsal.played(show, recording, fps=fps, hold_s=0.0, most_s=20.0):
        now = time.perf_counter()
        spent.append(1e3 * (now - before))
        before = now
    return spent[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for name, (head, cue) in CASES.items():
        figures[name] = report.percentiles(spent_ms(head, cue, fps=options.fps), 50, 99)
    figures |= {"commit": report.commit(), "machine": report.machine()}
    report.publish("choreography, ms a frame", figures, path=options.json)


if __name__ == "__main__":
    main()
