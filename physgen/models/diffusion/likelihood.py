r"""Log-probability of events by the probability-flow equation.

Along a solution the density changes by the divergence of the flow (Chen et al., arXiv:1806.07366;
Song et al., arXiv:2011.13456, eq. 39). With :math:`u = \ln\sigma` and J the Jacobian of D,

.. math:: \ln p(x) = \ln N(y_{\max}; 0, \sigma_{\max}^2) + \int_{u_{\min}}^{u_{\max}}
          \big(d - \mathrm{tr}\, J(y; \sigma)\big)\, du, \qquad \frac{dy}{du} = y - D(y; \sigma)

solved by Heun's method. The trace is exact, or estimated with random signs (Hutchinson).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from physgen.models.diffusion.samplers import Denoise
from physgen.random import Random

__all__ = ["log_density"]


def log_density(
    denoise: Denoise,
    x: Tensor,
    sigma_min: float,
    sigma_max: float,
    *,
    n_steps: int,
    n_probes: int,
    rng: Random,
) -> tuple[Tensor, Tensor]:
    """Log-density of events and its standard error from the random probes.

    Parameters
    ----------
    denoise : callable
        D(y, sigma), differentiable in y.
    x : Tensor of shape (n_events, n_features)
    sigma_min, sigma_max : float
        Range of noise levels; events are taken to have noise of ``sigma_min``.
    n_steps : int
        Steps, equidistant in ln sigma.
    n_probes : int
        Random directions per event; 0 for the exact trace, at the cost of as many backward passes
        as there are features.
    rng : Random
        Of the directions, which are kept along the path.

    Returns
    -------
    log_density, std_error : Tensor of shape (n_events,), float64
        The error is 0 for the exact trace.
    """
    n, d = x.shape
    probes = max(n_probes, 1)
    signs = torch.where(rng.uniform(n, probes, d) < 0.5, -1.0, 1.0) if n_probes else None
    trace = _exact_trace if signs is None else _hutchinson(signs)
    u = torch.linspace(math.log(sigma_min), math.log(sigma_max), n_steps + 1).to(x.device)
    y, total = x, x.new_zeros(n, probes, dtype=torch.float64)
    clean, divergence = _with_trace(denoise, y, u[0].exp(), trace)
    for step, end in zip(u.diff(), u[1:], strict=True):
        slope = y - clean
        ahead, beyond = _with_trace(denoise, y + step * slope, end.exp(), trace)
        y = y + step / 2 * (slope + y + step * slope - ahead)
        total = total + step / 2 * (2 * d - divergence - beyond)
        clean, divergence = _with_trace(denoise, y, end.exp(), trace)
    square = y.double().square().sum(1) / sigma_max**2
    prior = -square / 2 - d * math.log(sigma_max * math.sqrt(2 * math.pi))
    spread = total.std(1) / math.sqrt(probes) if probes > 1 else torch.zeros_like(prior)
    return prior + total.mean(1), spread


_Trace = Callable[[Tensor, Tensor], Tensor]


def _with_trace(
    denoise: Denoise, y: Tensor, sigma: Tensor, trace: _Trace
) -> tuple[Tensor, Tensor]:
    """D(y) and the trace of its Jacobian, of shape (n_events, n_probes)."""
    with torch.enable_grad():
        leaf = y.detach().requires_grad_()
        clean = denoise(leaf, sigma)
        found = trace(clean, leaf)
    return clean.detach(), found.double()


def _exact_trace(clean: Tensor, y: Tensor) -> Tensor:
    diagonal = []
    for i in range(y.shape[1]):
        (row,) = torch.autograd.grad(clean[:, i].sum(), y, retain_graph=True)
        diagonal.append(row[:, i])
    return torch.stack(diagonal).sum(0)[:, None]


def _hutchinson(signs: Tensor) -> _Trace:
    def trace(clean: Tensor, y: Tensor) -> Tensor:
        found = []
        for k in range(signs.shape[1]):
            (row,) = torch.autograd.grad((clean * signs[:, k]).sum(), y, retain_graph=True)
            found.append((row * signs[:, k]).sum(1))
        return torch.stack(found, dim=1)

    return trace
