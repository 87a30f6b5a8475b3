"""Reads an edited setlist beside a show that plays, in a process of its own, and hands it over in small pieces.

To read and check a setlist takes tens of milliseconds of Python, which would hold up the frames of the process that it runs
in. Checkpoints are not handed over: they are named, and the show knows most of them already.

Thread: the main thread of its own process, which the show has give way to everything else on the machine.
"""

import dataclasses
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from performer import setlist as setlists
from performer.audio.source import SourceSpec
from performer.choreography.safe import Chosen
from performer.refusal import Refused

PIECE = 32  # parameters, or other small things, in one piece: to take it up lasts a tenth of a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be read: a setlist, and what the command line put in place of its own."""

    path: Path
    audio: SourceSpec | None = None
    species: str = ""
    partner: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A creature without its weights."""

    files: tuple[tuple[Path, str], ...]  # of its chain, each with the hash of its content
    label: int
    chosen: Chosen | None


def main(asked: Asked, theirs: Connection) -> None:
    """Send `("refused", problems)`, or pieces `(field, values)` of a setlist, and then `("whole", None)`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the show's to handle
    try:
        setlist = setlists.load(
            asked.path,
            audio=asked.audio,
            species_name=asked.species,
            partner_name=asked.partner,
            check_devices=False,  # another source of sound needs a restart anyway
        )
    except Refused as error:
        theirs.send(("refused", str(error).splitlines()))
        return
    for name, values in pieces(setlist):
        theirs.send((name, values))
    theirs.send(("whole", None))


def pieces(setlist: setlists.Setlist) -> list[tuple[str, Any]]:
    """The fields of a setlist; long ones in several pieces."""
    found: list[tuple[str, Any]] = []
    named = [
        Named(
            tuple((each.path, each.content_hash) for each in creature.chain if each.path is not None),
            creature.label,
            creature.chosen,
        )
        for creature in setlist.creatures
    ]
    long = {
        "creatures": (named, PIECE),
        "table": (setlist.table.params, PIECE),
        "cues": (setlist.cues, 1),
        "presets": (setlist.presets, PIECE),
        "routes": (setlist.routes, PIECE),
        "sources": (tuple(setlist.sources.items()), PIECE),
        "binds": (tuple(setlist.binds.items()), PIECE),
        "bridges": (tuple(setlist.bridges.items()), 1),
    }
    for field in dataclasses.fields(setlist):
        values, size = long.get(field.name, (None, 0))
        if values is None:
            found.append((field.name, getattr(setlist, field.name)))
            continue
        found += [(field.name, tuple(values[at : at + size])) for at in range(0, max(len(values), 1), size)]
    return found
