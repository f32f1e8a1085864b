"""Unweighting: from weighted events to fewer of equal weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from physgen.events import Events
from physgen.metrics.resampling import normalize_weights
from physgen.random import PhiloxRandom, Rng, as_seed

__all__ = ["Unweighted", "unweight"]


@dataclass(frozen=True)
class Unweighted:
    """Events of equal weight out of weighted ones; made by :func:`unweight`.

    Attributes
    ----------
    events : Events
        The accepted ones, each with weight 1.
    efficiency : float
        Share of the events that were accepted.
    max_weight : float
        Weight above which an event is accepted for certain.
    n_over : int
        How many had more, and count for less than they should.
    over_share : float
        Share of the sum of weights that is lost that way: the largest possible bias of a
        probability.
    """

    events: Events
    efficiency: float
    max_weight: float
    n_over: int
    over_share: float

    def __str__(self) -> str:
        over = (
            f"; {self.n_over} had more than the largest weight {self.max_weight:.3g}, which loses "
            f"{self.over_share:.2%} of the sum"
        )
        return f"{len(self.events):,} events of weight 1, efficiency {self.efficiency:.1%}" + (
            over if self.n_over else ""
        )


def unweight(events: Events, *, max_weight: float | None = None, rng: Rng) -> Unweighted:
    r"""Accept events in proportion to their weights, and give them weight 1.

    Event i is accepted with probability :math:`\min(1, w_i / w_{\max})`.

    Parameters
    ----------
    events : Events
        With a weight column, none negative.
    max_weight : float, optional
        In the unit of the weights; their largest by default, for which nothing is lost. A smaller
        one accepts more, and the result says what that costs.
    rng : int or torch.Generator
        Seed. Whether event i is accepted depends only on (seed, i) and its weight.

    Returns
    -------
    Unweighted

    Raises
    ------
    ValueError
        If events have no weights, or negative ones, or none is accepted.

    Examples
    --------
    >>> x = Events.from_dict({"x": np.arange(4000.0), "w": np.repeat([1.0, 3.0], 2000)})
    >>> x = x.replace_schema(x.schema.with_field("w", role="weight"))
    >>> print(unweight(x, rng=0))
    2,663 events of weight 1, efficiency 66.6%
    """
    name = events.schema.weight
    if name is None:
        raise ValueError("the events have no weight column: they are unweighted already")
    w = events.weights
    if w.min(initial=0) < 0:
        raise ValueError(
            f"{(w < 0).sum()} events have negative weights; accept-reject cannot take them away. "
            "Refine with this sample as the reference, and unweight what comes out"
        )
    normalize_weights(w, len(w))  # says what is wrong with them
    top = float(w.max()) if max_weight is None else max_weight
    if not top > 0:
        raise ValueError(f"max_weight must be positive, got {max_weight}")
    u = PhiloxRandom(as_seed(rng), torch.arange(len(w))).uniform(len(w)).numpy()
    accepted = np.flatnonzero(u * top < w)
    if len(accepted) == 0:
        raise ValueError(
            f"none of {len(w)} events was accepted; their weights are at most {w.max():.4g}, "
            f"max_weight is {top:.4g}"
        )
    kept = events[accepted].with_columns({name: np.ones(len(accepted))})
    return Unweighted(
        events=kept,
        efficiency=len(accepted) / len(w),
        max_weight=top,
        n_over=int((w > top).sum()),
        over_share=float(np.maximum(w - top, 0).sum() / w.sum()),
    )
