"""Pictures for many: woken once, encoded once."""

import asyncio
import time

import numpy as np
import pytest

from performer.control import preview, wire
from performer.control.preview import Pictures
from performer.exchange import SharedLatest


class Desk:
    """Pictures, and the show that makes them."""

    def __init__(self) -> None:
        self.shared, self.watched = SharedLatest(wire.PICTURE), SharedLatest(wire.WATCHED)
        self.pictures = Pictures(self.shared, self.watched, now_s=time.monotonic)

    def show(self, serial: int) -> None:
        record = np.zeros(1, wire.PICTURE)
        record["serial"], record["at_s"] = serial, time.monotonic()
        record["width_px"], record["height_px"] = 8, 8
        self.shared.publish(record)
        self.pictures.step()


async def rounds(count: int = 50) -> None:
    """Give everybody else his turn, often."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's time runs out."""
    monkeypatch.setattr(preview, "WAIT_S", 1e6)


def test_a_hundred_who_wait_cost_one_encoding_and_look_only_when_woken(patient, monkeypatch):
    async def play() -> None:
        desk, encoded, looks = Desk(), [], []
        encode, newest = preview._encoded, desk.pictures._newest
        monkeypatch.setattr(preview, "_encoded", lambda picture: encoded.append(picture["serial"]) or encode(picture))
        monkeypatch.setattr(desk.pictures, "_newest", lambda: looks.append(1) or newest())
        desk.show(1)
        waiting = [asyncio.create_task(desk.pictures.jpeg(after=1)) for _ in range(100)]
        await rounds()
        assert len(looks) == 100
        for _ in range(20):
            desk.pictures.step()  # nothing is new
            await rounds()
        assert len(looks) == 100 and not any(each.done() for each in waiting)
        desk.show(2)
        answers = await asyncio.gather(*waiting)
        assert len(looks) == 200
        assert len(set(answers)) == 1 and answers[0][0] == 2
        assert encoded == [2], "and the first was never asked for"
        assert await desk.pictures.jpeg() == answers[0]
        assert encoded == [2]

    asyncio.run(play())


def test_who_leaves_while_it_is_encoded_does_not_end_it_for_the_others(patient, monkeypatch):
    async def play() -> None:
        desk, gate = Desk(), asyncio.Event()
        loop, encode = asyncio.get_running_loop(), preview._encoded

        def slow(picture: np.void) -> bytes:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
            return encode(picture)

        monkeypatch.setattr(preview, "_encoded", slow)
        desk.show(1)
        leaves, stays = (asyncio.create_task(desk.pictures.jpeg()) for _ in range(2))
        await rounds()
        leaves.cancel()
        await rounds()
        gate.set()
        assert (await stays)[0] == 1
        assert leaves.cancelled()

    asyncio.run(play())


def test_at_the_end_nobody_waits(patient):
    async def play() -> None:
        desk = Desk()
        desk.show(1)
        waiting = [asyncio.create_task(desk.pictures.jpeg(after=1)) for _ in range(10)]
        await rounds()
        desk.pictures.close()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [None] * 10
        assert await asyncio.wait_for(desk.pictures.jpeg(after=1), 10) is None, "nor does who comes later"
        assert (await desk.pictures.jpeg())[0] == 1

    asyncio.run(play())


def test_a_new_process_heals_what_a_killed_one_was_writing():
    async def play() -> None:
        desk = Desk()
        desk.watched._sequence[0] = 5
        Pictures(desk.shared, desk.watched, now_s=lambda: 7.0).close()
        reader = SharedLatest(wire.WATCHED)
        reader.__setstate__(desk.watched.__getstate__())
        desk.show(1)
        await Pictures(desk.shared, desk.watched, now_s=lambda: 7.0).jpeg()
        assert reader.read()["at_s"] == 7.0

    asyncio.run(play())
