"""A look into the training of an energy-based model."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen import mcmc
from physgen.models.ebm.kernels import OF_NUMBERS, exact
from physgen.models.ebm.objectives import EnergyModel, Objective, refuse_runaway
from physgen.random import Random

__all__ = ["diagnosis"]

# events looked at; an acceptance is known to 3 % then
_N_EVENTS = 256
_N_MOVES = 10


def diagnosis(
    model: EnergyModel, objective: Objective, x: Tensor, condition: Tensor, *, rng: Random
) -> tuple[dict[str, float], list[str]]:
    """Energies of data and chains, and what the kernel with its Metropolis test does to these.

    Returns
    -------
    dict of str to float
        Means of the energies, that of the data less that of the chains, the acceptance (of a
        kernel without a test what it would be with one), and the share of moves whose integration
        broke down.
    list of str
        Warnings.

    Raises
    ------
    FloatingPointError
        If the energies of data and chains are more than 100 nats per feature apart.
    """
    x, condition = x[:_N_EVENTS], condition[:_N_EVENTS]
    inputs = objective.inputs(condition)
    energy: mcmc.Energy = lambda y: model.terms(y, inputs).sum(0)
    with torch.no_grad():
        data, chains = objective.check_up(model, x, condition, rng=rng)
        e_data, e_chains = energy(data), energy(chains)
        _, info = mcmc.run(exact(model.kernel), energy, chains, _N_MOVES, rng=rng)
    gap = float(e_data.mean() - e_chains.mean())
    refuse_runaway(gap, model.spec)
    found = {
        "energy of data [nat]": float(e_data.mean()),
        "energy of chains [nat]": float(e_chains.mean()),
        "energy gap [nat]": gap,
        "acceptance": float(info.acceptance.mean()),
        "divergent moves": float(torch.as_tensor(info.divergent).float().mean()) / _N_MOVES,
    }
    # energies of one law differ by their spread; means that do by five of it belong to two laws
    lost = abs(gap) > 5 * max(1.0, float(e_data.std(correction=0)))
    return found, _warnings(found, model.kernel, lost=lost)


def _warnings(found: dict[str, float], kernel: mcmc.Kernel, *, lost: bool) -> list[str]:
    texts, name = [], type(kernel).__name__
    if lost:
        texts.append(
            "the chains' energy runs away from the data's: the means are more than five spreads "
            "of the data's energy apart, so the chains are not where the model has its weight; "
            "use more n_steps or a lower learning_rate"
        )
    if found["acceptance"] < 0.05:
        advice = "lower step_size" if isinstance(kernel, OF_NUMBERS) else "use more n_steps"
        texts.append(
            f"the kernel {name} has fewer than 1 in 20 of its moves accepted, so the chains "
            f"hardly move; {advice}"
        )
    if found["divergent moves"] > 0.01:
        texts.append(
            f"more than 1 in 100 trajectories of {name} break down: the energy is steeper in "
            "places than its steps can follow; lower step_size"
        )
    return texts
