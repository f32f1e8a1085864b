r"""Variational autoencoder with a fitted prior.

Symbols: event :math:`x`, condition :math:`c`, latent :math:`z` (n_latent).

* encoder :math:`q(z|x, c) = N(\mu(x, c), \mathrm{diag}\, \sigma^2(x, c))`
* decoder :math:`p(x|z, c)`: for each real feature :math:`N(m_i(z, c), s_i^2(z, c))`, for each
  binary one :math:`p(x_i = 1) = \mathrm{sigmoid}\, l_i(z, c)`
* prior :math:`p(z|c)`, an autoregressive mixture (:mod:`physgen.models.prior`)

Encoder and decoder minimize, with w = ``kl_weight``,

.. math::

    -E_q[\ln p(x|z, c)] + w\, \mathrm{KL}(q \| N(0, 1)), \qquad
    \mathrm{KL} = \tfrac12 \sum_i (\mu_i^2 + \sigma_i^2 - 1 - \ln \sigma_i^2)

The prior is fitted to the latent events of the encoder at the same time,
:math:`-E_q[\ln p(z|c)]`, since events drawn from N(0, 1) would land where no true event is
encoded. With it the bound on the likelihood in nats is

.. math:: \mathrm{ELBO}(x) = E_q[\ln p(x|z, c) + \ln p(z|c) - \ln q(z|x, c)] \le \ln p(x|c)

Because the prior is fitted, N(0, 1) is but a scale for the latent space and w may be small.

References
----------
Kingma and Welling, arXiv:1312.6114 (eq. 10 and appendix B: the analytic KL). Zhang et al.,
arXiv:2310.09656 (TabSyn: small KL weight and a prior fitted afterwards, for tables).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from physgen.checks import require_non_negative, require_positive
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.checks import refuse_one_hot
from physgen.models.prior import AutoregressiveMixture
from physgen.networks.mlp import MLP
from physgen.random import Random

__all__ = ["VAE", "VAEModel"]

_LOG_2PI = math.log(2 * math.pi)
# the prior makes one latent variable after the other, so they cost time in sampling
_MAX_LATENT = 64


@dataclass(frozen=True, kw_only=True)
class VAE:
    """Settings of a variational autoencoder.

    Parameters
    ----------
    n_latent : int, optional
        Number of latent variables; by default as many as features, at most 64.
    n_hidden : int, default 256
        Width of the hidden layers of encoder and decoder.
    n_layers : int, default 2
        Number of their hidden layers.
    n_components : int, default 8
        Gaussians per latent variable in the prior.
    kl_weight : float, default 0.3
        Factor w of the divergence. With 1, few latent variables are used and what they leave out
        is generated without correlations; with much less, the prior has more to learn.
    free_bits : float, default 0.0
        Divergence per latent variable and event, in bits, below which it is not reduced further.
    learning_rate : float, default 2e-3
        Peak rate of Adam for encoder and decoder.
    prior_learning_rate : float, default 5e-3
        Peak rate of Adam for the prior, which runs after a moving target.
    """

    n_latent: int | None = None
    n_hidden: int = 256
    n_layers: int = 2
    n_components: int = 8
    kl_weight: float = 0.3
    free_bits: float = 0.0
    learning_rate: float = 2e-3
    prior_learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        if self.n_latent is not None:
            require_positive(self, "n_latent")
        require_positive(self, "n_hidden", "n_layers", "n_components")
        require_positive(self, "learning_rate", "prior_learning_rate")
        require_non_negative(self, "kl_weight", "free_bits")

    def build(self, spec: TensorSpec) -> VAEModel:
        """Build the networks for tensors of this shape."""
        refuse_one_hot("VAE", spec)
        return VAEModel(self, spec)


class VAEModel(GenerativeModel):
    """Variational autoencoder; formulas at the head of the module."""

    binary: Tensor

    def __init__(self, settings: VAE, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        network = partial(MLP, n_hidden=settings.n_hidden, n_layers=settings.n_layers)
        n_x, n_c = spec.n_features, spec.n_conditions
        n_z = settings.n_latent or min(n_x, _MAX_LATENT)
        self.encoder = network(n_x + n_c, 2 * n_z)
        self.decoder = network(n_z + n_c, 2 * n_x)
        self.prior = AutoregressiveMixture(
            n_z, n_c, n_components=settings.n_components, n_hidden=settings.n_hidden
        )

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """Two players: "vae" (encoder and decoder) and "prior"."""
        networks = [*self.encoder.parameters(), *self.decoder.parameters()]
        s, prior = self.settings, self.prior.parameters()
        return {
            "vae": torch.optim.Adam(networks, lr=s.learning_rate, fused=True),
            "prior": torch.optim.Adam(prior, lr=s.prior_learning_rate, fused=True),
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of a player in nats per event, as at the head of the module."""
        if player == "prior":
            with torch.no_grad():
                z, _, _ = self._latent(x, condition, rng)
            return -self.prior.log_prob(z, condition)
        z, mu, log_variance = self._latent(x, condition, rng)
        divergence = _kl_to_normal(mu, log_variance)
        divergence = divergence.clamp_min(self.settings.free_bits * math.log(2))
        reconstruction = self._log_likelihood(x, z, condition)
        return self.settings.kl_weight * divergence.sum(1) - reconstruction

    def elbo(self, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Lower bound on ln p(x) in nats, with the fitted prior and one draw of z per event."""
        z, _, log_variance = self._latent(x, condition, rng)
        entropy = (log_variance + _LOG_2PI + 1).sum(1) / 2
        return self._log_likelihood(x, z, condition) + entropy + self.prior.log_prob(z, condition)

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

    def _latent(self, x: Tensor, condition: Tensor, rng: Random) -> tuple[Tensor, Tensor, Tensor]:
        """Draw z from q(z|x, c); return it with the mean and the log-variance of q."""
        mu, log_variance = self._encode(x, condition)
        return mu + (log_variance / 2).exp() * rng.normal(*mu.shape), mu, log_variance

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


def _kl_to_normal(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q || N(0, 1)) of each latent variable, shape (n_events, n_latent)."""
    return (mu.square() + log_variance.exp() - 1 - log_variance) / 2


def _bounded(log_variance: Tensor) -> Tensor:
    """Keep a log-variance within +-10, smoothly: no width collapses onto a single event."""
    return 10 * torch.tanh(log_variance / 10)
