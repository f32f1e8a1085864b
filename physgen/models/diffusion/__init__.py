"""Diffusion and flow matching: one denoiser, several paths of noise, several samplers.

paths      how much noise there is in training and in sampling, and what the network predicts
settings   Diffusion(...), and the network that is chosen for it
model      the denoiser: loss, sampling, log-probability
samplers   from noise to an event
likelihood log-probability by the probability-flow equation
posterior  events under a likelihood, and with some features known
"""

from physgen.models.diffusion.model import DiffusionModel
from physgen.models.diffusion.paths import EDM, VP, Grid, Linear
from physgen.models.diffusion.settings import Diffusion

__all__ = ["EDM", "VP", "Diffusion", "DiffusionModel", "Grid", "Linear"]
