r"""What a kernel is: one Markov move of many independent chains.

A kernel is called as ``kernel(energy, state, *, rng)`` and returns the new state and what a
diagnostic needs. ``energy`` maps states of shape (n_chains, ...) to energies of shape (n_chains,);
the law that a kernel leaves invariant is :math:`p(x) \propto e^{-E(x)}`, temperature included in
the energy. Kernels are frozen dataclasses of their step sizes; all they remember is in the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from physgen.random import Random

__all__ = ["Blocks", "Energy", "Info", "Kernel", "energy_drop", "metropolis_test", "rowwise"]

Energy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Info:
    """What a move tells its diagnostics.

    Parameters
    ----------
    acceptance : Tensor of shape (n_chains,)
        Probability with which each chain's proposal was accepted; 1 for moves without a test.
    divergent : Tensor of shape (n_chains,) or int, default 0
        Number of moves that were refused since an integrator broke down (:class:`HMC`).
    """

    acceptance: Tensor
    divergent: Tensor | int = 0


class Kernel(Protocol):
    """One move of all chains."""

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Return the new state, of the shape of ``state``, and the acceptance."""
        ...


def energy_drop(old: Tensor, new: Tensor) -> Tensor:
    """Old minus new energy; -inf (never accept) where the new one is not finite.

    Examples
    --------
    >>> energy_drop(torch.tensor([3.0, 3.0, math.inf]), torch.tensor([1.0, math.nan, 1.0]))
    tensor([2., -inf, inf])
    """
    return torch.where(new.isfinite(), old - new, -math.inf)


def metropolis_test(
    state: Tensor, candidate: Tensor, log_ratio: Tensor, *, rng: Random
) -> tuple[Tensor, Info]:
    r"""Let each chain take its candidate with probability :math:`\min(1, e^r)`, or stay.

    Parameters
    ----------
    state, candidate : Tensor of shape (n_chains, ...)
    log_ratio : Tensor of shape (n_chains,)
        :math:`r = E(x) - E(x') + \ln q(x|x') - \ln q(x'|x)`; NaN refuses.
    rng : Random

    Returns
    -------
    state : Tensor of shape (n_chains, ...)
    info : Info

    References
    ----------
    Hastings, Biometrika 57 (1970) 97.
    """
    log_ratio = log_ratio.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    accepted = torch.log(rng.uniform(len(state))) < log_ratio
    return torch.where(rowwise(accepted, state), candidate, state), Info(
        log_ratio.clamp(max=0).exp()
    )


def rowwise(values: Tensor, state: Tensor) -> Tensor:
    """One value per chain, shaped to meet the axes of the state: (n_chains, 1, ...)."""
    return values.view(-1, *(1,) * (state.ndim - 1))


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Metropolis within Gibbs: each kernel in turn moves its own columns, the others held fixed.

    Parameters
    ----------
    kernels : tuple of Kernel
        The moves.
    columns : tuple of tuple of int
        For each kernel the columns of a state of shape (n_chains, n_columns) that it moves.

    Examples
    --------
    >>> from physgen.mcmc import Langevin, SingleFlip
    >>> kernel = Blocks(kernels=(Langevin(), SingleFlip()), columns=((0, 1), (2,)))
    """

    kernels: tuple[Kernel, ...]
    columns: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.kernels or len(self.kernels) != len(self.columns):
            raise ValueError(
                f"Blocks needs one group of columns per kernel, got {len(self.kernels)} kernels "
                f"and {len(self.columns)} groups"
            )

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, n_columns)."""
        acceptance = torch.zeros(len(state), device=state.device)
        divergent: Tensor | int = 0
        for kernel, columns in zip(self.kernels, self.columns, strict=True):
            index = torch.tensor(columns, device=state.device)
            part, info = kernel(_restricted(energy, state, index), state[:, index], rng=rng)
            state = state.index_copy(1, index, part)
            acceptance += info.acceptance
            divergent = divergent + info.divergent
        return state, Info(acceptance / len(self.kernels), divergent)


def _restricted(energy: Energy, state: Tensor, index: Tensor) -> Energy:
    return lambda part: energy(state.index_copy(1, index, part))
