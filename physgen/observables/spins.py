"""Observables of spins on a periodic lattice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

__all__ = [
    "blocks_of_spins",
    "ising_energy",
    "lattice_shape",
    "magnetization",
    "require_spins",
    "spin_correlations",
    "structure_factors",
]

_BLOCK = 4_000_000  # spins per block: a few arrays of 16 MB, whatever the number of events


def magnetization(spins: np.ndarray) -> np.ndarray:
    r"""Magnetization per spin :math:`m = \frac1N\sum_i s_i`, in [-1, 1].

    Parameters
    ----------
    spins : array of shape (n_events, ...)
        Spins of +1 and -1.

    Raises
    ------
    ValueError
        If a spin is neither -1 nor +1.

    Examples
    --------
    >>> magnetization(np.ones((1, 4, 4), dtype=np.int8))
    array([1.])
    """
    require_spins(spins)
    return np.asarray(spins).reshape(len(spins), -1).mean(axis=1, dtype=np.float64)


def ising_energy(spins: np.ndarray) -> np.ndarray:
    r"""Energy of Ising spins on a periodic lattice, in units of J, extensive.

    .. math:: H = -\sum_{\langle ij\rangle} s_i s_j

    with each bond once: a lattice of N spins in d dimensions has d N bonds (two between the
    same pair of spins where a side is 2). The ground state has energy -d N.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1.

    Returns
    -------
    array of shape (n_events,), float64

    Raises
    ------
    ValueError
        If a spin is neither -1 nor +1.

    Examples
    --------
    >>> ising_energy(np.ones((1, 4, 4), dtype=np.int8))
    array([-32.])
    """
    require_spins(spins)
    s = np.asarray(spins, dtype=np.float64)
    lattice = tuple(range(1, s.ndim))
    bonds = [(s * np.roll(s, 1, axis)).sum(axis=lattice) for axis in lattice]
    return -np.sum(bonds, axis=0)


def spin_correlations(spins: np.ndarray) -> np.ndarray:
    r"""Correlations of the spins of each periodic lattice along its axes, not connected.

    .. math:: C(r) = \frac{1}{d N} \sum_i \sum_{a=1}^{d} s_i\, s_{i + r \hat e_a}

    Nothing is subtracted, so C(0) = 1 and, for J = 1, C(1) = -E/(d N) in every event.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1.

    Returns
    -------
    array of shape (n_events, n_side // 2 + 1), float64
        At r = 0, 1, ... up to half of the shortest side; C(r) = C(n_side - r).

    Raises
    ------
    ValueError
        If a spin is neither -1 nor +1.

    Examples
    --------
    >>> spin_correlations(np.array([[1, 1, 1, 1, -1, -1]])).round(3)
    array([[ 1.   ,  0.333, -0.333, -0.333]])
    """
    lattice_shape(spins)
    return _in_blocks(_correlations, spins)


def structure_factors(spins: np.ndarray) -> np.ndarray:
    r"""Structure factors of each periodic lattice at the wave vectors along its axes.

    .. math:: S(k) = \frac{1}{d} \sum_{a=1}^{d} \frac1N
              \Big| \sum_i s_i\, e^{i k x_{i,a}} \Big|^2,
              \qquad k = \frac{2\pi j}{L}, \quad j = 0, \ldots, L/2

    S(0) = N m^2, and with independent spins S = 1 on average.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1, on equal sides L.

    Returns
    -------
    array of shape (n_events, n_side // 2 + 1), float64

    Raises
    ------
    ValueError
        If the sides differ, since their wave numbers do, or a spin is neither -1 nor +1.

    Examples
    --------
    >>> structure_factors(np.array([[1, 1, 1, -1]]))
    array([[1., 1., 1.]])
    """
    sides = lattice_shape(spins)
    if len(set(sides)) > 1:
        raise ValueError(
            f"wave numbers along the axes are common to equal sides only, got {sides}; use "
            "structure_factor_grid of physgen.thermodynamics"
        )
    return _in_blocks(_axis_factors, spins)


def lattice_shape(spins: np.ndarray) -> tuple[int, ...]:
    """Sides of the lattices, or say what is wrong."""
    shape = np.shape(spins)
    if len(shape) < 2 or not np.size(spins):
        raise ValueError(
            f"spins have the shape (n_events, n_side, ...) with an event or more, got {shape}; "
            "one lattice is spins[None]"
        )
    return shape[1:]


def require_spins(spins: np.ndarray) -> None:
    """Refuse what is not -1 or +1, which would silently make wrong energies."""
    s = np.asarray(spins)
    wrong = s[np.abs(s) != 1]
    if len(wrong):
        raise ValueError(
            f"spins must be -1 or +1, got {wrong[0]:g}; spins of 0 and 1 become such by "
            "2 * spins.astype('int8') - 1"
        )


def blocks_of_spins(spins: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the events in pieces of bounded size."""
    spins = np.asarray(spins)
    n_block = max(1, _BLOCK // max(1, spins[0].size))
    for start in range(0, len(spins), n_block):
        yield spins[start : start + n_block]


def _in_blocks(function: Callable[[np.ndarray], np.ndarray], spins: np.ndarray) -> np.ndarray:
    pieces = []
    for block in blocks_of_spins(spins):
        require_spins(block)
        # sums of up to 2^24 products of spins are exact in float32
        pieces.append(function(block.astype(np.float32)))
    return np.concatenate(pieces)


def _correlations(s: np.ndarray) -> np.ndarray:
    """Correlations of (n, *sides) at the distances that all axes have, averaged over the axes."""
    n_dimensions, n_sites = s.ndim - 1, s[0].size
    r = np.arange(min(s.shape[1:]) // 2 + 1)
    total = np.zeros((len(s), len(r)))
    for axis in range(1, s.ndim):
        planes = np.moveaxis(s, axis, 1).reshape(len(s), s.shape[axis], -1)
        products = planes @ planes.swapaxes(1, 2)
        i = np.arange(s.shape[axis])[:, None]
        total += products[:, i, (i + r) % s.shape[axis]].sum(axis=1)
    return total / (n_dimensions * n_sites)


def _axis_factors(s: np.ndarray) -> np.ndarray:
    from scipy.fft import rfft

    axes = tuple(range(1, s.ndim))
    # a wave along one axis sees only the sums over all others
    profiles = [s.sum(axis=tuple(a for a in axes if a != axis), dtype=np.float64) for axis in axes]
    factors = [np.abs(rfft(profile, axis=1)) ** 2 for profile in profiles]
    return np.mean(factors, axis=0) / s[0].size
