"""Saving: what was learnt during a show goes into its setlist, with every comment where it was.

Thread: the control process.
"""

from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from performer import resources
from performer.control.addresses import NORM, Bind
from performer.files import write_whole
from performer.refusal import Refused


def save_binds(path: Path, binds: dict[str, Bind]) -> None:
    """Replace the bindings of the setlist at `path`. Raises Refused: the file is then as it was."""
    if resources.is_installed(path):
        raise Refused(f"{path}: comes with performer; copy it, play the copy, and what you learn is saved there")
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise Refused(f"{path}: cannot be read any more ({error}); nothing was saved") from None
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
    try:
        write_whole(path, tomlkit.dumps(document).encode())
    except OSError as error:
        raise Refused(f"{path}: cannot be written ({error.strerror}); nothing was saved") from None


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
