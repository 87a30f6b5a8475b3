"""What an NVIDIA card makes of a species: every engine at stage sizes, single and blended, and the way to the display.

    python -m benchmarks.gpu --json gpu.json

Times are those of the engines' own contract: a latent goes in, and the picture lies finished on the card, or in memory
where the display's OpenGL cannot take it from there. Each figure comes from a process of its own, so that an engine that
brings the card down spoils no other's. All of it takes an hour; `--species`, `--forms` and `--engines` name slices, and one
JSON file gathers them. Beside them stands the arithmetic floor: the multiplications and additions of the
network, by the rate that the card reaches in half precision on a large product of matrices in the same run.

`--show` also plays whole shows headless at 1920x1080 and 60 frames a second, by `benchmarks.frame_budget`.

Thread: main.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from benchmarks.generators import MAKERS as ALL_MAKERS
from benchmarks.generators import light_of, sibling_of
from performer import cuda
from performer.clock import SystemClock
from performer.engines import trial
from performer.engines.cuda_graph import CudaGraphEngine
from performer.engines.eager import EagerEngine
from performer.engines.engine import Engine, Progress, forms_of
from performer.engines.tensorrt import TensorRtEngine
from performer.flow import LatentFrame
from performer.generators import checkpoint as species
from performer.generators.checkpoint import Checkpoint
from performer.refusal import Refused

MAKERS: dict[str, Callable[[], Checkpoint]] = ALL_MAKERS | {"light 512": lambda: light_of(512)}
FORMS = ("single", "blended")
COMPARED = 24  # latents whose pictures are held against the oracle's
BLEND = 0.3
MATRIX = 8192  # rows and columns of the product that tells the card's rate
ONE_LIMIT_S = 540.0  # of a figure's own process; three forms of a pair may be fused in it
UPLOAD_PX = (256, 512, 1024)
SHOWS = ("light 256", "stylegan2 512", "stylegan2 1024")


class EagerHalf(EagerEngine):
    """PyTorch in half precision, step by step: what most programs of this kind run."""

    name = "eager fp16"
    half = True

    def activate(self, checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = ()) -> None:
        super().activate(checkpoint, progress=progress, siblings=siblings)
        from performer.generators import network

        forms = forms_of(checkpoint, siblings)
        self._networks = [network.build(*form, half=True).to(self._device) for form in forms]


ENGINES: dict[str, type[Engine]] = {
    "eager fp32": EagerEngine,
    "eager fp16": EagerHalf,
    "cuda_graph": CudaGraphEngine,
    "tensorrt": TensorRtEngine,
}


def latents_of(checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, count: int) -> Iterator[LatentFrame]:
    """The latents of the trial; of a pair, all in flight between the two."""
    for latent in trial.latents(checkpoint, siblings, count=count):
        yield replace(latent, blend=np.full(len(latent.ws), BLEND, np.float32)) if siblings else latent


def engine_figures(name: str, form: str, engine_name: str, *, pictures: int, on_card: bool) -> dict[str, Any]:
    """Milliseconds and likeness of one engine on one species."""
    checkpoint = MAKERS[name]()
    siblings = [sibling_of(checkpoint)] if form == "blended" else []
    clock, said = SystemClock(), []
    engine = ENGINES[engine_name](clock)
    engine.stays_on_card = on_card
    began_s = clock.now_s()
    engine.activate(checkpoint, siblings=siblings, progress=said.append)
    ready_s = clock.now_s() - began_s
    oracle = EagerEngine(clock)
    oracle.activate(checkpoint, siblings=siblings, progress=said.append)
    latents = list(latents_of(checkpoint, siblings, count=COMPARED))
    likeness_db = min(
        trial.psnr_of(trial.drawn(engine, latent, clock=clock), trial.drawn(oracle, latent, clock=clock))
        for latent in latents
    )
    oracle.close()
    spent_ms = []
    for number in range(pictures):
        trial.await_picture(engine, latents[number % COMPARED], clock=clock)
        spent_ms.append(engine.infer_ms)
    engine.close()
    figures = report.percentiles(spent_ms, 50, 99)
    return figures | {
        "fps": round(1e3 / figures["p50"], 1),
        "psnr_db": round(likeness_db, 1),
        "ready_s": round(ready_s, 1),
        "said": [text for text in said if "captured" in text or "fused" in text],
    }


def flops_of(checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, device: str) -> float:
    """Additions and multiplications of one picture, by PyTorch's own counter: convolutions and products of matrices."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from performer.generators import network

    built = network.build(checkpoint, siblings).to(device)
    given = [
        None if name == "bends" else example.to(device)
        for name, example in zip(built.inputs, built.examples(), strict=True)
    ]
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        built(*given)
    return float(counter.get_total_flops())


