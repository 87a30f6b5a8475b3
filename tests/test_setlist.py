"""Setlists: what is right plays, what is wrong is named with its place, and all of it at once."""

import shutil

import numpy as np
import pytest

from performer import resources
from performer import setlist as setlists
from performer.choreography.score import Length
from performer.control.ableton import LiveKnob, LiveSpec
from performer.control.addresses import NORM, Bind
from performer.generators import checkpoint as species
from performer.setlist import SetlistError
from tests.conftest import small_stylegan2

GOOD = """
schema = 1
name = "Test"
species = "embryo"
seed = 4
[audio]
source = "silence"
[voices]
drums = [1, 2]
bass = [3]
[osc]
"/chan1" = "macro.1"
"/td/speed" = "walk.speed/norm"
"/knob" = { to = "macro.2", in = [0, 127], out = [0.75, 0.25] }
[control]
silence = 10
[ableton]
host = "10.0.0.7"
[[ableton.knob]]
track = 1
device = 0
parameter = 3
to = "macro.3"
in = [0, 127]
[params]
walk.speed = 0.5
[[route]]
name = "kick"
from = "drums.bass.hit"
to = "latent.coarse"
[[cue]]
id = "010"
name = "one"
fade = "2 bars"
duration = 12
next = "follow"
params = { "walk.speed" = 0.25, breathe = { depth = 0.5 } }
[[cue]]
id = "020"
seed = 9
[[cue.route]]
from = "bass.level"
to = "frame.zoom"
""".replace('"bass.level"', '"bass.bass.level"')


def load(tmp_path, text: str):
    path = tmp_path / "show.toml"
    path.write_text(text)
    return setlists.load(path)


