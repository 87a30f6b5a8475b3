"""Lines of a TOML file: what the walk finds is what tomllib reads, each on the line on which it was written."""

import datetime
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from performer import resources
from performer.toml_lines import Lines, key_of

TEXT = '''schema = 1  # [not.a.table]
title = "a = b # [c]"
long = """
[x]
key = 1
\\"""  # still text
"""
"quo\\u0074ed.key" = 'c:\\dir'

[a.b]  # a comment
c.d = { e = 1, "f g" = [1, { h = 2 }] }
list = [
    1,  # one
    # nothing
    "two",
    [3,
     4],
]

[a]
z = 1979-05-27 07:32:00

[[cue]]
id = "1"
[cue.params]
walk.speed = 0.5
"grade.hue" = 1
[[cue.route]]
to = "x"
[[cue.route]]
to = "y"
[[cue]]
id = '2'
[[cue.route]]
to = "z"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("schema",), 1),
        (("long",), 3),
        (("quoted.key",), 8),
        (("a", "b"), 10),
        (("a", "b", "c"), 11),
        (("a", "b", "c", "d", "e"), 11),
        (("a", "b", "c", "d", "f g", 1, "h"), 11),
        (("a", "b", "list"), 12),
        (("a", "b", "list", 0), 13),
        (("a", "b", "list", 1), 15),
        (("a", "b", "list", 2, 1), 17),
        (("a",), 20),
        (("a", "z"), 21),
        (("cue",), 23),
        (("cue", 0), 23),
        (("cue", 0, "id"), 24),
        (("cue", 0, "params", "walk", "speed"), 26),
        (("cue", 0, "params", "grade", "hue"), 27),  # two names, or one in quotes
        (("cue", 0, "route", 0, "to"), 29),
        (("cue", 0, "route", 1, "to"), 31),
        (("cue", 1), 32),
        (("cue", 1, "route", 0), 34),
        (("cue", 1, "fade"), 32),  # it is not there: its table is
        (("cue", 1, "route", 0, "from"), 34),
        (("cue", 0, "params", "walk", "sped"), 26),
        (("cue", 7, "id"), 23),
        (("nothing",), None),
        ((), None),
    ],
)
def test_the_line_of_a_key_or_of_what_is_around_it(key, line):
    assert Lines(TEXT).at(key) == line


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("cue[3] (id '4').fade", ("cue", 3, "fade")),
        ('cue[3] (id "it\'s").route[0].to', ("cue", 3, "route", 0, "to")),
        (r"cue[0] (id 'a\'b.c').params.walk.speed", ("cue", 0, "params", "walk", "speed")),
        ("osc.'/a.b/c'.in", ("osc", "/a.b/c", "in")),
        ("osc.'/a'", ("osc", "/a")),
        ("osc[...].in", ("osc",)),
        ("shaders[1]", ("shaders", 1)),
        ("cue[0].two words", ("cue", 0)),
        ("cue[0].mapping[1] (drums).params.x", ("cue", 0, "mapping", 1)),
        ("top level", ()),
        ("", ()),
    ],
)
def test_places_of_messages_are_keys(where, key):
    assert key_of(where) == key


def keys_in(content, key=()):
    """Every key that tomllib's result has."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in items:
        yield (*key, name)
        yield from keys_in(value, (*key, name))


def test_bundled_setlists_are_walked_to_their_end():
    for path in resources.SETLISTS.rglob("*.toml"):
        text = path.read_text(encoding="utf-8")
        assert set(Lines(text).of) == set(keys_in(tomllib.loads(text)))


# Any file: written here, with a line known for each key

bare = st.text("abcXYZ019_-", min_size=1, max_size=4)
names = st.one_of(bare, st.text(st.characters(exclude_categories=["Cs"]), max_size=4))
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.datetimes(min_value=datetime.datetime(1900, 1, 1)),
    st.times(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
files = st.recursive(
    st.dictionaries(names, values, max_size=4),
    lambda inner: st.dictionaries(
        names, st.one_of(values, inner, st.lists(inner, min_size=1, max_size=3).map(tuple)), max_size=4
    ),
    max_leaves=8,
)


class Writer:
    """Writes TOML, one way or another, and remembers on which line it wrote each key."""

    def __init__(self, draw):
        self.draw, self.text, self.of = draw, "", {}

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def mark(self, key):
        self.of.setdefault(key, self.text.count("\n") + 1)

    def end(self):
        self.text += self.pick("\n", "  \n", ' # [x] = "y\n', "\n\n# a = '''\n", "\t#\n")

    def name(self, name):
        if name and name.isascii() and all(c.isalnum() or c in "_-" for c in name) and self.pick(True, False):
            return name
        if name.isprintable() and "'" not in name and self.pick(True, False):
            return f"'{name}'"
        return basic(name)

    def value(self, value, key):
        match value:
            case dict():
                self.text += "{" + self.pick("", " ")
                for index, (name, inner) in enumerate(value.items()):
                    self.text += ", " if index else ""
                    self.mark((*key, name))
                    self.text += f"{self.name(name)}{self.pick('', ' ')}= "
                    # Line ends are not for tables in one line, but for what stands in long text and lists within.
                    self.value(inner, (*key, name))
                self.text += self.pick("", " ") + "}"
            case list():
                self.text += "["
                for index, inner in enumerate(value):
                    self.text += self.pick("", " ", "\n", " # ]\n  ")
                    self.mark((*key, index))
                    self.value(inner, (*key, index))
                    self.text += self.pick("", "\n") + ("," if index < len(value) - 1 else self.pick("", ","))
                self.text += self.pick("", "\n", " # [\n") + "]"
            case bool():
                self.text += str(value).lower()
            case str():
                self.string(value)
            case datetime.datetime():
                self.text += value.isoformat(sep=self.pick("T", " "))
            case datetime.time():
                self.text += value.isoformat()
            case _:
                self.text += repr(value)

    def string(self, value):
        plain = all(c.isprintable() or c == "\n" for c in value)
        if plain and "\n" not in value and "'" not in value and self.pick(True, False):
            self.text += f"'{value}'"
        elif plain and "'''" not in value and not value.endswith("'") and self.pick(True, False):
            self.text += f"'''\n{value}'''"
        elif self.pick(True, False):
            self.text += '"""\n' + basic(value)[1:-1].replace("\\n", "\n").replace('\\"', '"\\\n  ', 1) + '"""'
        else:
            self.text += basic(value)

    def table(self, content, key, header):
        inline = {name: each for name, each in content.items() if not self.is_table(each)}
        for name, each in inline.items():
            self.mark((*key, name))
            self.text += f"{self.pick('', '  ')}{self.name(name)} {self.pick('', ' ')}={self.pick('', ' ')}"
            self.value(each, (*key, name))
            self.end()
        for name, each in content.items():
            if name in inline:
                continue
            path = (*header, name)
            for index, table in enumerate(each if isinstance(each, tuple) else [each]):
                is_array = isinstance(each, tuple)
                if is_array:
                    self.mark((*key, name))
                inner = (*key, name, index) if is_array else (*key, name)
                self.mark(inner)
                dots = f"{self.pick('', ' ')}.{self.pick('', ' ')}".join(self.name(part) for part in path)
                self.text += f"[[{dots}]]" if is_array else f"[{self.pick('', ' ')}{dots} ]"
                self.end()
                self.table(table, inner, path)

    @staticmethod
    def is_table(value):
        return isinstance(value, (dict, tuple))


def basic(text):
    """A string in double quotes."""
    out = ""
    for char in text:
        if char in '"\\':
            out += f"\\{char}"
        elif char == "\n":
            out += "\\n"
        elif ord(char) < 32 or ord(char) == 127 or not char.isprintable():
            out += f"\\U{ord(char):08x}"
        else:
            out += char
    return f'"{out}"'


def plain(content):
    """What tomllib reads: tables in arrays are lists."""
    if isinstance(content, dict):
        return {name: plain(each) for name, each in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(each) for each in content]
    return content


@given(content=files, data=st.data())
def test_every_key_of_any_file_has_its_line_and_nothing_else_has(content, data):
    writer = Writer(data.draw)
    writer.table(content, (), ())
    read = tomllib.loads(writer.text)
    assert set(keys_in(read)) == set(keys_in(plain(content)))
    lines = Lines(writer.text)
    assert set(lines.of) == set(keys_in(read))
    assert lines.of == writer.of


@given(text=st.text("[]{}\"'=.,#\n \\ab1", max_size=40))
def test_what_tomllib_reads_is_walked_alike_and_what_is_no_toml_ends_the_walk(text):
    lines = Lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.of.values())
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines.of) == set(keys_in(content))
