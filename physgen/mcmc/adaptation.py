"""Step sizes that lead to a chosen acceptance."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from torch import Tensor

from physgen.mcmc.chains import Seed, as_random
from physgen.mcmc.continuous import HMC, Langevin
from physgen.mcmc.kernels import Energy
from physgen.mcmc.proposals import Metropolis, RandomWalk

__all__ = ["tune_step_size"]

Stepping = TypeVar("Stepping", HMC, Langevin, Metropolis)

# Hoffman and Gelman, sec. 3.2.1: how fast, how damped at the start, how soon to forget
_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75


def tune_step_size(
    kernel: Stepping,
    energy: Energy,
    start: Tensor,
    *,
    n_steps: int = 200,
    target: float = 0.8,
    rng: Seed,
) -> tuple[Stepping, Tensor]:
    r"""Find the step size at which the mean acceptance is as wanted, by dual averaging.

    .. math:: \ln \epsilon_{m+1} = \mu - \frac{\sqrt m}{\gamma}\, \bar H_m, \qquad
              \bar H_m = \frac{1}{m + t_0} \sum_{t \le m} (\delta - \alpha_t)

    with the acceptance :math:`\alpha_t` averaged over the chains, and the result
    :math:`\ln \bar\epsilon_m = m^{-\kappa} \ln \epsilon_m + (1 - m^{-\kappa}) \ln
    \bar\epsilon_{m-1}`.

    Parameters
    ----------
    kernel : HMC, Langevin(adjust=True) or Metropolis with a RandomWalk
        Where the search starts, :math:`\mu = \ln 10 \epsilon_0`.
    energy : callable
        Energies (n_chains,) of states (n_chains, ...).
    start : Tensor of shape (n_chains, ...)
        More chains give a less noisy acceptance.
    n_steps : int, default 200
        Moves of the search; they are no part of a measurement, since the kernel changes.
    target : float, default 0.8
        Acceptance :math:`\delta` in (0, 1): 0.8 for HMC, 0.574 for MALA, 0.234 for a random walk
        in many dimensions.
    rng : int, torch.Generator or Random

    Returns
    -------
    kernel : of the type given
        With the step size found.
    state : Tensor of shape (n_chains, ...)
        Where the chains are.

    Raises
    ------
    TypeError
        If the kernel has no step size.
    ValueError
        If it has no Metropolis test, whose acceptance could be tuned.

    References
    ----------
    Hoffman and Gelman, *The No-U-Turn sampler*, JMLR 15 (2014) 1593, eq. (6) and algorithm 5.

    Examples
    --------
    >>> import torch
    >>> energy = lambda x: x.square().sum(1) / 2
    >>> kernel, x = tune_step_size(HMC(n_leapfrog=3), energy, torch.zeros(200, 10), rng=1)
    >>> _, info = kernel(energy, x, rng=as_random(2, x))
    >>> abs(float(info.acceptance.mean()) - 0.8) < 0.05
    True
    """
    if not 0 < target < 1:
        raise ValueError(f"target must be an acceptance in (0, 1), got {target}")
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {n_steps}")
    random, state = as_random(rng, start), start
    log_step = average = math.log(_step_size(kernel))
    center, missing = log_step + math.log(10), 0.0
    for m in range(1, n_steps + 1):
        state, info = _with_step(kernel, math.exp(log_step))(energy, state, rng=random)
        missing += (target - float(info.acceptance.mean()) - missing) / (m + _T0)
        log_step = center - math.sqrt(m) / _GAMMA * missing
        weight = m**-_KAPPA
        average = weight * log_step + (1 - weight) * average
    return _with_step(kernel, math.exp(average)), state


def _step_size(kernel: HMC | Langevin | Metropolis) -> float:
    if isinstance(kernel, Langevin) and not kernel.adjust:
        raise ValueError(
            "Langevin without the test accepts every move; use adjust=True to tune it"
        )
    if isinstance(kernel, Metropolis) and isinstance(kernel.proposal, RandomWalk):
        return kernel.proposal.step_size
    if isinstance(kernel, HMC | Langevin):
        return kernel.step_size
    raise TypeError(
        f"{kernel} has no step size; HMC, Langevin(adjust=True) and "
        "Metropolis(proposal=RandomWalk()) can be tuned"
    )


def _with_step(kernel: Stepping, step_size: float) -> Stepping:
    changes: dict[str, Any] = {"step_size": step_size}
    if isinstance(kernel, Metropolis):
        changes = {"proposal": RandomWalk(step_size=step_size)}
    return dataclasses.replace(kernel, **changes)
