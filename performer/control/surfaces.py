"""Surfaces: who is told what. Subscriptions, dumps in measured portions, and changes to all but who made them.

Thread: the control process. Time is an argument.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from performer.control.osc import OscError, float_message, int_message
from performer.flow import F32
from performer.params import Kind, ParamTable

Target = tuple[str, int]  # host, port

SUBSCRIPTION_S = 60.0  # a subscriber that is not renewed is forgotten: it may have been switched off
MOST_SUBSCRIBERS = 32
SYNC_BURST = 200  # messages of a dump sent at once; the rest follows in the next rounds


@dataclass(slots=True)
class _Subscriber:
    origin: str  # the source that asked
    until_s: float


class Surfaces:
    """The subscribers, and what waits for them."""

    def __init__(self, post: Callable[[Target, bytes], None]) -> None:
        self._post = post
        self._subscribers: dict[Target, _Subscriber] = {}
        self._dumps: dict[Target, list[bytes | int]] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def subscribe(self, target: Target, *, origin: str, now_s: float) -> bool:
        """Begin or renew; whether it is new. Raises OscError where there are too many."""
        is_new = target not in self._subscribers
        if is_new and len(self._subscribers) >= MOST_SUBSCRIBERS:
            raise OscError(f"{MOST_SUBSCRIBERS} subscribers are served already")
        self._subscribers[target] = _Subscriber(origin, now_s + SUBSCRIPTION_S)
        return is_new

    def unsubscribe(self, target: Target) -> None:
        """End it."""
        self._subscribers.pop(target, None)

    def dump(self, target: Target, datagrams: list[bytes | int]) -> None:
        """Send all of these, in portions; a number is a row, of which the value at that moment is sent.

        Raises OscError where too many are served at once.
        """
        if target not in self._dumps and len(self._dumps) >= MOST_SUBSCRIBERS:
            raise OscError(f"{MOST_SUBSCRIBERS} dumps are being sent already")
        self._dumps[target] = datagrams

    def tell(self, datagrams: Iterable[bytes], *, but: str = "") -> None:
        """Send to all subscribers but the one that is this source.

        A program may send from another socket than it subscribed with, so the only subscriber of a machine is taken for
        whoever sends from there.
        """
        targets = [target for target, each in self._subscribers.items() if not self._is(target, each, but)]
        for datagram in datagrams:
            for target in targets:
                self._post(target, datagram)

    def step(self, now_s: float, *, value_of: Callable[[int], bytes]) -> None:
        """Forget who did not renew, and send the next portion of each dump. value_of: tells a row."""
        for target in [target for target, each in self._subscribers.items() if each.until_s < now_s]:
            del self._subscribers[target]
        for target, waiting in list(self._dumps.items()):
            for each in waiting[:SYNC_BURST]:
                self._post(target, value_of(each) if isinstance(each, int) else each)
            del waiting[:SYNC_BURST]
            if not waiting:
                del self._dumps[target]

    def _is(self, target: Target, subscriber: _Subscriber, source: str) -> bool:
        if not source:
            return False
        host = source.rpartition(":")[0]
        return subscriber.origin == source or (
            target[0] == host and sum(other[0] == host for other in self._subscribers) == 1
        )


class Changes:
    """Numbers of which only what changed is told."""

    def __init__(self, encoders: Sequence[Callable[[float], bytes]], least: F32) -> None:
        self._encoders = encoders
        self._least = least  # [n], a smaller change is told to nobody
        self._sent = np.full(len(encoders), np.inf, np.float32)

    def of(self, values: F32) -> list[tuple[int, bytes]]:
        """(row, datagram) of each of `values` [n] that changed since it was last told."""
        changed = []
        for row in np.flatnonzero(~(np.abs(values - self._sent) < self._least)).tolist():
            self._sent[row] = values[row]
            changed.append((row, self._encoders[row](float(values[row]))))
        return changed


def encoders_of(table: ParamTable, *, prefix: str) -> list[Callable[[float], bytes]]:
    """How each parameter's value is told: whole numbers and switches as such, for programs that show them as such."""
    return [
        (int_message if param.kind in (Kind.INT, Kind.BOOL) else float_message)(table.address(param, prefix=prefix))
        for param in table.params
    ]


def is_told(kind: Kind) -> bool:
    """Whether parameters of this kind have a value that can be told."""
    return kind not in (Kind.TRIGGER, Kind.TEXT)
