"""The job of the control process: what it is given when it starts, and started again.

Thread: any; nothing here is changed in place.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from performer.control.ableton import LiveSpec
from performer.control.addresses import Bind
from performer.exchange import SharedLatest, SharedLevels, SharedMailbox
from performer.flow import F32
from performer.params import ParamTable
from performer.presets import Preset
from performer.routes import RouteFile, Span
from performer.triggers import Press


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the control process is given."""

    table: ParamTable
    prefix: str
    binds: dict[str, Bind]
    triggers: Mapping[str, Sequence[Press]]  # by address, the cues that begin by it
    setlist: Path | None  # where what was learnt is saved
    name: str  # of the show, for programs that browse
    osc_port: int
    token: str  # what it takes to move anything over the web; empty for nothing
    live: LiveSpec | None  # Ableton Live, where the setlist has it
    silence_s: float  # a source that sends nothing for so long lets go of what it holds; 0 for never
    epoch_s: float
    levels: SharedLevels
    presses: SharedMailbox
    edits: SharedMailbox
    status: SharedLatest
    state: SharedLatest
    tempi: SharedLatest
    pictures: SharedLatest | None  # of the preview; None where there is no panel
    watched: SharedLatest
    features: tuple[tuple[SharedLatest, tuple[int, ...]], ...]  # what is heard, and the voices' rows of each part
    feature_names: tuple[str, ...]
    voices: tuple[str, ...]
    cues: tuple[tuple[str, str], ...]  # (id, name)
    cue_notes: tuple[str, ...]
    routes: tuple[tuple[str, RouteFile], ...]  # with the cue of each
    changed_routes: Mapping[str, RouteFile | None]  # by hands, before this process began
    sources: Mapping[str, Span]  # what a route may start from
    presets: tuple[Preset, ...]
    changed_presets: Mapping[str, Preset]  # by hands, before this process began
    preset_edits: SharedMailbox
    changed_binds: Mapping[str, Bind | None]  # learnt, or unbound, before this process began
    bind_edits: SharedMailbox
    cue_values: F32  # [cues, P]
    edition: int = 0  # how often the setlist was taken anew


@dataclass(frozen=True, slots=True)
class Sockets:
    """What the parent bound; None for what is not wanted."""

    osc: socket.socket | None
    http: socket.socket | None
    live: socket.socket | None  # where Live's answers arrive
