"""The host: an engine that fails in mid show holds the picture, is rebuilt, and gives way to a humbler one."""

import time

import numpy as np
import pytest

from performer import cuda
from performer.clock import SystemClock
from performer.engines import host as hosting
from performer.engines.engine import Availability, EngineError, SlotEngine
from performer.engines.host import EngineHost, candidates
from performer.flow import DevicePixels, Image, LatentFrame
from performer.notices import Notices


class Painter(SlotEngine):
    """Paints the latent's first number; can be told to fail."""

    name, rank, suits = "painter", 1, "tests"
    fails = False
    refuses = False
    drawn: LatentFrame

    @classmethod
    def probe(cls):
        return Availability(True, "always")

    @classmethod
    def fingerprint(cls):
        return cls.name

    def activate(self, checkpoint, *, progress, siblings=()):
        if type(self).refuses:
            raise EngineError("no paint")
        self._start(checkpoint.sizes.height_px, checkpoint.sizes.width_px)

    def _infer_impl(self, latent, out):
        if type(self).fails:
            raise RuntimeError("out of paint")
        type(self).drawn = latent
        out[:] = int(latent.ws[0, 0])


class Humble(Painter):
    name, rank = "humble", 2
    fails = False
    refuses = False


@pytest.fixture
def painters(monkeypatch):
    monkeypatch.setattr(hosting, "engines", lambda: {"painter": Painter, "humble": Humble})
    monkeypatch.setattr(Painter, "fails", False)
    monkeypatch.setattr(Painter, "refuses", False)


def shade(value: int) -> LatentFrame:
    return LatentFrame(np.full((6, 24), value, np.float32), np.ones((5, 3), np.float32))


def show(host: EngineHost, value: int, until, *, seconds: float = 10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        host.submit(shade(value))
        image = host.latest()
        if until(image):
            return image
        time.sleep(0.005)
    raise AssertionError(f"never happened; last picture {image and image.pixels[0, 0, 0]}")


def test_failure_holds_the_picture_then_a_humbler_engine_takes_over(painters, stylegan2, monkeypatch):
    notices = Notices()
    host = EngineHost(stylegan2, clock=SystemClock(), notices=notices)
    host.activate(progress=lambda text: None)
    show(host, 7, lambda image: image is not None and image.pixels[0, 0, 0] == 7)
    monkeypatch.setattr(Painter, "fails", True)
    seen, serials = set(), []

    def is_nine(image):
        seen.add(image.pixels[0, 0, 0])
        serials.append(image.serial)
        return image.pixels[0, 0, 0] == 9

    show(host, 9, is_nine)
    assert seen == {7, 9}  # never black, never nothing
    assert serials == sorted(serials) and len(set(serials)) >= 2, "another engine's picture is another picture"
    assert host.name == "humble"
    text = " ".join(notice.text for notice in notices.recent(at_s=0, within_s=1e9))
    assert "painter failed" in text and "out of paint" in text and "humble plays again" in text
    host.close()


def test_an_engine_that_cannot_start_is_announced(painters, stylegan2, monkeypatch):
    monkeypatch.setattr(Painter, "refuses", True)
    monkeypatch.setattr(Humble, "refuses", False)
    notices = Notices()
    host = EngineHost(stylegan2, clock=SystemClock(), notices=notices)
    host.activate(progress=lambda text: None)
    assert host.name == "humble"
    assert "painter: no paint; humble plays instead" in notices.recent(at_s=0, within_s=1e9)[0].text
    host.close()


def test_when_nothing_can_play_the_show_is_refused(painters, stylegan2, monkeypatch):
    monkeypatch.setattr(Painter, "refuses", True)
    monkeypatch.setattr(Humble, "refuses", True)
    host = EngineHost(stylegan2, clock=SystemClock(), notices=Notices())
    with pytest.raises(EngineError, match="painter: no paint; humble: no paint"):
        host.activate(progress=lambda text: None)


def test_an_unknown_choice_lists_what_there_is():
    with pytest.raises(EngineError, match=r"'warp' is unknown; expected one of: auto, measure, .*openvino, eager"):
        candidates("warp")


def test_an_engine_that_cannot_run_here_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(Painter, "probe", classmethod(lambda cls: Availability(False, "no paint: buy some")))
    monkeypatch.setattr(hosting, "engines", lambda: {"painter": Painter})
    with pytest.raises(EngineError, match=r"'painter' cannot run here: no paint: buy some"):
        candidates("painter")


def test_what_is_not_there_is_told_with_its_reason(painters, monkeypatch):
    monkeypatch.setattr(Painter, "probe", classmethod(lambda cls: Availability(False, "no paint: buy some")))
    monkeypatch.setattr(Humble, "probe", classmethod(lambda cls: Availability(True, "always")))
    chosen, why, missing = candidates()
    assert [each.name for each in chosen] == ["humble"] and why == "for tests"
    assert missing == ["no painter: no paint: buy some"]
    assert candidates("humble")[1:] == ("asked for", [])


def test_rows_that_a_smaller_species_has_not_are_left_out(painters, stylegan2):
    host = EngineHost(stylegan2, clock=SystemClock(), notices=Notices())
    host.activate(progress=lambda text: None)
    larger = LatentFrame(
        np.full((8, 24), 5, np.float32), np.ones((7, 3), np.float32), blend=np.linspace(0, 1, 8, dtype=np.float32)
    )
    host.submit(larger)
    end = time.monotonic() + 10
    while host.latest() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert (Painter.drawn.ws.shape, Painter.drawn.noise.shape) == ((6, 24), (5, 3))
    assert (Painter.drawn.blend == larger.blend[:6]).all()
    host.close()


def test_a_picture_on_a_card_that_is_gone_is_let_go(painters, stylegan2, monkeypatch):
    """The stage has it still; what must not happen is that its memory is read."""
    image = Image(pixels=DevicePixels(4096, 16, 16), serial=1, submitted_s=0.0, ready_s=0.0)

    def gone(pixels):
        raise cuda.CudaError("cudaMemcpy: the device is lost")

    monkeypatch.setattr(cuda, "downloaded", gone)
    assert hosting._kept(image) is None
    monkeypatch.setattr(cuda, "downloaded", lambda pixels: np.full((16, 16, 4), 9, np.uint8))
    kept = hosting._kept(image)
    assert kept is not None and kept.serial == 1 and (kept.pixels == 9).all()


def test_an_engine_that_does_not_close_keeps_no_other_from_playing(painters, stylegan2, monkeypatch):
    def close(self):
        raise RuntimeError("the card is gone")

    host = EngineHost(stylegan2, clock=SystemClock(), notices=Notices())
    monkeypatch.setattr(Painter, "close", close)
    monkeypatch.setattr(Humble, "close", SlotEngine.close)
    host.activate(progress=lambda text: None)
    monkeypatch.setattr(Painter, "fails", True)
    show(host, 9, lambda image: image is not None and image.pixels[0, 0, 0] == 9)
    assert host.name == "humble"
    host.close()
