"""compare: whether a candidate sample follows the law of a reference sample."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence

import numpy as np

from physgen.estimates import Estimate
from physgen.events import Events, require_events
from physgen.metrics.classifier import classifier_auc
from physgen.metrics.columns import Column, ColumnTest, compare_columns
from physgen.metrics.correlation import compare_correlations
from physgen.metrics.kernels import events_per_side, mmd
from physgen.metrics.resampling import Design, effective_size, is_unweighted, normalize_weights
from physgen.plotting import make_histogram
from physgen.random import Rng, as_seed
from physgen.report.report import Correlations, Report, Row
from physgen.report.verdict import decide
from physgen.summaries import Observables, Quantity, summarize

__all__ = ["compare"]

_MIN_EVENTS = 20  # effective ones with weights
_FEW_EFFECTIVE = 100  # below, multipliers of broad weights are far from their limit
_N_FAMILIES = 4  # single columns, pairs, MMD, classifier


def compare(
    reference: Events,
    candidate: Events,
    *,
    fields: Sequence[str] | None = None,
    observables: Observables | None = None,
    tolerance: float = 0.1,
    max_auc: float = 0.55,
    alpha: float = 0.01,
    n_permutations: int = 499,
    max_events: int = 20_000,
    rng: Rng,
) -> Report:
    r"""Compare two samples of events, and say in plain words how they differ.

    Four tests are made: every column by itself (Jensen-Shannon divergence and
    Kolmogorov-Smirnov distance, with Westfall and Young's correction for the number of
    columns), every pair (rank correlations), all columns together by MMD, and by a classifier.
    The p-value of the comparison is the smallest of the four times four (Bonferroni), so two
    samples of one law are called different at most at the rate ``alpha``. How much they differ
    is a second question, answered by 95 % upper limits against a tolerance:

    ======================  ==================================  ===========================
    ..                      all upper limits within tolerance   some limit beyond
    ======================  ==================================  ===========================
    no difference seen      PASS                                INCONCLUSIVE: too few events
    difference seen         PASS, difference within tolerance   FAIL
    ======================  ==================================  ===========================

    A difference that only MMD sees is a FAIL: MMD has no upper limit, so nothing says that such a
    difference is within tolerance.

    Parameters
    ----------
    reference, candidate : Events
        Samples of independent events, at least 20 each; weights count.
    fields : sequence of str, optional
        Fields to compare; by default all that both samples have.
    observables : dict or list of functions, or one function, optional
        Further columns, ``observable(events) -> array (n_events,)`` by name; a name may carry a
        unit: ``{"mll [GeV]": mll}``.
    tolerance : float, default 0.1
        Largest difference that does not matter to you: of a column as the shift of a Gaussian in
        sigma with the same JS or KS, of a correlation as a difference of Fisher's z.
    max_auc : float, default 0.55
        Largest classifier AUC that does not matter.
    alpha : float, default 0.01
        Level of the whole comparison.
    n_permutations : int, default 499
        Null draws of each test.
    max_events : int, default 20000
        Events per side that MMD (with weights half as many) and classifier use at most; a
        random subset, named in the report, where there are more.
    rng : int or torch.Generator
        Source of all draws; the same seed gives the same report.

    Returns
    -------
    Report
        ``print(report)``, ``report.verdict``, ``report.table``, ``report.save("report.html")``.

    Raises
    ------
    SchemaError
        If the samples have no field in common, or one differs in unit or shape.
    ValueError
        For fewer than 20 (effective) events, NaN or infinite values, weights without a positive
        sum.

    Examples
    --------
    >>> import numpy as np, physgen as pg
    >>> x = np.random.default_rng(0).normal(size=(3, 2000))
    >>> truth, good, bad = (pg.Events.from_dict({"x": v}) for v in x + [[0], [0], [0.5]])
    >>> from physgen.validation import compare
    >>> compare(truth, good, rng=0).difference_seen
    False
    >>> compare(truth, bad, rng=0).outcome
    'fail'
    """
    require_events("the reference", reference)
    require_events("the candidate", candidate)
    _check_sizes(reference, candidate)
    _check_level(alpha, n_permutations)
    quantities, notes = summarize(reference, candidate, fields=fields, observables=observables)
    a, b = _weights("reference", reference), _weights("candidate", candidate)
    seed = as_seed(rng)
    random = np.random.default_rng(seed)
    columns = [
        Column(q.reference, q.candidate, 2 * np.pi if q.is_angle else None) for q in quantities
    ]
    tests, p_columns = compare_columns(
        columns, Design(a, b), n_permutations=n_permutations, rng=random
    )
    rows = [_row(q, t) for q, t in zip(quantities, tests, strict=True)]
    order = sorted(range(len(rows)), key=lambda k: (rows[k].p_value, -rows[k].shift))
    joint, correlations = _joint(quantities, a, b, n_permutations, max_events, seed)
    p_value = min(1.0, _N_FAMILIES * min([p_columns, *(e.p_value for e in joint.values())]))
    table = tuple(rows[k] for k in order)
    n_events = (len(reference), len(candidate))
    outcome, verdict = decide(
        table,
        joint,
        correlations,
        p_value=p_value,
        alpha=alpha,
        tolerance=tolerance,
        max_auc=max_auc,
        n_events=n_events,
    )
    return Report(
        verdict=verdict,
        outcome=outcome,
        p_value=p_value,
        table=table,
        joint=joint,
        correlations=correlations,
        n_events=n_events,
        n_effective=(effective_size(a), effective_size(b)),
        notes=(*notes, *_notes(quantities, n_events, max_events, (a, b))),
        settings={
            "tolerance": tolerance,
            "max_auc": max_auc,
            "alpha": alpha,
            "n_permutations": n_permutations,
            "max_events": max_events,
            "seed": seed,
        },
        versions=_versions(),
        histograms=tuple(make_histogram(quantities[k], (a, b)) for k in order),
    )


def _check_sizes(reference: Events, candidate: Events) -> None:
    for what, events in (("reference", reference), ("candidate", candidate)):
        if len(events) < _MIN_EVENTS:
            raise ValueError(
                f"the {what} has {len(events)} events; a comparison needs at least {_MIN_EVENTS} "
                "on either side"
            )


def _check_level(alpha: float, n_permutations: int) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a probability between 0 and 1, got {alpha}")
    if _N_FAMILIES / (n_permutations + 1) >= alpha:
        raise ValueError(
            f"with {n_permutations} permutations no p-value can fall below alpha = {alpha:g}; use "
            f"n_permutations={int(_N_FAMILIES / alpha) + 1} or more"
        )


def _weights(what: str, events: Events) -> np.ndarray:
    try:
        weights = normalize_weights(events.weights, len(events))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if not is_unweighted(weights) and effective_size(weights) < _MIN_EVENTS:
        raise ValueError(
            f"the {what} has {len(events)} events, but with their weights they count as "
            f"{effective_size(weights):.1f}; a comparison needs at least {_MIN_EVENTS} effective "
            "events on either side"
        )
    return weights


def _row(quantity: Quantity, test: ColumnTest) -> Row:
    return Row(
        name=quantity.name,
        unit=quantity.unit,
        js=test.js,
        w1=test.w1,
        ks=test.ks,
        shift=test.shift,
        shift_upper=test.shift_upper,
        p_value=test.p_adjusted,
    )


def _joint(
    quantities: Sequence[Quantity],
    a: np.ndarray,
    b: np.ndarray,
    n_permutations: int,
    max_events: int,
    seed: int,
) -> tuple[dict[str, Estimate], Correlations | None]:
    varying = [q for q in quantities if not q.is_constant]
    if not varying:
        return {}, None
    labels, x, y = _features(varying)
    joint = {
        "MMD²": mmd(
            x,
            y,
            weights=(a, b),
            n_permutations=n_permutations,
            max_events=max_events,
            rng=seed + 1,
        ),
        "classifier AUC": classifier_auc(
            x, y, weights=(a, b), max_events=max_events, rng=seed + 2
        ),
    }
    pairs = compare_correlations(
        x, y, Design(a, b), n_permutations=n_permutations, rng=np.random.default_rng(seed + 3)
    )
    if pairs is None:
        return joint, None
    joint["correlations Δz"] = pairs.estimate
    return joint, Correlations(
        tuple(labels), pairs.reference, pairs.candidate, pairs.pair, pairs.upper
    )


def _features(quantities: Sequence[Quantity]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Columns for the joint tests on comparable scales; angles as cosine and sine.

    The scale is half the distance of the pooled 16 % and 84 % quantiles: known to no label, and
    indifferent to tails.
    """
    labels, ours, theirs = [], [], []
    for q in quantities:
        pooled = np.concatenate((q.reference, q.candidate))
        if q.is_angle:
            parts = {f"cos {q.name}": np.cos(pooled), f"sin {q.name}": np.sin(pooled)}
        else:
            parts = {q.name: pooled}
        for label, values in parts.items():
            low, high = np.quantile(values, [0.16, 0.84])
            scaled = (values - values.mean()) / ((high - low) / 2 or values.std() or 1.0)
            labels.append(label)
            ours.append(scaled[: len(q.reference)])
            theirs.append(scaled[len(q.reference) :])
    return labels, np.stack(ours, axis=1), np.stack(theirs, axis=1)


