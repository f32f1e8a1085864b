r"""How long chains must run: measured on hot and cold starts before any event is taken.

A trial farm runs half of its lattices from random spins and half from a ground state. Two series
are followed, the energy and whatever orders:

* squared, the magnetization or, of an antiferromagnet, the staggered one, where a symmetry lets
  the sign be drawn anew for every event;
* with its sign, which may be what relaxes slowest, where a field takes that symmetry away;
* of a frustrated model, whose order nobody knows, the squared overlap
  :math:`(\frac1N \sum_i s_i s'_i)^2` of two lattices that started alike, as for spin glasses. It
  forgets at twice the rate of each, which the times below take back.

The trial is long enough when, in its second half, hot and cold agree within 4 standard errors and
both series are 50 autocorrelation times long. It gives:

* the burn-in: the last sweep at which hot and cold differed visibly, plus 10 autocorrelation
  times, which take what remains down by :math:`e^{-10}`;
* the spacing of events: twice the lag from which on the autocorrelation is below 0.1, that is
  where it is about 0.01; more if it should still be above 0.05 there.

What no lattice of the trial has met cannot be seen: two walls across a long and narrow lattice in
the ordered phase are so rare and live so long that hot and cold may agree without them.

The trial has a seed of its own, so these numbers depend on the model and the temperatures alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physgen.mcmc.diagnostics import (
    ChainTooShortError,
    autocorrelation,
    integrated_autocorrelation_time,
)
from physgen.simulators.farms import Farm
from physgen.simulators.spin_model import Algorithm, SpinModel

__all__ = ["Thermalization", "thermalize"]

# records of a trial in memory; longer trials keep every second, fourth, ... sweep
_MAX_RECORDS = 1024
_FIRST_LOOK = 256
# a half of the trial must be that many autocorrelation times long
_MIN_TAUS = 50
# standard errors at which hot and cold starts differ visibly
_VISIBLE = 4.0
# autocorrelation times after the last visible difference
_DECAYS = 10


@dataclass(frozen=True)
class Thermalization:
    """What a trial measured at each temperature; arrays of shape (n_betas,), times in sweeps.

    Parameters
    ----------
    beta : array
        Increasing, in 1/J.
    algorithm : str
    tau_energy, tau_order : array
        Integrated autocorrelation times, 1/2 + sum of rho, of the energy and of what orders.
    n_burn_in : array
        Sweeps before the first event.
    spacing : array
        Sweeps between two events of a lattice.
    residual : array
        Largest autocorrelation of the two series at ``spacing``.
    hot_cold : array
        Difference of hot and cold means in standard errors, the larger of the two series.
    n_sweeps : int
        Length of the trial.
    measured : bool
        Whether burn-in and spacing are those of the trial, rather than somebody's choice.
    swap_rates : array of shape (n_betas - 1,), optional
        Of parallel tempering, between each temperature and the next.
    n_round_trips : int
        Of parallel tempering, from the hottest rung to the coldest and back, in the trial.
    """

    beta: np.ndarray
    algorithm: Algorithm
    tau_energy: np.ndarray
    tau_order: np.ndarray
    n_burn_in: np.ndarray
    spacing: np.ndarray
    residual: np.ndarray
    hot_cold: np.ndarray
    n_sweeps: int
    measured: bool = True
    swap_rates: np.ndarray | None = None
    n_round_trips: int = 0

    def slowest(self, low: float, high: float) -> tuple[int, int]:
        """Burn-in and spacing that suffice between two inverse temperatures."""
        first = max(0, int(np.searchsorted(self.beta, low, side="right")) - 1)
        last = min(len(self.beta) - 1, int(np.searchsorted(self.beta, high, side="left")))
        near = slice(first, last + 1)
        return int(self.n_burn_in[near].max()), int(self.spacing[near].max())

    def replaced(self, n_burn_in: int, spacing: int) -> Thermalization:
        """The same with times that somebody chose; what they leave of rho is not known."""
        n = len(self.beta)
        return dataclasses.replace(
            self,
            n_burn_in=np.full(n, n_burn_in),
            spacing=np.full(n, spacing),
            residual=np.full(n, np.nan),
            measured=False,
        )

    @classmethod
    def unknown(cls, beta: np.ndarray, algorithm: Algorithm) -> Thermalization:
        """Nothing measured: all NaN, to be :meth:`replaced`."""
        nan = np.full(len(beta), np.nan)
        return cls(beta, algorithm, nan, nan, nan, nan, nan, nan, n_sweeps=0)

    def in_words(self) -> str:
        """One sentence for the conventions of a file."""
        burn_in, spacing = int(self.n_burn_in.max()), int(self.spacing.max())
        run = f"{self.algorithm}, {burn_in} sweeps of burn-in, then one event per {spacing} sweeps"
        tau = np.fmax(self.tau_energy, self.tau_order).max()
        slow = f"tau_int = {tau:.3g} sweeps at the slowest beta"
        if not self.measured:
            return (
                f"{run} of a chain, as asked for; {slow if self.n_sweeps else 'tau not measured'}"
            )
        words = f"{run} of a chain; {slow}, correlation of an event with the next of its chain "
        words += f"{np.abs(self.residual).max():.2g}"
        if self.swap_rates is not None and len(self.swap_rates):
            low, high = self.swap_rates.min(), self.swap_rates.max()
            words += f"; swap rates {low:.2f} to {high:.2f}, {self.n_round_trips:,} round trips"
        return words


def thermalize(
    make_farm: Callable[[np.ndarray, np.ndarray], Farm],
    betas: np.ndarray,
    n_lanes: int,
    model: SpinModel,
    algorithm: Algorithm,
    max_sweeps: int = 1 << 19,
) -> Thermalization:
    """Run a trial until it is long enough.

    Parameters
    ----------
    make_farm : callable
        ``make_farm(beta, hot)``, arrays of shape (n_lanes,), gives a farm at its start.
    betas : array of shape (n_betas,)
        Increasing; each gets n_lanes // n_betas lattices.
    n_lanes : int
        Lattices of the farm, at least 4 per temperature.
    model : SpinModel
        Says what orders.
    algorithm : str
        Its name, for the report.
    max_sweeps : int, default 2^19
        Where to give up.

    Raises
    ------
    ChainTooShortError
        If hot and cold starts still disagree, or the chains are still short, at ``max_sweeps``.
        Its ``tau`` is the longest autocorrelation time seen, in sweeps.
    """
    lane = np.arange(n_lanes) * len(betas) // n_lanes
    hot = (np.arange(n_lanes) - np.searchsorted(lane, lane)) % 2 == 1
    trial = _Trial(make_farm(betas[lane], hot), model, _partners(lane, hot))
    # a temperature is judged at the first length that suffices it, while its sweeps are resolved
    found: dict[int, _Node] = {}
    n_sweeps = _FIRST_LOOK
    while True:
        trial.run_to(n_sweeps)
        open_ones = [k for k in range(len(betas)) if k not in found]
        looks = {k: _at_one_beta(trial, lane == k, hot) for k in open_ones}
        found |= {k: node for k, node in looks.items() if node.long_enough}
        if len(found) == len(betas):
            return _collected(betas, algorithm, [found[k] for k in range(len(betas))], n_sweeps)
        if n_sweeps >= max_sweeps:
            raise _too_short(betas, looks, n_sweeps, model)
        n_sweeps *= 2


class _Trial:
    """Energies and order of a farm, every ``every`` sweeps from the start."""

    def __init__(self, farm: Farm, model: SpinModel, partners: np.ndarray) -> None:
        self._farm = farm
        self._model = model
        self._partners = partners
        # sweeps of a lattice that one sweep of each series stands for
        self.forgetting = np.array([1, 2 if model.frustrated else 1])
        self.every = 1
        self.n_sweeps = 0
        self._records: list[np.ndarray] = []

    def run_to(self, n_sweeps: int) -> None:
        while self.n_sweeps < n_sweeps:
            self._farm.sweep(self.every)
            self.n_sweeps += self.every
            self._records.append(np.stack(self._look()).astype(np.float32))
            if len(self._records) == _MAX_RECORDS:
                self._records = self._records[1::2]
                self.every *= 2

    def _look(self) -> tuple[np.ndarray, np.ndarray]:
        energy, order = self._farm.measure()
        if self._model.frustrated:
            spins = self._farm.spins()
            order = (spins * spins[self._partners]).mean(axis=1)
        return energy, order if self._model.symmetry == "none" else order * order

    def series(self, lanes: np.ndarray) -> np.ndarray:
        """Array of shape (2, n_records, n_lanes) of the lattices chosen."""
        return np.stack([record[:, lanes] for record in self._records], axis=1).astype(np.float64)


@dataclass(frozen=True)
class _Node:
    """One temperature of a trial; times in sweeps."""

    tau: tuple[float, float]
    n_burn_in: int
    spacing: int
    residual: float
    hot_cold: float
    long_enough: bool


def _at_one_beta(trial: _Trial, lanes: np.ndarray, hot: np.ndarray) -> _Node:
    series = trial.series(np.flatnonzero(lanes))
    is_hot = hot[lanes]
    half = series[:, series.shape[1] // 2 :]
    tau = [integrated_autocorrelation_time(s, min_length=0).value for s in half]
    rho = [autocorrelation(s) for s in half]
    lags = [_spacing(r, t, s.size) for r, t, s in zip(rho, tau, half, strict=True)]
    met = max(_last_difference(s, is_hot) for s in series)
    pulls = [_hot_cold(s, is_hot, t) for s, t in zip(half, tau, strict=True)]
    times = trial.every * trial.forgetting * tau
    return _Node(
        tau=(float(times[0]), float(times[1])),
        n_burn_in=trial.every * met + math.ceil(_DECAYS * times.max()),
        spacing=int(trial.every * (trial.forgetting * lags).max()),
        residual=max((float(r[lag]) for r, lag in zip(rho, lags, strict=True)), key=abs),
        hot_cold=max(pulls, key=abs),
        long_enough=max(tau) * _MIN_TAUS < half.shape[1] > 4 * max(lags)
        and max(map(abs, pulls)) < _VISIBLE,
    )


def _partners(lane: np.ndarray, hot: np.ndarray) -> np.ndarray:
    """For each lattice the next one of its temperature and start."""
    partners = np.arange(len(lane))
    for group in np.unique(lane):
        for start in (hot, ~hot):
            alike = np.flatnonzero(start & (lane == group))
            partners[alike] = np.roll(alike, 1)
    return partners


def _spacing(rho: np.ndarray, tau: float, n: int) -> int:
    """Records after which n measurements with this autocorrelation are nearly independent."""
    # at high temperature Metropolis moves alternate, and tau does not tell how long
    near = np.abs(rho[: max(64, math.ceil(12 * tau))])
    noise = 4 / math.sqrt(n)
    lag = 2 * (int(np.flatnonzero(near > max(0.1, noise))[-1]) + 1)
    while 2 * lag < len(rho) and abs(rho[lag]) > max(0.05, noise):
        lag *= 2
    return min(lag, len(rho) - 1)


def _hot_cold(series: np.ndarray, hot: np.ndarray, tau: float) -> float:
    """Difference of the hot and the cold mean in its standard errors."""
    error = math.sqrt(2 * tau / len(series) * series.var() * (1 / hot.sum() + 1 / (~hot).sum()))
    difference = float(series[:, hot].mean() - series[:, ~hot].mean())
    return difference / error if error else 0.0


def _last_difference(series: np.ndarray, hot: np.ndarray) -> int:
    """Number of records until hot and cold stop to differ visibly, at most half of them."""
    half = len(series) // 2
    error = series[half:].std() * math.sqrt(1 / hot.sum() + 1 / (~hot).sum())
    difference = np.abs(series[:half, hot].mean(axis=1) - series[:half, ~hot].mean(axis=1))
    # one standard error more than for a single look, since there are many
    seen = np.flatnonzero(difference > (_VISIBLE + 1) * error)
    return int(seen[-1]) + 1 if len(seen) else 0


def _collected(
    betas: np.ndarray, algorithm: Algorithm, found: list[_Node], n_sweeps: int
) -> Thermalization:
    return Thermalization(
        beta=betas,
        algorithm=algorithm,
        tau_energy=np.array([node.tau[0] for node in found]),
        tau_order=np.array([node.tau[1] for node in found]),
        n_burn_in=np.array([node.n_burn_in for node in found]),
        spacing=np.array([node.spacing for node in found]),
        residual=np.array([node.residual for node in found]),
        hot_cold=np.array([node.hot_cold for node in found]),
        n_sweeps=n_sweeps,
    )


def _too_short(
    betas: np.ndarray, looks: dict[int, _Node], n_sweeps: int, model: SpinModel
) -> ChainTooShortError:
    worst = max((k for k in looks if not looks[k].long_enough), key=lambda k: max(looks[k].tau))
    tau = max(looks[worst].tau)
    larger = "parallel_tempering" + ("" if model.field else ", swendsen_wang or wolff")
    return ChainTooShortError(
        f"chains of {n_sweeps:,} sweeps are too short at beta = {betas[worst]:g}: the "
        f"autocorrelation time is about {tau:,.0f} sweeps or more, and hot and cold starts "
        f"differ by {looks[worst].hot_cold:+.1f} standard errors; use an algorithm with larger "
        f"moves ({larger}) or a smaller lattice, or give n_burn_in and spacing yourself",
        tau,
    )
