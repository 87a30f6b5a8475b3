"""Mappings: named sets of routes, which a setlist takes by their name and which play, and are edited, as its own.

A mapping is a TOML file with routes and the values that they need, one of ours in `setlists/mappings` or an artist's own.
It says which features it wants, and the setlist whose they are.

Thread: main, before the show.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from performer import resources
from performer.routes import RouteFile, default_name


class MappingFile(msgspec.Struct, forbid_unknown_fields=True):
    """A mapping as its file has it."""

    notes: str = ""
    params: dict[str, Any] = {}
    route: list[RouteFile] = []


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the mappings of one place in a setlist bring: of all cues, or of one."""

    params: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # (where, values)
    routes: list[tuple[str, RouteFile]] = field(default_factory=list)  # (where, route)
    files: list[Path] = field(default_factory=list)


def spoken(text: str, *, voices: Sequence[str]) -> tuple[str, str]:
    """(the mapping that `touch` or `touch drums` names, the voice, empty for the first)."""
    name, _, voice = text.rpartition(" ")
    return (name, voice) if name and voice in voices else (text, "")


def locate(name: str, *, folder: Path) -> Path | None:
    """The file of a mapping: one of ours, or else a file, as a path or in the setlist's folder.

    Ours first, other than elsewhere: a setlist may well be called as the mapping that it plays.
    """
    return resources.find(name, beside=resources.MAPPINGS, bundled=folder, suffix=".toml")


def bundled() -> list[str]:
    """The names of ours."""
    return sorted(path.stem for path in resources.MAPPINGS.glob("*.toml"))


def routes_of(file: MappingFile, *, name: str, voice: str, first_voice: str, heard: Collection[str]) -> list[RouteFile]:
    """The routes of a mapping as a setlist's own, named after it. heard: what each voice is heard to do."""
    prefix = f"{name}-{voice}" if voice else name

    def whose(source: str) -> str:
        return f"{voice or first_voice}.{source}" if source in heard else source

    return [
        msgspec.structs.replace(
            route,
            name=f"{prefix}-{route.name or default_name(index)}",
            source=whose(route.source),
            hold=whose(route.hold),
        )
        for index, route in enumerate(file.route)
    ]
