"""Presets in a setlist: what plays, what is wrong with them, in a cue, and in an evening."""

import numpy as np
import pytest

from performer import setlist as setlists
from tests.test_setlist import GOOD, load, refusal

MORE = """
[preset.night]
feedback.amount = 0.9
grade.exposure = -0.5
[preset."très froid"]
grade = { warmth = -0.8 }
"frame.zoom" = 1.5
"""
WITH = GOOD + MORE


def test_presets_are_resolved_in_their_order(tmp_path):
    show = load(tmp_path, WITH)
    table, (night, cold) = show.table, show.presets
    assert (night.name, cold.name) == ("night", "très froid")
    assert [table.params[row].id for row in np.flatnonzero(night.named)] == ["feedback.amount", "grade.exposure"]
    assert [table.params[row].id for row in np.flatnonzero(cold.named)] == ["frame.zoom", "grade.warmth"]
    assert night.values[table.row("grade.exposure")] == -0.5
    assert show.plan().presets == show.presets
    assert load(tmp_path, GOOD).presets == ()


def test_a_cue_may_stand_on_a_preset_and_choose_two_by_name(tmp_path):
    params = 'params = { "walk.speed" = 0.25,'
    cue = f'preset = "night"\n{params} "grade.exposure" = 0.25, preset.a = "très froid", preset.b = 1, '
    show = load(tmp_path, WITH.replace(params, cue))
    table, one, two = show.table, *show.cues
    row = table.row
    assert (one.values[row("feedback.amount")], one.values[row("grade.exposure")]) == (np.float32(0.9), 0.25)
    assert one.named[row("feedback.amount")] and not one.named[row("frame.zoom")]
    assert (one.values[row("preset.a")], one.values[row("preset.b")]) == (2, 1)
    assert two.values[row("feedback.amount")] == table["feedback.amount"].default
    assert show.plan().cues[0] is show.cues[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("feedback.amount = 0.9", "feedback.amont = 0.9"), "preset.'night'.feedback.amont: no such parameter (did you mean 'feedback.amount'?)"),
        (("feedback.amount = 0.9", "feedback.amount = 9"), "preset.'night'.feedback.amount: 9; expected 0 to 1"),
        (("feedback.amount = 0.9", 'feedback.amount = "much"'), "preset.'night'.feedback.amount: 'much'; expected a number (0 to 1"),
        (("feedback.amount = 0.9", "cue.go = 1"), "preset.'night'.cue.go: is a command"),
        (("feedback.amount = 0.9", "preset.morph = 1"), "preset.'night'.preset.morph: a preset changes no knob of presets"),
        (("feedback.amount = 0.9\ngrade.exposure = -0.5\n", ""), "preset.'night': {}; expected parameters and their values"),
        (('"très froid"', '" "'), "preset.' ': ' '; expected a name of 60 letters at most"),
        (('[preset."très froid"]', "[presets.cold]"), "presets: unknown key (did you mean 'preset'?)"),
        (("[preset.night]", "[preset]\nnight = 1\n[params.other]"), "preset.'night': 1; expected parameters and their values"),
        (('name = "one"', 'name = "one"\npreset = "nicht"'), "cue[0] (id '010').preset: 'nicht' is no preset (did you mean 'night'?); expected one of: night, très froid"),
        (("walk.speed = 0.5", 'walk.speed = 0.5\npreset.a = "day"'), "params.preset.a: 'day' is no preset; expected one of: night, très froid"),
        (("walk.speed = 0.5", "walk.speed = 0.5\npreset.a = 65"), "params.preset.a: 65; expected 0 to 64"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_preset_is_named_with_its_line(tmp_path, change, expected):
    assert change[0] in WITH
    text = WITH.replace(*change)
    told = refusal(tmp_path, text)
    assert expected in told
    for problem in told.splitlines():
        number = int(problem.removeprefix(str(tmp_path / "show.toml:")).partition(":")[0])
        assert 0 < number <= len(text.splitlines())


def test_without_presets_it_is_told_how_to_have_some(tmp_path):
    text = GOOD.replace('name = "one"', 'name = "one"\npreset = "night"')
    assert "'night' is no preset; there are none: save one, or write [preset.<name>]" in refusal(tmp_path, text)


def test_there_are_not_too_many(tmp_path):
    many = "".join(f"[preset.p{number}]\nmacro.1 = 1\n" for number in range(65))
    assert "preset: 65 presets; expected 64 at most" in refusal(tmp_path, GOOD + many)


PART = """
schema = 1
name = "Part"
species = "embryo"
[preset.{name}]
route.kick = 0.5
grade.hue = 0.25
[[route]]
name = "kick"
from = "mix.kick"
to = "latent.coarse"
[[cue]]
id = "1"
params = {{ preset.b = "{name}" }}
[[cue.keyframe]]
at = 0
params = {{ preset.a = "{name}" }}
"""


def test_an_evening_has_the_presets_of_its_parts(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(PART.format(name=f"of-{name}"))
    path = tmp_path / "evening.toml"
    path.write_text('schema = 1\nname = "Evening"\nparts = ["one", "two"]\n[audio]\nsource = "silence"\n')
    show = setlists.load(path)
    table = show.table
    assert [each.name for each in show.presets] == ["one/of-one", "two/of-two"]
    second = show.presets[1]
    assert [table.params[row].id for row in np.flatnonzero(second.named)] == ["grade.hue", "route.two-kick"]
    assert [cue.values[table.row("preset.b")] for cue in show.cues] == [1, 2]
    ways = [dict(cue.keyframes.rows(0.0)) for cue in show.cues if cue.keyframes is not None]
    assert [way[table.row("preset.a")] for way in ways] == [1, 2]
    path.write_text(path.read_text() + "[preset.own]\nmacro.1 = 1\n")
    assert "preset: beside parts, which have their own" in refusal_of(path)


def refusal_of(path) -> str:
    with pytest.raises(setlists.SetlistError) as caught:
        setlists.load(path)
    return str(caught.value)
