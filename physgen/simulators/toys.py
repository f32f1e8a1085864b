"""Two exact simulators on which every model is tried: an Ising ring and a ring of Gaussians."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.events import Events
from physgen.random import PhiloxRandom, Rng, as_seed
from physgen.schema import Field, Schema
from physgen.shards import event_range, pieces_of

__all__ = ["GaussianRing", "IsingRing"]

# events that a stream makes at once
_PIECE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class IsingRing:
    r"""Ising spins on a ring, drawn independently from the exact Boltzmann law.

    :math:`H = -J \sum_i s_i s_{i+1}` with :math:`s_{n+1} = s_1`. Given the first spin, the bonds
    are independent but for their product, which is 1; they are drawn one after the other with the
    exact partition function of the rest of the ring.

    Parameters
    ----------
    n_spins : int, default 6
        Length of the ring, at least 3.
    beta : float, default 0.5
        Inverse temperature in 1/J, used for events that are given none.

    Examples
    --------
    >>> events = IsingRing()(1000, {"beta": 0.4}, rng=1)
    >>> events["spins"].shape
    (1000, 6)
    """

    n_spins: int = 6
    beta: float = 0.5

    def __post_init__(self) -> None:
        if self.n_spins < 3:
            raise ValueError(f"a ring needs at least 3 spins, got n_spins={self.n_spins}")

    @property
    def schema(self) -> Schema:
        """Spins of -1 and +1, and the inverse temperature of each event."""
        return Schema(
            (
                Field("spins", "int8", shape=(self.n_spins,), allowed=(-1, 1)),
                Field("beta", "float64", unit="1/J", role="condition"),
            ),
            {"hamiltonian": "H = -sum_<ij> s_i s_j, each bond once, ring, J = 1"},
        )

    def __call__(
        self, n_events: int, conditions: Mapping[str, Any] | None = None, *, rng: Rng
    ) -> Events:
        """Draw independent rings.

        Parameters
        ----------
        n_events : int
        conditions : mapping, optional
            ``{"beta": value or array of shape (n_events,)}``, in 1/J.
        rng : int or torch.Generator
            Seed; event i depends only on (seed, i).
        """
        return self._made(self._beta(n_events, conditions), _random(as_seed(rng), 0, n_events))

    def stream(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | None = None,
        *,
        rng: Rng,
        first_event: int = 0,
        stop_event: int | None = None,
    ) -> Iterator[Events]:
        """Yield the events of a call in order, in pieces, as :meth:`physgen.Surrogate.stream`."""
        beta, seed = self._beta(n_events, conditions), as_seed(rng)
        for a, b in pieces_of(*event_range(n_events, first_event, stop_event), _PIECE):
            yield self._made(beta[a:b], _random(seed, a, b))

    def _beta(self, n_events: int, conditions: Mapping[str, Any] | None) -> np.ndarray:
        given = np.asarray((conditions or {}).get("beta", self.beta), dtype=np.float64)
        return np.broadcast_to(given, (n_events,))

    def _made(self, beta: np.ndarray, random: PhiloxRandom) -> Events:
        beta = beta.copy()
        u = random.uniform(len(beta), self.n_spins)
        spins = _ring_spins(torch.from_numpy(beta), u.to(torch.float64))
        return Events(self.schema, {"spins": spins.to(torch.int8).numpy(), "beta": beta})


def _random(seed: int, first: int, stop: int) -> PhiloxRandom:
    # a stream of its own: a surrogate called with the same seed must not follow the simulator
    return PhiloxRandom(seed, torch.arange(first, stop), stream=2)


def _ring_spins(beta: Tensor, u: Tensor) -> Tensor:
    """Spins (n_events, n_spins) from uniform numbers of that shape, one chain of bonds each."""
    n_spins = u.shape[1]
    spins = [torch.where(u[:, 0] < 0.5, -1.0, 1.0).to(torch.float64)]
    for k in range(1, n_spins):
        weight = {b: (beta * b).exp() * _rest(beta, n_spins - k, b * spins[-1] * spins[0])
                  for b in (-1.0, 1.0)}  # fmt: skip
        aligned = u[:, k] < weight[1.0] / (weight[1.0] + weight[-1.0])
        spins.append(spins[-1] * torch.where(aligned, 1.0, -1.0))
    return torch.stack(spins, dim=1)


def _rest(beta: Tensor, n_bonds: int, product: Tensor) -> Tensor:
    """Sum over the remaining bonds of exp(beta * sum b) with the given product of the bonds."""
    # not cosh and sinh, which torch rounds by the place of a number in its array
    up, down = beta.exp(), (-beta).exp()
    return 0.5 * ((up + down) ** n_bonds + product * (up - down) ** n_bonds)


@dataclass(frozen=True, kw_only=True)
class GaussianRing:
    """Two-dimensional normal blobs on a circle, to see whether a model finds every mode.

    Parameters
    ----------
    n_modes : int, default 8
        Number of blobs.
    radius : float, default 2.0
        Radius of the circle of their centers.
    sigma : float, default 0.15
        Standard deviation of each blob in x and in y.
    """

    n_modes: int = 8
    radius: float = 2.0
    sigma: float = 0.15

    @property
    def schema(self) -> Schema:
        """Two coordinates without unit."""
        return Schema((Field("x", "float32"), Field("y", "float32")))

    def __call__(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | None = None,
        *,
        rng: Rng,
    ) -> Events:
        """Draw independent points; event i depends only on (seed, i)."""
        return self._made(n_events, _random(as_seed(rng), 0, n_events))

    def stream(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | None = None,
        *,
        rng: Rng,
        first_event: int = 0,
        stop_event: int | None = None,
    ) -> Iterator[Events]:
        """Yield the events of a call in order, in pieces, as :meth:`physgen.Surrogate.stream`."""
        seed = as_seed(rng)
        for a, b in pieces_of(*event_range(n_events, first_event, stop_event), _PIECE):
            yield self._made(b - a, _random(seed, a, b))

    def _made(self, n_events: int, random: PhiloxRandom) -> Events:
        mode = (random.uniform(n_events) * self.n_modes).floor()
        angle = 2 * np.pi * mode / self.n_modes
        center = self.radius * torch.stack((angle.cos(), angle.sin()), dim=1)
        points = center + self.sigma * random.normal(n_events, 2)
        return Events(self.schema, {"x": points[:, 0].numpy(), "y": points[:, 1].numpy()})
