"""Thermodynamics of a sample of spins: one row per temperature, every number with its error."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.events import Events, require_events
from physgen.mcmc import ChainTooShortError, Measurement
from physgen.observables import ising_energy, magnetization
from physgen.observables.spins import blocks_of_spins
from physgen.schema import SchemaError
from physgen.thermodynamics.averages import (
    abs_magnetization,
    binder_cumulant,
    magnetization_moment,
    mean_energy,
    specific_heat,
    susceptibility,
)
from physgen.thermodynamics.estimation import Curve

__all__ = ["Thermodynamics", "thermodynamics"]

logger = logging.getLogger(__name__)

_MIN_EVENTS = 8


@dataclass(frozen=True)
class Thermodynamics:
    r"""Averages at each inverse temperature, in increasing order.

    Each curve has ``x`` (beta), ``value`` and ``std_error``, of shape (n_betas,).

    Parameters
    ----------
    beta : array of shape (n_betas,)
        In 1/J.
    n_events : array of shape (n_betas,), int
        Events at each.
    n_sites : int
        Spins of a lattice, N.
    tau : array of shape (n_betas,)
        Longest autocorrelation time of those measured, in events; 1/2 if they are independent.
    energy_per_site : Curve
        :math:`\langle E\rangle/N` in J.
    specific_heat : Curve
        :math:`\beta^2 \mathrm{var}(E)/N` in :math:`k_B`.
    abs_magnetization, m2, m4 : Curve
        :math:`\langle|m|\rangle`, :math:`\langle m^2\rangle`, :math:`\langle m^4\rangle`, m per
        site.
    susceptibility : Curve
        :math:`\beta N(\langle m^2\rangle - \langle|m|\rangle^2)` in 1/J.
    binder_cumulant : Curve
        :math:`1 - \langle m^4\rangle/(3\langle m^2\rangle^2)`.
    """

    beta: np.ndarray
    n_events: np.ndarray
    n_sites: int
    tau: np.ndarray
    energy_per_site: Curve
    specific_heat: Curve
    abs_magnetization: Curve
    m2: Curve
    m4: Curve
    susceptibility: Curve
    binder_cumulant: Curve

    @property
    def temperature(self) -> np.ndarray:
        """1/beta, in J/k_B; infinite where beta is 0."""
        with np.errstate(divide="ignore"):
            return 1 / self.beta

    def __str__(self) -> str:
        lines = [_HEADER, *(self._row(i) for i in range(len(self.beta)))]
        widths = [max(len(cells[j]) for cells in lines) for j in range(len(_HEADER))]
        return "\n".join(
            "  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True))
            for cells in lines
        )

    def _row(self, i: int) -> tuple[str, ...]:
        curves = (getattr(self, name) for name in _CURVES)
        return (
            f"{self.beta[i]:.5g}",
            f"{self.n_events[i]}",
            *(_with_error(c.value[i], c.std_error[i]) for c in curves),
            f"{self.tau[i]:.1f}",
        )


_CURVES = {
    "energy_per_site": "E/N [J]",
    "specific_heat": "c [k_B]",
    "abs_magnetization": "<|m|>",
    "m2": "<m^2>",
    "m4": "<m^4>",
    "susceptibility": "chi [1/J]",
    "binder_cumulant": "U4",
}
_HEADER = ("beta [1/J]", "events", *_CURVES.values(), "tau")


def thermodynamics(
    events: Events, *, n_sites: int | None = None, independent: bool | None = None
) -> Thermodynamics:
    """Averages of energy and magnetization at every temperature of a sample.

    Parameters
    ----------
    events : Events
        With ``beta``, and either ``spins`` or both ``energy`` (extensive, in J) and
        ``magnetization`` (per site). Columns of energy and magnetization are used where they
        are; from spins the energy is that of the periodic lattice in zero field with J = 1.
        A weight counts.
    n_sites : int, optional
        Spins of a lattice; needed where there are no spins.
    independent : bool, optional
        Whether the events of a temperature are known to be independent. Otherwise they count as
        steps of one chain, in their order, and its tau enters the errors. By default they are
        independent where their convention "sampling" says that a simulator measured how far
        apart they must be, and steps of a chain elsewhere.

    Returns
    -------
    Thermodynamics
        Prints as a table; errors stand in brackets, in units of the last digits.

    Raises
    ------
    ChainTooShortError
        If a temperature has too few events to measure tau; about 25 if they are independent.
    SchemaError
        If columns are missing.
    ValueError
        If a temperature has fewer than 8 events, another condition varies too, or the energy is
        asked of spins with another Hamiltonian.

    Notes
    -----
    Simulators run many chains side by side and take one event of each in turn: events k and
    k + 512, say, are of one lattice. Where burn-in and spacing were somebody's choice and too
    short, tau in the order of the events sees nothing of that, and errors come out too small. The
    convention "sampling" tells such events, and a warning is logged.

    Examples
    --------
    >>> from physgen.simulators import IsingRing
    >>> ring = IsingRing(n_spins=8)(1000, {"beta": np.repeat([0.2, 0.6], 500)}, rng=1)
    >>> table = thermodynamics(ring, independent=True)
    >>> t = np.tanh(table.beta)
    >>> pulls = table.energy_per_site.pulls(-(t + t**7) / (1 + t**8))
    >>> bool((abs(pulls) < 4).all())
    True
    """
    require_events("events", events)
    _check_conditions(events)
    independent = _independent(events, independent)
    energy, m = _energy(events), _magnetization(events)
    n_sites = _n_sites(events) if n_sites is None else n_sites
    betas, group = np.unique(np.asarray(events["beta"], dtype=np.float64), return_inverse=True)
    counts = np.bincount(group)
    _check_counts(betas, counts)
    rows = []
    for i, beta in enumerate(betas):
        at = group == i
        w = None if events.schema.weight is None else events.weights[at]
        try:
            rows.append([*_measured(energy[at], m[at], float(beta), n_sites, w, independent)])
        except ChainTooShortError as error:
            raise ChainTooShortError(
                f"at beta = {beta:.6g}: {error}; independent=True if the events are", error.tau
            ) from error
    curves = (_curve(betas, column) for column in zip(*rows, strict=True))
    tau = np.array([max(measurement.tau for measurement in row) for row in rows])
    return Thermodynamics(betas, counts, n_sites, tau, *curves)


def _measured(
    energy: np.ndarray,
    m: np.ndarray,
    beta: float,
    n_sites: int,
    weights: np.ndarray | None,
    independent: bool,
) -> Iterator[Measurement]:
    known: dict[str, Any] = {"weights": weights, "independent": independent}
    yield mean_energy(energy, n_sites, **known)
    yield specific_heat(energy, beta, n_sites, **known)
    yield abs_magnetization(m, **known)
    yield magnetization_moment(m, 2, **known)
    yield magnetization_moment(m, 4, **known)
    yield susceptibility(m, beta, n_sites, **known)
    yield binder_cumulant(m, **known)


def _independent(events: Events, asked: bool | None) -> bool:
    """What was asked for or else what the simulator says; warns of times chosen by hand."""
    said = events.schema.conventions.get("sampling", "")
    if "as asked for" in said:
        logger.warning(
            "burn-in and spacing of these events were chosen by hand (%s); where they are too "
            "short, errors are too small, since the order of the events does not show their "
            "chains; leave out n_burn_in and spacing to have them measured",
            said,
        )
    measured = "correlation of an event with the next of its chain" in said
    return measured if asked is None else asked


def _curve(beta: np.ndarray, column: tuple[Measurement, ...]) -> Curve:
    return Curve(
        beta, np.array([x.value for x in column]), np.array([x.std_error for x in column])
    )


def _n_sites(events: Events) -> int:
    if "spins" not in events.schema:
        raise SchemaError("without spins the size of the lattice is not known; give n_sites")
    return math.prod(events.schema["spins"].shape)


def _magnetization(events: Events) -> np.ndarray:
    if "magnetization" in events.schema:
        return np.asarray(events["magnetization"], dtype=np.float64)
    return np.concatenate([magnetization(s) for s in blocks_of_spins(events["spins"])])


def _energy(events: Events) -> np.ndarray:
    if "energy" in events.schema:
        return np.asarray(events["energy"], dtype=np.float64)
    _check_hamiltonian(events)
    return np.concatenate([ising_energy(s) for s in blocks_of_spins(events["spins"])])


def _check_hamiltonian(events: Events) -> None:
    """Refuse spins of a file that says that their energy is not that of `ising_energy`."""
    sides = events.schema["spins"].shape
    ours = (
        f"H = -1 sum_<ij> s_i s_j, each bond once, {' x '.join(map(str, sides))} sites with "
        f"{2 * len(sides)} neighbors, periodic"
    )
    ring = "H = -sum_<ij> s_i s_j, each bond once, ring, J = 1"
    theirs = events.schema.conventions.get("hamiltonian", ours)
    if "sum_<ij>" in theirs and not theirs.startswith((ours, ring)):
        raise ValueError(
            f"the events have another energy than the periodic lattice with J = 1 ({theirs}); add "
            'it: events.with_columns({"energy": simulator.energy(events["spins"])})'
        )


def _check_conditions(events: Events) -> None:
    for name in events.schema.with_role("condition"):
        if name != "beta" and len(np.unique(events[name])) > 1:
            raise ValueError(
                f"{name} varies too, and averages are taken at each beta; select one of its "
                f"values first: events[events[{name!r}] == value]"
            )


def _check_counts(betas: np.ndarray, counts: np.ndarray) -> None:
    few = np.flatnonzero(counts < _MIN_EVENTS)
    if len(few):
        i = few[0]
        raise ValueError(
            f"an average with an error needs {_MIN_EVENTS} events of one temperature or more, and "
            f"beta = {betas[i]:.6g} has {counts[i]} ({len(few)} of {len(betas)} temperatures have "
            "too few); simulate more, or round beta to a grid"
        )


def _with_error(value: float, std_error: float) -> str:
    """-1.4336(8): the error in units of the last digits, two of them below 3.55 (PDG)."""
    if not std_error > 1e-12 * abs(value):  # no spread, or nothing but rounding
        return f"{value:.6g}"
    exponent = math.floor(math.log10(std_error))
    decimals = max(0, -exponent + (std_error / 10.0**exponent < 3.55))
    digits = f"{std_error * 10**decimals:.0f}" if std_error < 1 else f"{std_error:.{decimals}f}"
    return f"{value:.{decimals}f}({digits})"
