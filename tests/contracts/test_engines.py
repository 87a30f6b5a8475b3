"""Every engine keeps the same promises; the scan of the folder says which there are."""

import time
from dataclasses import replace
from functools import partial
from importlib import util

import numpy as np
import pytest

from performer.choreography.motion import bend_row, input_transform
from performer.clock import SystemClock
from performer.engines.engine import Engine, EngineError, engines
from performer.flow import STRAIGHT, LatentFrame
from performer.generators.checkpoint import Checkpoint
from tests.generators import graphs
from tests.generators.latents import sibling_of
from tests.generators.test_export import LEAST_PSNR_DB, psnr_db
from tests.generators.test_parity import reference

USABLE = [name for name, engine in engines().items() if engine.probe().available]
ON_HOST = "tensorrt on the host"  # where there is no card for it
PLAYED = [*USABLE, *([ON_HOST] if "tensorrt" not in USABLE and util.find_spec("cuda") is not None else [])]
HALF = [name for name in PLAYED if name == ON_HOST or engines()[name].half]


def latent_for(checkpoint: Checkpoint, seed: int) -> LatentFrame:
    rng = np.random.default_rng(seed)
    sizes = checkpoint.sizes
    ws = checkpoint.tensors["mapping.w_avg"] + rng.standard_normal((sizes.num_ws, sizes.w_dim)) * 0.5
    noise = np.linspace(0, 1, sizes.noise_layers)[:, None] * rng.random((1, 3)) * 2
    return LatentFrame(ws.astype(np.float32), noise.astype(np.float32))


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


@pytest.fixture
def on_host(monkeypatch):
    from tests.rig.cuda import host_card
    from tests.rig.tensorrt import RTX, host_tensorrt

    graphs.remember(monkeypatch)
    with host_card(monkeypatch) as card:
        host_tensorrt(RTX, card, monkeypatch)
        yield


def made(name: str, request: pytest.FixtureRequest) -> Engine:
    if name == ON_HOST:
        request.getfixturevalue("on_host")
        name = "tensorrt"
    return engines()[name](SystemClock())


@pytest.fixture(params=PLAYED)
def engine(request):
    engine = made(request.param, request)
    yield engine
    engine.close()


def partner(engine: Engine, checkpoint: Checkpoint, *, seed: int = 11) -> Checkpoint:
    return (graphs.partner_of if engine.half else partial(sibling_of, amount=0.1))(checkpoint, seed=seed)


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


BENDS = {
    "x": (0.2, 0, 0, 1, 1, 0, 0),
    "y": (0, -0.3, 0, 1, 1, 0, 0),
    "turn": (0, 0, 0.1, 1, 1, 0, 0),
    "zoom": (0, 0, 0, 1.7, 1, 0, 0),
    "gain": (0, 0, 0, 1, -1.5, 0, 0),
    "threshold": (0, 0, 0, 1, 1, 0.6, 0),
    "drop": (0, 0, 0, 1, 1, 0, 0.4),
}


@pytest.mark.parametrize("knobs", BENDS.values(), ids=BENDS.keys())
def test_every_bend_of_every_group_changes_the_picture_in_its_own_way(engine, stylegan2, knobs):
    engine.activate(stylegan2, progress=lambda text: None)
    latent = latent_for(stylegan2, 1)
    seen = [picture(engine, latent)]
    for group in range(3):
        bends = STRAIGHT.copy()
        bends[group] = bend_row(knobs)
        seen.append(picture(engine, replace(latent, bends=bends)))
    assert len({pixels.tobytes() for pixels in seen}) == 4
    assert (picture(engine, latent) == seen[0]).all()


def blended(latent: LatentFrame, blend: float | np.ndarray) -> LatentFrame:
    return replace(latent, blend=np.full(len(latent.ws), blend, np.float32))


