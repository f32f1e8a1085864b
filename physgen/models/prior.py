r"""Autoregressive mixture: a density of a vector, one coordinate after the other.

.. math:: p(z|c) = \prod_i \sum_k \pi_{ik} N(z_i; \mu_{ik}, \sigma_{ik}^2)

where :math:`\pi_{ik}, \mu_{ik}, \sigma_{ik}` are functions of :math:`z_1 \ldots z_{i-1}` and the
condition :math:`c`. One perceptron with masked weights gives all of them in one pass.

References
----------
Germain et al., *MADE: Masked Autoencoder for Distribution Estimation*, arXiv:1502.03509 (the
masks). Uria, Murray and Larochelle, *RNADE*, arXiv:1306.0186 (mixtures of Gaussians).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physgen.random import Random

__all__ = ["AutoregressiveMixture"]

# no component becomes narrower than e^-5 of a latent variable of width 1
_MIN_LOG_SIGMA = -5.0


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
