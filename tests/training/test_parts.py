"""What training is made of: numbers that come again, augmentations, critics, latents for pictures, pictures in order."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from performer.generators.mapping import Mapping as PlayedMapping
from performer.refusal import Refused
from performer.training import augment, fresh, lite0, matching
from performer.training.codes import codes_of
from performer.training.critic import LocalNorm, Plain, Projected, halved, sameness
from performer.training.draws import Draws
from performer.training.generator import Generator
from performer.training.pictures import Pictures, files_of

needs_eyes = pytest.mark.skipif(not lite0.is_there(), reason="the package of the projected critic is not installed")


def draws(step: int = 0, *, batch: int = 8, part: slice = slice(None)) -> Draws:
    return Draws(7, step, batch=batch, part=part)


# Draws.


def test_draws_come_again_and_hang_on_seed_step_and_name():
    first = draws().normal("z", 64)
    assert torch.equal(first, draws().normal("z", 64))
    for other in (draws(step=1).normal("z", 64), draws().normal("other", 64), Draws(8, 0, batch=8).normal("z", 64)):
        assert abs(float((first * other).mean())) < 0.2  # of unrelated numbers about 0, of the same 1


def test_processes_draw_parts_of_what_one_draws():
    whole = draws().uniform("mirror", 3)
    parts = [draws(part=slice(start, start + 4)).uniform("mirror", 3) for start in (0, 4)]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(draws().shared("noise", 4, 4), draws(part=slice(4, 8)).shared("noise", 4, 4))


# Augmentations.


def test_no_augmentation_changes_nothing():
    x = torch.rand(8, 3, 16, 16)
    assert augment.adaptive(x, draws(), "real", 0.0) is x


@pytest.mark.parametrize("kind", ["light", "adaptive"])
def test_gradients_pass_through_augmentations(kind):
    x = (torch.rand(8, 3, 16, 16) * 2 - 1).requires_grad_()
    y = augment.light_touch(x, draws(), "a") if kind == "light" else augment.adaptive(x, draws(), "a", 0.8)
    assert y.shape == x.shape and not torch.equal(y, x)
    y.square().sum().backward()
    assert x.grad is not None and all(x.grad.abs().sum(dim=(1, 2, 3)) > 0)


def test_colours_turn_about_grey():
    """A turn of the hue keeps grey as it is, and the length of a colour."""
    grey, red = torch.full((1, 3, 1, 1), 0.3), torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    for step in range(20):
        at = Draws(1, step, batch=1)
        factors = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0}
        turned = {name: _hue_alone(x, at, factors) for name, x in (("grey", grey), ("red", red))}
        assert torch.allclose(turned["grey"], grey, atol=1e-6)
        assert math.isclose(float(turned["red"].norm()), 1.0, abs_tol=1e-5)
        assert math.isclose(float(turned["red"].sum()), 1.0, abs_tol=1e-5)


def _hue_alone(x: torch.Tensor, at: Draws, factors: dict[str, float]) -> torch.Tensor:
    class Alone(Draws):
        def uniform(self, name, *shape):
            drawn = at.uniform(name, *shape)
            only = name.endswith("hue?")
            return torch.zeros_like(drawn) if only else torch.ones_like(drawn) if name.endswith("?") else drawn

    return augment._coloured(x, Alone(1, 0, batch=1), "a", 0.5)


def test_moving_and_cutting():
    x = torch.arange(1.0, 65).reshape(1, 1, 8, 8)
    moved = augment.moved(x, torch.tensor([[0.25, -0.125]]))  # two down, one left
    assert torch.equal(moved[0, 0, 2:, :7], x[0, 0, :6, 1:])
    assert moved[0, 0, :2].abs().max() == 0 and moved[0, 0, :, 7].abs().max() == 0
    hole = augment.hole(x, torch.tensor([[0.5, 0.5]]))[0, 0]
    assert hole.sum() == 9 and hole[4, 4] == 1 and hole[2, 4] == 0  # of half the side, but for its rim


def test_augmented_pictures_are_as_bright_on_average():
    x = torch.rand(64, 3, 16, 16) - 0.5
    means = [augment.light_touch(x, draws(step, batch=64), "a").mean().item() for step in range(8)]
    assert abs(np.mean(means)) < 0.05


# Critics.


def test_sameness_tells_a_group_of_like_pictures():
    different = torch.randn(8, 4, 5, 5)
    alike = torch.cat([different[:1].expand(4, -1, -1, -1), different[4:]])
    found = sameness(alike)
    assert found.shape == (8, 1, 5, 5)
    assert found[:4].max() < 1e-3 < 0.5 < found[4:].min()


def test_halving_keeps_a_flat_picture_flat():
    assert torch.allclose(halved(torch.full((1, 3, 8, 8), 0.5))[..., 1:-1, 1:-1], torch.tensor(0.5))


def test_normalisation_looks_at_eight_pictures_whatever_the_batch():
    norm, x = LocalNorm(4), torch.randn(16, 4, 3, 3) * 3 + 1
    y = norm(x).detach()
    assert torch.allclose(y[:8], norm(x[:8]), atol=1e-6)
    assert abs(float(y.mean())) < 1e-5 and math.isclose(float(y.std(correction=0)), 1.0, abs_tol=1e-3)


@pytest.mark.parametrize("shuffle", [1, 2])
def test_the_plain_critic_learns_to_tell_light_from_dark(shuffle):
    torch.manual_seed(0)
    critic = Plain(size_px=32, channels=dict.fromkeys((4, 8, 16, 32), 8), shuffle=shuffle)
    assert _learns(critic, list(critic.parameters())) > 0.95


@needs_eyes
@pytest.mark.parametrize("size_px", [32, 128])
def test_the_projected_critic_learns_to_tell_light_from_dark(size_px):
    torch.manual_seed(0)
    critic = Projected(lite0.load(), size_px=size_px, seed=0, width=8)
    before = {key: value.clone() for key, value in critic.state_dict().items() if key.startswith(("eyes", "down"))}

    def judged(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([places.mean(dim=1) for places in critic.judge(critic.features(x))]).mean(dim=0)

    learning = [parameter for parameter in critic.parameters() if parameter.requires_grad]
    assert _learns(judged, learning, size_px=size_px) > 0.95
    assert all(torch.equal(critic.state_dict()[key], value) for key, value in before.items())


def _learns(critic, parameters: list[torch.nn.Parameter], *, size_px: int = 32) -> float:
    """The share of new pictures that a critic tells right after a few steps: some lighter on the left, some right."""

    def pictures(seed: int) -> torch.Tensor:
        noise = torch.randn(8, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed)) * 0.3
        slope = torch.linspace(-0.5, 0.5, size_px) * torch.tensor([1.0, -1.0]).repeat_interleave(4)[:, None]
        return noise + slope[:, None, None, :]

    wanted = torch.tensor([1.0, -1.0]).repeat_interleave(4)
    optimiser = torch.optim.Adam(parameters, lr=0.003, betas=(0.0, 0.99))
    for seed in range(25):
        optimiser.zero_grad()
        (1 - wanted * critic(pictures(seed))).relu().mean().backward()
        optimiser.step()
    with torch.no_grad():
        return float(np.mean([((critic(pictures(100 + s)) > 0) == (wanted > 0)).float().mean() for s in range(10)]))


@needs_eyes
def test_what_eyes_see_halves_four_times_and_hangs_on_the_picture():
    eyes = lite0.load()
    x = torch.rand(2, 3, 96, 64) * 2 - 1
    found = eyes(x)
    assert [tuple(y.shape[1:]) for y in found] == [(24, 24, 16), (40, 12, 8), (112, 6, 4), (320, 3, 2)]
    assert eyes.pooled(x).shape == (2, 1280)
    # A flat picture and a striped one are told apart at every scale.
    flat, striped = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    striped[..., ::8] = 1
    for one, other in zip(eyes(flat), eyes(striped), strict=True):
        assert (one - other).norm() > 0.1 * one.norm()


def test_without_its_package_the_projected_critic_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lite0, "PACKAGE", "no_such_package_anywhere")
    assert not lite0.is_there()
    with pytest.raises(Refused, match=r"no_such_package_anywhere is missing.*pip install 'performer\[train\]'"):
        lite0.load()


# Generators.


@pytest.mark.parametrize("name", fresh.FAMILIES)
def test_what_learns_computes_what_plays(name):
    checkpoint = fresh.species(name, size_px=32, seed=3, width=0.25)
    generator = Generator(checkpoint)
    z = torch.randn(4, checkpoint.sizes.z_dim)
    assert np.allclose(generator.mapping(z).detach(), PlayedMapping(checkpoint).w_from_z(z.numpy()), atol=1e-5)
    written = generator.tensors()
    assert written.keys() == checkpoint.tensors.keys()
    assert all(np.array_equal(written[key], tensor) for key, tensor in checkpoint.tensors.items())


def test_style_mixing_takes_rows_from_two_parents():
    generator = Generator(fresh.species("light", size_px=32, seed=3, width=0.25))
    z, other = torch.randn(2, 2, fresh.Z_DIM)
    ws = generator.ws(z, other, torch.tensor([2, generator.sizes.num_ws]))
    mother, father = generator.mapping(z), generator.mapping(other)
    parents = [mother[0]] * 2 + [father[0]] * 4 + [mother[1]] * 6
    assert torch.allclose(ws.flatten(0, 1), torch.stack(parents), atol=1e-4)


def test_a_fresh_light_species_draws_no_chequers():
    checkpoint = fresh.species("light", size_px=32, seed=3)
    with torch.no_grad():
        generator = Generator(checkpoint)
        picture = generator(generator.truncated(torch.randn(1, fresh.Z_DIM), 1.0))[0]
    blocks = picture.reshape(3, 16, 2, 16, 2)
    assert torch.allclose(blocks[:, :, :1, :, :1].expand_as(blocks), blocks, atol=1e-4)


# Latents for pictures.


def test_like_pictures_have_like_latents():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    small[1] = np.clip(small[0].astype(int) + 3, 0, 255)
    codes = codes_of(small, dimensions=16, seed=0)
    assert codes.shape == (60, 2, 16) and codes.dtype == np.float32
    lengths = np.linalg.norm(codes, axis=2)
    assert np.allclose(lengths, 4.0, atol=1e-4)  # the root of 16
    distances = np.linalg.norm(codes[0, 0] - codes[1:, 0], axis=1)
    assert distances.argmin() == 0 and distances[0] < 0.5 * np.median(distances)
    assert abs(codes.mean()) < 0.05


def test_a_mirrored_picture_has_the_latent_of_its_mirror_image():
    small = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    both = codes_of(small, dimensions=8, seed=0)
    turned = codes_of(small[:, :, ::-1], dimensions=8, seed=0)
    # Components are known up to their sign.
    assert np.allclose(np.abs(both[:, 0]), np.abs(turned[:, 1]), atol=1e-2)


def test_fewer_pictures_than_dimensions_get_latents_all_the_same():
    codes = codes_of(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8), dimensions=64, seed=0)
    assert codes.shape == (5, 2, 64) and np.isfinite(codes).all()
    assert np.allclose(np.linalg.norm(codes, axis=2), 8.0, atol=1e-4)


def test_what_is_matched_costs_least_of_all_orders():
    generator = torch.Generator().manual_seed(3)
    wanted, offered = (torch.randn(6, 5, generator=generator) for _ in range(2))
    places = matching.paired(wanted, offered)

    def cost(order) -> float:
        return float((wanted - offered[list(order)]).square().sum())

    assert sorted(places.tolist()) == list(range(6))
    assert cost(places.tolist()) == pytest.approx(min(map(cost, itertools.permutations(range(6)))), rel=1e-6)


@pytest.mark.parametrize("sees", [False, pytest.param(True, marks=needs_eyes)])
def test_pictures_look_alike_where_form_and_colour_are(sees):
    eyes = lite0.load() if sees else None
    red, green = torch.tensor([0.9, -0.8, -0.8]), torch.tensor([-0.8, 0.9, -0.8])
    pictures = torch.ones(4, 3, 64, 64)
    pictures[0, :, 16:48, 16:48] = red[:, None, None]
    pictures[1, :, 18:48, 16:50] = red[:, None, None]  # nearly the same
    pictures[2, :, 16:48, 16:48] = green[:, None, None]
    pictures[3, :, 28:36, 4:60] = red[:, None, None]
    looks = matching.look(pictures, eyes)
    to_first = (looks[1:] - looks[0]).norm(dim=1)
    assert to_first[0] < 0.6 * to_first[1:].min()


@pytest.mark.parametrize("together", [2048, 16])
def test_latents_already_draw_what_is_like_their_pictures(folder, monkeypatch, together):
    monkeypatch.setattr(matching, "TOGETHER", together)
    for number in range(40):  # squares to the left or right of the middle, dark to light
        picture = np.full((32, 32, 3), 255, np.uint8)
        picture[8:24, 4 + number % 2 * 8 : 20 + number % 2 * 8] = number * 6
        Pillow.fromarray(picture).save(folder / "pictures" / f"square {number:02d}.png")
    pictures = Pictures(files_of(folder), size_px=32, seed=1)
    checkpoint = fresh.species("light", size_px=32, seed=3, width=0.25)
    codes = matching.alike(pictures, checkpoint, None, device="cpu", seed=4)
    assert codes.shape == (50, 2, fresh.Z_DIM) and codes.dtype == np.float32
    assert np.array_equal(codes, matching.alike(pictures, checkpoint, None, device="cpu", seed=4))
    assert np.allclose(np.linalg.norm(codes, axis=2), 8.0, atol=1e-4)  # the root of 64
    assert len(np.unique(codes.reshape(100, -1), axis=0)) == 100
    generator = Generator(checkpoint)
    with torch.no_grad():
        drawn = matching.look(generator(generator.truncated(torch.from_numpy(codes).flatten(0, 1), 1.0)), None)
    real = torch.from_numpy(pictures.of(range(50))).permute(0, 3, 1, 2) / 127.5 - 1
    real = matching.look(torch.stack([real, real.flip(3)], dim=1).flatten(0, 1), None)
    apart = float((real - drawn).square().sum())
    others = [float((real - drawn[torch.randperm(100)]).square().sum()) for _ in range(20)]
    assert apart < min(others) - (np.mean(others) - min(others))


# Pictures.


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(10):
        Pillow.new("RGB", (32, 32), (number * 20, 0, 0)).save(tmp_path / "pictures" / f"{number:02d}.png")
    return tmp_path


def test_each_round_shows_every_picture_once_in_an_order_of_its_own(folder):
    pictures = Pictures(files_of(folder), size_px=32, seed=1)
    rounds = [pictures.places(start, 10) for start in (0, 10)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(10)) and rounds[0] != rounds[1]
    assert pictures.places(7, 6) == (rounds[0] + rounds[1])[7:13]
    assert Pictures(files_of(folder), size_px=32, seed=2).places(0, 10) != rounds[0]
    assert [picture[0, 0, 0] for picture in pictures.of([3, 0])] == [60, 0]


def test_pictures_that_do_not_fit_in_memory_are_the_same(folder, monkeypatch):
    kept = Pictures(files_of(folder), size_px=16, seed=1).of(range(10))
    monkeypatch.setattr("performer.training.pictures.KEPT_BYTES", 1)
    assert np.array_equal(Pictures(files_of(folder), size_px=16, seed=1).of(range(10)), kept)


def test_a_picture_that_does_not_fit_is_named_before_training(folder):
    Pillow.new("RGB", (16, 16)).save(folder / "pictures" / "small.png")
    with pytest.raises(Refused, match=r"small.png: 16x16 px; expected a square of 32 px or more"):
        Pictures(files_of(folder), size_px=32, seed=1)
    (folder / "pictures" / "small.png").write_text("no picture")
    with pytest.raises(Refused, match=r"small.png: cannot be read"):
        Pictures(files_of(folder), size_px=32, seed=1)
    whole = (folder / "pictures" / "00.png").read_bytes()
    (folder / "pictures" / "small.png").write_bytes(whole[: len(whole) // 2])
    pictures = Pictures(files_of(folder), size_px=32, seed=1)  # its header is whole
    with pytest.raises(Refused, match=r"small.png: cannot be read"):
        pictures.of(range(11))
