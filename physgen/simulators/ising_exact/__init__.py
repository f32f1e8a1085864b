r"""Exact results of the two-dimensional Ising model in zero field, to test samples against.

.. math:: H = -J \sum_{\langle ij \rangle} s_i s_j, \qquad P(s) = e^{-\beta H(s)} / Z

with each bond once, :math:`J = 1` unless said otherwise, and :math:`\beta = 1/(k_B T)` in 1/J.
A periodic side of 2 joins its two neighbors by two bonds.

* `torus`: ln Z, energy and specific heat of any periodic lattice (Kaufman).
* `bulk`, `correlation_length`: the infinite lattice (Onsager, Yang).
* `density_of_states`, `energy_distribution`, `energy_chi2`: how often each energy occurs (Beale),
  as integers, as a law at any temperature, and as a test of a sample.
* `enumerate_states`, `boltzmann`: every state of at most 20 spins, with field and open boundaries.
"""

from physgen.simulators.ising_exact.beale import density_of_states
from physgen.simulators.ising_exact.enumeration import (
    Boltzmann,
    States,
    boltzmann,
    enumerate_states,
    spins_of_state,
    state_of_spins,
)
from physgen.simulators.ising_exact.goodness import (
    GoodnessOfFit,
    counts_chi2,
    energy_chi2,
    energy_distribution,
)
from physgen.simulators.ising_exact.kaufman import ExactTorus, torus
from physgen.simulators.ising_exact.onsager import (
    CRITICAL_BETA,
    CRITICAL_TEMPERATURE,
    ExactBulk,
    bulk,
    correlation_length,
)

__all__ = [
    "CRITICAL_BETA",
    "CRITICAL_TEMPERATURE",
    "Boltzmann",
    "ExactBulk",
    "ExactTorus",
    "GoodnessOfFit",
    "States",
    "boltzmann",
    "bulk",
    "correlation_length",
    "counts_chi2",
    "density_of_states",
    "energy_chi2",
    "energy_distribution",
    "enumerate_states",
    "spins_of_state",
    "state_of_spins",
    "torus",
]
