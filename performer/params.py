"""The one parameter table: every knob is declared once, and all control surfaces derive from it.

A `Param` has an id such as `grade.saturation`; its OSC address is the prefix plus the id with slashes
(`/perf/grade/saturation`). Motions, ISF shaders and routes add their own entries when a setlist is loaded; the table
is then fixed for the show.

Thread: any; everything here is immutable and pure.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from performer.flow import F32, ControlEvent, frozen_array


class Kind(Enum):
    """What a parameter holds, and so which messages fit it."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    TRIGGER = "trigger"  # fires when its value rises above zero, or comes without a value
    TEXT = "text"  # a command with a name, such as the id of a cue

    @property
    def is_command(self) -> bool:
        """Whether it is pressed, and holds nothing."""
        return self in (Kind.TRIGGER, Kind.TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One knob. Values are in `unit`; surfaces that send 0..1 go through `from_norm`."""

    id: str  # dotted, lower case
    help: str  # one line, for people
    kind: Kind = Kind.FLOAT
    default: float = 0.0
    low: float = 0.0
    high: float = 1.0
    unit: str = ""  # s, hz, db, beats, bpm, px, turns; empty for a bare number
    curve: str = "linear"  # how 0..1 spreads over low..high: linear, or exp (needs low > 0)
    by_hand: bool = False  # belongs to the performer's hand: a cue does not move it unless it names it

    def from_norm(self, norm: float) -> float:
        """The native value at `norm` in 0..1."""
        norm = min(max(norm, 0.0), 1.0)
        if self.curve == "exp":
            return self.low * (self.high / self.low) ** norm
        return self.low + (self.high - self.low) * norm

    def to_norm(self, value: float) -> float:
        """Where in 0..1 the native `value` lies."""
        if self.high <= self.low:
            return 0.0
        if self.curve == "exp":
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def admit(self, value: float) -> float:
        """The nearest value that this parameter can hold.

        Raises ValueError for NaN and infinities: they are faults of the sender, not wishes.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.id}: {value} is not a finite number")
        if self.kind in (Kind.BOOL, Kind.TRIGGER):
            return 1.0 if value > 0 else 0.0
        value = min(max(value, self.low), self.high)
        return float(round(value)) if self.kind is Kind.INT else float(value)


FREE_INPUTS = tuple(f"in.{number}" for number in range(1, 33))
PRESET_PADS = tuple(f"preset.{number}" for number in range(1, 17))
PRESETS_MOST = 64  # of a show


