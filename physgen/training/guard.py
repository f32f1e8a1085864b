"""What a training must not go on with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["NotFiniteError", "check_finite"]


class NotFiniteError(FloatingPointError):
    """A loss or a weight is not finite."""


def check_finite(losses: Mapping[str, float], model: nn.Module) -> None:
    """Raise NotFiniteError for losses or weights that are NaN or infinite."""
    if not all(math.isfinite(loss) for loss in losses.values()):
        text = ", ".join(f"{player} {loss:g}" for player, loss in losses.items())
        raise NotFiniteError(f"non-finite loss ({text})")
    for name, p in model.named_parameters():
        if not torch.isfinite(p).all():
            raise NotFiniteError(f"non-finite weights ({name})")
