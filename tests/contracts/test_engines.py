"""Every engine keeps the same promises; the scan of the folder says which there are."""

import time
from dataclasses import replace

import numpy as np
import pytest

from performer.choreography.motion import input_transform
from performer.clock import SystemClock
from performer.engines.engine import Engine, EngineError, engines
from performer.flow import LatentFrame
from performer.generators.checkpoint import Checkpoint
from tests.generators.test_parity import reference

USABLE = [name for name, engine in engines().items() if engine.probe().available]


def latent_for(checkpoint: Checkpoint, seed: int) -> LatentFrame:
    rng = np.random.default_rng(seed)
    sizes = checkpoint.sizes
    ws = checkpoint.tensors["mapping.w_avg"] + rng.standard_normal((sizes.num_ws, sizes.w_dim)) * 0.5
    return LatentFrame(ws.astype(np.float32), np.linspace(0, 1, sizes.noise_layers, dtype=np.float32))


def picture(engine: Engine, latent: LatentFrame) -> np.ndarray:
    """The finished picture of `latent`."""
    done = engine.images
    engine.submit(latent)
    end = time.monotonic() + 30
    while engine.images == done and engine.failure is None and time.monotonic() < end:
        time.sleep(0.002)
    image = engine.latest()
    assert image is not None and image.serial == done + 1, engine.failure
    return image.pixels.copy()


@pytest.fixture(params=USABLE)
def engine(request):
    made = engines()[request.param](SystemClock())
    yield made
    made.close()


def test_both_first_engines_are_usable_here():
    assert {"eager", "openvino"} <= set(USABLE)


def test_pictures_are_opaque_bytes_and_follow_the_latent(engine, stylegan2):
    engine.activate(stylegan2, progress=lambda text: None)
    assert engine.latest() is None
    first, second = picture(engine, latent_for(stylegan2, 1)), picture(engine, latent_for(stylegan2, 2))
    assert first.shape == (16, 16, 4) and first.dtype == np.uint8
    assert (first[..., 3] == 255).all()
    assert (first != second).any()
    assert (picture(engine, latent_for(stylegan2, 1)) == first).all()


def test_noise_gains_reach_the_picture(engine, stylegan2):
    engine.activate(stylegan2, progress=lambda text: None)
    latent = latent_for(stylegan2, 1)
    assert (picture(engine, latent) != picture(engine, replace(latent, noise=np.zeros_like(latent.noise)))).any()


def test_a_held_picture_does_not_change_while_others_are_made(engine, stylegan2):
    engine.activate(stylegan2, progress=lambda text: None)
    picture(engine, latent_for(stylegan2, 1))
    held = engine.latest()
    copy = held.pixels.copy()
    done = engine.images
    for seed in range(2, 40):
        engine.submit(latent_for(stylegan2, seed))
        time.sleep(0.003)
        assert (held.pixels == copy).all()
    assert engine.images > done


def test_only_the_newest_waiting_latent_is_drawn(engine, stylegan2):
    engine.activate(stylegan2, progress=lambda text: None)
    expected = picture(engine, latent_for(stylegan2, 99))
    done = engine.images
    for seed in range(200):
        engine.submit(latent_for(stylegan2, seed))
    engine.submit(latent_for(stylegan2, 99))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        settled = engine.images
        time.sleep(0.25)
        if engine.images == settled and settled > done:
            break
    assert engine.images - done < 200  # a backlog would have drawn them all
    assert (engine.latest().pixels == expected).all()


def test_a_species_that_does_not_fit_is_refused(engine, stylegan2):
    tensors = {key: value for key, value in stylegan2.tensors.items() if "b8.conv1.weight" not in key}
    with pytest.raises(EngineError, match=r"b8\.conv1\.weight"):
        engine.activate(replace(stylegan2, tensors=tensors, content_hash="broken"), progress=lambda text: None)


def test_closing_twice_is_harmless(engine, stylegan2):
    engine.activate(stylegan2, progress=lambda text: None)
    engine.submit(latent_for(stylegan2, 1))
    engine.close()
    engine.close()


@pytest.fixture(scope="module")
def stylegan3() -> Checkpoint:
    return reference("sg3t_64")[0]


def test_a_moved_input_moves_the_picture(engine, stylegan3):
    engine.activate(stylegan3, progress=lambda text: None)
    latent = latent_for(stylegan3, 1)
    moved = replace(latent, transform=input_transform(x=0.25, y=0.0, turns=0.0, zoom=1.0))
    assert (picture(engine, latent) != picture(engine, moved)).any()


@pytest.mark.parametrize("species", ["stylegan2", "stylegan3", "embryo"])
def test_every_engine_agrees_with_eager_to_one_grey_level(species, request):
    checkpoint = request.getfixturevalue(species)
    pictures = {}
    for name in USABLE:
        engine = engines()[name](SystemClock())
        engine.activate(checkpoint, progress=lambda text: None)
        pictures[name] = [picture(engine, latent_for(checkpoint, seed)).astype(int) for seed in range(4)]
        engine.close()
    for name, got in pictures.items():
        for mine, oracle in zip(got, pictures["eager"], strict=True):
            assert np.abs(mine - oracle).max() <= 1, name
