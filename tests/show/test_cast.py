"""The cast: engines are made while the window answers; what they cannot do is known before doors."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from performer import cast as casting
from performer.cast import Cast, Ended, made
from performer.clock import SystemClock
from performer.creatures import Creature
from performer.engines import host as hosting
from performer.engines.engine import Availability, EngineError, SlotEngine
from performer.flow import LatentFrame
from performer.generators import checkpoint as species
from performer.notices import Notices
from performer.play import PlayOptions, play, prepare
from performer.refusal import Refused
from performer.setlist import Setlist, load
from performer.stage.outputs.headless import Headless
from tests.conftest import small_stylegan2
from tests.show.program import free_port


class Slow(SlotEngine):
    """Takes its time to be made, and to draw."""

    name, rank, suits = "slow", 1, "tests"
    made_in_s = 0.0
    fault = ""
    breaks = False
    on_card = True
    seen: list["Slow"]

    @classmethod
    def probe(cls):
        return Availability(True, "always")

    @classmethod
    def fingerprint(cls):
        return cls.name

    def activate(self, checkpoint, *, progress, siblings=()):
        type(self).seen.append(self)
        progress(f"making {checkpoint.sizes.width_px} px")
        end_s = time.monotonic() + self.made_in_s
        while time.monotonic() < end_s and not self.given_up:
            time.sleep(0.005)
        if self.fault:
            raise EngineError(self.fault)
        self._start(checkpoint.sizes.height_px, checkpoint.sizes.width_px)

    def _infer_impl(self, latent, out):
        if self.breaks:
            raise RuntimeError("torn")
        out[:] = 200


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    monkeypatch.setattr(hosting, "engines", lambda: {"slow": Slow})
    monkeypatch.setattr(Slow, "seen", [], raising=False)
    return Slow


class Watched(Headless):
    """A display that counts what was presented and asked."""

    def __init__(self) -> None:
        super().__init__(size_px=(320, 180))
        self.presented, self.polled = 0, 0
        self.brightest = 0

    def present(self) -> None:
        self.presented += 1
        self.brightest = max(self.brightest, max(self.framebuffer.read(components=3)))
        super().present()

    def poll(self):
        self.polled += 1
        return super().poll()


@pytest.fixture
def display():
    shown = Watched()
    yield shown
    shown.close()


def of(setlist: Setlist, *, choice: str = "auto") -> Cast:
    return Cast(setlist, clock=SystemClock(), notices=Notices(), choice=choice)


def make(cast: Cast, display: Headless, *, ended: threading.Event | None = None, fps: float = 40.0) -> list[str]:
    said: list[str] = []
    made(cast, display, fps=fps, clock=SystemClock(), announce=said.append, ended=ended or threading.Event())
    return said


def test_the_window_answers_and_says_what_is_done(setlist, display, slow, monkeypatch):
    monkeypatch.setattr(slow, "made_in_s", 1.5)
    cast = of(load(setlist))
    assert make(cast, display) == ["making 256 px"]
    assert cast.host.name == "slow"
    assert display.polled > 10
    assert 2 < display.presented < display.polled  # words came after a second
    assert display.brightest > 150
    cast.close()


def test_a_quick_start_shows_no_words(setlist, display):
    cast = of(load(setlist))
    make(cast, display)
    assert display.presented == 0
    cast.close()


def test_leaving_before_doors_gives_up_what_is_built(setlist, display, slow, monkeypatch):
    monkeypatch.setattr(slow, "made_in_s", 60.0)
    ended = threading.Event()
    threading.Timer(0.3, ended.set).start()
    began_s = time.monotonic()
    with pytest.raises(Ended):
        make(of(load(setlist)), display, ended=ended)
    assert time.monotonic() - began_s < 8
    assert slow.seen[0].given_up


def test_closing_the_window_before_doors_ends_it_all(setlist, display, slow, monkeypatch):
    monkeypatch.setattr(slow, "made_in_s", 60.0)
    display.should_close = True
    with pytest.raises(Ended):
        make(of(load(setlist)), display)


def test_an_engine_that_cannot_be_made_is_refused_before_doors(setlist, slow, monkeypatch):
    monkeypatch.setattr(slow, "fault", "no such card")
    options = PlayOptions(setlist=str(setlist), headless=True, size_px=(160, 90), osc_port=free_port())
    with pytest.raises(Refused, match="no engine can play this species: slow: no such card"):
        prepare(options, announce=lambda text: None)


def test_a_show_whose_engines_all_fail_at_once_does_not_wait_for_ever(setlist, slow, monkeypatch):
    monkeypatch.setattr(slow, "breaks", True)
    monkeypatch.setattr(hosting, "REBUILDS", 0)
    options = PlayOptions(setlist=str(setlist), headless=True, size_px=(160, 90), osc_port=free_port())
    threading.Timer(0.5, lambda: monkeypatch.setattr(slow, "fault", "no such card")).start()
    with pytest.raises(Refused, match="no engine can play this species: slow: no such card"):
        play(options, announce=lambda text: None)


def test_pictures_stay_on_the_card_only_where_the_display_takes_them(setlist, display, slow, monkeypatch):
    for fault, stays in (("another card", False), ("", True)):
        monkeypatch.setattr(casting, "fault_of_sharing", lambda ctx, fault=fault: fault)
        cast = of(load(setlist))
        make(cast, display)
        assert cast.card_fault == fault
        assert slow.seen[-1].stays_on_card is stays
        cast.close()


@pytest.fixture
def large(tmp_path: Path) -> Setlist:
    """A setlist with a StyleGAN2 of 512 px, thin enough to be quick."""
    path = tmp_path / "large.safetensors"
    species.write(path, small_stylegan2(resolution=512, channels=2))
    text = 'schema = 1\nname = "Large"\nspecies = "large.safetensors"\n[audio]\nsource = "tone"\n[[cue]]\nid = "1"\n'
    (tmp_path / "large.toml").write_text(text)
    return load(tmp_path / "large.toml")


@pytest.mark.parametrize(("took_ms", "expected"), [(None, None), (5.0, None), (18.0, 256), (90.0, 256), (200.0, None)])
def test_a_machine_short_of_time_gets_a_smaller_picture_ready(large, display, slow, took_ms, expected):
    cast = of(large)
    cast.host.measured_ms = took_ms
    make(cast, display, fps=40.0)
    small = cast.roles[0].small
    assert (small.checkpoint.sizes.width_px if small else None) == expected
    if small is not None:
        rows, layers = large.checkpoint.sizes.num_ws, large.checkpoint.sizes.noise_layers
        latent = LatentFrame(
            np.zeros((rows, large.checkpoint.sizes.w_dim), np.float32), np.ones((layers, 3), np.float32)
        )
        small.submit(latent)
        end_s = time.monotonic() + 10
        while small.latest() is None and time.monotonic() < end_s:
            time.sleep(0.005)
        image = small.latest()
        assert image is not None and image.pixels.shape == (256, 256, 4)
    cast.close()


def test_the_smaller_picture_has_all_siblings(large, display):
    sibling = large.checkpoint
    cast = of(replace(large, creatures=(Creature(checkpoint=sibling, siblings=(sibling, sibling)),)))
    cast.host.measured_ms = 18.0
    make(cast, display)
    small = cast.roles[0].small
    assert len(cast.host.siblings) == 2
    assert [each.sizes.width_px for each in (small.checkpoint, *small.siblings)] == [256] * 3
    cast.close()


def test_a_species_that_has_no_smaller_form_goes_without(setlist, display):
    cast = of(load(setlist))
    cast.host.measured_ms = 100.0
    make(cast, display)
    assert cast.roles[0].small is None
    cast.close()