def base_params() -> tuple[Param, ...]:
    """The parameters that every show has. Motions, shaders and routes add theirs."""
    trigger, toggle = Kind.TRIGGER, Kind.BOOL
    return (
        Param(id="cue.go", kind=trigger, help="start the next cue"),
        Param(id="cue.prev", kind=trigger, help="go back to the cue before"),
        Param(id="cue.panic", kind=trigger, help="hold a still picture with no routes; the next cue resumes"),
        Param(id="cue.goto", kind=Kind.TEXT, help="start the cue with this id or name"),
        Param(id="cue.load", kind=Kind.TEXT, help="make the cue with this id or name the one that starts next"),
        Param(id="cue.next", kind=trigger, help="make the cue after that the one that starts next"),
        Param(id="cue.arm", kind=Kind.TEXT, help="let the cue with this id or name take part again"),
        Param(
            id="cue.disarm",
            kind=Kind.TEXT,
            help="let GO pass over the cue with this id or name, and its triggers do nothing",
        ),
        Param(
            id="cue.quantize",
            kind=Kind.INT,
            high=64.0,
            unit="beats",
            by_hand=True,
            help="cues that are asked for wait for the next multiple of so many: 1 the beat, 4 the bar, 0 at once",
        ),
        Param(
            id="transport.bpm",
            default=120.0,
            low=20.0,
            high=300.0,
            unit="bpm",
            by_hand=True,
            help="tempo of the internal clock",
        ),
        Param(
            id="transport.ear",
            kind=toggle,
            default=1.0,
            by_hand=True,
            help="follow the beat that is heard, while the ear is sure of it; setting the tempo by hand ends it",
        ),
        Param(
            id="transport.link",
            kind=toggle,
            by_hand=True,
            help="join the session of Ableton Link and follow its beat; the tempo that is set here then sets everybody's",
        ),
        Param(
            id="transport.clock",
            kind=toggle,
            default=1.0,
            by_hand=True,
            help="follow MIDI clock, or the clock of clock.bpm and clock.beat; setting the tempo by hand ends it",
        ),
        Param(
            id="clock.bpm", high=300.0, unit="bpm", by_hand=True, help="another program's tempo; 0 before it told one"
        ),
        Param(
            id="clock.beat", low=-1e6, high=1e6, unit="beats", by_hand=True, help="another program's beat, as it falls"
        ),
        Param(id="transport.tap", kind=trigger, help="tap the tempo"),
        Param(id="transport.resync", kind=trigger, help="make this instant a whole beat"),
        Param(id="transport.downbeat", kind=trigger, help="make the nearest beat the first of a bar"),
        Param(id="transport.half", kind=trigger, help="half the tempo"),
        Param(id="transport.double", kind=trigger, help="double the tempo"),
        Param(id="transport.earlier", kind=trigger, help="move the beats a thirty-second of a beat earlier"),
        Param(id="transport.later", kind=trigger, help="move the beats a thirty-second of a beat later"),
        Param(
            id="out.latency",
            high=0.5,
            unit="s",
            by_hand=True,
            help="how much later than the program can know the light leaves: what a projector or a mixer adds",
        ),
        Param(id="out.dimmer", default=1.0, by_hand=True, help="brightness of the whole output"),
        Param(id="out.blackout", kind=toggle, by_hand=True, help="black; the show goes on behind it"),
        Param(id="out.freeze", kind=toggle, by_hand=True, help="hold the picture; the show goes on behind it"),
        Param(
            id="latent.truncation",
            default=0.8,
            high=1.5,
            help="psi: 0 is the average animal, 1 as trained, above is wild",
        ),
        Param(
            id="latent.cutoff",
            kind=Kind.INT,
            default=64.0,
            high=64.0,
            help="how many rows of ws, from the coarsest, truncation reaches; the rest is as trained",
        ),
        Param(
            id="latent.strangeness",
            low=-1.0,
            help="below 0 towards the animal that everybody knows, above towards one that nobody can name",
        ),
        Param(id="latent.noise", default=1.0, high=4.0, help="strength of the generator's noise"),
        Param(id="noise.coarse", default=1.0, high=4.0, help="of that, in the coarse layers; 0 is off"),
        Param(id="noise.middle", default=1.0, high=4.0, help="of that, in the middle layers"),
        Param(id="noise.fine", default=1.0, high=4.0, help="of that, in the fine layers"),
        Param(id="noise.seed", kind=Kind.INT, high=65535.0, help="another noise for each number; 0 is as trained"),
        Param(id="noise.speed", high=4.0, unit="hz", help="how fast the noise moves; 0 stands still"),
        Param(id="blend.coarse", help="how far the coarse layers (form) are on the way to the last partner"),
        Param(id="blend.middle", help="how far the middle layers (parts) are on the way to the last partner"),
        Param(id="blend.fine", help="how far the fine layers (texture and colour) are on the way to the last partner"),
        Param(id="latent.coarse", low=-3.0, high=3.0, help="push the coarse layers (form) along the cue's direction"),
        Param(id="latent.middle", low=-3.0, high=3.0, help="push the middle layers (parts)"),
        Param(id="latent.fine", low=-3.0, high=3.0, help="push the fine layers (texture and colour)"),
        Param(id="latent.x", low=-2.0, high=2.0, help="shift to the right, in widths of the picture (StyleGAN3)"),
        Param(id="latent.y", low=-2.0, high=2.0, help="shift downwards, in heights of the picture (StyleGAN3)"),
        Param(id="latent.turn", low=-2.0, high=2.0, unit="turns", help="turn clockwise (StyleGAN3)"),
        Param(id="latent.zoom", default=1.0, low=0.1, high=10.0, curve="exp", help="size (StyleGAN3)"),
        Param(id="preset.load", kind=Kind.TEXT, help="glide to the preset with this name or number"),
        *(Param(id=name, kind=trigger, help="glide to the preset of this number") for name in PRESET_PADS),
        Param(id="preset.surprise", kind=trigger, help="glide to a look that is drawn, not far from here"),
        Param(id="preset.back", kind=trigger, help="glide back to the look before the last preset or surprise"),
        Param(id="preset.again", kind=trigger, help="glide to it again"),
        Param(
            id="preset.time",
            default=2.0,
            high=60.0,
            unit="s",
            by_hand=True,
            help="how long the way to a preset or a surprise takes",
        ),
        Param(id="preset.wildness", default=0.5, by_hand=True, help="how far a surprise goes, and in how many ways"),
        Param(
            id="preset.a",
            kind=Kind.INT,
            high=float(PRESETS_MOST),
            help="number of the preset at morph 0; 0 is the cue as it is",
        ),
        Param(
            id="preset.b",
            kind=Kind.INT,
            high=float(PRESETS_MOST),
            help="number of the preset at morph 1; 0 is the cue as it is",
        ),
        Param(id="preset.morph", help="how far the look is on the way from preset a to preset b"),
        Param(id="routes.amount", default=1.0, high=2.0, by_hand=True, help="master of all routes"),
        *(Param(id=f"macro.{n}", by_hand=True, help=f"macro {n}: a free knob for routes") for n in range(1, 9)),
        *(Param(id=name, by_hand=True, help="a free input: whatever is bound to it") for name in FREE_INPUTS),
    )


