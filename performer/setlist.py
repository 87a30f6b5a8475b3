"""Setlists: TOML to validated values. What a file names is checked before doors open, all of it at once.

Thread: main, before the show.
"""

import ipaddress
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import numpy as np

from performer import choosing, evenings, mappings, resources
from performer import params as parameters
from performer import routes as routing
from performer.audio.features import feature_names, hit_kinds, table_with
from performer.audio.knobs import ear_params
from performer.audio.source import BandSpec, SourceError, SourceKind, SourceSpec, VoiceSpec, check_source, probe_file
from performer.bridges import SUFFIX as BRIDGE_SUFFIX
from performer.bridges import Bridge
from performer.choosing import SafeFile
from performer.choreography.keyframes import Keyframe, Keyframes, keyframes
from performer.choreography.lfo import lfo_params
from performer.choreography.modulation import MADE
from performer.choreography.motion import Anatomy, bend_params, motion_params, trait_params
from performer.choreography.plan import Plan
from performer.choreography.score import ENDS, Cue, Length
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
from performer.clock import local_offset_s
from performer.control.ableton import LiveKnob, LiveSpec
from performer.control.addresses import NORM, Bind
from performer.creatures import Creature, Pair, anatomies_of, bridges_between
from performer.flow import F32, GROUP_NAMES, frozen_array
from performer.generators import checkpoint as species
from performer.mappings import Mapped, MappingFile
from performer.params import PRESETS_MOST, Kind, Param, ParamTable, nearest
from performer.presets import Preset, find, may_name, name_fault, unknown
from performer.refusal import Refused
from performer.routes import BEATS, RouteFile, Span
from performer.stage.compositor import stage_params
from performer.stage.isf import IsfError, effect_name, params_of, read_isf
from performer.toml_lines import Lines
from performer.triggers import TriggerFile, check_alone, names_of, triggers_of

SCHEMA = 1
DEMO = "metamorphosis"  # the setlist of `performer play` without a name
DEFAULT_SHADERS = ["feedback", "grade"]


_CHOICES = {"source": get_args(SourceKind)}
_NEXT = ("hold", *ENDS, "goto <id>", "random", "random <tag>")


