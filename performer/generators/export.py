"""A network as an ONNX graph of static shapes: what compiled engines take.

Its inputs are `PictureNetwork.inputs`, all in single precision, and its output is `picture`, u8 [H, W, 4]. Precision lives
in the graph alone: that of a network in half precision (`network.build(..., half=True)`) has a cast wherever the dtype
changes, which is what strongly typed engines go by.

What depends on weights alone is computed here, in PyTorch, and stands in the graph as one tensor: kernels, energies of
demodulation, noise maps. Engines would fold it too, but keep what they folded it from.

Thread: whoever calls; seconds.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from performer.generators.network import PictureNetwork
from performer.refusal import Refused

OUTPUT = "picture"
OPSET = 20
PACKAGES = ("onnx", "onnxscript")


def to_onnx(network: PictureNetwork) -> bytes:
    """The network, in the precision that it was built in, as a serialised ONNX model.

    Raises:
        Refused: the packages for it are not installed.
    """
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise Refused(
            f"{' and '.join(missing)} not installed; this engine needs them: pip install {' '.join(PACKAGES)}"
        )
    examples = network.examples()
    with _quiet(), torch.no_grad():
        traced = torch.export.export(network, examples).module()
        fold(traced)
        program = torch.onnx.export(
            traced,
            examples,
            dynamo=True,
            input_names=network.inputs,
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None, "the exporter returns a program unless it is told to write a file"
    return program.model_proto.SerializeToString()


def fold(traced: fx.GraphModule) -> None:
    """Compute what depends on the network's own tensors alone, and let the results take its place."""
    graph = traced.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # would hold on to what it looks at
            graph.erase_node(node)
    known: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            known[node] = _attribute(traced, node.target)
        elif node.op == "call_function" and all(source in known for source in node.all_input_nodes):
            args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
    for node, value in known.items():
        if node.op == "call_function" and isinstance(value, Tensor) and any(user not in known for user in node.users):
            name = f"folded_{node.name}"
            traced.register_buffer(name, value.contiguous())
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.get_attr(name))
    graph.eliminate_dead_code()
    traced.recompile()


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of packages that nobody needs, and of its own age."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
