"""How two samples of events were drawn: their weights, chains and conditions as a `Design`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physgen.estimates import number
from physgen.events import Events
from physgen.mcmc.diagnostics import integrated_autocorrelation_time
from physgen.metrics.resampling import (
    Design,
    effective_size,
    is_unweighted,
    normalize_weights,
)
from physgen.schema import SchemaError, no_such_field
from physgen.summaries import Quantity

__all__ = ["Chains", "Slicing", "chain_ids", "design_of", "require_enough", "slice_conditions"]

Chains = str | bool | np.ndarray | None
"""Chain of every event: a field, an array, True for one chain in the order of the events."""

MIN_EVENTS = 20  # effective ones with weights
MIN_BLOCKS = 20  # of a chain: fewer have no law of their own
_BLOCK_IN_TAU = 6.0
_MAX_VALUES = 12  # a condition of at most so many values has one slice per value
_N_SLICES = 5
_MAX_SLICES = 30  # of all conditions together


@dataclass(frozen=True)
class Slicing:
    """Slices of one condition.

    Attributes
    ----------
    name, unit : str
        Of the condition.
    low, high : array of shape (n_slices,)
        Smallest and largest value in each slice, over both samples.
    reference, candidate : array of int
        Slice of every event.
    """

    name: str
    unit: str
    low: np.ndarray
    high: np.ndarray
    reference: np.ndarray
    candidate: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Events per slice, shape (2, n_slices)."""
        n = len(self.low)
        return np.stack([np.bincount(k, minlength=n) for k in (self.reference, self.candidate)])

    def label(self, k: int) -> str:
        """Return slice k in words: a value or a range, with the unit."""
        low, high = (
            f"{v:.4g}" if v == 0 or 1e-3 <= abs(v) < 1e4 else number(float(v), 4)
            for v in (self.low[k], self.high[k])
        )
        span = low if low == high else f"{low} to {high}"
        return f"{self.name} {span} {self.unit}".rstrip()


def chain_ids(events: Events, chains: Chains, what: str) -> np.ndarray | None:
    """Return the chain of every event, or None where events are independent.

    Raises
    ------
    SchemaError
        If the field does not exist.
    ValueError
        If it does not hold one number per event.
    """
    if chains is None or chains is False:
        return None
    if chains is True:
        return np.zeros(len(events), dtype=np.int64)
    if isinstance(chains, str):
        if chains not in events.schema:
            raise SchemaError(no_such_field(chains, events.schema.names, what))
        chains = np.asarray(events[chains])
    ids = np.asarray(chains)
    if ids.shape != (len(events),):
        raise ValueError(
            f"chains of {what}: {len(events)} events need {len(events)} chain numbers, got shape "
            f"{ids.shape}"
        )
    return np.unique(ids, return_inverse=True)[1]


def require_enough(events: Events, what: str) -> None:
    """Raise ValueError for fewer than 20 events."""
    if len(events) < MIN_EVENTS:
        raise ValueError(
            f"the {what} has {len(events)} events; a comparison needs at least {MIN_EVENTS} on "
            "either side"
        )


def design_of(
    reference: Events,
    candidate: Events,
    quantities: Sequence[Quantity],
    *,
    chains: tuple[Chains, Chains] = (None, None),
) -> tuple[Design, list[Slicing], list[str]]:
    """Design of two samples, slices of their conditions, and notes for the report.

    Parameters
    ----------
    reference, candidate : Events
        Samples, at least 20 events each.
    quantities : sequence of Quantity
        What is compared; the slowest of them in a chain sets its blocks.
    chains : pair of Chains
        Chain of every event; events of a chain are in its order.

    Raises
    ------
    ValueError
        For fewer than 20 (effective) events, weights without a positive sum, or chains that are
        shorter than 20 blocks of 6 autocorrelation times.
    """
    sides = {"reference": reference, "candidate": candidate}
    weights, blocks, tau, notes = [], [], [], []
    for k, (what, events) in enumerate(sides.items()):
        weights.append(_weights(what, events))
        ids = chain_ids(events, chains[k], f"the {what}")
        values = [(q.reference, q.candidate)[k] for q in quantities]
        found, time = (None, 0.5) if ids is None else _blocks(ids, values, what)
        blocks.append(found)
        tau.append(time)
        if found is not None:
            n_chains, n_blocks = int(ids.max()) + 1, int(found.max()) + 1  # type: ignore[union-attr]
            notes.append(
                f"the {what} has {n_chains} Markov chain{'s' * (n_chains > 1)} with tau = "
                f"{time:.1f} events, taken in {n_blocks} blocks"
            )
    slicings = [
        s for name in _conditions(reference, candidate)
        if (s := slice_conditions(reference, candidate, name)) is not None
    ]  # fmt: skip
    slices, told = _joint_slices(slicings, (weights[0], weights[1]))
    design = Design.of(
        len(reference),
        len(candidate),
        weights=(weights[0], weights[1]),
        blocks=(blocks[0], blocks[1]),
        slices=slices,
        tau=(tau[0], tau[1]),
    )
    return design, slicings, [*notes, *told]


