"""The cast: engines are made while the window answers; what they cannot do is known before doors."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from performer import cast as casting
from performer.cast import Cast, Ended, made
from performer.clock import SystemClock
from performer.creatures import Creature
from performer.engines import host as hosting
from performer.engines.engine import Availability, EngineError, SlotEngine
from performer.engines.openvino import compiled_model
from performer.flow import LatentFrame
from performer.generators import checkpoint as species
from performer.generators.embryo import checkpoint_of as made_of
from performer.generators.embryo import tensors as tensors_of
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

    @property
    def is_closed(self) -> bool:
        return self._closing and self._thread is None

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


# Roles that come and go while the show plays


@pytest.fixture
def three(tmp_path: Path) -> Setlist:
    """Cues of three species."""
    cues = []
    for number, seed in enumerate((3, 4, 5)):
        species.write(tmp_path / f"s{number}.safetensors", made_of(tensors_of(seed=seed)))
        cues.append(f'[[cue]]\nid = "{number}"\n' + (f'species = "s{number}"\n' if number else ""))
    text = 'schema = 1\nname = "Three"\nspecies = "s0"\n[audio]\nsource = "tone"\n' + "".join(cues)
    (tmp_path / "three.toml").write_text(text)
    return load(tmp_path / "three.toml")


def budget_of(setlist: Setlist, roles: float) -> int:
    one = setlist.creatures[0].checkpoint.path.stat().st_size
    return int(roles * (casting.ROLE_BYTES + casting.WEIGHT_COPIES * one))


def wanted(cast: Cast, order: list[int], *, until, needed=(0,)) -> None:
    """Want roles, again and again as a show does, until it is so."""
    end_s = time.monotonic() + 20
    while not until() and time.monotonic() < end_s:
        cast.want(order, needed=needed)
        time.sleep(0.01)
    assert until()


def test_all_are_ready_before_doors_where_the_memory_holds_them(three, display, slow):
    cast = of(three)
    make(cast, display)
    assert not cast.absent and len(cast.roles) == 3 and len(slow.seen) == 3
    cast.close()


def test_those_that_come_first_are_ready_where_it_does_not(three, display, slow):
    cast = Cast(three, clock=SystemClock(), notices=Notices(), choice="auto", budget_bytes=budget_of(three, 2.2))
    make(cast, display)
    assert cast.absent == {2} and len(slow.seen) == 3, "all were built, so that the cache knows them"
    assert slow.seen[2].is_closed
    wanted(cast, [1, 2, 0], until=lambda: not cast.absent & {1, 2}, needed=(1,))
    assert cast.absent == {0} and cast.loads == 1
    wanted(cast, [1, 0, 2], until=lambda: 0 not in cast.absent, needed=(1,))
    assert cast.absent == {2}
    assert sum(not engine.is_closed for engine in slow.seen) == 2
    cast.close()
    assert all(engine.is_closed for engine in slow.seen)


def test_what_is_on_stage_is_never_let_go(three, display):
    cast = Cast(three, clock=SystemClock(), notices=Notices(), choice="auto", budget_bytes=budget_of(three, 1.2))
    make(cast, display)
    assert cast.absent == {1, 2}
    for _ in range(20):
        cast.want([0, 1, 2], needed=[0])
        time.sleep(0.01)
    assert cast.absent == {1, 2}
    wanted(cast, [2], until=lambda: 2 not in cast.absent, needed=(2,))
    assert cast.absent == {0, 1}
    cast.close()


def test_wanting_never_waits(three, display, slow, monkeypatch):
    cast = Cast(three, clock=SystemClock(), notices=Notices(), choice="auto", budget_bytes=budget_of(three, 2.2))
    make(cast, display)
    monkeypatch.setattr(slow, "made_in_s", 1.0)
    began_s = time.monotonic()
    for _ in range(10):
        cast.want([0, 2], needed=[0])
    assert time.monotonic() - began_s < 0.5 and 2 in cast.absent
    wanted(cast, [0, 2], until=lambda: 2 not in cast.absent)
    assert len([engine for engine in slow.seen if not engine.is_closed]) == 2, "and it is made once"
    cast.close()


def test_a_species_that_cannot_be_made_is_said_and_the_others_go_on(three, display, slow, monkeypatch):
    notices = Notices()
    cast = Cast(three, clock=SystemClock(), notices=notices, choice="auto", budget_bytes=budget_of(three, 2.2))
    make(cast, display)
    monkeypatch.setattr(slow, "fault", "out of memory")
    wanted(cast, [0, 2], until=lambda: 2 in cast.faults)
    (said,) = [notice.text for notice in notices.recent(at_s=0.0, within_s=60.0)]
    assert "cannot play (no engine can play this species: slow: out of memory)" in said and "goes on" in said
    assert cast.absent == {2} or cast.absent == {1, 2}
    cast.close()


def test_what_was_never_built_is_built_by_a_process_of_its_own(three, display, monkeypatch, tmp_path):
    cast = of(three)
    make(cast, display)
    started = []
    monkeypatch.setattr(
        casting.subprocess, "Popen", lambda command, **how: started.append(command) or SimpleNamespace(wait=lambda: 0)
    )
    path = tmp_path / "fourth.safetensors"
    species.write(path, made_of(tensors_of(seed=6)))
    number = cast.add(Creature(checkpoint=species.load(path)))
    assert number == 3 and cast.absent == {3}
    wanted(cast, [0, 3], until=lambda: not cast.absent)
    ((_, flag, module, choice, fps, named),) = started
    assert (flag, module, choice, float(fps), named) == ("-m", casting.BUILDER, "auto", 40.0, str(path))
    cast._builder = None
    cast.close()


def test_the_builder_leaves_its_engines_in_the_cache(tmp_path, monkeypatch):
    path = tmp_path / "own.safetensors"
    species.write(path, made_of(tensors_of(seed=6)))
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path / "cache"))
    subprocess.run([sys.executable, "-m", casting.BUILDER, "openvino", "40.0", str(path)], check=True, timeout=300)
    said: list[str] = []
    compiled_model(species.load(path), progress=said.append)
    assert said == [], "nothing is left to build"
