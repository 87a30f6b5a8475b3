"""The governor: what is given up for which fault, in which order, and when it is taken up again."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from performer.governor import CLIMB_S, LONGEST_S, Governor, Tier

SOFTWARE = (40.0, 36.0, 32.0, 30.0)
DETAILS = (1.0, 0.75, 0.5)


@dataclass
class Machine:
    """A machine that plays what the governor says. Times may depend on the tier and on the time."""

    governor: Governor
    draw_s: Callable[[Tier, float], float]
    infer_s: Callable[[Tier, float], float] = lambda tier, at_s: 0.004
    hitch_s: Callable[[Tier, float], float] = lambda tier, at_s: 0.0  # what nobody has measured makes frames late
    shrinks: bool = False
    at_s: float = 0.0
    changes: list[tuple[float, Tier, str]] = field(default_factory=list)
    frame: int = 0
    ready_s: float = -1.0  # of the image that is being drawn
    waiting: bool = False
    busy: bool = False

    def play(self, seconds: float) -> "Machine":
        """Frames on slots of the tier's pace, and an engine that draws the newest latent as soon as it is free."""
        end_s = self.at_s + seconds
        while self.at_s < end_s:
            tier = self.governor.tier
            slot_s, draw_s, infer_s = 1 / tier.fps, self.draw_s(tier, self.at_s), self.infer_s(tier, self.at_s)
            slots = max(-(-(draw_s + self.hitch_s(tier, self.at_s)) // slot_s), 1)
            is_due, is_new = self.frame % tier.every == 0, False
            self.waiting |= is_due
            begun_s, self.at_s = self.at_s, self.at_s + slots * slot_s
            while True:  # what the engine does until the frame is shown
                if self.busy and self.ready_s <= self.at_s + 1e-9:
                    self.busy, is_new, begun_s = False, True, max(begun_s, self.ready_s)
                elif not self.busy and self.waiting:
                    self.busy, self.waiting, self.ready_s = True, False, begun_s + infer_s
                else:
                    break
            change = self.governor.frame(
                at_s=self.at_s,
                missed=int(slots) - 1,
                draw_s=draw_s,
                infer_s=infer_s,
                is_due=is_due,
                is_new=is_new,
                shrinks=self.shrinks,
            )
            self.frame += 1
            if change is not None:
                assert change.tier == self.governor.tier
                self.changes.append((self.at_s, change.tier, change.text))
        return self

    @property
    def tier(self) -> Tier:
        return self.governor.tier

    @property
    def said(self) -> list[str]:
        return [text for _, _, text in self.changes]


def always(seconds: float) -> Callable[[Tier, float], float]:
    return lambda tier, at_s: seconds


def vsync(**how) -> Machine:
    return Machine(Governor(paces=(60.0,), details=DETAILS), **how)


# --- what holds is left alone ----------------------------------------------------------------------------------------


def test_a_machine_that_holds_is_left_alone():
    for paces in (SOFTWARE, (60.0,)):
        governor = Governor(paces=paces, details=DETAILS)
        assert Machine(governor, always(0.014), always(0.015), shrinks=True).play(120).changes == []
        assert governor.tier == Tier(fps=paces[0])


def test_one_hiccup_or_a_slow_start_change_nothing():
    def slow_at_first(tier: Tier, at_s: float) -> float:
        return 0.2 if at_s < 2 or 20 < at_s < 20.5 or 31.9 < at_s < 32.1 else 0.012

    assert Machine(Governor(paces=SOFTWARE), slow_at_first).play(60).changes == []
    stalls = vsync(draw_s=always(0.005), infer_s=lambda _, at_s: 0.14 if at_s % 2 < 1 / 60 else 0.008)
    assert stalls.play(60).changes == [], "an engine may hiccup too"


def test_a_long_stop_counts_as_one_late_frame():
    stopped = vsync(draw_s=always(0.005), infer_s=always(0.008), hitch_s=lambda tier, at_s: 1.9 * (at_s % 5 < 1 / 60))
    assert stopped.play(120).changes == []


# --- one lever for each fault ----------------------------------------------------------------------------------------


def test_a_software_renderer_gives_up_its_pace_first():
    machine = Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.030), always(0.02)).play(16)
    assert [tier for _, tier, _ in machine.changes] == [Tier(fps=36), Tier(fps=32)]
    assert machine.changes[0][0] > 4, "given up at once"
    assert machine.said[1] == "this machine misses frames: going on with 32 a second (a smaller --size may hold more)"


