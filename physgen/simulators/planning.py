"""Which farm an algorithm moves, on which ladder, and how long it must run."""

from __future__ import annotations

import dataclasses
import logging
from functools import lru_cache

import numpy as np

from physgen.mcmc import ChainTooShortError
from physgen.random import derived_seed
from physgen.simulators.farms import BitFarm, ClusterFarm, Farm, starting_spins
from physgen.simulators.spin_model import Algorithm, Rule, SpinModel
from physgen.simulators.tempered import TemperedFarm, ladder
from physgen.simulators.thermalization import Thermalization, thermalize

__all__ = [
    "chosen_times",
    "make_farm",
    "measured_times",
    "n_lanes",
    "rule_of",
    "rungs_for",
    "trial_betas",
]

logger = logging.getLogger(__name__)

# byte-coded lattices are moved one after the other, so a farm of many would gain nothing
_N_CLUSTER_LANES = 32
# temperatures at which burn-in and spacing are measured, with 8 lattices or more each
_N_NODES = 16
# sweeps after which a trial gives up
_MAX_TRIAL = 1 << 19
_MAX_SHORT_TRIAL = 1 << 13


def rungs_for(model: SpinModel, values: np.ndarray) -> np.ndarray:
    """Ladder of parallel tempering that holds these inverse temperatures.

    Raises
    ------
    ValueError
        If it would leave fewer than 8 lattices to a rung.
    """
    most = n_lanes("parallel_tempering") // 8
    if len(values) > most:
        raise ValueError(
            f"parallel tempering keeps every beta on its ladder, at most {most} of them; "
            f"got {len(values)}; use another algorithm"
        )
    hot_end = 0.8 * _critical_beta(model)
    if values[0] > hot_end:
        # a ladder must reach into the disordered phase, where configurations forget
        values = np.append(hot_end, values)
    rungs = _ladder(model, tuple(values))
    if len(rungs) > most:
        raise ValueError(
            f"a ladder from beta = {values[0]:g} to {values[-1]:g} needs {len(rungs)} rungs "
            f"on this lattice, more than {most}; ask for a narrower range or a smaller lattice"
        )
    return rungs


def make_farm(
    model: SpinModel, algorithm: Algorithm, beta: np.ndarray, hot: np.ndarray, seed: int
) -> Farm:
    """Lattices of an algorithm at their starts; beta and hot of shape (n_lanes,)."""
    spins = starting_spins(model, beta, hot, derived_seed(seed, 0))
    seed = derived_seed(seed, 1)
    if algorithm == "wolff" or algorithm == "swendsen_wang":
        return ClusterFarm(model, beta, algorithm, spins, seed)
    if algorithm == "parallel_tempering":
        return TemperedFarm(model, beta, spins, seed)
    return BitFarm(model, beta, rule_of(algorithm), spins, seed)


def rule_of(algorithm: Algorithm) -> Rule:
    """Moves of a bit-coded farm."""
    return "heat_bath" if algorithm == "heat_bath" else "metropolis"


def n_lanes(algorithm: Algorithm) -> int:
    """Lattices of a farm on the CPU."""
    return _N_CLUSTER_LANES if algorithm in ("wolff", "swendsen_wang") else BitFarm.n_lanes


def trial_betas(
    model: SpinModel, values: np.ndarray, rungs: np.ndarray | None
) -> tuple[float, ...]:
    """Temperatures to measure at: all, or a grid with the slowest one, the critical point."""
    if rungs is not None:
        return tuple(rungs)
    if len(values) <= _N_NODES:
        return tuple(values)
    slowest = np.clip(_critical_beta(model), values[0], values[-1])
    grid = np.append(np.linspace(values[0], values[-1], _N_NODES - 1), slowest)
    return tuple(np.unique(grid))


def _critical_beta(model: SpinModel) -> float:
    return model.lattice.critical_coupling / abs(model.coupling) if model.coupling else 1.0


@lru_cache(maxsize=64)
def measured_times(
    model: SpinModel,
    algorithm: Algorithm,
    nodes: tuple[float, ...],
    max_sweeps: int = _MAX_TRIAL,
) -> Thermalization:
    """Run a trial at these inverse temperatures, or remember it."""
    farms: list[Farm] = []

    def first_farm(beta: np.ndarray, hot: np.ndarray) -> Farm:
        farms.append(make_farm(model, algorithm, beta, hot, seed=0))
        return farms[0]

    most = max(n_lanes(algorithm), 8 * len(nodes))
    times = thermalize(first_farm, np.asarray(nodes), most, model, algorithm, max_sweeps)
    if isinstance(farms[0], TemperedFarm):
        times = dataclasses.replace(
            times, swap_rates=farms[0].swap_rates, n_round_trips=farms[0].n_round_trips
        )
    return times


def chosen_times(
    model: SpinModel,
    algorithm: Algorithm,
    nodes: tuple[float, ...],
    n_burn_in: int,
    spacing: int,
) -> Thermalization:
    """Times that somebody chose, with a warning where a trial of moderate length wants more."""
    try:
        measured = measured_times(model, algorithm, nodes, _MAX_SHORT_TRIAL)
    except ChainTooShortError as error:
        logger.warning("the burn-in and spacing given could not be judged: %s", error)
        unknown = Thermalization.unknown(np.asarray(nodes), algorithm)
        return unknown.replaced(n_burn_in, spacing)
    _warn(n_burn_in, measured.n_burn_in, "burn-in", "events remember how they started", measured)
    _warn(spacing, measured.spacing, "spacing", "events of one lattice are correlated", measured)
    return measured.replaced(n_burn_in, spacing)


def _warn(
    given: int, needed: np.ndarray, what: str, consequence: str, measured: Thermalization
) -> None:
    worst = int(needed.argmax())
    if given < needed[worst]:
        logger.warning(
            "a %s of %d sweeps is short: at beta = %g a trial found %d to be enough; %s",
            what, given, measured.beta[worst], needed[worst], consequence,
        )  # fmt: skip


@lru_cache(maxsize=16)
def _ladder(model: SpinModel, values: tuple[float, ...]) -> np.ndarray:
    """Rungs at the energy fluctuations that a short run from cold starts shows."""
    nodes = np.linspace(values[0], values[-1], _N_NODES)
    lane = np.arange(BitFarm.n_lanes) * _N_NODES // BitFarm.n_lanes
    farm = make_farm(model, "metropolis", nodes[lane], np.zeros(len(lane), dtype=bool), seed=1)
    farm.sweep(200)
    energies = []
    for _ in range(50):
        farm.sweep(4)
        energies.append(farm.measure()[0])
    sigma = [np.std([e[lane == k] for e in energies]) for k in range(_N_NODES)]
    return ladder(np.asarray(values), nodes, np.asarray(sigma))
