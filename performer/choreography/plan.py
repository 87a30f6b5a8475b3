"""The plan: cues, routes and motions as one pure step a frame.

    (memory, features, events, controls, tick) -> (memory, params, latent)

A cue is a complete state over the setlist's defaults: nothing is inherited from the cue before. What moves in a cue is a
line through time that begins with the cue, so that jumping straight to a cue, or to a moment in it, gives the same
latents as playing there.

Thread: render. No clock, no I/O; the same inputs give the same outputs, bit for bit.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from performer.bridges import Bridge
from performer.choreography import modulation
from performer.choreography.keyframes import Keyframes
from performer.choreography.lfo import LFO_NAMES, lfo_value
from performer.choreography.looks import LEVELS, Looks, Worn
from performer.choreography.modulation import RouteMemory
from performer.choreography.motion import (
    BEND_KNOBS,
    MOTIONS,
    Anatomy,
    Terms,
    bend_row,
    breath,
    input_transform,
    noise_gains,
    push,
    ws_from_offsets,
)
from performer.choreography.safe import kept
from performer.choreography.score import Cue, Moment, Place, Score
from performer.choreography.strangeness import estranged, tamed
from performer.choreography.surprise import Acting
from performer.choreography.transition import Stand, Transition, stand_of
from performer.choreography.transport import BAR_BEATS
from performer.choreography.triggers import Triggers, Watch
from performer.clock import Line
from performer.flow import (
    F32,
    GROUP_NAMES,
    STILL,
    STRAIGHT,
    UNBLENDED,
    AudioEvent,
    AudioFeatures,
    ControlEvent,
    LatentFrame,
    Mix,
    Params,
    Tick,
    frozen_array,
    species_at,
)
from performer.params import Controls, Kind, ParamTable
from performer.presets import Preset, put
from performer.routes import DRAWN, Route, RouteEdit, names_in

SWARM_SEEDS = 7919  # from one animal of a swarm to the next: each passes others
HITS_KEPT = 4  # of a kind; more would have to fall on under each other for longer than any release
HITS_RUNG = 128  # what swings is the sum of all hits: one that is dropped too early makes it jump
MEND_S = 0.5  # in which the cue that plays glides to what an edit of the setlist has made of it


@dataclass(frozen=True, slots=True)
class CueState:
    """A cue in play."""

    index: int
    started_s: float
    started_beat: float
    lines: tuple[Line | None, ...]  # the phase of each motion, the noise, and each LFO; None before its first frame
    hands_s: np.ndarray  # [P], when hands had set each parameter before it began: what they set since stands above it
    routes: Mapping[str, RouteMemory] = field(default_factory=dict)  # by name
    worn: Worn | None = None  # what presets and surprises have made of it; None before its first frame

    def elapsed(self, keyframes: Keyframes, tick: Tick) -> float:
        """How far the cue has come, in what its keyframes count."""
        return keyframes.at(tick, since_s=self.started_s, since_beat=self.started_beat)


@dataclass(frozen=True, slots=True)
class Remnant:
    """What a cue that has ended in the middle of its own fade was still short of: it is kept while that cue fades away, so
    that nothing leaps where a hand presses GO twice."""

    values: F32  # [P]
    latents: Mapping[int, tuple[F32, F32]]  # of each creature: ws and noise


@dataclass(frozen=True, slots=True)
class Memory:
    """All that choreography remembers from frame to frame."""

    place: Place
    current: CueState
    routes: tuple[tuple[Route, ...], ...]  # of each cue: the setlist's, as hands have changed them
    presets: tuple[Preset, ...] = ()  # the same
    previous: CueState | None = None  # while a fade is under way
    pair: int | None = None  # of the bridge that the fade crosses
    is_cut_short: bool = False  # the fade before has not come to its end, in the frame before this one ...
    remnant: Remnant | None = None  # ... and this is what it left
    mended_s: float | None = None  # since when the fade is no cue's, but the way to what an edit has made of one
    hits: dict[tuple[int, int], tuple[tuple[float, float], ...]] = field(
        default_factory=dict
    )  # (voice, kind): (at, strength)
    pending: tuple[ControlEvent, ...] = ()  # what trigger routes pressed in the frame before
    watch: Watch = Watch()  # for cues that begin by a clock or a silence
    values: F32 | None = None  # [P], of the frame before
    latent: LatentFrame | None = None
    mix: Mix | None = None

    @property
    def preset(self) -> int:
        """Number of the preset that was glided to last; 0 for none."""
        return self.current.worn.look.number if self.current.worn is not None else 0


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
        self.anatomies = tuple(anatomies)
        self.bridges = dict(bridges or {})
        self._lows = table.lows()
        self._highs = table.highs()
        self._by_hand = np.array([param.by_hand for param in table.params])
        self._fades = np.array([param.kind is Kind.FLOAT for param in table.params])
        self._voices = {name: row for row, name in enumerate(voices)}
        self._hit_kinds = dict(hit_kinds)  # features that are hits, and the kind of the events behind each
        self._motion_rows = [{param.id: table.row(param.id) for param in motion.params} for motion in MOTIONS]
        self._truncation = table.row("latent.truncation")
        self._cutoff = table.row("latent.cutoff")
        self._swarm, self._spread = table.row("swarm.count"), table.row("swarm.spread")
        self._strangeness = table.row("latent.strangeness")
        self._noise = table.row("latent.noise")
        self._noises = tuple(table.row(f"noise.{group}") for group in GROUP_NAMES)
        self._noise_seed, self._noise_speed = table.row("noise.seed"), table.row("noise.speed")
        self._blends = tuple(table.row(f"blend.{group}") for group in GROUP_NAMES)
        self._bends = tuple(tuple(table.row(f"bend.{group}.{knob}") for knob in BEND_KNOBS) for group in GROUP_NAMES)
        self._pushes = tuple(table.row(f"latent.{group}") for group in GROUP_NAMES)
        traits = max(each.trait_count for each in self.anatomies)
        self._traits = tuple(table.row(f"trait.{number}") for number in range(1, traits + 1))
        self._moves = tuple(table.row(f"latent.{move}") for move in ("x", "y", "turn", "zoom"))
        self._master = table.row("routes.amount")
        self.route_names = names_in(table)
        self._route_rows = {
            name: (number, *(table.row(f"{knob}.{name}") for knob in ("route", "mute", "solo")))
            for number, name in enumerate(self.route_names)
        }
        self._lfos = {
            name: tuple(table.row(f"{name}.{knob}") for knob in ("shape", "rate", "beats", "phase"))
            for name in LFO_NAMES
        }
        self._bpm, self._quantize = table.row("transport.bpm"), table.row("cue.quantize")
        self._breathe = [motion.name for motion in MOTIONS].index("breathe")

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
                    for row in self._blends:
                        before[row] = values[row] = mixed[row]
                latent = self._between(from_drawn(before), drawn(values), stand)
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
            ws, noise = remnant.latents[latent.creature]
            anatomy, ws = self.anatomies[latent.creature], latent.ws + ws
            if anatomy.chosen is not None:
                place = _place(anatomy, latent.blend)
                mean, _ = anatomy.mean_and_offsets(0, [], place=place)
                ws = kept(ws, mean, anatomy.hull(place=place), label=anatomy.label_row is not None)
            return replace(latent, ws=frozen_array(ws), noise=frozen_array(latent.noise + noise))

        return memory, np.clip(before + remnant.values, self._lows, self._highs), drawn

    def _faded(self, before: F32, after: F32, stand: Stand) -> F32:
        """Between two cues' values: numbers with fractions are mixed, switches and whole numbers are the new cue's."""
        mixed = np.where(self._fades, before + (after - before) * np.float32(stand.mix), after)
        for row, part in zip(self._blends, stand.groups, strict=True):
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
        own = [*self._blends, *self._traits, self._swarm]
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
            first = first and self._toward(first, ends[0], stand.to_bridge)
            second = second and self._toward(second, ends[1], stand.from_bridge)
        if first is None or second is None:
            seen = first or second
            assert seen is not None
            return memory, seen
        return memory, replace(first, partner=second, part=stand.part)

    def _toward(self, latent: LatentFrame, end: F32, part: float) -> LatentFrame:
        """A latent on its way to another animal [w_dim]; 1 is there."""
        if part <= 0.0:
            return latent
        ws = latent.ws + (end - latent.ws) * np.float32(part)
        if self.anatomies[latent.creature].label_row is not None:
            ws[-1] = latent.ws[-1]
        swarm = tuple(self._toward(each, end, part) for each in latent.swarm)
        return replace(latent, ws=frozen_array(ws), swarm=swarm)

    def _between(self, before: LatentFrame, after: LatentFrame, stand: Stand) -> LatentFrame:
        """Two latents of a species mixed, each layer group as far as it is."""
        anatomy = self.anatomies[after.creature]
        ws, noise = np.empty(len(after.ws), np.float32), np.empty(len(after.noise), np.float32)
        for group, part in enumerate(stand.groups):
            ws[anatomy.rows(group)], noise[anatomy.noise_rows(group)] = part, part
        swarm = tuple(self._between(one, other, stand) for one, other in zip(before.swarm, after.swarm, strict=False))
        partner = after.partner or before.partner
        if before.partner is not None and after.partner is not None:
            partner = self._between(before.partner, after.partner, stand)
        return replace(
            after,
            ws=_mixed(before.ws, after.ws, ws[:, None]),
            noise=_mixed(before.noise, after.noise, noise[:, None]),
            transform=_mixed(before.transform, after.transform, np.float32(stand.mix)),
            bends=_mixed(before.bends, after.bends, np.array(stand.groups, np.float32)[:, None]),
            blend=_mixed(before.blend, after.blend, ws),
            partner=partner,
            part=before.part + (after.part - before.part) * stand.mix,
            swarm=(*swarm, *after.swarm[len(swarm) :]),
        )

    # Cues

    def _begun(self, place: Place, hands_s: np.ndarray) -> CueState:
        return CueState(
            index=place.index,
            started_s=place.began.at_s,
            started_beat=place.began.beat,
            hands_s=hands_s,
            lines=(None,) * (len(MOTIONS) + 1 + len(LFO_NAMES)),
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
        if edit.name not in self._route_rows:
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
        remembered, pressed = dict(state.routes), []
        if meters is not None:
            routes = memory.routes[state.index]
            has_solo = any(values[self._route_rows[route.name][3]] > 0 for route in routes)
            # What moves the morph comes first: all others start from the look that it makes.
            leading = [route for route in routes if route.target in LEVELS]
            for group in (leading, [route for route in routes if route not in leading]):
                for route in group:
                    number, master, mute, solo = self._route_rows[route.name]
                    is_heard = values[mute] <= 0 and (values[solo] > 0 or not has_solo)
                    remembered[route.name], press = self._routed(
                        route,
                        remembered.get(route.name) or RouteMemory(value=route.rest),
                        state,
                        memory,
                        features,
                        events,
                        values,
                        tick,
                        master=float(values[self._master]) * float(values[master]) if is_heard else 0.0,
                        meter=meters[number],
                    )
                    pressed.extend(press if is_heard else ())
                if leading and group is leading:
                    levels = np.clip(values, self._lows, self._highs)
                    values = self._based(cue, state, controls, tick, levels=levels)
            np.clip(values, self._lows, self._highs, out=values)

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
        for group, row in enumerate(self._pushes):
            if values[row] != 0.0:
                terms += push(group, float(values[row]))
        noise_phase = phase(len(MOTIONS), float(values[self._noise_speed]))
        for number, (_, rate, _, _) in enumerate(self._lfos.values()):
            phase(len(MOTIONS) + 1 + number, float(values[rate]))
        drawn = partial(self._drawn, cue.creature, cue.seed, terms, noise_phase)
        state = replace(state, lines=tuple(lines), routes=remembered)
        return state, knobs, values, drawn, tuple(pressed)

    def _drawn(self, creature: int, seed: int, terms: Terms, noise_phase: float, values: F32) -> LatentFrame:
        """What a generator needs to draw one animal, or several that share the frame."""
        first = self._latent(creature, seed, terms, noise_phase, values)
        members = int(values[self._swarm])
        if members == 1:
            return first
        spread = np.float32(values[self._spread])
        swarm = []
        for member in range(1, members):
            own = self._latent(creature, seed + member * SWARM_SEEDS, terms, noise_phase, values)
            ws = frozen_array(first.ws + (own.ws - first.ws) * spread)
            swarm.append(replace(own, ws=ws, member=member, members=members))
        return replace(first, members=members, swarm=tuple(swarm))

    def _latent(self, creature: int, seed: int, terms: Terms, noise_phase: float, values: F32) -> LatentFrame:
        """What a generator needs to draw the animals of `terms`; with a stranger's own as `partner` where it is seen."""
        anatomy = self.anatomies[creature]
        blend, part = UNBLENDED, 0.0
        if anatomy.partner is not None:
            blend = np.empty(anatomy.num_ws, np.float32)
            for group, row in enumerate(self._blends):
                blend[anatomy.rows(group)] = values[row]
            part = float(blend.mean())
        place = _place(anatomy, blend)
        mean, offsets = anatomy.mean_and_offsets(seed, terms, place=place)
        strangeness = float(values[self._strangeness])
        ws = ws_from_offsets(
            anatomy,
            mean,
            offsets,
            truncation=tamed(float(values[self._truncation]), strangeness),
            strange=partial(estranged, anatomy, strangeness=strangeness) if strangeness > 0.0 else None,
            cutoff=int(values[self._cutoff]),
            traits=[float(values[row]) for row in self._traits[: anatomy.trait_count]],
        )
        if anatomy.chosen is not None:
            ws = kept(ws, mean, anatomy.hull(place=place), label=anatomy.label_row is not None)
        noise = noise_gains(
            anatomy,
            strengths=[float(values[self._noise] * values[row]) for row in self._noises],
            seed=int(values[self._noise_seed]),
            phase=noise_phase,
        )
        partner = None
        if anatomy.partner is not None and anatomy.w_between is None and part > 0.0:
            stranger = next(at for at, each in enumerate(self.anatomies) if each is anatomy.partner)
            partner = self._latent(stranger, seed, terms, noise_phase, values)
        return LatentFrame(
            ws=frozen_array(ws),
            noise=frozen_array(noise),
            transform=self._transform(values),
            bends=self._bent(values),
            blend=frozen_array(blend),
            creature=creature,
            partner=partner,
            part=part if partner is not None else 0.0,
        )

    def _bent(self, values: F32) -> F32:
        """How the features of each layer group are bent."""
        bends = np.stack([bend_row([float(values[row]) for row in rows]) for rows in self._bends])
        return STRAIGHT if (bends == STRAIGHT).all() else frozen_array(bends)

    def _transform(self, values: F32) -> F32:
        """How the input is moved."""
        x, y, turns, zoom = (float(values[row]) for row in self._moves)
        if (x, y, turns, zoom) == (0.0, 0.0, 0.0, 1.0):
            return STILL
        return frozen_array(input_transform(x=x, y=y, turns=turns, zoom=zoom))

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

    def _routed(
        self,
        route: Route,
        remembered: RouteMemory,
        state: CueState,
        memory: Memory,
        features: AudioFeatures,
        events: Sequence[AudioEvent],
        values: F32,
        tick: Tick,
        *,
        master: float,
        meter: F32,
    ) -> tuple[RouteMemory, tuple[ControlEvent, ...]]:
        """Apply one route to `values` in place; says what it pressed. meter: [2], written to."""
        hit = self._hit_source(route.source)
        hits = memory.hits.get(hit, ()) if hit is not None else ()
        fired_at_s = []
        if hit is not None:
            source = brought = modulation.struck(route, hits[-HITS_KEPT:], photon_s=tick.photon_s)
            fired_at_s = [e.at_s for e in events if (e.voice, e.kind) == hit and e.strength >= route.gate_on]
        else:
            seed = self.cues[state.index].seed

            def read(count: int) -> float:
                if route.source in DRAWN:
                    return modulation.drawn(route, seed=seed, count=count)
                return self._level(route.source, state, features, values, tick)

            if route.hold or route.hold_beats:
                remembered = self._held(route, remembered, read, state, features, events, values, tick)
                source = remembered.held if remembered.held is not None else route.rest
            else:
                source = read(0)
            remembered, opened = modulation.followed(route, remembered, source, dt_s=tick.dt_s)
            brought = remembered.value
            fired_at_s = [tick.photon_s] if opened and route.is_gated else []
        meter[0] = modulation.unit_of(route, source)
        if route.mode == "trigger":
            meter[1] = float(bool(fired_at_s))
            return remembered, tuple(
                ControlEvent(param=route.target, value=1.0, at_s=at_s, source=f"route {route.name}")
                for at_s in fired_at_s
            )
        row = self.table.row(route.target)
        if route.ring_hz > 0.0:
            brings = modulation.scaled(route, modulation.rung(route, hits, photon_s=tick.photon_s))
        else:
            brings = modulation.shaped(route, brought)
        values[row] = modulation.merged(route, float(values[row]), brings, master=master)
        meter[1] = min(max(brings * master / float(self._highs[row] - self._lows[row] or 1.0), -1.0), 1.0)
        return remembered, ()

    def _held(
        self,
        route: Route,
        remembered: RouteMemory,
        read: Callable[[int], float],
        state: CueState,
        features: AudioFeatures,
        events: Sequence[AudioEvent],
        values: F32,
        tick: Tick,
    ) -> RouteMemory:
        """Sample and hold: the memory after this frame."""
        if route.hold_beats:
            passed = math.floor((tick.beat - tick.downbeat) / route.hold_beats)
            return modulation.held(route, remembered, read, passed=passed, is_struck=False)
        hit = self._hit_source(route.hold)
        if hit is not None:
            is_struck = any((event.voice, event.kind) == hit for event in events)
        else:
            is_high = self._level(route.hold, state, features, values, tick) > route.hold_at
            is_struck = is_high and not remembered.was_high
            remembered = replace(remembered, was_high=is_high)
        return modulation.held(route, remembered, read, passed=None, is_struck=is_struck)

    def _hit_source(self, source: str) -> tuple[int, int] | None:
        """(voice, kind) where the source is a hit; None where it is a level."""
        voice, _, feature = source.partition(".")
        if voice not in self._voices or feature not in self._hit_kinds:
            return None
        return self._voices[voice], self._hit_kinds[feature]

    def _level(self, source: str, state: CueState, features: AudioFeatures, values: F32, tick: Tick) -> float:
        if source == "beat":
            return tick.beat % 1.0
        if source == "bar":
            return (tick.beat - tick.downbeat) / BAR_BEATS % 1.0
        if source == "breathe":
            line = state.lines[self._breathe]
            return 0.5 + 0.5 * breath(line.at(tick.photon_s)) if line is not None else 0.5
        if source in self._lfos:
            return self._lfo(source, state, values, tick)
        voice, _, feature = source.partition(".")
        if voice in self._voices:
            return float(features.values[self._voices[voice], self._features[feature]])
        row = self.table.row(source)
        return self.table.params[row].to_norm(float(values[row]))

    def _lfo(self, name: str, state: CueState, values: F32, tick: Tick) -> float:
        shape, rate, beats, ahead = (float(values[row]) for row in self._lfos[name])
        if beats > 0.0:
            phase = (tick.beat - tick.downbeat) / beats
        else:
            number = len(MOTIONS) + 1 + LFO_NAMES.index(name)
            line = state.lines[number] or Line(rate_hz=rate, at_s=state.started_s)
            phase = line.at(tick.photon_s)
        return lfo_value(name, shape=shape, seed=self.cues[state.index].seed, phase=phase + ahead)

    def _struck(self, memory: Memory, events: Sequence[AudioEvent]) -> Memory:
        """Latch this frame's hits."""
        if not events:
            return memory
        hits = dict(memory.hits)
        for event in events:
            key = (event.voice, event.kind)
            hits[key] = (*hits.get(key, ()), (event.at_s, event.strength))[-HITS_RUNG:]
        return replace(memory, hits=hits)


def _place(anatomy: Anatomy, blend: F32) -> float:
    """Where on the way through siblings the mapping stands: at the mean of the layers' places, which is its own at each."""
    whole = species_at(blend, siblings=anatomy.siblings)
    return float(blend.mean()) * anatomy.siblings if whole is None else float(whole)


def _mixed(first: F32, second: F32, part: np.ndarray | np.float32) -> F32:
    """Between two arrays: 0 is the first."""
    return first if first is second else frozen_array(first + (second - first) * part)
