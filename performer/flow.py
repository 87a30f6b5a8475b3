"""The values that travel between rooms: frozen, slotted, without behaviour.

Thread: any. A value is never changed after it was made, so that it may be handed to another room, thread or log
without a copy. Arrays inside are marked read-only by `frozen_array`.

Clock: every `*_s` time in this program is a show time, seconds on one monotonic clock since the show began, unless
its docstring says otherwise.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


def frozen_array(array: np.ndarray) -> np.ndarray:
    """Mark `array` read-only and return it."""
    array.flags.writeable = False
    return array


class CaptureFlags(IntFlag):
    """What went wrong in capture since the last block; flags accumulate by OR."""

    NONE = 0
    OVERFLOW = 1  # the driver lost samples: raise the latency or close other programs
    UNDERFLOW = 2  # the output ran dry
    CLIP = 4  # a sample reached full scale: lower the input gain
    GAP = 8  # samples are missing before this block


class AudioEventKind(IntEnum):
    """Which detector spoke. The first five are the bands, in the order of `audio.features.BANDS`.

    A setlist's own bands follow, from `USER_KIND` on.
    """

    ALL = 0
    BASS = 1
    MID = 2
    MIDHIGH = 3
    HIGH = 4
    ONSET = 5
    KICK = 6
    SNARE = 7
    HAT = 8


USER_KIND = len(AudioEventKind)
SHAPE_SAMPLES = 512  # length of the spectrum and of the waveform that shaders are given
NO_SHAPE = frozen_array(np.zeros((1, SHAPE_SAMPLES), np.float32))


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """A slice of captured sound on its way from the callback to the analysis."""

    samples: F32  # [n, channels], full scale at -1..1
    first_sample: int  # index of samples[0] since the stream began
    adc_s: float  # show time at which samples[0] was at the converter
    flags: CaptureFlags = CaptureFlags.NONE


@dataclass(frozen=True, slots=True)
class Music:
    """A sound file that plays, as a line through time."""

    begun_s: float  # show time at which its first sample sounded, or would have where it began later in the file
    length_s: float = math.inf  # after which it begins again; infinite where silence follows


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """What the room sounds like now, all voices at once."""

    values: F32  # [voices, features], columns in the order of `audio.features.TABLE`
    centre_s: float  # show time of the newest sample that the values have heard
    bpm: float = 0.0  # tempo in beats per minute; 0 while unknown
    beat: float = 0.0  # beats by the ear at centre_s; whole numbers are beats
    confidence: float = 0.0  # how far bpm and beat may be trusted, 0..1
    downbeat: int = 0  # a guess: beats that are congruent to it modulo 4 begin a bar
    spectrum: F32 = field(default_factory=lambda: NO_SHAPE)  # [voices, 512], 0..1, decibels from -80 to 0, 0 Hz first
    waveform: F32 = field(default_factory=lambda: NO_SHAPE)  # [voices, 512], the newest samples, full scale at -1..1
    music: Music | None = None  # the sound file that plays; None for none


@dataclass(frozen=True, slots=True)
class Pulse:
    """A beat that somebody else keeps: a line through time."""

    source: str  # who: link, osc, ear
    bpm: float
    beat: float  # at at_s; whole numbers are beats
    at_s: float
    downbeat: int = 0  # beats that are congruent to it modulo 4 begin a bar
    has_phase: bool = True  # False where only the tempo is known

    def at(self, at_s: float) -> float:
        """The beat at show time `at_s`."""
        return self.beat + (at_s - self.at_s) * self.bpm / 60.0


@dataclass(frozen=True, slots=True)
class AudioEvent:
    """One hit, exactly once."""

    voice: int  # row in AudioFeatures.values
    kind: int  # an AudioEventKind, or the setlist's own band
    at_s: float  # show time of the sound, finer than a frame
    strength: float  # 0..1


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """What a hand did: a level that was set, or a trigger that was pressed."""

    param: str  # a parameter id of the table
    value: float  # in the parameter's own unit; 1 for a trigger
    at_s: float  # show time of arrival
    source: str = ""  # who did it: "osc 10.0.0.7", "keys"
    text: str = ""  # the argument of a text parameter, such as a cue's id
    trigger: str = ""  # of cue.goto: the kind of the cue's own trigger that asks; empty where a hand names the cue


@dataclass(frozen=True, slots=True)
class Tick:
    """One frame's place in time. Everything below the show reads time from here and nowhere else."""

    frame: int  # frames since the show began
    photon_s: float  # show time at which this frame's light leaves the screen
    dt_s: float  # photon_s minus that of the frame before
    beat: float  # beats at photon_s
    deadline_s: float  # show time by which the frame must be handed to the display
    downbeat: int = 0  # beats that are congruent to it modulo 4 begin a bar
    wall_s: float = math.nan  # POSIX time at photon_s; NaN where there is no wall clock


