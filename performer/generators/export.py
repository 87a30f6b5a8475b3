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
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

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
        traced = torch.export.export(network, examples)
        fold(traced)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=network.inputs,
            output_names=[OUTPUT],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    assert program is not None, "the exporter returns a program unless it is told to write a file"
    tidy(program.model)
    return program.model_proto.SerializeToString()


def fold(traced: ExportedProgram) -> None:
    """Compute what depends on the network's own tensors alone, and let the results take their place."""
    graph, specs = traced.graph, traced.graph_signature.input_specs
    places = dict(zip((node for node in graph.nodes if node.op == "placeholder"), specs, strict=True))
    tensors = {**traced.constants, **traced.state_dict}
    known: dict[fx.Node, Any] = {node: tensors[spec.target] for node, spec in places.items() if spec.target in tensors}
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # would hold on to what it looks at
            graph.erase_node(node)
        elif node.op == "call_function" and all(source in known for source in node.all_input_nodes):
            args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
    for node, value in list(known.items()):
        if node.op == "call_function" and isinstance(value, Tensor) and any(user not in known for user in node.users):
            name = f"folded_{node.name}"
            with graph.inserting_before(next(iter(graph.nodes))):
                place = graph.placeholder(name)
            place.meta["val"] = node.meta["val"].contiguous()
            specs.insert(0, InputSpec(InputKind.BUFFER, TensorArgument(place.name), name, persistent=True))
            traced.state_dict[name] = value.contiguous()
            node.replace_all_uses_with(place)
    graph.eliminate_dead_code()
    for node, spec in places.items():
        if node in known and not node.users:
            graph.erase_node(node)
            specs.remove(spec)
    traced.graph_module.recompile()


def tidy(model: Any) -> None:
    """Take out of an ONNX model what only served to make it.

    A part of what the exporter's own `optimize` does. Its rewrite rules hold anything up to 1e-8 for 0: they would drop
    the addend that keeps the demodulation of a silent channel finite.
    """
    from onnxscript import optimizer

    optimizer.inline(model)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    for node in model.graph:
        node.metadata_props.clear()  # where in our files it came from: a third of a small model


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
