"""Wiring: the routes of a cue, from what is heard, swings or is set to the parameters that they move.

Thread: render. Nothing here remembers anything: what routes remember is handed in and out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from performer.choreography import modulation
from performer.choreography.lfo import LFO_NAMES, lfo_value
from performer.choreography.looks import LEVELS
from performer.choreography.memory import LFO_LINE, CueState
from performer.choreography.modulation import RouteMemory
from performer.choreography.motion import MOTIONS, breath
from performer.choreography.transport import BAR_BEATS
from performer.clock import Line
from performer.flow import F32, AudioEvent, AudioFeatures, ControlEvent, Tick
from performer.params import ParamTable
from performer.routes import DRAWN, Route, names_in

HITS_KEPT = 4  # of a kind; more would have to fall on under each other for longer than any release


@dataclass(frozen=True, slots=True)
class Now:
    """What the routes of a cue may start from in a frame."""

    state: CueState
    seed: int  # of the cue
    hits: Mapping[tuple[int, int], tuple[tuple[float, float], ...]]  # as `Memory` has them
    features: AudioFeatures
    events: Sequence[AudioEvent]
    tick: Tick


class Wiring:
    """Plays routes. voices, features: the rows and columns of what is heard. hit_kinds: features that are hits, and the kind
    of the events behind each."""

    def __init__(
        self, table: ParamTable, *, voices: Sequence[str], features: Mapping[str, int], hit_kinds: Mapping[str, int]
    ) -> None:
        self.table = table
        self.names = names_in(table)
        self._lows, self._highs = table.lows(), table.highs()
        self._voices = {name: row for row, name in enumerate(voices)}
        self._features = features
        self._hit_kinds = dict(hit_kinds)
        self._master = table.row("routes.amount")
        self._rows = {
            name: (number, *(table.row(f"{knob}.{name}") for knob in ("route", "mute", "solo")))
            for number, name in enumerate(self.names)
        }
        self._lfos = {
            name: tuple(table.row(f"{name}.{knob}") for knob in ("shape", "rate", "beats", "phase"))
            for name in LFO_NAMES
        }
        self._breathe = [motion.name for motion in MOTIONS].index("breathe")

    def lfo_rates(self, values: F32) -> list[float]:
        """How fast each LFO swings where it does not follow the beat, in hertz."""
        return [float(values[rate]) for _, rate, _, _ in self._lfos.values()]

    def play(
        self,
        routes: Sequence[Route],
        now: Now,
        values: F32,
        *,
        meters: F32,
        rebased: Callable[[F32], F32],
    ) -> tuple[F32, dict[str, RouteMemory], list[ControlEvent]]:
        """(the values after all routes, what each remembers, what they pressed). values: written to. meters: [routes, 2],
        written to. rebased: the values to start from where routes have moved the knobs of the morph, by those."""
        remembered, pressed = dict(now.state.routes), list[ControlEvent]()
        has_solo = any(values[self._rows[route.name][3]] > 0 for route in routes)
        # What moves the morph comes first: all others start from the look that it makes.
        leading = [route for route in routes if route.target in LEVELS]
        for group in (leading, [route for route in routes if route not in leading]):
            for route in group:
                number, master, mute, solo = self._rows[route.name]
                is_heard = values[mute] <= 0 and (values[solo] > 0 or not has_solo)
                remembered[route.name], press = self._routed(
                    route,
                    remembered.get(route.name) or RouteMemory(value=route.rest),
                    now,
                    values,
                    master=float(values[self._master]) * float(values[master]) if is_heard else 0.0,
                    meter=meters[number],
                )
                pressed.extend(press if is_heard else ())
            if leading and group is leading:
                values = rebased(values.clip(self._lows, self._highs))
        return values.clip(self._lows, self._highs), remembered, pressed

    def _routed(
        self,
        route: Route,
        remembered: RouteMemory,
        now: Now,
        values: F32,
        *,
        master: float,
        meter: F32,
    ) -> tuple[RouteMemory, tuple[ControlEvent, ...]]:
        """Apply one route to `values` in place; says what it pressed. meter: [2], written to."""
        hit = self._hit_source(route.source)
        hits = now.hits.get(hit, ()) if hit is not None else ()
        at_s = now.tick.photon_s
        fired_at_s = []
        if hit is not None:
            source = brought = modulation.struck(route, hits[-HITS_KEPT:], photon_s=at_s)
            fired_at_s = [e.at_s for e in now.events if (e.voice, e.kind) == hit and e.strength >= route.gate_on]
        else:

            def read(count: int) -> float:
                if route.source in DRAWN:
                    return modulation.drawn(route, seed=now.seed, count=count)
                return self._level(route.source, now, values)

            if route.hold or route.hold_beats:
                remembered = self._held(route, remembered, read, now, values)
                source = remembered.held if remembered.held is not None else route.rest
            else:
                source = read(0)
            remembered, opened = modulation.followed(route, remembered, source, dt_s=now.tick.dt_s)
            brought = remembered.value
            fired_at_s = [at_s] if opened and route.is_gated else []
        meter[0] = modulation.unit_of(route, source)
        if route.mode == "trigger":
            meter[1] = float(bool(fired_at_s))
            return remembered, tuple(
                ControlEvent(param=route.target, value=1.0, at_s=fired_s, source=f"route {route.name}")
                for fired_s in fired_at_s
            )
        row = self.table.row(route.target)
        if route.ring_hz > 0.0:
            brings = modulation.scaled(route, modulation.rung(route, hits, photon_s=at_s))
        else:
            brings = modulation.shaped(route, brought)
        values[row] = modulation.merged(route, float(values[row]), brings, master=master)
        meter[1] = min(max(brings * master / float(self._highs[row] - self._lows[row] or 1.0), -1.0), 1.0)
        return remembered, ()

    def _held(
        self, route: Route, remembered: RouteMemory, read: Callable[[int], float], now: Now, values: F32
    ) -> RouteMemory:
        """Sample and hold: the memory after this frame."""
        if route.hold_beats:
            passed = math.floor((now.tick.beat - now.tick.downbeat) / route.hold_beats)
            return modulation.held(route, remembered, read, passed=passed, is_struck=False)
        hit = self._hit_source(route.hold)
        if hit is not None:
            is_struck = any((event.voice, event.kind) == hit for event in now.events)
        else:
            is_high = self._level(route.hold, now, values) > route.hold_at
            is_struck = is_high and not remembered.was_high
            remembered = replace(remembered, was_high=is_high)
        return modulation.held(route, remembered, read, passed=None, is_struck=is_struck)

    def _hit_source(self, source: str) -> tuple[int, int] | None:
        """(voice, kind) where the source is a hit; None where it is a level."""
        voice, _, feature = source.partition(".")
        if voice not in self._voices or feature not in self._hit_kinds:
            return None
        return self._voices[voice], self._hit_kinds[feature]

    def _level(self, source: str, now: Now, values: F32) -> float:
        tick = now.tick
        if source == "beat":
            return tick.beat % 1.0
        if source == "bar":
            return (tick.beat - tick.downbeat) / BAR_BEATS % 1.0
        if source == "breathe":
            line = now.state.lines[self._breathe]
            return 0.5 + 0.5 * breath(line.at(tick.photon_s)) if line is not None else 0.5
        if source in self._lfos:
            return self._lfo(source, now, values)
        voice, _, feature = source.partition(".")
        if voice in self._voices:
            return float(now.features.values[self._voices[voice], self._features[feature]])
        row = self.table.row(source)
        return self.table.params[row].to_norm(float(values[row]))

    def _lfo(self, name: str, now: Now, values: F32) -> float:
        shape, rate, beats, ahead = (float(values[row]) for row in self._lfos[name])
        tick = now.tick
        if beats > 0.0:
            phase = (tick.beat - tick.downbeat) / beats
        else:
            line = now.state.lines[LFO_LINE + LFO_NAMES.index(name)]
            phase = (line or Line(rate_hz=rate, at_s=now.state.started_s)).at(tick.photon_s)
        return lfo_value(name, shape=shape, seed=now.seed, phase=phase + ahead)
