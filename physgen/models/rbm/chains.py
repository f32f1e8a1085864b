"""Where the negative phase of the gradient comes from: four ways to sample a machine in training.

Every way has ``fantasies``, which returns events of (nearly) the machine's own law, one for each
event of the batch and at its condition. The machine keeps them for the next update; a ladder keeps
all its copies itself.

References
----------
Hinton, Neural Computation 14 (2002) 1771 (CD). Tieleman, ICML 2008 (PCD). Tieleman and Hinton,
ICML 2009 (fast weights). Desjardins et al., AISTATS 2010 and Cho, Raiko and Ilin, IJCNN 2010
(tempered chains).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from physgen import mcmc
from physgen.checks import require_non_negative, require_positive
from physgen.mcmc.copies import Copies
from physgen.random import Random

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["CD", "PCD", "FastPCD", "NegativePhase", "TemperedPCD"]

# updates between two looks at the swap rates of a tempered ladder
_RETUNE = 100


class NegativePhase(Protocol):
    """How the machine is sampled in training."""

    @property
    def n_chains(self) -> int:
        """Chains that are kept from update to update, and from which samples start."""
        ...

    @property
    def n_rungs(self) -> int:
        """Rungs of the ladder on which each chain has a copy; 1 without tempering."""
        ...

    @property
    def keeps_hidden(self) -> bool:
        """Whether the hidden units are kept with each chain."""
        ...

    def fantasies(self, model: RBMModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Events of the machine, of the shape of ``x`` (n_events, n_features)."""
        ...


@dataclass(frozen=True, kw_only=True)
class CD:
    """Contrastive divergence: a few block Gibbs steps from the data.

    Cheap and biased: what the machine believes far from the data is never seen.

    Parameters
    ----------
    n_steps : int, default 1
        Block Gibbs steps k.
    n_chains : int, default 1024
        States kept as the start of samples.
    """

    n_rungs: ClassVar[int] = 1
    keeps_hidden: ClassVar[bool] = False
    n_steps: int = 1
    n_chains: int = 1024

    def __post_init__(self) -> None:
        require_positive(self, "n_steps", "n_chains")

    def fantasies(self, model: RBMModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Events a few steps from the data."""
        return model.gibbs(x, condition, self.n_steps, rng=rng)


@dataclass(frozen=True, kw_only=True)
class PCD:
    """Persistent contrastive divergence: chains go on from update to update.

    Parameters
    ----------
    n_steps : int, default 10
        Block Gibbs steps k per update; few are biased where the chains mix slowly.
    n_chains : int, default 1024
        Number of chains; with conditions at least as many as the batch has events.
    """

    n_rungs: ClassVar[int] = 1
    keeps_hidden: ClassVar[bool] = True
    n_steps: int = 10
    n_chains: int = 1024

    def __post_init__(self) -> None:
        require_positive(self, "n_steps", "n_chains")

    def fantasies(self, model: RBMModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """States of the chains that have waited longest, after k steps."""
        if not model.training:
            return model.chains.as_they_are(condition, rng=rng)
        hidden = model.chains.oldest_hidden(condition, rng=rng)
        # from the hidden units on: their field was known from the last update, which saves a
        # matrix product of each update
        p = model.parameters_at(condition)
        return p.gibbs(p.draw_visible(hidden, rng), self.n_steps - 1, rng)


@dataclass(frozen=True, kw_only=True)
class FastPCD:
    """Persistent chains of a machine whose couplings carry a fast, decaying addition.

    The addition follows the gradient at a rate of its own and drives the chains away from where
    they are; the machine itself never has it.

    Parameters
    ----------
    n_steps : int, default 1
        Block Gibbs steps per update.
    n_chains : int, default 1024
        Number of chains; with conditions at least as many as the batch has events.
    rate : float, default 0.01
        Rate at which the addition follows the gradient.
    decay : float, default 0.95
        Factor of the addition from update to update.
    """

    n_rungs: ClassVar[int] = 1
    keeps_hidden: ClassVar[bool] = False
    n_steps: int = 1
    n_chains: int = 1024
    rate: float = 0.01
    decay: float = 0.95

    def __post_init__(self) -> None:
        require_positive(self, "n_steps", "n_chains")
        require_non_negative(self, "rate", "decay")

    def fantasies(self, model: RBMModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """States of the chains after k steps with the fast addition."""
        if not model.training:
            return model.chains.as_they_are(condition, rng=rng)
        start = model.chains.oldest(condition, rng=rng)
        return model.driven_parameters(condition).gibbs(start, self.n_steps, rng)


@dataclass(frozen=True, kw_only=True)
class TemperedPCD:
    """Persistent chains with copies on a ladder from free units to the machine.

    Neighbors on the ladder exchange their places, so the copy that counts is renewed from the
    easy end. The rungs move until all pairs swap equally often.

    Parameters
    ----------
    n_steps : int, default 1
        Block Gibbs steps of every copy per update, each followed by swaps.
    n_chains : int, default 512
        Number of chains; with conditions at least as many as the batch has events.
    n_rungs : int, default 8
        Copies of each chain.
    """

    keeps_hidden: ClassVar[bool] = False
    n_steps: int = 1
    n_chains: int = 512
    n_rungs: int = 8

    def __post_init__(self) -> None:
        require_positive(self, "n_steps", "n_chains")
        if self.n_rungs < 2:
            raise ValueError(f"TemperedPCD: n_rungs must be 2 or more, got {self.n_rungs}")

    def fantasies(self, model: RBMModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """States of the last rung after k steps and swaps of the whole ladder."""
        if not model.training:
            return model.chains.as_they_are(condition, rng=rng)
        state = model.chains.oldest(condition, rng=rng)
        path = model.trajectory(condition, snapshots=False)
        ladder = model.chains.ladder
        copies = Copies(path.energy, state.transpose(0, 1), tuple(ladder.tolist()))
        for step in range(self.n_steps):
            copies.move(model.kernel(path), 1, rng)
            for parity in (step % 2, 1 - step % 2):
                copies.swap(parity, rng)
        state = copies.by_rung().transpose(0, 1)
        model.chains.push(state, condition)
        self._tune(model, copies.swap_rates())
        return state[:, -1]

    def _tune(self, model: RBMModel, rates: Tensor) -> None:
        chains = model.chains
        chains.swap_rates.lerp_(rates.to(chains.swap_rates), 0.05)
        if model.snapshots.n_updates % _RETUNE == _RETUNE - 1:
            ladder = mcmc.tune_ladder(chains.ladder.tolist(), chains.swap_rates.cpu().numpy())
            chains.ladder.copy_(torch.tensor(ladder))
