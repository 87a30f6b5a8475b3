"""Keyframes in a setlist: what is written, and what is refused with its place."""

from pathlib import Path

import numpy as np
import pytest

from performer import setlist as setlists
from performer.choreography.keyframes import Keyframe, keyframes
from performer.setlist import Setlist, SetlistError

HEAD = 'schema = 1\nname = "Test"\nspecies = "embryo"\n[audio]\nsource = "silence"\n[[cue]]\nid = "1"\n'
FRAME = "[[cue.keyframe]]\n"


def loaded(folder: Path, text: str) -> Setlist:
    path = folder / "show.toml"
    path.write_text(HEAD + text)
    return setlists.load(path)


def test_keyframes_are_read_with_their_animals_values_and_times(tmp_path):
    text = f"""{FRAME}at = 0
seed = 12
{FRAME}at = "4 bars"
coarse = 3
fine = 9
params = {{ latent.noise = 0.5, walk.speed = 0.2 }}
{FRAME}at = "24 beats"
params = {{ noise.seed = 4 }}
"""
    show = loaded(tmp_path, text)
    row = show.table.row
    both = ((row("latent.noise"), 0.5), (row("walk.speed"), float(np.float32(0.2))))
    expected = keyframes(
        [
            Keyframe(at=0.0, animals=(12, 12, 12)),
            Keyframe(at=16.0, animals=(3, None, 9), values=both),
            Keyframe(at=24.0, values=((row("noise.seed"), 4.0),)),
        ],
        in_beats=True,
        steps=[row("noise.seed")],
    )  # fmt: skip
    found = show.cues[0].keyframes
    assert found is not None and found.groups == expected.groups and found.in_beats
    assert sorted(found.values) == sorted(expected.values)


def test_a_loop_has_a_length(tmp_path):
    text = f'keyframes = "loop"\nlength = "8 bars"\n{FRAME}at = 0\nseed = 1\n{FRAME}at = "4 bars"\nseed = 2\n'
    ways = loaded(tmp_path, text).cues[0].keyframes
    assert ways is not None and ways.terms(3.0) == ways.terms(35.0) != ways.terms(5.0)


def test_where_keyframes_lead_the_walk_stands_still_unless_it_is_asked_for(tmp_path):
    def walks(params: str, frame: str) -> list[float]:
        show = loaded(tmp_path, f"{params}{FRAME}at = 0\n{frame}\n")
        return [show.cues[0].values[show.table.row(f"walk.{group}")] for group in ("coarse", "middle", "fine")]

    assert walks("", "seed = 1") == [0, 0, 0]
    assert walks("", "fine = 1") == [1, 1, 0]
    assert walks("[cue.params]\nwalk.amount = 0.5\n", "seed = 1") == [1, 1, 1]
    assert walks("[cue.params]\nwalk.middle = 0.5\n", "seed = 1") == [0, 0.5, 0]
    assert walks("", "params = { latent.noise = 1 }") == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{FRAME}seed = 1", "keyframe[0]: {'seed': 1}; object missing required field `at`"),
        (f"{FRAME}at = 0\nsed = 1", "cue[0].keyframe[0].sed: unknown key (did you mean 'seed'?)"),
        (f"{FRAME}at = 0", "keyframe[0]: says nothing"),
        (f"{FRAME}at = 0\nseed = -1", "keyframe[0]: expected seeds from 0 to 4294967295"),
        (f'{FRAME}at = "4 bar"\nseed = 1\n{FRAME}at = 3\nseed = 1', "some times are seconds and some are beats"),
        (f"{FRAME}at = 1\nseed = 1\n{FRAME}at = 1.0\nfine = 1", "keyframe[1].at: 1.0 is the time of another keyframe"),
        (f'{FRAME}at = "soon"\nseed = 1', "keyframe[0].at: 'soon'; expected seconds"),
        (f"{FRAME}at = 0\nparams = {{ walk.sped = 1 }}", "keyframe[0].params.walk.sped: no such parameter"),
        (f"{FRAME}at = 0\nparams = {{ walk.speed = 9 }}", "keyframe[0].params.walk.speed: 9; expected 0 to 4 hz"),
        (f"{FRAME}at = 0\nparams = {{ cue.go = 1 }}", "keyframe[0].params.cue.go: is a command"),
        (f'keyframes = "round"\n{FRAME}at = 0\nseed = 1', "keyframes: 'round'; expected hold or loop"),
        (f'keyframes = "loop"\n{FRAME}at = 0\nseed = 1', "length: keyframes = \"loop\" and a length"),
        (f'length = "4 bars"\n{FRAME}at = 0\nseed = 1', "length: keyframes = \"loop\" and a length"),
        ('keyframes = "loop"\nlength = 4', "keyframe: none; expected at least one"),
        (f'keyframes = "loop"\nlength = 4\n{FRAME}at = 4\nseed = 1', "keyframe[0].at: 4.0; the loop has a length of 4.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_keyframes_is_said_at_its_place(text, sentence, tmp_path):
    with pytest.raises(SetlistError) as refused:
        loaded(tmp_path, text + "\n")
    assert any(sentence in problem for problem in refused.value.problems), refused.value.problems
