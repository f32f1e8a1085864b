"""Exact and fast simulators."""

from physgen.simulators.toys import GaussianRing, IsingRing

__all__ = ["SIMULATORS", "GaussianRing", "IsingRing"]

SIMULATORS = {"ising-ring": IsingRing, "gaussian-ring": GaussianRing}
