"""Evenings: parts that play together as they play alone."""

import numpy as np
import pytest

from performer import setlist as setlists
from performer.audio.source import SourceSpec
from performer.control.addresses import Bind
from performer.flow import AudioEvent, AudioEventKind, AudioFeatures, ControlEvent, Tick
from performer.generators import checkpoint as species
from performer.params import Controls
from performer.setlist import SetlistError
from tests.conftest import small_stylegan2

FIRST = """
schema = 1
name = "First"
species = "embryo"
seed = 4
shaders = ["grade"]
[audio]
source = "silence"
[voices]
drums = [1]
[osc]
"/drop" = "cue.go"
"/kick" = "route.kick"
[params]
walk.speed = 0.5
[[route]]
name = "kick"
from = "drums.bass.hit"
to = "latent.coarse"
[[cue]]
id = "1"
tags = ["calm"]
params = { "walk.speed" = 0.25, route = { kick = 0.5 } }
[[cue]]
id = "2"
armed = false
trigger = [{ osc = "/two" }]
duration = 2
next = "goto 1"
[[cue.route]]
from = "drums.bass.level"
to = "frame.zoom"
[[cue]]
id = "3"
duration = 1
next = "random calm"
"""
SECOND = """
schema = 1
name = "Second"
species = "embryo"
seed = 9
shaders = ["grade"]
[voices]
drums = [1]
[osc]
"/drop" = "cue.go"
[params]
grade.hue = 0.25
[[route]]
name = "kick"
from = "drums.kick"
to = "latent.fine"
[[cue]]
id = "1"
name = "Again"
duration = 3
next = "loop"
keyframe = [{ at = 0, params = { "walk.speed" = 0.1 } }, { at = 2, params = { "walk.speed" = 0.9 } }]
[[cue]]
id = "2"
"""
EVENING = """
schema = 1
name = "Evening"
parts = ["first-set.toml", "second set.toml"]
[audio]
source = "silence"
[voices]
drums = [1]
[osc]
"/tempo" = "transport.bpm"
"""


def write(folder, **changes):
    texts = {"evening": EVENING, "first-set": FIRST, "second set": SECOND} | changes
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / "evening.toml"


def refusal(path):
    with pytest.raises(SetlistError) as caught:
        setlists.load(path, check_devices=False)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_parts_become_one_show(tmp_path):
    path = write(tmp_path)
    show = setlists.load(path)
    assert [cue.id for cue in show.cues] == [
        "first-set/1",
        "first-set/2",
        "first-set/3",
        "second set/1",
        "second set/2",
    ]
    assert [cue.next for cue in show.cues] == [
        "hold",
        "goto first-set/1",
        "random first-set/calm",
        "goto second set/1",
        "hold",
    ]
    assert [cue.tags for cue in show.cues][:2] == [("first-set", "first-set/calm"), ("first-set",)]
    assert [cue.armed for cue in show.cues] == [True, False, True, True, True]
    assert [cue.seed for cue in show.cues] == [4, 4, 4, 9, 9]
    assert (show.name, len(show.creatures), show.parts) == (
        "Evening",
        1,
        (tmp_path / "first-set.toml", tmp_path / "second set.toml"),
    )
    assert show.binds == {
        "/tempo": Bind("transport.bpm"),
        "/drop": Bind("cue.go"),
        "/kick": Bind("route.first-set-kick"),
    }
    assert [(label, route.name) for label, route in show.routes] == [
        ("first-set", "first-set-kick"),
        ("first-set/2", "first-set-2-1"),
        ("second set", "second-set-kick"),
    ]
    assert [[route.name for route in cue.routes] for cue in show.cues] == [
        ["first-set-kick"],
        ["first-set-kick", "first-set-2-1"],
        ["first-set-kick"],
        ["second-set-kick"],
        ["second-set-kick"],
    ]
    one, again = show.cues[0], show.cues[3]
    speed, hue = show.table.row("walk.speed"), show.table.row("grade.hue")
    assert (one.values[speed], one.values[hue], one.values[show.table.row("route.first-set-kick")]) == (0.25, 0.0, 0.5)
    assert one.named[speed] and not again.named[hue] and again.values[hue] == 0.25
    assert len(show.table) == len(show.table.defaults()) == len(one.values)
    assert show.plan().score.find("Again") == 3


