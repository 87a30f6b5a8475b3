"""Triggers in a setlist: what they mean, and what is wrong with them."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from performer import setlist as setlists
from performer.audio.source import SourceSpec
from performer.running_order import print_order
from performer.triggers import Trigger
from tests.test_setlist import GOOD, load, refusal

GROOVE = Path(__file__).parent / "data" / "groove_rock_105.ogg"  # 8 s
FILE = GOOD.replace('source = "silence"', 'source = "file"\nfile = "groove.ogg"').replace(
    "drums = [1, 2]\nbass = [3]", "drums = [1]\nbass = [1]"
)


def with_triggers(text: str, content: str) -> str:
    return text.replace('id = "020"', f'id = "020"\ntrigger = [{content}]')


@pytest.fixture
def groove(tmp_path):
    shutil.copy(GROOVE, tmp_path / "groove.ogg")


def test_triggers_are_resolved(tmp_path, groove):
    text = with_triggers(
        FILE,
        '{osc = "/intro"}, {midi = "note 36"}, {midi = "pc 3", channel = 2}, {midi = "cc 20/10", channel = 16}, '
        '{scene = "Intro"}, {locator = "verse"}, {at = "20:15:00"}, {at = "7:05"}, {at = 23:59:59}, '
        '{position = 6.5}, {position = "0:03.2"}, {position = "0:00:07"}, {silence = 4}',
    )
    show = load(tmp_path, text)
    found = show.cues[1].triggers
    assert show.cues[0].triggers == ()
    assert found[0] == Trigger("osc", "/intro", addresses=("/intro",))
    assert found[1].addresses == tuple(f"/midi/{channel}/note/36" for channel in range(1, 17))
    assert [(each.addresses, each.number) for each in found[2:4]] == [
        (("/midi/2/program",), 3),
        (("/midi/16/cc/20",), 10),
    ]
    assert [(each.kind, each.amount) for each in found[6:]] == [
        ("at", 72900.0),
        ("at", 25500.0),
        ("at", 86399.0),
        ("position", 6.5),
        ("position", 3.2),
        ("position", 7.0),
        ("silence", 4.0),
    ]
    assert show.live is not None
    assert (show.live.scene_cues, show.live.locator_cues) == ({"Intro": ("020",)}, {"verse": ("020",)})
    assert [each.in_words() for each in found] == [
        "/intro", "midi note 36", "midi pc 3 on 2", "midi cc 20/10 on 16", "scene Intro", "locator verse",
        "at 20:15:00", "at 07:05:00", "at 23:59:59", "position 0:06.5", "position 0:03.2", "position 0:07",
        "silence 4 s",
    ]  # fmt: skip


def test_each_has_a_table_of_its_own(tmp_path):
    text = GOOD + '[[cue.trigger]]\nosc = "/a"\n[[cue.trigger]]\nosc = "/b"\n'
    assert [each.name for each in load(tmp_path, text).cues[1].triggers] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{}", "trigger[0]: none; expected one of: osc, midi, scene, locator, at, position, silence; write a table of its own for each"),
        ('{osc = "/a", silence = 2}', "trigger[0]: osc, silence; expected one of: osc, midi,"),
        ('{ocs = "/a"}', "trigger[0].ocs: unknown key (did you mean 'osc'?); expected one of: osc, midi,"),
        ("{osc = 1}", "trigger[0].osc: 1; expected `str | null`, got `int`"),
        ('{osc = "intro"}', "trigger[0].osc: 'intro'; expected an address of another program, such as /intro"),
        ('{osc = "/in*ro"}', "trigger[0].osc: '/in*ro'; expected an address"),
        ('{osc = "/a", channel = 3}', "trigger[0].channel: 3 beside osc; a channel belongs to midi; take it out"),
        ('{midi = "knote 36"}', "trigger[0].midi: 'knote 36' (did you mean 'note'?); expected a word and a number, such as \"note 36\", \"pc 3\","),
        ('{midi = "note"}', "trigger[0].midi: 'note' (did you mean 'note'?); expected a word and a number"),
        ('{midi = "note 128"}', "trigger[0].midi: 'note 128': 128; expected 0 to 127"),
        ('{midi = "pc 0"}', "trigger[0].midi: 'pc 0': 0; expected 1 to 128"),
        ('{midi = "cc14 32"}', "trigger[0].midi: 'cc14 32': 32; expected 0 to 31"),
        ('{midi = "cc 20/128"}', "trigger[0].midi: 'cc 20/128': 128; expected a value of 0 to 127"),
        ('{midi = "note 36/100"}', "trigger[0].midi: 'note 36/100': 100; expected no value behind note"),
        ('{midi = "note 36", channel = 17}', "trigger[0].channel: 17; expected 1 to 16, or nothing for any"),
        ('{scene = " "}', "trigger[0].scene: ' '; expected the name of a scene"),
        ('{locator = ""}', "trigger[0].locator: ''; expected the name of a locator"),
        ('{at = "24:00"}', "trigger[0].at: '24:00'; expected a time of day in text, such as \"20:15\" or \"20:15:00\""),
        ('{at = "20:15:60"}', "trigger[0].at: '20:15:60'; expected a time of day"),
        ('{at = 20.15}', "trigger[0].at: 20.15; expected a time of day in text"),
        ('{at = 2026-06-01T20:15:00}', "trigger[0].at: datetime.datetime(2026, 6, 1, 20, 15); expected a time of day in text"),
        ("{position = -1}", "trigger[0].position: -1.0; expected seconds, or text such as \"1:03.2\" or \"1:02:03\""),
        ('{position = "1:60"}', "trigger[0].position: '1:60'; expected seconds"),
        ('{position = "1:60:00"}', "trigger[0].position: '1:60:00'; expected seconds"),
        ('{position = "soon"}', "trigger[0].position: 'soon'; expected seconds"),
        ("{position = 2}", 'trigger[0].position: 0:02 of a sound file, and there is none; expected source = "file" in [audio], or another kind of trigger'),
        ("{silence = 0.5}", "trigger[0].silence: 0.5; expected 1 or more seconds"),
        ("{silence = inf}", "trigger[0].silence: inf; expected 1 or more seconds"),
        ('{osc = "/a"}, {osc = "/a"}, {silence = nan}', "trigger[2].silence: nan; expected 1 or more seconds"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_remedy(tmp_path, content, expected):
    text = refusal(tmp_path, with_triggers(GOOD, content))
    (line,) = text.splitlines()
    assert f"cue[1] (id '020').{expected}" in line or f"cue[1].{expected}" in line
    assert line.startswith(str(tmp_path / "show.toml"))


@pytest.mark.parametrize("kind", ["scene", "locator"])
def test_lives_triggers_need_live(tmp_path, kind):
    head, _, tail = GOOD.partition("[ableton]")
    text = head + "[params]" + tail.partition("[params]")[2]
    assert f"trigger[0].{kind}: 'verse' is Ableton Live's, which nobody listens to; add a table [ableton]" in refusal(
        tmp_path, with_triggers(text, f'{{{kind} = "verse"}}')
    )


def test_a_position_lies_in_the_file(tmp_path, groove):
    text = refusal(tmp_path, with_triggers(FILE, "{position = 8.5}"))
    assert "trigger[0].position: 8.5 s lies beyond the end of the sound file; expected 0 to 8 s" in text
    path = tmp_path / "show.toml"
    path.write_text(with_triggers(FILE, "{position = 7.5}"))
    assert setlists.load(path, audio=SourceSpec(kind="silence")).cues[1].triggers  # it will not come


def test_two_armed_cues_do_not_begin_by_the_same(tmp_path):
    both = GOOD.replace('id = "010"', 'id = "010"\ntrigger = [{midi = "note 36", channel = 3}]')
    text = refusal(tmp_path, with_triggers(both, '{midi = "note 36"}'))
    assert (
        "cue[1] (id '020').trigger[0]: midi note 36 begins cue[0] (id '010') too; expected a different one for each, or "
        "armed = false for all but one"
    ) in text
    load(tmp_path, with_triggers(both, '{midi = "note 37"}'))
    load(tmp_path, with_triggers(both, '{midi = "note 36"}').replace('id = "020"', 'id = "020"\narmed = false'))


def test_the_running_order_names_them(tmp_path):
    show = load(tmp_path, with_triggers(GOOD, '{osc = "/intro"}, {at = "20:15"}'))
    told = io.StringIO()
    print_order(show, console=Console(file=told, width=200))
    assert "/intro, at 20:15:00" in told.getvalue()
