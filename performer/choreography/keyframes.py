"""Keyframes: animals and values at given times of a cue, and the smooth way between them.

A way is a function of the time since the cue began, in seconds or in beats, so that a moment can be asked for without the
moments before it, at any frame rate. Before the first keyframe it stands at it, after the last too; or it is a loop.

Animals lie on a cubic Hermite curve that passes each of them at its time and is continuously differentiable (the tangents
of Catmull and Rom, "A class of local interpolating splines" (1974)). Where times are uneven, a tangent is as slow as the
longer neighbour wants it: the usual one would throw a long stretch far beyond its ends. Where an animal is told twice
running, the way rests there. Values lie on a monotone curve (Fritsch and Carlson, "Monotone Piecewise Cubic Interpolation"
(1980), with the tangents of Fritsch and Butland (1984)): between two keyframes it is between their values, so that none
leaves its parameter's range.

Thread: render. Immutable.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from performer.choreography.motion import NUMBERED, Terms
from performer.flow import GROUPS, Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframe:
    """What is where at one time."""

    at: float  # seconds or beats since the cue began
    animals: tuple[int | None, ...] = (None,) * GROUPS  # by number, for each layer group; None where it is passed by
    values: tuple[tuple[int, float], ...] = ()  # (row of a parameter, its value)


@dataclass(frozen=True, slots=True)
class _Track:
    """What is where along one way: times, rising, and what is there."""

    times: tuple[float, ...]
    stops: tuple[float, ...]  # values, or numbers of animals
    loop: float  # its length; 0 where it ends

    def place(self, at: float) -> tuple[tuple[int, int, int, int], tuple[float, float, float], float]:
        """((the stops before, at both ends of, and after the stretch that `at` lies in), their distances, how far 0..1)."""
        times, count = self.times, len(self.times)
        if self.loop > 0.0:
            at = at % self.loop
            index = bisect_right(times, at) - 1
            around = (index - 1, index, index + 1, index + 2)
            when = [times[i % count] + self.loop * (i // count) for i in around]
            stops = tuple(i % count for i in around)
        else:
            index = min(max(bisect_right(times, at) - 1, 0), max(count - 2, 0))
            around = (index - 1, index, index + 1, index + 2)
            stops = tuple(min(max(i, 0), count - 1) for i in around)
            when = [times[i] for i in stops]
        gaps = (when[1] - when[0], when[2] - when[1], when[3] - when[2])
        part = min(max((at - when[1]) / gaps[1], 0.0), 1.0) if gaps[1] > 0.0 else 0.0
        return (stops[0], stops[1], stops[2], stops[3]), gaps, part

    def value(self, at: float) -> float:
        """The number on the monotone way."""
        around, gaps, u = self.place(at)
        stops = [self.stops[index] for index in around]
        rises = [(b - a) / gap if gap > 0.0 else 0.0 for (a, b), gap in zip(pairwise(stops), gaps, strict=True)]
        start, end = (_monotone(rises[at], rises[at + 1], gaps[at], gaps[at + 1]) * gaps[1] for at in (0, 1))
        low, high = sorted(stops[1:3])
        here = stops[1] + (stops[2] - stops[1]) * (3 - 2 * u) * u * u
        return min(max(here + u * (1 - u) * ((1 - u) * start - u * end), low), high)

    def raised(self, by: int) -> "_Track":
        """The same, with other numbers where there is one: those of presets are others in an evening."""
        return replace(self, stops=tuple(stop + by if stop > 0 else stop for stop in self.stops))

    def step(self, at: float) -> float:
        """The number of the last stop: for what has nothing in between."""
        around, _, u = self.place(at)
        return self.stops[around[2] if u >= 1.0 else around[1]]

    def animals(self, at: float) -> dict[int, float]:
        """Which, and how much of each: as far from the mean one as each of them is, as in `motion.spline`."""
        around, gaps, u = self.place(at)
        before, first, second, after = (int(self.stops[index]) for index in around)
        smooth = (3 - 2 * u) * u * u
        weights: dict[int, float] = {first: 1 - smooth}
        weights[second] = weights.get(second, 0.0) + smooth
        for back, here, onward, left, right, much in (
            (before, first, second, gaps[0], gaps[1], u * (1 - u) ** 2),
            (first, second, after, gaps[1], gaps[2], -u * u * (1 - u)),
        ):
            # At an open end there is no gap, and where an animal is told twice it rests.
            if left > 0.0 and right > 0.0 and back != here != onward:
                pull = 0.5 * much * gaps[1] / max(left, right)
                weights[onward] = weights.get(onward, 0.0) + pull
                weights[back] = weights.get(back, 0.0) - pull
        spread = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {animal: weight / spread for animal, weight in weights.items() if weight != 0.0}


@dataclass(frozen=True, slots=True)
class Keyframes:
    """The ways of one cue."""

    in_beats: bool
    groups: tuple[_Track | None, ...]  # of the animals of each layer group
    values: tuple[tuple[int, _Track, bool], ...]  # (row of a parameter, its way, whether it has anything in between)

    def at(self, tick: Tick, *, since_s: float, since_beat: float) -> float:
        """How far the cue has come at a frame."""
        return tick.beat - since_beat if self.in_beats else tick.photon_s - since_s

    def terms(self, at: float) -> Terms:
        """The animals to mix."""
        return [
            (group, (NUMBERED, animal), weight)
            for group, track in enumerate(self.groups)
            if track is not None
            for animal, weight in track.animals(at).items()
        ]

    def rows(self, at: float) -> list[tuple[int, float]]:
        """(row of a parameter, its value)."""
        return [(row, track.value(at) if is_smooth else track.step(at)) for row, track, is_smooth in self.values]


def keyframes(
    frames: Iterable[Keyframe], *, in_beats: bool = False, loop: float = 0.0, steps: Iterable[int] = ()
) -> Keyframes:
    """The ways through keyframes. loop: its length, 0 where it ends. steps: rows of parameters with nothing in between."""
    frames = sorted(frames, key=lambda frame: frame.at)

    def track(stops: list[tuple[float, float]]) -> _Track | None:
        return _Track(tuple(at for at, _ in stops), tuple(stop for _, stop in stops), loop) if stops else None

    groups = tuple(
        track([(frame.at, number) for frame in frames if (number := frame.animals[group]) is not None])
        for group in range(GROUPS)
    )
    by_row: dict[int, list[tuple[float, float]]] = {}
    for frame in frames:
        for row, value in frame.values:
            by_row.setdefault(row, []).append((frame.at, value))
    stepping = frozenset(steps)
    tracks = ((row, track(stops), row not in stepping) for row, stops in by_row.items())
    return Keyframes(in_beats, groups, tuple((row, way, smooth) for row, way, smooth in tracks if way is not None))


def _monotone(before: float, after: float, left: float, right: float) -> float:
    """The tangent between two slopes over two stretches: none where it turns round, or at an open end."""
    if left <= 0.0 or right <= 0.0 or before * after <= 0.0:
        return 0.0
    return 3 * (left + right) / ((2 * right + left) / before + (right + 2 * left) / after)
