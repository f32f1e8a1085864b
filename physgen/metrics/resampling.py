r"""Draws from the null: the engine under every p-value.

A comparison sees two weighted samples through the difference of their empirical measures,

.. math:: D = \sum_i a_i\,\delta_{x_i} - \sum_j b_j\,\delta_{y_j}, \qquad a_i = w_i/\sum w,

a vector of one number per pooled event. Every statistic of this package is a function of D, so
one set of null draws of D serves all of them, and their joint maximum has a p-value that needs no
correction (Westfall and Young, *Resampling-based multiple testing*, 1993).

Independent events of equal weight: the draws permute D over the pooled events, which is exact for
every sample size. With weights a permutation would test the law of (event, weight) instead of the
weighted law, and neighbors in a Markov chain cannot be permuted. Then the draws are multipliers,
:math:`D^*_i = a_i(\xi_i - \sum a\xi)`, sample by sample, with one random sign :math:`\xi` per
event or, in chains, per block of events (van der Vaart and Wellner, *Weak convergence and
empirical processes*, section 3.6; Shao, JASA 105 (2010) 218); right for many events or blocks,
negative weights included.

Events made at several conditions are exchanged within slices of the condition only. Where the
slices are filled differently, the candidate is weighted to the content of the reference, so that
the conditions need not have the same law in both samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = [
    "Design",
    "Pair",
    "as_design",
    "effective_size",
    "is_unweighted",
    "normalize_weights",
    "p_values",
    "studentized",
]

_CHUNK = 4_000_000  # numbers per block of draws: 32 MB, whatever the number of events

Pair = tuple[np.ndarray | None, np.ndarray | None]  # of reference and candidate


def normalize_weights(weights: np.ndarray | None, n_events: int) -> np.ndarray:
    """Return weights that sum to one, float64 of shape (n_events,); equal ones for None.

    Raises
    ------
    ValueError
        If the weights are not finite, have the wrong length, or a sum that is not positive.
    """
    if weights is None:
        return np.full(n_events, 1.0 / n_events)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n_events,):
        raise ValueError(f"{n_events} events need {n_events} weights, got shape {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError(f"{(~np.isfinite(w)).sum()} of {n_events} event weights are NaN or inf")
    total = w.sum()
    if total <= 1e-12 * np.abs(w).sum():
        what = "are all zero" if not w.any() else f"sum to {total:.4g}"
        raise ValueError(
            f"the event weights {what}; a weighted law needs weights with a positive sum"
        )
    return w / total


def effective_size(weights: np.ndarray) -> float:
    r"""Effective number of events :math:`(\sum w)^2 / \sum w^2`; signs count."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def is_unweighted(*weights: np.ndarray) -> bool:
    """Whether within each sample all weights are equal, so that permutations are exact."""
    return all(np.ptp(w) <= 1e-12 * abs(w[0]) for w in weights)


