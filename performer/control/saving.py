"""Saving: what hands learnt and changed during a show goes into its setlist, with every comment where it was.

Thread: the control process.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from performer import resources
from performer.control.addresses import NORM, Bind
from performer.files import write_whole
from performer.refusal import Refused
from performer.routes import RouteFile, default_name

Ahead = Callable[[str, str], None]  # takes sha256 of what is in the file, and of what is about to be in it


def _unannounced(before: str, after: str) -> None:
    """Nobody needs to know."""


def save(
    path: Path,
    *,
    binds: Mapping[str, Bind],
    routes: Mapping[str, RouteFile | None] | None = None,
    knobs: Mapping[str, float] | None = None,
    presets: Mapping[str, Mapping[str, float] | None] | None = None,
    cue: str = "",
    ahead: Ahead = _unannounced,
) -> None:
    """Write into the setlist at `path`. Raises Refused: the file is then as it was.

    binds: all that there are. routes: those that were changed, None for one that was removed; what the file does not have
    is added to the routes of all cues. knobs: parameters, which are written where `cue` names them, and else for all cues.
    presets: as in `save_presets`. ahead: called before the file is another one, and with both the other way around where it
    could not be written after all.
    """
    document, before = _read(path)
    _put_binds(document, binds)
    _put_routes(document, routes or {})
    written = {name: _put_knob(document, name, value, cue=cue) for name, value in (knobs or {}).items()}
    _put_presets(document, presets or {})
    _write(path, document, before, ahead, places=written, knobs=knobs or {}, presets=presets or {})


def save_presets(path: Path, presets: Mapping[str, Mapping[str, float] | None], *, ahead: Ahead = _unannounced) -> None:
    """Write presets into the setlist at `path`, and nothing else. Raises Refused: the file is then as it was.

    presets: those that were changed, the values of parameters by their ids; None for one that was removed. ahead: as in
    `save`.
    """
    document, before = _read(path)
    _put_presets(document, presets)
    _write(path, document, before, ahead, places={}, knobs={}, presets=presets)


def _read(path: Path) -> tuple[Any, str]:
    """(the setlist, to be changed; its hash). Raises Refused."""
    if resources.is_installed(path):
        raise Refused(f"{path}: comes with performer; copy it, play the copy, and what you learn is saved there")
    try:
        content = path.read_bytes()  # and not text, in which Python makes all ends of lines alike
        return tomlkit.parse(content.decode("utf-8")), _hash(content)
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise Refused(f"{path}: cannot be read any more ({error}); nothing was saved") from None


def _write(
    path: Path,
    document: Any,
    before: str,
    ahead: Ahead,
    *,
    places: Mapping[str, tuple[str | int, ...]],
    knobs: Mapping[str, float],
    presets: Mapping[str, Mapping[str, float] | None],
) -> None:
    """Write it, where it reads back as it was meant. places: where each of the knobs stands. Raises Refused."""
    text = tomlkit.dumps(document)
    if not _holds(text, places, knobs, presets):
        raise Refused(f"{path}: is written in a way that cannot be added to; nothing was saved")
    content = text.encode()
    after = _hash(content)
    ahead(before, after)
    try:
        write_whole(path, content)
    except OSError as error:
        ahead(after, before)
        raise Refused(f"{path}: cannot be written ({error.strerror}); nothing was saved") from None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _put_binds(document: Any, binds: Mapping[str, Bind]) -> None:
    table: Any = document.get("osc")
    if table is None:
        if not binds:
            return
        table = document["osc"] = tomlkit.table()
    for address in [address for address in table if address not in binds]:
        del table[address]
    for address, bind in binds.items():
        value = _value(bind)
        if table.get(address) != value:
            table[address] = value


def _value(bind: Bind) -> Any:
    """As a setlist has it."""
    if bind.span is None:
        return bind.param
    if bind.span == NORM and bind.onto is None:
        return f"{bind.param}/norm"
    value = tomlkit.inline_table()
    value["to"] = bind.param
    value["in"] = list(bind.span)
    if bind.onto is not None:
        value["out"] = list(bind.onto)
    return value


def _put_routes(document: Any, routes: Mapping[str, RouteFile | None]) -> None:
    left = dict(routes)
    for cue, holder in [("", document), *((str(each.get("id")), each) for each in document.get("cue", []))]:
        table, removed = holder.get("route", []), 0
        for index in range(len(table)):
            entry = table[index - removed]
            name = entry.get("name") or default_name(index, cue=cue)
            if name not in left:
                if removed and "name" not in entry:  # it moves up, and keeps the name that its place gave it
                    entry["name"] = name
                continue
            route = left.pop(name)
            if route is None:
                del table[index - removed]
                removed += 1
                continue
            if removed and "name" not in entry:
                entry["name"] = name
            _put_route(entry, route)
        if removed and not table:
            del holder["route"]
    for route in left.values():
        if route is None:
            continue
        if "route" not in document:
            document["route"] = tomlkit.aot()
        document["route"].append(_entry(route))


def _put_route(entry: Any, route: RouteFile) -> None:
    """Change what is other than the file has it; a key that it lacks and that is as usual stays away."""
    content, usual = _content(route), _content(RouteFile(route.source, route.target))
    for key, value in content.items():
        there = entry.get(key, usual[key])
        if (list(there) if isinstance(value, list) else there) == value or key == "name":
            continue
        if value is None:
            del entry[key]
        else:
            entry[key] = value


def _entry(route: RouteFile) -> Any:
    entry, usual = tomlkit.table(), _content(RouteFile("", ""))
    for key, value in _content(route).items():
        if value != usual[key]:
            entry[key] = value
    return entry


def _content(route: RouteFile) -> dict[str, Any]:
    """All keys of a route, as TOML has their values; None for one that is to stand for something else."""
    values = zip(RouteFile.__struct_encode_fields__, msgspec.structs.astuple(route), strict=True)
    content = {key: list(value) if isinstance(value, tuple) else value for key, value in values}
    return {"name": content.pop("name")} | content


def _put_knob(document: Any, name: str, value: float, *, cue: str) -> tuple[str | int, ...]:
    """Write a parameter: where it stands now."""
    number = _number(value)
    for index, each in enumerate(document.get("cue", [])):
        if each.get("id") == cue and (found := _found(each.get("params", {}), name)) is not None:
            found[0][found[1]] = number
            return ("cue", index, "params")
    if "params" not in document:
        document["params"] = tomlkit.table()
    params: Any = document["params"]
    found = _found(params, name)
    if found is not None:
        found[0][found[1]] = number
    else:
        params[name] = number  # a quoted key: whatever stands beside it, it fits
    return ("params",)


def _put_presets(document: Any, presets: Mapping[str, Mapping[str, float] | None]) -> None:
    for name, values in presets.items():
        there: Any = document.get("preset", {})
        if values is None:
            if name in there:
                del there[name]
                if not there:
                    del document["preset"]
            continue
        is_new = name not in there
        if is_new:
            if "preset" not in document:
                document.add(tomlkit.nl())
                document["preset"] = tomlkit.table(is_super_table=True)
            document["preset"][name] = tomlkit.table()
        entry: Any = document["preset"][name]
        if isinstance(entry, InlineTable):  # of dotted keys in braces none can be taken out
            fresh = tomlkit.inline_table()
            fresh.trivia.comment_ws, fresh.trivia.comment = entry.trivia.comment_ws, entry.trivia.comment
            document["preset"][name] = entry = fresh
        for key in _ids(entry).keys() - values.keys():
            _drop(entry, key)
        for key, value in values.items():
            found, number = _found(entry, key), _number(value)
            if found is None:
                entry[key] = number  # a quoted key: whatever stands beside it, it fits
            elif found[0][found[1]] != number:
                found[0][found[1]] = number
        if is_new:
            entry.add(tomlkit.nl())


def _drop(table: Any, name: str) -> None:
    """Take a parameter out, and what is empty then."""
    if name in table and not isinstance(table[name], dict):
        del table[name]
        return
    for at, char in enumerate(name):
        head, tail = name[:at], name[at + 1 :]
        if char == "." and isinstance(table.get(head), dict) and _found(table[head], tail) is not None:
            _drop(table[head], tail)
            if not table[head]:
                del table[head]
            return


def _ids(table: Any, above: str = "") -> dict[str, Any]:
    """The values of a table of parameters by their ids, however they are written."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _ids(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def _number(value: float) -> float | int:
    """As a hand would write it."""
    return int(value) if value == int(value) else float(f"{value:.6g}")


