"""Observables of jets from their particles, in JetNet's relative coordinates.

Particles are arrays of shape (n_jets, n_particles): ``eta_rel`` and ``phi_rel`` are differences to
the jet axis, ``pt_rel`` is the share of the transverse momentum of the jet. Padding has ``pt_rel``
0 and then counts nowhere. :func:`~physgen.observables.jagged.padded` makes such arrays from lists,
:func:`split_particles` from JetNet's ``particle_features``.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

__all__ = [
    "energy_correlation_ratios",
    "energy_flow_polynomial",
    "jet_girth",
    "jet_mass",
    "pt_dispersion",
    "split_particles",
]

_MAX_NUMBERS = 4_000_000  # of pairs of particles at a time: a few arrays of 32 MB


def split_particles(particle_features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split JetNet's particles into ``eta_rel``, ``phi_rel``, ``pt_rel``, padding set to 0.

    Parameters
    ----------
    particle_features : array of shape (n_jets, n_particles, 4)
        eta_rel, phi_rel, pt_rel and mask (0 or 1) of each particle.

    Returns
    -------
    tuple of three arrays of shape (n_jets, n_particles), float64

    Raises
    ------
    ValueError
        If the array has another shape.
    """
    features = np.asarray(particle_features, dtype=np.float64)
    if features.ndim != 3 or features.shape[2] != 4:
        raise ValueError(
            "particle_features has the shape (n_jets, n_particles, 4) with eta_rel, phi_rel, "
            f"pt_rel and mask last, got {features.shape}"
        )
    kept = np.moveaxis(np.where(features[..., 3:] > 0, features, 0.0), 2, 0)
    return kept[0], kept[1], kept[2]


def jet_mass(eta_rel: np.ndarray, phi_rel: np.ndarray, pt_rel: np.ndarray) -> np.ndarray:
    r"""Invariant mass of the massless particles of a jet, over its transverse momentum.

    .. math:: m^2 = \sum_{i<j} 2\,p_i\,p_j\,[\cosh(\eta_i-\eta_j) - \cos(\phi_i-\phi_j)]

    JetNet's W1M compares its law between samples (Kansal et al., arXiv:2106.11535).

    Returns
    -------
    array of shape (n_jets,), float64

    Examples
    --------
    >>> two = np.array([[0.3, -0.1]]), np.array([[0.0, 0.0]]), np.array([[0.5, 0.5]])
    >>> jet_mass(*two).round(4)
    array([0.2013])
    """
    eta, phi, pt = (np.asarray(v, dtype=np.float64) for v in (eta_rel, phi_rel, pt_rel))
    px, py = (pt * np.cos(phi)).sum(axis=1), (pt * np.sin(phi)).sum(axis=1)
    # E +- pz apart, since E^2 - pz^2 cancels
    plus, minus = (pt * np.exp(eta)).sum(axis=1), (pt * np.exp(-eta)).sum(axis=1)
    return np.sqrt(np.maximum(plus * minus - px**2 - py**2, 0.0))


def jet_girth(eta_rel: np.ndarray, phi_rel: np.ndarray, pt_rel: np.ndarray) -> np.ndarray:
    r"""Width of a jet around its axis, :math:`\sum_i p_i\,\Delta R_i / \sum_i p_i`.

    Returns
    -------
    array of shape (n_jets,), float64
        0 where there is no particle.
    """
    pt = np.asarray(pt_rel, dtype=np.float64)
    return _ratio((pt * np.hypot(eta_rel, phi_rel)).sum(axis=1), pt.sum(axis=1))


def pt_dispersion(pt_rel: np.ndarray) -> np.ndarray:
    r"""Fragmentation of a jet, :math:`p_T^D = \sqrt{\sum_i p_i^2}/\sum_i p_i`, in [0, 1].

    1 for a single particle, :math:`1/\sqrt n` for n equal ones, 0 for none (CMS,
    CMS-PAS-JME-13-002).
    """
    pt = np.asarray(pt_rel, dtype=np.float64)
    return _ratio(np.sqrt(np.square(pt).sum(axis=1)), pt.sum(axis=1))