def refusal(tmp_path, text: str) -> str:
    with pytest.raises(SetlistError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_a_good_setlist_is_resolved(tmp_path):
    show = load(tmp_path, GOOD)
    table, (one, two) = show.table, show.cues
    assert (one.id, one.fade, one.duration, one.next) == ("010", Length(8.0, in_beats=True), Length(12.0), "follow")
    assert (two.fade, two.seed, one.seed) == (Length(4.0), 9, 4)
    speed = table.row("walk.speed")
    assert (one.values[speed], two.values[speed]) == (0.25, 0.5)
    assert one.values[table.row("breathe.depth")] == 0.5 and one.named[speed] and not two.named[speed]
    assert [route.name for route in one.routes] == ["kick"]
    assert [route.name for route in two.routes] == ["kick", "020-1"]
    assert "route.kick" in table and "route.020-1" in table
    assert [voice.name for voice in show.voices] == ["drums", "bass"]
    assert show.binds == {
        "/chan1": Bind("macro.1"),
        "/td/speed": Bind("walk.speed", NORM),
        "/knob": Bind("macro.2", (0.0, 127.0), (0.75, 0.25)),
    }
    assert show.silence_s == 10.0
    assert show.live == LiveSpec(host="10.0.0.7", knobs=(LiveKnob(1, 0, 3, Bind("macro.3", (0.0, 127.0))),))
    assert show.plan().anatomies[0].num_ws == 12


def test_how_cues_begin_and_end_is_resolved(tmp_path):
    more = 'tags = ["calm", "dark"]\narmed = false\nquantize = "2 bars"\npre_wait = "4 beats"\npost_wait = 1.5\ncurve = "exp"\n'
    show = load(tmp_path, GOOD.replace('next = "follow"', more + 'next = "random calm"'))
    cue = show.cues[0]
    assert (cue.tags, cue.armed, cue.quantize, cue.curve, cue.next) == (
        ("calm", "dark"),
        False,
        8.0,
        "exp",
        "random calm",
    )
    assert (cue.pre_wait, cue.post_wait) == (Length(4.0, in_beats=True), Length(1.5))
    assert (show.cues[1].quantize, show.cues[1].armed) == (None, True)
    show = load(tmp_path, GOOD.replace('next = "follow"', 'quantize = "none"\nnext = "goto 020"'))
    assert (show.cues[0].quantize, show.cues[0].next) == (0.0, "goto 020")


def test_a_route_takes_its_sources_own_range(tmp_path):
    show = load(tmp_path, GOOD.replace('from = "drums.bass.hit"', 'from = "drums.loudness"'))
    (route,) = show.cues[0].routes
    assert (route.in_low, route.in_high, route.rest) == (-80.0, 0.0, -80.0)
    assert route.rest == -80.0


def test_every_bundled_setlist_is_good():
    names = sorted(path.stem for path in resources.SETLISTS.glob("*.toml"))
    assert setlists.DEMO in names
    for name in names:
        show = setlists.load(setlists.locate(name), check_devices=False)
        assert np.isfinite(show.cues[0].values).all()


def test_bundled_music_has_its_licence():
    text = (resources.SETLISTS / "music" / "LICENCES.md").read_text()
    music = [path.name for path in (resources.SETLISTS / "music").iterdir() if path.suffix != ".md"]
    assert music and all(name in text for name in music)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("fade =", "fede ="), r"cue[0].fede: unknown key (did you mean 'fade'?)"),
        (('species = "embryo"', 'species = "embrio"'), r"species: 'embrio' not found; expected a .safetensors file or one of: embryo"),
        (("seed = 4", 'seed = 4\npartner = "butterfly"'), r"partner: 'butterfly' not found; expected a .safetensors file"),
        (("[params]", "[paramz]"), r"paramz: unknown key (did you mean 'params'?)"),
        (('"walk.speed" = 0.25', '"walk.sped" = 0.25'), r"params.walk.sped: no such parameter (did you mean 'walk.speed'?)"),
        (('"walk.speed" = 0.25', '"walk.speed" = 99'), r"params.walk.speed: 99; expected 0 to 4 hz"),
        (('"walk.speed" = 0.25', '"walk.speed" = "fast"'), r"params.walk.speed: 'fast'; expected a number (0 to 4 hz)"),
        (('"walk.speed" = 0.25', '"cue.go" = 1'), r"params.cue.go: is a command"),
        (('"2 bars"', '"2 bats"'), r"""fade: '2 bats'; expected seconds (a number) or beats"""),
        (("duration = 12", "duration = -1"), r"duration: -1"),
        (("duration = 12\n", ""), r"next: 'follow' needs an end"),
        (('next = "follow"', 'next = "jump"'), r"cue[0] (id '010').next: 'jump'; expected one of: hold, follow, continue, loop, goto <id>, random, random <tag>"),
        (('next = "follow"', 'next = "goto 021"'), r"next: 'goto 021': no cue has the id '021' (did you mean '020'?)"),
        (('next = "follow"', 'next = "random calm"'), r"next: 'random calm': no cue has the tag 'calm'"),
        (('next = "follow"', 'next = "hold 2"'), r"next: 'hold 2'; expected one of: hold,"),
        (('next = "follow"', 'next = "continue"'), r"next: continue needs a time; expected a post_wait"),
        (('next = "follow"', 'curve = "wobbly"'), r"curve: 'wobbly'; expected one of: linear, smooth"),
        (('next = "follow"', 'quantize = "often"'), r"quantize: 'often'; expected none, beat, bar"),
        (('next = "follow"', "quantize = 65"), r"quantize: 65.0; expected none, beat, bar"),
        (('next = "follow"', 'pre_wait = "soon"'), r"pre_wait: 'soon'; expected seconds"),
        (('next = "follow"', 'post_wait = -1'), r"post_wait: -1"),
        (('from = "drums.bass.hit"', 'from = "drum.bass.hit"'), r"route[0].from: 'drum.bass.hit' is no source (did you mean 'drums.bass.hit'?)"),
        (('to = "latent.coarse"', 'to = "latent.course"'), r"route[0].to: 'latent.course' is no parameter (did you mean 'latent.coarse'?)"),
        (('to = "latent.coarse"', 'to = "cue.go"'), 'route[0].mode: \'cue.go\' is a command; expected mode = "trigger"'),
        (('id = "020"', 'id = "010"'), r"id: '010' is the id of cue[0] too"),
        (("drums = [1, 2]", "drums = [0, 2]"), r"voices.drums: [0, 2]; channels are numbered from 1"),
        (('"macro.1"', '"makro.1"'), r"'makro.1' is no parameter (did you mean 'macro.1'?)"),
        (('"walk.speed/norm"', '"walk.speed/unit"'), r"osc.'/td/speed': 'walk.speed/unit'; expected a parameter, or one with /norm"),
        (('"/chan1"', '"chan1"'), r"osc.'chan1': an OSC address begins with a slash"),
        (("in = [0, 127]", "in = [1, 1]"), r"osc.'/knob'.in: [1.0, 1.0] has no width; expected two different numbers"),
        (("in = [0, 127]", "inn = [0, 127]"), r"osc.'/knob'.inn: unknown key (did you mean 'in'?)"),
        (('to = "macro.2", ', ""), r"osc.'/knob': '' is no parameter"),
        (('host = "10.0.0.7"', 'host = "studio"'), r"ableton.host: 'studio'; expected the IPv4 address of the machine with Live"),
        (('to = "macro.3"', 'to = "cue.goto"'), r"ableton.knob[0].to: 'cue.goto' wants a name, and Live sends a number"),
        (('to = "macro.3"', 'to = "makro.3"'), r"ableton.knob[0].to: 'makro.3' is no parameter (did you mean 'macro.3'?)"),
        (("parameter = 3", "parameter = -3"), r"ableton.knob[0]: tracks, devices and parameters are counted from 0"),
        (("track = 1", "trak = 1"), r"ableton.knob[0].trak: unknown key (did you mean 'track'?)"),
        (("silence = 10", "silence = -1"), r"control.silence: -1.0; expected seconds, or 0 for never"),
        (("schema = 1", "schema = 7"), r"schema: 7; expected 1"),
        (("seed = 4", "seed = 4\nclass = 2"), r"class: 2; expected 0 to 0"),
        (('source = "silence"', 'source = "file"\nfile = "nothing.flac"'), r"audio.file: 'nothing.flac' not found"),
        (("seed = 4", 'seed = "four"'), r"seed: 'four'; expected `int`, got `str`"),
        (("[[cue]]", "[[scene]]"), r"scene: unknown key"),
        (('name = "Test"', 'name = "Test'), r"not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_remedy(tmp_path, change, expected):
    assert change[0] in GOOD
    text = refusal(tmp_path, GOOD.replace(*change))
    assert expected in text
    assert all(line.startswith(str(tmp_path / "show.toml")) for line in text.splitlines())


def test_all_problems_are_told_at_once(tmp_path):
    text = GOOD.replace('"walk.speed" = 0.25', '"walk.sped" = 0.25').replace("embryo", "embrio").replace("2 bars", "x")
    assert len(refusal(tmp_path, text).splitlines()) == 3


def test_partners_are_siblings_or_strangers_with_a_reason(tmp_path):
    species.write(tmp_path / "small.safetensors", small_stylegan2())
    path = tmp_path / "show.toml"
    for partner, stranger in (("embryo", ""), ("small", "light and stylegan2 are different families")):
        path.write_text(GOOD.replace("seed = 4", f'seed = 4\npartner = "{partner}"'))
        show = setlists.load(path)
        assert show.stranger == stranger and len(show.partners) == 1
        anatomy = show.plan().anatomies[0]
        assert (anatomy.w_between is None) == bool(stranger)
        assert anatomy.partner.z_dim == show.partners[0].sizes.z_dim
    instead = setlists.load(path, partner_name=str(resources.CHECKPOINTS / "embryo.safetensors"))
    assert instead.partners[0].family == "light" and instead.stranger == ""
    path.write_text(GOOD)
    assert setlists.load(path).partners == ()


def test_another_species_plays_alone(tmp_path):
    embryo = str(resources.CHECKPOINTS / "embryo.safetensors")
    load(tmp_path, partnered('["embryo", "embryo"]'))
    path = tmp_path / "show.toml"
    assert setlists.load(path, species_name=embryo).partners == ()
    assert len(setlists.load(path, species_name=embryo, partner_name=embryo).partners) == 1


def partnered(partner: str) -> str:
    return GOOD.replace("seed = 4", f"seed = 4\npartner = {partner}")


def test_a_chain_of_siblings_is_resolved(tmp_path):
    show = load(tmp_path, partnered('["embryo", "embryo"]'))
    assert len(show.partners) == len(show.creatures[0].siblings) == 2 and show.stranger == ""
    assert show.plan().anatomies[0].siblings == 2
    one = setlists.load(tmp_path / "show.toml", partner_name=str(resources.CHECKPOINTS / "embryo.safetensors"))
    assert len(one.partners) == 1 and one.plan().anatomies[0].siblings == 1
    assert load(tmp_path, partnered('["embryo"]')).plan().anatomies[0].siblings == 1
    assert load(tmp_path, partnered("[]")).partners == ()


def test_a_chain_with_a_stranger_in_it_is_refused(tmp_path):
    species.write(tmp_path / "small.safetensors", small_stylegan2())
    (line,) = refusal(tmp_path, partnered('["embryo", "small"]')).splitlines()
    assert line.startswith(f"{tmp_path / 'show.toml'}:6: partner[1]: 'small' is no sibling of ")
    assert "light and stylegan2 are different families; expected one that was trained on from it" in line
    assert "take it out" in line
    alone = load(tmp_path, partnered('["small"]'))
    assert alone.stranger and alone.creatures[0].siblings == () and alone.plan().anatomies[0].siblings == 0


@pytest.mark.parametrize(
    ("partner", "expected"),
    [
        ('["embryo", "nobody"]', "partner[1]: 'nobody' not found; expected a .safetensors file"),
        ('["embryo", ""]', "partner[1]: '' not found"),
        ('["embryo", 5]', "partner[1]: 5; expected `str`, got `int`"),
        ("5", "partner: 5; expected `str | array`, got `int`"),
    ],
)
def test_a_partner_of_a_chain_is_named_by_its_place(tmp_path, partner, expected):
    assert expected in refusal(tmp_path, partnered(partner))


def test_a_truncated_species_is_refused(tmp_path):
    whole = (resources.CHECKPOINTS / "embryo.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:50_000])
    assert "cut.safetensors: not a whole safetensors file" in refusal(tmp_path, GOOD.replace('"embryo"', '"cut"'))


def test_a_file_that_is_not_audio_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("these are words")
    text = refusal(tmp_path, GOOD.replace('source = "silence"', 'source = "file"\nfile = "notes.txt"'))
    assert "audio" in text and "notes.txt" in text


def test_a_setlist_finds_what_lies_beside_it(tmp_path):
    shutil.copy(resources.CHECKPOINTS / "embryo.safetensors", tmp_path / "mine.safetensors")
    shutil.copy(resources.SHADERS / "grade.fs", tmp_path / "mygrade.fs")
    text = GOOD.replace('"embryo"', '"mine"').replace("[audio]", 'shaders = ["mygrade"]\n[audio]', 1)
    show = load(tmp_path, text)
    assert show.checkpoint.path == tmp_path / "mine.safetensors"
    assert "mygrade.exposure" in show.table and "feedback.amount" not in show.table


def test_an_unknown_setlist_lists_the_bundled_ones():
    with pytest.raises(SetlistError, match=r"nowhere: no such setlist.*first-light"):
        setlists.locate("nowhere")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("fade =", "fede ="), "fede = "),
        (("[params]", "[paramz]"), "[paramz]"),
        (('"walk.speed" = 0.25', '"walk.speed" = 99'), "params = {"),
        (("walk.speed = 0.5", "walk.speed = 99"), "walk.speed = 99"),
        (("duration = 12\n", ""), 'next = "follow"'),
        (('from = "drums.bass.hit"', 'from = "drum.bass.hit"'), 'from = "drum.bass.hit"'),
        (('to = "latent.coarse"\n', 'to = "latent.coarse"\nattack = -1\n'), '[[route]]'),  # said of release, which is not there
        (('to = "frame.zoom"', 'to = "frame.room"'), 'to = "frame.room"'),
        (('id = "020"', 'id = "010"'), 'id = "010"'),
        (("drums = [1, 2]", "drums = [0, 2]"), "drums = [0, 2]"),
        (("in = [0, 127], out", "in = [1, 1], out"), '"/knob" = '),
        (("parameter = 3", "parameter = -3"), "[[ableton.knob]]"),
        (("track = 1\n", ""), "[[ableton.knob]]"),
        (("seed = 4", 'seed = "four"'), 'seed = "four"'),
        (('source = "silence"', 'source = "file"\noffset = 1'), "[audio]"),  # said of file, which is not there
        (('seed = 4', 'seed = 4\nshaders = [\n  "feedback",\n  "grate",\n]'), '"grate",'),
        (('name = "Test"', 'name = "Test'), 'name = "Test'),
    ],
)  # fmt: skip
def test_problems_have_the_line_of_their_key_or_of_what_is_around_it(tmp_path, change, expected):
    assert change[0] in GOOD
    text = GOOD.replace(*change)
    for problem in refusal(tmp_path, text).splitlines():
        number = int(problem.removeprefix(str(tmp_path / "show.toml:")).partition(":")[0])
        assert text.splitlines()[number - 1].strip().startswith(expected)


def test_what_the_whole_file_lacks_has_no_line(tmp_path):
    text = refusal(tmp_path, 'schema = 1\nspecies = "embryo"\n')
    assert text.startswith(f"{tmp_path / 'show.toml'}: top level: object missing required field `name`")
