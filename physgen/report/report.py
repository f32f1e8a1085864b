"""Report: what a comparison found, and its verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from physgen.estimates import Estimate
from physgen.files.atomic import atomic_path, check_writable
from physgen.report.findings import Driver, Picture, Region, Slice, Worth
from physgen.report.verdict import decide

if TYPE_CHECKING:
    from physgen.metrics.classifier import ClassifierTest
    from physgen.metrics.copies import Memorization
    from physgen.plotting import Histogram

__all__ = ["Report", "Row", "check_target"]


@dataclass(frozen=True)
class Row:
    """One observable of the report.

    Attributes
    ----------
    name, unit : str
        Of the observable.
    js : Estimate
        Jensen-Shannon divergence in bits, shuffle-subtracted.
    w1 : Estimate
        Wasserstein-1 distance in ``unit``.
    ks : Estimate
        Kolmogorov-Smirnov distance.
    shift, shift_lower, shift_upper : float
        Shift of a Gaussian in sigma that has this JS or this KS, whichever is larger, and its
        95 % limits.
    shift_proven : float
        95 % lower limit that holds for all observables at once.
    worth : Worth
        For how many events the candidate is good in this observable.
    p_value : float
        p-value of this observable, corrected for looking at all of them.
    region : Region or None
        Where the samples differ most.
    """

    name: str
    unit: str
    js: Estimate
    w1: Estimate
    ks: Estimate
    shift: float
    shift_lower: float
    shift_upper: float
    shift_proven: float
    worth: Worth
    p_value: float
    region: Region | None = None

    @property
    def label(self) -> str:
        """Name with unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "js_bits": self.js.to_dict(),
            "w1": self.w1.to_dict(),
            "ks": self.ks.to_dict(),
            "shift_sigma": self.shift,
            "shift_sigma_lower": self.shift_lower,
            "shift_sigma_upper": self.shift_upper,
            "shift_sigma_proven": self.shift_proven,
            "p_value": self.p_value,
            "good_for_events": self.worth.to_dict(),
            "region": self.region.to_dict() if self.region else None,
        }