def test_and_then_what_costs_most():
    machine = Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.040), always(0.010)).play(60)
    assert [tier.fps for _, tier, _ in machine.changes[:3]] == [36, 32, 30]
    assert machine.tier == Tier(fps=30, detail=0.5, every=2), "everything that there is"
    assert [(tier.detail, tier.every) for _, tier, _ in machine.changes[3:]] == [(0.75, 1), (0.5, 1), (0.5, 2)]


def test_a_display_whose_slots_are_missed_draws_its_effects_smaller():
    machine = vsync(draw_s=lambda tier, at_s: 0.006 + 0.014 * tier.detail**2, infer_s=always(0.005)).play(19)
    assert machine.tier == Tier(fps=60, detail=0.75)
    assert machine.said == ["this machine misses frames: the effects are drawn smaller, 75% of their size"]


def test_a_display_whose_slots_are_missed_for_the_engine_eases_the_engine():
    def contended(tier: Tier, at_s: float) -> float:
        return 0.012 if tier.every == 2 else 0.018

    machine = vsync(draw_s=contended, infer_s=always(0.020)).play(19)
    assert machine.tier == Tier(fps=60, every=2)
    assert machine.said == ["this machine misses frames: the generator draws every second frame"]


def test_where_neither_drawing_nor_the_engine_takes_long_neither_is_eased():
    hidden = vsync(draw_s=always(0.002), infer_s=always(0.004), hitch_s=always(0.9))  # a window that nobody sees
    assert hidden.play(120).changes == []


def test_a_pace_that_was_asked_for_is_kept():
    machine = Machine(Governor(paces=(40.0,), details=DETAILS), always(0.035), always(0.030), shrinks=True).play(60)
    assert machine.tier == Tier(fps=40, detail=0.5, small=True, every=2)


def test_effects_that_run_at_no_size_of_their_own_are_not_eased():
    machine = Machine(Governor(paces=(60.0,)), always(0.020), always(0.010)).play(60)
    assert machine.tier == Tier(fps=60, every=2) and len(machine.changes) == 1


# --- images that do not come -----------------------------------------------------------------------------------------


def test_an_engine_that_takes_a_little_more_than_a_frame_draws_every_second():
    machine = vsync(draw_s=always(0.004), infer_s=always(0.019)).play(60)
    assert machine.tier == Tier(fps=60, every=2)
    assert machine.said == ["the generator falls behind: it draws every second frame"]


def test_the_smaller_picture_is_tried_before_that():
    def quarter(tier: Tier, at_s: float) -> float:
        return 0.007 if tier.small else 0.028

    machine = vsync(draw_s=always(0.004), infer_s=quarter, shrinks=True).play(60)
    assert machine.tier == Tier(fps=60, small=True)
    assert machine.said == ["the generator falls behind: it draws a smaller picture"]


def test_and_where_that_is_too_slow_as_well_it_draws_every_second():
    machine = vsync(draw_s=always(0.004), infer_s=lambda tier, at_s: 0.02 if tier.small else 0.06, shrinks=True)
    assert machine.play(60).tier == Tier(fps=60, small=True, every=2)


@pytest.mark.parametrize("infer_s", [0.04, 0.1, 0.4])
def test_an_engine_that_is_far_slower_runs_freely(infer_s: float):
    assert vsync(draw_s=always(0.004), infer_s=always(infer_s)).play(120).changes == []
    if infer_s > 4 / 60:
        assert vsync(draw_s=always(0.004), infer_s=always(infer_s), shrinks=True).play(120).changes == []


def test_a_pace_at_which_each_frame_has_its_image_comes_before_half_the_images():
    machine = Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.008), always(0.027)).play(30)
    assert machine.tier == Tier(fps=36)
    assert machine.said == ["the generator falls behind: going on with 36 a second"]
    slow = Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.008), always(0.034)).play(30)
    assert slow.tier == Tier(fps=40, every=2), "no pace helps here"