@dataclass(frozen=True, slots=True)
class ParamTable:
    """An ordered, immutable set of parameters. Row i of every `Params.values` is `params[i]`."""

    params: tuple[Param, ...]
    _index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = {param.id: row for row, param in enumerate(self.params)}
        if len(index) != len(self.params):
            seen: set[str] = set()
            twice = next(p.id for p in self.params if p.id in seen or seen.add(p.id))
            raise ValueError(f"parameter {twice!r} is declared twice: give one of the two another name")
        object.__setattr__(self, "_index", index)

    def __len__(self) -> int:
        return len(self.params)

    def __contains__(self, param_id: str) -> bool:
        return param_id in self._index

    def __getitem__(self, param_id: str) -> Param:
        return self.params[self.row(param_id)]

    def row(self, param_id: str) -> int:
        """Row of `param_id`. Raises KeyError with the nearest names."""
        try:
            return self._index[param_id]
        except KeyError:
            near = difflib.get_close_matches(param_id, self._index, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise KeyError(f"no parameter {param_id!r}{hint}") from None

    def ids(self) -> tuple[str, ...]:
        """All ids, in order."""
        return tuple(self._index)

    def defaults(self) -> F32:
        """[P], the default of each parameter."""
        return np.array([param.default for param in self.params], np.float32)

    def address(self, param: Param, *, prefix: str = "/perf") -> str:
        """The OSC address of `param`."""
        return f"{prefix}/{param.id.replace('.', '/')}"

    def lows(self) -> F32:
        """[P], the lowest value of each parameter."""
        return np.array([param.low for param in self.params], np.float32)

    def highs(self) -> F32:
        """[P], the highest value of each parameter."""
        return np.array([param.high for param in self.params], np.float32)


@dataclass(frozen=True, slots=True)
class Controls:
    """What hands have set, and when. Made by `Controls.none`, advanced by `reduce`."""

    values: F32  # [P], the last value set; meaningful where set_s is finite
    set_s: np.ndarray  # [P] f64, show time of that; -inf where never set
    presses: tuple[ControlEvent, ...]  # the triggers and commands of this frame, oldest first

    @classmethod
    def none(cls, table: ParamTable) -> "Controls":
        """Nothing touched yet."""
        return cls(frozen_array(table.defaults()), frozen_array(np.full(len(table), -np.inf)), ())


def reduce(controls: Controls, events: Sequence[ControlEvent], *, table: ParamTable) -> Controls:
    """Fold the events of one frame into the state of the hands. Pure.

    Levels replace each other; triggers and commands are all kept, in order, for this one frame. Events that name an
    unknown parameter or carry a value it cannot hold are skipped: the rooms that make events have refused them already.
    """
    if not events:
        return Controls(controls.values, controls.set_s, ()) if controls.presses else controls
    values, set_s = controls.values.copy(), controls.set_s.copy()
    presses = []
    for event in events:
        if event.param not in table:
            continue
        row = table.row(event.param)
        param = table.params[row]
        if param.kind.is_command:
            presses.append(event)
            continue
        try:
            values[row] = param.admit(event.value)
        except ValueError:
            continue
        set_s[row] = event.at_s
    return Controls(frozen_array(values), frozen_array(set_s), tuple(presses))


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for a misspelt name: ` (did you mean 'fade'?)`, or nothing."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
