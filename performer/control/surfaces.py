"""Surfaces: who is told what. Subscriptions, dumps in measured portions, and changes to all but who made them.

Thread: the control process. Time is an argument.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from performer.control.osc import OscError


class Listener(Protocol):
    """Somebody who is connected, and can be told something at once."""

    @property
    def source(self) -> str:
        """What names it."""
        ...

    def reply(self, datagram: bytes) -> None:
        """Send this."""
        ...


Target = tuple[str, int]  # host, port
Addressee = Target | Listener


class Sender(Protocol):
    """Who sent a message."""

    @property
    def source(self) -> str:
        """What names it."""
        ...

    @property
    def host(self) -> str:
        """Its machine."""
        ...

    @property
    def may_write(self) -> bool:
        """Whether it may move anything."""
        ...

    @property
    def addressee(self) -> Addressee:
        """Where answers go."""
        ...


@dataclass(frozen=True, slots=True)
class UdpSender:
    """Who sent a datagram."""

    addressee: Target
    source: str
    host: str
    may_write: bool = True


@dataclass(frozen=True, slots=True)
class MidiSender:
    """The port of a controller: it is shown values, and answered nothing."""

    source: str
    host: str = "MIDI"
    may_write: bool = True

    @property
    def addressee(self) -> Addressee:
        """Itself."""
        return self

    def reply(self, datagram: bytes) -> None:
        """Nobody would read it."""


SUBSCRIPTION_S = 60.0  # a subscriber that is not renewed is forgotten: it may have been switched off
MOST_SUBSCRIBERS = 32
SYNC_BURST = 200  # messages of a dump sent at once; the rest follows in the next rounds


@dataclass(slots=True)
class _Subscriber:
    origin: str  # the source that asked
    until_s: float


class Surfaces:
    """The subscribers, and what waits for them."""

    def __init__(self, post: Callable[[Addressee, bytes], None]) -> None:
        self._post = post
        self._subscribers: dict[Target, _Subscriber] = {}
        self._dumps: dict[Addressee, list[bytes | int]] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def answer(self, asker: Addressee, datagram: bytes) -> None:
        """Send this to who asked."""
        self._post(asker, datagram)

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

    def dump(self, target: Addressee, datagrams: list[bytes | int]) -> None:
        """Send all of these, in portions; a number is a row, of which the value at that moment is sent. What still waits
        for the same target comes first, but for what would be sent twice.

        Raises OscError where too many are served at once.
        """
        if target not in self._dumps and len(self._dumps) >= MOST_SUBSCRIBERS:
            raise OscError(f"{MOST_SUBSCRIBERS} dumps are being sent already")
        fresh = set(datagrams)
        self._dumps[target] = [*(each for each in self._dumps.get(target, ()) if each not in fresh), *datagrams]

    def announce(self, datagram: bytes, *, but: Addressee) -> None:
        """Send to all subscribers but this one, who has been told."""
        for target in self._subscribers:
            if target != but:
                self._post(target, datagram)

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