class SetlistError(Refused):
    """A setlist that cannot be played. Every problem is one line: where, what is there, what was expected, the remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _KeyframeFile(msgspec.Struct, forbid_unknown_fields=True):
    at: float | str
    seed: int | None = None
    coarse: int | None = None
    middle: int | None = None
    fine: int | None = None
    params: dict[str, Any] = {}


class _CueFile(msgspec.Struct, forbid_unknown_fields=True, rename={"label": "class"}):
    id: str
    name: str = ""
    species: str = ""  # empty for the setlist's own, with its partners
    label: int = 0
    partner: str | list[str] = ""
    transition: str = "auto"
    timing: dict[str, Window] = {}
    notes: str = ""
    seed: int | None = None
    tags: list[str] = []
    armed: bool = True
    trigger: list[TriggerFile] = []
    quantize: float | str | None = None
    pre_wait: float | str = 0.0
    fade: float | str = 4.0
    curve: str = "smooth"
    duration: float | str | None = None
    post_wait: float | str = 0.0
    next: str = "hold"
    mapping: list[str] = []
    preset: str = ""  # whose values stand below its own
    params: dict[str, Any] = {}
    route: list[RouteFile] = []
    keyframe: list[_KeyframeFile] = []
    keyframes: str = "hold"  # or loop
    length: float | str | None = None  # of the loop


class _AudioFile(msgspec.Struct, forbid_unknown_fields=True):
    source: SourceKind = "device"
    file: str = ""
    device: str = ""
    host_api: str = ""
    loop: bool = True
    offset: float = 0.0
    tone_hz: float = 220.0
    beat: str = ""  # the voice in which the beat is followed; empty for the first


class _VoiceFile(msgspec.Struct, forbid_unknown_fields=True):
    channels: list[int] = []
    device: str = ""
    host_api: str = ""


class _BindFile(
    msgspec.Struct, forbid_unknown_fields=True, rename={"target": "to", "range_in": "in", "range_out": "out"}
):
    target: str = ""
    range_in: tuple[float, float] | None = None  # the sender's own range
    range_out: tuple[float, float] | None = None


class _LiveKnobFile(
    msgspec.Struct, forbid_unknown_fields=True, rename={"target": "to", "range_in": "in", "range_out": "out"}
):
    track: int
    device: int
    parameter: int
    target: str
    range_in: tuple[float, float] = NORM
    range_out: tuple[float, float] | None = None


class _AbletonFile(msgspec.Struct, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    scenes: bool = True
    knob: list[_LiveKnobFile] = []


class _ControlFile(msgspec.Struct, forbid_unknown_fields=True):
    silence: float = 0.0


class _SetlistFile(msgspec.Struct, forbid_unknown_fields=True, rename={"label": "class"}):
    schema: int
    name: str
    species: str = ""
    parts: list[str] = []  # instead of a species and cues: setlists that have them
    label: int = 0
    partner: str | list[str] = ""
    notes: str = ""
    seed: int = 1
    audio: _AudioFile = msgspec.field(default_factory=_AudioFile)
    voices: dict[str, list[int] | _VoiceFile] = {}
    bands: dict[str, tuple[float, float]] = {}
    bridges: list[str] = []
    shaders: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_SHADERS))
    osc: dict[str, str | _BindFile] = {}
    ableton: _AbletonFile | None = None
    control: _ControlFile = msgspec.field(default_factory=_ControlFile)
    safe: SafeFile | None = None
    mapping: list[str] = []
    params: dict[str, Any] = {}
    preset: dict[str, Any] = {}  # by name: values
    route: list[RouteFile] = []
    cue: list[_CueFile] = []


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
    file = _read(path, _SetlistFile)
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
    file: _SetlistFile,
    *,
    audio: SourceSpec | None,
    species_name: str,
    partner_name: str,
    check_devices: bool,
    evening: _SetlistFile | None = None,
) -> Setlist:
    """A setlist, checked. evening: of which it is a part; `audio` is that one's then. Raises SetlistError."""
    problems: list[str] = []
    lines = cache(lambda: Lines(path.read_text(encoding="utf-8")))  # where something is wrong, and not else

    def note(where: str, sentence: str) -> None:
        problems.append(f"{_placed(path, lines(), where)}: {sentence}")

    if file.schema != SCHEMA:
        note("schema", f"{file.schema}; expected {SCHEMA}; a newer performer may read it")
    if not file.cue:
        note("cue", "none; expected at least one [[cue]]")

    checkpoint = _species(path, "species", file.species, note, instead=species_name)
    becoming = "" if species_name else file.partner  # what the setlist's own species becomes, not any other
    partners, stranger = _partners(path, becoming, checkpoint, note, instead=partner_name)
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
        _creature(path, f"cue[{index}] (id {cue.id!r})", cue, creatures, stranger, note)
        for index, cue in enumerate(file.cue)
    ]
    is_other = species_name not in ("", file.species)
    creatures = choosing.chosen(file.safe, creatures, note, folder=path.parent, is_other=is_other)
    crossings, remarks = _bridges(path, file.bridges, creatures, note)
    if file.safe is not None and crossings:  # their ends are animals that nobody has chosen
        crossings, remarks = {}, [*remarks, "bridges are not crossed: they lead out of what [safe] has chosen"]
    shaders = _shaders(path, file.shaders, note)
    transitions, mixes = _transitions(path, file.cue, numbers, crossings, creatures, note)
    voices, bands = _voices(file.voices, note), _bands(file.bands, note)
    names = [voice.name for voice in voices]
    if file.audio.beat and file.audio.beat not in names:
        note(
            "audio.beat",
            f"{file.audio.beat!r} is no voice{nearest(file.audio.beat, names)}; expected one of: {', '.join(names)}",
        )
    beat_voice = names.index(file.audio.beat) if file.audio.beat in names else 0
    source = audio or _audio(path, file.audio, note)
    if source is not None and (check_devices or source.kind != "device"):
        try:
            check_source(source, voices)
        except SourceError as error:  # it names the key; a source of the command line is not the setlist's fault
            where, _, sentence = str(error).partition(": ")
            problems.append(f"{_placed(path, lines(), where)}: {sentence}" if audio is None else str(error))

    mapped = [_mapped(path, where, wanted, names, bands, note) for where, wanted in _wanted(file)]
    routes, played = _named_routes(file, mapped, note)
    table = _table(routes, names, (*shaders, *mixes), _traits(creatures), note)
    known = routing.sources(names, _spans(bands), table, made=MADE)
    for where, _, route in routes:
        for key, sentence in routing.problems(routing.route_of(route, known), known=known, table=table):
            note(f"{where}.{key}", sentence)
    binds = _binds(file.osc, table, note)
    live = _live(file.ableton, table, note)
    if not 0.0 <= file.control.silence < math.inf:
        note("control.silence", f"{file.control.silence}; expected seconds, or 0 for never")
    presets = _presets(file.preset, table, note)
    defaults = table.defaults()
    for where, content in (*mapped[0].params, ("params", file.params)):
        _assign(defaults, None, table, content, where, note, presets=presets)
    cues = []
    seen: dict[str, int] = {}
    is_own = audio is None or evening is not None  # and not the command line's
    music_s, triggered = _music_s((evening or file).audio, source if is_own else None), []
    for index, cue in enumerate(file.cue):
        where = f"cue[{index}] (id {cue.id!r})"
        triggers = triggers_of(cue.trigger, where, note, has_live=file.ableton is not None, music_s=music_s)
        triggered.append((where, cue.armed, triggers))
        if cue.id in seen:
            note(f"{where}.id", f"{cue.id!r} is the id of cue[{seen[cue.id]}] too; expected a different text for each")
        seen[cue.id] = index
        values, named = defaults.copy(), np.zeros(len(table), bool)
        for place, content in mapped[index + 1].params:
            _assign(values, named, table, content, place, note, presets=presets)
        if cue.preset and (base := find(presets, cue.preset)) is None:
            note(f"{where}.preset", unknown(presets, cue.preset))
        elif cue.preset and base is not None:
            named |= presets[base - 1].named
            values[named] = np.where(presets[base - 1].named, presets[base - 1].values, values)[named]
        _assign(values, named, table, cue.params, f"{where}.params", note, presets=presets)
        ways = _keyframes(cue, where, table, values, named, note, presets=presets)
        _check_next(cue, file.cue, where, note)
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
                quantize=_quantize(cue.quantize, f"{where}.quantize", note),
                pre_wait=_length(cue.pre_wait, f"{where}.pre_wait", note),
                post_wait=_length(cue.post_wait, f"{where}.post_wait", note),
                curve=cue.curve,
                creature=numbers[index],
                transition=transitions[index],
                seed=file.seed if cue.seed is None else cue.seed,
                values=frozen_array(values),
                named=frozen_array(named),
                routes=tuple(routing.route_of(route, known) for route in played[index]),
                keyframes=ways,
                fade=_length(cue.fade, f"{where}.fade", note),
                duration=None if cue.duration is None else _length(cue.duration, f"{where}.duration", note),
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
    file: _SetlistFile,
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
        problems.append(f"{_placed(path, lines, where)}: {sentence}")

    theirs = ("species", "class", "partner", "seed", "shaders", "safe", "mapping", "params", "preset", "route", "cue")
    for key in theirs:
        if (key,) in lines.of:
            note(key, "beside parts, which have their own; take it out, or put it into each of them")
    source = audio or _audio(path, file.audio, note)
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
                content = _read(part, _SetlistFile)
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
            cue=[_CueFile(id=file.name)],
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
    crossings, remarks = _bridges(path, file.bridges, creatures, note)
    crossings = {pair: each for pair, each in crossings.items() if not any(creatures[at].chosen for at in pair)}
    for part, own in zip(found.values(), numbers, strict=True):
        crossings |= {(own[left], own[reached]): each for (left, reached), each in part.bridges.items()}
    mixes = tuple(dict.fromkeys(each for part in found.values() for each in part.mixes))
    routes = [(part.cue_ids(cue), part.route(route)) for part, show in shows for cue, route in show.routes]
    table = _table(
        [("parts", *each) for each in routes],
        [voice.name for voice in frame.voices],
        (*first.shaders, *mixes),
        _traits(creatures),
        note,
    )
    binds = _gathered_binds(frame, shows, note)
    cues, presets = list[Cue](), list[Preset]()
    for (part, show), own in zip(shows, numbers, strict=True):
        cues += part.cues(show.cues, own=show.table, whole=table, creatures=own, presets=len(presets))
        presets += part.presets(show.presets, own=show.table, whole=table)
    _check_names([(f"parts ({each.name!r})", each.name) for each in presets], "parts", note)
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
        problems.append(f"{_placed(part.path, lines(), where)}: {sentence}")

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


