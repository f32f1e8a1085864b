"""Training on a stream of events: what :meth:`physgen.Surrogate.fit` does for files."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from physgen import fitting
from physgen.events import Events
from physgen.files.streams import EventStream
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom, as_generator, derived_seed
from physgen.survey import Survey, keys_of, survey
from physgen.training import (
    History,
    Pool,
    Pools,
    TrainingConfig,
    train_on,
)

__all__ = ["Streamed"]

# each of the two pools takes this share of the memory
_POOL_SHARE = 1 / 8
_MAX_HELD_OUT, _MAX_SHOWN = 4096, 1024
# seeds of the orders, beside those of samples and temperatures
_ORDER = 5


@dataclass(frozen=True)
class Streamed:
    """Events of files, learned from with the memory that they name; a source of a training.

    The files are read once for a random sample, to which the preprocessing is fitted, and then
    in pools: blocks from all over the files, their events shuffled together, while the next pool
    is read. Features are those of a training in memory with the same preprocessing.
    """

    stream: EventStream
    found: Survey
    events: Events

    @classmethod
    def of(
        cls,
        stream: EventStream,
        fields: Iterable[str] | None,
        conditions: Iterable[str] | None,
        seed: int,
    ) -> Streamed:
        """Read the files for the sample.

        Raises
        ------
        SchemaError, ValueError, OSError
            As for events in memory, and if a file cannot be read.
        """
        found = survey(stream, seed)
        _give_back()
        return cls(stream, found, fitting.training_events(found.sample, fields, conditions))

    @property
    def mean_weight(self) -> float:
        """Of all events of the files."""
        return self.found.mean_weight

    @property
    def about(self) -> dict[str, Any]:
        """Numbers of events, files and bytes."""
        return {
            "n_events": self.found.n_events,
            "n_events_preprocessing": len(self.events),
            "stream": {"n_files": len(self.stream.files), "memory": self.stream.memory},
        }

    def training(
        self, preprocessor: Preprocessor, config: TrainingConfig, seed: int
    ) -> Callable[..., History]:
        """Training on pools of the files."""
        source = _Source(self.stream, self.found, preprocessor, self.events, config, seed)
        return partial(train_on, data=source.data, config=config, rng=as_generator(seed))


@dataclass(frozen=True)
class _Source:
    """Pools of a stream."""

    stream: EventStream
    found: Survey
    preprocessor: Preprocessor
    sample: Events
    config: TrainingConfig
    seed: int

    def data(self, generator: torch.Generator, n_turns: int) -> Pools:
        """What the training loop draws from."""
        kept = self._features(self.sample[: self._n_kept], self.found.numbers[: self._n_kept])
        n_events = self.found.n_events - self._n_held_out
        return Pools(
            kept, self._n_held_out > 0, self._pools, n_events, self.config, generator, n_turns
        )

    @property
    def _n_held_out(self) -> int:
        wanted = int(self.config.validation_fraction * self.found.n_events)
        return min(wanted, _MAX_HELD_OUT, self.found.n_random)

    @property
    def _n_kept(self) -> int:
        return self._n_held_out or min(self.found.n_random, _MAX_SHOWN)

    def _features(self, events: Events, numbers: np.ndarray) -> Pool:
        noise = PhiloxRandom(self.seed, torch.from_numpy(numbers), stream=1)
        x, condition = self.preprocessor.forward(events, rng=noise)
        if events.schema.weight is None:
            return Pool(x, condition, None)
        weight = torch.from_numpy(events.weights / self._mean_weight)
        return Pool(x, condition, weight.to(torch.float32))

    @property
    def _mean_weight(self) -> float:
        if not self.found.mean_weight > 0:
            total = self.found.mean_weight * self.found.n_events
            raise ValueError(f"the event weights add up to {total:g}; their sum must be positive")
        return self.found.mean_weight

    def _pools(self, first: int) -> Iterator[Pool]:
        """Pools from number ``first`` on, in two places of memory by turns."""
        counts = self.found.counts
        per_pool = self._blocks_per_pool()
        n_pools = -(-len(counts) // per_pool)
        room = [self._room(int(np.sort(counts)[-per_pool:].sum())) for _ in range(2)]
        number = first
        while True:
            epoch, part = divmod(number, n_pools)
            order = np.random.default_rng(derived_seed(self.seed, _ORDER, epoch))
            blocks = order.permutation(len(counts))[part * per_pool : (part + 1) * per_pool]
            yield self._shuffled(np.sort(blocks), room[number % 2], number)
            number += 1

    def _blocks_per_pool(self) -> int:
        spec = self.preprocessor.spec
        per_event = 4 * (spec.n_features + spec.n_conditions + 1) + 8
        n_events = int(self.stream.memory * _POOL_SHARE) // per_event
        return max(1, n_events // max(1, int(self.found.counts.mean())))

    def _room(self, n_events: int) -> Pool:
        spec = self.preprocessor.spec
        weight = None if self.sample.schema.weight is None else torch.empty(n_events)
        x, condition = (torch.empty(n_events, n) for n in (spec.n_features, spec.n_conditions))
        return Pool(x, condition, weight)

    def _shuffled(self, blocks: np.ndarray, room: Pool, number: int) -> Pool:
        """Features of these blocks without the events held out, in random order."""
        n = 0
        for features in self._read(blocks):
            room.put(slice(n, n + len(features.x)), features, slice(None))
            n += len(features.x)
        _give_back()
        generator = torch.Generator().manual_seed(derived_seed(self.seed, _ORDER, number, 1))
        order = torch.randperm(n, generator=generator)
        weight = None if room.weight is None else room.weight[:n]
        return Pool(room.x[:n], room.condition[:n], weight, order)

    def _read(self, blocks: np.ndarray) -> Iterator[Pool]:
        starts = np.cumsum(self.found.counts) - self.found.counts
        last = self.found.keys[self._n_held_out - 1] if self._n_held_out else -1.0
        events = self.stream.read([self.stream.blocks[k] for k in blocks])
        schema = self.sample.schema
        for k, block in zip(blocks.tolist(), events, strict=True):
            rows = np.flatnonzero(keys_of(self.seed, int(starts[k]), len(block)) > last)
            columns = {name: block[name] for name in schema.names}
            chosen = Events(schema, columns)[rows]
            chosen.check_allowed()
            if len(rows):
                yield self._features(chosen, starts[k] + rows)


def _give_back() -> None:
    """Return freed memory to the system, of which the C library of Linux may keep 64 MB."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # others have no such function
        ctypes.CDLL(None).malloc_trim(0)
