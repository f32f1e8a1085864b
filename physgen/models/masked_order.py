"""In which order masked sites are made, and how many at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from physgen.networks.unet import wrapped
from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = ["Lattice", "counts", "ranks"]

_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def counts(n_sites: int, n_steps: int) -> list[float]:
    r"""Share of the sites that are known after each step, the last one 1.

    Each step adds :math:`1 + \epsilon n_{known}` sites: where little is known, far sites depend
    on one another, later only near ones.

    Parameters
    ----------
    n_sites : int
    n_steps : int
        At most n_sites, with one site per step.

    Examples
    --------
    >>> [round(8 * share, 1) for share in counts(8, 4)]
    [1.0, 2.5, 4.7, 8.0]
    """
    low, high = 0.0, float(n_sites)
    for _ in range(60):
        rate = (low + high) / 2
        low, high = (rate, high) if _known(rate, n_steps)[-1] < n_sites else (low, rate)
    known = _known(low, n_steps)
    return [min(k / n_sites, 1.0) for k in known[:-1]] + [1.0]


def _known(rate: float, n_steps: int) -> list[float]:
    """Sites known after each step."""
    known = [0.0]
    for _ in range(n_steps):
        known.append(known[-1] + 1 + rate * known[-1])
    return known[1:]


def ranks(values: Tensor) -> Tensor:
    """Place of each value in its row, from 0 for the smallest; of shape (n, n_values).

    Examples
    --------
    >>> ranks(torch.tensor([[0.3, 0.1, 0.2]]))
    tensor([[2, 0, 1]])
    """
    order = values.argsort(dim=1)
    place = torch.arange(values.shape[1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)


class Lattice:
    """Sites and their neighbors; translations along the periodic axes.

    Parameters
    ----------
    spec : TensorSpec
        Without a shape no site has neighbors.
    moves : bool
        Whether events are to be translated at random.
    """

    def __init__(self, spec: TensorSpec, *, moves: bool) -> None:
        self.shape, self.periodic, self.moves = spec.shape, spec.periodic, moves

    def shifts(self, n_events: int, *, rng: Random) -> Tensor:
        """Random translation of each event, (n_events, n_axes), in sites; zeros if not to move."""
        axes = len(self.shape)
        if not self.moves:
            return torch.zeros(n_events, axes, dtype=torch.long, device=rng.device)
        sides = torch.tensor(
            [n if meets else 1 for n, meets in zip(self.shape, self.periodic, strict=True)],
            device=rng.device,
        )
        return (rng.uniform(n_events, axes) * sides).long()

    def rolled(self, x: Tensor, shift: Tensor) -> Tensor:
        """Events x (n, n_sites), each translated by its own shift (n, n_axes)."""
        if not self.moves:
            return x
        site = torch.zeros(len(x), 1, dtype=torch.long, device=x.device)
        for axis, side in enumerate(self.shape):
            along = (torch.arange(side, device=x.device) - shift[:, axis, None]) % side
            site = (site[:, :, None] * side + along[:, None, :]).flatten(1)
        return x.gather(1, site)

    def moved(self, x: Tensor, *, rng: Random) -> Tensor:
        """Events x (n, n_sites), translated at random."""
        return self.rolled(x, self.shifts(len(x), rng=rng)) if self.moves else x

    def groups(self, priority: Tensor, unknown: Tensor, shares: list[float]) -> Tensor:
        """Step in which each site is made, where that is random, but neighbors come apart.

        Sites of one step are drawn as if they were independent given those known, which
        neighbors are least of all. The last step, which has the most sites, chooses first.

        Parameters
        ----------
        priority : Tensor of shape (n, n_sites)
            Random numbers in (0, 1).
        unknown : bool Tensor of shape (n, n_sites)
            Sites to be made.
        shares : list of float
            Share of them that is known after each step.

        Returns
        -------
        Tensor of shape (n, n_sites), int64
            Number of the step; -1 where there is nothing to make.
        """
        step = torch.full(unknown.shape, -1, device=unknown.device)
        left = unknown.sum(1, keepdim=True)
        known = [(left * share).round().long() for share in shares]
        before = [torch.zeros_like(left), *known[:-1]]
        for k in reversed(range(len(shares))):
            free = unknown & (step < 0)
            step = torch.where(self.apart(priority, free, known[k] - before[k]), k, step)
        return step

    def apart(self, priority: Tensor, free: Tensor, number: Tensor) -> Tensor:
        """So many free sites (n, 1) of each event, neighbors of none with higher priority first.

        Returns
        -------
        bool Tensor of shape (n, n_sites)
        """
        value = torch.where(free, priority, -1.0)
        if len(self.shape) in _POOLS and bool((number > 1).any()):
            value = value + (free & (value >= self._largest_near(value)))
        return ranks(-value) < number

    def _largest_near(self, value: Tensor) -> Tensor:
        """Largest value among each site and its neighbors, diagonal ones too."""
        grid = wrapped(value.view(-1, 1, *self.shape), self.periodic, 1)
        padding = tuple(0 if meets else 1 for meets in self.periodic)
        return _POOLS[len(self.shape)](grid, 3, 1, padding).view_as(value)
