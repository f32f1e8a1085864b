"""Which events of two samples a statistic over pairs of events uses, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.resampling import Design, is_unweighted

__all__ = [
    "Subset",
    "events_used",
    "half_columns",
    "null_columns",
    "pair_groups",
    "select_events",
]

_HALVES = 100  # draws of the floor


@dataclass(frozen=True)
class Subset:
    """Events that are used, with their design.

    Attributes
    ----------
    ours, theirs : array of int
        Rows of the reference and of the candidate. Events of one block stand together.
    design : Design
        Design of these rows.
    is_paired : bool
        Whether row k of both may be swapped: there are equally many, of independent events of
        equal weight, and the two are of one slice.
    """

    ours: np.ndarray
    theirs: np.ndarray
    design: Design
    is_paired: bool

    @property
    def draws(self) -> str:
        """What the draws of the null are."""
        if self.is_paired:
            return "swaps of pairs"
        return "permutations" if self.design.is_exact else "multipliers"

    def words(self, n: int, m: int) -> str:
        """How many events of n and m."""
        used = (len(self.ours), len(self.theirs))
        same = f"{used[0]:,} events per side"
        what = same if used[0] == used[1] else f"{used[0]:,} and {used[1]:,} events"
        return what if used == (n, m) else f"{what} drawn from {n:,} and {m:,}"


def events_used(design: Design, max_events: int) -> tuple[int, int]:
    """Events of either sample that are used.

    Independent events of equal weight: equally many, so that they can be swapped. Otherwise at
    most half of ``max_events`` each, since a draw costs four times as much then.
    """
    n, m = len(design.a), len(design.b)
    if design.is_exact:
        return (min(n, m, max_events),) * 2
    return min(n, max_events // 2), min(m, max_events // 2)


def select_events(
    design: Design, max_events: int, *, all_events: bool, rng: np.random.Generator
) -> Subset:
    """Draw the events that are used: all, or random ones (in every slice its share)."""
    n, m = len(design.a), len(design.b)
    used = (n, m) if all_events else events_used(design, max_events)
    if design.is_exact and used[0] == used[1]:
        ours, theirs = _pairs(design, used[0], rng)
        return Subset(ours, theirs, _restricted(design, ours, theirs), is_paired=True)
    sides = zip(design.sides, used, strict=True)
    ours, theirs = (_spread(len(s.weights), s.slices, s.blocks, k, rng) for s, k in sides)
    return Subset(ours, theirs, _restricted(design, ours, theirs), is_paired=False)


def null_columns(design: Design, n_draws: int, rng: np.random.Generator) -> Tensor:
    """The parts of D of either sample, D, draws of D, and halves of the reference; float32."""
    n, n_events = len(design.a), len(design.a) + len(design.b)
    halves = half_columns(design, n, n_draws, rng)
    c = torch.zeros(n_events, 3 + n_draws + halves.shape[1])
    c[:n, 0], c[n:, 1] = torch.from_numpy(design.a), torch.from_numpy(design.b)
    at = 2
    for draws in design.draws(n_draws, rng):  # the first is D itself
        c[:, at : at + len(draws)] = torch.from_numpy(draws.T)
        at += len(draws)
    c[:n, at:] = halves
    return c


def half_columns(design: Design, n: int, n_draws: int, rng: np.random.Generator) -> Tensor:
    """D between halves of the reference, shape (n, n_halves)."""
    if not n_draws:
        return torch.zeros(n, 0)
    return torch.from_numpy(np.concatenate(list(design.halves(_HALVES, rng))).T).float()


def pair_groups(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Number of the block of each pooled event, and the weight of its block.

    Raises
    ------
    ValueError
        For a sample that is a single block.
    """
    numbers: list[np.ndarray] = []
    contents = []
    for name, side in zip(("reference", "candidate"), design.sides, strict=True):
        blocks = np.arange(len(side.weights)) if side.blocks is None else side.blocks
        contents.append(np.bincount(blocks, side.weights)[blocks])
        numbers.append(blocks + (int(numbers[0].max()) + 1 if numbers else 0))
        if 1 - side.weights @ contents[-1] < 1e-9:
            raise ValueError(
                f"all weight of the {name} lies in one block (chain), but the MMD compares "
                "events of different blocks: run at least two chains, or cut one into stretches "
                "longer than its autocorrelation time"
            )
    return np.concatenate(numbers), np.concatenate(contents)


def _pairs(design: Design, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs of events of one slice, in random order."""
    ours, theirs = rng.permutation(len(design.a)), rng.permutation(len(design.b))
    first, second = design.slices
    if first is None or second is None:
        return ours[:n], theirs[:n]
    matched = [
        np.stack((i[: len(j)], j[: len(i)]))
        for k in range(int(first.max()) + 1)
        for i, j in [(ours[first[ours] == k], theirs[second[theirs] == k])]
    ]
    pairs = rng.permutation(np.concatenate(matched, axis=1).T)[:n]
    return pairs[:, 0], pairs[:, 1]


def _spread(
    n: int,
    slices: np.ndarray | None,
    blocks: np.ndarray | None,
    n_used: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Random rows, of each slice its share and at least one, ordered by block."""
    rows = rng.permutation(n)
    if slices is not None:  # by the rank within the slice over the size of the slice
        order = np.argsort(slices[rows], kind="stable")
        sizes = np.bincount(slices)
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        at = slices[rows[order]]
        rank = (np.arange(n) - starts[at]) / sizes[at]
        rows = rows[order][np.argsort(rank, kind="stable")]
    rows = rows[:n_used]
    return rows if blocks is None else rows[np.argsort(blocks[rows], kind="stable")]


def _restricted(design: Design, ours: np.ndarray, theirs: np.ndarray) -> Design:
    """Design of some rows; the fewer there are, the less are neighbors in a chain correlated."""
    rows = (ours, theirs)
    kept = [len(r) / len(w) for r, w in zip(rows, (design.a, design.b), strict=True)]
    blocks = [None if x is None else x[r] for x, r in zip(design.blocks, rows, strict=True)]
    slices = [None if x is None else x[r] for x, r in zip(design.slices, rows, strict=True)]
    return Design.of(
        len(ours),
        len(theirs),
        weights=(
            None if is_unweighted(design.a) else design.a[ours],
            None if is_unweighted(design.b) else design.b[theirs],
        ),
        blocks=(blocks[0], blocks[1]),
        slices=(slices[0], slices[1]),
        tau=(max(0.5, kept[0] * design.tau[0]), max(0.5, kept[1] * design.tau[1])),
    )