def _found(table: Any, name: str) -> tuple[Any, str] | None:
    """(the table, the key) under which a dotted id stands, quoted, nested, or both; None where it does not."""
    if name in table and not isinstance(table[name], dict):
        return table, name
    for at, char in enumerate(name):
        head, tail = name[:at], name[at + 1 :]
        if char == "." and isinstance(table.get(head), dict) and (found := _found(table[head], tail)) is not None:
            return found
    return None


def _holds(
    text: str,
    places: Mapping[str, tuple[str | int, ...]],
    knobs: Mapping[str, float],
    presets: Mapping[str, Mapping[str, float] | None],
) -> bool:
    """Whether what was written reads back as it was meant."""
    try:
        content: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    for name, place in places.items():
        table = content
        for step in place:
            table = table[step]
        found = _found(table, name)
        if found is None or not _is_near(found[0][found[1]], knobs[name]):
            return False
    for name, values in presets.items():
        there = content.get("preset", {}).get(name)
        if values is None or there is None:
            if values is not there:
                return False
            continue
        written = _ids(there)
        if written.keys() != values.keys() or not all(_is_near(written[key], values[key]) for key in values):
            return False
    return True


def _is_near(written: float, meant: float) -> bool:
    return abs(written - meant) <= 1e-4 * max(abs(meant), 1.0)
