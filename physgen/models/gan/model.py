r"""Generative adversarial network.

Symbols: generator :math:`G(z, c)` of noise :math:`z \sim N(0, 1)` (n_latent), discriminator
:math:`D(x, c)`, a logit, condition :math:`c`. What the two play for is the objective
(:mod:`physgen.models.gan.objectives`).

A binary feature leaves the generator as an exact -1 or +1, drawn with probability
:math:`\mathrm{sigmoid}\, 2 l`; its gradient is that of :math:`\tanh` at the same logit and noise
(straight-through). A generator of soft values against hard data would be told apart at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from physgen.checks import require_non_negative, require_positive
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.cascade import cascade
from physgen.models.checks import refuse_one_hot
from physgen.models.gan.generators import CurveGenerator, FlatGenerator
from physgen.models.gan.objectives import (
    Hinge,
    NonSaturating,
    Objective,
    Relativistic,
    WassersteinGP,
)
from physgen.models.gan.scoring import energy_score
from physgen.models.scores import two_sample_score
from physgen.networks.mlp import MLP
from physgen.networks.unfolded import ArrayNetwork, array_network
from physgen.networks.voxel_transformer import roll_and_flip
from physgen.random import Random

__all__ = ["GAN", "GANModel"]


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
    network : Perceptron, UNet, VoxelTransformer or SetTransformer, optional
        Network of the generator for arrays and clouds; by default a voxel transformer for arrays
        of three axes, and a perceptron for all else. The discriminator is always a perceptron.
    score_weight : float, optional
        Weight of a proper score (:mod:`physgen.models.gan.scoring`) in the loss of the generator,
        beside the game; by default 1 where it has a network for arrays, and 0 elsewhere.
    objective : Relativistic, NonSaturating, Hinge or WassersteinGP, default Relativistic()
        What the players play for.
    symmetric : bool, default True
        Turn and mirror every event at random along the periodic axes of its array (angles of a
        calorimeter), if the network is one for arrays. Set it to False where the detector or
        the field differs along them.
    learning_rate : float, default 2e-3
        Peak rate of Adam, which has no momentum: that makes the game swing.
    """

    n_latent: int = 32
    n_hidden: int = 256
    n_layers: int = 2
    network: ArrayNetwork | None = None
    score_weight: float | None = None
    objective: Relativistic | NonSaturating | Hinge | WassersteinGP = Relativistic()
    symmetric: bool = True
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_latent", "n_hidden", "n_layers", "learning_rate")
        if self.score_weight is not None:
            require_non_negative(self, "score_weight")

    def build(self, spec: TensorSpec) -> GenerativeModel:
        """Build the networks for tensors of this shape, one GAN per stage if it has several."""
        refuse_one_hot("GAN", spec)
        return cascade(lambda stage: GANModel(self, stage), spec)


class GANModel(GenerativeModel):
    """Generator and discriminator."""

    binary: Tensor

    def __init__(self, settings: GAN, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.objective: Objective = settings.objective
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        sizes = {"n_hidden": settings.n_hidden, "n_layers": settings.n_layers}
        n_in, network = spec.n_features + spec.n_conditions, array_network(settings.network, spec)
        self.generator: CurveGenerator | FlatGenerator
        if network is None:
            self.generator = FlatGenerator(spec, settings.n_latent, **sizes)
        else:
            self.generator = CurveGenerator(spec, settings.n_latent, network)
        default_weight = 0.0 if network is None else 1.0
        given = settings.score_weight
        self.score_weight = default_weight if given is None else given
        self.turns_around = settings.symmetric and network is not None and any(spec.periodic)
        # SiLU halves small slopes, so that normalized layers would hardly let anything through
        steep = nn.LeakyReLU if self.objective.spectral_norm else nn.SiLU
        self.discriminator = MLP(n_in, 1, **sizes, activation=steep)
        if self.objective.only_differences:
            self.discriminator[-1].register_parameter("bias", None)
        if self.objective.spectral_norm:
            for layer in self.discriminator:
                if isinstance(layer, nn.Linear):
                    spectral_norm(layer)

    @property
    def turns(self) -> dict[str, int]:
        """Turns per step of the training."""
        return {"discriminator": self.objective.turns}

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """Two players, "discriminator" and "generator", in this order."""
        rate, betas = self.settings.learning_rate, self.objective.betas
        adam = partial(torch.optim.Adam, lr=rate, betas=betas, fused=True)
        return {
            "discriminator": adam(self.discriminator.parameters()),
            "generator": adam(self.generator.parameters()),
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of a player, one number per pair of a true and a generated event."""
        if self.turns_around:
            x = roll_and_flip(x, self.spec.shape, self.spec.periodic, rng)
        if self.training:
            self.generator.look(x)
        critic = partial(self._critic, condition)
        if player == "generator":
            if self.score_weight == 0:
                fake = self._generate(len(x), condition, rng)
                return self.objective.generator(critic(x), critic(fake))
            fake, proper = self._scored(x, condition, rng)
            game = self.objective.generator(critic(x), critic(fake))
            return game + self.score_weight * proper
        with torch.no_grad():
            fake = self._generate(len(x), condition, rng)
        both = torch.cat((x, fake)).requires_grad_()
        value = self._critic(torch.cat((condition, condition)), both)
        loss = self.objective.discriminator(*value.chunk(2))
        return loss + self.objective.penalty(critic, both, value, rng)

    def _scored(self, x: Tensor, condition: Tensor, rng: Random) -> tuple[Tensor, Tensor]:
        """Generated events, and the proper score of the generator at the true ones."""
        if isinstance(self.generator, CurveGenerator) and self.spec.n_binary == 0:
            curves = self.generator.curves(condition, rng)
            terms = self.generator.log_density(curves, x)
            fake = self.generator.at(curves, rng.normal(*x.shape))
            there = self.spec.mask(condition)
            if there is None:
                return fake, -terms.mean(1)
            return fake * there, -(terms * there).mean(1)
        fake = self._generate(len(x), condition, rng)
        with torch.no_grad():
            other = self._generate(len(x), condition, rng)
        return fake, energy_score(x, fake, other)

    @torch.no_grad()
    def score(self, x: Tensor, condition: Tensor, *, rng: Random) -> float:
        """Distance of events at these conditions from the true ones, for the choice of weights."""
        return two_sample_score(x, self._generate(len(x), condition, rng), condition)

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events: one pass of the generator."""
        return self._generate(n_events, condition, rng)

    def _generate(self, n_events: int, condition: Tensor, rng: Random) -> Tensor:
        x = self.generator.draw(condition, rng)
        if self.spec.n_binary > 0:
            x = torch.where(self.binary, _straight_through(x, rng.uniform(*x.shape)), x)
        there = self.spec.mask(condition)
        return x if there is None else x * there

    def _critic(self, condition: Tensor, x: Tensor) -> Tensor:
        return self.discriminator(torch.cat((x, condition), dim=1))[:, 0]


def _straight_through(logit: Tensor, u: Tensor) -> Tensor:
    """Spins with p(+1) = sigmoid(2 logit); their gradient is that of the relaxed spins."""
    soft = torch.tanh(logit + torch.logit(u) / 2)
    return torch.where(soft < 0, -1.0, 1.0) + (soft - soft.detach())
