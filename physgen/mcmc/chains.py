"""Chains: a kernel applied many times, and the record of what they showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import SupportsIndex

import torch
from torch import Tensor

from physgen.mcmc.kernels import Energy, Info, Kernel
from physgen.mcmc.records import Chain, Observable, Recorder
from physgen.random import PhiloxRandom, Random, Rng, as_seed

__all__ = ["Seed", "as_random", "require_energy", "run", "run_chains"]

Seed = Random | Rng


def run(
    kernel: Kernel, energy: Energy, state: Tensor, n_steps: int, *, rng: Random
) -> tuple[Tensor, Info]:
    """Apply a kernel ``n_steps`` times to all chains, without a record.

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
        Acceptance of each chain, averaged over the steps, and its divergent moves.

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
    divergent: Tensor | int = 0
    for _ in range(n_steps):
        state, info = kernel(energy, state, rng=rng)
        total += info.acceptance
        divergent = divergent + info.divergent
    return state, Info(total / n_steps if n_steps else torch.ones_like(total), divergent)


def run_chains(
    kernel: Kernel,
    energy: Energy,
    start: Tensor,
    *,
    n_steps: int,
    n_burn_in: int = 0,
    thin: int = 1,
    observables: Mapping[str, Observable] | None = None,
    keep_states: bool = False,
    rng: Seed,
) -> Chain:
    """Run chains and record their energy and other observables.

    Parameters
    ----------
    kernel : Kernel
        The move.
    energy : callable
        Energies (n_chains,) of states (n_chains, ...); the law is exp(-energy).
    start : Tensor of shape (n_chains, ...)
        Where the chains start; the ``state`` of an earlier :class:`Chain` goes on from there.
    n_steps : int
        Moves after the burn-in.
    n_burn_in : int, default 0
        Moves before anything is recorded.
    thin : int, default 1
        Record after every ``thin`` moves; a divisor of ``n_steps``.
    observables : dict of callable, optional
        By name, functions of the states that return one number per chain.
    keep_states : bool, default False
        Keep the recorded states as well.
    rng : int, torch.Generator or Random
        With a seed, chain i depends only on (seed, i), not on the number of chains, where the
        energy of a row does not. A Random goes on: two runs in turn equal one long run.

    Returns
    -------
    Chain

    Raises
    ------
    ValueError
        If the energy does not return one number per chain, or the start has none.

    Examples
    --------
    >>> import math
    >>> from physgen.mcmc import SingleFlip
    >>> bond = lambda s: -0.5 * s[:, 0] * s[:, 1]
    >>> chain = run_chains(SingleFlip(), bond, torch.ones(50, 2), n_steps=1000, rng=1)
    >>> sorted(chain.series), chain.series["energy"].shape
    (['energy'], (1000, 50))
    >>> abs(chain.measure("energy").pull(-0.5 * math.tanh(0.5))) < 3
    True
    """
    if thin < 1 or n_steps < 1 or n_steps % thin:
        raise ValueError(
            f"n_steps must be a positive multiple of thin, got n_steps={n_steps} and thin={thin}"
        )
    require_energy(energy, start)
    random = as_random(rng, start)
    recorder = Recorder(energy, observables, keep_states=keep_states)
    state, _ = run(kernel, energy, start, n_burn_in, rng=random)
    for _ in range(n_steps // thin):
        state, info = run(kernel, energy, state, thin, rng=random)
        recorder.add(state, info)
    return recorder.chain(state, thin=thin)


def as_random(rng: Seed, state: Tensor) -> Random:
    """Draws for these chains: numbered from 0 with the seed given, or the source given itself."""
    if isinstance(rng, SupportsIndex | torch.Generator):
        return PhiloxRandom(as_seed(rng), torch.arange(len(state), device=state.device))
    return rng


def require_energy(energy: Callable[[Tensor], Tensor], start: Tensor) -> None:
    """Refuse an energy that is not one number per chain, and a start that has none."""
    with torch.no_grad():
        values = energy(start)
    if values.shape != (len(start),):
        raise ValueError(
            f"energy must return one number per chain, shape ({len(start)},) for states of shape "
            f"{tuple(start.shape)}, but returned {tuple(values.shape)}; sum over the axes after "
            "the first"
        )
    wrong = (values.isnan() | (values == -torch.inf)).nonzero()
    if len(wrong):
        chain = int(wrong[0])
        raise ValueError(
            f"the energy at the start of chain {chain} is {values[chain].item()} (and of "
            f"{len(wrong) - 1} other chains); a chain can only leave a state whose energy is a "
            "number or +inf"
        )
