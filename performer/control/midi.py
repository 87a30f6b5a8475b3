"""MIDI: controllers, keyboards and clocks, as addresses like those of OSC.

A control change is `/midi/1/cc/21 64`, a note `/midi/1/note/36 100` (its end 0), and so on (`Words`): what is learnt and
bound of OSC is learnt and bound of MIDI. Ports come and go while the show plays. A machine without MIDI, or without the
library (python-rtmidi, an extra), has none; that is no fault.

Thread: the control process, in its event loop; the library's own threads hand over what they receive.
"""

import contextlib
import importlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from performer.control.osc import OscMessageIn

LOOK_S = 2.0  # between two looks for ports that came or went
PAIR_S = 0.01  # the second half of a control change of 14 bits follows within
PAIRS = 2  # so many such pairs running, and the two are one
NEAR = 0.02  # parts of the range within which a fader has caught the knob

Message = tuple[int, ...]


class Words:
    """What the bytes of one port say."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], tuple[int, float]] = {}  # (channel, number): upper half, and when
        self._pairs: dict[tuple[int, int], int] = {}

    def of(self, message: Message, *, at_s: float) -> OscMessageIn | None:
        """One message as an address with a number; None for what is no knob, key or program."""
        if len(message) < 2 or not 0x80 <= message[0] < 0xF0:
            return None
        channel, first = (message[0] & 15) + 1, message[1]
        second = message[2] if len(message) > 2 else 0
        at = f"/midi/{channel}"
        match message[0] & 0xF0:
            case 0x80:
                return OscMessageIn(f"{at}/note/{first}", (0,))
            case 0x90:
                return OscMessageIn(f"{at}/note/{first}", (second,))
            case 0xB0:
                return self._control(channel, first, second, at_s=at_s)
            case 0xC0:
                return OscMessageIn(f"{at}/program", (first + 1,))  # as controllers show it
            case 0xD0:
                return OscMessageIn(f"{at}/pressure", (first,))
            case 0xE0:
                return OscMessageIn(f"{at}/bend", (first | second << 7,))
        return None

    def _control(self, channel: int, number: int, value: int, *, at_s: float) -> OscMessageIn | None:
        """Two control changes 32 apart that always come together are one of 14 bits."""
        pair = (channel, number % 32)
        if number < 32:
            self._first[pair] = (value, at_s)
            if self._pairs.get(pair, 0) >= PAIRS:
                return None  # its lower half is on the way
        elif number < 64 and pair in self._first:
            upper, upper_s = self._first[pair]
            together = at_s - upper_s <= PAIR_S
            self._pairs[pair] = self._pairs.get(pair, 0) + 1 if together else 0
            if self._pairs[pair] >= PAIRS:
                return OscMessageIn(f"/midi/{channel}/cc14/{number - 32}", (upper << 7 | value,))
        return OscMessageIn(f"/midi/{channel}/cc/{number}", (value,))


def bytes_of(address: str, told: float) -> Iterator[Message]:
    """The messages that show a value on a controller; none for what has no light or motor."""
    found = re.fullmatch(r"/midi/(\d+)/(cc|cc14|note)/(\d+)", address)
    if not found:
        return
    channel, kind, number = int(found[1]) - 1, found[2], int(found[3])
    if kind == "cc14":
        value = min(max(round(told), 0), 16383)
        yield (0xB0 | channel, number, value >> 7)
        yield (0xB0 | channel, number + 32, value & 127)
    else:
        status = 0xB0 if kind == "cc" else 0x90
        yield (status | channel, number, min(max(round(told), 0), 127))


class Pickup:
    """Soft take-over: a fader moves nothing until it has passed where the knob is, so that the picture does not leap."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}  # by fader: where it was, 0..1
        self._caught: dict[str, float] = {}  # by fader that holds its knob: where it put it

    def passes(self, fader: str, part: float, *, knob: float) -> bool:
        """Whether a fader at `part` moves a knob that is at `knob`, both 0..1."""
        last = self._last.get(fader)
        self._last[fader] = part
        held = self._caught.get(fader)
        catches = (
            (held is not None and abs(knob - held) <= NEAR)  # it holds it, and nobody else has moved it
            or abs(part - knob) <= NEAR
            or (last is not None and (last - knob) * (part - knob) <= 0)
        )
        if catches:
            self._caught[fader] = part
        else:
            self._caught.pop(fader, None)
        return catches


