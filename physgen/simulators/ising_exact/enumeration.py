"""Every state of a small Ising lattice, and its thermal averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physgen.simulators.ising_exact.arguments import Shape, as_one_beta, as_shape

__all__ = [
    "Boltzmann",
    "States",
    "boltzmann",
    "enumerate_states",
    "spins_of_state",
    "state_of_spins",
]

MAX_SPINS = 20
"""Largest lattice that is enumerated; 2^20 states."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class States:
    """All states of a lattice; what `enumerate_states` returns.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    energy : array of shape (2^N,)
        Energy of each state, in the unit of the coupling. Bit ``row * cols + col`` of the index,
        counted from the least significant, is set where that spin is +1.
    magnetization : array of shape (2^N,)
        Mean spin of each state, in [-1, 1].
    """

    shape: tuple[int, int]
    energy: Array
    magnetization: Array


@dataclass(frozen=True)
class Boltzmann:
    """Thermal averages over all states; what `boltzmann` returns.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    beta : float
        Inverse temperature in 1/J.
    probabilities : array of shape (2^N,)
        Probability of each state, by its index.
    ln_z : float
        Logarithm of the partition function.
    energy : float
        Mean energy of the lattice, in J.
    heat_capacity : float
        beta^2 times the variance of the energy, of the whole lattice, in units of k_B.
    abs_magnetization, magnetization_2, magnetization_4 : float
        Means of abs(m), m^2 and m^4, m per spin.
    """

    shape: tuple[int, int]
    beta: float
    probabilities: Array
    ln_z: float
    energy: float
    heat_capacity: float
    abs_magnetization: float
    magnetization_2: float
    magnetization_4: float

    @property
    def energy_per_site(self) -> float:
        """Mean energy per site, in J."""
        return self.energy / (self.shape[0] * self.shape[1])

    @property
    def specific_heat_per_site(self) -> float:
        """Heat capacity per site, in units of k_B."""
        return self.heat_capacity / (self.shape[0] * self.shape[1])

    @property
    def binder(self) -> float:
        """Binder's cumulant 1 - <m^4> / (3 <m^2>^2)."""
        return 1 - self.magnetization_4 / (3 * self.magnetization_2**2)


def enumerate_states(
    shape: Shape,
    *,
    coupling: float = 1.0,
    field: float = 0.0,
    boundary: Literal["periodic", "open"] = "periodic",
) -> States:
    r"""Energy and magnetization of every state of a lattice of at most 20 spins.

    .. math:: H = -J \sum_{\langle ij\rangle} s_i s_j - h \sum_i s_i

    Parameters
    ----------
    shape : int or tuple of int
        Side of a square, or (rows, cols); each at least 2, their product at most 20.
    coupling : float, default 1.0
        J; an antiferromagnet if negative.
    field : float, default 0.0
        h, in the unit of J.
    boundary : {"periodic", "open"}
        With "periodic", a side of 2 joins its two neighbors by two bonds.

    Returns
    -------
    States
        With 2^N entries per array.

    Raises
    ------
    ValueError
        If the lattice is too small or too large, or an argument is not finite or not known.

    Examples
    --------
    >>> states = enumerate_states(4)
    >>> float(states.energy[0]), float(states.magnetization[0]), float(states.energy[1])
    (-32.0, -1.0, -24.0)
    """
    rows, cols = as_shape(shape)
    _check(rows * cols, coupling, field, boundary)
    n_spins = rows * cols
    index = np.arange(1 << n_spins, dtype=np.int32)
    spins = np.stack([(2 * (index >> i & 1) - 1).astype(np.int8) for i in range(n_spins)])
    bonds = np.zeros(len(index), dtype=np.int8)
    for i, j in _bonds(rows, cols, boundary):
        bonds += spins[i] * spins[j]
    total = spins.sum(0, dtype=np.float64)
    energy = -coupling * bonds.astype(np.float64) - field * total
    return States((rows, cols), energy, total / n_spins)


