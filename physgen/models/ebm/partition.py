"""The partition function of an energy-based model, by annealing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen import mcmc
from physgen.models.base import LogPartition
from physgen.models.ebm.kernels import exact
from physgen.models.ebm.objectives import EnergyModel, Objective, noise_like
from physgen.random import Rng

__all__ = ["annealed_log_z"]


@torch.no_grad()
def annealed_log_z(
    model: EnergyModel,
    objective: Objective,
    condition: Tensor,
    *,
    n_chains: int,
    n_betas: int,
    n_moves: int,
    rng: Rng,
) -> LogPartition:
    """Logarithm of Z under one condition; see :meth:`physgen.models.ebm.EBMModel.log_z`."""
    spec = model.spec
    if condition.shape != (1, spec.n_conditions):
        raise ValueError(
            f"ln Z belongs to one condition, of shape (1, {spec.n_conditions}), got "
            f"{tuple(condition.shape)}"
        )
    inputs = objective.inputs(condition).expand(n_chains, -1)
    variance = float(objective.scales(inputs)[0][0])
    n_real = spec.n_features - spec.n_binary
    random = mcmc.chains.as_random(rng, inputs)
    start = noise_like(inputs.new_empty(n_chains, spec.n_features), spec, rng=random)
    binary = torch.tensor(spec.binary, device=start.device)

    def path(x: Tensor, beta: Tensor) -> Tensor:
        f, reference = model.terms(x, inputs)
        return reference + beta * f

    found = mcmc.annealed_importance(
        exact(model.kernel),
        path,
        torch.where(binary, start, math.sqrt(variance) * start),
        betas=torch.linspace(0, 1, n_betas).tolist(),
        base_log_z=spec.n_binary * math.log(2) + n_real / 2 * math.log(2 * math.pi * variance),
        n_moves=n_moves,
        rng=random,
    )
    return LogPartition(found.value, found.std_error, "ais", found.effective_sample_size)
