"""The file of a bridge: what is written is read, either way round; what is damaged or of others is refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from performer import bridges
from performer.bridges import Bridge, BridgeError, Side
from performer.generators import checkpoint as species

PAIRS = 3


def side(name: str, w: np.ndarray, *, spread: np.ndarray | None = None) -> Side:
    return Side(
        name=name,
        content_hash=f"{name}-0123456789",
        family="light",
        w=np.asarray(w, np.float32),
        z=np.full((len(w), 5), 0.5, np.float32),
        psi=np.full(len(w), 0.9, np.float32),
        spread=np.asarray(np.ones(w.shape[1]) if spread is None else spread, np.float32),
    )


def crafted(first: Side | None = None, second: Side | None = None) -> Bridge:
    rng = np.random.default_rng(1)
    return Bridge(
        sides=(
            first or side("larva", rng.standard_normal((PAIRS, 4))),
            second or side("imago", rng.standard_normal((PAIRS, 6)), spread=np.linspace(1, 2, 6)),
        ),
        distances=(0.2, 0.25, 0.4),
        found=(0.3, 0.25, 0.5),
        random=0.98,
        seed=7,
        samples=2000,
        truncation=(0.8, 1.0),
        descriptor="figure",
        made_with="performer 0",
    )


class Stand:
    """As much of a species as a bridge asks for."""

    class Sizes:
        def __init__(self, w_dim: int) -> None:
            self.w_dim = w_dim

    def __init__(self, name: str, w_dim: int) -> None:
        self.content_hash = f"{name}-0123456789"
        self.path = Path(f"{name}.safetensors")
        self.sizes = self.Sizes(w_dim)


LARVA, IMAGO, PUPA = Stand("larva", 4), Stand("imago", 6), Stand("pupa", 4)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "larva--imago.bridge.safetensors"
    bridges.save(path, crafted())
    return path


def rewritten(path: Path, *, header: dict | None = None, **tensors: np.ndarray | None) -> Path:
    """The file with some of its header and of its tensors changed; None leaves a tensor out."""
    with safetensors.safe_open(path, framework="numpy") as file:
        known = msgspec.json.decode(file.metadata()["bridge"])
        kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    kept |= {key.replace("_", "."): tensor for key, tensor in tensors.items()}
    kept = {key: tensor for key, tensor in kept.items() if tensor is not None}
    text = msgspec.json.encode(known | (header or {})).decode()
    path.write_bytes(safetensors.numpy.save(kept, metadata={"bridge": text}))
    return path


def assert_same(one: Bridge, other: Bridge) -> None:
    assert replace(one, sides=(), path=None) == replace(other, sides=(), path=None)
    for ours, theirs in zip(one.sides, other.sides, strict=True):
        assert (ours.name, ours.content_hash, ours.family) == (theirs.name, theirs.content_hash, theirs.family)
        for name in ("w", "z", "psi", "spread"):
            assert getattr(ours, name).dtype == np.float32
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_what_is_written_is_read(path):
    got = bridges.load(path)
    assert_same(got, crafted())
    assert (len(got), got.path) == (PAIRS, path)
    assert not got.sides[0].w.flags.writeable


def test_the_same_bridge_gives_the_same_bytes(path, tmp_path):
    again = tmp_path / "again.bridge.safetensors"
    bridges.save(again, bridges.load(path))
    assert again.read_bytes() == path.read_bytes()


def test_both_directions(path):
    assert_same(bridges.load(path, between=(LARVA, IMAGO)), crafted())
    assert_same(bridges.load(path, between=(IMAGO, LARVA)), crafted().turned())
    assert [each.name for each in crafted().turned().sides] == ["imago", "larva"]


def test_reading_needs_no_torch():
    code = "import sys, performer.bridges; sys.exit('torch' in sys.modules or 'performer.generators' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Where one stands.


def test_nearest_is_the_pair_of_the_own_side():
    bridge = crafted(side("larva", np.eye(3, 4)), side("imago", np.eye(3, 6)[::-1].copy()))
    for number in range(PAIRS):
        assert bridge.nearest(bridge.sides[0].w[number] + 0.1, 0) == number
        assert bridge.nearest(bridge.sides[1].w[number] - 0.1, 1) == number
    assert bridge.nearest(np.eye(1, 6)[0], 1) == 2  # the same place on the other side is another pair
    assert bridge.turned().nearest(np.eye(1, 6)[0], 0) == 2


def test_nearest_counts_in_deviations_of_the_species():
    w, place = np.array([[0.0, 4.0], [3.0, 0.0]]), np.zeros(2)
    assert crafted(side("larva", w)).nearest(place, 0) == 1
    assert crafted(side("larva", w, spread=np.array([1.0, 10.0]))).nearest(place, 0) == 0


def test_nearest_takes_all_rows_of_ws():
    bridge = crafted(side("larva", np.eye(3, 4) * 10))
    rows = np.stack([bridge.sides[0].w[2]] + [bridge.sides[0].w[1]] * 3)
    assert bridge.nearest(rows[:1], 0) == 2
    assert bridge.nearest(rows, 0) == 1


@pytest.mark.parametrize("shape", [(6,), (2, 6), (1, 2, 4)])
def test_nearest_says_what_it_expects(shape):
    with pytest.raises(ValueError, match=r"expected \[4\]"):
        crafted().nearest(np.zeros(shape), 0)


# Refusals.


def refusal(path: Path, between=()) -> str:
    with pytest.raises(BridgeError) as caught:
        bridges.load(path, between=between)
    message = str(caught.value)
    assert path.name in message
    assert "xpected" in message or "again" in message
    assert "performer bridge" in message  # the remedy
    return message


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.bridge.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 200, 700])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert "cut short" in refusal(path)


def test_a_species_is_no_bridge(tmp_path, pair):
    path = tmp_path / "moth.safetensors"
    species.write(path, pair[0])
    assert "no 'bridge' in its header" in refusal(path)


def test_a_bridge_is_no_species(path):
    with pytest.raises(species.CheckpointError, match="expected a species"):
        species.load(path)


def test_another_version_is_refused(path):
    assert "version 2" in refusal(rewritten(path, header={"version": 2}))


@pytest.mark.parametrize(
    "header",
    [
        {"species": "larva"},
        {"refined": ["near"]},
        {"random": None},
        {"species": []},
        {"found": [0.1]},
        {"found": [], "refined": []},
    ],
    ids=str,
)
def test_a_damaged_header_is_refused(path, header):
    assert "header is damaged" in refusal(rewritten(path, header=header))


@pytest.mark.parametrize(
    ("key", "tensor", "has"),
    [
        ("w_0", None, "is none"),
        ("w_1", np.zeros((PAIRS, 5), np.float32), "[3, 5]"),
        ("z_0", np.zeros((PAIRS + 1, 5), np.float32), "[4, 5]"),
        ("psi_1", np.ones(PAIRS, np.float64), "float64 [3]"),
        ("spread_0", np.ones(3, np.float32), "[3]"),
    ],
)
def test_wrong_sizes_are_refused(path, key, tensor, has):
    message = refusal(rewritten(path, **{key: tensor}))
    assert f"tensor {key.replace('_', '.')}" in message
    assert has in message


@pytest.mark.parametrize("key", ["w_0", "w_1", "z_1", "psi_0", "spread_1"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(path, key, bad):
    with safetensors.safe_open(path, framework="numpy") as file:
        tensor = file.get_tensor(key.replace("_", ".")).copy()
    tensor.flat[-1] = bad
    assert f"tensor {key.replace('_', '.')} holds NaN or infinity" in refusal(rewritten(path, **{key: tensor}))


def test_a_spread_of_nothing_is_refused(path):
    assert "holds 0;" in refusal(rewritten(path, spread_0=np.array([1, 0, 1, 1], np.float32)))


@pytest.mark.parametrize(("between", "stranger"), [((PUPA, IMAGO), "pupa"), ((IMAGO, PUPA), "pupa")])
def test_other_species_are_refused(path, between, stranger):
    message = refusal(path, between)
    assert f"not {stranger}.safetensors" in message
    assert f"performer bridge {between[0].path} {between[1].path}" in message


def test_the_same_species_on_both_sides_is_refused(path):
    assert "joins larva" in refusal(path, (LARVA, LARVA))


def test_latents_of_another_width_are_refused(path):
    assert "latents of imago have 6 numbers; expected 8" in refusal(path, (LARVA, Stand("imago", 8)))