def energy_flow_polynomial(
    eta_rel: np.ndarray,
    phi_rel: np.ndarray,
    pt_rel: np.ndarray,
    edges: Sequence[tuple[int, int]],
    *,
    beta: float = 1.0,
) -> np.ndarray:
    r"""Energy-flow polynomial of a graph.

    .. math:: {\rm EFP}_G = \sum_{i_1\ldots i_N} p_{i_1}\cdots p_{i_N}
              \prod_{(k,l)\in G} \theta_{i_k i_l}^\beta, \qquad
              \theta_{ij}^2 = (\eta_i-\eta_j)^2 + (\phi_i-\phi_j)^2

    Parameters
    ----------
    eta_rel, phi_rel, pt_rel : array of shape (n_jets, n_particles)
        Particles.
    edges : sequence of pairs of int
        The graph; its vertices are 0, 1, ... ``[(0, 1), (1, 2), (2, 0)]`` is the triangle, an
        edge given twice counts twice.
    beta : float, default 1
        Power of the angles.

    Returns
    -------
    array of shape (n_jets,), float64
        With the measure "hadr" and without normalization, as JetNet's FPD takes them.

    Raises
    ------
    ValueError
        If there is no edge, or an edge joins a vertex to itself.

    References
    ----------
    Komiske, Metodiev and Thaler, arXiv:1712.07124, eq. (1).

    Examples
    --------
    >>> two = np.array([[0.3, -0.1]]), np.array([[0.0, 0.0]]), np.array([[0.5, 0.5]])
    >>> energy_flow_polynomial(*two, [(0, 1)]), energy_flow_polynomial(*two, [(0, 1), (1, 2)])
    (array([0.2]), array([0.04]))
    """
    if not edges or any(i == j for i, j in edges):
        raise ValueError(f"a graph has edges between different vertices, got {list(edges)}")
    name = dict(
        zip(sorted({v for edge in edges for v in edge}), string.ascii_letters, strict=False)
    )
    eta, phi, pt = (np.asarray(v, dtype=np.float64) for v in (eta_rel, phi_rel, pt_rel))
    terms = [f"...{a}" for a in name.values()] + [f"...{name[i]}{name[j]}" for i, j in edges]
    rule = ",".join(terms) + "->..."
    found = np.empty(len(pt))
    n_block = max(1, _MAX_NUMBERS // max(1, pt.shape[1] ** 2))
    for start in range(0, len(pt), n_block):
        rows = slice(start, start + n_block)
        theta = _angles(eta[rows], phi[rows]) ** beta
        factors = [pt[rows]] * len(name) + [theta] * len(edges)
        found[rows] = np.einsum(rule, *factors, optimize="greedy")
    return found


def energy_correlation_ratios(
    eta_rel: np.ndarray, phi_rel: np.ndarray, pt_rel: np.ndarray, *, beta: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Ratios of energy correlations that tell two prongs from one, C2 and D2.

    .. math:: C_2 = e_3/e_2^2, \qquad D_2 = e_3/e_2^3, \qquad
              e_2 = \sum_{i<j} z_i z_j\,\theta_{ij}^\beta, \qquad
              e_3 = \sum_{i<j<k} z_i z_j z_k\,(\theta_{ij}\theta_{jk}\theta_{ki})^\beta

    with :math:`z_i = p_i/\sum_k p_k`.

    Returns
    -------
    C2, D2 : array of shape (n_jets,), float64
        0 where a jet has fewer than three particles apart.

    References
    ----------
    Larkoski, Salam and Thaler, arXiv:1305.0007; Larkoski, Moult and Neill, arXiv:1409.6298.
    """
    pt = np.asarray(pt_rel, dtype=np.float64)
    z = _ratio(pt, pt.sum(axis=1, keepdims=True))
    # the sums of a polynomial take each pair twice and each triple six times
    e2 = energy_flow_polynomial(eta_rel, phi_rel, z, [(0, 1)], beta=beta) / 2
    e3 = energy_flow_polynomial(eta_rel, phi_rel, z, [(0, 1), (1, 2), (2, 0)], beta=beta) / 6
    return _ratio(e3, e2**2), _ratio(e3, e2**3)


def _angles(eta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Distances of all pairs of particles in the (eta, phi) plane."""
    return np.hypot(eta[:, :, None] - eta[:, None], phi[:, :, None] - phi[:, None])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
