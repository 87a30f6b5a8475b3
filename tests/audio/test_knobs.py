"""The parameters of hearing, and the tuning that they make; that it crosses to the process whole."""

import math

import numpy as np
import pytest

from performer.audio.analyser import Tuning
from performer.audio.knobs import NO_GATE_DB, Knobs, ear_params
from performer.audio.wire import tuning_of, tuning_record
from performer.flow import ControlEvent
from performer.params import ParamTable, base_params

VOICES = ("drums", "singer")
TABLE = ParamTable((*base_params(), *ear_params(VOICES)))


def values(**changed):
    row = TABLE.defaults()
    for name, value in changed.items():
        row[TABLE.row(name.replace("__", "."))] = value
    return row


def press(param, at_s=1.0):
    return ControlEvent(param, 1.0, at_s)


def test_defaults_are_the_tuning_that_an_analyser_begins_with():
    tuning = Knobs(TABLE, VOICES).tuning(values(), [], tapped_bpm=None)
    usual = Tuning()
    assert tuning.gate_db == (-math.inf, -math.inf)
    assert tuning.sensitivity == (0.5, 0.5)
    assert (tuning.hold_s, tuning.hysteresis, tuning.adapt_s) == (usual.hold_s, usual.hysteresis, usual.adapt_s)
    assert tuning.gain_db == tuning.delay_s == (0.0, 0.0)


def test_each_voice_has_its_own():
    changed = values(voice__singer__gain=6.0, voice__singer__gate=-50.0, voice__drums__delay=0.02)
    tuning = Knobs(TABLE, VOICES).tuning(changed, [], tapped_bpm=None)
    assert tuning.gain_db == (0.0, 6.0)
    assert tuning.gate_db == (-math.inf, -50.0)
    assert tuning.delay_s == (pytest.approx(0.02), 0.0)
    assert TABLE["voice.drums.gate"].low == NO_GATE_DB


def test_presses_are_counted_once_each():
    knobs = Knobs(TABLE, VOICES)
    tuning = knobs.tuning(values(), [press("ears.learn"), press("ears.reset"), press("ears.reset")], tapped_bpm=None)
    assert (tuning.learns, tuning.resets) == (1, 2)
    tuning = knobs.tuning(values(), [press("transport.tap", 3.5)], tapped_bpm=124.0)
    assert (tuning.taps, tuning.tap_s, tuning.tap_bpm) == (1, 3.5, 124.0)
    assert knobs.tuning(values(), [], tapped_bpm=124.0) == tuning


@pytest.mark.parametrize("rows", [(0, 1), (1,), (0,)])
def test_a_tuning_crosses_to_its_process(rows):
    tuning = Tuning(
        gain_db=(1.0, 2.0), gate_db=(-np.inf, -40.0), delay_s=(0.0, 0.1), sensitivity=(0.2, 0.9), is_frozen=True, taps=3
    )
    got = tuning_of(tuning_record(tuning, rows)[0])
    for name in ("gain_db", "gate_db", "delay_s", "sensitivity"):
        assert getattr(got, name) == tuple(getattr(tuning, name)[row] for row in rows)
    assert (got.is_frozen, got.taps, got.hold_s) == (True, 3, tuning.hold_s)


def test_what_a_tuning_does_not_say_is_as_usual():
    got = tuning_of(tuning_record(Tuning(gain_db=(3.0,)), (0, 1))[0])
    assert got.gain_db == (3.0, 0.0)
    assert got.gate_db == (-math.inf, -math.inf)
    assert got.sensitivity == (0.5, 0.5)
