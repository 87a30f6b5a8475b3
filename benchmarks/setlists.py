"""Whether the bundled setlists hold their frames: each played for so long, in a window, with hands at it.

    python -m benchmarks.setlists --seconds 300 --shots shots --json setlists.json

Real music is captured through a null sink. GO is pressed by OSC where a cue waits for it; what TouchDesigner drives
gets a stream of its channels, sixty times a second. With `--shots`, pictures of what is displayed, two a minute.

Thread: main; the stream comes from a thread of its own.
"""

import argparse
import contextlib
import math
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from pythonosc.udp_client import SimpleUDPClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer.audio.source import SourceSpec
from performer.show import Show
from performer.stage.outputs.still import write_png
from tests.rig.pulse import PulseServer

NAMES = ("concert", "driven", "terrarium", "metamorphosis")
GO_S, SHOT_S, WARM_UP_S = 26.0, 30.0, 8.0


def stream(port: int, ended: threading.Event) -> None:
    """What an OSC Out CHOP sends: energies and two faders, every cook."""
    client = SimpleUDPClient("127.0.0.1", port)
    began_s = time.monotonic()
    while not ended.wait(1 / 60):
        at_s = time.monotonic() - began_s
        pulse = math.exp(-8.0 * (at_s * 2.0 % 1.0))
        for name, value in (
            ("low", pulse),
            ("mid", 0.5 + 0.4 * math.sin(at_s * 1.3)),
            ("high", 0.3 * (1 + math.sin(at_s * 7))),
            ("near", 0.5 + 0.5 * math.sin(at_s * 0.2)),
            ("glow", 0.5 + 0.5 * math.sin(at_s * 0.11)),
            ("strange", max(math.sin(at_s * 0.05), 0.0)),
        ):
            client.send_message(f"/{name}", float(value))


def played(show: Show, name: str, *, seconds: float, shots: Path | None) -> dict[str, Any]:
    """Figures of one setlist."""
    client, process, ended = SimpleUDPClient("127.0.0.1", show.hands.port), psutil.Process(), threading.Event()
    if name == "driven":
        threading.Thread(target=stream, args=(show.hands.port, ended), daemon=True).start()
    show.run(seconds=WARM_UP_S)
    cues = {show.cue}
    images, missed, rss_mb = show.images, show.missed, report.rss_mb(process)
    show.frame_intervals_s = intervals = []
    began_s, shot = time.monotonic(), 0
    while (spent_s := time.monotonic() - began_s) < seconds:
        if shots is not None and spent_s >= shot * SHOT_S:
            shot += 1
            kept, show.frame_intervals_s = show.frame_intervals_s, None  # writing a picture is none of its frames
            write_png(shots / f"{name}-{shot:02d}.png", show.stage.read_pixels())
            show.frame()
            show.frame_intervals_s = kept
        show.run(seconds=min(GO_S / 2, seconds - spent_s))
        if show.plan.cues[show.cue].next == "hold":
            client.send_message("/perf/cue/go", [])
        cues.add(show.cue)
    elapsed_s = time.monotonic() - began_s
    ended.set()
    return {
        "displayed_fps": round(len(intervals) / elapsed_s, 2),
        "generated_fps": round((show.images - images) / elapsed_s, 2),
        "frame_ms": report.percentiles((1e3 * each for each in intervals), 50, 99),
        "missed": show.missed - missed,
        "target_fps": show.fps,
        "cues": len(cues),
        "rss_mb": [rss_mb, report.rss_mb(process)],
        "warnings": len(show.stage.warnings),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of each")
    parser.add_argument("--names", nargs="*", default=list(NAMES))
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--shots", type=Path, default=None, help="a folder for pictures")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.shots is not None:
        options.shots.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            music = rig.Music(folder, seconds=options.seconds + 60.0)
            music.play_into(stack.enter_context(PulseServer()))
            how = {"size_px": rig.parsed_size(options.size), "headless": options.headless}
            show = stack.enter_context(rig.show_of(name, audio=SourceSpec(kind="device"), **how))
            figures[name] = played(show, name, seconds=options.seconds, shots=options.shots)
    figures |= {"commit": report.commit(), "machine": report.machine()}
    report.publish("setlists", figures, path=options.json)


if __name__ == "__main__":
    main()
