"""NVIDIA's pickles and their relatives: StyleGAN2, StyleGAN3, StyleGAN-XL, projected GAN."""

import argparse
import collections
import functools
import struct
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch

from performer.generators.foreign import ForeignError, averages
from tests.foreign import generators, writers
from tests.foreign.conftest import assert_same
from tests.foreign.writers import WRITERS, Persistent, Plain, Stranger, archived, module, pickled, torch_tensors

ADA = {"": {"_init_args": (), "_init_kwargs": {"z_dim": 5, "synthesis_kwargs": {"channel_base": 16}}}}
SG3_REPOSITORY = {"": {"_init_args": (), "_init_kwargs": {"z_dim": 5, "channel_base": 16, "mapping_kwargs": {}}}}


def snapshot(tensors, *, attributes=None, kind=Persistent, **more):
    """What the training scripts save: G and G_ema, the discriminator's leftovers, the private path of the data."""
    return {
        "training_set_kwargs": {"path": "/home/someone/private/faces.zip", "n": 7},
        "G": module(generators.other(tensors), attributes=attributes, kind=kind),
        "D": Stranger(backbone=Stranger(width=np.float64(2)), hooks={frozenset({3}): Stranger()}, numbers={1, 2}),
        "G_ema": module(tensors, attributes=attributes, kind=kind),
        "augment_pipe": None,
        **more,
    }


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_stylegan2_in_every_container(opened, writer):
    tensors = generators.stylegan2()
    foreign = opened(writer(snapshot(generators.with_filters(tensors), attributes=ADA)))
    assert foreign.family == "stylegan2"
    assert_same(foreign.tensors, tensors)
    assert foreign.options == {
        "architecture": "skip",
        "conv_clamp": None,
        "lr_multiplier": 0.01,
        "resample": [1, 3, 3, 1],
        "use_noise": True,
        "c_dim": 0,
        "label": None,
    }
    assert "stylegan2-ada" in foreign.source
    shown = foreign.source + "".join(foreign.notes)
    assert "private" not in shown
    assert "timm.models.efficientnet.Stranger" in shown


@pytest.mark.parametrize("package", [b"numpy.core", b"numpy._core"])
def test_the_names_of_numpy_1_and_2(opened, package):
    tensors, attributes = generators.stylegan3()
    raw = pickled(snapshot(tensors, attributes=attributes), protocol=3)
    raw = raw.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cnumpy.core.", b"c" + package + b".")
    assert b"c" + package + b".multiarray\n" in raw
    foreign = opened(raw)
    assert foreign.options["input"]["size"] == [36, 36]
    assert foreign.options["input"]["bandwidth"] == 2.0


def test_harmless_strangers_become_inert(opened):
    """What real discriminators and arguments hold: torch's own modules, partials, settings, queues."""
    left = {
        "module": torch.nn.Sequential(torch.nn.utils.spectral_norm(torch.nn.Linear(2, 2)), torch.nn.ReLU()),
        "partial": functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.1),
        "settings": argparse.Namespace(path="/home/someone/private", size=3, device=torch.device("cpu")),
        "queue": collections.deque([1, 2]),
        "counts": collections.defaultdict(list, {1: [2]}),
        "path": PurePosixPath("/home/someone/private"),
        "dtype": torch.float16,
        "shape": torch.Size([1, 2]),
        "array": np.arange(6).reshape(2, 3).T,
        "complex": 1j,
    }
    tensors = generators.stylegan2()
    for protocol in (2, 3, 4, 5):
        foreign = opened(pickled({"D": left, "G_ema": module(tensors)}, protocol=protocol))
        assert_same(foreign.tensors, tensors)
        assert "private" not in repr(foreign.notes)
        assert any("argparse.Namespace" in note for note in foreign.notes)


