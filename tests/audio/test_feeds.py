"""Open sources and their times, without a process or a device."""

import math

import numpy as np
import pytest

from performer.audio.analyser import Memory
from performer.audio.feeds import PacedFeed, TimeLine, fill
from performer.audio.source import DEFAULT_VOICES, SourceSpec
from performer.audio.wire import Errand
from performer.clock import SteppedClock
from performer.flow import CaptureFlags


def test_fill_loops_and_ends():
    sound = np.arange(5, dtype=np.float32)[:, None]
    out = np.empty((12, 1), np.float32)
    fill(out, sound, 3, loop=True)
    assert out[:, 0].tolist() == [3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    fill(out, sound, 3, loop=False)
    assert out[:, 0].tolist() == [3, 4] + [0] * 10


def test_time_line_smooths_jitter_and_believes_a_new_latency():
    line, rng = TimeLine(48000.0), np.random.default_rng(0)
    off_s = 5.0
    errors = []
    for block in range(2000):
        if block == 1000:
            off_s = 5.2
        late_s = 0.2 if block % 100 == 50 else 0.0
        smoothed_s = line.smoothed(block * 256, off_s + block * 256 / 48000 + rng.uniform(-0.003, 0.003) + late_s)
        errors.append(smoothed_s - off_s - block * 256 / 48000)
    assert np.abs(errors[100:1000]).max() < 0.003
    assert np.abs(errors[1020:]).max() < 0.005


def errand(start_s=math.nan):
    memory = Memory(np.zeros((1, 5), np.int64), np.full((1, 5), -np.inf))
    values = np.zeros((1, 22), np.float32)
    return Errand(SourceSpec(kind="silence"), DEFAULT_VOICES, (), 0, 0.0, 1, memory, start_s, -math.inf, values)


def count_up(first, count):
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def paced(clock, start_s=math.nan):
    return PacedFeed(errand(start_s), clock, rate_hz=1000, channels=1, make=count_up, detail="")


def test_paced_source_gives_what_is_due():
    clock = SteppedClock(10.0)
    feed = paced(clock)
    assert feed.read() is None
    clock.sleep_until(10.25)
    block = feed.read()
    assert (block.first_sample, len(block.samples), block.adc_s) == (0, 250, 10.0)
    clock.sleep_until(10.3)
    block = feed.read()
    assert (block.first_sample, block.adc_s) == (250, 10.25)
    clock.sleep_until(99.0)  # the machine slept
    block = feed.read()
    assert block.flags & CaptureFlags.GAP
    assert len(block.samples) < 1000
    assert block.samples[-1, 0] == 88999


def test_paced_source_continues_where_the_music_would_be():
    clock = SteppedClock(17.0)
    feed = paced(clock, start_s=10.0)
    clock.sleep_until(17.1)
    block = feed.read()
    assert block.first_sample == pytest.approx(7000, abs=1)
    assert math.isnan(feed.music_s(block)) and math.isinf(feed.music_length_s)  # no file
