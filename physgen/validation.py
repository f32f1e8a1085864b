"""compare: whether a candidate sample follows the law of a reference sample."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from physgen.arrays import array_fields, compare_arrays, pictures
from physgen.copied import find_copies, n_leaked
from physgen.designs import Chains, Slicing, chain_ids, design_of, require_enough
from physgen.estimates import Estimate
from physgen.events import Events, require_events
from physgen.failures import compare_slices, drivers, worst_region
from physgen.files.memory import in_words
from physgen.files.streams import EventStream
from physgen.metrics.classifier import ClassifierTest, classifier_test
from physgen.metrics.columns import Column, ColumnTest, compare_columns
from physgen.metrics.copies import Memorization
from physgen.metrics.correlation import compare_correlations
from physgen.metrics.kernels import mmd
from physgen.metrics.resampling import Design, is_unweighted
from physgen.metrics.subsets import events_used
from physgen.plotting import make_histogram
from physgen.random import Rng, as_seed
from physgen.report.findings import BIAS_TO_ERROR, Slice, Worth, overall_worth, worth_of
from physgen.report.report import Correlations, Report, Row
from physgen.schema import SchemaError
from physgen.summaries import Observables, Quantity, joint_columns, summarize
from physgen.survey import random_sample

__all__ = ["compare"]

_FEW_EFFECTIVE = 100  # below, multipliers of broad weights are far from their limit
_MIN_MAX_EVENTS = 100
# of the memory of a stream, for its sample: what is computed from it takes up to 75 times as much
_SAMPLE_SHARE = 1 / 100


def compare(
    reference: Events | EventStream,
    candidate: Events | EventStream,
    *,
    train: Events | EventStream | None = None,
    fields: Sequence[str] | None = None,
    observables: Observables | None = None,
    chains: tuple[Chains, Chains] = (None, None),
    tolerance: float = 0.1,
    for_events: float | None = None,
    max_auc: float = 0.55,
    alpha: float = 0.01,
    n_permutations: int = 999,
    max_events: int = 20_000,
    rng: Rng = 0,
) -> Report:
    r"""Compare two samples of events, and say in plain words how far the candidate can be trusted.

    Families of tests are made: every column by itself (Jensen-Shannon divergence and
    Kolmogorov-Smirnov distance, with Westfall and Young's correction for the number of
    columns), every pair (rank correlations), all columns together by MMD and by a classifier,
    whole arrays (lattices, images, showers) by the same two, and every column at each condition.
    The p-value of the comparison is the smallest of the families times their number (Bonferroni),
    so two samples of one law are called different at most at the rate ``alpha``. How much they
    differ is a second question, answered by 95 % limits against a tolerance:

    ===========================  =====================================================
    all upper limits within      PASS, or PASS with a difference that is within
    some lower limit beyond      FAIL: where, and by how much
    neither                      INCONCLUSIVE: how many events would tell
    ===========================  =====================================================

    A difference that only MMD sees is a FAIL: MMD has no upper limit, so nothing says that such a
    difference is within tolerance. So are copies: candidate events that equal reference events,
    or that are training events again.

    Parameters
    ----------
    reference, candidate : Events or EventStream
        Samples, at least 20 events each; weights count, also negative ones. Of files larger than
        memory (:func:`physgen.stream`), read once, a random sample is compared that fits into
        the memory that the stream names; the report says how many events of how many.
    train : Events or EventStream, optional
        What the surrogate learned from: then copies of training events are looked for.
    fields : sequence of str, optional
        Fields to compare; by default all that both samples have.
    observables : optional
        Functions ``observable(events) -> array (n_events,)``: one, a list, or a dict by name; a
        name may end in a unit, ``{"mll [GeV]": mll}``. They come on top of the packs that fit the
        fields (:mod:`physgen.packs`), unless packs are chosen by their names: ``"ising"``,
        ``"pairs"``, ``"jets"``, ``"showers"``, alone or in the list. False: no packs.
    chains : pair, default (None, None)
        Markov chains among the samples: the field that numbers the chains, an array of such
        numbers, True for one chain in the order of the events, None for independent events.
    tolerance : float, default 0.1
        Largest difference that does not matter to you: of a column as the shift of a Gaussian in
        sigma with the same JS or KS, of a correlation as a difference of Fisher's z (of normal
        columns; of others as a shift in sigma that is seen as well).
    for_events : float, optional
        Number of events that you want to generate: sets the tolerance to 0.3 of the statistical
        error that they have, 0.3 / sqrt(for_events).
    max_auc : float, default 0.55
        Largest classifier AUC that does not matter.
    alpha : float, default 0.01
        Level of the whole comparison.
    n_permutations : int, default 999
        Null draws of each test.
    max_events : int, default 20000
        Events per side that MMD (with weights half as many) and classifier use at most; a
        random subset, named in the report, where there are more.
    rng : int or torch.Generator, default 0
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
        sum, chains of fewer than 20 blocks, or chains in a stream.

    Examples
    --------
    >>> import numpy as np, physgen as pg
    >>> x = np.random.default_rng(0).normal(size=(3, 2000))
    >>> truth, good, bad = (pg.Events.from_dict({"x": v}) for v in x + [[0], [0], [0.5]])
    >>> from physgen.validation import compare
    >>> compare(truth, good).difference_seen
    False
    >>> compare(truth, bad).outcome
    'fail'
    """
    seed = as_seed(rng)
    sampled: list[str] = []
    reference = _in_memory("the reference", reference, chains[0], seed, sampled)
    candidate = _in_memory("the candidate", candidate, chains[1], seed, sampled)
    if train is not None:
        train = _in_memory("the training events", train, None, seed, sampled)
    require_enough(reference, "reference")
    require_enough(candidate, "candidate")
    if for_events is not None:
        tolerance = _tolerance_for(for_events)
    _check_settings(tolerance, max_auc, alpha, max_events)
    reference, candidate, chains = _without_chain_fields(reference, candidate, chains)
    reference, candidate = _same_precision(reference, candidate)
    quantities, notes = summarize(reference, candidate, fields=fields, observables=observables)
    design, slicings, told = design_of(reference, candidate, quantities, chains=chains)
    arrays = array_fields(reference, candidate, fields)
    # MMD costs most by far: no more draws than its p-value needs to reach the level
    n_families = 4 + 2 * len(arrays) + (len(slicings) > 0)
    _check_permutations(n_permutations, n_families, alpha)
    n_for_mmd = min(n_permutations, int(1.2 * n_families / alpha))
    draws = _Draws(n_permutations, n_for_mmd, max_events, seed)
    conditions = {s.name for s in slicings}
    of_conditions = [q for q in quantities if q.name in conditions]
    own = [q for q in quantities if q.name not in conditions] or quantities
    sliced = design.slices[0] is not None
    tested = own if sliced else quantities
    rows, worth, p_columns = _rows(tested, design, draws)
    # events with a twin of the same conditions may show them; else a classifier would learn
    # the conditions of one fold from the others
    twins = all(np.array_equal(q.reference, q.candidate) for q in of_conditions)
    joint, correlations, classifier = _joint(
        quantities if twins and design.is_exact else tested, design, draws
    )
    whole = compare_arrays(
        reference, candidate, arrays, design, n_permutations=n_for_mmd, seed=draws.seed(6)
    )
    slices = _slices(own, design, slicings, draws)
    families = [p_columns, *(e.p_value for e in (joint | whole).values())]
    if slices:
        families.append(min(1.0, min(s.p_value for s in slices)))
    order = sorted(range(len(rows)), key=lambda k: (rows[k].p_value, -rows[k].shift))
    seen = classifier is not None and classifier.auc.p_value < alpha
    return Report(
        p_value=min(1.0, len(families) * min(families)),
        worth=worth,
        table=tuple(rows[k] for k in order),
        joint=joint | whole,
        correlations=correlations,
        n_events=(len(reference), len(candidate)),
        n_effective=design.n_effective,
        notes=(*sampled, *notes, *told, *_notes(tested, design, max_events)),
        settings={
            "tolerance": tolerance,
            "max_auc": max_auc,
            "alpha": alpha,
            "n_permutations": n_permutations,
            "max_events": max_events,
            "seed": draws.first_seed,
            "n_families": len(families),
            "reference_sha256": reference.sha256(),
            "candidate_sha256": candidate.sha256(),
        },
        versions=_versions(),
        classifier=classifier,
        drivers=drivers(tested, classifier) if seen and classifier else (),
        slices=slices,
        memorization=_memorization(reference, candidate, train, fields, draws),
        n_leaked=n_leaked(
            reference, candidate, _compared_fields(reference, candidate, fields=fields)
        ),
        histograms=tuple(make_histogram(tested[k], design) for k in order),
        pictures=pictures(reference, candidate, arrays, design),
    )


@dataclass(frozen=True)
class _Draws:
    """How many draws, on how many events, and from which seed."""

    n_permutations: int
    n_for_mmd: int
    max_events: int
    first_seed: int

    def seed(self, k: int) -> int:
        """Seed of the k-th test."""
        return self.first_seed + k

    def generator(self, k: int) -> np.random.Generator:
        """Generator of the k-th test."""
        return np.random.default_rng(self.seed(k))


def _in_memory(
    what: str, events: Events | EventStream, chains: Chains, seed: int, sampled: list[str]
) -> Events:
    """Events, or a random sample of a stream, of which a note is taken."""
    if not isinstance(events, EventStream):
        require_events(what, events)
        return events
    if chains is not None:
        raise ValueError(
            f"{what} is a stream, of which a random sample is compared, but Markov chains are "
            "compared in their order: read them with read_events"
        )
    sample, n_events = random_sample(events, seed, _SAMPLE_SHARE)
    if len(sample) < n_events:
        sampled.append(
            f"{what}: {len(sample):,} of {n_events:,} events, drawn at random to stay within "
            f"{in_words(events.memory)}"
        )
    return sample


def _tolerance_for(n_events: float) -> float:
    if not n_events >= 1:
        raise ValueError(f"for_events is the number of events you want, got {n_events}")
    return float(BIAS_TO_ERROR / np.sqrt(n_events))


def _check_settings(tolerance: float, max_auc: float, alpha: float, max_events: int) -> None:
    if not tolerance > 0:
        raise ValueError(f"the tolerance is a shift in sigma above 0, got {tolerance}")
    if not 0.5 < max_auc <= 1:
        raise ValueError(f"max_auc lies between 0.5 and 1, got {max_auc}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a probability between 0 and 1, got {alpha}")
    if max_events < _MIN_MAX_EVENTS:
        raise ValueError(f"max_events is at least {_MIN_MAX_EVENTS}, got {max_events}")


def _check_permutations(n_permutations: int, n_families: int, alpha: float) -> None:
    if n_families / (n_permutations + 1) >= alpha:
        raise ValueError(
            f"with {n_permutations} permutations no p-value of {n_families} families of tests can "
            f"fall below alpha = {alpha:g}; use n_permutations={int(n_families / alpha) + 1} or "
            "more"
        )


def _without_chain_fields(
    reference: Events, candidate: Events, chains: tuple[Chains, Chains]
) -> tuple[Events, Events, tuple[Chains, Chains]]:
    """Numbers of chains are no observables: take them out of the events."""
    sides = []
    given: list[Chains] = []
    names = {c for c in chains if isinstance(c, str)}
    for events, chain, what in zip(
        (reference, candidate), chains, ("the reference", "the candidate"), strict=True
    ):
        given.append(chain_ids(events, chain, what))
        sides.append(events[[n for n in events.schema.names if n not in names]])
    return sides[0], sides[1], (given[0], given[1])


def _same_precision(reference: Events, candidate: Events) -> tuple[Events, Events]:
    """Fields that are single precision in one sample, in both: 0.1 is not 0.1f."""
    sides = [reference, candidate]
    for k, other in ((0, 1), (1, 0)):
        narrow = {
            f.name: np.asarray(sides[k][f.name]).astype(np.float32)
            for f in sides[k].schema
            if f.dtype == "float64"
            and not f.jagged
            and f.role != "weight"
            and f.name in sides[other].schema
            and sides[other].schema[f.name].dtype == "float32"
        }
        if narrow:
            sides[k] = sides[k].with_columns(narrow)
    return sides[0], sides[1]


def _rows(
    quantities: Sequence[Quantity], design: Design, draws: _Draws
) -> tuple[list[Row], Worth, float]:
    columns = [
        Column(q.reference, q.candidate, 2 * np.pi if q.is_angle else None) for q in quantities
    ]
    tests, p_value = compare_columns(
        columns, design, n_permutations=draws.n_permutations, rng=draws.generator(0)
    )
    rows = [_row(q, t, design, len(tests)) for q, t in zip(quantities, tests, strict=True)]
    return rows, overall_worth([t.bias for t in tests]), p_value


def _row(quantity: Quantity, test: ColumnTest, design: Design, n_rows: int) -> Row:
    return Row(
        name=quantity.name,
        unit=quantity.unit,
        js=test.js,
        w1=test.w1,
        ks=test.ks,
        shift=test.shift,
        shift_lower=test.shift_lower,
        shift_upper=test.shift_upper,
        shift_proven=test.proven(n_rows),
        worth=worth_of(test.bias),
        p_value=test.p_adjusted,
        region=None if quantity.is_constant else worst_region(quantity, design),
    )


def _joint(
    quantities: Sequence[Quantity], design: Design, draws: _Draws
) -> tuple[dict[str, Estimate], Correlations | None, ClassifierTest | None]:
    varying = [q for q in quantities if not q.is_constant]
    if not varying:
        return {}, None, None
    labels, x, y = joint_columns(varying)
    classifier = classifier_test(
        x, y, weights=design, max_events=draws.max_events, rng=draws.seed(2)
    )
    joint = {
        "MMD²": mmd(
            x,
            y,
            weights=design,
            n_permutations=draws.n_for_mmd,
            max_events=draws.max_events,
            rng=draws.seed(1),
        ),
        "classifier AUC": classifier.auc,
    }
    pairs = compare_correlations(
        x, y, design, n_permutations=draws.n_permutations, rng=draws.generator(3)
    )
    if pairs is None:
        return joint, None, classifier
    joint["correlations Δz"] = pairs.estimate
    found = Correlations(
        labels=tuple(labels),
        reference=pairs.reference,
        candidate=pairs.candidate,
        pair=pairs.pair,
        size=pairs.size,
        upper=pairs.upper,
        proven=pairs.proven,
        pulls=pairs.pulls,
    )
    return joint, found, classifier


def _slices(
    quantities: Sequence[Quantity], design: Design, slicings: Sequence[Slicing], draws: _Draws
) -> tuple[Slice, ...]:
    parts = [
        (s.label(k), np.flatnonzero(s.reference == k), np.flatnonzero(s.candidate == k))
        for s in slicings
        for k in range(len(s.low))
    ]
    if not quantities or not parts:
        return ()
    return compare_slices(
        quantities, design, parts, n_permutations=draws.n_permutations, rng=draws.generator(5)
    )


def _memorization(
    reference: Events,
    candidate: Events,
    train: Events | None,
    fields: Sequence[str] | None,
    draws: _Draws,
) -> Memorization | None:
    if train is None:
        return None
    names = _compared_fields(reference, candidate, train, fields=fields)
    if not names:
        raise SchemaError(
            "the training events have no field of the samples: they hold "
            f"{', '.join(train.schema.names)}"
        )
    return find_copies(reference, candidate, train, names, rng=draws.seed(8))


def _notes(quantities: Sequence[Quantity], design: Design, max_events: int) -> Iterator[str]:
    n_events = (len(design.a), len(design.b))
    used = max(events_used(design, max_events))
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
    sides = zip(("reference", "candidate"), (design.a, design.b), design.n_effective, strict=True)
    for what, w, n in sides:
        if not is_unweighted(w) and n < _FEW_EFFECTIVE:
            yield (
                f"the {what} has {n:.0f} effective events: p-values are approximate with broad "
                "weights"
            )
    if (design.a < 0).any() or (design.b < 0).any():
        yield "some event weights are negative; bins were joined until their contents are positive"


def _compared_fields(*samples: Events, fields: Sequence[str] | None) -> list[str]:
    """Fields that all samples have and a model makes: no weights, no conditions.

    Samples made at the same conditions share those without being copies.
    """
    first, *others = samples
    return [
        f.name
        for f in first.schema
        if (fields is None or f.name in fields)
        and f.role == "observable"
        and all(f.name in e.schema and e.schema[f.name].role == "observable" for e in others)
    ]


def _versions() -> dict[str, str]:
    names = ("physgen", "numpy", "torch", "scikit-learn")
    return {name: importlib.metadata.version(name) for name in names}
