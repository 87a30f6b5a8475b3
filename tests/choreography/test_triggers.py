"""Triggers that come by themselves: exactly once, each at its own instant, whatever frames and clocks do."""

import datetime
import math
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.choreography.score import Length, Moment, Place, Score
from performer.choreography.triggers import Triggers, Watch, instant_of, passed_in_music, passed_of_day
from performer.flow import AudioEvent, AudioEventKind, AudioFeatures, ControlEvent, Music, Tick
from performer.triggers import DAY_S, Trigger
from tests.choreography.test_score import START, score

BERLIN = ZoneInfo("Europe/Berlin")


def offset_in(zone):
    return lambda wall_s: datetime.datetime.fromtimestamp(wall_s, zone).utcoffset().total_seconds()


def posix(*args, zone=datetime.UTC, fold=0):
    return datetime.datetime(*args, tzinfo=zone, fold=fold).timestamp()


def day_of(year, month, day):
    return round(posix(year, month, day) / DAY_S)


def of_day(text):
    hours, minutes, *rest = map(float, text.split(":"))
    return 3600 * hours + 60 * minutes + sum(rest)


def heard(*, silent=0.0, centre_s=0.0, music=None):
    return AudioFeatures(np.array([[silent]], np.float32), centre_s, music=music)


def watched(made, ticks, **features):
    """All presses of a run, with the tick that each came in."""
    watch, found = Watch(), []
    for tick in ticks:
        watch, presses = made.step(watch, heard(**features), (), tick)
        found += [(tick, press) for press in presses]
    return found


def triggers(*cues, zone=None):
    made = score(*({"triggers": tuple(each)} for each in cues))
    return Triggers(made.cues, silence=0, offset_of=offset_in(zone) if zone else lambda _: 0.0)


def ticks(seconds, *, fps, wall_s=math.nan, first_s=0.0):
    for frame in range(math.ceil(seconds * fps)):
        at_s = first_s + frame / fps
        yield Tick(frame, at_s, 1 / fps, 2 * at_s, at_s, wall_s=wall_s + at_s)


# Time of day


@pytest.mark.parametrize(
    ("date", "text", "zone", "expected"),
    [
        ((2026, 6, 1), "20:15", "Europe/Berlin", posix(2026, 6, 1, 18, 15)),
        ((2026, 1, 1), "00:00", "Europe/Berlin", posix(2025, 12, 31, 23)),
        ((2026, 3, 29), "02:30", "Europe/Berlin", posix(2026, 3, 29, 1)),  # it does not come: at the end of the gap
        ((2026, 3, 29), "02:00", "Europe/Berlin", posix(2026, 3, 29, 1)),
        ((2026, 3, 29), "01:59:59", "Europe/Berlin", posix(2026, 3, 29, 0, 59, 59)),
        ((2026, 3, 29), "03:00", "Europe/Berlin", posix(2026, 3, 29, 1)),
        ((2026, 3, 29), "20:15", "Europe/Berlin", posix(2026, 3, 29, 18, 15)),
        ((2026, 10, 25), "02:30", "Europe/Berlin", posix(2026, 10, 25, 0, 30)),  # it comes twice: the first
        ((2026, 10, 25), "03:00", "Europe/Berlin", posix(2026, 10, 25, 2)),
        ((2026, 10, 24), "23:00", "Europe/Berlin", posix(2026, 10, 24, 21)),
        ((2024, 4, 26), "00:30", "Africa/Cairo", posix(2024, 4, 25, 22)),  # midnight itself is left out
        ((2024, 10, 31), "23:30", "Africa/Cairo", posix(2024, 10, 31, 20, 30)),
        ((2026, 4, 5), "01:45", "Australia/Lord_Howe", posix(2026, 4, 4, 14, 45)),  # by half an hour
        ((2011, 12, 30), "12:00", "Pacific/Apia", posix(2011, 12, 30, 10)),  # the day is left out
    ],
)
def test_a_time_of_day_is_an_instant_on_every_day(date, text, zone, expected):
    assert instant_of(of_day(text), day_of(*date), offset_of=offset_in(ZoneInfo(zone))) == expected


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
    start=st.integers(int(posix(2024, 1, 1)), int(posix(2027, 1, 1))),
    text_s=st.integers(0, 86399),
    steps=st.lists(st.floats(1e-3, 50000.0), min_size=1, max_size=40),
)
def test_a_time_of_day_comes_once_a_day_however_it_is_looked_at(zone, start, text_s, steps):
    """By the definition: the first instant of each day at which a clock that is never set back shows that, or later."""
    zone = ZoneInfo(zone)
    edges = start + np.concatenate([[0.0], np.cumsum(steps)])
    found = [
        at_s
        for low, high in zip(edges, edges[1:], strict=False)
        for at_s in passed_of_day(float(text_s), low, high, offset_of=offset_in(zone))
    ]
    assert found == list(passed_of_day(float(text_s), edges[0], edges[-1], offset_of=offset_in(zone)))
    days = [datetime.datetime.fromtimestamp(at_s, zone).date() for at_s in found]
    assert len(set(days)) == len(days)
    for at_s in found:
        now, before = (datetime.datetime.fromtimestamp(each, zone) for each in (at_s, at_s - 1))
        clock_s, before_s = (3600 * each.hour + 60 * each.minute + each.second for each in (now, before))
        assert clock_s >= text_s and (before_s < text_s or before.date() < now.date())
    lasted_days = (edges[-1] - edges[0]) / DAY_S
    assert lasted_days - 1.1 <= len(found) <= lasted_days + 1.1


