"""The real window, under a real X server, with real key events."""

import subprocess
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from performer.flow import Image, Params, Tick
from performer.params import ParamTable, base_params
from performer.stage.compositor import Stage
from performer.stage.outputs.output import NoDisplay
from performer.stage.outputs.window import Window, monitor_names
from tests.rig.xvfb import xvfb
from tests.stage.conftest import flat

PATIENCE_S = 20.0


@pytest.fixture
def window(screen: str) -> Iterator[Window]:
    made = Window(size_px=(320, 180))
    yield made
    made.close()


def xdotool(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True, timeout=PATIENCE_S)


def focus(window: Window) -> None:
    """Without a window manager nobody gives the focus away: take it."""
    window.poll()
    found = subprocess.run(["xdotool", "search", "--name", "^performer$"], capture_output=True, text=True, check=True)
    xdotool("windowfocus", "--sync", found.stdout.split()[-1])
    window.poll()


def wait(window: Window, ready: Callable[[], bool]) -> list[str]:
    """Poll until `ready`, or patience ends; the keys that came."""
    keys: list[str] = []
    end_s = time.monotonic() + PATIENCE_S
    while not ready() and time.monotonic() < end_s:
        keys += [press.key for press in window.poll()]
        if keys and ready is never:
            break
        time.sleep(0.01)
    return keys


def never() -> bool:
    return False


def grabbed(window: Window) -> np.ndarray:
    width, height = window.size_px
    data = window.ctx.screen.read(components=3, alignment=1)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def test_it_opens_black_at_its_size(window: Window) -> None:
    assert window.size_px == (320, 180)
    assert grabbed(window).max() == 0
    assert window.description and window.is_software and window.refresh_hz is None
    assert not window.should_close


def test_the_stage_draws_on_it(window: Window) -> None:
    table = ParamTable(base_params())
    stage = Stage(window, table=table, effects=())
    image = Image(flat(200, 40, 40), 0, 0.0, 0.0)
    stage.show(image, Params(table.defaults(), knobs=table.defaults()), Tick(0, 0.0, 1 / 60, 0.0, 0.0))
    assert np.abs(stage.read_pixels()[90, 160, :3].astype(int) - np.array((200, 40, 40))).max() <= 2
    assert stage.warnings == ()
    stage.close()


def test_a_key_arrives_once_however_long_it_is_held(window: Window) -> None:
    focus(window)
    xdotool("keydown", "space")
    assert wait(window, never) == ["space"]
    time.sleep(0.8)  # the server's auto-repeat has begun by now
    assert window.poll() == []
    xdotool("keyup", "space")
    xdotool("key", "F1")
    assert wait(window, never) == ["f1"]
    xdotool("key", "ctrl+f")
    xdotool("key", "Left")
    assert wait(window, never) == ["left"]


def test_only_a_held_escape_leaves(window: Window) -> None:
    focus(window)
    xdotool("key", "Escape")
    end_s = time.monotonic() + 1.5
    while time.monotonic() < end_s:
        window.poll()
        time.sleep(0.01)
    assert not window.should_close
    xdotool("keydown", "Escape")
    try:
        wait(window, lambda: window.should_close)
    finally:
        xdotool("keyup", "Escape")
    assert window.should_close


def test_f11_covers_the_monitor_and_comes_back(window: Window) -> None:
    focus(window)
    xdotool("key", "F11")
    wait(window, lambda: window.size_px == (800, 600))
    assert window.size_px == (800, 600) and window.fullscreen
    window.toggle_fullscreen()
    wait(window, lambda: window.size_px == (320, 180))
    assert window.size_px == (320, 180) and not window.fullscreen


def test_a_monitor_is_chosen_by_name(screen: str) -> None:
    (name,) = monitor_names()
    window = Window(size_px=(320, 180), monitor=name[:3].upper(), fullscreen=True)
    wait(window, lambda: window.size_px == (800, 600))
    assert window.size_px == (800, 600)
    window.close()
    window.close()
    with pytest.raises(ValueError, match=f"no monitor named 'beamer'.*{name}"):
        Window(monitor="beamer")


def test_without_a_screen_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(NoDisplay, match="DISPLAY"):
        Window()


def test_a_screen_that_is_not_there_is_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4099")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(NoDisplay):
        Window()


def test_two_screens_live_side_by_side() -> None:
    with xvfb() as first, xvfb() as second:
        assert first != second
