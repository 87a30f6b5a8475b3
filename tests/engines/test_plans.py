"""Plans of every family and form, really built by TensorRT for RTX, which needs no card for that."""

import time

import onnx
import pytest

from performer.clock import SystemClock
from performer.engines.engine import EngineError
from performer.engines.tensorrt import Library
from performer.generators import export
from tests.generators import graphs
from tests.rig import figures

MODULE = "tensorrt_rtx_bindings"
pytest.importorskip(MODULE, reason="TensorRT for RTX is not installed: it is for Linux and Windows on x86-64")

ELSEWHERE = [("sg2_64", "pair"), ("sg3t_64", "single"), ("embryo", "single"), ("fastgan", "single")]


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(MODULE)


def assert_builds(library: Library, name: str, form: str, *, target: str = "", products: bool = True) -> None:
    model = graphs.graph(name, form, products=products)
    began_s = time.monotonic()
    plan = library.plan(model, target=target)
    spent_s = time.monotonic() - began_s
    assert plan is not None, library.said()
    figures.PLANS[name, form, target or "default"] = len(plan) / 1e6, spent_s


@pytest.mark.parametrize("form", graphs.FORMS)
@pytest.mark.parametrize("name", graphs.SPECIES)
def test_every_family_builds(library, name, form):
    assert_builds(library, name, form)


@pytest.mark.parametrize("target", ["SM89", "SM120"])
@pytest.mark.parametrize(("name", "form"), ELSEWHERE)
def test_it_builds_for_cards_that_are_not_here(library, name, form, target):
    assert_builds(library, name, form, target=target)


@pytest.mark.parametrize("name", ["sg2_64", "projected"])
def test_turing_takes_a_graph_without_matrix_products_and_no_other(library, name):
    assert_builds(library, name, "single", target="SM75", products=False)
    assert library.plan(graphs.graph(name, "single"), target="SM75") is None
    assert "turing" in library.said()


def test_a_node_that_it_does_not_know_is_named(library, stylegan2, monkeypatch):
    node = onnx.helper.make_node("Warp", ["ws"], ["picture"], name="blocks_3/warp")
    ports = [onnx.helper.make_tensor_value_info(port, onnx.TensorProto.FLOAT, [1, 4]) for port in ("ws", "picture")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "strange", ports[:1], ports[1:]))
    monkeypatch.setattr(export, "to_onnx", lambda net, *, products: model.SerializeToString())
    with pytest.raises(EngineError, match=r"TensorRT for RTX .* could not build it: .*blocks_3/warp.*Plugin not found"):
        library.built(stylegan2, progress=lambda text: None, clock=SystemClock())


def test_without_a_card_a_build_for_the_card_gives_way_to_the_default(library, monkeypatch):
    said: list[str] = []
    graphs.remember(monkeypatch)
    fastgan = graphs.species("fastgan")
    plan = library.built(fastgan, targets=("CURRENT", ""), progress=said.append, clock=SystemClock())
    assert plan and said.count(said[-1]) == 2
    runtime = library.runtime()
    assert library.opened(plan, runtime=runtime) is None
    assert "CUDA" in library.why(plan)
    assert library.opened(b"", runtime=runtime) is None
    assert library.opened(plan[:1000], runtime=runtime) is None
