"""A whole show on a card on the host: TensorRT draws, the picture goes into the display's texture, and the card gives up."""

import numpy as np
import pytest

from performer import cast as casting
from performer.engines import trial
from performer.play import PlayOptions, prepare
from performer.stage import upload as uploading
from tests.show.conftest import play_until
from tests.show.program import free_port

TEXT = """
schema = 1
name = "Card"
species = "small.safetensors"
[audio]
source = "tone"
[[cue]]
id = "1"
"""


@pytest.fixture
def options(tmp_path, monkeypatch, stylegan2):
    """A show of a small species, for a display whose OpenGL hangs on the card."""
    from performer.generators import checkpoint as species

    species.write(tmp_path / "small.safetensors", stylegan2)
    (tmp_path / "card.toml").write_text(TEXT)
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(uploading, "is_software", lambda renderer: False)
    monkeypatch.setattr(trial, "LATENTS_HALF", 8)
    return PlayOptions(
        setlist=str(tmp_path / "card.toml"),
        headless=True,
        size_px=(160, 90),
        osc_host="127.0.0.1",
        osc_port=free_port(),
        engine="tensorrt",
    )


@pytest.fixture
def shared(card, monkeypatch):
    """The card is the display's too."""
    tried = casting.fault_of_sharing

    def fault(ctx):
        card.share(ctx)
        return tried(ctx)

    monkeypatch.setattr(casting, "fault_of_sharing", fault)


def test_pictures_go_from_tensorrt_to_the_stage_without_the_host(library, shared, options, monkeypatch):
    monkeypatch.setattr(uploading.cuda, "downloaded", lambda pixels: pytest.fail("it went through the host"))
    said: list[str] = []
    show = prepare(options, announce=said.append)
    play_until(show, lambda: show.images > 20)
    assert show.host.name == "tensorrt" and not show.stage.warnings
    assert show.stage.read_pixels()[..., :3].std() > 1
    assert not any("through the host" in text for text in said)
    show.close()


def test_where_the_display_is_elsewhere_that_is_said(library, options):
    said: list[str] = []
    show = prepare(options, announce=said.append)
    play_until(show, lambda: show.images > 5)
    assert any("pictures go through the host to the display: " in text for text in said)
    assert show.stage.read_pixels()[..., :3].std() > 1
    show.close()


def test_when_the_card_gives_up_the_picture_is_held_and_another_engine_goes_on(library, card, shared, options):
    show = prepare(options, announce=lambda text: None)
    play_until(show, lambda: show.images > 5)
    card.fail("cudaStreamSynchronize", card.cudaError_t.cudaErrorLaunchFailure, sticky=True)
    darkest = []

    def others_play() -> bool:
        darkest.append(int(show.stage.read_pixels()[..., :3].max()))
        return show.host.name not in ("", "tensorrt") and show.host.latest() is not None

    play_until(show, others_play)
    assert show.host.name in ("openvino", "eager")
    assert min(darkest) > 50, "the screen went black"
    drawn = show.images
    play_until(show, lambda: show.images > drawn + 5)
    assert np.ptp(show.stage.read_pixels()[..., :3]) > 50
    text = " ".join(notice.text for notice in show.notices.recent(at_s=show.clock.now_s(), within_s=1e9))
    assert "engine tensorrt failed" in text and "plays again" in text
    show.close()
