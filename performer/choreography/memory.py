"""What choreography remembers from frame to frame: the cue that plays, the one that fades away, and what was heard.

Thread: render. Nothing here is ever changed in place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from performer.choreography.keyframes import Keyframes
from performer.choreography.lfo import LFO_NAMES
from performer.choreography.looks import Worn
from performer.choreography.modulation import RouteMemory
from performer.choreography.motion import MOTIONS
from performer.choreography.score import Place
from performer.choreography.triggers import Watch
from performer.clock import Line
from performer.flow import F32, ControlEvent, LatentFrame, Mix, Tick
from performer.presets import Preset
from performer.routes import Route

# Where the lines of a cue stand: one for each motion, then the noise, then each LFO.
NOISE_LINE = len(MOTIONS)
LFO_LINE = NOISE_LINE + 1
LINES = LFO_LINE + len(LFO_NAMES)


@dataclass(frozen=True, slots=True)
class CueState:
    """A cue in play."""

    index: int
    started_s: float
    started_beat: float
    lines: tuple[Line | None, ...]  # the phase of each of LINES; None before its first frame
    hands_s: np.ndarray  # [P], when hands had set each parameter before it began: what they set since stands above it
    routes: Mapping[str, RouteMemory] = field(default_factory=dict)  # by name
    worn: Worn | None = None  # what presets and surprises have made of it; None before its first frame

    def elapsed(self, keyframes: Keyframes, tick: Tick) -> float:
        """How far the cue has come, in what its keyframes count."""
        return keyframes.at(tick, since_s=self.started_s, since_beat=self.started_beat)


@dataclass(frozen=True, slots=True)
class Remnant:
    """What a cue that has ended in the middle of its own fade was still short of: it is kept while that cue fades away, so
    that nothing leaps where a hand presses GO twice."""

    values: F32  # [P]
    latents: Mapping[int, tuple[F32, F32]]  # of each creature: ws and noise


@dataclass(frozen=True, slots=True)
class Memory:
    """All that choreography remembers from frame to frame."""

    place: Place
    current: CueState
    routes: tuple[tuple[Route, ...], ...]  # of each cue: the setlist's, as hands have changed them
    presets: tuple[Preset, ...] = ()  # the same
    previous: CueState | None = None  # while a fade is under way
    pair: int | None = None  # of the bridge that the fade crosses
    is_cut_short: bool = False  # the fade before has not come to its end, in the frame before this one ...
    remnant: Remnant | None = None  # ... and this is what it left
    mended_s: float | None = None  # since when the fade is no cue's, but the way to what an edit has made of one
    hits: dict[tuple[int, int], tuple[tuple[float, float], ...]] = field(
        default_factory=dict
    )  # (voice, kind): (at, strength)
    pending: tuple[ControlEvent, ...] = ()  # what trigger routes pressed in the frame before
    watch: Watch = Watch()  # for cues that begin by a clock or a silence
    values: F32 | None = None  # [P], of the frame before
    latent: LatentFrame | None = None
    mix: Mix | None = None

    @property
    def preset(self) -> int:
        """Number of the preset that was glided to last; 0 for none."""
        return self.current.worn.look.number if self.current.worn is not None else 0
