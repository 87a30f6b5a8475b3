"""Mappings: sets of routes by name, which play, and are edited, as the setlist's own."""

import math
from pathlib import Path

import numpy as np
import pytest

from performer import mappings, resources
from performer import setlist as setlists
from performer.audio.features import column, feature_names
from performer.control.saving import save
from performer.flow import AudioEvent, AudioEventKind, AudioFeatures, Tick, frozen_array
from performer.params import Controls
from performer.setlist import Setlist, SetlistError

HEAD = 'schema = 1\nname = "Test"\nspecies = "embryo"\n'
SOUND = '[audio]\nsource = "silence"\n'
CUES = '[[cue]]\nid = "1"\n[[cue]]\nid = "2"\n[[cue]]\nid = "3"\n'


def loaded(folder: Path, *parts: str) -> Setlist:
    path = folder / "show.toml"
    path.write_text("".join(parts))
    return setlists.load(path)


def refusal(folder: Path, *parts: str) -> list[str]:
    with pytest.raises(SetlistError) as refused:
        loaded(folder, *parts)
    return refused.value.problems


def names_of(show: Setlist) -> list[list[str]]:
    return [[route.name for route in cue.routes] for cue in show.cues]


@pytest.mark.parametrize("name", mappings.bundled())
def test_every_bundled_mapping_plays_says_what_it_is_and_moves_the_picture_smoothly(name, tmp_path):
    show = loaded(tmp_path, HEAD, f'mapping = ["{name}"]\n', SOUND, '[[cue]]\nid = "1"\n')
    text = mappings.locate(name, folder=tmp_path).read_text()
    assert text.startswith("#") and "notes = " in text
    plan = show.plan()
    memory, latents = plan.enter(0, at_s=0.0, beat=0.0), []
    level = np.zeros((1, len(feature_names())), np.float32)
    for frame in range(400):
        for feature, speed in (("percussive.level", 3.0), ("bass.level", 2.0), ("harmonic.level", 0.4), ("clarity", 0.3),
                               ("chroma.c", 0.2), ("chroma.e", 0.3), ("chroma.g", 0.5)):  # fmt: skip
            level[0, column(feature)] = 0.5 - 0.5 * math.cos(2 * math.pi * speed * frame / 60)
        kinds = (AudioEventKind.KICK, AudioEventKind.SNARE, AudioEventKind.ONSET)
        events = [AudioEvent(0, kind, frame / 60, 0.9) for kind in kinds] if frame % 40 == 20 else []
        heard = AudioFeatures(frozen_array(level.copy()), frame / 60)
        tick = Tick(frame, frame / 60, 1 / 60, frame / 30, frame / 60)
        memory, _, latent = plan.step(memory, heard, events, Controls.none(plan.table), tick)
        latents.append(latent.ws)
    steps = np.linalg.norm(np.diff(latents, axis=0), axis=2).max(axis=1)
    reach = np.linalg.norm(np.ptp(latents, axis=0), axis=1).max()
    assert reach > 1.0 and steps.max() < 0.2 * reach


def test_mappings_become_routes_of_all_cues_or_of_one_with_names_of_their_own(tmp_path):
    voices = "[voices]\ndrums = [1]\nkeys = [2]\n"
    touch = (
        '[[cue]]\nid = "4"\nmapping = ["touch drums", "touch keys"]\n[[cue.route]]\nfrom = "lfo.1"\nto = "macro.1"\n'
    )
    show = loaded(tmp_path, HEAD, 'mapping = ["maua keys"]\n', SOUND, voices, CUES, touch)
    first, *_, last = names_of(show)
    assert first[0] == "maua-keys-bass" and len(first) == 17
    assert last[17:] == ["touch-drums-kick", "touch-drums-snare", "touch-keys-kick", "touch-keys-snare", "4-1"]
    by_name = {route.name: route for route in show.cues[-1].routes}
    assert (by_name["touch-drums-kick"].source, by_name["touch-drums-kick"].ring_hz) == ("drums.kick", 2.2)
    assert by_name["maua-keys-c"].source == "keys.chroma.c"
    assert {"route.touch-drums-kick", "mute.maua-keys-c", "solo.maua-keys-c"} <= set(show.table.ids())
    assert {route.name: cue for cue, route in show.routes}["touch-drums-kick"] == "4"


def test_without_a_voice_a_mapping_hears_the_first(tmp_path):
    voices = "[voices]\nkeys = [2]\ndrums = [1]\n"
    show = loaded(tmp_path, HEAD, 'mapping = ["touch"]\n', SOUND, voices, CUES)
    assert [route.source for route in show.cues[0].routes] == ["keys.kick", "keys.snare"]


