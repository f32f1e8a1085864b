"""The summary of configurations whose temperatures were drawn from a uniform law."""

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from physgen.events import Events
from physgen.shell_ising_table import blocks, exact_energy, new_table, with_error

if TYPE_CHECKING:
    from physgen.simulators.spin_simulator import SpinSimulator

__all__ = ["UniformTally", "uniform_table"]

# so many that straight lines between the exact values are right to far less than a sigma
_N_EXACT = 4097


class UniformTally:
    r"""Sums over the events of each bin of beta.

    Where the exact energy :math:`E(\beta)` is known, so is its variance,
    :math:`\sigma^2 = -dE/d\beta`, and each energy becomes a pull :math:`z = (E_i -
    E(\beta_i)) / \sigma(\beta_i)`, with mean 0 and mean square 1.

    Parameters
    ----------
    simulator : SpinSimulator
    edges : array of shape (n_bins + 1,)

    Attributes
    ----------
    n_events : int64 array of shape (n_bins,)
    """

    def __init__(self, simulator: "SpinSimulator", edges: np.ndarray) -> None:
        self.simulator = simulator
        self.edges = edges
        self.n_events = np.zeros(len(edges) - 1, dtype=np.int64)
        self._sums = np.zeros((5, len(edges) - 1))
        self._nodes = np.linspace(edges[0], edges[-1], _N_EXACT)
        self._exact = exact_energy(simulator, self._nodes)

    def add(self, events: Events) -> None:
        """Count events, each by its own temperature."""
        n_bins = len(self.n_events)
        for beta, energy, m in blocks(self.simulator, events):
            at = np.clip(np.searchsorted(self.edges, beta, side="right") - 1, 0, n_bins - 1)
            z = self._pulls(beta, energy)
            self.n_events += np.bincount(at, minlength=n_bins)
            for total, values in zip(self._sums, (energy, m, z, z**2, z**4), strict=True):
                total += np.bincount(at, values, minlength=n_bins)

    def _pulls(self, beta: np.ndarray, energy: np.ndarray) -> np.ndarray:
        if self._exact is None:
            return np.full(len(beta), np.nan)
        n_sites = self.simulator.model.lattice.n_sites
        variance = -np.gradient(self._exact, self._nodes) / n_sites
        sigma = np.sqrt(np.maximum(np.interp(beta, self._nodes, variance), 0))
        above = energy - np.interp(beta, self._nodes, self._exact)
        return np.divide(above, sigma, out=np.full(len(beta), np.nan), where=sigma > 0)

    def means(self) -> np.ndarray:
        """Energy per site, absolute magnetization, z, z^2, z^4; shape (5, n_bins)."""
        return self._sums / np.where(self.n_events > 0, self.n_events, np.nan)


def uniform_table(tally: UniformTally) -> Table:
    """One row per bin of beta; the events of different lattices are independent."""
    columns = ["beta", "events", "energy/site", "|m|", "pull", "chi2/event"]
    energy, m, z, square, fourth = tally.means()
    n = np.maximum(tally.n_events, 1)
    error = np.sqrt((fourth - square**2) / n)
    shown = new_table(columns if np.isfinite(z).any() else columns[:4])
    for k, n_events in enumerate(tally.n_events):
        cells = [f"{tally.edges[k]:.6g}–{tally.edges[k + 1]:.6g}", f"{n_events:,}"]
        cells += [f"{energy[k]:.4f}", f"{m[k]:.4f}"]
        cells += [f"{z[k] * n[k] ** 0.5:+.1f}", with_error(square[k], error[k])]
        shown.add_row(*cells[: len(shown.columns)])
    return shown
