"""Who plays in a setlist: species, siblings, bridges, transitions and effects, found and read.

Thread: main, before the show.
"""

from pathlib import Path
from typing import Any

from performer import resources
from performer.bridges import SUFFIX as BRIDGE_SUFFIX
from performer.bridges import Bridge
from performer.choreography.transition import (
    FORM_FIRST,
    KINDS,
    SHADER,
    TEXTURE_FIRST,
    TOGETHER,
    Timing,
    Transition,
    Window,
)
from performer.creatures import Creature, Pair, bridges_between
from performer.flow import GROUP_NAMES
from performer.generators import checkpoint as species
from performer.params import nearest
from performer.setlist.file import CueFile
from performer.stage.isf import IsfError, effect_name, read_isf


def species_of(path: Path, key: str, name: str, note: Any, *, instead: str) -> species.Checkpoint | None:
    """The species that `key` of the setlist names, or the command line `instead`."""
    folder, name = (Path.cwd(), instead) if instead else (path.parent, name)
    file = resources.find(name, beside=folder, bundled=resources.CHECKPOINTS, suffix=".safetensors")
    if file is None:
        bundled = sorted(each.stem for each in resources.CHECKPOINTS.glob("*.safetensors"))
        note(key, f"{name!r} not found; expected a .safetensors file or one of: {', '.join(bundled)}")
        return None
    try:
        return species.load(file)
    except species.CheckpointError as error:
        note(key, str(error))
        return None


def partners_of(
    path: Path,
    named: str | list[str],
    checkpoint: species.Checkpoint | None,
    note: Any,
    *,
    instead: str,
    key: str = "partner",
) -> tuple[tuple[species.Checkpoint, ...], str]:
    """(what the species becomes, in order; why the only one is no sibling and is faded to, empty where all are)."""
    if isinstance(named, str):
        named = [named] if named else []
    names = [instead] if instead else named
    found, reason = [], ""
    for index, name in enumerate(names):
        place = key if len(names) == 1 else f"{key}[{index}]"
        partner = species_of(path, place, name, note, instead=instead)
        if partner is None or checkpoint is None:
            continue
        found.append(partner)
        reason = species.stranger(checkpoint, partner)
        if reason and len(names) > 1:
            note(
                place,
                f"{name!r} is no sibling of {checkpoint.provenance.name}: {reason}; expected one that was trained on from "
                "it, since a chain is crossbred; take it out, or make it the only partner: pictures then fade over",
            )
    return tuple(found), reason


def creature_of(path: Path, where: str, cue: CueFile, creatures: list[Creature], stranger: str, note: Any) -> int:
    """The number of the creature that a cue names; a new one is added."""
    if not cue.species:
        for key, value in (("partner", cue.partner), ("class", cue.label)):
            if value:
                note(f"{where}.{key}", f"{value!r}, but no species; expected the cue's own species beside it")
        return 0
    if stranger:
        note(
            f"{where}.species",
            f"{cue.species!r} beside a partner that is no sibling ({stranger}); expected no such partner at the top: "
            "make it the species of a cue, and it is faded to",
        )
    checkpoint = species_of(path, f"{where}.species", cue.species, note, instead="")
    siblings, strange = partners_of(path, cue.partner, checkpoint, note, instead="", key=f"{where}.partner")
    if strange and len(siblings) == 1:
        note(f"{where}.partner", f"{strange}; expected a sibling; give what is to be faded to a cue of its own")
    if checkpoint is None:
        return 0
    if cue.label not in checkpoint.sizes.labels:
        note(f"{where}.class", f"{cue.label}; expected 0 to {checkpoint.sizes.labels[-1]}, as the species has classes")
    made = Creature(checkpoint=checkpoint, label=cue.label, siblings=siblings)
    for number, each in enumerate(creatures):
        if each.is_same(made):
            return number
    creatures.append(made)
    return len(creatures) - 1


def bridges_of(
    path: Path, names: list[str], creatures: list[Creature], note: Any
) -> tuple[dict[Pair, Bridge], list[str]]:
    """The bridges that may be crossed, and why others may not."""
    files = {}
    for index, name in enumerate(names):
        file = resources.find(name, beside=path.parent, bundled=resources.CHECKPOINTS, suffix=BRIDGE_SUFFIX)
        if file is None:
            note(f"bridges[{index}]", f"{name!r} not found; expected a file that `performer bridge A B` has made")
        else:
            files[f"bridges[{index}]"] = file
    return bridges_between(creatures, files, note)


