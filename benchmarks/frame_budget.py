"""How well a show holds its frame rate: real music, captured through a null sink, for so many seconds.

    python -m benchmarks.frame_budget --seconds 60 --json frame_budget.json

The whole program runs: audio and control processes, engine, choreography, shaders, and a window under Xvfb (or, with
`--headless`, an EGL frame). With `--osc 6000` that many OSC messages a second arrive in every second slice of ten
seconds, so that frames with and without the flood are compared in one run.

Thread: main; the flood comes from a process of its own.
"""

import argparse
import contextlib
import multiprocessing
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from performer import resources
from performer.audio.source import SourceSpec
from performer.control.osc import float_message
from performer.play import PlayOptions, prepare
from tests.rig.pulse import PulseServer
from tests.rig.xvfb import xvfb

SLICE_S = 10.0  # of the flood: so long with it, so long without
MUSIC = resources.SETLISTS / "music" / "itchidan_the_laundry_room.ogg"


def flood(port: int, per_s: int, is_on: Any, sent: Any) -> None:
    """Send `per_s` messages a second to 100 addresses while `is_on`; count them in `sent`."""
    target = ("127.0.0.1", port)
    names = [f"macro/{n}" for n in range(1, 9)] + [f"stranger/{n}" for n in range(92)]
    encoders = [float_message(f"/perf/{name}") for name in names]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        tick, start = 0, time.monotonic()
        while is_on.value >= 0:
            tick += 1
            if is_on.value:
                for k in range(per_s // 60):
                    out.sendto(encoders[k % 100]((tick % 100) / 100), target)
                sent.value += per_s // 60
            time.sleep(max(start + tick / 60 - time.monotonic(), 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds that are not counted")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=None)
    parser.add_argument("--setlist", default="first-light")
    parser.add_argument("--headless", action="store_true", help="EGL instead of a window under Xvfb")
    parser.add_argument("--hud", action="store_true")
    parser.add_argument(
        "--osc", type=int, default=0, help="OSC messages a second, in every second slice of ten seconds"
    )
    parser.add_argument("--file", action="store_true", help="play the music from its file instead of capturing it")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    context = report.machine()

    with contextlib.ExitStack() as stack:
        source = SourceSpec(kind="file", path=str(MUSIC), audible=False)
        if not options.file:
            samples, rate = soundfile.read(MUSIC, dtype="float32", always_2d=True)
            pulse = stack.enter_context(PulseServer())
            loops = int((options.seconds + options.warm_up) / (len(samples) / rate)) + 2
            pulse.play(np.concatenate([samples] * loops), rate)
            source = SourceSpec(kind="device")
        if not options.headless:
            stack.enter_context(xvfb(size_px=(width, height)))
        port = _free_port()
        show = prepare(
            PlayOptions(
                setlist=options.setlist,
                audio=source,
                headless=options.headless,
                size_px=(width, height),
                fps=options.fps,
                hud=options.hud,
                osc_host="127.0.0.1",
                osc_port=port,
            ),
            announce=lambda text: print(text, file=sys.stderr),
        )
        stack.callback(show.close)
        spawn = multiprocessing.get_context("spawn")
        is_on, sent = spawn.Value("i", 0), spawn.Value("q", 0)
        if options.osc:
            sender = spawn.Process(target=flood, args=(port, options.osc, is_on, sent), daemon=True)
            sender.start()

        process = psutil.Process()
        show.run(seconds=options.warm_up)
        rss_start_mb, images, missed = report.rss_mb(process), show.host.images, show.missed
        cpu = _cpu_s(process)
        began_s = time.monotonic()
        slices: dict[bool, list[float]] = {False: [], True: []}
        rooms: dict[str, list[float]] = {}
        show.outputs.append(_Rooms(rooms))
        flooded = False
        while (left_s := began_s + options.seconds - time.monotonic()) > 0.05:
            is_on.value = int(flooded)
            show.frame_intervals_s = slices[flooded]
            show.run(seconds=min(SLICE_S if options.osc else left_s, left_s))
            flooded = bool(options.osc) and not flooded
        elapsed_s = time.monotonic() - began_s
        is_on.value = 0
        intervals = slices[False] + slices[True]
        images, missed = show.host.images - images, show.missed - missed
        figures: dict[str, Any] = {
            "generated_fps": round(images / elapsed_s, 2),
            "displayed_fps": round(len(intervals) / elapsed_s, 2),
            "frame_ms": report.percentiles((1e3 * each for each in intervals), 50, 95, 99),
            "missed": missed,
            "rss_mb_start": rss_start_mb,
            "rss_mb_end": report.rss_mb(process),
            "cpu_cores": round((_cpu_s(process) - cpu) / elapsed_s, 2),
            "rooms_ms": {room: report.percentiles(times, 50, 99) for room, times in sorted(rooms.items())},
            "sound_to_light_ms": show.light.median_ms and round(show.light.median_ms, 1),
            "target_fps": show.fps,
            "size": options.size,
            "display": show.display.description + (" headless" if options.headless else " in a window"),
            "internal_px": "x".join(map(str, show.stage.internal_px)),
            "engine": show.host.name,
            "species": f"{show.setlist.checkpoint.provenance.name}, {show.setlist.checkpoint.sizes.resolution} px",
            "sound": show.ears.status().detail,
        }
        if options.osc:
            time.sleep(0.5)
            figures["osc"] = {
                "per_s": options.osc,
                "sent": sent.value,
                "received": show.hands.status().received,
                "lost": sent.value - show.hands.status().received,
                "frame_p99_ms_without": report.percentiles((1e3 * each for each in slices[False]), 99)["p99"],
                "frame_p99_ms_with": report.percentiles((1e3 * each for each in slices[True]), 99)["p99"],
            }
            is_on.value = -1
        figures |= {"seconds": round(elapsed_s, 1), "machine": context, "commit": report.commit()}
    report.publish("frame budget", figures, path=options.json)


class _Rooms:
    """An output that keeps what each room spent."""

    dropped = 0

    def __init__(self, rooms: dict[str, list[float]]) -> None:
        self._rooms = rooms

    def put(self, frame: Any) -> bool:
        for room, spent in frame.spent_ms.items():
            self._rooms.setdefault(room, []).append(spent)
        return True

    def close(self) -> None:
        pass


def _cpu_s(process: psutil.Process) -> float:
    """Processor seconds of the show: this process and its children."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            if each.name() not in ("pulseaudio", "Xvfb", "pacat", "parec"):
                times = each.cpu_times()
                total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
