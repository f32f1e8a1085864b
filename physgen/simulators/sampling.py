r"""Which lattice makes which event: chunks of farms, thermalized and read at intervals.

Events come in chunks whose size depends on the lattice alone. A chunk starts its farms anew from
seeds of its own, so it can be made by any process, in any order, and again after a stop. Within a
chunk the events are grouped by temperature; every group gets an equal share of the farm's
lattices, and its events are taken from them in turns, ``spacing`` sweeps apart. With one
temperature, event i depends only on the seed and i; with many, on the temperatures of its
chunk too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Event

import numpy as np

from physgen.random import derived_seed
from physgen.simulators.farms import Farm
from physgen.simulators.spin_model import SpinModel, random_bits
from physgen.simulators.thermalization import Thermalization

__all__ = ["Sampler", "chunk_size"]

_CHUNK_BYTES = 1 << 26
_MAX_CHUNK = 1 << 14
_SLICE = 32


def chunk_size(n_sites: int, n_lanes: int) -> int:
    """Events per chunk: 16,384, fewer of large lattices (64 MB), but one per lattice at least."""
    return max(n_lanes, min(_MAX_CHUNK, _CHUNK_BYTES // n_sites))


@dataclass(frozen=True)
class Sampler:
    """Draws independent configurations.

    Parameters
    ----------
    model : SpinModel
    make_farm : callable
        ``make_farm(beta, seed)`` with beta of shape (n_lanes,) gives a farm at its start.
    n_lanes : int
        Lattices of a farm.
    times : Thermalization
        Burn-in and spacing.
    beta : array of shape (n_events,)
        Inverse temperature of every event.
    seed : int
    rungs : array of shape (n_rungs,), optional
        Temperatures that every farm has, also those that no event wants.
    """

    model: SpinModel
    make_farm: Callable[[np.ndarray, int], Farm]
    n_lanes: int
    times: Thermalization
    beta: np.ndarray
    seed: int
    rungs: np.ndarray | None = None

    def chunks(
        self, first_event: int, stop_event: int, n_threads: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Number of the first event and spins (n, n_sites) of each chunk.

        The first piece begins at ``first_event``, and the last ends before ``stop_event``; several
        threads make several chunks at once.
        """
        size = chunk_size(self.model.lattice.n_sites, self.n_lanes)
        numbers = iter(range(first_event // size, -(-stop_event // size)))
        stop = Event()
        with ThreadPoolExecutor(n_threads) as pool:

            def submit(n_chunks: int) -> list[tuple[int, Future[np.ndarray]]]:
                chosen = islice(numbers, n_chunks)
                return [(c, pool.submit(self._chunk, c, size, stop)) for c in chosen]

            try:
                waiting = submit(n_threads)
                while waiting:
                    number, future = waiting.pop(0)
                    spins = future.result()
                    waiting += submit(1)
                    wanted = slice(max(0, first_event - number * size), stop_event - number * size)
                    yield number * size + wanted.start, spins[wanted]
            finally:
                # the pool waits for its threads, which may have minutes to go
                stop.set()

    def _chunk(self, number: int, size: int, stop: Event) -> np.ndarray:
        beta = self.beta[number * size : (number + 1) * size]
        values = np.unique(beta) if self.rungs is None else self.rungs
        group = np.searchsorted(values, beta)
        spins = np.empty((len(beta), self.model.lattice.n_sites), dtype=np.int8)
        per_farm = min(len(values), self.n_lanes)
        for first in range(0, len(values), per_farm):
            seed = derived_seed(self.seed, number, first)
            chosen = values[first : first + per_farm]
            wanted = [np.flatnonzero(group == k) for k in range(first, first + len(chosen))]
            self._fill(spins, chosen, wanted, seed, stop)
        self._apply_symmetry(spins, random_bits(derived_seed(self.seed, number), (size, 1)))
        return spins

    def _apply_symmetry(self, spins: np.ndarray, chosen: np.ndarray) -> None:
        """Turn every event, with probability 1/2, into its mirror image of the same weight.

        An exact move that no local algorithm makes in the ordered phase.
        """
        chosen = chosen[: len(spins)]
        if self.model.symmetry == "flip":
            spins *= 1 - 2 * chosen.astype(np.int8)
        elif self.model.symmetry == "shift":
            shape = self.model.lattice.shape
            shifted = np.roll(spins.reshape(-1, *shape), 1, axis=-1).reshape(spins.shape)
            np.copyto(spins, shifted, where=chosen)

    def _fill(
        self,
        spins: np.ndarray,
        values: np.ndarray,
        wanted: list[np.ndarray],
        seed: int,
        stop: Event,
    ) -> None:
        """Run one farm until every group of events has its configurations."""
        share = self.n_lanes // len(values)
        # lattices beyond the equal shares idle at the last temperature
        lane_group = np.minimum(np.arange(self.n_lanes) // share, len(values) - 1)
        farm = self.make_farm(values[lane_group], seed)
        n_burn_in, spacing = self.times.slowest(values[0], values[-1])
        _sweep(farm, n_burn_in, stop)
        n_rounds = max(-(-len(events) // share) for events in wanted)
        for k in range(n_rounds):
            if k:
                _sweep(farm, spacing, stop)
            if stop.is_set():
                return
            now = farm.spins()
            for g, events in enumerate(wanted):
                turn = events[k * share : (k + 1) * share]
                spins[turn] = now[g * share : g * share + len(turn)]


def _sweep(farm: Farm, n_sweeps: int, stop: Event) -> None:
    """Sweep in slices short enough that somebody who presses Ctrl-C does not wait."""
    for done in range(0, n_sweeps, _SLICE):
        if stop.is_set():
            return
        farm.sweep(min(_SLICE, n_sweeps - done))
