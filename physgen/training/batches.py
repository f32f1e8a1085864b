"""The events of a training on the device, and the batches drawn from them."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.training.config import TrainingConfig

__all__ = ["Batches"]


class Batches:
    """The events on the device as one tensor, and the batches drawn from them."""

    def __init__(
        self,
        x: Tensor,
        condition: Tensor,
        weight: Tensor | None,
        config: TrainingConfig,
        generator: torch.Generator,
    ) -> None:
        n_held_out = int(config.validation_fraction * len(x))
        order = torch.randperm(len(x), generator=generator, device=generator.device)
        self.x, self.condition = x.to(config.device), condition.to(config.device)
        self.weight = None if weight is None else weight.to(config.device)
        self.held_out, self.rows = order[:n_held_out], order[n_held_out:]
        self.batch_size = min(config.batch_size, len(self.rows))
        self.steps_per_epoch = max(1, len(self.rows) // self.batch_size)
        self._generator = generator
        self._order, self._position = self.rows, len(self.rows)

    def next_batch(self) -> Tensor:
        """Rows of the next batch; every event once per epoch, an incomplete rest left out."""
        if self._position + self.batch_size > len(self.rows):
            shuffle = torch.randperm(
                len(self.rows), generator=self._generator, device=self._generator.device
            )
            self._order, self._position = self.rows[shuffle], 0
        rows = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return rows