def test_classes_made_by_dill(opened):
    """dill writes a local class as a call that makes it; objects of it follow."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    tensors = generators.stylegan2()
    made = b"cdill._dill\n_create_type\n(cdill._dill\n_load_type\n" + text("type") + b"\x85R" + text("Local") + b")}tR"
    thing = made + b")\x81}" + text("x") + b"K\x01sb"
    state = pickled(torch_tensors(tensors), protocol=2)[2:-1]
    assert_same(opened(b"\x80\x02}(" + text("D") + thing + text("G_ema") + state + b"u.").tensors, tensors)


def test_data_parallel_networks(opened):
    tensors = {f"module.{key}": value for key, value in generators.with_filters(generators.stylegan2()).items()}
    attributes = {"module.synthesis.b4.conv1": {"conv_clamp": 64}}
    foreign = opened(pickled({"G_ema": module(tensors, attributes=attributes)}))
    assert_same(foreign.tensors, generators.stylegan2())
    assert foreign.options["conv_clamp"] == 64


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("what", ["network", "state dict", "undecorated"])
def test_a_lone_generator(opened, writer, what):
    tensors = generators.stylegan2(seed=11)
    top = {
        "network": lambda: module(tensors),
        "undecorated": lambda: module(tensors, kind=Plain),
        "state dict": lambda: torch_tensors(tensors),
    }[what]()
    foreign = opened(writer(top))
    assert_same(foreign.tensors, tensors)
    assert any("clamp" in note for note in foreign.notes)  # nothing says whether there is one


def test_g_alone_is_taken_and_said(opened):
    tensors = generators.stylegan2()
    foreign = opened(pickled({"G": module(tensors), "G_ema": None}))
    assert_same(foreign.tensors, tensors)
    assert any("EMA" in note for note in foreign.notes)
    assert not any("EMA" in note for note in opened(pickled({"G_ema": module(tensors)})).notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("writer", [pickled, archived])
def test_other_precisions_become_float32(opened, dtype, writer):
    tensors = generators.stylegan2()
    stored = {key: value.to(dtype).float().numpy() for key, value in torch_tensors(tensors).items()}
    assert_same(opened(writer({"G_ema": module(tensors, dtype=dtype)})).tensors, stored)


def test_views_and_transposed_tensors(opened):
    """Tensors need not lie in their storage as they are."""
    tensors = generators.stylegan2()
    key = "synthesis.b8.conv0.weight"
    state = torch_tensors(tensors)
    storage = torch.arange(4096, dtype=torch.float32)
    state[key] = storage[100 : 100 + state[key].numel() * 2].reshape(2, 5, 3, 4, 3)[1].permute(2, 0, 1, 3)
    expected = tensors | {key: state[key].numpy()}
    for writer in WRITERS.values():
        assert_same(opened(writer(state)).tensors, expected)


@pytest.mark.parametrize(
    ("attributes", "clamp"),
    [
        (ADA, None),
        (SG3_REPOSITORY, 256),
        ({"": {"_init_kwargs": {"synthesis_kwargs": {"conv_clamp": 200}}}}, 200),
        ({"": {"_init_kwargs": {"conv_clamp": None, "channel_base": 4}}}, None),
        ({**ADA, "synthesis.b4.conv1": {"conv_clamp": 128}}, 128),
        ({**SG3_REPOSITORY, "synthesis.b4.conv1": {"conv_clamp": None}}, None),
    ],
)
def test_the_clamp_of_both_repositories(opened, attributes, clamp):
    foreign = opened(pickled({"G_ema": module(generators.stylegan2(), attributes=attributes)}))
    assert foreign.options["conv_clamp"] == clamp
    assert not any("clamp" in note for note in foreign.notes)


def test_options_from_arguments_and_filters(opened):
    attributes = {"": {"_init_kwargs": {"synthesis_kwargs": {}, "mapping_kwargs": {"lr_multiplier": 0.02}}}}
    tensors = generators.with_filters(generators.stylegan2(), taps=(1, 2, 1))
    options = opened(pickled({"G_ema": module(tensors, attributes=attributes)})).options
    assert (options["lr_multiplier"], options["resample"]) == (0.02, [1, 2, 1])


@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
@pytest.mark.parametrize("noise", [True, False])
def test_architectures(opened, architecture, noise):
    tensors = generators.stylegan2(architecture=architecture, noise=noise, image_channels=4)
    foreign = opened(pickled({"G_ema": module(generators.with_filters(tensors))}))
    assert_same(foreign.tensors, tensors)
    assert (foreign.options["architecture"], foreign.options["use_noise"]) == (architecture, noise)


def test_not_square(opened):
    """eps696's fork: a compact file with an oblong constant."""
    tensors = generators.stylegan2(const=(3, 5))
    assert_same(opened(pickled({"G_ema": module(tensors)})).tensors, tensors)


