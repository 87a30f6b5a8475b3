"""PyTorch as CUDA graphs: the folded network, and which form of it is chosen. What draws is a card on the host."""

import gc
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from performer import cuda
from performer.clock import SteppedClock, SystemClock
from performer.cuda import CudaError
from performer.engines import cache, cuda_graph
from performer.engines.cuda_graph import FUSED, PLAIN, CudaGraphEngine, OnCard, torch_cuda
from performer.engines.engine import Availability, EngineError
from performer.generators import export, network
from performer.generators.network import PictureNetwork
from tests.contracts.test_engines import blended, latent_for, picture
from tests.generators import graphs
from tests.generators.test_export import LEAST_PSNR_DB, by_eager, latents, psnr_db


@torch.inference_mode()
def drawn(module: torch.fx.GraphModule, latent: dict[str, torch.Tensor]) -> np.ndarray:
    return module(*latent.values()).numpy().astype(int)


@pytest.mark.parametrize("form", graphs.FORMS)
@pytest.mark.parametrize("name", ["sg2_64", "sg3t_64", "embryo", "fastgan"])
def test_the_folded_network_is_the_network(name, form):
    species = graphs.siblings(name, form)
    oracle = network.build(*species)
    whole, half = export.folded(network.build(*species)), export.folded(network.build(*species, half=True))
    seen = latents(oracle, species[0])
    for latent in (seen[0], *seen[3:]):  # as trained, with noise, moved, bent and blended
        assert np.abs(drawn(whole, latent) - by_eager(oracle, latent)).max() <= 1
    # Once: half precision takes seconds on a processor. A pair is blended here.
    assert psnr_db(drawn(half, seen[-2]), by_eager(oracle, seen[-2])) >= LEAST_PSNR_DB
    for module in (whole, half):  # nothing is left to do that depends on weights alone
        done = [node for node in module.graph.nodes if node.op == "call_function"]
        assert done and all({source.op for source in node.all_input_nodes} - {"get_attr"} for node in done)


def test_the_folded_network_is_compiled_in_one_piece(stylegan2):
    net = network.build(stylegan2, half=True)
    folded = export.folded(net)
    torch.compiler.reset()
    compiled = torch.compile(folded, fullgraph=True, dynamic=False, backend="eager")
    with torch.inference_mode():
        assert (compiled(*net.examples()) == folded(*net.examples())).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "13.0"),
        ("__version__ = '2.1.0'\ncuda = '12.1'\n", "12.1"),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", ""),
        ("hip: Optional[str] = '6.4'\ncuda: Optional[str] = None\n", ""),
        ("", ""),
        (None, ""),
    ],
    ids=["of today", "older", "without", "for ROCm", "empty", "no file"],
)
def test_the_cuda_of_pytorch_is_read_from_its_file(monkeypatch, tmp_path, text, told):
    if text is not None:
        (tmp_path / "version.py").write_text(text)
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(cuda_graph.importlib.util, "find_spec", lambda name: found)
    assert torch_cuda() == told


def test_the_cuda_of_this_pytorch_is_what_it_says_itself():
    assert torch_cuda() == (torch.version.cuda or "")


@pytest.mark.parametrize("found", [None, SimpleNamespace(origin=None)])
def test_without_pytorch_there_is_no_answer(monkeypatch, found):
    monkeypatch.setattr(cuda_graph.importlib.util, "find_spec", lambda name: found)
    assert torch_cuda() is None


@pytest.mark.parametrize(
    ("lacks", "built_for", "told"),
    [
        ("no driver", "13.0", Availability(False, "no driver")),
        ("", None, Availability(False, "PyTorch is not installed: pip install torch")),
        ("", "", Availability(False, f"this PyTorch was built without CUDA; {cuda_graph.INSTALL}")),
        ("", "13.0", Availability(True, "PyTorch for CUDA 13.0 is installed")),
    ],
)
def test_what_lacks_is_told_with_the_remedy(monkeypatch, lacks, built_for, told):
    monkeypatch.setattr(cuda, "lacking", lambda: lacks)
    monkeypatch.setattr(cuda_graph, "torch_cuda", lambda: built_for)
    assert CudaGraphEngine.probe() == told


ROOMS: list[torch.Tensor] = []  # for pictures, in the order in which they were asked for


