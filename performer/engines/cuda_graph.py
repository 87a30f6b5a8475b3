"""Engine `cuda_graph`: PyTorch in half precision, its steps recorded once and replayed by the card without PyTorch's help.

What runs where TensorRT cannot, and the rival that TensorRT has to beat. Features and kernels lie channels last. Where
PyTorch's compiler works on this machine, the small steps around the convolutions are fused as well; whether that pays is
measured once for a species and a card, and remembered.

Thread: as every engine on a card. Owns: the weights, the recorded graphs and PyTorch's memory for them.
"""

import contextlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from performer import cuda
from performer.cuda import CudaError
from performer.engines import cache
from performer.engines.device import DeviceEngine, Launch
from performer.engines.engine import Availability, Progress, names_of
from performer.generators.checkpoint import Checkpoint

log = logging.getLogger(__name__)

INSTALL = "install PyTorch with CUDA, as pytorch.org/get-started tells"
WARM_UP = 3  # runs before a capture: libraries choose their algorithms in the first
TIMED = 20  # launches that are timed to choose between two forms
PLAIN, FUSED = b"plain", b"fused"


class CudaGraphEngine(DeviceEngine):
    """PyTorch on an NVIDIA card, as CUDA graphs."""

    name = "cuda_graph"
    rank = 20
    suits = "an NVIDIA card without TensorRT"

    @classmethod
    def probe(cls) -> Availability:
        if reason := cuda.lacking():
            return Availability(False, reason)
        built_for = torch_cuda()
        if built_for is None:
            return Availability(False, "PyTorch is not installed: pip install torch")
        if not built_for:
            return Availability(False, f"this PyTorch was built without CUDA; {INSTALL}")
        return Availability(True, f"PyTorch for CUDA {built_for} is installed")

    @classmethod
    def fingerprint(cls) -> str:
        return f"torch {version('torch')} on {cuda.card()}"

    def _prepare(self, checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, progress: Progress) -> Launch:
        progress("loading PyTorch")
        import torch

        from performer.generators import export, network

        names = names_of(checkpoint, *siblings)
        progress(f"building {names} in half precision")
        device = torch.device("cuda", cuda.DEVICE)
        built = network.build(checkpoint, siblings, half=True).to(device)
        module = export.folded(built)
        height_px, width_px = checkpoint.sizes.height_px, checkpoint.sizes.width_px
        inputs = [self._port(name) for name in built.inputs]
        picture = torch.as_tensor(OnCard(self._picture, (height_px, width_px, 4), "|u1"), device=device)

        def drawing(network: Callable[..., Any]) -> Launch:
            return lambda: picture.copy_(network(*inputs))

        key = cache.key_of(checkpoint, version("torch"), str(cuda.card()), siblings=siblings)
        known = cache.fetch(self.name, key)
        if known == FUSED:
            progress(f"fusing the steps of {names}")
            if launch := self._fused(module, drawing):
                return launch
        plain = self._recorded(drawing(module))
        if known is not None:  # PLAIN, or what was remembered does not work this time
            return plain
        progress(f"trying whether fused steps of {names} are faster; once, a minute or two")
        fused = self._fused(module, drawing)
        if fused is None:
            return plain  # not remembered: a compiler may be installed before the next start
        plain_ms, fused_ms = self._timed_ms(plain, fused)
        cache.store(self.name, key, FUSED if fused_ms < plain_ms else PLAIN)
        progress(f"as PyTorch steps {plain_ms:.2f} ms, fused {fused_ms:.2f} ms")
        return fused if fused_ms < plain_ms else plain

    def _port(self, name: str) -> Any:
        """A tensor over the place where latents lie."""
        import torch

        array = self._ports.arrays[name]
        return torch.as_tensor(OnCard(self._ports.addresses[name], array.shape, "<f4"), device="cuda")

    def _fused(self, module: Any, drawing: Callable[[Callable[..., Any]], Launch]) -> Launch | None:
        """The network compiled by PyTorch's compiler and recorded; None where that does not work here."""
        import torch

        try:
            return self._recorded(drawing(torch.compile(module, fullgraph=True, dynamic=False)))
        except CudaError:
            raise
        except Exception as error:  # it wants Triton, a C compiler and a folder to write into, each in its own words
            log.info("steps are not fused: %s", error)
            return None

    def _recorded(self, draw: Launch) -> Launch:
        """The graph of `draw`, ready to be launched into the engine's stream."""
        import torch

        stream = torch.cuda.ExternalStream(self.memory.stream_address)
        stream.wait_stream(torch.cuda.current_stream())  # the weights may still be on their way
        flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True)
        with torch.inference_mode(), flags, torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                draw()
            self.memory.wait()
            graph = torch.cuda.CUDAGraph()
            # Of this thread alone: others, which upload pictures or build engines, may allocate meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                draw()
        return Recording(graph, draw, stream)

    def _timed_ms(self, *launches: Launch) -> list[float]:
        """Median milliseconds of each, from start to finish. They take turns: a card runs faster once it is warm."""
        spent_s: list[list[float]] = [[] for _ in launches]
        for _ in range(TIMED):
            for launch, times_s in zip(launches, spent_s, strict=True):
                began_s = self._clock.now_s()
                launch()
                self.memory.wait()
                times_s.append(self._clock.now_s() - began_s)
        return [median(times_s) * 1e3 for times_s in spent_s]

    def _let_go(self) -> None:
        if "torch" not in sys.modules:
            return
        import torch

        with contextlib.suppress(RuntimeError):  # of a card that no longer answers
            torch.cuda.empty_cache()  # what the graphs used belongs to a stream that is about to go


class Recording:
    """Recorded steps. Calling it puts them into the engine's stream.

    A graph knows addresses only: it keeps neither the weights nor the tensors nor compiled kernels alive. This does.
    """

    def __init__(self, graph: Any, draw: Launch, stream: Any) -> None:
        self._graph, self._draw, self._stream = graph, draw, stream

    def __call__(self) -> None:
        import torch

        with torch.cuda.stream(self._stream):
            self._graph.replay()


class OnCard:
    """Memory on the card in the words that other libraries understand: numba's CUDA array interface, version 3."""

    def __init__(self, address: int, shape: tuple[int, ...], kind: str) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "typestr": kind,
            "strides": None,
            "version": 3,
        }


def torch_cuda() -> str | None:
    """The CUDA that the installed PyTorch was built for; empty for none, None without PyTorch. Imports nothing heavy."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        text = (Path(found.origin).parent / "version.py").read_text()
    except OSError:
        return ""
    told = re.search(r"^cuda\b[^=\n]*=\s*'([\d.]+)'", text, re.MULTILINE)
    return told.group(1) if told else ""


ENGINE = CudaGraphEngine
