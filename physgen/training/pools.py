"""Batches of more events than memory holds: pools of shuffled events, the next one read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.training.config import TrainingConfig

__all__ = ["Pool", "Pools"]


@dataclass(frozen=True)
class Pool:
    """Events in memory.

    Parameters
    ----------
    x : Tensor of shape (n_events, n_features)
    condition : Tensor of shape (n_events, n_conditions)
    weight : Tensor of shape (n_events,), or None
        Of mean 1 over all events.
    order : Tensor of shape (n_events,), optional
        In which they are shown.
    """

    x: Tensor
    condition: Tensor
    weight: Tensor | None
    order: Tensor | None = None

    def put(self, rows: Tensor | slice, other: Pool, others: Tensor | slice) -> None:
        """Write events of another pool over these rows."""
        self.x[rows] = other.x[others].to(self.x.device)
        self.condition[rows] = other.condition[others].to(self.x.device)
        if self.weight is not None and other.weight is not None:
            self.weight[rows] = other.weight[others].to(self.x.device)


class Pools:
    """What :class:`~physgen.training.batches.Batches` is, for events that come in pools.

    In its tensors are the events that are always there and, behind them, the last few batches.

    Parameters
    ----------
    kept : Pool
        Events held out, or events of the training where none are held out.
    is_held_out : bool
        Which of the two.
    pools : callable
        ``pools(first)`` yields the pools from number ``first`` on without end, the same every
        time, each with its events in random order. A pool may be written over as soon as the
        next but one is asked for.
    n_events : int
        Events of the training per epoch.
    config : TrainingConfig
    generator : torch.Generator
        That of the noise; pools do not draw from it.
    n_turns : int, default 1
        Batches of one step, which must all be there at once.
    """

    def __init__(
        self,
        kept: Pool,
        is_held_out: bool,
        pools: Callable[[int], Iterator[Pool]],
        n_events: int,
        config: TrainingConfig,
        generator: torch.Generator,
        n_turns: int = 1,
    ) -> None:
        n_kept = len(kept.x)
        self.batch_size = min(config.batch_size, n_events)
        self.steps_per_epoch = max(1, n_events // self.batch_size)
        self.x, self.condition, self.weight = self._room(kept, n_turns, config.device)
        rows = torch.arange(n_kept, device=config.device)
        self.held_out, self.rows = (rows, rows[:0]) if is_held_out else (rows[:0], rows)
        self._all = Pool(self.x, self.condition, self.weight)
        self._all.put(slice(0, n_kept), kept, slice(None))
        self._n_kept, self._n_slots, self._slot = n_kept, n_turns, 0
        self._make, self._generator = pools, generator
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="physgen-pools")
        self._begin(0, 0)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features, conditions and weights: of the events that are always there, and room."""
        return self.x, self.condition, self.weight

    def _room(self, kept: Pool, n_slots: int, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
        n = len(kept.x) + n_slots * self.batch_size
        x, condition = (
            t.new_zeros(n, t.shape[1], device=device) for t in (kept.x, kept.condition)
        )
        return (
            x,
            condition,
            None if kept.weight is None else kept.weight.new_zeros(n, device=device),
        )

    def _begin(self, number: int, position: int) -> None:
        self._pools = self._make(number)
        self._current = next(self._pools)
        self._number, self._position = number, position
        self._next = self._ahead()

    def _ahead(self) -> Future[Pool]:
        return self._thread.submit(next, self._pools)

    def next_batch(self) -> Tensor:
        """Rows of the next batch, which stay as they are for the other batches of a step."""
        start = self._n_kept + self._slot * self.batch_size
        self._slot = (self._slot + 1) % self._n_slots
        n_done = 0
        while n_done < self.batch_size:
            if self._position == len(self._current.x):
                self._current, self._number, self._position = (
                    self._next.result(),
                    self._number + 1,
                    0,
                )
                self._next = self._ahead()
            n = min(self.batch_size - n_done, len(self._current.x) - self._position)
            chosen: slice | Tensor = slice(self._position, self._position + n)
            if self._current.order is not None:
                chosen = self._current.order[chosen]
            self._all.put(slice(start + n_done, start + n_done + n), self._current, chosen)
            self._position += n
            n_done += n
        return torch.arange(start, start + self.batch_size, device=self.x.device)

    def state(self) -> dict[str, Any]:
        """Place in the pools, and the generator, which the noise has."""
        return {
            "pool": self._number,
            "position": self._position,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring back what :meth:`state` gave, also in the generator."""
        self._next.result()
        self._begin(state["pool"], state["position"])
        self._generator.set_state(state["generator"])

    def close(self) -> None:
        """Wait until nothing is read any more."""
        self._thread.shutdown()
