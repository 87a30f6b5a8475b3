"""Controllers: what comes from MIDI is made into addresses, faders wait for their knobs, lights follow them.

Thread: the control process; the ports call `received` in threads of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from performer.control.addresses import Bind
from performer.control.addresses import Target as Bound
from performer.control.midi import LOOK_S, Message, MidiPorts, Pickup, Words, bytes_of
from performer.control.osc import OscMessageIn
from performer.control.tempo import TickClock
from performer.params import Kind, Param


class Controllers:
    """All MIDI ports of the machine.

    received(port, message, at_s): called in the library's threads; hands it on to `word` in the loop's. ticks: the clock of
    MIDI.
    """

    def __init__(
        self, *, received: Callable[[str, Message, float], Any], now_s: Callable[[], float], ticks: TickClock
    ) -> None:
        self._ports = MidiPorts(received=received, now_s=now_s)
        self._ticks = ticks
        self._words, self._pickup = dict[str, Words](), Pickup()
        self._look_s = 0.0

    def word(self, port: str, heard: Message, *, at_s: float) -> OscMessageIn | None:
        """What a controller said, as an address and a number; None for a clock's ticks, and for half of a word."""
        match heard[0] if heard else 0:
            case 0xF8:
                self._ticks.tick(at_s)
            case 0xFA:
                self._ticks.start()
            case 0xFB:
                self._ticks.go_on()
            case 0xF2 if len(heard) == 3:
                self._ticks.at_position(heard[1] | heard[2] << 7)
            case _:
                return self._words.setdefault(port, Words()).of(heard, at_s=at_s)
        return None

    def waits(self, word: OscMessageIn, port: str, *, targets: Sequence[Bound], knob: Callable[[int], float]) -> bool:
        """Whether a fader has yet to pass the place where its knob is. knob(row): where that is."""
        if "/cc" not in word.address:
            return False
        for target in targets:
            if target.param.kind is Kind.FLOAT:
                part = target.param.to_norm(target.bind.read(target.param, float(word.args[-1])))
                at = target.param.to_norm(knob(target.row))
                return not self._pickup.passes(f"{port} {word.address}", part, knob=at)
        return False

    def show(self, param: Param, value: float, *, binds: Mapping[str, Bind]) -> None:
        """Move the lights and motors of what is bound to a knob."""
        for address, bind in binds.items():
            if bind.param == param.id and address.startswith("/midi/"):
                # A switch has no range of its own on a controller: it is lit or not.
                told = 127.0 * (value > 0) if param.kind is Kind.BOOL else bind.told(param, value)
                for each in bytes_of(address, told):
                    self._ports.send(each)

    def look(self, *, now_s: float) -> None:
        """Open the ports that came, close those that went; now and then."""
        if now_s >= self._look_s:
            self._look_s = now_s + LOOK_S
            self._ports.look()

    @property
    def text(self) -> str:
        """The inputs that are open, or why there are none."""
        return ", ".join(self._ports.names) or self._ports.problem

    def close(self) -> None:
        """Close all ports."""
        self._ports.close()
