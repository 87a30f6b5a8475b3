"""Looks: presets, surprises and the morph between two presets, as layers over a cue.

    cue -> hands -> morph between two presets -> look

A look is a glide of each parameter on its own: from where it was seen when the look was asked for to a value of its own, or
back to what lies below. It is a function of time, so that it is the same at every frame rate. What a hand sets after it
stands above it. A glide that is overtaken by another keeps its speed for a moment, and nothing leaps.

Parameters go along their own curves: a zoom from 1 to 4 passes 2 at the half. Switches and whole numbers turn at the half.

Thread: render. Pure; no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from performer.choreography.surprise import Acting, Surprise
from performer.flow import F32, F64, ControlEvent, frozen_array
from performer.params import PRESET_PADS, Kind, ParamTable
from performer.presets import Preset, find

KEPT = 64  # looks that can be gone back to
REST_S = 0.5  # in which the speed that a glide had is lost to the next
ROUTE = "route "  # how the sources of presses begin that no hand made

LEVELS = ("preset.a", "preset.b", "preset.morph")  # the morph's own knobs

Pair = tuple[int, int]  # numbers of two presets, from 1; 0 is what lies below them


@dataclass(frozen=True, slots=True)
class Look:
    """Where each parameter is on its way."""

    is_set: np.ndarray  # [P] bool, whether it has a way at all
    is_back: np.ndarray  # [P] bool, whether it leads to what lies below
    at_s: F64  # [P], when it began; minus infinity where there is none
    length_s: F64  # [P]
    origin: F64  # [P], where it began, on the parameter's own scale
    speed: F64  # [P], and how fast it moved there, a second
    goal: F32  # [P], where it ends, in native units
    number: int = 0  # of the preset; 0 where it is none


@dataclass(frozen=True, slots=True)
class Worn:
    """What a cue wears."""

    look: Look
    pair: Pair  # that the morph lies between
    presets: tuple[Preset, ...]  # as they were then
    chosen_s: float  # when a hand has chosen them last; minus infinity where the cue has
    moved_s: float  # when a hand has moved the morph last
    before: tuple[Look, ...] = ()  # what can be gone back to, the newest last
    after: tuple[Look, ...] = ()  # what was gone back from
    surprises: int = 0  # that were drawn


class Looks:
    """Dresses cues. effects: the names of the effects whose inputs are parameters."""

    def __init__(self, table: ParamTable, *, effects: Sequence[str] = ()) -> None:
        self._fades = np.array([param.kind is Kind.FLOAT for param in table.params])
        self._is_exp = np.array([param.curve == "exp" for param in table.params])
        self._lows, self._highs = table.lows(), table.highs()
        self._by_hand = np.array([param.by_hand for param in table.params])
        self.levels = self._a, self._b, self._morph = [table.row(name) for name in LEVELS]
        self._time, self._wildness = table.row("preset.time"), table.row("preset.wildness")
        self._surprise = Surprise(table, effects=effects)
        none, zeros = np.zeros(len(table), bool), np.zeros(len(table))
        self._bare = Look(
            none, none, np.full(len(table), -np.inf), zeros, zeros, zeros, np.zeros(len(table), np.float32)
        )

    # What is seen

    def morphed(self, values: F32, presets: Sequence[Preset], *, pair: Pair, part: float, free: np.ndarray) -> F32:
        """The values with the two presets of `pair` mixed over them. part: 0 is the first. free: [P] bool, what may move."""
        ends, rows = [values, values], np.zeros(len(values), bool)
        for side, number in enumerate(pair):
            if 0 < number <= len(presets):
                preset = presets[number - 1]
                ends[side] = np.where(preset.named, preset.values, values)
                rows |= preset.named
        rows &= free
        if not rows.any():
            return values
        first, second = ends
        if 0.0 < part < 1.0:
            start = self._scaled(first)
            mixed = self._native(start + (self._scaled(second) - start) * part)
            mixed = np.where(self._fades, mixed, second if part >= 0.5 else first)
        else:
            mixed = second if part >= 1.0 else first
        return np.where(rows, mixed, values).astype(np.float32)

    def seen(self, look: Look, below: F32, *, set_s: F64, at_s: float) -> F32:
        """The values at a time. below: what lies below. set_s: [P], when hands have set each last."""
        active = look.is_set & (look.at_s > set_s)
        if not active.any():
            return below
        part, faded = self._parts(look, at_s)
        goal = np.where(look.is_back, below, look.goal)
        if part.min() >= 1.0:
            return np.where(active, goal, below).astype(np.float32)
        rest_s = np.minimum(look.length_s, REST_S)
        way = look.origin + (self._scaled(goal) - look.origin) * (part * part * (3.0 - 2.0 * part))
        way += look.speed * rest_s * faded * (1.0 - faded) ** 2
        moving = np.where(self._fades, self._native(way), np.where(part >= 0.5, goal, self._native(look.origin)))
        return np.where(active, np.where(part >= 1.0, goal, moving), below).astype(np.float32)

    # What is done

    def first(self, values: F32, presets: tuple[Preset, ...], *, set_s: F64, hands_s: F64) -> Worn:
        """What a cue wears that nobody has dressed yet.

        values: the cue's and the hands'. hands_s: [P], when hands had set each before the cue began.
        """
        chosen_s = max((float(set_s[row]) for row in (self._a, self._b) if set_s[row] > hands_s[row]), default=-np.inf)
        return Worn(self._bare, self.pair(values), presets, chosen_s, float(set_s[self._morph]))

    def kept(self, worn: Worn, fresh: Worn, *, named: np.ndarray) -> Worn:
        """What the next cue goes on wearing: what belongs to the hand and is not named by it."""
        look = replace(worn.look, is_set=worn.look.is_set & self._by_hand & ~named, number=0)
        return replace(fresh, look=look) if look.is_set.any() else fresh

    def pair(self, values: F32) -> Pair:
        """The numbers of the two presets that the morph lies between."""
        return int(values[self._a]), int(values[self._b])

    def with_pair(self, values: F32, pair: Pair) -> F32:
        """The values, with another pair."""
        values = values.copy()
        values[[self._a, self._b]] = pair
        return values

    def part(self, values: F32) -> float:
        """How far the morph is, 0..1."""
        return float(values[self._morph])

    def joined(
        self, worn: Worn, fresh: Worn, seen: F32, below: F32, *, set_s: F64, at_s: float, only_covered: bool
    ) -> Worn:
        """Glide to the morph: another pair of presets, or one that a hand moves again.

        fresh: with the pair, the presets and the time to be. seen: the values until then. only_covered: what a preset or a
        surprise has set since, and nothing else.
        """
        rows = np.zeros(len(below), bool)
        for each in (worn, fresh):
            for number in each.pair:
                if 0 < number <= len(each.presets):
                    rows |= each.presets[number - 1].named
        if only_covered:
            rows &= worn.look.is_set & ~worn.look.is_back
        fresh = replace(fresh, look=worn.look, before=worn.before, after=worn.after, surprises=worn.surprises)
        if not rows.any():
            return fresh
        number = 0 if only_covered else worn.look.number
        look = self._toward(
            worn.look, seen, below, rows=rows, goal=below, is_back=rows, set_s=set_s, at_s=at_s, number=number
        )
        return replace(fresh, look=look)

    def pressed(
        self,
        worn: Worn,
        press: ControlEvent,
        seen: F32,
        below: F32,
        *,
        presets: Sequence[Preset],
        set_s: F64,
        seed: int,
        acting: Acting,
    ) -> Worn:
        """What a press does. seen, below: the values at its time. acting: what the cue's species has."""
        at_s = press.at_s
        match press.param:
            case "preset.back" if worn.before:
                look = self._returned(worn.look, worn.before[-1], seen, below, set_s=set_s, at_s=at_s)
                return replace(worn, look=look, before=worn.before[:-1], after=(*worn.after, worn.look))
            case "preset.again" if worn.after:
                never_s = np.full(len(set_s), -np.inf)  # what a hand has done again since lies below it, as it did
                look = self._returned(worn.look, worn.after[-1], seen, below, set_s=never_s, at_s=at_s)
                return replace(worn, look=look, before=(*worn.before, worn.look), after=worn.after[:-1])
            case "preset.surprise":
                named, goal = self._surprise.drawn(
                    seen, seed=seed, count=worn.surprises, wildness=float(below[self._wildness]), acting=acting
                )
                number, worn = 0, replace(worn, surprises=worn.surprises + 1)
            case _:
                number = _number(press, presets)
                if number is None:
                    return worn
                named, goal = presets[number - 1].named, presets[number - 1].values
        is_back = np.zeros(len(named), bool)
        look = self._toward(
            worn.look, seen, below, rows=named, goal=goal, is_back=is_back, set_s=set_s, at_s=at_s, number=number
        )
        if press.source.startswith(ROUTE):  # what sound does is not taken back, but goes with what a hand did before
            return replace(worn, look=look)
        return replace(worn, look=look, before=(*worn.before, worn.look)[-KEPT:], after=())

    # Glides

    def _toward(
        self,
        look: Look,
        seen: F32,
        below: F32,
        *,
        rows: np.ndarray,
        goal: F32,
        is_back: np.ndarray,
        set_s: F64,
        at_s: float,
        number: int,
    ) -> Look:
        """A look in which `rows` set out from where they are seen."""

        def put(there: np.ndarray, here: np.ndarray | float) -> np.ndarray:
            return frozen_array(np.where(rows, here, there))

        return Look(
            is_set=frozen_array(look.is_set | rows),
            is_back=put(look.is_back, is_back),
            at_s=put(look.at_s, at_s),
            length_s=put(look.length_s, float(below[self._time])),
            origin=put(look.origin, self._scaled(seen)),
            speed=put(look.speed, self._speed(look, below, set_s=set_s, at_s=at_s)),
            goal=put(look.goal, goal),
            number=number,
        )

    def _returned(self, look: Look, onto: Look, seen: F32, below: F32, *, set_s: F64, at_s: float) -> Look:
        """Glide to where another look leads; what a hand has set since stays."""
        newest_s = np.where(look.is_set, look.at_s, onto.at_s)
        rows = (look.is_set | onto.is_set) & (newest_s > set_s)
        is_back = ~onto.is_set | onto.is_back | (onto.at_s <= set_s)
        return self._toward(
            look, seen, below, rows=rows, goal=onto.goal, is_back=is_back, set_s=set_s, at_s=at_s, number=onto.number
        )

    def _parts(self, look: Look, at_s: float) -> tuple[F64, F64]:
        """([P], how much of each way has passed; the same of the time in which its first speed is lost), 0..1."""
        passed_s = np.maximum(at_s - np.where(look.is_set, look.at_s, at_s), 0.0)
        length_s, rest_s = look.length_s, np.minimum(look.length_s, REST_S)
        part = np.divide(passed_s, length_s, out=np.ones_like(passed_s), where=length_s > 0.0)
        faded = np.divide(passed_s, rest_s, out=np.ones_like(passed_s), where=rest_s > 0.0)
        return np.minimum(part, 1.0), np.minimum(faded, 1.0)

    def _speed(self, look: Look, below: F32, *, set_s: F64, at_s: float) -> F64:
        """[P], how fast each moves on its scale; 0 where it stands, or where a hand has it."""
        part, faded = self._parts(look, at_s)
        is_moving = look.is_set & (look.at_s > set_s) & (part < 1.0) & self._fades
        goal = self._scaled(np.where(look.is_back, below, look.goal))
        length_s = np.where(look.length_s > 0.0, look.length_s, 1.0)
        way = (goal - look.origin) * 6.0 * part * (1.0 - part) / length_s
        return np.where(is_moving, way + look.speed * (1.0 - faded) * (1.0 - 3.0 * faded), 0.0)

    def _scaled(self, values: F32) -> F64:
        """[P] on the parameters' own scales."""
        scaled = values.astype(np.float64)
        np.log(np.maximum(scaled, self._lows, out=scaled, where=self._is_exp), out=scaled, where=self._is_exp)
        return scaled

    def _native(self, scaled: F64) -> F32:
        """The inverse, within their ranges."""
        values = np.exp(scaled, out=scaled.copy(), where=self._is_exp)
        return np.clip(values, self._lows, self._highs).astype(np.float32)


def _number(press: ControlEvent, presets: Sequence[Preset]) -> int | None:
    """The number of the preset that a press asks for."""
    if press.param == "preset.load":
        return find(presets, press.text)
    return find(presets, press.param.rpartition(".")[2]) if press.param in PRESET_PADS else None
