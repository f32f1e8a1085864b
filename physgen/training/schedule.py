"""Learning rates along a training: warm-up, constant, cosine decay."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from physgen.training.config import TrainingConfig

__all__ = ["Schedule"]


class Schedule:
    """Rates of the optimizers, as fractions of the peak rates that they came with.

    Parameters
    ----------
    optimizers : mapping of str to Optimizer
    config : TrainingConfig
        With ``warmup_steps`` and ``decay``.
    n_steps : int or None
        Length of the training, if it is known; the warm-up is a tenth of it at most.
    """

    def __init__(
        self,
        optimizers: Mapping[str, torch.optim.Optimizer],
        config: TrainingConfig,
        n_steps: int | None,
    ) -> None:
        groups = [group for o in optimizers.values() for group in o.param_groups]
        self._optimizers = optimizers
        self._peaks = [group["lr"] for group in groups]
        self._warmup = config.warmup_steps
        if n_steps is not None:
            self._warmup = min(self._warmup, n_steps // 10)
        self._decay = config.decay
        self.scale = 1.0

    def halve(self) -> None:
        """Train on with half the rates."""
        self.scale /= 2

    def set_rates(self, step: int, fraction: float) -> None:
        """Set the rates for the step after so many, at this fraction of the training."""
        factor = self.scale * min(1.0, (step + 1) / (self._warmup + 1))
        if self._decay > 0 and fraction > 1 - self._decay:
            done = (fraction - 1 + self._decay) / self._decay
            factor *= 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        groups = (group for o in self._optimizers.values() for group in o.param_groups)
        for group, peak in zip(groups, self._peaks, strict=True):
            group["lr"] = peak * factor
