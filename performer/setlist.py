"""Setlists: TOML to validated values. What a file names is checked before doors open, all of it at once.

Thread: main, before the show.
"""

import ipaddress
import math
import tomllib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from performer import params as parameters
from performer import resources
from performer import routes as routing
from performer.audio.features import feature_names, hit_kinds, table_with
from performer.audio.knobs import ear_params
from performer.audio.source import BandSpec, SourceError, SourceKind, SourceSpec, VoiceSpec, check_source
from performer.choreography.lfo import lfo_params
from performer.choreography.modulation import MADE
from performer.choreography.motion import Anatomy, bend_params, motion_params, trait_params
from performer.choreography.plan import Plan
from performer.choreography.score import ENDS, Cue, Length
from performer.control.ableton import LiveKnob, LiveSpec
from performer.control.addresses import NORM, Bind
from performer.flow import frozen_array
from performer.generators import checkpoint as species
from performer.generators.mapping import Mapping
from performer.params import Kind, Param, ParamTable, nearest
from performer.refusal import Refused
from performer.routes import BEATS, RouteFile, Span
from performer.stage.compositor import stage_params
from performer.stage.isf import IsfError, params_of

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


class _CueFile(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str = ""
    notes: str = ""
    seed: int | None = None
    tags: list[str] = []
    armed: bool = True
    quantize: float | str | None = None
    pre_wait: float | str = 0.0
    fade: float | str = 4.0
    curve: str = "smooth"
    duration: float | str | None = None
    post_wait: float | str = 0.0
    next: str = "hold"
    params: dict[str, Any] = {}
    route: list[RouteFile] = []


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
    species: str
    label: int = 0
    partner: str | list[str] = ""
    notes: str = ""
    seed: int = 1
    audio: _AudioFile = msgspec.field(default_factory=_AudioFile)
    voices: dict[str, list[int] | _VoiceFile] = {}
    bands: dict[str, tuple[float, float]] = {}
    shaders: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_SHADERS))
    osc: dict[str, str | _BindFile] = {}
    ableton: _AbletonFile | None = None
    control: _ControlFile = msgspec.field(default_factory=_ControlFile)
    params: dict[str, Any] = {}
    route: list[RouteFile] = []
    cue: list[_CueFile] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Setlist:
    """A show, checked and resolved."""

    path: Path
    name: str
    checkpoint: species.Checkpoint
    label: int  # the class that a conditional species draws
    partners: tuple[species.Checkpoint, ...]  # what the species can become, one after the other
    stranger: str  # why the only partner is no sibling and is faded to as a picture; empty where all are siblings
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

    @property
    def siblings(self) -> tuple[species.Checkpoint, ...]:
        """The partners that the species is crossbred with, in their order."""
        return () if self.stranger else self.partners

    def plan(self) -> Plan:
        """The choreography of this show."""
        chain = (self.checkpoint, *self.partners)
        mappings = [Mapping(each, label=self.label if self.label in each.sizes.labels else 0) for each in chain]
        anatomies = [_anatomy(each, mapping) for each, mapping in zip(chain, mappings, strict=True)]
        anatomy = anatomies.pop()
        for at in reversed(range(len(anatomies))):
            between = None if self.stranger else partial(mappings[at].w_between, mappings[at + 1])
            anatomy = replace(anatomies[at], partner=anatomy, w_between=between)
        return Plan(
            table=self.table,
            cues=self.cues,
            anatomy=replace(anatomy, traits=self.checkpoint.trait_directions),
            voices=[voice.name for voice in self.voices],
            feature_names=feature_names(self.bands),
            hit_kinds=hit_kinds(self.bands),
        )