def transitions_of(
    path: Path,
    cues: list[CueFile],
    numbers: list[int],
    crossings: dict[Pair, Bridge],
    creatures: list[Creature],
    note: Any,
) -> tuple[list[Transition], tuple[Path, ...]]:
    """How each cue comes in, and the shaders that this takes."""
    found, mixes = [], dict[str, Path]()
    for index, cue in enumerate(cues):
        where = f"cue[{index}] (id {cue.id!r})"
        kind, _, name = cue.transition.partition(" ") if cue.transition.startswith(SHADER) else (cue.transition, "", "")
        if kind not in (*KINDS, SHADER) or (kind == SHADER and not name):
            known = ", ".join((*KINDS, f"{SHADER} <name>"))
            note(f"{where}.transition", f"{cue.transition!r}{nearest(cue.transition, KINDS)}; expected one of: {known}")
        elif kind == "bridge" and not any(onto == numbers[index] for _, onto in crossings):
            what = creatures[numbers[index]].name if creatures else "this species"
            note(
                f"{where}.transition",
                f"no bridge leads to {what}; expected one between it and the species of another cue: "
                "make it with `performer bridge A B`, and name it in bridges",
            )
        elif kind == SHADER:
            file = resources.find(name, beside=path.parent, bundled=resources.TRANSITIONS, suffix=".fs")
            if file is None:
                bundled = sorted(each.stem for each in resources.TRANSITIONS.glob("*.fs"))
                note(
                    f"{where}.transition",
                    f"{name!r} not found; expected an ISF transition (.fs) or one of: {', '.join(bundled)}",
                )
            else:
                _check_mix(file, f"{where}.transition", note)
                mixes[name] = file
                name = effect_name(file)
        found.append(Transition(kind, _timing(kind, cue.timing, f"{where}.timing", note), name))
    return found, tuple(mixes.values())


def _check_mix(path: Path, where: str, note: Any) -> None:
    try:
        isf = read_isf(path)
    except IsfError as error:
        note(where, str(error))
        return
    if not isf.is_transition:
        note(
            where,
            f"{path} mixes no two pictures; expected an ISF transition, with the images startImage and endImage and "
            "the float progress",
        )


def _timing(kind: str, given: dict[str, Window], where: str, note: Any) -> Timing:
    """When each layer group comes."""
    windows = list({"form first": FORM_FIRST, "texture first": TEXTURE_FIRST}.get(kind, TOGETHER))
    for group, window in given.items():
        if group not in GROUP_NAMES:
            sentence = f"no layer group{nearest(group, GROUP_NAMES)}; expected one of: {', '.join(GROUP_NAMES)}"
            note(f"{where}.{group}", sentence)
        elif not 0.0 <= window[0] < window[1] <= 1.0:
            note(f"{where}.{group}", f"{list(window)}; expected from and to, in parts of the fade, such as [0.0, 0.6]")
        else:
            windows[GROUP_NAMES.index(group)] = window
    form, parts, texture = windows
    return form, parts, texture


def traits_of(creatures: list[Creature]) -> tuple[str, ...]:
    """What each `trait` parameter moves; in several species, each its own."""
    most = max((len(each.checkpoint.traits) for each in creatures), default=0)
    named = []
    for number in range(most):
        names = [each.checkpoint.traits[number] for each in creatures if number < len(each.checkpoint.traits)]
        named.append(" or ".join(dict.fromkeys(names)))
    return tuple(named)


def shaders_of(path: Path, names: list[str], note: Any) -> tuple[Path, ...]:
    found = []
    for index, name in enumerate(names):
        file = resources.find(name, beside=path.parent, bundled=resources.SHADERS, suffix=".fs")
        if file is None:
            bundled = sorted(each.stem for each in resources.SHADERS.glob("*.fs"))
            note(f"shaders[{index}]", f"{name!r} not found; expected an ISF file (.fs) or one of: {', '.join(bundled)}")
        else:
            found.append(file)
    return tuple(found)
