"""A setlist that is edited while it plays: a real show, real files, and real datagrams."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from performer import reloading
from performer import show as shows
from performer.generators import checkpoint as species
from performer.generators.embryo import checkpoint_of as made_of
from performer.generators.embryo import tensors as tensors_of
from performer.play import PlayOptions, prepare
from performer.show import Show
from tests.control.test_hands import Peer
from tests.show.conftest import play_until
from tests.show.program import free_port

TEXT = """
schema = 1
name = "Edited"
species = "s0"
[audio]
source = "silence"
[osc]
"/td/low" = "macro.1"
[[route]]
name = "hand"
from = "macro.2"
to = "out.dimmer"
mode = "replace"
invert = true
[[cue]]
id = "1"
name = "egg"
fade = 0
params = { "walk.speed" = 0.2, "grade.saturation" = 1.0 }
[[cue]]
id = "2"
name = "wing"
fade = 0
"""

LATE = """[[route]]
name = "late"
from = "macro.1"
to = "latent.coarse"
amount = 2
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other faster than for people."""
    monkeypatch.setattr(reloading, "LOOK_S", 0.1)


class Played:
    """A show, its file, and what was said."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.path = folder / "show.toml"
        options = PlayOptions(
            setlist=str(self.path), headless=True, size_px=(160, 90), osc_host="127.0.0.1", osc_port=free_port(),
            engine="openvino", **changes,
        )  # fmt: skip
        self.show: Show = prepare(options, announce=lambda text: None)
        play_until(self.show, lambda: self.show.has_light)
        self.peer = Peer(self.show.hands)
        self.editions = 0

    def write(self, text: str) -> None:
        """Save as an editor does: another file, with the name of this one."""
        beside = self.path.with_suffix(".part")
        beside.write_text(text)
        os.replace(beside, self.path)

    def edit(self, *pairs: tuple[str, str]) -> None:
        """Save with parts replaced, and play until that is taken."""
        text = self.path.read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        before = self.show.setlist
        self.write(text)
        play_until(self.show, lambda: self.show.setlist is not before)

    def said(self, pattern: str) -> bool:
        return any(re.search(pattern, each.text) for each in self.show.notices.recent(at_s=self.show.clock.now_s()))

    def value(self, name: str) -> float:
        return float(self.show.params.values[self.show.table.row(name)])

    def asked(self, address: str, until: Callable[[object], bool]) -> None:
        """Ask the control process for a value until it is as wanted."""

        def heard() -> bool:
            self.peer.send(address, "?")
            self.show.frame()
            try:
                got = self.peer.heard(until=lambda got: address in got, seconds=0.05)
            except AssertionError:
                return False
            return until(got[address][-1])

        play_until(self.show, heard)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Callable[..., Played]]:
    made: list[Played] = []
    for number, seed in enumerate((3, 4)):
        species.write(tmp_path / f"s{number}.safetensors", made_of(tensors_of(seed=seed)))
    (tmp_path / "show.toml").write_text(TEXT)

    def make(**changes: Any) -> Played:
        made.append(Played(tmp_path, **changes))
        return made[-1]

    yield make
    for each in made:
        each.peer.socket.close()
        each.show.close()


def test_an_edited_value_glides_and_the_cue_goes_on_where_it_was(played):
    it = played()
    before = it.show._memory.current
    seen: list[float] = []
    at_s: list[float] = []
    it.write(TEXT.replace('"grade.saturation" = 1.0', '"grade.saturation" = 0.2'))
    old, memory = it.show.setlist, it.show._memory
    while not seen or seen[-1] > 0.2001:
        latent = it.show._memory.latent
        it.show.frame()
        if it.show.setlist is not old:
            memory = it.show._memory
            seen.append(it.value("grade.saturation"))
            at_s.append(it.show._photon_s)
            assert np.abs(it.show._memory.latent.ws - latent.ws).max() < 0.2
        assert len(seen) < 500
    assert memory.current.started_s == before.started_s and memory.place.count == 0
    assert len(seen) > 2 and seen == sorted(seen, reverse=True) and seen[0] > 0.7
    assert (np.abs(np.diff(seen)) < 4.0 * np.diff(at_s)).all()
    for _ in range(20):
        it.show.frame()
    assert it.show._memory.previous is None and it.show._memory.mended_s is None
    assert it.said("show.toml is taken as it is now")


def test_an_edit_in_the_middle_of_a_fade_makes_nothing_leap(played):
    it = played()
    it.edit(('name = "wing"\nfade = 0', 'name = "wing"\nfade = 6\nseed = 9\nparams = { "grade.saturation" = 0.0 }'))
    it.peer.send("/perf/cue/go")
    play_until(it.show, lambda: it.show.cue == 1 and it.value("grade.saturation") < 0.7)
    it.write(it.path.read_text().replace('"grade.saturation" = 0.0', '"grade.saturation" = 1.8'))
    old, seen, ways, at_s = it.show.setlist, [], [], []
    while it.show.setlist is old or it.show._memory.previous is not None:
        before = it.show._memory.latent
        it.show.frame()
        seen.append(it.value("grade.saturation"))
        at_s.append(it.show._photon_s)
        ways.append(np.abs(it.show._memory.latent.ws - before.ws).max())
        assert len(seen) < 500
    assert (np.abs(np.diff(seen)) < 8.0 * np.diff(at_s)).all() and max(ways) < 0.9
    assert seen[-1] == pytest.approx(1.8)


