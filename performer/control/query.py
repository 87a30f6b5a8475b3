"""OSCQuery: the tree of all addresses as JSON, for programs that browse instead of typing.

After the OSCQuery proposal (Vidvox, 2018). What is listed: the parameters, what is heard, and the state of the show, each
address once. `/norm` beside a parameter works too; it is not listed, since RANGE says the same.

Thread: the control process. Pure, but for `value_of`, which is the caller's.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from performer.params import Kind, ParamTable

READ, WRITE = 1, 2  # ACCESS; both is their sum
ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "CLIPMODE", "CRITICAL")
Value = float | int | bool | str


@dataclass(frozen=True, slots=True)
class Leaf:
    """An address with one argument."""

    address: str
    type: str  # OSC's tag: f, i, s; T for a switch, I for what is only pressed
    access: int
    help: str = ""
    range: tuple[float, float] | None = None

    @property
    def has_value(self) -> bool:
        """Whether there is something to read."""
        return bool(self.access & READ)


def param_leaves(table: ParamTable, *, prefix: str) -> list[Leaf]:
    """A leaf for each parameter, in order."""
    tags = {Kind.FLOAT: "f", Kind.INT: "i", Kind.BOOL: "T", Kind.TRIGGER: "I", Kind.TEXT: "s"}
    leaves = []
    for param in table.params:
        is_level = not param.kind.is_command
        leaves.append(
            Leaf(
                table.address(param, prefix=prefix),
                tags[param.kind],
                READ | WRITE if is_level else WRITE,
                f"{param.help} ({param.unit})" if param.unit else param.help,
                (param.low, param.high) if param.kind in (Kind.FLOAT, Kind.INT) else None,
            )
        )
    return leaves


class Tree:
    """The namespace. `value_of(address)` is the value of a leaf that can be read."""

    def __init__(self, leaves: Sequence[Leaf], *, value_of: Callable[[str], Value], host_info: dict[str, Any]) -> None:
        self._value_of = value_of
        self._host_info = host_info
        self.leaves = {leaf.address: leaf for leaf in leaves}
        self._below: dict[str, dict[str, str]] = {"/": {}}  # of each container: names, and the addresses behind them
        for address in self.leaves:
            parts = address.strip("/").split("/")
            for depth, name in enumerate(parts):
                above = "/" + "/".join(parts[:depth])
                self._below.setdefault(above, {})[name] = "/" + "/".join(parts[: depth + 1])

    def __contains__(self, address: str) -> bool:
        return address in self.leaves or address in self._below

    def answer(self, path: str, attribute: str = "") -> tuple[int, str]:
        """(HTTP status, JSON) of GET `path`, or of one attribute of it."""
        if attribute == "HOST_INFO":
            return 200, json.dumps(self._host_info)
        address = "/" + path.strip("/")
        if address not in self:
            return 404, ""
        if not attribute:
            return 200, json.dumps(self._node(address))
        if attribute not in ATTRIBUTES:
            return 400, ""
        node = self._node(address, only=attribute)
        return (200, json.dumps({attribute: node[attribute]})) if attribute in node else (204, "")

    def _node(self, address: str, *, only: str = "") -> dict[str, Any]:
        node: dict[str, Any] = {"FULL_PATH": address, "ACCESS": 0}
        leaf, below = self.leaves.get(address), self._below.get(address)
        if leaf is not None:
            node["ACCESS"] = leaf.access
            node["TYPE"] = leaf.type
            node["DESCRIPTION"] = leaf.help
            if leaf.has_value:
                value = self._value_of(address)
                if leaf.type == "T":
                    value = bool(value)
                    node["TYPE"] = "T" if value else "F"
                node["VALUE"] = [round(value) if leaf.type == "i" and not isinstance(value, str) else value]
            if leaf.range is not None:
                node["RANGE"] = [{"MIN": leaf.range[0], "MAX": leaf.range[1]}]
                node["CLIPMODE"] = ["both"]
            if leaf.type in "Is" and not leaf.has_value:
                node["CRITICAL"] = True  # a press must not be lost: over the WebSocket it cannot be
        if below is not None and only in ("", "CONTENTS"):
            node["CONTENTS"] = {name: self._node(each) for name, each in below.items()}
        return node


def host_info(*, name: str, osc_port: int) -> dict[str, Any]:
    """What HOST_INFO tells. OSC_IP is left out: it is the address that the client has already reached."""
    supported = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "CLIPMODE", "CRITICAL", "TYPE", "LISTEN", "IGNORE")
    info: dict[str, Any] = {"NAME": name, "EXTENSIONS": dict.fromkeys(supported, True)}
    if osc_port:
        info |= {"OSC_PORT": osc_port, "OSC_TRANSPORT": "UDP"}
    return info
