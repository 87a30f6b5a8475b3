"""Creatures: what the engines of a show draw, and the bridges between them.

A creature is a species, with the class that is drawn of it and the siblings that it can become. A cue names one; those that
name none play the setlist's.

Thread: main, before the show.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

from performer import bridges, resources
from performer.bridges import Bridge, BridgeError
from performer.choreography.motion import Anatomy
from performer.choreography.safe import Chosen
from performer.generators import checkpoint as species
from performer.generators.mapping import Mapping as LatentMapping

Note = Callable[[str, str], None]  # (where in the setlist, what is wrong)
Pair = tuple[int, int]  # numbers of the creature that is left, and the one that is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Creature:
    """A species, and the siblings that it can become."""

    checkpoint: species.Checkpoint
    label: int = 0  # the class that a conditional species draws
    siblings: tuple[species.Checkpoint, ...] = ()
    chosen: Chosen | None = None  # the animals that it keeps among

    @property
    def chain(self) -> tuple[species.Checkpoint, ...]:
        """The species and its siblings, in the order in which it becomes them."""
        return (self.checkpoint, *self.siblings)

    def is_same(self, other: "Creature") -> bool:
        """Whether one engine draws both."""
        hashes = [[each.content_hash for each in creature.chain] for creature in (self, other)]
        return hashes[0] == hashes[1] and self.label == other.label

    @property
    def name(self) -> str:
        """What people call it."""
        return self.checkpoint.provenance.name


def anatomies_of(creatures: Sequence[Creature], *, is_stranger: bool) -> list[Anatomy]:
    """What choreography must know of each. is_stranger: the second is faded to by the first, as far as it blends."""
    mapped: dict[tuple[str, int], LatentMapping] = {}

    def mapping(of: species.Checkpoint, label: int) -> LatentMapping:
        key = of.content_hash, label if label in of.sizes.labels else 0
        if key not in mapped:
            mapped[key] = LatentMapping(of, label=key[1])
        return mapped[key]

    found = []
    for creature in creatures:
        mappings = [mapping(each, creature.label) for each in creature.chain]
        chain = [
            replace(_anatomy(each, mapped_by), chosen=creature.chosen)
            for each, mapped_by in zip(creature.chain, mappings, strict=True)
        ]
        anatomy = chain.pop()
        for at in reversed(range(len(chain))):
            between = partial(mappings[at].w_between, mappings[at + 1])
            anatomy = replace(chain[at], partner=anatomy, w_between=between)
        found.append(replace(anatomy, traits=creature.checkpoint.trait_directions))
    if is_stranger:
        found[0] = replace(found[0], partner=found[1])
    return found


def _anatomy(checkpoint: species.Checkpoint, mapping: LatentMapping) -> Anatomy:
    sizes = checkpoint.sizes
    return Anatomy(
        num_ws=sizes.num_ws,
        w_dim=sizes.w_dim,
        z_dim=sizes.z_dim,
        noise_layers=sizes.noise_layers,
        coarse=sizes.coarse,
        middle=sizes.middle,
        w_avg=mapping.w_avg,
        w_from_z=mapping.w_from_z,
        label_row=mapping.label_row,
    )


def bridges_between(
    creatures: Sequence[Creature], named: Mapping[str, Path], note: Note
) -> tuple[dict[Pair, Bridge], list[str]]:
    """(the bridges between creatures, in both directions; why one that was found is not crossed, for people).

    A bridge that is not named is looked for beside the files of both species, by the name that `performer bridge` gives
    it. Between creatures that become others none is crossed: their latents mean another thing at each blend.

    named
        files by the keys of the setlist that name them; one that cannot be crossed is noted.
    """
    found: dict[Pair, Bridge] = {}
    remarks = []
    pairs = list(combinations([at for at, each in enumerate(creatures) if not each.siblings], 2))

    def join(pair: Pair, bridge: Bridge) -> None:
        found[pair], found[pair[1], pair[0]] = bridge, bridge.turned()

    for key, path in named.items():
        try:
            bridge = bridges.load(path)
        except BridgeError as error:
            note(key, str(error))
            continue
        joined = [pair for pair in pairs if _joins(bridge, creatures, pair)]
        if not joined:
            names = " and ".join(side.name for side in bridge.sides)
            note(key, f"{path}: joins {names} as they were; expected two species of this setlist, as they are now")
        for pair in joined:
            is_first = bridge.sides[0].content_hash == creatures[pair[0]].checkpoint.content_hash
            join(pair, bridge if is_first else bridge.turned())
    for pair in pairs:
        first, second = (creatures[at] for at in pair)
        path = _beside(first.checkpoint, second.checkpoint)
        if pair in found or path is None:
            continue
        try:
            join(pair, bridges.load(path, between=(first.checkpoint, second.checkpoint)))
        except BridgeError as error:
            remarks.append(f"not crossed: {error}")
    return found, remarks


def _joins(bridge: Bridge, creatures: Sequence[Creature], pair: Pair) -> bool:
    return {side.content_hash for side in bridge.sides} == {creatures[at].checkpoint.content_hash for at in pair}


def _beside(first: species.Checkpoint, second: species.Checkpoint) -> Path | None:
    """The bridge between two species that lies beside either, or among our own."""
    names = [first.path, second.path]
    if None in names:
        return None
    stems = [path.stem for path in names if path is not None]
    for folder in (*(path.parent for path in names if path is not None), resources.CHECKPOINTS):
        for left, right in (stems, stems[::-1]):
            path = folder / f"{left}--{right}{bridges.SUFFIX}"
            if path.is_file():
                return path
    return None
