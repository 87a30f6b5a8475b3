"""OSC on the wire: datagrams to messages, messages to parameters.

Parsing is python-osc's; around it stand the checks that it lacks (its parser reads on after a tag that it does not know,
invents zeros for arguments that were cut off, and lets NaN through). Its server classes and dispatcher are not used:
measured, they lose half of what TouchDesigner sends. Bundles are handled at once whatever their time tags: the tags come
from another machine's clock.

Thread: the control process. Nothing here raises anything but `OscError`.
"""

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pythonosc.osc_message import OscMessage

from performer.params import Kind, Param, ParamTable

_FIXED_BYTES = {"i": 4, "f": 4, "r": 4, "m": 4, "h": 8, "d": 8, "t": 8, "T": 0, "F": 0, "N": 0, "I": 0, "[": 0, "]": 0}
_MOST_NESTED = 8
_WILD = re.compile(r"[*?\[{]")


class Impulse(Enum):
    """The argument of tag `I`: it carries nothing and means `now`."""

    IMPULSE = "impulse"


@dataclass(frozen=True, slots=True)
class OscMessageIn:
    """One message."""

    address: str
    args: tuple[Any, ...]


class OscError(ValueError):
    """A datagram or message that is refused; the text says why."""


def messages_of(datagram: bytes, *, nested: int = 0) -> list[OscMessageIn]:
    """The messages of a datagram, bundles opened, in order. Raises OscError: all of a datagram is taken, or nothing."""
    if not datagram.startswith(b"#bundle\0"):
        return [_message_of(datagram)]
    if nested >= _MOST_NESTED:
        raise OscError("bundles nested too deeply")
    messages: list[OscMessageIn] = []
    at = 16  # the time tag is skipped
    if len(datagram) < at:
        raise OscError("bundle cut short")
    while at < len(datagram):
        if at + 4 > len(datagram):
            raise OscError("bundle cut short")
        (size,) = struct.unpack_from(">i", datagram, at)
        at += 4
        if size <= 0 or at + size > len(datagram):
            raise OscError(f"bundle element of {size} bytes")
        messages += messages_of(datagram[at : at + size], nested=nested + 1)
        at += size
    return messages


def _message_of(datagram: bytes) -> OscMessageIn:
    tags = _checked_tags(datagram)
    try:
        args = OscMessage(datagram).params
    except Exception as error:  # python-osc lets UnicodeDecodeError and others out
        raise OscError(f"unreadable message: {error}") from None
    if "I" in tags and "[" not in tags:  # the parser leaves impulses out
        rest = iter(args)
        args = [Impulse.IMPULSE if tag == "I" else next(rest) for tag in tags]
    for arg in args:
        if isinstance(arg, float) and not math.isfinite(arg):
            raise OscError(f"argument {arg} is not a finite number")
    return OscMessageIn(datagram[: datagram.index(0)].decode(), tuple(args))


def _checked_tags(datagram: bytes) -> str:
    """The type tags, after checking that all the arguments they promise are there. Raises OscError."""
    if not datagram.startswith(b"/"):
        raise OscError("not OSC")
    address_end = datagram.find(b"\0")
    if address_end < 0:
        raise OscError("address without an end")
    try:
        datagram[:address_end].decode("ascii")
    except UnicodeDecodeError:
        raise OscError("address is not ASCII") from None
    at = (address_end + 4) & ~3
    if at >= len(datagram) or datagram[at : at + 1] != b",":
        return ""  # old senders leave the tags out; such a message has no arguments for us
    tags_end = datagram.find(b"\0", at)
    if tags_end < 0:
        raise OscError("type tags without an end")
    tags = datagram[at + 1 : tags_end].decode("latin-1")
    at = (tags_end + 4) & ~3
    for tag in tags:
        if tag in _FIXED_BYTES:
            at += _FIXED_BYTES[tag]
        elif tag == "s":
            end = datagram.find(b"\0", at)
            if end < 0:
                raise OscError("text without an end")
            at = (end + 4) & ~3
        elif tag == "b":
            if at + 4 > len(datagram):
                raise OscError("blob cut short")
            (size,) = struct.unpack_from(">i", datagram, at)
            if size < 0:
                raise OscError(f"blob of {size} bytes")
            at += 4 + ((size + 3) & ~3)
        else:
            raise OscError(f"type tag {tag!r} is not supported")
        if at > len(datagram):
            raise OscError(f"argument {tag!r} is cut short")
    return tags


@dataclass(frozen=True, slots=True)
class Target:
    """What an address sets."""

    row: int
    param: Param
    norm: bool  # values are 0..1 over the parameter's range


