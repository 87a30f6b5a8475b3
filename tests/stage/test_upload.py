"""The way of pixels into a texture: straight, through buffers, and from a card without the host."""

import logging

import numpy as np
import pytest

from performer.cuda import CudaError, Memory
from performer.flow import DevicePixels
from performer.stage import upload as uploading
from performer.stage.outputs.headless import Headless
from performer.stage.upload import RING, SharedTexture, Upload, fault_of_sharing
from tests.stage.conftest import Rig

pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings, for their codes and handles")


@pytest.fixture
def display():
    shown = Headless(size_px=(64, 64))
    yield shown
    shown.close()


@pytest.fixture
def on_card(monkeypatch):
    """As if a card drew: buffers are used, and sharing is tried."""
    monkeypatch.setattr(uploading, "is_software", lambda renderer: False)


@pytest.fixture
def memory(card):
    made = Memory()
    yield made
    made.close()


def noise(width: int, height: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


def placed(memory: Memory, picture: np.ndarray) -> DevicePixels:
    """The picture, on the card."""
    height, width = picture.shape[:2]
    pixels, staged = memory.pixels(height, width), memory.pinned(*picture.shape)
    staged[:] = picture
    memory.send(staged, pixels.address)
    memory.wait()
    return pixels


def read(upload: Upload) -> np.ndarray:
    width, height = upload.size
    return np.frombuffer(upload.texture.read(), np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize("size", [(16, 16), (17, 5), (256, 128)])
def test_pictures_in_memory_arrive_whole_straight_and_through_buffers(display, monkeypatch, size):
    for is_software in (True, False):
        monkeypatch.setattr(uploading, "is_software", lambda renderer, answer=is_software: answer)
        upload = Upload(display.ctx, size)
        for seed in range(RING + 2):
            picture = noise(*size, seed=seed)
            upload.put(picture)
            assert (read(upload) == picture).all()
        wide = noise(2 * size[0], size[1])
        upload.put(wide[:, ::2])  # whose pixels do not lie side by side
        assert (read(upload) == wide[:, ::2]).all()
        upload.release()


def test_pictures_on_the_card_go_into_the_texture_without_the_host(display, on_card, card, memory, monkeypatch):
    card.share(display.ctx)
    monkeypatch.setattr(uploading.cuda, "downloaded", lambda pixels: pytest.fail("it went through the host"))
    upload = Upload(display.ctx, (48, 20))
    for seed in range(3):
        picture = noise(48, 20, seed=seed)
        upload.put(placed(memory, picture))
        assert (read(upload) == picture).all()
    upload.release()


def test_where_sharing_breaks_in_a_show_pictures_go_through_the_host(display, on_card, card, memory, caplog):
    card.share(display.ctx)
    upload = Upload(display.ctx, (32, 32))
    upload.put(placed(memory, noise(32, 32)))
    card.fail("cudaGraphicsMapResources", card.cudaError_t.cudaErrorUnknown)
    with caplog.at_level(logging.WARNING):
        for seed in (1, 2):
            picture = noise(32, 32, seed=seed)
            upload.put(placed(memory, picture))
            assert (read(upload) == picture).all()
    assert [text.split(":")[0] for text in caplog.messages] == ["pictures go through the host from here on"]
    upload.release()


def test_a_card_that_is_gone_is_told(display, on_card, card, memory):
    card.share(display.ctx)
    upload = Upload(display.ctx, (32, 32))
    pixels = placed(memory, noise(32, 32))
    card.fail("cudaGraphicsMapResources", card.cudaError_t.cudaErrorLaunchFailure, sticky=True)
    with pytest.raises(CudaError, match="cudaMemcpy: "):
        upload.put(pixels)
    upload.release()


def test_sharing_is_tried_with_a_real_texture(display, on_card, card):
    card.share(display.ctx)
    assert fault_of_sharing(display.ctx) == ""
    assert card.left() == []


def test_why_pictures_cannot_be_shared_is_told(display, card, monkeypatch):
    assert fault_of_sharing(display.ctx).startswith("the display is drawn by the processor (llvmpipe")
    monkeypatch.setattr(uploading, "is_software", lambda renderer: False)
    card.share(display.ctx, devices=(1,))
    assert fault_of_sharing(display.ctx).startswith("the display hangs on another card (llvmpipe")
    card.share(display.ctx)
    put = SharedTexture.put
    monkeypatch.setattr(SharedTexture, "put", lambda self, pixels: None)
    assert fault_of_sharing(display.ctx) == "a picture that CUDA wrote is not what OpenGL reads"
    monkeypatch.setattr(SharedTexture, "put", put)
    card.fail("cudaGraphicsGLRegisterImage", card.cudaError_t.cudaErrorOperatingSystem)
    assert fault_of_sharing(display.ctx).startswith("cudaGraphicsGLRegisterImage: ")
    monkeypatch.setattr(uploading, "call", lambda *args: (_ for _ in ()).throw(RuntimeError("no such function")))
    assert fault_of_sharing(display.ctx) == "no such function"
    monkeypatch.setattr(uploading.cuda, "lacking", lambda: "no driver")
    assert fault_of_sharing(display.ctx) == "no driver"
    assert card.left() == []


def test_a_stage_shows_a_picture_on_the_card_as_it_shows_one_in_memory(on_card, card, memory):
    card_rig, memory_rig = Rig(), Rig()
    picture = noise(32, 32)
    picture[..., 3] = 255
    expected = memory_rig.show(picture)
    card.share(card_rig.display.ctx)
    assert (card_rig.show(placed(memory, picture)) == expected).all()
    assert card_rig.stage.warnings == ()
    for rig in (card_rig, memory_rig):
        rig.stage.close()
        rig.display.close()


def test_a_card_that_fails_in_a_show_holds_the_picture(on_card, card, memory):
    rig = Rig()
    card.share(rig.display.ctx)
    held = rig.show(placed(memory, noise(32, 32)))
    pixels = placed(memory, noise(32, 32, seed=1))
    card.fail("cudaGraphicsMapResources", card.cudaError_t.cudaErrorLaunchFailure, sticky=True)
    assert (rig.show(pixels) == held).all()
    assert len(rig.stage.warnings) == 1 and "the picture is held: CudaError" in rig.stage.warnings[0]
    rig.stage.close()
    rig.display.close()
