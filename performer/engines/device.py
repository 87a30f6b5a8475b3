"""What engines on an NVIDIA card have in common: fixed memory, one stream, and a graph that is launched for each picture.

A latent is copied into pinned memory and from there to the card in one piece; the graph of its form draws the picture into
a place that is always the same; a copy of it goes into one of three buffers. Those lie on the card where the stage can take
pictures from there (`stays_on_card`), else in pinned memory.

Thread: `activate` on any one; the rest on the engine's own. Owns: the card's memory, the stream and the graphs.
Real-time: everything is allocated, built and run once in `activate`.
"""

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from performer.clock import Clock
from performer.cuda import Memory
from performer.engines.engine import EngineError, Progress, SlotEngine, form_for, forms_of
from performer.flow import GROUPS, NOISE_MAPS, STRAIGHT, LatentFrame, Pixels
from performer.generators.checkpoint import Checkpoint, Sizes

ALIGNMENT = 256  # bytes; what kernels may expect of an address

_MAKING = threading.Lock()  # one at a time: what an engine does to get ready may spoil what another captures

Launch = Callable[[], Any]  # puts the drawing of one picture into the stream


class DeviceEngine(SlotEngine):
    """An engine on an NVIDIA card.

    Subclasses implement `_prepare`, for each form one network.
    """

    half: ClassVar[bool] = True
    on_card: ClassVar[bool] = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._memory: Memory | None = None
        self._launches: list[Launch] = []  # by form
        self._ports = Ports.none()
        self._picture = 0  # address of what the graphs draw

    def activate(self, checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = ()) -> None:
        try:
            with _MAKING:
                self._activate(checkpoint, siblings, progress=progress)
        except EngineError:
            self.close()
            raise
        except Exception as error:  # whatever a vendor's library raises: this engine stays off the stage, and says why
            self.close()
            raise EngineError(f"{checkpoint.path}: {error}") from error

    def _activate(self, checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, progress: Progress) -> None:
        sizes = checkpoint.sizes
        self._memory = Memory()
        self._ports = Ports(sizes, memory=self._memory)
        self._picture = self._memory.on_card(4 * sizes.height_px * sizes.width_px)
        for first, others in forms_of(checkpoint, siblings):
            if self.given_up:
                raise EngineError("given up")
            self._launches.append(self._prepare(first, others, progress=progress))
        self._memory.wait()
        self._start(sizes.height_px, sizes.width_px)

    @abstractmethod
    def _prepare(self, checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, progress: Progress) -> Launch:
        """Make one network ready: what puts it into the stream, from `_ports` to `_picture`.

        It has been run once, so that whatever is made at the first run has been made.
        Raises EngineError, CudaError, CheckpointError.
        """

    @property
    def memory(self) -> Memory:
        """The stream and the memory; there from `activate` to `close`."""
        assert self._memory is not None, "activate first"
        return self._memory

    def _buffer(self, height_px: int, width_px: int) -> Pixels:
        if self.stays_on_card:
            return self.memory.pixels(height_px, width_px)
        return self.memory.pinned(height_px, width_px, 4)

    def _infer_impl(self, latent: LatentFrame, out: Pixels) -> None:
        self._ports.take(latent, memory=self.memory)
        self._launches[form_for(latent, forms=len(self._launches))]()
        self.memory.fetch(self._picture, out)
        self.memory.wait()

    def close(self) -> None:
        super().close()
        if self._thread is not None:  # it still draws, or hangs in the driver: what it uses stays
            return
        if self._memory is not None:
            self._memory.stop()
        self._launches.clear()
        try:
            self._let_go()
        finally:
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    def _let_go(self) -> None:
        """Drop what `_prepare` made, before the memory that it uses goes."""


class Ports:
    """Where latents lie: for each field of `LatentFrame` an array in pinned memory and an address on the card.

    All of them are there, whatever a network takes of them, and travel in one copy.
    """

    def __init__(self, sizes: Sizes, *, memory: Memory) -> None:
        shapes = {
            "ws": (1, sizes.num_ws, sizes.w_dim),
            "noise": (sizes.noise_layers, NOISE_MAPS),
            "transform": (3, 3),
            "bends": (GROUPS, STRAIGHT.shape[1]),
            "blend": (sizes.num_ws,),
        }
        places, nbytes = {}, 0
        for name, shape in shapes.items():
            places[name] = nbytes
            nbytes += -(-4 * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
        self._staged = memory.pinned(nbytes)
        self._address = memory.on_card(nbytes)
        self.arrays = {  # float32, by the field's name
            name: self._staged[place : place + 4 * int(np.prod(shapes[name]))].view(np.float32).reshape(shapes[name])
            for name, place in places.items()
        }
        self.addresses = {name: self._address + place for name, place in places.items()}

    @classmethod
    def none(cls) -> "Ports":
        """Before `activate`."""
        ports = cls.__new__(cls)
        ports.arrays, ports.addresses = {}, {}
        return ports

    def take(self, latent: LatentFrame, *, memory: Memory) -> None:
        """Send a latent to the card, in the stream's order."""
        for name, array in self.arrays.items():
            array[...] = getattr(latent, name)  # ws has one picture's axis more, which broadcasts
        memory.send(self._staged, self._address)
