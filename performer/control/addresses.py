"""Addresses: what a message means to the parameters, and what foreign addresses are bound to.

Thread: the control process. Nothing here raises anything but `OscError`.
"""

import math
import operator
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from performer.control.osc import Impulse, OscError, OscMessageIn
from performer.params import Kind, Param, ParamTable
from performer.triggers import Press

_WILD = re.compile(r"[*?\[{]")
_RELATIVE: dict[str, Callable[[float, float], float]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_ABSOLUTE = "a"


@dataclass(frozen=True, slots=True)
class Bind:
    """What a foreign address sets, and how its numbers are read."""

    param: str
    span: tuple[float, float] | None = None  # the sender's range; None where it speaks the parameter's own unit
    onto: tuple[float, float] | None = None  # what becomes of it, in the parameter's unit; None for its whole range

    def read(self, param: Param, told: float) -> float:
        """The parameter's value of what a sender told."""
        if self.span is None:
            return told
        low, high = self.span
        part = min(max((told - low) / (high - low), 0.0), 1.0)
        if self.onto is None:
            return param.from_norm(part)
        return self.onto[0] + part * (self.onto[1] - self.onto[0])

    def told(self, param: Param, value: float) -> float:
        """The inverse of `read`: what the sender would tell of a value."""
        if self.span is None:
            return value
        part = param.to_norm(value) if self.onto is None else (value - self.onto[0]) / (self.onto[1] - self.onto[0])
        return self.span[0] + part * (self.span[1] - self.span[0])


NORM = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Target:
    """What an address sets."""

    row: int
    param: Param
    bind: Bind


class Dispatcher:
    """Addresses to parameters: exact ones by a dict, patterns compiled once.

    `set_level(row, value)` and `press(row, text)` receive what passed, `current(row)` says where a relative value starts
    from; all are the caller's. `triggers`: by address, what begins cues; `fire(id, kind)` receives those that passed.
    """

    _REPRESS_S = 0.25  # a button that only ever sends 1 presses again after so much silence; a stream of ones does not
    _PATTERNS_KEPT = 256
    _PRESSES_KEPT = 4096

    def __init__(
        self,
        table: ParamTable,
        *,
        set_level: Callable[[int, float], None],
        press: Callable[[int, str], None],
        current: Callable[[int], float],
        prefix: str = "/perf",
        binds: dict[str, Bind] | None = None,
        triggers: Mapping[str, Sequence[Press]] | None = None,
        fire: Callable[[str, str], None] = lambda cue, kind: None,
    ) -> None:
        self.prefix = prefix
        self._set_level = set_level
        self._press = press
        self._current = current
        self._fire = fire
        self._last_press: dict[Hashable, tuple[float, float]] = {}  # by what, and the source: (value, at_s)
        self._written = dict(binds or {})  # in the setlist
        self._take(table, self._written, triggers or {})

    def _take(self, table: ParamTable, binds: Mapping[str, Bind], triggers: Mapping[str, Sequence[Press]]) -> None:
        self.table = table
        self._own: dict[str, Target] = {}
        for row, param in enumerate(table.params):
            address = table.address(param, prefix=self.prefix)
            self._own[address] = Target(row, param, Bind(param.id))
            self._own[f"{address}/norm"] = Target(row, param, Bind(param.id, NORM))
        self._targets = dict(self._own)
        self.binds: dict[str, Bind] = {}
        self._patterns: dict[str, list[Target]] = {}
        self._triggers = dict(triggers)
        self._waiting_for: dict[str, list[tuple[str, Press]]] = {}  # by pattern: the triggers that it fits
        for address, bind in binds.items():
            self.bind(address, bind)

    def take(self, table: ParamTable, *, binds: Mapping[str, Bind], triggers: Mapping[str, Sequence[Press]]) -> None:
        """Go on with what an edited setlist says. What was learnt and unbound since still holds, but where it says
        something else now; buttons that are held are not pressed again."""
        before, bound = self._written, self.binds
        self._written = dict(binds)
        merged = dict(binds)
        for address in before.keys() | bound.keys():
            if before.get(address) != bound.get(address) and before.get(address) == binds.get(address):
                merged.pop(address, None)
                if address in bound:
                    merged[address] = bound[address]
        self._take(table, merged, triggers)

    def bind(self, address: str, bind: Bind) -> Bind | None:
        """Let a foreign address set a parameter; returns what it was bound to before. Raises OscError for our own."""
        if address in self._own:
            raise OscError(f"{address} is the address of {self._own[address].param.id}; expected another program's")
        row = self.table.row(bind.param)
        before = self.binds.get(address)
        self.binds[address] = bind
        self._targets[address] = Target(row, self.table.params[row], bind)
        self._patterns.clear()
        return before

    def unbind(self, address: str) -> bool:
        """Take a binding back; False where there was none."""
        if self.binds.pop(address, None) is None:
            return False
        del self._targets[address]
        self._patterns.clear()
        return True

    def is_own(self, address: str) -> bool:
        """Whether an address lies in our own tree."""
        return address.startswith(f"{self.prefix}/")

    def targets(self, address: str) -> Sequence[Target]:
        """What `address` means: one target, several for a pattern, none for a stranger."""
        target = self._targets.get(address)
        if target is not None:
            return (target,)
        if not _WILD.search(address):
            return ()
        found = self._patterns.get(address)
        if found is None:
            found = [self._targets[name] for name in _fitting(address, self._targets)]
            if len(self._patterns) >= self._PATTERNS_KEPT:
                self._patterns.clear()
            self._patterns[address] = found
        return found

    def awaits(self, message: OscMessageIn) -> bool:
        """Whether a message is what a cue begins by: its address, and the number where that matters."""
        told = number_in(message.args)
        return any(press.number in (None, told) for _, press in self._presses(message.address))

    def _presses(self, address: str) -> Sequence[tuple[str, Press]]:
        """The triggers that `address` means, each with its own address."""
        if not self._triggers:
            return ()
        if not _WILD.search(address):
            return [(address, press) for press in self._triggers.get(address, ())]
        found = self._waiting_for.get(address)
        if found is None:
            found = [(name, press) for name in _fitting(address, self._triggers) for press in self._triggers[name]]
            if len(self._waiting_for) >= self._PATTERNS_KEPT:
                self._waiting_for.clear()
            self._waiting_for[address] = found
        return found

    def apply(self, message: OscMessageIn, *, at_s: float, source: str) -> bool:
        """Hand a message to what it addresses; False for a stranger. Raises OscError for a value that does not fit."""
        targets, presses = self.targets(message.address), self._presses(message.address)
        for target in targets:
            self._apply(target, message.args, at_s=at_s, source=source)
        for address, press in presses:
            key = (address, press, source)
            if self._pressed(key, message.args, wants=address, number=press.number, at_s=at_s):
                self._fire(press.cue, press.kind)
        return bool(targets or presses)

    def _apply(self, target: Target, args: tuple[Any, ...], *, at_s: float, source: str) -> None:
        param = target.param
        if param.kind is Kind.TRIGGER:
            if self._pressed((target.row, source), args, wants=param.id, at_s=at_s):
                self._press(target.row, "")
            return
        if param.kind is Kind.TEXT:
            text = args[-1] if args else None
            if not isinstance(text, (str, int)) or isinstance(text, bool):
                raise OscError(f"{param.id} wants a name, not {text!r}")
            self._press(target.row, str(text))
            return
        self._set_level(target.row, self._wanted(target, args))

    def _wanted(self, target: Target, args: tuple[Any, ...]) -> float:
        """The value that a message asks for, within the parameter's range."""
        param, bind = target.param, target.bind
        value = _number(param.id, args)
        how = args[0] if len(args) > 1 and isinstance(args[0], str) else ""
        if how in _RELATIVE:
            value = _RELATIVE[how](bind.told(param, self._current(target.row)), value)
        try:
            return param.admit(value if how == _ABSOLUTE else bind.read(param, value))
        except ValueError as error:  # two numbers whose sum is none
            raise OscError(str(error)) from None

    def _pressed(
        self, key: Hashable, args: tuple[Any, ...], *, wants: str, at_s: float, number: int | None = None
    ) -> bool:
        """Whether this message is a press: a value that rises above zero, or no value at all.

        key: what is pressed, and by whom. wants: its name. number: where there is one, another value counts as zero.
        """
        if not args or args[-1] is None or args[-1] is Impulse.IMPULSE:
            return number is None
        value = _number(wants, args)
        if number is not None:
            value = float(value == number)
        before, before_s = self._last_press.get(key, (0.0, -math.inf))
        if len(self._last_press) >= self._PRESSES_KEPT:
            self._last_press.clear()
        self._last_press[key] = (value, at_s)
        return value > 0 and (before <= 0 or at_s - before_s >= self._REPRESS_S)


def number_in(args: tuple[Any, ...]) -> float | None:
    """The number that a message carries: the last of several, which is the newest of a time slice; None for none."""
    value = args[-1] if args else None
    if isinstance(value, (bool, int, float)):
        try:
            number = float(value)
        except OverflowError:  # a 64-bit number always fits; what Python adds up may not
            return None
        return number if math.isfinite(number) else None
    return None


def _number(wants: str, args: tuple[Any, ...]) -> float:
    value = number_in(args)
    if value is None:
        raise OscError(f"{wants} wants a number, not {args[-1]!r}" if args else f"{wants} wants a number")
    return value


def _fitting(address: str, names: Iterable[str]) -> list[str]:
    """The names that an address pattern fits."""
    pattern = _pattern(address)
    return [name for name in names if pattern.fullmatch(name)] if pattern else []


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
                # Two dashes running mean something else to Python, one day.
                escaped = re.sub("-+", "-", "".join(c if c == "-" else re.escape(c) for c in inside))
                parts.append(f"[{negated}{escaped}]")
            at = end
        else:
            parts.append(re.escape(char))
        at += 1
    try:
        return re.compile("".join(parts))
    except re.error:
        return None
