"""A look over a pickle before it is loaded: every instruction is read, none is obeyed.

The unpickler of the standard library runs nothing by itself, but a crafted stream can still hurt it: a memo index of
two thousand million makes it reserve gigabytes, a length of 2^60 likewise; tuples nested a million deep, or doubled
sixty times, overflow the stack or never finish when they are hashed; a long list that is handed to a constructor again
and again keeps it busy for days. The scan follows the stack as far as it needs to see such things coming, and it finds
where a file was cut short.

Thread: any.
"""

import pickle
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from performer.generators.foreign.errors import Unreadable

MAX_INSTRUCTIONS = 3_000_000  # in all streams of a file; the largest honest ones have some hundred thousand
MAX_DEPTH = 1_000  # containers within containers; CPython itself writes no deeper than its recursion limit
MAX_HASH_STEPS = 20_000_000  # an honest file needs as many as it has dictionary keys
MAX_ARGUMENTS = 20_000_000  # values handed to constructors
MAX_HANDED_TIMES = 4  # bytes handed to constructors, as a multiple of the file: to decode text, to read a tensor
SPARE_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 20  # of the text instructions of protocol 0
MAX_INTEGER_BYTES = 1 << 10
MEMO_SLACK = 64  # some writers number the memo from 1, or leave gaps
SHORT_BYTES = 64  # texts up to this length are not weighed


class NotPickle(Unreadable):
    """What was read is no pickle, or a damaged one."""


class Work:
    """How much the streams of one file have asked for."""

    def __init__(self, *, file_bytes: int) -> None:
        self._max_bytes = MAX_HANDED_TIMES * file_bytes + SPARE_BYTES
        self._instructions = self._hash_steps = self._arguments = self._bytes = 0

    def instruction(self) -> None:
        self._instructions += 1
        if self._instructions > MAX_INSTRUCTIONS:
            raise Unreadable(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions; no checkpoint has so many")

    def hashing(self, keys: Iterable["_Value"]) -> None:
        """Count what it takes to look up `keys`."""
        self._hash_steps += sum(key.hash_steps for key in keys)
        self._check(self._hash_steps <= MAX_HASH_STEPS, "uses keys that would take for ever to look up")

    def handing(self, values: Iterable["_Value"]) -> None:
        """Count what it takes to hand `values` to a constructor, which may look at each one's content."""
        for value in values:
            self._arguments += 1 + value.length
            self._bytes += value.size_bytes
        fits = self._arguments <= MAX_ARGUMENTS and self._bytes <= self._max_bytes
        self._check(fits, "hands the same values to constructors for ever")

    def _check(self, fits: bool, what: str) -> None:
        if not fits:
            raise Unreadable(f"its pickle {what}; it was made to do harm")


class _Value:
    """What the scan knows of a value. Lists and dictionaries grow, wherever they are held."""

    __slots__ = ("depth", "hash_steps", "items", "length", "size_bytes")

    def __init__(self, *, depth: int = 0, hash_steps: int = 1, length: int = 0, size_bytes: int = 0) -> None:
        self.depth = depth  # containers within
        self.hash_steps = hash_steps  # values visited when it is hashed; only tuples pass hashing on
        self.length = length  # of a container
        self.size_bytes = size_bytes  # of a text or bytes
        self.items: Sequence[_Value] = ()  # of a tuple


_ATOM = _Value()

_FIXED_BYTES = {
    **dict.fromkeys((pickle.BININT, pickle.LONG_BINGET, pickle.LONG_BINPUT), 4),
    **dict.fromkeys((pickle.BININT1, pickle.BINGET, pickle.BINPUT, pickle.PROTO), 1),
    pickle.BININT2: 2,
    pickle.BINFLOAT: 8,
    pickle.FRAME: 8,
}
_LENGTH_BYTES = {
    **dict.fromkeys((pickle.SHORT_BINSTRING, pickle.SHORT_BINBYTES, pickle.SHORT_BINUNICODE, pickle.LONG1), 1),
    **dict.fromkeys((pickle.BINSTRING, pickle.BINBYTES, pickle.BINUNICODE, pickle.LONG4), 4),
    **dict.fromkeys((pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8), 8),
}
_LINES = {
    **dict.fromkeys((pickle.INT, pickle.LONG, pickle.FLOAT, pickle.STRING, pickle.UNICODE, pickle.PERSID), 1),
    **dict.fromkeys((pickle.GET, pickle.PUT), 1),
    **dict.fromkeys((pickle.GLOBAL, pickle.INST), 2),
}
_PUSH_ATOM = frozenset(
    (
        *(pickle.INT, pickle.LONG, pickle.FLOAT, pickle.STRING, pickle.UNICODE, pickle.PERSID, pickle.GLOBAL),
        *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.BINFLOAT, pickle.LONG1, pickle.LONG4),
        *(pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8),
        *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BYTEARRAY8),
        *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.EMPTY_TUPLE),
    )
)
_TEXTS = frozenset(
    (
        *(pickle.BINUNICODE, pickle.BINUNICODE8, pickle.BINSTRING, pickle.STRING, pickle.UNICODE, pickle.LONG),
        *(pickle.SHORT_BINUNICODE, pickle.SHORT_BINSTRING, pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8),
        pickle.BYTEARRAY8,
    )
)
_PUSH_CONTAINER = frozenset((pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET))
_JOIN_TO_TUPLE = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_CALL = {pickle.REDUCE: 2, pickle.NEWOBJ: 2, pickle.NEWOBJ_EX: 3}
_CALL_MARKED = frozenset((pickle.OBJ, pickle.INST))
_COLLECT_MARKED = frozenset((pickle.LIST, pickle.DICT, pickle.FROZENSET))
_GROW = {pickle.APPEND: 1, pickle.BUILD: 1, pickle.SETITEM: 2}
_GROW_MARKED = frozenset((pickle.APPENDS, pickle.SETITEMS, pickle.ADDITEMS))
_HASHED = {pickle.SETITEMS: 2, pickle.DICT: 2, pickle.ADDITEMS: 1, pickle.FROZENSET: 1}  # every how many is a key
_FOREIGN_BUFFERS = frozenset((pickle.NEXT_BUFFER, pickle.READONLY_BUFFER))
_REGISTRY = frozenset((pickle.EXT1, pickle.EXT2, pickle.EXT4))


