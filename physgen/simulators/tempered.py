"""Parallel tempering of bit-coded Ising lattices: neighbors on a ladder exchange temperatures."""

from __future__ import annotations

import itertools
import math

import numpy as np

from physgen.random import derived_seed
from physgen.simulators.farms import BitFarm
from physgen.simulators.spin_model import SpinModel

__all__ = ["TemperedFarm", "ladder"]

# neighbors on the ladder are that many standard deviations of beta E apart, which gives a
# swap rate of erfc(1.2 / 2) = 0.40 for Gaussian energies
_STEP = 1.2


class TemperedFarm:
    r"""512 bit-coded lattices, in systems that each hold one lattice per temperature.

    After every sweep, pairs of neighbors on the ladder (even pairs and odd pairs in turn) swap
    their temperatures with probability
    :math:`\min(1, e^{(\beta_a - \beta_b)(E_a - E_b)})`. Seen from outside, lane k stays at its
    temperature and the configurations move.

    Parameters
    ----------
    model : SpinModel
    beta : array of shape (512,)
        Non-decreasing; every temperature is held by a run of lanes.
    start : int8 array of shape (512, n_sites)
    seed : int

    Attributes
    ----------
    n_tried, n_swapped : int arrays of shape (n_rungs - 1,)
        Swaps tried and made between each rung and the next.
    n_round_trips : int
        Journeys from the hottest rung to the coldest and back, over all lattices.

    References
    ----------
    Hukushima and Nemoto, J. Phys. Soc. Jpn. 65 (1996) 1604; Katzgraber et al., J. Stat. Mech.
    (2006) P03018 (round trips).
    """

    def __init__(self, model: SpinModel, beta: np.ndarray, start: np.ndarray, seed: int) -> None:
        self._farm = BitFarm(model, beta, "metropolis", start, seed)
        self.n_lanes = self._farm.n_lanes
        self._random = np.random.Philox(key=derived_seed(seed, 1))
        self._betas, first, size = np.unique(beta, return_index=True, return_counts=True)
        n_systems = int(size.min())
        # rows are rungs, columns are systems; lattices beyond the equal shares never swap
        self._lane = first[:, None] + np.arange(n_systems)
        self._holder = np.arange(self.n_lanes)
        self._odd = 0
        self.n_tried = np.zeros(len(first) - 1, dtype=np.int64)
        self.n_swapped = np.zeros(len(first) - 1, dtype=np.int64)
        self._heading = np.zeros(self.n_lanes, dtype=np.int8)
        self.n_round_trips = 0

    @property
    def swap_rates(self) -> np.ndarray:
        """Fraction of tried swaps that were made, of shape (n_rungs - 1,)."""
        return self.n_swapped / np.maximum(self.n_tried, 1)

    def sweep(self, n_sweeps: int) -> None:
        """Sweep all lattices, and try the swaps of one parity after each sweep."""
        for _ in range(n_sweeps):
            self._farm.sweep(1)
            self._swap()

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies and order parameters of shape (512,), by temperature."""
        energy, order = self._farm.measure()
        return energy[self._holder], order[self._holder]

    def spins(self) -> np.ndarray:
        """Configurations by temperature, int8 of shape (512, n_sites)."""
        return self._farm.spins()[self._holder]

    def _swap(self) -> None:
        lower = self._lane[self._odd : -1 : 2]
        upper = self._lane[self._odd + 1 :: 2]
        d_beta = (self._betas[1:] - self._betas[:-1])[self._odd :: 2]
        energy = self._farm.measure()[0][self._holder]
        words = self._random.random_raw(lower.size).reshape(lower.shape)
        u = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        # at equal or better energy the exponent is positive and the swap certain
        exponent = d_beta[:, None] * (energy[upper] - energy[lower])
        accepted = u < np.exp(np.minimum(exponent, 0))
        self.n_tried[self._odd :: 2] += lower.shape[1]
        self.n_swapped[self._odd :: 2] += accepted.sum(axis=1)
        a, b = lower[accepted], upper[accepted]
        self._farm.exchange(self._holder[a], self._holder[b])
        self._holder[a], self._holder[b] = self._holder[b], self._holder[a]
        self._odd = 1 - self._odd
        self._count_trips()

    def _count_trips(self) -> None:
        """Count a trip where a lattice that turned at the coldest rung is back at the hottest."""
        hottest, coldest = self._holder[self._lane[0]], self._holder[self._lane[-1]]
        self.n_round_trips += int((self._heading[hottest] < 0).sum())
        self._heading[hottest] = 1
        self._heading[coldest] = np.where(self._heading[coldest] > 0, -1, self._heading[coldest])


def ladder(betas: np.ndarray, nodes: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    r"""Fill the gaps between inverse temperatures so that neighbors swap.

    Between two wanted values the rungs are placed at equal steps of
    :math:`\int \sigma_E(\beta)\,d\beta`, of which no step exceeds 1.2: for Gaussian energies the
    swap rate is then :math:`\mathrm{erfc}(1.2/2) = 0.40` or more, the same at every rung.

    Parameters
    ----------
    betas : array of shape (n,)
        Wanted inverse temperatures, increasing; all of them are rungs.
    nodes, sigma : arrays of shape (m,)
        Increasing inverse temperatures and the standard deviations of the energy measured there.

    Returns
    -------
    array of shape (n_rungs,)
    """
    fine = np.unique(np.concatenate([np.linspace(betas[0], betas[-1], 1001), betas]))
    rate = np.interp(fine, nodes, sigma)
    length = np.concatenate([[0.0], np.cumsum(np.diff(fine) * (rate[1:] + rate[:-1]) / 2)])
    at = np.interp(betas, fine, length)
    rungs = [betas[:1]]
    for low, high in itertools.pairwise(at):
        n_steps = max(1, math.ceil((high - low) / _STEP))
        rungs.append(np.interp(np.linspace(low, high, n_steps + 1)[1:-1], length, fine))
    return np.unique(np.concatenate([*rungs, betas]))
