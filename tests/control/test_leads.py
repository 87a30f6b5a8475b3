"""Leads: two hands on one knob do not fight."""

from hypothesis import given
from hypothesis import strategies as st

from performer.control.leads import LEAD_S, Leads

ROW = 3


def test_who_moves_first_leads_until_it_has_stood_still():
    leads = Leads()
    assert leads.admits(ROW, 0.1, at_s=0.0, source="tablet")
    assert not leads.admits(ROW, 0.9, at_s=0.1, source="laptop")
    assert leads.admits(ROW, 0.2, at_s=0.5, source="tablet")
    assert not leads.admits(ROW, 0.8, at_s=0.5 + 0.9 * LEAD_S, source="laptop")
    assert leads.admits(ROW, 0.7, at_s=0.5 + LEAD_S, source="laptop")
    assert not leads.admits(ROW, 0.3, at_s=0.6 + LEAD_S, source="tablet")
    assert leads.of[ROW].source == "laptop"


def test_a_stream_that_stands_still_neither_leads_nor_disturbs():
    """TouchDesigner sends every cook; a fader takes the knob and keeps it."""
    leads = Leads()
    for frame in range(120):
        assert leads.admits(ROW, 0.5, at_s=frame / 60, source="touchdesigner")
    assert leads.admits(ROW, 0.9, at_s=2.0, source="fader")
    for frame in range(600):
        assert not leads.admits(ROW, 0.5, at_s=2.0 + frame / 60, source="touchdesigner")
    assert leads.of[ROW].source == "fader"
    assert leads.admits(ROW, 0.6, at_s=14.0, source="touchdesigner")  # it moves again


def test_commands_that_send_one_message_each_are_one_hand():
    leads = Leads()
    for count in range(5):
        assert leads.admits(ROW, count / 5, at_s=0.1 * count, source=f"10.0.0.7:{50000 + count}")
    assert not leads.admits(ROW, 0.9, at_s=0.5, source="10.0.0.8:50000")
    assert leads.admits(ROW, 0.85, at_s=0.6, source="10.0.0.7:50004")  # it says more: a program
    assert not leads.admits(ROW, 0.7, at_s=0.7, source="10.0.0.7:50005")


def test_who_has_left_leads_nothing():
    leads = Leads()
    assert leads.admits(ROW, 0.5, at_s=0.0, source="a:1")
    leads.gone("a:1")
    assert leads.admits(ROW, 0.6, at_s=0.1, source="b:1")


def test_knobs_are_led_apart():
    leads = Leads()
    assert leads.admits(1, 0.5, at_s=0.0, source="a")
    assert leads.admits(2, 0.5, at_s=0.0, source="b")
    assert leads.newest()[1].moved_s == 0.0
    leads.admits(2, 0.6, at_s=1.0, source="b")
    assert leads.newest()[0] == 2


def test_a_lead_that_was_asked_for_is_kept_until_it_is_let_go():
    leads = Leads()
    leads.take(ROW, at_s=0.0, source="desk")
    assert not leads.admits(ROW, 0.5, at_s=100.0, source="noise")
    assert leads.admits(ROW, 0.5, at_s=100.0, source="desk")
    leads.let_go(ROW)
    assert leads.admits(ROW, 0.6, at_s=100.1, source="noise")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.floats(0.0, 2.0)), max_size=60))
def test_there_is_one_leader_and_what_it_sends_is_always_admitted(moves):
    leads, now_s = Leads(), 0.0
    for source, value, wait_s in moves:
        now_s += wait_s
        leader = leads.of[ROW].source if ROW in leads.of else None
        admitted = leads.admits(ROW, value, at_s=now_s, source=source)
        assert admitted == (leads.of[ROW].source == source)
        if leader == source:
            assert admitted


def test_senders_without_number_do_not_fill_the_memory():
    leads = Leads()
    for index in range(20000):
        leads.admits(ROW, 0.5, at_s=0.0, source=str(index))
    assert len(leads._told) <= 8192
