"""Runs of training: they go on as if nothing had happened, share their work, and say what is wrong before they begin."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.numpy import load_file

from performer.generators import checkpoint as species
from performer.generators import family
from performer.generators.mapping import Mapping
from performer.generators.network import PictureNetwork
from performer.refusal import Refused
from performer.training import fresh, lite0
from performer.training.dataset import DatasetOptions, prepare
from performer.training.loop import TrainOptions, train

SIZE_PX = 32
# As small as it gets, on one core so that sums are always made in the same order.
SMALL = {
    "size_px": SIZE_PX,
    "width": 0.25,
    "batch": 16,
    "critic": "plain",
    "shown": 192,
    "sheet_images": 1000,
    "threads": 1,
    "device": "cpu",
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A prepared set of 40 coloured discs on paper."""
    folder = tmp_path_factory.mktemp("discs") / "discs"
    folder.mkdir()
    rng = np.random.default_rng(3)
    down, across = np.mgrid[:64, :64]
    for number in range(40):
        picture = np.full((64, 64, 3), (246, 241, 230), np.uint8)
        middle, radius = rng.uniform(24, 40, 2), rng.uniform(8, 20)
        picture[np.hypot(down - middle[0], across - middle[1]) < radius] = rng.integers(0, 200, 3)
        Pillow.fromarray(picture).save(folder / f"{number}.png")
    return prepare(
        DatasetOptions(folder=folder, out=folder.with_name("set"), size_px=SIZE_PX, alike_bits=0, licence="CC0-1.0"),
        announce=lambda _: None,
    )


def trained(pictures: Path, out: Path, **options) -> Path:
    return train(TrainOptions(set=pictures, out=out, **{**SMALL, **options}), announce=lambda _: None)


def differences(one: Path, other: Path) -> dict[str, float]:
    """The largest difference of each tensor of two runs, of those that differ at all."""
    first, second = load_file(one / "state.safetensors"), load_file(other / "state.safetensors")
    assert first.keys() == second.keys()
    apart = {key: float(np.abs(first[key] - second[key]).max(initial=0)) for key in first}
    return {key: value for key, value in apart.items() if value}


@pytest.mark.parametrize("critic", ["plain", "projected"])
def test_an_interrupted_run_goes_on_bit_for_bit(pictures, tmp_path, critic):
    if critic == "projected" and not lite0.is_there():
        pytest.skip("the package of the projected critic is not installed")
    options = {"critic": critic, "shown": 64}
    whole = trained(pictures, tmp_path / "whole", images=800, **options)
    trained(pictures, tmp_path / "halves", images=48, **options)  # while pictures are shown
    trained(pictures, tmp_path / "halves", images=272, **options)  # between two penalties
    halves = trained(pictures, tmp_path / "halves", images=800, **options)
    assert differences(whole, halves) == {}
    assert [json.loads(line)["seen"] for line in (halves / "log.jsonl").read_text().splitlines()] == [800]
    assert (whole / "discs.safetensors").read_bytes() == (halves / "discs.safetensors").read_bytes()


@pytest.mark.parametrize(("images", "most"), [(16, 1e-5), (160, 0.02)])
def test_two_processes_learn_what_one_learns(pictures, tmp_path, images, most):
    """Sums of parts round otherwise, which every step makes more of: Adam divides by the size of a gradient."""
    one = trained(pictures, tmp_path / "one", images=images, shown=64, precision="single")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())),
        *("-m", "performer", "train", str(pictures), "--out", str(tmp_path / "two"), "--size", str(SIZE_PX)),
        *("--width", "0.25", "--batch", "16", "--critic", "plain", "--shown", "0.064", "--precision", "single"),
        *("--threads", "1", "--device", "cpu", "--kimg", str(images / 1000)),
    ]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    first, second = load_file(one / "state.safetensors"), load_file(tmp_path / "two" / "state.safetensors")
    apart = {
        key: float(np.linalg.norm(first[key] - second[key]) / (np.linalg.norm(first[key]) + 1e-3))
        for key in first
        if "optimiser" not in key
    }
    assert max(apart.values()) < most, max(apart, key=apart.__getitem__)
    assert max(apart.values()) > 0, "two runs that agree to the bit were not two"


