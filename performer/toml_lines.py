"""The lines of a TOML file on which its tables and keys stand, for messages.

`tomllib` says what a file means, and not where. This walks through a text that it has read, along headers, keys and values
of every form, and notes the line of each. Where a text is not what it looks like, the walk ends, and what it has not reached
has no line of its own: the enclosing table's is given, never a wrong one.

Thread: any; values only.
"""

import contextlib
import itertools
import re
from collections.abc import Sequence

Key = tuple[str | int, ...]  # names of tables and keys, and places in arrays

_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")  # within arrays comments and line ends are space too
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SIMPLE = re.compile(r"[^,\]}#\r\n]+")  # numbers, truth and times
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_BASIC_LONG = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""(?:"(?!")|""(?!"))?', re.DOTALL)
_LITERAL_LONG = re.compile(r"'''(?:[^']|'(?!''))*'''(?:'(?!')|''(?!'))?", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}

# A place in a message: `cue[3] (id '4').params.walk.speed`, `osc.'/a/b'.in`. What stands in brackets is for people.
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_STEP = re.compile(
    rf"""(?:(?:^|\.)(?:(?P<name>[^.\[\]'"\ ]+)|(?P<quoted>{_QUOTED}))|\[(?P<number>\d+)\])(?=$|[.\[]|\ \()"""
)
_FOR_PEOPLE = re.compile(rf" \(\w+ (?:{_QUOTED})\)(?=$|[.\[])")


class Lines:
    """Where everything stands in the TOML `text`."""

    def __init__(self, text: str) -> None:
        self.of: dict[Key, int] = {}  # from 1
        self._text, self._at = text, 0
        self._counts: dict[Key, int] = {}  # tables in each array of tables so far
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        with contextlib.suppress(_LostError):
            self._walk()

    def at(self, key: Sequence[str | int]) -> int | None:
        """The line of a key, or of the nearest table or array around it; None where that is the whole file.

        What has a dot in it may be two names, or one in quotes: in a setlist both mean the same.
        """
        line, path, rest = None, (), tuple(key)
        while rest:
            for length in range(len(rest), 0, -1):
                names = rest[:length]
                if length > 1 and not all(isinstance(name, str) for name in names):
                    continue
                step = (*path, names[0] if length == 1 else ".".join(map(str, names)))
                if step in self.of:
                    line, path, rest = self.of[step], step, rest[length:]
                    break
            else:
                return line
        return line

    def of_place(self, where: str) -> int | None:
        """The same by a place in a message, such as `cue[3] (id '4').fade`."""
        return self.at(key_of(where))

    # The walk

    def _walk(self) -> None:
        table: Key = ()
        while self._skip(_SPACE) < len(self._text):
            line = self._line()
            if self._takes("[["):
                table = self._appended(self._key(), line)
                self._needs("]]")
            elif self._takes("["):
                table = self._resolved(self._key())
                self._needs("]")
                self._note(table, line, is_header=True)
            else:
                self._pair(table)
            self._skip(_BLANK)
            if self._at < len(self._text) and self._text[self._at] not in "#\r\n":
                raise _LostError

    def _pair(self, table: Key) -> None:
        """`key = value`."""
        line, key = self._line(), (*table, *self._key())
        self._note(key, line, least=len(table))
        self._needs("=")
        self._skip(_BLANK)
        self._value(key)

    def _value(self, key: Key) -> None:
        if self._takes("["):
            for number in itertools.count():
                self._skip(_SPACE)
                if self._takes("]"):
                    return
                self._note((*key, number), self._line())
                self._value((*key, number))
                self._skip(_SPACE)
                if not self._takes(","):
                    self._needs("]")
                    return
        elif self._takes("{"):
            self._skip(_SPACE)
            while not self._takes("}"):
                self._pair(key)
                self._skip(_SPACE)
                if not self._takes(","):
                    self._needs("}")
                    return
                self._skip(_SPACE)
        else:
            for form in (_BASIC_LONG, _LITERAL_LONG, _BASIC, _LITERAL, _SIMPLE):
                found = form.match(self._text, self._at)
                if found:
                    self._at = found.end()
                    return
            raise _LostError

    def _key(self) -> Key:
        """A key, dotted or not."""
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            if found := _BARE.match(self._text, self._at):
                parts.append(found[0])
            elif found := _LITERAL.match(self._text, self._at):
                parts.append(found[0][1:-1])
            elif found := _BASIC.match(self._text, self._at):
                parts.append(_ESCAPE.sub(_unescaped, found[0][1:-1]))
            else:
                raise _LostError
            self._at = found.end()
            self._skip(_BLANK)
            if not self._takes("."):
                return tuple(parts)

    def _resolved(self, key: Key) -> Key:
        """A header's key, with the newest place in each array of tables on the way."""
        path: Key = ()
        for part in key:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _appended(self, key: Key, line: int) -> Key:
        """The next table of an array of tables."""
        array = (*self._resolved(key[:-1]), key[-1])
        self._note(array, line)
        self._counts[array] = self._counts.get(array, 0) + 1
        table = (*array, self._counts[array] - 1)
        self._note(table, line)
        return table

    def _note(self, key: Key, line: int, *, least: int = 0, is_header: bool = False) -> None:
        """Remember a line, and for what lies around it and has none yet the same."""
        for length in range(least + 1, len(key)):
            self.of.setdefault(key[:length], line)
        if is_header:  # a table that its own sub-table has come before
            self.of[key] = line
        else:
            self.of.setdefault(key, line)

    def _line(self) -> int:
        low, high = 0, len(self._starts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._starts[middle] <= self._at else (low, middle)
        return low + 1

    def _skip(self, form: re.Pattern[str]) -> int:
        found = form.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _takes(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _needs(self, text: str) -> None:
        self._skip(_BLANK)
        if not self._takes(text):
            raise _LostError


class _LostError(ValueError):
    """The text is not what it looks like."""


def key_of(where: str) -> Key:
    """The key of a place in a message, as far as it can be read."""
    key: list[str | int] = []
    at = 0
    while at < len(where):
        if found := _FOR_PEOPLE.match(where, at):
            pass
        elif found := _STEP.match(where, at):
            if found["number"]:
                key.append(int(found["number"]))
            elif found["name"]:
                key.append(found["name"])
            else:
                key.append(_ESCAPE.sub(_unescaped, found["quoted"][1:-1]))
        else:
            break
        at = found.end()
    return tuple(key)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _ESCAPES.get(found[3], found[3])