def matrix_rate() -> float:
    """Operations a second of a large product of matrices in half precision: the best of several."""
    import torch

    first, second = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.float16) for _ in range(2))
    best_s = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        torch.matmul(first, second)
        torch.cuda.synchronize()
        best_s = min(best_s, time.perf_counter() - began_s)
    return 2.0 * MATRIX**3 / best_s


def upload_figures(side_px: int, *, times: int) -> dict[str, Any]:
    """Milliseconds from a picture on the card to a texture that may be drawn, on the card and through the host."""
    from performer.stage.outputs.headless import Headless
    from performer.stage.upload import Upload, fault_of_sharing

    display = Headless(size_px=(64, 64))
    figures: dict[str, Any] = {"display": display.description}
    if fault := fault_of_sharing(display.ctx):
        figures["on the card"] = f"not to be had: {fault}"
    memory = cuda.Memory()
    pixels = memory.pixels(side_px, side_px)
    staged = memory.pinned(side_px, side_px, 4)
    upload = Upload(display.ctx, (side_px, side_px))

    def through_host() -> None:
        memory.fetch(pixels.address, staged)
        memory.wait()
        upload.put(staged)

    ways: dict[str, Callable[[], None]] = {"through the host": through_host}
    if not fault:
        ways["on the card"] = lambda: upload.put(pixels)
    for way, put in ways.items():
        spent_ms = []
        for _ in range(times):
            display.ctx.finish()
            began_s = time.perf_counter()
            put()
            display.ctx.finish()
            spent_ms.append(1e3 * (time.perf_counter() - began_s))
        figures[way] = report.percentiles(spent_ms[times // 10 :], 50, 99)
    upload.release()
    memory.close()
    display.close()
    return figures


def show_figures(name: str, *, folder: Path, seconds: float) -> dict[str, Any]:
    """A whole show with a species, headless at 1920x1080 and 60 frames a second."""
    path, told = folder / "species.safetensors", folder / "show.json"
    species.write(path, MAKERS[name]())
    command = [sys.executable, "-m", "benchmarks.frame_budget", "--headless", "--file", "--fps", "60"]
    command += ["--size", "1920x1080", "--seconds", str(seconds), "--species", str(path), "--json", str(told)]
    run = subprocess.run(command, cwd=report.ROOT, capture_output=True, text=True, timeout=ONE_LIMIT_S, check=False)
    if run.returncode:
        return {"failed": run.stderr[-600:]}
    figures = json.loads(told.read_text())
    return {key: figures[key] for key in ("generated_fps", "displayed_fps", "frame_ms", "missed", "engine", "display")}


def apart(*arguments: str) -> dict[str, Any]:
    """The figures of a process of its own, which are the last line of its output that reads as such."""
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    try:
        run = subprocess.run(command, cwd=report.ROOT, capture_output=True, text=True, timeout=ONE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer after {ONE_LIMIT_S:g} s"}
    for line in reversed(run.stdout.splitlines()):
        with contextlib.suppress(ValueError):
            if isinstance(told := json.loads(line), dict):
                return told | ({"ended with": run.returncode} if run.returncode else {})
    return {"failed": " ".join(run.stderr.split())[-600:]}


class Figures:
    """All figures so far, by what they are of. Each is written as it comes: a run that is cut off loses none."""

    def __init__(self, path: Path | None) -> None:
        self.all: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}
        self._path = path

    def add(self, of: str, found: Any) -> None:
        """Keep one, and say it."""
        self.all[of] = found
        print(f"{of}: {found}", file=sys.stderr, flush=True)
        if self._path is not None:
            self._path.write_text(json.dumps(self.all, indent=2) + "\n")


def measure(options: argparse.Namespace, figures: Figures) -> None:
    """Find out everything that was asked for."""
    figures.add("card", str(cuda.card()))
    figures.add("libraries", apart("--versions"))
    rate = apart("--rate").get("operations_per_s", float("nan"))
    figures.add("half precision, TFLOP/s", round(rate / 1e12, 1))
    lacking = {name: state.reason for name in options.engines if not (state := ENGINES[name].probe()).available}
    for name in options.species:
        for form in options.forms:
            flops = apart("--flops", name, form).get("flops", float("nan"))
            floor_ms = 1e3 * flops / rate
            figures.add(f"{name}, {form}, floor", {"GFLOP": round(flops / 1e9, 1), "ms": round(floor_ms, 3)})
            for engine in options.engines:
                if engine in lacking:
                    figures.add(f"{name}, {form}, {engine}", {"not to be had": lacking[engine]})
                    continue
                found = apart("--one", name, form, engine, "--pictures", str(options.pictures), *options.where)
                if "p50" in found:
                    found["times the floor"] = round(found["p50"] / floor_ms, 1)
                figures.add(f"{name}, {form}, {engine}", found)
    for side_px in UPLOAD_PX:
        figures.add(f"upload {side_px} px, ms", apart("--upload", str(side_px)))
    if options.show:
        with tempfile.TemporaryDirectory() as folder:
            for name in SHOWS:
                figures.add(f"show with {name}", show_figures(name, folder=Path(folder), seconds=options.seconds))


def versions() -> dict[str, str]:
    """Of the libraries that draw."""
    found = {}
    for engine in (CudaGraphEngine, TensorRtEngine):
        state = engine.probe()
        try:
            found[engine.name] = engine.fingerprint() if state.available else state.reason
        except (Refused, cuda.CudaError) as error:
            found[engine.name] = str(error)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--species", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--pictures", type=int, default=200, help="timed, of each engine, species and form")
    parser.add_argument("--show", action="store_true", help="play whole shows too")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each show")
    parser.add_argument("--through-host", dest="where", action="store_const", const=["--through-host"], default=[])
    parser.add_argument("--json", type=Path, default=None, help="figures of other slices that are there stay")
    # What a process of its own does.
    for name in ("--versions", "--rate"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    for name, count in (("--flops", 2), ("--one", 3), ("--upload", 1)):
        parser.add_argument(name, nargs=count, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if reason := cuda.lacking():
        parser.exit(2, f"no NVIDIA card to measure: {reason}\n")
    if options.versions:
        told: Any = versions()
    elif options.rate:
        told = {"operations_per_s": matrix_rate()}
    elif options.flops:
        checkpoint = MAKERS[options.flops[0]]()
        siblings = [sibling_of(checkpoint)] if options.flops[1] == "blended" else []
        told = {"flops": flops_of(checkpoint, siblings, device="cuda")}
    elif options.one:
        told = engine_figures(*options.one, pictures=options.pictures, on_card=not options.where)
    elif options.upload:
        told = upload_figures(int(options.upload[0]), times=options.pictures)
    else:
        figures = Figures(options.json)
        figures.add("machine", report.machine())
        figures.add("commit", report.commit())
        measure(options, figures)
        report.publish("graphics card", figures.all, path=options.json)
        return
    print(json.dumps(told))


if __name__ == "__main__":
    main()