def _anatomy(checkpoint: species.Checkpoint, mapping: Mapping) -> Anatomy:
    sizes = checkpoint.sizes
    return Anatomy(
        num_ws=sizes.num_ws,
        w_dim=sizes.w_dim,
        z_dim=sizes.z_dim,
        noise_layers=sizes.noise_layers,
        coarse=sizes.coarse,
        middle=sizes.middle,
        w_avg=mapping.w_avg,
        w_from_z=mapping.w_from_z,
        label_row=mapping.label_row,
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
    file = _read(path)
    problems: list[str] = []

    def note(where: str, sentence: str) -> None:
        problems.append(f"{path}: {where}: {sentence}")

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
    shaders = _shaders(path, file.shaders, note)
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
            problems.append(f"{path}: {error}" if audio is None else str(error))

    routes = _named_routes(file)
    table = _table(routes, names, shaders, checkpoint.traits if checkpoint is not None else (), note)
    known = routing.sources(names, _spans(bands), table, made=MADE)
    for where, _, route in routes:
        for key, sentence in routing.problems(routing.route_of(route, known), known=known, table=table):
            note(f"{where}.{key}", sentence)
    binds = _binds(file.osc, table, note)
    live = _live(file.ableton, table, note)
    if not 0.0 <= file.control.silence < math.inf:
        note("control.silence", f"{file.control.silence}; expected seconds, or 0 for never")
    defaults = table.defaults()
    _assign(defaults, None, table, file.params, "params", note)
    cues = []
    seen: dict[str, int] = {}
    for index, cue in enumerate(file.cue):
        where = f"cue[{index}] (id {cue.id!r})"
        if cue.id in seen:
            note(f"{where}.id", f"{cue.id!r} is the id of cue[{seen[cue.id]}] too; expected a different text for each")
        seen[cue.id] = index
        values, named = defaults.copy(), np.zeros(len(table), bool)
        _assign(values, named, table, cue.params, f"{where}.params", note)
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
                quantize=_quantize(cue.quantize, f"{where}.quantize", note),
                pre_wait=_length(cue.pre_wait, f"{where}.pre_wait", note),
                post_wait=_length(cue.post_wait, f"{where}.post_wait", note),
                curve=cue.curve,
                seed=file.seed if cue.seed is None else cue.seed,
                values=frozen_array(values),
                named=frozen_array(named),
                routes=tuple(routing.route_of(route, known) for route in (*file.route, *cue.route)),
                fade=_length(cue.fade, f"{where}.fade", note),
                duration=None if cue.duration is None else _length(cue.duration, f"{where}.duration", note),
                next=cue.next,
            )
        )
    if problems or checkpoint is None or source is None:
        raise SetlistError(problems)
    return Setlist(
        path=path,
        name=file.name,
        checkpoint=checkpoint,
        label=label,
        partners=partners,
        stranger=stranger,
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
    )


def _read(path: Path) -> _SetlistFile:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetlistError([f"{path}: cannot be read ({error.strerror}); expected a .toml file"]) from None
    except UnicodeDecodeError:
        raise SetlistError([f"{path}: is not text in UTF-8; expected a .toml file; save it again as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SetlistError([f"{path}: not TOML: {error}; mend that line"]) from None
    problems = [f"{path}: {where}: {sentence}" for where, sentence in _strangers(content, _SetlistFile, "")]
    if problems:
        raise SetlistError(problems)
    try:
        return msgspec.convert(content, _SetlistFile)
    except msgspec.ValidationError as error:
        # "Expected `float`, got `str` - at `$.cue[0].fade`"
        sentence, _, where = str(error).partition(" - at `$.")
        where = where.rstrip("`") or "top level"
        found = _at(content, where)
        choices = _CHOICES.get(where.rpartition(".")[2])
        if sentence.startswith("Invalid enum") and choices:
            sentence = f"expected one of: {', '.join(choices)}"
        value = f"{found!r}; " if found is not None else ""
        raise SetlistError([f"{path}: {where}: {value}{sentence[:1].lower()}{sentence[1:]}"]) from None


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
        "audio": _AudioFile,
        "control": _ControlFile,
        "ableton": _AbletonFile,
        "knob": _LiveKnobFile,
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
    path: Path, named: str | list[str], checkpoint: species.Checkpoint | None, note: Any, *, instead: str
) -> tuple[tuple[species.Checkpoint, ...], str]:
    """(what the species becomes, in order; why the only one is no sibling and is faded to, empty where all are)."""
    if isinstance(named, str):
        named = [named] if named else []
    names = [instead] if instead else named
    found, reason = [], ""
    for index, name in enumerate(names):
        key = "partner" if len(names) == 1 else f"partner[{index}]"
        partner = _species(path, key, name, note, instead=instead)
        if partner is None or checkpoint is None:
            continue
        found.append(partner)
        reason = species.stranger(checkpoint, partner)
        if reason and len(names) > 1:
            note(
                key,
                f"{name!r} is no sibling of {checkpoint.provenance.name}: {reason}; expected one that was trained on from "
                "it, since a chain is crossbred; take it out, or make it the only partner: pictures then fade over",
            )
    return tuple(found), reason


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


def _assign(values: Any, named: Any, table: ParamTable, content: dict[str, Any], where: str, note: Any) -> None:
    for key, value in _flat(content).items():
        if key not in table:
            note(f"{where}.{key}", f"no such parameter{nearest(key, table.ids())}")
            continue
        param = table[key]
        if param.kind.is_command:
            note(f"{where}.{key}", "is a command, not a value; expected a parameter that holds one")
            continue
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


def _named_routes(file: _SetlistFile) -> list[tuple[str, str, RouteFile]]:
    """(where, cue, route) of all routes, each with a name; the cue's id is empty where a route belongs to all."""
    found = []
    for where, cue, routes in [
        ("", "", file.route),
        *((f"cue[{index}] (id {cue.id!r}).", cue.id, cue.route) for index, cue in enumerate(file.cue)),
    ]:
        for index, route in enumerate(routes):
            route.name = route.name or routing.default_name(index, cue=cue)
            found.append((f"{where}route[{index}]", cue, route))
    return found


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