UNMETERED = frozen_array(np.zeros((0, 2), np.float32))


@dataclass(frozen=True, slots=True)
class Mix:
    """How two pictures are one, besides fading over: by a shader of the setlist."""

    shader: str  # its name
    progress: float  # 0 the one that goes, 1 the one that comes


@dataclass(frozen=True, slots=True)
class Params:
    """The value of every parameter for one frame."""

    values: F32  # [P], native units, in the order of the table; routes and fades included
    knobs: F32  # [P], the same before the routes: what the cue and the hands say
    meters: F32 = field(default_factory=lambda: UNMETERED)  # [routes, 2], 0..1 before each, -1..1 what it brings
    mix: Mix | None = None  # None where no shader of a transition draws
    light: float = 1.0  # 0..1, of all that is seen: a dip


GROUP_NAMES = ("coarse", "middle", "fine")  # groups of a generator's layers: form, parts, texture and colour
GROUPS = len(GROUP_NAMES)
NOISE_MAPS = 3  # of each layer: the one it was trained with, and two that others are mixed from

STILL = frozen_array(np.eye(3, dtype=np.float32))

# A bend of a layer group: cosine and sine of its turn, divided by its zoom; its shift right in widths and down in heights
# of the picture; gain; threshold; and the part of the channels that is dropped.
STRAIGHT = frozen_array(np.tile(np.array([1, 0, 0, 0, 1, 0, 0], np.float32), (GROUPS, 1)))
UNBLENDED = frozen_array(np.zeros(1, np.float32))  # whatever the number of rows


def species_at(blend: F32, *, siblings: int) -> int | None:
    """Which species of a chain all rows of `blend` stand at: 0 the first, `siblings` the last; None for between.

    Compared as single precision has the place: a third is none, and three times it need not be one.
    """
    if not siblings:
        return 0
    nearest = round(float(blend[0]) * siblings)
    return nearest if (blend == np.float32(nearest / siblings)).all() else None


@dataclass(frozen=True, slots=True)
class LatentFrame:
    """All that a generator needs for one image."""

    ws: F32  # [num_ws, w_dim], one latent a layer, truncation already applied
    noise: F32  # [noise_layers, 3], gains of each layer's noise maps; (1, 0, 0) as trained
    transform: F32 = field(default_factory=lambda: STILL)  # [3, 3], where a movable input is sampled
    bends: F32 = field(default_factory=lambda: STRAIGHT)  # [3 layer groups, 7], see `STRAIGHT`
    blend: F32 = field(default_factory=lambda: UNBLENDED)  # [num_ws], how far each layer is its last partner's, 0..1
    creature: int = 0  # which of the show's creatures draws it
    partner: "LatentFrame | None" = None  # what another creature draws meanwhile; None where none is seen
    part: float = 0.0  # how much of the partner is seen, 0..1
    member: int = 0  # which of several animals that share the frame ...
    members: int = 1  # ... of how many
    swarm: "tuple[LatentFrame, ...]" = ()  # the others of them


@dataclass(frozen=True, slots=True)
class DevicePixels:
    """The pixels of a picture that lies on a graphics card, rows close together. The memory is its engine's."""

    address: int  # on the card: u8 [H, W, 4], sRGB, alpha 255
    height_px: int
    width_px: int

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return 4 * self.height_px * self.width_px


Pixels = U8 | DevicePixels


@dataclass(frozen=True, slots=True)
class Image:
    """A finished picture. `pixels` belongs to the engine and is valid until the next image is asked for."""

    pixels: Pixels  # [H, W, 4], sRGB, alpha 255; in memory or on the graphics card
    serial: int  # counts images since the engine was activated; a new serial is a new picture
    submitted_s: float  # show time at which its latent was submitted
    ready_s: float  # show time at which it was finished
    member: int = 0  # which of several animals that share the frame, as its latent says ...
    members: int = 1  # ... of how many


@dataclass(frozen=True, slots=True)
class Frame:
    """A displayed frame, as outputs and logs see it. The texture is the stage's; read it before the next frame."""

    texture: Any  # moderngl.Texture holding the picture as displayed
    size_px: tuple[int, int]  # (width, height)
    tick: Tick
    spent_ms: dict[str, float] = field(default_factory=dict)  # milliseconds spent in each room
