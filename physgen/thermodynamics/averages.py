r"""Averages of energy and magnetization, and the fluctuations that are response functions.

Series have shape (n_events,), or (n_steps, n_chains) for several chains side by side; energies
are extensive, in J, magnetizations per site, :math:`\beta` is in 1/J. Each function returns a
`Measurement` with value, standard error, tau and effective number of events. Functions of means
keep their bias of order tau/n, which is below the error.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from physgen.mcmc import Measurement
from physgen.thermodynamics.estimation import estimate

__all__ = [
    "abs_magnetization",
    "binder_cumulant",
    "magnetization_moment",
    "mean_energy",
    "specific_heat",
    "susceptibility",
]


def mean_energy(
    energy: ArrayLike,
    n_sites: int,
    *,
    weights: ArrayLike | None = None,
    independent: bool = False,
) -> Measurement:
    r"""Energy per site :math:`e = \langle E\rangle / N`, in J.

    Parameters
    ----------
    energy : array of shape (n_events,) or (n_steps, n_chains)
        Extensive energies in J.
    n_sites : int
        Number of spins N.
    weights : array of the same shape, optional
        Event weights.
    independent : bool, default False
        Whether tau = 1/2 is known; otherwise tau is measured along the first axis.

    Returns
    -------
    Measurement

    Raises
    ------
    ChainTooShortError
        If the events are too few to measure tau; about 25 if they are independent.
    ValueError
        If there are fewer than 8 events, values or weights are not finite, or weights have
        another shape or no positive sum.

    Examples
    --------
    >>> print(mean_energy([-8.0, -6, -8, -4] * 100, n_sites=4, independent=True))
    -1.625 ± 0.021 (tau 0.5)
    """
    _check(n_sites=n_sites)
    return estimate((energy,), lambda e: e / n_sites, weights=weights, independent=independent)


def specific_heat(
    energy: ArrayLike,
    beta: float,
    n_sites: int,
    *,
    weights: ArrayLike | None = None,
    independent: bool = False,
) -> Measurement:
    r"""Specific heat per site, in units of :math:`k_B`.

    .. math:: c = \beta^2 \left(\langle E^2\rangle - \langle E\rangle^2\right) / N

    Parameters, returns and errors are those of `mean_energy`, and ``beta`` is one inverse
    temperature in 1/J, 0 or more.

    Examples
    --------
    >>> print(specific_heat([-8.0, -6, -8, -4] * 100, 0.5, n_sites=4, independent=True))
    0.172 ± 0.007 (tau 0.5)
    """
    _check(beta=beta, n_sites=n_sites)
    # from the mean, since E^2 - <E>^2 of large lattices would lose digits
    e = np.asarray(energy, dtype=np.float64)
    e = e - e.mean() if e.size else e
    return estimate(
        (e, e**2),
        lambda e1, e2: beta**2 * (e2 - e1**2) / n_sites,
        weights=weights,
        independent=independent,
    )


def abs_magnetization(
    magnetization: ArrayLike, *, weights: ArrayLike | None = None, independent: bool = False
) -> Measurement:
    r"""Mean of the absolute magnetization per site :math:`\langle|m|\rangle`, in [0, 1].

    Parameters
    ----------
    magnetization : array of shape (n_events,) or (n_steps, n_chains)
        Per site, in [-1, 1].
    weights, independent
        As in `mean_energy`, like the errors.

    Examples
    --------
    >>> abs_magnetization([0.5, -1.0] * 50, independent=True).value
    0.75
    """
    m = np.abs(np.asarray(magnetization, dtype=np.float64))
    return estimate((m,), lambda mean: mean, weights=weights, independent=independent)


def magnetization_moment(
    magnetization: ArrayLike,
    order: int,
    *,
    weights: ArrayLike | None = None,
    independent: bool = False,
) -> Measurement:
    r"""Moment of the magnetization per site :math:`\langle m^k\rangle` of integer order k.

    Parameters are those of `abs_magnetization`, and ``order`` k is 1 or more.

    Examples
    --------
    >>> magnetization_moment([0.5, -1.0] * 50, 2, independent=True).value
    0.625
    """
    if order < 1:
        raise ValueError(f"order of a moment must be 1 or more, got {order}")
    m = np.asarray(magnetization, dtype=np.float64) ** order
    return estimate((m,), lambda mean: mean, weights=weights, independent=independent)


def susceptibility(
    magnetization: ArrayLike,
    beta: float,
    n_sites: int,
    *,
    connected: bool = True,
    weights: ArrayLike | None = None,
    independent: bool = False,
) -> Measurement:
    r"""Magnetic susceptibility per site, in 1/J.

    .. math:: \chi = \beta N \left(\langle m^2\rangle - \langle |m|\rangle^2\right)
              \quad\text{or, not connected,}\quad \beta N \langle m^2\rangle

    In zero field :math:`\langle m\rangle = 0` on every finite lattice, and
    :math:`\partial\langle m\rangle/\partial h` is the second form at all temperatures. Above
    :math:`T_c` it is the one that tends to the susceptibility of the infinite lattice; below,
    the first does, since it stays in one phase.

    Parameters
    ----------
    magnetization : array of shape (n_events,) or (n_steps, n_chains)
        Per site, in [-1, 1].
    beta : float
        Inverse temperature in 1/J, 0 or more.
    n_sites : int
        Number of spins N.
    connected : bool, default True
        Whether to subtract the square of the mean absolute magnetization.
    weights, independent
        As in `mean_energy`, like the errors.

    References
    ----------
    Binder and Heermann, *Monte Carlo Simulation in Statistical Physics*.

    Examples
    --------
    >>> susceptibility([0.5, -1.0] * 50, 0.4, n_sites=10, independent=True).value
    0.25
    """
    _check(beta=beta, n_sites=n_sites)
    m = np.asarray(magnetization, dtype=np.float64)
    scale = beta * n_sites
    return estimate(
        (np.abs(m), m**2),
        lambda m1, m2: scale * (m2 - (m1**2 if connected else 0.0)),
        weights=weights,
        independent=independent,
    )


def binder_cumulant(
    magnetization: ArrayLike, *, weights: ArrayLike | None = None, independent: bool = False
) -> Measurement:
    r"""Binder cumulant of the magnetization.

    .. math:: U_4 = 1 - \frac{\langle m^4\rangle}{3 \langle m^2\rangle^2}

    2/3 where all lattices are equally magnetized, 0 for a normal distribution around zero; the
    curves of large lattices cross at :math:`T_c`.

    Parameters are those of `abs_magnetization`.

    References
    ----------
    Binder, Z. Phys. B 43 (1981) 119.

    Examples
    --------
    >>> round(binder_cumulant([0.5, -0.5] * 50, independent=True).value, 4)
    0.6667
    """
    square = np.asarray(magnetization, dtype=np.float64) ** 2
    if square.size and not square.any():
        raise ValueError("the magnetization is 0 in every event, so its Binder cumulant is 0/0")
    return estimate(
        (square, square**2),
        lambda m2, m4: 1 - m4 / (3 * m2**2),
        weights=weights,
        independent=independent,
    )


def _check(*, n_sites: int, beta: float = 0.0) -> None:
    if n_sites < 1:
        raise ValueError(f"n_sites must be 1 or more, got {n_sites}")
    if np.ndim(beta) or not (math.isfinite(beta) and beta >= 0):
        raise ValueError(
            f"beta must be one finite number, 0 or more, got {beta}; events of several "
            "temperatures go into thermodynamics(events)"
        )
