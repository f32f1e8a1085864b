"""Observables: functions of columns that give one number per event.

By subject: :mod:`~physgen.observables.spins` and :mod:`~physgen.observables.clusters` for
lattices, :mod:`~physgen.observables.pairs` for two particles, :mod:`~physgen.observables.jets`
for the particles of a jet, :mod:`~physgen.observables.showers` for voxels of a calorimeter, and
:mod:`~physgen.observables.jagged` for lists of any length.
"""

from physgen.observables.clusters import cluster_sizes
from physgen.observables.jagged import leading, multiplicity, padded
from physgen.observables.jets import (
    energy_correlation_ratios,
    energy_flow_polynomial,
    jet_girth,
    jet_mass,
    pt_dispersion,
    split_particles,
)
from physgen.observables.pairs import (
    cos_theta_star,
    delta_phi,
    invariant_mass,
    pair_pt,
    pair_rapidity,
)
from physgen.observables.showers import (
    LayerFeatures,
    energy_ratio,
    layer_energies,
    layer_features,
    total_energy,
    voxel_energies,
)
from physgen.observables.spins import (
    ising_energy,
    magnetization,
    spin_correlations,
    structure_factors,
)

__all__ = [
    "LayerFeatures",
    "cluster_sizes",
    "cos_theta_star",
    "delta_phi",
    "energy_correlation_ratios",
    "energy_flow_polynomial",
    "energy_ratio",
    "invariant_mass",
    "ising_energy",
    "jet_girth",
    "jet_mass",
    "layer_energies",
    "layer_features",
    "leading",
    "magnetization",
    "multiplicity",
    "padded",
    "pair_pt",
    "pair_rapidity",
    "pt_dispersion",
    "spin_correlations",
    "split_particles",
    "structure_factors",
    "total_energy",
    "voxel_energies",
]
