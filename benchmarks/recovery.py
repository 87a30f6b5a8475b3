"""What the audience sees while something dies: the audio process, the sound device, the control process.

    python -m benchmarks.recovery --times 3 --json recovery.json

Real music is captured through a null sink while the show plays in a window under Xvfb (or, with `--headless`, an EGL
frame). Each accident is measured by the longest interval between two displayed frames from its beginning until two
seconds after its end, and by the time until fresh features, or fresh OSC values, are in the frame again.

Thread: main.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer.audio.source import SourceSpec
from performer.control.osc import float_message
from performer.show import Show
from tests.rig.pulse import PulseServer

AWAY_S = 3.0  # how long the device stays unplugged
PATIENCE_S = 20.0
AFTER_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="how often each accident happens")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds that are not counted")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--headless", action="store_true", help="EGL instead of a window under Xvfb")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    with (
        tempfile.TemporaryDirectory() as folder,
        PulseServer() as pulse,
        rig.show_of(
            "first-light",
            size_px=rig.parsed_size(options.size),
            audio=SourceSpec(kind="device"),
            headless=options.headless,
        ) as show,
    ):
        music = rig.Music(Path(folder), seconds=600)
        music.play_into(pulse)
        show.run(seconds=options.warm_up)
        accidents = {
            "kill -9 of the audio process": lambda: _kill_audio(show),
            "the sound device goes and comes back": lambda: _pull_device(show, pulse, music),
            "kill -9 of the control process": lambda: _kill_control(show),
        }
        figures: dict[str, Any] = {
            name: _summary([_watched(show, accident) for _ in range(options.times)])
            for name, accident in accidents.items()
        }
        figures |= {"target_fps": show.fps, "size": options.size, "machine": context, "commit": report.commit()}
    report.publish("recovery", figures, path=options.json)


def _watched(show: Show, accident: Callable[[], float]) -> tuple[float, float]:
    """(longest frame interval in ms, seconds until all was well again) around one accident."""
    show.frame_intervals_s = intervals_s = []
    back_s = accident()
    show.run(seconds=AFTER_S)
    show.frame_intervals_s = None
    return max(intervals_s) * 1e3, back_s


def _summary(seen: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        "longest_frame_ms": [round(frame_ms, 1) for frame_ms, _ in seen],
        "back_after_s": [round(back_s, 2) for _, back_s in seen],
    }


def _until(show: Show, is_well: Callable[[], bool]) -> float:
    """Play until all is well; seconds that it took, infinity where it did not within 20."""
    began_s = show.clock.now_s()
    while not is_well():
        show.frame()
        if show.clock.now_s() - began_s > PATIENCE_S:
            return float("inf")
    return show.clock.now_s() - began_s


def _kill_audio(show: Show) -> float:
    pid = show.ears.child_pid
    assert pid is not None, "the audio process was between two lives"
    killed_s = show.clock.now_s()
    os.kill(pid, signal.SIGKILL)
    return _until(show, lambda: show.ears.child_pid != pid and show.ears.latest().centre_s > killed_s + 0.05)


def _pull_device(show: Show, pulse: PulseServer, music: rig.Music) -> float:
    _beside(show, pulse.pull_out)
    show.run(seconds=AWAY_S)
    assert show.ears.status().state == "lost", show.ears.status()
    _beside(show, pulse.plug_in)  # until the sink gives sound: a null sink begins with up to two seconds of nothing
    plugged_s = show.clock.now_s()
    music.play_into(pulse)
    return _until(show, lambda: show.ears.latest().centre_s > plugged_s)


def _beside(show: Show, work: Callable[[], object]) -> None:
    """Play while `work` is done on a thread."""
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        show.frame()


def _kill_control(show: Show) -> float:
    os.kill(show.hands.child_pid, signal.SIGKILL)
    value = 0.25 + 0.5 * (time.monotonic() % 1)  # unlike any before
    row = show.table.row("macro.8")
    with socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM
    ) as out:  # sent once, while nobody listens: it must not be lost
        out.sendto(float_message("/perf/macro/8")(value), ("127.0.0.1", show.hands.port))
    return _until(show, lambda: abs(float(show.params.values[row]) - value) < 1e-6)


if __name__ == "__main__":
    main()
