"""The governor: what a machine that cannot hold its frames gives up, in which order, and when it takes it up again.

    pace        40, 36, 32, 30 frames a second     where nothing else sets it
    effects     at full, 3/4 and 1/2 of their lines
    generator   every frame, of the smaller picture, on every second frame

A step down is taken where two stretches of two seconds running were bad: too many frames came late, or too many images
failed to come for their frame. Which one is a matter of what costs most. The step that was taken last is the first to be
taken back, after a time in which all was well, and only where the measured times leave room for it. A step back that
fails makes the next try wait twice as long, so that nothing flaps.

Thread: main. No clock: show times are handed in. Real-time: a few additions a frame; arithmetic every two seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

WATCH_S = 2.0  # frames are watched over stretches so long ...
MOST_MISSED = 0.05  # ... of which this part may be late, and as many images fail to come ...
MOST_SKIPPED = 0.1  # ... or, of an engine that has the time, so many ...
STRIKES = 2  # ... until so many stretches running were worse
CLIMB_S = 20.0  # how long all must have been well before a step is taken back ...
LONGEST_S = 600.0  # ... and at most, after tries that failed; a step back that has held so long is no try any more
ROOM = 0.75  # of a slot: what drawing and inference may need for a step to be taken back
BLAMELESS = 0.5  # of a slot: where drawing and inference need less together, something else makes the frames late
KEEPS_UP = 0.75  # of a slot: an engine that needs less has the time, and misses its frame only now and then
SECOND_SLOTS = 2.0  # an engine that needs longer is late for every second frame too
FAR_SLOTS = 4.0  # an engine that needs longer is no matter of frames, and runs freely


class Step(Enum):
    """What can be given up."""

    PACE = "pace"
    EFFECTS = "effects"
    SMALL = "small"
    SECOND = "second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """How a show is to be played."""

    fps: float  # frames a second
    detail: float = 1.0  # part of their lines at which all but the last effect are drawn
    small: bool = False  # whether the smaller picture of the species is drawn
    every: int = 1  # the generator draws for every first, or every second frame


@dataclass(frozen=True, slots=True)
class Change:
    """Another tier, and what to tell people."""

    tier: Tier
    text: str


@dataclass(slots=True)
class _Taken:
    """A step down, and what there is to know for the way back."""

    step: Step
    cost_s: float  # of what it makes cheaper, before it was taken
    most: float  # how many times as much the full thing may cost ...
    ratio: float | None = None  # ... and does, once that has been seen


@dataclass(slots=True)
class _Stretch:
    """Two seconds of frames, added up."""

    from_s: float
    frames: int = 0
    late: int = 0
    due: int = 0
    skipped: int = 0
    draw_s: float = 0.0
    infer_s: float = 0.0
    inferred: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a stretch was like."""

    late: bool
    judders: bool
    draw_s: float
    infer_s: float  # 0 while unknown
    shrinks: bool


