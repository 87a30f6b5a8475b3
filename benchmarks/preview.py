"""What a watched preview costs the show: frames with and without watchers, in turns, in one run.

    python -m benchmarks.preview --seconds 120 --json preview.json

A show plays the bundled music headless, with its panel. In every second slice of five seconds, so many clients ask for one
picture after the other, as panels do. `--on-card` takes the graphics card's way on a software renderer too.

Thread: main; the clients run in a process of their own.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from aiohttp import ClientError, ClientSession

from benchmarks import report, rig
from performer.audio.source import SourceSpec
from performer.flow import Frame
from performer.stage.outputs.preview import Preview

SLICE_S = 5.0
WARM_UP_S = 8.0


def watch(http_port: int, clients: int, is_on: Any, seen: Any) -> None:
    """Entry point of the clients: each asks for the next picture while `is_on`; negative ends it. `seen` counts."""
    url = f"http://127.0.0.1:{http_port}/preview.jpg"

    async def client(session: ClientSession) -> None:
        serial = ""
        while is_on.value >= 0:
            if not is_on.value:
                await asyncio.sleep(0.05)
                continue
            with contextlib.suppress(ClientError, OSError):
                async with session.get(url, params={"after": serial}) as answer:
                    seen[1] += len(await answer.read())
                    if answer.status == 200:
                        serial = answer.headers["X-Serial"]
                        seen[0] += 1

    async def all_of_them() -> None:
        async with ClientSession() as session:
            await asyncio.gather(*(client(session) for _ in range(clients)))

    asyncio.run(all_of_them())


class _Timed:
    """The preview, with a list of what each frame spent in it, in milliseconds."""

    def __init__(self, preview: Preview) -> None:
        self._preview = preview
        self.dropped = 0
        self.taken_ms: list[float] = []
        self.others_ms: list[float] = []

    def put(self, frame: Frame) -> bool:
        taken, start_s = self._preview.taken, time.perf_counter()
        result = self._preview.put(frame)
        spent_ms = 1e3 * (time.perf_counter() - start_s)
        (self.taken_ms if self._preview.taken > taken else self.others_ms).append(spent_ms)
        self.dropped = self._preview.dropped
        return result

    def close(self) -> None:
        self._preview.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=None, help="hold this pace; by default the show finds its own")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--on-card", action="store_true", help="the graphics card's way, whoever draws")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    source = SourceSpec(kind="file", path=str(rig.MUSIC), audible=False)
    size_px = rig.parsed_size(options.size)
    how: dict[str, Any] = {"size_px": size_px, "audio": source, "fps": options.fps}
    with rig.show_of("metamorphosis", **how, headless=True, http=True) as show:
        assert show.hands.pictures is not None
        on_card = True if options.on_card else None
        timed = _Timed(Preview(show.hands.pictures, watched_s=show.hands.watched_s, on_card=on_card))
        show.outputs[:] = [timed]  # the show's own has not been given a frame yet
        spawn = multiprocessing.get_context("spawn")
        is_on, seen = spawn.Value("i", 0), spawn.Array("q", 2, lock=False)
        arguments = (show.hands.http_port, options.clients, is_on, seen)
        clients = spawn.Process(target=watch, args=arguments, daemon=True)
        clients.start()
        show.run(seconds=WARM_UP_S)
        timed.taken_ms.clear()
        timed.others_ms.clear()
        intervals: dict[bool, list[float]] = {False: [], True: []}
        spent_s = {False: 0.0, True: 0.0}
        is_watched = False
        for _ in range(max(round(options.seconds / SLICE_S / 2), 1) * 2):
            is_on.value = int(is_watched)
            show.frame_intervals_s = None
            show.run(seconds=0.5)  # the slices do not begin with what is on its way in between
            show.frame_intervals_s, start_s = intervals[is_watched], time.monotonic()
            show.run(seconds=SLICE_S)
            spent_s[is_watched] += time.monotonic() - start_s
            is_watched = not is_watched
        is_on.value = -1
        p99_ms = {key: 1e3 * float(np.percentile(each, 99)) for key, each in intervals.items()}
        fps = {key: len(each) / spent_s[key] for key, each in intervals.items()}
        figures: dict[str, Any] = {
            "frame_ms": report.percentiles((1e3 * each for each in intervals[False]), 50, 95, 99),
            "frame_ms_watched": report.percentiles((1e3 * each for each in intervals[True]), 50, 95, 99),
            "p99_ratio": round(p99_ms[True] / p99_ms[False], 3),
            "fps": round(fps[False], 2),
            "fps_watched": round(fps[True], 2),
            "fps_ratio": round(fps[True] / fps[False], 4),
            "ms of a frame that is taken": report.percentiles(timed.taken_ms, 50, 99),
            "ms of the others": report.percentiles(timed.others_ms, 50, 99),
            "pictures": len(timed.taken_ms),
            "dropped": timed.dropped,
            "answers": seen[0],
            "bytes of a picture": round(seen[1] / max(seen[0], 1)),
            "clients": options.clients,
            "size": options.size,
            "display": show.display.description,
            "target_fps": show.fps,
            "seconds": {"without": round(spent_s[False], 1), "watched": round(spent_s[True], 1)},
            "machine": context,
            "commit": report.commit(),
        }
    report.publish("preview", figures, path=options.json)


if __name__ == "__main__":
    main()
