"""The players of a training, and one step of one of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["descend", "optimizers_of"]


def optimizers_of(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """Optimizers of a model's players; Adam on everything for a module that names none."""
    players = getattr(model, "players", None)
    if players is not None:
        return dict(players())
    return {"model": torch.optim.Adam(model.parameters(), lr=1e-3)}


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, largest_gradient: float) -> None:
    """Move the parameters of one optimizer, and no others, down the gradient of a loss.

    Parameters
    ----------
    loss : Tensor of shape ()
    optimizer : torch.optim.Optimizer
    largest_gradient : float
        Norm to which the gradient is clipped; 0 for none.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    loss.backward(inputs=parameters)
    if largest_gradient > 0:
        nn.utils.clip_grad_norm_(parameters, largest_gradient)
    optimizer.step()