def test_what_was_not_edited_goes_on_bit_for_bit(played, monkeypatch):
    it = played()
    for _ in range(5):
        it.show.frame()
    show = it.show
    memory, plan, controls = show._memory, show.plan, show._controls
    it.edit(
        ("fade = 0\nparams", "fade = 3\nnotes = 'of the egg'\nparams"), ('name = "wing"', 'name = "wings"\nseed = 9')
    )
    assert show.setlist.cues[0].notes == "of the egg" and show.plan is not plan
    from performer.choreography.carrying import carried
    from performer.edited import plan_of
    from performer.flow import Tick

    again = plan_of(show.setlist, anatomies=plan.anatomies)
    moved = carried(memory, plan, again, edits=(), at_s=show._photon_s)
    features = show.ears.latest()
    for frame in range(30):
        at_s = show._photon_s + frame / 30
        tick = Tick(frame=frame, photon_s=at_s, dt_s=1 / 30, beat=at_s * 2, deadline_s=at_s)
        memory, params, latent = plan.step(memory, features, (), controls, tick)
        moved, other, same = again.step(moved, features, (), controls, tick)
        assert (params.values == other.values).all() and (latent.ws == same.ws).all()
        assert (latent.noise == same.noise).all() and latent.creature == same.creature


def test_an_added_cue_can_be_gone_to_and_the_controls_know_it(played):
    it = played()
    it.peer.send("/perf/sys/subscribe")
    it.peer.send("/perf/cue/load", "2")
    play_until(it.show, lambda: it.show._memory.place.loaded == 1)
    it.edit(('[[cue]]\nid = "2"', '[[cue]]\nid = "new"\nname = "between"\nfade = 0\n[[cue]]\nid = "2"'))
    assert it.show._memory.place.loaded == 2  # by its id
    it.peer.send("/perf/cue/goto", "new")
    play_until(it.show, lambda: it.show.cue == 1)
    for _ in range(10):
        it.show.frame()
    it.peer.heard(until=lambda got: "new" in got.get("/perf/cue/current", ()))  # without subscribing again
    assert it.show.hands.status().restarts == 0


def test_a_cue_that_is_taken_out_plays_on_until_the_next_go(played):
    it = played()
    second = TEXT.index('[[cue]]\nid = "2"')
    first = TEXT.index('[[cue]]\nid = "1"')
    values = it.show.params.values.copy()
    old = it.show.setlist
    it.write(TEXT[:first] + TEXT[second:])
    play_until(it.show, lambda: it.show.setlist is not old)
    for _ in range(3):
        it.show.frame()
    assert [cue.id for cue in it.show.plan.score.cues] == ["1", "2"] and not it.show.plan.score.cues[0].armed
    assert (it.show.params.values == values).mean() > 0.95
    it.peer.send("/perf/cue/go")
    play_until(it.show, lambda: it.show.plan.score.cues[it.show.cue].id == "2")
    play_until(it.show, lambda: len(it.show.plan.score.cues) == 1)
    assert it.show.cue == 0


