"""The copies of parallel tempering: who is on which rung, and how they travel."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.mcmc.chains import require_energy, run
from physgen.mcmc.kernels import Kernel
from physgen.mcmc.paths import Path, PathEnergy
from physgen.random import Random

__all__ = ["Copies"]


class Copies:
    """All copies in one tensor, chain by chain; copies stay in place, and their betas move.

    ``rung[c, i]`` is where copy i of chain c is; ``copy[c, r]`` is who is there.
    """

    def __init__(self, path: Path, start: Tensor, betas: tuple[float, ...]) -> None:
        n_rungs, n_chains = start.shape[:2]
        self._path = path
        self._beta = torch.tensor(betas, dtype=torch.float64, device=start.device)
        self._state = start.transpose(0, 1).flatten(0, 1)
        self._rung = torch.arange(n_rungs, device=start.device).repeat(n_chains, 1)
        self._copy = self._rung.clone()
        self._chain = torch.arange(n_chains, device=start.device)
        self._came_from = torch.zeros_like(self._rung)
        self.forget_counts()
        require_energy(self._energy(self._rung), self._state)

    def forget_counts(self) -> None:
        """Start the statistics of the swaps; copies remember the end they saw last."""
        self._rates, self._attempts = torch.zeros_like(self._beta[1:]).repeat(2, 1)
        self._cold_counts, self._counts = torch.zeros_like(self._beta).repeat(2, 1)
        self._half_trips = torch.zeros_like(self._came_from)

    def move(self, kernel: Kernel, n_moves: int, rng: Random) -> Tensor:
        """Move all copies; returns the acceptance of the coldest, of shape (n_chains,)."""
        n_rungs = len(self._beta)
        energy = self._energy(self._rung)
        self._state, info = run(kernel, energy, self._state, n_moves, rng=_PerCopy(rng, n_rungs))
        return info.acceptance.view(-1, n_rungs)[self._chain, self._copy[:, -1]]

    def swap(self, parity: int, rng: Random) -> None:
        """Let the pairs (r, r + 1) with r of this parity exchange their places."""
        lower = torch.arange(parity, len(self._beta) - 1, 2, device=self._beta.device)
        if len(lower):
            log_ratio = self._log_ratio(lower)
            accepted = rng.uniform(len(self._copy), len(lower)).log() < log_ratio
            self._exchange(lower, accepted)
            self._rates[lower] += log_ratio.clamp(max=0).exp().nan_to_num(0).mean(0)
            self._attempts[lower] += 1
        self._count()

    def coldest(self) -> Tensor:
        """States of the last rung, of shape (n_chains, ...)."""
        return self._by_chain()[self._chain, self._copy[:, -1]]

    def by_rung(self) -> Tensor:
        """All states, of shape (n_rungs, n_chains, ...)."""
        return self._by_chain()[self._chain[:, None], self._copy].transpose(0, 1)

    def swap_rates(self) -> Tensor:
        """Mean probability of a swap of each pair, of shape (n_rungs - 1,)."""
        return self._rates / self._attempts

    def round_trips(self) -> int:
        """Ways from one end to the other and back, of all copies."""
        return int((self._half_trips // 2).sum())

    def from_cold(self) -> Tensor:
        """Share of the copies on each rung that saw the cold end last, of shape (n_rungs,)."""
        return self._cold_counts / self._counts

    def _energy(self, rung: Tensor) -> PathEnergy:
        return PathEnergy(self._path, self._beta[rung].flatten())

    def _log_ratio(self, lower: Tensor) -> Tensor:
        """Exponent r of the swap of each pair, of shape (n_chains, n_pairs)."""
        partner = torch.arange(len(self._beta), device=lower.device)
        partner[lower], partner[lower + 1] = lower + 1, lower
        with torch.no_grad():
            here = self._energy(self._rung)(self._state)
            there = self._energy(partner[self._rung])(self._state)
        gain = (here - there).view_as(self._rung).gather(1, self._copy)
        return gain[:, lower] + gain[:, lower + 1]

    def _exchange(self, lower: Tensor, accepted: Tensor) -> None:
        below, above = self._copy[:, lower], self._copy[:, lower + 1]
        self._copy[:, lower] = torch.where(accepted, above, below)
        self._copy[:, lower + 1] = torch.where(accepted, below, above)
        self._rung = self._copy.argsort(1)

    def _count(self) -> None:
        """Note which copies reached an end, and what share on each rung came from the cold one."""
        last = len(self._beta) - 1
        at_end = (self._rung == last).long() - (self._rung == 0).long()
        came_from = torch.where(at_end != 0, at_end, self._came_from)
        self._half_trips += (came_from != self._came_from) & (self._came_from != 0)
        self._came_from = came_from
        by_rung = came_from.gather(1, self._copy)
        self._cold_counts += (by_rung == 1).sum(0)
        self._counts += (by_rung != 0).sum(0)

    def _by_chain(self) -> Tensor:
        return self._state.unflatten(0, self._rung.shape)


class _PerCopy:
    """Draws for the copies of each chain; the source below is asked for chains."""

    def __init__(self, rng: Random, n_copies: int) -> None:
        self._rng, self._n_copies = rng, n_copies

    @property
    def device(self) -> torch.device:
        return self._rng.device

    def uniform(self, *shape: int) -> Tensor:
        return self._rng.uniform(*self._split(shape)).flatten(0, 1)

    def normal(self, *shape: int) -> Tensor:
        return self._rng.normal(*self._split(shape)).flatten(0, 1)

    def _split(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] // self._n_copies, self._n_copies, *shape[1:])
