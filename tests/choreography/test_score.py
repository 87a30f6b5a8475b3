"""The score: cues begin at their own instants, whatever the frames do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.choreography.score import Cue, Length, Moment, Place, Score
from performer.flow import ControlEvent, Tick, frozen_array

NOTHING = frozen_array(np.zeros(1, np.float32))
START = Place(0, Moment(0.0, 0.0))


def score(*cues: dict) -> Score:
    return Score(
        [
            Cue(**({"id": str(index + 1), "values": NOTHING, "named": NOTHING > 0} | changes))
            for index, changes in enumerate(cues)
        ]
    )


def played(
    made: Score,
    seconds: float,
    *,
    fps: float = 40.0,
    bpm: float = 120.0,
    presses=None,
    place=START,
    quantize=0.0,
    jitter=0,
):
    """Every place that differs from the one before: [(index, instant in seconds, in beats, when it was seen)]."""
    rng, found, at_s, before_s, frame = np.random.default_rng(jitter), [], 0.0, 0.0, 0
    waiting = sorted((presses or {}).items())
    while at_s < seconds:
        now = []
        while waiting and waiting[0][0] <= at_s:
            word = waiting.pop(0)[1]
            name, _, text = word.partition(" ")
            now.append(ControlEvent(f"cue.{name}", 1.0, at_s, text=text))
        tick = Tick(frame, at_s, at_s - before_s or 1 / fps, at_s * bpm / 60.0, at_s)
        after = made.step(place, now, tick, quantize=quantize, bpm=bpm)
        if after.count != place.count:
            found.append((after.index, after.began.at_s, after.began.beat, at_s))
        place, before_s, frame = after, at_s, frame + 1
        at_s = frame / fps if not jitter else at_s + rng.uniform(0.4, 1.6) / fps
    return place, found


@given(
    lengths=st.lists(st.tuples(st.floats(0.3, 3.0), st.booleans()), min_size=2, max_size=6),
    fps=st.sampled_from([24.0, 25.0, 30.0, 60.0]),
    bpm=st.floats(47.0, 211.0),
)
def test_cues_that_follow_begin_at_the_same_instants_at_any_frame_rate(lengths, fps, bpm):
    made = score(
        *({"duration": Length(amount, in_beats=in_beats), "next": "follow"} for amount, in_beats in lengths), {}
    )
    _, found = played(made, 40.0, fps=fps, bpm=bpm)
    expected = np.cumsum([amount * (60.0 / bpm if in_beats else 1.0) for amount, in_beats in lengths])
    assert [index for index, *_ in found] == list(range(1, len(lengths) + 1))
    assert [at_s for _, at_s, _, _ in found] == pytest.approx(expected, abs=1e-6)
    assert [beat for _, _, beat, _ in found] == pytest.approx(expected * bpm / 60.0, abs=1e-6)
    assert max(abs(seen_s - at_s) for _, at_s, _, seen_s in found) <= 0.5 / fps + 1e-9  # the nearest frame


def test_frames_that_come_unevenly_change_no_instant():
    made = score(*({"duration": Length(0.9), "next": "follow"} for _ in range(8)), {})
    _, even = played(made, 10.0)
    _, uneven = played(made, 10.0, jitter=7)
    assert [at_s for _, at_s, _, _ in uneven] == pytest.approx([at_s for _, at_s, _, _ in even])


def test_waits_lie_before_and_after():
    made = score(
        {"duration": Length(2.0), "post_wait": Length(1.0), "next": "follow"},
        {"pre_wait": Length(2.0, in_beats=True), "post_wait": Length(1.5), "duration": Length(9.0), "next": "continue"},
        {"pre_wait": Length(0.25)},
    )
    _, found = played(made, 10.0)  # two beats a second
    assert [(index, at_s) for index, at_s, _, _ in found] == [(1, pytest.approx(4.0)), (2, pytest.approx(5.75))]
    _, found = played(score({}, {"pre_wait": Length(1.0)}), 5.0, presses={1.0: "go", 1.5: "go"})
    assert [(index, at_s) for index, at_s, _, _ in found] == [(1, pytest.approx(2.0))]


def test_a_cue_says_itself_on_which_beat_it_begins_whoever_asks():
    made = score({"duration": Length(1.3), "next": "follow"}, {"quantize": 4.0}, {"quantize": 0.0})
    _, found = played(made, 10.0, presses={5.1: "go"}, quantize=16.0)
    assert [(index, beat) for index, _, beat, _ in found] == [
        (1, pytest.approx(4.0)),
        (2, pytest.approx(10.2, abs=0.06)),
    ]


def test_what_is_not_armed_is_passed_over_but_can_be_named():
    made = score({"duration": Length(1.0), "next": "follow"}, {"armed": False}, {"name": "three"}, {"armed": False})
    _, found = played(made, 3.0)
    assert [index for index, *_ in found] == [2]
    place, found = played(made, 6.0, presses={0.1: "go", 2.0: "go", 3.0: "prev", 4.0: "goto 2"})
    assert [index for index, *_ in found] == [2, 0, 1]
    assert made.standby(place) == 2
    assert made.standby(played(made, 1.0, presses={0.1: "goto three"})[0]) is None


def test_a_cue_is_found_by_its_id_or_else_its_name_and_by_nothing_else():
    made = score({"id": "2"}, {"id": "a", "name": "2"}, {"id": "b", "name": "end"}, {"id": "c", "name": "end"})
    assert [made.find(text) for text in ("2", "end", "c", "", "END")] == [0, 2, 3, None, None]


@pytest.mark.parametrize(("next_", "expected"), [("loop", 0), ("goto 3", 2), ("goto 1", 0)])
def test_a_cue_goes_where_it_says(next_, expected):
    made = score({}, {"duration": Length(0.5), "next": next_}, {})
    _, found = played(made, 0.8, place=Place(1, Moment(0.0, 0.0)))
    assert [index for index, *_ in found] == [expected]


def test_random_draws_among_the_tagged_never_the_same_twice_running_and_always_alike():
    cue = {"duration": Length(0.1), "next": "random calm", "tags": ("calm",)}
    made = score(cue, {"tags": ("wild",)}, cue, cue, cue | {"armed": False})
    _, found = played(made, 40.0)
    drawn = [index for index, *_ in found]
    assert set(drawn) == {0, 2, 3} and len(drawn) > 300
    assert all(a != b for a, b in zip(drawn, drawn[1:], strict=False))
    assert min(drawn.count(index) for index in (0, 2, 3)) > len(drawn) / 5
    assert drawn == [index for index, *_ in played(made, 40.0, fps=60.0)[1]]
    alone = score({"duration": Length(0.2), "next": "random"})
    assert {index for index, *_ in played(alone, 1.0)[1]} == {0}


def test_a_cue_that_follows_can_be_taken_back_and_panic_stops_the_clockwork():
    made = score({"duration": Length(1.0), "next": "follow"}, {"pre_wait": Length(2.0)}, {})
    _, found = played(made, 6.0, presses={1.5: "prev"})
    assert found == []
    _, found = played(made, 6.0, presses={0.5: "panic"})
    assert found == []
    _, found = played(made, 6.0, presses={0.5: "panic", 2.0: "go"})
    assert [(index, at_s) for index, at_s, _, _ in found] == [(1, pytest.approx(4.0))]


def test_a_clock_that_leaps_keeps_nothing_waiting():
    made = score({}, {})
    place = made.step(
        START, [ControlEvent("cue.go", 1.0, 0.0)], Tick(0, 50.0, 0.025, 101.0, 50.0), quantize=16.0, bpm=120.0
    )
    assert place.waiting is not None and place.waiting.beat == 112.0
    back = made.step(place, (), Tick(1, 50.025, 0.025, 3.0, 50.025), quantize=16.0, bpm=120.0)
    assert back.waiting is not None and back.waiting.beat == 16.0
    ahead = made.step(place, (), Tick(1, 50.025, 0.025, 300.0, 50.025), quantize=16.0, bpm=120.0)
    assert (ahead.index, ahead.began) == (1, Moment(50.025, 300.0))


def test_a_thousand_cues_end_where_they_should():
    made = score(*({"duration": Length(0.7), "next": "follow"} for _ in range(1000)), {})
    place, found = played(made, 701.0, fps=24.0)
    assert (place.index, len(found)) == (1000, 1000)
    assert found[-1][1] == pytest.approx(700.0, abs=1e-6)
    assert abs(found[-1][3] - 700.0) <= 0.5 / 24.0 + 1e-9
