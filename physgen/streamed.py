"""Training on a stream of events: what :meth:`physgen.Surrogate.fit` does for files."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from physgen import fitting, storage
from physgen.conditions import range_of
from physgen.events import Events
from physgen.files.streams import EventStream
from physgen.models.base import ModelSettings
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom, derived_seed
from physgen.survey import Survey, keys_of, survey
from physgen.training import (
    History,
    Pool,
    Pools,
    Progress,
    TrainingConfig,
    TrainingError,
    train_on,
)
from physgen.transforms import Transform

__all__ = ["fit"]

Made = TypeVar("Made")

# each of the two pools takes this share of the memory
_POOL_SHARE = 1 / 8
_MAX_HELD_OUT, _MAX_SHOWN = 4096, 1024
# seeds of the orders, beside those of samples and temperatures
_ORDER = 5


def fit(
    stream: EventStream,
    model: ModelSettings | nn.Module,
    *,
    fields: Iterable[str] | None,
    conditions: Iterable[str] | None,
    transforms: Mapping[str, Transform],
    config: TrainingConfig,
    seed: int,
    progress: Callable[[Progress], None] | None,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: str | int,
    finish: Callable[..., Made],
) -> Made:
    """Train on events of files, with the memory that they name.

    The files are read once for a random sample, to which the preprocessing is fitted, and then
    in pools: blocks from all over the files, their events shuffled together, while the next pool
    is read. Features are those of a training in memory with the same preprocessing.

    Parameters
    ----------
    finish : callable
        Makes the surrogate of its parts, as :class:`physgen.Surrogate` does.

    Raises
    ------
    SchemaError, ValueError, TrainingError
        As for events in memory.
    """
    found = survey(stream, seed)
    _give_back()
    sample = fitting.training_events(found.sample, fields, conditions)
    chosen = fitting.one_hot_columns(sample, model) | dict(transforms)
    preprocessor = Preprocessor.fit(sample, chosen)
    module, settings = fitting.build(model, preprocessor.spec, seed)
    source = _Source(stream, found, preprocessor, sample, config, seed)
    info = {
        "n_events": found.n_events,
        "n_events_preprocessing": len(sample),
        "stream": {"n_files": len(stream.files), "memory": stream.memory},
        "seed": seed,
        "training": dataclasses.asdict(config),
        "versions": storage.versions(),
    }
    ranges = {n: range_of(sample[n]) for n in sample.schema.with_role("condition")}

    def surrogate(history: History) -> Made:
        return finish(
            preprocessor=preprocessor, model=module, settings=settings, ranges=ranges,
            mean_weight=found.mean_weight, history=history, info=info,
        )  # fmt: skip

    try:
        history = train_on(
            module, source.data, config=config, rng=seed, progress=progress,
            checkpoint=fitting.kept(checkpoint, checkpoint_every, module, settings, info),
        )  # fmt: skip
    except TrainingError as error:
        if error.history is not None:
            error.surrogate = surrogate(error.history)
        raise
    return surrogate(history)


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
