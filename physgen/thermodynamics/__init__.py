"""Ensemble averages of spin systems, with errors that know the order and weights of the events.

Every function takes a series of one number per event, or spins, and two keywords:

``independent``
    By default events count as steps of a chain, in their order: the integrated autocorrelation
    time is measured and enters the errors. For independent events that costs some noise and is
    right too; ``independent=True`` takes tau = 1/2 as known. `thermodynamics` does so by itself
    for events of a simulator that spaced them by what it measured. Events of several chains in
    turn, as simulators make them, show no tau in their order.
``weights``
    One number per event, of any sign, with a positive sum. Averages are weighted, and the errors
    know the spread of the weights.
"""

from physgen.thermodynamics.averages import (
    abs_magnetization,
    binder_cumulant,
    magnetization_moment,
    mean_energy,
    specific_heat,
    susceptibility,
)
from physgen.thermodynamics.clusters import ClusterSizes, cluster_size_distribution
from physgen.thermodynamics.correlations import (
    correlation_function,
    correlation_length,
    structure_factor,
    structure_factor_grid,
)
from physgen.thermodynamics.estimation import Curve
from physgen.thermodynamics.figures import plot_curve, plot_lattice, plot_pulls
from physgen.thermodynamics.table import Thermodynamics, thermodynamics

__all__ = [
    "ClusterSizes",
    "Curve",
    "Thermodynamics",
    "abs_magnetization",
    "binder_cumulant",
    "cluster_size_distribution",
    "correlation_function",
    "correlation_length",
    "magnetization_moment",
    "mean_energy",
    "plot_curve",
    "plot_lattice",
    "plot_pulls",
    "specific_heat",
    "structure_factor",
    "structure_factor_grid",
    "susceptibility",
    "thermodynamics",
]
