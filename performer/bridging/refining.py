"""Pairs that were found, brought nearer to each other by gradient descent on both latents.

Thread: whoever calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from performer.bridging.descriptors import Descriptor, Metric
from performer.bridging.drawing import Drawing, Spread
from performer.flow import F32, F64

RATE = 0.05  # of Adam, in standard deviations
PULL = 0.02  # towards the mean animal: of the square of the truncation distance beside that of the pictures' distance
REACH = 3.0  # how far a latent may go from where it was found, in standard deviations, in whatever direction
LEAST_GAIN = 1e-4  # of distance; less is no gain

Limits = tuple[F32, F32]  # [pairs] of each side, the largest truncation distance


@dataclass(frozen=True, slots=True)
class Refined:
    """Pairs after refinement; one that came no nearer is as it was, to the bit."""

    w: tuple[F32, F32]  # [pairs, w_dim] of each side
    before: F64  # [pairs], distances
    after: F64  # [pairs], nowhere larger


def refine(
    w: tuple[F32, F32],  # [pairs, w_dim] of each side
    *,
    drawings: Sequence[Drawing],
    spreads: Sequence[Spread],
    limits: Limits,
    descriptor: Descriptor,
    metric: Metric,
    steps: int,  # 0 measures alone
    progress: Callable[[int, int], None],  # (steps done, of how many)
) -> Refined:
    """Follow the distance of each pair downhill, on both sides at once, within the species.

    Latents move along the principal directions of w, so that they stay among the latents that the mapping gives. What is
    minimised is the squared distance of the pictures and `PULL` times the squared truncation distances. After every step
    each latent is brought back to within `REACH` of where it was found, and to its limit of the truncation distance, or
    to that which it had in the beginning where that was larger. The nearest that came up is kept.

    Raises:
        Refused: a species draws no finite numbers.
    """
    size = min(drawing.batch for drawing in drawings)
    parts = [slice(first, first + size) for first in range(0, len(w[0]), size)]
    found: list[Refined] = []
    for number, part in enumerate(parts):

        def done(step: int, number: int = number) -> None:
            progress(number * steps + step, len(parts) * steps)

        group = _Group(
            (w[0][part], w[1][part]), drawings, spreads, (limits[0][part], limits[1][part]), descriptor, metric
        )
        found.append(group.descend(steps, done))
    first, second = (np.concatenate([each.w[side] for each in found]) for side in range(2))
    before, after = (np.concatenate([getattr(each, name) for each in found]) for name in ("before", "after"))
    return Refined((first, second), before, after)


class _Group:
    """Pairs that are refined at once; they have nothing to do with each other."""

    def __init__(
        self,
        w: tuple[F32, F32],
        drawings: Sequence[Drawing],
        spreads: Sequence[Spread],
        limits: Limits,
        descriptor: Descriptor,
        metric: Metric,
    ) -> None:
        self._drawings, self._spreads, self._descriptor, self._metric = drawings, spreads, descriptor, metric
        self._start = [
            torch.from_numpy(each.copy()).to(drawing.device) for each, drawing in zip(w, drawings, strict=True)
        ]
        self._origin = [spread.coordinates(each) for each, spread in zip(self._start, spreads, strict=True)]
        self._limits = [
            torch.maximum(torch.from_numpy(limit).to(origin), _rms(origin)[:, 0])[:, None]
            for limit, origin in zip(limits, self._origin, strict=True)
        ]

    def descend(self, steps: int, done: Callable[[int], None]) -> Refined:
        moves = [torch.zeros_like(origin, requires_grad=True) for origin in self._origin]
        adam = torch.optim.Adam(moves, lr=RATE)
        with torch.no_grad():
            before = self._squares(moves)
        best, kept = before.clone(), [move.detach().clone() for move in moves]
        for step in range(steps):
            adam.zero_grad(set_to_none=True)
            squares = self._squares(moves)
            _keep(best, kept, squares, moves)
            pull = sum((origin + move).square().mean(dim=1) for origin, move in zip(self._origin, moves, strict=True))
            (squares.sum() + PULL * torch.as_tensor(pull).sum().to(squares)).backward()
            adam.step()
            with torch.no_grad():
                for move, origin, limit in zip(moves, self._origin, self._limits, strict=True):
                    move.copy_(_within(move, origin, limit))
            done(step + 1)
        if steps:
            with torch.no_grad():
                _keep(best, kept, self._squares(moves), moves)
        nearer = best.sqrt() < before.sqrt() - LEAST_GAIN
        w = [
            torch.where(nearer.to(start.device)[:, None], start + move @ spread.directions, start).cpu().numpy()
            for start, move, spread in zip(self._start, kept, self._spreads, strict=True)
        ]
        after = torch.where(nearer, best, before)
        return Refined((w[0], w[1]), _distances(before), _distances(after))

    def _squares(self, moves: Sequence[Tensor]) -> Tensor:  # [pairs]
        """The squared distances of the pictures."""
        first, second = (
            self._descriptor(drawing.pictures(start + move @ spread.directions))
            for drawing, start, move, spread in zip(self._drawings, self._start, moves, self._spreads, strict=True)
        )
        return self._metric.squares(first, second)


def _keep(best: Tensor, kept: Sequence[Tensor], squares: Tensor, moves: Sequence[Tensor]) -> None:
    """Remember the moves of those pairs that are nearer than ever."""
    with torch.no_grad():
        better = squares < best
        best[better] = squares[better]
        for each, move in zip(kept, moves, strict=True):
            each[better] = move[better]


def _within(move: Tensor, origin: Tensor, limit: Tensor) -> Tensor:
    """The move, cut to the reach and then to the limit.

    The ball of the limit holds the origin, so that the second cut never leads out of the first.
    """
    move = move * (REACH / move.norm(dim=1, keepdim=True).clamp(min=REACH))
    place = origin + move
    return place * (limit / torch.maximum(_rms(place), limit)) - origin


def _rms(coordinates: Tensor) -> Tensor:  # [N, k] -> [N, 1]
    return coordinates.square().mean(dim=1, keepdim=True).clamp(min=1e-12).sqrt()


def _distances(squares: Tensor) -> F64:
    return squares.detach().double().clamp(min=0).sqrt().cpu().numpy()
