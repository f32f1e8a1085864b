"""Kinematics of two particles: mass, transverse momentum, rapidity and decay angle of the pair."""

from __future__ import annotations

import numpy as np

__all__ = [
    "cos_theta_star",
    "delta_phi",
    "invariant_mass",
    "pair_pt",
    "pair_rapidity",
]

Numbers = np.ndarray | float


def invariant_mass(
    pt1: Numbers,
    eta1: Numbers,
    phi1: Numbers,
    pt2: Numbers,
    eta2: Numbers,
    phi2: Numbers,
    mass1: Numbers = 0.0,
    mass2: Numbers = 0.0,
) -> np.ndarray:
    r"""Invariant mass of two particles, massless unless their masses are given.

    .. math:: m^2 = m_1^2 + m_2^2 + 2\,[m_{T1}\,m_{T2}\cosh(y_1-y_2)
              - p_{T1}\,p_{T2}\cos(\phi_1-\phi_2)], \qquad m_T^2 = m^2 + p_T^2

    with the rapidity :math:`y`, which is :math:`\eta` without mass.

    Parameters
    ----------
    pt1, pt2 : array of shape (n_events,)
        Transverse momenta, any unit of energy.
    eta1, eta2 : array of shape (n_events,)
        Pseudorapidities.
    phi1, phi2 : array of shape (n_events,)
        Azimuths in rad.
    mass1, mass2 : array of shape (n_events,), default 0
        Masses in the unit of pt. Muons of 20 GeV are massless to 1e-5.

    Returns
    -------
    array of shape (n_events,), float64
        In the unit of pt.

    Examples
    --------
    >>> float(invariant_mass(45.6, 0.0, 0.0, 45.6, 0.0, np.pi))
    91.2
    """
    pt1, phi1, pt2, phi2 = _float64(pt1, phi1, pt2, phi2)
    (mt1, y1), (mt2, y2) = _transverse(pt1, eta1, mass1), _transverse(pt2, eta2, mass2)
    mass1, mass2 = _float64(mass1, mass2)
    # half angles: cosh - cos cancels for close pairs
    angles = mt1 * mt2 * np.sinh((y1 - y2) / 2) ** 2 + pt1 * pt2 * np.sin((phi1 - phi2) / 2) ** 2
    both = (mass1 * mt2) ** 2 + (mass2 * pt1) ** 2  # (mT1 mT2)² - (pT1 pT2)²
    total = mt1 * mt2 + pt1 * pt2
    difference = np.divide(both, total, out=np.zeros_like(both + total), where=total > 0)
    return 2 * np.sqrt(angles + (mass1**2 + mass2**2 + 2 * difference) / 4)


def pair_pt(pt1: Numbers, phi1: Numbers, pt2: Numbers, phi2: Numbers) -> np.ndarray:
    r"""Transverse momentum of two particles together, in the unit of theirs.

    .. math:: p_T^2 = p_{T1}^2 + p_{T2}^2 + 2\,p_{T1}\,p_{T2}\cos(\phi_1-\phi_2)

    Examples
    --------
    >>> round(float(pair_pt(3.0, 0.0, 4.0, np.pi / 2)), 12)
    5.0
    """
    pt1, phi1, pt2, phi2 = _float64(pt1, phi1, pt2, phi2)
    # back to back, the sum of squares cancels
    return np.sqrt((pt1 - pt2) ** 2 + 4 * pt1 * pt2 * np.cos((phi1 - phi2) / 2) ** 2)


def pair_rapidity(
    pt1: Numbers,
    eta1: Numbers,
    phi1: Numbers,
    pt2: Numbers,
    eta2: Numbers,
    phi2: Numbers,
    mass1: Numbers = 0.0,
    mass2: Numbers = 0.0,
) -> np.ndarray:
    r"""Rapidity of two particles together, :math:`y = {\rm arsinh}(p_z/\sqrt{m^2+p_T^2})`.

    The parameters are those of :func:`invariant_mass`; 0 where the pair has neither mass nor
    transverse momentum.

    Examples
    --------
    >>> round(float(pair_rapidity(20.0, 1.5, 0.0, 20.0, 0.5, 3.0)), 12)
    1.0
    """
    mass = invariant_mass(pt1, eta1, phi1, pt2, eta2, phi2, mass1, mass2)
    mt = np.hypot(mass, pair_pt(pt1, phi1, pt2, phi2))
    pt1, eta1, pt2, eta2 = _float64(pt1, eta1, pt2, eta2)
    return np.arcsinh(_ratio(pt1 * np.sinh(eta1) + pt2 * np.sinh(eta2), mt))


def cos_theta_star(
    pt1: Numbers,
    eta1: Numbers,
    phi1: Numbers,
    pt2: Numbers,
    eta2: Numbers,
    phi2: Numbers,
    charge1: Numbers = -1.0,
) -> np.ndarray:
    r"""Cosine of the decay angle of a pair of leptons in the Collins-Soper frame.

    .. math:: \cos\theta^* = \frac{p_z}{|p_z|}\,
              \frac{2\,p_{T1}\,p_{T2}\sinh(\eta_1-\eta_2)}{m\sqrt{m^2+p_T^2}}

    for massless leptons, particle 1 the negative one; :math:`m`, :math:`p_T` and :math:`p_z` are
    those of the pair. The sign of :math:`p_z` stands for the direction of the quark, which is
    not known in pp collisions.

    Parameters
    ----------
    pt1, eta1, phi1, pt2, eta2, phi2 : array of shape (n_events,)
        As in :func:`invariant_mass`.
    charge1 : array of shape (n_events,), default -1
        Charge of particle 1, of which the sign counts; particle 2 has the opposite one.

    Returns
    -------
    array of shape (n_events,), float64
        In [-1, 1]; 0 where the pair has no mass.

    References
    ----------
    Collins and Soper, Phys. Rev. D 16 (1977) 2219.

    Examples
    --------
    >>> round(float(cos_theta_star(30.0, 1.0, 0.0, 30.0, 0.0, np.pi)), 4)
    0.4621
    """
    mass = invariant_mass(pt1, eta1, phi1, pt2, eta2, phi2)
    mt = np.hypot(mass, pair_pt(pt1, phi1, pt2, phi2))
    pt1, eta1, pt2, eta2, charge1 = _float64(pt1, eta1, pt2, eta2, charge1)
    p_z = pt1 * np.sinh(eta1) + pt2 * np.sinh(eta2)
    sign = np.where(p_z < 0, -1.0, 1.0) * np.where(charge1 > 0, -1.0, 1.0)
    cosine = _ratio(2 * pt1 * pt2 * np.sinh(eta1 - eta2), mass * mt)
    return sign * np.clip(cosine, -1, 1)


def delta_phi(phi1: Numbers, phi2: Numbers) -> np.ndarray:
    """Difference of two angles, wrapped to [-pi, pi), in rad.

    Examples
    --------
    >>> round(float(delta_phi(3.0, -3.0)), 4)
    -0.2832
    """
    phi1, phi2 = _float64(phi1, phi2)
    return (phi1 - phi2 + np.pi) % (2 * np.pi) - np.pi


def _transverse(pt: Numbers, eta: Numbers, mass: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Transverse mass and rapidity; for a massless particle exactly pt and eta."""
    pt, eta, mass = _float64(pt, eta, mass)
    mt = np.hypot(pt, mass)
    rapidity = np.arcsinh(_ratio(pt * np.sinh(eta), mt))
    return mt, np.where(mass == 0, eta, rapidity)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above + below), where=below > 0)


def _float64(*values: Numbers) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(v, dtype=np.float64) for v in values)
