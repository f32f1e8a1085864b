r"""Paths from an easy law to a hard one: energies that depend on a parameter :math:`\beta`.

A path maps states of shape (n, ...) and :math:`\beta` of shape (n,), float64, to energies
:math:`E_\beta(x)` of shape (n,); the law is :math:`p_\beta(x) \propto e^{-E_\beta(x)}`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.mcmc.kernels import Energy

__all__ = ["Path", "PathEnergy", "geometric", "require_betas", "tempered"]

Path = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PathEnergy:
    r"""The energy :math:`E_\beta` that a kernel is given on a path.

    A kernel that knows the model behind it (block Gibbs of an RBM) reads ``energy.beta``.

    Parameters
    ----------
    path : callable
    beta : Tensor of shape (n_chains,), float64
        In float64, so that the small differences of large energies along a path keep their digits.
    """

    path: Path
    beta: Tensor

    @classmethod
    def at(cls, path: Path, beta: float, chains: Tensor) -> PathEnergy:
        """The energy at one beta for states of shape (n_chains, ...)."""
        shape = (len(chains),)
        return cls(path, torch.full(shape, beta, dtype=torch.float64, device=chains.device))

    def __call__(self, state: Tensor) -> Tensor:
        """Energies of shape (n_chains,)."""
        return self.path(state, self.beta)


def tempered(energy: Energy) -> Path:
    r"""The path :math:`E_\beta(x) = \beta E(x)`: all states alike at 0, the law of E at 1.

    Examples
    --------
    >>> path = tempered(lambda x: x.square().sum(1))
    >>> path(torch.ones(2, 3), torch.tensor([0.0, 0.5]))
    tensor([0.0000, 1.5000])
    """
    return lambda x, beta: beta * energy(x)


def geometric(base: Energy, target: Energy) -> Path:
    r"""The path :math:`E_\beta(x) = (1 - \beta) E_0(x) + \beta E_1(x)` from base to target."""
    return lambda x, beta: (1 - beta) * base(x) + beta * target(x)


def require_betas(betas: Sequence[float]) -> tuple[float, ...]:
    """Two or more increasing numbers, as a tuple."""
    ladder = tuple(float(b) for b in betas)
    if len(ladder) < 2 or not all(a < b for a, b in itertools.pairwise(ladder)):
        raise ValueError(
            f"betas must be two or more increasing numbers, the easiest law first, got {ladder}"
        )
    return ladder
