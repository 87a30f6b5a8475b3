"""The routes as hands see them: what there is, changed, added, removed and taken back by messages.

A message names keys of a setlist and what they become: `"kick" "amount" 0.5 "gate" 0.4 0.2`. What does not fit is
refused here, in the words of a setlist's own errors; the show gets only what can be played.

Thread: the control process.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from performer.control.history import Step
from performer.control.osc import OscError
from performer.params import ParamTable, nearest
from performer.routes import RouteFile, Span, names_in, problems, route_of

V = TypeVar("V")

_PAIRS = ("gate", "in", "out")
_KEYS = tuple(key for key in RouteFile.__struct_encode_fields__ if key != "name")


class Matrix:
    """All routes that play, by name, in their order.

    routes: (cue, route) of the setlist; an empty cue is all cues. post(name, route): hands it to the show, None for one
    that is removed; False where the show has no room. did(step): what was done, to be taken back. changed: what was posted
    before this process began.
    """

    def __init__(
        self,
        routes: Sequence[tuple[str, RouteFile]],
        *,
        known: Mapping[str, Span],
        table: ParamTable,
        post: Callable[[str, RouteFile | None], bool],
        did: Callable[[Step], None],
        changed: Mapping[str, RouteFile | None],
    ) -> None:
        self._known, self._table, self._post, self._did = known, table, post, did
        self._written = {route.name: route for _, route in routes}  # in the setlist
        self._routes = dict(self._written)
        self._cues = {route.name: cue for cue, route in routes}
        self.edits = dict(changed)  # what is other than in the setlist; None for what was removed
        for name, route in changed.items():
            self._keep(name, route)

    def take(self, routes: Sequence[tuple[str, RouteFile]], *, known: Mapping[str, Span], table: ParamTable) -> None:
        """Go on with the routes of an edited setlist; what hands did to those that were not edited still holds."""
        written = {route.name: route for _, route in routes}
        self.edits = holding(self.edits, self._written, written)
        self._known, self._table, self._written = known, table, written
        self._routes, self._cues = dict(written), {route.name: cue for cue, route in routes}
        for name, route in self.edits.items():
            self._keep(name, route)

    def __contains__(self, name: str) -> bool:
        return name in self._routes

    @property
    def names(self) -> tuple[str, ...]:
        """Of all routes, those of the setlist first."""
        return tuple(name for name in names_in(self._table) if name in self._routes)

    def add(self, args: Sequence[Any]) -> str:
        """A route from a source to a target, `[from, to, key, value ...]`: its name. Raises OscError."""
        if len(args) < 2 or not all(isinstance(each, str) for each in args[:2]):
            raise OscError("a route wants a source and a target, such as mix.bass.level and latent.coarse")
        free = (name for name in names_in(self._table) if name not in self._routes and name not in self._cues)
        name = next(free, None)
        if name is None:
            raise OscError("no more routes can be added; remove one")
        self._put(name, self._with(RouteFile(args[0], args[1], name=name), args[2:]))
        return name

    def change(self, args: Sequence[Any]) -> str:
        """`[name, key, value ...]`: the name. Raises OscError."""
        name = self._named(args)
        self._put(name, self._with(self._routes[name], args[1:]))
        return name

    def remove(self, args: Sequence[Any]) -> str:
        """`[name]`: the name. Raises OscError."""
        name = self._named(args)
        self._put(name, None)
        return name

    def words(self, name: str) -> tuple[str | float, ...]:
        """A route as a message has it: its name, the cue that it belongs to (empty for all), then keys and values."""
        route = self._routes[name]
        resolved = route_of(route, self._known)
        words: list[str | float] = [name, "cue", self._cues.get(name, "")]
        content = dict(zip(RouteFile.__struct_encode_fields__, msgspec.structs.astuple(route), strict=True))
        content["in"] = (resolved.in_low, resolved.in_high)
        for key in _KEYS:
            words += [key, *content[key]] if key in _PAIRS else [key, content[key]]
        return tuple(words)

    def _named(self, args: Sequence[Any]) -> str:
        name = args[0] if args else None
        if not isinstance(name, str) or name not in self._routes:
            hint = nearest(name, self._routes) if isinstance(name, str) else ""
            raise OscError(f"{name!r} is no route{hint}")
        return name

    def _with(self, route: RouteFile, args: Sequence[Any]) -> RouteFile:
        """The route with keys changed. Raises OscError."""
        content: dict[str, Any] = {"from": route.source, "to": route.target} | msgspec.to_builtins(route)
        left = list(args)
        while left:
            key = left.pop(0)
            if key not in _KEYS:
                raise OscError(f"{key!r} is no key of a route{nearest(str(key), _KEYS)}; there are: {', '.join(_KEYS)}")
            count = 2 if key in _PAIRS else 1
            values, left = left[:count], left[count:]
            if len(values) < count:
                raise OscError(f"{key!r} wants {count} value{'s' if count > 1 else ''}")
            values = [_short(value) for value in values]
            if key == "invert" and isinstance(values[0], float | int):  # many programs know no other numbers than 1.0
                values = [values[0] > 0]
            content[key] = values if key in _PAIRS else values[0]
        try:
            changed = msgspec.convert(content, RouteFile, strict=False)
        except msgspec.ValidationError as error:
            raise OscError(f"{error}".replace("`", "'")) from None
        wrong = problems(route_of(changed, self._known), known=self._known, table=self._table)
        if wrong:
            key, sentence = wrong[0]
            raise OscError(f"{key}: {sentence}")
        return changed

    def _put(self, name: str, route: RouteFile | None) -> None:
        self._did(self._replaced(name, route))

    def _replaced(self, name: str, route: RouteFile | None) -> Step:
        """Put a route in its place: the step that takes that back."""
        before = self._routes.get(name)
        if not self._post(name, route):
            raise OscError("too many changes at once; this one was dropped")
        self._keep(name, route)
        self.edits[name] = route
        return Step("route", name, partial(self._replaced, name, before))

    def _keep(self, name: str, route: RouteFile | None) -> None:
        if route is None:
            self._routes.pop(name, None)
        else:
            self._routes[name] = route


def holding(edits: Mapping[str, V], before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, V]:
    """What of hands' edits still holds once the setlist was edited: the file has it where it says something else now."""
    return {name: edit for name, edit in edits.items() if before.get(name) == after.get(name)}


def _short(value: Any) -> Any:
    """A number as a hand would write it: single precision has six digits to tell."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
