"""The averaged weights with the lowest score of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

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

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"score": self.score, "step": self.step, "tensors": self._tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring back what :meth:`state` gave."""
        self.score, self.step = state["score"], state["step"]
        like = self.average.tensors
        kept = zip(state["tensors"], like, strict=False)
        self._tensors = [tensor.to(average.device) for tensor, average in kept]

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the best weights."""
        for p, kept in zip(model.parameters(), self._tensors, strict=True):
            p.copy_(kept)
