"""TensorRT of both kinds on a card on the host: what it draws, what it keeps, and what it says when something is refused."""

import importlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from performer import cuda
from performer.choreography.motion import bend_row
from performer.clock import SteppedClock, SystemClock
from performer.engines import cache, tensorrt
from performer.engines.engine import EngineError
from performer.engines.host import EngineHost
from performer.engines.tensorrt import Library, TensorRtEngine
from performer.flow import DevicePixels, LatentFrame
from performer.generators import export, network
from performer.generators.checkpoint import Checkpoint
from performer.notices import Notices
from tests.conftest import small_stylegan2
from tests.contracts.test_engines import blended, latent_for, picture
from tests.generators import graphs
from tests.generators.test_export import session_of
from tests.rig import tensorrt as rig

ALONE = "its steps are launched one by one"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def code():
    return pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings").cudaError_t


@pytest.fixture
def engine(library):
    made = TensorRtEngine(SystemClock())
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(stylegan2: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    return stylegan2, graphs.partner_of(stylegan2)


def silent(text: str) -> None:
    pass


def started(checkpoint: Checkpoint, *siblings: Checkpoint) -> list[str]:
    """What a start says, from which nothing remains but the cache."""
    said: list[str] = []
    engine = TensorRtEngine(SystemClock())
    engine.activate(checkpoint, siblings=siblings, progress=said.append)
    engine.close()
    return said


def by_onnx(latent: LatentFrame, first: Checkpoint, *siblings: Checkpoint) -> np.ndarray:
    """The picture as ONNX Runtime draws it, without any engine."""
    session = session_of(graphs.graph_of(first, siblings))
    given = {port.name: getattr(latent, port.name).reshape(port.shape) for port in session.get_inputs()}
    return session.run(None, given)[0]


def test_it_draws_its_graph_as_one_launch_a_picture(engine, stylegan2, card):
    engine.activate(stylegan2, progress=silent)
    before = card.calls.copy()
    latent = latent_for(stylegan2, 1)
    bent = replace(latent, bends=np.stack([bend_row([0.1, 0.2, 0.03, 1.1, 1.2, 0.1, 0.1])] * 3))
    silenced = replace(latent, noise=np.zeros_like(latent.noise))
    for each in (latent, bent, silenced):
        assert (picture(engine, each) == by_onnx(each, stylegan2)).all()
    # All memory is there before the show; a latent goes in with one copy, a picture comes out with another.
    assert card.calls - before == {
        "cudaGraphLaunch": 3,
        "cudaMemcpyAsync": 6,
        "cudaStreamSynchronize": 3,
    }


def test_a_pair_is_its_siblings_and_all_between(engine, pair, card):
    engine.activate(pair[0], siblings=pair[1:], progress=silent)
    latent = latent_for(pair[0], 1)
    between = blended(latent, np.linspace(0, 1, len(latent.ws)))
    for _ in range(2):  # they share their memory, and must not be in each other's way
        assert (picture(engine, latent) == by_onnx(latent, pair[0])).all()
        assert (picture(engine, blended(latent, 1)) == by_onnx(latent, pair[1])).all()
        assert (picture(engine, between) == by_onnx(between, *pair)).all()


def test_the_second_start_builds_nothing_and_needs_no_torch(library, pair, monkeypatch):
    assert started(*pair)
    built, compiled = list(library.targets), library.jitted
    assert len(built) == 3 and compiled == (3 if library.is_rtx else 0)
    monkeypatch.setattr(network, "build", lambda *species, **options: pytest.fail("a network is built"))
    assert started(*pair) == []
    assert library.targets == built and library.jitted == compiled


@pytest.mark.parametrize("change", ["weights", "sibling", "version", "card"])
def test_an_engine_of_something_else_is_not_taken(library, card, pair, change):
    started(pair[0])
    if change == "version":
        library.__version__ = "1.2.4"
    elif change == "card":
        card.name = "Another card"
    said = started(
        small_stylegan2(seed=9) if change == "weights" else pair[0], *(pair[1:] if change == "sibling" else ())
    )
    assert "loading PyTorch, once, to build the engine" in said


def stored(folder: Path, name: str = "tensorrt") -> Path:
    """The one file that is kept there."""
    (file,) = (folder / name).iterdir()
    return file


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda whole: whole[:-100],
    "altered": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "empty": lambda whole: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("what", ["tensorrt", "tensorrt-kernels"])
def test_a_damaged_cache_is_made_again_and_mended(library, stylegan2, empty_cache, what, damage):
    started(stylegan2)
    if what != "tensorrt" and not library.is_rtx:
        assert not (empty_cache / what).exists()
        return
    file = stored(empty_cache, what)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    said, compiled = started(stylegan2), library.jitted
    assert bool(said) == (what == "tensorrt") and len(library.targets) == (2 if said else 1)
    assert compiled == (library.is_rtx and what != "tensorrt") + library.is_rtx
    assert file.read_bytes() == whole
    assert started(stylegan2) == [] and library.jitted == compiled


def test_what_a_crash_left_half_written_is_not_taken(library, stylegan2, empty_cache):
    started(stylegan2)
    file = stored(empty_cache)
    file.rename(file.with_name("tmp4f6_k2"))  # as before the last step of writing
    assert started(stylegan2)
    assert file.exists() and started(stylegan2) == []


@pytest.mark.parametrize("plan", [b"", b"nothing that TensorRT wrote"])
def test_a_sound_file_with_a_plan_that_does_not_open_is_built_again(library, stylegan2, empty_cache, plan):
    started(stylegan2)
    cache.store("tensorrt", stored(empty_cache).name, plan)
    assert started(stylegan2)[0] == "the cached engine is of another kind; building it again"
    assert started(stylegan2) == []


@pytest.mark.parametrize("library", ["tensorrt_rtx"], indirect=True)
def test_kernels_of_another_version_are_compiled_anew(library, stylegan2, empty_cache):
    started(stylegan2)
    file = stored(empty_cache, tensorrt.KERNELS)
    own = cache.fetch(tensorrt.KERNELS, file.name)
    cache.store(tensorrt.KERNELS, file.name, own.replace(b"1.2.3", b"1.2.2"))
    assert started(stylegan2) == [] and library.jitted == 2
    assert cache.fetch(tensorrt.KERNELS, file.name) == own
    started(stylegan2)
    assert library.jitted == 2


def test_the_card_that_is_there_is_the_target(library, stylegan2):
    started(stylegan2)
    assert library.targets == ["CURRENT" if library.is_rtx else ""]


@pytest.mark.parametrize("library", ["tensorrt_rtx"], indirect=True)
def test_a_card_that_is_no_target_gets_the_default(library, engine, stylegan2):
    library.refused["CURRENT"] = "unsupported compute capability 9.0"
    engine.activate(stylegan2, progress=silent)
    assert library.targets == ["CURRENT", ""]
    latent = latent_for(stylegan2, 1)
    assert (picture(engine, latent) == by_onnx(latent, stylegan2)).all()


def test_a_build_that_is_refused_says_why_in_the_words_of_tensorrt(library, engine, stylegan2):
    library.refused = {"CURRENT": "no kernel for\n  9.0", "": "out of tactics"}
    words = "no kernel for 9.0; out of tactics" if library.is_rtx else "out of tactics"
    with pytest.raises(EngineError, match=rf"TensorRT.* 1\.2\.3 could not build it: {words}$"):
        engine.activate(stylegan2, progress=silent)
    assert library.targets == (["CURRENT", ""] if library.is_rtx else [""])  # once each: core builds take minutes


def test_an_operator_that_is_unknown_is_named(library, engine, stylegan2, monkeypatch):
    node = onnx.helper.make_node("Warp", ["ws"], ["picture"], name="blocks_3/warp")
    graph = onnx.helper.make_graph([node], "strange", [], [])
    monkeypatch.setattr(export, "to_onnx", lambda net, *, products: onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(EngineError, match=r"could not build it: node blocks_3/warp: Plugin not found: Warp"):
        engine.activate(stylegan2, progress=silent)


def test_without_the_exporters_packages_the_remedy_is_named(library, engine, stylegan2, monkeypatch):
    found = export.importlib.util.find_spec
    monkeypatch.setattr(graphs, "_graphs", {})
    with monkeypatch.context() as patch:  # what comes after looks for TensorRT
        patch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
        with pytest.raises(EngineError, match=r"onnxscript not installed.*pip install"):
            engine.activate(stylegan2, progress=silent)


def refuses_capture(library) -> None:
    library.captures = False


def spoils_the_stream(library) -> None:
    library.spoils = "stream"


def does_not_run(library) -> None:
    library.spoils = "run"


@pytest.mark.parametrize("turn", [refuses_capture, spoils_the_stream, does_not_run])
def test_without_a_graph_the_steps_are_launched_one_by_one(library, engine, stylegan2, card, turn):
    turn(library)
    said: list[str] = []
    engine.activate(stylegan2, progress=said.append)
    captured = turn is refuses_capture and not library.is_rtx  # core TensorRT is not asked: it always can
    assert (ALONE in said[-1]) != captured
    for seed in (1, 2):
        latent = latent_for(stylegan2, seed)
        assert (picture(engine, latent) == by_onnx(latent, stylegan2)).all()
    assert card.calls["cudaGraphLaunch"] == (2 if captured else 0)


def test_a_graph_that_cannot_be_made_ready_is_done_without(library, engine, stylegan2, card, code):
    card.fail("cudaGraphInstantiate", code.cudaErrorMemoryAllocation)
    said: list[str] = []
    engine.activate(stylegan2, progress=said.append)
    assert ALONE in said[-1] and "out of memory (cudaErrorMemoryAllocation)" in said[-1]
    latent = latent_for(stylegan2, 1)
    assert (picture(engine, latent) == by_onnx(latent, stylegan2)).all()


@pytest.mark.parametrize("library", ["tensorrt_rtx"], indirect=True)
@pytest.mark.parametrize("name", ["cudaStreamCreateWithFlags", "cudaMalloc", "cudaHostAlloc", "cudaMemsetAsync"])
def test_memory_that_is_not_to_be_had_is_an_engine_error_and_none_is_kept(library, pair, card, code, name):
    started(*pair)
    for at in range(1, card.calls[name] + 1):
        card.fail(name, code.cudaErrorMemoryAllocation, at=at)
        engine = TensorRtEngine(SystemClock())
        with pytest.raises(EngineError, match=rf"{name}: out of memory \(cudaErrorMemoryAllocation\)"):
            engine.activate(pair[0], siblings=pair[1:], progress=silent)
        assert card.left() == []
        engine.close()
        engine.close()


def test_a_runtime_that_does_not_start_says_why(library, engine, stylegan2):
    library.starts = False
    with pytest.raises(EngineError, match=r"1\.2\.3 does not start: CUDA initialization failure with error: 35"):
        engine.activate(stylegan2, progress=silent)


def test_a_context_that_is_not_given_says_why(library, engine, stylegan2):
    library.gives_contexts = False
    with pytest.raises(EngineError, match=r"1\.2\.3 makes no context: the context is too large"):
        engine.activate(stylegan2, progress=silent)


def test_a_plan_that_does_not_open_on_this_card_says_why(library, engine, stylegan2, empty_cache):
    library.opens = False
    with pytest.raises(EngineError, match=r"cannot run on Host card, .* 8\.9, .*the plan is for another card") as error:
        engine.activate(stylegan2, progress=silent)
    assert ("INVALID 32" in str(error.value)) == library.is_rtx
    assert not (empty_cache / "tensorrt").exists()  # what does not open is not kept


def test_a_run_that_is_refused_at_first_is_an_engine_error(library, engine, stylegan2):
    library.stops_after = 0
    with pytest.raises(EngineError, match=r"1\.2\.3 does not run: the card fell off the bus"):
        engine.activate(stylegan2, progress=silent)


def test_a_run_that_is_refused_in_the_show_is_a_failure(library, engine, stylegan2):
    library.spoils = "run"
    engine.activate(stylegan2, progress=silent)
    held = picture(engine, latent_for(stylegan2, 1))
    library.stops_after = library.ran
    with pytest.raises(AssertionError, match="does not run: the card fell off the bus"):
        picture(engine, latent_for(stylegan2, 2))
    assert isinstance(engine.failure, EngineError)
    assert (engine.latest().pixels == held).all()


@pytest.mark.parametrize("library", ["tensorrt_rtx"], indirect=True)
@pytest.mark.parametrize("on_card", [False, True], ids=["in memory", "on the card"])
def test_a_card_that_is_lost_in_the_show_holds_the_picture_and_a_humbler_engine_plays(
    library, stylegan2, card, code, on_card
):
    notices = Notices()
    host = EngineHost(stylegan2, clock=SystemClock(), notices=notices, choice="tensorrt")
    host.stays_on_card = on_card
    host.activate(progress=silent)

    def shown(seed: int, until: Callable[[], bool]) -> None:
        clock = SystemClock()
        while not until():
            assert clock.now_s() < 30
            host.submit(latent_for(stylegan2, seed))
            host.latest()
            clock.sleep_until(clock.now_s() + 0.005)

    shown(1, lambda: host.images > 2)
    expected = by_onnx(latent_for(stylegan2, 1), stylegan2)
    card.fail("cudaStreamSynchronize", code.cudaErrorLaunchFailure, sticky=True)
    shown(1, lambda: host.name != "tensorrt")
    image = host.latest()
    if not on_card:  # what lay on the card is gone with it; the stage still has it
        assert (image.pixels == expected).all()
    shown(2, lambda: host.name == "openvino" and host.latest() is not None and host.latest() is not image)
    text = " ".join(notice.text for notice in notices.recent(at_s=0, within_s=1e9))
    assert "engine tensorrt failed (cudaStreamSynchronize: unspecified launch failure (cudaErrorLaunchFailure))" in text
    assert "openvino plays" in text
    host.close()


def test_pictures_that_stay_on_the_card_are_the_same(library, stylegan2):
    engine = TensorRtEngine(SystemClock())
    engine.stays_on_card = True
    engine.activate(stylegan2, progress=silent)
    seen = []
    for seed in range(5):
        engine.submit(latent_for(stylegan2, seed))
        clock = SystemClock()
        while engine.images <= seed:
            assert engine.failure is None and clock.now_s() < 30
        image = engine.latest()
        assert isinstance(image.pixels, DevicePixels) and (image.pixels.height_px, image.pixels.width_px) == (16, 16)
        seen.append(image.pixels.address)
        assert (cuda.downloaded(image.pixels) == by_onnx(latent_for(stylegan2, seed), stylegan2)).all()
    assert len(set(seen)) > 1  # the one on show is never drawn over
    engine.close()


@pytest.mark.parametrize(("capability", "products"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_turing_gets_a_graph_without_matrix_products(library, card, stylegan2, monkeypatch, capability, products):
    asked, recalled = [], export.to_onnx

    def to_onnx(net: network.PictureNetwork, *, products: bool) -> bytes:
        asked.append(products)
        return recalled(net)

    monkeypatch.setattr(export, "to_onnx", to_onnx)
    card.capability = capability
    started(stylegan2)
    assert asked == [products]


def test_what_is_being_done_is_told(library, stylegan2):
    kind = "TensorRT for RTX 1.2.3" if library.is_rtx else "TensorRT 1.2.3"
    assert started(stylegan2) == [
        "loading PyTorch, once, to build the engine",
        "writing small as a graph in half precision",
        f"building the engine for small with {kind}",
    ]


class LateClock(SteppedClock):
    """A second later at every look."""

    def now_s(self) -> float:
        self.sleep_until(super().now_s() + 1.0)
        return super().now_s()


def test_a_build_that_takes_long_tells_how_far_it_is(library, stylegan2):
    said: list[str] = []
    Library().built(stylegan2, progress=said.append, clock=LateClock())
    assert said[3:] == ["building engine: 2 of 3"]


def test_a_build_is_given_up_when_nobody_waits_for_it(library, engine, stylegan2):
    def leaves(text: str) -> None:
        engine.given_up |= text.startswith("building the engine")

    with pytest.raises(EngineError, match="could not build it: the build was given up"):
        engine.activate(stylegan2, progress=leaves)
    assert len(library.targets) == 1


def test_no_further_form_is_begun_when_nobody_waits(library, engine, pair, monkeypatch):
    launch_of = engine._launch_of

    def leaves(*given, **more):
        engine.given_up = True
        return launch_of(*given, **more)

    monkeypatch.setattr(engine, "_launch_of", leaves)
    with pytest.raises(EngineError, match="given up"):
        engine.activate(pair[0], siblings=pair[1:], progress=silent)
    assert len(library.targets) == 1


def test_a_kind_that_does_not_load_gives_way_to_the_next(library, card, monkeypatch):
    """Bindings come without their library: core TensorRT's are on the package index so."""
    load = tensorrt.importlib.import_module

    def half_installed(name: str) -> object:
        if name == "tensorrt":
            raise ImportError("libnvonnxparser.so.11: cannot open shared object file")
        return load(name)

    found = tensorrt.importlib.util.find_spec
    monkeypatch.setattr(tensorrt.importlib, "import_module", half_installed)
    monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: name == "tensorrt" or found(name))
    if library.is_rtx:
        assert str(Library()) == "TensorRT for RTX 1.2.3"
        assert TensorRtEngine.fingerprint().startswith("TensorRT for RTX 1.2.3 on ")
    else:
        monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: name == "tensorrt" or None)
        with pytest.raises(EngineError, match=r"TensorRT does not load \(libnvonnxparser"):
            Library()
        assert "does not load" in TensorRtEngine.fingerprint()  # so that the others are compared all the same


def test_kernels_that_cannot_be_told_cost_the_next_start_only(library, engine, stylegan2, monkeypatch, empty_cache):
    if library.is_rtx:
        monkeypatch.setattr(rig.RuntimeCache, "serialize", lambda self: None)
    engine.activate(stylegan2, progress=silent)
    assert picture(engine, latent_for(stylegan2, 1)).std() > 1
    assert not (empty_cache / tensorrt.KERNELS).exists()


def test_an_engine_of_other_shapes_is_refused(library, engine, stylegan2, monkeypatch):
    monkeypatch.setattr(rig.Engine, "get_tensor_shape", lambda self, name: (9, 9))
    with pytest.raises(EngineError, match="takes ws in another shape than latents have; delete "):
        engine.activate(stylegan2, progress=silent)


def test_errors_are_kept_until_somebody_asks_and_warnings_are_logged(library, caplog):
    made = Library()
    severity = library.ILogger.Severity
    with caplog.at_level(logging.INFO, logger=tensorrt.log.name):
        made._logger.log(severity.WARNING, "weights are small")
    assert caplog.messages == ["weights are small"]
    assert made.said() == "it gives no reason"
    for index in range(40):
        made._logger.log(severity.ERROR, f"error\n   {index // 2}")
    made._logger.log(severity.INTERNAL_ERROR, "the last")
    assert made.said() == "error 16; error 17; error 18; error 19; the last"
    assert made.said() == "it gives no reason"


def test_it_is_offered_where_a_card_and_the_library_are(library, card, monkeypatch):
    kind = "TensorRT for RTX" if library.is_rtx else "TensorRT"
    assert TensorRtEngine.probe() == tensorrt.Availability(True, f"{kind} is installed")
    assert TensorRtEngine.fingerprint().startswith(f"{kind} 1.2.3 on Host card, compute capability 8.9, driver ")
    monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: None)
    lacks = TensorRtEngine.probe()
    assert not lacks.available and lacks.reason == 'TensorRT is not installed: pip install "performer[tensorrt]"'
    with pytest.raises(EngineError, match=r"TensorRT is not installed: pip install"):
        Library()
    monkeypatch.setattr(cuda, "lacking", lambda: "no driver")
    assert TensorRtEngine.probe() == tensorrt.Availability(False, "no driver")


@pytest.mark.parametrize(
    "error", [ImportError("libnvonnxparser.so.11"), OSError("bad image"), RuntimeError("no device")]
)
def test_a_library_that_does_not_load_is_an_engine_error(library, engine, stylegan2, monkeypatch, error):
    def fails(name: str) -> None:
        raise error

    monkeypatch.setattr(tensorrt.importlib, "import_module", fails)
    with pytest.raises(EngineError, match=rf"TensorRT.* does not load \({error}\); install it again: pip install"):
        engine.activate(stylegan2, progress=silent)


def test_core_tensorrt_comes_before_the_one_for_rtx(library, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert tensorrt.installed() == "tensorrt"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name.endswith("bindings") else None)
    assert tensorrt.installed() == "tensorrt_rtx_bindings"