def boltzmann(states: States, beta: float) -> Boltzmann:
    r"""Thermal averages over all states, :math:`P(s) = e^{-\beta H(s)} / Z`.

    Parameters
    ----------
    states : States
        From `enumerate_states`.
    beta : float
        Inverse temperature in 1/J, from 0.

    Returns
    -------
    Boltzmann

    Raises
    ------
    ValueError
        If beta is negative, infinite, not a number, or more than one.

    Examples
    --------
    >>> exact = boltzmann(enumerate_states(4), 0.4406867935097715)
    >>> round(exact.ln_z, 12), round(exact.abs_magnetization, 12), round(exact.binder, 12)
    (15.521915458755, 0.843860444813, 0.617199318412)
    """
    beta = as_one_beta(beta)
    lowest = states.energy.min()
    weights = np.exp(-beta * (states.energy - lowest))
    total = weights.sum()
    p = weights / total
    energy = float(p @ states.energy)
    m2 = states.magnetization**2
    return Boltzmann(
        states.shape,
        beta,
        p,
        ln_z=float(np.log(total) - beta * lowest),
        energy=energy,
        heat_capacity=float(beta**2 * (p @ (states.energy - energy) ** 2)),
        abs_magnetization=float(p @ np.abs(states.magnetization)),
        magnetization_2=float(p @ m2),
        magnetization_4=float(p @ m2**2),
    )


def spins_of_state(index: ArrayLike, shape: Shape) -> NDArray[np.int8]:
    """Spins of states given by their indices.

    Parameters
    ----------
    index : int or array of shape (...)
        Bit ``row * cols + col``, from the least significant, is set where that spin is +1.
    shape : int or tuple of int
        Side of a square, or (rows, cols); at most 62 sites.

    Returns
    -------
    array of shape (..., rows, cols), int8
        +1 and -1.

    Raises
    ------
    ValueError
        If an index is not that of a state.

    Examples
    --------
    >>> spins_of_state(2, 2).tolist()
    [[-1, 1], [-1, -1]]
    """
    rows, cols = _countable(shape)
    states = np.asarray(index)
    if states.dtype.kind not in "iu" or ((states < 0) | (states >> (rows * cols) > 0)).any():
        raise ValueError(
            f"states of {rows} x {cols} spins are integers from 0 to 2^{rows * cols} - 1"
        )
    bits = states[..., None] >> np.arange(rows * cols, dtype=states.dtype) & 1
    return (2 * bits.astype(np.int8) - 1).reshape(*states.shape, rows, cols)


def state_of_spins(spins: ArrayLike) -> NDArray[np.int64]:
    """Index of the state that each configuration is in, the inverse of `spins_of_state`.

    Parameters
    ----------
    spins : array of shape (..., rows, cols)
        +1 and -1; at most 62 sites.

    Returns
    -------
    array of shape (...), int64

    Raises
    ------
    ValueError
        If a spin is neither, or there are too many.

    Examples
    --------
    >>> int(state_of_spins([[-1, 1], [-1, -1]]))
    2
    """
    values = np.asarray(spins)
    if values.ndim < 2 or not np.isin(values, (-1, 1)).all():
        raise ValueError(
            f"spins of -1 and +1 of shape (..., rows, cols) are wanted, got {values!r}"
        )
    rows, cols = _countable(values.shape[-2:])
    up = (values > 0).reshape(*values.shape[:-2], rows * cols)
    return (up.astype(np.int64) << np.arange(rows * cols)).sum(-1)


def _countable(shape: Shape) -> tuple[int, int]:
    rows, cols = as_shape(shape)
    if rows * cols > 62:
        raise ValueError(f"{rows} x {cols} spins have more states than an int64 can count")
    return rows, cols


def _check(n_spins: int, coupling: float, field: float, boundary: str) -> None:
    if n_spins > MAX_SPINS:
        raise ValueError(
            f"{n_spins} spins have too many states to list, at most {MAX_SPINS} can be; use torus "
            "or density_of_states, which need no list"
        )
    if not np.isfinite([coupling, field]).all():
        raise ValueError(f"coupling and field must be finite, got {coupling} and {field}")
    if boundary not in ("periodic", "open"):
        raise ValueError(f"boundary must be 'periodic' or 'open', got {boundary!r}")


def _bonds(rows: int, cols: int, boundary: str) -> list[tuple[int, int]]:
    """Pairs of sites, each bond once: to the right and down."""
    site = np.arange(rows * cols).reshape(rows, cols)
    if boundary == "periodic":
        ends = [(site, np.roll(site, -1, axis)) for axis in (0, 1)]
    else:
        ends = [(site[:-1], site[1:]), (site[:, :-1], site[:, 1:])]
    return [
        pair for a, b in ends for pair in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    ]
