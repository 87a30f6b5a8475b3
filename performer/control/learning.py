"""Learning: wiggle a fader, and its address is bound, with the range that it went through.

Everything foreign that arrives is watched, so that a stream that moved before anybody asked is not taken for the fader that
is wiggled now; where nothing else moves, the stream is meant.

Thread: the control process. Time is an argument.
"""

from dataclasses import dataclass

WIGGLE_S = 3.0  # from the first movement on
PATIENCE_S = 30.0  # without any movement the learning ends
_RECENTLY_S = 1.0  # what moved so shortly before is a stream of its own
_WATCHED = 1024  # addresses; senders that invent more are not watched
_LEAST_SPAN = 1e-6


@dataclass(slots=True)
class _Watched:
    value: float
    moved_s: float = -1e9
    is_stream: bool = False  # it moved before the learning began
    low: float = 0.0
    high: float = 0.0
    moves: int = 0


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was wiggled."""

    address: str
    low: float
    high: float


class Learner:
    """Watches foreign addresses; between `begin` and an answer it looks for the one that a hand wiggles."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._began_s: float | None = None
        self._first_s: float | None = None
        self._is_press = False

    @property
    def is_learning(self) -> bool:
        """Whether somebody is to wiggle something."""
        return self._began_s is not None

    def begin(self, *, at_s: float, is_press: bool) -> None:
        """Begin. is_press: for a button one press is enough, there is no range."""
        self._began_s, self._first_s, self._is_press = at_s, None, is_press
        for each in self._watched.values():
            each.is_stream = at_s - each.moved_s < _RECENTLY_S
            each.low = each.high = each.value
            each.moves = 0

    def cancel(self) -> None:
        """Give it up."""
        self._began_s = None

    def note(self, address: str, value: float, *, at_s: float) -> None:
        """A foreign address told a number; a button without an argument tells 1."""
        each = self._watched.get(address)
        if each is None:
            if len(self._watched) >= _WATCHED:
                return
            # The first value of an address is a movement: a fader that was never touched has told nothing yet.
            each = self._watched[address] = _Watched(value, low=value, high=value)
        elif value == each.value and not self._is_press:
            return
        each.value, each.moved_s = value, at_s
        each.low, each.high = min(each.low, value), max(each.high, value)
        if self._began_s is not None:
            each.moves += 1
            if self._first_s is None and not each.is_stream:
                self._first_s = at_s

    def answer(self, *, now_s: float) -> Learnt | None:
        """What was wiggled, once that is clear; `is_learning` then is False, as it is when patience ran out."""
        if self._began_s is None:
            return None
        wiggled = [(not each.is_stream, each.moves, name) for name, each in self._watched.items() if each.moves]
        if self._is_press:
            pressed = [name for is_new, _, name in wiggled if is_new and self._watched[name].high > 0]
            if pressed:
                self._began_s = None
                return Learnt(pressed[0], 0.0, 1.0)
        elif wiggled and now_s - (self._began_s + WIGGLE_S if self._first_s is None else self._first_s) >= WIGGLE_S:
            self._began_s = None
            _, _, name = max(wiggled)
            each = self._watched[name]
            if each.high - each.low > _LEAST_SPAN:
                return Learnt(name, each.low, each.high)
            return Learnt(name, 0.0, 1.0)  # one value says nothing of a range
        if now_s - self._began_s >= PATIENCE_S:
            self._began_s = None
        return None
