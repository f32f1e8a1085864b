r"""Paths from events to noise.

A path mixes an event x with normal noise, :math:`x_t = \alpha_t x + \sigma_t \epsilon`. Divided by
:math:`\alpha_t` every path is the event plus noise of standard deviation
:math:`\sigma = \sigma_t / \alpha_t`, and the mean event that fits a noisy one, D(y; sigma), is the
same function for all. So a path here is three things: how often each noise level is met in
training, which levels a sampler visits, and what of it the network is asked for,

.. math:: D(y; \sigma) = c_{\rm skip}\, y + c_{\rm out}\, F(c_{\rm in}\, y; \ln\sigma)

with F trained to the least mean square error of its target,
:math:`(x - c_{\rm skip}\, y)/c_{\rm out}`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from physgen.checks import require_positive
from physgen.random import Random

__all__ = ["EDM", "VP", "Grid", "Linear", "Path", "Predicts", "scalings"]

Predicts = Literal["velocity", "event", "noise"]


class Path(Protocol):
    """Noise levels in units of the preprocessed features, and the network's task."""

    def draw(self, n: int, rng: Random) -> Tensor:
        """Noise levels for training, of shape (n, 1)."""
        ...

    def levels(self, n_steps: int) -> Tensor:
        """Levels of a sampler, falling, (n_steps + 1,) in float64; the last is 0."""
        ...

    def velocity(self, sigma: Tensor, sigma_data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, c_skip and c_out where the velocity of the path is predicted."""
        ...


def scalings(
    path: Path, predict: Predicts, sigma: Tensor, sigma_data: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """c_in, c_skip and c_out of a denoiser that predicts the velocity, the event or the noise."""
    c_in, c_skip, c_out = path.velocity(sigma, sigma_data)
    if predict == "event":
        return c_in, torch.zeros_like(sigma), torch.ones_like(sigma)
    if predict == "noise":
        return c_in, torch.ones_like(sigma), -sigma
    return c_in, c_skip, c_out


@dataclass(frozen=True, kw_only=True)
class EDM:
    r"""Noise levels log-normal in training, and scalings of unit variance.

    Parameters
    ----------
    log_sigma_mean : float, default -1.2
        Noise levels in training: ln sigma is normal with this mean ...
    log_sigma_std : float, default 1.4
        ... and this standard deviation.
    sigma_min : float, default 0.002
        Smallest noise level in sampling, in units of the preprocessed features.
    sigma_max : float, default 40.0
        Largest noise level in sampling.

    References
    ----------
    Karras, Aittala, Aila and Laine, arXiv:2206.00364, eqs. 5 (with rho = 7) and 7, table 1.
    """

    log_sigma_mean: float = -1.2
    log_sigma_std: float = 1.4
    sigma_min: float = 0.002
    sigma_max: float = 40.0

    def __post_init__(self) -> None:
        require_positive(self, "log_sigma_std", "sigma_min", "sigma_max")

    def draw(self, n: int, rng: Random) -> Tensor:
        """Log-normal levels, of shape (n, 1)."""
        return (self.log_sigma_mean + self.log_sigma_std * rng.normal(n, 1)).exp()

    def levels(self, n_steps: int) -> Tensor:
        """Seventh powers of equidistant numbers, and 0."""
        ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64)
        high, low = self.sigma_max ** (1 / 7), self.sigma_min ** (1 / 7)
        return torch.cat(((high + ramp * (low - high)) ** 7, ramp.new_zeros(1)))

    def velocity(self, sigma: Tensor, sigma_data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scalings in which input and target of the network have unit variance."""
        variance = sigma**2 + sigma_data**2
        scale = variance.rsqrt()
        return scale, sigma_data**2 / variance, sigma * sigma_data * scale


@dataclass(frozen=True, kw_only=True)
class Linear:
    r"""Straight lines from event to noise (flow matching), :math:`x_t = (1 - t) x + t \epsilon`.

    The network predicts the velocity :math:`\epsilon - x`; the noise level is t / (1 - t).

    Parameters
    ----------
    times : {"logit-normal", "uniform", "power"}, default "logit-normal"
        How t is drawn in training. "logit-normal": ln t/(1 - t) is normal with ``mean`` and
        ``std``. "power": the density of 1 - t grows as its power ``exponent``.
    mean, std : float, default -0.5 and 1.2
    exponent : float, default 1.0
    sigma_max : float, default 200.0
        Largest noise level; there the sampling starts.

    References
    ----------
    Lipman et al., arXiv:2210.02747; Liu et al., arXiv:2209.03003.
    """

    times: Literal["logit-normal", "uniform", "power"] = "logit-normal"
    mean: float = -0.5
    std: float = 1.2
    exponent: float = 1.0
    sigma_max: float = 200.0

    def __post_init__(self) -> None:
        require_positive(self, "std", "sigma_max")
        if self.times not in ("logit-normal", "uniform", "power"):
            raise ValueError(
                f"Linear: times is 'logit-normal', 'uniform' or 'power', got {self.times!r}"
            )
        if not self.exponent > -1:
            raise ValueError(f"Linear: exponent must be above -1, got {self.exponent}")

    def draw(self, n: int, rng: Random) -> Tensor:
        """Levels t / (1 - t), of shape (n, 1)."""
        if self.times == "logit-normal":
            sigma = (self.mean + self.std * rng.normal(n, 1)).exp()
        else:
            exponent = self.exponent if self.times == "power" else 0.0
            kept = rng.uniform(n, 1) ** (1 / (1 + exponent))
            sigma = (1 - kept) / kept
        return sigma.clamp(1e-4, self.sigma_max)

    def levels(self, n_steps: int) -> Tensor:
        """Equidistant t."""
        top = self.sigma_max / (1 + self.sigma_max)
        t = torch.linspace(top, 0, n_steps + 1, dtype=torch.float64)
        return t / (1 - t)

    def velocity(self, sigma: Tensor, sigma_data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The network sees x_t and predicts noise minus event."""
        kept = 1 / (1 + sigma)
        return kept, kept, -sigma * kept


@dataclass(frozen=True, kw_only=True)
class VP:
    r"""Variance-preserving path, :math:`x_t = \cos(a)\, x + \sin(a)\, \epsilon`, a uniform.

    The network predicts :math:`\cos(a)\, \epsilon - \sin(a)\, x`; the noise level is tan a.

    Parameters
    ----------
    sigma_max : float, default 100.0
        Largest noise level.

    References
    ----------
    Nichol and Dhariwal, arXiv:2102.09672 (cosine); Salimans and Ho, arXiv:2202.00512 (velocity).
    """

    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        require_positive(self, "sigma_max")

    def draw(self, n: int, rng: Random) -> Tensor:
        """Tangents of uniform angles, of shape (n, 1)."""
        return torch.tan(rng.uniform(n, 1) * math.atan(self.sigma_max)).clamp_min(1e-4)

    def levels(self, n_steps: int) -> Tensor:
        """Equidistant angles."""
        return torch.linspace(math.atan(self.sigma_max), 0, n_steps + 1, dtype=torch.float64).tan()

    def velocity(self, sigma: Tensor, sigma_data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The network sees x_t and predicts its derivative with respect to the angle."""
        cosine = (1 + sigma**2).rsqrt()
        return cosine, cosine**2, -sigma * cosine


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A few fixed noise levels: the path of a student that makes events in so many steps.

    Parameters
    ----------
    sigmas : tuple of float
        Levels, falling; a last one of 0 is added.
    like : EDM, Linear or VP, default EDM()
        Path of the teacher, whose scalings the network has.
    """

    sigmas: tuple[float, ...] = (40.0,)
    like: EDM | Linear | VP = EDM()

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False))
        if not self.sigmas or not falls or not self.sigmas[-1] > 0:
            raise ValueError(f"Grid: sigmas are positive and fall, got {self.sigmas}")

    def draw(self, n: int, rng: Random) -> Tensor:
        """One of the levels for each event, (n, 1)."""
        sigmas = torch.tensor(self.sigmas, device=rng.device)
        which = (rng.uniform(n, 1) * len(self.sigmas)).long().clamp_max(len(self.sigmas) - 1)
        return sigmas[which]

    def levels(self, n_steps: int) -> Tensor:
        """All levels, whatever the number asked for: a student knows no others."""
        if n_steps != len(self.sigmas):
            raise ValueError(
                f"this student makes events in {len(self.sigmas)} steps and knows no other "
                f"number, got n_steps={n_steps}"
            )
        return torch.tensor((*self.sigmas, 0.0), dtype=torch.float64)

    def velocity(self, sigma: Tensor, sigma_data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As on the path of the teacher."""
        return self.like.velocity(sigma, sigma_data)