@pytest.mark.parametrize("label", ["embed", "table"])
def test_conditional(opened, label):
    tensors = generators.stylegan2(c_dim=3, label=label)
    foreign = opened(pickled({"G_ema": module(tensors)}))
    assert_same(foreign.tensors, tensors)
    assert (foreign.options["c_dim"], foreign.options["label"]) == (3, label)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_missing_average_is_estimated(opened, c_dim):
    tensors = generators.stylegan2(c_dim=c_dim)
    del tensors["mapping.w_avg"]
    foreign = opened(pickled({"G_ema": module(tensors)}))
    assert averages.NOTE in foreign.notes
    rng = np.random.default_rng(123)  # other latents than the reader's
    total = np.zeros(generators.W)
    for _ in range(20_000):
        x = rng.standard_normal(generators.Z)
        x /= np.sqrt(np.mean(x**2))
        if c_dim:
            y = tensors["mapping.embed.weight"][:, rng.integers(c_dim)] / np.sqrt(c_dim) + tensors["mapping.embed.bias"]
            x = np.concatenate([x, y / np.sqrt(np.mean(y**2))])
        for layer in range(2):
            weight = tensors[f"mapping.fc{layer}.weight"]
            x = weight @ x * 0.01 / np.sqrt(weight.shape[1]) + tensors[f"mapping.fc{layer}.bias"] * 0.01
            x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
        total += x / 20_000
    assert np.abs(foreign.tensors["mapping.w_avg"] - total).max() < 0.06 * np.abs(total).max() + 0.02
    again = opened(pickled({"G_ema": module(tensors)}))
    assert (again.tensors["mapping.w_avg"] == foreign.tensors["mapping.w_avg"]).all()


def test_an_average_of_zeros_was_never_set(opened):
    tensors = generators.stylegan2()
    tensors["mapping.w_avg"][:] = 0
    assert averages.NOTE in opened(pickled(torch_tensors(tensors))).notes


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("config", ["T", "R"])
def test_stylegan3(opened, writer, config):
    tensors, attributes = generators.stylegan3(config=config)
    foreign = opened(writer(snapshot(tensors, attributes=SG3_REPOSITORY | attributes)))
    assert foreign.family == "stylegan3"
    assert_same(foreign.tensors, tensors)
    options = foreign.options
    assert (options["config"], options["output_scale"], options["c_dim"]) == (config, 0.25, 0)
    assert options["input"] == {"size": [36, 36], "sampling_rate": 16.0, "bandwidth": 2.0}
    assert [layer["name"] for layer in options["layers"]] == ["L0_36_4", "L1_52_3", "L10_32_3"]
    assert options["layers"][0] == {
        "name": "L0_36_4",
        "is_torgb": False,
        "conv_kernel": 1 if config == "R" else 3,
        "up_factor": 2,
        "down_factor": 2,
        "padding": [9, 8, -11, -12],
        "in_size": [36, 36],
        "out_size": [52, 36],
        "conv_clamp": 256,
        "in_sampling_rate": 16,
        "out_half_width": 6.5,
    }
    assert not any("transform" in note for note in foreign.notes)


def test_stylegan3_state_dict_has_no_attributes(opened):
    tensors, _ = generators.stylegan3()
    shuffled = dict(sorted(tensors.items()))  # L10 before L1
    foreign = opened(archived(torch_tensors(shuffled)))
    assert_same(foreign.tensors, tensors)
    assert "layers" not in foreign.options
    assert foreign.options["layer_names"] == ["L0_36_4", "L1_52_3", "L10_32_3"]