def test_a_terminal_that_interrupts_gets_its_run_back(pictures, tmp_path):
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "performer", "train", str(pictures), "--out", str(out), "--size", str(SIZE_PX)),
        *("--width", "0.25", "--batch", "16", "--critic", "plain", "--shown", "0.192", "--threads", "1"),
        *("--device", "cpu", "--kimg"),
    ]
    running = subprocess.Popen([*command, "1000"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "log.jsonl").is_file() or not (out / "log.jsonl").read_text():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "the same command goes on" in said
    seen = species.load(out / "discs.safetensors").provenance.origin
    again = subprocess.run([*command, "1"], stderr=subprocess.PIPE, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr or "going on after" in again.stderr
    assert "thousand seen" in seen


def test_a_species_that_was_trained_is_played_as_it_was_drawn(pictures, tmp_path):
    out = trained(pictures, tmp_path / "run", images=320)
    checkpoint = species.load(out / "discs.safetensors")
    assert checkpoint.provenance.licence == "CC0-1.0" and checkpoint.provenance.trained
    assert "plain critic" in checkpoint.provenance.origin
    z = np.random.default_rng(1).standard_normal(
        (48, checkpoint.sizes.z_dim), np.float32
    )  # the seed of sheets is 0 + 1
    mapping, network = Mapping(checkpoint), PictureNetwork(family.build(checkpoint), sizes=checkpoint.sizes)
    ws = mapping.ws_from_w(mapping.w_from_z(z[0]))
    latent = [torch.from_numpy(ws[None]), *network.examples()[1:]]
    with torch.inference_mode():
        played = network(*latent).numpy()[..., :3].astype(int)
    shown = np.asarray(checkpoint.preview).astype(int)
    assert np.abs(played - shown).max() <= 2  # the file holds half precision
    assert shown.std() > 5


def test_beside_each_sheet_lies_the_species_that_drew_it(pictures, tmp_path):
    out = trained(pictures, tmp_path / "run", images=2000, sheet_images=1000)
    assert sorted(os.listdir(out / "samples")) == [
        *("000001.png", "000001.safetensors"),
        *("000002.png", "000002.safetensors"),
    ]
    first, last = species.load(out / "samples" / "000001.safetensors"), out / "samples" / "000002.safetensors"
    assert last.read_bytes() == (out / "discs.safetensors").read_bytes()
    assert "1 thousand seen" in first.provenance.origin
    with Pillow.open(out / "samples" / "000001.png") as drawn:
        assert np.array_equal(np.asarray(drawn.convert("RGB"))[:SIZE_PX, :SIZE_PX], first.preview)


def test_training_brings_the_species_nearer_to_its_pictures(pictures, tmp_path):
    def distance(run: Path) -> float:
        """Between the mean colours of what it draws and of the set, 0 to 255."""
        drawn = np.asarray(Pillow.open(max((run / "samples").glob("*.png"))).convert("RGB"), float)
        real = np.asarray(Pillow.open(run / "real.png").convert("RGB"), float)
        tiles = [sheet.reshape(-1, SIZE_PX, 8, SIZE_PX, 3).mean(axis=(0, 2)) for sheet in (drawn, real)]
        return float(np.abs(tiles[0] - tiles[1]).mean())

    young = trained(pictures, tmp_path / "young", images=16, shown=100_000, sheet_images=16)
    older = trained(pictures, tmp_path / "older", images=1600, shown=100_000, sheet_images=1600)
    assert distance(older) < distance(young) / 3
    assert distance(older) < 25


def test_a_sibling_is_a_sibling(pictures, tmp_path):
    first = trained(pictures, tmp_path / "first", images=160)
    second = trained(pictures, tmp_path / "second", images=160, source=str(first / "discs.safetensors"), name="second")
    one, other = species.load(first / "discs.safetensors"), species.load(second / "second.safetensors")
    assert species.stranger(one, other) == ""
    assert "on from discs)" in other.provenance.origin
    weight = "synthesis.b4.conv1.weight"
    assert 0 < np.abs(one.tensors[weight] - other.tensors[weight]).max() < 0.2
    with pytest.raises(Refused, match=r"this run was begun otherwise.*source_sha256"):
        trained(pictures, tmp_path / "second", images=320, source=str(second / "second.safetensors"), name="second")


@pytest.mark.parametrize("name", fresh.FAMILIES)
def test_a_species_grows(name):
    small = fresh.species(name, size_px=32, seed=1, width=0.25)
    large = fresh.grown(small, size_px=64, seed=2)
    assert large.sizes.resolution == 64
    for key, tensor in small.tensors.items():
        if not key.startswith("synthesis.head"):
            assert np.array_equal(large.tensors[key], tensor), key
    ws = torch.randn(1, large.sizes.num_ws, large.sizes.w_dim)
    noise = torch.zeros(large.sizes.noise_layers, 3)
    with torch.inference_mode():
        picture = family.build(large)(ws, noise)
        before = family.build(small)(ws[:, : small.sizes.num_ws], noise[: small.sizes.noise_layers])
    assert picture.shape == (1, 3, 64, 64)
    if name == "stylegan2":  # whose new layers add nothing yet
        assert np.abs((torch.nn.functional.avg_pool2d(picture, 2) - before).numpy()).max() < 0.5 * before.abs().max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_px": 64}, "--size 64: .* holds pictures of 32 px; expected at most that"),
        ({"size_px": 24}, "size 24 px: expected a power of two from 32 to 1024"),
        ({"family": "fastgan"}, "family 'fastgan' is not trained here; expected one of light, stylegan2"),
        ({"batch": 12}, "--batch 12: expected a multiple of 8"),
        ({"source": "nobody"}, "--from nobody: no such species; expected a .safetensors file"),
        (
            {"source": "embryo", "size_px": 32},
            "embryo.safetensors: draws 256x256 px; expected a square of at most 32 px",
        ),
        ({"set": Path("nowhere")}, "nowhere: no prepared set"),
        ({"device": "cuda"}, "--device cuda: no NVIDIA card"),
    ],
)
def test_what_cannot_be_trained_is_refused(pictures, tmp_path, options, message):
    if "device" in options and torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(Refused, match=message):
        train(
            TrainOptions(**{"set": pictures, "out": tmp_path / "run", **SMALL, **options}),
            announce=lambda _: None,
        )
    assert not (tmp_path / "run").exists()


