"""What all tests share: a cache of their own, the bundled species, a small StyleGAN2, and a table at the end of a run."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

from performer import resources
from performer.generators import checkpoint as species
from performer.generators.checkpoint import Checkpoint, Provenance, Sizes
from tests.rig import figures

# How long an example takes says something of the machine and of what runs beside it: benchmarks measure that.
settings.register_profile("performer", deadline=None)
settings.load_profile("performer")

EMBRYO = resources.CHECKPOINTS / "embryo.safetensors"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := figures.table():
        terminalreporter.section("half precision against eager, and plans of TensorRT for RTX")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never read or fill the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def embryo() -> Checkpoint:
    return species.load(EMBRYO)


def small_stylegan2(*, resolution: int = 16, w_dim: int = 24, channels: int = 8, seed: int = 3) -> Checkpoint:
    """A StyleGAN2 with random weights, non-trivial where initialisation is trivial."""
    rng = np.random.default_rng(seed)
    levels = [4 << i for i in range(int(np.log2(resolution)) - 1)]
    tensors: dict[str, np.ndarray] = {"mapping.w_avg": rng.standard_normal(w_dim)}
    for layer in range(3):
        tensors[f"mapping.fc{layer}.weight"] = rng.standard_normal((w_dim, w_dim)) * 100
        tensors[f"mapping.fc{layer}.bias"] = rng.standard_normal(w_dim) * 10

    def layer_of(prefix: str, out: int, kernel: int) -> None:
        tensors[f"{prefix}.weight"] = rng.standard_normal((out, channels, kernel, kernel))
        tensors[f"{prefix}.bias"] = rng.standard_normal(out) * 0.3
        tensors[f"{prefix}.affine.weight"] = rng.standard_normal((channels, w_dim))
        tensors[f"{prefix}.affine.bias"] = 1 + rng.standard_normal(channels) * 0.3

    tensors["synthesis.b4.const"] = rng.standard_normal((channels, 4, 4))
    for level in levels:
        for name in ("conv0", "conv1") if level > 4 else ("conv1",):
            layer_of(f"synthesis.b{level}.{name}", channels, 3)
            tensors[f"synthesis.b{level}.{name}.noise_strength"] = np.array(0.2)
            tensors[f"synthesis.b{level}.{name}.noise_const"] = rng.standard_normal((level, level))
        layer_of(f"synthesis.b{level}.torgb", 3, 1)
    count = 2 * len(levels)
    return Checkpoint(
        family="stylegan2",
        sizes=Sizes(
            height_px=resolution,
            width_px=resolution,
            z_dim=w_dim,
            w_dim=w_dim,
            num_ws=count,
            noise_layers=count - 1,
            coarse=2,
            middle=4,
        ),
        provenance=Provenance(name="small", origin="random", licence="CC0-1.0", trained=False),
        tensors={key: np.asarray(value, np.float32) for key, value in tensors.items()},
        content_hash=f"small-{seed}-{resolution}",
    )


@pytest.fixture(scope="session")
def stylegan2() -> Checkpoint:
    return small_stylegan2()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """A card on the host."""
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings, for their codes and handles")
    from tests.rig.cuda import host_card

    with host_card(monkeypatch) as made:
        yield made


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, card):
    """TensorRT of either kind on it."""
    from tests.generators import graphs
    from tests.rig.tensorrt import host_tensorrt

    graphs.remember(monkeypatch)
    return host_tensorrt(request.param, card, monkeypatch)
