"""The plan: cues, routes and motions as one pure step a frame.

    (memory, features, events, controls, tick) -> (memory, params, latent)

A cue is a complete state over the setlist's defaults: nothing is inherited from the cue before. What moves in a cue is a
line through time that begins with the cue, so that jumping straight to a cue, or to a moment in it, gives the same
latents as playing there.

Thread: render. No clock, no I/O; the same inputs give the same outputs, bit for bit.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from performer.bridges import Bridge
from performer.choreography.figures import Figures
from performer.choreography.looks import Looks, Worn
from performer.choreography.memory import LFO_LINE, LINES, NOISE_LINE, CueState, Memory, Remnant
from performer.choreography.motion import MOTIONS, Anatomy, Terms
from performer.choreography.score import Cue, Moment, Place, Score
from performer.choreography.surprise import Acting
from performer.choreography.transition import Stand, Transition, stand_of
from performer.choreography.triggers import Triggers
from performer.choreography.wiring import Now, Wiring
from performer.clock import Line
from performer.flow import F32, AudioEvent, AudioFeatures, ControlEvent, LatentFrame, Params, Tick, frozen_array
from performer.params import Controls, Kind, ParamTable
from performer.presets import Preset, put
from performer.routes import RouteEdit

HITS_RUNG = 128  # what swings is the sum of all hits: one that is dropped too early makes it jump
MEND_S = 0.5  # in which the cue that plays glides to what an edit of the setlist has made of it


class Plan:
    """A setlist made ready to play.

    anatomies
        of the show's creatures, in the order in which cues count them.
    bridges
        by the creatures that they join, in both directions; side 0 is the one that is left.
    offset_of
        seconds by which local time is ahead of UTC at a POSIX time; none without it.
    presets
        of the setlist, in its order.
    effects
        the names of the effects whose inputs are parameters.
    """

    def __init__(
        self,
        *,
        table: ParamTable,
        cues: Sequence[Cue],
        anatomies: Sequence[Anatomy],
        voices: Sequence[str],
        feature_names: Sequence[str],
        hit_kinds: Mapping[str, int],
        bridges: Mapping[tuple[int, int], Bridge] | None = None,
        offset_of: Callable[[float], float] = lambda _: 0.0,
        presets: Sequence[Preset] = (),
        effects: Sequence[str] = (),
    ) -> None:
        self.table = table
        self.presets = tuple(presets)
        self._looks = Looks(table, effects=effects)
        self._features = {name: column for column, name in enumerate(feature_names)}
        self._offset_of = offset_of
        self.seat(cues)
        self._figures = Figures(table, anatomies)
        self.anatomies = self._figures.anatomies
        self._wiring = Wiring(table, voices=voices, features=self._features, hit_kinds=hit_kinds)
        self.route_names = self._wiring.names
        self.bridges = dict(bridges or {})
        self._lows = table.lows()
        self._highs = table.highs()
        self._by_hand = np.array([param.by_hand for param in table.params])
        self._fades = np.array([param.kind is Kind.FLOAT for param in table.params])
        self._motion_rows = [{param.id: table.row(param.id) for param in motion.params} for motion in MOTIONS]
        self._noise_speed = table.row("noise.speed")
        self._bpm, self._quantize = table.row("transport.bpm"), table.row("cue.quantize")

    def seat(self, cues: Sequence[Cue], *, ghosts: Sequence[Cue] = ()) -> None:
        """Play these cues. ghosts: cues that are no part of the score any more; they fade away, or play until the next."""
        self.score = Score(cues)
        self.cues = (*self.score.cues, *ghosts)
        self._triggers = Triggers(self.score.cues, silence=self._features.get("silence"), offset_of=self._offset_of)

    def enter(self, index: int, *, at_s: float, beat: float) -> Memory:
        """The memory of a show that begins with cue `index` at show time `at_s`."""
        place = Place(index, Moment(at_s, beat))
        begun = self._begun(place, np.full(len(self.table), -np.inf))
        routes = tuple(cue.routes for cue in self.cues)
        return Memory(place=place, current=begun, routes=routes, presets=self.presets)

    def step(
        self,
        memory: Memory,
        features: AudioFeatures,
        events: Sequence[AudioEvent],
        controls: Controls,
        tick: Tick,
        *,
        edits: Sequence[RouteEdit | Preset] = (),
        absent: Collection[int] = (),
    ) -> tuple[Memory, Params, LatentFrame]:
        """One frame. edits: what hands did to routes and presets. absent: creatures that cannot be drawn yet."""
        for edit in edits:
            memory = self.edited(memory, edit)
        memory = self._struck(memory, events)
        watch, come = self._triggers.step(memory.watch, features, events, tick)
        memory = replace(memory, watch=watch)
        # A GO in the very frame in which a cue comes by itself is meant for that cue, and not for the one after it.
        presses = (*memory.pending, *controls.presses, *come)
        dressing = [press for press in presses if press.param.startswith("preset.")]
        cueing, count = [press for press in presses if press not in dressing], memory.place.count
        memory = self._cued(memory, cueing, controls, tick, absent)
        ended_s = max((press.at_s for press in cueing), default=math.inf) if memory.place.count != count else None
        memory = self._dressed(memory, dressing, controls, tick, ended_s=ended_s)
        cue = self.cues[memory.current.index]
        stand: Stand | None = None
        if memory.previous is not None:
            is_mending = memory.mended_s is not None
            done = self._done(memory, tick)
            if done < 1.0 and (is_mending or cue.transition.kind != "cut"):
                stand = self._stand(memory, done=max(done, 0.0))
            else:
                memory = replace(memory, previous=None, pair=None, is_cut_short=False, remnant=None, mended_s=None)

        routed = not memory.place.is_panicked
        meters = np.zeros((len(self.route_names), 2), np.float32)
        current, knobs, values, drawn, pressed = self._played(
            memory.current, memory, features, events, controls, tick, meters if routed else None
        )
        previous = memory.previous
        if previous is None or stand is None:
            latent = drawn(values)
        else:
            previous, knobs_before, before, from_drawn, _ = self._played(
                previous, memory, features, (), controls, tick, np.zeros_like(meters) if routed else None
            )
            if memory.is_cut_short or memory.remnant is not None:
                memory, before, from_drawn = self._with_remnant(memory, before, from_drawn)
            knobs = self._faded(knobs_before, knobs, stand)
            mixed = self._faded(before, values, stand)
            if self._creature(memory.previous) != cue.creature:
                memory, latent = self._crossed(memory, stand, from_drawn, drawn, before, values, mixed)
            else:
                if self.anatomies[cue.creature].siblings > 1:
                    # Both animals are of the species in between that the fade passes.
                    for row in self._figures.blends:
                        before[row] = values[row] = mixed[row]
                latent = self._figures.between(from_drawn(before), drawn(values), stand)
            values = mixed
        mix, light = (stand.shading, stand.light) if stand is not None else (None, 1.0)
        if memory.place.is_panicked and memory.latent is not None:
            latent, mix, light = memory.latent, memory.mix, 1.0
        values = frozen_array(values)
        memory = replace(
            memory, current=current, previous=previous, pending=pressed, values=values, latent=latent, mix=mix
        )
        return memory, Params(values, frozen_array(knobs), frozen_array(meters), mix, light), latent

    # From cue to cue

    def _creature(self, state: CueState | None) -> int:
        return self.cues[state.index].creature if state is not None else -1

    def _done(self, memory: Memory, tick: Tick) -> float:
        """How much of the fade has passed."""
        current = memory.current
        if memory.mended_s is not None:
            return (tick.photon_s - memory.mended_s) / MEND_S
        fade = self.cues[current.index].fade
        return fade.elapsed(since_s=current.started_s, since_beat=current.started_beat, tick=tick)

    def _stand(self, memory: Memory, *, done: float) -> Stand:
        """Where the fade of the cue that plays stands."""
        if memory.mended_s is not None:
            return stand_of(Transition(), done=done, curve="smooth", is_one_species=True, has_bridge=False)
        cue, before = self.cues[memory.current.index], self._creature(memory.previous)
        return stand_of(
            cue.transition,
            done=done,
            curve=cue.curve,
            is_one_species=before == cue.creature,
            has_bridge=(before, cue.creature) in self.bridges,
        )

    def _with_remnant(
        self, memory: Memory, before: F32, from_drawn: Callable[[F32], LatentFrame]
    ) -> tuple[Memory, F32, Callable[[F32], LatentFrame]]:
        """The cue that fades away as it was seen last: (the memory after, its values, what draws it)."""
        if memory.is_cut_short:
            assert memory.values is not None and memory.latent is not None
            short = np.where(self._fades, memory.values - before, np.float32(0.0))
            alone = from_drawn(before + short)
            latents = {
                seen.creature: (seen.ws - alone.ws, seen.noise - alone.noise)
                for seen in (memory.latent, memory.latent.partner)
                if seen is not None and seen.creature == alone.creature
            }
            memory = replace(memory, is_cut_short=False, remnant=Remnant(frozen_array(short), latents))
        remnant = memory.remnant
        assert remnant is not None

        def drawn(values: F32) -> LatentFrame:
            latent = from_drawn(values)
            if latent.creature not in remnant.latents:
                return latent
            return self._figures.displaced(latent, *remnant.latents[latent.creature])

        return memory, np.clip(before + remnant.values, self._lows, self._highs), drawn

    def _faded(self, before: F32, after: F32, stand: Stand) -> F32:
        """Between two cues' values: numbers with fractions are mixed, switches and whole numbers are the new cue's."""
        mixed = np.where(self._fades, before + (after - before) * np.float32(stand.mix), after)
        for row, part in zip(self._figures.blends, stand.groups, strict=True):
            mixed[row] = before[row] + (after[row] - before[row]) * np.float32(part)
        return mixed if stand.is_turned else np.where(self._fades, mixed, before)

    def _crossed(
        self,
        memory: Memory,
        stand: Stand,
        from_drawn: Callable[[F32], LatentFrame],
        to_drawn: Callable[[F32], LatentFrame],
        before: F32,
        after: F32,
        mixed: F32,
    ) -> tuple[Memory, LatentFrame]:
        """From one creature to another: the memory after, and what both draw."""
        # What two species share is mixed; their traits and partners mean something else in each.
        own = self._figures.own
        leaving, coming = mixed.copy(), mixed.copy()
        leaving[own], coming[own] = before[own], after[own]
        # Of a picture that nobody sees nothing is drawn.
        first = from_drawn(leaving) if stand.part < 1.0 else None
        second = to_drawn(coming) if stand.part > 0.0 else None
        if stand.to_bridge > 0.0 or stand.from_bridge > 0.0:
            bridge = self.bridges[self._creature(memory.previous), self._creature(memory.current)]
            if memory.pair is None and first is not None:
                memory = replace(memory, pair=bridge.nearest(first.ws, 0))
            ends = [side.w[memory.pair or 0] for side in bridge.sides]
            first = first and self._figures.toward(first, ends[0], stand.to_bridge)
            second = second and self._figures.toward(second, ends[1], stand.from_bridge)
        if first is None or second is None:
            seen = first or second
            assert seen is not None
            return memory, seen
        return memory, replace(first, partner=second, part=stand.part)

    # Cues

    def _begun(self, place: Place, hands_s: np.ndarray) -> CueState:
        return CueState(
            index=place.index,
            started_s=place.began.at_s,
            started_beat=place.began.beat,
            hands_s=hands_s,
            lines=(None,) * LINES,
        )

    def _cued(
        self,
        memory: Memory,
        presses: Sequence[ControlEvent],
        controls: Controls,
        tick: Tick,
        absent: Collection[int],
    ) -> Memory:
        """Follow the score to another cue."""
        values = self._based(self.cues[memory.current.index], memory.current, controls, tick)
        place = self.score.step(
            memory.place,
            presses,
            tick,
            quantize=float(values[self._quantize]),
            bpm=float(values[self._bpm]),
            absent=absent,
        )
        if place.count == memory.place.count:
            return memory if place is memory.place else replace(memory, place=place)
        # What a hand does right after its GO comes before the cue's first light, and belongs to the cue all the same.
        pressed_s = max((press.at_s for press in presses), default=math.inf)
        before_s = np.where(controls.set_s > pressed_s, -np.inf, controls.set_s)
        return replace(
            memory,
            place=place,
            current=self._begun(place, before_s),
            previous=memory.current,
            pair=None,
            is_cut_short=memory.previous is not None,
            remnant=None,
            mended_s=None,
        )

    # Routes

    def edited(self, memory: Memory, edit: RouteEdit | Preset) -> Memory:
        """A hand has changed a route or a preset, added or removed it. A route of the setlist keeps its cues and its place
        there; one that is added plays in all cues, last."""
        if isinstance(edit, Preset):
            return replace(memory, presets=put(memory.presets, edit))
        if edit.name not in self.route_names:
            return memory
        planned = [[route.name for route in cue.routes] for cue in self.cues]
        is_added = not any(edit.name in names for names in planned)
        changed = []
        for names, routes in zip(planned, memory.routes, strict=True):
            now = {route.name: route for route in routes if route.name != edit.name}
            if edit.route is not None and (is_added or edit.name in names):
                now[edit.name] = edit.route
            added = [name for name in now if name not in names]
            changed.append(tuple(now[name] for name in (*names, *added) if name in now))
        return replace(memory, routes=tuple(changed))

    # One cue at one moment

    def _played(
        self,
        state: CueState,
        memory: Memory,
        features: AudioFeatures,
        events: Sequence[AudioEvent],
        controls: Controls,
        tick: Tick,
        meters: F32 | None,
    ) -> tuple[CueState, F32, F32, Callable[[F32], LatentFrame], tuple[ControlEvent, ...]]:
        """(the state after, the knobs, the values, what draws the latent at values, what trigger routes pressed).

        meters: [routes, 2], written to; None where no route plays.
        """
        cue = self.cues[state.index]
        knobs = self._based(cue, state, controls, tick)
        values = knobs.copy()
        remembered, pressed = state.routes, list[ControlEvent]()
        if meters is not None:
            values, remembered, pressed = self._wiring.play(
                memory.routes[state.index],
                Now(state, cue.seed, memory.hits, features, events, tick),
                values,
                meters=meters,
                rebased=lambda levels: self._based(cue, state, controls, tick, levels=levels),
            )

        lines = list(state.lines)
        terms: Terms = []
        beats_hz = float(values[self._bpm]) / 60.0

        def phase(index: int, rate_hz: float) -> float:
            line = lines[index] or Line(rate_hz=rate_hz, at_s=state.started_s)
            lines[index] = line = line.with_rate(rate_hz, at_s=tick.photon_s)
            return line.at(tick.photon_s)

        for index, motion in enumerate(MOTIONS):
            own = {name: float(values[row]) for name, row in self._motion_rows[index].items()}
            at = phase(index, motion.rate_hz(own, beats_hz))
            if own[motion.amount] != 0.0:
                terms += motion.terms(own, cue.seed, at)
        if cue.keyframes is not None:
            terms += cue.keyframes.terms(state.elapsed(cue.keyframes, tick))
        terms += self._figures.pushed(values)
        noise_phase = phase(NOISE_LINE, float(values[self._noise_speed]))
        for index, rate_hz in enumerate(self._wiring.lfo_rates(values), start=LFO_LINE):
            phase(index, rate_hz)
        drawn = partial(self._figures.drawn, cue.creature, cue.seed, terms, noise_phase)
        state = replace(state, lines=tuple(lines), routes=remembered)
        return state, knobs, values, drawn, tuple(pressed)

    def _bare(self, cue: Cue, state: CueState, controls: Controls, tick: Tick) -> F32:
        """The cue's values with the hands' on top: a hand wins until the next cue, and keeps what belongs to it."""
        values = cue.values
        if cue.keyframes is not None:
            values = values.copy()
            for row, value in cue.keyframes.rows(state.elapsed(cue.keyframes, tick)):
                values[row] = value
        return np.where(self._held_by_hand(cue, state, controls), controls.values, values).astype(np.float32)

    def _held_by_hand(self, cue: Cue, state: CueState, controls: Controls) -> np.ndarray:
        """[P] bool: what hands hold in a cue."""
        keeps = self._by_hand & ~cue.named & np.isfinite(controls.set_s)
        return keeps | (controls.set_s > state.hands_s)

    # What presets make of it

    def _based(self, cue: Cue, state: CueState, controls: Controls, tick: Tick, *, levels: F32 | None = None) -> F32:
        """The knobs: the cue's values and the hands', with the morph and the look that it wears. levels: [P], the morph's
        own knobs, where routes have moved them."""
        values = self._bare(cue, state, controls, tick)
        if levels is not None:
            for row in self._looks.levels:
                values[row] = levels[row]
        if state.worn is None:
            return values
        below = self._morphed(values, cue, state, state.worn, controls)
        return self._looks.seen(state.worn.look, below, set_s=controls.set_s, at_s=tick.photon_s)

    def _morphed(self, values: F32, cue: Cue, state: CueState, worn: Worn, controls: Controls) -> F32:
        """Bare values with the two presets of the morph over them, but where a hand has moved a knob since they were
        chosen."""
        pair = self._looks.pair(values)
        if pair == (0, 0):
            return values
        free = ~self._held_by_hand(cue, state, controls) | (controls.set_s <= worn.chosen_s)
        return self._looks.morphed(values, worn.presets, pair=pair, part=self._looks.part(values), free=free)

    def _dressed(
        self, memory: Memory, presses: Sequence[ControlEvent], controls: Controls, tick: Tick, *, ended_s: float | None
    ) -> Memory:
        """Follow what hands ask of presets. ended_s: where a cue begins in this frame, the last press of the one before."""
        previous, current = memory.previous, memory.current
        if ended_s is not None and previous is not None:
            early = [press for press in presses if press.at_s <= ended_s]
            presses = [press for press in presses if press.at_s > ended_s]
            previous = self._wearing(previous, memory.presets, early, controls, tick)
            current = self._wearing(current, memory.presets, (), controls, tick)
            assert previous.worn is not None and current.worn is not None
            named = self.cues[current.index].named
            current = replace(current, worn=self._looks.kept(previous.worn, current.worn, named=named))
        current = self._wearing(current, memory.presets, presses, controls, tick)
        if previous is not None:
            previous = self._wearing(previous, memory.presets, presses, controls, tick)
        return replace(memory, current=current, previous=previous)

    def _wearing(
        self,
        state: CueState,
        presets: tuple[Preset, ...],
        presses: Sequence[ControlEvent],
        controls: Controls,
        tick: Tick,
    ) -> CueState:
        """A cue, with what it wears from this frame on."""
        cue, looks, set_s = self.cues[state.index], self._looks, controls.set_s
        values = self._bare(cue, state, controls, tick)
        fresh = looks.first(values, presets, set_s=set_s, hands_s=state.hands_s)
        worn = state.worn or fresh

        def seen(worn: Worn, at_s: float) -> tuple[F32, F32]:
            """(what is seen at a time, what lies below the look)."""
            beats = (at_s - tick.photon_s) * float(values[self._bpm]) / 60.0
            bare = self._bare(cue, state, controls, replace(tick, photon_s=at_s, beat=tick.beat + beats))
            below = self._morphed(looks.with_pair(bare, worn.pair), cue, state, worn, controls)
            return looks.seen(worn.look, below, set_s=set_s, at_s=at_s), below

        def pressed(worn: Worn, presses: Sequence[ControlEvent]) -> Worn:
            anatomy = self.anatomies[cue.creature]
            acting = Acting(traits=anatomy.trait_count, has_kin=anatomy.siblings > 0)
            for press in presses:
                now, below = seen(worn, press.at_s)
                worn = looks.pressed(
                    worn, press, now, below, presets=presets, set_s=set_s, seed=cue.seed, acting=acting
                )
            return worn

        is_other = worn.pair != fresh.pair or worn.presets is not presets
        if is_other or fresh.moved_s > worn.moved_s:
            at_s = fresh.chosen_s if is_other else fresh.moved_s
            early: list[ControlEvent] = []
            if is_other and not fresh.chosen_s > worn.chosen_s:  # the cue itself has chosen, or a preset is another
                at_s = tick.photon_s
            else:
                early = [press for press in presses if press.at_s < at_s]
                presses = [press for press in presses if press.at_s >= at_s]
            worn = pressed(worn, early)
            before, _ = seen(worn, at_s)
            below = self._morphed(values, cue, state, fresh, controls)
            worn = looks.joined(worn, fresh, before, below, set_s=set_s, at_s=at_s, only_covered=not is_other)
        worn = pressed(worn, presses)
        return state if worn is state.worn else replace(state, worn=worn)

    def _struck(self, memory: Memory, events: Sequence[AudioEvent]) -> Memory:
        """Latch this frame's hits."""
        if not events:
            return memory
        hits = dict(memory.hits)
        for event in events:
            key = (event.voice, event.kind)
            hits[key] = (*hits.get(key, ()), (event.at_s, event.strength))[-HITS_RUNG:]
        return replace(memory, hits=hits)
