"""Kernels for real coordinates that use the gradient of the energy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.mcmc.kernels import Energy, Info, energy_drop, metropolis_test, rowwise
from physgen.random import Random

__all__ = ["HMC", "Langevin"]

# an energy error from which no useful integration comes back, as in Stan
_DIVERGENT = 1000.0


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
        is off by a bias of order :math:`\epsilon`, and nothing stops a chain from diverging.

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
        noise = rng.normal(*state.shape).to(state.dtype)
        e_old, gradient = _energy_and_gradient(energy, state)
        proposal = state - self.step_size * gradient + math.sqrt(2 * self.step_size) * noise
        if not self.adjust:
            return proposal, Info(torch.ones_like(e_old))
        e_new, gradient = _energy_and_gradient(energy, proposal)
        back = (state - proposal + self.step_size * gradient) / math.sqrt(2 * self.step_size)
        log_ratio = energy_drop(e_old, e_new) + (_square(noise) - _square(back)) / 2
        return metropolis_test(state, proposal, log_ratio, rng=rng)


# tensors have no single truth value, so two of these cannot be compared by their fields
@dataclass(frozen=True, kw_only=True, eq=False)
class HMC:
    r"""Hamiltonian Monte Carlo: a leapfrog trajectory with random momenta, then an exact test.

    .. math:: H(x, p) = E(x) + \tfrac12 p^T M^{-1} p, \quad p \sim N(0, M), \quad
              \text{accept with } \min(1, e^{H(x, p) - H(x', p')})

    Parameters
    ----------
    step_size : float, default 0.1
        Leapfrog step :math:`\epsilon`, in units of the coordinates where the mass is 1;
        :func:`tune_step_size` finds it.
    n_leapfrog : int, default 10
        Steps L of a trajectory; each costs one gradient.
    inverse_mass : float or Tensor of the shape of one state, default 1
        Diagonal of :math:`M^{-1}`; best are the variances of the coordinates.
    jitter : float, default 0.2
        Each chain's step is drawn anew within :math:`\epsilon (1 \pm \text{jitter})`, in [0, 1).
        A fixed path length returns to its start where the motion is periodic.

    Notes
    -----
    A trajectory whose energy error is not finite or above 1000 is divergent: it is refused and
    counted. Many of them mean that the step is too long for a part of the space.

    References
    ----------
    Duane et al., Phys. Lett. B 195 (1987) 216. Neal, arXiv:1206.1901, sec. 5.3.3 and 5.4.2.

    Examples
    --------
    >>> from physgen.random import PhiloxRandom
    >>> rng = PhiloxRandom(1, torch.arange(1000))
    >>> x, info = HMC(step_size=0.3)(lambda x: x.square().sum(1) / 2, rng.normal(1000, 2), rng=rng)
    >>> bool(info.acceptance.mean() > 0.95)
    True
    """

    step_size: float = 0.1
    n_leapfrog: int = 10
    inverse_mass: float | Tensor = 1.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size of HMC must be positive, got {self.step_size}")
        if self.n_leapfrog < 1:
            raise ValueError(f"n_leapfrog of HMC must be 1 or more, got {self.n_leapfrog}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter of HMC must be in [0, 1), got {self.jitter}")
        if not (torch.as_tensor(self.inverse_mass) > 0).all():
            raise ValueError("inverse_mass of HMC must be positive: variances of the coordinates")

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...)."""
        inverse_mass = torch.as_tensor(self.inverse_mass, dtype=state.dtype, device=state.device)
        step = self._step(state, rng)
        momentum = rng.normal(*state.shape).to(state.dtype) / inverse_mass.sqrt()
        e_old, gradient = _energy_and_gradient(energy, state)
        h_old = e_old + _square(momentum * inverse_mass.sqrt()) / 2
        x, p = state, momentum - step / 2 * gradient
        for remaining in range(self.n_leapfrog, 0, -1):
            x = x + step * inverse_mass * p
            e_new, gradient = _energy_and_gradient(energy, x)
            p = p - (step if remaining > 1 else step / 2) * gradient
        h_new = e_new + _square(p * inverse_mass.sqrt()) / 2
        log_ratio = energy_drop(h_old, h_new)
        new, info = metropolis_test(state, x, log_ratio, rng=rng)
        return new, Info(info.acceptance, (~(log_ratio > -_DIVERGENT)).long())

    def _step(self, state: Tensor, rng: Random) -> Tensor:
        """Step of each chain, shaped to meet the axes of the state."""
        if self.jitter == 0:
            return torch.tensor(self.step_size, dtype=state.dtype, device=state.device)
        spread = 1 + self.jitter * (2 * rng.uniform(len(state)) - 1)
        return rowwise(self.step_size * spread.to(state.dtype), state)


def _energy_and_gradient(energy: Energy, state: Tensor) -> tuple[Tensor, Tensor]:
    if not state.is_floating_point():
        raise TypeError(
            f"Langevin and HMC move real coordinates, got states of {state.dtype}; use SingleFlip "
            "or Gibbs for spins"
        )
    with torch.enable_grad():
        x = state.detach().requires_grad_()
        e = energy(x)
        # chains are independent, so the gradient of the sum is the gradient of each
        (gradient,) = torch.autograd.grad(e.sum(), x)
    return e.detach(), gradient


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)
