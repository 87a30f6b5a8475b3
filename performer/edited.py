"""An edited setlist beside the one that plays: what of it has to wait for a restart, and the rest as the show counts it.

The show's rows and numbers stay what they are: parameters and creatures that are new come last, and what is gone keeps its
place until the show ends.

Thread: any. Pure.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from performer.bridges import Bridge
from performer.choreography.motion import Anatomy
from performer.choreography.plan import Plan
from performer.choreography.score import Cue
from performer.creatures import Creature, anatomies_of
from performer.flow import frozen_array
from performer.params import ParamTable
from performer.presets import Preset
from performer.setlist import Setlist
from performer.stage.isf import effect_name

LATER = "needs a restart: nothing of this edit is taken, and what plays goes on as it was"
_MOVING = ("route.", "mute.", "solo.", "trait.")  # parameters that come and go with routes and species


def obstacles(playing: Setlist, edited: Setlist) -> list[str]:
    """Why an edit cannot be taken while the show plays; empty where it can."""
    found = [
        key
        for key, before, after in (
            ("audio", playing.audio, edited.audio),
            ("audio.beat", playing.beat_voice, edited.beat_voice),
            ("voices", playing.voices, edited.voices),
            ("bands", playing.bands, edited.bands),
            ("shaders", playing.shaders, edited.shaders),
            ("ableton", _live(playing), _live(edited)),
            ("partner", bool(playing.stranger), bool(edited.stranger)),
        )
        if before != after
    ]
    if playing.stranger and edited.stranger and not all(map(_is_same, playing.creatures[:2], edited.creatures)):
        found.append("species and partner, which is no sibling,")
    mixes = [path.stem for path in edited.mixes if path not in playing.mixes]
    found += [f"the shader {name} of a transition, which no cue had," for name in mixes]
    if not found:
        found += [
            f"the shader of {name}, which has other inputs than it had," for name in _other_inputs(playing, edited)
        ]
    return [f"{edited.path}: {what} {LATER}" for what in found]


def fitted(playing: Setlist, edited: Setlist) -> Setlist:
    """The edited setlist in the rows and with the numbers of the one that plays."""
    creatures = list(playing.creatures)
    numbers = []
    for creature in edited.creatures:
        number = next((at for at, each in enumerate(creatures) if _is_same(each, creature)), len(creatures))
        if number == len(creatures):
            creatures.append(creature)
        numbers.append(number)
    table = grown(playing.table, edited.table)
    rows = np.array([table.row(param_id) for param_id in edited.table.ids()])
    bridges = {}
    for (left, reached), bridge in edited.bridges.items():
        pair = numbers[left], numbers[reached]
        before = playing.bridges.get(pair)
        bridges[pair] = before if before is not None and _is_same_bridge(before, bridge) else bridge
    return replace(
        edited,
        creatures=tuple(creatures),
        bridges=bridges,
        table=table,
        cues=tuple(_cue(cue, rows, table, numbers[cue.creature]) for cue in edited.cues),
        presets=tuple(_preset(preset, rows, table) for preset in edited.presets),
    )


def grown(table: ParamTable, edited: ParamTable) -> ParamTable:
    """All parameters of both: those of the first keep their rows. The same table where there is nothing new."""
    newer = {param.id: param for param in edited.params}
    params = [newer.pop(param.id, param) for param in table.params] + list(newer.values())
    return table if tuple(params) == table.params else ParamTable(tuple(params))


def plan_of(setlist: Setlist, *, anatomies: Sequence[Anatomy]) -> Plan:
    """The choreography of a fitted setlist. anatomies: of the creatures that were there before."""
    added = anatomies_of(setlist.creatures[len(anatomies) :], is_stranger=False)
    return setlist.plan(anatomies=[*anatomies, *added])


def _is_same(first: Creature, second: Creature) -> bool:
    """Whether two creatures are the same for the engine and for choreography."""
    one, other = first.chosen, second.chosen
    if not first.is_same(second) or one is None or other is None:
        return first.is_same(second) and one is other
    if one.latents is None or other.latents is None:
        return one.latents is other.latents and one.numbers == other.numbers
    return np.array_equal(one.latents, other.latents)


def _is_same_bridge(first: Bridge, second: Bridge) -> bool:
    return all(
        one.content_hash == other.content_hash and np.array_equal(one.w, other.w)
        for one, other in zip(first.sides, second.sides, strict=True)
    )


def _live(setlist: Setlist) -> object:
    """What is asked of Ableton Live, without the cues that begin by it."""
    return None if setlist.live is None else replace(setlist.live, scene_cues={}, locator_cues={})


def _other_inputs(playing: Setlist, edited: Setlist) -> list[str]:
    """The effects whose files were edited such that their parameters are others."""
    spans = [
        {
            param.id: (param.kind, param.default, param.low, param.high, param.unit, param.curve)
            for param in setlist.table.params
            if not param.id.startswith(_MOVING)
        }
        for setlist in (playing, edited)
    ]
    gone = {effect_name(path) for path in playing.mixes if path not in edited.mixes}
    other = [name for name in spans[0] if name in spans[1] and spans[0][name] != spans[1][name]]
    other += sorted(spans[1].keys() - spans[0].keys())
    other += [name for name in spans[0] if name not in spans[1] and name.partition(".")[0] not in gone]
    return list(dict.fromkeys(name.partition(".")[0] for name in other))


def _cue(cue: Cue, rows: np.ndarray, table: ParamTable, creature: int) -> Cue:
    values, named = table.defaults(), np.zeros(len(table), bool)
    values[rows], named[rows] = cue.values, cue.named
    ways = cue.keyframes
    if ways is not None:
        ways = replace(ways, values=tuple((int(rows[row]), way, is_smooth) for row, way, is_smooth in ways.values))
    return replace(cue, creature=creature, values=frozen_array(values), named=frozen_array(named), keyframes=ways)


def _preset(preset: Preset, rows: np.ndarray, table: ParamTable) -> Preset:
    values, named = table.defaults(), np.zeros(len(table), bool)
    values[rows], named[rows] = preset.values, preset.named
    return replace(preset, values=frozen_array(values), named=frozen_array(named))