def test_routes_and_binds_come_and_go_and_what_hands_did_stays(played):
    it = played()
    it.peer.send("/perf/macro/1", 0.4)
    it.peer.send("/perf/route/hand", 0.5)
    play_until(it.show, lambda: it.value("route.hand") == 0.5)
    rows = it.show.table.ids()
    it.edit(
        ('[[cue]]\nid = "1"', f'{LATE}[[cue]]\nid = "1"'),
        ('"/td/low" = "macro.1"', '"/td/high" = "macro.3"'),
    )
    assert it.show.table.ids()[: len(rows)] == rows and "route.late" in it.show.table
    play_until(it.show, lambda: abs(it.value("latent.coarse") - 0.8) < 1e-3)
    assert it.value("route.hand") == 0.5 and it.value("macro.1") == pytest.approx(0.4)

    def bound() -> bool:
        it.peer.send("/td/high", 0.7)
        time.sleep(0.01)
        it.show.frame()
        return it.value("macro.3") == pytest.approx(0.7)

    play_until(it.show, bound)
    it.asked("/perf/route/late", lambda told: told == 1.0)
    it.peer.send("/perf/route/late", 0.5)
    play_until(it.show, lambda: abs(it.value("latent.coarse") - 0.4) < 1e-3)
    it.edit((LATE, ""))
    play_until(it.show, lambda: it.value("latent.coarse") == 0.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fade = 0\nparams", "fade = -1\nparams", r"show\.toml:18: cue\[0\].*fade.*expected a length"),
        ('name = "egg"', 'name = "egg', r"show\.toml:17: not TOML"),
        ("schema = 1", "schema = 1\nspeces = 's0'", r"unknown key \(did you mean 'species'\?\)"),
        ('source = "silence"', 'source = "tone"', "audio needs a restart"),
        ("[osc]", "[voices]\ndrums = [1]\n[osc]", "voices needs a restart"),
        ("[audio]", "shaders = ['grade']\n[audio]", "shaders needs a restart"),
    ],
)
def test_an_edit_that_cannot_be_taken_says_why_and_the_mended_one_is_taken(played, old, new, words):
    it = played()
    before, pictures = it.show.setlist, it.show.images
    it.peer.send("/perf/sys/subscribe")
    it.write(TEXT.replace(old, new))
    play_until(it.show, lambda: it.said(words))
    it.peer.heard(until=lambda got: any(re.search(words, text) for text in got.get("/perf/sys/error", ())))
    for _ in range(5):
        it.show.frame()
    assert it.show.setlist is before and it.show.images > pictures
    it.write(TEXT.replace('name = "egg"', 'name = "eggs"'))
    play_until(it.show, lambda: it.show.setlist.cues[0].name == "eggs")


def test_a_file_that_is_being_written_is_not_read(played, monkeypatch):
    monkeypatch.setattr(reloading, "LOOK_S", 0.4)
    it = played()
    text = TEXT.replace('name = "wing"', 'name = "half"')
    with it.path.open("w") as file:
        for at in range(0, len(text), 40):
            file.write(text[at : at + 40])
            file.flush()
            end_s = time.monotonic() + 0.15
            while time.monotonic() < end_s:
                it.show.frame()
    play_until(it.show, lambda: it.show.setlist.cues[1].name == "half")
    assert not it.said("not taken")


def test_another_species_is_made_ready_and_then_plays(played):
    it = played()
    it.edit(('id = "2"', 'id = "2"\nspecies = "s1"'))
    assert len(it.show.cast.roles) == 2
    it.peer.send("/perf/cue/go")
    play_until(it.show, lambda: it.show.cue == 1 and it.show.host.checkpoint.path.stem == "s1" and it.show.has_light)
    it.edit(('id = "2"\nspecies = "s1"', 'id = "2"'))  # of what plays: it plays on, and comes the next time
    assert it.show.host.checkpoint.path.stem == "s1"
    it.peer.send("/perf/cue/prev")
    play_until(it.show, lambda: it.show.cue == 0 and it.show.host.checkpoint.path.stem == "s0")
    play_until(it.show, lambda: 1 in it.show.cast.absent)  # no cue names it any more


def test_a_part_and_a_mapping_are_watched_too(played, tmp_path):
    (tmp_path / "mine.toml").write_text('[[route]]\nfrom = "macro.4"\nto = "latent.fine"\n')
    (tmp_path / "show.toml").write_text(TEXT.replace("[audio]", 'mapping = ["mine"]\n[audio]'))
    it = played()
    it.peer.send("/perf/macro/4", 1.0)
    play_until(it.show, lambda: it.value("latent.fine") == 1.0)
    (tmp_path / "mine.toml").write_text('[[route]]\nfrom = "macro.4"\nto = "latent.fine"\namount = 0.5\n')
    play_until(it.show, lambda: it.value("latent.fine") == 0.5)


@pytest.mark.parametrize("every_s", [0.2, 1.5])
def test_what_the_show_saves_itself_is_not_read_again(played, monkeypatch, every_s):
    monkeypatch.setattr(shows, "REPORT_S", every_s)  # a show may hear of it long after the file is another one
    it = played()
    it.peer.send("/perf/sys/subscribe")
    it.peer.send("/perf/sys/route/set", "hand", "amount", 0.5)
    play_until(it.show, lambda: it.show._memory.routes[0][0].amount == 0.5)
    it.peer.send("/perf/sys/save")
    play_until(it.show, lambda: "amount = 0.5" in it.path.read_text())
    before = it.show.setlist
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        it.show.frame()
    assert it.show.setlist is before and not it.said("taken")
    it.edit(('name = "egg"', 'name = "eggs"'))
    assert it.show._memory.routes[0][0].amount == 0.5


def test_it_is_read_when_somebody_asks_and_not_otherwise_where_nobody_watches(played):
    it = played(reload=False)
    before = it.show.setlist
    it.write(TEXT.replace('name = "egg"', 'name = "eggs"'))
    end_s = time.monotonic() + 0.6
    while time.monotonic() < end_s:
        it.show.frame()
    assert it.show.setlist is before
    it.peer.send("/perf/sys/reload")
    play_until(it.show, lambda: it.show.setlist.cues[0].name == "eggs")
