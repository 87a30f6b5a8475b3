"""Networks in a pickle: trees of modules whose attributes, parameters and buffers are plain dictionaries.

Thread: whoever reads.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from performer.generators.foreign.arrays import Array, Lazy, Tensor
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.names import Inert

MAX_MODULES = 20_000
MAX_TENSORS = 100_000
MAX_TREE_DEPTH = 64
MAX_NAME_CHARS = 256
MAX_LIST = 64  # elements of a saved attribute; they are sizes and paddings


@dataclass(slots=True)
class Tree:
    """A network taken apart, or a state dict, which has no attributes."""

    tensors: dict[str, Lazy] = field(default_factory=dict)  # by path: "synthesis.b4.const"
    attributes: dict[str, dict] = field(default_factory=dict)  # of every module, by path; "" is the network

    def attribute(self, path: str, name: str) -> Any:
        """A saved attribute as plain data, or None where it is missing or no such thing."""
        return plain(self.attributes.get(path, {}).get(name))


def entries(value: Any) -> dict | None:
    """The entries of anything that is like a dictionary, else None."""
    if isinstance(value, dict):
        return value
    return value.entries if isinstance(value, Inert) and value.entries else None


def attributes(value: Any) -> dict | None:
    """The attributes of an object in a pickle, else None."""
    if not isinstance(value, Inert):
        return None
    state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
    return state if isinstance(state, dict) else None


def is_network(value: Any) -> bool:
    own = attributes(value)
    return own is not None and "_modules" in own and "_parameters" in own


def is_state_dict(value: Any) -> bool:
    """Whether `value` maps names to tensors, and holds hardly anything else."""
    held = entries(value)
    if not held:
        return False
    tensors = sum(isinstance(key, str) and isinstance(item, Tensor | Array) for key, item in held.items())
    return tensors > len(held) / 2


def tree_of(value: Any) -> Tree:
    """Take apart a network or a state dict.

    Raises:
        Unreadable: it is neither, or its modules contain each other.
    """
    tree = Tree()
    if is_network(value):
        _walk(value, tree, path="", depth=0)
    elif is_state_dict(value):
        held = entries(value) or {}
        for key, lazy in held.items():
            if isinstance(key, str) and isinstance(lazy, Tensor | Array):
                _keep(tree, key, lazy)
    else:
        raise Unreadable("what should be its generator is neither a network nor a state dict")
    return tree


def _walk(module: Any, tree: Tree, *, path: str, depth: int) -> None:
    own = attributes(module)
    if own is None or "_modules" not in own:
        raise Unreadable(f"part {quoted(path)} of its generator is no module")
    if depth > MAX_TREE_DEPTH or len(tree.attributes) >= MAX_MODULES:
        raise Unreadable("the modules of its generator nest without end")
    tree.attributes[path] = own
    prefix = path + "." if path else ""
    for table in ("_parameters", "_buffers"):
        for name, tensor in (entries(own.get(table)) or {}).items():
            if tensor is None:
                continue
            if not isinstance(name, str) or not isinstance(tensor, Tensor | Array):
                raise Unreadable(f"{quoted(f'{prefix}{name}')} is not an ordinary tensor; expected one of numbers")
            _keep(tree, prefix + name, tensor)
    for name, child in (entries(own["_modules"]) or {}).items():
        if child is not None:
            if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
                raise Unreadable("a module of its generator has no proper name")
            _walk(child, tree, path=f"{prefix}{name}", depth=depth + 1)


def _keep(tree: Tree, key: str, lazy: Lazy) -> None:
    if len(tree.tensors) >= MAX_TENSORS:
        raise Unreadable(f"its generator has more than {MAX_TENSORS:,} tensors; no generator has so many")
    tree.tensors[key] = lazy


def plain(value: Any) -> Any:
    """A number, text, or short list of these, as JSON has them; None for everything else."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Array):
        if math.prod(value.shape) > MAX_LIST:
            return None
        return value.native().tolist()
    if isinstance(value, list | tuple) and len(value) <= MAX_LIST:
        listed = [plain(item) for item in value if not isinstance(item, list | tuple)]
        return listed if len(listed) == len(value) and None not in listed else None
    return None


def number(value: Any, default: Any) -> Any:
    """`value` where it is a finite number, else `default`."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def described(value: Any) -> str:
    """What a file holds at its top level, for people: names and kinds, never values."""
    held = entries(value)
    if held is not None:
        shown = [f"{quoted(key)} ({_kind(item)})" for key, item in list(held.items())[:12]]
        more = f" and {len(held) - 12:,} more" if len(held) > 12 else ""
        return f"a dictionary with {', '.join(shown)}{more}" if shown else "an empty dictionary"
    if isinstance(value, list | tuple):
        shown = ", ".join(_kind(item) for item in value[:6])
        return f"a list of {len(value):,}: {shown}" if shown else "an empty list"
    return _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor | Array):
        return f"a tensor {list(value.shape)}"
    if is_network(value):
        return "a network"
    if isinstance(value, Inert):
        return f"an object {quoted(value.known_as or 'of a class')}"
    if is_state_dict(value):
        return "a state dict"
    if value is None:
        return "nothing"
    kinds = {dict: "a dictionary", list: "a list", tuple: "a list", str: "text", bytes: "bytes"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "a number")
