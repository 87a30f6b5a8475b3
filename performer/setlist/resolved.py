"""A setlist, and an evening of several, checked and resolved.

Thread: main, before the show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from performer import choosing, evenings, resources
from performer import routes as routing
from performer.audio.features import feature_names, hit_kinds
from performer.audio.source import BandSpec, SourceError, SourceSpec, VoiceSpec, check_source
from performer.bridges import Bridge
from performer.choreography.modulation import MADE
from performer.choreography.motion import Anatomy
from performer.choreography.plan import Plan
from performer.choreography.score import Cue
from performer.clock import local_offset_s
from performer.control.ableton import LiveSpec
from performer.control.addresses import Bind
from performer.creatures import Creature, Pair, anatomies_of
from performer.flow import frozen_array
from performer.generators import checkpoint as species
from performer.params import ParamTable, nearest
from performer.presets import Preset, find, unknown
from performer.routes import RouteFile, Span
from performer.setlist.file import CueFile, SetlistError, SetlistFile, placed_at, read_file
from performer.setlist.heard import audio_of, bands_of, music_s_of, spans_of, voices_of
from performer.setlist.led import binds_of, live_of, mappings_wanted, routes_mapped, routes_named
from performer.setlist.values import (
    assign,
    check_names,
    check_next,
    keyframes_of,
    length_of,
    presets_of,
    quantize_of,
    table_of,
)
from performer.setlist.who import (
    bridges_of,
    creature_of,
    partners_of,
    shaders_of,
    species_of,
    traits_of,
    transitions_of,
)
from performer.stage.isf import effect_name
from performer.toml_lines import Lines
from performer.triggers import check_alone, names_of, triggers_of

SCHEMA = 1


DEMO = "metamorphosis"  # the setlist of `performer play` without a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Setlist:
    """A show, checked and resolved."""

    path: Path
    name: str
    creatures: tuple[Creature, ...]  # the setlist's own first
    stranger: str  # why its only partner is no sibling, but the second creature, and is faded to; empty where it is
    bridges: dict[Pair, Bridge]
    mixes: tuple[Path, ...]  # the shaders of transitions
    remarks: tuple[str, ...]  # what is no fault, and good to know before doors
    audio: SourceSpec
    voices: tuple[VoiceSpec, ...]
    bands: tuple[BandSpec, ...]  # its own, besides those that every voice has
    beat_voice: int  # row of the voice in which the beat is followed
    shaders: tuple[Path, ...]
    table: ParamTable
    cues: tuple[Cue, ...]
    routes: tuple[tuple[str, RouteFile], ...]  # with the id of the cue that each belongs to; empty for all
    sources: dict[str, Span]  # what a route may start from
    binds: dict[str, Bind]  # foreign OSC addresses, and the parameters that they set
    live: LiveSpec | None  # Ableton Live
    silence_s: float  # a sender that is silent for so long lets go of what it holds; 0 for never
    presets: tuple[Preset, ...] = ()  # in the order of the file
    parts: tuple[Path, ...] = ()  # the setlists that an evening is made of
    files: tuple[Path, ...] = ()  # all that it was read from: itself, its parts, mappings

    @property
    def checkpoint(self) -> species.Checkpoint:
        """The setlist's own species."""
        return self.creatures[0].checkpoint

    @property
    def partners(self) -> tuple[species.Checkpoint, ...]:
        """What that can become, one after the other."""
        return (self.creatures[1].checkpoint,) if self.stranger else self.creatures[0].siblings

    def plan(self, *, anatomies: Sequence[Anatomy] | None = None) -> Plan:
        """The choreography of this show. anatomies: of its creatures, where they are known."""
        return Plan(
            table=self.table,
            cues=self.cues,
            anatomies=anatomies_of(self.creatures, is_stranger=bool(self.stranger)) if anatomies is None else anatomies,
            bridges=self.bridges,
            voices=[voice.name for voice in self.voices],
            feature_names=feature_names(self.bands),
            hit_kinds=hit_kinds(self.bands),
            offset_of=local_offset_s,
            presets=self.presets,
            effects=[effect_name(path) for path in self.shaders],
        )


