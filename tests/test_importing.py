"""From somebody's checkpoint to a species on stage."""

import hashlib
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from performer import resources
from performer import setlist as setlists
from performer.flow import STRAIGHT
from performer.generators import checkpoint as species
from performer.generators import family
from performer.importing import UNKNOWN_LICENCE, ImportOptions, import_species
from performer.refusal import Refused
from tests.conftest import small_stylegan2
from tests.foreign import generators, writers
from tests.generators.latents import noise_of
from tests.show.program import run

ATTRIBUTES = {"": {"_init_args": (), "_init_kwargs": {"z_dim": 5, "synthesis_kwargs": {"conv_clamp": 256}}}}


@pytest.fixture
def pickle_file(tmp_path):
    """A snapshot as stylegan2-ada-pytorch writes it; G differs from G_ema."""
    tensors = generators.stylegan2()
    networks = {
        "G": writers.module(generators.other(tensors), attributes=ATTRIBUTES),
        "D": None,
        "G_ema": writers.module(generators.with_filters(tensors), attributes=ATTRIBUTES),
    }
    path = tmp_path / "network-snapshot-000042.pkl"
    path.write_bytes(writers.pickled(networks))
    return path


def test_a_pickle_becomes_a_species_with_a_picture(tmp_path, pickle_file):
    said: list[str] = []
    options = ImportOptions(file=pickle_file, out=tmp_path / "moth.safetensors", name="moth", licence="CC BY 4.0")
    made = species.load(import_species(options, announce=said.append))
    tensors = generators.stylegan2()
    assert made.tensors.keys() == tensors.keys()
    assert all((made.tensors[key] == value).all() for key, value in tensors.items())
    assert (made.family, made.options["conv_clamp"], made.sizes.resolution) == ("stylegan2", 256, 16)
    assert (made.provenance.name, made.provenance.licence, made.provenance.trained) == ("moth", "CC BY 4.0", True)
    assert "stylegan2-ada" in made.provenance.source
    assert made.provenance.source_sha256 == hashlib.sha256(pickle_file.read_bytes()).hexdigest()
    picture = np.asarray(Image.open(tmp_path / "moth.png"))
    assert picture.shape == (16, 16, 3) and (picture == made.preview).all() and picture.std() > 1
    with torch.no_grad():
        ws = torch.zeros(1, made.sizes.num_ws, made.sizes.w_dim)
        assert torch.isfinite(family.build(made)(ws, noise_of(made.sizes.noise_layers))).all()
    assert any("performer play --species" in text for text in said)


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path, pickle_file):
    out = tmp_path / "mine.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(Refused, match=r"mine\.safetensors: is there already, and nothing is overwritten"):
        import_species(ImportOptions(file=pickle_file, out=out), announce=lambda text: None)
    assert out.read_bytes() == b"mine"
    (tmp_path / "cut.pkl").write_bytes(pickle_file.read_bytes()[:-200])
    with pytest.raises(Refused, match=r"cut\.pkl"):
        import_species(
            ImportOptions(file=tmp_path / "cut.pkl", out=tmp_path / "x.safetensors"), announce=lambda text: None
        )
    with pytest.raises(Refused, match=r"expected a name that ends in \.safetensors"):
        import_species(ImportOptions(file=pickle_file, out=tmp_path / "x.pt"), announce=lambda text: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pkl", "mine.safetensors", pickle_file.name]


def test_import_then_play_with_the_bundled_setlist(tmp_path, pickle_file):
    done = run("import", pickle_file.name, "--out", "moth.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for line in ("NVIDIA stylegan2-ada-pytorch pickle", "family   stylegan2, 16x16 px", UNKNOWN_LICENCE):
        assert line in done.stdout
    words = ("--species", "moth", "--headless", "--size", "160x90", "--osc-port", "0", "--seconds", "1")
    done = run("play", *words, "--snapshot", "last.png", cwd=tmp_path)
    assert done.returncode == 0 and "species  network-snapshot-000042 (16x16 px)" in done.stdout, done.stdout
    assert np.asarray(Image.open(tmp_path / "last.png")).std() > 5
    done = run("play", "--species", "nobody", "--headless", cwd=tmp_path)
    assert done.returncode == 2 and "'nobody' not found" in done.stdout


def test_traits_are_found_drawn_and_played(tmp_path):
    shutil.copy(resources.CHECKPOINTS / "embryo.safetensors", tmp_path / "mine.safetensors")
    done = run("traits", "mine.safetensors", "--count", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for line in ("trait.1   ganspace 1", "trait.2   ganspace 2", "trait.3   sefa coarse 1", "trait.4   sefa middle 1"):
        assert line in done.stdout
    strip = np.asarray(Image.open(tmp_path / "mine-traits.png")).astype(int)
    assert strip.shape == (4 * 160, 5 * 160, 3)
    rows = strip.reshape(4, 160, 5, 160, 3)
    assert (rows[:, :, 2] == rows[:1, :, 2]).all(), "the mean animal stands in the middle of every row"
    assert all(np.abs(rows[n, :, 0] - rows[n, :, 4]).mean() > 1 for n in range(4)), "a trait that changes nothing"
    route = '[[route]]\nname = "swing"\nfrom = "mix.bass.hit"\nto = "trait.3"\namount = 3.0\n'
    setlist = 'schema = 1\nname = "t"\nspecies = "mine"\n[audio]\nsource = "tone"\n' + route + '[[cue]]\nid = "1"\n'
    (tmp_path / "show.toml").write_text(setlist)
    assert run("check", "show.toml", cwd=tmp_path).returncode == 0
    words = ("--headless", "--size", "160x90", "--osc-port", "0", "--seconds", "0.5")
    assert run("play", "show.toml", *words, cwd=tmp_path).returncode == 0
    (tmp_path / "show.toml").write_text(setlist.replace('"mine"', '"embryo"'))
    done = run("check", "show.toml", cwd=tmp_path)
    assert done.returncode == 2 and "'trait.3' is no parameter" in done.stdout


def test_a_setlist_chooses_a_class(tmp_path):
    tensors = generators.stylegan2(c_dim=3)
    (tmp_path / "labelled.pkl").write_bytes(writers.pickled({"G_ema": writers.module(tensors, attributes=ATTRIBUTES)}))
    options = ImportOptions(file=tmp_path / "labelled.pkl", out=tmp_path / "labelled.safetensors")
    import_species(options, announce=lambda text: None)
    latents = []
    for label in (0, 2):
        text = f'schema = 1\nname = "t"\nspecies = "labelled"\nclass = {label}\n'
        text += '[audio]\nsource = "tone"\n[[cue]]\nid = "1"\n'
        (tmp_path / "show.toml").write_text(text)
        latents.append(setlists.load(tmp_path / "show.toml").plan().anatomies[0].anchor(1, (0, 0)))
    assert (latents[0] != latents[1]).any()
    (tmp_path / "show.toml").write_text(text.replace("class = 2", "class = 3"))
    with pytest.raises(Refused, match=r"class: 3; expected 0 to 2"):
        setlists.load(tmp_path / "show.toml")
    played = setlists.load(tmp_path / "show.toml", species_name=str(resources.CHECKPOINTS / "embryo.safetensors"))
    assert played.creatures[0].label == 0


def test_a_species_is_exported_and_its_graph_draws(tmp_path):
    embryo = str(resources.CHECKPOINTS / "embryo.safetensors")
    done = run("export", embryo, "--half", cwd=tmp_path)
    assert done.returncode == 0 and "inputs   ws, noise, bends" in done.stdout, done.stdout
    session = onnxruntime.InferenceSession(tmp_path / "embryo.onnx", providers=["CPUExecutionProvider"])
    latent = {port.name: np.zeros(port.shape, np.float32) for port in session.get_inputs()}
    latent["bends"][:] = STRAIGHT
    picture = session.run(["picture"], latent)[0]
    assert picture.shape == (256, 256, 4) and picture[..., :3].std() > 5
    done = run("export", embryo, cwd=tmp_path)
    assert done.returncode == 2 and "embryo.onnx: is there already" in done.stdout
    done = run("export", embryo, "--out", "x.pt", cwd=tmp_path)
    assert done.returncode == 2 and "expected a name that ends in .onnx" in done.stdout
    species.write(tmp_path / "small.safetensors", small_stylegan2())
    done = run("export", embryo, "--partner", "small.safetensors", "--out", "x.onnx", cwd=tmp_path)
    assert done.returncode == 2 and "light and stylegan2 are different families" in done.stdout
    assert not (tmp_path / "x.onnx").exists()
