"""Learning: the fader that is wiggled is the one that is bound."""

import math

from performer.control.learning import PATIENCE_S, WIGGLE_S, Learner, Learnt


def wiggle(learner, address, *, first_s, low=0.0, high=1.0, length_s=1.0, hz=60):
    for frame in range(int(length_s * hz)):
        part = 0.5 - 0.5 * math.cos(2 * math.pi * frame / hz)
        learner.note(address, low + (high - low) * part, at_s=first_s + frame / hz)


def test_a_fader_is_learnt_with_its_range():
    learner = Learner()
    learner.begin(at_s=10.0, is_press=False)
    wiggle(learner, "/1/fader3", first_s=11.0, low=12.0, high=90.0)
    assert learner.answer(now_s=11.0 + WIGGLE_S - 0.1) is None
    learnt = learner.answer(now_s=11.0 + WIGGLE_S)
    assert learnt.address == "/1/fader3"
    assert (round(learnt.low), round(learnt.high)) == (12, 90)
    assert not learner.is_learning


def test_streams_that_move_all_the_time_are_not_taken_for_it():
    learner = Learner()
    wiggle(learner, "/td/lfo", first_s=0.0, length_s=10.0)
    learner.begin(at_s=10.0, is_press=False)
    wiggle(learner, "/td/lfo", first_s=10.0, length_s=5.0)
    wiggle(learner, "/fader", first_s=11.0, low=0.25, high=0.75, hz=20)
    learnt = learner.answer(now_s=15.0)
    assert learnt.address == "/fader"


def test_where_nothing_else_moves_the_stream_is_meant():
    learner = Learner()
    wiggle(learner, "/td/lfo", first_s=0.0, length_s=10.0)
    learner.begin(at_s=10.0, is_press=False)
    wiggle(learner, "/td/lfo", first_s=10.0, length_s=2.0)
    assert learner.answer(now_s=10.0 + WIGGLE_S) is None
    assert learner.answer(now_s=10.0 + 2 * WIGGLE_S).address == "/td/lfo"


def test_the_range_of_before_does_not_count():
    learner = Learner()
    wiggle(learner, "/fader", first_s=0.0, low=-5.0, high=5.0)
    learner.note("/fader", 0.0, at_s=2.0)
    learner.begin(at_s=10.0, is_press=False)
    wiggle(learner, "/fader", first_s=11.0, low=0.0, high=1.0)
    learnt = learner.answer(now_s=15.0)
    assert (round(learnt.low, 2), round(learnt.high, 2)) == (0.0, 1.0)


def test_one_value_gives_no_range():
    learner = Learner()
    learner.begin(at_s=0.0, is_press=False)
    learner.note("/fader", 0.4, at_s=1.0)
    assert learner.answer(now_s=5.0) == Learnt("/fader", 0.0, 1.0)


def test_one_press_is_enough_for_a_button():
    learner = Learner()
    learner.note("/pad", 1.0, at_s=0.0)  # it only ever sends 1
    learner.note("/other", 0.0, at_s=0.0)
    learner.begin(at_s=10.0, is_press=True)
    learner.note("/other", 0.0, at_s=11.0)
    assert learner.answer(now_s=11.0) is None
    learner.note("/pad", 1.0, at_s=12.0)
    assert learner.answer(now_s=12.0) == Learnt("/pad", 0.0, 1.0)


def test_patience_ends_and_learning_can_be_cancelled():
    learner = Learner()
    learner.begin(at_s=0.0, is_press=False)
    assert learner.answer(now_s=PATIENCE_S - 0.1) is None
    assert learner.is_learning
    assert learner.answer(now_s=PATIENCE_S) is None
    assert not learner.is_learning
    learner.begin(at_s=100.0, is_press=False)
    wiggle(learner, "/fader", first_s=101.0)
    learner.cancel()
    assert learner.answer(now_s=110.0) is None


def test_a_sender_that_invents_addresses_does_not_fill_the_memory():
    learner = Learner()
    for index in range(5000):
        learner.note(f"/{index}", 1.0, at_s=0.0)
    assert len(learner._watched) <= 1024
