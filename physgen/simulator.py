"""What a simulator is, so that a surrogate can be one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from physgen.events import Events
from physgen.random import Rng
from physgen.schema import Schema

__all__ = ["Simulator"]


class Simulator(Protocol):
    """Makes events; surrogates and exact simulators alike."""

    @property
    def schema(self) -> Schema:
        """Schema of the events that come out."""
        ...

    def __call__(
        self, n_events: int, conditions: Mapping[str, Any] | None = None, *, rng: Rng
    ) -> Events:
        """Make ``n_events`` events under these conditions."""
        ...
