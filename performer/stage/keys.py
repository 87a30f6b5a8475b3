"""What the keyboard of the output window does: one table, pure.

Thread: any. The window turns keys into `KeyPress` values; `events_of` turns those into control events and into
actions that only the stage knows (the HUD). F11 and Esc never come here: the window handles them itself.
"""

from collections.abc import Sequence
from enum import Enum

from performer.flow import ControlEvent
from performer.params import Controls, Kind, ParamTable
from performer.stage.outputs.output import KeyPress


class StageAction(Enum):
    """What a key does to the stage itself."""

    HUD = "show or hide the figures"


# key -> (parameter id or action, what people read). A bool parameter is toggled, a trigger is fired.
KEYS: dict[str, tuple[str | StageAction, str]] = {
    "space": ("cue.go", "next cue"),
    "left": ("cue.prev", "cue before"),
    "f": ("out.freeze", "freeze"),
    "b": ("out.blackout", "blackout"),
    "p": ("cue.panic", "panic"),
    "t": ("transport.tap", "tap tempo"),
    "f1": (StageAction.HUD, "figures"),
}
WINDOW_KEYS = {"f11": "full screen", "esc": "hold one second to leave"}

# glfw's numbers are part of its ABI; written out so that the table needs no glfw.
NAMES_BY_GLFW: dict[int, str] = {
    32: "space",
    263: "left",
    262: "right",
    290: "f1",
    300: "f11",
    **{code: chr(code).lower() for code in range(ord("A"), ord("Z") + 1)},
}


def events_of(
    presses: Sequence[KeyPress],
    *,
    controls: Controls,
    table: ParamTable,
    at_s: float,
) -> tuple[list[ControlEvent], list[StageAction]]:
    """Control events and stage actions of `presses`, in order; keys without a meaning are skipped.

    A toggle turns the hand's last value over, so two presses of F in one frame leave it as it was.
    """
    events: list[ControlEvent] = []
    actions: list[StageAction] = []
    turned: dict[str, float] = {}
    for press in presses:
        target = KEYS.get(press.key, (None,))[0]
        if isinstance(target, StageAction):
            actions.append(target)
        elif target is not None and target in table:
            value = 1.0
            if table[target].kind is Kind.BOOL:
                before = turned.get(target, float(controls.values[table.row(target)]))
                value = turned[target] = 0.0 if before > 0 else 1.0
            events.append(ControlEvent(target, value, at_s, source="keys"))
    return events, actions


def help_line() -> str:
    """All keys in one line, for the HUD."""
    named = {key: text for key, (_, text) in KEYS.items()} | WINDOW_KEYS
    return "  ".join(f"{key.upper()} {text}" for key, text in named.items())
