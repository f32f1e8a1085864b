"""Markov chains that live as long as the training, part of the model's state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physgen.models.base import TensorSpec
from physgen.random import Random

__all__ = ["PersistentChains"]

# chains that an event looks at for the one with the condition nearest to its own
_N_CANDIDATES = 16


class PersistentChains(nn.Module):
    """States of chains, each with the condition it was last run at, the oldest first.

    Restarting the chains at every update would cost the burn-in each time (Tieleman, ICML 2008).
    The states are registered buffers, so they are saved with the weights.

    Parameters
    ----------
    spec : TensorSpec
    n_chains : int
    n_rungs : int, default 1
        Copies of each chain on a ladder from 0 to 1; more than one add an axis to the states,
        (n_chains, n_rungs, n_features).
    n_hidden : int, default 0
        Hidden units, zero at first, that are kept behind the features in each state.
    """

    state: Tensor
    condition: Tensor
    ladder: Tensor
    swap_rates: Tensor

    def __init__(
        self, spec: TensorSpec, n_chains: int, *, n_rungs: int = 1, n_hidden: int = 0
    ) -> None:
        super().__init__()
        copies = (n_rungs,) if n_rungs > 1 else ()
        noise = torch.randn(n_chains, *copies, spec.n_features)
        spins = torch.where(noise < 0, -1.0, 1.0)
        for first, n_values in spec.one_hot:
            unit = slice(first, first + n_values)
            chosen = noise[..., unit].argmax(-1, keepdim=True)
            spins[..., unit] = torch.full_like(spins[..., unit], -1.0).scatter(-1, chosen, 1.0)
        state = torch.where(torch.tensor(spec.binary), spins, noise)
        self._n_features = spec.n_features
        if n_hidden:
            state = torch.cat((state, torch.zeros(n_chains, n_hidden)), dim=1)
        self.register_buffer("state", state)
        self.register_buffer("condition", torch.randn(n_chains, spec.n_conditions))
        if n_rungs > 1:
            self.register_buffer("ladder", torch.linspace(0, 1, n_rungs, dtype=torch.float64))
            self.register_buffer("swap_rates", torch.full((n_rungs - 1,), 0.5).double())

    def oldest(self, condition: Tensor, *, rng: Random) -> Tensor:
        """States to go on from in training, shape (n_events, [n_rungs,] n_features).

        No chain is taken twice (unless there are more events than chains), so that none dies
        out. With conditions, chains and events are paired by their rank along a random direction
        of condition space: exact for one condition, and for classes up to their counts.
        """
        n_events = len(condition)
        index = torch.arange(n_events, device=self.state.device) % len(self.state)
        if condition.shape[1] == 0:
            return self.state[index]
        direction = rng.normal(*condition.shape)[0]
        # equal conditions are paired at random
        jitter = 1e-3 * rng.normal(n_events)
        chains = (self.condition[index] @ direction + jitter).argsort()
        events = (condition @ direction).argsort()
        return torch.empty_like(self.state[index]).index_copy_(
            0, events, self.state[index[chains]]
        )

    def draw(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Start states of a sample; row i depends on row i of the draws and on ``condition[i]``.

        Each event draws one chain or, with conditions, a few, and takes the nearest in condition.
        """
        n_chains = len(self.state)
        n_candidates = _N_CANDIDATES if condition.shape[1] else 1
        index = (rng.uniform(n_events, n_candidates) * n_chains).long().clamp_(max=n_chains - 1)
        distance = (self.condition[index] - condition[:, None, :]).square().sum(2)
        state = self.state[index.gather(1, distance.argmin(1, keepdim=True))[:, 0]]
        return state[:, : self._n_features] if state.ndim == 2 else state[:, -1]

    def draw_conditions(self, n_events: int) -> Tensor:
        """Conditions of some of the chains, as often as needed, (n_events, n_conditions)."""
        return self.condition[torch.arange(n_events, device=self.state.device) % len(self.state)]

    def push(self, state: Tensor, condition: Tensor) -> None:
        """Store chains that were moved; they become the youngest and the oldest drop out."""
        n_chains = len(self.state)
        self.state = torch.cat((self.state, state.detach()))[-n_chains:]
        self.condition = torch.cat((self.condition, condition))[-n_chains:]