def frames(show, first_cue, seconds=2.5):
    """The latents and values of a cue, with a hit of each kind now and then."""
    plan = show.plan()
    memory = plan.enter(first_cue, at_s=0.0, beat=0.0)
    heard = AudioFeatures(np.full((1, len(plan._features)), 0.4, np.float32), 0.0)
    for frame in range(int(seconds * 30)):
        at_s = frame / 30
        hits = [AudioEvent(0, kind, at_s, 0.9) for kind in AudioEventKind if frame % 17 == kind]
        tick = Tick(frame, at_s, 1 / 30, 2 * at_s, at_s)
        memory, params, latent = plan.step(memory, heard, hits, Controls.none(show.table), tick)
        yield memory, params, latent


@pytest.mark.parametrize(("part", "cue", "place"), [("first-set", 1, 1), ("second set", 0, 3)])
def test_a_part_plays_as_it_plays_alone_bit_for_bit(tmp_path, part, cue, place):
    path = write(tmp_path)
    alone = setlists.load(tmp_path / f"{part}.toml", check_devices=False)
    together = setlists.load(path)
    shared = [name for name in alone.table.ids() if not name.startswith(("route.", "mute.", "solo."))]
    rows, other = ([each.table.row(name) for name in shared] for each in (alone, together))
    for (_, params, latent), (_, whole, drawn) in zip(frames(alone, cue), frames(together, place), strict=True):
        assert (latent.ws == drawn.ws).all() and (latent.noise == drawn.noise).all()
        assert (params.values[rows] == whole.values[other]).all()


def test_what_comes_by_itself_stays_within_its_part(tmp_path):
    show = setlists.load(write(tmp_path))
    for first_cue, end in ((1, 0), (2, 0), (3, 3)):
        *_, (memory, _, _) = frames(show, first_cue, seconds=3.5)
        assert (memory.place.index, memory.place.count) == (end, 1)
    place = show.plan().enter(2, at_s=0.0, beat=0.0).place
    go = [ControlEvent("cue.go", 1.0, 0.0)]
    assert show.plan().score.step(place, go, Tick(0, 0.0, 0.02, 0.0, 0.0), quantize=0.0, bpm=120.0).index == 3


def test_each_part_has_its_own_species(tmp_path):
    species.write(tmp_path / "small.safetensors", small_stylegan2())
    path = write(tmp_path, **{"second set": SECOND.replace('species = "embryo"', 'species = "small"')})
    show = setlists.load(path)
    assert [cue.creature for cue in show.cues] == [0, 0, 0, 1, 1]
    assert [each.name for each in show.creatures] == ["embryo", "small"]
    path = write(tmp_path, **{"first-set": FIRST.replace('tags = ["calm"]', 'tags = ["calm"]\nspecies = "small"')})
    assert [cue.creature for cue in setlists.load(path).cues] == [1, 0, 0, 0, 0]


