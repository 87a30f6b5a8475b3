"""The trial: engines are looked at and timed against the oracle, and the fastest right one plays."""

import json
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from performer.clock import SystemClock
from performer.engines import cache, trial
from performer.engines import host as hosting
from performer.engines.eager import EagerEngine
from performer.engines.engine import Availability, EngineError
from performer.engines.host import EngineHost
from performer.flow import STRAIGHT, species_at
from performer.notices import Notices
from tests.conftest import small_stylegan2
from tests.generators.latents import sibling_of


class Quick(EagerEngine):
    """Draws as the oracle does, and says it was quick."""

    name, rank, suits, half = "quick", 1, "tests", True
    takes_s = 0.0
    activated = 0
    closed = 0

    @classmethod
    def probe(cls):
        return Availability(True, "always")

    @classmethod
    def fingerprint(cls):
        return f"{cls.name} 1"

    def activate(self, checkpoint, *, progress, siblings=()):
        type(self).activated += 1
        super().activate(checkpoint, progress=progress, siblings=siblings)

    def _infer_impl(self, latent, out):
        super()._infer_impl(latent, out)
        time.sleep(self.takes_s)

    def close(self):
        type(self).closed += 1
        super().close()


class Blotted(Quick):
    """Loses a patch where noise is strong, as half precision does that left its range."""

    name, rank = "blotted", 2

    def _infer_impl(self, latent, out):
        super()._infer_impl(latent, out)
        if np.abs(latent.noise).max() > 3:
            out[:6, :6, :3] = 0


class Dull(Quick):
    """Is three grey levels off everywhere."""

    name, rank = "dull", 2

    def _infer_impl(self, latent, out):
        super()._infer_impl(latent, out)
        out[..., :3] ^= 3


class Breaking(Quick):
    """Fails at its second picture."""

    name, rank = "breaking", 3

    def _infer_impl(self, latent, out):
        if self.images:
            raise RuntimeError("the card is gone")
        super()._infer_impl(latent, out)


class Refusing(Quick):
    """Never starts."""

    name, rank = "refusing", 4

    def activate(self, checkpoint, *, progress, siblings=()):
        raise EngineError("no such operator")


class Sleepy(Quick):
    """Right, and slow."""

    name, rank, takes_s = "sleepy", 5, 0.03


class Oracle(Quick):
    """The oracle, slower than the others, so that which is the fastest hangs on no hair."""

    name, rank, takes_s, half = "eager", 90, 0.004, False


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(trial, "LATENTS_HALF", 12)


@pytest.fixture
def cast(monkeypatch):
    def of(*kinds):
        monkeypatch.setattr(hosting, "engines", lambda: {kind.name: kind for kind in kinds})
        for kind in kinds:
            monkeypatch.setattr(kind, "activated", 0)
            monkeypatch.setattr(kind, "closed", 0)

    return of


def activated(checkpoint, *, choice="auto", siblings=(), said=None) -> tuple[EngineHost, Notices]:
    notices = Notices()
    host = EngineHost(checkpoint, siblings=siblings, clock=SystemClock(), notices=notices, choice=choice)
    host.activate(progress=(said if said is not None else []).append)
    return host, notices


def test_the_fastest_right_engine_plays_and_tells_why(cast, stylegan2):
    cast(Blotted, Dull, Breaking, Refusing, Sleepy, Quick, Oracle)
    said: list[str] = []
    host, _ = activated(stylegan2, said=said)
    assert host.name == "quick"
    assert host.why.startswith("the fastest that draws this species right (quick ")
    assert "no difference over 12 latents, eager " in host.why
    assert "blotted left out: a part of its picture is not eager's" in host.why
    assert re.search(r"dull left out: it draws other pictures than eager \(39\.\d dB; expected 40 at least\)", host.why)
    assert "breaking left out: it fails (the card is gone)" in host.why
    assert "refusing left out: no such operator" in host.why
    assert "checking sleepy against eager: 0 of 12 pictures" in said
    assert host.measured_ms is not None and 0 < host.measured_ms < 30
    host.close()


def test_those_that_do_not_play_are_closed_and_the_one_that_does_goes_on(cast, stylegan2):
    cast(Quick, Sleepy, Oracle)
    host, _ = activated(stylegan2)
    assert (Quick.activated, Quick.closed, Sleepy.closed, Oracle.closed) == (2, 1, 1, 1)
    assert host.images == 0  # those of the trial nobody saw
    host.close()
    assert Quick.closed == 2