class MidiPorts:
    """All MIDI ports of the machine.

    received(port, message, at_s) is called in the library's threads.
    """

    def __init__(self, *, received: Callable[[str, Message, float], Any], now_s: Callable[[], float]) -> None:
        self._received, self._now_s = received, now_s
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self.problem = ""
        self._rtmidi: Any = None
        self._api, self._finder, self._sender = 0, None, None
        try:
            self._rtmidi = importlib.import_module("rtmidi")
        except ImportError:
            self.problem = "MIDI is not installed; pip install 'performer[midi]'"
            return
        self._find_api()

    @property
    def names(self) -> list[str]:
        """The inputs that are open."""
        return sorted(self._inputs)

    def _find_api(self) -> None:
        """The first system of MIDI that works on this machine."""
        os.environ.setdefault("JACK_NO_START_SERVER", "1")
        for api in sorted(self._rtmidi.get_compiled_api(), key=lambda api: api == self._rtmidi.API_UNIX_JACK):
            with contextlib.suppress(Exception), _quiet():  # a machine without it says so at length, and raises
                self._finder = self._rtmidi.MidiIn(api, name="performer")
                self._sender = self._rtmidi.MidiOut(api, name="performer")
                self._api = api
                self.problem = ""
                return
        self.problem = "no MIDI on this machine"

    def look(self) -> None:
        """Open the ports that came, close those that went."""
        if self._finder is None:
            return
        with contextlib.suppress(Exception):
            self._renew(self._inputs, self._finder.get_ports(), self._opened_input)
            assert self._sender is not None
            self._renew(self._outputs, self._sender.get_ports(), self._opened_output)

    def _renew(self, ports: dict[str, Any], names: list[str], opened: Callable[[int, str], Any]) -> None:
        wanted = {name: place for place, name in enumerate(names) if not _is_ours(name)}
        for name in [name for name in ports if name not in wanted]:
            _closed(ports.pop(name))
        for name, place in wanted.items():
            if name not in ports:
                with contextlib.suppress(Exception):  # another program may hold it for itself
                    ports[name] = opened(place, name)

    def _opened_input(self, place: int, name: str) -> Any:
        port = self._rtmidi.MidiIn(self._api, name="performer")
        port.ignore_types(sysex=True, timing=False, active_sense=True)
        port.set_callback(lambda event, _: self._received(name, tuple(event[0]), self._now_s()))
        port.open_port(place, name="in")
        return port

    def _opened_output(self, place: int, name: str) -> Any:
        port = self._rtmidi.MidiOut(self._api, name="performer")
        port.open_port(place, name="out")
        return port

    def send(self, message: Message) -> None:
        """Show something on all controllers."""
        for port in self._outputs.values():
            with contextlib.suppress(Exception):
                port.send_message(list(message))

    def close(self) -> None:
        """Close all ports."""
        for port in (*self._inputs.values(), *self._outputs.values(), self._finder, self._sender):
            _closed(port)
        self._inputs, self._outputs, self._finder, self._sender = {}, {}, None, None


def _is_ours(name: str) -> bool:
    """Whether a port is one that this program opened (JACK numbers them), or ALSA's loop: to light our own knobs would be
    to turn them.
    """
    return re.match(r"performer(-\d+)?:|Midi Through", name) is not None


def _closed(port: Any) -> None:
    with contextlib.suppress(Exception):
        port.close_port()
        port.delete()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that a C library prints reaches the terminal."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