def locate(name: str) -> Path:
    """The setlist that `name` means: a file, or the name of a bundled one. Raises SetlistError."""
    path = resources.find(name, beside=Path.cwd(), bundled=resources.SETLISTS, suffix=".toml")
    if path is None:
        bundled = sorted(file.stem for file in resources.SETLISTS.glob("*.toml"))
        raise SetlistError([f"{name}: no such setlist; expected a .toml file or one of: {', '.join(bundled)}"])
    return path


def load(
    path: Path,
    *,
    audio: SourceSpec | None = None,
    species_name: str = "",
    partner_name: str = "",
    check_devices: bool = True,
) -> Setlist:
    """Read and check a setlist with everything that it names.

    `audio`, `species_name` and `partner_name` replace the setlist's own (`--input`, `--file`, `--species` and `--partner`
    of the command line); the last all partners of a chain. Another species plays alone, where no partner is named with it.

    Raises:
        SetlistError: with all problems that were found.
    """
    file = read_file(path, SetlistFile)
    return (_evening if file.parts else _resolved)(
        path,
        file,
        audio=audio,
        species_name=species_name,
        partner_name=partner_name,
        check_devices=check_devices,
    )


def _resolved(
    path: Path,
    file: SetlistFile,
    *,
    audio: SourceSpec | None,
    species_name: str,
    partner_name: str,
    check_devices: bool,
    evening: SetlistFile | None = None,
) -> Setlist:
    """A setlist, checked. evening: of which it is a part; `audio` is that one's then. Raises SetlistError."""
    problems: list[str] = []
    lines = cache(lambda: Lines(path.read_text(encoding="utf-8")))  # where something is wrong, and not else

    def note(where: str, sentence: str) -> None:
        problems.append(f"{placed_at(path, lines(), where)}: {sentence}")

    if file.schema != SCHEMA:
        note("schema", f"{file.schema}; expected {SCHEMA}; a newer performer may read it")
    if not file.cue:
        note("cue", "none; expected at least one [[cue]]")

    checkpoint = species_of(path, "species", file.species, note, instead=species_name)
    becoming = "" if species_name else file.partner  # what the setlist's own species becomes, not any other
    partners, stranger = partners_of(path, becoming, checkpoint, note, instead=partner_name)
    label = file.label
    if checkpoint is not None and label not in checkpoint.sizes.labels:
        if species_name:  # the number was meant for the setlist's own species
            label = 0
        else:
            note("class", f"{label}; expected 0 to {checkpoint.sizes.labels[-1]}, as the species has classes")
    creatures: list[Creature] = []
    if checkpoint is not None:
        creatures.append(Creature(checkpoint=checkpoint, label=label, siblings=() if stranger else partners))
        creatures += [Creature(checkpoint=each) for each in partners if stranger]
    numbers = [
        creature_of(path, f"cue[{index}] (id {cue.id!r})", cue, creatures, stranger, note)
        for index, cue in enumerate(file.cue)
    ]
    is_other = species_name not in ("", file.species)
    creatures = choosing.chosen(file.safe, creatures, note, folder=path.parent, is_other=is_other)
    crossings, remarks = bridges_of(path, file.bridges, creatures, note)
    if file.safe is not None and crossings:  # their ends are animals that nobody has chosen
        crossings, remarks = {}, [*remarks, "bridges are not crossed: they lead out of what [safe] has chosen"]
    shaders = shaders_of(path, file.shaders, note)
    transitions, mixes = transitions_of(path, file.cue, numbers, crossings, creatures, note)
    voices, bands = voices_of(file.voices, note), bands_of(file.bands, note)
    names = [voice.name for voice in voices]
    if file.audio.beat and file.audio.beat not in names:
        note(
            "audio.beat",
            f"{file.audio.beat!r} is no voice{nearest(file.audio.beat, names)}; expected one of: {', '.join(names)}",
        )
    beat_voice = names.index(file.audio.beat) if file.audio.beat in names else 0
    source = audio or audio_of(path, file.audio, note)
    if source is not None and (check_devices or source.kind != "device"):
        try:
            check_source(source, voices)
        except SourceError as error:  # it names the key; a source of the command line is not the setlist's fault
            where, _, sentence = str(error).partition(": ")
            problems.append(f"{placed_at(path, lines(), where)}: {sentence}" if audio is None else str(error))

    mapped = [routes_mapped(path, where, wanted, names, bands, note) for where, wanted in mappings_wanted(file)]
    routes, played = routes_named(file, mapped, note)
    table = table_of(routes, names, (*shaders, *mixes), traits_of(creatures), note)
    known = routing.sources(names, spans_of(bands), table, made=MADE)
    for where, _, route in routes:
        for key, sentence in routing.problems(routing.route_of(route, known), known=known, table=table):
            note(f"{where}.{key}", sentence)
    binds = binds_of(file.osc, table, note)
    live = live_of(file.ableton, table, note)
    if not 0.0 <= file.control.silence < math.inf:
        note("control.silence", f"{file.control.silence}; expected seconds, or 0 for never")
    presets = presets_of(file.preset, table, note)
    defaults = table.defaults()
    for where, content in (*mapped[0].params, ("params", file.params)):
        assign(defaults, None, table, content, where, note, presets=presets)
    cues = []
    seen: dict[str, int] = {}
    is_own = audio is None or evening is not None  # and not the command line's
    music_s, triggered = music_s_of((evening or file).audio, source if is_own else None), []
    for index, cue in enumerate(file.cue):
        where = f"cue[{index}] (id {cue.id!r})"
        triggers = triggers_of(cue.trigger, where, note, has_live=file.ableton is not None, music_s=music_s)
        triggered.append((where, cue.armed, triggers))
        if cue.id in seen:
            note(f"{where}.id", f"{cue.id!r} is the id of cue[{seen[cue.id]}] too; expected a different text for each")
        seen[cue.id] = index
        values, named = defaults.copy(), np.zeros(len(table), bool)
        for place, content in mapped[index + 1].params:
            assign(values, named, table, content, place, note, presets=presets)
        if cue.preset and (base := find(presets, cue.preset)) is None:
            note(f"{where}.preset", unknown(presets, cue.preset))
        elif cue.preset and base is not None:
            named |= presets[base - 1].named
            values[named] = np.where(presets[base - 1].named, presets[base - 1].values, values)[named]
        assign(values, named, table, cue.params, f"{where}.params", note, presets=presets)
        ways = keyframes_of(cue, where, table, values, named, note, presets=presets)
        check_next(cue, file.cue, where, note)
        if cue.curve not in routing.CURVES:
            note(f"{where}.curve", f"{cue.curve!r}; expected one of: {', '.join(routing.CURVES)}")
        cues.append(
            Cue(
                id=cue.id,
                name=cue.name,
                notes=cue.notes,
                tags=tuple(cue.tags),
                armed=cue.armed,
                triggers=triggers,
                quantize=quantize_of(cue.quantize, f"{where}.quantize", note),
                pre_wait=length_of(cue.pre_wait, f"{where}.pre_wait", note),
                post_wait=length_of(cue.post_wait, f"{where}.post_wait", note),
                curve=cue.curve,
                creature=numbers[index],
                transition=transitions[index],
                seed=file.seed if cue.seed is None else cue.seed,
                values=frozen_array(values),
                named=frozen_array(named),
                routes=tuple(routing.route_of(route, known) for route in played[index]),
                keyframes=ways,
                fade=length_of(cue.fade, f"{where}.fade", note),
                duration=None if cue.duration is None else length_of(cue.duration, f"{where}.duration", note),
                next=cue.next,
            )
        )
    check_alone(triggered, note)
    if live is not None:
        live = replace(live, scene_cues=names_of(cues, "scene"), locator_cues=names_of(cues, "locator"))
    if problems or checkpoint is None or source is None:
        raise SetlistError(problems)
    return Setlist(
        path=path,
        name=file.name,
        creatures=tuple(creatures),
        stranger=stranger,
        bridges=crossings,
        mixes=mixes,
        remarks=tuple(remarks),
        audio=source,
        voices=voices,
        bands=bands,
        beat_voice=beat_voice,
        shaders=shaders,
        table=table,
        cues=tuple(cues),
        routes=tuple((cue, route) for _, cue, route in routes),
        sources=known,
        binds=binds,
        live=live,
        silence_s=file.control.silence,
        presets=presets,
        files=tuple(dict.fromkeys((path, *(file for each in mapped for file in each.files)))),
    )