@dataclass(frozen=True)
class Correlations:
    """Rank correlations of the joint features, and the pair that differs most.

    Attributes
    ----------
    labels : tuple of str
        Of the columns.
    reference, candidate : array of shape (n_columns, n_columns)
        Correlations; NaN where a column is constant.
    pair : tuple of int
        The most significant pair.
    size, upper, proven : float
        Difference of that pair as a shift in sigma, its 95 % upper limit, and a lower limit that
        holds for all pairs at once.
    pulls : array of shape (n_columns, n_columns)
        Candidate minus reference in standard errors; NaN where a column is constant.
    """

    labels: tuple[str, ...]
    reference: np.ndarray
    candidate: np.ndarray
    pair: tuple[int, int]
    size: float
    upper: float
    proven: float
    pulls: np.ndarray

    @property
    def worst(self) -> str:
        """The worst pair with both correlations, in words."""
        i, j = self.pair
        ours, theirs = self.reference[i, j], self.candidate[i, j]
        # two correlations near 1 may differ in what two decimals do not show
        places = next((n for n in (2, 3, 4) if f"{ours:.{n}f}" != f"{theirs:.{n}f}"), 4)
        return (
            f"{self.labels[i]} and {self.labels[j]}, {ours:.{places}f} in the reference and "
            f"{theirs:.{places}f} in the candidate"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists; null where a column is constant."""
        matrices = (self.reference, self.candidate)
        ours, theirs = ([[_plain(v) for v in row] for row in m] for m in matrices)
        worst = [self.labels[k] for k in self.pair]
        return {
            "labels": list(self.labels),
            "reference": ours,
            "candidate": theirs,
            "pulls": [[_plain(v) for v in row] for row in self.pulls],
            "worst": worst,
            "size": self.size,
            "upper_limit": self.upper,
            "proven": self.proven,
        }


@dataclass(frozen=True)
class Report:
    """What :func:`physgen.compare` found; print it, or save it as a page.

    Attributes
    ----------
    worth : Worth
        For how many events the candidate is good in every observable.
    p_value : float
        One p-value for the whole comparison; below ``settings["alpha"]`` a difference is seen.
    table : tuple of Row
        Observables, the worst first.
    joint : dict of str to Estimate
        All columns together: "MMD²", "classifier AUC", "correlations Δz"; those that apply, also
        on whole arrays ("MMD² of spins").
    correlations : Correlations or None
        Matrices behind the third.
    classifier : ClassifierTest or None
        ROC curve and weights behind the second.
    drivers : tuple of Driver
        Where the classifier is surest, if it tells the samples apart.
    slices : tuple of Slice
        The comparison at each condition.
    memorization : Memorization or None
        Whether candidate events are copies of training events, if those were given.
    n_leaked : int
        Candidate events that equal a reference event in everything.
    n_events, n_effective : pair of number
        Events of reference and candidate, and their effective numbers.
    notes : tuple of str
        What was left out or subsampled, and what else a reader must know.
    settings : dict
        Arguments of the comparison and seed.
    versions : dict of str to str
        Versions of what computed it.
    histograms : tuple of Histogram
        For the figures, in the order of the table.
    pictures : tuple of Picture
        Lattices, images or showers.
    """

    p_value: float
    worth: Worth
    table: tuple[Row, ...]
    joint: Mapping[str, Estimate]
    correlations: Correlations | None
    n_events: tuple[int, int]
    n_effective: tuple[float, float]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    classifier: ClassifierTest | None = field(default=None, repr=False)
    drivers: tuple[Driver, ...] = ()
    slices: tuple[Slice, ...] = ()
    memorization: Memorization | None = None
    n_leaked: int = 0
    histograms: tuple[Histogram, ...] = field(default=(), repr=False)
    pictures: tuple[Picture, ...] = field(default=(), repr=False)

    @cached_property
    def _decision(self) -> tuple[str, str]:
        return decide(self)

    @property
    def outcome(self) -> str:
        """For programs: "pass", "pass with difference", "inconclusive" or "fail"."""
        return self._decision[0]

    @property
    def verdict(self) -> str:
        """One sentence in plain words, beginning with the outcome."""
        return self._decision[1]

    @property
    def difference_seen(self) -> bool:
        """Whether the p-value lies below the level of the comparison."""
        return self.p_value < self.settings["alpha"]

    @property
    def copied(self) -> str:
        """What is wrong if candidate events are copies, in words; empty if they are not."""
        n = self.n_events[1]
        if self.n_leaked:
            return (
                f"{self.n_leaked:,} of {n:,} candidate events equal a reference event in every "
                "field: a leak, or the same file; copies are no sample of their own, and no "
                "p-value holds"
            )
        found = self.memorization
        return found.words if found and found.p_value < self.settings["alpha"] else ""

    @property
    def is_weighted(self) -> bool:
        """Whether event weights make the effective numbers differ from the events."""
        return any(round(e) != n for e, n in zip(self.n_effective, self.n_events, strict=True))

    def __str__(self) -> str:
        from physgen.report.text import as_text

        return as_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, for JSON."""
        return {
            "verdict": self.verdict,
            "outcome": self.outcome,
            "p_value": self.p_value,
            "difference_seen": self.difference_seen,
            "n_events": list(self.n_events),
            "n_effective": list(self.n_effective),
            "table": [row.to_dict() for row in self.table],
            "good_for_events": self.worth.to_dict(),
            "joint": {name: estimate.to_dict() for name, estimate in self.joint.items()},
            "classifier": _bound(self.classifier),
            "correlations": self.correlations.to_dict() if self.correlations else None,
            "drivers": [d.to_dict() for d in self.drivers],
            "slices": [part.to_dict() for part in self.slices],
            "memorization": self.memorization.to_dict() if self.memorization else None,
            "n_leaked": self.n_leaked,
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report; the suffix says how.

        Parameters
        ----------
        path : path
            ``.html`` (one page with its figures), ``.json`` or ``.txt``. The file appears whole
            or not at all.
        """
        target = Path(path)
        check_target(target)
        if target.suffix in (".html", ".htm"):
            from physgen.report.page import as_html

            text = as_html(self)
        elif target.suffix == ".json":
            text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        else:
            text = str(self) + "\n"
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")


def check_target(path: Path) -> None:
    """Raise now if a report cannot be saved there, rather than after the comparison."""
    if path.suffix not in (".html", ".htm", ".json", ".txt"):
        raise ValueError(
            f"a report is saved as .html, .json or .txt, and {path.name!r} is none of them"
        )
    check_writable(path)


def _bound(found: ClassifierTest | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"js_bits_at_least": found.js.value, "js_bits_std_error": found.js.std_error}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