def test_all_problems_of_all_parts_are_told_with_their_files(tmp_path):
    path = write(
        tmp_path,
        **{
            "first-set": FIRST.replace('next = "goto 1"', 'next = "goto 7"'),
            "second set": SECOND.replace('"drums.kick"', '"drums.kik"').replace("grade.hue", "grade.hew"),
        },
    )
    assert [problem.partition(";")[0] for problem in refusal(path)] == [
        "first-set.toml:29: cue[1] (id '2').next: 'goto 7': no cue has the id '7'",
        "second set.toml:15: route[0].from: 'drums.kik' is no source (did you mean 'drums.kick'?)",
        "second set.toml:12: params.grade.hew: no such parameter (did you mean 'grade.hue'?)",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"evening": EVENING.replace("second set", "third-set")}, "evening.toml:4: parts[1]: 'third-set.toml' not found; expected a setlist (.toml), as a path or beside this one"),
        ({"evening": EVENING.replace("second set", "first-set")}, "evening.toml:4: parts[1]: 'first-set.toml': another part is called first-set too; expected a different name for each file"),
        ({"evening": EVENING.replace("second set", "evening")}, "evening.toml:4: parts[1]: 'evening.toml' has parts itself; expected a setlist with cues; name its parts here"),
        ({"evening": EVENING + '[[cue]]\nid = "x"\n'}, "evening.toml:11: cue: beside parts, which have their own; take it out, or put it into each of them"),
        ({"evening": EVENING.replace("[audio]", "seed = 3\n[audio]")}, "evening.toml:5: seed: beside parts, which have their own;"),
        ({"evening": EVENING.replace("drums = [1]", "band = [1]")}, "first-set.toml:9: voices: drums; the evening has band; expected the same table [voices] in evening.toml"),
        ({"second set": SECOND.replace("[osc]", "[bands]\ngrowl = [200, 400]\n[osc]")}, "second set.toml:9: bands: growl; the evening has none; expected the same table [bands] in evening.toml"),
        ({"second set": SECOND.replace('["grade"]', '["halo", "grade"]')}, "second set.toml:6: shaders: halo, grade; first-set.toml has grade; expected the same in all parts: an effect that one does not want can be turned down in its params"),
        ({"second set": SECOND.replace('"/drop" = "cue.go"', '"/drop" = "cue.prev"')}, "evening.toml:4: parts: '/drop' sets cue.prev in second set.toml, and cue.go in first-set.toml; expected the same in both, or another address"),
        ({"second set": SECOND.replace('id = "2"', 'id = "2"\ntrigger = [{ scene = "Two" }]') + "[ableton]\n"}, "second set.toml:26: ableton: its cues begin by Ableton Live, and the evening has none; add [ableton] to evening.toml"),
        ({"second set": SECOND.replace('id = "2"', 'id = "2"\ntrigger = [{ position = 3 }]')}, "second set.toml:25: cue[1] (id '2').trigger[0].position: 0:03 of a sound file, and there is none"),
        ({"second set": SECOND.replace('id = "2"', 'id = "2"\ntrigger = [{ osc = "/two" }]'), "first-set": FIRST.replace("armed = false", "")}, "evening.toml: cue 'second set/2'.trigger[0]: /two begins cue 'first-set/2' too; expected a different one for each"),
        ({"evening": EVENING.replace('source = "silence"', 'source = "noise"')}, "evening.toml:6: audio.source: 'noise'; expected one of: device, file, silence, tone"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(tmp_path, change, expected):
    problems = refusal(write(tmp_path, **change))
    assert any(problem.startswith(expected) for problem in problems), problems
    assert len(problems) <= 2


def test_a_stranger_is_no_partner_in_an_evening(tmp_path):
    species.write(tmp_path / "small.safetensors", small_stylegan2())
    path = write(tmp_path, **{"first-set": FIRST.replace("seed = 4", 'seed = 4\npartner = "small"')})
    (problem,) = refusal(path)
    assert problem.startswith("first-set.toml:6: partner: ") and "expected a sibling" in problem


def test_the_sound_and_live_are_the_evenings(tmp_path):
    live = '[ableton]\nhost = "10.0.0.9"\n[[ableton.knob]]\ntrack = 0\ndevice = 0\nparameter = 1\nto = "grade.hue"\n'
    second = SECOND.replace('id = "2"', 'id = "2"\ntrigger = [{ scene = "Two" }, { locator = "end" }]') + "[ableton]\n"
    path = write(tmp_path, evening=EVENING + live, **{"second set": second})
    show = setlists.load(path)
    assert show.live is not None and show.live.host == "10.0.0.9" and len(show.live.knobs) == 1
    assert (show.live.scene_cues, show.live.locator_cues) == ({"Two": ("second set/2",)}, {"end": ("second set/2",)})
    assert setlists.load(path, audio=SourceSpec(kind="tone")).audio.kind == "tone"


def test_a_setlist_without_species_or_parts_is_refused(tmp_path):
    path = write(tmp_path, evening=EVENING.replace("parts = ", "# "))
    assert any(problem.startswith("evening.toml: species: '' not found; expected") for problem in refusal(path))
