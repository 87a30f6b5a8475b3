"""OSC on the wire: datagrams to messages, and numbers to datagrams.

Parsing is python-osc's; around it stand the checks that it lacks (its parser reads on after a tag that it does not know,
invents zeros for arguments that were cut off, and lets NaN through). Its server classes and dispatcher are not used:
measured, they lose half of what TouchDesigner sends. Bundles are handled at once whatever their time tags: the tags come
from another machine's clock.

Thread: the control process. Nothing here raises anything but `OscError`.
"""

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

_FIXED_BYTES = {"i": 4, "f": 4, "r": 4, "m": 4, "h": 8, "d": 8, "t": 8, "T": 0, "F": 0, "N": 0, "I": 0, "[": 0, "]": 0}
_MOST_NESTED = 8


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


def message(address: str, args: Iterable[str | float]) -> bytes:
    """A datagram with text and numbers."""
    builder = OscMessageBuilder(address)
    for arg in args:
        builder.add_arg(arg)
    return builder.build().dgram


def float_message(address: str) -> Callable[[float], bytes]:
    """An encoder for `address` with one float: the bytes before the number never change."""
    head = _padded(address.encode()) + b",f\0\0"
    return lambda value: head + struct.pack(">f", value)


def int_message(address: str) -> Callable[[float], bytes]:
    """The same with one whole number, the nearest."""
    head = _padded(address.encode()) + b",i\0\0"
    return lambda value: head + struct.pack(">i", round(value))


def switch_message(address: str) -> Callable[[float], bytes]:
    """The same with `T` or `F`."""
    head = _padded(address.encode())
    return lambda value: head + (b",T\0\0" if value > 0 else b",F\0\0")


def address_of(datagram: bytes) -> str:
    """The address of a message that we made."""
    return datagram[: datagram.index(0)].decode()


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (4 - len(text) % 4)
