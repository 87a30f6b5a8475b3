"""ONNX: the same picture from a graph, in single and in half precision. Run by ONNX Runtime."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from performer.choreography.motion import bend_row, input_transform
from performer.engines.openvino import HINTS
from performer.generators import export, network, stylegan3
from performer.generators.checkpoint import Checkpoint, CheckpointError
from performer.generators.export import OUTPUT, to_onnx
from performer.generators.network import PictureNetwork
from performer.refusal import Refused
from tests.generators import graphs
from tests.generators.graphs import FORMS, SPECIES, species
from tests.rig import figures

LEAST_PSNR_DB = 45.0


def latents(net: PictureNetwork, checkpoint: Checkpoint) -> list[dict[str, torch.Tensor]]:
    """Animals as trained, with strong noise, moved, bent, and halfway to a sibling, as far as the network takes that."""
    at_rest = dict(zip(net.inputs, net.examples(), strict=True))
    mean = torch.from_numpy(checkpoint.tensors.get("mapping.w_avg", np.zeros(checkpoint.sizes.w_dim, np.float32)))
    made = []
    for seed in range(3):
        ws = mean + torch.randn(at_rest["ws"].shape, generator=torch.Generator().manual_seed(seed)) * 0.7
        if checkpoint.sizes.classes:
            ws[:, 1] = torch.eye(checkpoint.sizes.w_dim)[seed]
        made.append(at_rest | {"ws": ws})
    if "noise" in at_rest:
        made.append(
            made[0] | {"noise": torch.randn(at_rest["noise"].shape, generator=torch.Generator().manual_seed(9)) * 4}
        )
    if "transform" in at_rest:
        made.append(made[0] | {"transform": torch.from_numpy(input_transform(x=0.2, y=-0.1, turns=0.1, zoom=1.3))})
    bend = bend_row([0.15, -0.1, 0.05, 1.2, 1.1, 0.05, 0.1])
    made.append(made[0] | {"bends": torch.from_numpy(np.stack([bend] * 3))})
    if "blend" in at_rest:
        made += [made[0] | {"blend": torch.full_like(at_rest["blend"], part)} for part in (0.3, 1.0)]
    return made


def drawn(session: onnxruntime.InferenceSession, latent: dict[str, torch.Tensor]) -> np.ndarray:
    picture: Any = session.run([OUTPUT], {name: tensor.numpy() for name, tensor in latent.items()})[0]
    return picture.astype(int)


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def psnr_db(picture: np.ndarray, expected: np.ndarray) -> float:
    """Of bytes, so the peak is 255."""
    error = np.mean((picture[..., :3] - expected[..., :3]) ** 2.0)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


@torch.inference_mode()
def by_eager(net: PictureNetwork, latent: dict[str, torch.Tensor]) -> np.ndarray:
    return net(*latent.values()).numpy().astype(int)


def before_bytes(model: bytes, latent: dict[str, torch.Tensor]) -> np.ndarray:
    """What the graph makes into bytes: the picture in about -1..1."""
    opened = onnx.load_from_string(model)
    makers = {name: node for node in opened.graph.node for name in node.output}
    node = makers[OUTPUT]
    while node.op_type != "Mul":  # by 127.5; then come the addition, the limits and the cast
        node = makers[node.input[0]]
    opened.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    session = session_of(opened.SerializeToString())
    signal: Any = session.run([node.input[0]], {name: tensor.numpy() for name, tensor in latent.items()})[0]
    return signal


@pytest.mark.parametrize("name", ["sg2_64", "sg3t_64", "embryo", "lucidrains"])
def test_a_graph_in_single_precision_is_the_network(name):
    checkpoint = species(name)
    net = network.build(checkpoint)
    model = to_onnx(net)
    latent = latents(net, checkpoint)[0]
    with torch.inference_mode():
        signal = net.signal(*latent.values()).numpy()
    # The embryo computes what it draws from small differences of large features, whose rounding shows.
    tolerance = 3e-5 if name == "embryo" else 1e-5
    assert np.abs(before_bytes(model, latent) - signal).max() <= tolerance * np.abs(signal).max()
    session = session_of(model)
    other = openvino.Core().compile_model(openvino.Core().read_model(model), "CPU", HINTS)
    for latent in latents(net, checkpoint):
        expected = by_eager(net, latent)
        assert np.abs(drawn(session, latent) - expected).max() <= 1
        theirs = other({name: tensor.numpy() for name, tensor in latent.items()})[OUTPUT]
        assert np.abs(theirs.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SPECIES)
def test_a_graph_in_half_precision_draws_the_same_to_the_eye(name, form):
    oracle, model = network.build(*graphs.siblings(name, form)), graphs.graph(name, form)
    session = session_of(model)
    pictures = [(drawn(session, latent), by_eager(oracle, latent)) for latent in latents(oracle, species(name))]
    figures.PSNR_DB[name, form] = min(psnr_db(*pair) for pair in pictures)
    assert figures.PSNR_DB[name, form] >= LEAST_PSNR_DB
    assert pictures[0][1][..., :3].std() > 1 and (pictures[0][1] != pictures[1][1]).any()
    if form == "pair":
        assert (pictures[0][1] != pictures[-1][1]).any()
    assert_typed_by_the_graph(model)


def assert_typed_by_the_graph(model: bytes) -> None:
    """All shapes are known, the inputs are single, and every convolution of features has half-precision weights."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True, data_prop=True).graph
    ports = [*graph.input, *graph.output, *graph.value_info]
    assert all(dim.dim_value > 0 for port in ports for dim in port.type.tensor_type.shape.dim)
    assert {port.type.tensor_type.elem_type for port in graph.input} == {onnx.TensorProto.FLOAT}
    types = {port.name: port.type.tensor_type.elem_type for port in ports}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    of_pictures = [node for node in convolutions if shapes.get(node.input[1], [0])[0] in (3, 4)]  # the RGB skips
    assert len(convolutions) > len(of_pictures)
    for node in convolutions:
        wanted = {onnx.TensorProto.FLOAT16} | ({onnx.TensorProto.FLOAT} if node in of_pictures else set())
        assert types[node.input[1]] in wanted, node.name