def now_and_then(part: float) -> Callable[[Tier, float], float]:
    """An engine that has the time, and is held up in this part of its frames by something else."""
    return lambda tier, at_s: 0.030 if round(at_s * tier.fps) % round(1 / part) == 0 else 0.012


def test_an_engine_that_has_the_time_is_not_halved_for_what_holds_it_up():
    """A picture that comes late now and then moves better than half of the pictures."""
    assert Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.008), now_and_then(0.08)).play(60).changes == []
    held_up = Machine(Governor(paces=(40.0,), details=DETAILS), always(0.008), now_and_then(0.2)).play(60)
    assert held_up.changes == []
    eased = Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.008), now_and_then(0.2)).play(10)
    assert eased.said == ["the generator falls behind: going on with 36 a second"]


def test_an_engine_that_is_away_is_not_eased():
    """While it is rebuilt, no image comes and nothing is known of its time."""
    governor = Governor(paces=(60.0,))
    for frame in range(60 * 20):
        gone = 300 < frame < 900
        infer_s = 0.0 if gone else 0.01
        assert (
            governor.frame(at_s=frame / 60, missed=0, draw_s=0.004, infer_s=infer_s, is_due=True, is_new=not gone)
            is None
        )


# --- and back --------------------------------------------------------------------------------------------------------


def busy_until(end_s: float, *, busy_s: float, free_s: float) -> Callable[[Tier, float], float]:
    return lambda tier, at_s: busy_s if at_s < end_s else free_s


def test_a_step_is_taken_back_when_all_has_been_well_for_long():
    machine = Machine(Governor(paces=SOFTWARE, details=DETAILS), busy_until(9, busy_s=0.030, free_s=0.010)).play(80)
    (first, (_, lowest, _), (back_s, back, text), (again_s, full, _)) = machine.changes
    assert (first[1].fps, lowest.fps, back.fps, full.fps) == (36, 32, 36, 40), "the last first"
    assert 9 + CLIMB_S <= back_s < 9 + CLIMB_S + 6 and again_s - back_s >= CLIMB_S
    assert text == "this machine has room again: 36 a second"


def test_all_that_was_given_up_comes_back():
    machine = Machine(
        Governor(paces=SOFTWARE, details=DETAILS),
        busy_until(60, busy_s=0.040, free_s=0.009),
        busy_until(60, busy_s=0.045, free_s=0.009),
        shrinks=True,
    ).play(60)
    assert machine.tier == Tier(fps=30, detail=0.5, small=True, every=2)
    machine.play(300)
    assert machine.tier == Tier(fps=40)
    count = len(machine.changes) // 2
    tiers = [tier for _, tier, _ in machine.changes]
    assert tiers[count:] == [*reversed(tiers[: count - 1]), Tier(fps=40)], "in the order in which it went, reversed"
    assert {text.split(": ")[1] for text in machine.said[count:]} == {
        "the generator draws every frame",
        "the generator draws its full picture",
        "the effects are drawn at 75% of their size",
        "the effects are drawn at 100% of their size",
        "32 a second",
        "36 a second",
        "40 a second",
    }


@pytest.mark.parametrize("busy", ["drawing", "engine", "effects", "small"])
def test_without_room_for_it_nothing_is_taken_back(busy: str):
    """What is well at the humbler tier would not be at the one above, and the measured times say so."""
    if busy == "drawing":
        machine = Machine(Governor(paces=SOFTWARE), busy_until(8, busy_s=0.026, free_s=0.020))
    elif busy == "engine":
        machine = vsync(draw_s=always(0.004), infer_s=always(0.018))
    elif busy == "effects":
        machine = vsync(draw_s=lambda tier, at_s: 0.002 + 0.016 * tier.detail**2)
    else:
        machine = vsync(draw_s=always(0.004), infer_s=lambda tier, at_s: 0.006 if tier.small else 0.02, shrinks=True)
    machine.play(600)
    assert len(machine.changes) == 1, machine.said


