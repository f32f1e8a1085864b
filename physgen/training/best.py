"""The averaged weights with the lowest score of a training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from physgen.training.average import Average

__all__ = ["Best"]


class Best:
    """Copy of the averaged weights with the lowest score so far."""

    def __init__(self, average: Average) -> None:
        self.average = average
        self.score = math.inf
        self.step: int | None = None
        self._tensors: list[Tensor] = []

    def offer(self, score: float, step: int, model: nn.Module) -> None:
        """Keep the weights that the model has now if they are the best; NaN never is."""
        if score < self.score:
            self.score, self.step = score, step
            self._tensors = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the best weights."""
        for p, kept in zip(model.parameters(), self._tensors, strict=True):
            p.copy_(kept)
