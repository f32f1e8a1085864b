r"""Independence sampler: a surrogate with a density proposes, the exact energy decides.

With a trained model as proposal q (neural MCMC) whatever the model learned wrong is corrected:

.. math:: \text{accept } x' \text{ with } \min\Big(1, \frac{p(x')\, q(x)}{p(x)\, q(x')}\Big),
          \qquad p(x) \propto e^{-E(x)}

The law of the chain is exact if q is nowhere 0 where p is not; the autocorrelation time tells how
good the proposal is.

References
----------
Tierney, Ann. Stat. 22 (1994) 1701, sec. 2.3.3. Albergo, Kanwar and Shanahan, arXiv:1904.12072
(flows). Nicoli et al., arXiv:1910.13496 (autoregressive networks for the Ising model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from physgen.mcmc.chains import Seed, as_random
from physgen.mcmc.kernels import Energy, Info, energy_drop, metropolis_test
from physgen.mcmc.records import Chain, Observable, checked_observables, one_per_chain
from physgen.random import Random

__all__ = ["ExactProposal", "Independence", "independence_chains"]


class ExactProposal(Protocol):
    """A model that draws independent events of a density that it can evaluate."""

    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Independent events of shape (n_events, n_features)."""
        ...

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Logarithm of the normalized density (for spins: probability), shape (n_events,)."""
        ...


# the condition is a tensor, and two of these cannot be compared by their fields
@dataclass(frozen=True, kw_only=True, eq=False)
class Independence:
    """Propose from a model regardless of where the chain is; accept as the module's formula says.

    Parameters
    ----------
    proposal : ExactProposal
        Anything whose ``sample`` follows its ``log_prob``. It sees states flattened to
        (n_chains, n_features); a model of spins makes exactly the values of the states.
    condition : Tensor of shape (n_chains, n_conditions), optional
        Conditions of the proposal, by default none (width 0).

    Raises
    ------
    TypeError
        If the proposal has no ``log_prob`` (a bound, as a VAE's, makes no exact test), if it is a
        Surrogate (its ``model`` is meant), or if it samples by a Markov chain (it has an
        ``energy``), so that samples only nearly follow ``log_prob``: use
        ``Metropolis(proposal=model.moves(n_steps))`` for such.

    Notes
    -----
    Kernels keep nothing but the state, so ln q of the current state is computed anew in every
    move. :func:`independence_chains` computes it once per proposal.
    """

    proposal: ExactProposal
    condition: Tensor | None = None

    def __post_init__(self) -> None:
        _require_density(self.proposal)

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...)."""
        with torch.no_grad():
            condition = self._condition(state)
            drawn = self.proposal.sample(len(state), condition, rng=rng)
            candidate = _as_states(drawn, state)
            flat = state.flatten(1).to(drawn.dtype)
            log_q = self.proposal.log_prob(flat, condition)
            log_ratio = energy_drop(energy(state), energy(candidate))
            log_ratio = log_ratio + log_q - self.proposal.log_prob(drawn, condition)
        return metropolis_test(state, candidate, log_ratio, rng=rng)

    def _condition(self, state: Tensor) -> Tensor:
        if self.condition is None:
            return torch.empty(len(state), 0, device=state.device)
        if len(self.condition) != len(state):
            raise ValueError(
                f"Independence has conditions for {len(self.condition)} chains, got {len(state)}"
            )
        return self.condition


def independence_chains(
    energy: Energy,
    states: Tensor,
    log_prob: Tensor,
    *,
    n_burn_in: int = 0,
    observables: Mapping[str, Observable] | None = None,
    keep_states: bool = False,
    rng: Seed,
) -> Chain:
    """Chains of the independence sampler through proposals that are drawn already.

    The first proposal is where a chain starts; each of the others is accepted or refused.

    Parameters
    ----------
    energy : callable
        Energies of any number of states; called once on all of them.
    states : Tensor of shape (n_steps, n_chains, ...)
        Independent draws of the proposal.
    log_prob : Tensor of shape (n_steps, n_chains)
        Logarithm of the density they were drawn from.
    n_burn_in : int, default 0
        Steps that are not recorded.
    observables, keep_states, rng
        As for :func:`run_chains`.

    Returns
    -------
    Chain
        Of n_steps - n_burn_in records.

    Examples
    --------
    Events of a normal law that was drawn too wide:

    >>> from physgen.random import PhiloxRandom
    >>> x = 1.5 * PhiloxRandom(1, torch.arange(2000)).normal(2000, 10, 1)
    >>> log_q = torch.distributions.Normal(0, 1.5).log_prob(x).sum(2)
    >>> chain = independence_chains(
    ...     lambda x: x.square().sum(1) / 2, x, log_q, rng=2,
    ...     observables={"x^2": lambda x: x.square().sum(1)},
    ... )
    >>> abs(chain.measure("x^2").pull(1.0)) < 3
    True
    """
    n_steps, n_chains = states.shape[:2]
    if log_prob.shape != (n_steps, n_chains):
        raise ValueError(
            f"log_prob must be of shape ({n_steps}, {n_chains}) for states of shape "
            f"{tuple(states.shape)}, got {tuple(log_prob.shape)}"
        )
    if not 0 <= n_burn_in < n_steps:
        raise ValueError(f"n_burn_in must be 0 to {n_steps - 1}, got {n_burn_in}")
    functions = {"energy": energy, **checked_observables(observables)}
    with torch.no_grad():
        flat = states.flatten(0, 1)
        values = {n: one_per_chain(n, f(flat), len(flat)) for n, f in functions.items()}
    proposed = {n: v.view(n_steps, n_chains) for n, v in values.items()}
    log_u = as_random(rng, states[0]).uniform(n_chains, n_steps).log().T
    current, acceptance = _accepted(-proposed["energy"] - log_prob, log_u)
    kept, chains = current[n_burn_in:], torch.arange(n_chains, device=states.device)
    return Chain(
        state=states[current[-1], chains],
        series={n: v[kept, chains].cpu().numpy() for n, v in proposed.items()},
        acceptance=acceptance[n_burn_in:].mean(0).cpu().numpy(),
        states=states[kept, chains] if keep_states else None,
    )


def _accepted(log_weight: Tensor, log_u: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the proposal that each chain is at, and its acceptance; (n_steps, n_chains)."""
    log_weight = torch.where(log_weight.isfinite(), log_weight, -torch.inf)
    here = log_weight[0]
    at = torch.zeros_like(here, dtype=torch.long)
    places, acceptance = [at], [torch.ones_like(here)]
    for step in range(1, len(log_weight)):
        log_ratio = (log_weight[step] - here).nan_to_num(nan=-torch.inf)
        accepted = log_u[step] < log_ratio
        at = torch.where(accepted, step, at)
        here = torch.where(accepted, log_weight[step], here)
        places.append(at)
        acceptance.append(log_ratio.clamp(max=0).exp())
    return torch.stack(places), torch.stack(acceptance)


def _require_density(proposal: object) -> None:
    name = type(proposal).__name__
    model = getattr(proposal, "model", None)
    if hasattr(model, "sample") and not hasattr(proposal, "sample"):
        raise TypeError(
            f"{name} makes events, and a chain needs tensors: pass proposal=surrogate.model. Its "
            "states are tensors of shape (n_chains, n_features) as surrogate.preprocessor.forward "
            "makes them of events: spins remain -1 and +1, real columns are transformed"
        )
    if hasattr(proposal, "energy"):
        raise TypeError(
            f"{name} samples by a Markov chain, so its samples only nearly follow its law; "
            "use Metropolis(proposal=model.moves(n_steps)) or, for a model without moves of its "
            "own, SurrogateMoves(kernel=..., energy=..., n_steps=...), which need neither"
        )
    missing = [m for m in ("sample", "log_prob") if not callable(getattr(proposal, m, None))]
    if missing:
        bound = " (its elbo is only a bound)" if hasattr(proposal, "elbo") else ""
        raise TypeError(
            f"Independence needs a proposal with sample and log_prob, but {name} has no "
            f"{' and no '.join(missing)}{bound}; use a model with an exact density, such as an "
            "autoregressive network or a flow"
        )


def _as_states(drawn: Tensor, state: Tensor) -> Tensor:
    """Events of the proposal as states of the chains."""
    if drawn.shape != state.flatten(1).shape:
        raise ValueError(
            f"the proposal made events of shape {tuple(drawn.shape)} for states of shape "
            f"{tuple(state.shape)}, which have {tuple(state.flatten(1).shape)} flattened"
        )
    candidate = drawn.to(state.dtype)
    if not state.is_floating_point() and not torch.equal(candidate.to(drawn.dtype), drawn):
        raise ValueError(
            f"the proposal makes real numbers, but the states are {state.dtype}; a density of "
            "real numbers cannot propose spins: use a model that makes -1 and +1"
        )
    return candidate.view_as(state)
