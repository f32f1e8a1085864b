"""Correlation function, structure factor and correlation length of spins, with errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from physgen.mcmc import Measurement
from physgen.observables import spin_correlations, structure_factors
from physgen.observables.spins import blocks_of_spins, lattice_shape
from physgen.thermodynamics.estimation import Curve, estimate_by_jackknife, estimate_columns

__all__ = [
    "StructureFactorGrid",
    "correlation_function",
    "correlation_length",
    "structure_factor",
    "structure_factor_grid",
]

_N_BINS = 64  # an error from so many bins is itself known to 9 %


class StructureFactorGrid(NamedTuple):
    """Structure factor on the grid of wave vectors, ``np.fft.fftfreq`` order along each axis.

    Attributes
    ----------
    value, std_error : array of shape (n_side, n_side, ...)
        S(k) and its standard error at k = 2 pi (j_1, j_2, ...) / n_side.
    """

    value: np.ndarray
    std_error: np.ndarray


def correlation_function(
    spins: np.ndarray, *, weights: ArrayLike | None = None, independent: bool = False
) -> Curve:
    r"""Correlation function along the axes of a periodic lattice, not connected.

    .. math:: C(r) = \langle s_i\, s_{i + r \hat e}\rangle

    averaged over sites and axes. In zero field, where :math:`\langle s_i\rangle = 0`, it is the
    connected one too; below :math:`T_c` it tends to :math:`\langle m^2\rangle`.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1; several chains one after the other.
    weights : array of shape (n_events,), optional
        Event weights.
    independent : bool, default False
        Whether tau = 1/2 is known; otherwise tau is measured along the events, at each r.

    Returns
    -------
    Curve
        ``r, value, std_error`` from r = 0 to half of the shortest side.

    Raises
    ------
    ChainTooShortError
        If the events are too few to measure tau; about 25 if they are independent.
    ValueError
        If there are fewer than 8 events, or weights do not fit.

    Examples
    --------
    >>> spins = np.random.default_rng(1).choice([-1, 1], size=(1000, 8, 8))
    >>> correlation_function(spins).value.round(2) + 0
    array([1., 0., 0., 0., 0.])
    """
    c = spin_correlations(spins)
    r = np.arange(c.shape[1])
    return estimate_columns(r, c, weights=weights, independent=independent)


def structure_factor(
    spins: np.ndarray, *, weights: ArrayLike | None = None, independent: bool = False
) -> Curve:
    r"""Structure factor along the axes of a periodic lattice with equal sides.

    .. math:: S(k) = \frac1N \Big\langle\Big| \sum_i s_i\, e^{i k x_i} \Big|^2\Big\rangle
              = \sum_{\vec r} C(\vec r)\, e^{i k x}, \qquad k = 2\pi j/L

    S(0) = N <m^2>. Parameters and errors are those of `correlation_function`.

    Returns
    -------
    Curve
        ``k, value, std_error`` with k in 1/lattice spacing, from 0 to pi.

    Examples
    --------
    >>> spins = np.random.default_rng(1).choice([-1, 1], size=(4000, 8, 8))
    >>> structure_factor(spins, independent=True).value.round(1)
    array([1., 1., 1., 1., 1.])
    """
    s = structure_factors(spins)
    k = 2 * np.pi * np.arange(s.shape[1]) / lattice_shape(spins)[0]
    return estimate_columns(k, s, weights=weights, independent=independent)


def structure_factor_grid(spins: np.ndarray) -> StructureFactorGrid:
    r"""Structure factor at all wave vectors of a periodic lattice.

    .. math:: S(\vec k) = \frac1N \Big\langle\Big|
              \sum_i s_i\, e^{i \vec k \cdot \vec x_i} \Big|^2\Big\rangle

    The mean of S over all wave vectors is 1 in every event (Parseval).

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1, at least 64 events.

    Returns
    -------
    StructureFactorGrid
        ``value, std_error``; the error is from 64 bins of successive events, so it is right for
        chains too where a bin is much longer than tau.

    Examples
    --------
    >>> spins = np.random.default_rng(1).choice([-1, 1], size=(200, 4, 6))
    >>> value, std_error = structure_factor_grid(spins)
    >>> value.shape, round(float(value.mean()), 6)
    ((4, 6), 1.0)
    """
    lattice_shape(spins)
    if len(spins) < _N_BINS:
        raise ValueError(
            f"the errors are made of {_N_BINS} bins of events, and {len(spins)} events were given"
        )
    bins = np.stack([_summed_power(part) / len(part) for part in np.array_split(spins, _N_BINS)])
    return StructureFactorGrid(bins.mean(axis=0), bins.std(axis=0, ddof=1) / math.sqrt(_N_BINS))


def correlation_length(
    spins: np.ndarray, *, weights: ArrayLike | None = None, independent: bool = False
) -> Measurement:
    r"""Second-moment correlation length of a periodic lattice with equal sides, in its spacing.

    .. math:: \xi = \frac{1}{2 \sin(\pi/L)} \sqrt{\frac{S(0)}{S(2\pi/L)} - 1}

    with the error and the bias of order 1/n from the jackknife. It tends to the second-moment
    length of the infinite lattice above :math:`T_c`; :math:`\xi/L` of all sizes cross near
    :math:`T_c`; below, S(0) counts the order, and it grows with L.

    Parameters are those of `correlation_function`.

    Raises
    ------
    ChainTooShortError
        If the events are too few to measure tau, or for 20 bins.
    ValueError
        If S(0) is not above S(2 pi/L) by more than its error: the length is too short for these
        events to show it. Or if sides differ, or weights do not fit.

    References
    ----------
    Cooper, Freedman and Preston, Nuclear Physics B 210 (1982) 210.

    Examples
    --------
    >>> from physgen.simulators import IsingRing
    >>> ring = IsingRing(n_spins=64)(2000, {"beta": 0.8}, rng=1)
    >>> t = np.tanh(0.8)
    >>> bool(abs(correlation_length(ring["spins"]).pull(np.sqrt(t) / (1 - t))) < 3)
    True
    """
    s = structure_factors(spins)
    unit = 1 / (2 * math.sin(math.pi / lattice_shape(spins)[0]))
    return estimate_by_jackknife(
        (s[:, 0], s[:, 1]),
        lambda s0, s1: unit * math.sqrt(_excess(s0, s1)),
        weights=weights,
        independent=independent,
    )


def _excess(s0: float, s1: float) -> float:
    if s0 > s1 > 0:
        return s0 / s1 - 1
    raise ValueError(
        f"S(0) = {s0:.4g} is not above S(2 pi/L) = {s1:.4g} by more than its error: the "
        "correlation length is too short for these events to show it; take more events, or read "
        "it off the correlation function"
    )


def _summed_power(spins: np.ndarray) -> np.ndarray:
    """Sum of |FFT|^2 / N over events, in blocks, of the shape of the lattice."""
    from scipy.fft import fftn

    axes = tuple(range(1, spins.ndim))
    blocks = (fftn(block.astype(np.float64), axes=axes) for block in blocks_of_spins(spins))
    total = sum((np.abs(modes) ** 2).sum(axis=0) for modes in blocks)
    return np.asarray(total) / spins[0].size
