"""Threads of torch while it trains or samples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["threads"]


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use n threads inside (0: as it is), and as many as before afterwards."""
    before = torch.get_num_threads()
    if n:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
