"""What ``physgen simulate ising`` prints at the end, counted while the events go by."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from physgen.events import Events

if TYPE_CHECKING:
    from physgen.simulators.spin_simulator import SpinSimulator
    from physgen.simulators.thermalization import Thermalization

__all__ = ["Tally", "blocks", "exact_energy", "new_table", "table", "with_error"]

# energies of a whole piece would need its size again
_BLOCK = 1024
_COLUMNS = (
    "beta", "events", "energy/site", "exact", "pull", "|m|", "tau", "burn-in", "spacing",
)  # fmt: skip


class Tally:
    """Sums over the events of each temperature.

    Parameters
    ----------
    simulator : SpinSimulator
    betas : array of shape (n_betas,)
        Increasing.

    Attributes
    ----------
    n_events : int64 array of shape (n_betas,)
    """

    def __init__(self, simulator: "SpinSimulator", betas: np.ndarray) -> None:
        self.simulator = simulator
        self.betas = betas
        self.n_events = np.zeros(len(betas), dtype=np.int64)
        self._sums = np.zeros((4, len(betas)))

    def add(self, events: Events) -> None:
        """Count events, whose temperatures must be among those of the tally."""
        for beta, energy, m in blocks(self.simulator, events):
            at = np.searchsorted(self.betas, beta)
            self.n_events += np.bincount(at, minlength=len(self.betas))
            summed = (energy, energy * energy, m, m * m)
            for total, values in zip(self._sums, summed, strict=True):
                total += np.bincount(at, values, minlength=len(self.betas))

    def energy(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean energies per site and their standard errors for independent events."""
        return self._mean(self._sums[0], self._sums[1])

    def abs_magnetization(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of the absolute magnetization per site, and their errors likewise."""
        return self._mean(self._sums[2], self._sums[3])

    def _mean(self, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = total / self.n_events
        variance = np.maximum(squares / self.n_events - mean * mean, 0)
        # one event alone says nothing about its error
        n = np.where(self.n_events > 1, self.n_events - 1.0, np.nan)
        return mean, np.sqrt(variance / n)

    def exact_energy(self) -> np.ndarray | None:
        """Exact energies per site, where they are known."""
        return exact_energy(self.simulator, self.betas)


def blocks(
    simulator: "SpinSimulator", events: Events
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Beta, energy per site and absolute magnetization of the events, some at a time."""
    for start in range(0, len(events), _BLOCK):
        spins = events["spins"][start : start + _BLOCK]
        m = np.abs(spins.reshape(len(spins), -1).mean(axis=1))
        beta = events["beta"][start : start + _BLOCK]
        yield beta, simulator.energy(spins) / spins[0].size, m


def exact_energy(simulator: "SpinSimulator", betas: np.ndarray) -> np.ndarray | None:
    """Exact energies per site (Kaufman), where they are known."""
    from physgen.simulators.ising_exact import torus

    model = simulator.model
    lattice = model.lattice
    plane = len(lattice.shape) == 2 and lattice.n_neighbors == 4
    frustrated = model.coupling < 0 and any(side % 2 for side in lattice.shape)
    if not plane or lattice.boundary != "periodic" or model.field or frustrated:
        return None
    rows, cols = lattice.shape
    exact = torus((rows, cols), betas, coupling=model.coupling)
    return np.asarray(exact.energy_per_site)


def table(tally: Tally, times: "Thermalization") -> Table:
    """One row per temperature; times in sweeps, errors with the autocorrelation of the events."""
    near = [_nodes(times, beta) for beta in tally.betas]
    spacing = [times.slowest(beta, beta)[1] for beta in tally.betas]
    energy, error = tally.energy()
    error = error * _growth(times.tau_energy, near, spacing)
    m, m_error = tally.abs_magnetization()
    m_error = m_error * _growth(times.tau_order, near, spacing)
    exact = tally.exact_energy()
    columns = [name for name in _COLUMNS if exact is not None or name not in ("exact", "pull")]
    shown = new_table(columns)
    for k, beta in enumerate(tally.betas):
        cells = {
            "beta": f"{beta:.6g}",
            "events": f"{tally.n_events[k]:,}",
            "energy/site": with_error(energy[k], error[k]),
            "|m|": with_error(m[k], m_error[k]),
            **_times(times, beta, near[k]),
        }
        if exact is not None:
            cells["exact"] = f"{exact[k]:.6f}"
            cells["pull"] = f"{(energy[k] - exact[k]) / error[k]:+.1f}" if error[k] > 0 else "–"
        shown.add_row(*(cells[name] for name in columns))
    return shown


def new_table(columns: Sequence[str]) -> Table:
    """A table of numbers."""
    shown = Table(*columns, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in shown.columns:
        column.justify, column.no_wrap = "right", True
    return shown


def _nodes(times: "Thermalization", beta: float) -> slice:
    """Temperatures of the trial on both sides."""
    first = max(0, int(np.searchsorted(times.beta, beta, side="right")) - 1)
    last = int(np.searchsorted(times.beta, beta, side="left"))
    return slice(first, last + 1)


def _growth(tau: np.ndarray, near: list[slice], spacing: list[int]) -> np.ndarray:
    r"""Standard errors over those of independent events; NaN where tau is not known.

    A chain with the autocorrelation :math:`\rho^t` (AR(1)) has :math:`2\tau = (1 + \rho)/(1 -
    \rho)`, and taken every k sweeps :math:`2\tau_k = (1 + \rho^k)/(1 - \rho^k)`, which is
    :math:`\coth(k / 2\tau)` for large tau. All events count as those of one chain.
    """
    slowest = np.array([tau[nodes].max() for nodes in near])
    # below 1/2 successive sweeps are opposed, and independent is the worse case
    rho = np.maximum((2 * slowest - 1) / (2 * slowest + 1), 0) ** np.asarray(spacing)
    growth: np.ndarray = np.sqrt((1 + rho) / (1 - rho))
    return growth


def _times(times: "Thermalization", beta: float, near: slice) -> dict[str, str]:
    n_burn_in, spacing = times.slowest(beta, beta)
    tau = max(times.tau_energy[near].max(), times.tau_order[near].max())
    return {
        "tau": "–" if math.isnan(tau) else f"{tau:.3g}",
        "burn-in": f"{n_burn_in:,}",
        "spacing": f"{spacing:,}",
    }


def with_error(value: Any, error: Any) -> str:
    """A value with its error in units of the last digit, as -0.7047(18)."""
    if math.isnan(error):
        return f"{value:.6f}(–)"
    if error == 0:
        return f"{value:.6f}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 9)
    return f"{value:.{digits}f}({error * 10**digits:.0f})"
