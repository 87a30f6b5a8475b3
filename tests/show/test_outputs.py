"""Outputs of a whole show: the preview, from the frame to the JPEG, and outputs that fail."""

import io
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image as Pillow
from pythonosc.udp_client import SimpleUDPClient

from performer.flow import Image
from performer.play import PlayOptions, prepare
from performer.show import Show
from performer.stage.outputs.preview import OnHost, Preview
from tests.show.conftest import play_until
from tests.show.program import free_port, free_tcp_port, left_of


class Output:
    """Counts frames; fails when it is told to."""

    def __init__(self, fault: Exception | None = None, *, fails_to_close: bool = False) -> None:
        self.dropped = self.frames = self.closed = 0
        self.fault, self.fails_to_close = fault, fails_to_close

    def put(self, frame) -> bool:
        self.frames += 1
        if self.fault is not None:
            raise self.fault
        return True

    def close(self) -> None:
        self.closed += 1
        if self.fails_to_close:
            raise OSError("the disk is gone")


class NetworkStream(Output):
    """One with a name of two words."""


def said(show: Show, text: str) -> list:
    return [notice for notice in show.notices.recent(at_s=show.clock.now_s()) if text in notice.text]


def test_an_output_that_fails_is_said_once_and_left_out(show):
    good, bad, after = Output(), NetworkStream(RuntimeError("no route to host")), Output()
    show.outputs += [good, bad, after]
    for _ in range(5):
        show.frame()
    assert (good.frames, bad.frames, after.frames) == (5, 1, 5)
    (notice,) = said(show, "no route to host")
    assert notice.text == "the network stream failed and is left out: RuntimeError('no route to host')"
    assert (notice.count, notice.severe) == (1, True)
    assert bad.closed == 0, "closing may take longer than a frame has"


def test_the_end_reaches_all_outputs_and_everything_after_them(setlist):
    options = PlayOptions(setlist=str(setlist), headless=True, size_px=(160, 90), osc_port=0)
    show = prepare(options, announce=lambda text: None)
    outputs = [Output(fails_to_close=True), Output(RuntimeError("broken"), fails_to_close=True), Output()]
    show.outputs += outputs
    show.frame()
    child = show.ears.child_pid
    show.close()
    assert [output.closed for output in outputs] == [1, 1, 1]
    assert said(show, "the output was not closed: OSError('the disk is gone')")
    assert child is not None and left_of([child]) == [], "what comes after the outputs is ended too"


@pytest.fixture
def served(setlist) -> Iterator[Show]:
    """A show with a panel, which has shown its first picture."""
    options = PlayOptions(
        setlist=str(setlist), headless=True, size_px=(640, 360), osc_host="127.0.0.1", osc_port=free_port(),
        http_port=free_tcp_port(),
    )  # fmt: skip
    made = prepare(options, announce=lambda text: None)
    play_until(made, lambda: made.host.latest() is not None)
    yield made
    made.close()


class Watcher(threading.Thread):
    """Asks for one picture, while the show plays."""

    def __init__(self, show: Show, query: str = "") -> None:
        super().__init__(daemon=True)
        self._url = f"http://127.0.0.1:{show.hands.http_port}/preview.jpg{query}"
        self.status, self.serial, self.picture = 0, -1, np.zeros(0)

    def run(self) -> None:
        with urllib.request.urlopen(self._url, timeout=20) as answer:
            self.status = answer.status
            if self.status == 200:
                self.serial = int(answer.headers["X-Serial"])
                self.picture = np.asarray(Pillow.open(io.BytesIO(answer.read()))).astype(int)


def watched(show: Show, query: str = "") -> Watcher:
    watcher = Watcher(show, query)
    watcher.start()
    play_until(show, lambda: not watcher.is_alive())
    return watcher


def means(show: Show) -> np.ndarray:
    """[h, w, 3], of squares of two pixels of the newest frame."""
    pixels = show.stage.read_pixels()[..., :3].astype(float)
    return pixels.reshape(180, 2, 320, 2, 3).mean(axis=(1, 3))


def test_what_the_audience_sees_is_there_as_a_jpeg(served, monkeypatch):
    pixels = np.full((64, 64, 4), 255, np.uint8)
    for index, colour in enumerate(((230, 30, 20), (20, 200, 60), (30, 40, 190), (220, 210, 80))):
        pixels[index // 2 * 32 :, index % 2 * 32 :, :3] = colour
    monkeypatch.setattr(served.host, "latest", lambda: Image(pixels, 10**6, 0.0, 0.0))
    played = served._frame
    play_until(served, lambda: served._frame > played + 30)
    SimpleUDPClient("127.0.0.1", served.hands.port).send_message("/perf/out/freeze", 1)
    play_until(served, lambda: served.params.values[served.table.row("out.freeze")] == 1)
    first = watched(served)
    second = watched(served, f"?after={first.serial}")
    assert (first.status, second.status) == (200, 200)
    assert first.serial < second.serial <= served._frame
    expected = means(served)
    for each in (first, second):
        assert each.picture.shape == (180, 320, 3)
        # Quality 70 costs a level or two, and more at the edges of colours, whose resolution is halved.
        assert np.abs(each.picture - expected).mean() < 3
        for other in (np.flipud(each.picture), np.fliplr(each.picture), each.picture[..., ::-1]):
            assert np.abs(other - expected).mean() > 20, "turned over or in other colours it would not be the same"


def test_nobody_watches_nothing_is_done(served):
    (preview,) = served.outputs
    assert isinstance(preview, Preview)
    for _ in range(10):
        served.frame()
    assert served.hands.pictures.published == 0
    watched(served)
    assert served.hands.pictures.published > 0


def test_another_control_process_goes_on_with_the_pictures(served):
    before = watched(served)
    os.kill(served.hands.child_pid, signal.SIGKILL)
    play_until(served, lambda: served.hands.status().restarts == 1)
    after = watched(served, f"?after={before.serial}")
    assert after.status == 200 and after.serial > before.serial


def test_a_preview_that_fails_is_left_out_and_the_panel_stays(served, monkeypatch):
    def refused(*_):
        raise RuntimeError("OpenGL reports GL_OUT_OF_MEMORY")

    monkeypatch.setattr(OnHost, "take", refused)
    watcher = watched(served)
    assert watcher.status == 204
    assert served.outputs == []
    (notice,) = said(served, "GL_OUT_OF_MEMORY")
    assert notice.text.startswith("the preview failed and is left out") and notice.count == 1
    frames = served.meter.frames
    served.frame()
    assert served.meter.frames == frames + 1


def test_without_a_panel_there_is_no_preview(show):
    assert (show.outputs, show.hands.pictures) == ([], None)