def test_the_verdict_is_remembered_until_something_changes(cast, stylegan2, monkeypatch):
    cast(Quick, Sleepy, Oracle)
    activated(stylegan2)[0].close()
    host, _ = activated(stylegan2)
    assert (Quick.activated, Sleepy.activated, Oracle.activated) == (3, 1, 1)
    assert host.name == "quick" and "no difference over 12 latents" in host.why
    host.close()
    activated(small_stylegan2(seed=8))[0].close()  # another species
    assert Sleepy.activated == 2
    activated(stylegan2, choice="measure")[0].close()
    assert Sleepy.activated == 3
    monkeypatch.setattr(Sleepy, "fingerprint", classmethod(lambda cls: "sleepy 2"))  # another version of a library
    activated(stylegan2)[0].close()
    assert Sleepy.activated == 4


@pytest.mark.parametrize("damage", [b"", b"[", b'[{"engine": 1, "colour": 2}]'])
def test_a_verdict_that_cannot_be_read_is_found_anew(cast, stylegan2, damage):
    cast(Quick, Oracle)
    activated(stylegan2)[0].close()
    cache.store(trial.FOLDER, trial._key([Quick, Oracle], stylegan2, ()), damage)
    activated(stylegan2)[0].close()
    assert Oracle.activated == 2


def test_an_engine_that_is_asked_for_is_not_tried(cast, stylegan2):
    cast(Quick, Sleepy, Oracle)
    host, _ = activated(stylegan2, choice="sleepy")
    assert host.name == "sleepy" and host.why == "asked for" and host.measured_ms is None
    assert Oracle.activated == 0
    host.close()


def test_where_the_oracle_fails_the_others_are_tried_in_their_order(cast, stylegan2, monkeypatch):
    class Broken(Oracle):
        def activate(self, checkpoint, *, progress, siblings=()):
            raise RuntimeError("out of memory")

    cast(Sleepy, Broken)
    host, notices = activated(stylegan2)
    assert host.name == "sleepy"
    assert "could not be compared (eager: out of memory)" in notices.recent(at_s=0, within_s=1e9)[0].text
    host.close()


def test_an_engine_far_slower_than_the_fastest_is_not_looked_at_for_long(cast, stylegan2, monkeypatch):
    monkeypatch.setattr(Sleepy, "takes_s", 0.2)
    cast(Quick, Sleepy, Oracle)
    host, _ = activated(stylegan2)
    (verdicts,) = [json.loads(path.read_bytes()[32:]) for path in (cache.folder() / trial.FOLDER).iterdir()]
    assert {each["engine"]: each["latents"] for each in verdicts} == {"quick": 12, "eager": 16, "sleepy": 4}
    host.close()


def test_a_small_card_holds_one_engine_at_a_time_beside_the_oracle(cast, stylegan2, monkeypatch):
    alive: set[str] = set()
    most: list[set[str]] = []

    def opened(self, checkpoint, *, progress, siblings=()):
        EagerEngine.activate(self, checkpoint, progress=progress, siblings=siblings)
        alive.add(self.name)
        most.append(set(alive))

    def closed(self):
        EagerEngine.close(self)
        alive.discard(self.name)

    monkeypatch.setattr(Quick, "activate", opened)
    monkeypatch.setattr(Quick, "close", closed)
    cast(Quick, Sleepy, Oracle)
    host, _ = activated(stylegan2)
    assert most == [{"eager"}, {"eager", "quick"}, {"eager", "sleepy"}, {"quick"}]
    host.close()


