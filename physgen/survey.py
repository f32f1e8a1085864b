"""One pass over a stream of events: a random sample, extremes, sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from physgen.events import Events, concatenate
from physgen.files.streams import EventStream
from physgen.random import PhiloxRandom

__all__ = ["Survey", "keys_of", "random_sample", "survey"]

# the preprocessing is fitted to so many events, or as many as this share of the memory holds
_MAX_SAMPLE, _SAMPLE_SHARE = 200_000, 1 / 40
# a column with more different values is continuous
_MAX_VALUES = 1000
# events, their numbers and their keys
Part = tuple[Events, np.ndarray, np.ndarray]

# a stream of draws beside those of samples (0), noise (1), simulators (2), temperatures (3)
_STREAM = 4


@dataclass(frozen=True)
class Survey:
    """What one pass over a stream has found.

    Attributes
    ----------
    n_events : int
        Events that the cut keeps.
    counts : array of shape (n_blocks,)
        Events of each block.
    sample : Events
        Drawn without replacement, in random order; then the events with the smallest and largest
        value of each column, and with values of discrete columns that the sample lacks.
    numbers : array of int64
        Number of each event of the sample in the stream.
    keys : array of float64
        Random number of each event of the sample, increasing up to the extremes.
    n_random : int
        Events of the sample before the extremes.
    mean_weight : float
    """

    n_events: int
    counts: np.ndarray
    sample: Events
    numbers: np.ndarray
    keys: np.ndarray
    n_random: int
    mean_weight: float


def keys_of(seed: int, first: int, n_events: int) -> np.ndarray:
    """Uniform number of each event from the first one on: those below a number are a sample."""
    random = PhiloxRandom(seed, torch.arange(first, first + n_events), stream=_STREAM)
    u = random.uniform(n_events, 2).numpy().astype(np.float64)
    keys: np.ndarray = u[:, 0] + u[:, 1] * 2.0**-23
    return keys


def survey(stream: EventStream, seed: int) -> Survey:
    """Read the stream once.

    Raises
    ------
    ValueError
        If the cut keeps no events.
    """
    drawn, extremes = _Drawn(), _Extremes()
    counts, n_events, total = [], 0, 0.0
    for events in stream.read(stream.blocks):
        drawn.limit = drawn.limit or min(_MAX_SAMPLE, _room(stream, events, _SAMPLE_SHARE))
        keys = keys_of(seed, n_events, len(events))
        numbers = np.arange(n_events, n_events + len(events))
        drawn.add(events, numbers, keys)
        if len(events):
            extremes.add(events, numbers, keys)
        counts.append(len(events))
        n_events += len(events)
        total += float(events.weights.sum())
    if not n_events:
        raise ValueError(f"the cut keeps none of the {stream.n_entries} events")
    random = drawn.result()
    sample, numbers, keys = _joined([random, *extremes.parts()])
    return Survey(
        n_events, np.array(counts), sample, numbers, keys, len(random[1]), total / n_events
    )


def random_sample(stream: EventStream, seed: int, share: float) -> tuple[Events, int]:
    """Read the stream once for events drawn without replacement, in their order.

    Streams of as many events, of as many bytes each, give the same rows for the same seed, so that
    events in pairs stay together.

    Parameters
    ----------
    stream : EventStream
    seed : int
    share : float
        Of the memory of the stream, what the sample may take.

    Returns
    -------
    tuple
        The sample, and how many events there are in all.

    Raises
    ------
    ValueError
        If the cut keeps no events.
    """
    drawn, n_events = _Drawn(), 0
    for events in stream.read(stream.blocks):
        drawn.limit = drawn.limit or _room(stream, events, share)
        numbers = np.arange(n_events, n_events + len(events))
        drawn.add(events, numbers, keys_of(seed, n_events, len(events)))
        n_events += len(events)
    if not n_events:
        raise ValueError(f"the cut keeps none of the {stream.n_entries} events")
    sample, numbers, _ = drawn.result()
    return sample[np.argsort(numbers)], n_events


def _joined(parts: list[Part]) -> Part:
    """Parts one after the other, each event once."""
    numbers, keys = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    rows = np.sort(np.unique(numbers, return_index=True)[1])
    return concatenate([part[0] for part in parts])[rows], numbers[rows], keys[rows]


def _room(stream: EventStream, events: Events, share: float) -> int:
    """How many such events take this share of the memory; 0 if there are none to look at."""
    if not len(events):
        return 0
    n_bytes = sum(column.nbytes for column in events.to_dict().values())
    return max(1000, int(stream.memory * share) // max(1, n_bytes // len(events)))


@dataclass
class _Drawn:
    """The events with the smallest keys so far."""

    limit: int = 0
    threshold: float = np.inf
    parts: list[Part] = field(default_factory=list)

    def add(self, events: Events, numbers: np.ndarray, keys: np.ndarray) -> None:
        rows = np.flatnonzero(keys < self.threshold)
        self.parts.append((events[rows], numbers[rows], keys[rows]))
        if sum(len(part[1]) for part in self.parts) > 1.5 * self.limit:
            self.parts = [self.result()]
            self.threshold = float(self.parts[0][2][-1])

    def result(self) -> Part:
        events = concatenate([part[0] for part in self.parts])
        numbers, keys = (np.concatenate([part[k] for part in self.parts]) for k in (1, 2))
        order = np.argsort(keys, kind="stable")[: self.limit]
        return events[order], numbers[order], keys[order]


@dataclass
class _Extremes:
    """Events with values that no event before them had, by the name of the column."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    values: dict[str, set[float]] = field(default_factory=dict)
    beyond: list[Part] = field(default_factory=list)
    new: dict[str, list[Part]] = field(default_factory=dict)

    def add(self, events: Events, numbers: np.ndarray, keys: np.ndarray) -> None:
        """Look at a block with at least one event."""
        rows = np.array([row for ends in _ends(events) for row in self._beyond(*ends)], dtype=int)
        self.beyond.append((events[rows], numbers[rows], keys[rows]))
        for f in events.schema:
            if not (f.jagged or f.shape):
                rows = np.array(self._unseen(f.name, events[f.name]), dtype=int)
                self.new.setdefault(f.name, []).append((events[rows], numbers[rows], keys[rows]))

    def parts(self) -> list[Part]:
        """The extremes, and an event for each value of the columns that are discrete."""
        discrete = [
            part
            for name, parts in self.new.items()
            if len(self.values[name]) <= _MAX_VALUES
            for part in parts
        ]
        return [part for part in (*self.beyond, *discrete) if len(part[1])]

    def _beyond(self, name: str, low: np.ndarray, high: np.ndarray) -> list[int]:
        smallest, largest = self.spans.get(name, (np.inf, -np.inf))
        self.spans[name] = min(smallest, float(low.min())), max(largest, float(high.max()))
        return [
            *([int(low.argmin())] if low.min() < smallest else ()),
            *([int(high.argmax())] if high.max() > largest else ()),
        ]

    def _unseen(self, name: str, column: np.ndarray) -> list[int]:
        known = self.values.setdefault(name, set())
        if len(known) > _MAX_VALUES:
            self.new.pop(name, None)
            return []
        values, rows = np.unique(column, return_index=True)
        found = [int(r) for v, r in zip(values.tolist(), rows, strict=True) if v not in known]
        known.update(values.tolist())
        return found if len(known) <= _MAX_VALUES else []


def _ends(events: Events) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each column the smallest and the largest value per event; of lists, their lengths too."""
    for f in events.schema:
        if f.jagged:
            yield from _ends_of_lists(f.name, events)
        else:
            flat = events[f.name].reshape(len(events), -1)
            yield f.name, flat.min(axis=1), flat.max(axis=1)


def _ends_of_lists(name: str, events: Events) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    import awkward as ak

    counts = events.multiplicity(name)
    yield f"length of {name}", counts, counts
    filled = np.flatnonzero(counts)
    if len(filled):
        column = events[name][filled]
        low, high = (np.full(len(counts), v, dtype=np.float64) for v in (np.inf, -np.inf))
        low[filled], high[filled] = (ak.to_numpy(end(column, axis=1)) for end in (ak.min, ak.max))
        yield name, low, high
