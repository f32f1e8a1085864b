"""The partition function of a machine: exact where a layer can be enumerated, else annealed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from physgen import mcmc
from physgen.checks import whole_number
from physgen.models.base import LogPartition
from physgen.models.rbm.parameters import Parameters
from physgen.models.rbm.sampling import spaced
from physgen.random import PhiloxRandom, Rng, as_seed

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["Method", "enumerated", "is_quick", "log_z", "of_each", "smaller_layer"]

Method = Literal["automatic", "exact", "ais", "trajectory", "reverse ais", "reverse trajectory"]

# 2^25 states take minutes; each unit more doubles that
MAX_ENUMERATED = 25
# below this the exact sum is quicker than any estimate
_QUICK = 16
# unit-states per second of an enumeration, for the time that an error message names
_RATE = 3e7
# conditions of one call for which the annealing is done anew each time
_MAX_CONDITIONS = 64
# states of a layer summed at once
_BLOCK = 2**14


@torch.no_grad()
def log_z(
    model: RBMModel,
    condition: Tensor | None,
    *,
    method: Method,
    n_chains: int,
    n_betas: int,
    rng: Rng,
) -> LogPartition:
    """Logarithm of the partition function; see :meth:`RBMModel.log_z`."""
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    given = _one_condition(model, condition)
    if method == "exact" or (method == "automatic" and is_quick(model)):
        return LogPartition(float(enumerated(model, given)), 0.0, "exact", math.inf)
    seed = as_seed(rng)
    ways = _ways(model) if method == "automatic" else (method,)
    found = [_annealed(model, given, way, n_chains, n_betas, seed) for way in ways]
    return max(found, key=lambda one: one.effective_sample_size)


def of_each(model: RBMModel, condition: Tensor) -> Tensor:
    """Logarithm of Z at each event's condition, (n_events,); exact ones with their gradient."""
    if not model.spec.n_conditions:
        return _of_one(model, condition[:1]).expand(len(condition))
    distinct, index = torch.unique(condition, dim=0, return_inverse=True)
    if len(distinct) > _MAX_CONDITIONS and not is_quick(model):
        raise ValueError(
            f"log_prob of events under {len(distinct)} different conditions needs as many "
            f"annealings; give events of at most {_MAX_CONDITIONS} conditions at a time"
        )
    return torch.cat([_of_one(model, c[None]) for c in distinct])[index]


def _of_one(model: RBMModel, condition: Tensor) -> Tensor:
    # where a gradient is wanted the sum is made anew; else it is remembered, as others are
    if is_quick(model) and torch.is_grad_enabled():
        return enumerated(model, condition)[None]
    return condition.new_full((1,), model.known_log_z(condition).value)


def enumerated(model: RBMModel, condition: Tensor) -> Tensor:
    """Logarithm of Z as the sum over the states of the smaller binary layer; differentiable.

    Raises
    ------
    ValueError
        If that layer has more than 25 units; says how long it would take.
    """
    p = model.parameters_at(condition)
    n_units, of_hidden = smaller_layer(model)
    if n_units > MAX_ENUMERATED:
        n_other = p.couplings.shape[0 if of_hidden else 1]
        raise ValueError(
            f"the exact partition function sums over 2^{n_units} states of the smaller layer, "
            f"which would take {_in_words(2.0**n_units * n_other / _RATE)} here (at most "
            f"2^{MAX_ENUMERATED} are allowed); use log_z(method='ais') or method='trajectory', "
            "which come with an error"
        )
    total = p.couplings.new_full((), -math.inf)
    bits = torch.arange(n_units, device=p.couplings.device)
    low, high = model.layers.hidden.values if of_hidden else (-1.0, 1.0)
    for block in torch.arange(2**n_units, device=p.couplings.device).split(_BLOCK):
        ones = ((block[:, None] >> bits) & 1).bool()
        states = torch.where(ones, high, low).to(p.couplings.dtype)
        weights = p.log_weight_of_hidden(states) if of_hidden else -p.free_energy(states)
        total = torch.logaddexp(total, torch.logsumexp(weights, 0))
    return total


def smaller_layer(model: RBMModel) -> tuple[int, bool]:
    """Number of units of the layer to enumerate, and whether it is the hidden one."""
    spec, n_hidden = model.spec, model.settings.n_hidden
    visible_binary = all(spec.binary) and not spec.one_hot
    if visible_binary and spec.n_features < n_hidden:
        return spec.n_features, False
    return n_hidden, True


def is_quick(model: RBMModel) -> bool:
    """Whether the exact sum is quicker than an annealing."""
    return smaller_layer(model)[0] <= _QUICK


def _ways(model: RBMModel) -> tuple[Method, ...]:
    return ("ais", "trajectory") if len(model.snapshots.taken()) else ("ais",)


def _annealed(
    model: RBMModel, condition: Tensor, method: Method, n_chains: int, n_betas: int, seed: int
) -> LogPartition:
    n_chains, n_betas = whole_number("n_chains", n_chains, 2), whole_number("n_betas", n_betas, 2)
    rng = PhiloxRandom(seed, torch.arange(n_chains, device=condition.device))
    backward, by_snapshots = method.startswith("reverse"), method.endswith("trajectory")
    if by_snapshots and not len(model.snapshots.taken()):
        raise ValueError(
            f"method={method!r} goes by the machines that the training passed, of which this one "
            f"has none (n_snapshots={model.settings.n_snapshots}); use "
            f"{method.replace('trajectory', 'ais')!r}"
        )
    # in float64: the steps of a path are small differences of large energies
    path = model.trajectory(condition, snapshots=by_snapshots, dtype=torch.float64)
    free: Parameters = path.at(0.0)
    anneal = mcmc.reverse_annealed_importance if backward else mcmc.annealed_importance
    if backward:
        c = condition.expand(n_chains, -1)
        start = model.sample(n_chains, c, rng=rng, sampler="ptt" if by_snapshots else "pt")
        start = start.to(torch.float64)
    else:
        start = path.draw_free(n_chains, rng)
    found = anneal(
        model.kernel(path),
        path.energy,
        start,
        betas=spaced(path, n_betas),
        base_log_z=float(free.log_z_without_couplings()),
        rng=rng,
    )
    return LogPartition(found.value, found.std_error, method, found.effective_sample_size)


def _one_condition(model: RBMModel, condition: Tensor | None) -> Tensor:
    like = model.couplings
    given = like.new_zeros(1, 0) if condition is None else condition.to(like)
    if given.shape != (1, model.spec.n_conditions):
        raise ValueError(
            f"ln Z is that of one condition, of shape (1, {model.spec.n_conditions}); got "
            f"{'none' if condition is None else tuple(given.shape)}; "
            "surrogate.log_z({'beta': 0.44}) makes it of physical values"
        )
    return given


def _in_words(seconds: float) -> str:
    for unit, size in (("years", 3.15e7), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds > 2 * size:
            return f"about {seconds / size:.3g} {unit}"
    return f"about {seconds:.0f} seconds"
