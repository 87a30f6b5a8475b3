"""What is heard, as textures: the waveform and the spectrum that ISF's audio inputs read.

One row for each voice, the first at y = 0. The one channel is read as r, g and b. A waveform's silence is 0.5, as ISF
has it. Samples are half floats: in eight bits a soft waveform would be steps.

Thread: main. Owns: a texture for each kind and width that an effect asks for; effects share them. Nothing is allocated
in a frame but where the number of voices changes.
"""

from dataclasses import dataclass

import moderngl
import numpy as np

from performer.flow import F32, SHAPE_SAMPLES, AudioFeatures
from performer.stage.isf import IsfInput


@dataclass(slots=True)
class _Row:
    """One texture, and what its numbers are made with."""

    texture: moderngl.Texture
    boxes: F32 | None  # [SHAPE_SAMPLES, samples], means over boxes; None at full width
    numbers: F32  # [voices, samples]
    halves: np.ndarray  # the same, as the card takes them


class SoundTextures:
    """Holds silence until the first `take`."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._rows: dict[tuple[str, int], _Row] = {}  # by type and samples of the input

    @property
    def are_wanted(self) -> bool:
        """True where an effect reads one."""
        return bool(self._rows)

    def want(self, source: IsfInput) -> None:
        """Make the texture that `source` reads, if there is none of its kind and width."""
        key = source.type, source.samples
        if key not in self._rows:
            self._rows[key] = self._row(source.type, source.samples, voices=1)

    def texture(self, source: IsfInput) -> moderngl.Texture:
        """What `source` reads."""
        return self._rows[source.type, source.samples].texture

    def take(self, sound: AudioFeatures) -> None:
        """Upload what is heard now."""
        for key, row in self._rows.items():
            kind, samples = key
            shape = sound.waveform if kind == "audio" else sound.spectrum
            if len(shape) != len(row.numbers):
                row.texture.release()
                row = self._rows[key] = self._row(kind, samples, voices=len(shape))
            if row.boxes is None:
                row.numbers[:] = shape
            else:
                np.matmul(shape, row.boxes, out=row.numbers)
            if kind == "audio":
                row.numbers *= np.float32(0.5)
                row.numbers += np.float32(0.5)
            row.halves[:] = row.numbers
            row.texture.write(row.halves)

    def _row(self, kind: str, samples: int, *, voices: int) -> _Row:
        numbers = np.full((voices, samples), 0.5 if kind == "audio" else 0.0, np.float32)
        halves = numbers.astype(np.float16)
        texture = self._ctx.texture((samples, voices), 1, halves.tobytes(), dtype="f2", alignment=2)
        texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
        texture.repeat_x = texture.repeat_y = False
        texture.swizzle = "RRR1"
        return _Row(texture, boxes_of(samples) if samples < SHAPE_SAMPLES else None, numbers, halves)

    def release(self) -> None:
        """Give everything back to the card."""
        for row in self._rows.values():
            row.texture.release()


def boxes_of(samples: int) -> F32:
    """[SHAPE_SAMPLES, samples]: the matrix whose columns are the means over boxes of equal width."""
    edges = np.linspace(0.0, SHAPE_SAMPLES, samples + 1)
    each = np.arange(SHAPE_SAMPLES)[:, None]
    shared = np.clip(np.minimum(each + 1, edges[1:]) - np.maximum(each, edges[:-1]), 0.0, None)
    return (shared / (SHAPE_SAMPLES / samples)).astype(np.float32)
