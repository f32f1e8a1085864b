r"""What the players of a GAN play for.

Symbols: true event :math:`x`, generated one :math:`G(z)`, discriminator :math:`D`, a number per
event. Every objective is a loss per pair of both, a penalty on the slope of D, and what comes with
it: how often the discriminator moves, the betas of Adam, and whether its layers are normalized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from physgen.checks import require_non_negative, require_positive
from physgen.random import Random

__all__ = ["Hinge", "NonSaturating", "Objective", "Relativistic", "WassersteinGP"]

Critic = Callable[[Tensor], Tensor]
"""D of events (n_events, n_features) at the conditions of the batch, shape (n_events,)."""


class Objective(Protocol):
    """Losses per event from D at a true and at a generated event, each of shape (n_events,)."""

    @property
    def turns(self) -> int:
        """Turns of the discriminator for each of the generator."""
        ...

    @property
    def betas(self) -> tuple[float, float]:
        """Decay rates of Adam for both players."""
        ...

    @property
    def spectral_norm(self) -> bool:
        """Whether every layer of the discriminator is divided by its largest singular value."""
        ...

    @property
    def only_differences(self) -> bool:
        """Whether a constant added to D changes nothing."""
        ...

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator."""
        ...

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator."""
        ...

    def penalty(self, critic: Critic, both: Tensor, value: Tensor, rng: Random) -> Tensor | float:
        """What the discriminator pays for its slope, (n_events,).

        Parameters
        ----------
        critic : callable
            D.
        both : Tensor of shape (2 n_events, n_features)
            True events, then generated ones; a leaf that requires its gradient.
        value : Tensor of shape (2 n_events,)
            D there.
        rng : Random
        """
        ...


@dataclass(frozen=True, kw_only=True)
class NonSaturating:
    r"""Binary cross-entropy with the non-saturating generator loss, as in the lecture.

    .. math:: L_D = -\ln \sigma(D(x)) - \ln(1 - \sigma(D(G(z)))), \qquad L_G = -\ln \sigma(D(G(z)))

    Parameters
    ----------
    gamma : float, default 0.0
        Weight of the penalties R1 and R2 (see :class:`Relativistic`); 0 as in the lecture.

    References
    ----------
    Goodfellow et al., arXiv:1406.2661.
    """

    gamma: float = 0.0
    turns: ClassVar[int] = 1
    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)
    spectral_norm: ClassVar[bool] = False
    only_differences: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_non_negative(self, "gamma")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator, shape (n_events,)."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator, shape (n_events,)."""
        return F.softplus(-fake)

    def penalty(self, critic: Critic, both: Tensor, value: Tensor, rng: Random) -> Tensor | float:
        """R1 and R2, shape (n_events,)."""
        return _zero_centered(self.gamma, both, value)


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
    turns: ClassVar[int] = 1
    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)
    spectral_norm: ClassVar[bool] = False
    only_differences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_non_negative(self, "gamma")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator, shape (n_events,)."""
        return F.softplus(fake - real)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator, shape (n_events,)."""
        return F.softplus(real - fake)

    def penalty(self, critic: Critic, both: Tensor, value: Tensor, rng: Random) -> Tensor | float:
        """R1 and R2, shape (n_events,)."""
        return _zero_centered(self.gamma, both, value)


@dataclass(frozen=True, kw_only=True)
class Hinge:
    r"""Hinge loss; the discriminator's layers have their largest singular value at 1.

    .. math:: L_D = \max(0, 1 - D(x)) + \max(0, 1 + D(G(z))), \qquad L_G = -D(G(z))

    The slope of the discriminator is bounded by the normalization, and there is no penalty.

    Parameters
    ----------
    turns : int, default 1
        Turns of the discriminator for each of the generator.

    References
    ----------
    Miyato et al., *Spectral normalization for generative adversarial networks*, arXiv:1802.05957
    (eq. 8, 16 and 17).
    """

    turns: int = 1
    betas: ClassVar[tuple[float, float]] = (0.0, 0.9)
    spectral_norm: ClassVar[bool] = True
    only_differences: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self, "turns")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator, shape (n_events,)."""
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator, shape (n_events,)."""
        return -fake

    def penalty(self, critic: Critic, both: Tensor, value: Tensor, rng: Random) -> Tensor | float:
        """No penalty."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class WassersteinGP:
    r"""Wasserstein distance with a penalty on slopes other than 1.

    .. math::

        L_D = D(G(z)) - D(x) + \lambda \left(|\nabla D(\hat x)| - 1\right)^2, \qquad
        L_G = -D(G(z)), \qquad \hat x = u x + (1 - u) G(z), \quad u \sim U(0, 1)

    Parameters
    ----------
    penalty_weight : float, default 10.0
        The constant :math:`\lambda`.
    turns : int, default 5
        Turns of the discriminator for each of the generator, each with a batch of its own.

    References
    ----------
    Gulrajani et al., arXiv:1704.00028 (eq. 3 and algorithm 1).
    """

    penalty_weight: float = 10.0
    turns: int = 5
    betas: ClassVar[tuple[float, float]] = (0.0, 0.9)
    spectral_norm: ClassVar[bool] = False
    only_differences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive(self, "penalty_weight", "turns")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the discriminator, shape (n_events,)."""
        return fake - real

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the generator, shape (n_events,)."""
        return -fake

    def penalty(self, critic: Critic, both: Tensor, value: Tensor, rng: Random) -> Tensor | float:
        """Squared distance of the slope from 1 on the line between a pair, (n_events,)."""
        real, fake = both.detach().chunk(2)
        between = torch.lerp(fake, real, rng.uniform(len(real), 1)).requires_grad_()
        square = _slope_square(critic(between), between)
        # the root has no derivative at 0
        return self.penalty_weight * ((square + 1e-12).sqrt() - 1).square()


def _zero_centered(gamma: float, both: Tensor, value: Tensor) -> Tensor | float:
    """Gamma / 2 times the squared slopes at a pair, shape (n_events,)."""
    if gamma == 0:
        return 0.0
    r1, r2 = _slope_square(value, both).chunk(2)
    return gamma / 2 * (r1 + r2)


def _slope_square(value: Tensor, x: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return slope.square().sum(1)
