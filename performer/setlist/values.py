"""Numbers of a setlist: the table of its parameters, values, presets, lengths and keyframes.

Thread: main, before the show.
"""

from pathlib import Path
from typing import Any

import numpy as np

from performer import params as parameters
from performer import routes as routing
from performer.audio.knobs import ear_params
from performer.choreography.keyframes import Keyframe, Keyframes, keyframes
from performer.choreography.lfo import lfo_params
from performer.choreography.motion import bend_params, motion_params, trait_params
from performer.choreography.score import ENDS, Length
from performer.flow import F32, GROUP_NAMES, frozen_array
from performer.params import PRESETS_MOST, Kind, Param, ParamTable, nearest
from performer.presets import Preset, find, may_name, name_fault, unknown
from performer.routes import BEATS, RouteFile
from performer.setlist.file import CueFile
from performer.stage.compositor import stage_params
from performer.stage.isf import IsfError, params_of

_NEXT = ("hold", *ENDS, "goto <id>", "random", "random <tag>")


def table_of(
    routes: list[tuple[str, str, RouteFile]],
    voices: list[str],
    shaders: tuple[Path, ...],
    traits: tuple[str, ...],
    note: Any,
) -> ParamTable:
    declared: list[Param] = [
        *parameters.base_params(),
        *ear_params(voices),
        *motion_params(),
        *lfo_params(),
        *bend_params(),
        *trait_params(traits),
        *stage_params(),
    ]
    for path in shaders:
        try:
            declared += params_of(path)
        except IsfError as error:
            note("shaders", str(error))
    names: dict[str, str] = {}
    for where, _, route in routes:
        if route.name in names:
            note(
                f"{where}.name",
                f"{route.name!r} is the name of {names[route.name]} too; expected a different one for each",
            )
            continue
        names[route.name] = where
        declared += routing.route_params([(route.name, f"{route.source} reaches {route.target}")])
    declared += routing.route_params((name, "a route that is added live") for name in routing.spare_names(names))
    return ParamTable(tuple(declared))


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`walk.speed = 1` reads as nested tables in TOML; ids are dotted again here."""
    flat = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def presets_of(content: dict[str, Any], table: ParamTable, note: Any) -> tuple[Preset, ...]:
    """The presets, in their order."""
    check_names([(f"preset.{name!r}", name) for name in content], "preset", note)
    found, may = [], may_name(table)
    for name, given in content.items():
        values, named = table.defaults(), np.zeros(len(table), bool)
        where = f"preset.{name!r}"
        if not isinstance(given, dict) or not given:
            note(where, f"{given!r}; expected parameters and their values, as in [params]")
            continue
        assign(values, named, table, given, where, note)
        for row in np.flatnonzero(named & ~may):
            sentence = "a preset changes no knob of presets; set it in [params] or in a cue"
            note(f"{where}.{table.params[row].id}", sentence)
        found.append(Preset(name, frozen_array(named), frozen_array(values)))
    return tuple(found)


def check_names(names: list[tuple[str, str]], whole: str, note: Any) -> None:
    """Whether presets can be asked for. names: (where, name) of each."""
    for where, name in names:
        if fault := name_fault(name):
            note(where, fault)
    if len(names) > PRESETS_MOST:
        note(whole, f"{len(names)} presets; expected {PRESETS_MOST} at most")


def assign(
    values: Any,
    named: Any,
    table: ParamTable,
    content: dict[str, Any],
    where: str,
    note: Any,
    *,
    presets: tuple[Preset, ...] = (),
) -> None:
    for key, value in _flat(content).items():
        if key not in table:
            note(f"{where}.{key}", f"no such parameter{nearest(key, table.ids())}")
            continue
        param = table[key]
        if param.kind.is_command:
            note(f"{where}.{key}", "is a command, not a value; expected a parameter that holds one")
            continue
        if key in ("preset.a", "preset.b") and isinstance(value, str):
            number = find(presets, value)
            if number is None:
                note(f"{where}.{key}", unknown(presets, value))
                continue
            value = number
        if not isinstance(value, (int, float)):
            note(
                f"{where}.{key}",
                f"{value!r}; expected a number ({param.low:g} to {param.high:g} {param.unit})".rstrip(),
            )
            continue
        if not param.low <= value <= param.high:
            note(f"{where}.{key}", f"{value}; expected {param.low:g} to {param.high:g} {param.unit}".rstrip())
            continue
        values[table.row(key)] = value
        if named is not None:
            named[table.row(key)] = True


def length_of(value: float | str, where: str, note: Any) -> Length:
    """Seconds as a number, or `"32 beats"`, `"8 bars"`, `"1 beat"`."""
    if isinstance(value, str):
        number, _, unit = value.partition(" ")
        try:
            length = Length(float(number) * BEATS[unit], in_beats=True)
        except (ValueError, KeyError):
            note(where, f'{value!r}; expected seconds (a number) or beats, such as "32 beats" or "8 bars"')
            return Length(0.0)
    else:
        length = Length(float(value))
    if not 0 <= length.amount < float("inf"):
        note(where, f"{value!r}; expected a length of zero or more")
    return length


def keyframes_of(
    cue: CueFile,
    where: str,
    table: ParamTable,
    values: F32,
    named: Any,
    note: Any,
    *,
    presets: tuple[Preset, ...] = (),
) -> Keyframes | None:
    """The ways through the keyframes of a cue; None where it has none. Writes to values and named, [P] both."""
    if cue.keyframes not in ("hold", "loop"):
        note(f"{where}.keyframes", f"{cue.keyframes!r}; expected hold or loop")
    length = None if cue.length is None else length_of(cue.length, f"{where}.length", note)
    if (cue.keyframes == "loop") != (length is not None and length.amount > 0):
        note(f"{where}.length", 'keyframes = "loop" and a length, such as "16 bars", belong together')
    if not cue.keyframe:
        if cue.keyframes == "loop" or length is not None:
            note(f"{where}.keyframe", "none; expected at least one [[cue.keyframe]]")
        return None
    frames, times = [], [] if length is None else [length]
    for index, file in enumerate(cue.keyframe):
        place = f"{where}.keyframe[{index}]"
        times.append(at := length_of(file.at, f"{place}.at", note))
        if length is not None and at.amount >= length.amount:
            note(f"{place}.at", f"{file.at!r}; the loop has a length of {cue.length!r}; expected less")
        if any(frame.at == at.amount for frame in frames):
            note(f"{place}.at", f"{file.at!r} is the time of another keyframe; put both into one")
        animals = tuple(file.seed if each is None else each for each in (file.coarse, file.middle, file.fine))
        if any(number is not None and not 0 <= number < 2**32 for number in animals):
            note(place, f"expected seeds from 0 to {2**32 - 1}")
        if animals == (None,) * len(animals) and not file.params:
            note(place, "says nothing; expected a seed, coarse, middle or fine, or params")
        there, told = values.copy(), np.zeros(len(table), bool)
        assign(there, told, table, file.params, f"{place}.params", note, presets=presets)
        rows = np.flatnonzero(told).tolist()
        frames.append(Keyframe(at=at.amount, animals=animals, values=tuple((row, float(there[row])) for row in rows)))
        named |= told
    in_beats = any(each.in_beats for each in times)
    if any(each.amount and each.in_beats != in_beats for each in times):
        note(f"{where}.keyframe", "some times are seconds and some are beats; expected one of the two in a cue")
    for group, name in enumerate(GROUP_NAMES):
        # Where keyframes lead, the walk does not, unless the cue asks for it.
        leads = any(frame.animals[group] is not None for frame in frames)
        if leads and not named[[table.row("walk.amount"), table.row(f"walk.{name}")]].any():
            values[table.row(f"walk.{name}")] = 0.0
    steps = [row for row, param in enumerate(table.params) if param.kind is not Kind.FLOAT]
    return keyframes(frames, in_beats=in_beats, loop=length.amount if length is not None else 0.0, steps=steps)


def check_next(cue: CueFile, cues: list[CueFile], where: str, note: Any) -> None:
    """Whether what comes by itself is to be found, and has a time to come."""
    how, _, which = cue.next.partition(" ")
    if how not in ("hold", *ENDS, "goto", "random") or (which and how not in ("goto", "random")):
        note(f"{where}.next", f"{cue.next!r}; expected one of: {', '.join(_NEXT)}")
    elif how == "goto" and which not in (ids := [each.id for each in cues]):
        note(f"{where}.next", f"{cue.next!r}: no cue has the id {which!r}{nearest(which, ids)}")
    elif which and how == "random" and which not in (tags := [tag for each in cues for tag in each.tags]):
        note(f"{where}.next", f"{cue.next!r}: no cue has the tag {which!r}{nearest(which, tags)}")
    elif how == "continue" and cue.post_wait in (0, 0.0):
        note(f"{where}.next", 'continue needs a time; expected a post_wait beside it, such as "8 bars"')
    elif how not in ("hold", "continue") and cue.duration is None:
        note(f"{where}.next", f'{cue.next!r} needs an end; expected a duration beside it, such as "32 beats"')


def quantize_of(value: float | str | None, where: str, note: Any) -> float | None:
    """The beats on whose multiples a cue begins; None as the knob says."""
    if value is None:
        return None
    if value == "none":
        return 0.0
    beats = routing.beats_of(value) if isinstance(value, str) else float(value)
    if not 0.0 <= beats <= 64.0 or (isinstance(value, str) and not beats):
        note(where, f'{value!r}; expected none, beat, bar, a length such as "4 bars", or beats (a number up to 64)')
        return None
    return beats
