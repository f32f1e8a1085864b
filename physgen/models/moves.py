"""Models with an energy as proposals for Markov chains."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physgen.mcmc import Energy, Info, SurrogateMoves
from physgen.models.base import TensorSpec
from physgen.random import Random

__all__ = ["moves_on_features"]

Move = Callable[[Tensor, Tensor, Random], tuple[Tensor, Info]]


def moves_on_features(
    energy: Callable[[Tensor, Tensor], Tensor],
    move: Move,
    n_steps: int,
    condition: Tensor | None,
    *,
    spec: TensorSpec,
    like: Tensor,
) -> SurrogateMoves:
    """Reversible moves of features as a proposal for states of any shape.

    Parameters
    ----------
    energy : callable
        ``energy(x, condition)`` of shape (n_chains,), with which the moves obey detailed balance.
    move : callable
        ``move(x, condition, rng)`` returns the new x of shape (n_chains, n_features) and Info.
    n_steps : int
        Moves per proposal.
    condition : Tensor of shape (n_chains, n_conditions) or (1, n_conditions), optional
        Needed where the model has conditions.
    spec : TensorSpec
        Of the model.
    like : Tensor
        A parameter of the model, whose dtype x gets.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {n_steps}")
    given = torch.zeros(1, 0) if condition is None else condition
    if given.ndim != 2 or given.shape[1] != spec.n_conditions:
        raise ValueError(
            f"this model needs a condition of shape (n_chains, {spec.n_conditions}) or "
            f"(1, {spec.n_conditions}), got "
            f"{'none' if condition is None else tuple(given.shape)}; "
            "surrogate.preprocessor.condition makes it of physical values"
        )

    def tensors(state: Tensor) -> tuple[Tensor, Tensor]:
        _check_states(state, spec)
        x = state.flatten(1).to(like.dtype)
        return x, given.to(x).expand(len(x), -1)

    @torch.no_grad()
    def kernel(energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:  # noqa: ARG001
        moved, info = move(*tensors(state), rng)
        return moved.to(state.dtype).view_as(state), info

    @torch.no_grad()
    def energy_of_states(state: Tensor) -> Tensor:
        return energy(*tensors(state))

    return SurrogateMoves(kernel=kernel, energy=energy_of_states, n_steps=n_steps)


def _check_states(state: Tensor, spec: TensorSpec) -> None:
    if state[0].numel() != spec.n_features:
        raise ValueError(
            f"states of shape {tuple(state.shape)} have {state[0].numel()} numbers per chain, but "
            f"the model has {spec.n_features} features"
        )
    if not state.is_floating_point() and spec.n_binary < spec.n_features:
        raise ValueError(
            f"the model moves real features, but the states are {state.dtype}; give states of a "
            "floating-point type"
        )
