"""Chains: a kernel applied many times."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.mcmc.kernels import Energy, Info, Kernel
from physgen.random import Random

__all__ = ["run"]


def run(
    kernel: Kernel, energy: Energy, state: Tensor, n_steps: int, *, rng: Random
) -> tuple[Tensor, Info]:
    """Apply a kernel ``n_steps`` times to all chains.

    Parameters
    ----------
    kernel : Kernel
        The move.
    energy : callable
        Energies of shape (n_chains,) of states of shape (n_chains, ...); the chains converge to
        the law proportional to exp(-energy).
    state : Tensor of shape (n_chains, ...)
        Where the chains start; left unchanged.
    n_steps : int
        Number of moves; 0 returns the start with an acceptance of 1.
    rng : Random
        Source of random numbers; the first axis of every draw is the chain.

    Returns
    -------
    state : Tensor of shape (n_chains, ...)
        Where the chains end.
    info : Info
        Acceptance of each chain, averaged over the steps.

    Examples
    --------
    >>> from physgen.mcmc import Langevin
    >>> from physgen.random import PhiloxRandom
    >>> rng = PhiloxRandom(1, torch.arange(1000))
    >>> kernel = Langevin(step_size=0.5, adjust=True)
    >>> x, info = run(kernel, lambda x: x.square().sum(1) / 2, torch.zeros(1000, 1), 50, rng=rng)
    >>> round(float(x.std()), 1), bool((info.acceptance <= 1).all())
    (1.0, True)
    """
    if n_steps < 0:
        raise ValueError(f"n_steps must be 0 or more, got {n_steps}")
    total = torch.zeros(len(state), device=state.device)
    for _ in range(n_steps):
        state, info = kernel(energy, state, rng=rng)
        total += info.acceptance
    return state, Info(total / n_steps if n_steps else torch.ones_like(total))
