"""How events are made: chains of the training that go on, or copies on a ladder of machines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, SupportsIndex, get_args

import numpy as np
import torch
from torch import Tensor

from physgen.mcmc import tune_ladder
from physgen.mcmc.copies import Copies
from physgen.models.checks import whole_number
from physgen.models.rbm.trajectory import Trajectory
from physgen.random import PhiloxRandom, Random

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["Sampler", "ladder", "sample", "start_of", "steps"]

Sampler = Literal["gibbs", "pt", "ptt"]

# wanted rate of swaps between neighbors; near 0.23 to 0.4 round trips are fastest (Kone and Kofke,
# J. Chem. Phys. 122 (2005) 206101)
_SWAP_RATE = 0.3
_MAX_RUNGS = 64
# chains that measure the swap rates, steps of each on a rung, and rounds of measurement
_N_TRIAL, _N_TRIAL_STEPS, _N_ROUNDS = 128, 4, 3
# block Gibbs steps on each rung on the way to the start
_N_ANNEAL = 2


def steps(n_steps: SupportsIndex | None, model: RBMModel) -> int:
    """The number of steps asked for, or that of the settings."""
    if n_steps is None:
        return model.settings.n_steps_sample
    return whole_number("n_steps", n_steps, 1)


def sample(
    model: RBMModel,
    n_events: int,
    condition: Tensor,
    *,
    rng: Random,
    n_steps: SupportsIndex | None,
    sampler: Sampler,
) -> Tensor:
    """Events of shape (n_events, n_features); see :meth:`RBMModel.sample`."""
    if sampler not in get_args(Sampler):
        raise ValueError(f"sampler must be 'gibbs', 'pt' or 'ptt', got {sampler!r}")
    n = steps(n_steps, model)
    if sampler == "gibbs":
        start = model.chains.draw(n_events, condition, rng=rng)
        return model.gibbs(start, condition, n, rng=rng)
    path = model.trajectory(condition, snapshots=sampler == "ptt")
    rungs = ladder(model, sampler)
    copies = Copies(path.energy, start_of(path, rungs, n_events, rng), rungs)
    for step in range(n):
        copies.move(model.kernel(path), 1, rng)
        copies.swap(step % 2, rng)
    return copies.coldest()


def start_of(path: Trajectory, rungs: tuple[float, ...], n_chains: int, rng: Random) -> Tensor:
    """States on the rungs that came down the path from free units, (n_rungs, n_chains, ...)."""
    x = path.draw_free(n_chains, rng)
    states = []
    for t in rungs:
        x = path.at(t).gibbs(x, _N_ANNEAL, rng)
        states.append(x)
    return torch.stack(states)


@torch.no_grad()
def ladder(model: RBMModel, sampler: Sampler) -> tuple[float, ...]:
    """Places on the path between which neighbors swap about as often everywhere.

    Measured with chains of fixed seed at conditions of the training, so a model has one ladder.
    """
    rng = PhiloxRandom(0, torch.arange(_N_TRIAL, device=model.couplings.device), stream=2)
    condition = model.chains.draw_conditions(_N_TRIAL)
    path = model.trajectory(condition, snapshots=sampler == "ptt")
    n_points = 2 * len(path.points) if sampler == "ptt" else 33
    rungs = tuple(np.linspace(0, path.end, n_points).tolist())
    for _ in range(_N_ROUNDS):
        rates = _swap_rates(path, rungs, rng)
        distance = torch.erfinv(1 - torch.from_numpy(rates.clip(1e-12, 1 - 1e-6))).sum()
        wanted = math.ceil(float(distance) / float(torch.erfinv(torch.tensor(1 - _SWAP_RATE))))
        n_rungs = min(max(2, wanted + 1), _MAX_RUNGS)
        rungs = tune_ladder(rungs, rates, n_rungs=n_rungs)
    return rungs


def _swap_rates(path: Trajectory, rungs: tuple[float, ...], rng: Random) -> np.ndarray:
    """Mean probabilities that neighbors swap, from chains that come down the path."""
    x = path.draw_free(_N_TRIAL, rng)
    before, rates = path.at(rungs[0]), []
    for t in rungs[1:]:
        here = path.at(t)
        y = here.gibbs(x, _N_TRIAL_STEPS, rng)
        gain = before.free_energy(x) + here.free_energy(y)
        gain = gain - before.free_energy(y) - here.free_energy(x)
        rates.append(float(gain.clamp(max=0).exp().mean()))
        before, x = here, y
    return np.array(rates)
