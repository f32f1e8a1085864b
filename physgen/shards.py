"""Which events of one sample a job makes, and in which pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Shard", "event_range", "pieces_of"]


@dataclass(frozen=True)
class Shard:
    """One of several jobs that make one sample together.

    Parameters
    ----------
    number : int, default 1
        Which one, from 1 to ``count``.
    count : int, default 1
        How many there are.

    Examples
    --------
    >>> shard = Shard.parse("2/3")
    >>> print(shard, shard.span(3000))
    2/3 (1000, 2000)
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"there is no shard {self}: write k/n with k from 1 to n, as in 2/3 for the "
                "second of three"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard such as 2/3.

        Raises
        ------
        ValueError
            If it is written otherwise, or there is no such shard.
        """
        found = re.fullmatch(r"\s*(-?\d+)\s*/\s*(-?\d+)\s*", text, re.ASCII)
        if found is None:
            raise ValueError(
                f"cannot read the shard {text!r}; write k/n, as in 2/3 for the second of three"
            )
        return cls(int(found[1]), int(found[2]))

    def span(self, n_events: int, unit: int = 1) -> tuple[int, int]:
        """First event of this shard, and the first one after it.

        Parameters
        ----------
        n_events : int
            Events of the whole sample.
        unit : int, default 1
            Events that are made together: shards begin at its multiples, unless one of them would
            then have none.

        Raises
        ------
        ValueError
            If there are more shards than events.
        """
        if n_events < self.count:
            raise ValueError(
                f"{n_events} events cannot be shared by {self.count} shards, since some would "
                f"have none; use {n_events} shards at most"
            )
        if -(-n_events // unit) < self.count:
            unit = 1
        n_units = -(-n_events // unit)
        first, stop = (unit * (k * n_units // self.count) for k in (self.number - 1, self.number))
        return first, min(stop, n_events)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def event_range(n_events: int, first_event: int, stop_event: int | None) -> tuple[int, int]:
    """Check the part of a sample of n_events that is asked for.

    Raises
    ------
    ValueError
        If it does not lie in the sample.
    """
    stop = n_events if stop_event is None else stop_event
    if not 0 <= first_event <= n_events:
        raise ValueError(f"first_event must be 0 to n_events = {n_events}, got {first_event}")
    if not first_event <= stop <= n_events:
        raise ValueError(
            f"stop_event must be first_event = {first_event} to n_events = {n_events}, got {stop}"
        )
    return first_event, stop


def pieces_of(first: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of events from first to stop that end at multiples of a size.

    Examples
    --------
    >>> list(pieces_of(3, 10, 4))
    [(3, 4), (4, 8), (8, 10)]
    """
    while first < stop:
        end = min(stop, (first // size + 1) * size)
        yield first, end
        first = end
