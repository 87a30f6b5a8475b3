"""Pace: an absolute schedule that skips what was missed, and gives up what the machine cannot hold."""

import pytest

from performer.clock import SteppedClock
from performer.pace import Pace


def play(pace: Pace, clock: SteppedClock, *, seconds: float, frame_s: float) -> list[float]:
    """Show times of the paces that were given up, while every frame takes `frame_s`."""
    eased, end_s = [], clock.now_s() + seconds
    while clock.now_s() < end_s:
        clock.sleep_until(pace.next_draw_s())
        clock.sleep_until(clock.now_s() + frame_s)
        if pace.eased():
            eased.append(clock.now_s())
    return eased


def test_a_late_frame_does_not_push_later_ones_back():
    clock = SteppedClock(100.0)
    pace = Pace(fps=40, clock=clock)
    assert [pace.next_draw_s() for _ in range(3)] == pytest.approx([100.025, 100.05, 100.075])
    clock.sleep_until(100.106)  # 6 ms late for the next slot: it is drawn late, the one after is on time
    assert [pace.next_draw_s(), pace.next_draw_s()] == pytest.approx([100.1, 100.125])
    assert pace.missed == 0


def test_slots_that_were_missed_are_skipped_and_counted():
    clock = SteppedClock()
    pace = Pace(fps=40, clock=clock)
    clock.sleep_until(0.130)
    assert pace.next_draw_s() == pytest.approx(0.125)
    assert pace.missed == 4


def test_a_pace_that_cannot_be_held_is_given_up_step_by_step():
    clock = SteppedClock()
    pace = Pace(fps=40, clock=clock, humbler=(36, 32, 30))
    eased = play(pace, clock, seconds=30, frame_s=0.030)  # 33 a second at most
    assert pace.fps == 32
    assert len(eased) == 2 and eased[0] > 4, "given up at once"
    assert play(pace, clock, seconds=30, frame_s=0.010) == []


def test_a_machine_that_holds_its_pace_keeps_it():
    clock = SteppedClock()
    pace = Pace(fps=40, clock=clock, humbler=(36, 32, 30))
    assert play(pace, clock, seconds=60, frame_s=0.024) == []
    assert pace.missed == 0


def test_one_hiccup_or_a_slow_start_change_nothing():
    clock = SteppedClock()
    pace = Pace(fps=40, clock=clock, humbler=(36,))
    assert play(pace, clock, seconds=2, frame_s=0.2) == []  # the first seconds of everything
    assert play(pace, clock, seconds=10, frame_s=0.01) == []
    assert play(pace, clock, seconds=1, frame_s=0.3) == []
    assert play(pace, clock, seconds=10, frame_s=0.01) == []
    assert pace.fps == 40


def test_a_pace_that_was_asked_for_is_kept():
    clock = SteppedClock()
    pace = Pace(fps=60, clock=clock)
    assert play(pace, clock, seconds=20, frame_s=0.05) == []
    assert pace.fps == 60 and pace.missed > 600
