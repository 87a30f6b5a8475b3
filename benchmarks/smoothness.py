"""Whether a morph leaps: the largest step between successive pictures of a transition, beside the median step of a walk.

    python -m benchmarks.smoothness --json smoothness.json --strip strips

Each kind of transition is played between larva and imago, faster than real time, and every frame of it is drawn as the stage
shows it. A step is the root mean square of the difference of two successive frames. With `--strip` each becomes a picture
of sixteen moments, to be judged by eye.

Thread: main.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from performer import rehearsal, setlist
from performer.cast import Cast
from performer.clock import SystemClock
from performer.engines.host import AUTO
from performer.notices import Notices
from performer.stage.compositor import Stage
from performer.stage.outputs.headless import Headless

HEAD = """
schema = 1
name = "Smooth"
species = "larva"
seed = 11
{partner}
[audio]
source = "silence"
[params]
latent.truncation = 0.85
frame.zoom = 1.12
feedback.amount = 0.3
grade.grain = 0.0
"""
CUE = """
[[cue]]
id = "{id}"
fade = {fade}
duration = {lasts}
next = "follow"
{more}
"""
ALONE = 'species = "{name}"'
BRED = "[cue.params]\nblend.coarse = {blend}\nblend.middle = {blend}\nblend.fine = {blend}"
WALK_S, TILE_PX, MOMENTS = 20.0, (320, 180), 16
SIZE_PX = (640, 360)
KINDS = ("bridge", "crossfade", "latent", "form first", "texture first", "dip", "shader moult", "shader ink")
BY_BLEND = ("latent", "form first", "texture first")


def text_of(kind: str, *, fade_s: float) -> str:
    """A setlist: a walk of the larva, and the way to the imago."""
    transition = f'transition = "{kind}"\n'
    is_bred = kind in BY_BLEND
    to = transition + (BRED.format(blend=1.0) if is_bred else ALONE.format(name="imago"))
    walk = CUE.format(id="walk", fade=0, lasts=WALK_S, more="")
    way = CUE.format(id="way", fade=fade_s, lasts=fade_s + WALK_S, more=to)
    return HEAD.format(partner='partner = "imago"' if is_bred else "") + walk + way + '[[cue]]\nid = "end"\n'


def frames_of(path: Path, *, fps: float) -> Iterator[tuple[str, np.ndarray]]:
    """(the cue, or `fade`; the frame as displayed [H, W, 3]) of every moment."""
    show, clock = setlist.load(path), SystemClock()
    recording = rehearsal.Recording(show, None, loops=False)
    cast = Cast(show, clock=clock, notices=Notices(), choice=AUTO, budget_bytes=rehearsal.WHOLE)
    display = Headless(size_px=SIZE_PX)
    try:
        cast.make(fps=fps, progress=lambda text: None)
        stage = Stage(display, table=show.table, effects=show.shaders, mixes=show.mixes)
        for moment in rehearsal.played(show, recording, fps=fps, hold_s=0.0, most_s=600.0):
            rehearsal.drawn(moment, cast=cast, stage=stage, clock=clock)
            cue = show.cues[moment.memory.current.index].id
            if cue == "end":
                break
            is_fading = moment.memory.previous is not None and cue == "way"
            yield "fade" if is_fading else cue, stage.read_pixels()[..., :3].astype(np.float32)
        stage.close()
    finally:
        cast.close()
        display.close()


def measured(kind: str, *, fade_s: float, fps: float, strip: Path | None) -> dict[str, float]:
    """Steps of the walks before and after, and of the way."""
    steps: dict[str, list[float]] = {"walk": [], "way": [], "fade": []}
    before, shown = None, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smooth.toml"
        path.write_text(text_of(kind, fade_s=fade_s))
        for number, (cue, frame) in enumerate(frames_of(path, fps=fps)):
            if before is not None and number > fps:  # what trails remember has come by then
                steps[cue].append(float(np.sqrt(np.mean((frame - before) ** 2))))
            before = frame
            if cue == "fade":
                shown.append(frame)
    if strip is not None:
        save_strip(strip, shown)
    walk = float(np.median(steps["walk"] + steps["way"]))
    return {
        "walk, median": round(walk, 3),
        "walk, p95": round(float(np.percentile(steps["walk"] + steps["way"], 95)), 3),
        "fade, median": round(float(np.median(steps["fade"])), 3),
        "fade, largest": round(max(steps["fade"]), 3),
        "ratio": round(max(steps["fade"]) / walk, 2),
    }


def save_strip(path: Path, frames: list[np.ndarray]) -> None:
    """Moments of a transition, in rows of eight."""
    at = np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)
    tiles = [np.asarray(Image.fromarray(frames[index].astype(np.uint8)).resize(TILE_PX)) for index in at]
    half = MOMENTS // 2
    Image.fromarray(np.vstack([np.hstack(tiles[:half]), np.hstack(tiles[half:])])).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fade", type=float, default=16.0, help="seconds")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--strip", type=Path, default=None, help="a folder for a picture of each")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.strip is not None:
        options.strip.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds:
        strip = options.strip / f"{kind.replace(' ', '-')}.png" if options.strip is not None else None
        figures[kind] = measured(kind, fade_s=options.fade, fps=options.fps, strip=strip)
    report.publish("smoothness", figures | {"commit": report.commit()}, path=options.json)


if __name__ == "__main__":
    main()
