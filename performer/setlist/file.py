"""The file of a setlist: its tables and keys, and how it is read. A key that nobody knows is refused with the nearest one.

Thread: main, before the show.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from performer.audio.source import SourceKind
from performer.choosing import SafeFile
from performer.choreography.transition import (
    Window,
)
from performer.control.addresses import NORM
from performer.params import nearest
from performer.refusal import Refused
from performer.routes import RouteFile
from performer.toml_lines import Lines
from performer.triggers import TriggerFile

_CHOICES = {"source": get_args(SourceKind)}


DEFAULT_SHADERS = ["feedback", "grade"]


class SetlistError(Refused):
    """A setlist that cannot be played. Every problem is one line: where, what is there, what was expected, the remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class KeyframeFile(msgspec.Struct, forbid_unknown_fields=True):
    at: float | str
    seed: int | None = None
    coarse: int | None = None
    middle: int | None = None
    fine: int | None = None
    params: dict[str, Any] = {}


class CueFile(msgspec.Struct, forbid_unknown_fields=True, rename={"label": "class"}):
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
    keyframe: list[KeyframeFile] = []
    keyframes: str = "hold"  # or loop
    length: float | str | None = None  # of the loop


class AudioFile(msgspec.Struct, forbid_unknown_fields=True):
    source: SourceKind = "device"
    file: str = ""
    device: str = ""
    host_api: str = ""
    loop: bool = True
    offset: float = 0.0
    tone_hz: float = 220.0
    beat: str = ""  # the voice in which the beat is followed; empty for the first


class VoiceFile(msgspec.Struct, forbid_unknown_fields=True):
    channels: list[int] = []
    device: str = ""
    host_api: str = ""


class BindFile(
    msgspec.Struct, forbid_unknown_fields=True, rename={"target": "to", "range_in": "in", "range_out": "out"}
):
    target: str = ""
    range_in: tuple[float, float] | None = None  # the sender's own range
    range_out: tuple[float, float] | None = None


class LiveKnobFile(
    msgspec.Struct, forbid_unknown_fields=True, rename={"target": "to", "range_in": "in", "range_out": "out"}
):
    track: int
    device: int
    parameter: int
    target: str
    range_in: tuple[float, float] = NORM
    range_out: tuple[float, float] | None = None


class AbletonFile(msgspec.Struct, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    scenes: bool = True
    knob: list[LiveKnobFile] = []


class ControlFile(msgspec.Struct, forbid_unknown_fields=True):
    silence: float = 0.0


class SetlistFile(msgspec.Struct, forbid_unknown_fields=True, rename={"label": "class"}):
    schema: int
    name: str
    species: str = ""
    parts: list[str] = []  # instead of a species and cues: setlists that have them
    label: int = 0
    partner: str | list[str] = ""
    notes: str = ""
    seed: int = 1
    audio: AudioFile = msgspec.field(default_factory=AudioFile)
    voices: dict[str, list[int] | VoiceFile] = {}
    bands: dict[str, tuple[float, float]] = {}
    bridges: list[str] = []
    shaders: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_SHADERS))
    osc: dict[str, str | BindFile] = {}
    ableton: AbletonFile | None = None
    control: ControlFile = msgspec.field(default_factory=ControlFile)
    safe: SafeFile | None = None
    mapping: list[str] = []
    params: dict[str, Any] = {}
    preset: dict[str, Any] = {}  # by name: values
    route: list[RouteFile] = []
    cue: list[CueFile] = []


_File = TypeVar("_File", bound=msgspec.Struct)


def read_file(path: Path, kind: type[_File]) -> _File:
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
        raise SetlistError([f"{on_line(path, line and int(line[1]))}: not TOML: {error}; mend that line"]) from None
    strangers = _strangers(content, kind, "")
    if strangers:
        lines = Lines(text)
        raise SetlistError([f"{placed_at(path, lines, where)}: {sentence}" for where, sentence in strangers])
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
        placed = placed_at(path, Lines(text), where)
        raise SetlistError([f"{placed}: {value}{sentence[:1].lower()}{sentence[1:]}"]) from None


def placed_at(path: Path, lines: Lines, where: str) -> str:
    """`show.toml:42: cue[3] (id '4').fade`: with the line of the key, or of what is around it."""
    key = where.removeprefix("audio.") if where.startswith("audio.voices.") else where  # so the room of sound calls it
    return f"{on_line(path, lines.of_place(key))}: {where}"


def on_line(path: Path, line: int | None) -> str:
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
        "cue": CueFile,
        "route": RouteFile,
        "keyframe": KeyframeFile,
        "safe": SafeFile,
        "audio": AudioFile,
        "control": ControlFile,
        "ableton": AbletonFile,
        "knob": LiveKnobFile,
        "trigger": TriggerFile,
    }
    named: dict[str, type[msgspec.Struct]] = {"osc": BindFile, "voices": VoiceFile}
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
