"""DINOv2 beside what another implementation of it says of the same weights, and files that are something else."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from performer.bridging import descriptors, dinov2
from performer.bridging.descriptors import Metric
from performer.refusal import Refused
from tests.bridging.test_descriptors import BLUE, oval

WIDTH, DEPTH, PATCH, SIDE = 128, 4, 14, 5
EVERY = 8  # channels that the reference keeps
KINDS = ("plain", "registers", "swiglu")
SIZES = {"own": (70, 70), "other": (42, 84)}
REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "dinov2_tiny.npz"


def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a small one, named as the published ones are."""
    found: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + SIDE * SIDE, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "layernorm.weight": (WIDTH,),
        "layernorm.bias": (WIDTH,),
    }
    if kind == "registers":
        found["embeddings.register_tokens"] = (1, 4, WIDTH)
    linear = {f"attention.attention.{which}": (WIDTH, WIDTH) for which in ("query", "key", "value")}
    linear["attention.output.dense"] = (WIDTH, WIDTH)
    if kind == "swiglu":
        linear |= {"mlp.weights_in": (688, WIDTH), "mlp.weights_out": (WIDTH, 344)}
    else:
        linear |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
    for layer in range(DEPTH):
        name = f"encoder.layer.{layer}"
        for each in ("norm1", "norm2"):
            found |= {f"{name}.{each}.weight": (WIDTH,), f"{name}.{each}.bias": (WIDTH,)}
        found |= {f"{name}.layer_scale1.lambda1": (WIDTH,), f"{name}.layer_scale2.lambda1": (WIDTH,)}
        for each, shape in linear.items():
            found |= {f"{name}.{each}.weight": shape, f"{name}.{each}.bias": shape[:1]}
    return found


def waves(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers that are the same everywhere: a wave of its own for each tensor."""
    count, phase = int(np.prod(shape)), zlib.crc32(name.encode()) % 1000 / 100
    values = np.sin(np.arange(count) * (0.7 + phase / 17) + phase) * (0.15 if len(shape) > 1 else 0.5)
    return torch.from_numpy((values + ("norm" in name and name.endswith("weight"))).astype(np.float32)).reshape(shape)


def tensors(kind: str) -> dict[str, torch.Tensor]:
    return {name: waves(name, shape) for name, shape in shapes(kind).items()}


def picture(size: tuple[int, int]) -> torch.Tensor:  # [1, 3, H, W], -1..1
    return waves("picture", (1, 3, *size)) / 0.15


def written(path: Path, content: dict[str, torch.Tensor]) -> Path:
    safetensors.torch.save_file(content, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_what_another_implementation_sees(kind, tmp_path):
    eyes, name = dinov2.load(written(tmp_path / "model.safetensors", tensors(kind)))
    assert name.startswith("dinov2-128 ") and len(name) == len("dinov2-128 ") + 12
    with np.load(REFERENCE) as reference:
        for size, sides in SIZES.items():
            for got, what in zip(eyes(picture(sides)), ("middle", "end", "whole"), strict=True):
                expected = reference[f"{kind}.{size}.{what}"]
                assert got[:, ::EVERY].numpy() == pytest.approx(expected, abs=2e-4), (size, what)


@pytest.mark.parametrize("kind", KINDS)
def test_as_a_descriptor_it_has_blocks_of_one_strength_and_gradients(kind, tmp_path):
    path = written(tmp_path / "net.safetensors", tensors(kind))
    see, weights, _ = descriptors.descriptor(str(path))
    assert sum(weights) == pytest.approx(1)
    x = torch.cat([oval(), oval(at=(0.05, 0.0)), oval(colour=BLUE, radii=(0.3, 0.6), stripes=20.0)]).requires_grad_()
    blocks = see(x)
    assert [tuple(block.shape) for block in blocks] == [(3, WIDTH * 16), (3, WIDTH * 4), (3, WIDTH)]
    squares = Metric.of(*[[block.detach().numpy() for block in blocks]] * 2, weights).squares(
        [block[:1] for block in blocks], [block[1:2] for block in blocks]
    )
    squares.sum().backward()
    assert x.grad is not None and x.grad[:2].abs().sum() > 0 and torch.isfinite(x.grad).all()


def test_files_that_are_something_else_are_refused(tmp_path):
    def refused(path: Path, pattern: str) -> None:
        with pytest.raises(
            Refused, match=rf"--descriptor .*{path.name}: {pattern}.*expected model.safetensors of DINOv2"
        ):
            descriptors.descriptor(str(path))

    refused(tmp_path / "nowhere.safetensors", "cannot be read")
    refused(tmp_path, "cannot be read")
    (tmp_path / "net.pth").write_bytes(b"\x80\x02}q\x00.")
    refused(tmp_path / "net.pth", "")
    whole = tensors("plain")
    refused(written(tmp_path / "gan.safetensors", {"mapping.fc0.weight": torch.ones(2, 2)}), "has no tensor embeddings")
    lacking = {name: each for name, each in whole.items() if name != "encoder.layer.2.norm2.bias"}
    refused(written(tmp_path / "a.safetensors", lacking), r"has no tensor encoder\.layer\.2\.norm2\.bias")
    no_layers = {name: each for name, each in whole.items() if not name.startswith("encoder")}
    refused(written(tmp_path / "b.safetensors", no_layers), "has no tensor encoder")
    odd = whole | {"encoder.layer.0.mlp.fc1.weight": torch.ones(3, 3)}
    refused(written(tmp_path / "c.safetensors", odd), "")
    flat = whole | {"embeddings.position_embeddings": torch.ones(1, 8, WIDTH)}
    refused(written(tmp_path / "d.safetensors", flat), "128 channels and 7 places")
    wild = whole | {"layernorm.bias": torch.full((WIDTH,), float("nan"))}
    refused(written(tmp_path / "e.safetensors", wild), "holds numbers that are none")
