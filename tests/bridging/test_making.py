"""From two species to a bridge: the same every time, interrupted or not, and never out of the species."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from performer import bridges
from performer.bridging import descriptors, drawing, making, refining, sampling
from performer.bridging.descriptors import FIGURE_WEIGHTS, Metric, figure
from performer.bridging.drawing import Drawing
from performer.bridging.making import BridgeOptions, make
from performer.generators import checkpoint as species
from performer.generators.mapping import Mapping
from performer.refusal import Refused
from tests.generators import graphs
from tests.show.program import run

SMALL = {"pairs": 4, "samples": 48, "steps": 6, "device": "cpu"}


def options_of(files, out: Path, **options) -> BridgeOptions:
    return BridgeOptions(**({"first": str(files[0]), "second": str(files[1]), "out": out} | SMALL | options))


def made(files, out: Path, **options) -> Path:
    return make(options_of(files, out, **options), announce=lambda _: None)


def at(folder: Path, name: str) -> Path:
    return folder / f"{name}{bridges.SUFFIX}"


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory) -> Path:
    """A bridge made in one go."""
    torch.set_num_threads(1)
    return made(files, at(tmp_path_factory.mktemp("whole"), "whole"))


def test_the_same_seed_gives_the_same_bridge(files, whole, tmp_path):
    again = made(files, at(tmp_path, "again"))
    assert again.read_bytes() == whole.read_bytes()
    other = bridges.load(made(files, at(tmp_path, "other"), seed=1))
    assert not np.array_equal(other.sides[0].z, bridges.load(whole).sides[0].z)


def interrupted_after(monkeypatch, batches: int) -> list[int]:
    """Let drawing be interrupted after so many batches; how many pictures each batch had, as they come."""
    drawn: list[int] = []
    pictures = Drawing.pictures

    def counted(self, w):
        if len(drawn) == batches:
            raise KeyboardInterrupt
        drawn.append(len(w))
        return pictures(self, w)

    monkeypatch.setattr(Drawing, "pictures", counted)
    return drawn


@pytest.mark.parametrize("batches", [1, 4, 7], ids=["in the first species", "in the second", "in refinement"])
def test_an_interrupted_run_goes_on_bit_for_bit(files, whole, tmp_path, monkeypatch, batches):
    out = at(tmp_path, "whole")
    with monkeypatch.context() as patch:
        interrupted_after(patch, batches)
        with pytest.raises(KeyboardInterrupt):
            made(files, out)
    assert [path.name for path in tmp_path.iterdir()] == [out.name + making.PARTIAL]
    with monkeypatch.context() as patch:
        drawn = interrupted_after(patch, 10_000)
        said: list[str] = []
        make(options_of(files, out), announce=said.append)
    described = min(batches * drawing.MOST_BATCH, 2 * SMALL["samples"])
    assert f"{described:,} known" in said[0]
    # What was described is not drawn again: 2 x 48, refinement, the pairs and the random pairs of the sheet.
    rest = 2 * SMALL["pairs"] * (SMALL["steps"] + 2) + 2 * SMALL["pairs"] + 2 * making.COLUMNS
    assert sum(drawn) == 2 * SMALL["samples"] - described + rest
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"whole.bridge{end}" for end in (".png", ".safetensors")
    ]


@pytest.mark.parametrize("other", [{"seed": 5}, {"truncation": (0.5, 0.6)}, {"samples": 64}])
def test_samples_of_other_options_are_not_gone_on_with(files, whole, tmp_path, monkeypatch, other):
    out = at(tmp_path, "whole")
    with monkeypatch.context() as patch:
        interrupted_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            made(files, out, **other)
    assert made(files, out).read_bytes() == whole.read_bytes()


def test_damaged_samples_are_drawn_anew(files, whole, tmp_path):
    out = at(tmp_path, "whole")
    out.with_name(out.name + making.PARTIAL).write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    assert made(files, out).read_bytes() == whole.read_bytes()


def test_what_stands_in_the_file(files, pair, whole):
    bridge = bridges.load(whole, between=pair)
    assert (bridge.seed, bridge.samples, bridge.truncation, bridge.descriptor) == (0, 48, (0.8, 1.0), "figure")
    assert [side.content_hash for side in bridge.sides] == [checkpoint.content_hash for checkpoint in pair]
    for side, checkpoint in zip(bridge.sides, pair, strict=True):
        sizes = checkpoint.sizes
        assert (side.w.shape, side.z.shape) == ((4, sizes.w_dim), (4, sizes.z_dim))
        assert ((side.psi >= 0.8) & (side.psi <= 1.0)).all()
    assert list(bridge.distances) == sorted(bridge.distances)
    way_back = bridges.load(whole, between=(pair[1], pair[0]))
    assert np.array_equal(way_back.sides[0].w, bridge.sides[1].w)


def described(checkpoint, w) -> list[torch.Tensor]:
    with torch.no_grad():
        return figure(Drawing(checkpoint).pictures(torch.from_numpy(np.array(w))))


def metric_of(pair) -> Metric:
    blocks = []
    for side, checkpoint in enumerate(pair):
        animals = Drawing(checkpoint).latents(range(48), seed=0, side=side, truncation=(0.8, 1.0))
        blocks.append([block.numpy() for block in described(checkpoint, animals.w)])
    return Metric.of(blocks[0], blocks[1], FIGURE_WEIGHTS)


def test_the_distances_are_those_of_the_pictures(pair, whole):
    bridge = bridges.load(whole)
    squares = metric_of(pair).squares(*(described(c, side.w) for c, side in zip(pair, bridge.sides, strict=True)))
    assert squares.sqrt().numpy() == pytest.approx(bridge.distances, abs=2e-3)
    assert bridge.random == pytest.approx(1, abs=0.1)
    assert np.mean(bridge.distances) < 0.9 * bridge.random


def test_refinement_brings_pairs_nearer_and_stays_in_the_species(pair, whole):
    bridge = bridges.load(whole)
    gains = np.array(bridge.found) - bridge.distances
    assert (gains >= 0).all()
    assert gains.max() > 0.01
    for number, (side, checkpoint) in enumerate(zip(bridge.sides, pair, strict=True)):
        mapping, drawn = Mapping(checkpoint), Drawing(checkpoint)
        spread = drawn.spread()
        began = mapping.w_avg + side.psi[:, None] * (mapping.w_from_z(side.z) - mapping.w_avg)
        refined = gains > 0
        assert np.abs(side.w - began)[refined].max() > 1e-3
        assert side.w[~refined] == pytest.approx(began[~refined], abs=1e-5)
        moved = spread.coordinates(torch.from_numpy(side.w.copy())) - spread.coordinates(torch.from_numpy(began))
        assert (moved.norm(dim=1) <= refining.REACH * 1.001).all()
        others = drawn.latents(range(48), seed=0, side=number, truncation=(0.8, 1.0))
        far = np.quantile(spread.truncation(torch.from_numpy(others.w)).numpy(), making.TAME)
        most = np.maximum(far, spread.truncation(torch.from_numpy(began)).numpy())
        assert (spread.truncation(torch.from_numpy(side.w.copy())).numpy() <= most * 1.001).all()


def test_limits_hold_where_refinement_wants_to_go_farther(pair, monkeypatch):
    """With steps as large as the species, every latent is stopped by the reach or by its limit."""
    monkeypatch.setattr(refining, "RATE", 3.0)
    monkeypatch.setattr(refining, "REACH", 1.5)
    drawings = [Drawing(checkpoint) for checkpoint in pair]
    spreads = [each.spread() for each in drawings]
    animals = [each.latents(range(4), seed=1, side=side, truncation=(0.3, 0.3)) for side, each in enumerate(drawings)]
    limits = (np.full(4, 0.9, np.float32), np.full(4, 0.1, np.float32))
    group = refining._Group((animals[0].w, animals[1].w), drawings, spreads, limits, figure, metric_of(pair))
    seen: list[list[torch.Tensor]] = []
    squares = group._squares
    monkeypatch.setattr(
        group, "_squares", lambda moves: seen.append([m.detach().clone() for m in moves]) or squares(moves)
    )
    group.descend(5, lambda step: None)
    assert len(seen) == 7  # before, five steps, after
    for side, (spread, limit) in enumerate(zip(spreads, limits, strict=True)):
        origin = spread.coordinates(torch.from_numpy(animals[side].w))
        most = np.maximum(limit, refining._rms(origin)[:, 0].numpy())
        stopped = 0
        for moves in seen:
            reach = moves[side].norm(dim=1).numpy()
            far = refining._rms(origin + moves[side])[:, 0].numpy()
            assert (reach <= refining.REACH * 1.001).all()
            assert (far <= most * 1.001).all()
            stopped += int(((reach > 1.49) | (far > most * 0.999)).sum())
        assert stopped > 10


def test_without_refinement_latents_are_those_that_were_drawn(files, pair, tmp_path):
    bridge = bridges.load(made(files, at(tmp_path, "plain"), steps=0))
    assert bridge.distances == bridge.found
    for side, checkpoint in zip(bridge.sides, pair, strict=True):
        mapping = Mapping(checkpoint)
        began = mapping.w_avg + side.psi[:, None] * (mapping.w_from_z(side.z) - mapping.w_avg)
        assert side.w == pytest.approx(began, abs=1e-5)


def test_what_comes_no_nearer_stays_as_it_was(files, tmp_path, monkeypatch):
    plain = bridges.load(made(files, at(tmp_path, "plain"), steps=0))
    monkeypatch.setattr(refining, "LEAST_GAIN", 10.0)
    kept = bridges.load(made(files, at(tmp_path, "kept")))
    assert kept.distances == kept.found == plain.found
    for ours, theirs in zip(kept.sides, plain.sides, strict=True):
        assert np.array_equal(ours.w, theirs.w)


def test_truncation_distance_reads_like_psi(pair):
    each = Drawing(pair[0])
    spread = each.spread()
    for psi in (0.5, 1.0):
        animals = each.latents(range(2000), seed=9, side=0, truncation=(psi, psi))
        far = spread.truncation(torch.from_numpy(animals.w))
        assert float(far.square().mean().sqrt()) == pytest.approx(psi, rel=0.05)
    assert float(spread.truncation(spread.mean[None])[0]) < 1e-5


def test_a_species_without_w_has_bridges_too(files, tmp_path):
    """Of lightweight-gan, whose one latent is z itself, to a StyleGAN2."""
    path = tmp_path / "tiny.safetensors"
    species.write(path, graphs.species("lightweight"))
    bridge = bridges.load(made((path, files[0]), at(tmp_path, "tiny"), pairs=2, samples=32, steps=2))
    plain = bridge.sides[0].psi[:, None] * bridge.sides[0].z
    kept = np.array(bridge.found) == bridge.distances
    assert bridge.sides[0].w[kept] == pytest.approx(plain[kept], abs=1e-5)
    assert bridge.sides[0].w.shape == plain.shape


def test_a_species_that_draws_no_numbers_is_refused(files, tmp_path):
    checkpoint, broken = species.load(files[0]), tmp_path / "broken.safetensors"
    # Each of them is finite; what they make of each other is not.
    large = {f"synthesis.b16.torgb.{part}": np.float32(1e30) for part in ("weight", "affine.bias")}
    tensors = {key: tensor * large.get(key, np.float32(1)) for key, tensor in checkpoint.tensors.items()}
    species.write(broken, replace(checkpoint, tensors=tensors))
    with pytest.raises(Refused, match=r"broken\.safetensors: draws NaN or infinity; expected finite"):
        made((broken, files[1]), at(tmp_path, "broken"))


def test_species_that_draw_nothing_are_refused(pair, tmp_path):
    plain = []
    for number, checkpoint in enumerate(pair):
        plain.append(tmp_path / f"plain-{number}.safetensors")
        nothing = {key: tensor * 0 for key, tensor in checkpoint.tensors.items() if ".torgb." in key}
        species.write(plain[-1], replace(checkpoint, tensors=checkpoint.tensors | nothing))
    with pytest.raises(Refused, match="all their pictures look the same; expected pictures that differ"):
        made(plain, at(tmp_path, "none"))


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first": "wyvern"}, r"wyvern: no such species; expected a \.safetensors file"),
        (
            {"descriptor": "taste"},
            r"--descriptor taste: expected figure, lite0, both, or a file with the weights of DINOv2",
        ),
        ({"truncation": (1.0, 0.8)}, r"--truncation 1 0\.8: expected"),
        ({"truncation": (0.0, 0.8)}, r"--truncation 0 0\.8: expected"),
        ({"truncation": (float("nan"), 0.8)}, r"--truncation nan 0\.8: expected"),
        ({"pairs": 13}, r"--pairs 13: expected 12 at most, a quarter of the 48 samples"),
        ({"device": "abacus"}, r"--device abacus: expected cpu or cuda"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_wrong_is_said_before_anything_is_drawn(files, tmp_path, options, message):
    with pytest.raises(Refused, match=message):
        made(files, at(tmp_path, "none"), **options)
    assert list(tmp_path.iterdir()) == []


def test_the_same_species_twice_is_refused(files, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(files[0].read_bytes())
    with pytest.raises(Refused, match="the same species twice; expected two species"):
        made((files[0], copy), at(tmp_path, "none"))


def test_names_that_are_no_bridge_are_refused(files, tmp_path):
    with pytest.raises(
        Refused, match=r"--out .*plain\.safetensors: expected a name that ends in \.bridge\.safetensors"
    ):
        made(files, tmp_path / "plain.safetensors")


@pytest.mark.parametrize("taken", ["there.bridge.safetensors", "there.bridge.png"])
def test_nothing_is_overwritten(files, tmp_path, taken):
    (tmp_path / taken).write_bytes(b"mine")
    with pytest.raises(Refused, match=rf"{taken}: is there already.*another name with --out"):
        made(files, at(tmp_path, "there"))
    assert (tmp_path / taken).read_bytes() == b"mine"


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_where_nothing_can_be_written_nothing_is_drawn(files, tmp_path, monkeypatch, folder):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(sampling, "describe", None)
    monkeypatch.setattr(making, "describe", None)
    with pytest.raises(Refused, match=r"--out .*: cannot be written \(.+\); expected a folder .* choose another"):
        made(files, at(tmp_path / folder, "none"))


def test_a_missing_trained_eye_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.setattr(descriptors.lite0, "is_there", lambda: False)
    with pytest.raises(Refused, match="--descriptor lite0: needs the package"):
        made(files, at(tmp_path, "none"), descriptor="lite0")


# The command line.


def test_the_command_makes_a_bridge_and_a_sheet(files, pair, tmp_path):
    words = ["--pairs", "5", "--samples", "40", "--steps", "2", "--device", "cpu", "--truncation", "0.7", "0.9"]
    ended = run("bridge", *map(str, files), *words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    bridge = bridges.load(tmp_path / "moth--fern.bridge.safetensors", between=pair)
    assert (len(bridge), bridge.samples, bridge.truncation) == (5, 40, (0.7, 0.9))
    assert "looking at 40 pictures each of small and small" in ended.stdout
    assert f"of random pairs {bridge.random:.2f}" in ended.stdout
    with Pillow.open(tmp_path / "moth--fern.bridge.png") as sheet:
        assert sheet.width > 4 * 2 * 128  # four pairs in a row
        shown = np.asarray(sheet.convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1000
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".safetensors"]


def test_the_command_refuses_with_status_2(files, tmp_path):
    for words, message in (
        ((str(files[0]), str(files[0])), "the same species twice"),
        ((str(files[0]), str(files[1]), "--samples", "7"), "--samples 7: expected 32 to 10000 pictures of each"),
    ):
        ended = run("bridge", *words, cwd=tmp_path)
        assert ended.returncode == 2, ended.stdout
        assert message in ended.stdout.replace("\n", " ")
        assert list(tmp_path.iterdir()) == []
