"""Carrying: what choreography remembers, taken over into a setlist that was edited while it plays.

Rows of the table and numbers of creatures are those of the show: what an edit adds comes last, and nothing moves. So what
nobody has edited goes on bit for bit. Where the cue that plays was edited, it glides to what it is now: the cue as it was
is a ghost, no part of the score any more, that fades away. Where another species is to draw it, it plays on as it was, and
the edit is seen when it begins the next time. A cue that is gone plays on in its place, disarmed, until another one begins.

Thread: render. Pure.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from performer.choreography.looks import Look, Worn
from performer.choreography.memory import CueState, Memory, Remnant
from performer.choreography.plan import Plan
from performer.choreography.score import Cue, Place
from performer.flow import F32, frozen_array
from performer.presets import Preset, is_same, put, wide
from performer.routes import Route, RouteEdit

Routes = tuple[Route, ...]


def carried(memory: Memory, before: Plan, plan: Plan, *, edits: Sequence[RouteEdit], at_s: float) -> Memory:
    """The memory with which `plan` goes on where `before` was; seats what of the old cues still plays in it.

    edits: what hands have made of routes, where it still holds. at_s: show time of the newest frame.
    """
    return _Carrier(memory, before, plan, at_s=at_s).carried(edits)


def sized(values: np.ndarray, size: int, fill: float) -> np.ndarray:
    """Values [P], with those of rows that came since: `fill`."""
    if len(values) == size:
        return values
    return frozen_array(np.concatenate([values, np.full(size - len(values), fill, values.dtype)]))


def widened(values: F32, defaults: F32) -> F32:
    """Values [P], with the defaults of rows that came since."""
    return values if len(values) == len(defaults) else frozen_array(np.concatenate([values, defaults[len(values) :]]))


class _Carrier:
    def __init__(self, memory: Memory, before: Plan, plan: Plan, *, at_s: float) -> None:
        self._memory, self._before, self._plan, self._at_s = memory, before, plan, at_s
        self._defaults = plan.table.defaults()
        self._cues = list(plan.score.cues)
        self._ghosts: list[Cue] = []
        self._ghost_routes: list[Routes] = []
        self._presets: dict[int, tuple[Preset, ...]] = {}  # by the old ones: what is one object stays one

    def carried(self, edits: Sequence[RouteEdit]) -> Memory:
        memory, before, plan = self._memory, self._before, self._plan
        is_gone = self._new(memory.place.index) is None
        if is_gone:
            self._stay(memory.place.index)
        plan.seat(self._cues)
        routes = tuple(cue.routes for cue in self._cues)
        if is_gone:
            at = self._at(memory.place.index)
            routes = (*routes[:at], memory.routes[memory.place.index], *routes[at + 1 :])
        made = replace(memory, routes=routes)
        for edit in edits:
            made = plan.edited(made, edit)
        current, previous, is_mended = self._playing(made.routes)
        plan.seat(self._cues, ghosts=self._ghosts)
        are_same = plan.bridges.keys() == before.bridges.keys()
        are_same = are_same and all(plan.bridges[pair] is each for pair, each in before.bridges.items())
        return replace(
            memory,
            place=self._place(),
            current=current,
            previous=previous,
            routes=(*made.routes, *self._ghost_routes),
            presets=self._tonight(),
            pair=memory.pair if are_same and not is_mended else None,
            values=None if memory.values is None else widened(memory.values, self._defaults),
            is_cut_short=memory.previous is not None if is_mended else memory.is_cut_short,
            remnant=None if is_mended else self._remnant(memory.remnant),
            mended_s=self._at_s if is_mended else memory.mended_s,
        )

    # Where in the score

    def _new(self, index: int) -> int | None:
        """The place of an old cue in the score; None where it is gone."""
        wanted = self._before.score.cues[index].id
        return next((at for at, cue in enumerate(self._cues) if cue.id == wanted), None)

    def _at(self, index: int) -> int:
        found = self._new(index)
        assert found is not None, "it was seated"
        return found

    def _stay(self, index: int) -> None:
        """A cue that is gone keeps its place, after those that came before it, for as long as it plays."""
        left = [at for each in range(index) if (at := self._new(each)) is not None]
        cue = self._wide(self._before.score.cues[index])
        cue = replace(cue, armed=False, triggers=(), next="hold")
        self._cues.insert(left[-1] + 1 if left else 0, cue)

    def _place(self) -> Place:
        place, score = self._memory.place, self._before.score
        waiting = place.waiting
        if waiting is not None:
            at = self._new(waiting.index)
            waiting = None if at is None else replace(waiting, index=at)
        switched = set()
        for index in place.switched:
            at = self._new(index)
            if at is not None and score.is_armed(place, index) != self._cues[at].armed:
                switched.add(at)
        return replace(
            place,
            index=self._at(place.index),
            waiting=waiting,
            loaded=None if place.loaded is None else self._new(place.loaded),
            switched=frozenset(switched),
            has_ended=place.has_ended and (place.waiting is None or waiting is not None),
        )

    # What plays

    def _playing(self, routes: Sequence[Routes]) -> tuple[CueState, CueState | None, bool]:
        """(the cue that plays, the one that fades away, whether the way between them is that of an edit)."""
        memory = self._memory
        previous, current = memory.previous, memory.current
        at, old = self._at(memory.place.index), self._before.cues[current.index]
        leaving = None if previous is None else self._ghost(previous)
        if self._cues[at].creature != old.creature:
            return self._ghost(current), leaving, False
        if self._is_edited(self._wide(old), self._cues[at]) or routes[at] != memory.routes[current.index]:
            return self._state(current, at), self._ghost(current), True
        return self._state(current, at), leaving, False

    def _is_edited(self, old: Cue, new: Cue) -> bool:
        """Whether the cue that plays looks other than before."""
        is_same = (old.seed, old.keyframes) == (new.seed, new.keyframes)
        is_same &= np.array_equal(old.values, new.values) and np.array_equal(old.named, new.named)
        if self._memory.previous is not None and self._memory.mended_s is None:  # on its way in
            is_same &= (old.fade, old.curve, old.transition) == (new.fade, new.curve, new.transition)
        return not is_same

    def _ghost(self, state: CueState) -> CueState:
        self._ghosts.append(self._wide(self._before.cues[state.index]))
        self._ghost_routes.append(self._memory.routes[state.index])
        return self._state(state, len(self._cues) + len(self._ghosts) - 1)

    # The rows of a table that has grown

    def _wide(self, cue: Cue) -> Cue:
        if len(cue.values) == len(self._defaults):
            return cue
        named = sized(cue.named, len(self._defaults), False)
        return replace(cue, values=widened(cue.values, self._defaults), named=named)

    def _state(self, state: CueState, index: int) -> CueState:
        hands_s = sized(state.hands_s, len(self._defaults), -np.inf)
        worn = None if state.worn is None else self._worn(state.worn)
        return replace(state, index=index, hands_s=hands_s, worn=worn)

    def _worn(self, worn: Worn) -> Worn:
        presets = self._kept(worn.presets)
        if len(worn.look.is_set) == len(self._defaults):
            return worn if presets is worn.presets else replace(worn, presets=presets)
        return replace(
            worn,
            look=self._look(worn.look),
            presets=presets,
            before=tuple(map(self._look, worn.before)),
            after=tuple(map(self._look, worn.after)),
        )

    def _look(self, look: Look) -> Look:
        size = len(self._defaults)
        return replace(
            look,
            is_set=sized(look.is_set, size, False),
            is_back=sized(look.is_back, size, False),
            at_s=sized(look.at_s, size, -np.inf),
            length_s=sized(look.length_s, size, 0.0),
            origin=sized(look.origin, size, 0.0),
            speed=sized(look.speed, size, 0.0),
            goal=sized(look.goal, size, 0.0),
        )

    def _remnant(self, remnant: Remnant | None) -> Remnant | None:
        if remnant is None:
            return None
        return replace(remnant, values=sized(remnant.values, len(self._defaults), 0.0))

    # Presets

    def _tonight(self) -> tuple[Preset, ...]:
        """The presets: those of the setlist, as hands have changed them."""
        written, tonight = self._kept(self._before.presets), self._kept(self._memory.presets)
        names = [[each.name for each in presets] for presets in (written, self._plan.presets)]
        if names[0] == names[1] and all(map(is_same, written, self._plan.presets)):
            return tonight
        made = self._plan.presets
        there = [{each.name: each for each in presets} for presets in (written, made)]
        for preset in tonight:
            before, after = (each.get(preset.name) for each in there)
            if not is_same(preset, before) and is_same(before, after):
                made = put(made, preset)
        return made

    def _kept(self, presets: tuple[Preset, ...]) -> tuple[Preset, ...]:
        if all(len(each.values) == len(self._defaults) for each in presets):
            return presets
        if id(presets) not in self._presets:
            self._presets[id(presets)] = tuple(wide(each, size=len(self._defaults)) for each in presets)
        return self._presets[id(presets)]
