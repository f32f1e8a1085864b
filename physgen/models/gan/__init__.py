"""Generative adversarial networks: objectives, networks, settings."""

from physgen.models.gan.model import GAN, GANModel
from physgen.models.gan.objectives import (
    Hinge,
    NonSaturating,
    Objective,
    Relativistic,
    WassersteinGP,
)

__all__ = [
    "GAN",
    "GANModel",
    "Hinge",
    "NonSaturating",
    "Objective",
    "Relativistic",
    "WassersteinGP",
]