class OnHost(CudaGraphEngine):
    """Records by remembering, since PyTorch knows no card here; all else is the engine's own."""

    def __init__(self, clock, card) -> None:
        super().__init__(clock)
        self._card = card
        self._tensors: dict[str, torch.Tensor] = {}

    def _port(self, name):
        self._tensors[name] = torch.zeros(self._ports.arrays[name].shape)
        return self._tensors[name]

    def _recorded(self, draw):
        tensors, picture = dict(self._tensors), ROOMS[-1]

        def work() -> None:
            for name, tensor in tensors.items():
                array = tensor.numpy()
                array[...] = self._card.read(self._ports.addresses[name], array.nbytes).view("f4").reshape(array.shape)
            with torch.inference_mode():
                draw()
            self._card.write(self._picture, picture.numpy().reshape(-1))

        def launch() -> None:
            self._card.put(self.memory.stream_address, work)

        launch()
        self.memory.wait()
        return launch


@pytest.fixture
def pytorch(monkeypatch, tmp_path):
    """PyTorch as it would be with a card, with a compiler that fuses nothing; how often it was asked."""
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    asked = []

    def compiled(module, **options):
        asked.append(options)
        return lambda *given: module(*given)

    def room(place: OnCard, device: torch.device) -> torch.Tensor:
        facts = place.__cuda_array_interface__
        assert facts["typestr"] == "|u1" and device == torch.device("cuda", 0)
        ROOMS.append(torch.zeros(facts["shape"], dtype=torch.uint8))
        return ROOMS[-1]

    monkeypatch.setattr(PictureNetwork, "to", lambda self, device: self)
    monkeypatch.setattr(torch, "as_tensor", room)
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return asked


@pytest.fixture
def engine(card, pytorch):
    made = OnHost(SystemClock(), card)
    yield made
    made.close()


def silent(text: str) -> None:
    pass


def test_it_draws_both_siblings_and_all_between(engine, stylegan2):
    second = graphs.partner_of(stylegan2)
    engine.activate(stylegan2, siblings=[second], progress=silent)
    latent = latent_for(stylegan2, 1)
    between = blended(latent, np.linspace(0, 1, len(latent.ws)))
    forms = ((latent, (stylegan2,)), (blended(latent, 1), (second,)), (between, (stylegan2, [second])))
    for _ in range(2):
        for each, species in forms:
            net = network.build(*species)
            given = {name: torch.tensor(getattr(each, name)) for name in net.inputs}
            given["ws"] = given["ws"][None]
            assert psnr_db(picture(engine, each).astype(int), by_eager(net, given)) >= LEAST_PSNR_DB


def timed(engine: OnHost, monkeypatch: pytest.MonkeyPatch, *milliseconds: float) -> None:
    """Let the forms take so long, plain and then fused."""

    def times_ms(plain, fused):
        assert plain is not fused
        return milliseconds

    monkeypatch.setattr(engine, "_timed_ms", times_ms)


@pytest.mark.parametrize(("plain_ms", "fused_ms", "chosen"), [(2.0, 1.5, FUSED), (1.5, 2.0, PLAIN), (2.0, 2.0, PLAIN)])
def test_the_faster_form_is_chosen_and_remembered(card, pytorch, stylegan2, monkeypatch, plain_ms, fused_ms, chosen):
    engine, said = OnHost(SystemClock(), card), []
    timed(engine, monkeypatch, plain_ms, fused_ms)
    engine.activate(stylegan2, progress=said.append)
    assert said == [
        "loading PyTorch",
        "building small in half precision",
        "trying whether fused steps of small are faster; once, a minute or two",
        f"as PyTorch steps {plain_ms:.2f} ms, fused {fused_ms:.2f} ms",
    ]
    assert pytorch == [{"fullgraph": True, "dynamic": False}]
    engine.close()

    again, said = OnHost(SystemClock(), card), []
    timed(again, monkeypatch)
    again.activate(stylegan2, progress=said.append)
    assert said[2:] == (["fusing the steps of small"] if chosen == FUSED else [])
    assert len(pytorch) == (2 if chosen == FUSED else 1)
    assert picture(again, latent_for(stylegan2, 1)).std() > 1
    again.close()


def breaks(module, **options):
    raise RuntimeError("Cannot find a working triton installation")


