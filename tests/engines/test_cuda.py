"""The CUDA runtime as a show needs it: what is told when it lacks, and memory, copies and graphs on a card on the host."""

import ctypes
import importlib
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from performer import cuda
from performer.cuda import CudaError, Memory
from performer.flow import DevicePixels

LACKING = cuda.lacking.__wrapped__  # without its memory
bindings = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings, for their codes and handles")


class Driver:
    """A driver's library that answers with a code to each call and finds so many cards."""

    def __init__(self, *, starts: int = 0, counts: int = 0, cards: int = 1) -> None:
        self.cuInit = lambda flags: starts
        self._counts, self._cards = counts, cards

    def cuDeviceGetCount(self, place: object) -> int:
        place._obj.value = self._cards
        return self._counts


@pytest.mark.parametrize(
    ("driver", "told"),
    [
        (None, "no NVIDIA driver on this machine (for an NVIDIA card: nvidia.com/drivers)"),
        (Driver(starts=999), "the NVIDIA driver answers with error 999; install it again, then start the machine anew"),
        (Driver(counts=304), "the NVIDIA driver answers with error 304; install it again, then start the machine anew"),
        (Driver(starts=100), "the NVIDIA driver finds no card"),
        (Driver(cards=0), "the NVIDIA driver finds no card"),
        (Driver(), ""),
    ],
    ids=["no driver", "does not start", "does not count", "no device", "no card", "all there"],
)
@pytest.mark.parametrize(("platform", "library"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")])
def test_what_lacks_is_told_with_the_remedy(card, monkeypatch, driver, told, platform, library):
    asked = []

    def opened(name: str) -> Driver:
        asked.append(name)
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", opened)
    monkeypatch.setattr(sys, "platform", platform)
    assert LACKING() == told
    assert asked == [library]


def test_a_driver_that_is_older_than_the_bindings_is_told_with_the_remedy(card, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda library: Driver())
    card.fail("cudaGetDeviceCount", bindings.cudaError_t.cudaErrorInsufficientDriver)
    assert re.fullmatch(r"cudaGetDeviceCount: .* is insufficient .*; install a newer NVIDIA driver", LACKING())


@pytest.mark.parametrize("name", ["cuda", "cuda.bindings"])
def test_missing_bindings_are_told_with_the_remedy(monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(ctypes, "CDLL", lambda library: Driver())
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda wanted: None if wanted == name else found(wanted))
    assert LACKING() == "the CUDA bindings are not installed: pip install cuda-bindings"


def test_bindings_that_do_not_load_are_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(CudaError, match=r"the CUDA bindings cannot be loaded \(.*\): pip install cuda-bindings"):
        cuda.runtime()


@pytest.mark.skipif(not cuda.lacking() or "no NVIDIA driver" not in cuda.lacking(), reason="there is a driver here")
def test_the_real_bindings_name_the_call_and_the_reason():
    with pytest.raises(
        CudaError, match=r"^cudaMalloc: CUDA driver version is insufficient .*\(cudaErrorInsufficientDr"
    ):
        cuda.call("cudaMalloc", 256)
    with pytest.raises(CudaError, match=r"^cudaSetDevice: .*\(cudaErrorInsufficientDriver\)"):
        Memory()
    with pytest.raises(CudaError, match=r"^no NVIDIA driver on this machine"):
        cuda.card()


def test_a_card_is_known_by_name_capability_and_driver(card, monkeypatch):
    nvml = SimpleNamespace(init_v2=lambda: None, shutdown=lambda: None, system_get_driver_version=lambda: "580.65.06")
    real = importlib.import_module
    monkeypatch.setattr(cuda.importlib, "import_module", lambda name: nvml if name.endswith("nvml") else real(name))
    card.capability = (12, 0)
    assert str(cuda.card()) == "Host card, compute capability 12.0, driver 580.65.06"
    nvml.init_v2 = lambda: 1 / 0
    assert cuda.card() == cuda.Card("Host card", (12, 0), "for CUDA 13")


def test_a_call_that_fails_says_which_and_why(card):
    card.fail("cudaMalloc", bindings.cudaError_t.cudaErrorMemoryAllocation)
    with pytest.raises(CudaError, match=r"^cudaMalloc: out of memory \(cudaErrorMemoryAllocation\)$"):
        cuda.call("cudaMalloc", 256)


@pytest.fixture
def memory(card):
    made = Memory()
    yield made
    made.close()
    made.close()


def as_picture(values: np.ndarray, memory: Memory) -> tuple[np.ndarray, DevicePixels]:
    """(a picture of these values in pinned memory, room for it on the card)."""
    staged = memory.pinned(*values.shape)
    staged[:] = values
    return staged, memory.pixels(*values.shape[:2])


PICTURE = np.arange(3 * 5 * 4, dtype=np.uint8).reshape(3, 5, 4)


def test_memory_begins_at_nought_and_apart(memory):
    pixels = [memory.pixels(3, 5) for _ in range(3)]
    memory.wait()
    assert len({each.address // 256 for each in pixels}) == 3 and all(each.address % 256 == 0 for each in pixels)
    assert all(not cuda.downloaded(each).any() for each in pixels)
    numbers = memory.pinned(2, 3, dtype=np.float32)
    assert numbers.shape == (2, 3) and numbers.dtype == np.float32 and not numbers.any()
    assert memory.on_card(0)


def test_pictures_go_to_the_card_and_about_it_and_back(memory):
    staged, first = as_picture(PICTURE, memory)
    second, back = memory.pixels(3, 5), memory.pinned(3, 5, 4)
    memory.send(staged, first.address)
    memory.fetch(first.address, second)
    memory.fetch(second.address, back)
    assert not back.any()  # nothing is done before somebody waits
    memory.wait()
    assert (back == PICTURE).all() and (cuda.downloaded(second) == PICTURE).all()


def test_a_graph_does_what_was_recorded_each_time_it_is_launched(memory, card):
    staged, first = as_picture(PICTURE, memory)
    back = memory.pinned(3, 5, 4)

    def enqueue() -> None:
        memory.send(staged, first.address)
        memory.fetch(first.address, back)

    launch = memory.captured(enqueue)
    memory.wait()
    assert not back.any()
    for shift in (0, 1):
        staged[:] = PICTURE + shift
        launch()
        memory.wait()
        assert (back == PICTURE + shift).all()
    assert card.calls["cudaGraphLaunch"] == 2


def test_what_cannot_be_captured_is_an_error_and_the_stream_is_good_all_the_same(memory):
    staged, first = as_picture(PICTURE, memory)
    with pytest.raises(CudaError, match=r"cudaMalloc: .*\(cudaErrorStreamCaptureUnsupported\)"):
        memory.captured(lambda: memory.on_card(256))
    with pytest.raises(CudaError, match=r"cudaStreamSynchronize: .*\(cudaErrorStreamCaptureUnsupported\)"):
        memory.captured(memory.wait)
    with pytest.raises(ZeroDivisionError):  # spoils nothing: the graph is there, and must go
        memory.captured(lambda: 1 / 0)
    memory.send(staged, first.address)
    memory.wait()
    assert (cuda.downloaded(first) == PICTURE).all()


def test_a_card_that_no_longer_answers_can_be_let_go(card):
    memory = Memory()
    memory.pixels(3, 5)
    memory.pinned(4)
    lost = bindings.cudaError_t.cudaErrorLaunchFailure
    card.fail("cudaStreamSynchronize", lost, sticky=True)
    with pytest.raises(CudaError, match=r"^cudaStreamSynchronize: unspecified launch failure"):
        memory.wait()
    with pytest.raises(CudaError, match=r"^cudaMalloc: unspecified launch failure"):
        memory.on_card(4)
    memory.close()
    memory.close()
    assert card.calls["cudaFree"] == card.calls["cudaFreeHost"] == card.calls["cudaStreamDestroy"] == 1


# The card on the host is itself only worth as much as it is strict.


def offence(card, text: str) -> None:
    """What the card minded last; it is forgiven."""
    assert any(text in each for each in card.offences), card.offences
    card.offences.clear()


def test_the_card_on_the_host_minds_what_a_card_would_not_forgive(card, memory):
    staged, pixels = as_picture(PICTURE, memory)
    memory.wait()
    for array, address, text in (
        (PICTURE.copy(), pixels.address, "are not pinned"),
        (staged, pixels.address + 256, "are not on the card"),
        (staged, staged.ctypes.data, "are not on the card"),
    ):
        with pytest.raises(CudaError, match="cudaMemcpyAsync: invalid argument"):
            memory.send(array, address)
        offence(card, text)
    with pytest.raises(CudaError, match="cudaFree: invalid argument"):
        cuda.call("cudaFree", staged.ctypes.data)
    offence(card, "was not allocated")
    address = cuda.call("cudaMalloc", 64)
    with pytest.raises(CudaError, match="cudaMemcpy: an illegal memory access"):
        cuda.downloaded(DevicePixels(address, 4, 4))
    offence(card, "read before they are written")
    cuda.call("cudaFree", address)
    with pytest.raises(CudaError, match="cudaFree: invalid argument"):
        cuda.call("cudaFree", address)
    offence(card, "was not allocated")
