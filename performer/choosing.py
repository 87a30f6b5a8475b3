"""Who is chosen: the animals that a setlist's `[safe]` names, by seeds or as latents, for each species of a show.

Thread: main, before the show.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from performer import resources
from performer.choreography.safe import MOST, Chosen
from performer.creatures import Creature, Note
from performer.flow import frozen_array


class SafeFile(msgspec.Struct, forbid_unknown_fields=True):
    """`[safe]` as a setlist has it."""

    seeds: list[int] = []
    file: str = ""
    species: dict[str, list[int] | str] = {}  # seeds, or the file, of others than the setlist's own


def chosen(
    file: SafeFile | None, creatures: list[Creature], note: Note, *, folder: Path, is_other: bool
) -> list[Creature]:
    """The creatures, each with the animals that it keeps among. is_other: the first is not the setlist's own."""
    if file is None or not creatures:
        return creatures
    wanted = {key: (value, "") if isinstance(value, list) else ([], value) for key, value in file.species.items()}
    own = "" if is_other else creatures[0].checkpoint.content_hash
    found, used = [], set()
    for creature in creatures:
        name = creature.checkpoint.path.stem if creature.checkpoint.path is not None else creature.name
        where, (seeds, latents) = "safe", (file.seeds, file.file)
        if creature.checkpoint.content_hash != own:
            key = next((key for key in (name, creature.name) if key in wanted), None)
            if key is None:
                sentence = f"nothing is chosen of {name!r}; expected seeds or a file, such as {name} = [3, 14]"
                note("safe.species", sentence)
                continue
            used.add(key)
            where, (seeds, latents) = f"safe.species.{key}", wanted[key]
        found.append(replace(creature, chosen=_chosen(where, seeds, latents, creature, note, folder=folder)))
    for key in wanted.keys() - used if not is_other else ():
        note(f"safe.species.{key}", "no cue plays this species besides the setlist's own, of which seeds or file tell")
    return found if len(found) == len(creatures) else creatures


def _chosen(
    where: str, seeds: Sequence[int], name: str, creature: Creature, note: Note, *, folder: Path
) -> Chosen | None:
    """The animals of one species."""
    if bool(seeds) == bool(name):
        note(where, "expected seeds, or a file, and not both")
        return None
    if not name:
        if not all(0 <= number < 2**32 for number in seeds) or len(seeds) > MOST:
            note(where, f"expected {MOST} seeds at most, each from 0 to {2**32 - 1}")
        return Chosen(numbers=tuple(seeds))
    if creature.siblings:
        note(where, f"{name!r}: latents are of one species, and this one becomes others; expected seeds")
    file = resources.find(name, beside=folder, bundled=resources.SETLISTS, suffix=".npy")
    sizes = creature.checkpoint.sizes
    try:
        content = np.load(file, allow_pickle=False) if file is not None else None
        content = content["w"] if isinstance(content, np.lib.npyio.NpzFile) else content
        latents = np.asarray(content, np.float32) if content is not None else np.zeros(0, np.float32)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        note(where, f"{name!r} cannot be read ({error}); expected a .npy file of numbers, or a .npz file with w")
        return None
    if latents.ndim == 3 and (latents == latents[:, :1]).all():  # as projectors write them: the same for every layer
        latents = latents[:, 0]
    if latents.shape[1:] != (sizes.w_dim,) or not 0 < len(latents) <= MOST or not np.isfinite(latents).all():
        is_there = f"{list(latents.shape)}" if file is not None else "not found"
        note(where, f"{name!r}: {is_there}; expected latents [1 to {MOST}, {sizes.w_dim}] of this species")
        return None
    return Chosen(latents=frozen_array(latents))