def scan(file: BinaryIO, *, end: int, work: Work) -> int:
    """Read the pickle at the file's position, which lies before byte `end`; return the position after it.

    Raises:
        Unreadable: it is cut short, is no pickle, or asks for absurd amounts of memory or time.
    """
    return _Scan(file, end=end, work=work).run()


class _Scan:
    def __init__(self, file: BinaryIO, *, end: int, work: Work) -> None:
        self._file = file
        self._end = end
        self._work = work
        self._position = file.tell()
        self._stack: list[_Value] = []
        self._marks: list[int] = []
        self._memo: dict[int, _Value] = {}
        self._instructions = 0

    def run(self) -> int:
        while True:
            code = self._take(1)
            self._instructions += 1
            self._work.instruction()
            if code == pickle.STOP:
                if not self._stack:
                    raise self._damaged("ends without a value")
                return self._position
            argument = self._argument(code)
            try:
                self._follow(code, argument)
            except (IndexError, KeyError):
                raise self._damaged(f"instruction {code!r} needs a value that is not there") from None

    def _take(self, count: int) -> bytes:
        if count > self._end - self._position:
            raise NotPickle(
                f"cut short: at byte {self._position:,} {count:,} more bytes are expected, "
                f"{max(0, self._end - self._position):,} are there; copy or download the file again"
            )
        self._position += count
        return self._file.read(count)

    def _argument(self, code: bytes) -> int:
        """Pass over the instruction's argument; return it where it is a memo index, or the length of a text."""
        if code in _FIXED_BYTES:
            value = int.from_bytes(self._take(_FIXED_BYTES[code]), "little")
            if code == pickle.FRAME and value > self._end - self._position:
                raise NotPickle(
                    f"cut short: at byte {self._position:,} a block of {value:,} bytes is announced, "
                    f"{self._end - self._position:,} are there; copy or download the file again"
                )
            return value
        if code in _LENGTH_BYTES:
            length = int.from_bytes(self._take(_LENGTH_BYTES[code]), "little")
            if code == pickle.LONG4 and length > MAX_INTEGER_BYTES:
                raise self._damaged(f"holds an integer of {length:,} bytes")
            self._skip(length)
            return length
        if code in _LINES:
            lines = [self._line() for _ in range(_LINES[code])]
            if code in (pickle.GET, pickle.PUT):
                if not lines[0].strip().isdigit() or len(lines[0]) > 12:
                    raise self._damaged("holds a memo index that is not a number")
                return int(lines[0])
            return len(lines[0])
        return 0

    def _skip(self, length: int) -> None:
        if length <= 4096 or length > self._end - self._position:
            self._take(length)
        else:
            self._position += length
            self._file.seek(self._position)

    def _line(self) -> bytes:
        line = self._file.readline(min(MAX_LINE_BYTES, self._end - self._position))
        self._position += len(line)
        if not line.endswith(b"\n"):
            raise NotPickle(
                f"cut short: at byte {self._position:,} the end of a line is expected, {self._end - self._position:,} more "
                "bytes are there; copy or download the file again"
            )
        return line

    def _follow(self, code: bytes, argument: int) -> None:
        stack = self._stack
        if code in _PUSH_ATOM:
            stack.append(_Value(size_bytes=argument) if code in _TEXTS and argument > SHORT_BYTES else _ATOM)
        elif code in _PUSH_CONTAINER:
            stack.append(_Value())
        elif code in (pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT, pickle.PUT):
            index = len(self._memo) if code == pickle.MEMOIZE else argument
            if index > self._instructions + MEMO_SLACK:
                raise self._damaged(f"numbers its memo absurdly ({index:,})")
            self._memo[index] = stack[-1]
        elif code in (pickle.BINGET, pickle.LONG_BINGET, pickle.GET):
            stack.append(self._memo[argument])
        elif code == pickle.MARK:
            if len(self._marks) >= MAX_DEPTH:
                raise self._damaged(f"nests its values more than {MAX_DEPTH:,} deep")
            self._marks.append(len(stack))
        elif code == pickle.TUPLE:
            stack.append(self._tuple(self._popped_to_mark()))
        elif code in _JOIN_TO_TUPLE:
            stack.append(self._tuple(self._popped(_JOIN_TO_TUPLE[code])))
        elif code in _CALL:
            self._call(self._popped(_CALL[code]))
        elif code in _CALL_MARKED:
            self._call(self._popped_to_mark())
        elif code in _GROW:
            items = self._popped(_GROW[code])
            if code == pickle.SETITEM:
                self._work.hashing(items[:1])
            self._grow(items)
        elif code in _GROW_MARKED or code in _COLLECT_MARKED:
            items = self._popped_to_mark()
            if code in _HASHED:
                self._work.hashing(items[:: _HASHED[code]])
            if code in _COLLECT_MARKED:
                stack.append(_Value())
            self._grow(items)
        elif code == pickle.STACK_GLOBAL:
            self._work.handing(self._popped(2))
            stack.append(_ATOM)
        elif code == pickle.BINPERSID:
            self._popped(1)
            stack.append(_ATOM)
        elif code == pickle.POP:
            if self._marks and self._marks[-1] == len(stack):
                self._marks.pop()
            else:
                self._popped(1)
        elif code == pickle.POP_MARK:
            self._popped_to_mark()
        elif code == pickle.DUP:
            stack.append(stack[-1])
        elif code in _REGISTRY or code in _FOREIGN_BUFFERS:
            raise self._damaged("refers to objects outside the file")
        elif code not in (pickle.PROTO, pickle.FRAME):
            raise self._damaged(f"holds {code!r}, which is no instruction")

    def _popped(self, count: int) -> list[_Value]:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - count < floor:
            raise IndexError
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _popped_to_mark(self) -> list[_Value]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _tuple(self, items: Sequence[_Value]) -> _Value:
        steps = len(items) + sum(item.hash_steps for item in items)
        made = _Value(depth=self._depth_over(items), length=len(items), hash_steps=min(steps, MAX_HASH_STEPS + 1))
        made.items = items
        return made

    def _grow(self, items: Sequence[_Value]) -> None:
        """Put `items` into the value on top of the stack."""
        top = self._stack[-1]
        if top is _ATOM:  # an attempt to grow a number; the unpickler refuses it
            return
        top.length += len(items)
        top.depth = max(top.depth, self._depth_over(items))

    def _call(self, values: Sequence[_Value]) -> None:
        """A constructor takes `values`, of which tuples are arguments: the result is a new object."""
        for value in values:
            self._work.handing((value, *value.items))
        self._stack.append(_Value(depth=self._depth_over(values)))

    def _depth_over(self, items: Sequence[_Value]) -> int:
        depth = 1 + max((item.depth for item in items), default=0)
        if depth > MAX_DEPTH:
            raise self._damaged(f"nests its values more than {MAX_DEPTH:,} deep")
        return depth

    def _damaged(self, what: str) -> NotPickle:
        return NotPickle(f"its pickle {what} (near byte {self._position:,}); it is damaged or was made to do harm")