def test_it_fires_in_the_nearest_frame_and_once():
    made = triggers([Trigger("at", amount=of_day("20:15:00"))], zone=BERLIN)
    for fps in (24.0, 60.0):
        start_s = posix(2026, 6, 1, 18, 14, 59) + 0.01
        ((tick, press),) = watched(made, ticks(3.0, fps=fps, wall_s=start_s))
        assert (press.param, press.text, press.trigger) == ("cue.goto", "1", "at")
        assert press.at_s == pytest.approx(0.99, abs=1e-6)
        assert abs(tick.photon_s - 0.99) <= 0.5 / fps + 1e-6


def wall(made, *spans):
    """Presses while the wall clock is told so: (from, to) POSIX times, one after the other, at 50 frames a second."""
    at_s, found, watch = 0.0, [], Watch()
    for begins_s, ends_s in spans:
        for now_s in np.arange(begins_s, ends_s, 0.02):
            tick = Tick(0, at_s, 0.02, 0.0, at_s, wall_s=float(now_s))
            watch, presses = made.step(watch, heard(), (), tick)
            found += [float(now_s) for _ in presses]
            at_s += 0.02
    return found


def test_a_wall_clock_that_is_set_is_followed():
    made = triggers([Trigger("at", amount=of_day("12:00"))])
    noon = posix(2026, 6, 1, 12)
    assert wall(made, (noon - 5, noon - 1), (noon + 2, noon + 4)) == [noon + 2]  # set ahead, across it: late, but there
    assert len(wall(made, (noon - 5, noon + 1), (noon - 2, noon + 5))) == 1  # set back a little: not twice
    assert wall(made, (noon - 7200, noon - 7199), (noon + 3600, noon + 3601)) == []  # it was wrong before
    assert len(wall(made, (noon - 1, noon + 1), (noon - 7200, noon - 7199), (noon - 1, noon + 1))) == 2  # another noon
    assert wall(made, (noon + 0.1, noon + 2)) == []  # it was over when the show began


def test_without_a_wall_clock_no_time_comes():
    assert watched(triggers([Trigger("at", amount=0.5)]), ticks(2.0, fps=30.0)) == []


# Position


@given(
    places=st.lists(st.floats(0.0, 9.99), min_size=1, max_size=4),
    fps=st.sampled_from([24.0, 25.0, 30.0, 50.0, 60.0]),
    begun_s=st.floats(-3.0, 3.0),
    length_s=st.floats(10.0, 13.0),
    loops=st.booleans(),
)
def test_a_position_comes_in_every_round_in_the_nearest_frame_at_any_frame_rate(places, fps, begun_s, length_s, loops):
    made = triggers(*([Trigger("position", amount=each)] for each in places))
    music = Music(begun_s, length_s if loops else math.inf)
    found = watched(made, ticks(40.0, fps=fps), music=music)
    for number, place in enumerate(places, start=1):
        rounds = range(4 if loops else 1)
        expected = [begun_s + (place + each * length_s) for each in rounds]
        # The first and the last half of a frame belong to nobody.
        sure = [at_s for at_s in expected if 0.5 / fps < at_s < 40.0 - 2 / fps]
        got = [(tick, press) for tick, press in found if press.text == str(number)]
        assert {press.at_s for _, press in got} >= set(sure)
        assert len(got) == len({press.at_s for _, press in got}) <= len(sure) + 2
        assert all(abs(tick.photon_s - press.at_s) <= 0.5 / fps + 1e-9 for tick, press in got)


