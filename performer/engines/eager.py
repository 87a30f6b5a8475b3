"""Engine `eager`: plain PyTorch. Slow and obvious; the oracle of every other engine, and the humblest fallback.

Thread: a worker of its own. Owns: the weights.
"""

import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from performer import cuda
from performer.clock import Clock
from performer.engines.engine import (
    Availability,
    EngineError,
    Progress,
    SlotEngine,
    form_for,
    forms_of,
    this_processor,
)
from performer.flow import STRAIGHT, U8, LatentFrame
from performer.generators.checkpoint import Checkpoint, CheckpointError


class EagerEngine(SlotEngine):
    """PyTorch, one image at a time; on the GPU where torch finds one."""

    name = "eager"
    rank = 90
    suits = "any machine; the reference that the others are checked against"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._networks: list[Any] = []  # by form
        self._device: Any = None

    @classmethod
    def probe(cls) -> Availability:
        if importlib.util.find_spec("torch") is None:
            return Availability(False, "PyTorch is not installed: pip install torch")
        return Availability(True, "PyTorch is installed")

    @classmethod
    def fingerprint(cls) -> str:
        where = cuda.card() if not cuda.lacking() else this_processor()
        return f"torch {version('torch')} on {where}"

    def activate(self, checkpoint: Checkpoint, *, progress: Progress, siblings: Sequence[Checkpoint] = ()) -> None:
        progress("loading PyTorch")
        import torch

        from performer.generators import network

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._networks = [network.build(*form).to(self._device) for form in forms_of(checkpoint, siblings)]
        except CheckpointError as error:
            raise EngineError(str(error)) from error
        self._start(checkpoint.sizes.height_px, checkpoint.sizes.width_px)

    def close(self) -> None:
        super().close()
        if self._thread is None and self._networks:
            import torch

            self._networks.clear()
            torch.cuda.empty_cache()  # other engines want the room; nothing where there is no card

    def _infer_impl(self, latent: LatentFrame, out: U8) -> None:
        import torch

        # Latents are read-only arrays; torch wants writable ones, and the copy is small.
        network = self._networks[form_for(latent, forms=len(self._networks))]
        given: dict[str, Any] = {
            name: torch.tensor(getattr(latent, name), device=self._device) for name in network.inputs
        }
        given["ws"] = given["ws"][None]
        if "bends" in given and latent.bends is STRAIGHT:
            given["bends"] = None  # the same to the bit, without the forty small steps of each bend
        # The oracle of the others: the card's short floats (TF32), torch's default for convolutions, round too early.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            torch.from_numpy(out).copy_(network(*given.values()))


ENGINE = EagerEngine
