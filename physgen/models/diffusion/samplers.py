r"""From noise to events: solvers of the probability-flow equation, and one that adds noise.

With D(y; sigma) the mean event that fits y, the equation is

.. math:: \frac{dy}{d\sigma} = \frac{y - D(y; \sigma)}{\sigma}

from the largest noise level down to 0, where y is an event.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from physgen.random import Random

__all__ = ["SAMPLERS", "Denoise", "Sampler", "integrate", "step_width"]

Sampler = Literal["heun", "dpm", "euler", "ancestral"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)

# D(y, sigma) for one noise level, a number
Denoise = Callable[[Tensor, Tensor], Tensor]


def integrate(
    sampler: Sampler,
    denoise: Denoise,
    y: Tensor,
    sigmas: Tensor,
    *,
    spread: Tensor,
    mask: Tensor | None = None,
    rng: Random,
) -> Tensor:
    """Carry y from ``sigmas[0]`` to ``sigmas[-1]``.

    Parameters
    ----------
    sampler : {"heun", "dpm", "euler", "ancestral"}
        Heun's method (arXiv:2206.00364, algorithm 1; two calls per step but the last),
        DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2; one call per step), Euler's (DDIM,
        arXiv:2010.02502; one call), or Euler's with fresh noise at every step (DDPM,
        arXiv:2006.11239).
    denoise : callable
        D(y, sigma).
    y : Tensor of shape (n_events, n_features)
    sigmas : Tensor of shape (n_steps + 1,)
        Falling; the last is 0.
    spread : Tensor
        Standard deviation of the features, for the ancestral sampler.
    mask : Tensor of shape (n_events, n_features), optional
        Where noise may be.
    rng : Random
        For the ancestral sampler.
    """
    if sampler == "dpm":
        return _multistep(denoise, y, sigmas)
    # by number, not by value: a graph for export cannot hold a decision about a tensor
    last = len(sigmas) - 2
    for k, (now, then) in enumerate(itertools.pairwise(sigmas)):
        clean = denoise(y, now)
        if sampler == "ancestral":
            y = _noisy_step(clean, y, now, then, spread, mask, rng)
            continue
        step = torch.lerp(clean, y, then / now)
        if sampler == "heun" and k < last:
            slope = 0.5 * ((y - clean) / now + (step - denoise(step, then)) / then)
            step = y + (then - now) * slope
        y = step
    return y


def _multistep(denoise: Denoise, y: Tensor, sigmas: Tensor) -> Tensor:
    """Second order from the last two denoised events, in steps of ln sigma."""
    before: Tensor | None = None
    for k, (now, then) in enumerate(itertools.pairwise(sigmas)):
        clean = denoise(y, now)
        ahead = clean
        if before is not None and k < len(sigmas) - 2:
            ratio = (sigmas[k - 1] / now).log() / (now / then).log()
            ahead = clean + (clean - before) / (2 * ratio)
        y = torch.lerp(ahead, y, then / now)
        before = clean
    return y


def step_width(now: Tensor, then: Tensor, spread: Tensor) -> Tensor:
    r"""Standard deviation of the noise of an ancestral step; 0 for the last.

    Given the event it would be :math:`\sigma'\sqrt{1 - \rho}` with
    :math:`\rho = \sigma'^2/\sigma^2`. The event is not known but denoised, and what D does not
    know of it adds :math:`(1 - \rho)^2` times its variance, here that of a normal law (Bao et al.,
    arXiv:2201.06503).
    """
    kept = (then / now) ** 2
    unknown = now**2 * spread**2 / (now**2 + spread**2)
    width = (then**2 * (1 - kept) + (1 - kept) ** 2 * unknown).sqrt()
    # no decision in Python about a tensor: a graph for export could not hold it
    return torch.where(then > 0, width, torch.zeros_like(width))


def _noisy_step(
    clean: Tensor,
    y: Tensor,
    now: Tensor,
    then: Tensor,
    spread: Tensor,
    mask: Tensor | None,
    rng: Random,
) -> Tensor:
    noise = rng.normal(*y.shape)
    if mask is not None:
        noise = noise * mask
    return torch.lerp(clean, y, (then / now) ** 2) + step_width(now, then, spread) * noise
