"""Markov chain Monte Carlo: kernels that move many chains at once, and the loop that runs them."""

from physgen.mcmc.chains import run
from physgen.mcmc.kernels import Blocks, Energy, Info, Kernel, Langevin, SingleFlip

__all__ = ["Blocks", "Energy", "Info", "Kernel", "Langevin", "SingleFlip", "run"]