@dataclass(frozen=True)
class Design:
    """How two samples were drawn: weights, chains and conditions.

    Attributes
    ----------
    a, b : array of shape (n,) and (m,)
        Normalized weights of reference and candidate.
    blocks : pair of (array of int or None)
        Events of one number belong together (a stretch of a Markov chain); None where events
        are independent.
    slices : pair of (array of int or None)
        Slice of the conditions that an event was made at; both or none.
    tau : pair of float
        Integrated autocorrelation times of the samples, 1/2 for independent events.

    Examples
    --------
    >>> design = Design.of(3, 2)
    >>> design.is_exact, [float(x) for x in design.observed]
    (True, [0.3333333333333333, 0.3333333333333333, 0.3333333333333333, -0.5, -0.5])
    """

    a: np.ndarray
    b: np.ndarray
    blocks: Pair = (None, None)
    slices: Pair = (None, None)
    tau: tuple[float, float] = (0.5, 0.5)

    @classmethod
    def of(
        cls,
        n_reference: int,
        n_candidate: int,
        *,
        weights: Pair = (None, None),
        blocks: Pair = (None, None),
        slices: Pair = (None, None),
        tau: tuple[float, float] = (0.5, 0.5),
    ) -> Design:
        """Return the design of samples of these sizes, with weights as they are in files.

        Where slices are filled differently, the candidate is weighted so that every slice has
        the same content in both samples.

        Raises
        ------
        ValueError
            For weights that are no weights, or a slice without candidate events.
        TypeError
            For weights that are no pair.
        """
        given: object = weights  # of callers that no type checker sees
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TypeError(
                "weights are a pair, those of the reference and of the candidate, each an array "
                f"or None for equal ones; got {type(given).__name__}"
            )
        a = normalize_weights(weights[0], n_reference)
        b = normalize_weights(weights[1], n_candidate)
        slices = _numbered(slices, together=True)
        return cls(a, _balanced(a, b, slices), _numbered(blocks), slices, tau)

    @property
    def sides(self) -> tuple[_Side, _Side]:
        """Weights, blocks and slices of either sample."""
        return (
            _Side(self.a, self.blocks[0], self.slices[0]),
            _Side(self.b, self.blocks[1], self.slices[1]),
        )

    @property
    def is_exact(self) -> bool:
        """Whether events may be permuted: independent ones of equal weights."""
        independent = self.blocks[0] is None and self.blocks[1] is None
        return independent and is_unweighted(self.a, self.b)

    @property
    def n_effective(self) -> tuple[float, float]:
        """Independent events of equal weight that carry as much information as either sample."""
        n, m = effective_size(self.a), effective_size(self.b)
        return n / (2 * self.tau[0]), m / (2 * self.tau[1])

    @property
    def share(self) -> float:
        """Share of the reference in the pooled law, by effective sizes."""
        n, m = self.n_effective
        return n / (n + m)

    @property
    def observed(self) -> np.ndarray:
        """D of the samples, shape (n + m,)."""
        return np.concatenate((self.a, -self.b))

    @property
    def half_scale(self) -> float:
        """Variance of D over its variance between halves of the reference."""
        n, m = self.n_effective
        return (1 / n + 1 / m) * n / 4

    def draws(self, n_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Blocks of draws of D under one common law; the very first row is the D observed.

        Parameters
        ----------
        n_draws : int
            Draws beside the observed row.
        rng : numpy.random.Generator
            Source of the permutations or signs.

        Yields
        ------
        array of shape (n_block, n + m)
            Rows of D; n_draws + 1 rows over all blocks.
        """
        n, observed = len(self.a), self.observed
        ours, theirs = self.sides
        for n_rows, first in _chunks(n_draws + 1, len(observed)):
            if self.is_exact:
                rows = np.stack([self._permuted(rng) for _ in range(n_rows)])
            else:
                rows = np.empty((n_rows, len(observed)))
                rows[:, :n] = ours.multiplied(n_rows, rng)
                rows[:, n:] = theirs.multiplied(n_rows, rng)
            if first:
                rows[0] = observed
            yield rows

    def _permuted(self, rng: np.random.Generator) -> np.ndarray:
        row = self.observed
        if self._slice_of_each is None:
            return rng.permutation(row)
        for members in self._members:
            row[members] = rng.permutation(row[members])
        return row

    @cached_property
    def _slice_of_each(self) -> np.ndarray | None:
        if self.slices[0] is None or self.slices[1] is None:
            return None
        return np.concatenate((self.slices[0], self.slices[1]))

    @cached_property
    def _members(self) -> list[np.ndarray]:
        index = self._slice_of_each
        if index is None:
            return []
        return [np.flatnonzero(index == k) for k in range(int(index.max()) + 1)]

    def halves(self, n_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Blocks of D between random disjoint halves of the reference, shape (n_block, n)."""
        for n_rows, _ in _chunks(n_draws, len(self.a)):
            yield self.sides[0].halved(n_rows, rng)

    def restricted(self, ours: np.ndarray, theirs: np.ndarray) -> Design:
        """Return the design of these rows; slices are forgotten, the weights they gave stay."""
        pairs = zip(self.blocks, (ours, theirs), strict=True)
        blocks = [None if x is None else x[rows] for x, rows in pairs]
        return Design.of(
            len(ours),
            len(theirs),
            weights=(self.a[ours], self.b[theirs]),
            blocks=(blocks[0], blocks[1]),
            tau=self.tau,
        )

    def std_error(self, f: np.ndarray) -> float:
        """Standard error of sum D f as measured, each sample about its own mean.

        Parameters
        ----------
        f : array of shape (n + m,)
            One number per pooled event.
        """
        x, y = np.split(f, [len(self.a)])
        ours, theirs = self.sides
        return float(np.sqrt(ours.variance(x) + theirs.variance(y)))

    def null_error(self, f: np.ndarray) -> float:
        """Standard error of sum D f if both samples had the pooled law."""
        n, total = len(self.a), len(f)
        ours, theirs = self.sides
        if self.blocks[0] is not None or self.blocks[1] is not None:
            return float(np.sqrt(ours.variance(f[:n]) + theirs.variance(f[n:])))
        # around the mean of both: around that of each sample a difference would narrow the null
        center = self.share * (self.a @ f[:n]) + (1 - self.share) * (self.b @ f[n:])
        square = np.square(f - center)
        if self.is_exact:
            spread = square.mean() * (1 / n + 1 / (total - n))
        else:  # weights may depend on f
            spread = np.square(self.a) @ square[:n] + np.square(self.b) @ square[n:]
        return float(np.sqrt(spread * total / max(total - 1, 1)))


def as_design(weights: Pair | Design, n_reference: int, n_candidate: int) -> Design:
    """Return the design itself, or that of independent events with these weights.

    Raises
    ------
    ValueError
        If the sizes of a design are not those of the samples.
    """
    if not isinstance(weights, Design):
        return Design.of(n_reference, n_candidate, weights=weights)
    sizes = (len(weights.a), len(weights.b))
    if sizes != (n_reference, n_candidate):
        raise ValueError(
            f"the design is that of {sizes[0]} and {sizes[1]} events, but the samples have "
            f"{n_reference} and {n_candidate}"
        )
    return weights


@dataclass(frozen=True)
class _Side:
    """One sample of a design."""

    weights: np.ndarray
    blocks: np.ndarray | None
    slices: np.ndarray | None

    @property
    def n_blocks(self) -> int:
        return len(self.weights) if self.blocks is None else int(self.blocks.max()) + 1

    @cached_property
    def _inflation(self) -> np.ndarray:
        """What multipliers about a mean that is estimated lose in variance, per event."""
        if self.slices is not None and self.blocks is None:
            content = np.bincount(self.slices, self.weights)
            square = np.bincount(self.slices, self.weights**2)
            share = np.divide(square, content**2, out=np.zeros_like(square), where=content > 0)
            return np.asarray(1 / np.maximum(1 - share, 0.5)[self.slices])
        content = self.weights
        if self.blocks is not None:
            content = np.bincount(self.blocks, content)
        lost = max(1 - float(np.square(content).sum()), 0.5)
        return np.full(len(self.weights), 1 / lost)

    def multiplied(self, n_draws: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of the noise of the empirical measure, shape (n_draws, n_events)."""
        signs = rng.integers(0, 2, (n_draws, self.n_blocks)) * 2.0 - 1.0
        if self.blocks is not None:
            signs = signs[:, self.blocks]
        return np.asarray(np.sqrt(self._inflation) * self._centered(signs))

    def halved(self, n_draws: int, rng: np.random.Generator) -> np.ndarray:
        """D between random halves, shape (n_draws, n_events)."""
        half = np.where(np.arange(self.n_blocks) < self.n_blocks // 2, 1.0, -1.0)
        signs = np.stack([rng.permutation(half) for _ in range(n_draws)])
        if self.blocks is not None:
            signs = signs[:, self.blocks]
        return 2 * self._centered(signs)

    def _centered(self, signs: np.ndarray) -> np.ndarray:
        """Weights times numbers per event whose weighted mean, in each slice, is 0."""
        if self.slices is None:
            return np.asarray(self.weights * (signs - signs @ self.weights[:, None]))
        content = np.bincount(self.slices, self.weights)
        at = np.zeros((len(self.weights), len(content)))
        at[np.arange(len(self.weights)), self.slices] = self.weights
        means = np.divide(signs @ at, content, out=np.zeros((len(signs), len(content))),
                          where=content != 0)  # fmt: skip
        return np.asarray(self.weights * (signs - means[:, self.slices]))

    def variance(self, f: np.ndarray) -> float:
        """Variance of the weighted mean of f."""
        terms = np.sqrt(self._inflation) * self._centered(f[None])[0]
        if self.blocks is not None:
            terms = np.bincount(self.blocks, terms)
        return float(np.square(terms).sum())


def p_values(statistics: np.ndarray) -> np.ndarray:
    """Monte Carlo p-value of row 0 of (1 + n_draws, ...) statistics: (1 + #) / (n_draws + 1).

    Never zero (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39).
    """
    observed, null = statistics[0], statistics[1:]
    # sums in another order differ in the last bits; a tie must stay a tie
    slack = 1e-9 * np.maximum(np.abs(statistics).max(axis=0), 1e-300)
    return (1 + (null >= observed - slack).sum(axis=0)) / len(statistics)


def studentized(statistics: np.ndarray) -> np.ndarray:
    """Statistics minus their mean over their standard deviation, over all rows.

    The observed row counts as one of them, which keeps the rows exchangeable and the p-value of
    a maximum over columns exact. A statistic without any spread says nothing and becomes 0.
    """
    spread = statistics.std(axis=0)
    flat = spread <= 1e-12 * np.abs(statistics).max(axis=0)
    return np.where(flat, 0.0, (statistics - statistics.mean(axis=0)) / np.where(flat, 1, spread))


def _numbered(pair: Pair, *, together: bool = False) -> Pair:
    """Labels as numbers 0, 1, ...; ``together``: the same label has one number in both."""
    if together and pair[0] is not None and pair[1] is not None:
        joined = np.concatenate((pair[0], pair[1]))
        numbers = np.unique(joined, return_inverse=True)[1]
        return numbers[: len(pair[0])], numbers[len(pair[0]) :]
    ours, theirs = (None if x is None else np.unique(x, return_inverse=True)[1] for x in pair)
    return ours, theirs


def _balanced(a: np.ndarray, b: np.ndarray, slices: Pair) -> np.ndarray:
    """Weights of the candidate, every slice of which has the content of the reference."""
    if slices[0] is None or slices[1] is None:
        return b
    n = 1 + max(int(slices[0].max()), int(slices[1].max()))
    ours, theirs = np.bincount(slices[0], a, n), np.bincount(slices[1], b, n)
    empty = np.flatnonzero((ours > 0) & (theirs <= 0))
    if len(empty):
        raise ValueError(
            f"{len(empty)} slices of the conditions hold reference events but no candidate events"
        )
    ratio = np.divide(ours, theirs, out=np.zeros(n), where=theirs > 0)
    return np.asarray(b * ratio[slices[1]])


def _chunks(n_rows: int, n_columns: int) -> Iterator[tuple[int, bool]]:
    size = max(1, _CHUNK // max(n_columns, 1))
    for start in range(0, n_rows, size):
        yield min(size, n_rows - start), start == 0