def test_a_slow_oracle_does_not_keep_the_doors_shut(cast, stylegan2, monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE_HALF_S", 0.0)
    cast(Quick, Oracle)
    host, _ = activated(stylegan2)
    assert f"over {trial.FIRST_LATENTS} latents" in host.why
    host.close()


def test_full_precision_is_looked_at_for_a_shorter_time(cast, stylegan2, monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)
    monkeypatch.setattr(Quick, "half", False)
    cast(Quick, Oracle)
    host, _ = activated(stylegan2)
    assert f"over {trial.FIRST_LATENTS} latents" in host.why
    host.close()


def test_the_latents_go_as_far_as_a_show_can(stylegan2):
    pair = list(trial.latents(stylegan2, (sibling_of(stylegan2),), count=200))
    alone = list(trial.latents(stylegan2, (), count=200))
    assert len(pair) == len(alone) == 200
    mean = stylegan2.tensors["mapping.w_avg"]
    spread = [np.linalg.norm(latent.ws - mean, axis=1).mean() for latent in alone]
    assert max(spread) > 1.8 * np.median(spread[3::4])  # those without truncation, and those at 0.5
    assert max(np.abs(latent.noise).max() for latent in alone) == trial.STRONG_NOISE
    assert sum((latent.bends != STRAIGHT).any() for latent in alone) == 20
    assert not any(latent.blend.any() for latent in alone)
    assert sum(bool(latent.blend.any()) for latent in pair) == 100
    assert sum(bool((latent.blend == 1).all()) for latent in pair) == 50
    assert all((latent.blend >= 0).all() and (latent.blend <= 1).all() for latent in pair)
    again = list(trial.latents(stylegan2, (), count=200))
    assert all((one.ws == two.ws).all() for one, two in zip(alone, again, strict=True))


def test_the_latents_of_a_chain_stand_at_each_species_and_everywhere_between(stylegan2):
    siblings = [sibling_of(stylegan2, seed=seed) for seed in (1, 2, 3)]
    blends = [latent.blend for latent in trial.latents(stylegan2, siblings, count=trial.LATENTS_FULL)]
    at = {species_at(blend, siblings=3) for blend in blends}
    assert at == {0, 1, 2, 3, None}
    spans = {(int(blend.min() * 3), int(blend.max() * 3)) for blend in blends if species_at(blend, siblings=3) is None}
    assert {(0, 0), (1, 1), (2, 2), (0, 2)} <= spans


def test_a_pair_is_tried_as_a_pair(cast, stylegan2):
    class Lazy(Quick):
        """Takes a pair for its first species."""

        name = "lazy"

        def _infer_impl(self, latent, out):
            super()._infer_impl(replace(latent, blend=np.zeros_like(latent.blend)), out)

    cast(Lazy, Oracle)
    host, _ = activated(stylegan2, siblings=[sibling_of(stylegan2)])
    assert host.name == "eager" and "lazy left out: " in host.why
    host.close()


def test_likeness_leaves_alpha_out():
    picture = np.full((4, 4, 4), 100, np.uint8)
    assert trial.psnr_of(picture, picture) == float("inf")
    other = picture.copy()
    other[..., 3] = 0
    assert trial.psnr_of(other, picture) == float("inf")
    other[..., :3] = 110
    assert trial.psnr_of(other, picture) == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)


def test_a_hole_is_found_however_large_the_picture():
    picture = np.random.default_rng(0).integers(60, 255, (2048, 1024, 4), np.uint8)
    holed = picture.copy()
    holed[320:340, 256:276, :3] = 0
    assert trial.psnr_of(holed, picture) > 40
    assert trial.worst_tile_of(holed, picture) < trial.LEAST_TILE_DB
    assert trial.worst_tile_of(picture, picture) == float("inf")
    assert trial.worst_tile_of(picture[:10, :7], picture[:10, :7] ^ 1) == pytest.approx(48.1, abs=0.1)


def test_a_fault_that_may_pass_is_not_remembered(cast, stylegan2):
    class Crowded(Quick):
        name = "crowded"

        def activate(self, checkpoint, *, progress, siblings=()):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    cast(Crowded, Oracle)
    for _ in "12":
        host, _ = activated(stylegan2)
        assert "crowded left out: CUDA out of memory" in host.why
        host.close()
    assert Oracle.activated == 4  # each time for the trial, and then to play


def test_what_nobody_waits_for_is_given_up(cast, stylegan2, monkeypatch):
    monkeypatch.setattr(trial, "LATENTS_HALF", 100000)
    cast(Quick, Oracle)
    host = EngineHost(stylegan2, clock=SystemClock(), notices=Notices())
    refused: list[Exception] = []

    def activate():
        try:
            host.activate(progress=lambda text: None)
        except EngineError as error:
            refused.append(error)

    maker = threading.Thread(target=activate)
    maker.start()
    time.sleep(0.5)
    host.close()
    maker.join(timeout=10)
    assert not maker.is_alive() and len(refused) == 1
    assert Quick.closed == Quick.activated == 1
