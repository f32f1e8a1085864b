r"""Laws of an event given its latent variables.

Features are independent given z and the condition c. A binary one is -1 or +1 with
:math:`p(+1) = \mathrm{sigmoid}\, l(z, c)`, whatever the decoder. Real ones are

* Gaussian, :math:`N(m(z, c), s^2)`, with s a function of z and c or one number per feature
* or, where one value v repeats, v with probability :math:`\pi(z, c)` and Gaussian otherwise; the
  law is then a density beside v and a probability at v
* or a mixture of Gaussians whose weights, means and widths are functions of z and c: what the
  latent variables leave out need not look like a bell (:class:`MixtureDecoder`)

All numbers come from a perceptron of (z, c), or from a network for arrays. To the latter z and c
are shown twice: as an array, by a linear map, and as the context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physgen.checks import require_positive
from physgen.networks.mlp import MLP
from physgen.networks.unfolded import ArrayNetwork, Unfolded
from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = [
    "Decoder",
    "Draft",
    "GaussianDecoder",
    "Mixture",
    "MixtureDecoder",
    "ZeroInflated",
    "bounded",
]

_LOG_2PI = math.log(2 * math.pi)
# a value that so many events of the first batch share is no coincidence
_MIN_REPEATS, _MIN_SHARE = 3, 0.01
# Adam moves every number by its rate per step; one that is no weight has farther to go
_SPEED = 10.0
_Scale = Literal["event", "feature"]


@dataclass(frozen=True, kw_only=True)
class GaussianDecoder:
    """Gaussian features with a width that is learned.

    Parameters
    ----------
    scale : {"event", "feature"}, default "event"
        Whether the width depends on the event, or is one number per feature: the latter cannot
        trade sharp events for blurred ones (Rybkin et al., arXiv:2006.13202).
    """

    scale: _Scale = "event"

    def __post_init__(self) -> None:
        _check_scale(self)

    def build(self, spec: TensorSpec, n_latent: int, draft: Draft) -> Decoder:
        """Build the decoder for tensors of this spec around a network."""
        return Decoder(spec, n_latent, draft, scale=self.scale, inflated=False)


@dataclass(frozen=True, kw_only=True)
class ZeroInflated:
    """Gaussian features, but for one value of each that may repeat, such as an empty cell's.

    Which value that is, the first batch of the training says: the one that at least 1 % of its
    events share. Features without such a value are Gaussian.

    Parameters
    ----------
    scale : {"event", "feature"}, default "event"
        As for :class:`GaussianDecoder`.
    """

    scale: _Scale = "event"

    def __post_init__(self) -> None:
        _check_scale(self)

    def build(self, spec: TensorSpec, n_latent: int, draft: Draft) -> Decoder:
        """Build the decoder for tensors of this spec around a network."""
        return Decoder(spec, n_latent, draft, scale=self.scale, inflated=True)


@dataclass(frozen=True, kw_only=True)
class MixtureDecoder:
    r"""Features that are mixtures of Gaussians given the latent variables.

    .. math:: p(x_i|z, c) = \sum_k \pi_{ik} N(x_i; m_{ik}, s_{ik}^2)

    What the voxels of a shower do on their own, empty or not, is then neither blurred nor left to
    the latent variables, which only tell what they have in common.

    Parameters
    ----------
    n_components : int, default 4
        Gaussians per feature.
    """

    n_components: int = 4

    def __post_init__(self) -> None:
        require_positive(self, "n_components")

    def build(self, spec: TensorSpec, n_latent: int, draft: Draft) -> Mixture:
        """Build the decoder for tensors of this spec around a network."""
        return Mixture(spec, n_latent, draft, self.n_components)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The network of a decoder before it is known how many numbers it shall make.

    Parameters
    ----------
    n_hidden, n_layers : int
        Of a perceptron.
    network : Perceptron, UNet, VoxelTransformer or SetTransformer, optional
        Network for arrays in its place.
    """

    n_hidden: int
    n_layers: int
    network: ArrayNetwork | None = None

    def build(self, spec: TensorSpec, n_latent: int, n_parts: int) -> nn.Module:
        """Module from (z, condition), side by side, to n_parts numbers per feature."""
        n_given = n_latent + spec.n_conditions
        if self.network is not None:
            return Unfolded(spec, n_latent, n_parts, self.network)
        return MLP(
            n_given, n_parts * spec.n_features, n_hidden=self.n_hidden, n_layers=self.n_layers
        )


