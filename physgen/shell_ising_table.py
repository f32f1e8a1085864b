"""What ``physgen simulate ising`` prints at the end, counted while the events go by."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from physgen.events import Events

if TYPE_CHECKING:
    from physgen.simulators.spin_simulator import SpinSimulator
    from physgen.simulators.thermalization import Thermalization

__all__ = ["Tally", "table"]

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
        self._sums = np.zeros((3, len(betas)))

    def add(self, events: Events) -> None:
        """Count events, whose temperatures must be among those of the tally."""
        for start in range(0, len(events), _BLOCK):
            spins = events["spins"][start : start + _BLOCK]
            at = np.searchsorted(self.betas, events["beta"][start : start + _BLOCK])
            energy = self.simulator.energy(spins) / spins[0].size
            m = np.abs(spins.reshape(len(spins), -1).mean(axis=1))
            self.n_events += np.bincount(at, minlength=len(self.betas))
            for total, values in zip(self._sums, (energy, energy * energy, m), strict=True):
                total += np.bincount(at, values, minlength=len(self.betas))

    def energy(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean energies per site and their standard errors for independent events."""
        mean, square, _ = self._sums / self.n_events
        variance = np.maximum(square - mean * mean, 0) / np.maximum(self.n_events - 1, 1)
        return mean, np.sqrt(variance)

    def abs_magnetization(self) -> np.ndarray:
        """Mean of the absolute magnetization per site."""
        return self._sums[2] / self.n_events

    def exact_energy(self) -> np.ndarray | None:
        """Exact energies per site (Kaufman), where they are known."""
        from physgen.simulators.ising_exact import torus

        model = self.simulator.model
        lattice = model.lattice
        plane = len(lattice.shape) == 2 and lattice.n_neighbors == 4
        frustrated = model.coupling < 0 and any(side % 2 for side in lattice.shape)
        if not plane or lattice.boundary != "periodic" or model.field or frustrated:
            return None
        rows, cols = lattice.shape
        exact = torus((rows, cols), self.betas, coupling=model.coupling)
        return np.asarray(exact.energy_per_site)


def table(tally: Tally, times: "Thermalization") -> Table:
    """One row per temperature; times in sweeps."""
    energy, error = tally.energy()
    exact = tally.exact_energy()
    m = tally.abs_magnetization()
    columns = [name for name in _COLUMNS if exact is not None or name not in ("exact", "pull")]
    shown = Table(*columns, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in shown.columns:
        column.justify, column.no_wrap = "right", True
    for k, beta in enumerate(tally.betas):
        cells = {
            "beta": f"{beta:.6g}",
            "events": f"{tally.n_events[k]:,}",
            "energy/site": _with_error(energy[k], error[k]),
            "|m|": f"{m[k]:.4f}",
            **_times(times, beta),
        }
        if exact is not None:
            cells["exact"] = f"{exact[k]:.6f}"
            cells["pull"] = f"{(energy[k] - exact[k]) / error[k]:+.1f}" if error[k] > 0 else "–"
        shown.add_row(*(cells[name] for name in columns))
    return shown


def _times(times: "Thermalization", beta: float) -> dict[str, str]:
    n_burn_in, spacing = times.slowest(beta, beta)
    first = max(0, int(np.searchsorted(times.beta, beta, side="right")) - 1)
    last = int(np.searchsorted(times.beta, beta, side="left"))
    near = slice(first, last + 1)
    tau = max(times.tau_energy[near].max(), times.tau_order[near].max())
    return {
        "tau": "–" if math.isnan(tau) else f"{tau:.3g}",
        "burn-in": f"{n_burn_in:,}",
        "spacing": f"{spacing:,}",
    }


def _with_error(value: Any, error: Any) -> str:
    """A value with its error to two digits."""
    if not error > 0:
        return f"{value:.6f}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 9)
    return f"{value:.{digits}f} ± {error:.{digits}f}"
