"""Pickles of the TensorFlow programs of 2019 and 2020."""

import numpy as np
import pytest

from performer.generators.foreign import ForeignError
from tests.foreign import generators
from tests.foreign.conftest import assert_same
from tests.foreign.writers import Network, pickled, tensorflow_network


def stored(tensors):
    """The canonical tensors after the way through the file: style biases are stored less one."""
    one = np.float32(1)
    return {k: (v - one + one if k.endswith("affine.bias") else v) for k, v in tensors.items()}


def three(tensors, **arguments):
    """G, D and Gs."""
    discriminator = Network({"version": 4, "variables": [], "static_kwargs": {}, "components": {}})
    raw = generators.other(tensors)
    return tensorflow_network(raw, **arguments), discriminator, tensorflow_network(tensors, **arguments)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
def test_stylegan2(opened, protocol, version, architecture):
    tensors = generators.stylegan2(architecture=architecture)
    foreign = opened(pickled(three(tensors, version=version), protocol=protocol))
    assert foreign.family == "stylegan2"
    assert_same(foreign.tensors, stored(tensors))
    assert foreign.source == f"TensorFlow StyleGAN2 pickle (version {version})"
    assert foreign.options == {
        "architecture": architecture,
        "conv_clamp": None,
        "lr_multiplier": 0.01,
        "resample": [1, 3, 3, 1],
        "use_noise": True,
        "c_dim": 0,
        "label": None,
    }


def test_convolutions_are_turned_by_hand(opened):
    """One weight element by element: up-convolutions are flipped, the others are not."""
    tensors = generators.stylegan2()
    network = tensorflow_network(tensors)
    variables = dict(network._state["components"]["synthesis"]._state["variables"])
    got = opened(pickled(network)).tensors
    up, flat = variables["8x8/Conv0_up/weight"], variables["8x8/Conv1/weight"]
    assert got["synthesis.b8.conv0.weight"][1, 3, 0, 2] == up[2, 0, 3, 1]
    assert got["synthesis.b8.conv1.weight"][1, 3, 0, 2] == flat[0, 2, 3, 1]
    assert (got["synthesis.b8.conv0.noise_const"] == variables["noise1"][0, 0]).all()
    assert (got["synthesis.b8.conv1.noise_const"] == variables["noise2"][0, 0]).all()


def test_arguments(opened):
    arguments = {"conv_clamp": 256, "mapping_lrmul": 0.02, "resample_kernel": [1, 2, 1]}
    options = opened(pickled(three(generators.stylegan2(), version=5, **arguments))).options
    assert (options["conv_clamp"], options["lr_multiplier"], options["resample"]) == (256, 0.02, [1, 2, 1])


@pytest.mark.parametrize("label", ["embed", "concat"])
def test_conditional(opened, label):
    tensors = generators.stylegan2(c_dim=3, label=label)
    foreign = opened(pickled(three(tensors)))
    assert_same(foreign.tensors, stored(tensors))
    assert (foreign.options["label"], foreign.options["c_dim"]) == (label, 3)


@pytest.mark.parametrize("const", [(3, 5), (5, 3), (4, 7)])
def test_not_square(opened, const):
    tensors = generators.stylegan2(const=const)
    foreign = opened(pickled(three(tensors, min_size=const, min_h=const[0], min_w=const[1], res_log2=2)))
    assert_same(foreign.tensors, stored(tensors))


def test_rgb_layers_of_orig_by_level(opened):
    tensors = generators.stylegan2(architecture="orig")
    network = tensorflow_network(tensors)
    synthesis = network._state["components"]["synthesis"]._state
    synthesis["variables"] = [
        (name.replace("16x16/ToRGB/", "ToRGB_lod0/"), value) for name, value in synthesis["variables"]
    ]
    foreign = opened(pickled(network))
    assert_same(foreign.tensors, stored(tensors))
    assert foreign.options["architecture"] == "orig"


def test_gs_alone(opened):
    tensors = generators.stylegan2()
    assert_same(opened(pickled(tensorflow_network(tensors))).tensors, stored(tensors))


@pytest.mark.parametrize("version", [2, 3])
def test_stylegan1_is_refused(opened, version):
    with pytest.raises(ForeignError, match="StyleGAN1 or ProGAN"):
        opened(pickled(three(generators.stylegan2(), version=version)))


def changed(name, value):
    network = tensorflow_network(generators.stylegan2())
    network._state["components"]["synthesis"]._state["variables"].append((name, value))
    return pickled(network)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("4x4/Const/StyleMod/weight", "StyleGAN1 or ProGAN"),
        ("16x16/attention_g/theta/weight", "attention layers"),
        ("16x16/SelfAtten/w", "attention layers"),
        ("16x16/Mystery/weight", r"16x16/Mystery/weight has no place"),
        ("16x24/Conv1/weight", "not numbered"),
        ("64x64/Conv1/weight", r"16x16 to 64x64; expected doublings"),
        ("noise99999999999", "beyond any picture"),
    ],
)
def test_forks_are_refused(opened, name, message):
    with pytest.raises(ForeignError, match=message):
        opened(changed(name, np.zeros((2, 2), np.float32)))
