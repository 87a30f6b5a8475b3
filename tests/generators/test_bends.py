"""Network bending: what a bend does to features, and that it does nothing at rest."""

import numpy as np
import pytest
import torch

from performer.choreography.motion import bend_row
from performer.flow import STRAIGHT
from performer.generators import family
from performer.generators.ops import Bend, warped, warped_reference
from tests.generators.latents import noise_of
from tests.generators.test_parity import reference

AT_REST = torch.tensor(STRAIGHT)


def features(height: int, width: int, channels: int = 6) -> torch.Tensor:
    return torch.randn(2, height, width, channels, generator=torch.Generator().manual_seed(height * width))


def move_of(*, x: float = 0.0, y: float = 0.0, turns: float = 0.0, zoom: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(bend_row([x, y, turns, zoom, 1, 0, 0]))[:4]


@pytest.mark.parametrize(("height", "width", "margin_px"), [(4, 4, 0), (16, 8, 0), (9, 13, 0), (36, 36, 10)])
@pytest.mark.parametrize(
    "move",
    [{"x": 0.3}, {"y": -0.41}, {"turns": 0.13}, {"zoom": 0.3}, {"x": 1.7, "y": 0.2, "turns": -0.4, "zoom": 2.2}],
    ids=str,
)
def test_gathering_samples_as_a_grid_sampler_does(height, width, margin_px, move):
    x = features(height, width)
    expected = warped_reference(x, move_of(**move), margin_px=margin_px)
    assert (warped(x, move_of(**move), margin_px=margin_px) - expected).abs().max() <= 1e-4
    assert (expected - x).abs().max() > 0.1


def test_features_shift_by_parts_of_the_picture():
    """Right and down are positive; what lies in the margin belongs to no picture."""
    x = features(8, 8)
    assert (warped(x, move_of(x=0.25))[:, :, 2:] == x[:, :, :-2]).all()
    assert (warped(x, move_of(y=0.25))[:, 2:] == x[:, :-2]).all()
    inner = features(8 + 2 * 4, 8 + 2 * 4)
    assert (warped(inner, move_of(x=0.25), margin_px=4)[:, :, 2:] == inner[:, :, :-2]).all()


def test_features_turn_clockwise_about_the_middle():
    x = features(8, 8)
    assert (warped(x, move_of(turns=0.25)) - torch.rot90(x, -1, dims=(1, 2))).abs().max() <= 1e-5


def test_a_turn_of_a_wide_picture_keeps_its_shape():
    """A point right of the middle goes to the same distance below it, counted in samples."""
    x = torch.zeros(1, 9, 17, 1)
    x[0, 4, 8 + 3] = 1
    assert torch.nonzero(warped(x, move_of(turns=0.25))[0, :, :, 0] > 0.9).tolist() == [[4 + 3, 8]]


@pytest.mark.parametrize(("channels", "dropped"), [(10, 0.0), (10, 0.3), (10, 1.0), (7, 0.5)])
def test_channels_fade_out_one_after_the_other(channels, dropped):
    bend, x = Bend(0, channels), torch.ones(1, 2, 2, channels)
    row = torch.from_numpy(np.stack([bend_row([0, 0, 0, 1, 1, 0, dropped])] * 3))
    kept = bend(x, row)[0, 0, 0]
    assert kept.sum() == pytest.approx(channels * (1 - dropped), abs=1e-5)
    assert ((kept > 0) & (kept < 1)).sum() <= 1
    less = bend(x, torch.from_numpy(np.stack([bend_row([0, 0, 0, 1, 1, 0, min(dropped + 0.2, 1)])] * 3)))[0, 0, 0]
    assert (less <= kept).all()  # always in the same order


def test_threshold_takes_from_every_size_and_gain_multiplies():
    bend = Bend(1, 4)
    x = torch.tensor([-2.0, -0.5, 0.25, 3.0]).reshape(1, 1, 1, 4)
    rows = torch.from_numpy(np.stack([bend_row([0, 0, 0, 1, -2, 0.5, 0])] * 3))
    assert bend(x, rows).flatten().tolist() == [3.0, 0.0, 0.0, -5.0]


@pytest.mark.parametrize("name", ["sg2_64", "sg3t_64", "sg3r_64", "embryo"])
def test_bends_at_rest_change_no_bit_of_the_picture(name, request):
    checkpoint = request.getfixturevalue("embryo") if name == "embryo" else reference(name)[0]
    net, sizes = family.build(checkpoint), checkpoint.sizes
    assert len(net.bends) == 3
    ws = torch.randn(1, sizes.num_ws, sizes.w_dim, generator=torch.Generator().manual_seed(4)) * 0.5
    more = {"transform": torch.eye(3)} if getattr(net, "takes_transform", False) else {}
    draw = getattr(net, "forward_rgba", net)
    with torch.inference_mode():
        expected = draw(ws, noise_of(sizes.noise_layers), **more)
        assert torch.equal(draw(ws, noise_of(sizes.noise_layers), bends=AT_REST, **more), expected)
        for group in range(3):
            bends = AT_REST.clone()
            bends[group] = torch.from_numpy(bend_row([0.1, 0, 0, 1, 1, 0, 0]))
            assert not torch.equal(draw(ws, noise_of(sizes.noise_layers), bends=bends, **more), expected)
