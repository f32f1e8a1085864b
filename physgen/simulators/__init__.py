"""Exact and fast simulators."""

from typing import Any

from physgen.simulators.toys import GaussianRing, IsingRing

__all__ = ["SIMULATORS", "GaussianRing", "Ising2D", "Ising3D", "IsingRing"]

SIMULATORS = {"ising-ring": IsingRing, "gaussian-ring": GaussianRing}


def __getattr__(name: str) -> Any:
    # the lattice moves need numba, which takes half a second to import
    if name in ("Ising2D", "Ising3D"):
        from physgen.simulators import ising

        return getattr(ising, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
