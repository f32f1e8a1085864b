r"""The denoiser: its training, sampling and density.

Events x are blurred with normal noise of standard deviation sigma; a network learns the mean event
D(y; sigma) that fits a blurred one. With the noise removed little by little pure noise becomes an
event. Karras, Aittala, Aila and Laine, *Elucidating the design space of diffusion-based generative
models*, arXiv:2206.00364; paths and samplers of others are expressed in its variables.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from physgen.models.base import GenerativeModel
from physgen.models.cascade import CascadeModel
from physgen.models.diffusion.likelihood import log_density
from physgen.models.diffusion.paths import scalings
from physgen.models.diffusion.posterior import known_features, posterior
from physgen.models.diffusion.samplers import SAMPLERS, Denoise, Sampler, integrate
from physgen.networks.voxel_transformer import roll_and_flip
from physgen.random import PhiloxRandom, Random
from physgen.tensor_spec import TensorSpec

if TYPE_CHECKING:
    from physgen.models.diffusion.settings import Diffusion
    from physgen.networks.unfolded import ArrayNetwork

__all__ = ["DiffusionModel", "diffusion_stages"]

# noise level at which events are taken to be without noise
_LOWEST = 0.002
# above, the trace of the Jacobian is estimated unless asked for
_MAX_EXACT_TRACE = 32


class DiffusionModel(GenerativeModel):
    """Denoiser of one group of features."""

    sigma_data: Tensor
    binary: Tensor

    def __init__(self, settings: Diffusion, spec: TensorSpec, network: ArrayNetwork) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.register_buffer("sigma_data", torch.zeros(()))
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        n_context = 128 if spec.shape else 64
        self.frequencies = nn.Buffer(torch.linspace(0, math.log(200.0), 16).exp())
        self.context = nn.Sequential(
            nn.Linear(32 + spec.n_conditions, n_context),
            nn.SiLU(),
            nn.Linear(n_context, n_context),
            nn.SiLU(),
        )
        self.network = network.build(spec, n_context)
        self.splits_batches = settings.coupling == "independent"
        if settings.drop_condition and spec.n_conditions:
            self.no_condition = nn.Parameter(torch.zeros(spec.n_conditions))

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player: the denoiser."""
        s = self.settings
        rate = s.array_learning_rate if self.spec.shape else s.learning_rate
        return {
            "denoiser": torch.optim.Adam(self.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
        }

    def denoise(self, y: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """Mean event given a noisy one.

        Parameters
        ----------
        y : Tensor of shape (n_events, n_features)
            Events plus noise.
        sigma : Tensor of shape (n_events, 1)
            Standard deviation of the noise.
        condition : Tensor of shape (n_events, n_conditions)
        """
        c_in, c_skip, c_out = self._scalings(sigma)
        return c_skip * y + c_out * self._network(c_in * y, sigma, condition, condition)

    def _scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return scalings(self.settings.path, self.settings.predict, sigma, self.spread)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the features, 1 before a training has measured it."""
        return torch.where(self.sigma_data > 0, self.sigma_data, 1.0)

    def _network(self, x: Tensor, sigma: Tensor, shown: Tensor, condition: Tensor) -> Tensor:
        """The network's output; it is shown some conditions, and counts rows by all."""
        phase = sigma.log() / 4 * self.frequencies
        context = self.context(torch.cat((phase.cos(), phase.sin(), shown), dim=1))
        output: Tensor = self.network(x, context, condition)
        return output

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Mean square error of what the network predicts, over the features of an event."""
        self._measure_spread(x, condition)
        if self.settings.symmetric and any(self.spec.periodic):
            x = roll_and_flip(x, self.spec.shape, self.spec.periodic, rng)
        sigma = self.settings.path.draw(len(x), rng)
        noise = self._coupled(x, self._noise(len(x), condition, rng))
        y = x + sigma * noise
        c_in, c_skip, c_out = self._scalings(sigma)
        output = self._network(c_in * y, sigma, self._shown(condition, rng), condition)
        # (x - c_skip y) / c_out, without the difference of large numbers
        target = ((1 - c_skip) * x - c_skip * sigma * noise) / c_out
        square = (output - target).square()
        mask = self.spec.mask(condition)
        if mask is None:
            return square.mean(dim=1)
        return (square * mask).sum(1) / mask.sum(1).clamp_min(1)

    def step_error(self, y: Tensor, clean: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """What the network's output lacks for D(y; sigma) to be ``clean``, in its own units."""
        c_in, c_skip, c_out = self._scalings(sigma)
        output = self._network(c_in * y, sigma, condition, condition)
        return output - (clean - c_skip * y) / c_out

    def _measure_spread(self, x: Tensor, condition: Tensor) -> None:
        if self.sigma_data != 0:
            return
        mask = self.spec.mask(condition)
        x = x if mask is None else x[mask > 0]
        # one number has no spread; that of features is near 1
        spread = x.std() if x.numel() > 1 else torch.zeros(())
        self.sigma_data.copy_(torch.where(spread > 0, spread, 1.0))

    def _shown(self, condition: Tensor, rng: Random) -> Tensor:
        """Conditions as shown to the network in training: some are left out."""
        if not hasattr(self, "no_condition"):
            return condition
        dropped = rng.uniform(len(condition), 1) < self.settings.drop_condition
        return torch.where(dropped, self.no_condition, condition)

    def _noise(self, n: int, condition: Tensor, rng: Random) -> Tensor:
        noise = rng.normal(n, self.spec.n_features)
        mask = self.spec.mask(condition)
        return noise if mask is None else noise * mask

    def _coupled(self, x: Tensor, noise: Tensor) -> Tensor:
        """The noise in the order of its events."""
        if self.settings.coupling == "independent":
            return noise
        from scipy.optimize import linear_sum_assignment

        cost = torch.cdist(x, noise).square()
        return noise[torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(x.device)]

    @torch.no_grad()
    def sample(
        self,
        n_events: int,
        condition: Tensor,
        *,
        rng: Random,
        n_steps: int | None = None,
        sampler: Sampler | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Make events from noise.

        Parameters
        ----------
        n_events : int
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_steps : int, optional
            Noise levels; by default those of the settings.
        sampler : {"heun", "dpm", "euler", "ancestral"}, optional
            By default that of the settings.
        guidance : float, default 1
            Above 1 the conditions weigh more than they should: events are more typical of
            them, and widths too small. Needs a model trained with ``drop_condition``.
        """
        sigmas = self.levels(n_steps, condition.device)
        y = self._noise(n_events, condition, rng) * sigmas[0]
        denoise = self.denoiser(condition, guidance)
        mask = self.spec.mask(condition)
        x = integrate(
            self._sampler(sampler), denoise, y, sigmas, spread=self.spread, mask=mask, rng=rng
        )
        return torch.where(self.binary, torch.where(x < 0, -1.0, 1.0), x)

    def levels(self, n_steps: int | None, device: torch.device) -> Tensor:
        """Noise levels of the sampling, (n_steps + 1,), falling to 0."""
        n = self.settings.n_sampling_steps if n_steps is None else n_steps
        if n < 1:
            raise ValueError(f"n_steps must be at least 1, got {n}")
        return self.settings.path.levels(n).to(device, torch.float32)

    def _sampler(self, sampler: Sampler | None) -> Sampler:
        if sampler is None:
            return self.settings.sampler
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler is one of {', '.join(SAMPLERS)}, got {sampler!r}")
        return sampler

    def denoiser(self, condition: Tensor, guidance: float = 1.0) -> Denoise:
        """D(y, sigma) under these conditions, for one noise level at a time."""
        if guidance != 1 and not hasattr(self, "no_condition"):
            raise ValueError(
                "guidance needs a model with conditions that was trained with drop_condition, "
                "e.g. Diffusion(drop_condition=0.1)"
            )

        def guided(y: Tensor, sigma: Tensor) -> Tensor:
            levels = sigma.expand(y.shape[0], 1)
            clean = self.denoise(y, levels, condition)
            if guidance == 1:
                return clean
            c_in, c_skip, c_out = self._scalings(levels)
            shown = self.no_condition.expand_as(condition)
            free = c_skip * y + c_out * self._network(c_in * y, levels, shown, condition)
            return free + guidance * (clean - free)

        return guided

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        condition: Tensor,
        *,
        rng: Random,
        n_steps: int = 128,
        n_particles: int = 32,
    ) -> Tensor:
        """Draw the features that are not known given those that are.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
            Unknown features may hold anything finite.
        known : bool Tensor of shape (n_events, n_features)
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_steps : int, default 128
            Noise levels.
        n_particles : int, default 32
            Particles per event; more are more exact.

        Returns
        -------
        Tensor of shape (n_events, n_features)
        """
        drawn, _ = posterior(
            [self], condition, known_features(x, known),
            rng=rng, n_steps=n_steps, n_particles=n_particles,
        )  # fmt: skip
        return torch.where(known, x, drawn)

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the density, (n_events,); see :meth:`log_density`."""
        return self.log_density(x, condition)[0]

    def log_density(
        self,
        x: Tensor,
        condition: Tensor,
        *,
        n_steps: int = 128,
        n_probes: int | None = None,
        rng: Random | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-density by the probability-flow equation, and its error from random probes.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
        condition : Tensor of shape (n_events, n_conditions)
        n_steps : int, default 128
            Steps from the smallest noise level to the largest.
        n_probes : int, optional
            Random directions per event that estimate the divergence, at least 2; 0 for the exact
            one. By default exact up to 32 features, and 8 directions above.
        rng : Random, optional
            Of the directions; by default fixed ones.

        Returns
        -------
        log_density, std_error : Tensor of shape (n_events,), float64
            In nats; the error does not know the steps.

        Raises
        ------
        TypeError
            If features are binary, or a cloud of rows: they have no density of this kind.
        """
        if self.spec.n_binary or self.spec.rows is not None:
            raise TypeError("Diffusion has a log_prob for real features only")
        if n_probes is None:
            n_probes = 0 if self.spec.n_features <= _MAX_EXACT_TRACE else 8
        if n_probes == 1 or n_probes < 0:
            raise ValueError(f"n_probes is 0 (exact) or at least 2, got {n_probes}")
        return log_density(
            self.denoiser(condition),
            x,
            _LOWEST,
            float(self.levels(None, x.device)[0]),
            n_steps=n_steps,
            n_probes=n_probes,
            rng=rng or PhiloxRandom(0, torch.arange(len(x), device=x.device)),
        )


def diffusion_stages(model: nn.Module, advice: str) -> list[DiffusionModel]:
    """Models of the stages, one if there are none.

    Raises
    ------
    TypeError
        If one is no diffusion model; ``advice`` says why that matters and what else there is.
    """
    stages = list(model.models) if isinstance(model, CascadeModel) else [model]
    for stage in stages:
        if not isinstance(stage, DiffusionModel):
            raise TypeError(f"a {type(stage).__name__} is no diffusion model: {advice}")
    return stages  # type: ignore[return-value]  # just checked
