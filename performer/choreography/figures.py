"""Figures: from the values of parameters and the motions of a cue to what a generator needs to draw.

Thread: render. Nothing here remembers anything.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from performer.choreography.motion import (
    BEND_KNOBS,
    Anatomy,
    Terms,
    bend_row,
    input_transform,
    noise_gains,
    push,
    ws_from_offsets,
)
from performer.choreography.safe import kept
from performer.choreography.strangeness import estranged, tamed
from performer.choreography.transition import Stand
from performer.flow import (
    F32,
    GROUP_NAMES,
    STILL,
    STRAIGHT,
    UNBLENDED,
    LatentFrame,
    frozen_array,
    species_at,
)
from performer.params import ParamTable

SWARM_SEEDS = 7919  # from one animal of a swarm to the next: each passes others


class Figures:
    """Draws the animals of a show's creatures, as latents.

    anatomies
        of the show's creatures, in the order in which cues count them.
    blends
        rows of the parameters that blend siblings, one for each layer group.
    own
        rows of the parameters that mean something else in each species: these, its traits, and how many animals there are.
    """

    def __init__(self, table: ParamTable, anatomies: Sequence[Anatomy]) -> None:
        self.anatomies = tuple(anatomies)
        self.blends = tuple(table.row(f"blend.{group}") for group in GROUP_NAMES)
        self._truncation = table.row("latent.truncation")
        self._cutoff = table.row("latent.cutoff")
        self._swarm, self._spread = table.row("swarm.count"), table.row("swarm.spread")
        self._strangeness = table.row("latent.strangeness")
        self._noise = table.row("latent.noise")
        self._noises = tuple(table.row(f"noise.{group}") for group in GROUP_NAMES)
        self._noise_seed = table.row("noise.seed")
        self._bends = tuple(tuple(table.row(f"bend.{group}.{knob}") for knob in BEND_KNOBS) for group in GROUP_NAMES)
        self._pushes = tuple(table.row(f"latent.{group}") for group in GROUP_NAMES)
        traits = max(each.trait_count for each in self.anatomies)
        self._traits = tuple(table.row(f"trait.{number}") for number in range(1, traits + 1))
        self._moves = tuple(table.row(f"latent.{move}") for move in ("x", "y", "turn", "zoom"))
        self.own = [*self.blends, *self._traits, self._swarm]

    def pushed(self, values: F32) -> Terms:
        """The terms by which hands and routes push the layer groups."""
        terms: Terms = []
        for group, row in enumerate(self._pushes):
            if values[row] != 0.0:
                terms += push(group, float(values[row]))
        return terms

    def drawn(self, creature: int, seed: int, terms: Terms, noise_phase: float, values: F32) -> LatentFrame:
        """What a generator needs to draw one animal, or several that share the frame."""
        first = self._latent(creature, seed, terms, noise_phase, values)
        members = int(values[self._swarm])
        if members == 1:
            return first
        spread = np.float32(values[self._spread])
        swarm = []
        for member in range(1, members):
            own = self._latent(creature, seed + member * SWARM_SEEDS, terms, noise_phase, values)
            ws = frozen_array(first.ws + (own.ws - first.ws) * spread)
            swarm.append(replace(own, ws=ws, member=member, members=members))
        return replace(first, members=members, swarm=tuple(swarm))

    def _latent(self, creature: int, seed: int, terms: Terms, noise_phase: float, values: F32) -> LatentFrame:
        """What a generator needs to draw the animals of `terms`; with a stranger's own as `partner` where it is seen."""
        anatomy = self.anatomies[creature]
        blend, part = UNBLENDED, 0.0
        if anatomy.partner is not None:
            blend = np.empty(anatomy.num_ws, np.float32)
            for group, row in enumerate(self.blends):
                blend[anatomy.rows(group)] = values[row]
            part = float(blend.mean())
        place = _place(anatomy, blend)
        mean, offsets = anatomy.mean_and_offsets(seed, terms, place=place)
        strangeness = float(values[self._strangeness])
        ws = ws_from_offsets(
            anatomy,
            mean,
            offsets,
            truncation=tamed(float(values[self._truncation]), strangeness),
            strange=partial(estranged, anatomy, strangeness=strangeness) if strangeness > 0.0 else None,
            cutoff=int(values[self._cutoff]),
            traits=[float(values[row]) for row in self._traits[: anatomy.trait_count]],
        )
        if anatomy.chosen is not None:
            ws = kept(ws, mean, anatomy.hull(place=place), label=anatomy.label_row is not None)
        noise = noise_gains(
            anatomy,
            strengths=[float(values[self._noise] * values[row]) for row in self._noises],
            seed=int(values[self._noise_seed]),
            phase=noise_phase,
        )
        partner = None
        if anatomy.partner is not None and anatomy.w_between is None and part > 0.0:
            stranger = next(at for at, each in enumerate(self.anatomies) if each is anatomy.partner)
            partner = self._latent(stranger, seed, terms, noise_phase, values)
        return LatentFrame(
            ws=frozen_array(ws),
            noise=frozen_array(noise),
            transform=self._transform(values),
            bends=self._bent(values),
            blend=frozen_array(blend),
            creature=creature,
            partner=partner,
            part=part if partner is not None else 0.0,
        )

    def _bent(self, values: F32) -> F32:
        """How the features of each layer group are bent."""
        bends = np.stack([bend_row([float(values[row]) for row in rows]) for rows in self._bends])
        return STRAIGHT if (bends == STRAIGHT).all() else frozen_array(bends)

    def _transform(self, values: F32) -> F32:
        """How the input is moved."""
        x, y, turns, zoom = (float(values[row]) for row in self._moves)
        if (x, y, turns, zoom) == (0.0, 0.0, 0.0, 1.0):
            return STILL
        return frozen_array(input_transform(x=x, y=y, turns=turns, zoom=zoom))

    def toward(self, latent: LatentFrame, end: F32, part: float) -> LatentFrame:
        """A latent on its way to another animal [w_dim]; 1 is there."""
        if part <= 0.0:
            return latent
        ws = latent.ws + (end - latent.ws) * np.float32(part)
        if self.anatomies[latent.creature].label_row is not None:
            ws[-1] = latent.ws[-1]
        swarm = tuple(self.toward(each, end, part) for each in latent.swarm)
        return replace(latent, ws=frozen_array(ws), swarm=swarm)

    def between(self, before: LatentFrame, after: LatentFrame, stand: Stand) -> LatentFrame:
        """Two latents of a species mixed, each layer group as far as it is."""
        anatomy = self.anatomies[after.creature]
        ws, noise = np.empty(len(after.ws), np.float32), np.empty(len(after.noise), np.float32)
        for group, part in enumerate(stand.groups):
            ws[anatomy.rows(group)], noise[anatomy.noise_rows(group)] = part, part
        swarm = tuple(self.between(one, other, stand) for one, other in zip(before.swarm, after.swarm, strict=False))
        partner = after.partner or before.partner
        if before.partner is not None and after.partner is not None:
            partner = self.between(before.partner, after.partner, stand)
        return replace(
            after,
            ws=_mixed(before.ws, after.ws, ws[:, None]),
            noise=_mixed(before.noise, after.noise, noise[:, None]),
            transform=_mixed(before.transform, after.transform, np.float32(stand.mix)),
            bends=_mixed(before.bends, after.bends, np.array(stand.groups, np.float32)[:, None]),
            blend=_mixed(before.blend, after.blend, ws),
            partner=partner,
            part=before.part + (after.part - before.part) * stand.mix,
            swarm=(*swarm, *after.swarm[len(swarm) :]),
        )

    def displaced(self, latent: LatentFrame, ws: F32, noise: F32) -> LatentFrame:
        """A latent with something added to its rows and to its noise, within the safe region where there is one."""
        anatomy, ws = self.anatomies[latent.creature], latent.ws + ws
        if anatomy.chosen is not None:
            place = _place(anatomy, latent.blend)
            mean, _ = anatomy.mean_and_offsets(0, [], place=place)
            ws = kept(ws, mean, anatomy.hull(place=place), label=anatomy.label_row is not None)
        return replace(latent, ws=frozen_array(ws), noise=frozen_array(latent.noise + noise))


def _place(anatomy: Anatomy, blend: F32) -> float:
    """Where on the way through siblings the mapping stands: at the mean of the layers' places, which is its own at each."""
    whole = species_at(blend, siblings=anatomy.siblings)
    return float(blend.mean()) * anatomy.siblings if whole is None else float(whole)


def _mixed(first: F32, second: F32, part: np.ndarray | np.float32) -> F32:
    """Between two arrays: 0 is the first."""
    return first if first is second else frozen_array(first + (second - first) * part)
