"""Observables: functions of columns that give one number per event.

By subject: :mod:`~physgen.observables.spins` and :mod:`~physgen.observables.clusters` for
lattices, :mod:`~physgen.observables.pairs` for two particles, :mod:`~physgen.observables.jets`
for the particles of a jet, :mod:`~physgen.observables.showers` for voxels of a calorimeter, and
:mod:`~physgen.observables.jagged` for lists of any length.
"""

from physgen.observables.clusters import cluster_sizes
from physgen.observables.jagged import leading, multiplicity
from physgen.observables.pairs import delta_phi, invariant_mass
from physgen.observables.showers import energy_ratio, layer_energies, total_energy
from physgen.observables.spins import (
    ising_energy,
    magnetization,
    spin_correlations,
    structure_factors,
)

__all__ = [
    "cluster_sizes",
    "delta_phi",
    "energy_ratio",
    "invariant_mass",
    "ising_energy",
    "layer_energies",
    "leading",
    "magnetization",
    "multiplicity",
    "spin_correlations",
    "structure_factors",
    "total_energy",
]
