"""Clock, exchange and parameters: the values below all rooms."""

import multiprocessing
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.clock import Line, SteppedClock, SystemClock, TapTempo
from performer.exchange import SPAWN, Mailbox, SharedLatest, SharedLevels, SharedMailbox
from performer.flow import ControlEvent
from performer.params import Controls, Kind, Param, ParamTable, base_params, nearest, reduce

PAIR = np.dtype([("a", "i8"), ("b", "i8"), ("rest", "i8", (256,))])


def test_a_line_is_exact_at_any_distance():
    line = Line(rate_hz=1 / 3, at_s=5.0, phase=2.0)
    assert line.at(5.0) == 2.0
    assert line.at(5.0 + 3e7) == pytest.approx(2.0 + 1e7, abs=1e-6)


def test_a_line_changes_rate_without_a_jump():
    line = Line(rate_hz=2.0)
    faster = line.with_rate(5.0, at_s=7.0)
    assert faster.at(7.0) == line.at(7.0) and faster.at(8.0) == 19.0
    assert line.with_rate(2.0, at_s=7.0) is line


def test_resync_takes_the_nearest_whole_beat():
    assert Line(rate_hz=2.0).resynced(at_s=1.2).at(1.2) == 2.0
    assert Line(rate_hz=2.0).resynced(at_s=1.3).at(1.3) == 3.0


def test_taps_make_a_tempo_and_a_pause_begins_anew():
    taps = TapTempo()
    assert taps.bpm is None
    for at_s in (1.0, 1.5, 2.0):
        taps = taps.tapped(at_s)
    assert taps.bpm == pytest.approx(120)
    assert taps.tapped(10.0).bpm is None


def test_system_clocks_of_one_epoch_agree_and_sleep_to_the_point():
    first = SystemClock()
    second = SystemClock(first.epoch_s)
    assert abs(first.now_s() - second.now_s()) < 0.01
    first.sleep_until(first.now_s() + 0.03)
    first.sleep_until(first.now_s() - 1.0)
    assert first.now_s() >= 0.03
    stepped = SteppedClock()
    stepped.sleep_until(4.0)
    stepped.sleep_until(2.0)
    assert stepped.now_s() == 4.0


def test_a_mailbox_drops_the_newest_and_counts():
    box: Mailbox[int] = Mailbox(3)
    assert [box.post(n) for n in range(5)] == [True, True, True, False, False]
    assert (box.drain(), box.dropped, box.drain()) == ([0, 1, 2], 2, [])


def test_a_shared_mailbox_keeps_order_over_many_turns():
    box = SharedMailbox(np.dtype([("n", "i8")]), capacity=8)
    seen: list[int] = []
    sent = 0
    for burst in (3, 5, 8, 1, 8, 2):
        for _ in range(burst):
            assert box.post(sent)
            sent += 1
        seen += box.drain()["n"].tolist()
    assert seen == list(range(sent))
    assert [box.post(n) for n in range(9)][-1] is False and box.dropped == 1


def _count_up(latest: SharedLatest, box: SharedMailbox, levels: SharedLevels, stop) -> None:
    record, n = np.zeros(1, PAIR), 0
    while not stop.is_set():
        n += 1
        record["a"], record["b"], record["rest"] = n, -n, n
        latest.publish(record)
        levels.set(n % 7, n, at_s=n * 0.5, source=n % 100)
        if n % 50 == 0:
            box.post(n)


def test_readers_never_see_half_a_record_while_another_process_writes():
    latest, box, levels = SharedLatest(PAIR), SharedMailbox(np.dtype([("n", "i8")]), capacity=1 << 16), SharedLevels(7)
    stop = SPAWN.Event()
    writer = SPAWN.Process(target=_count_up, args=(latest, box, levels, stop), daemon=True)
    writer.start()
    end = time.monotonic() + 15
    reads, newest, posted = 0, 0, []
    while reads < 3000 and time.monotonic() < end:
        record = latest.read()
        if record is None:
            continue
        reads += 1
        assert record["a"] == -record["b"] and (record["rest"] == record["a"]).all()
        assert record["a"] >= newest
        newest = int(record["a"])
        posted += box.drain()["n"].tolist()
        for index, value, at_s, source in levels.changed():
            assert (index, at_s, source) == (int(value) % 7, value * 0.5, int(value) % 100)
    stop.set()
    writer.join(5)
    posted += box.drain()["n"].tolist()
    assert reads == 3000
    assert posted == [50 * (k + 1) for k in range(len(posted))] and posted
    assert isinstance(writer, multiprocessing.process.BaseProcess)


def test_a_writer_that_died_in_mid_write_is_healed():
    latest = SharedLatest(PAIR)
    record = np.zeros(1, PAIR)
    record["a"] = 1
    latest.publish(record)
    assert latest.read()["a"] == 1
    latest._sequence[0] += 1  # killed between the two counts
    assert latest.read()["a"] == 1
    latest.take_over()
    record["a"] = 2
    latest.publish(record)
    assert latest.read()["a"] == 2


def test_levels_report_only_what_changed():
    levels = SharedLevels(4)
    levels.set(2, 0.5, at_s=1.0, source=9)
    assert levels.changed() == [(2, 0.5, 1.0, 9)]
    assert levels.changed() == []
    levels.set(2, 0.5, at_s=2.0)
    assert levels.changed() == [(2, 0.5, 2.0, 0)]


@given(st.floats(0, 1))
def test_norm_round_trips(norm):
    for param in (Param(id="x", help="", low=-3, high=5), Param(id="x", help="", low=0.01, high=4, curve="exp")):
        value = param.from_norm(norm)
        assert param.low - 1e-9 <= value <= param.high + 1e-9
        assert param.to_norm(value) == pytest.approx(norm, abs=1e-6)


@given(st.floats(allow_nan=True, allow_infinity=True))
@settings(max_examples=200)
def test_admission_never_lets_a_value_out_of_range(value):
    for param in base_params():
        try:
            got = param.admit(value)
        except ValueError:
            assert not np.isfinite(value)
            continue
        assert (param.low if param.kind in (Kind.FLOAT, Kind.INT) else 0) <= got <= max(param.high, 1)


def test_reduce_keeps_the_last_level_and_every_press():
    table = ParamTable(base_params())
    controls = reduce(
        Controls.none(table),
        [
            ControlEvent("out.dimmer", 0.2, 1.0),
            ControlEvent("cue.go", 1.0, 1.1),
            ControlEvent("out.dimmer", 0.7, 1.2),
            ControlEvent("cue.go", 1.0, 1.3),
            ControlEvent("nobody", 1.0, 1.4),
            ControlEvent("latent.noise", float("nan"), 1.5),
        ],
        table=table,
    )
    row = table.row("out.dimmer")
    assert (controls.values[row], controls.set_s[row]) == (np.float32(0.7), 1.2)
    assert [press.at_s for press in controls.presses] == [1.1, 1.3]
    assert controls.set_s[table.row("latent.noise")] == -np.inf
    after = reduce(controls, [], table=table)
    assert after.presses == () and after.values[row] == np.float32(0.7)


def test_the_table_refuses_doubles_and_helps_with_names():
    with pytest.raises(ValueError, match=r"'cue\.go' is declared twice"):
        ParamTable((*base_params(), base_params()[0]))
    with pytest.raises(KeyError, match=r"did you mean out\.dimmer"):
        ParamTable(base_params()).row("out.dimer")
    assert nearest("fde", ["fade", "seed"]) == " (did you mean 'fade'?)"