@given(
    cuts=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60),
    place=st.floats(0.0, 7.0),
    length_s=st.floats(7.0, 9.0),
)
def test_no_cut_through_time_loses_or_doubles_a_position(cuts, place, length_s):
    edges = sorted({0.0, 100.0, *cuts})
    parts = [
        at_s
        for low, high in zip(edges, edges[1:], strict=False)
        for at_s in passed_in_music(place, low, high, length_s=length_s)
    ]
    assert parts == list(passed_in_music(place, 0.0, 100.0, length_s=length_s))


def test_the_very_beginning_counts_and_a_line_that_trembles_fires_once():
    made = triggers([Trigger("position", amount=0.0)], [Trigger("position", amount=2.0)])
    watch, found, rng = Watch(), [], np.random.default_rng(3)
    for tick in ticks(4.0, fps=40.0):
        music = Music(float(rng.uniform(-1, 1)) * 4e-3 * (tick.photon_s > 1))
        watch, presses = made.step(watch, heard(music=music), (), tick)
        found += [press.text for press in presses]
    assert found == ["1", "2"]


# Silence


def struck(made, hits, *, quiet, seconds=20.0, fps=30.0):
    """Presses as (cue, at_s), where onsets fall at `hits` and the feature `silence` is 1 within the spans `quiet`."""
    watch, found = Watch(), []
    for tick in ticks(seconds, fps=fps):
        now_s, before_s = tick.photon_s, tick.photon_s - tick.dt_s
        silent = float(any(low <= now_s < high for low, high in quiet))
        events = [AudioEvent(0, int(AudioEventKind.ONSET), at_s, 1.0) for at_s in hits if before_s < at_s <= now_s]
        events += [AudioEvent(0, int(AudioEventKind.KICK), at_s, 1.0) for at_s in hits if before_s < at_s <= now_s]
        watch, presses = made.step(watch, heard(silent=silent, centre_s=now_s), events, tick)
        found += [(press.text, press.at_s) for press in presses]
    return found


def test_the_first_hit_after_a_silence_begins_a_cue():
    made = triggers([Trigger("silence", amount=4.0)], [Trigger("silence", amount=2.0)])
    # The feature tells of a silence when it has lasted a second: these began at 4, 8 and 14.
    quiet = [(5.0, 6.6), (9.0, 12.5), (15.0, 17.5)]
    hits = [1.0, 3.0, 6.5, 6.6, 7.0, 12.45, 12.48, 12.6, 17.4]
    for fps in (24.0, 30.0, 60.0):
        assert struck(made, hits, quiet=quiet, fps=fps) == [
            ("2", 6.5),
            ("1", 12.45),
            ("2", 12.45),
            ("2", 17.4),
        ]


def test_a_hit_too_soft_to_end_the_silence_is_the_first_all_the_same():
    made = triggers([Trigger("silence", amount=3.0)])
    assert struck(made, [8.0, 9.0, 12.5], quiet=[(3.0, 19.0)]) == [("1", 8.0), ("1", 12.5)]
    assert struck(made, [2.0, 9.0], quiet=[]) == []


# What the score makes of it

PRESSES = {kind: ControlEvent("cue.goto", 1.0, 1.0, text="2", trigger=kind) for kind in ("osc", "at", "locator")}


def step(made, place, *presses, at_s=1.0, quantize=0.0):
    return made.step(place, presses, Tick(0, at_s, 0.02, 2 * at_s, at_s), quantize=quantize, bpm=120.0)


def test_a_hand_begins_a_cue_anew_and_a_clock_does_not():
    made = score({}, {})
    for kind, press in PRESSES.items():
        begun = step(made, START, press)
        assert (begun.index, begun.count) == (1, 1)
        assert step(made, begun, press, at_s=3.0).count == (2 if kind == "osc" else 1)


