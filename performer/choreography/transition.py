"""Transitions: where a cue's fade in stands, and what of both cues is seen there.

    cut            at once
    latent         within a species: the latents of both cues are mixed
    form first     the same, and the form arrives before parts and texture do
    texture first  the other way round
    crossfade      of two species: one picture fades over the other
    bridge         one species walks to where it looks most like the other, crosses there, and the other goes on
    dip            into the dark, and out of it as the next cue
    shader NAME    an ISF transition mixes the two pictures
    auto           latent within a species; of two, by a bridge where there is one, else a crossfade

What cannot be between two cues, as a bridge within a species, is what `auto` would be.

Thread: render. Pure.
"""

from dataclasses import dataclass

from performer.flow import GROUPS, Mix
from performer.routes import CURVES

Window = tuple[float, float]  # parts of the fade, 0..1: when a layer group sets out, and when it has arrived
Timing = tuple[Window, Window, Window]  # of form, parts and texture

TOGETHER: Timing = ((0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
FORM_FIRST: Timing = ((0.0, 0.6), (0.2, 0.8), (0.4, 1.0))
TEXTURE_FIRST: Timing = (FORM_FIRST[2], FORM_FIRST[1], FORM_FIRST[0])
KINDS = ("auto", "cut", "latent", "form first", "texture first", "crossfade", "bridge", "dip")
SHADER = "shader"  # with a name after it
DIP = "dip"
DARK = 0.04  # of a dip's length, before and after its middle: all is dark

# Of a bridge's length: when the species that is left has reached it, and when the next one sets out from it. In between
# the pictures of both, which are most alike there, fade over.
ARRIVES, LEAVES = 0.42, 0.58

SETS_OUT = 0.2  # of each way: gathering speed, and losing it

_smooth = CURVES["smooth"]


@dataclass(frozen=True, slots=True)
class Transition:
    """How a cue comes in."""

    kind: str = "auto"  # one of KINDS, or SHADER
    timing: Timing = TOGETHER  # of the layer groups, where latents are mixed
    shader: str = ""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a transition stands. All parts 0..1: 0 is the cue that goes, 1 the one that comes."""

    mix: float  # of all numbers
    groups: tuple[float, ...]  # of the latents of each layer group, within a species
    part: float  # of the pictures of two species
    to_bridge: float = 0.0  # how near the one that goes has come to the bridge
    from_bridge: float = 0.0  # how near the one that comes still is
    is_turned: bool = True  # whether switches and whole numbers are those of the cue that comes
    shading: Mix | None = None
    light: float = 1.0  # of all that is seen


def stand_of(transition: Transition, *, done: float, curve: str, is_one_species: bool, has_bridge: bool) -> Stand:
    """Where a transition stands.

    done
        part of its length that has passed, 0..1.
    curve
        of `CURVES`, that its numbers follow.
    is_one_species
        whether both cues are drawn by the same creature.
    has_bridge
        whether there is a bridge between the two.
    """
    mix = CURVES[curve](done)
    if transition.kind == "cut":
        return Stand(1.0, (1.0,) * GROUPS, 1.0)
    if transition.kind == DIP:  # a cut that nobody sees
        turned = float(done >= 0.5)
        light = _smooth(min(max((abs(done - 0.5) - DARK) / (0.5 - DARK), 0.0), 1.0))
        return Stand(turned, (turned,) * GROUPS, turned, is_turned=bool(turned), light=light)
    groups = tuple(CURVES[curve](_within(done, window)) for window in transition.timing)
    shading = Mix(transition.shader, mix) if transition.kind == SHADER else None
    if not is_one_species and has_bridge and transition.kind in ("auto", "bridge"):
        return Stand(
            mix,
            groups,
            part=_smooth(_within(done, (ARRIVES, LEAVES))),
            to_bridge=_walked(_within(done, (0.0, ARRIVES))),
            from_bridge=1.0 - _walked(_within(done, (LEAVES, 1.0))),
        )
    return Stand(mix, groups, part=mix, shading=shading)


def _walked(part: float) -> float:
    """A way that is set out on and ended gently, and walked evenly between: 1.25 times its mean speed at most."""
    if part < SETS_OUT:
        return 0.5 * part * part / (SETS_OUT * (1.0 - SETS_OUT))
    if part > 1.0 - SETS_OUT:
        return 1.0 - _walked(1.0 - part)
    return (part - 0.5 * SETS_OUT) / (1.0 - SETS_OUT)


def _within(done: float, window: Window) -> float:
    """How much of a window has passed."""
    first, last = window
    return min(max((done - first) / (last - first), 0.0), 1.0) if last > first else float(done >= first)
