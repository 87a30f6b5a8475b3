"""Torch checkpoints of rosinality, lucidrains and FastGAN, and plain safetensors."""

import argparse
import io
import json
import zipfile

import numpy as np
import pytest
import torch

from performer.generators.foreign import ForeignError, averages, rosinality
from tests.foreign import generators
from tests.foreign.conftest import assert_same
from tests.foreign.writers import BUFFERS, TORCH_WRITERS, Stranger, archived, pickled, rosinality_state, torch_tensors

in_every_container = pytest.mark.parametrize("writer", TORCH_WRITERS.values(), ids=TORCH_WRITERS)


def state_of(tensors, prefix=""):
    return torch_tensors({prefix + key: value for key, value in rosinality_state(tensors).items()})


@in_every_container
@pytest.mark.parametrize("prefix", ["", "module."])
def test_rosinality_converter(opened, writer, prefix):
    tensors = generators.stylegan2()
    top = {
        "g": state_of(generators.other(tensors), prefix),
        "g_ema": state_of(tensors, prefix),
        "latent_avg": torch.from_numpy(tensors["mapping.w_avg"]),
    }
    foreign = opened(writer(top))
    assert foreign.family == "stylegan2"
    assert_same(foreign.tensors, tensors)
    assert foreign.options["conv_clamp"] is None
    assert foreign.options["resample"] == [1, 3, 3, 1]
    assert "rosinality" in foreign.source


@in_every_container
def test_rosinality_trainer(opened, writer):
    """The settings of the training lie beside the weights as an object; the average of w is not kept."""
    tensors = generators.stylegan2()
    top = {
        "g": state_of(generators.other(tensors)),
        "d": state_of(tensors),
        "g_ema": state_of(tensors),
        "g_optim": {"state": {0: {"step": 7, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.002}]},
        "args": argparse.Namespace(path="/home/someone/private/lmdb", size=16),
        "ada_aug_p": 0.0,
    }
    foreign = opened(writer(top))
    del tensors["mapping.w_avg"]
    estimated = foreign.tensors.pop("mapping.w_avg")
    assert estimated.shape == (generators.W,)
    assert estimated.any()
    assert_same(foreign.tensors, tensors)
    assert averages.NOTE in foreign.notes
    assert "private" not in repr(foreign.notes)


def test_rosinality_without_noise_maps(opened):
    state = {key: value for key, value in state_of(generators.stylegan2()).items() if "noises" not in key}
    foreign = opened(archived({"g_ema": state}))
    assert rosinality.NOISE_NOTE in foreign.notes
    assert foreign.tensors["synthesis.b16.conv0.noise_const"].shape == (16, 16)


def test_a_fork_of_rosinality_is_refused(opened):
    state = state_of(generators.stylegan2()) | {"convs.0.attention.weight": torch.zeros(2)}
    with pytest.raises(ForeignError, match=r"convs\.0\.attention\.weight has no place"):
        opened(archived({"g_ema": state}))


def test_rosinality_stylegan1_is_refused(opened):
    with pytest.raises(ForeignError, match="StyleGAN1"):
        opened(archived({"g_running": {"generator.progression.0.conv1.weight": torch.zeros(2)}}))


@in_every_container
def test_lucidrains_stylegan2(opened, writer, tmp_path):
    tensors = generators.lucidrains()
    raw = generators.other(generators.lucidrains(parts=("G", "S")))
    (tmp_path / ".config.json").write_text(json.dumps({"lr_mlp": 0.2, "image_size": 8, "attn_layers": []}))
    foreign = opened(writer({"GAN": torch_tensors(tensors | raw), "version": "1.8.9"}))
    assert foreign.family == "lucidrains"
    average = foreign.tensors.pop("mapping.w_avg")
    expected = {
        key.replace("GE.", "synthesis.", 1).replace("SE.", "mapping.", 1): value for key, value in tensors.items()
    }
    assert_same(foreign.tensors, expected)
    assert foreign.options == {
        "image_size": 8,
        "lr_multiplier": 0.2,
        "transparent": True,
        "no_const": False,
        "attn_layers": [],
    }
    assert averages.NOTE in foreign.notes
    z = np.random.default_rng(1).standard_normal((20_000, generators.W))
    x = z / np.linalg.norm(z, axis=1, keepdims=True)
    for layer in (0, 2):
        x = 0.2 * (x @ tensors[f"SE.net.{layer}.weight"].T + tensors[f"SE.net.{layer}.bias"])
        x = np.where(x > 0, x, 0.2 * x)
    assert np.abs(average - x.mean(0)).max() < 0.05 * np.abs(x).max()


def test_lucidrains_without_settings_or_average(opened, tmp_path):
    tensors = generators.lucidrains(parts=("G", "S"))
    (tmp_path / ".config.json").write_text("[" * 100_000)
    foreign = opened(archived({"GAN": torch_tensors(tensors)}))
    assert foreign.options["lr_multiplier"] == 0.1
    assert any("config" in note and "damaged" in note for note in foreign.notes)
    assert any("averaged" in note for note in foreign.notes)
    assert (foreign.tensors["mapping.net.2.bias"] == tensors["S.net.2.bias"]).all()


