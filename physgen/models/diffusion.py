r"""Diffusion in the EDM formulation.

Events x are blurred with Gaussian noise of standard deviation :math:`\sigma`; a network learns to
remove it. With the noise removed little by little, from :math:`\sigma_\max` to
:math:`\sigma_\min`, pure noise becomes an event. Karras, Aittala, Aila and Laine, *Elucidating
the design space of diffusion-based generative models*, arXiv:2206.00364; numbers of equations and
tables below refer to it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.checks import refuse_one_hot
from physgen.networks.mlp import ResidualMLP
from physgen.random import Random

__all__ = ["Diffusion", "DiffusionModel"]


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Settings of a diffusion model (EDM preconditioning, Heun sampler).

    Parameters
    ----------
    n_hidden : int, default 256
        Width of the network.
    n_blocks : int, default 3
        Residual blocks of the network.
    n_sampling_steps : int, default 24
        Noise levels of the Heun sampler; the network is called ``2 n - 1`` times.
    sigma_min : float, default 0.002
        Smallest noise level in sampling, in units of the preprocessed features.
    sigma_max : float, default 40.0
        Largest noise level in sampling.
    log_sigma_mean : float, default -1.2
        Noise levels in training: ln sigma is normal with this mean (table 1) ...
    log_sigma_std : float, default 1.4
        ... and this standard deviation.
    learning_rate : float, default 2e-3
        Peak rate of Adam.
    """

    n_hidden: int = 256
    n_blocks: int = 3
    n_sampling_steps: int = 24
    sigma_min: float = 0.002
    sigma_max: float = 40.0
    log_sigma_mean: float = -1.2
    log_sigma_std: float = 1.4
    learning_rate: float = 2e-3

    def build(self, spec: TensorSpec) -> DiffusionModel:
        """Build the module for tensors of this spec."""
        refuse_one_hot("Diffusion", spec)
        return DiffusionModel(self, spec)


class DiffusionModel(GenerativeModel):
    r"""Denoiser :math:`D(x; \sigma)` with the preconditioning of eq. (7)."""

    sigma_data: Tensor
    binary: Tensor

    def __init__(self, settings: Diffusion, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.register_buffer("sigma_data", torch.zeros(()))
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        n_context = 64
        self.frequencies = nn.Buffer(torch.linspace(0, math.log(200.0), 16).exp())
        self.context = nn.Sequential(
            nn.Linear(32 + spec.n_conditions, n_context),
            nn.SiLU(),
            nn.Linear(n_context, n_context),
            nn.SiLU(),
        )
        self.network = ResidualMLP(
            spec.n_features,
            spec.n_features,
            n_context,
            n_hidden=settings.n_hidden,
            n_blocks=settings.n_blocks,
        )

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player: the denoiser."""
        rate = self.settings.learning_rate
        return {
            "denoiser": torch.optim.Adam(self.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
        }

    def denoise(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """Expected clean event given a noisy one.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
        sigma : Tensor of shape (n_events, 1)
            Standard deviation of the noise in x.
        condition : Tensor of shape (n_events, n_conditions)
        """
        variance = sigma**2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / variance
        c_out = sigma * self.sigma_data / variance.sqrt()
        return c_skip * x + c_out * self._network(x / variance.sqrt(), sigma, condition)

    def _network(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        phase = sigma.log() / 4 * self.frequencies
        context = self.context(torch.cat((phase.cos(), phase.sin(), condition), dim=1))
        return self.network(x, context)

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Weighted denoising error, eq. (8): mean square of F minus its target."""
        if self.sigma_data == 0:
            # one number has no spread; that of features is near 1
            spread = x.std() if x.numel() > 1 else torch.zeros(())
            self.sigma_data.copy_(torch.where(spread > 0, spread, 1.0))
        s = self.settings
        sigma = (s.log_sigma_mean + s.log_sigma_std * rng.normal(len(x), 1)).exp()
        noisy = x + sigma * rng.normal(*x.shape)
        variance = sigma**2 + self.sigma_data**2
        target = (x * sigma**2 - (noisy - x) * self.sigma_data**2) / (
            sigma * self.sigma_data * variance.sqrt()
        )
        output = self._network(noisy / variance.sqrt(), sigma, condition)
        return (output - target).square().mean(dim=1)

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Heun's method on the probability-flow equation, algorithm 1."""
        sigmas = self._noise_levels(condition.device)
        x = rng.normal(n_events, self.spec.n_features) * sigmas[0]
        for now, then in itertools.pairwise(sigmas):
            slope = (x - self._at(x, now, condition)) / now
            step = x + (then - now) * slope
            if then > 0:
                slope = 0.5 * (slope + (step - self._at(step, then, condition)) / then)
                step = x + (then - now) * slope
            x = step
        return torch.where(self.binary, torch.where(x < 0, -1.0, 1.0), x)

    def _at(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        return self.denoise(x, sigma.expand(len(x), 1), condition)

    def _noise_levels(self, device: torch.device) -> Tensor:
        """Levels of eq. (5) with rho = 7, and a final zero."""
        s = self.settings
        ramp = torch.linspace(0, 1, s.n_sampling_steps, dtype=torch.float64, device=device)
        high, low = s.sigma_max ** (1 / 7), s.sigma_min ** (1 / 7)
        levels = (high + ramp * (low - high)) ** 7
        return torch.cat((levels, levels.new_zeros(1))).to(torch.float32)