def test_a_mapping_of_several_cues_has_its_knobs_once(tmp_path):
    cues = CUES.replace('id = "1"', 'id = "1"\nmapping = ["touch"]').replace(
        'id = "3"', 'id = "3"\nmapping = ["touch"]'
    )
    show = loaded(tmp_path, HEAD, SOUND, cues)
    assert names_of(show) == [["touch-kick", "touch-snare"], [], ["touch-kick", "touch-snare"]]
    assert [(cue, route.name) for cue, route in show.routes] == [("1, 3", "touch-kick"), ("1, 3", "touch-snare")]


def test_a_route_of_the_setlist_takes_the_place_of_the_mappings_wherever_that_plays(tmp_path):
    own = '[[route]]\nfrom = "lfo.1"\nto = "macro.1"\n[[route]]\nname = "touch-kick"\nfrom = "mix.hat"\nto = "latent.fine"\n'
    for mapping, expected in (
        (
            CUES.replace('id = "2"', 'id = "2"\nmapping = ["touch"]'),
            [["r1"], ["r1", "touch-kick", "touch-snare"], ["r1"]],
        ),
        (CUES, [["r1", "touch-kick"]] * 3),
    ):
        show = loaded(tmp_path, HEAD, SOUND, own, mapping)
        assert names_of(show) == expected
        assert {route.name: route.target for route in show.cues[1].routes}["touch-kick"] == "latent.fine"


def test_what_a_hand_changed_of_a_mapping_is_saved_and_loads_as_it_played(tmp_path):
    text = (HEAD, 'mapping = ["touch"] # struck\n', SOUND, CUES)
    show = loaded(tmp_path, *text)
    changed = {route.name: route for _, route in show.routes}["touch-kick"]
    changed.ring = 5.0
    save(show.path, binds={}, routes={"touch-kick": changed, "touch-snare": None})
    again = setlists.load(show.path)
    assert "# struck" in show.path.read_text()
    assert names_of(again) == names_of(show)
    assert again.cues[0].routes[0].ring_hz == 5.0


def test_values_of_a_mapping_stand_below_the_setlists(tmp_path):
    mine = '[params]\nwalk.speed = 0.5\nwalk.lag = 0.5\norbit.points = 5\n[[route]]\nfrom = "kick"\nto = "macro.1"\n'
    (tmp_path / "mine.toml").write_text(mine)
    (tmp_path / "other.toml").write_text("[params]\nwalk.speed = 0.75\nwalk.lag = 0.75\n")
    own = '[[cue]]\nid = "own"\nmapping = ["other.toml"]\n[cue.params]\nwalk.speed = 1.0\n'
    show = loaded(tmp_path, HEAD, 'mapping = ["mine"]\n', SOUND, "[params]\nwalk.lag = 0.25\n", CUES, own)
    rows = [show.table.row(name) for name in ("walk.speed", "walk.lag", "orbit.points")]
    assert show.cues[0].values[rows].tolist() == [0.5, 0.25, 5.0]
    assert show.cues[-1].values[rows].tolist() == [1.0, 0.75, 5.0]
    assert names_of(show)[0] == ["mine-r1"] and show.cues[0].routes[0].source == "mix.kick"


def test_a_setlist_may_be_called_as_its_mapping(tmp_path):
    path = tmp_path / "touch.toml"
    path.write_text(HEAD + 'mapping = ["touch"]\n' + SOUND + CUES)
    assert len(setlists.load(path).cues[0].routes) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('mapping = ["lucit"]', "mapping[0]: 'lucit' not found; expected one of: lucid, maua, touch"),
        ('mapping = ["touch drums"]', "mapping[0]: 'touch drums' not found"),
        ('mapping = ["touch", "touch"]', "mapping[1]: 'touch' is there twice"),
        ('mapping = ["broken"]', "broken.toml:2: route[0].frm: unknown key"),
        ('mapping = ["far"]', "mapping[0] (far).route[0].to: 'latent.corse' is no parameter"),
        ('mapping = ["far"]', "mapping[0] (far).params.walk.sped: no such parameter"),
        ('mapping = "touch"', "mapping: 'touch'; expected `array`"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mapping_is_said_at_its_place(text, sentence, tmp_path):
    (tmp_path / "broken.toml").write_text('[[route]]\nfrm = "kick"\nto = "macro.1"\n')
    (tmp_path / "far.toml").write_text('[params]\nwalk.sped = 1\n[[route]]\nfrom = "kick"\nto = "latent.corse"\n')
    assert any(sentence in problem for problem in refusal(tmp_path, HEAD, text + "\n", SOUND, CUES))


def test_a_mapping_of_all_cues_is_not_asked_for_again(tmp_path):
    cues = CUES.replace('id = "2"', 'id = "2"\nmapping = ["touch"]')
    assert any(
        "plays in all cues already" in each for each in refusal(tmp_path, HEAD, 'mapping=["touch"]\n', SOUND, cues)
    )


def test_the_folder_of_mappings_is_documented():
    text = (Path(__file__).parents[1] / "docs" / "setlists.md").read_text()
    assert [name for name in mappings.bundled() if f"\n| `{name}` |" not in text] == []
    assert resources.MAPPINGS.is_dir()