def _evening(
    path: Path,
    file: SetlistFile,
    *,
    audio: SourceSpec | None,
    species_name: str,
    partner_name: str,
    check_devices: bool,
) -> Setlist:
    """Several setlists as one show, checked. Raises SetlistError: with the problems of all parts."""
    problems: list[str] = []
    lines = Lines(path.read_text(encoding="utf-8"))

    def note(where: str, sentence: str) -> None:
        problems.append(f"{placed_at(path, lines, where)}: {sentence}")

    theirs = ("species", "class", "partner", "seed", "shaders", "safe", "mapping", "params", "preset", "route", "cue")
    for key in theirs:
        if (key,) in lines.of:
            note(key, "beside parts, which have their own; take it out, or put it into each of them")
    source = audio or audio_of(path, file.audio, note)
    found: dict[Path, Setlist] = {}
    for index, name in enumerate(file.parts):
        part = resources.find(name, beside=path.parent, bundled=resources.SETLISTS, suffix=".toml")
        where = f"parts[{index}]"
        if part is None:
            note(where, f"{name!r} not found; expected a setlist (.toml), as a path or beside this one")
        elif part.stem in [each.stem for each in found]:
            note(where, f"{name!r}: another part is called {part.stem} too; expected a different name for each file")
        else:
            try:
                content = read_file(part, SetlistFile)
                if content.parts:
                    note(where, f"{name!r} has parts itself; expected a setlist with cues; name its parts here")
                    continue
                found[part] = _resolved(
                    part,
                    content,
                    audio=source,
                    species_name=species_name,
                    partner_name=partner_name,
                    check_devices=False,
                    evening=file,
                )
            except SetlistError as error:
                problems += error.problems
    if problems or source is None:
        raise SetlistError(list(dict.fromkeys(problems)))
    first, *rest = found.values()
    frame = _resolved(  # everything but cues
        path,
        msgspec.structs.replace(
            file,
            species=str(first.checkpoint.path),
            label=first.creatures[0].label,
            shaders=[str(each) for each in first.shaders],
            bridges=[],
            cue=[CueFile(id=file.name)],
        ),
        audio=audio,
        species_name="",
        partner_name="",
        check_devices=check_devices,
    )
    for part in (first, *rest):
        _check_fits(part, first, frame, problems)
    if problems:
        raise SetlistError(problems)

    parts = [evenings.Part(part.path.stem, tuple(route.name for _, route in part.routes)) for part in found.values()]
    shows = list(zip(parts, found.values(), strict=True))
    creatures, numbers = evenings.gathered(part.creatures for part in found.values())
    crossings, remarks = bridges_of(path, file.bridges, creatures, note)
    crossings = {pair: each for pair, each in crossings.items() if not any(creatures[at].chosen for at in pair)}
    for part, own in zip(found.values(), numbers, strict=True):
        crossings |= {(own[left], own[reached]): each for (left, reached), each in part.bridges.items()}
    mixes = tuple(dict.fromkeys(each for part in found.values() for each in part.mixes))
    routes = [(part.cue_ids(cue), part.route(route)) for part, show in shows for cue, route in show.routes]
    table = table_of(
        [("parts", *each) for each in routes],
        [voice.name for voice in frame.voices],
        (*first.shaders, *mixes),
        traits_of(creatures),
        note,
    )
    binds = _gathered_binds(frame, shows, note)
    cues, presets = list[Cue](), list[Preset]()
    for (part, show), own in zip(shows, numbers, strict=True):
        cues += part.cues(show.cues, own=show.table, whole=table, creatures=own, presets=len(presets))
        presets += part.presets(show.presets, own=show.table, whole=table)
    check_names([(f"parts ({each.name!r})", each.name) for each in presets], "parts", note)
    check_alone([(f"cue {cue.id!r}", cue.armed, cue.triggers) for cue in cues], note)
    live = frame.live
    if live is not None:
        live = replace(live, scene_cues=names_of(cues, "scene"), locator_cues=names_of(cues, "locator"))
    if problems:
        raise SetlistError(problems)
    return replace(
        frame,
        parts=tuple(found),
        files=tuple(dict.fromkeys((path, *(file for part in found.values() for file in part.files)))),
        creatures=tuple(creatures),
        bridges=crossings,
        mixes=mixes,
        remarks=(*remarks, *(f"{part.name}: {each}" for part, show in shows for each in show.remarks)),
        table=table,
        cues=tuple(cues),
        presets=tuple(presets),
        routes=tuple(routes),
        sources=frame.sources | {name: Span() for name in table.ids()},
        binds=binds,
        live=live,
    )


