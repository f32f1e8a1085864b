"""Estimate: a number with its error, its floor and its p-value."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    r"""A measured number with its error; a distance also with what it must be read against.

    No distance between two finite samples is zero, not even between two samples of one law. A
    bare number is therefore no verdict, and this class keeps the number with its floor. Numbers
    that are no distances (ln Z) have neither floor nor p-value: these are NaN.

    Parameters
    ----------
    value : float
        In the unit that the metric states.
    std_error : float
        Standard error of ``value`` (one sigma).
    floor : float, optional
        What the truth scores against itself: 95 of 100 comparisons between disjoint halves of
        the reference, scaled to the sizes of the samples compared, stay below it.
    p_value : float, optional
        Probability of a value at least as large if both samples had one law.
    note : str, default ""
        What the number rests on (events used, bandwidth, ...).

    Examples
    --------
    >>> print(Estimate(0.0131, 0.0018, 0.0042, 0.312))
    0.013 ± 0.002 (floor 0.004, p = 0.31)
    >>> print(Estimate(21.41248, 0.0021, note="trajectory"))
    21.4125 ± 0.0021 (trajectory)
    """

    value: float
    std_error: float
    floor: float = math.nan
    p_value: float = math.nan
    note: str = ""

    def __str__(self) -> str:
        if math.isnan(self.floor):
            return self._plain()
        digits = _decimals(self.std_error or self.floor or self.value)
        return (
            f"{self.value:.{digits}f} ± {self.std_error:.{digits}f} "
            f"(floor {self.floor:.{digits}f}, {p_words(self.p_value)})"
        )

    def _plain(self) -> str:
        note = f" ({self.note})" if self.note else ""
        if self.std_error == 0:
            return f"{self.value:.6f}{note}"
        digits = _decimals(self.std_error) + 1
        return f"{self.value:.{digits}f} ± {self.std_error:.{digits}f}{note}"

    def to_dict(self) -> dict[str, float | str]:
        """Return plain numbers, for JSON."""
        return dataclasses.asdict(self)


def format_p(p_value: float) -> str:
    """Two significant digits of a p-value, never a bare zero.

    Examples
    --------
    >>> format_p(0.002), format_p(0.3141), format_p(1e-9)
    ('0.0020', '0.31', '< 0.0001')
    """
    if p_value < 1e-4:
        return "< 0.0001"
    return f"{p_value:.{max(2, 1 - math.floor(math.log10(p_value)))}f}"


def p_words(p_value: float) -> str:
    """Return "p = 0.31" or "p < 0.0001"."""
    text = format_p(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def number(value: float, digits: int = 2) -> str:
    """Number with this many significant digits, without exponents in ordinary ranges.

    Examples
    --------
    >>> number(0.012345), number(1234.6), number(-0.0000012), number(0)
    ('0.012', '1235', '-1.2e-06', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-5:
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{float(f'{value:.{digits - 1}e}'):.{decimals(value, digits)}f}"


def decimals(value: float, digits: int = 2) -> int:
    """Decimals that show this many significant digits of a value."""
    exponent = int(f"{value:e}".rpartition("e")[2])
    return max(0, digits - 1 - exponent)


def _decimals(scale: float) -> int:
    """Decimals at which a number of this scale shows one significant digit."""
    if not math.isfinite(scale) or scale == 0:
        return 3
    return min(12, max(0, -math.floor(math.log10(abs(scale)))))
