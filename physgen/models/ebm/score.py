r"""Score matching: learn an energy from its gradient, without chains.

The score of a law is :math:`s(x) = \nabla \ln p(x) = -\nabla E(x)`; it knows nothing of the
partition function. All of this needs real features. What score matching hardly sees are the
relative weights of modes with no data in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen import mcmc
from physgen.checks import require_positive
from physgen.models.base import TensorSpec
from physgen.models.ebm.kernels import exact, stretched
from physgen.models.ebm.objectives import EnergyModel
from physgen.random import Random

__all__ = ["DenoisingScoreMatching", "SlicedScoreMatching"]

# pulls the free constant of the energy to zero, and nothing else
_HOLD = 1e-3


@dataclass(frozen=True, kw_only=True)
class DenoisingScoreMatching:
    r"""Learn the score of the data with Gaussian noise on them, at many noise levels.

    .. math:: \tfrac12 \left| \sigma \nabla_x E(x + \sigma \xi, c, \sigma) - \xi \right|^2, \qquad
              \xi \sim N(0, 1), \quad \ln \sigma \text{ uniform in } [\ln \sigma_{\min}, \ln
              \sigma_{\max}]

    The energy depends on the noise level, with v = 1 + :math:`\sigma^2` and a = 1/:math:`\sigma`
    in the formula of :mod:`physgen.models.ebm.model`: x over the root of v has a variance of 1,
    and the gradient grows like that of the smeared law. The model's energy and its events are
    those of the smallest level: **the law that is learned is that of the data smeared by**
    :math:`\sigma_{\min}`, whose peaks are wider and whose edges are softer than the truth's. The
    larger levels connect the modes: a sample starts as noise at :math:`\sigma_{\max}`, follows
    the levels down with half of its moves and makes the other half at the last.

    Parameters
    ----------
    sigma : float, default 0.05
        Smallest noise level, in units of the preprocessed features, whose variance is about 1.
    sigma_max : float, default 2.0
        Largest noise level; at least ``sigma``, and equal for one level only.
    n_steps_sample : int, default 200
        Moves from noise to an event.

    References
    ----------
    Vincent, *A connection between score matching and denoising autoencoders*, Neural Computation
    23 (2011) 1661, eq. (9). Song and Ermon, arXiv:1907.05600, eqs. (5)-(6) and algorithm 1.
    """

    sigma: float = 0.05
    sigma_max: float = 2.0
    n_steps_sample: int = 200

    def __post_init__(self) -> None:
        require_positive(self, "sigma", "n_steps_sample")
        if not self.sigma <= self.sigma_max < math.inf:
            raise ValueError(
                f"DenoisingScoreMatching: sigma_max must be at least sigma = {self.sigma}, got "
                f"{self.sigma_max}"
            )

    @property
    def n_levels(self) -> int:
        """One: the noise level."""
        return 1

    def kernel(self) -> mcmc.Kernel:
        """Langevin with the test, with steps of half the variance of the noise."""
        return mcmc.Langevin(step_size=self.sigma**2 / 2, adjust=True)

    def chains(self, spec: TensorSpec) -> None:
        """None; refuses binary features."""
        _require_real(self, spec)

    def inputs(self, condition: Tensor) -> Tensor:
        """Condition and the smallest level."""
        return self._at(condition, condition.new_zeros(len(condition), 1))

    def scales(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """1 + sigma^2 and 1 / sigma."""
        sigma = self._sigma(inputs[:, -1])
        return 1 + sigma.square(), 1 / sigma

    def loss(self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Formula of the class."""
        level, noise = rng.uniform(len(x), 1), rng.normal(*x.shape)
        sigma = self._sigma(level)
        f, gradient = _gradient(model, x + sigma * noise, self._at(condition, level))
        return (sigma * gradient - noise).square().sum(1) / 2 + _hold(f)

    @torch.no_grad()
    def sample(
        self, model: EnergyModel, condition: Tensor, n_steps: int, *, rng: Random
    ) -> Tensor:
        """Moves from noise, down the levels."""
        level = condition.new_ones(len(condition), 1)
        width = math.sqrt(1 + self.sigma_max**2)
        x = width * rng.normal(len(condition), model.spec.n_features)
        kernel = exact(model.kernel)
        for step in range(n_steps):
            now = max(0.0, 1 - 2 * step / n_steps)
            inputs = self._at(condition, now * level)
            factor = (self.sigma_max / self.sigma) ** now
            energy = lambda y, inputs=inputs: model.terms(y, inputs).sum(0)
            x, _ = stretched(kernel, factor)(energy, x, rng=rng)
        return x

    def check_up(
        self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """Data with the noise of the smallest level, and where a few moves lead from there."""
        noisy = x + self.sigma * rng.normal(*x.shape)
        return noisy, _moved_on(model, noisy, self.inputs(condition), rng)

    def _sigma(self, level: Tensor) -> Tensor:
        """Noise of levels between 0 and 1."""
        return self.sigma * (self.sigma_max / self.sigma) ** level

    def _at(self, condition: Tensor, level: Tensor) -> Tensor:
        return torch.cat((condition, level), dim=1)


@dataclass(frozen=True, kw_only=True)
class SlicedScoreMatching:
    r"""Learn the score of the data themselves, along random directions.

    .. math:: \tfrac12 |\nabla E(x, c)|^2 - v^T \nabla^2 E(x, c)\, v, \qquad v_i = \pm 1

    averaged over directions v (the form of reduced variance). There is no noise, so nothing is
    smeared; data with exact edges or on a surface have no score and do not serve. A sample starts
    from the reference law :math:`e^{-x^2/2}`, goes over to the model's, :math:`E_\beta = x^2 / 2 +
    \beta f`, :math:`\beta = 0 \ldots 1`, with half of its moves and makes the other half there.

    Parameters
    ----------
    n_projections : int, default 1
        Directions per event.
    n_steps_sample : int, default 500
        Moves from noise to an event.

    References
    ----------
    Song, Garg, Shi and Ermon, arXiv:1905.07088, eq. (8). Hyvarinen, J. Mach. Learn. Res. 6
    (2005) 695.
    """

    n_projections: int = 1
    n_steps_sample: int = 500

    def __post_init__(self) -> None:
        require_positive(self, "n_projections", "n_steps_sample")

    @property
    def n_levels(self) -> int:
        """None."""
        return 0

    def kernel(self) -> mcmc.Kernel:
        """Langevin with the test."""
        return mcmc.Langevin(step_size=0.02, adjust=True)

    def chains(self, spec: TensorSpec) -> None:
        """None; refuses binary features."""
        _require_real(self, spec)

    def inputs(self, condition: Tensor) -> Tensor:
        """The condition itself."""
        return condition

    def scales(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Ones."""
        return inputs.new_ones(len(inputs)), inputs.new_ones(len(inputs))

    def loss(self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Formula of the class."""
        y = x.detach().requires_grad_()
        f, gradient = _gradient(model, y, condition)
        curvature = torch.zeros_like(f)
        for _ in range(self.n_projections):
            v = _directions(x, rng)
            (along,) = torch.autograd.grad((gradient * v).sum(), y, create_graph=True)
            curvature = curvature + (along * v).sum(1) / self.n_projections
        return gradient.square().sum(1) / 2 - curvature + _hold(f)

    @torch.no_grad()
    def sample(
        self, model: EnergyModel, condition: Tensor, n_steps: int, *, rng: Random
    ) -> Tensor:
        """Moves from noise, along the path of the class."""
        x = rng.normal(len(condition), model.spec.n_features)
        kernel = exact(model.kernel)
        for step in range(n_steps):
            mixture = condition.new_tensor([min(1.0, 2 * (step + 1) / n_steps), 1.0])
            energy = lambda y, mixture=mixture: mixture @ model.terms(y, condition)
            x, _ = kernel(energy, x, rng=rng)
        return x

    def check_up(
        self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """Data, and where a few moves lead from there."""
        return x, _moved_on(model, x, condition, rng)


def _require_real(objective: object, spec: TensorSpec) -> None:
    if spec.n_binary:
        raise ValueError(
            f"{type(objective).__name__} needs real features, whose energy has a gradient that "
            f"says all, but {spec.n_binary} of the {spec.n_features} are binary (-1, +1); use "
            "ContrastiveDivergence()"
        )


def _gradient(model: EnergyModel, x: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Network and gradient of the whole energy, both with a graph."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    terms = model.terms(y, inputs)
    (gradient,) = torch.autograd.grad(terms.sum(), y, create_graph=True)
    return terms[0], gradient


def _directions(x: Tensor, rng: Random) -> Tensor:
    return torch.where(rng.uniform(*x.shape) < 0.5, -1.0, 1.0)


def _hold(f: Tensor) -> Tensor:
    """A term whose gradient is that of the squared mean of f."""
    return _HOLD * f * f.detach().mean()


def _moved_on(model: EnergyModel, x: Tensor, inputs: Tensor, rng: Random) -> Tensor:
    energy = lambda y: model.terms(y, inputs).sum(0)
    return mcmc.run(exact(model.kernel), energy, x, 20, rng=rng)[0]