def test_an_engine_that_runs_freely_keeps_nothing_from_being_taken_back():
    for machine, full in (
        (vsync(draw_s=busy_until(7, busy_s=0.020, free_s=0.005), infer_s=always(0.07)), Tier(fps=60)),
        (Machine(Governor(paces=SOFTWARE), busy_until(7, busy_s=0.030, free_s=0.010), always(0.07)), Tier(fps=40)),
    ):
        assert machine.play(7).tier != full
        assert machine.play(60).tier == full and len(machine.changes) == 2


def test_what_a_step_has_saved_is_remembered_for_the_way_back():
    """Effects that cost little of the drawing leave room where their lines alone would forbid it."""

    def most_is_the_last_effect(tier: Tier, at_s: float) -> float:
        return (0.018 if at_s < 9 else 0.0075) + 0.002 * tier.detail**2

    machine = vsync(draw_s=most_is_the_last_effect).play(60)
    assert 0.0075 * (1 / 0.75) ** 2 > 0.75 / 60
    assert machine.tier == Tier(fps=60) and len(machine.changes) >= 2


def on_the_edge(tier: Tier, at_s: float) -> float:
    """Late at the full pace for a reason that no measured time shows."""
    return 0.030 if tier.fps == 40 else 0.0


def strained(tier: Tier, at_s: float) -> float:
    """An engine that takes longer where it draws more often."""
    return 0.027 if tier.fps == 40 else 0.018


@pytest.mark.parametrize("fault", [{"hitch_s": on_the_edge}, {"infer_s": strained}], ids=["late frames", "no images"])
def test_a_step_back_that_fails_is_undone_at_once_and_the_next_waits_twice_as_long(fault):
    machine = Machine(Governor(paces=(40.0, 32.0)), always(0.010), **fault).play(200)
    times, tiers = [at for at, _, _ in machine.changes], [tier.fps for _, tier, _ in machine.changes]
    assert tiers == [32, 40] * (len(tiers) // 2) + [32] * (len(tiers) % 2) and len(tiers) >= 6
    falls = [down - up for up, down in zip(times[1::2], times[2::2], strict=False)]
    assert all(2 <= fall < 2.5 for fall in falls), "one bad stretch is enough"
    waits = [up - down for down, up in zip(times[0::2], times[1::2], strict=False)]
    assert waits[:3] == pytest.approx([20, 40, 80], rel=0.15)


def test_a_step_back_that_has_held_is_no_trial_any_more():
    machine = Machine(
        Governor(paces=(40.0, 36.0)),
        busy_until(8, busy_s=0.030, free_s=0.010),
        hitch_s=lambda tier, at_s: 0.030 if 70 < at_s < 70.3 else 0.0,
    ).play(120)
    assert [tier.fps for _, tier, _ in machine.changes] == [36, 40] and machine.changes[1][0] < 40


def test_it_never_flaps():
    """Half an hour on machines that sit on the edge: late at once, after a while, and now and then."""
    for late in (
        on_the_edge,
        lambda tier, at_s: on_the_edge(tier, at_s) * (at_s % 60 > 20),
        lambda tier, at_s: on_the_edge(tier, at_s) * (at_s % 300 < 10),
        lambda tier, at_s: 0.030 * (at_s % 45 < 5),
    ):
        machine = Machine(Governor(paces=SOFTWARE, details=DETAILS), always(0.010), hitch_s=late).play(1800)
        assert 1 <= len(machine.changes) <= 18, machine.said
        last = [at for at, _, _ in machine.changes if at > 900]
        assert len(last) <= 5, "and ever less"


def test_a_wait_is_not_longer_than_ten_minutes_and_short_again_after_a_step_that_held():
    machine = Machine(
        Governor(paces=(40.0, 36.0)),
        always(0.010),
        hitch_s=lambda tier, at_s: on_the_edge(tier, at_s) if at_s < 3000 or 6000 < at_s < 6010 else 0.0,
    ).play(6100)
    times = [at for at, _, _ in machine.changes]
    waits = [up - down for down, up in zip(times[0::2], times[1::2], strict=False)]
    assert LONGEST_S <= max(waits) < LONGEST_S + 10
    assert CLIMB_S <= waits[-1] < CLIMB_S + 10 and machine.tier.fps == 40
