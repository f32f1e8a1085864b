r"""Kernels: one Markov move of many independent chains.

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

__all__ = ["Blocks", "Energy", "Info", "Kernel", "Langevin", "SingleFlip"]

Energy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Info:
    """What a move tells its diagnostics.

    Parameters
    ----------
    acceptance : Tensor of shape (n_chains,)
        Probability with which each chain's proposal was accepted; 1 for moves without a test.
    """

    acceptance: Tensor


class Kernel(Protocol):
    """One move of all chains."""

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Return the new state, of the shape of ``state``, and the acceptance."""
        ...


@dataclass(frozen=True, kw_only=True)
class Langevin:
    r"""Langevin move on real coordinates, with or without the Metropolis test.

    .. math:: x' = x - \epsilon \nabla E(x) + \sqrt{2 \epsilon}\, \xi, \qquad \xi \sim N(0, 1)

    Parameters
    ----------
    step_size : float, default 0.01
        :math:`\epsilon`, in squared units of the coordinates.
    adjust : bool, default False
        Accept with probability :math:`\min(1, e^{E(x) - E(x')} q(x|x') / q(x'|x))`, where q is
        the Gaussian density of the proposal (MALA). Without the test (ULA) the stationary law
        is off by a bias of order :math:`\epsilon`.

    References
    ----------
    Roberts and Tweedie, *Exponential convergence of Langevin distributions and their discrete
    approximations*, Bernoulli 2 (1996) 341.
    """

    step_size: float = 0.01
    adjust: bool = False

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size of Langevin must be positive, got {self.step_size}")

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...)."""
        noise = rng.normal(*state.shape)
        e_old, gradient = _energy_and_gradient(energy, state)
        proposal = state - self.step_size * gradient + math.sqrt(2 * self.step_size) * noise
        if not self.adjust:
            return proposal, Info(torch.ones_like(e_old))
        e_new, gradient = _energy_and_gradient(energy, proposal)
        back = (state - proposal + self.step_size * gradient) / math.sqrt(2 * self.step_size)
        log_ratio = e_old - e_new + (_square(noise) - _square(back)) / 2
        return _metropolis(state, proposal, log_ratio, rng)


@dataclass(frozen=True, kw_only=True)
class SingleFlip:
    r"""Metropolis move that flips one spin, drawn at random, in each chain.

    The proposal is symmetric: accept with probability :math:`\min(1, e^{E(s) - E(s')})`. A sweep
    is as many moves as there are spins. The spins are -1 and +1, of any dtype.

    References
    ----------
    Metropolis et al., J. Chem. Phys. 21 (1953) 1087.
    """

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...) with values -1 and +1."""
        spins = state.flatten(1)
        n_chains, n_spins = spins.shape
        site = (rng.uniform(n_chains) * n_spins).long().clamp_(max=n_spins - 1)
        proposal = spins.clone()
        chain = torch.arange(n_chains, device=state.device)
        proposal[chain, site] = -proposal[chain, site]
        proposal = proposal.view_as(state)
        with torch.no_grad():
            log_ratio = energy(state) - energy(proposal)
        return _metropolis(state, proposal, log_ratio, rng)


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
        for kernel, columns in zip(self.kernels, self.columns, strict=True):
            index = torch.tensor(columns, device=state.device)
            part, info = kernel(_restricted(energy, state, index), state[:, index], rng=rng)
            state = state.index_copy(1, index, part)
            acceptance += info.acceptance
        return state, Info(acceptance / len(self.kernels))


def _restricted(energy: Energy, state: Tensor, index: Tensor) -> Energy:
    return lambda part: energy(state.index_copy(1, index, part))


def _energy_and_gradient(energy: Energy, state: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = state.detach().requires_grad_()
        e = energy(x)
        # chains are independent, so the gradient of the sum is the gradient of each
        (gradient,) = torch.autograd.grad(e.sum(), x)
    return e.detach(), gradient


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def _metropolis(
    state: Tensor, proposal: Tensor, log_ratio: Tensor, rng: Random
) -> tuple[Tensor, Info]:
    accepted = torch.log(rng.uniform(len(state))) < log_ratio
    shape = (-1,) + (1,) * (state.ndim - 1)
    new = torch.where(accepted.view(shape), proposal, state)
    return new, Info(log_ratio.clamp(max=0).exp())
