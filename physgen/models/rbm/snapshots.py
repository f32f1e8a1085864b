"""Machines kept along a training, as points of its trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Snapshots"]

# how much longer each interval between two snapshots is than the one before
_GROWTH = 1.25


class Snapshots(nn.Module):
    """Parameters at growing intervals; when there is no more room, every other one is dropped.

    Parameters
    ----------
    n_max : int
        Room for so many; 0 keeps none.
    n_numbers : int
        Numbers of one set of parameters.
    """

    numbers: Tensor
    taken_at: Tensor
    counter: Tensor

    def __init__(self, n_max: int, n_numbers: int) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.zeros(n_max, n_numbers))
        self.register_buffer("taken_at", torch.full((n_max,), -1))
        self.register_buffer("counter", torch.zeros((), dtype=torch.int64))
        # mirrors of the buffers, so that a GPU need not be asked at every update
        self._at: list[int] = []
        self.n_updates = 0
        self.register_load_state_dict_post_hook(_mirror)  # type: ignore[no-untyped-call]

    def count(self, numbers: Callable[[], Tensor]) -> None:
        """Count an update; ``numbers`` gives the parameters before it, if they are wanted."""
        if len(self.numbers) > 1 and self.n_updates >= self._next():
            self._take(numbers())
        self.n_updates += 1
        self.counter.add_(1)

    def taken(self) -> Tensor:
        """The snapshots, the earliest first, of shape (n_taken, n_numbers)."""
        return self.numbers[: len(self._at)]

    def updates(self) -> list[int]:
        """After how many updates each was taken."""
        return list(self._at)

    def _next(self) -> int:
        if len(self._at) < 2:
            return len(self._at)
        before, last = self._at[-2:]
        return last + 1 + int((last - before) * _GROWTH)

    def _take(self, numbers: Tensor) -> None:
        n = len(self._at)
        if n == len(self.numbers):
            kept = self.numbers[::2].clone()
            self._at = self._at[::2]
            n = len(kept)
            self.numbers[:n] = kept
        self.numbers[n] = numbers
        self._at.append(self.n_updates)
        self.taken_at.fill_(-1)
        self.taken_at[: len(self._at)] = torch.tensor(self._at)


def _mirror(module: Any, _: Any) -> None:
    module._at = [n for n in module.taken_at.tolist() if n >= 0]
    module.n_updates = int(module.counter)
