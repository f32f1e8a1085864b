r"""Variational autoencoder with a fitted mixture prior.

Symbols: event :math:`x`, condition :math:`c`, latent :math:`z` (n_latent).

* encoder :math:`q(z|x, c) = N(\mu(x, c), \mathrm{diag}\, \sigma^2(x, c))`
* decoder :math:`p(x|z, c)`: for each real feature :math:`N(m_i(z, c), s_i^2(z, c))`, for each
  binary one :math:`p(x_i = 1) = \mathrm{sigmoid}\, l_i(z, c)`
* prior :math:`p(z|c) = \sum_k \pi_k(c) N(\mu_k(c), \mathrm{diag}\, \sigma_k^2(c))`, learned with
  the rest: events drawn from a fixed N(0, 1) would miss what the encoder does not fill.

The loss is a bound on :math:`-\ln p(x|c)` in nats,

.. math::

    -\mathrm{ELBO}(x) = -E_q[\ln p(x|z, c)] + D, \qquad
    D = -\ln \sum_k \pi_k e^{-\mathrm{KL}(q \| N_k)} \ge \mathrm{KL}(q \| p(z|c))

with the analytic divergence :math:`\mathrm{KL}(q \| N_k)` of two Gaussians. D follows from
Jensen's inequality and is exact for a single component.

References
----------
Kingma and Welling, arXiv:1312.6114. Hershey and Olsen, *Approximating the Kullback Leibler
divergence between Gaussian mixture models*, ICASSP 2007 (the bound D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.checks import require_non_negative, require_positive
from physgen.networks.mlp import MLP
from physgen.random import Random

__all__ = ["VAE", "VAEModel"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class VAE:
    """Settings of a variational autoencoder.

    Parameters
    ----------
    n_latent : int, default 16
        Number of latent variables.
    n_hidden : int, default 256
        Width of the hidden layers of encoder and decoder.
    n_layers : int, default 3
        Number of their hidden layers.
    n_components : int, default 128
        Number of Gaussians in the prior.
    kl_weight : float, default 1.0
        Factor of D in the loss; with 1 the loss is a bound on -ln p.
    free_bits : float, default 0.0
        D per event, in bits, below which it is not reduced further.
    learning_rate : float, default 1e-3
        Peak rate of Adam.
    """

    n_latent: int = 16
    n_hidden: int = 256
    n_layers: int = 3
    n_components: int = 128
    kl_weight: float = 1.0
    free_bits: float = 0.0
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_latent", "n_hidden", "n_layers", "n_components", "learning_rate")
        require_non_negative(self, "kl_weight", "free_bits")

    def build(self, spec: TensorSpec) -> VAEModel:
        """Build the networks for tensors of this shape."""
        return VAEModel(self, spec)


class VAEModel(GenerativeModel):
    """Variational autoencoder; formulas at the head of the module."""

    binary: Tensor

    def __init__(self, settings: VAE, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        size = {"n_hidden": settings.n_hidden, "n_layers": settings.n_layers}
        n_x, n_c, n_z = spec.n_features, spec.n_conditions, settings.n_latent
        self.encoder = MLP(n_x + n_c, 2 * n_z, **size)
        self.decoder = MLP(n_z + n_c, 2 * n_x, **size)
        self.prior = MixturePrior(n_z, settings.n_components, n_c)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player, "vae"."""
        return {"vae": torch.optim.Adam(self.parameters(), lr=self.settings.learning_rate)}

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Minus the bound on ln p(x), in nats, with ``kl_weight`` and ``free_bits``."""
        reconstruction, divergence = self._terms(x, condition, rng)
        divergence = divergence.clamp_min(self.settings.free_bits * math.log(2))
        return self.settings.kl_weight * divergence - reconstruction

    def elbo(self, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Lower bound on ln p(x) in nats from one draw of z, shape (n_events,)."""
        reconstruction, divergence = self._terms(x, condition, rng)
        return reconstruction - divergence

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events: z from the prior, x from the decoder with its noise."""
        z = self.prior.sample(n_events, condition, rng=rng)
        mean, log_variance = self._decode(z, condition)
        x = mean + (log_variance / 2).exp() * rng.normal(*mean.shape)
        if self.spec.n_binary == 0:
            return x
        spins = torch.where(rng.uniform(*mean.shape) < torch.sigmoid(mean), 1.0, -1.0)
        return torch.where(self.binary, spins, x)

    def _terms(self, x: Tensor, condition: Tensor, rng: Random) -> tuple[Tensor, Tensor]:
        mu, log_variance = self._encode(x, condition)
        z = mu + (log_variance / 2).exp() * rng.normal(*mu.shape)
        return self._log_likelihood(x, z, condition), self.prior.kl(mu, log_variance, condition)

    def _encode(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_variance = self.encoder(torch.cat((x, condition), dim=1)).chunk(2, dim=1)
        return mu, _bounded(log_variance)

    def _decode(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.decoder(torch.cat((z, condition), dim=1)).chunk(2, dim=1)
        return mean, _bounded(log_variance)

    def _log_likelihood(self, x: Tensor, z: Tensor, condition: Tensor) -> Tensor:
        mean, log_variance = self._decode(z, condition)
        gauss = -((x - mean).square() * (-log_variance).exp() + log_variance + _LOG_2PI) / 2
        # x = -1, +1: ln p(x) = ln sigmoid(x l)
        return torch.where(self.binary, F.logsigmoid(x * mean), gauss).sum(1)


class MixturePrior(nn.Module):
    """Mixture of diagonal Gaussians whose parameters may depend on the condition.

    Parameters
    ----------
    n_latent, n_components, n_conditions : int
    """

    def __init__(self, n_latent: int, n_components: int, n_conditions: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(torch.randn(n_components, n_latent))
        self.log_variances = nn.Parameter(torch.zeros(n_components, n_latent))
        if n_conditions:
            self.conditioner = MLP(
                n_conditions, n_components * (1 + 2 * n_latent), n_hidden=64, n_layers=2
            )

    def kl(self, mu: Tensor, log_variance: Tensor, condition: Tensor) -> Tensor:
        """Bound D on KL(q || prior) of q = N(mu, exp(log_variance)), shape (n_events,)."""
        logits, means, log_variances = self._components(condition)
        mu, log_variance = mu[:, None, :], log_variance[:, None, :]
        # KL of two Gaussians, summed over the latent variables: (n_events, n_components)
        ratio = log_variance - log_variances
        shift = (mu - means).square() * (-log_variances).exp()
        kl = (ratio.exp() + shift - 1 - ratio).sum(2) / 2
        return -torch.logsumexp(F.log_softmax(logits, dim=1) - kl, dim=1)

    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Draw z of shape (n_events, n_latent)."""
        logits, means, log_variances = self._components(condition)
        cumulative = torch.softmax(logits, dim=1).cumsum(1).expand(n_events, -1).contiguous()
        k = torch.searchsorted(cumulative, rng.uniform(n_events, 1)).clamp_(
            max=logits.shape[1] - 1
        )
        mean, log_variance = _pick(means, k), _pick(log_variances, k)
        return mean + (log_variance / 2).exp() * rng.normal(*mean.shape)

    def _components(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and log-variances with a leading axis of 1 or n_events."""
        if condition.shape[1] == 0:
            return self.logits[None], self.means[None], _bounded(self.log_variances[None])
        n_components, n_latent = self.means.shape
        shift = self.conditioner(condition).view(-1, n_components, 1 + 2 * n_latent)
        logits, means, log_variances = shift.split((1, n_latent, n_latent), dim=2)
        return (
            self.logits + logits[:, :, 0],
            self.means + means,
            _bounded(self.log_variances + log_variances),
        )


def _pick(values: Tensor, k: Tensor) -> Tensor:
    """Row k of values (1 or n_events, n_components, n_latent) for each event."""
    rows = torch.zeros_like(k) if len(values) == 1 else torch.arange(len(k))[:, None]
    return values[rows[:, 0], k[:, 0]]


def _bounded(log_variance: Tensor) -> Tensor:
    """Keep a log-variance within +-10, smoothly: no width collapses onto a single event."""
    return 10 * torch.tanh(log_variance / 10)
