"""Cues with species of their own: who draws them, how they come in, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from performer import bridges, resources
from performer import setlist as setlists
from performer.bridges import Bridge, Side
from performer.choreography.transition import FORM_FIRST, TOGETHER
from performer.generators import checkpoint as species
from performer.generators.embryo import checkpoint_of as made_of
from performer.generators.embryo import tensors as tensors_of
from performer.setlist import SetlistError
from tests.conftest import small_stylegan2

GOOD = """
schema = 1
name = "Test"
species = "first"
[audio]
source = "silence"
[[cue]]
id = "1"
[[cue]]
id = "2"
species = "second"
transition = "auto"
[[cue]]
id = "3"
species = "third"
transition = "shader moult"
[[cue]]
id = "4"
species = "second"
timing = { coarse = [0.0, 0.5], fine = [0.5, 1.0] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, checkpoint in (
        ("first", made_of(tensors_of(seed=3))),
        ("second", made_of(tensors_of(seed=4))),
        ("third", small_stylegan2()),
    ):
        species.write(tmp_path / f"{name}.safetensors", checkpoint)
    return tmp_path


def load(folder: Path, text: str = GOOD):
    (folder / "show.toml").write_text(text)
    return setlists.load(folder / "show.toml")


def bridge_between(folder: Path, first: str, second: str) -> Path:
    sides = []
    for name in (first, second):
        made = species.load(folder / f"{name}.safetensors")
        sides.append(
            Side(
                name=name, content_hash=made.content_hash, family=made.family, psi=np.ones(2, np.float32),
                w=np.zeros((2, made.sizes.w_dim), np.float32), z=np.zeros((2, made.sizes.z_dim), np.float32),
                spread=np.ones(made.sizes.w_dim, np.float32),
            )
        )  # fmt: skip
    path = folder / f"{first}--{second}{bridges.SUFFIX}"
    bridges.save(
        path,
        Bridge(
            sides=(sides[0], sides[1]), distances=(0.3, 0.3), found=(0.3, 0.3), random=1.0, seed=0, samples=32,
            truncation=(0.8, 1.0), descriptor="figure",
        ),
    )  # fmt: skip
    return path


def test_each_species_is_one_creature_whatever_the_number_of_its_cues(folder):
    show = load(folder)
    assert [creature.checkpoint.path.stem for creature in show.creatures] == ["first", "second", "third"]
    assert [cue.creature for cue in show.cues] == [0, 1, 2, 1]
    assert [len(anatomy.w_avg) for anatomy in show.plan().anatomies] == [
        creature.checkpoint.sizes.w_dim for creature in show.creatures
    ]
    assert [path.stem for path in show.mixes] == ["moult"] and "moult.grain" in show.table
    assert [cue.transition.kind for cue in show.cues] == ["auto", "auto", "shader", "auto"]
    assert show.cues[3].transition.timing == ((0.0, 0.5), (0.0, 1.0), (0.5, 1.0))
    assert show.cues[0].transition.timing == TOGETHER


def test_a_cue_may_have_siblings_of_its_own(folder):
    show = load(
        folder, GOOD.replace('species = "second"\ntransition', 'species = "second"\npartner = "first"\ntransition')
    )
    assert [cue.creature for cue in show.cues] == [0, 1, 2, 3]
    assert [len(creature.siblings) for creature in show.creatures] == [0, 1, 0, 0]
    assert [anatomy.siblings for anatomy in show.plan().anatomies] == [0, 1, 0, 0]


def test_form_and_texture_first_are_timings(folder):
    show = load(folder, GOOD.replace('transition = "auto"', 'transition = "form first"'))
    assert show.cues[1].transition.timing == FORM_FIRST


def test_a_bridge_beside_the_species_is_found_by_its_name_and_leads_both_ways(folder):
    bridge_between(folder, "second", "first")
    show = load(folder)
    assert set(show.bridges) == {(0, 1), (1, 0)} and not show.remarks
    for (first, second), bridge in show.bridges.items():
        names = [show.creatures[at].checkpoint.content_hash for at in (first, second)]
        assert [side.content_hash for side in bridge.sides] == names


def test_a_bridge_may_be_named(folder):
    path = bridge_between(folder, "first", "third")
    path.rename(folder / "way.bridge.safetensors")
    assert not load(folder).bridges
    show = load(folder, GOOD.replace('name = "Test"', 'name = "Test"\nbridges = ["way.bridge.safetensors"]'))
    assert set(show.bridges) == {(0, 2), (2, 0)}


def test_a_bridge_of_species_as_they_were_is_not_crossed_and_that_is_said(folder):
    bridge_between(folder, "first", "second")
    species.write(folder / "second.safetensors", made_of(tensors_of(seed=9)))
    show = load(folder)
    (remark,) = show.remarks
    assert not show.bridges and "make it anew" in remark


def test_the_bundled_species_have_their_bridges(tmp_path):
    cues = "".join(
        f'[[cue]]\nid = "{name}"\nspecies = "{name}"\ntransition = "bridge"\n' for name in ("imago", "pupa", "embryo")
    )
    show = load(tmp_path, GOOD[: GOOD.index("[[cue]]")].replace("first", "larva") + '[[cue]]\nid = "1"\n' + cues)
    names = {tuple(sorted(show.creatures[at].name for at in pair)) for pair in show.bridges}
    assert names == {("imago", "larva"), ("larva", "pupa"), ("imago", "pupa"), ("embryo", "larva")}
    for bridge in show.bridges.values():
        assert np.mean(bridge.distances) <= 0.5 * bridge.random, "pairs look alike"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('species = "third"', 'species = "thrid"'), "cue[2] (id '3').species: 'thrid' not found"),
        (('transition = "auto"', 'transition = "bridg"'), "cue[1] (id '2').transition: 'bridg' (did you mean 'bridge'?)"),
        (('transition = "auto"', 'transition = "shader"'), "transition: 'shader'; expected one of: auto, cut, latent"),
        (('transition = "auto"', 'transition = "shader melt"'), "'melt' not found; expected an ISF transition (.fs) or one of: ink, moult"),
        (('transition = "auto"', 'transition = "bridge"'), "transition: no bridge leads to "),
        (("coarse = [0.0, 0.5]", "course = [0.0, 0.5]"), "timing.course: no layer group (did you mean 'coarse'?)"),
        (("coarse = [0.0, 0.5]", "coarse = [0.5, 0.5]"), "timing.coarse: [0.5, 0.5]; expected from and to, in parts of the fade"),
        (('id = "1"', 'id = "1"\npartner = "second"'), "cue[0] (id '1').partner: 'second', but no species"),
        (('id = "1"', 'id = "1"\nclass = 2'), "cue[0] (id '1').class: 2, but no species"),
        (('species = "third"', 'species = "third"\nclass = 7'), "cue[2] (id '3').class: 7; expected 0 to"),
        (('species = "third"', 'species = "third"\npartner = "first"'), "cue[2] (id '3').partner: "),
        (('species = "first"', 'species = "first"\npartner = "third"'), "beside a partner that is no sibling"),
        (('name = "Test"', 'name = "Test"\nbridges = ["none"]'), "bridges[0]: 'none' not found; expected a file that `performer bridge A B` has made"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_remedy(folder, change, expected):
    assert change[0] in GOOD
    with pytest.raises(SetlistError) as caught:
        load(folder, GOOD.replace(*change, 1))
    assert expected in str(caught.value)


def test_an_effect_that_mixes_nothing_is_no_transition(folder):
    (folder / "plain.fs").write_text((resources.SHADERS / "grade.fs").read_text())
    with pytest.raises(SetlistError, match="mixes no two pictures; expected an ISF transition"):
        load(folder, GOOD.replace("shader moult", "shader plain"))


def test_a_bridge_between_others_is_refused_where_it_is_named(folder):
    species.write(folder / "fourth.safetensors", made_of(tensors_of(seed=12)))
    bridge_between(folder, "first", "fourth")
    with pytest.raises(SetlistError, match="expected two species of this setlist, as they are now"):
        load(folder, GOOD.replace('name = "Test"', 'name = "Test"\nbridges = ["first--fourth"]'))
