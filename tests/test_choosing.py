"""`[safe]` in a setlist: who is chosen, of which species, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from performer import setlist as setlists
from performer.flow import AudioFeatures, Tick, frozen_array
from performer.params import Controls
from performer.setlist import Setlist, SetlistError

HEAD = 'schema = 1\nname = "Test"\nspecies = "embryo"\n'
SOUND = '[audio]\nsource = "silence"\n'
CUE = '[[cue]]\nid = "1"\n'
OTHER = '[[cue]]\nid = "2"\nspecies = "imago"\n'


def loaded(folder: Path, *parts: str, **how) -> Setlist:
    path = folder / "show.toml"
    path.write_text("".join(parts))
    return setlists.load(path, **how)


def refusal(folder: Path, *parts: str, **how) -> list[str]:
    with pytest.raises(SetlistError) as refused:
        loaded(folder, *parts, **how)
    return refused.value.problems


def test_seeds_are_chosen_and_the_show_keeps_among_them(tmp_path):
    show = loaded(
        tmp_path, HEAD, SOUND, "[safe]\nseeds = [3, 14, 15, 92]\n", "[params]\nlatent.strangeness = 1.0\n", CUE
    )
    plan = show.plan()
    body, memory = plan.anatomies[0], plan.enter(0, at_s=0.0, beat=0.0)
    assert body.chosen is not None and body.chosen.numbers == (3, 14, 15, 92)
    for frame in range(0, 600, 60):
        heard = AudioFeatures(frozen_array(np.zeros((1, 200), np.float32)), 0.0)
        tick = Tick(frame, frame / 60, 1 / 60, frame / 30, 0.0)
        _, _, latent = plan.step(memory, heard, (), Controls.none(plan.table), tick)
        again = body.hull().nearest(latent.ws - body.w_avg)
        assert np.abs(again - (latent.ws - body.w_avg)).max() < 0.02


def test_siblings_are_chosen_by_the_same_seeds_and_others_by_their_own(tmp_path):
    show = loaded(
        tmp_path, HEAD.replace("embryo", "larva"), 'partner = ["pupa"]\n', SOUND, "[safe]\nseeds = [3, 14]\n",
        "species = { embryo = [7] }\n", CUE, OTHER.replace("imago", "embryo"),
    )  # fmt: skip
    first, second = show.plan().anatomies
    assert first.chosen is not None and first.partner is not None and first.partner.chosen == first.chosen
    assert second.chosen is not None and second.chosen.numbers == (7,)


def test_latents_come_from_a_file(tmp_path):
    content = np.random.default_rng(0).standard_normal((5, 512)).astype(np.float32)
    np.save(tmp_path / "kept.npy", content)
    np.savez(tmp_path / "projected.npz", w=np.repeat(content[:1, None], 12, axis=1))
    for name, count in (("kept.npy", 5), ("kept", 5), ("projected.npz", 1)):
        chosen = loaded(tmp_path, HEAD, SOUND, f'[safe]\nfile = "{name}"\n', CUE).creatures[0].chosen
        assert chosen is not None and chosen.latents is not None and (chosen.latents == content[:count]).all()


@pytest.mark.parametrize(
    ("safe", "sentence"),
    [
        ("[safe]\n", "safe: expected seeds, or a file, and not both"),
        ('[safe]\nseeds = [1]\nfile = "kept.npy"\n', "safe: expected seeds, or a file, and not both"),
        ("[safe]\nseeds = [-1]\n", "each from 0 to 4294967295"),
        ("[safe]\nseeds = [" + "1," * 257 + "]\n", "expected 256 seeds at most"),
        ("[safe]\nsedes = [1]\n", "safe.sedes: unknown key (did you mean 'seeds'?)"),
        ('[safe]\nfile = "none.npy"\n', "'none.npy': not found; expected latents [1 to 256, 512]"),
        ('[safe]\nfile = "flat.npy"\n', "'flat.npy': [3, 40]; expected latents"),
        ('[safe]\nfile = "wild.npy"\n', "'wild.npy': [1, 512]; expected latents"),
        ('[safe]\nfile = "code.npy"\n', "'code.npy' cannot be read"),
        ('[safe]\nfile = "empty.npz"\n', "'empty.npz' cannot be read"),
        ("[safe]\nseeds = [1]\nspecies = { imago = [2] }\n", "safe.species.imago: no cue plays this species"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(safe, sentence, tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((3, 40)))
    np.save(tmp_path / "wild.npy", np.full((1, 512), np.nan))
    np.save(tmp_path / "code.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "empty.npz", z=np.zeros(3))
    found = refusal(tmp_path, HEAD, SOUND, safe, CUE)
    assert any(sentence in problem for problem in found), found


def test_a_species_of_which_nobody_has_chosen_anything_does_not_play(tmp_path):
    found = refusal(tmp_path, HEAD, SOUND, "[safe]\nseeds = [1]\n", CUE, OTHER)
    assert any(
        "nothing is chosen of 'imago'; expected seeds or a file, such as imago = [3, 14]" in each for each in found
    )
    found = refusal(tmp_path, HEAD, SOUND, "[safe]\nseeds = [1]\n", CUE, species_name="imago")
    assert any("nothing is chosen of 'imago'" in each for each in found)
    safe = "[safe]\nseeds = [1]\nspecies = { imago = [2] }\n"
    chosen = loaded(tmp_path, HEAD, SOUND, safe, CUE, species_name="imago").creatures[0].chosen
    assert chosen is not None and chosen.numbers == (2,)


def test_latents_of_one_species_are_none_of_what_it_becomes(tmp_path):
    np.save(tmp_path / "kept.npy", np.zeros((2, 256)))
    own = HEAD.replace("embryo", "larva")
    found = refusal(tmp_path, own, 'partner = "pupa"\n', SOUND, '[safe]\nfile = "kept.npy"\n', CUE)
    assert any("latents are of one species, and this one becomes others; expected seeds" in each for each in found)
