"""Kernels for binary variables: spins -1, +1, or any other two values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.mcmc.kernels import Energy, Info, energy_drop, metropolis_test
from physgen.random import Random

__all__ = ["Gibbs", "SingleFlip", "require_values"]

# 2^12 energies of all chains per block
_MAX_BLOCK = 12


@dataclass(frozen=True, kw_only=True)
class SingleFlip:
    r"""Metropolis move that flips one spin, drawn at random, in each chain.

    The proposal is symmetric: accept with probability :math:`\min(1, e^{E(s) - E(s')})`. A sweep
    is as many moves as there are spins. The spins are -1 and +1, of any dtype.

    References
    ----------
    Metropolis et al., J. Chem. Phys. 21 (1953) 1087.
    """

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...) with values -1 and +1."""
        require_values(state, (-1, 1), "SingleFlip", "; for 0 and 1 use Gibbs(values=(0, 1))")
        spins = state.flatten(1)
        site = _random_site(spins, rng)
        proposal = spins.scatter(1, site, -spins.gather(1, site)).view_as(state)
        with torch.no_grad():
            log_ratio = energy_drop(energy(state), energy(proposal))
        return metropolis_test(state, proposal, log_ratio, rng=rng)


@dataclass(frozen=True, kw_only=True)
class Gibbs:
    r"""Heat bath: a block B of spins is drawn from its law given all others.

    .. math:: p(s_B | s_{\setminus B}) = e^{-E(s_B, s_{\setminus B})} \Big/
              \sum_{s'_B} e^{-E(s'_B, s_{\setminus B})}

    All :math:`2^b` energies are evaluated, for any energy function; nothing is rejected. A block
    is b successive spins of the flattened state, from the last on to the first again.

    Parameters
    ----------
    block_size : int, default 1
        Spins b drawn together, 1 to 12.
    sweep : bool, default False
        One block at a random place of each chain, or all blocks in order. The sweep leaves the
        law invariant but is not reversible.
    values : pair of float, default (-1, 1)
        The two values of a spin; (0, 1) for occupation numbers.

    Raises
    ------
    ValueError
        If the state holds any other value.

    References
    ----------
    Geman and Geman, IEEE Trans. Pattern Anal. 6 (1984) 721; Creutz, Phys. Rev. D 21 (1980) 2308.

    Examples
    --------
    >>> from physgen.random import PhiloxRandom
    >>> field = lambda s: -0.5 * s.sum(1)
    >>> spins, _ = Gibbs(sweep=True)(
    ...     field, torch.ones(10_000, 3), rng=PhiloxRandom(1, torch.arange(10_000))
    ... )
    >>> abs(float(spins.mean()) - math.tanh(0.5)) < 0.02
    True
    """

    block_size: int = 1
    sweep: bool = False
    values: tuple[float, float] = (-1, 1)

    def __post_init__(self) -> None:
        if not 1 <= self.block_size <= _MAX_BLOCK:
            raise ValueError(
                f"block_size of Gibbs must be 1 to {_MAX_BLOCK} (2^b energies per block), "
                f"got {self.block_size}"
            )
        low, high = self.values
        if low == high:
            raise ValueError(f"values of Gibbs must be two different numbers, got {self.values}")

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains; ``state`` has shape (n_chains, ...) with the two values."""
        require_values(state, self.values, "Gibbs", "; give values= as they are, e.g. (0, 1)")
        spins = state.flatten(1)
        n_chains, n_spins = spins.shape
        size = min(self.block_size, n_spins)
        if self.sweep:
            for sites in torch.arange(n_spins, device=state.device).split(size):
                spins = self._draw(energy, spins, sites.expand(n_chains, -1), state.shape, rng)
        else:
            first = _random_site(spins, rng)
            sites = (first + torch.arange(size, device=state.device)) % n_spins
            spins = self._draw(energy, spins, sites, state.shape, rng)
        return spins.view(state.shape), Info(torch.ones(n_chains, device=state.device))

    def _draw(
        self, energy: Energy, spins: Tensor, sites: Tensor, shape: torch.Size, rng: Random
    ) -> Tensor:
        """New spins at the sites, of shape (n_chains, b), from their conditional law."""
        patterns = self._patterns(sites.shape[1], spins)
        # one pattern at a time: an energy may hold something per chain, such as its condition
        with torch.no_grad():
            energies = torch.stack(
                [energy(spins.scatter(1, sites, p.expand_as(sites)).view(shape)) for p in patterns]
            ).double()
        energies = energies.where(energies.isfinite(), math.inf)
        cumulative = torch.softmax(-energies, 0).cumsum(0)
        chosen = (rng.uniform(len(spins)) > cumulative[:-1]).sum(0)
        return spins.scatter(1, sites, patterns[chosen])

    def _patterns(self, size: int, spins: Tensor) -> Tensor:
        """All states of a block, of shape (2^b, b)."""
        low, high = self.values
        bits = torch.arange(2**size, device=spins.device)[:, None] >> torch.arange(
            size, device=spins.device
        )
        return torch.where((bits & 1).bool(), high, low).to(spins.dtype)


def require_values(state: Tensor, values: tuple[float, float], kernel: str, advice: str) -> None:
    """Refuse states with other values than these two, by the name of the kernel."""
    low, high = values
    wrong = state[(state != low) & (state != high)]
    if len(wrong):
        raise ValueError(
            f"{kernel} moves states of the two values {low:g} and {high:g}, but found "
            f"{wrong[0].item():g}{advice}"
        )


def _random_site(spins: Tensor, rng: Random) -> Tensor:
    """A site of each chain, of shape (n_chains, 1)."""
    n_chains, n_spins = spins.shape
    return (rng.uniform(n_chains, 1) * n_spins).long().clamp_(max=n_spins - 1)
