r"""Variational autoencoder with a fitted prior.

Symbols: event :math:`x`, condition :math:`c`, latent :math:`z` (n_latent).

* encoder :math:`q(z|x, c) = N(\mu(x, c), \mathrm{diag}\, \sigma^2(x, c))`
* decoder :math:`p(x|z, c)` (:mod:`physgen.models.vae.decoders`)
* prior :math:`p(z|c)`, an autoregressive mixture or a flow (:mod:`physgen.models.prior`)

Encoder and decoder minimize, with w = ``kl_weight``,

.. math::

    -E_q[\ln p(x|z, c)] + w\, \mathrm{KL}(q \| N(0, 1)), \qquad
    \mathrm{KL} = \tfrac12 \sum_i (\mu_i^2 + \sigma_i^2 - 1 - \ln \sigma_i^2)

The prior is fitted to the latent events of the encoder at the same time, since events drawn from
N(0, 1) would land where no true event is encoded. With it the bounds on the likelihood in nats are

.. math::

    \mathrm{ELBO}(x) = E_q[\ln w(z)] \le E_q\Bigl[\ln \frac1K \sum_{k=1}^{K} w(z_k)\Bigr]
    \le \ln p(x|c), \qquad w(z) = \frac{p(x|z, c)\, p(z|c)}{q(z|x, c)}

of which the one in the middle rises with K to the last (importance-weighted bound).

Because the prior is fitted, N(0, 1) is but a scale for the latent space and w may be small.

References
----------
Kingma and Welling, arXiv:1312.6114 (eq. 10 and appendix B: the analytic KL). Zhang et al.,
arXiv:2310.09656 (TabSyn: small KL weight and a prior fitted afterwards, for tables). Burda et al.,
arXiv:1509.00519 (importance-weighted bound, eq. 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from physgen.checks import require_non_negative, require_positive, whole_number
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.cascade import cascade
from physgen.models.checks import refuse_one_hot
from physgen.models.prior import FlowPrior, MixturePrior
from physgen.models.vae.decoders import (
    Draft,
    GaussianDecoder,
    MixtureDecoder,
    ZeroInflated,
    bounded,
)
from physgen.models.vae.gray import Gray, GrayDecoder
from physgen.networks.mlp import MLP
from physgen.networks.unfolded import ArrayNetwork, array_network
from physgen.networks.voxel_transformer import roll_and_flip
from physgen.random import GeneratorRandom, Random, Rng, as_generator

__all__ = ["VAE", "Bound", "VAEModel"]

_LOG_2PI = math.log(2 * math.pi)
# the mixture makes one latent variable after the other, so they cost time in sampling
_MAX_LATENT = 64
# those of an array tell what its parts have in common
_ARRAY_LATENT = 32


class Bound(NamedTuple):
    """Lower bound on ln p(x|c) per event, in nats, and its standard error, (n_events,) each."""

    value: Tensor
    std_error: Tensor


@dataclass(frozen=True, kw_only=True)
class VAE:
    """Settings of a variational autoencoder.

    Parameters
    ----------
    n_latent : int, optional
        Number of latent variables; by default as many as features, at most 64, and 32 with a
        network for arrays.
    n_hidden : int, default 256
        Width of the hidden layers of encoder and decoder.
    n_layers : int, default 2
        Number of their hidden layers.
    network : Perceptron, UNet, VoxelTransformer or SetTransformer, optional
        Network of the decoder for arrays and clouds; by default a voxel transformer for arrays of
        three axes, and a perceptron for all else. The encoder is always a perceptron.
    prior : MixturePrior or FlowPrior, default MixturePrior()
        Law of the latent variables that is fitted to the encoder.
    decoder : GaussianDecoder, ZeroInflated, MixtureDecoder or GrayDecoder, optional
        Law of the real features given the latent variables; by default a mixture where a network
        for arrays makes it, else Gaussian.
    kl_weight : float, default 0.3
        Factor w of the divergence. With 1, few latent variables are used and what they leave out
        is generated without correlations; with much less, the prior has more to learn.
    free_bits : float, default 0.0
        Divergence per latent variable and event, in bits, below which it is not reduced further.
    symmetric : bool, default True
        Turn and mirror every event at random along the periodic axes of its array (angles of a
        calorimeter), if the network is one for arrays. Set it to False where the detector or
        the field differs along them.
    learning_rate : float, default 2e-3
        Peak rate of Adam for encoder and decoder; the prior has a rate of its own.
    """

    n_latent: int | None = None
    n_hidden: int = 256
    n_layers: int = 2
    network: ArrayNetwork | None = None
    prior: MixturePrior | FlowPrior = MixturePrior()
    decoder: GaussianDecoder | ZeroInflated | MixtureDecoder | GrayDecoder | None = None
    kl_weight: float = 0.3
    free_bits: float = 0.0
    symmetric: bool = True
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if self.n_latent is not None:
            require_positive(self, "n_latent")
        require_positive(self, "n_hidden", "n_layers", "learning_rate")
        require_non_negative(self, "kl_weight", "free_bits")

    def build(self, spec: TensorSpec) -> GenerativeModel:
        """Build the networks for tensors of this shape, one VAE per stage if it has several."""
        refuse_one_hot("VAE", spec)
        return cascade(lambda stage: VAEModel(self, stage), spec)


class VAEModel(GenerativeModel):
    """Variational autoencoder; formulas at the head of the module."""

    splits_batches = True

    def __init__(self, settings: VAE, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        n_hidden, n_layers = settings.n_hidden, settings.n_layers
        n_x, n_c = spec.n_features, spec.n_conditions
        network = array_network(settings.network, spec)
        n_z = settings.n_latent or min(n_x, _MAX_LATENT if network is None else _ARRAY_LATENT)
        self.turns_around = settings.symmetric and network is not None and any(spec.periodic)
        self.encoder = MLP(n_x + n_c, 2 * n_z, n_hidden=n_hidden, n_layers=n_layers)
        law = settings.decoder or (GaussianDecoder() if network is None else MixtureDecoder())
        draft = Draft(n_hidden=n_hidden, n_layers=n_layers, network=network)
        self.decoder = law.build(spec, n_z, draft)
        self.prior = settings.prior.build(n_z, n_c, n_hidden=n_hidden)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """Two players: "vae" (encoder and decoder) and "prior"."""
        networks = [*self.encoder.parameters(), *self.decoder.parameters()]
        adam = partial(torch.optim.Adam, fused=True)
        return {
            "vae": adam(networks, lr=self.settings.learning_rate),
            "prior": adam(self.prior.parameters(), lr=self.settings.prior.learning_rate),
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of a player per event: of "vae" in nats, as at the head of the module."""
        if self.turns_around:
            x = roll_and_flip(x, self.spec.shape, self.spec.periodic, rng)
        if player == "prior":
            with torch.no_grad():
                z, _, _ = self._latent(x, condition, rng)
            return self.prior.loss(z, condition, rng=rng)
        if self.training:
            self.decoder.look(x)
        z, mu, log_variance = self._latent(x, condition, rng)
        divergence = _kl_to_normal(mu, log_variance)
        divergence = divergence.clamp_min(self.settings.free_bits * math.log(2))
        reconstruction = self.decoder.log_prob(x, z, condition)
        return self.settings.kl_weight * divergence.sum(1) - reconstruction

    def elbo(self, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Lower bound on ln p(x|c) in nats, with the fitted prior and one draw of z per event.

        The entropy of the encoder is exact.
        """
        z, _, log_variance = self._latent(x, condition, rng)
        entropy = (log_variance + _LOG_2PI + 1).sum(1) / 2
        likelihood = self.decoder.log_prob(x, z, condition)
        return likelihood + entropy + self.prior.log_prob(z, condition)

    @torch.no_grad()
    def log_prob_bound(
        self, x: Tensor, condition: Tensor, *, n_samples: int = 64, rng: Rng
    ) -> Bound:
        r"""Importance-weighted lower bound on ln p(x|c), in nats.

        Its mean is below ln p(x|c) by about :math:`s^2/2`, with s the standard error, once this
        is small; near 1 the bound is loose, and the error itself too small.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
        condition : Tensor of shape (n_events, n_conditions)
        n_samples : int, default 64
            The number K of draws of z per event, at least 2.
        rng : int or torch.Generator

        Returns
        -------
        Bound

        Raises
        ------
        TypeError
            If the decoder is a :class:`GrayDecoder`, which has no density.

        References
        ----------
        Burda et al., arXiv:1509.00519 (eq. 8 and theorem 1).
        """
        if isinstance(self.decoder, Gray):
            raise TypeError(
                "gray levels as probabilities have no density; take another decoder than "
                "GrayDecoder for log_prob_bound"
            )
        n_samples = whole_number("n_samples", n_samples, 2)
        random = GeneratorRandom(as_generator(rng, x.device))
        log_w = torch.stack([self._log_weight(x, condition, random) for _ in range(n_samples)])
        value = torch.logsumexp(log_w, dim=0) - math.log(n_samples)
        spread = (log_w - value).exp().std(dim=0)  # of w over its mean
        return Bound(value, spread / math.sqrt(n_samples))

    def _log_weight(self, x: Tensor, condition: Tensor, rng: Random) -> Tensor:
        """Ln p(x|z) p(z) / q(z|x) at one z of each event, float64 of shape (n_events,)."""
        z, mu, log_variance = self._latent(x, condition, rng)
        pull = (z - mu).square() * (-log_variance).exp()
        log_q = -(pull + log_variance + _LOG_2PI).sum(1) / 2
        joint = self.decoder.log_prob(x, z, condition) + self.prior.log_prob(z, condition)
        return (joint - log_q).double()

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events: z from the prior, x from the decoder with its noise."""
        z = self.prior.sample(n_events, condition, rng=rng)
        return self.decoder.sample(z, condition, rng=rng)

    def _latent(self, x: Tensor, condition: Tensor, rng: Random) -> tuple[Tensor, Tensor, Tensor]:
        """Draw z from q(z|x, c); return it with the mean and the log-variance of q."""
        mu, log_variance = self._encode(x, condition)
        return mu + (log_variance / 2).exp() * rng.normal(*mu.shape), mu, log_variance

    def _encode(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_variance = self.encoder(torch.cat((x, condition), dim=1)).chunk(2, dim=1)
        return mu, bounded(log_variance)


def _kl_to_normal(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q || N(0, 1)) of each latent variable, shape (n_events, n_latent)."""
    return (mu.square() + log_variance.exp() - 1 - log_variance) / 2
