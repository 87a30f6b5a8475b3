"""How long an image takes: every family at stage sizes, in every engine that can run here, with the same random weights.

    python -m benchmarks.generators --json generators.json

Thread: main.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report
from performer import resources
from performer.clock import SystemClock
from performer.engines.engine import engines
from performer.flow import LatentFrame
from performer.generators import checkpoint as species
from performer.generators import family, light, stylegan3
from performer.generators.checkpoint import Checkpoint, Provenance, Sizes

W_DIM = 512
MOST_CHANNELS = 512
MAPPING_LAYERS = 2  # what comes after the mapping does not know how deep it was
WARM_UP = 2


def stylegan2_of(resolution: int) -> Checkpoint:
    """StyleGAN2 as published (config F; a channel base of 16384 at 256 px, as its trainers choose), random weights."""
    rng = np.random.default_rng(resolution)
    base = 16384 if resolution <= 256 else 32768
    tensors: dict[str, np.ndarray] = {}
    before = channels = min(base // 4, MOST_CHANNELS)
    tensors["synthesis.b4.const"] = _normal(rng, channels, 4, 4)
    for block in (4 << level for level in range(int(math.log2(resolution)) - 1)):
        channels = min(base // block, MOST_CHANNELS)
        for name, inputs in (("conv0", before), ("conv1", channels)) if block > 4 else (("conv1", channels),):
            tensors |= _convolution(rng, f"synthesis.b{block}.{name}", inputs, channels, side_px=block)
        prefix = f"synthesis.b{block}.torgb"
        tensors[f"{prefix}.weight"] = _normal(rng, 3, channels, 1, 1)
        tensors[f"{prefix}.bias"] = np.zeros(3, np.float32)
        tensors |= _affine(rng, prefix, channels)
        before = channels
    return _species(f"stylegan2 {resolution}", "stylegan2", tensors)


def light_of(resolution: int) -> Checkpoint:
    """The light variant at another size than the bundled one, random weights; each doubling has half the channels."""
    rng = np.random.default_rng(resolution)
    tensors: dict[str, np.ndarray] = {}
    before = light.CHANNELS[4]
    tensors["synthesis.b4.const"] = _normal(rng, before, 4, 4)
    for block in (4 << level for level in range(int(math.log2(resolution)) - 2)):
        channels = light.CHANNELS.get(block, before // 2)
        for name, inputs in (("conv0", before), ("conv1", channels)) if block > 4 else (("conv1", channels),):
            tensors |= _convolution(rng, f"synthesis.b{block}.{name}", inputs, channels, side_px=block)
        before = channels
    tensors["synthesis.head.weight"] = _normal(rng, 3 * light.SHUFFLE**2, before, 3, 3)
    tensors["synthesis.head.bias"] = np.zeros(3 * light.SHUFFLE**2, np.float32)
    tensors |= _affine(rng, "synthesis.head", before)
    return _species(
        f"light {resolution}", light.NAME, tensors, light.sizes(resolution=resolution, z_dim=W_DIM, w_dim=W_DIM)
    )


def stylegan3_of(resolution: int, *, radial: bool = False) -> Checkpoint:
    """StyleGAN3-T as published, random weights; low-passes of the right lengths that merely average."""
    rng = np.random.default_rng(resolution)
    names = [f"L{i}_0_0" for i in range(stylegan3.NUM_LAYERS + 1)]
    _, plans = stylegan3.design(resolution, radial=radial, names=names)
    count = len(names) - 1
    cutoffs = [2.0 * (resolution / 4) ** min(i / (count - stylegan3.NUM_CRITICAL), 1.0) for i in range(count + 1)]
    widths = [round(min(16384 / cutoff, MOST_CHANNELS)) for cutoff in cutoffs[:-1]] + [3]
    tensors = {
        "synthesis.input.weight": _normal(rng, widths[0], widths[0]),
        "synthesis.input.freqs": _normal(rng, widths[0], 2),
        "synthesis.input.phases": _normal(rng, widths[0]),
        "synthesis.input.affine.weight": np.zeros((4, W_DIM), np.float32),
        "synthesis.input.affine.bias": np.array([1, 0, 0, 0], np.float32),
    }
    inputs = widths[0]
    for index, (plan, outputs) in enumerate(zip(plans, widths, strict=True)):
        size = resolution if index >= count - 1 else 0
        prefix = f"synthesis.L{index}_{size or 1}_{outputs}"
        kernel = 1 if plan.is_torgb else 3
        tensors[f"{prefix}.weight"] = _normal(rng, outputs, inputs, kernel, kernel)
        tensors[f"{prefix}.bias"] = np.zeros(outputs, np.float32)
        tensors[f"{prefix}.magnitude_ema"] = np.array(1.0, np.float32)
        tensors |= _affine(rng, prefix, inputs)
        for name, factor in (("up_filter", plan.up_factor), ("down_filter", plan.down_factor)):
            if not plan.is_torgb:
                taps = stylegan3.TAPS_A_FACTOR * factor
                tensors[f"{prefix}.{name}"] = np.full(taps, 1 / taps, np.float32)
        inputs = outputs
    return _species(f"stylegan3-t {resolution}", "stylegan3", tensors)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _convolution(
    rng: np.random.Generator, prefix: str, inputs: int, outputs: int, *, side_px: int
) -> dict[str, np.ndarray]:
    return {
        f"{prefix}.weight": _normal(rng, outputs, inputs, 3, 3),
        f"{prefix}.bias": np.zeros(outputs, np.float32),
        f"{prefix}.noise_strength": np.array(0.1, np.float32),
        f"{prefix}.noise_const": _normal(rng, side_px, side_px),
        **_affine(rng, prefix, inputs),
    }


def _affine(rng: np.random.Generator, prefix: str, channels: int) -> dict[str, np.ndarray]:
    return {
        f"{prefix}.affine.weight": _normal(rng, channels, W_DIM),
        f"{prefix}.affine.bias": np.ones(channels, np.float32),
    }


def _species(name: str, kind: str, tensors: dict[str, np.ndarray], sizes: Sizes | None = None) -> Checkpoint:
    """`sizes` where the family cannot tell them from the tensors."""
    rng = np.random.default_rng(0)
    for layer in range(MAPPING_LAYERS):
        tensors[f"mapping.fc{layer}.weight"] = _normal(rng, W_DIM, W_DIM) * 100
        tensors[f"mapping.fc{layer}.bias"] = np.zeros(W_DIM, np.float32)
    tensors["mapping.w_avg"] = np.zeros(W_DIM, np.float32)
    return Checkpoint(
        family=kind,
        sizes=sizes or family.sizes_of(kind, tensors, {}),
        provenance=Provenance(name=name, origin="random", licence="CC0-1.0", trained=False),
        tensors=tensors,
        content_hash=name,
    )


def sibling_of(checkpoint: Checkpoint) -> Checkpoint:
    """Every weight a little elsewhere."""
    rng = np.random.default_rng(1)
    tensors = {
        key: np.asarray(tensor * (1 + 0.1 * rng.standard_normal(tensor.shape)), np.float32)
        for key, tensor in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors, content_hash=f"{checkpoint.content_hash}, a sibling")


MAKERS: dict[str, Callable[[], Checkpoint]] = {
    "light 256": lambda: species.load(resources.CHECKPOINTS / "embryo.safetensors"),
    "stylegan2 256": lambda: stylegan2_of(256),
    "stylegan2 512": lambda: stylegan2_of(512),
    "stylegan2 1024": lambda: stylegan2_of(1024),
    "stylegan3-t 256": lambda: stylegan3_of(256),
}  # what is measured, by name


def measured(checkpoint: Checkpoint, engine_name: str, *, images: int) -> dict[str, Any]:
    """Milliseconds an image."""
    engine = engines()[engine_name](SystemClock())
    began_s = time.monotonic()
    engine.activate(checkpoint, progress=lambda text: None)
    ready_s = time.monotonic() - began_s
    rng = np.random.default_rng(0)
    sizes, spent_ms = checkpoint.sizes, []
    for _ in range(images + WARM_UP):
        done = engine.images
        ws = rng.standard_normal((sizes.num_ws, sizes.w_dim), np.float32)
        engine.submit(LatentFrame(ws, np.tile(np.eye(1, 3, dtype=np.float32), (sizes.noise_layers, 1))))
        while engine.images == done and engine.failure is None:
            time.sleep(0.0005)
        if engine.failure is not None:
            return {"failed": repr(engine.failure)}
        spent_ms.append(engine.infer_ms)
    engine.close()
    return report.percentiles(spent_ms[WARM_UP:], 50) | {"ready_s": round(ready_s, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    context = report.machine()
    for name, make in MAKERS.items():
        checkpoint = make()
        for engine in (name for name, kind in engines().items() if kind.probe().available):
            figures[f"{name}, {engine}, ms"] = measured(checkpoint, engine, images=options.images)
            print(f"{name}, {engine}: {figures[f'{name}, {engine}, ms']}", file=sys.stderr)
    figures |= {"machine": context, "commit": report.commit()}
    report.publish("generators", figures, path=options.json)


if __name__ == "__main__":
    main()
