"""The events of a training on the device, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from physgen.training.config import TrainingConfig

__all__ = ["Batches", "normalized"]


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
        # an order is kept as the state of the generator that it came from
        self._before_shuffle: Tensor | None = None

    def next_batch(self) -> Tensor:
        """Rows of the next batch; every event once per epoch, an incomplete rest left out."""
        if self._position + self.batch_size > len(self.rows):
            self._before_shuffle = self._generator.get_state()
            self._shuffle()
        rows = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return rows

    def state(self) -> dict[str, Any]:
        """Order of the events, place in it, and the generator, which the noise shares."""
        return {
            "before_shuffle": self._before_shuffle,
            "position": self._position,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring back what :meth:`state` gave, also in the generator."""
        self._before_shuffle = state["before_shuffle"]
        if self._before_shuffle is not None:
            self._generator.set_state(self._before_shuffle)
            self._shuffle()
        self._position = state["position"]
        self._generator.set_state(state["generator"])

    def _shuffle(self) -> None:
        shuffle = torch.randperm(
            len(self.rows), generator=self._generator, device=self._generator.device
        )
        self._order, self._position = self.rows[shuffle], 0


def normalized(weight: Tensor | None, n_events: int) -> Tensor | None:
    """Event weights of mean 1.

    Raises
    ------
    ValueError
        If their sum is not positive.
    """
    if weight is None:
        return None
    total = weight.sum()
    if not total > 0:
        raise ValueError(
            f"the event weights add up to {float(total):g}; their sum must be positive"
        )
    return weight.to(torch.float32) * (n_events / total)