class Governor:
    """Watches frames and says how to go on.

    paces
        frames a second, fastest first; a pace that something else sets stands alone.
    details
        parts of their lines at which the effects can be drawn, finest first; 1 alone where that makes no difference.
    """

    def __init__(self, *, paces: Sequence[float], details: Sequence[float] = (1.0,)) -> None:
        self._paces, self._details = tuple(paces), tuple(details)
        self._taken: list[_Taken] = []
        self._stretch: _Stretch | None = None
        self._is_starting = True  # the first stretch is the start of everything, and forgiven
        self._unanswered = 0  # latents submitted since the newest image came
        self._strikes = 0
        self._well_s: float | None = None  # since when all has been well
        self._wait_s = CLIMB_S
        self._climbed_s: float | None = None  # when the last step was taken back; None where it has failed
        self._trial: _Taken | None = None  # a step that has just been taken back

    @property
    def tier(self) -> Tier:
        """How to play now."""
        return Tier(
            fps=self._paces[self._count(Step.PACE)],
            detail=self._details[self._count(Step.EFFECTS)],
            small=self._count(Step.SMALL) > 0,
            every=1 + self._count(Step.SECOND),
        )

    def frame(
        self,
        *,
        at_s: float,
        missed: int,
        draw_s: float,
        infer_s: float,
        is_due: bool,
        is_new: bool,
        shrinks: bool = False,
    ) -> Change | None:
        """Take in a frame that was presented at `at_s`; another tier where one is called for.

        missed
            slots that no frame came for since the one before.
        draw_s, infer_s
            what the stage took, and what the engine took for its newest image; 0 while that is unknown.
        is_due, is_new
            whether a latent was submitted in this frame, and whether another image was seen than in the one before.
        shrinks
            whether the engine that is seen has a smaller picture of its species.
        """
        if self._stretch is None:
            self._stretch = _Stretch(at_s)
        stretch = self._stretch
        stretch.frames += 1
        stretch.late += missed > 0  # one hiccup is one, however long
        stretch.draw_s += draw_s
        if is_due:
            stretch.due += 1
            self._unanswered += 1
        if is_new:
            stretch.skipped += self._unanswered > 1
            self._unanswered = 0
        if infer_s > 0:
            stretch.infer_s += infer_s
            stretch.inferred += 1
        if at_s - stretch.from_s < WATCH_S:
            return None
        self._stretch = _Stretch(at_s)
        if self._is_starting:
            self._is_starting = False
            return None
        infer_s = stretch.infer_s / stretch.inferred if stretch.inferred else 0.0
        most_skipped = MOST_SKIPPED if infer_s < KEEPS_UP * self._slot_s else MOST_MISSED
        seen = _Seen(
            late=stretch.late > MOST_MISSED * stretch.frames,
            judders=stretch.skipped > most_skipped * stretch.due,
            draw_s=stretch.draw_s / stretch.frames,
            infer_s=infer_s,
            shrinks=shrinks,
        )
        return self._judge(seen, at_s=at_s)

    def _judge(self, seen: _Seen, *, at_s: float) -> Change | None:
        self._learn(seen)
        step = self._humbler(seen)
        if self._trial is not None:
            again = self._trial.step
            if seen.late or (seen.judders and step is again):
                return self._take(again, seen, at_s=at_s)
        if seen.late or (seen.judders and step is not None):  # an engine that nothing helps is no reason to be humble
            self._well_s = None
            self._strikes += 1
            return self._take(step, seen, at_s=at_s) if step is not None and self._strikes >= STRIKES else None
        self._strikes = 0
        if self._well_s is None:
            self._well_s = at_s - WATCH_S
        if self._trial is not None and self._climbed_s is not None and at_s - self._climbed_s >= CLIMB_S:
            self._trial = None
        if self._taken and at_s - self._well_s >= self._wait_s and self._has_room(seen):
            return self._take_back(at_s=at_s)
        return None

    # --- down --------------------------------------------------------------------------------------------------------

    def _humbler(self, seen: _Seen) -> Step | None:
        """The step down that helps most, if any does."""
        pace = Step.PACE if self._count(Step.PACE) + 1 < len(self._paces) else None
        effects = Step.EFFECTS if self._count(Step.EFFECTS) + 1 < len(self._details) else None
        generator = self._humbler_generator(seen)
        if seen.late:
            if pace is not None:
                return pace
            if seen.draw_s + seen.infer_s < BLAMELESS * self._slot_s:
                return None
            return (effects or generator) if seen.draw_s >= seen.infer_s else (generator or effects)
        # A pace at which every frame has an image of its own moves better than a faster one on which half of them have.
        if pace is not None and 0 < seen.infer_s * self._paces[-1] < 1.0 - MOST_MISSED:
            return pace
        return generator if seen.infer_s >= KEEPS_UP * self._slot_s else None

    def _humbler_generator(self, seen: _Seen) -> Step | None:
        slots = seen.infer_s / self._slot_s
        if seen.shrinks and not self._count(Step.SMALL) and 0 < slots <= FAR_SLOTS:
            return Step.SMALL
        return Step.SECOND if not self._count(Step.SECOND) and 0 < slots < SECOND_SLOTS else None

    def _take(self, step: Step, seen: _Seen, *, at_s: float) -> Change:
        most = 1.0
        if step is Step.EFFECTS:
            at = self._count(step)
            most = (self._details[at] / self._details[at + 1]) ** 2
        elif step is Step.SMALL:
            most = 4.0  # a picture of half the height and width
        self._taken.append(_Taken(step, seen.infer_s if step is Step.SMALL else seen.draw_s, most))
        if self._climbed_s is not None:
            is_failure = at_s - self._climbed_s < LONGEST_S
            self._wait_s = min(2 * self._wait_s, LONGEST_S) if is_failure else CLIMB_S
        self._climbed_s = self._trial = None
        self._begin()
        return Change(self.tier, self._why(step, seen))

    def _why(self, step: Step, seen: _Seen) -> str:
        if seen.late:
            why, generator, hint = "this machine misses frames", "the generator", " (a smaller --size may hold more)"
        else:
            why, generator, hint = "the generator falls behind", "it", ""
        match step:
            case Step.PACE:
                return f"{why}: going on with {self.tier.fps:g} a second{hint}"
            case Step.EFFECTS:
                return f"{why}: the effects are drawn smaller, {self.tier.detail:.0%} of their size"
            case Step.SMALL:
                return f"{why}: {generator} draws a smaller picture"
            case Step.SECOND:
                return f"{why}: {generator} draws every second frame"

    # --- and back ----------------------------------------------------------------------------------------------------

    def _learn(self, seen: _Seen) -> None:
        """See in the first stretch after a step down how much it has saved."""
        if self._taken and self._taken[-1].ratio is None:
            taken = self._taken[-1]
            cost_s = seen.infer_s if taken.step is Step.SMALL else seen.draw_s
            taken.ratio = min(max(taken.cost_s / cost_s, 1.0), taken.most) if cost_s > 0 else taken.most

    def _has_room(self, seen: _Seen) -> bool:
        """Whether the measured times leave room for the last step to be taken back."""
        last, tier = self._taken[-1], self.tier
        ratio = last.ratio or last.most
        draw_s, infer_s, every, slot_s = seen.draw_s, seen.infer_s, tier.every, self._slot_s
        match last.step:
            case Step.PACE:
                slot_s = 1.0 / self._paces[self._count(Step.PACE) - 1]
            case Step.EFFECTS:
                return draw_s * ratio <= ROOM * slot_s
            case Step.SMALL:
                infer_s *= ratio
            case Step.SECOND:
                every = 1
        is_late_anyway = last.step is Step.PACE and infer_s > every * self._slot_s
        return draw_s <= ROOM * slot_s and (infer_s <= ROOM * every * slot_s or is_late_anyway)

    def _take_back(self, *, at_s: float) -> Change:
        self._trial = self._taken.pop()
        self._climbed_s = at_s
        self._begin()
        match self._trial.step:
            case Step.PACE:
                better = f"{self.tier.fps:g} a second"
            case Step.EFFECTS:
                better = f"the effects are drawn at {self.tier.detail:.0%} of their size"
            case Step.SMALL:
                better = "the generator draws its full picture"
            case Step.SECOND:
                better = "the generator draws every frame"
        return Change(self.tier, f"this machine has room again: {better}")

    # --- both ways ---------------------------------------------------------------------------------------------------

    @property
    def _slot_s(self) -> float:
        return 1.0 / self._paces[self._count(Step.PACE)]

    def _count(self, step: Step) -> int:
        return sum(taken.step is step for taken in self._taken)

    def _begin(self) -> None:
        """Watch the new tier from its first frame."""
        self._stretch = self._well_s = None
        self._strikes = self._unanswered = 0