def test_three_pictures_are_too_few(pictures, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "set.json").write_bytes((pictures / "set.json").read_bytes())
    for file in sorted((pictures / "pictures").iterdir())[:3]:
        (tmp_path / "pictures" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Refused, match="3 pictures to learn from; expected 16 or more"):
        trained(tmp_path, tmp_path / "run", images=16)


def test_a_run_refuses_other_options_and_what_is_not_a_run(pictures, tmp_path):
    out = trained(pictures, tmp_path / "run", images=16)
    with pytest.raises(Refused, match=r"this run was begun otherwise .rate was 0.002 and is 0.001 now"):
        trained(pictures, out, images=32, rate=0.001)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(Refused, match="holds other things"):
        trained(pictures, tmp_path / "other", images=16)
    assert os.listdir(tmp_path / "other") == ["letter.txt"]


def test_a_damaged_state_is_named(pictures, tmp_path):
    out = trained(pictures, tmp_path / "run", images=16)
    state = out / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(Refused, match=r"state\.safetensors: is damaged .*--from"):
        trained(pictures, out, images=32)


def test_latents_are_found_once_and_anew_when_the_set_changes(pictures, tmp_path):
    ours = tmp_path / "set"
    shutil.copytree(pictures, ours)
    out = trained(ours, tmp_path / "run", images=16)
    path = out / "latents.safetensors"
    before = load_file(path)["latents"]
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")  # so that one sees that it is read
    trained(ours, out, images=32)
    kept = load_file(path)["latents"]
    assert kept.flat[-1] == 0 != before.flat[-1] and np.array_equal(kept.flat[:-1], before.flat[:-1])
    first = min((ours / "pictures").iterdir())
    shutil.copy(first, first.with_name("picked.png"))
    trained(ours, out, images=48)
    assert len(load_file(path)["latents"]) == len(before) + 1
    path.write_bytes(b"no latents")
    trained(ours, out, images=64)
    assert len(load_file(path)["latents"]) == len(before) + 1


def test_a_log_that_a_power_cut_left_half_written_is_mended(pictures, tmp_path):
    out = trained(pictures, tmp_path / "run", images=800)
    log = out / "log.jsonl"
    log.write_text(log.read_text() + '{"seen": 1600, "shown": 1.0}\n{"seen": 16')
    trained(pictures, out, images=816)
    assert [json.loads(line)["seen"] for line in log.read_text().splitlines()] == [800]


def test_a_disk_that_is_full_is_told_before_the_first_step(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("performer.training.loop.shutil.disk_usage", lambda _: Usage(10 << 20))
    with pytest.raises(Refused, match="10 MiB are free on that disk; expected"):
        trained(pictures, tmp_path / "run", images=16)


def test_a_disk_that_fills_up_leaves_what_was_saved(pictures, tmp_path):
    out = trained(pictures, tmp_path / "run", images=16)
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.suffix == ".safetensors"}
    script = (
        "import resource, sys; from pathlib import Path; from performer.refusal import Refused\n"
        "from performer.training.loop import TrainOptions, train\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"try: train(TrainOptions(set=Path({str(pictures)!r}), out=Path({str(out)!r}), images=32, **{SMALL!r}),"
        " announce=print)\n"
        "except Refused as error: print(error); sys.exit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 7, ended.stderr
    assert "cannot be written" in ended.stdout and "what was saved last is whole" in ended.stdout
    assert {name: (out / name).read_bytes() for name in before} == before
    assert trained(pictures, out, images=32) == out


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
