"""From a click in the air to a changed frame on the display.

    python -m benchmarks.sound_to_light --clicks 200 --json sound_to_light.json

A player in a process of its own hands clicks to PulseAudio's null sink; the show captures its monitor through PortAudio,
hears an onset, moves the latent (or, with `--path shader`, a shader's knob), and the first frame whose pixels changed is
timed when it has been presented. The clock starts when the player hands the click to the sound server, so the server's
own buffer counts too; the sum's parts are named below it.

Thread: main; the player is a process of its own.
"""

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer.audio.source import SourceSpec
from performer.flow import AudioEventKind, Frame
from performer.show import Show
from tests.rig.pulse import PulseServer

RATE_HZ = 44100
LEAST_CHANGE = 1.0  # mean grey levels over the probe; a still picture changes by exactly 0
LATE_S = 0.5  # a click that changed nothing within this was missed

# A creature that holds still: every change on the screen comes from a click.
SETLIST = """
schema = 1
name = "Click test"
species = "embryo"
[audio]
source = "device"
[params]
walk.speed = 0.0
breathe.depth = 0.0
feedback.amount = 0.0
frame.breath = 0.0
grade.grain = 0.0
[[route]]
name = "click"
from = "mix.onset"
to = "{target}"
amount = {amount}
release = 0.06
[[cue]]
id = "1"
fade = 0
"""
PATHS = {"engine": ("latent.truncation", -0.8), "shader": ("grade.exposure", 1.5)}


def player(count: int, seed: int, written: Any, ready: Any) -> None:
    """Play `count` clicks at uneven intervals; note when each was handed to the sound server. A process of its own."""
    import sounddevice

    rng = np.random.default_rng(seed)
    gaps = np.cumsum(rng.uniform(0.62, 0.78, count) * RATE_HZ).astype(int) + RATE_HZ
    since_s = np.arange(220) / RATE_HZ
    click = (10 ** (-12 / 20) * np.exp(-since_s / 0.001) * np.cos(2 * np.pi * 3000 * since_s)).astype(np.float32)
    state = {"at": 0, "next": 0}

    def callback(out: np.ndarray, frames: int, _time: Any, _status: Any) -> None:
        out.fill(0)
        start = state["at"]
        for index in range(max(state["next"] - 1, 0), count):
            offset = gaps[index] - start
            if offset >= frames:
                break
            head, tail = max(offset, 0), min(offset + len(click), frames)
            if tail > head:
                out[head:tail, 0] = click[head - offset : tail - offset]
            if offset >= 0:
                written[index] = time.monotonic()
                state["next"] = index + 1
        state["at"] = start + frames

    with sounddevice.OutputStream(RATE_HZ, 256, channels=1, dtype="float32", latency="low", callback=callback):
        ready.value = 1
        while state["next"] < count:
            time.sleep(0.05)
        time.sleep(1.0)


class Probe:
    """An output that notes when the picture changed."""

    dropped = 0

    def __init__(self, show: Show) -> None:
        self._show = show
        self._screen: Any = None
        self._before: np.ndarray | None = None
        self.changes_s: list[float] = []
        self.rooms: dict[str, list[float]] = {}

    def put(self, frame: Frame) -> bool:
        presented_s = self._show.clock.now_s()
        for room, spent in frame.spent_ms.items():
            self.rooms.setdefault(room, []).append(spent)
        if self._screen is None:
            self._screen = self._show.display.ctx.framebuffer([frame.texture])
        width, height = frame.size_px
        data = self._screen.read(viewport=(round(width * 0.42), 0, 16, height), components=4)  # through the creature
        pixels = np.frombuffer(data, np.uint8).astype(np.int16)
        if self._before is not None and np.abs(pixels - self._before).mean() >= LEAST_CHANGE:
            self.changes_s.append(presented_s)
        self._before = pixels
        return True

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--path", choices=PATHS, default="engine", help="what the click moves")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=None)
    parser.add_argument("--headless", action="store_true", help="EGL instead of a window under Xvfb")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    target, amount = PATHS[options.path]

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "click.toml").write_text(SETLIST.format(target=target, amount=amount))
        stack.enter_context(PulseServer(rate_hz=RATE_HZ))
        show = stack.enter_context(
            rig.show_of(
                str(folder / "click.toml"),
                size_px=rig.parsed_size(options.size),
                audio=SourceSpec(kind="device"),
                headless=options.headless,
                fps=options.fps,
                osc=False,
            )
        )
        onsets: list[tuple[float, float]] = []  # (of the sound, when the show had it)
        drain = show.ears.drain

        def noting_drain() -> list[Any]:
            events = drain()
            now_s = show.clock.now_s()
            onsets.extend((e.at_s, now_s) for e in events if e.kind == AudioEventKind.ONSET)
            return events

        show.ears.drain = noting_drain  # type: ignore[method-assign]
        probe = Probe(show)
        show.run(seconds=4.0)
        onsets.clear()
        show.outputs.append(probe)

        spawn = multiprocessing.get_context("spawn")
        written, ready = spawn.Array("d", options.clicks, lock=False), spawn.Value("i", 0)
        clicking = spawn.Process(target=player, args=(options.clicks, options.seed, written, ready), daemon=True)
        clicking.start()
        threading.Thread(target=_end_after, args=(show, clicking), daemon=True).start()
        show.run()
        clicks_s = np.array(written[:]) - show.clock.epoch_s  # type: ignore[attr-defined]

    figures = _figures(clicks_s, np.array(probe.changes_s), onsets)
    figures["parts_ms"]["engine"] = report.percentiles(probe.rooms["engine"], 50, 95)
    figures["parts_ms"]["drawing"] = report.percentiles(probe.rooms["stage"], 50, 95)
    figures |= {
        "path": options.path,
        "target_fps": show.fps,
        "size": options.size,
        "display": "headless" if options.headless else "window",
        "machine": context,
        "commit": report.commit(),
    }
    report.publish("sound to light", figures, path=options.json)


def _end_after(show: Show, player: Any) -> None:
    """End the show when the player has. A thread of its own."""
    player.join()
    show.is_ending = True


def _figures(clicks_s: np.ndarray, changes_s: np.ndarray, onsets: list[tuple[float, float]]) -> dict[str, Any]:
    """Match clicks with changed frames and onsets."""
    heard_s = np.array([at_s for at_s, _ in onsets])
    latencies, arriving, hearing, showing, missed, doubled = [], [], [], [], 0, 0
    for click_s in clicks_s:
        after = changes_s[(changes_s > click_s) & (changes_s < click_s + LATE_S)]
        if after.size:
            latencies.append((after[0] - click_s) * 1e3)
        else:
            missed += 1
        near = np.flatnonzero((heard_s > click_s - 0.1) & (heard_s < click_s + LATE_S))
        doubled += max(len(near) - 1, 0)
        if near.size:
            at_s, drained_s = onsets[near[0]]
            arriving.append((at_s - click_s) * 1e3)
            hearing.append((drained_s - at_s) * 1e3)
            if after.size:
                showing.append((after[0] - drained_s) * 1e3)
    return {
        "latency_ms": report.percentiles(latencies, 50, 95, 99),
        "missed": missed,
        "doubled": doubled,
        "clicks": len(clicks_s),
        "onsets": len(onsets),
        "parts_ms": {  # they follow each other, and add up to the whole click by click
            "handed over to converter (the sound server)": report.percentiles(arriving, 50, 95),
            "converter to frame (block, analysis, waiting for the frame)": report.percentiles(hearing, 50, 95),
            "frame to display (engine, drawing)": report.percentiles(showing, 50, 95),
        },
    }


if __name__ == "__main__":
    main()
