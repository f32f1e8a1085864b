r"""Laws of latent variables: an autoregressive mixture, and a flow.

The mixture is a density of a vector, one coordinate after the other,

.. math:: p(z|c) = \prod_i \sum_k \pi_{ik} N(z_i; \mu_{ik}, \sigma_{ik}^2)

where :math:`\pi_{ik}, \mu_{ik}, \sigma_{ik}` are functions of :math:`z_1 \ldots z_{i-1}` and the
condition :math:`c`. One perceptron with masked weights gives all of them in one pass.

The flow carries noise :math:`e \sim N(0, 1)` at t = 0 to z at t = 1 along the velocity field v, a
perceptron that has learned :math:`E[z - e\,|\,z_t]` at :math:`z_t = (1 - t) e + t z`:

.. math:: \dot z = v(z, t, c), \qquad \ln p(z|c) = \ln N(e; 0, 1) - \int_0^1 \nabla \cdot v\, dt

References
----------
Germain et al., *MADE: Masked Autoencoder for Distribution Estimation*, arXiv:1502.03509 (the
masks). Uria, Murray and Larochelle, *RNADE*, arXiv:1306.0186 (mixtures of Gaussians). Lipman et
al., *Flow matching for generative modeling*, arXiv:2210.02747. Times: Esser et al.,
arXiv:2403.03206 (logit-normal).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physgen.checks import require_positive
from physgen.networks.mlp import ResidualMLP
from physgen.random import Random

__all__ = ["AutoregressiveMixture", "FlowPrior", "LatentFlow", "MixturePrior"]

# no component becomes narrower than e^-5 of a latent variable of width 1
_MIN_LOG_SIGMA = -5.0


@dataclass(frozen=True, kw_only=True)
class MixturePrior:
    """Settings of an autoregressive mixture.

    Parameters
    ----------
    n_components : int, default 8
        Gaussians per latent variable.
    learning_rate : float, default 5e-3
        Peak rate of Adam; the prior runs after a moving target.
    """

    n_components: int = 8
    learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_components", "learning_rate")

    def build(self, n_latent: int, n_conditions: int, *, n_hidden: int) -> AutoregressiveMixture:
        """Build it for so many latent variables, with hidden layers of this width."""
        return AutoregressiveMixture(
            n_latent, n_conditions, n_components=self.n_components, n_hidden=n_hidden
        )


@dataclass(frozen=True, kw_only=True)
class FlowPrior:
    """Settings of a flow: its cost in sampling does not grow with the latent variables.

    Parameters
    ----------
    n_blocks : int, default 2
        Residual blocks of the velocity field.
    n_steps : int, default 12
        Steps of Heun's method in sampling, two evaluations each.
    learning_rate : float, default 2e-3
        Peak rate of Adam.
    """

    n_blocks: int = 2
    n_steps: int = 12
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_blocks", "n_steps", "learning_rate")

    def build(self, n_latent: int, n_conditions: int, *, n_hidden: int) -> LatentFlow:
        """Build it for so many latent variables, with hidden layers of this width."""
        return LatentFlow(
            n_latent, n_conditions, n_hidden=n_hidden, n_blocks=self.n_blocks, n_steps=self.n_steps
        )


class AutoregressiveMixture(nn.Module):
    """Density of z with a sampler, for vectors of about unit variance.

    Parameters
    ----------
    n_latent : int
        Length of z.
    n_conditions : int
        Length of the condition.
    n_components : int
        Gaussians per coordinate.
    n_hidden : int
        Width of the two hidden layers.
    """

    centers: Tensor

    def __init__(
        self, n_latent: int, n_conditions: int, *, n_components: int, n_hidden: int
    ) -> None:
        super().__init__()
        self.n_latent, self.n_components = n_latent, n_components
        # degree of a unit: it may depend on z_1 ... z_degree; the condition has degree 0
        latent = torch.arange(1, n_latent + 1)
        inputs = torch.cat((latent, torch.zeros(n_conditions, dtype=latent.dtype)))
        hidden = torch.arange(n_hidden) % n_latent
        outputs = latent.repeat_interleave(3 * n_components) - 1
        self.network = nn.Sequential(
            _MaskedLinear(inputs, hidden),
            nn.SiLU(),
            _MaskedLinear(hidden, hidden),
            nn.SiLU(),
            _MaskedLinear(hidden, outputs),
        )
        self.register_buffer("centers", torch.linspace(-2, 2, n_components), persistent=False)

    def log_prob(self, z: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the density, shape (n_events,)."""
        logits, means, log_sigmas = self._components(z, condition)
        pull = (z[:, :, None] - means) * (-log_sigmas).exp()
        log_gauss = -pull.square() / 2 - log_sigmas - math.log(2 * math.pi) / 2
        return torch.logsumexp(F.log_softmax(logits, dim=2) + log_gauss, dim=2).sum(1)

    def loss(self, z: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """What is minimized, -ln p(z|c), shape (n_events,)."""
        return -self.log_prob(z, condition)

    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Draw z of shape (n_events, n_latent), one coordinate after the other."""
        u, noise = rng.uniform(n_events, self.n_latent), rng.normal(n_events, self.n_latent)
        z = torch.zeros_like(noise)
        for i in range(self.n_latent):
            logits, means, log_sigmas = (p[:, i] for p in self._components(z, condition))
            # k is the first component at which the cumulative probability exceeds u
            cumulative = torch.softmax(logits, dim=1).cumsum(1)[:, :-1]
            k = (cumulative < u[:, i : i + 1]).sum(1, keepdim=True)
            sigma = log_sigmas.gather(1, k)[:, 0].exp()
            z[:, i] = means.gather(1, k)[:, 0] + sigma * noise[:, i]
        return z

    def _components(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and log-widths, each of shape (n_events, n_latent, n_components)."""
        out = self.network(torch.cat((z, condition), dim=1))
        out = out.view(len(z), self.n_latent, 3, self.n_components)
        log_sigmas = _MIN_LOG_SIGMA + F.softplus(out[:, :, 2] - _MIN_LOG_SIGMA)
        return out[:, :, 0], self.centers + out[:, :, 1], log_sigmas


class LatentFlow(nn.Module):
    """Flow from noise to z, with a sampler and a density.

    Parameters
    ----------
    n_latent, n_conditions, n_hidden, n_blocks : int
        Sizes.
    n_steps : int
        Steps of Heun's method.
    """

    frequencies: Tensor

    def __init__(
        self, n_latent: int, n_conditions: int, *, n_hidden: int, n_blocks: int, n_steps: int
    ) -> None:
        super().__init__()
        self.n_latent, self.n_steps = n_latent, n_steps
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(4), persistent=False)
        n_context = 2 * len(self.frequencies) + n_conditions
        self.network = ResidualMLP(
            n_latent, n_latent, n_context, n_hidden=n_hidden, n_blocks=n_blocks
        )

    def loss(self, z: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Squared error of the velocity at one time per event, shape (n_events,)."""
        noise, t = rng.normal(*z.shape), torch.sigmoid(rng.normal(len(z), 1))
        error = self._velocity(torch.lerp(noise, z, t), t, condition) - (z - noise)
        return error.square().mean(1)

    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Draw z of shape (n_events, n_latent)."""
        z, h = rng.normal(n_events, self.n_latent), 1 / self.n_steps
        for i in range(self.n_steps):
            first = self._velocity(z, z.new_full((n_events, 1), i * h), condition)
            then = self._velocity(z + h * first, z.new_full((n_events, 1), (i + 1) * h), condition)
            z = z + h / 2 * (first + then)
        return z

    def log_prob(self, z: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the density, shape (n_events,).

        The flow is followed back in four times the steps of the sampling, with the exact
        divergence, whose cost grows with the square of the latent variables; without a gradient.
        """
        n, z = 4 * self.n_steps, z.detach()
        h, total = 1 / n, z.new_zeros(len(z))
        for i in range(n, 0, -1):
            first, slope = self._with_divergence(z, i * h, condition)
            then, other = self._with_divergence(z - h * first, (i - 1) * h, condition)
            z = z - h / 2 * (first + then)
            total = total + h / 2 * (slope + other)
        log_noise = -(z.square() + math.log(2 * math.pi)).sum(1) / 2
        return log_noise - total

    def _with_divergence(self, z: Tensor, t: float, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and its divergence, (n_events, n_latent) and (n_events,)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            v = self._velocity(z, z.new_full((len(z), 1), t), condition)
            terms = [
                torch.autograd.grad(v[:, i].sum(), z, retain_graph=True)[0][:, i]
                for i in range(self.n_latent)
            ]
        return v.detach(), torch.stack(terms).sum(0)

    def _velocity(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        angle = t * self.frequencies
        context = torch.cat((angle.sin(), angle.cos(), condition), dim=1)
        return self.network(z, context)


class _MaskedLinear(nn.Module):
    """Linear layer whose outputs see only inputs of at most their own degree."""

    mask: Tensor

    def __init__(self, degrees_in: Tensor, degrees_out: Tensor) -> None:
        super().__init__()
        full = nn.Linear(len(degrees_in), len(degrees_out))
        self.weight, self.bias = full.weight, full.bias
        mask = (degrees_out[:, None] >= degrees_in).to(self.weight.dtype)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in) to (n, n_out)."""
        return F.linear(x, self.weight * self.mask, self.bias)