@pytest.mark.parametrize("loudness", [30.0, 170.0])
@pytest.mark.parametrize("name", ["sg2_64", "sg3t_64"])
def test_strong_styles_do_not_overflow_half_precision(name, loudness):
    """Demodulation takes out how strong styles and weights are; the sum before it would be far beyond 65,504."""
    checkpoint = species(name)
    demodulated = ("conv", *(layer for layer in stylegan3.layer_names(checkpoint.tensors)[:-1]))
    tensors = {
        key: np.asarray(tensor * loudness, np.float32)
        for key, tensor in checkpoint.tensors.items()
        if key.startswith("synthesis.")
        and key.split(".")[-3 if ".affine." in key else -2].startswith(demodulated)
        and (".affine." in key or key.endswith("weight"))
    }
    loud = replace(checkpoint, tensors=checkpoint.tensors | tensors)
    single, half = network.build(loud), network.build(loud, half=True)
    latent = latents(single, checkpoint)[0]
    expected = by_eager(single, latent)
    assert expected[..., :3].std() > 1
    assert psnr_db(by_eager(half, latent), expected) >= LEAST_PSNR_DB
    if (name, loudness) == ("sg2_64", 170.0):
        assert psnr_db(drawn(session_of(to_onnx(half)), latent), expected) >= LEAST_PSNR_DB


def test_numbers_beyond_half_precision_are_refused_by_name(stylegan2):
    key = "synthesis.b4.const"
    tensors = {**stylegan2.tensors, key: stylegan2.tensors[key] * np.float32(1e6)}
    with pytest.raises(CheckpointError, match=r"tensor const has numbers beyond half precision"):
        network.build(replace(stylegan2, tensors=tensors), half=True)


def test_missing_packages_are_named_with_the_remedy(stylegan2, monkeypatch):
    found = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if "script" in name else found(name))
    with pytest.raises(Refused, match=r"onnxscript not installed.*pip install"):
        to_onnx(network.build(stylegan2))
