"""Moves with a known energy, after events are made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from physgen.checks import require_non_negative
from physgen.mcmc import Energy, Kernel, SingleFlip, run
from physgen.random import Random

__all__ = ["Corrector"]


@dataclass(frozen=True, kw_only=True)
class Corrector:
    r"""Markov moves that take events of a model closer to the law :math:`e^{-E}`.

    What a model learned wrong is forgotten as the chain forgets its start: exact for many moves,
    and better than no start of that kind for few. The model knows no physics; the energy does.

    Parameters
    ----------
    energy : callable
        Energies (n_events,), temperature included, of events (n_events, n_features), e.g.
        ``Ising2D(n_side=16).reduced_energy(beta)``.
    n_moves : int
        Moves per event; a sweep of :class:`~physgen.mcmc.SingleFlip` is as many as there are
        spins.
    kernel : Kernel, default SingleFlip()
        Any kernel of :mod:`physgen.mcmc` for the values of the events.

    Examples
    --------
    >>> import torch
    >>> from physgen.random import PhiloxRandom
    >>> field = Corrector(energy=lambda x: -2.0 * x.sum(1), n_moves=60)
    >>> moved = field(-torch.ones(500, 6), rng=PhiloxRandom(1, torch.arange(500)))
    >>> bool((moved.mean() - torch.tensor(2.0).tanh()).abs() < 0.05)
    True
    """

    energy: Energy
    n_moves: int
    kernel: Kernel = SingleFlip()  # noqa: RUF009  # frozen

    def __post_init__(self) -> None:
        require_non_negative(self, "n_moves")

    def __call__(self, x: Tensor, *, rng: Random) -> Tensor:
        """Move events x (n_events, n_features)."""
        moved, _ = run(self.kernel, self.energy, x, self.n_moves, rng=rng)
        return moved
