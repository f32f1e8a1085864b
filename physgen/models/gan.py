r"""Generative adversarial network.

Symbols: generator :math:`G(z, c)` of noise :math:`z \sim N(0, 1)` (n_latent), discriminator
:math:`D(x, c)`, a logit, condition :math:`c`. What the two play for is the objective:
:class:`NonSaturating` (Goodfellow et al.) or :class:`Relativistic` (the default).

A binary feature leaves the generator as an exact -1 or +1, drawn with probability
:math:`\mathrm{sigmoid}\, 2 l`; its gradient is that of :math:`\tanh` at the same logit and noise
(straight-through). A generator of soft values against hard data would be told apart at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from physgen.checks import require_non_negative, require_positive
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.checks import refuse_one_hot
from physgen.networks.mlp import MLP
from physgen.random import Random

__all__ = ["GAN", "GANModel", "NonSaturating", "Objective", "Relativistic"]


class Objective(Protocol):
    """Losses per event from the logits of a true and a generated event, of shape (n_events,)."""

    @property
    def gamma(self) -> float:
        """Weight of the gradient penalties R1 (on true events) and R2 (on generated ones)."""
        ...

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator."""
        ...

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator."""
        ...


@dataclass(frozen=True, kw_only=True)
class NonSaturating:
    r"""Binary cross-entropy with the non-saturating generator loss, as in the lecture.

    .. math:: L_D = -\ln \sigma(D(x)) - \ln(1 - \sigma(D(G(z)))), \qquad L_G = -\ln \sigma(D(G(z)))

    Parameters
    ----------
    gamma : float, default 0.0
        Weight of the gradient penalties; 0 as in the lecture.

    References
    ----------
    Goodfellow et al., arXiv:1406.2661.
    """

    gamma: float = 0.0

    def __post_init__(self) -> None:
        require_non_negative(self, "gamma")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator, shape (n_events,)."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator, shape (n_events,)."""
        return F.softplus(-fake)


@dataclass(frozen=True, kw_only=True)
class Relativistic:
    r"""Relativistic pairing loss with the penalties R1 and R2 (R3GAN).

    .. math::

        L_D = -\ln \sigma(D(x) - D(G(z))) + \frac{\gamma}{2} \left(|\nabla_x D(x)|^2
              + |\nabla_x D(G(z))|^2\right), \qquad L_G = -\ln \sigma(D(G(z)) - D(x))

    Each true event is paired with a generated one of the same condition.

    Parameters
    ----------
    gamma : float, default 1.0
        Weight of the penalties; larger is steadier and slower.

    References
    ----------
    Huang et al., *The GAN is dead; long live the GAN!*, arXiv:2501.05441.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        require_non_negative(self, "gamma")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator, shape (n_events,)."""
        return F.softplus(fake - real)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator, shape (n_events,)."""
        return F.softplus(real - fake)


@dataclass(frozen=True, kw_only=True)
class GAN:
    """Settings of a generative adversarial network.

    Parameters
    ----------
    n_latent : int, default 32
        Number of noise variables.
    n_hidden : int, default 256
        Width of the hidden layers of both networks.
    n_layers : int, default 2
        Number of their hidden layers.
    objective : Relativistic or NonSaturating, default Relativistic()
        What the players play for.
    learning_rate : float, default 2e-3
        Peak rate of Adam, which has betas (0, 0.99): momentum makes the game swing.
    """

    n_latent: int = 32
    n_hidden: int = 256
    n_layers: int = 2
    objective: Relativistic | NonSaturating = Relativistic()
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_latent", "n_hidden", "n_layers", "learning_rate")

    def build(self, spec: TensorSpec) -> GANModel:
        """Build the networks for tensors of this shape."""
        refuse_one_hot("GAN", spec)
        return GANModel(self, spec)


class GANModel(GenerativeModel):
    """Generator and discriminator, perceptrons both."""

    binary: Tensor

    def __init__(self, settings: GAN, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.objective: Objective = settings.objective
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        network = partial(MLP, n_hidden=settings.n_hidden, n_layers=settings.n_layers)
        n_x, n_c = spec.n_features, spec.n_conditions
        self.generator = network(settings.n_latent + n_c, n_x)
        self.discriminator = network(n_x + n_c, 1)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """Two players, "discriminator" and "generator", in this order."""
        rate = self.settings.learning_rate
        adam = partial(torch.optim.Adam, lr=rate, betas=(0.0, 0.99), fused=True)
        return {
            "discriminator": adam(self.discriminator.parameters()),
            "generator": adam(self.generator.parameters()),
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of a player, one number per pair of a true and a generated event."""
        if player == "generator":
            fake = self._generate(len(x), condition, rng)
            return self.objective.generator(
                self._logit(x, condition), self._logit(fake, condition)
            )
        with torch.no_grad():
            fake = self._generate(len(x), condition, rng)
        if self.objective.gamma == 0:
            return self.objective.discriminator(
                self._logit(x, condition), self._logit(fake, condition)
            )
        both = torch.cat((x, fake)).requires_grad_()
        logit = self._logit(both, torch.cat((condition, condition)))
        (gradient,) = torch.autograd.grad(logit.sum(), both, create_graph=True)
        r1, r2 = gradient.square().sum(1).chunk(2)
        real, fake_logit = logit.chunk(2)
        penalty = self.objective.gamma / 2 * (r1 + r2)
        return self.objective.discriminator(real, fake_logit) + penalty

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events: one pass of the generator."""
        return self._generate(n_events, condition, rng)

    def _generate(self, n_events: int, condition: Tensor, rng: Random) -> Tensor:
        z = rng.normal(n_events, self.settings.n_latent)
        x = self.generator(torch.cat((z, condition), dim=1))
        if self.spec.n_binary == 0:
            return x
        return torch.where(self.binary, _straight_through(x, rng.uniform(*x.shape)), x)

    def _logit(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.discriminator(torch.cat((x, condition), dim=1))[:, 0]


def _straight_through(logit: Tensor, u: Tensor) -> Tensor:
    """Spins with p(+1) = sigmoid(2 logit); their gradient is that of the relaxed spins."""
    soft = torch.tanh(logit + torch.logit(u) / 2)
    return torch.where(soft < 0, -1.0, 1.0) + (soft - soft.detach())
