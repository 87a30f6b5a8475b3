"""Evenings: several setlists, one after the other, as one show.

Each part is a setlist that plays alone, and is resolved alone: its cues are complete states. Here they are moved into the
show of the evening: they get other ids, other rows of a larger table, and other numbers of creatures, and what they say of
each other stays among themselves.

Thread: main, before the show.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from performer.choreography.score import Cue
from performer.control.addresses import Bind
from performer.creatures import Creature
from performer.flow import frozen_array
from performer.params import ParamTable
from performer.presets import Preset
from performer.routes import Route, RouteFile

_KNOBS = ("route", "mute", "solo")  # that each route has
_NAMED = "_-"  # what a name that is a part of an OSC address may have beside letters and digits


@dataclass(frozen=True, slots=True)
class Part:
    """How what one part says is said in the evening."""

    name: str  # of its file
    routes: tuple[str, ...]  # names of its routes

    def cue_id(self, cue_id: str) -> str:
        """The id that a cue has in the evening."""
        return f"{self.name}/{cue_id}"

    def cue_ids(self, told: str) -> str:
        """The same of all that are told, with commas between; of none the name of the part, as of all its cues."""
        return ", ".join(map(self.cue_id, told.split(", "))) if told else self.name

    def route_name(self, name: str) -> str:
        """The name that a route has in the evening."""
        return f"{re.sub(f'[^A-Za-z0-9{_NAMED}]', '-', self.name)}-{name}"

    def param(self, param_id: str) -> str:
        """The id that a parameter, or another source of a route, has in the evening."""
        knob, _, name = param_id.partition(".")
        return f"{knob}.{self.route_name(name)}" if knob in _KNOBS and name in self.routes else param_id

    def route(self, route: RouteFile) -> RouteFile:
        """A route, as it is in the evening."""
        return msgspec.structs.replace(route, **self._names_in(route))

    def _names_in(self, route: RouteFile | Route) -> dict[str, str]:
        """What a route says of others, by its fields, as it is in the evening."""
        return {
            "name": self.route_name(route.name),
            "source": self.param(route.source),
            "target": self.param(route.target),
            "hold": self.param(route.hold),
        }

    def bind(self, bind: Bind) -> Bind:
        """What a foreign address sets in the evening."""
        return replace(bind, param=self.param(bind.param))

    def rows(self, own: ParamTable, whole: ParamTable) -> np.ndarray:
        """[P of the part]: the row of each of its parameters in the evening's table."""
        return np.array([whole.row(self.param(param_id)) for param_id in own.ids()])

    def presets(self, presets: Sequence[Preset], *, own: ParamTable, whole: ParamTable) -> list[Preset]:
        """The presets of the part, in the evening."""
        rows, found = self.rows(own, whole), []
        for preset in presets:
            values, named = whole.defaults(), np.zeros(len(whole), bool)
            values[rows], named[rows] = preset.values, preset.named
            found.append(Preset(self.cue_id(preset.name), frozen_array(named), frozen_array(values)))
        return found

    def cues(
        self, cues: Sequence[Cue], *, own: ParamTable, whole: ParamTable, creatures: Sequence[int], presets: int
    ) -> tuple[Cue, ...]:
        """The cues of the part, in the evening. creatures: by the part's numbers, the evening's. presets: of the parts
        before it."""
        rows = self.rows(own, whole)
        return tuple(
            self._cue(cue, cues, rows=rows, whole=whole, creature=creatures[cue.creature], presets=presets)
            for cue in cues
        )

    def _cue(
        self, cue: Cue, cues: Sequence[Cue], *, rows: np.ndarray, whole: ParamTable, creature: int, presets: int
    ) -> Cue:
        values, named = whole.defaults(), np.zeros(len(whole), bool)
        values[rows], named[rows] = cue.values, cue.named
        pair = [whole.row("preset.a"), whole.row("preset.b")]  # numbers, which are others in the evening
        values[pair] = np.where(values[pair] > 0, values[pair] + presets, 0)
        ways = cue.keyframes
        if ways is not None:
            ways = replace(
                ways,
                values=tuple(
                    (int(rows[row]), way.raised(presets) if rows[row] in pair else way, is_smooth)
                    for row, way, is_smooth in ways.values
                ),
            )
        return replace(
            cue,
            id=self.cue_id(cue.id),
            tags=(self.name, *(f"{self.name}/{tag}" for tag in cue.tags)),
            creature=creature,
            values=frozen_array(values),
            named=frozen_array(named),
            keyframes=ways,
            routes=tuple(replace(route, **self._names_in(route)) for route in cue.routes),
            next=self._next(cue.next, cues),
        )

    def _next(self, how: str, cues: Sequence[Cue]) -> str:
        """What comes by itself, and stays within the part."""
        word, _, which = how.partition(" ")
        match word:
            case "goto":
                return f"goto {self.cue_id(which)}"
            case "loop":
                first = next((cue for cue in cues if cue.armed), cues[0])
                return f"goto {self.cue_id(first.id)}"
            case "random":
                return f"random {self.name}/{which}" if which else f"random {self.name}"
        return how


def gathered(parts: Iterable[Sequence[Creature]]) -> tuple[list[Creature], list[list[int]]]:
    """(the creatures of all parts, each once; of each part, by its numbers, theirs)."""
    found: list[Creature] = []
    numbers = []
    for creatures in parts:
        own = []
        for creature in creatures:
            same = (
                number
                for number, each in enumerate(found)
                if each.is_same(creature) and each.chosen is None and creature.chosen is None
            )
            number = next(same, len(found))
            if number == len(found):
                found.append(creature)
            own.append(number)
        numbers.append(own)
    return found, numbers
