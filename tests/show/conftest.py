"""Fixtures of whole shows."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from performer.play import PlayOptions, prepare
from performer.show import Show
from tests.rig.xvfb import xvfb
from tests.show.program import PATIENCE_S, free_port

SETLIST = """
schema = 1
name = "Test"
species = "embryo"
[audio]
source = "tone"
[[route]]
name = "kick"
from = "mix.onset"
to = "latent.coarse"
[[cue]]
id = "1"
fade = 0
[[cue]]
id = "2"
fade = 0
params = { "walk.speed" = 1.0 }
"""


@pytest.fixture(autouse=True)
def silent_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No screen and no sound, whatever the machine has: a test asks for what it needs."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")


@pytest.fixture
def setlist(tmp_path: Path) -> Path:
    """Two cues that listen to the test tone."""
    path = tmp_path / "test.toml"
    path.write_text(SETLIST)
    return path


@pytest.fixture
def screen(silent_machine: None) -> Iterator[str]:
    """A real X display for windows."""
    with xvfb(size_px=(640, 360)) as display:
        yield display


@pytest.fixture
def show(setlist: Path) -> Iterator[Show]:
    """A show in this process, headless and small, with its audio and control processes."""
    options = PlayOptions(
        setlist=str(setlist), headless=True, size_px=(160, 90), osc_host="127.0.0.1", osc_port=free_port()
    )
    made = prepare(options, announce=lambda text: None)
    yield made
    made.close()


def play_until(show: Show, condition: Callable[[], bool]) -> None:
    """Play frames until `condition` holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        show.frame()