def _check_fits(part: Setlist, first: Setlist, frame: Setlist, problems: list[str]) -> None:
    """Whether a part can be played in an evening beside others."""
    lines = cache(lambda: Lines(part.path.read_text(encoding="utf-8")))

    def note(where: str, sentence: str) -> None:
        problems.append(f"{placed_at(part.path, lines(), where)}: {sentence}")

    for key, own, wanted in (("voices", part.voices, frame.voices), ("bands", part.bands, frame.bands)):
        if own != wanted:
            names, wanted_names = (", ".join(each.name for each in all_) or "none" for all_ in (own, wanted))
            note(key, f"{names}; the evening has {wanted_names}; expected the same table [{key}] in {frame.path.name}")
    if part.shaders != first.shaders:
        names, wanted_names = (", ".join(each.stem for each in show.shaders) or "none" for show in (part, first))
        note(
            "shaders",
            f"{names}; {first.path.name} has {wanted_names}; expected the same in all parts: an effect that one does "
            "not want can be turned down in its params",
        )
    if part.stranger:
        note("partner", f"{part.stranger}; expected a sibling; give what is to be faded to a cue of its own")
    wants_live = any(trigger.kind in ("scene", "locator") for cue in part.cues for trigger in cue.triggers)
    if wants_live and frame.live is None:
        note("ableton", f"its cues begin by Ableton Live, and the evening has none; add [ableton] to {frame.path.name}")


def _gathered_binds(frame: Setlist, shows: list[tuple[evenings.Part, Setlist]], note: Any) -> dict[str, Bind]:
    """The foreign addresses of the evening and of all its parts."""
    binds, owner = dict(frame.binds), dict.fromkeys(frame.binds, frame.path.name)
    for part, show in shows:
        for address, own in show.binds.items():
            bind = part.bind(own)
            if binds.setdefault(address, bind) != bind:
                note(
                    "parts",
                    f"{address!r} sets {bind.param} in {show.path.name}, and {binds[address].param} in "
                    f"{owner[address]}; expected the same in both, or another address",
                )
            owner.setdefault(address, show.path.name)
    return binds
