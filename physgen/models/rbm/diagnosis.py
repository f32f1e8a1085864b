"""What a look into the training of a machine shows: its fit, its couplings, its chains."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from physgen import mcmc
from physgen.models.rbm import partition
from physgen.models.rbm.chains import CD
from physgen.random import Random

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel
    from physgen.models.rbm.parameters import Parameters

__all__ = ["diagnose", "pseudo_log_likelihood", "reconstruction_error"]

# chains whose energies are compared with those of the data
_N_COMPARED = 1024
# chains that show how the machine mixes, and block Gibbs steps of each: at first, at most, and in
# units of tau; the window of tau wants 12 tau
_N_CHAINS = 64
_N_STEPS, _MAX_STEPS, _LONG_ENOUGH = 200, 1600, 20
# couplings times chains times steps: 800 steps of a machine of 784 by 500
_MAX_WORK = 2.5e10
# chains and places of the annealing behind the log-likelihood of a look
_N_ANNEALED, _N_BETAS = 100, 300
# events under conditions, of which each wants a sum over 2^n states of n units; and the fields to
# compute in all these sums, a matter of seconds
_N_SUMMED, _MAX_SUMMED = 256, 1e8
# below this, chains mix as well as one needs, however short an update is
_SHORT_TAU = 10
_SWAP_RATE = 0.05
_N_SINGULAR = 5


class _Mixing(NamedTuple):
    """Mixing of an observable; of two, the larger one is the slower one."""

    tau: float
    r_hat: float
    is_bound: bool

    @property
    def time(self) -> str:
        """The autocorrelation time in words."""
        return f"{'at least ' if self.is_bound else ''}{self.tau:.3g} block Gibbs steps"


@torch.no_grad()
def diagnose(
    model: RBMModel, x: Tensor, condition: Tensor, rng: Random
) -> tuple[dict[str, float], list[str]]:
    """Numbers and warnings of a machine in training.

    Returns
    -------
    dict of str to float
        ``positive_energy`` and ``negative_energy``
            Mean free energy of the events, and of up to 1024 chains of the training (with
            conditions, of one chain at the condition of each event).
        ``reconstruction_error``, ``pseudo_log_likelihood``
            See the functions of these names; the latter where all features are binary, each for
            itself.
        ``log_z``, ``log_likelihood``, each with ``_error``
            Natural logarithm of Z, and mean of ln p(x) in nats per event: real features count as
            the preprocessor makes them, so the unit of the density is theirs. The error adds that
            of ln Z and that of a mean of so many events in quadrature. With conditions there is no
            single Z; the log-likelihood is then that of at most 256 events, if the smaller layer
            has at most 16 binary units, and is left out otherwise.
        ``singular_value_1``, ...
            The five largest ones of the couplings, with the gains of the median condition.
        ``tau``, ``r_hat``
            Integrated autocorrelation time in block Gibbs steps, and split R-hat, of the slower
            one of two observables: the free energy and the projection on the first singular
            direction, of which the sign does not count where the machine has flip symmetry. They
            are measured with plain block Gibbs steps on up to 64 chains that go on from those of
            the training; with conditions at the lowest, median and highest value of the first
            one, and the worst is told. The chains make 200 steps, and up to 1600 (fewer for large
            machines) until there are 20 tau of them; a longer tau is a lower bound, and the
            warning says "at least". R-hat is that of these stretches alone: where tau is small
            against them it says that the chains agree, and otherwise it says the same as tau.
        ``smallest_swap_rate``
            Of :class:`TemperedPCD`: between neighbors of the ladder.
    list of str
        A warning if tau is above ten steps and above those of an update, since such chains lag
        behind the machine. Chains on a ladder are judged by their swaps instead, and those of
        :class:`CD`, which start at the data, by the steps to a sample.
    """
    numbers = {
        "positive_energy": float(model.free_energy(x, condition).mean()),
        "negative_energy": _negative_energy(model, condition, rng),
        "reconstruction_error": reconstruction_error(model, x, condition),
        **_likelihood(model, x, condition),
    }
    if all(model.spec.binary) and not model.spec.one_hot:
        numbers["pseudo_log_likelihood"] = pseudo_log_likelihood(model, x, condition, rng)
    probed = _probed(condition)
    couplings = model.coupling_matrix(probed[len(probed) // 2][None])
    directions, values, _ = torch.linalg.svd(couplings, full_matrices=False)
    numbers |= {f"singular_value_{i + 1}": float(s) for i, s in enumerate(values[:_N_SINGULAR])}
    mixing = _mixing(model, probed, directions[:, 0], rng)
    numbers |= {"tau": mixing.tau, "r_hat": mixing.r_hat}
    if model.settings.chains.n_rungs > 1:
        numbers["smallest_swap_rate"] = float(model.chains.swap_rates.min())
    return numbers, _warnings(model, mixing)


def reconstruction_error(model: RBMModel, x: Tensor, condition: Tensor) -> float:
    """Mean squared distance of a feature from its mean given the hidden means.

    A binary feature that comes back with probability p contributes 4 (1 - p)^2.
    """
    p = model.parameters_at(condition)
    back = p.layers.visible.mean(p.visible_field(model.hidden_means(x, condition)))
    return float((x - back).square().mean())


def pseudo_log_likelihood(model: RBMModel, x: Tensor, condition: Tensor, rng: Random) -> float:
    r"""Mean of :math:`\sum_i \ln p(x_i | x_{\setminus i})`, in nats per event.

    Estimated from one feature of each event, drawn at random. The features must all be binary,
    each for itself.

    References
    ----------
    Besag, The Statistician 24 (1975) 179.
    """
    n_features = model.spec.n_features
    site = (rng.uniform(len(x), 1) * n_features).long().clamp_(max=n_features - 1)
    flipped = x.scatter(1, site, -x.gather(1, site))
    p = model.parameters_at(condition)
    gain = p.free_energy(flipped) - p.free_energy(x)
    return n_features * float(torch.nn.functional.logsigmoid(gain).mean())


# ---------------------------------------------------------------------- fit


def _negative_energy(model: RBMModel, condition: Tensor, rng: Random) -> float:
    if model.spec.n_conditions:
        given = condition[: len(model.chains.state)]
        chains = model.chains.draw(len(given), given, rng=rng)
    else:
        given = condition[:1]
        chains = _nearest(model, given, _N_COMPARED, rng)
    return float(model.free_energy(chains, given).mean())


def _likelihood(model: RBMModel, x: Tensor, condition: Tensor) -> dict[str, float]:
    if model.spec.n_conditions:
        return _likelihood_under_conditions(model, x, condition)
    found = model.log_z(n_chains=_N_ANNEALED, n_betas=_N_BETAS)
    log_p = -model.free_energy(x, condition).double() - found.value
    return {
        "log_z": found.value,
        "log_z_error": found.std_error,
        **_mean(log_p, found.std_error),
    }


def _likelihood_under_conditions(
    model: RBMModel, x: Tensor, condition: Tensor
) -> dict[str, float]:
    if not partition.is_quick(model):
        return {}
    n_units = partition.smaller_layer(model)[0]
    n_numbers = 2**n_units * model.spec.n_features * model.settings.n_hidden / n_units
    n = min(_N_SUMMED, max(2, int(_MAX_SUMMED / n_numbers)))
    return _mean(model.log_prob(x[:n], condition[:n]).double(), 0.0)


def _mean(log_p: Tensor, common_error: float) -> dict[str, float]:
    """Mean log-likelihood, with the error of a mean and one that all events share."""
    n = len(log_p)
    own = float(log_p.std()) / math.sqrt(n) if n > 1 else math.nan
    return {
        "log_likelihood": float(log_p.mean()),
        "log_likelihood_error": math.hypot(own, common_error),
    }


# ---------------------------------------------------------------------- mixing


def _probed(condition: Tensor) -> Tensor:
    """Conditions at which to look: the lowest, median and highest by the first one."""
    if not condition.shape[1]:
        return condition[:1]
    order = condition[:, 0].argsort(stable=True)
    return condition[order[[0, len(order) // 2, -1]]]


def _nearest(model: RBMModel, condition: Tensor, n: int, rng: Random) -> Tensor:
    """Up to n different chains, last run nearest to a condition of shape (1, n_conditions)."""
    chains = model.chains
    order = rng.uniform(len(chains.state)).argsort()
    distance = (chains.condition[order] - condition).square().sum(1)
    state = chains.state[order[distance.argsort(stable=True)[:n]]]
    return state[:, : model.spec.n_features] if state.ndim == 2 else state[:, -1]


def _mixing(model: RBMModel, probed: Tensor, direction: Tensor, rng: Random) -> _Mixing:
    """Mixing of the slowest observable at the worst of the conditions.

    All series go on until the slowest is long enough, or they may not grow further.
    """
    x = torch.cat([_nearest(model, c[None], _N_CHAINS, rng) for c in probed])
    n_chains = len(x) // len(probed)
    p = model.parameters_at(probed.repeat_interleave(n_chains, 0))
    most = min(_MAX_STEPS, int(_MAX_WORK / (len(x) * p.couplings.numel())))
    steps = _observed(model, p, x, direction, rng)
    seen = list(itertools.islice(steps, _N_STEPS))
    while True:
        series = torch.stack(seen).double().cpu().numpy().reshape(len(seen), -1, n_chains)
        slowest = max(_mixing_of(one) for one in np.moveaxis(series, 1, 0))
        if not slowest.is_bound or 2 * len(seen) > most:
            return slowest
        seen += itertools.islice(steps, len(seen))


def _observed(
    model: RBMModel, p: Parameters, x: Tensor, direction: Tensor, rng: Random
) -> Iterator[Tensor]:
    """Free energy and projection of chains before each block Gibbs step, (2, n_chains)."""
    while True:
        values = p.values(x)
        field = p.hidden_field(values)
        along = values @ direction
        along = along.abs() if model.settings.flip_symmetric else along
        yield torch.stack((p.free_energy_with(p.layers.hidden.log_sum(field), x, values), along))
        x = p.draw_visible(p.layers.hidden.draw(field, rng), rng)


def _mixing_of(series: np.ndarray) -> _Mixing:
    tau = mcmc.integrated_autocorrelation_time(series, min_length=0).value
    return _Mixing(tau, mcmc.split_r_hat(series), len(series) < _LONG_ENOUGH * tau)


# ---------------------------------------------------------------------- warnings


def _warnings(model: RBMModel, mixing: _Mixing) -> list[str]:
    way, n_sample = model.settings.chains, model.settings.n_steps_sample
    if way.n_rungs > 1:
        return [*_of_ladder(model), *_of_samples(mixing, n_sample)]
    if isinstance(way, CD):
        return _of_samples(mixing, n_sample)
    if mixing.tau <= max(way.n_steps, _SHORT_TAU):
        return []
    text = (
        f"the chains no longer mix: their autocorrelation time is {mixing.time}, an update makes "
        f"{way.n_steps} (R-hat {mixing.r_hat:.2f}); use chains=TemperedPCD() or more n_steps, and "
        "sample with sampler='ptt'"
    )
    return [text]


def _of_ladder(model: RBMModel) -> list[str]:
    rates = model.chains.swap_rates
    lowest = int(rates.argmin())
    if rates[lowest] >= _SWAP_RATE:
        return []
    n_rungs = len(rates) + 1
    text = (
        f"the ladder is broken between rungs {lowest + 1} and {lowest + 2} of {n_rungs}: only "
        f"{float(rates[lowest]):.2g} of their swaps are accepted, so the chains are no longer "
        f"renewed from the easy end; use chains=TemperedPCD(n_rungs={2 * n_rungs}) or more"
    )
    return [text]


def _of_samples(mixing: _Mixing, n_steps: int) -> list[str]:
    if mixing.tau <= max(n_steps, _SHORT_TAU):
        return []
    text = (
        f"samples made with sampler='gibbs' will be slow: the autocorrelation time is "
        f"{mixing.time}, and n_steps_sample={n_steps} (R-hat {mixing.r_hat:.2f}); sample with "
        "sampler='ptt' or more n_steps"
    )
    return [text]
