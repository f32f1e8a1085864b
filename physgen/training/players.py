"""The players of a training, and one step of one of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["descend", "gradient", "optimizers_of", "parameters_of"]


def optimizers_of(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """Optimizers of a model's players; Adam on everything for a module that names none."""
    players = getattr(model, "players", None)
    if players is not None:
        return dict(players())
    return {"model": torch.optim.Adam(model.parameters(), lr=1e-3)}


def gradient(losses: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
    """Give the parameters of one optimizer, and no others, the gradient of a sum of losses.

    Returns
    -------
    Tensor of shape ()
        The sum.
    """
    own = parameters_of(optimizer)
    optimizer.zero_grad()
    total: Tensor | None = None
    for loss in losses:
        loss.backward(inputs=own)
        total = loss.detach() if total is None else total + loss.detach()
    if total is None:
        raise ValueError("there is no loss to go down")
    return total


def descend(optimizer: torch.optim.Optimizer, largest_gradient: float) -> None:
    """Move the parameters of one optimizer down their gradient.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    largest_gradient : float
        Norm to which the gradient is clipped; 0 for none.
    """
    if largest_gradient > 0:
        nn.utils.clip_grad_norm_(parameters_of(optimizer), largest_gradient)
    optimizer.step()


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Parameters that an optimizer moves."""
    return [p for group in optimizer.param_groups for p in group["params"]]
