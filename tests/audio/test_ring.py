"""The ring: order, wrap, overrun, flags."""

import sys
import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from performer.audio.ring import CaptureRing
from performer.flow import CaptureFlags


def ramp(first, count):
    return (np.arange(first, first + count, dtype=np.float32) / 1e6)[:, None]


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=80), every=st.integers(1, 3))
def test_all_that_is_written_is_read_in_order(sizes, every):
    ring = CaptureRing(channels=1, capacity_samples=400)
    at, parts = 0, []
    for turn, size in enumerate(sizes):
        ring.write(ramp(at, size), at / 1000.0)
        at += size
        if turn % every == 0 and (block := ring.read()) is not None:
            assert block.first_sample == sum(map(len, parts))
            assert block.adc_s == block.first_sample / 1000.0
            parts.append(block.samples)
    if (block := ring.read()) is not None:
        parts.append(block.samples)
    assert np.array_equal(np.concatenate(parts), ramp(0, at))
    assert ring.overruns == 0
    assert ring.read() is None


def test_a_slow_reader_loses_the_oldest_and_is_told():
    ring = CaptureRing(channels=1, capacity_samples=1000)
    for turn in range(30):
        ring.write(ramp(turn * 100, 100), turn * 0.1)
    block = ring.read()
    assert block.flags & CaptureFlags.GAP
    assert ring.overruns == 1
    assert block.first_sample + len(block.samples) == 3000
    assert np.array_equal(block.samples, ramp(block.first_sample, len(block.samples)))
    ring.write(ramp(3000, 100), 3.0)
    assert not ring.read().flags & CaptureFlags.GAP


def test_flags_accumulate():
    ring = CaptureRing(channels=2, capacity_samples=1000)
    ring.write(np.zeros((10, 2), np.float32), 0.0, int(CaptureFlags.OVERFLOW))
    ring.write(np.ones((10, 2), np.float32), 0.1)
    ring.write(np.zeros((10, 2), np.float32), 0.2)
    assert ring.read().flags == CaptureFlags.OVERFLOW | CaptureFlags.CLIP
    assert (ring.clipped, ring.lost_by_driver, ring.blocks) == (1, 1, 3)


def test_what_is_not_yet_heard_stays():
    ring = CaptureRing(channels=1, capacity_samples=1000)
    for turn in range(5):
        ring.write(ramp(turn * 100, 100), turn * 0.1)
    assert len(ring.read(up_to_s=0.25).samples) == 300
    assert ring.read(up_to_s=0.25) is None
    assert ring.read(up_to_s=0.35).first_sample == 300


def test_the_callback_allocates_nothing_that_stays():
    ring = CaptureRing(channels=2, capacity_samples=48000)
    block = np.full((256, 2), 0.5, np.float32)

    def write(count):
        for turn in range(count):
            ring.write(block, turn * 0.005, turn & 1)

    write(2000)  # around its end once and more
    tracemalloc.start()
    try:
        write(100)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        blocks = sys.getallocatedblocks()
        write(20_000)
        grown = sys.getallocatedblocks() - blocks
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(grown) < 20  # counters that became larger numbers
    assert after - before < 1000
    assert peak - before < 2000  # less than a block, 2048 bytes
