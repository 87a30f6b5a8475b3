"""What leads the parameters of a setlist: routes and mappings, foreign addresses, Ableton Live.

Thread: main, before the show.
"""

import ipaddress
import math
from pathlib import Path
from typing import Any

from performer import mappings
from performer import routes as routing
from performer.audio.features import feature_names
from performer.audio.source import BandSpec
from performer.control.ableton import LiveKnob, LiveSpec
from performer.control.addresses import NORM, Bind
from performer.mappings import Mapped, MappingFile
from performer.params import Kind, ParamTable, nearest
from performer.routes import RouteFile
from performer.setlist.file import AbletonFile, BindFile, SetlistError, SetlistFile, read_file


def mappings_wanted(file: SetlistFile) -> list[tuple[str, list[str]]]:
    """(where, mappings) of all cues, then of each."""
    cues = [(f"cue[{index}] (id {cue.id!r}).mapping", cue.mapping) for index, cue in enumerate(file.cue)]
    return [("mapping", file.mapping), *cues]


def routes_mapped(
    path: Path, where: str, wanted: list[str], voices: list[str], bands: tuple[BandSpec, ...], note: Any
) -> Mapped:
    """What mappings bring."""
    mapped = Mapped()
    for index, text in enumerate(wanted):
        if text in wanted[:index]:
            note(f"{where}[{index}]", f"{text!r} is there twice; take one out")
            continue
        name, voice = mappings.spoken(text, voices=voices)
        found = mappings.locate(name, folder=path.parent)
        if found is None:
            ours = ", ".join(mappings.bundled())
            sentence = f"expected one of: {ours}; or a .toml file; with a voice behind it, or none"
            note(f"{where}[{index}]", f"{text!r} not found; {sentence}")
            continue
        try:
            file = read_file(found, MappingFile)
        except SetlistError as error:
            note(f"{where}[{index}]", error.problems[0])
            continue
        routes = mappings.routes_of(
            file, name=found.stem, voice=voice, first_voice=voices[0], heard=feature_names(bands)
        )
        place = f"{where}[{index}] ({found.stem})"
        mapped.files.append(found)
        mapped.params.append((f"{place}.params", file.params))
        mapped.routes.extend((f"{place}.route[{at}]", route) for at, route in enumerate(routes))
    return mapped


def routes_named(
    file: SetlistFile, mapped: list[Mapped], note: Any
) -> tuple[list[tuple[str, str, RouteFile]], list[list[RouteFile]]]:
    """((where, cue, route) of all routes, each with a name; the routes of each cue in the order in which they play).

    The cue's id is empty where a route belongs to all. Mappings come first. A route of all cues that is named as one of a
    mapping takes its place, so that it plays where the mapping does.
    """
    for index, route in enumerate(file.route):
        route.name = route.name or routing.default_name(index)
    own = {route.name: (f"route[{index}]", route) for index, route in reversed(list(enumerate(file.route)))}
    taken = {route.name for each in mapped for _, route in each.routes}
    found: list[tuple[str, str, RouteFile]] = []
    shared = [own.get(route.name, (where, route)) for where, route in mapped[0].routes]
    shared += [
        (f"route[{index}]", route)
        for index, route in enumerate(file.route)
        if route.name not in taken or own[route.name][1] is not route
    ]
    found += [(where, "", route) for where, route in shared]
    everywhere = {route.name for _, route in mapped[0].routes}
    cues: dict[str, list[str]] = {}  # by route of a mapping: those that play it
    played = []
    for index, (cue, each) in enumerate(zip(file.cue, mapped[1:], strict=True)):
        place = f"cue[{index}] (id {cue.id!r})."
        for where, route in each.routes:
            if route.name in everywhere:
                note(where, f"{route.name!r} plays in all cues already; name the mapping here, or for all cues")
                break
        brought = [own.get(route.name, (where, route)) for where, route in each.routes]
        for where, route in brought:
            if route.name not in cues:
                found.append((where, "", route))
            cues.setdefault(route.name, []).append(cue.id)
        for at, route in enumerate(cue.route):
            route.name = route.name or routing.default_name(at, cue=cue.id)
            found.append((f"{place}route[{at}]", cue.id, route))
        played.append([*(route for _, route in shared), *(route for _, route in brought), *cue.route])
    named = [(where, ", ".join(cues.get(route.name, [])) or cue, route) for where, cue, route in found]
    return named, played


def binds_of(file: dict[str, str | BindFile], table: ParamTable, note: Any) -> dict[str, Bind]:
    binds = {}
    for address, wanted in file.items():
        where = f"osc.{address!r}"
        if isinstance(wanted, str):
            param_id, slash, norm = wanted.partition("/")
            if slash and norm != "norm":
                note(where, f"{wanted!r}; expected a parameter, or one with /norm where the sender speaks 0..1")
            bind = Bind(param_id, NORM if slash else None)
        else:
            bind = Bind(wanted.target, wanted.range_in or (NORM if wanted.range_out else None), wanted.range_out)
            _check_ranges(bind, where, note)
        if not address.startswith("/"):
            note(where, "an OSC address begins with a slash")
        if bind.param not in table:
            note(where, f"{bind.param!r} is no parameter{nearest(bind.param, table.ids())}")
        binds[address] = bind
    return binds


def _check_ranges(bind: Bind, where: str, note: Any) -> None:
    for key, pair in (("in", bind.span), ("out", bind.onto)):
        if pair is not None and not (pair[0] != pair[1] and all(map(math.isfinite, pair))):
            note(f"{where}.{key}", f"[{pair[0]}, {pair[1]}] has no width; expected two different numbers")


def live_of(file: AbletonFile | None, table: ParamTable, note: Any) -> LiveSpec | None:
    if file is None:
        return None
    try:
        ipaddress.IPv4Address(file.host)  # names are not looked up in a show: a lookup can stall for seconds
    except ValueError:
        note("ableton.host", f"{file.host!r}; expected the IPv4 address of the machine with Live, such as 192.168.1.20")
    knobs = []
    for index, knob in enumerate(file.knob):
        where, bind = f"ableton.knob[{index}]", Bind(knob.target, knob.range_in, knob.range_out)
        _check_ranges(bind, where, note)
        if knob.target not in table:
            note(f"{where}.to", f"{knob.target!r} is no parameter{nearest(knob.target, table.ids())}")
        elif table[knob.target].kind is Kind.TEXT:
            note(f"{where}.to", f"{knob.target!r} wants a name, and Live sends a number")
        if min(knob.track, knob.device, knob.parameter) < 0:
            note(where, "tracks, devices and parameters are counted from 0; expected no negative number")
        knobs.append(LiveKnob(knob.track, knob.device, knob.parameter, bind))
    return LiveSpec(host=file.host, scenes=file.scenes, knobs=tuple(knobs))