class Dispatcher:
    """Addresses to parameters: exact ones by a dict, patterns compiled once.

    `set_level(row, value)` and `press(row, value, text)` receive what passed; both are the caller's.
    """

    _REPRESS_S = 0.25  # a button that only ever sends 1 presses again after so much silence; a stream of ones does not
    _PATTERNS_KEPT = 256

    def __init__(
        self,
        table: ParamTable,
        *,
        set_level: Callable[[int, float], None],
        press: Callable[[int, str], None],
        prefix: str = "/perf",
        aliases: dict[str, str] | None = None,
    ) -> None:
        self.table = table
        self.prefix = prefix
        self._set_level = set_level
        self._press = press
        self._targets: dict[str, Target] = {}
        for row, param in enumerate(table.params):
            address = table.address(param, prefix=prefix)
            self._targets[address] = Target(row, param, norm=False)
            self._targets[f"{address}/norm"] = Target(row, param, norm=True)
        for address, wanted in (aliases or {}).items():
            param_id, _, norm = wanted.partition("/")
            row = table.row(param_id)
            self._targets[address] = Target(row, table.params[row], norm=norm == "norm")
        self._patterns: dict[str, list[Target]] = {}
        self._last_press: dict[tuple[int, str], tuple[float, float]] = {}  # (row, source): (value, at_s)

    def targets(self, address: str) -> Sequence[Target]:
        """What `address` means: one target, several for a pattern, none for a stranger."""
        target = self._targets.get(address)
        if target is not None:
            return (target,)
        if not _WILD.search(address):
            return ()
        found = self._patterns.get(address)
        if found is None:
            pattern = _pattern(address)
            plain = (name for name in self._targets if pattern.fullmatch(name)) if pattern else ()
            found = [self._targets[name] for name in plain]
            if len(self._patterns) >= self._PATTERNS_KEPT:
                self._patterns.clear()
            self._patterns[address] = found
        return found

    def apply(self, message: OscMessageIn, *, at_s: float, source: str) -> bool:
        """Hand a message to what it addresses; False for a stranger. Raises OscError for a value that does not fit."""
        targets = self.targets(message.address)
        for target in targets:
            self._apply(target, message.args, at_s=at_s, source=source)
        return bool(targets)

    def _apply(self, target: Target, args: tuple[Any, ...], *, at_s: float, source: str) -> None:
        param = target.param
        if param.kind is Kind.TRIGGER:
            if self._pressed(target.row, args, at_s=at_s, source=source):
                self._press(target.row, "")
            return
        if param.kind is Kind.TEXT:
            text = args[-1] if args else None
            if not isinstance(text, (str, int)) or isinstance(text, bool):
                raise OscError(f"{param.id} wants a name, not {text!r}")
            self._press(target.row, str(text))
            return
        value = _number(param, args)
        self._set_level(target.row, param.admit(param.from_norm(value) if target.norm else value))

    def _pressed(self, row: int, args: tuple[Any, ...], *, at_s: float, source: str) -> bool:
        """Whether this message presses a trigger: a value that rises above zero, or no value at all."""
        if not args or args[-1] is None or args[-1] is Impulse.IMPULSE:
            return True
        value = _number(self.table.params[row], args)
        before, before_s = self._last_press.get((row, source), (0.0, -math.inf))
        self._last_press[(row, source)] = (value, at_s)
        return value > 0 and (before <= 0 or at_s - before_s >= self._REPRESS_S)


def _number(param: Param, args: tuple[Any, ...]) -> float:
    """The number that a message carries: the last of several, which is the newest of a time slice."""
    if not args:
        raise OscError(f"{param.id} wants a number")
    value = args[-1]
    if isinstance(value, (bool, int, float)) and math.isfinite(value):
        return float(value)
    raise OscError(f"{param.id} wants a number, not {value!r}")


def _pattern(address: str) -> re.Pattern[str] | None:
    """An OSC 1.0 address pattern as a regular expression; `*` and `?` stop at a slash. None for a broken one."""
    parts, at = [], 0
    while at < len(address):
        char = address[at]
        if char in "*?":
            parts.append("[^/]*" if char == "*" else "[^/]")
        elif char in "[{":
            end = address.find("]" if char == "[" else "}", at)
            if end < 0:
                return None
            inside = address[at + 1 : end]
            if char == "{":
                parts.append("(?:" + "|".join(re.escape(option) for option in inside.split(",")) + ")")
            else:
                negated, inside = ("^", inside[1:]) if inside[:1] == "!" else ("", inside)
                escaped = "".join(c if c == "-" else re.escape(c) for c in inside)
                parts.append(f"[{negated}{escaped}]")
            at = end
        else:
            parts.append(re.escape(char))
        at += 1
    try:
        return re.compile("".join(parts))
    except re.error:
        return None


def float_message(address: str) -> Callable[[float], bytes]:
    """An encoder for `address` with one float: the bytes before the number never change."""
    head = _padded(address.encode()) + b",f\0\0"
    return lambda value: head + struct.pack(">f", value)


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (4 - len(text) % 4)
