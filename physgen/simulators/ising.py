"""The Ising model as a simulator: independent configurations at any temperatures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from physgen.simulators.checks import check_name, checked_count
from physgen.simulators.lattice import Boundary, cubic, square, triangular
from physgen.simulators.spin_model import SpinModel
from physgen.simulators.spin_simulator import SpinSimulator

__all__ = ["Ising2D", "Ising3D"]


@dataclass(frozen=True)
class Ising2D(SpinSimulator):
    r"""Independent configurations of the two-dimensional Ising model.

    .. math:: H = -J \sum_{\langle ij \rangle} s_i s_j - h \sum_i s_i, \qquad
              p(s) \propto e^{-\beta H(s)}

    with each bond once. How long to run before the first configuration, and between two of one
    lattice, is measured first (:meth:`thermalization`) and written into the conventions of the
    events.

    Parameters
    ----------
    n_side : int or (int, int), default 32
        Side of a square lattice, or (rows, cols); at least 2.
    coupling : float, default 1.0
        J; negative for an antiferromagnet.
    field : float, default 0.0
        h in the unit of J.
    boundary : {"periodic", "open"}, default "periodic"
        A periodic side of length 2 counts the bonds of its pairs twice.
    lattice : {"square", "triangular"}, default "square"
        The triangular lattice has a third bond, along one diagonal.
    algorithm : str, default "auto"
        ``"metropolis"`` or ``"heat_bath"``: 512 bit-coded lattices in step; ``"wolff"`` or
        ``"swendsen_wang"``: clusters, without a field; ``"parallel_tempering"``: bit-coded
        lattices that exchange temperatures on a ladder. ``"auto"`` takes Metropolis, the heat
        bath at high temperature, and Swendsen-Wang for sides of 128 or more near the transition.
    start : {"cold", "hot"}, default "cold"
        Ground states, either sign equally often, or random spins.
    n_burn_in, spacing : int, optional
        Sweeps before the first event of a lattice and between two; measured by default. With
        both given nothing is measured, and the events may be correlated.
    observables : tuple of {"energy", "magnetization"}, default ()
        Columns to add: energy (extensive), magnetization per spin.
    n_threads : int, default 1
        Threads over chunks of events; the events do not depend on it.
    device : str, default "cpu"
        ``"cuda"`` moves up to 32,768 lattices at once by Metropolis or the heat bath (needs
        Triton, which comes with torch's CUDA builds). A seed gives other events than on the CPU.

    Raises
    ------
    ValueError
        If a side is below 2, a name is unknown, a number is not finite, or clusters meet a field.

    Examples
    --------
    >>> events = Ising2D(n_side=8)(1000, {"beta": 0.44068679}, rng=1)
    >>> events["spins"].shape, events["spins"].dtype.name
    ((1000, 8, 8), 'int8')
    >>> import numpy as np
    >>> two = Ising2D(8)(1000, {"beta": np.repeat([0.3, 0.6], 500)}, rng=1)
    >>> m = np.abs(two["spins"].mean(axis=(1, 2)))
    >>> bool(m[:500].mean() < 0.4 < 0.9 < m[500:].mean())
    True
    """

    n_side: int | tuple[int, int] = 32
    coupling: float = 1.0
    field: float = 0.0
    boundary: Boundary = "periodic"
    lattice: Literal["square", "triangular"] = "square"

    def __post_init__(self) -> None:
        check_name("lattice", self.lattice, ("square", "triangular"))
        super().__post_init__()

    @cached_property
    def model(self) -> SpinModel:
        """Lattice, coupling and field."""
        rows, cols = _sides(self.n_side, 2)
        make = square if self.lattice == "square" else triangular
        return SpinModel(make((rows, cols), self.boundary), self.coupling, self.field)


@dataclass(frozen=True)
class Ising3D(SpinSimulator):
    r"""Independent configurations of the Ising model on a simple cubic lattice.

    Parameters are those of :class:`Ising2D`, but for the lattice.

    Parameters
    ----------
    n_side : int or (int, int, int), default 8
        Side of a cube, or three sides; at least 2.
    coupling : float, default 1.0
        J; negative for an antiferromagnet.
    field : float, default 0.0
        h in the unit of J.
    boundary : {"periodic", "open"}, default "periodic"

    Examples
    --------
    >>> Ising3D(4)(600, {"beta": 0.2216546}, rng=1)["spins"].shape
    (600, 4, 4, 4)
    """

    n_side: int | tuple[int, int, int] = 8
    coupling: float = 1.0
    field: float = 0.0
    boundary: Boundary = "periodic"

    @cached_property
    def model(self) -> SpinModel:
        """Lattice, coupling and field."""
        a, b, c = _sides(self.n_side, 3)
        return SpinModel(cubic((a, b, c), self.boundary), self.coupling, self.field)


def _sides(n_side: Any, n_dimensions: int) -> tuple[int, ...]:
    many = isinstance(n_side, tuple | list)
    sides = tuple(checked_count("n_side", n, 2) for n in (n_side if many else [n_side]))
    if many and len(sides) != n_dimensions:
        raise ValueError(f"n_side must be one number or {n_dimensions}, got {n_side}")
    return sides if many else sides * n_dimensions