def test_a_misshapen_lucidrains_is_named(opened):
    tensors = generators.lucidrains()
    tensors["GE.blocks.1.to_style2.weight"] = np.zeros((3, generators.W), np.float32)
    with pytest.raises(ForeignError, match=r"blocks\.1\.to_style2\.weight has shape \[3, 6\]; expected \[4, 6\]"):
        opened(archived({"GAN": torch_tensors(tensors)}))


@in_every_container
def test_lightweight_gan(opened, writer, tmp_path):
    tensors = generators.lightweight()
    raw = generators.other(generators.lightweight(part="G"))
    (tmp_path / ".config.json").write_text(json.dumps({"attn_res_layers": [32], "freq_chan_attn": True}))
    foreign = opened(writer({"GAN": torch_tensors(raw | tensors), "version": "1.1.1"}))
    assert foreign.family == "lightweight"
    expected = {key.removeprefix("GE."): value for key, value in tensors.items() if "batches" not in key}
    assert_same(foreign.tensors, expected)
    assert foreign.options == {
        "image_size": 16,
        "transparent": True,
        "greyscale": False,
        "freq_chan_attn": True,
        "attn_layers": [1],
        "attn_res_layers": [32],
    }


def assert_close(got, expected):
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-5, err_msg=key)


@in_every_container
@pytest.mark.parametrize("prefix", ["", "module."])
def test_fastgan(opened, writer, prefix):
    tensors = generators.fastgan()
    state = torch_tensors({prefix + key: value for key, value in tensors.items()})
    foreign = opened(writer({"g": state, "d": torch_tensors(generators.other(tensors))}))
    assert foreign.family == "fastgan"
    assert_close(foreign.tensors, generators.folded(tensors))
    assert foreign.options == {"resolution": 16}
    assert not any("EMA" in note for note in foreign.notes)  # under g lies the averaged one


@in_every_container
def test_fastgan_with_the_averaged_parameters_as_a_list(opened, writer):
    tensors = generators.fastgan()
    averaged = generators.other(tensors)
    parameters = [torch.from_numpy(averaged[key]) for key in tensors if not key.endswith(BUFFERS)]
    top = {"g": torch_tensors({f"module.{k}": v for k, v in tensors.items()}), "g_ema": parameters, "opt_g": Stranger()}
    expected = {key: value if key.endswith(BUFFERS) else averaged[key] for key, value in tensors.items()}
    assert_close(opened(writer(top)).tensors, generators.folded(expected))


def test_fastgan_lists_that_do_not_fit(opened):
    state = torch_tensors(generators.fastgan())
    with pytest.raises(ForeignError, match=r"averaged parameters are 1; expected \d+"):
        opened(archived({"g": state, "g_ema": [torch.zeros(2)]}))
    many = [torch.zeros(2) for key in state if not key.endswith(BUFFERS)]
    with pytest.raises(
        ForeignError, match=r"averaged 'init\.init\.0\.weight_orig'|averaged init\.init\.0\.weight_orig"
    ):
        opened(archived({"g": state, "g_ema": many}))


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("feat_8.1.weight_v", (35,), r"feat_8\.1\.weight_v has shape \[35\]; expected \[36\]"),
        ("feat_8.3.running_var", (7,), r"feat_8\.3\.running_var has shape \[7\]; expected \[8\]"),
        ("init.init.0.weight_u", (4,), r"init\.init\.0\.weight_u has shape \[4\]; expected \[8\]"),
    ],
)
def test_a_misshapen_fastgan_is_named(opened, key, shape, message):
    tensors = generators.fastgan() | {key: np.ones(shape, np.float32)}
    with pytest.raises(ForeignError, match=message):
        opened(archived({"g": torch_tensors(tensors)}))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_safetensors(opened, dtype):
    from safetensors.torch import save

    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    tensors = generators.stylegan2()
    state = torch_tensors(tensors, kinds[dtype])
    foreign = opened(save(dict(state), metadata={"format": "pt"}))
    assert_same(foreign.tensors, {key: value.float().numpy() for key, value in state.items()})


def test_big_endian_archives(opened):
    """Archives say their byte order; those of other machines are read too."""
    tensors = generators.stylegan2()
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archived(torch_tensors(tensors)))) as little,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as big,
    ):
        for name in little.namelist():
            raw = little.read(name)
            if name.endswith("/byteorder"):
                raw = b"big"
            elif "/data/" in name:
                raw = np.frombuffer(raw, "<f4").astype(">f4").tobytes()
            big.writestr(name, raw)
    assert_same(opened(file.getvalue()).tensors, tensors)


def test_nothing_that_is_known(opened):
    top = {"epoch": 7, "optimizer": [torch.zeros(2)], "note": "text", "D": Stranger()}
    with pytest.raises(ForeignError) as refused:
        opened(pickled(top))
    for part in ("no generator", "epoch (a number)", "note (text)", "D (an object timm.models.efficientnet.Stranger)"):
        assert part in str(refused.value)
