"""The exact law of the energy of an Ising lattice, and the test of a sample against it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physgen.simulators.ising_exact.arguments import Shape, as_one_beta, as_shape
from physgen.simulators.ising_exact.beale import density_of_states

__all__ = ["GoodnessOfFit", "counts_chi2", "energy_chi2", "energy_distribution"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GoodnessOfFit:
    """Result of Pearson's test.

    Parameters
    ----------
    chi2 : float
        Sum over the bins of (observed - expected)^2 / expected.
    dof : int
        Bins, after merging, less one.
    p_value : float
        Probability of a larger chi2 if the law holds.
    """

    chi2: float
    dof: int
    p_value: float


def energy_distribution(shape: Shape, beta: float) -> tuple[Array, Array]:
    r"""Exact law of the energy on a torus, :math:`P(E) = g(E)\,e^{-\beta E}/Z`.

    Parameters
    ----------
    shape : int or tuple of int
        Side of a square, or (rows, cols); each at least 2.
    beta : float
        Inverse temperature in 1/J, from 0.

    Returns
    -------
    energies, probabilities : array of shape (n_levels,), float64
        The levels that exist, in J, ascending, and their probabilities, which sum to 1.

    Raises
    ------
    ValueError
        If the shape or beta is out of range.

    References
    ----------
    P. D. Beale, Phys. Rev. Lett. 76, 78 (1996).

    Examples
    --------
    >>> energies, probabilities = energy_distribution(2, 0.5)
    >>> energies.tolist(), probabilities.round(4).tolist()
    ([-8.0, 0.0, 8.0], [0.9007, 0.099, 0.0003])
    """
    energies, ln_g = _levels(as_shape(shape))
    exponent = ln_g - as_one_beta(beta) * (energies - energies[0])
    weights = np.exp(exponent - exponent.max())
    return energies.copy(), weights / weights.sum()


@lru_cache(maxsize=32)
def _levels(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Energies of the levels that exist, and the logarithms of their numbers of states."""
    g = density_of_states(shape)
    exists = [k for k, states in enumerate(g) if states]
    ln_g = np.array([log(g[k]) for k in exists])
    return 4.0 * np.array(exists) - 2 * shape[0] * shape[1], ln_g


def energy_chi2(
    energies: ArrayLike, shape: Shape, beta: float, *, min_expected: float = 10.0
) -> GoodnessOfFit:
    """Test energies of independent configurations against their exact law.

    Neighboring levels are merged from the lowest up until each bin expects ``min_expected``
    events; what is left at the top joins the last bin. The bins do not depend on the sample.

    Parameters
    ----------
    energies : array of shape (n_events,)
        Energies of whole lattices, in J, of independent configurations: correlated ones give too
        small a p-value.
    shape : int or tuple of int
        Side of a square, or (rows, cols); each at least 2.
    beta : float
        Inverse temperature in 1/J, from 0.
    min_expected : float, default 10.0
        Least number of events expected in a bin; 5 is the usual limit of the approximation.

    Returns
    -------
    GoodnessOfFit

    Raises
    ------
    ValueError
        If an energy is no level of this lattice, or the sample is too small for two bins.

    Examples
    --------
    >>> levels, law = energy_distribution(4, 0.4)
    >>> sample = np.random.default_rng(1).choice(levels, size=10_000, p=law)
    >>> energy_chi2(sample, 4, 0.4).p_value > 0.001
    True
    >>> energy_chi2(sample, 4, 0.42).p_value < 1e-6
    True
    """
    levels, probabilities = energy_distribution(shape, beta)
    sample = np.asarray(energies, dtype=np.float64).ravel()
    index = np.searchsorted(levels, sample).clip(max=len(levels) - 1)
    strange = levels[index] != sample
    if strange.any():
        raise ValueError(
            f"{strange.sum()} of {sample.size} energies are no levels of a torus of "
            f"{as_shape(shape)} sites, for example {sample[strange][0]}: they are wanted in J for "
            f"the whole lattice, with each bond once, from {levels[0]} to {levels[-1]}"
        )
    counts = np.bincount(index, minlength=len(levels))
    return counts_chi2(counts, probabilities, min_expected=min_expected)


def counts_chi2(
    counts: ArrayLike, probabilities: ArrayLike, *, min_expected: float = 10.0
) -> GoodnessOfFit:
    """Pearson's test of counts in ordered bins, merged until each expects enough events.

    Parameters
    ----------
    counts : array of shape (n_bins,)
        Independent events in each bin.
    probabilities : array of shape (n_bins,)
        Their law, summing to 1. Sort both so that bins that may be merged are neighbors.
    min_expected : float, default 10.0
        Least number of events expected in a merged bin.

    Returns
    -------
    GoodnessOfFit

    Raises
    ------
    ValueError
        If the shapes differ, or fewer than two bins are left.

    Examples
    --------
    >>> fit = counts_chi2([40, 60], [0.5, 0.5])
    >>> fit.chi2, fit.dof, round(fit.p_value, 6)
    (4.0, 1, 0.0455)
    """
    from scipy.special import chdtrc

    observed, law = np.asarray(counts, dtype=np.float64), np.asarray(probabilities)
    if observed.shape != law.shape or observed.ndim != 1:
        raise ValueError(
            f"counts and probabilities must be arrays of one equal length, "
            f"got the shapes {observed.shape} and {law.shape}"
        )
    expected = observed.sum() * law
    starts = _bin_starts(expected, min_expected)
    if len(starts) < 2:
        raise ValueError(
            f"{observed.sum():.0f} events leave a single bin of at least {min_expected} expected "
            "events: more of them, or a law that is less narrow, are needed for a test"
        )
    seen, wanted = (np.add.reduceat(values, starts) for values in (observed, expected))
    chi2, dof = float(((seen - wanted) ** 2 / wanted).sum()), len(starts) - 1
    return GoodnessOfFit(chi2, dof, float(chdtrc(dof, chi2)))


def _bin_starts(expected: Array, min_expected: float) -> list[int]:
    """First index of each merged bin."""
    starts, total = [0], 0.0
    for i, value in enumerate(expected.tolist()):
        if total >= min_expected:
            starts.append(i)
            total = 0.0
        total += value
    # a rest that is too small belongs to the bin before it
    return starts[:-1] if total < min_expected else starts
