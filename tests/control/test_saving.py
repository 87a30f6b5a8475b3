"""What hands changed goes into the setlist: comments, order and whatever else stands there stay."""

import hashlib
import tomllib

import pytest

from performer import resources
from performer.control import saving
from performer.control.saving import save, save_presets
from performer.refusal import Refused
from performer.routes import RouteFile

SHOW = """# Berlin
schema = 1
name = "Berlin"  # the second night

[params]
walk.speed = 0.2       # slow
route.kick = 0.5

[[route]]              # the drum
name = "kick"
from = "mix.bass.hit"  # not the bass guitar
to = "latent.coarse"
amount = 0.9
gate = [0.5, 0.3]

[[route]]
from = "mix.mid.level"
to = "latent.middle"

[[route]]
from = "mix.high.level"   # third
to = "latent.fine"

[[cue]]
id = "1"
[cue.params]
lfo.1.rate = 0.1

[[cue.route]]
from = "mix.db"
to = "walk.speed"
in = [-50.0, -10.0]

[[cue]]
id = "2"
# the end
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "berlin.toml"
    file.write_text(SHOW, encoding="utf-8")
    return file


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_nothing_to_save_leaves_every_byte(path):
    save(path, binds={})
    assert path.read_text() == SHOW


def test_a_changed_route_changes_its_keys_and_no_others(path):
    changed = RouteFile(
        "mix.bass.hit", "latent.coarse", name="kick", amount=0.4, gate=(0.5, 0.3), release=0.15, curve="exp",
    )  # fmt: skip
    save(path, binds={}, routes={"kick": changed})
    text = path.read_text()
    assert text == SHOW.replace("amount = 0.9", "amount = 0.4").replace(
        "gate = [0.5, 0.3]\n", 'gate = [0.5, 0.3]\ncurve = "exp"\n'
    )


def test_a_key_that_is_as_usual_again_is_written_and_a_range_goes_back_to_the_sources_own(path):
    plain = RouteFile("mix.bass.hit", "latent.coarse", name="kick")
    own = RouteFile("mix.db", "walk.speed", name="1-1")
    save(path, binds={}, routes={"kick": plain, "1-1": own})
    content = tomllib.loads(path.read_text())
    assert content["route"][0] == {
        "name": "kick", "from": "mix.bass.hit", "to": "latent.coarse", "amount": 1.0, "gate": [0.0, 0.0],
    }  # fmt: skip
    assert content["cue"][0]["route"] == [{"from": "mix.db", "to": "walk.speed"}]


def test_a_removed_route_is_gone_and_the_others_keep_the_names_of_their_places(path):
    save(path, binds={}, routes={"r2": None, "kick": None})
    content = tomllib.loads(path.read_text())
    assert content["route"] == [{"from": "mix.high.level", "to": "latent.fine", "name": "r3"}]
    assert " third" in comments(path.read_text()) and " the end" in comments(path.read_text())
    save(path, binds={}, routes={"r2": None, "kick": None, "r3": None, "1-1": None})
    content = tomllib.loads(path.read_text())
    assert "route" not in content and "route" not in content["cue"][0]


def test_an_added_route_belongs_to_all_cues_and_is_added_once(path):
    added = RouteFile("lfo.1", "latent.fine", name="new1", amount=0.5, hold="beat")
    for amount in (0.5, 0.7):
        added.amount = amount
        save(path, binds={}, routes={"new1": added})
    content = tomllib.loads(path.read_text())
    assert content["route"][3:] == [
        {"name": "new1", "from": "lfo.1", "to": "latent.fine", "amount": 0.7, "hold": "beat"}
    ]
    assert len(content["cue"]) == 2 and comments(path.read_text()) == comments(SHOW)
    save(path, binds={}, routes={"new1": None})
    assert tomllib.loads(path.read_text()) == tomllib.loads(SHOW)


def test_a_setlist_without_routes_or_params_gets_them(tmp_path):
    path = tmp_path / "bare.toml"
    path.write_text('schema = 1\n[[cue]]\nid = "1"\n')
    save(path, binds={}, routes={"new1": RouteFile("beat", "macro.1", name="new1")}, knobs={"lfo.1.rate": 0.5})
    assert tomllib.loads(path.read_text()) == {
        "schema": 1,
        "cue": [{"id": "1"}],
        "route": [{"name": "new1", "from": "beat", "to": "macro.1"}],
        "params": {"lfo.1.rate": 0.5},
    }


def test_routes_that_stand_in_one_line_are_changed_there(tmp_path):
    path = tmp_path / "line.toml"
    path.write_text(
        'schema = 1\nroute = [{ from = "beat", to = "macro.1" }, { from = "bar", to = "macro.2" }]  # two\n'
    )
    save(path, binds={}, routes={"r1": None, "r2": RouteFile("bar", "macro.2", name="r2", amount=2.0)})
    assert tomllib.loads(path.read_text())["route"] == [{"from": "bar", "to": "macro.2", "name": "r2", "amount": 2.0}]
    assert comments(path.read_text()) == [" two"]


def test_a_knob_is_written_where_the_cue_names_it_and_else_for_all_cues(path):
    save(path, binds={}, knobs={"lfo.1.rate": 0.25, "route.kick": 1.5, "mute.kick": 1.0}, cue="1")
    content = tomllib.loads(path.read_text())
    assert content["cue"][0]["params"]["lfo"]["1"]["rate"] == 0.25
    assert content["params"] == {"walk": {"speed": 0.2}, "route": {"kick": 1.5}, "mute.kick": 1}
    save(path, binds={}, knobs={"lfo.1.rate": 0.5, "lfo.1.beats": 4.0, "mute.kick": 0.0}, cue="2")
    content = tomllib.loads(path.read_text())
    assert content["cue"][0]["params"]["lfo"]["1"]["rate"] == 0.25
    assert (content["params"]["lfo.1.rate"], content["params"]["lfo.1.beats"]) == (0.5, 4)
    assert content["params"]["mute.kick"] == 0
    assert comments(path.read_text()) == comments(SHOW)


@pytest.mark.parametrize(
    "params",
    [
        'params = { lfo.1.rate = 0.1, "lfo.1.beats" = 2 }',
        "[params]\nlfo.1.rate = 0.1\nlfo.1.beats = 2",
        "[params.lfo.1]\nrate = 0.1\nbeats = 2",
        '[params]\n"lfo.1.rate" = 0.1\n[params.lfo]\n1.beats = 2',
        '[params."lfo.1"]\nrate = 0.1\nbeats = 2',
    ],
)
def test_a_parameter_is_found_however_it_is_written(tmp_path, params):
    path = tmp_path / "written.toml"
    path.write_text(f"schema = 1\n{params}\n")
    save(path, binds={}, knobs={"lfo.1.rate": 0.75, "lfo.1.beats": 8.0, "lfo.1.phase": 0.5})

    def flat(content: dict, above: str = "") -> dict:
        found = {}
        for key, value in content.items():
            found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
        return found

    assert flat(tomllib.loads(path.read_text())["params"]) == {"lfo.1.rate": 0.75, "lfo.1.beats": 8, "lfo.1.phase": 0.5}


def test_what_cannot_be_saved_leaves_the_file_as_it_was(path, monkeypatch):
    path.write_text("schema = \n")
    with pytest.raises(Refused, match=r"nothing was saved"):
        save(path, binds={}, knobs={"lfo.1.rate": 1.0})
    assert path.read_text() == "schema = \n"
    monkeypatch.setattr(resources, "is_installed", lambda _: True)
    with pytest.raises(Refused, match="copy it"):
        save(path, binds={})


def test_what_is_to_be_in_the_file_is_told_before_it_is_and_taken_back_where_it_cannot_be(path, monkeypatch):
    old, told = path.read_bytes(), []

    def ahead(before, after):
        told.append((path.read_bytes(), before, after))

    save(path, binds={}, knobs={"lfo.1.rate": 0.5}, ahead=ahead)
    new = path.read_bytes()
    assert told == [(old, digest(old), digest(new))] and new != old

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write_whole", full)
    with pytest.raises(Refused, match="No space"):
        save_presets(path, {"night": {"walk.speed": 1.0}}, ahead=ahead)
    assert path.read_bytes() == new
    assert [each[0] for each in told[1:]] == [new, new] and told[1][1:] == told[2][:0:-1] and told[1][1] == digest(new)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_from_windows_keeps_its_ends_of_lines(path):
    text = SHOW.replace("\n", "\r\n").encode()
    path.write_bytes(text)
    save(path, binds={}, knobs={"walk.speed": 0.5})
    assert path.read_bytes() == text.replace(b"walk.speed = 0.2 ", b"walk.speed = 0.5 ")


def saved_presets(path, **presets) -> dict:
    save_presets(path, presets)
    return tomllib.loads(path.read_text()).get("preset", {})


def test_presets_are_added_changed_and_removed_and_everything_else_stays(path):
    values = {"feedback.amount": 0.8123456789, "noise.seed": 7, "latent.coarse": -1.0}
    assert saved_presets(path, night=values) == {
        "night": {"feedback.amount": 0.812346, "noise.seed": 7, "latent.coarse": -1}
    }
    text = path.read_text()
    assert text.startswith(SHOW) and text[len(SHOW) :].startswith("\n[preset.night]\n")
    assert saved_presets(path, day={"walk.speed": 1.0}, night={"noise.seed": 9}) == {
        "night": {"noise.seed": 9},
        "day": {"walk.speed": 1},
    }
    assert saved_presets(path, night=None) == {"day": {"walk.speed": 1}}
    assert saved_presets(path, day=None, nobody=None) == {}
    assert tomllib.loads(path.read_text()) == tomllib.loads(SHOW) and comments(path.read_text()) == comments(SHOW)


@pytest.mark.parametrize(
    "written",
    [
        '[preset.night]\nlfo.1.rate = 0.1 # slow\n"lfo.1.beats" = 2\nwalk = { speed = 1.0, lag = 0.5 }\n',
        "[preset]\nnight = { lfo.1.rate = 0.1, lfo.1.beats = 2, walk.lag = 0.5 } # slow\n",
        "[preset.night.lfo.1]\nrate = 0.1 # slow\nbeats = 2\n[preset.night.walk]\nlag = 0.5\n",
        '[preset.night]\n"lfo.1.rate" = 0.1 # slow\n[preset.night.lfo]\n1.beats = 2\n[cues]\n[preset.night.walk]\nlag = 1\n',
    ],
)
def test_a_preset_is_changed_however_it_is_written(tmp_path, written):
    path = tmp_path / "show.toml"
    path.write_text(f"schema = 1\n{written}")

    def flat(content: dict, above: str = "") -> dict:
        found = {}
        for key, value in content.items():
            found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
        return found

    wanted = {"lfo.1.rate": 0.25, "walk.lag": 0.75, "grade.hue": 0.5}
    assert flat(saved_presets(path, night=wanted, other={"macro.1": 1.0})) == {
        **{f"night.{key}": value for key, value in wanted.items()},
        "other.macro.1": 1,
    }
    assert comments(path.read_text()) == [" slow"]
    assert flat(saved_presets(path, night=None)) == {"other.macro.1": 1}


def test_names_of_presets_are_nothing_but_names(path):
    for name in ('"\n[params]\nwalk.speed = 4 #', "a.b", "[[cue]]", "Ночь", "'", "x = 1"):
        assert saved_presets(path, **{name: {"macro.1": 0.5}})[name] == {"macro.1": 0.5}
    content = tomllib.loads(path.read_text())
    del content["preset"]
    assert content == tomllib.loads(SHOW)


def test_everything_is_saved_at_once(path):
    save(path, binds={}, knobs={"route.kick": 1.5}, presets={"night": {"macro.1": 0.5}}, cue="1")
    content = tomllib.loads(path.read_text())
    assert (content["preset"], content["params"]["route"]) == ({"night": {"macro.1": 0.5}}, {"kick": 1.5})