class Decoder(nn.Module):
    """Law of x (n_events, n_features) given z (n_events, n_latent) and the condition.

    Parameters
    ----------
    spec : TensorSpec
    n_latent : int
    draft : Draft
        Of the network.
    scale : {"event", "feature"}
    inflated : bool
        Whether features may have a value that repeats.
    """

    binary: Tensor
    spike: Tensor
    repeats: Tensor
    has_looked: Tensor

    def __init__(
        self,
        spec: TensorSpec,
        n_latent: int,
        draft: Draft,
        *,
        scale: _Scale,
        inflated: bool,
    ) -> None:
        super().__init__()
        self.spec, self.inflated = spec, inflated
        n_x = spec.n_features
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        self.n_parts = 1 + (scale == "event") + inflated
        self.network = draft.build(spec, n_latent, self.n_parts)
        # without real features there would be nothing to learn
        shared = scale == "feature" and spec.n_binary < n_x
        self.log_variance = nn.Parameter(torch.zeros(n_x)) if shared else None
        if inflated:
            self.register_buffer("spike", torch.zeros(n_x))
            self.register_buffer("repeats", torch.zeros(n_x, dtype=torch.bool))
            self.register_buffer("has_looked", torch.tensor(False))

    def look(self, x: Tensor) -> None:
        """Find the values that repeat in the first batch of the training."""
        if not self.inflated or bool(self.has_looked):
            return
        self.spike.copy_(torch.mode(x, dim=0).values)
        share = (x == self.spike).double().mean(0)
        enough = share >= max(_MIN_SHARE, _MIN_REPEATS / len(x))
        self.repeats.copy_(enough & ~self.binary)
        self.has_looked.fill_(True)

    def log_prob(self, x: Tensor, z: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the law of x given z, shape (n_events,)."""
        mean, log_variance, logit = self.parts(z, condition)
        terms = -((x - mean).square() * (-log_variance).exp() + log_variance + _LOG_2PI) / 2
        if logit is not None:
            with_spike = torch.where(
                x == self.spike, F.logsigmoid(logit), F.logsigmoid(-logit) + terms
            )
            terms = torch.where(self.repeats, with_spike, terms)
        # x = -1, +1: ln p(x) = ln sigmoid(x l)
        terms = torch.where(self.binary, F.logsigmoid(x * mean), terms)
        there = self.spec.mask(condition)
        return terms.sum(1) if there is None else (terms * there).sum(1)

    def sample(self, z: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Draw events given z, shape (n_events, n_features)."""
        mean, log_variance, logit = self.parts(z, condition)
        x = mean + (log_variance / 2).exp() * rng.normal(*mean.shape)
        if self.spec.n_binary > 0:
            spins = torch.where(rng.uniform(*mean.shape) < torch.sigmoid(mean), 1.0, -1.0)
            x = torch.where(self.binary, spins, x)
        if logit is not None:
            at_spike = (rng.uniform(*mean.shape) < torch.sigmoid(logit)) & self.repeats
            x = torch.where(at_spike, self.spike, x)
        there = self.spec.mask(condition)
        return x if there is None else x * there

    def parts(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Means or logits of binary features, log-variances, logits of the spikes."""
        found = self.network(torch.cat((z, condition), dim=1)).chunk(self.n_parts, dim=1)
        logit = found[-1] if self.inflated else None
        if len(found) - self.inflated == 2:
            return found[0], bounded(found[1]), logit
        if self.log_variance is None:
            return found[0], torch.zeros_like(found[0]), logit
        return found[0], bounded(_SPEED * self.log_variance).expand_as(found[0]), logit


class Mixture(nn.Module):
    """Law of x given z and the condition: a mixture of Gaussians in every real feature.

    Parameters
    ----------
    spec : TensorSpec
    n_latent : int
    draft : Draft
        Of the network.
    n_components : int
    """

    binary: Tensor
    centers: Tensor

    def __init__(self, spec: TensorSpec, n_latent: int, draft: Draft, n_components: int) -> None:
        super().__init__()
        self.spec, self.n_components = spec, n_components
        self.network = draft.build(spec, n_latent, 3 * n_components)
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        centers = 3 * ((torch.arange(n_components) + 0.5) / n_components - 0.5)
        self.register_buffer("centers", centers[:, None], persistent=False)

    def look(self, x: Tensor) -> None:
        """Nothing to learn from the first batch."""

    def log_prob(self, x: Tensor, z: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the law of x given z, shape (n_events,)."""
        means, log_variances, logits = self.parts(z, condition)
        pull = (x[:, None] - means).square() * (-log_variances).exp()
        gauss = -(pull + log_variances + _LOG_2PI) / 2
        terms = torch.logsumexp(F.log_softmax(logits, dim=1) + gauss, dim=1)
        # x = -1, +1: ln p(x) = ln sigmoid(x l)
        terms = torch.where(self.binary, F.logsigmoid(x * means[:, 0]), terms)
        there = self.spec.mask(condition)
        return terms.sum(1) if there is None else (terms * there).sum(1)

    def sample(self, z: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Draw events given z, shape (n_events, n_features)."""
        means, log_variances, logits = self.parts(z, condition)
        u, noise = rng.uniform(len(z), self.spec.n_features), rng.normal(*means[:, 0].shape)
        # k is the first component at which the cumulative probability exceeds u
        cumulative = torch.softmax(logits, dim=1).cumsum(1)[:, :-1]
        k = (cumulative < u[:, None]).sum(1, keepdim=True)
        width = (log_variances.gather(1, k)[:, 0] / 2).exp()
        x = means.gather(1, k)[:, 0] + width * noise
        spins = torch.where(u < torch.sigmoid(means[:, 0]), 1.0, -1.0)
        x = torch.where(self.binary, spins, x)
        there = self.spec.mask(condition)
        return x if there is None else x * there

    def parts(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, log-variances and logits, (n_events, n_components, n_features) each.

        The first mean of a binary feature is its logit.
        """
        found = self.network(torch.cat((z, condition), dim=1))
        found = found.unflatten(1, (3, self.n_components, -1))
        means = found[:, 0] + torch.where(self.binary, 0.0, self.centers)
        return means, bounded(found[:, 1]), found[:, 2]


def bounded(log_variance: Tensor) -> Tensor:
    """Keep a log-variance within +-10, smoothly: no width collapses onto a single event."""
    return 10 * torch.tanh(log_variance / 10)


def _check_scale(settings: GaussianDecoder | ZeroInflated) -> None:
    if settings.scale not in get_args(_Scale):
        raise ValueError(
            f"{type(settings).__name__}: scale must be 'event' or 'feature', got "
            f"{settings.scale!r}"
        )
