"""How values cross threads and processes: one-slot levels and bounded mailboxes.

Levels are latest-wins: `SharedLatest` is a seqlock over shared memory. Events are queued: `SharedMailbox` is a ring for
one writer and one reader that drops the newest when full, and counts what it drops. `Mailbox` is the same for threads.

Thread: as each class says. Owns: the shared memory, made by the parent and inherited by children at spawn.
Real-time: no lock anywhere; a writer that dies in the middle of a write never blocks the reader.
"""

import multiprocessing
from collections import deque
from multiprocessing.sharedctypes import RawArray
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")

SPAWN = multiprocessing.get_context("spawn")  # fork would copy the GL context and the inference threads


class Mailbox(Generic[T]):
    """A bounded queue between threads of one process; when full, the newest is dropped and counted."""

    def __init__(self, capacity: int = 1024) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self.dropped = 0

    def post(self, item: T) -> bool:
        """Queue `item`; False where the box was full. Any thread."""
        if len(self._items) >= self._capacity:
            self.dropped += 1
            return False
        self._items.append(item)
        return True

    def drain(self) -> list[T]:
        """Take all that has arrived, oldest first. One thread."""
        items = []
        for _ in range(len(self._items)):
            items.append(self._items.popleft())
        return items


class SharedLatest:
    """One record that a single writer process replaces and any process reads.

    `dtype` is a numpy structured type. A reader sees a whole record or, while the writer is busy or dead in mid write,
    the whole record that it saw last.
    """

    _TRIES = 64

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._memory = RawArray("B", 64 + self.dtype.itemsize)
        self._attach()

    def _attach(self) -> None:
        buffer = np.frombuffer(self._memory, np.uint8)
        self._sequence = buffer[:8].view(np.int64)
        self._slot = buffer[64:].view(self.dtype)
        self._seen = np.zeros(1, self.dtype)
        self._seen_sequence = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "_memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach()

    def take_over(self) -> None:
        """Called by a new writer: heals the sequence that a writer killed in mid write left odd."""
        if self._sequence[0] & 1:
            self._sequence[0] += 1

    def publish(self, record: np.ndarray) -> None:
        """Replace the record by `record` (shape [1], of `dtype`). Writer only."""
        self._sequence[0] += 1
        self._slot[:] = record
        self._sequence[0] += 1

    @property
    def published(self) -> int:
        """How many records have been published."""
        return int(self._sequence[0]) // 2

    def read(self) -> np.void | None:
        """The newest whole record, valid until the next read; None before the first was published."""
        for _ in range(self._TRIES):
            before = int(self._sequence[0])
            if before & 1:
                continue
            if before == self._seen_sequence:
                break
            copy = self._slot.copy()
            if int(self._sequence[0]) == before:
                self._seen = copy
                self._seen_sequence = before
                break
        return self._seen[0] if self._seen_sequence else None


class SharedMailbox:
    """A ring of records from one writer process to one reader process; drops the newest when full, and counts it."""

    def __init__(self, dtype: Any, *, capacity: int = 1024) -> None:
        self.dtype = np.dtype(dtype)
        self.capacity = capacity
        self._memory = RawArray("B", 64 + capacity * self.dtype.itemsize)
        self._attach()

    def _attach(self) -> None:
        buffer = np.frombuffer(self._memory, np.uint8)
        self._counts = buffer[:24].view(np.int64)  # written, read, dropped: each has one writer
        self._slots = buffer[64:].view(self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "capacity": self.capacity, "_memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach()

    @property
    def dropped(self) -> int:
        """Records that found the box full."""
        return int(self._counts[2])

    @property
    def posted(self) -> int:
        """Records that were queued."""
        return int(self._counts[0])

    def post(self, *fields: Any) -> bool:
        """Queue one record; False where the box was full. Writer only."""
        written = int(self._counts[0])
        if written - int(self._counts[1]) >= self.capacity:
            self._counts[2] += 1
            return False
        self._slots[written % self.capacity] = fields
        self._counts[0] = written + 1  # the record is visible only now, when it is whole
        return True

    def drain(self) -> np.ndarray:
        """All records that have arrived, oldest first, as a copy. Reader only."""
        written, read = int(self._counts[0]), int(self._counts[1])
        records = self._slots[np.arange(read, written) % self.capacity]
        self._counts[1] = written
        return records


class SharedLevels:
    """A table of numbers, one writer process, one reader: the reader learns which changed since it last looked.

    This is what keeps a flood of control messages from becoming a backlog: six thousand messages a second into a
    hundred addresses are a hundred numbers.
    """

    _DTYPE = np.dtype([("serial", "i8"), ("value", "f8"), ("at_s", "f8"), ("source", "i4"), ("pad", "i4")])

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = RawArray("B", max(size, 1) * self._DTYPE.itemsize)
        self._attach()

    def _attach(self) -> None:
        self._slots = np.frombuffer(self._memory, self._DTYPE)
        self._seen = np.zeros(len(self._slots), np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "_memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach()

    def set(self, index: int, value: float, *, at_s: float, source: int = 0) -> None:
        """Write one level. Writer only. The serial is odd while a slot is being written."""
        slot = self._slots
        serial = int(slot["serial"][index])
        if serial & 1:  # a writer killed in mid write left it so
            serial += 1
        slot["serial"][index] = serial + 1
        slot["value"][index] = value
        slot["at_s"][index] = at_s
        slot["source"][index] = source
        slot["serial"][index] = serial + 2

    def changed(self) -> list[tuple[int, float, float, int]]:
        """(index, value, at_s, source) of every level written since the last call. Reader only.

        A slot that is being written at this instant is reported at the next call.
        """
        fresh = []
        for index in np.flatnonzero(self._slots["serial"] != self._seen):
            slot = self._slots[index : index + 1].copy()[0]
            serial = int(slot["serial"])
            if serial & 1 or serial != int(self._slots["serial"][index]):
                continue
            self._seen[index] = serial
            fresh.append((int(index), float(slot["value"]), float(slot["at_s"]), int(slot["source"])))
        return fresh
