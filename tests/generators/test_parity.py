"""Our networks against pictures that the official implementations drew (tests/data/README.md says how they were made)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from performer.choreography.motion import input_transform
from performer.generators import family, stylegan3
from performer.generators.checkpoint import Checkpoint, Provenance
from performer.generators.mapping import Mapping
from tests.generators.latents import noise_of

REFERENCE = Path(__file__).resolve().parents[1] / "data" / "reference"
TOLERANCE = 1e-5  # of the largest value; a wrong filter or two swapped layers are far above it


def reference(name: str, *, attributes: bool = True) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    """(species, arrays) of a reference set; `attributes` False forgets what only the pickled modules knew."""
    with safe_open(REFERENCE / f"{name}.safetensors", "numpy") as file:
        tensors = {key: np.asarray(file.get_tensor(key), np.float32) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors.setdefault("mapping.fc0.weight", np.zeros((512, 512), np.float32))  # left out where it is not tested
    kind = "stylegan3" if name.startswith("sg3") else "stylegan2"
    options: dict = {"conv_clamp": 256}
    if attributes and kind == "stylegan3":
        saved = json.loads(metadata["layer_attributes"])
        layers = [saved[f"synthesis.{layer}"] | {"name": layer} for layer in stylegan3.layer_names(tensors)]
        options |= {"layers": layers, "input": saved["synthesis.input"], "output_scale": 0.25}
    checkpoint = Checkpoint(
        family=kind,
        sizes=family.sizes_of(kind, tensors, options),
        provenance=Provenance(name=name, origin="random", licence="CC0-1.0", trained=False),
        tensors=tensors,
        content_hash=name,
        options=options,
    )
    return checkpoint, dict(np.load(REFERENCE / f"{name}.npz"))


def off(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest error, relative to the largest value."""
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@torch.no_grad()
def drawn(checkpoint: Checkpoint, ws: np.ndarray, *, noise: float = 1.0, transform: np.ndarray | None = None):
    network = family.build(checkpoint)
    more = {}
    if getattr(network, "takes_transform", False):
        more["transform"] = torch.eye(3) if transform is None else torch.from_numpy(transform).float()
    return network(torch.from_numpy(ws), noise_of(checkpoint.sizes.noise_layers, noise), **more).numpy()


def test_stylegan2():
    checkpoint, arrays = reference("sg2_64")
    assert off(drawn(checkpoint, arrays["ws_psi07"]), arrays["img_psi07"]) <= TOLERANCE
    assert off(drawn(checkpoint, arrays["ws_psi07"], noise=0.0), arrays["img_psi07_nonoise"]) <= TOLERANCE


@pytest.mark.parametrize("attributes", [True, False], ids=["saved attributes", "published design"])
@pytest.mark.parametrize("name", ["sg3t_64", "sg3r_64"])
def test_stylegan3(name, attributes):
    checkpoint, arrays = reference(name, attributes=attributes)
    assert (checkpoint.sizes.num_ws, checkpoint.sizes.width_px) == (16, 64)
    ws = arrays["ws_psi07"]
    assert off(drawn(checkpoint, ws), arrays["img_psi07"]) <= TOLERANCE
    for move in [key for key in arrays if key.startswith("transform") and attributes]:
        got = drawn(checkpoint, ws, transform=arrays[move])
        assert off(got, arrays[f"img_psi07_{move}"]) <= TOLERANCE, move


def test_mapping():
    checkpoint, arrays = reference("sg3t_64")
    mapping = Mapping(checkpoint)
    assert off(np.stack([mapping.w_from_z(z) for z in arrays["z"]]), arrays["w"]) <= TOLERANCE
    for w, ws in zip(arrays["w"], arrays["ws_psi07"], strict=True):
        assert off(mapping.ws_from_w(w, psi=0.7), ws) <= TOLERANCE
        assert off(mapping.ws_from_w(np.repeat(w[None], 16, axis=0), psi=0.7), ws) <= TOLERANCE  # W+
        cut = mapping.ws_from_w(w, psi=0.7, cutoff=3)
        assert off(cut[:3], ws[:3]) <= TOLERANCE and (cut[3:] == w).all()


@pytest.mark.parametrize("name", ["sg3t_64", "sg3r_64"])
def test_a_moved_picture_moves_as_it_says(name):
    """Right, down and clockwise: StyleGAN3 was made so that its pictures follow; the R form also when it turns."""
    checkpoint, arrays = reference(name)
    ws = arrays["ws_psi07"][:1]
    still = drawn(checkpoint, ws)[0]

    def likeness(got: np.ndarray, expected: np.ndarray) -> float:
        parts = [picture[:, 16:48, 16:48].reshape(3, -1) for picture in (got, expected)]
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*parts, strict=True)]))

    def moved(x: float = 0.0, y: float = 0.0, turns: float = 0.0) -> np.ndarray:
        return drawn(checkpoint, ws, transform=input_transform(x=x, y=y, turns=turns, zoom=1.0))[0]

    assert likeness(moved(x=8 / 64), np.roll(still, 8, axis=2)) > 0.9
    assert likeness(moved(y=8 / 64), np.roll(still, 8, axis=1)) > 0.9
    if name == "sg3r_64":
        assert likeness(moved(turns=0.25), np.rot90(still, -1, axes=(1, 2))) > 0.9
    assert (input_transform(x=0.0, y=0.0, turns=0.0, zoom=1.0) == np.eye(3, dtype=np.float32)).all()
