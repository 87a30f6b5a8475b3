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
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer import setlist as setlists
from performer.audio.source import SourceSpec
from performer.control.osc import float_message
from performer.show import Show
from tests.rig.pulse import PulseServer

SLICE_S = 10.0  # of the flood: so long with it, so long without
ADDRESSES = 100
FLOODED = [f"macro.{n}" for n in range(1, 9)] + [f"route.flood-{n}" for n in range(1, ADDRESSES - 7)]
# Routes that move nothing, for the sake of their parameters: the flood shall hit knobs, not strangers.
IDLE_ROUTE = """
[[route]]
name = "flood-{n}"
from = "breathe"
to = "macro.8"
amount = 0.0
"""


def flood(port: int, per_s: int, is_on: Any, sent: Any, last: Any) -> None:
    """Send `per_s` messages a second to 100 addresses while `is_on`; count them in `sent`, keep each one's last value."""
    target = ("127.0.0.1", port)
    encoders = [float_message(f"/perf/{name.replace('.', '/')}") for name in FLOODED]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        tick, start = 0, time.monotonic()
        while is_on.value >= 0:
            tick += 1
            if is_on.value:
                for k in range(per_s // 60):
                    last[k % ADDRESSES] = (tick * 7 + k) % 100 / 100
                    out.sendto(encoders[k % ADDRESSES](last[k % ADDRESSES]), target)
                sent.value += per_s // 60
            time.sleep(max(start + tick / 60 - time.monotonic(), 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds that are not counted")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=None)
    parser.add_argument("--setlist", default="metamorphosis")
    parser.add_argument("--species", default="", help="a species instead of the setlist's")
    parser.add_argument("--headless", action="store_true", help="EGL instead of a window under Xvfb")
    parser.add_argument("--hud", action="store_true")
    parser.add_argument(
        "--osc", type=int, default=0, help="OSC messages a second, in every second slice of ten seconds"
    )
    parser.add_argument("--file", action="store_true", help="play the music from its file instead of capturing it")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = SourceSpec(kind="file", path=str(rig.MUSIC), audible=False)
        if not options.file:
            music = rig.Music(folder, seconds=options.seconds + options.warm_up)
            music.play_into(stack.enter_context(PulseServer()))
            source = SourceSpec(kind="device")
        setlist = options.setlist
        if options.osc:
            setlist = str(_with_idle_routes(options.setlist, folder))
        show = stack.enter_context(
            rig.show_of(
                setlist,
                size_px=rig.parsed_size(options.size),
                species=options.species,
                audio=source,
                headless=options.headless,
                fps=options.fps,
                hud=options.hud,
            )
        )
        spawn = multiprocessing.get_context("spawn")
        is_on, sent, last = spawn.Value("i", 0), spawn.Value("q", 0), spawn.Array("d", ADDRESSES, lock=False)
        if options.osc:
            arguments = (show.hands.port, options.osc, is_on, sent, last)
            sender = spawn.Process(target=flood, args=arguments, daemon=True)
            sender.start()

        process = psutil.Process()
        show.run(seconds=options.warm_up)
        rss_start_mb, images, missed = report.rss_mb(process), show.images, show.missed
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
        images, missed = show.images - images, show.missed - missed
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
            show.frame_intervals_s = None
            show.run(seconds=0.5)
            figures["osc"] = {
                "per_s": options.osc,
                "sent": sent.value,
                "received": show.hands.status().received,
                "lost": sent.value - show.hands.status().received,
                "wrong_last_values": _wrong(show, last),
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


def _with_idle_routes(setlist: str, folder: Path) -> Path:
    """A copy of `setlist` with a parameter for every address of the flood."""
    path = folder / "flood.toml"
    routes = "".join(IDLE_ROUTE.format(n=n) for n in range(1, ADDRESSES - 7))
    path.write_text(setlists.locate(setlist).read_text(encoding="utf-8") + routes, encoding="utf-8")
    return path


def _wrong(show: Show, last: Any) -> int:
    """How many of the flooded parameters do not hold the value that was sent last."""
    held = np.array([show.params.values[show.table.row(name)] for name in FLOODED])
    return int((np.abs(held - np.array(last[:])) > 1e-6).sum())


if __name__ == "__main__":
    main()
