r"""The way of a machine from free units to what it is: a path for tempering and annealing.

Points :math:`\theta_0, \theta_1, \ldots, \theta_K` are sets of parameters, joined by straight
lines, :math:`\theta(t) = (1 - f)\, \theta_k + f \theta_{k+1}` for :math:`t = k + f`. The first has
no couplings, so its partition function is known and one block Gibbs step draws exactly from it;
the last is the machine. With nothing between, that is tempering of the parameters. With snapshots
taken along the training, it is the training's own trajectory, on which no first-order
transition lies that the training itself did not pass.

References
----------
Béreux, Decelle, Furtlehner, Rosset and Seoane, *Fast training and sampling of Restricted
Boltzmann Machines*, arXiv:2405.15376 (parallel trajectory tempering, trajectory annealed
importance sampling).
Salakhutdinov and Murray, ICML 2008 (a base of free units with the means of the data).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.mcmc import Energy, Info, PathEnergy
from physgen.models.rbm.parameters import Parameters
from physgen.random import Random

__all__ = ["BlockGibbs", "Trajectory"]


class Trajectory:
    """Machines on the way from free units to one that is wanted.

    Parameters
    ----------
    points : Tensor of shape (n_points, n_numbers)
        All parameters of each machine in one row.
    parameters : callable
        Makes :class:`Parameters` of one row.
    """

    def __init__(self, points: Tensor, parameters: Callable[[Tensor], Parameters]) -> None:
        self.points, self._parameters = points, parameters
        self._known: tuple[tuple[float, ...], Parameters] | None = None

    @property
    def end(self) -> float:
        """Where on the path the wanted machine is: t runs from 0 to here."""
        return float(len(self.points) - 1)

    def at(self, t: float) -> Parameters:
        """Parameters at one place of the path."""
        k = min(int(t), len(self.points) - 2)
        return self._parameters(torch.lerp(self.points[k], self.points[k + 1], t - k))

    def energy(self, x: Tensor, t: Tensor) -> Tensor:
        """Free energies of x (n, n_features) at t (n,): a path for :mod:`physgen.mcmc`."""
        rungs = _Rungs.of(t)
        return rungs.rows(self._stacked(rungs.places).free_energy(rungs.groups(x)))

    def gibbs(self, x: Tensor, t: Tensor, rng: Random) -> Tensor:
        """One block Gibbs step of each row at its own place."""
        rungs = _Rungs.of(t)
        moved = self._stacked(rungs.places).gibbs(rungs.groups(x), 1, _GroupedRandom(rng, rungs))
        return rungs.rows(moved)

    def draw_free(self, n_events: int, rng: Random) -> Tensor:
        """Exact draws from the first machine, of shape (n_events, n_features)."""
        free = self.at(0.0)
        field = free.visible_bias.expand(n_events, -1).clone()
        return free.layers.visible.draw(field, free.variance, rng)

    def _stacked(self, places: tuple[float, ...]) -> Parameters:
        """Parameters at several places, with these as the leading axis where there are two."""
        if self._known is None or self._known[0] != places:
            sets = [self.at(t) for t in places]
            self._known = places, sets[0] if len(sets) == 1 else _stack(sets)
        return self._known[1]


@dataclass(frozen=True, eq=False)
class BlockGibbs:
    """Kernel: one block Gibbs step of the machine that the path has at ``energy.beta``."""

    trajectory: Trajectory

    @torch.no_grad()
    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move chains (n_chains, n_features) whose energy is a :class:`PathEnergy`."""
        if not isinstance(energy, PathEnergy):
            raise TypeError(
                "BlockGibbs moves chains on the path of its trajectory (parallel_tempering, "
                f"annealed_importance), got an energy of type {type(energy).__name__}; elsewhere "
                "use Metropolis(proposal=model.moves(n_steps))"
            )
        moved = self.trajectory.gibbs(state, energy.beta, rng)
        return moved, Info(torch.ones(len(state), device=state.device))


@dataclass(frozen=True, eq=False)
class _Rungs:
    """Rows that stand on rungs, as many on each, and the order that groups them."""

    places: tuple[float, ...]
    order: Tensor | None

    @classmethod
    def of(cls, t: Tensor) -> _Rungs:
        places, counts = torch.unique(t, return_counts=True)
        if len(places) == 1:
            return cls((float(places[0]),), None)
        if not (counts == counts[0]).all():
            raise ValueError(
                f"as many chains must stand at each place of the path, got {counts.tolist()}"
            )
        return cls(tuple(places.tolist()), torch.argsort(t, stable=True))

    def groups(self, rows: Tensor) -> Tensor:
        """Rows (n, ...) as (n_rungs, n_chains, ...), or as they are on one rung."""
        if self.order is None:
            return rows
        return rows[self.order].unflatten(0, (len(self.places), -1))

    def rows(self, groups: Tensor) -> Tensor:
        """Back to the order of the rows."""
        if self.order is None:
            return groups
        flat = groups.flatten(0, 1)
        return torch.empty_like(flat).index_copy_(0, self.order, flat)


class _GroupedRandom:
    """Draws for grouped rows; the source below is asked in the order of the rows."""

    def __init__(self, rng: Random, rungs: _Rungs) -> None:
        self._rng, self._rungs = rng, rungs

    @property
    def device(self) -> torch.device:
        return self._rng.device

    def uniform(self, *shape: int) -> Tensor:
        return self._rungs.groups(self._rng.uniform(*self._flat(shape)))

    def normal(self, *shape: int) -> Tensor:
        return self._rungs.groups(self._rng.normal(*self._flat(shape)))

    def _flat(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self._rungs.order is None else (shape[0] * shape[1], *shape[2:])


def _stack(sets: list[Parameters]) -> Parameters:
    first = sets[0]
    return Parameters(
        first.layers,
        torch.stack([p.visible_bias for p in sets]),
        torch.stack([p.hidden_bias for p in sets]),
        torch.stack([p.couplings for p in sets]),
        torch.stack([p.variance for p in sets])[:, None],
        None if first.gain is None else torch.stack([p.gain for p in sets if p.gain is not None]),
    )
