"""How events are made: chains of the training that go on, or copies on a ladder of machines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, SupportsIndex, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physgen.checks import whole_number
from physgen.mcmc.copies import Copies
from physgen.models.rbm.trajectory import Trajectory
from physgen.random import PhiloxRandom, Random

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["Sampler", "ladder", "require_whole_units", "sample", "spaced", "start_of", "steps"]

Array = NDArray[np.float64]
Sampler = Literal["gibbs", "pt", "ptt"]

# wanted rate of swaps between neighbors; near 0.23 to 0.4 round trips are fastest (Kone and Kofke,
# J. Chem. Phys. 122 (2005) 206101)
_SWAP_RATE = 0.3
_MAX_RUNGS = 64
# chains that measure the path, two for each condition, and steps of each at a place
_N_TRIAL, _N_TRIAL_STEPS = 256, 4
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
    rungs = model.ladder(sampler)
    copies = Copies(path.energy, start_of(path, rungs, n_events, rng), rungs)
    for step in range(n):
        copies.move(model.kernel(path), 1, rng)
        copies.swap(step % 2, rng)
    return copies.coldest()


def require_whole_units(model: RBMModel, known: Tensor) -> None:
    """Refuse one-hot units of which some features are known and others are not."""
    for index in model.layers.visible.units:
        in_unit = known[:, index]
        in_part = (in_unit.any(-1) & ~in_unit.all(-1)).any(0)
        if in_part.any():
            features = index[int(in_part.nonzero()[0, 0])].tolist()
            raise ValueError(
                f"the one-hot unit of the features {features} is known in part; its features are "
                "known together or not at all"
            )


def start_of(path: Trajectory, rungs: tuple[float, ...], n_chains: int, rng: Random) -> Tensor:
    """States on the rungs that came down the path from free units, (n_rungs, n_chains, ...)."""
    x = path.draw_free(n_chains, rng)
    states = []
    for t in rungs:
        x = path.at(t).gibbs(x, _N_ANNEAL, rng)
        states.append(x)
    return torch.stack(states)


def ladder(model: RBMModel, sampler: Sampler) -> tuple[float, ...]:
    """Places on the path between which neighbors swap equally often.

    Measured with chains of fixed seed at conditions of the training, so a model has one ladder.
    """
    condition = model.chains.draw_conditions(_N_TRIAL // 2).repeat(2, 1)
    path = model.trajectory(condition, snapshots=sampler == "ptt")
    places, lengths = _lengths(path)
    wanted = math.ceil(lengths[-1] / float(torch.erfinv(torch.tensor(1 - _SWAP_RATE))))
    n_rungs = min(max(2, wanted + 1), _MAX_RUNGS)
    return _equally_far(places, lengths, n_rungs)


def spaced(path: Trajectory, n_places: int) -> tuple[float, ...]:
    """Places on a path at equal distances from one to the next, its two ends among them."""
    return _equally_far(*_lengths(path), n_places)


def _equally_far(places: Array, lengths: Array, n: int) -> tuple[float, ...]:
    # a part of the path on which nothing changes must not lose its places altogether
    lengths = lengths + 1e-3 * (lengths[-1] + 1) * places / places[-1]
    return tuple(np.interp(np.linspace(0, lengths[-1], n), lengths, places).tolist())


@torch.no_grad()
def _lengths(path: Trajectory) -> tuple[Array, Array]:
    r"""Places on a grid of the path, and how far each is from the start.

    Two neighbors swap with probability erfc(d) if their energies have a Gaussian law, where
    :math:`4 d^2` is the variance of :math:`F_b - F_a`, which is then the symmetric
    Kullback-Leibler divergence of their laws; x and y come from chains down the path.
    """
    places = np.linspace(0, path.end, 4 * len(path.points) + 25)
    rng = PhiloxRandom(0, torch.arange(_N_TRIAL, device=path.points.device), stream=2)
    x, here = path.draw_free(_N_TRIAL, rng), path.at(0.0)
    lengths = [0.0]
    for t in places[1:]:
        following = path.at(float(t))
        y = following.gibbs(x, _N_TRIAL_STEPS, rng)
        # the mean of the above is the difference of two means, whose noise hides what is close
        apart = torch.stack([following.free_energy(z) - here.free_energy(z) for z in (x, y)])
        one, other = apart.chunk(2, dim=1)  # of the same conditions
        variance = (one - other).square().mean() / 2
        lengths.append(lengths[-1] + math.sqrt(float(variance)) / 2)
        x, here = y, following
    return places, np.array(lengths)