def test_a_moved_input_is_said(opened):
    tensors, attributes = generators.stylegan3()
    tensors["synthesis.input.transform"][0, 2] = 0.5
    foreign = opened(pickled({"G_ema": module(tensors, attributes=attributes)}))
    assert any("transform" in note for note in foreign.notes)
    assert foreign.tensors["synthesis.input.transform"][0, 2] == 0.5


def test_stylegan_xl(opened):
    """A lookup table of classes, one average a class, arguments that name the maker's paths."""
    tensors, attributes = generators.stylegan3(c_dim=4, label="table")
    attributes[""] = {"_init_kwargs": {"path_stem": "/home/someone/private/stem.pkl", "up_factor": [2]}}
    foreign = opened(pickled(snapshot(tensors, attributes=attributes, progress=Stranger())))
    assert_same(foreign.tensors, tensors)
    assert foreign.tensors["mapping.w_avg"].shape == (4, generators.W)
    assert (foreign.options["label"], foreign.options["c_dim"]) == ("table", 4)
    assert "XL" in foreign.source
    assert "private" not in repr((foreign.options, foreign.notes, foreign.source))


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("lite", [True, False])
def test_projected_gan(opened, writer, lite):
    tensors = {f"synthesis.{key}": value for key, value in generators.fastgan(big=not lite).items()}
    attributes = {"": {"z_dim": 8, "img_resolution": 16}}
    foreign = opened(writer(snapshot(tensors, kind=Plain, attributes=attributes)))
    assert foreign.family == "projected"
    assert foreign.options == {"resolution": 16, "lite": lite, "cond": False, "c_dim": 0}
    expected = generators.folded(tensors)
    assert foreign.tensors.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(foreign.tensors[key], value, rtol=1e-5, err_msg=key)


def test_projected_gan_with_classes(opened):
    tensors = {f"synthesis.{key}": value for key, value in generators.fastgan(big=False).items()}
    tensors["synthesis.embed.weight"] = np.ones((7, 3), np.float32)
    foreign = opened(pickled(snapshot(tensors, kind=Plain)))
    assert (foreign.options["cond"], foreign.options["c_dim"]) == (True, 7)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("synthesis.b8.conv0.weight", np.zeros((4, 5, 3, 2)), r"b8\.conv0\.weight has shape \[4, 5, 3, 2\]; expected"),
        ("synthesis.b16.torgb.bias", np.zeros(4), r"b16\.torgb\.bias has shape \[4\]; expected \[3\]"),
        ("synthesis.b4.const", np.full((5, 4, 4), np.nan), r"b4\.const holds NaN"),
        ("mapping.fc1.bias", np.full(6, np.inf), r"fc1\.bias holds NaN or infinity"),
        ("mapping.w_avg", np.zeros((2, 6)), r"w_avg has shape \[2, 6\]; expected \[6\]"),
        ("synthesis.b8.conv1.affine.bias", None, r"b8\.conv1\.affine\.bias is missing; expected shape \[4\]"),
        ("synthesis.b8.attention_g.weight", np.zeros((2, 2)), r"b8\.attention_g\.weight has no place in StyleGAN2"),
        ("synthesis.b8.conv0.noise_const", np.zeros((8, 4)), r"noise_const has shape \[8, 4\]; expected \[8, 8\]"),
    ],
)
def test_unusable_weights_are_named(opened, key, value, message):
    tensors = generators.stylegan2()
    if value is None:
        del tensors[key]
    else:
        tensors[key] = np.asarray(value, np.float32)
    with pytest.raises(ForeignError, match=rf"network\.bin: .*{message}"):
        opened(pickled({"G_ema": module(tensors)}))


def test_progress_and_the_extension(tmp_path):
    """A pickle that is called .safetensors is still a pickle."""
    from performer.generators.foreign import read

    path = tmp_path / "network.safetensors"
    path.write_bytes(writers.pickled({"G_ema": module(generators.stylegan2())}))
    said: list[str] = []
    read(path, progress=said.append)
    assert len(said) >= 3
    assert "network.safetensors" in said[0]
