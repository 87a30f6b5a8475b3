"""OpenVINO: its error before quantisation, its cache, and what it imports."""

import subprocess
import sys
import weakref

import numpy as np
import openvino
import pytest
import torch

from performer.clock import SystemClock
from performer.engines import cache
from performer.engines import openvino as openvino_engine
from performer.engines.openvino import HINTS, OpenVinoEngine, compiled_model, converted
from performer.flow import STRAIGHT
from performer.generators.network import SignalNetwork, build
from tests.conftest import EMBRYO, small_stylegan2
from tests.generators.latents import sibling_of


def silent(text: str) -> None:
    pass


@pytest.mark.parametrize("truncation", [0.7, 1.0, 1.3])
def test_error_against_eager_before_quantisation(embryo, truncation):
    """At most 1e-3 on images in -1..1."""
    compiled = openvino.Core().compile_model(converted(embryo, progress=silent, signal=True), "CPU", HINTS)
    oracle = SignalNetwork(build(embryo))
    rng = np.random.default_rng(5)
    mean = embryo.tensors["mapping.w_avg"]
    for _ in range(4):
        ws = (mean + rng.standard_normal((1, 12, 512)).astype(np.float32) * 0.6 * truncation).astype(np.float32)
        given = [ws, rng.random((11, 3)).astype(np.float32) * 2, STRAIGHT.copy()]
        with torch.no_grad():
            expected = oracle(*map(torch.from_numpy, given)).numpy()
        assert np.abs(compiled(given)[0] - expected).max() <= 1e-3


def test_a_chain_draws_what_eager_draws_wherever_its_layers_stand(stylegan2):
    siblings = [sibling_of(stylegan2, seed=seed) for seed in (1, 2)]
    graph = converted(stylegan2, siblings=siblings, progress=silent, signal=True)
    compiled, oracle = openvino.Core().compile_model(graph, "CPU", HINTS), SignalNetwork(build(stylegan2, siblings))
    rng = np.random.default_rng(5)
    for place in (0.2, 0.5, 0.7, None):
        blend = np.full(6, place, np.float32) if place is not None else rng.random(6, np.float32)
        ws = rng.standard_normal((1, 6, 24)).astype(np.float32) * 0.6
        given = [ws, rng.random((5, 3)).astype(np.float32), STRAIGHT.copy(), blend]
        with torch.no_grad():
            expected = oracle(*map(torch.from_numpy, given)).numpy()
        assert np.abs(compiled(given)[0] - expected).max() <= 1e-3


def test_the_second_start_builds_nothing(tmp_path, monkeypatch, stylegan2):
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    said: list[str] = []
    compiled_model(stylegan2, progress=said.append)
    assert said
    compiled_model(stylegan2, progress=(again := []).append)
    assert again == []


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_a_damaged_cache_is_built_again(tmp_path, monkeypatch, damage):
    checkpoint = small_stylegan2(seed=4)
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    compiled_model(checkpoint, progress=silent)
    (file,) = (tmp_path / "openvino").iterdir()
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:-100], "altered": whole[:-1] + b"\0\1"[whole[-1] == 0 :][:1], "empty": b""}[damage])
    said: list[str] = []
    compiled_model(checkpoint, progress=said.append)
    assert said
    assert cache.fetch("openvino", file.name) is not None  # mended for the next start


def test_the_key_follows_weights_and_settings(stylegan2):
    keys = {
        cache.key_of(stylegan2, "a"),
        cache.key_of(stylegan2, "b"),
        cache.key_of(small_stylegan2(seed=5), "a"),
        cache.key_of(stylegan2, "a", siblings=[small_stylegan2(seed=5)]),
        cache.key_of(stylegan2, "a", siblings=[small_stylegan2(seed=5), small_stylegan2(seed=6)]),
        cache.key_of(stylegan2, "a", siblings=[small_stylegan2(seed=6), small_stylegan2(seed=5)]),
    }
    assert len(keys) == 6
    assert cache.key_of(stylegan2, "a") == cache.key_of(stylegan2, "a")


def test_a_cache_that_cannot_be_written_costs_only_the_next_start(tmp_path, monkeypatch, stylegan2):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path / "file"))
    engine = OpenVinoEngine(SystemClock())
    engine.activate(stylegan2, progress=silent)
    engine.close()


def test_playing_from_the_cache_imports_no_torch(tmp_path, monkeypatch):
    """Torch takes seconds to import: it may be needed once, to build, and never again."""
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    program = f"""
import sys
import weakref
from pathlib import Path
import performer.play
from performer.clock import SystemClock
from performer.engines.host import EngineHost
from performer.generators.checkpoint import load
from performer.notices import Notices
host = EngineHost(load(Path({str(EMBRYO)!r})), clock=SystemClock(), notices=Notices(), choice="openvino")
host.activate(progress=lambda text: None)
host.close()
print("torch" in sys.modules)
"""
    said = [subprocess.check_output([sys.executable, "-c", program], text=True, timeout=120).split()[-1] for _ in "12"]
    assert said == ["True", "False"]


def test_an_engine_that_is_closed_gives_its_memory_back(stylegan2):
    """Its requests know it by their callbacks, a circle that no garbage collector sees."""
    engine = OpenVinoEngine(SystemClock())
    engine.activate(stylegan2, progress=silent)
    gone = weakref.ref(engine)
    engine.close()
    del engine
    assert gone() is None


CLOSING = """
import sys, time
from performer.clock import SystemClock
from performer.engines.openvino import OpenVinoEngine
from tests.conftest import small_stylegan2
from tests.contracts.test_engines import latent_for

class Slow(OpenVinoEngine):
    def _finished(self, index):
        super()._finished(index)
        if self.images == 3:
            time.sleep(0.3)  # the picture is there, and the runtime's thread is not done with it

checkpoint = small_stylegan2(seed=4)
for late_s in (0.0, 0.05, 0.2):
    engine = Slow(SystemClock())
    engine.activate(checkpoint, progress=lambda text: None)
    while engine.images < 3:
        engine.submit(latent_for(checkpoint, 1))
        time.sleep(0.001)
    time.sleep(late_s)
    engine.close()
print("closed")
"""


def test_an_engine_may_be_closed_while_its_picture_is_being_handed_over():
    """In a process of its own, since what waits for ever with Python's lock cannot be interrupted."""
    said = subprocess.run([sys.executable, "-c", CLOSING], capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout == "closed\n", said.stderr


def test_an_engine_that_the_runtime_does_not_let_go_of_keeps_its_model_and_nobody_waits(stylegan2, monkeypatch):
    monkeypatch.setattr(openvino_engine, "LET_GO_S", 0.05)
    engine = OpenVinoEngine(SystemClock())
    engine.activate(stylegan2, progress=silent)
    callback = engine._callbacks[0]()  # as if it were being called
    engine.close()
    assert openvino_engine._kept.pop() is engine and engine._compiled and callback is not None
    del callback
    engine.close()
    assert not openvino_engine._kept and not engine._compiled
