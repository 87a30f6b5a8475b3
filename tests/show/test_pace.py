"""Pace: an absolute schedule that skips what was missed, and the count of a display's slots."""

import pytest

from performer.clock import SteppedClock
from performer.pace import Pace


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


def test_another_pace_goes_on_from_now():
    clock = SteppedClock()
    pace = Pace(fps=40, clock=clock)
    clock.sleep_until(pace.next_draw_s() + 0.010)
    pace.change(32)
    assert (pace.fps, pace.slot_s) == (32, 1 / 32)
    assert [pace.next_draw_s(), pace.next_draw_s()] == pytest.approx([0.035 + 1 / 32, 0.035 + 2 / 32])
    assert pace.missed == 0


def test_slots_of_a_display_are_counted_from_one_frame_to_the_next():
    pace = Pace(fps=60, clock=SteppedClock(), refresh_hz=60)
    pace.presented(at_s=5.0)  # whatever was before the first
    for at_s in (5.017, 5.040, 5.050):  # a swap that returns a little late is no slot missed
        pace.presented(at_s=at_s)
    assert pace.missed == 0
    pace.presented(at_s=5.050 + 2 / 60)
    pace.presented(at_s=5.050 + 6 / 60)
    assert pace.missed == 1 + 3


@pytest.mark.parametrize(
    ("fps", "refresh_hz", "refreshes"),
    [(60, 60, 1), (144, 144, 1), (30, 60, 2), (50, 60, 2), (120, 60, 1), (59.94, 60, 1), (24, 60, 3), (400, 400, 1)],
)
def test_a_slot_of_a_display_is_a_whole_number_of_refreshes(fps: float, refresh_hz: float, refreshes: int):
    pace = Pace(fps=fps, clock=SteppedClock(), refresh_hz=refresh_hz)
    assert pace.slot_s == pytest.approx(refreshes / refresh_hz)
    for frame in range(20):
        pace.presented(at_s=frame * refreshes / refresh_hz)
    assert pace.missed == 0, "no frame could have come sooner"
