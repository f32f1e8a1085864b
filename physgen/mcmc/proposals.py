"""Metropolis-Hastings with any proposal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from physgen.mcmc.chains import run
from physgen.mcmc.kernels import Energy, Info, Kernel, energy_drop, metropolis_test
from physgen.random import Random

__all__ = ["Metropolis", "Proposal", "RandomWalk", "SurrogateMoves"]


class Proposal(Protocol):
    """Where a chain might go."""

    def __call__(self, state: Tensor, *, rng: Random) -> tuple[Tensor, Tensor | None]:
        r"""Return candidates of the shape of ``state``, and how unequal the ways are.

        The second is :math:`\ln q(x|x') - \ln q(x'|x)` of shape (n_chains,), or None where the
        proposal is symmetric.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Metropolis:
    r"""Metropolis-Hastings move: propose, then accept or stay.

    .. math:: \text{accept with } \min\Big(1, e^{E(x) - E(x')} \frac{q(x|x')}{q(x'|x)}\Big)

    Parameters
    ----------
    proposal : Proposal
        A function or object, e.g. :class:`RandomWalk` or :class:`SurrogateMoves`.

    References
    ----------
    Hastings, Biometrika 57 (1970) 97.

    Examples
    --------
    A walk of a positive number in its logarithm, where :math:`q(x|x')/q(x'|x) = x'/x`:

    >>> from physgen.random import PhiloxRandom
    >>> def stretch(x, *, rng):
    ...     step = 0.7 * rng.normal(*x.shape)
    ...     return x * step.exp(), step.sum(1)
    >>> kernel, start = Metropolis(proposal=stretch), torch.ones(4000, 1)
    >>> rng = PhiloxRandom(1, torch.arange(4000))
    >>> x, _ = run(kernel, lambda x: x.sum(1), start, 60, rng=rng)
    >>> round(float(x.mean()), 1)
    1.0
    """

    proposal: Proposal

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...)."""
        with torch.no_grad():
            candidate, log_q_ratio = self.proposal(state, rng=rng)
            log_ratio = energy_drop(energy(state), energy(candidate))
        if log_q_ratio is not None:
            log_ratio = log_ratio + log_q_ratio
        return metropolis_test(state, candidate, log_ratio, rng=rng)


@dataclass(frozen=True, kw_only=True)
class RandomWalk:
    r"""Gaussian random walk, :math:`x' = x + \sigma \xi` with :math:`\xi \sim N(0, 1)`; symmetric.

    Parameters
    ----------
    step_size : float, default 1
        :math:`\sigma`, in units of the coordinates. In many dimensions the best acceptance is
        near 0.234 (Roberts, Gelman and Gilks, Ann. Appl. Probab. 7 (1997) 110).
    """

    step_size: float = 1.0

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size of RandomWalk must be positive, got {self.step_size}")

    def __call__(self, state: Tensor, *, rng: Random) -> tuple[Tensor, None]:
        """Candidates for states of shape (n_chains, ...)."""
        return state + self.step_size * rng.normal(*state.shape).to(state.dtype), None


@dataclass(frozen=True, kw_only=True)
class SurrogateMoves:
    r"""Several moves of a chain on a cheap or fast-mixing surrogate energy as one proposal.

    The kernel obeys detailed balance with :math:`e^{-E_s}`, so :math:`q(x|x')/q(x'|x) =
    e^{E_s(x') - E_s(x)}`: neither the surrogate's normalization nor its density is needed. That
    is how an RBM or EBM proposes: with its own moves and its own free energy.

    Parameters
    ----------
    kernel : Kernel
        Reversible moves: any kernel here but ``Gibbs(sweep=True)``, ``Blocks`` and unadjusted
        ``Langevin``; or block Gibbs of an RBM.
    energy : callable
        :math:`E_s` of states of shape (n_chains, ...), shape (n_chains,).
    n_steps : int
        Moves per proposal; more decorrelate, and are rejected more often where :math:`E_s`
        differs from the energy.

    References
    ----------
    Huang and Wang, Phys. Rev. B 95 (2017) 035105 (RBM). Liu, Qi, Meng and Fu, Phys. Rev. B 95
    (2017) 041101 (self-learning Monte Carlo).

    Examples
    --------
    >>> from physgen.mcmc import SingleFlip
    >>> mean_field = lambda s: -0.1 * s.sum(1).square()
    >>> kernel = Metropolis(
    ...     proposal=SurrogateMoves(kernel=SingleFlip(), energy=mean_field, n_steps=20)
    ... )
    """

    kernel: Kernel
    energy: Energy
    n_steps: int

    def __call__(self, state: Tensor, *, rng: Random) -> tuple[Tensor, Tensor]:
        """Candidates and the logarithm of the ratio."""
        candidate, _ = run(self.kernel, self.energy, state, self.n_steps, rng=rng)
        return candidate, self.energy(candidate) - self.energy(state)