def test_what_is_not_armed_ignores_its_triggers_and_is_named_all_the_same():
    made = score({}, {"armed": False})
    for press in PRESSES.values():
        assert step(made, START, press) is START
    assert step(made, START, ControlEvent("cue.goto", 1.0, 1.0, text="2")).index == 1
    armed = step(made, START, ControlEvent("cue.arm", 1.0, 1.0, text="2"))
    assert step(made, armed, PRESSES["at"]).index == 1


def test_beats_and_waits_of_the_cue_hold_for_triggers_too():
    made = score({}, {"quantize": 4.0})
    assert step(made, START, PRESSES["at"], at_s=1.1).waiting.beat == 4.0
    made = score({}, {"pre_wait": Length(0.5)})
    begun = step(made, step(made, START, PRESSES["at"]), at_s=1.5)
    assert begun.began.at_s == 1.5  # from its own instant, not from the frame's
    made = score({}, {})
    assert step(made, START, PRESSES["osc"], at_s=1.1, quantize=16.0).waiting.beat == 16.0
    assert step(made, START, PRESSES["at"], quantize=16.0).index == 1  # the knob is for hands


def test_a_panic_is_a_hands_to_end():
    made = score({}, {})
    panicked = step(made, START, ControlEvent("cue.panic", 1.0, 1.0))
    assert step(made, panicked, PRESSES["at"]).is_panicked and step(made, panicked, PRESSES["locator"]).is_panicked
    assert step(made, panicked, PRESSES["osc"]).index == 1


def test_a_trigger_and_the_end_of_a_cue_in_one_frame_are_told_apart():
    made = score({"duration": Length(1.0), "next": "follow"}, {}, {"triggers": ()})
    begun = step(made, START, ControlEvent("cue.goto", 1.0, 1.0, text="3", trigger="position"))
    assert (begun.index, begun.began) == (2, Moment(1.0, 2.0))


# Arming


@given(
    armed=st.lists(st.booleans(), min_size=2, max_size=6),
    switches=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12),
)
def test_go_passes_over_what_hands_have_disarmed(armed, switches):
    made = score(*({"armed": each} for each in armed))
    place, now = START, list(armed)
    for index, arms in switches:
        if index < len(armed):
            now[index] = arms
            place = step(made, place, ControlEvent("cue.arm" if arms else "cue.disarm", 1.0, 1.0, text=str(index + 1)))
    assert made.disarmed(place) == tuple(index for index, each in enumerate(now) if not each)
    following = next((index for index in range(1, len(now)) if now[index]), None)
    assert made.standby(place) == following
    after = step(made, place, ControlEvent("cue.go", 1.0, 1.0))
    assert after.index == (following or 0)
    assert made.disarmed(after) == made.disarmed(place)  # a cue that begins changes nothing of it


def test_what_is_disarmed_neither_stands_by_nor_waits():
    made = score({}, {}, {}, {})
    loaded = step(made, START, ControlEvent("cue.load", 1.0, 1.0, text="3"))
    assert made.standby(step(made, loaded, ControlEvent("cue.disarm", 1.0, 1.0, text="3"))) == 1
    assert made.standby(step(made, loaded, ControlEvent("cue.disarm", 1.0, 1.0, text="2"))) == 2
    waiting = step(made, START, ControlEvent("cue.go", 1.0, 1.0), at_s=1.1, quantize=4.0)
    assert waiting.waiting is not None
    assert step(made, waiting, ControlEvent("cue.disarm", 1.0, 1.0, text="2"), at_s=1.2).waiting is None
    assert step(made, START, ControlEvent("cue.disarm", 1.0, 1.0, text="nobody")) is START


def test_random_and_loop_and_back_pass_over_them():
    cue = {"duration": Length(0.5), "next": "random"}
    made = Score(score(cue, cue, cue).cues)
    place = step(made, START, ControlEvent("cue.disarm", 1.0, 0.0, text="2"), at_s=0.0)
    assert step(made, place, at_s=0.5).index == 2
    made = score({}, {}, {"duration": Length(0.5), "next": "loop"})
    place = step(made, Place(2, Moment(0.0, 0.0)), ControlEvent("cue.disarm", 1.0, 0.0, text="1"), at_s=0.0)
    assert step(made, place, at_s=0.5).index == 1
    place = step(made, Place(2, Moment(0.0, 0.0)), ControlEvent("cue.disarm", 1.0, 0.0, text="2"), at_s=0.0)
    assert step(made, place, ControlEvent("cue.prev", 1.0, 0.1), at_s=0.1).index == 0
