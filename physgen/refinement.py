r"""Refinement: event weights that correct what a surrogate still gets wrong.

A classifier between truth and generated events knows their likelihood ratio: at equal shares its
probability p of "truth" obeys

.. math:: \frac{p(x)}{1 - p(x)} = \frac{p_{\rm truth}(x)}{p_{\rm surrogate}(x)} = r(x)

and the generated events, weighted with r, have the law of the truth wherever the surrogate makes
events at all. No classifier weighs an event that it has learned from, and all are calibrated on
events that they have not learned from, so that they do not promise more than they know.

References
----------
Diefenbacher et al., *DCTRGAN*, arXiv:2009.03796. Negative weights: Nachman and Thaler,
arXiv:2007.11586 (eq. 4: the share of negative weights is learned, too).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from physgen.designs import slice_conditions
from physgen.estimates import Estimate
from physgen.events import Events, require_events
from physgen.feature_table import FeatureTable
from physgen.metrics.classifier import Fit, auc, auc_errors
from physgen.metrics.resampling import Design, effective_size, normalize_weights
from physgen.odds import Odds, Signs, careful_trees, folds_of
from physgen.random import Rng, as_seed, derived_seed
from physgen.summaries import Observables

__all__ = ["Refinement", "refine"]

_MIN_EVENTS = 100


@dataclass(frozen=True)
class Refinement:
    """Weights for the events of one surrogate; made by :func:`refine`.

    Call it with further events of this surrogate to have them weighted.

    Attributes
    ----------
    events : Events
        The generated events that it was made with, each weighted by a classifier that has not
        seen it.
    auc : Estimate
        Area under the ROC curve between truth and surrogate before, of held-out events; at 0.5
        there is nothing to correct.
    n_clipped : int
        How many of ``events`` would have had a weight beyond the limit.
    """

    events: Events
    auc: Estimate
    n_clipped: int
    _features: FeatureTable
    _ratio: _Ratio
    _fitted: np.ndarray  # the features of ``events``, to know them again
    _source: str

    @property
    def n_effective(self) -> float:
        r"""Effective number of ``events``, :math:`(\sum w)^2 / \sum w^2`."""
        return effective_size(self.events.weights)

    def __call__(self, events: Events) -> Events:
        """Weigh events of the same surrogate that were not used here.

        Parameters
        ----------
        events : Events
            With the fields of the generated events. Weights they have are multiplied.

        Returns
        -------
        Events
            With a weight column. What an event weighs depends on this event alone; the mean over
            many is that of their former weights.

        Raises
        ------
        ValueError
            If they are the events that the classifiers have learned from.
        SchemaError
            If a field is missing.
        """
        require_events("what a refinement weighs", events)
        x = self._features(events)
        if _seen(x, self._fitted):
            raise ValueError(
                "the classifiers have learned from these events, and would weigh them too "
                "boldly; take refinement.events, or generate others"
            )
        return _weighted(events, self._ratio(x), self._source)

    def __str__(self) -> str:
        n, weights = len(self.events), self.events.weights
        clipped = f", {self.n_clipped} at the limit" if self.n_clipped else ""
        return (
            f"{n:,} events, effective {self.n_effective:,.0f} ({self.n_effective / n:.0%}), "
            f"largest weight {weights.max() / weights.mean():.3g} times the mean{clipped}; AUC "
            f"before: {self.auc}"
        )


def refine(
    reference: Events,
    generated: Events,
    *,
    fields: Sequence[str] | None = None,
    observables: Observables | None = None,
    fit: Fit = careful_trees,
    n_folds: int = 5,
    max_weight: float = 20.0,
    rng: Rng,
) -> Refinement:
    r"""Learn weights that give a surrogate's events the law of the truth.

    ``n_folds`` classifiers are trained, each on all folds but one. An event of ``generated`` is
    weighed by the one that has not seen it; an event made later by all of them, whose logarithms
    of r are averaged. Before that, a logistic regression on the held-out events of the other
    folds calibrates each (Platt).

    Parameters
    ----------
    reference : Events
        The truth; the events that the surrogate has learned from will do. Weights count, negative
        ones too: a second set of classifiers learns where they are.
    generated : Events
        A sample of the surrogate, best as large as the reference, with no negative weights. Where
        there are conditions, made at those of the reference, ``surrogate(n, reference, rng=...)``:
        the weights would correct the law of the conditions as well.
    fields : sequence of str, optional
        Fields that may be used; by default all that both have.
    observables : optional
        What the classifier sees beside the fields, as in :func:`physgen.compare`: by default the
        observables of the packs that fit (masses, widths, ...). A function may return several
        numbers per event, shape (n_events, k).
    fit : callable, default :func:`careful_trees`
        How to train; see :data:`physgen.metrics.classifier.Fit`.
    n_folds : int, default 5
        Classifiers.
    max_weight : float, default 20
        Limit of r, and its inverse the lower one, before normalization.
    rng : int or torch.Generator
        Seed of folds and classifiers.

    Returns
    -------
    Refinement

    Raises
    ------
    ValueError
        If there are too few events, negative weights among the generated ones, or conditions with
        another law than in the reference.
    SchemaError
        If there is no field in common.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = Events.from_dict({"x": random.normal(size=4000)})
    >>> fake = Events.from_dict({"x": random.normal(size=8000) + 0.4})
    >>> refinement = refine(truth, fake[:4000], rng=1)
    >>> better = refinement(fake[4000:])
    >>> bool(abs(np.average(better["x"], weights=better.weights)) < 0.1)
    True
    """
    _check(reference, generated, n_folds, max_weight)
    features = FeatureTable.of(reference, generated, fields, observables)
    x, y = features(reference), features(generated)
    a, b = (normalize_weights(e.weights, len(e)) for e in (reference, generated))
    seed = as_seed(rng)
    folds = folds_of(len(x), len(y), n_folds, np.random.default_rng(seed))
    odds = Odds.fit((x, y), (np.abs(a) / np.abs(a).sum(), b), folds, fit, seed)
    signs = Signs.fit(x, a, folds[0], fit, derived_seed(seed, 1))
    limit = math.log(max_weight)
    raw = odds.held_out[len(x) :] + signs(y)
    clipped = np.clip(raw, -limit, limit)
    ratio = _Ratio(odds, signs, limit, -float(np.log(b @ np.exp(clipped))))
    source = (
        f"odds of {n_folds} classifiers between {len(x)} events of the truth and {len(y)} "
        f"generated ones, by {x.shape[1]} numbers per event, within a factor {max_weight:g}"
    )
    return Refinement(
        events=_weighted(generated, np.exp(clipped + ratio.shift), source),
        auc=_auc(-odds.held_out, Design.of(len(x), len(y), weights=(a, b))),
        n_clipped=int((np.abs(raw) > limit).sum()),
        _features=features,
        _ratio=ratio,
        _fitted=y,
        _source=source,
    )


@dataclass(frozen=True)
class _Ratio:
    """r of events that no classifier has seen."""

    odds: Odds
    signs: Signs
    limit: float
    shift: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        raw = self.odds(x) + self.signs(x)
        return np.exp(np.clip(raw, -self.limit, self.limit) + self.shift)


def _auc(scores: np.ndarray, design: Design) -> Estimate:
    value = auc(scores, design.a, design.b)
    measured, null = auc_errors(scores, design)
    p_value = NormalDist().cdf((0.5 - value) / null) if null > 1e-9 else 1.0
    return Estimate(value, max(measured, null), floor=0.5 + 1.645 * null, p_value=p_value)


def _weighted(events: Events, ratio: np.ndarray, source: str) -> Events:
    """Events with their weights multiplied, and word of where that comes from."""
    name = events.schema.weight
    if name is None:
        name = "weight" if "weight" not in events.schema else "refinement_weight"
        events = events.with_columns({name: ratio}, role="weight", description="refinement")
    else:
        events = events.with_columns({name: events.weights * ratio})
    said = {**events.schema.conventions, "refinement": source}
    return events.replace_schema(dataclasses.replace(events.schema, conventions=said))


def _seen(x: np.ndarray, fitted: np.ndarray) -> bool:
    """Whether the classifiers have learned from these events: by far more than chance repeats."""
    rows, known = (
        np.ascontiguousarray(t).view(np.void(t.shape[1] * 8).dtype)[:, 0] for t in (x, fitted)
    )
    _, index, counts = np.unique(known, return_inverse=True, return_counts=True)
    by_chance = float((counts[index] > 1).mean())
    return float(np.isin(rows, known).mean()) > by_chance + 0.1


def _check(reference: Events, generated: Events, n_folds: int, max_weight: float) -> None:
    for what, events in (("reference", reference), ("generated", generated)):
        require_events(f"the {what} of a refinement", events)
        if len(events) < _MIN_EVENTS:
            raise ValueError(
                f"the {what} has {len(events)} events; a classifier needs {_MIN_EVENTS} at least"
            )
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {n_folds}")
    if not max_weight > 1:
        raise ValueError(f"max_weight must be above 1, got {max_weight}")
    negative = int((generated.weights < 0).sum())
    if negative:
        raise ValueError(
            f"{negative} generated events have negative weights; only events of the truth may"
        )
    for name in reference.schema.with_role("condition"):
        if name in generated.schema:
            _check_condition(reference, generated, name)


def _check_condition(reference: Events, generated: Events, name: str) -> None:
    """Refuse another law of a condition than chance allows (chi-square, 1 in 10,000)."""
    from scipy.stats import chi2_contingency

    if reference.schema[name].jagged:
        return
    slicing = slice_conditions(reference, generated, name)
    if slicing is not None and chi2_contingency(slicing.counts).pvalue < 1e-4:
        raise ValueError(
            f"the generated events have another law of the condition {name!r} than the truth, and "
            "the weights would correct that, too; generate them at the conditions of the truth: "
            "surrogate(len(truth), truth, rng=...)"
        )
