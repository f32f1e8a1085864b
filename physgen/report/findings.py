"""What a comparison found, beside the numbers: how much it is good for, and where it fails."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from physgen.estimates import number
from physgen.metrics.smooth import SmoothBias

__all__ = [
    "BIAS_TO_ERROR",
    "Driver",
    "Picture",
    "Region",
    "Slice",
    "Worth",
    "overall_worth",
    "worth_of",
]

BIAS_TO_ERROR = 0.3  # a bias of this many statistical errors adds 4 % to the total error


@dataclass(frozen=True)
class Worth:
    r"""Number of events at which the bias of a surrogate reaches 0.3 of the statistical error.

    The bias is that of smooth functions of an observable (location, width, skewness, tails), in
    units of their standard deviation (:func:`physgen.metrics.smooth_bias`). With N events their
    statistical error is :math:`1/\sqrt N`, so :math:`N = (0.3/\delta)^2`.

    Attributes
    ----------
    value : float
        From the measured bias; infinite where none is measured.
    lower, upper : float
        From its 95 % upper and lower limits.
    """

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        if self.upper < 1.5:
            return "not even two events"
        if not math.isfinite(self.lower):
            return "any number of events"
        if not math.isfinite(self.upper):
            return f"at least {rounded(self.lower)} events"
        return (
            f"about {rounded(self.value)} events ({rounded(self.lower)} to {rounded(self.upper)})"
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return plain numbers; null for infinite."""
        values = dataclasses.asdict(self)
        return {k: v if math.isfinite(v) else None for k, v in values.items()}


def worth_of(bias: SmoothBias) -> Worth:
    """Worth of a surrogate with this bias; of a constant column, infinite.

    Examples
    --------
    >>> print(worth_of(SmoothBias(0.03, 0.02, 0.05)))
    about 100 events (36 to 220)
    >>> print(worth_of(SmoothBias(0.0, 0.0, 0.03)))
    at least 100 events
    """
    value, high, low = (
        math.inf if x <= 0 else (BIAS_TO_ERROR / x) ** 2
        for x in (bias.value, bias.lower, bias.upper)
    )
    return Worth(value, low, high)


def overall_worth(biases: Sequence[SmoothBias]) -> Worth:
    """Worth in every observable: that of the worst, if it is known to be biased at all.

    The upper limit is corrected for the number of observables: the most biased of many looks
    biased by chance.
    """
    parts = [worth_of(bias) for bias in biases]
    proven = max(bias.proven(len(biases)) for bias in biases)
    upper = (BIAS_TO_ERROR / proven) ** 2 if proven > 0 else math.inf
    value = min(part.value for part in parts) if proven > 0 else math.inf
    return Worth(value, min(part.lower for part in parts), upper)


def rounded(n: float) -> str:
    """Two digits, with a comma at the thousands.

    Examples
    --------
    >>> rounded(123456.0), rounded(0.3)
    ('120,000', '0')
    """
    return f"{float(f'{n:.2g}'):,.0f}"


@dataclass(frozen=True)
class Region:
    """Where in one observable the candidate has too few or too many events.

    Attributes
    ----------
    low, high : float
        Range in the unit of the observable; infinite at the open ends.
    reference, candidate : float
        Share of either sample in it.
    pull : float
        Difference of the shares in standard errors, negative for too few. It is the largest of
        all ranges, so its size is no p-value.
    """

    low: float
    high: float
    reference: float
    candidate: float
    pull: float

    def words(self, unit: str) -> str:
        """Return "too few events between 80 and 95 GeV (3.1 % instead of 4.0 %)"."""
        amount = "few" if self.candidate < self.reference else "many"
        low, high = (f"{number(v, 3)} {unit}".rstrip() for v in (self.low, self.high))
        if math.isinf(self.low):
            where = f"below {high}"
        elif math.isinf(self.high):
            where = f"above {low}"
        else:
            where = f"between {number(self.low, 3)} and {high}"
        return (
            f"too {amount} events {where} ({100 * self.candidate:.3g} % instead of "
            f"{100 * self.reference:.3g} %)"
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return plain numbers; null for an open end."""
        values = dataclasses.asdict(self)
        return {k: v if math.isfinite(v) else None for k, v in values.items()}


@dataclass(frozen=True)
class Driver:
    """A column by which the events differ that a classifier is surest of.

    Attributes
    ----------
    label : str
        Column.
    missing : bool
        True for reference events that the candidate makes too seldom, False for candidate
        events that the reference does not have.
    value, everywhere : float
        Median of the column over these events, and over both samples, in the unit of the column.
    shift : float
        Their difference over the spread of the column.
    """

    label: str
    missing: bool
    value: float
    everywhere: float
    shift: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Slice:
    """The comparison within one slice of a condition.

    Attributes
    ----------
    label : str
        Condition and range.
    n_events : pair of int
        Events of reference and candidate in it.
    worst : str
        Observable that differs most significantly there.
    shift, shift_lower, shift_upper : float
        Its shift in sigma, and 95 % limits.
    proven : float
        Largest shift that some observable has for certain: a 95 % lower limit, corrected for
        all observables and slices looked at.
    p_value : float
        Corrected for all observables and slices.
    """

    label: str
    n_events: tuple[int, int]
    worst: str
    shift: float
    shift_lower: float
    shift_upper: float
    proven: float
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {**dataclasses.asdict(self), "n_events": list(self.n_events)}


@dataclass(frozen=True, eq=False)
class Picture:
    """An array of the events (lattice, image, shower) as pictures.

    Attributes
    ----------
    name, unit : str
        Of the field.
    reference, candidate : array of shape (n_rows, n_columns)
        Means over the samples; of three axes the first is summed over.
    pull : array of shape (n_rows, n_columns)
        Candidate minus reference in standard errors.
    examples : pair of array of shape (n_examples, n_rows, n_columns)
        Some events of either sample.
    """

    name: str
    unit: str
    reference: Any
    candidate: Any
    pull: Any
    examples: tuple[Any, Any]