def test_without_a_compiler_the_plain_form_plays_and_nothing_is_remembered(
    card, engine, stylegan2, monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr(torch, "compile", breaks)
    timed(engine, monkeypatch)
    with caplog.at_level("INFO", logger=cuda_graph.log.name):
        engine.activate(stylegan2, progress=silent)
    assert caplog.messages == ["steps are not fused: Cannot find a working triton installation"]
    assert not (tmp_path / "cuda_graph").exists()
    assert picture(engine, latent_for(stylegan2, 1)).std() > 1


def test_a_compiler_that_is_gone_is_tried_once(card, engine, stylegan2, monkeypatch):
    monkeypatch.setattr(cache, "fetch", lambda name, key: FUSED)
    asked = []
    monkeypatch.setattr(torch, "compile", lambda module, **options: asked.append(module) or breaks(module))
    engine.activate(stylegan2, progress=silent)
    assert len(asked) == 1
    assert picture(engine, latent_for(stylegan2, 1)).std() > 1


def test_a_card_that_fails_while_steps_are_fused_is_no_matter_of_the_compiler(engine, stylegan2, monkeypatch):
    def lost(module, **options):
        raise CudaError("cudaStreamSynchronize: unspecified launch failure (cudaErrorLaunchFailure)")

    monkeypatch.setattr(torch, "compile", lost)
    with pytest.raises(EngineError, match="unspecified launch failure"):
        engine.activate(stylegan2, progress=silent)


def test_forms_are_timed_in_turns_from_start_to_finish():
    clock = SteppedClock()
    engine = CudaGraphEngine(clock)
    takes_s = iter([0.5, 0.5, *[0.002, 0.003] * (cuda_graph.TIMED - 2), 0.5, 0.5])  # at times something is in the way
    engine._memory = SimpleNamespace(wait=lambda: clock.sleep_until(clock.now_s() + next(takes_s)))
    launched = []
    assert engine._timed_ms(lambda: launched.append(1), lambda: launched.append(2)) == pytest.approx([2.0, 3.0])
    assert launched == [1, 2] * cuda_graph.TIMED
    assert next(takes_s, None) is None
    engine._memory = None


class Steps:
    """Stands in for PyTorch's streams and graphs: writes down what is done, and where."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.current = "default"
        patch.setattr(torch.cuda, "ExternalStream", self.external)
        patch.setattr(torch.cuda, "current_stream", lambda: "default")
        patch.setattr(torch.cuda, "stream", self.on)
        patch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: self.note("replayed")))
        patch.setattr(torch.cuda, "graph", self.capture)

    def note(self, what: str) -> None:
        self.done.append(f"{what} in {self.current}")

    def external(self, address: int) -> SimpleNamespace:
        return SimpleNamespace(name=f"stream {address}", wait_stream=lambda other: self.done.append(f"after {other}"))

    @contextmanager
    def on(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    @contextmanager
    def capture(self, graph, *, stream, capture_error_mode):
        assert capture_error_mode == "thread_local" and stream.name == self.current
        self.note("captured")
        yield


def test_a_recording_keeps_what_its_graph_reads(monkeypatch, stylegan2):
    """A graph holds addresses: weights that nobody keeps are given to the next who asks for memory."""
    steps = Steps(monkeypatch)
    engine = CudaGraphEngine(SystemClock())
    engine._memory = SimpleNamespace(stream_address=7, wait=lambda: steps.note("waited"))
    module = export.folded(network.build(stylegan2, half=True))
    weights = [weakref.ref(tensor) for tensor in (*module.parameters(), *module.buffers())]

    def drawing(module):
        return lambda: steps.note("drawn" if module is not None else "")

    recording = engine._recorded(drawing(module))
    drawn = ["drawn in stream 7"]
    assert steps.done == ["after default", *drawn * 3, "waited in stream 7", "captured in stream 7", *drawn]
    del module
    gc.collect()
    assert len(weights) > 20 and all(reference() is not None for reference in weights)
    recording()
    assert steps.done[-1] == "replayed in stream 7"
    del recording
    gc.collect()
    assert all(reference() is None for reference in weights)
    engine._memory = None


def test_a_card_that_no_longer_answers_lets_the_engine_close(engine, stylegan2, monkeypatch, card):
    def lost():
        raise RuntimeError("CUDA error: unspecified launch failure")

    engine.activate(stylegan2, progress=silent)
    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    engine.close()
    assert engine._memory is None


def test_a_place_on_the_card_is_told_as_numba_tells_it():
    assert OnCard(4096, (2, 3), "<f4").__cuda_array_interface__ == {
        "data": (4096, False),
        "shape": (2, 3),
        "typestr": "<f4",
        "strides": None,
        "version": 3,
    }
