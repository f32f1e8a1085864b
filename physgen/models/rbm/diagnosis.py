"""What a look into the training of a machine shows: its fit, its couplings, its chains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from physgen import mcmc
from physgen.random import Random

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["diagnose", "pseudo_log_likelihood", "reconstruction_error"]

# chains and block Gibbs steps that show how the machine mixes
_N_CHAINS, _N_STEPS = 64, 200
# chains and places of the annealing behind the log-likelihood of a look
_N_ANNEALED, _N_BETAS = 100, 300
_R_HAT = 1.1
_N_SINGULAR = 5


@torch.no_grad()
def diagnose(
    model: RBMModel, x: Tensor, condition: Tensor, rng: Random
) -> tuple[dict[str, float], list[str]]:
    """Numbers and warnings; see :meth:`RBMModel.diagnose`."""
    n_chains = min(len(model.chains.state), len(x))
    given = condition[:n_chains]
    chains = model.chains.draw(n_chains, given, rng=rng)
    numbers = {
        "positive_energy": float(model.free_energy(x, condition).mean()),
        "negative_energy": float(model.free_energy(chains, given).mean()),
        "reconstruction_error": reconstruction_error(model, x, condition),
        **_likelihood(model, x, condition),
    }
    if _is_single_and_binary(model):
        numbers["pseudo_log_likelihood"] = pseudo_log_likelihood(model, x, condition, rng)
    couplings = model.parameters_at(given[:1]).couplings
    directions, values, _ = torch.linalg.svd(couplings, full_matrices=False)
    numbers |= {f"singular_value_{i + 1}": float(s) for i, s in enumerate(values[:_N_SINGULAR])}
    # at one condition: chains of different ones do not agree, and need not
    one = given[:1].expand(_N_CHAINS, -1)
    start = model.chains.draw(_N_CHAINS, one, rng=rng)
    mixing = _mixing(model, start, one, directions[:, 0], rng)
    return numbers | mixing, _warnings(model, mixing)


def reconstruction_error(model: RBMModel, x: Tensor, condition: Tensor) -> float:
    """Mean squared distance of a feature from its mean given the hidden means.

    A binary feature that comes back with probability p contributes 4 (1 - p)^2.
    """
    p = model.parameters_at(condition)
    back = p.layers.visible.mean(p.visible_field(model.hidden_means(x, condition)), p.variance)
    return float((x - back).square().mean())


def pseudo_log_likelihood(model: RBMModel, x: Tensor, condition: Tensor, rng: Random) -> float:
    r"""Mean of :math:`\sum_i \ln p(x_i | x_{\setminus i})`, in nats per event.

    Estimated from one feature of each event, drawn at random; NaN where the features are not all
    binary, each for itself.

    References
    ----------
    Besag, The Statistician 24 (1975) 179.
    """
    n_features = model.spec.n_features
    if not _is_single_and_binary(model):
        return math.nan
    site = (rng.uniform(len(x), 1) * n_features).long().clamp_(max=n_features - 1)
    flipped = x.scatter(1, site, -x.gather(1, site))
    p = model.parameters_at(condition)
    gain = p.free_energy(flipped) - p.free_energy(x)
    return n_features * float(torch.nn.functional.logsigmoid(gain).mean())


def _is_single_and_binary(model: RBMModel) -> bool:
    return all(model.spec.binary) and not model.spec.one_hot


def _likelihood(model: RBMModel, x: Tensor, condition: Tensor) -> dict[str, float]:
    """Logarithm of Z and the mean log-likelihood of events, with the error that ln Z gives it."""
    if model.spec.n_conditions:
        return {}
    found = model.log_z(n_chains=_N_ANNEALED, n_betas=_N_BETAS)
    log_p = -float(model.free_energy(x, condition).double().mean()) - found.value
    return {
        "log_z": found.value,
        "log_likelihood": log_p,
        "log_likelihood_error": found.std_error,
    }


def _mixing(
    model: RBMModel, x: Tensor, condition: Tensor, direction: Tensor, rng: Random
) -> dict[str, float]:
    """Autocorrelation time in block Gibbs steps, and split R-hat, of the slowest observable.

    The observables are the free energy and the largest direction of the couplings, of which the
    sign does not count where the machine has flip symmetry.
    """
    p = model.parameters_at(condition)
    energies, projections = [], []
    for _ in range(_N_STEPS):
        x = p.gibbs(x, 1, rng)
        energies.append(p.free_energy(x))
        along = p.values(x) @ direction
        projections.append(along.abs() if model.settings.flip_symmetric else along)
    series = [torch.stack(s).double().cpu().numpy() for s in (energies, projections)]
    return {
        "tau": max(mcmc.integrated_autocorrelation_time(s, min_length=0).value for s in series),
        "r_hat": max(mcmc.split_r_hat(s) for s in series),
    }


def _warnings(model: RBMModel, mixing: dict[str, float]) -> list[str]:
    n_steps, tau, r_hat = model.settings.chains.n_steps, mixing["tau"], mixing["r_hat"]
    if r_hat <= _R_HAT or tau <= n_steps:
        return []
    text = (
        f"the chains no longer mix: their autocorrelation time is {tau:.3g} block Gibbs steps, an "
        f"update makes {n_steps} (R-hat {r_hat:.2f}); use chains=TemperedPCD() or more n_steps, "
        "and sample with sampler='ptt'"
    )
    return [text]