_File = TypeVar("_File", bound=msgspec.Struct)


def _read(path: Path, kind: type[_File]) -> _File:
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise SetlistError([f"{path}: cannot be read ({error.strerror}); expected a .toml file"]) from None
    except UnicodeDecodeError:
        raise SetlistError([f"{path}: is not text in UTF-8; expected a .toml file; save it again as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+),", str(error))
        raise SetlistError([f"{_lined(path, line and int(line[1]))}: not TOML: {error}; mend that line"]) from None
    strangers = _strangers(content, kind, "")
    if strangers:
        lines = Lines(text)
        raise SetlistError([f"{_placed(path, lines, where)}: {sentence}" for where, sentence in strangers])
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        # "Expected `float`, got `str` - at `$.cue[0].fade`"
        sentence, _, where = str(error).partition(" - at `$.")
        where = where.rstrip("`") or "top level"
        found = _at(content, where)
        choices = _CHOICES.get(where.rpartition(".")[2])
        if sentence.startswith("Invalid enum") and choices:
            sentence = f"expected one of: {', '.join(choices)}"
        value = f"{found!r}; " if found is not None else ""
        placed = _placed(path, Lines(text), where)
        raise SetlistError([f"{placed}: {value}{sentence[:1].lower()}{sentence[1:]}"]) from None


def _placed(path: Path, lines: Lines, where: str) -> str:
    """`show.toml:42: cue[3] (id '4').fade`: with the line of the key, or of what is around it."""
    key = where.removeprefix("audio.") if where.startswith("audio.voices.") else where  # so the room of sound calls it
    return f"{_lined(path, lines.of_place(key))}: {where}"


def _lined(path: Path, line: int | None) -> str:
    return str(path) if line is None else f"{path}:{line}"


def _at(content: Any, where: str) -> Any:
    """The value at a path such as `cue[0].fade`; None where there is none."""
    for part in where.replace("[", ".[").split("."):
        try:
            content = content[int(part[1:-1])] if part.startswith("[") else content[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return content


def _strangers(content: dict[str, Any], kind: type[msgspec.Struct], where: str) -> list[tuple[str, str]]:
    """Keys that the schema does not know, with the nearest that it does."""
    found = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    nested: dict[str, type[msgspec.Struct]] = {
        "cue": _CueFile,
        "route": RouteFile,
        "keyframe": _KeyframeFile,
        "safe": SafeFile,
        "audio": _AudioFile,
        "control": _ControlFile,
        "ableton": _AbletonFile,
        "knob": _LiveKnobFile,
        "trigger": TriggerFile,
    }
    named: dict[str, type[msgspec.Struct]] = {"osc": _BindFile, "voices": _VoiceFile}
    for key, value in content.items():
        if key not in fields:
            sentence = f"unknown key{nearest(key, fields)}; expected one of: {', '.join(fields)}"
            found.append((f"{where}{key}", sentence))
        elif key in nested:
            items = value if isinstance(value, list) else [value]
            for index, item in enumerate(items):
                if isinstance(item, dict):
                    inner = f"{where}{key}[{index}]." if isinstance(value, list) else f"{where}{key}."
                    found += _strangers(item, nested[key], inner)
        elif key in named and isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, dict):
                    found += _strangers(item, named[key], f"{where}{key}.{name!r}.")
    return found


def _species(path: Path, key: str, name: str, note: Any, *, instead: str) -> species.Checkpoint | None:
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


def _partners(
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
        partner = _species(path, place, name, note, instead=instead)
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


def _creature(path: Path, where: str, cue: _CueFile, creatures: list[Creature], stranger: str, note: Any) -> int:
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
    checkpoint = _species(path, f"{where}.species", cue.species, note, instead="")
    siblings, strange = _partners(path, cue.partner, checkpoint, note, instead="", key=f"{where}.partner")
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


def _bridges(
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


def _transitions(
    path: Path,
    cues: list[_CueFile],
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


def _traits(creatures: list[Creature]) -> tuple[str, ...]:
    """What each `trait` parameter moves; in several species, each its own."""
    most = max((len(each.checkpoint.traits) for each in creatures), default=0)
    named = []
    for number in range(most):
        names = [each.checkpoint.traits[number] for each in creatures if number < len(each.checkpoint.traits)]
        named.append(" or ".join(dict.fromkeys(names)))
    return tuple(named)


def _shaders(path: Path, names: list[str], note: Any) -> tuple[Path, ...]:
    found = []
    for index, name in enumerate(names):
        file = resources.find(name, beside=path.parent, bundled=resources.SHADERS, suffix=".fs")
        if file is None:
            bundled = sorted(each.stem for each in resources.SHADERS.glob("*.fs"))
            note(f"shaders[{index}]", f"{name!r} not found; expected an ISF file (.fs) or one of: {', '.join(bundled)}")
        else:
            found.append(file)
    return tuple(found)


def _voices(content: dict[str, list[int] | _VoiceFile], note: Any) -> tuple[VoiceSpec, ...]:
    voices = []
    for name, given in content.items():
        voice = _VoiceFile(channels=given) if isinstance(given, list) else given
        if not name.isidentifier():
            note(f"voices.{name}", f"{name!r}; expected a plain word, such as drums")
        if any(number < 1 for number in voice.channels):
            note(f"voices.{name}", f"{voice.channels}; channels are numbered from 1, as on the box")
        voices.append(VoiceSpec(name, tuple(voice.channels), voice.device, voice.host_api))
    return tuple(voices) or (VoiceSpec(),)


def _bands(content: dict[str, tuple[float, float]], note: Any) -> tuple[BandSpec, ...]:
    taken = {name.partition(".")[0] for name in feature_names()}
    for name, (low_hz, high_hz) in content.items():
        if not name.isidentifier() or name in taken:
            note(f"bands.{name}", f"{name!r}; expected a plain word that is none of: {', '.join(sorted(taken))}")
        if not 20 <= low_hz < high_hz <= 20000:
            note(
                f"bands.{name}", f"[{low_hz:g}, {high_hz:g}]; expected from and to, 20 to 20000 Hz, such as [200, 400]"
            )
    return tuple(BandSpec(name, *edges) for name, edges in content.items())


def _audio(path: Path, audio: _AudioFile, note: Any) -> SourceSpec | None:
    file = ""
    if audio.source == "file":
        found = (
            resources.find(audio.file, beside=path.parent, bundled=resources.SETLISTS, suffix="")
            if audio.file
            else None
        )
        if found is None:
            note("audio.file", f"{audio.file!r} not found; expected a sound file, as a path or beside the setlist")
            return None
        file = str(found)
    return SourceSpec(
        kind=audio.source,
        device=audio.device,
        host_api=audio.host_api,
        path=file,
        loop=audio.loop,
        offset_s=audio.offset,
        tone_hz=audio.tone_hz,
    )


def _music_s(audio: _AudioFile, source: SourceSpec | None) -> float | None:
    """Length of the setlist's sound file, infinite while unknown; None where its source is none.

    source: what was made of it; None where it is not to be had, or the command line has another.
    """
    if audio.source != "file":
        return None
    try:
        return (probe_file(source.path)[2] if source is not None else 0.0) or math.inf
    except SourceError:  # it has been told already
        return math.inf


def _table(
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


def _presets(content: dict[str, Any], table: ParamTable, note: Any) -> tuple[Preset, ...]:
    """The presets, in their order."""
    _check_names([(f"preset.{name!r}", name) for name in content], "preset", note)
    found, may = [], may_name(table)
    for name, given in content.items():
        values, named = table.defaults(), np.zeros(len(table), bool)
        where = f"preset.{name!r}"
        if not isinstance(given, dict) or not given:
            note(where, f"{given!r}; expected parameters and their values, as in [params]")
            continue
        _assign(values, named, table, given, where, note)
        for row in np.flatnonzero(named & ~may):
            sentence = "a preset changes no knob of presets; set it in [params] or in a cue"
            note(f"{where}.{table.params[row].id}", sentence)
        found.append(Preset(name, frozen_array(named), frozen_array(values)))
    return tuple(found)


def _check_names(names: list[tuple[str, str]], whole: str, note: Any) -> None:
    """Whether presets can be asked for. names: (where, name) of each."""
    for where, name in names:
        if fault := name_fault(name):
            note(where, fault)
    if len(names) > PRESETS_MOST:
        note(whole, f"{len(names)} presets; expected {PRESETS_MOST} at most")


def _assign(
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


def _length(value: float | str, where: str, note: Any) -> Length:
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


def _keyframes(
    cue: _CueFile,
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
    length = None if cue.length is None else _length(cue.length, f"{where}.length", note)
    if (cue.keyframes == "loop") != (length is not None and length.amount > 0):
        note(f"{where}.length", 'keyframes = "loop" and a length, such as "16 bars", belong together')
    if not cue.keyframe:
        if cue.keyframes == "loop" or length is not None:
            note(f"{where}.keyframe", "none; expected at least one [[cue.keyframe]]")
        return None
    frames, times = [], [] if length is None else [length]
    for index, file in enumerate(cue.keyframe):
        place = f"{where}.keyframe[{index}]"
        times.append(at := _length(file.at, f"{place}.at", note))
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
        _assign(there, told, table, file.params, f"{place}.params", note, presets=presets)
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


def _check_next(cue: _CueFile, cues: list[_CueFile], where: str, note: Any) -> None:
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


def _quantize(value: float | str | None, where: str, note: Any) -> float | None:
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


def _wanted(file: _SetlistFile) -> list[tuple[str, list[str]]]:
    """(where, mappings) of all cues, then of each."""
    cues = [(f"cue[{index}] (id {cue.id!r}).mapping", cue.mapping) for index, cue in enumerate(file.cue)]
    return [("mapping", file.mapping), *cues]


def _mapped(
    path: Path, where: str, wanted: list[str], voices: list[str], bands: tuple[BandSpec, ...], note: Any
) -> Mapped:
    """What mappings bring."""
    mapped = Mapped()
    for index, text in enumerate(wanted):
        if text in wanted[:index]:
            note(f"{where}[{index}]", f"{text!r} is there twice; take one out")
            continue
        name, voice = mappings.spoken(text, voices=voices)
        found = mappings.locate(name, folder=path.parent)
        if found is None:
            ours = ", ".join(mappings.bundled())
            sentence = f"expected one of: {ours}; or a .toml file; with a voice behind it, or none"
            note(f"{where}[{index}]", f"{text!r} not found; {sentence}")
            continue
        try:
            file = _read(found, MappingFile)
        except SetlistError as error:
            note(f"{where}[{index}]", error.problems[0])
            continue
        routes = mappings.routes_of(
            file, name=found.stem, voice=voice, first_voice=voices[0], heard=feature_names(bands)
        )
        place = f"{where}[{index}] ({found.stem})"
        mapped.files.append(found)
        mapped.params.append((f"{place}.params", file.params))
        mapped.routes.extend((f"{place}.route[{at}]", route) for at, route in enumerate(routes))
    return mapped


def _named_routes(
    file: _SetlistFile, mapped: list[Mapped], note: Any
) -> tuple[list[tuple[str, str, RouteFile]], list[list[RouteFile]]]:
    """((where, cue, route) of all routes, each with a name; the routes of each cue in the order in which they play).

    The cue's id is empty where a route belongs to all. Mappings come first. A route of all cues that is named as one of a
    mapping takes its place, so that it plays where the mapping does.
    """
    for index, route in enumerate(file.route):
        route.name = route.name or routing.default_name(index)
    own = {route.name: (f"route[{index}]", route) for index, route in reversed(list(enumerate(file.route)))}
    taken = {route.name for each in mapped for _, route in each.routes}
    found: list[tuple[str, str, RouteFile]] = []
    shared = [own.get(route.name, (where, route)) for where, route in mapped[0].routes]
    shared += [
        (f"route[{index}]", route)
        for index, route in enumerate(file.route)
        if route.name not in taken or own[route.name][1] is not route
    ]
    found += [(where, "", route) for where, route in shared]
    everywhere = {route.name for _, route in mapped[0].routes}
    cues: dict[str, list[str]] = {}  # by route of a mapping: those that play it
    played = []
    for index, (cue, each) in enumerate(zip(file.cue, mapped[1:], strict=True)):
        place = f"cue[{index}] (id {cue.id!r})."
        for where, route in each.routes:
            if route.name in everywhere:
                note(where, f"{route.name!r} plays in all cues already; name the mapping here, or for all cues")
                break
        brought = [own.get(route.name, (where, route)) for where, route in each.routes]
        for where, route in brought:
            if route.name not in cues:
                found.append((where, "", route))
            cues.setdefault(route.name, []).append(cue.id)
        for at, route in enumerate(cue.route):
            route.name = route.name or routing.default_name(at, cue=cue.id)
            found.append((f"{place}route[{at}]", cue.id, route))
        played.append([*(route for _, route in shared), *(route for _, route in brought), *cue.route])
    named = [(where, ", ".join(cues.get(route.name, [])) or cue, route) for where, cue, route in found]
    return named, played


def _spans(bands: tuple[BandSpec, ...]) -> dict[str, Span]:
    """What the features of a voice may read, by their names."""
    hits = hit_kinds(bands)
    return {each.name: Span(each.low, each.high, each.rest or 0.0, each.name in hits) for each in table_with(bands)}


def _binds(file: dict[str, str | _BindFile], table: ParamTable, note: Any) -> dict[str, Bind]:
    binds = {}
    for address, wanted in file.items():
        where = f"osc.{address!r}"
        if isinstance(wanted, str):
            param_id, slash, norm = wanted.partition("/")
            if slash and norm != "norm":
                note(where, f"{wanted!r}; expected a parameter, or one with /norm where the sender speaks 0..1")
            bind = Bind(param_id, NORM if slash else None)
        else:
            bind = Bind(wanted.target, wanted.range_in or (NORM if wanted.range_out else None), wanted.range_out)
            _check_ranges(bind, where, note)
        if not address.startswith("/"):
            note(where, "an OSC address begins with a slash")
        if bind.param not in table:
            note(where, f"{bind.param!r} is no parameter{nearest(bind.param, table.ids())}")
        binds[address] = bind
    return binds


def _check_ranges(bind: Bind, where: str, note: Any) -> None:
    for key, pair in (("in", bind.span), ("out", bind.onto)):
        if pair is not None and not (pair[0] != pair[1] and all(map(math.isfinite, pair))):
            note(f"{where}.{key}", f"[{pair[0]}, {pair[1]}] has no width; expected two different numbers")


def _live(file: _AbletonFile | None, table: ParamTable, note: Any) -> LiveSpec | None:
    if file is None:
        return None
    try:
        ipaddress.IPv4Address(file.host)  # names are not looked up in a show: a lookup can stall for seconds
    except ValueError:
        note("ableton.host", f"{file.host!r}; expected the IPv4 address of the machine with Live, such as 192.168.1.20")
    knobs = []
    for index, knob in enumerate(file.knob):
        where, bind = f"ableton.knob[{index}]", Bind(knob.target, knob.range_in, knob.range_out)
        _check_ranges(bind, where, note)
        if knob.target not in table:
            note(f"{where}.to", f"{knob.target!r} is no parameter{nearest(knob.target, table.ids())}")
        elif table[knob.target].kind is Kind.TEXT:
            note(f"{where}.to", f"{knob.target!r} wants a name, and Live sends a number")
        if min(knob.track, knob.device, knob.parameter) < 0:
            note(where, "tracks, devices and parameters are counted from 0; expected no negative number")
        knobs.append(LiveKnob(knob.track, knob.device, knob.parameter, bind))
    return LiveSpec(host=file.host, scenes=file.scenes, knobs=tuple(knobs))