def _notes(
    quantities: Sequence[Quantity],
    n_events: tuple[int, int],
    max_events: int,
    weights: tuple[np.ndarray, np.ndarray],
) -> Iterator[str]:
    used = events_per_side(*weights, max_events)
    if max(n_events) > used:
        yield f"MMD uses {used:,} events per side, drawn at random where there are more"
    if max(n_events) > max_events:
        yield f"the classifier uses a random subset of at most {max_events:,} events per side"
    if constant := [q.name for q in quantities if q.is_constant]:
        yield f"constant, and equal in both samples: {', '.join(constant)}"
    if angles := [q.name for q in quantities if q.is_angle]:
        yield (
            f"angles, taken in [-pi, pi) and in the joint tests as cosine and sine: "
            f"{', '.join(angles)}"
        )
    for what, w in zip(("reference", "candidate"), weights, strict=True):
        if not is_unweighted(w) and effective_size(w) < _FEW_EFFECTIVE:
            yield (
                f"the {what} has {effective_size(w):.0f} effective events: p-values are "
                "approximate with broad weights"
            )
    if any((w < 0).any() for w in weights):
        yield "some event weights are negative; bins were joined until their contents are positive"
    if copies := _copies(quantities):
        yield (
            f"{copies:,} candidate events equal a reference event in every column: a copy is no "
            "independent sample, and the p-values do not hold"
        )


def _copies(quantities: Sequence[Quantity]) -> int:
    """Candidate events that equal a reference event; 0 for columns so coarse that many must."""
    ours = np.stack([q.reference for q in quantities], axis=1)
    theirs = np.stack([q.candidate for q in quantities], axis=1)
    known = {row.tobytes() for row in ours}
    if len(known) < 0.99 * len(ours):
        return 0
    return sum(row.tobytes() in known for row in theirs)


def _versions() -> dict[str, str]:
    names = ("physgen", "numpy", "torch", "scikit-learn")
    return {name: importlib.metadata.version(name) for name in names}