@pytest.mark.parametrize("species", ["stylegan2", "stylegan3", "embryo"])
def test_siblings_at_rest_are_themselves_and_no_seam_lies_between(engine, species, request):
    first = request.getfixturevalue(species)
    second = partner(engine, first)
    latent = latent_for(first, 1)
    engine.activate(first, siblings=[second], progress=lambda text: None)
    nothing, all_but_nothing = 1e-12, float(np.nextafter(np.float32(1), np.float32(0)))
    at = {part: picture(engine, blended(latent, part)) for part in (0.0, nothing, 0.5, all_but_nothing, 1.0)}
    for part, alone in ((0.0, first), (1.0, second)):
        single = type(engine)(SystemClock())
        single.activate(alone, progress=lambda text: None)
        assert (picture(single, latent) == at[part]).all()
        single.close()
    for rest, nearly in ((0.0, nothing), (1.0, all_but_nothing)):
        if engine.half:
            assert psnr_db(at[nearly].astype(int), at[rest].astype(int)) >= LEAST_PSNR_DB
        else:
            assert np.abs(at[rest].astype(int) - at[nearly]).max() <= 1
    for rest in (0.0, 1.0):
        assert np.abs(at[rest].astype(int) - at[0.5]).max() > 3


def test_a_chain_is_each_of_its_species_and_no_seam_lies_where_one_stands(engine, stylegan2):
    siblings = [partner(engine, stylegan2, seed=seed) for seed in (1, 2)]
    engine.activate(stylegan2, siblings=siblings, progress=lambda text: None)
    latent, seen = latent_for(stylegan2, 1), []
    for place, alone in enumerate((stylegan2, *siblings)):
        part = np.float32(place / 2)
        around = [np.clip(np.nextafter(part, np.float32(to)), 0, 1) for to in (-1, 2)]
        before, at, after = (picture(engine, blended(latent, each)) for each in (around[0], part, around[1]))
        single = type(engine)(SystemClock())
        single.activate(alone, progress=lambda text: None)
        assert (picture(single, latent) == at).all()
        single.close()
        for nearly in (before, after):
            if engine.half:
                assert psnr_db(nearly.astype(int), at.astype(int)) >= LEAST_PSNR_DB
            else:
                assert np.abs(nearly.astype(int) - at).max() <= 1
        seen += [at, picture(engine, blended(latent, place / 2 + 1 / 4 if place < 2 else np.linspace(0, 1, 6)))]
    assert len({pixels.tobytes() for pixels in seen}) == 6


def test_each_layer_blends_by_itself(engine, stylegan2):
    engine.activate(stylegan2, siblings=[partner(engine, stylegan2)], progress=lambda text: None)
    latent = latent_for(stylegan2, 1)
    pictures = [picture(engine, blended(latent, row)) for row in np.eye(stylegan2.sizes.num_ws)]
    assert len({pixels.tobytes() for pixels in pictures}) == stylegan2.sizes.num_ws


def pictures_of(engine: Engine, checkpoint: Checkpoint, second: Checkpoint) -> list[np.ndarray]:
    """Four animals, and the first of them bent, and between two siblings."""
    engine.activate(checkpoint, siblings=[second], progress=lambda text: None)
    latents = [latent_for(checkpoint, seed) for seed in range(4)]
    latents.append(replace(latents[0], bends=np.stack([bend_row([0.1, 0.2, 0.03, 1.1, 1.2, 0.1, 0.1])] * 3)))
    latents.append(blended(latents[0], np.random.default_rng(1).random(checkpoint.sizes.num_ws)))
    pictures = [picture(engine, latent).astype(int) for latent in latents]
    engine.close()
    return pictures


@pytest.mark.parametrize("species", ["stylegan2", "stylegan3", "embryo"])
def test_every_engine_in_single_precision_agrees_with_eager_to_one_grey_level(species, request):
    checkpoint = request.getfixturevalue(species)
    whole = [name for name in USABLE if name not in HALF]
    pictures = {name: pictures_of(made(name, request), checkpoint, sibling_of(checkpoint)) for name in whole}
    for name, got in pictures.items():
        for mine, oracle in zip(got, pictures["eager"], strict=True):
            assert np.abs(mine - oracle).max() <= 1, name


@pytest.mark.parametrize("species", ["stylegan2", "stylegan3", "embryo"])
@pytest.mark.parametrize("name", HALF)
def test_an_engine_in_half_precision_draws_what_eager_draws_to_the_eye(name, species, request):
    checkpoint = request.getfixturevalue(species)
    second = graphs.partner_of(checkpoint)
    expected = pictures_of(made("eager", request), checkpoint, second)
    for mine, oracle in zip(pictures_of(made(name, request), checkpoint, second), expected, strict=True):
        assert psnr_db(mine, oracle) >= LEAST_PSNR_DB
