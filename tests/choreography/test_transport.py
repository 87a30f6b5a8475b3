"""Who leads the beat: hands, the ear, or what ran before; and that the line never leaps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer.choreography.transport import BAR_PATIENCE_BEATS, GLIDE_MOST, SURE, TAPS_LEAD_S, Transport
from performer.flow import AudioFeatures, ControlEvent, Pulse, frozen_array

NOTHING = frozen_array(np.zeros((1, 1), np.float32))
LATE_S = 0.03  # what is heard is so old when a frame is made


def press(name, at_s):
    return ControlEvent(f"transport.{name}", 1.0, at_s)


def ear(at_s, *, bpm=128.0, begun_s=0.0, confidence=0.9, downbeat=0):
    """What an ear says at `at_s` of music with a beat at `begun_s`."""
    heard_s = at_s - LATE_S
    beat = (heard_s - begun_s) * bpm / 60.0
    return AudioFeatures(NOTHING, heard_s, bpm=bpm, beat=beat, confidence=confidence, downbeat=downbeat)


def led(transport, seconds, *, from_s=0.0, presses=(), fps=40.0, **music):
    """Follow the ear for a while; the transport after, and the beat of every frame."""
    beats, waiting = [], list(presses)
    for at_s in np.arange(from_s, from_s + seconds, 1.0 / fps):
        now = [waiting.pop(0)] if waiting and waiting[0].at_s <= at_s else []
        transport = transport.step(now, bpm=transport.asked_bpm, at_s=at_s, heard=ear(at_s, **music), follow=True)
        beats.append(transport.line.at(at_s))
    return transport, np.array(beats)


def apart(beats, turn=1.0):
    """The same difference, within half a turn."""
    return (beats + turn / 2) % turn - turn / 2


def off(transport, at_s, *, bpm=128.0, begun_s=0.0):
    """Beats between the line and the music, -0.5 to 0.5."""
    return apart(transport.line.at(at_s) - (at_s - begun_s) * bpm / 60.0)


def test_the_parameter_taps_and_resync_lead():
    transport = Transport.at_bpm(120.0)
    transport = transport.step((), bpm=60.0, at_s=10.0)
    assert transport.line.at(11.0) == pytest.approx(21.0)
    for at_s in (20.0, 20.4, 20.8, 21.2):
        transport = transport.step([press("tap", at_s)], bpm=60.0, at_s=at_s)
    assert transport.bpm == pytest.approx(150.0)
    assert transport.line.at(21.2) % 1 == pytest.approx(0.0, abs=1e-9)
    transport = transport.step([press("resync", 30.1)], bpm=60.0, at_s=30.1)
    assert transport.line.at(30.1) % 1 == pytest.approx(0.0, abs=1e-9)
    transport = transport.step((), bpm=90.0, at_s=31.0)
    assert replace(transport).bpm == pytest.approx(90.0)


def test_a_sure_ear_is_followed_to_the_beat_that_is_seen():
    transport, _ = led(Transport.at_bpm(120.0), 6.0, begun_s=0.21)
    assert transport.follows
    assert abs(off(transport, 6.5, begun_s=0.21)) < 0.01  # asked for ahead of what was heard
    assert transport.bpm == pytest.approx(128.0, rel=0.005)


@given(bpm=st.floats(60, 200), begun_s=st.floats(0, 1), before=st.floats(40, 240))
def test_the_line_glides_and_never_goes_back(bpm, begun_s, before):
    _, beats = led(Transport.at_bpm(before), 8.0, bpm=bpm, begun_s=begun_s)
    steps = np.diff(beats) * 40.0 / (bpm / 60.0)  # beats of the line to one of the music
    assert steps.min() > 1 - GLIDE_MOST - 1e-6
    assert steps.max() < 1 + GLIDE_MOST + 1e-6


def test_an_unsure_ear_is_not_followed_and_what_ran_goes_on():
    transport, _ = led(Transport.at_bpm(100.0), 3.0, confidence=SURE - 0.05)
    assert not transport.follows
    assert transport.bpm == 100.0
    transport, _ = led(transport, 6.0, from_s=3.0)
    transport, _ = led(transport, 4.0, from_s=9.0, confidence=0.0)
    assert not transport.follows
    assert transport.bpm == pytest.approx(128.0, rel=0.002)
    assert abs(off(transport, 13.0)) < 0.02  # through a break of eight beats


def test_following_may_be_switched_off():
    transport, _ = led(Transport.at_bpm(100.0), 4.0)
    transport = transport.step((), bpm=100.0, at_s=4.0, heard=ear(4.0), follow=False)
    assert not transport.follows


def test_taps_lead_for_a_while_although_the_ear_is_sure():
    taps = [press("tap", at_s) for at_s in (1.0, 1.6, 2.2, 2.8)]
    transport, _ = led(Transport.at_bpm(120.0), 4.0, presses=taps)
    assert not transport.follows
    assert transport.bpm == pytest.approx(100.0)
    transport, _ = led(transport, TAPS_LEAD_S + 3.0, from_s=4.0)
    assert transport.follows


@pytest.mark.parametrize(("name", "times"), [("half", 0.5), ("double", 2.0)])
def test_half_and_double_hold_while_the_ear_leads(name, times):
    transport, _ = led(Transport.at_bpm(120.0), 4.0)
    transport, _ = led(transport, 10.0, from_s=4.0, presses=[press(name, 4.0)])
    assert transport.follows
    assert transport.bpm == pytest.approx(128.0 * times, rel=0.002)
    assert abs(off(transport, 14.0, bpm=128.0 * times)) < 0.02


def test_half_stops_where_the_tempo_would_leave_its_range():
    transport = Transport.at_bpm(30.0)
    assert transport.step([press("half", 1.0)], bpm=30.0, at_s=1.0).bpm == 30.0


def test_a_nudge_and_a_resync_stay_while_the_ear_leads():
    transport, _ = led(Transport.at_bpm(120.0), 4.0)
    nudged, _ = led(transport, 4.0, from_s=4.0, presses=[press("earlier", 4.0)] * 2)
    assert off(nudged, 8.0) == pytest.approx(2 / 32, abs=0.01)
    at_s = 4.0 + 0.3 * 60 / 128  # a third of a beat after one
    synced, _ = led(transport, 4.0, from_s=4.0, presses=[press("resync", at_s)])
    assert apart(synced.line.at(at_s + 8 * 60 / 128)) == pytest.approx(0.0, abs=0.02)


def test_bars_begin_where_the_ear_has_long_guessed():
    transport, _ = led(Transport.at_bpm(128.0), 2.0, downbeat=2)
    assert transport.downbeat == 0
    transport, _ = led(transport, (BAR_PATIENCE_BEATS + 4) * 60 / 128, from_s=2.0, downbeat=2)
    beats_since_downbeat = 10.0 * 128 / 60 - 2
    assert apart(transport.line.at(10.0) - transport.downbeat - beats_since_downbeat, 4.0) == pytest.approx(
        0.0, abs=0.05
    )


def test_a_hand_says_where_bars_begin():
    transport, _ = led(Transport.at_bpm(128.0), 4.0)
    transport, _ = led(transport, 12.0, from_s=4.0, presses=[press("downbeat", 5 * 60 / 128 * 2)], downbeat=1)
    assert transport.bar_by_hand
    assert transport.downbeat == round(transport.line.at(16.0) - (16.0 * 128 / 60 - 10)) % 4


# Clocks from outside


def clock(at_s, *, source="link", bpm=100.0, begun_s=0.1, downbeat=0, **more):
    return Pulse(source, bpm, (at_s - LATE_S - begun_s) * bpm / 60.0, at_s - LATE_S, downbeat=downbeat, **more)


def run(transport, seconds, pulses, *, from_s=0.0, presses=(), fps=40.0, heard=None, octave=0):
    """Step through time with `pulses(at_s)` offered; the transport after, and the beat of every frame."""
    beats, waiting = [], list(presses)
    for at_s in np.arange(from_s, from_s + seconds, 1.0 / fps):
        now = [waiting.pop(0)] if waiting and waiting[0].at_s <= at_s else []
        hears = heard(at_s) if heard else None
        transport = transport.step(
            now, bpm=transport.asked_bpm, at_s=at_s, heard=hears, follow=hears is not None, pulses=pulses(at_s)
        )
        beats.append(transport.line.at(at_s))
    return transport, np.array(beats)


def test_a_clock_from_outside_leads_with_its_bar():
    transport, beats = run(Transport.at_bpm(120.0), 6.0, lambda at_s: [clock(at_s, downbeat=3)])
    assert (transport.leader, transport.lead_bpm) == ("link", 100.0)
    assert abs(off(transport, 6.0, bpm=100.0, begun_s=0.1)) < 0.01
    theirs = (6.0 - 0.1) * 100 / 60 - 3
    assert apart(transport.line.at(6.0) - transport.downbeat - theirs, 4.0) == pytest.approx(0.0, abs=0.05)
    assert np.diff(beats).min() > 0


def test_the_first_of_several_clocks_leads_and_the_ear_is_last():
    both, _ = run(
        Transport.at_bpm(120.0),
        5.0,
        lambda at_s: [clock(at_s), clock(at_s, source="osc", bpm=90.0)],
        heard=lambda at_s: ear(at_s),
    )
    assert both.leader == "link"
    alone, _ = run(Transport.at_bpm(120.0), 5.0, lambda at_s: [], heard=lambda at_s: ear(at_s))
    assert alone.leader == "ear"


@given(begun_s=st.floats(0.0, 1.0), bpm=st.floats(60, 180))
def test_another_leader_takes_over_at_a_bar_and_nothing_leaps(begun_s, bpm):
    transport, _ = run(Transport.at_bpm(120.0), 5.0, lambda at_s: [], heard=lambda at_s: ear(at_s))
    handed = []

    def offered(at_s):
        return [clock(at_s, bpm=bpm, begun_s=begun_s)]

    beats = []
    for at_s in np.arange(5.0, 12.0, 1 / 40):
        before = transport
        transport = transport.step(
            (), bpm=transport.asked_bpm, at_s=at_s, heard=ear(at_s), follow=True, pulses=offered(at_s)
        )
        if transport.leader != before.leader:
            handed.append((before.line.at(at_s) - before.downbeat) % 4)
        beats.append(transport.line.at(at_s))
    assert transport.leader == "link"
    assert len(handed) == 1 and handed[0] < 0.25
    fastest = max(bpm, 128.0) / 60.0 * (1 + GLIDE_MOST) / 40
    assert np.diff(beats).min() > 0 and np.diff(beats).max() < fastest + 1e-6


def test_where_the_leader_vanishes_the_next_takes_over_at_the_bar():
    transport, _ = run(Transport.at_bpm(120.0), 4.0, lambda at_s: [clock(at_s)], heard=lambda at_s: ear(at_s))
    transport, beats = run(transport, 6.0, lambda at_s: [], from_s=4.0, heard=lambda at_s: ear(at_s))
    assert transport.leader == "ear"
    assert np.diff(beats).min() > 0
    transport, _ = run(transport, 1.0, lambda at_s: [], from_s=10.0)
    assert transport.leader == ""
    assert transport.bpm == pytest.approx(128.0, rel=0.02)


def test_a_clock_without_a_phase_gives_the_tempo_alone():
    transport, beats = run(Transport.at_bpm(120.0), 3.0, lambda at_s: [clock(at_s, source="osc", has_phase=False)])
    assert transport.bpm == pytest.approx(100.0)
    assert np.diff(beats) == pytest.approx(100 / 60 / 40)


def test_taps_lead_although_a_clock_runs():
    taps = [press("tap", at_s) for at_s in (1.0, 1.5, 2.0, 2.5)]
    transport, _ = run(Transport.at_bpm(100.0), 4.0, lambda at_s: [clock(at_s)], presses=taps)
    assert transport.leader == ""
    assert transport.bpm == pytest.approx(120.0)
    transport, _ = run(transport, TAPS_LEAD_S + 2.0, lambda at_s: [clock(at_s)], from_s=4.0)
    assert transport.leader == "link"
