"""Average of the weights along a training (Karras et al., arXiv:2312.02696)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

__all__ = ["Average", "power_of_width"]


class Average:
    """Power-law average of the weights, whose width grows with the training."""

    def __init__(self, model: nn.Module, relative_width: float) -> None:
        self.exponent = power_of_width(relative_width) if relative_width > 0 else None
        self.tensors = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after this step, counted from 1."""
        if self.exponent is not None:
            keep = (1 - 1 / step) ** (self.exponent + 1)
            torch._foreach_lerp_(self.tensors, list(model.parameters()), 1 - keep)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the averaged weights."""
        if self.exponent is not None:
            for p, averaged in zip(model.parameters(), self.tensors, strict=True):
                p.copy_(averaged)


def power_of_width(relative_width: float) -> float:
    """Exponent gamma of the average whose standard deviation in time is this fraction of it.

    width = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)), solved for its largest real root.
    """
    t = relative_width**-2
    roots = np.roots([1, 7, 16 - t, 12 - t])
    return float(max(root.real for root in roots if abs(root.imag) < 1e-9))
