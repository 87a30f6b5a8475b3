"""A network as an ONNX graph of static shapes: what compiled engines take.

Its inputs are `PictureNetwork.inputs`, all in single precision, and its output is `picture`, u8 [H, W, 4]. Precision lives
in the graph alone: that of a network in half precision (`network.build(..., half=True)`) has a cast wherever the dtype
changes, which is what strongly typed engines go by.

What depends on weights alone is computed here, in PyTorch, and stands in the graph as one tensor: kernels, energies of
demodulation, noise maps. Engines would fold it too, but keep what they folded it from.

Thread: whoever calls; seconds.
"""

import importlib.util
import itertools
import logging
import operator
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


def to_onnx(network: PictureNetwork, *, products: bool = True) -> bytes:
    """The network, in the precision that it was built in, as a serialised ONNX model.

    products
        False writes matrix products in single precision as multiplications and sums. They are few and small, and an
        engine may have none: TensorRT for RTX on cards of compute capability 7.5.

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
        if not products:
            spell_out_products(traced)
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


def folded(network: PictureNetwork) -> fx.GraphModule:
    """The network as PyTorch runs it with everything computed that can be: for runtimes that replay PyTorch's own steps.

    It takes `PictureNetwork.inputs` in order, on the network's device. Kernels of convolutions lie channels last, as the
    features do.
    """
    aten = torch.ops.aten
    with _quiet(), torch.no_grad():
        device = next(itertools.chain(network.parameters(), network.buffers())).device
        traced = torch.export.export(network, tuple(example.to(device) for example in network.examples()))
        fold(traced)
        module = traced.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    for node in module.graph.nodes:
        if node.target in (aten.conv2d.default, aten.conv_transpose2d.input):
            kernel = node.args[1]
            if kernel.op == "get_attr":
                tensor = operator.attrgetter(kernel.target)(module)
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


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
    for node in reversed(list(known)):  # by hand: what detaches a constant counts as having effects
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    for node, spec in places.items():
        if node in known and not node.users:
            graph.erase_node(node)
            specs.remove(spec)
    traced.graph_module.recompile()


def spell_out_products(traced: ExportedProgram) -> None:
    """Write matrix products in single precision as multiplications and sums."""
    graph, aten = traced.graph, torch.ops.aten
    for node in list(graph.nodes):
        if node.target not in (aten.linear.default, aten.matmul.default) or node.meta["val"].dtype != torch.float32:
            continue
        with graph.inserting_before(node):

            def add(target: Any, *args: Any) -> fx.Node:
                made = graph.call_function(target, args)
                made.meta["val"] = target(*fx.map_arg(args, lambda source: source.meta["val"]))
                return made

            rows, columns, *bias = node.args
            if node.target is aten.linear.default:
                columns = add(aten.transpose.int, columns, -1, -2)
            terms = add(
                aten.mul.Tensor, add(aten.unsqueeze.default, rows, -1), add(aten.unsqueeze.default, columns, -3)
            )
            result = add(aten.sum.dim_IntList, terms, [-2])
            if bias and bias[0] is not None:
                result = add(aten.add.Tensor, result, bias[0])
        node.replace_all_uses_with(result)
        graph.erase_node(node)
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
