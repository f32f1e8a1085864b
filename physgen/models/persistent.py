"""Markov chains that live as long as the training, part of the model's state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from physgen.models.base import TensorSpec
from physgen.random import Random

__all__ = ["PersistentChains"]

# chains that an event looks at for the one with the condition nearest to its own
_N_CANDIDATES = 16


class PersistentChains(nn.Module):
    """States of chains, each with the condition it was last run at.

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
    n_pushed: Tensor
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
        self.register_buffer("n_pushed", torch.zeros((), dtype=torch.int64))
        self._taken: slice | Tensor | None = None
        # mirror of the buffer, so that a GPU need not be asked at every update
        self._n_pushed = 0
        self.register_load_state_dict_post_hook(_mirror)  # type: ignore[no-untyped-call]
        if n_rungs > 1:
            self.register_buffer("ladder", torch.linspace(0, 1, n_rungs, dtype=torch.float64))
            self.register_buffer("swap_rates", torch.full((n_rungs - 1,), 0.5).double())

    def oldest(self, condition: Tensor, *, rng: Random) -> Tensor:
        """States to go on from in training, shape (n_events, [n_rungs,] n_features).

        Without conditions, those that have waited longest. With conditions, each event takes a
        chain that was last run at nearly its own, and no other event takes the same one: a chain
        that changes its condition is out of equilibrium for a while, which shows in what is
        learned of the condition. Several conditions count by a random direction through them.

        Raises
        ------
        ValueError
            In training with conditions, if there are more events than chains.
        """
        return self._copied(self.state, self._take(condition, rng))

    def oldest_hidden(self, condition: Tensor, *, rng: Random) -> Tensor:
        """Hidden units of the states that :meth:`oldest` would give."""
        return self._copied(self.state[:, self._n_features :], self._take(condition, rng))

    def _take(self, condition: Tensor, rng: Random) -> slice | Tensor:
        """Rows of the chains to go on from, to which :meth:`push` will return them."""
        n_chains, n_events = len(self.state), len(condition)
        if self.training and condition.shape[1] and n_events > n_chains:
            raise ValueError(
                f"with conditions every event of a batch needs a chain of its own, but there are "
                f"{n_chains} chains for {n_events} events; take n_chains={n_events} or more in "
                f"the settings of the model, or a batch_size of at most {n_chains}"
            )
        if condition.shape[1] == 0 or n_events > n_chains:
            self._taken = self._in_turn(n_events)
            return self._taken
        index = torch.arange(n_events, device=self.state.device)
        if not self._n_pushed:
            rows = torch.arange(n_chains, device=self.state.device) % n_events
            self.condition.copy_(condition[rows])
        direction = rng.normal(*condition.shape)[0].to(self.condition)
        # in random order where conditions are equal
        jitter = 1e-3 * rng.uniform(n_chains)
        along, order = (self.condition @ direction + jitter).sort()
        wanted, events = (condition @ direction).sort()
        # the place of each event among the chains, then moved up where it is taken, and down
        # where the chains come to their end
        places = torch.searchsorted(along, wanted) - index
        places = (places.cummax(0).values + index).clamp(max=n_chains - n_events + index)
        self._taken = torch.empty_like(index).index_copy_(0, events, order[places])
        return self._taken

    def _in_turn(self, n: int) -> slice | Tensor:
        """Rows that have waited longest; those that lie together as a slice, which is quicker."""
        n_chains = len(self.state)
        first = self._n_pushed % n_chains
        if first + n <= n_chains:
            return slice(first, first + n)
        return (torch.arange(n, device=self.state.device) + first) % n_chains

    @staticmethod
    def _copied(state: Tensor, rows: slice | Tensor) -> Tensor:
        # kernels may change the states that they are given in place
        return state[rows].clone() if isinstance(rows, slice) else state.index_select(0, rows)

    def draw(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Start states of a sample; row i depends on row i of the draws and on ``condition[i]``.

        Each event draws one chain or, with conditions, a few, and takes the nearest in condition.
        """
        n_chains = len(self.state)
        n_candidates = _N_CANDIDATES if condition.shape[1] else 1
        index = (rng.uniform(n_events, n_candidates) * n_chains).long().clamp_(max=n_chains - 1)
        distance = (self.condition[index] - condition[:, None, :]).square().sum(2)
        return self._features(index.gather(1, distance.argmin(1, keepdim=True))[:, 0])

    def as_they_are(self, condition: Tensor, *, rng: Random) -> Tensor:
        """Chains to compare events with, outside of training, shape (n_events, n_features).

        In their turn or, with conditions, at nearly those of the events.
        """
        if condition.shape[1]:
            return self.draw(len(condition), condition, rng=rng)
        return self._features(
            torch.arange(len(condition), device=self.state.device) % len(self.state)
        )

    def _features(self, index: Tensor) -> Tensor:
        state = self.state[index]
        return state[:, : self._n_features] if state.ndim == 2 else state[:, -1]

    def draw_conditions(self, n_events: int) -> Tensor:
        """Conditions of some of the chains, as often as needed, (n_events, n_conditions)."""
        return self.condition[torch.arange(n_events, device=self.state.device) % len(self.state)]

    def push(self, state: Tensor, condition: Tensor, hidden: Tensor | None = None) -> None:
        """Store the chains that were taken last, after their moves; or others in their turn."""
        rows, n = self._taken, len(state)
        if rows is None or n != len(self.condition[rows]):
            rows = self._in_turn(n)
        parts = (state.detach(),) if hidden is None else (state.detach(), hidden)
        if isinstance(rows, slice):
            places = self.state[rows].split([part.shape[-1] for part in parts], dim=-1)
            for place, part in zip(places, parts, strict=True):
                place.copy_(part)
            self.condition[rows] = condition
        else:
            self.state.index_copy_(0, rows, torch.cat(parts, dim=-1))
            self.condition.index_copy_(0, rows, condition)
        self.n_pushed.add_(n)
        self._n_pushed += n
        self._taken = None


def _mirror(module: Any, _: Any) -> None:
    module._n_pushed = int(module.n_pushed)
