"""Kinematics of two particles in a collider."""

from __future__ import annotations

import numpy as np


def invariant_mass(
    pt1: np.ndarray,
    eta1: np.ndarray,
    phi1: np.ndarray,
    pt2: np.ndarray,
    eta2: np.ndarray,
    phi2: np.ndarray,
) -> np.ndarray:
    r"""Invariant mass of two massless particles.

    .. math:: m^2 = 2\,p_{T1}\,p_{T2}\,[\cosh(\eta_1-\eta_2) - \cos(\phi_1-\phi_2)]

    Parameters
    ----------
    pt1, pt2 : array of shape (n_events,)
        Transverse momenta, any unit of energy.
    eta1, eta2 : array of shape (n_events,)
        Pseudorapidities.
    phi1, phi2 : array of shape (n_events,)
        Azimuths in rad.

    Returns
    -------
    array of shape (n_events,), float64
        In the unit of pt. Muons of 20 GeV are massless to 1e-5.

    Examples
    --------
    >>> float(invariant_mass(45.6, 0.0, 0.0, 45.6, 0.0, np.pi))
    91.2
    """
    pt1, eta1, phi1, pt2, eta2, phi2 = (
        np.asarray(v, dtype=np.float64) for v in (pt1, eta1, phi1, pt2, eta2, phi2)
    )
    # half angles: cosh - cos cancels for close pairs
    angles = np.sinh((eta1 - eta2) / 2) ** 2 + np.sin((phi1 - phi2) / 2) ** 2
    return 2 * np.sqrt(pt1 * pt2 * angles)


def delta_phi(phi1: np.ndarray, phi2: np.ndarray) -> np.ndarray:
    """Difference of two angles, wrapped to [-pi, pi), in rad.

    Examples
    --------
    >>> round(float(delta_phi(3.0, -3.0)), 4)
    -0.2832
    """
    difference = np.asarray(phi1, dtype=np.float64) - np.asarray(phi2, dtype=np.float64)
    return (difference + np.pi) % (2 * np.pi) - np.pi
