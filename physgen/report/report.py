"""Report: what a comparison found."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from physgen.estimates import Estimate
from physgen.files.atomic import atomic_path, check_writable

if TYPE_CHECKING:
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
    shift, shift_upper : float
        Shift of a Gaussian in sigma that has this JS or this KS, whichever is larger, and its
        95 % upper limit.
    p_value : float
        p-value of this observable, corrected for looking at all of them.
    """

    name: str
    unit: str
    js: Estimate
    w1: Estimate
    ks: Estimate
    shift: float
    shift_upper: float
    p_value: float

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
            "shift_sigma_upper": self.shift_upper,
            "p_value": self.p_value,
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
    upper : float
        Largest 95 % upper limit on the difference of Fisher's z of any pair.
    """

    labels: tuple[str, ...]
    reference: np.ndarray
    candidate: np.ndarray
    pair: tuple[int, int]
    upper: float

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
            "worst": worst,
            "upper_limit": self.upper,
        }


@dataclass(frozen=True)
class Report:
    """What :func:`physgen.compare` found; print it, or save it as a page.

    Attributes
    ----------
    verdict : str
        One sentence in plain words, beginning with the outcome.
    outcome : {"pass", "pass with difference", "inconclusive", "fail"}
        For programs.
    p_value : float
        One p-value for the whole comparison; below ``settings["alpha"]`` a difference is seen.
    table : tuple of Row
        Observables, the worst first.
    joint : dict of str to Estimate
        All columns together: "MMD²", "classifier AUC", "correlations"; those that apply.
    correlations : Correlations or None
        Matrices behind the third.
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
    """

    verdict: str
    outcome: str
    p_value: float
    table: tuple[Row, ...]
    joint: Mapping[str, Estimate]
    correlations: Correlations | None
    n_events: tuple[int, int]
    n_effective: tuple[float, float]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    histograms: tuple[Histogram, ...] = field(default=(), repr=False)

    @property
    def difference_seen(self) -> bool:
        """Whether the p-value lies below the level of the comparison."""
        return self.p_value < self.settings["alpha"]

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
            "joint": {name: estimate.to_dict() for name, estimate in self.joint.items()},
            "correlations": self.correlations.to_dict() if self.correlations else None,
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


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
