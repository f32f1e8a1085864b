r"""Events of the model under a likelihood: :math:`p(x | d) \propto p(x)\, L(x)`.

Several particles per event go down the noise levels of the ancestral sampler, which
:math:`\ell(y) = g \ln L(D(y; \sigma))` pushes towards what was observed and weighs: twisted
sequential Monte Carlo (Wu et al., arXiv:2306.17775, algorithm 1). The weights make it right for
many particles whatever the push; with one it is the guidance of Chung et al. (arXiv:2209.14687).
The factor g keeps the push below the width that an event still has at a noise level, and is 1 at
the last one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from physgen.models.diffusion.samplers import step_width
from physgen.random import Random

if TYPE_CHECKING:
    from physgen.models.diffusion.model import DiffusionModel

__all__ = ["LogLikelihood", "known_features", "posterior"]

# (features of all stages, sigma of the last one or 0) -> (n,)
LogLikelihood = Callable[[Tensor, Tensor], Tensor]


def posterior(
    stages: Sequence[DiffusionModel],
    condition: Tensor,
    log_likelihood: LogLikelihood,
    *,
    rng: Random,
    n_steps: int,
    n_particles: int,
) -> tuple[Tensor, Tensor]:
    """Draw one event per condition from the posterior.

    Parameters
    ----------
    stages : sequence of DiffusionModel
        Of a cascade, or one. All but the last are drawn from the prior: the likelihood guides
        the last stage and weighs them all.
    condition : Tensor of shape (n_events, n_conditions)
    log_likelihood : callable
        Of events' features (n, n_features) and the noise level of what they were denoised from;
        differentiable, of shape (n,), up to a constant.
    rng : Random
        Its first axis is the events.
    n_steps : int
        Noise levels.
    n_particles : int
        Particles per event.

    Returns
    -------
    x : Tensor of shape (n_events, n_features)
    effective : Tensor of shape (n_events,)
        Smallest effective number of particles met on the way; near 1 the result cannot be trusted.
    """
    n, k = len(condition), n_particles
    known = condition.repeat_interleave(k, dim=0)
    for model in stages[:-1]:
        source = _Particles(rng, n, k)
        known = torch.cat((known, model.sample(n * k, known, rng=source, n_steps=n_steps)), dim=1)
    flow = _Flow(stages[-1], known, condition.shape[1], log_likelihood, rng, n, k)
    y, known, effective = flow.run(stages[-1].levels(n_steps, condition.device))
    x = torch.cat((known[:, condition.shape[1] :], y), dim=1).view(n, k, -1)
    binary = torch.cat([model.binary for model in stages])
    x = torch.where(binary, torch.where(x < 0, -1.0, 1.0), x)
    which = _one_of(flow.log_weight, rng.uniform(n, 1))
    return x[torch.arange(n, device=x.device), which], effective


@dataclass
class _Particles:
    """Draws for all particles of an event from its own stream."""

    rng: Random
    n: int
    k: int

    @property
    def device(self) -> torch.device:
        return self.rng.device

    def normal(self, *shape: int) -> Tensor:
        return self.rng.normal(self.n, self.k, *shape[1:]).flatten(0, 1)

    def uniform(self, *shape: int) -> Tensor:
        return self.rng.uniform(self.n, self.k, *shape[1:]).flatten(0, 1)


class _Flow:
    """Particles of the last stage on their way down, and their weights."""

    def __init__(
        self,
        model: DiffusionModel,
        known: Tensor,
        n_conditions: int,
        log_likelihood: LogLikelihood,
        rng: Random,
        n: int,
        k: int,
    ) -> None:
        self.model, self.known, self.n_conditions = model, known, n_conditions
        self.log_likelihood, self.rng, self.n, self.k = log_likelihood, rng, n, k
        self.log_weight = torch.zeros(n, k, device=known.device)
        self.effective = torch.full((n,), float(k), device=known.device)

    def run(self, sigmas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source = _Particles(self.rng, self.n, self.k)
        mask = self.model.spec.mask(self.known)
        y = source.normal(self.n * self.k, self.model.spec.n_features) * sigmas[0]
        carried = torch.zeros_like(self.log_weight)
        for now, then in itertools.pairwise(sigmas):
            y = y if mask is None else y * mask
            clean, twist, push = self._twist(y, now, last=then == 0)
            self.log_weight = self.log_weight + twist - carried
            y, clean, twist, push = self._resampled(y, clean, twist, push)
            mask = None if mask is None else self.model.spec.mask(self.known)
            if then == 0:
                return clean, self.known, self.effective
            ratio = (then / now) ** 2
            width = step_width(now, then, self.model.spread)
            noise = source.normal(*y.shape)
            shift = (1 - ratio) * push / width
            if mask is not None:
                noise, shift = noise * mask, shift * mask
            y = torch.lerp(clean, y, ratio) + width * (noise + shift)
            # ln of the prior's density of this step minus that of the guided one
            steps = (noise.square() - (noise + shift).square()).sum(1) / 2
            carried = twist - steps.view(self.n, self.k)
        raise ValueError("the noise levels must end at 0")

    def _twist(self, y: Tensor, sigma: Tensor, *, last: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Denoised events, log of the twisting function, and by how much it moves them."""
        denoise = self.model.denoiser(self.known)
        before = self.known[:, self.n_conditions :]
        with torch.enable_grad():
            leaf = y.detach().requires_grad_()
            clean = denoise(leaf, sigma)
            found = self.log_likelihood(torch.cat((before, clean), dim=1), sigma)
            (slope,) = torch.autograd.grad(found.sum(), leaf)
        push = torch.nan_to_num(sigma**2 * slope.detach())
        # an impossible event weighs nothing, but must not make its neighbors NaN
        log = torch.nan_to_num(found.detach(), nan=-1e30, neginf=-1e30).view(self.n, self.k)
        if last:
            return clean.detach(), log, push
        spread = self.model.spread
        width = sigma * spread / (sigma**2 + spread**2).sqrt()
        size = push.square().sum(1).view(self.n, self.k).mean(1).sqrt()
        factor = (width / size.clamp_min(1e-12)).clamp_max(1.0)[:, None]
        return clean.detach(), factor * log, factor.repeat_interleave(self.k, 0) * push

    def _resampled(
        self, y: Tensor, clean: Tensor, twist: Tensor, push: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Systematic resampling of the events with less than half of their particles effective."""
        share = self.log_weight.softmax(1)
        effective = 1 / share.square().sum(1)
        self.effective = torch.minimum(self.effective, effective)
        uniform = self.rng.uniform(self.n, 1)
        places = (uniform + torch.arange(self.k, device=y.device)) / self.k
        chosen = torch.searchsorted(share.cumsum(1), places.contiguous()).clamp_max(self.k - 1)
        poor = (effective < self.k / 2)[:, None]
        stay = torch.arange(self.k, device=y.device).expand(self.n, self.k)
        rows = torch.where(poor, chosen, stay)
        self.log_weight = torch.where(poor, 0.0, self.log_weight)
        flat = (rows + self.k * torch.arange(self.n, device=y.device)[:, None]).flatten()
        self.known = self.known[flat]
        return y[flat], clean[flat], twist.gather(1, rows), push[flat]


def _one_of(log_weight: Tensor, uniform: Tensor) -> Tensor:
    """One particle of each event, drawn by the weights."""
    cumulative = log_weight.softmax(1).cumsum(1)
    return torch.searchsorted(cumulative, uniform).clamp_max(log_weight.shape[1] - 1)[:, 0]


def known_features(x: Tensor, known: Tensor) -> LogLikelihood:
    """Log-likelihood of features that are known: normal, as wide as the noise level."""

    def log_likelihood(clean: Tensor, sigma: Tensor) -> Tensor:
        n_particles = len(clean) // len(x)
        distance = (clean - x.repeat_interleave(n_particles, 0)).square()
        counted = torch.where(known.repeat_interleave(n_particles, 0), distance, 0.0).sum(1)
        return -counted / (2 * sigma**2)

    return log_likelihood
