"""What bends and blends cost: the same species without bends, with bends that leave it alone, and blended with a sibling.

    python -m benchmarks.forms --json forms.json

The forms take turns, image by image, so that whatever else the machine does falls on all alike.

Thread: main.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from benchmarks.generators import MAKERS, sibling_of
from performer.engines.openvino import HINTS, graph_of
from performer.generators import network
from performer.generators.checkpoint import Checkpoint
from performer.generators.network import PictureNetwork

BLEND = 0.3


def without_bends(checkpoint: Checkpoint) -> PictureNetwork:
    """The network as if bends did not exist."""
    built = network.build(checkpoint)
    built.generator.bends = nn.ModuleDict()
    return PictureNetwork(built.generator, sizes=checkpoint.sizes).eval()


def inputs_of(picture: PictureNetwork) -> list[torch.Tensor]:
    """Latents that leave the features straight and, of a pair, draw what lies between."""
    given = dict(zip(picture.inputs, picture.examples(), strict=True))
    given["ws"] = torch.randn(given["ws"].shape, generator=torch.Generator().manual_seed(0))
    if "blend" in given:
        given["blend"].fill_(BLEND)
    return list(given.values())


def eager(picture: PictureNetwork) -> Callable[[], None]:
    """One image in PyTorch, without bends where they are at rest, as the engine does."""
    inputs = [
        None if name == "bends" else tensor for name, tensor in zip(picture.inputs, inputs_of(picture), strict=True)
    ]

    def run() -> None:
        with torch.inference_mode():
            picture(*inputs)

    return run


def in_openvino(picture: PictureNetwork) -> Callable[[], None]:
    """One image in OpenVINO."""
    request = openvino.Core().compile_model(graph_of(picture), "CPU", HINTS).create_infer_request()
    inputs = [tensor.numpy() for tensor in inputs_of(picture)]

    def run() -> None:
        request.infer(inputs)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12, help="of each form; a fifth of that for slow ones")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for name, make in MAKERS.items():
        checkpoint = make()
        for engine, prepared in (("openvino", in_openvino), ("eager", eager)):
            runs = {
                "without bends": prepared(without_bends(checkpoint)),
                "bends at rest": prepared(network.build(checkpoint)),
                "blend in flight": prepared(network.build(checkpoint, [sibling_of(checkpoint)])),
            }
            spent_ms: dict[str, list[float]] = {form: [] for form in runs}
            first_s = time.perf_counter()
            for run in runs.values():
                run()
            slow = time.perf_counter() - first_s > 2.0
            for _ in range(options.images // 5 if slow else options.images * 5):
                for form, run in runs.items():
                    began_s = time.perf_counter()
                    run()
                    spent_ms[form].append(1e3 * (time.perf_counter() - began_s))
            plain, straight, blended = (statistics.median(spent_ms[form]) for form in runs)
            figures[f"{name}, {engine}"] = {
                "ms": round(straight, 2),
                "bends at rest, ratio": round(straight / plain, 3),
                "blend in flight, ratio": round(blended / straight, 3),
            }
            print(f"{name}, {engine}: {figures[f'{name}, {engine}']}", file=sys.stderr)
    figures |= {"machine": report.machine(), "commit": report.commit()}
    report.publish("forms", figures, path=options.json)


if __name__ == "__main__":
    main()
