"""The figures of `benchmarks/ears.py`, on lists made by hand; no rival and no data is needed."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are in the checkout alone")

from benchmarks import ears, rivals

HOP_S = 0.005


def phase_line(seconds: float, *, bpm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """centre_s, beat and bpm of a steady tempo whose beat 0 is at 0 s."""
    centre_s = np.arange(1, round(seconds / HOP_S) + 1) * HOP_S
    return centre_s, centre_s * bpm / 60.0, np.full(len(centre_s), bpm)


def events(*at_s: float, late_s: float = 0.0) -> np.ndarray:
    return ears.events_of([(each_s, each_s + late_s) for each_s in at_s])


def test_onsets_match_one_to_one_and_latency_counts_from_the_true_one():
    true_s = np.array([1.0, 2.0, 3.0, 4.0])
    heard = ears.events_of([(3.04, 3.05), (1.01, 1.02), (1.02, 1.03), (2.2, 2.21)])
    found = ears.onset_scores(true_s, heard)
    assert found["onset_precision"] == 0.5 and found["onset_recall"] == 0.5 and found["onset_f"] == 0.5
    assert len(found["latencies_ms"]) == 2
    assert max(found["latencies_ms"]) == pytest.approx(50.0)
    assert max(found["offsets_ms"]) == pytest.approx(40.0)


def test_nothing_heard_is_a_figure_too():
    true_s = np.arange(0.0, 20.0, 0.5)
    assert ears.onset_scores(true_s, events())["onset_f"] == 0.0
    found = ears.beat_scores(true_s, events())
    assert found["beat_f"] == found["beat_cmlt"] == found["beat_amlt"] == 0.0
    assert math.isinf(found["lock_s"]) and math.isinf(found["lock_aml_s"])


def test_a_steady_phase_crosses_at_its_beats():
    beats = ears.crossings(*phase_line(3.0, bpm=120.0), ahead_s=0.0)
    assert beats[:, 0] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0], abs=1e-9)
    assert ((beats[:, 1] >= beats[:, 0] - 1e-9) & (beats[:, 1] <= beats[:, 0] + HOP_S)).all()


def test_beats_ahead_have_the_same_times_and_are_known_before():
    beats = ears.crossings(*phase_line(3.0, bpm=90.0), ahead_s=0.1)
    assert beats[:, 0] == pytest.approx([2 / 3, 4 / 3, 2.0, 8 / 3], abs=1e-9)
    assert (beats[:, 0] - beats[:, 1] >= 0.1 - HOP_S - 1e-9).all()


def test_a_phase_put_back_a_little_does_not_beat_twice():
    centre_s, beat, bpm = phase_line(2.9, bpm=120.0)
    beat = beat - 0.1 * (centre_s > 1.02)  # at 2.04 beats it finds that it was 0.1 early
    assert ears.crossings(centre_s, beat, bpm, ahead_s=0.0)[:, 0] == pytest.approx([0.5, 1.0, 1.55, 2.05, 2.55])


def test_a_jump_over_several_beats_is_one_beat():
    centre_s, beat, bpm = phase_line(1.9, bpm=120.0)
    beat = beat + 2.5 * (centre_s > 0.75)  # from 1.5 to 4.0 and on
    at_s = ears.crossings(centre_s, beat, bpm, ahead_s=0.0)[:, 0]
    assert at_s == pytest.approx([0.5, 0.753, 1.25, 1.75], abs=HOP_S)


def test_without_a_tempo_there_are_no_beats():
    centre_s, beat, bpm = phase_line(2.9, bpm=120.0)
    at_s = ears.crossings(centre_s, beat, bpm * (centre_s > 1.2), ahead_s=0.0)[:, 0]
    assert at_s == pytest.approx([1.5, 2.0, 2.5])


def test_lock_is_the_first_of_four_right_beats_running():
    true_s = np.arange(20) * 0.5
    assert ears.lock_s(true_s, true_s + 0.05) == 0.0
    assert ears.lock_s(true_s, true_s + 0.1) == math.inf
    late_s = np.concatenate([[0.2, 0.5, 1.3], true_s[4:]])
    assert ears.lock_s(true_s, late_s) == 2.0


def test_twice_as_fast_is_locked_only_where_that_is_allowed():
    true_s = np.arange(20) * 0.5
    twice_s = np.arange(40) * 0.25
    assert ears.lock_s(true_s, twice_s) == math.inf
    found = ears.beat_scores(true_s, events(*twice_s))
    assert math.isinf(found["lock_s"]) and found["lock_aml_s"] == 0.0
    assert ears.beat_scores(true_s, events(*(true_s + 0.25)))["lock_aml_s"] == 0.25


def test_beats_are_heard_so_long_after_the_true_ones():
    true_s = np.arange(20) * 0.5
    found = ears.beat_scores(true_s, events(*(true_s + 0.01), late_s=0.02))
    assert found["heard_ms"] == pytest.approx([30.0] * 10)  # those of the first 5 s do not count


@pytest.mark.parametrize(
    ("bpm", "once", "twice"),
    [(103.9, True, True), (104.1, False, False), (200.0, False, True), (34.0, False, True), (150.0, False, False)],
)
def test_tempo_is_right_to_four_percent(bpm, once, twice):
    assert ears.tempo_right(100.0, bpm) is once
    assert ears.tempo_right(100.0, bpm, factors=(1, 2, 3, 1 / 2, 1 / 3)) is twice


def test_the_settled_tempo_is_that_of_the_trusted_hops_of_the_second_half():
    bpm = np.array([90.0, 90.0, 90.0, 90.0, 120.0, 60.0, 121.0, 0.0])
    confidence = np.array([1.0, 1.0, 1.0, 1.0, 0.9, 0.2, 0.9, 1.0])
    assert ears.settled_bpm(bpm, confidence) == 120.0
    assert ears.settled_bpm(bpm * 0, confidence) == 0.0


def test_scores_say_null_where_a_system_has_no_notion_and_are_json():
    true_s = np.arange(1, 40) * 0.5
    truths = [
        ears.Truth("groove_a", Path("a"), 20.0, true_s, true_s, 120.0),
        ears.Truth("pad_b", Path("b"), 20.0, np.empty(0), true_s, 120.0),
    ]
    beats = ears.scores(truths, [ears.Heard(0.2, beats=events(*true_s, late_s=0.01), bpm=60.0)] * 2)
    assert beats["onset_f"] is None and beats["onset_latency_ms_p50"] is None and beats["beat_f_ahead_100ms"] is None
    assert beats["beat_cmlt"] == 1.0 and beats["tempo_acc1"] == 0.0 and beats["tempo_acc2"] == 1.0
    assert beats["lock_s_max"] == 0.5 and beats["lock_never"] == 0 and beats["cpu_percent"] == 1.0
    onsets = ears.scores(truths, [ears.Heard(0.2, onsets=events(*true_s, late_s=0.01))] * 2)
    assert onsets["onset_f"] == 1.0 and onsets["onset_latency_ms_p95"] == 10.0 and onsets["lock_never"] is None
    json.dumps([beats, onsets], allow_nan=False)


def test_a_rival_that_cannot_run_is_a_reason(tmp_path):
    assert "No such file" in ears.rival_figures("aubio_hfc", python="nowhere", truths=[], timeout_s=1.0)["reason"]
    truth = ears.Truth("a", tmp_path / "missing.flac", 1.0, np.empty(0), np.empty(0), 120.0)
    assert ears.rival_figures("aubio_hfc", python=sys.executable, truths=[truth], timeout_s=60.0)["reason"]


def test_a_rival_runs_in_the_interpreter_named_or_made_for_it(tmp_path):
    named = ["madmom=/m/python", "/all/python"]
    assert ears.python_for("madmom_dbn", named) == "/m/python"
    assert ears.python_for("aubio_hfc", named) == "/all/python"
    assert ears.python_for("aubio_hfc", [], root=tmp_path) == sys.executable
    for folder in (".venv-rivals", ".venv-rivals-ledfx"):
        (tmp_path / folder / "bin").mkdir(parents=True)
        (tmp_path / folder / "bin" / "python").touch()
    assert ears.python_for("aubio_hfc", [], root=tmp_path) == str(tmp_path / ".venv-rivals" / "bin" / "python")
    assert ears.python_for("ledfx_tempo", [], root=tmp_path) == str(tmp_path / ".venv-rivals-ledfx" / "bin" / "python")


def test_a_rival_that_is_not_to_be_had_is_not_run():
    assert not set(rivals.NOT_TO_BE_HAD) & set(rivals.SYSTEMS)
