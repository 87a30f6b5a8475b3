"""From keys to control events, without a keyboard."""

import glfw
import numpy as np
import pytest

from performer.flow import frozen_array
from performer.params import Controls, ParamTable, base_params
from performer.stage.keys import KEYS, NAMES_BY_GLFW, StageAction, events_of, help_line
from performer.stage.outputs.output import KeyPress

TABLE = ParamTable(base_params())


def pressed(*keys: str, controls: Controls | None = None) -> tuple[list[tuple[str, float]], list[StageAction]]:
    controls = controls or Controls.none(TABLE)
    events, actions = events_of([KeyPress(key) for key in keys], controls=controls, table=TABLE, at_s=3.0)
    assert all(event.at_s == 3.0 and event.source == "keys" for event in events)
    return [(event.param, event.value) for event in events], actions


@pytest.mark.parametrize(
    ("key", "param"),
    [
        ("space", "cue.go"),
        ("left", "cue.prev"),
        ("p", "cue.panic"),
        ("t", "transport.tap"),
        ("f", "out.freeze"),
        ("b", "out.blackout"),
    ],
)
def test_keys_reach_parameters(key: str, param: str) -> None:
    assert pressed(key) == ([(param, 1.0)], [])


def test_f1_is_for_the_figures() -> None:
    assert pressed("f1") == ([], [StageAction.HUD])


def test_unknown_keys_mean_nothing() -> None:
    assert pressed("q", "", "f12") == ([], [])


def test_toggles_turn_over_what_the_hand_had_set() -> None:
    values = TABLE.defaults()
    values[TABLE.row("out.freeze")] = 1.0
    controls = Controls(frozen_array(values), np.full(len(TABLE), 0.0), ())
    assert pressed("f", controls=controls)[0] == [("out.freeze", 0.0)]
    assert pressed("f", "space", "f")[0] == [("out.freeze", 1.0), ("cue.go", 1.0), ("out.freeze", 0.0)]


def test_the_table_is_sound() -> None:
    for target, text in KEYS.values():
        assert text and (isinstance(target, StageAction) or target in TABLE)
    for code, name in NAMES_BY_GLFW.items():
        assert getattr(glfw, f"KEY_{name.upper()}") == code
    assert set(KEYS) <= set(NAMES_BY_GLFW.values())
    assert "SPACE next cue" in help_line()
