r"""Parallel tempering: copies of a chain on a ladder of laws that exchange their places.

Two neighbors on the ladder, at x and y with energies :math:`E_a` and :math:`E_b`, swap with

.. math:: \min\big(1, e^{E_a(x) + E_b(y) - E_a(y) - E_b(x)}\big)
          = \min\big(1, e^{(\beta_a - \beta_b)(E(x) - E(y))}\big) \text{ on a tempered path}

Pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... take turns. A state that cannot be left at the
cold end is left at the hot one.

References
----------
Hukushima and Nemoto, J. Phys. Soc. Jpn. 65 (1996) 1604. Katzgraber, Trebst, Huse and Troyer,
J. Stat. Mech. (2006) P03018 (round trips). Syed et al., arXiv:1905.02939 (even and odd in turn).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physgen.mcmc.chains import Seed, as_random
from physgen.mcmc.copies import Copies
from physgen.mcmc.kernels import Info, Kernel
from physgen.mcmc.paths import Path, PathEnergy, require_betas
from physgen.mcmc.records import Chain, Observable, Recorder

__all__ = ["Tempering", "parallel_tempering", "tune_ladder"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tempering:
    r"""What parallel tempering showed.

    Parameters
    ----------
    chain : Chain
        Record of the coldest rung, the last beta.
    state : Tensor of shape (n_rungs, n_chains, ...)
        Where all rungs ended: the start of the next run.
    betas : tuple of float
        The ladder.
    swap_rates : array of shape (n_rungs - 1,)
        Mean probability that a pair of neighbors swaps, by :math:`\langle\min(1, e^r)\rangle`.
    round_trips : int
        How often a copy went from one end to the other and back, over all chains.
    from_cold : array of shape (n_rungs,)
        Share of copies on each rung that came from the cold end last, among those that have seen
        an end: 0 at the hot end, 1 at the cold one. A jump betrays a bottleneck.
    """

    chain: Chain
    state: Tensor
    betas: tuple[float, ...]
    swap_rates: NDArray[np.float64]
    round_trips: int
    from_cold: NDArray[np.float64]

    def summary(self) -> str:
        """The table of the coldest rung, then the swaps of each pair."""
        pairs = zip(self.betas, self.betas[1:], self.swap_rates, self.from_cold, strict=False)
        lines = [f"{a:10.4g} {b:10.4g} {rate:10.3f} {cold:11.3f}" for a, b, rate, cold in pairs]
        header = f"{'beta':>10} {'next':>10} {'swap rate':>10} {'from cold':>11}"
        trips = f"{self.round_trips} round trips of all copies of {self.state.shape[1]} chains"
        return "\n".join((self.chain.summary(), "", header, *lines, trips))


def parallel_tempering(
    kernel: Kernel,
    path: Path,
    start: Tensor,
    *,
    betas: Sequence[float],
    n_steps: int,
    n_burn_in: int = 0,
    n_moves: int = 1,
    observables: Mapping[str, Observable] | None = None,
    keep_states: bool = False,
    rng: Seed,
) -> Tempering:
    r"""Run chains on a ladder of laws; a step is ``n_moves`` moves of all rungs and one swap.

    Parameters
    ----------
    kernel : Kernel
        Moves of one rung; all rungs and chains move in one tensor. ``energy.beta`` holds the beta
        of each row.
    path : callable
        Energies :math:`E_\beta(x)`: :func:`tempered`, :func:`geometric` or any other.
    start : Tensor of shape (n_rungs, n_chains, ...)
        Where the copies start; ``state`` of an earlier run goes on from there.
    betas : sequence of float
        Increasing, the hottest rung first; the last is the law that is wanted.
    n_steps, n_burn_in : int
        Steps recorded, and steps before them.
    n_moves : int, default 1
        Moves between swaps.
    observables, keep_states, rng
        As for :func:`run_chains`; they are of the coldest rung.

    Returns
    -------
    Tempering

    Raises
    ------
    ValueError
        If the betas do not increase, or the start has another number of rungs.

    Examples
    --------
    Two wells that a random walk of this step does not cross:

    >>> from physgen.mcmc import Metropolis, RandomWalk, tempered
    >>> well = lambda x: 40 * (x[:, 0].square() - 1).square()
    >>> result = parallel_tempering(
    ...     Metropolis(proposal=RandomWalk(step_size=0.3)), tempered(well), torch.ones(5, 20, 1),
    ...     betas=(0.02, 0.05, 0.15, 0.4, 1), n_steps=1000, n_burn_in=100, rng=1,
    ...     observables={"right": lambda x: (x[:, 0] > 0).float()},
    ... )
    >>> abs(result.chain.measure("right").pull(0.5)) < 3
    True
    """
    ladder = require_betas(betas)
    if len(start) != len(ladder):
        raise ValueError(
            f"the start must have a state per rung, shape ({len(ladder)}, n_chains, ...) for "
            f"{len(ladder)} betas, got {tuple(start.shape)}"
        )
    if n_steps < 1 or n_burn_in < 0:
        raise ValueError(
            f"n_steps must be 1 or more, n_burn_in 0 or more, got {n_steps=} and {n_burn_in=}"
        )
    copies = Copies(path, start, ladder)
    random = as_random(rng, start[0])
    cold = PathEnergy.at(path, ladder[-1], start[0])
    recorder = Recorder(cold, observables, keep_states=keep_states)
    for step in range(-n_burn_in, n_steps):
        if step == 0:
            copies.forget_counts()
        acceptance = copies.move(kernel, n_moves, random)
        copies.swap(step % 2, random)
        if step >= 0:
            recorder.add(copies.coldest(), Info(acceptance))
    return Tempering(
        chain=recorder.chain(copies.coldest(), thin=n_moves),
        state=copies.by_rung(),
        betas=ladder,
        swap_rates=copies.swap_rates().cpu().numpy(),
        round_trips=copies.round_trips(),
        from_cold=copies.from_cold().cpu().numpy(),
    )


def tune_ladder(
    betas: Sequence[float], swap_rates: Sequence[float] | NDArray[np.float64], *, n_rungs: int = 0
) -> tuple[float, ...]:
    r"""Move the rungs between the two ends so that all pairs swap equally often.

    For energies with a Gaussian law the rate is :math:`A = \mathrm{erfc}(\sigma \Delta\beta / 2)`,
    so :math:`d = 2\, \mathrm{erfc}^{-1}(A)` adds up along the ladder. The new rungs divide it into
    equal parts. Two or three rounds of a short run and this function settle.

    Parameters
    ----------
    betas : sequence of float, n_rungs
        The ladder that was run.
    swap_rates : sequence of float, n_rungs - 1
        Measured rates between neighbors, e.g. of :class:`Tempering`.
    n_rungs : int, optional
        Rungs of the new ladder, by default as many as now.

    Returns
    -------
    tuple of float

    References
    ----------
    Predescu, Predescu and Ciobanu, J. Chem. Phys. 120 (2004) 4119 (rates). Rathore, Chopra and de
    Pablo, J. Chem. Phys. 122 (2005) 024111 (equal rates).

    Examples
    --------
    >>> tune_ladder((0.0, 0.5, 1.0), (0.4, 0.4))
    (0.0, 0.5, 1.0)
    >>> [round(b, 2) for b in tune_ladder((0.0, 0.5, 1.0), (0.05, 0.6))]
    [0.0, 0.32, 1.0]
    """
    ladder, rates = require_betas(betas), np.asarray(swap_rates, dtype=float)
    if rates.shape != (len(ladder) - 1,) or not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(
            f"swap_rates must be {len(ladder) - 1} numbers in [0, 1] for {len(ladder)} betas, got "
            f"{np.array2string(rates)}"
        )
    # a pair that never swapped is far, but not infinitely so; one that always does is not at 0
    steps = torch.erfinv(1 - torch.from_numpy(rates.clip(1e-12, 1 - 1e-6)))
    distance = np.concatenate(([0.0], np.cumsum(steps.numpy())))
    places = np.linspace(0, distance[-1], n_rungs or len(ladder))
    tuned = np.interp(places, distance, ladder)
    return require_betas([ladder[0], *tuned[1:-1], ladder[-1]])
