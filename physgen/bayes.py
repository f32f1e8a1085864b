"""Events of a surrogate under a likelihood of the user's own, in the units of the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from physgen.checks import whole_number
from physgen.events import Events
from physgen.exporting.columns import decode_columns
from physgen.models.diffusion.model import diffusion_stages
from physgen.models.diffusion.posterior import posterior as draw_posterior
from physgen.random import PhiloxRandom, Rng, as_seed
from physgen.surrogate import Surrogate
from physgen.training import threads

__all__ = ["posterior"]

_BLOCK = 64
_TRUSTED = 3


def posterior(
    surrogate: Surrogate,
    n_events: int,
    log_likelihood: Callable[[dict[str, Tensor]], Tensor],
    conditions: Mapping[str, Any] | Events | None = None,
    *,
    rng: Rng,
    n_steps: int = 128,
    n_particles: int = 32,
    extrapolate: bool = False,
) -> Events:
    r"""Draw events from :math:`p(x | d) \propto p(x)\, L(x)`, p the law of a diffusion model.

    The likelihood says how well an event explains what was seen: a measured sum of columns, some
    voxels of a shower whose others are missing, a selection. No further training is needed.

    Parameters
    ----------
    surrogate : Surrogate
        Of a diffusion model.
    n_events : int
        Events to draw, each from particles of its own.
    log_likelihood : callable
        Takes the columns of n events, torch tensors of shape (n, ...) in the units of the file
        by name, and returns ln L up to a constant, (n,). Written in torch, its gradient leads
        the particles; one without a gradient only weighs them.
    conditions : mapping or Events, optional
        As for a call of the surrogate.
    rng : int or torch.Generator
        Seed; event i depends only on (seed, i) and its conditions.
    n_steps : int, default 128
        Noise levels.
    n_particles : int, default 32
        Particles per event. The law is right for many; the narrower the likelihood, the more it
        takes.
    extrapolate : bool, default False
        Accept conditions outside the trained range.

    Returns
    -------
    Events
        The convention ``posterior`` says how many particles were effective at the least, and warns
        where they were fewer than three in some events.

    Raises
    ------
    TypeError
        If the surrogate is no diffusion model.
    ConditionError
        As for a call.
    ValueError
        If the likelihood has not one number per event.

    References
    ----------
    Wu et al., arXiv:2306.17775.

    Examples
    --------
    >>> import numpy as np, physgen as pg
    >>> x = np.random.default_rng(0).normal(size=2000)
    >>> truth = pg.Events.from_dict({"x": x})
    >>> surrogate = pg.Surrogate.fit(truth, pg.Diffusion(n_hidden=32), steps=300, rng=1)
    >>> seen = lambda columns: -((columns["x"] - 1.0) ** 2) / (2 * 0.5**2)
    >>> found = posterior(surrogate, 200, seen, rng=2, n_steps=64)
    >>> bool(0.6 < found["x"].mean() < 1.0)     # 0.8 for a normal law of width 1
    True
    """
    stages = diffusion_stages(
        surrogate.model,
        "only such a model can be multiplied with a likelihood; RBM and MaskedDiffusion complete "
        "events with known entries",
    )
    n_events = whole_number("n_events", n_events, 1)
    n_particles = whole_number("n_particles", n_particles, 1)
    given, outside = surrogate.conditions.check(n_events, conditions, extrapolate=extrapolate)
    seed = as_seed(rng)
    parts, counts = [], []
    for start in range(0, n_events, _BLOCK):
        # whole blocks, since a matrix product of another height may round differently
        numbers = torch.arange(start, start + _BLOCK)
        rows = numbers.clamp_max(n_events - 1).numpy()
        block = {name: values[rows] for name, values in given.items()}
        noise = PhiloxRandom(seed, numbers, stream=1)
        condition = surrogate.preprocessor.condition(block, _BLOCK, rng=noise)
        with threads(1), torch.no_grad():
            x, effective = draw_posterior(
                stages, condition, _of_features(surrogate, log_likelihood, block, n_particles),
                rng=PhiloxRandom(seed, numbers), n_steps=n_steps, n_particles=n_particles,
            )  # fmt: skip
        parts.append(x[: n_events - start])
        counts.append(effective[: n_events - start])
    events = surrogate.events_of(torch.cat(parts), given, outside)
    said = _in_words(torch.cat(counts), n_particles)
    conventions = {**events.schema.conventions, "posterior": said}
    return events.replace_schema(dataclasses.replace(events.schema, conventions=conventions))


def _of_features(
    surrogate: Surrogate,
    log_likelihood: Callable[[dict[str, Tensor]], Tensor],
    given: Mapping[str, Any],
    n_particles: int,
) -> Callable[[Tensor, Tensor], Tensor]:
    """The likelihood of features, by way of the columns that they stand for."""
    typed = {
        name: torch.as_tensor(values).repeat_interleave(n_particles)
        for name, values in given.items()
    }

    def of_features(x: Tensor, _sigma: Tensor) -> Tensor:
        found: Any = log_likelihood(decode_columns(surrogate.preprocessor, x, typed))
        if not isinstance(found, Tensor) or found.shape != (len(x),):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"log_likelihood must return a tensor with one number per event, ({len(x)},), got "
                f"{shape}"
            )
        # one without a gradient only weighs
        return found.to(x.dtype) + 0 * x.sum(1)

    return of_features


def _in_words(effective: Tensor, n_particles: int) -> str:
    least, poor = float(effective.min()), int((effective < _TRUSTED).sum())
    text = f"twisted particles, at least {least:.1f} of {n_particles} effective"
    if not poor:
        return text
    return f"{text}; below {_TRUSTED} in {poor} of {len(effective)} events: use more particles"
