"""Markov chain Monte Carlo: kernels that move many chains at once, and what their chains know.

A kernel is ``kernel(energy, state, *, rng) -> (state, info)`` for states of shape (n_chains, ...)
and the law exp(-energy). :func:`run_chains` records observables, whose means come with errors.
"""

from physgen.mcmc.adaptation import tune_step_size
from physgen.mcmc.annealing import LogZ, annealed_importance, reverse_annealed_importance
from physgen.mcmc.binary import Gibbs, SingleFlip
from physgen.mcmc.chains import run, run_chains
from physgen.mcmc.continuous import HMC, Langevin
from physgen.mcmc.convergence import bulk_ess, split_r_hat, tail_ess
from physgen.mcmc.diagnostics import (
    AutocorrelationTime,
    ChainTooShortError,
    autocorrelation,
    effective_sample_size,
    integrated_autocorrelation_time,
    mcse,
)
from physgen.mcmc.independence import ExactProposal, Independence, independence_chains
from physgen.mcmc.informed import InformedFlip
from physgen.mcmc.kernels import Blocks, Energy, Info, Kernel, energy_drop, metropolis_test
from physgen.mcmc.measurement import Measurement, jackknife, measure
from physgen.mcmc.paths import Path, PathEnergy, geometric, tempered
from physgen.mcmc.proposals import Metropolis, Proposal, RandomWalk, SurrogateMoves
from physgen.mcmc.records import Chain
from physgen.mcmc.tempering import Tempering, parallel_tempering, tune_ladder
from physgen.mcmc.windows import GammaWindow, Sokal, Window

__all__ = [
    "HMC",
    "AutocorrelationTime",
    "Blocks",
    "Chain",
    "ChainTooShortError",
    "Energy",
    "ExactProposal",
    "GammaWindow",
    "Gibbs",
    "Independence",
    "Info",
    "InformedFlip",
    "Kernel",
    "Langevin",
    "LogZ",
    "Measurement",
    "Metropolis",
    "Path",
    "PathEnergy",
    "Proposal",
    "RandomWalk",
    "SingleFlip",
    "Sokal",
    "SurrogateMoves",
    "Tempering",
    "Window",
    "annealed_importance",
    "autocorrelation",
    "bulk_ess",
    "effective_sample_size",
    "energy_drop",
    "geometric",
    "independence_chains",
    "integrated_autocorrelation_time",
    "jackknife",
    "mcse",
    "measure",
    "metropolis_test",
    "parallel_tempering",
    "reverse_annealed_importance",
    "run",
    "run_chains",
    "split_r_hat",
    "tail_ess",
    "tempered",
    "tune_ladder",
    "tune_step_size",
]
