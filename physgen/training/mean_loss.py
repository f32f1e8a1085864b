"""The mean loss of a batch, taken in parts where the memory of the device is too small."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from physgen.random import Random
from physgen.training.batches import Batches
from physgen.training.history import TrainingError
from physgen.training.players import gradient, parameters_of
from physgen.training.pools import Pools
from physgen.training.ranks import Ranks

__all__ = ["MeanLoss"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class MeanLoss:
    """Mean loss of some events with their weights.

    A model whose attribute ``splits_batches`` is True has losses that do not depend on the other
    events of the batch. Where the device runs out of memory its batches are halved: the gradients
    of the parts add up to that of the whole. For other models, and parts of one event, there is a
    TrainingError. Of many processes each takes its share of every batch.
    """

    def __init__(self, model: nn.Module, data: Batches | Pools, ranks: Ranks) -> None:
        self.model: Any = model
        self.data, self.ranks = data, ranks
        self.n_parts = 1

    def gradient(
        self, rows: Tensor, player: str, optimizer: torch.optim.Optimizer, rng: Random, alike: bool
    ) -> Tensor:
        """Give a player's parameters the gradient of the mean loss; the loss, of shape ().

        Parameters
        ----------
        rows : Tensor of shape (batch_size,)
        player : str
        optimizer : torch.optim.Optimizer
        rng : Random
        alike : bool
            Whether each of many processes takes the whole batch, with the same noise.
        """
        if self.ranks.world == 1:
            return self._gradient(rows, player, optimizer, rng, 1.0)
        own = rows if alike else self.ranks.share(rows)
        share = 1 / self.ranks.world if alike else len(own) / len(rows)
        loss, failure = self.data.x.new_zeros(()), None
        try:
            loss = self._gradient(own, player, optimizer, rng, share)
        except FloatingPointError as error:
            failure = error
        means = [
            getattr(module, name)
            for module in self.model.modules()
            for name in getattr(module, "batch_means", ())
        ]
        own_parameters = parameters_of(optimizer)
        return self.ranks.sum_gradients(own_parameters, means, share, loss, failure)

    def _gradient(
        self,
        rows: Tensor,
        player: str,
        optimizer: torch.optim.Optimizer,
        rng: Random,
        factor: float,
    ) -> Tensor:
        def compute() -> Tensor:
            parts = self._parts(rows, player, rng)
            return gradient((factor * part for part in parts), optimizer)

        return self._spared(compute, rows)

    def value(self, rows: Tensor, player: str, rng: Random) -> float:
        """The mean loss."""
        return self._spared(
            lambda: sum(float(part.detach()) for part in self._parts(rows, player, rng)), rows
        )

    def _parts(self, rows: Tensor, player: str, rng: Random) -> Iterator[Tensor]:
        """Terms of shape () whose sum is the mean loss, one after the other."""
        for part in rows.tensor_split(self.n_parts):
            yield self._mean(part, player, rng) * (len(part) / len(rows))

    def _spared(self, compute: Callable[[], T], rows: Tensor) -> T:
        """Result of a computation in parts; more and smaller ones if the memory is too small."""
        while True:
            try:
                return compute()
            except torch.OutOfMemoryError as error:
                self._halve(len(rows), error)
            # outside of the handler, whose traceback holds what is to be freed
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _halve(self, n_rows: int, error: torch.OutOfMemoryError) -> None:
        name, size = type(self.model).__name__, -(-n_rows // self.n_parts)
        message = f"the memory of the device is too small for {name} with {size} events at a time"
        if not getattr(self.model, "splits_batches", False) or size == 1:
            remedy = "take a smaller batch_size or network, or a device with more memory"
            if size > 1:
                remedy += (
                    "; its batches are not split in silence, since the loss of an event may "
                    "depend on the others of the batch (a model of your own where it does not "
                    "can say splits_batches = True)"
                )
            raise TrainingError(f"{message}; {remedy}") from error
        self.n_parts *= 2
        logger.warning("%s; batches are taken in %d parts from here on", message, self.n_parts)

    def _mean(self, rows: Tensor, player: str, rng: Random) -> Tensor:
        x, condition = self.data.x[rows], self.data.condition[rows]
        loss: Tensor = self.model.loss(x, condition, player=player, rng=rng)
        if self.data.weight is None:
            return loss.mean()
        if loss.ndim == 0:
            raise TrainingError(
                f"{type(self.model).__name__}.loss returned one number, but the events have "
                "weights; return one loss per event, shape (n_events,)"
            )
        return (self.data.weight[rows] * loss).mean()
