"""How much nearer the pairs of bridges are than random pairs, to the descriptor that found them and to the others.

    python -m benchmarks.bridges larva:imago larva:pupa embryo:larva --json bridges.json

Makes each bridge with each descriptor and measures it with each. `found` and `refined` are the mean distances of the pairs
before and after refinement, as parts of that of random pairs; `seconds` is how long making took.

Thread: main.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from performer import bridges, resources
from performer.bridging import pairing
from performer.bridging.descriptors import NAMES, Descriptor, Metric, descriptor
from performer.bridging.drawing import Drawing
from performer.bridging.making import BridgeOptions, make
from performer.flow import F32
from performer.generators import checkpoint as species

RANDOM = 400  # pictures of each species that say how far random pairs are apart


@torch.inference_mode()
def described(drawing: Drawing, w: F32, see: Descriptor) -> list[F32]:  # [N, numbers] each
    batches = [
        see(drawing.pictures(torch.from_numpy(w[first : first + drawing.batch].copy())))
        for first in range(0, len(w), drawing.batch)
    ]
    return [torch.cat(block).numpy() for block in zip(*batches, strict=True)]


def measured(bridge: bridges.Bridge, drawings: list[Drawing], name: str) -> dict[str, float]:
    """The pairs of a bridge to the eye of one descriptor."""
    see, weights, _ = descriptor(name)
    sides = list(zip(drawings, bridge.sides, strict=True))
    drawn = [
        described(drawing, drawing.latents(range(RANDOM), seed=1, side=side, truncation=bridge.truncation).w, see)
        for side, drawing in enumerate(drawings)
    ]
    metric = Metric.of(drawn[0], drawn[1], weights)
    random = float(pairing.distances(metric.place(drawn[0]), metric.place(drawn[1])).mean())
    figures = {}
    for what in ("found", "refined"):
        places = []
        for drawing, side in sides:
            mean = drawing.mapping.w_avg
            began = mean + side.psi[:, None] * (drawing.mapping.w_from_z(side.z) - mean)
            places.append(metric.place(described(drawing, began if what == "found" else side.w, see)))
        figures[what] = round(float(np.linalg.norm(places[0] - places[1], axis=1).mean()) / random, 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="A:B", help="names of bundled species")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--descriptors", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--keep", type=Path, help="a folder for the bridges and their sheets")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, Any] = {"machine": report.machine(), "samples": given.samples}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        for pair in given.pairs:
            names = pair.split(":")
            drawings = [Drawing(species.load(resources.CHECKPOINTS / f"{name}.safetensors")) for name in names]
            for name in given.descriptors:
                out = folder / f"{'--'.join(names)}-{name}{bridges.SUFFIX}"
                begun_s = time.perf_counter()
                options = BridgeOptions(
                    first=names[0], second=names[1], out=out, samples=given.samples, descriptor=name, device="cpu"
                )
                make(options, announce=lambda text: print(text, file=sys.stderr))
                seconds = time.perf_counter() - begun_s
                bridge = bridges.load(out)
                figures[f"{pair} by {name}"] = {
                    "seconds": round(seconds),
                    **{f"to {eye}": measured(bridge, drawings, eye) for eye in NAMES[:2]},
                }
    report.publish("bridges", figures, path=given.json)


if __name__ == "__main__":
    main()