def slice_conditions(reference: Events, candidate: Events, name: str) -> Slicing | None:
    """Slices of a condition: its values if there are at most 12, else five equal shares.

    None for a condition that is one value, or no single number per event.
    """
    x, y = (np.asarray(e[name]) for e in (reference, candidate))
    if x.size == len(x):
        x, y = x.reshape(-1), y.reshape(-1)
    if x.ndim != 1 or x.dtype.kind not in "biuf" or len(y) != y.size:
        return None
    pooled = np.concatenate((x, y)).astype(np.float64)
    values, index = np.unique(pooled, return_inverse=True)
    if len(values) > _MAX_VALUES:
        edges = np.unique(np.quantile(x.astype(np.float64), np.arange(1, _N_SLICES) / _N_SLICES))
        index = np.searchsorted(edges, pooled, side="right")
    n = int(index.max()) + 1
    filled = np.flatnonzero(np.bincount(index, minlength=n))
    if len(filled) < 2:
        return None
    index = np.searchsorted(filled, index)
    members = [pooled[index == k] for k in range(len(filled))]
    return Slicing(
        name,
        reference.schema[name].unit,
        np.array([m.min() for m in members]),
        np.array([m.max() for m in members]),
        index[: len(x)],
        index[len(x) :],
    )


def _conditions(reference: Events, candidate: Events) -> list[str]:
    return [
        name
        for name in reference.schema.with_role("condition")
        if name in candidate.schema and not reference.schema[name].jagged
    ]


def _weights(what: str, events: Events) -> np.ndarray:
    n = len(events)
    try:
        weights = normalize_weights(events.weights, n)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if not is_unweighted(weights) and effective_size(weights) < MIN_EVENTS:
        raise ValueError(
            f"the {what} has {n} events, but with their weights they count as "
            f"{effective_size(weights):.1f}; a comparison needs at least {MIN_EVENTS} effective "
            "events on either side"
        )
    return weights


def _blocks(ids: np.ndarray, series: Sequence[np.ndarray], what: str) -> tuple[np.ndarray, float]:
    """Block of every event, six autocorrelation times long, and that time."""
    order = np.argsort(ids, kind="stable")
    lengths = np.bincount(ids)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    position = np.empty(len(ids), dtype=np.int64)
    position[order] = np.arange(len(ids)) - np.repeat(starts, lengths)
    # a few short chains say little of tau: it is that of the longer half, to their common length
    shared = int(np.sort(lengths)[(len(lengths) - 1) // 2])
    tau = 0.5
    if shared >= 8 and series:
        long = starts[lengths >= shared]
        of_chains = [x[order][long[:, None] + np.arange(shared)].T for x in series]
        times = [integrated_autocorrelation_time(x, min_length=0) for x in of_chains]
        tau = max(t.value for t in times)
    length = max(1, math.ceil(_BLOCK_IN_TAU * tau)) if tau > 0.5 else 1
    # a rest shorter than half a block joins the block before it
    n_blocks = np.maximum(1, np.round(lengths / length).astype(np.int64))
    within = np.minimum(position // length, n_blocks[ids] - 1)
    blocks = np.concatenate(([0], np.cumsum(n_blocks)[:-1]))[ids] + within
    if n_blocks.sum() < MIN_BLOCKS:
        raise ValueError(
            f"the {what} is {len(lengths)} Markov chain(s) of {len(ids)} events in all with an "
            f"autocorrelation time of {tau:.1f} events: {n_blocks.sum()} independent blocks of "
            f"{length}, and p-values need {MIN_BLOCKS}; run the chains longer, or more of them"
        )
    return blocks, tau


def _joint_slices(
    slicings: Sequence[Slicing], weights: tuple[np.ndarray, np.ndarray]
) -> tuple[tuple[np.ndarray | None, np.ndarray | None], list[str]]:
    """Slices of all conditions together, where they help, and what the report says of it."""
    if not slicings or math.prod(len(s.low) for s in slicings) > _MAX_SLICES:
        return (None, None), []
    sizes = [len(s.low) for s in slicings]
    ours, theirs = (
        np.ravel_multi_index(tuple(getattr(s, side) for s in slicings), sizes)
        for side in ("reference", "candidate")
    )
    n = math.prod(sizes)
    counts = np.stack([np.bincount(k, minlength=n) for k in (ours, theirs)])
    names = ", ".join(s.name for s in slicings)
    x, y = counts / counts.sum(axis=1, keepdims=True)
    content = np.stack(
        [np.bincount(k, w, n) for k, w in zip((ours, theirs), weights, strict=True)]
    )
    wanted = counts[0] > 0
    if np.allclose(x, y, atol=1e-12) and (content[:, wanted] > 0).all():
        return (ours, theirs), [f"events are exchanged within {n} slices of {names} only"]
    if not _differ(counts):
        return (None, None), []
    empty = wanted & ((counts[1] < MIN_EVENTS) | (content <= 0).any(axis=0))
    if empty.any():
        note = (
            f"the candidate has hardly any events in {empty.sum()} of {n} slices of {names}: "
            "generate it at the conditions of the reference, or compare where both have events"
        )
        return (None, None), [note]
    note = (
        f"{names} has not the same law in both samples: the candidate is weighted to that of the "
        f"reference in {n} slices"
    )
    return (ours, theirs), [note]


def _differ(counts: np.ndarray) -> bool:
    """Whether two rows of counts differ by more than chance (chi-square, 1 %)."""
    from scipy.stats import chi2

    filled = counts[:, counts.sum(axis=0) > 0].astype(np.float64)
    expected = filled.sum(axis=1, keepdims=True) * filled.sum(axis=0) / filled.sum()
    statistic = (np.square(filled - expected) / expected).sum()
    return bool(statistic > chi2.ppf(0.99, filled.shape[1] - 1))
