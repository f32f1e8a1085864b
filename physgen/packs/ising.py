"""Spins on a lattice: order, energy, correlations, clusters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from physgen.events import Events
from physgen.observables.clusters import cluster_sizes
from physgen.observables.jagged import leading
from physgen.observables.spins import ising_energy, magnetization, spin_correlations
from physgen.packs.pack import Columns, Pack
from physgen.schema import Field

__all__ = ["ising"]

_DISTANCES = (2, 4, 8)  # at distance 1 the correlation is the energy
_FEW = 8  # so few spins are also compared one by one


def ising(events: Events) -> Iterator[Pack]:
    """Find arrays with the values -1 and +1."""
    for field in events.schema:
        if field.shape and field.allowed is not None and set(field.allowed) == {-1, 1}:
            yield Pack(
                "ising",
                f"{field.name} has the values -1 and +1: magnetization, its absolute value, "
                "energy per spin, correlations and largest cluster",
                (field.name,) if math.prod(field.shape) > _FEW else (),
                _of_spins(field),
            )


def _of_spins(field: Field) -> Callable[[Events], Columns]:
    def observe(events: Events) -> Columns:
        spins = np.asarray(events[field.name])
        n_spins, of = spins[0].size, f"of {field.name}"
        m, correlations = magnetization(spins), spin_correlations(spins)
        # the sign too: a model that makes one sign only has the right |m|
        columns = {f"magnetization {of}": m, f"|magnetization| {of}": np.abs(m)}
        columns[f"energy per spin {of}"] = ising_energy(spins) / n_spins
        for r in _DISTANCES:
            if r < correlations.shape[1]:
                columns[f"correlation {of} at distance {r}"] = correlations[:, r]
        columns[f"largest cluster {of}"] = leading(cluster_sizes(spins)) / n_spins
        return columns

    return observe
