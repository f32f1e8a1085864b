r"""Generators: from noise and the condition to an event.

Flat columns are made by a perceptron of both. An array is made in two steps: a network of a few
noise variables z and the condition c draws a curve for every feature, and each feature is its
curve at a noise of its own,

.. math:: x_i = a_i + \int_0^{e_i} s_i(t)\, dt, \qquad e_i \sim N(0, 1)

where the slope :math:`s_i > 0` is linear between knots and constant beyond the last ones. Offset
and slopes at the knots are functions of z and c, and start at the quantiles of the first batch of
the training. The curve is the quantile function of the feature given z and c, and its density
:math:`N(e_i; 0, 1) / s_i(e_i)` is known. So any law of one voxel can be made at once, sharp edges
and empty cells too, and z has only to tell what voxels have in common. The slope has no jumps:
with these the likelihood would have some as well, of which its gradient knows nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physgen.networks.mlp import MLP
from physgen.networks.unfolded import ArrayNetwork, Unfolded
from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = ["CurveGenerator", "FlatGenerator"]

# where the slope of a curve is told, in standard deviations of the noise
_KNOTS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
# half of their distance
_HALF = 0.25
_SMALLEST_SLOPE = 0.02
_SMALLEST_SQUARE = 1e-12
_MIDDLE = _KNOTS.index(0.0)
# softplus of it is 1: an untrained curve returns the quantiles of the first batch
_UNIT_SLOPE = math.log(math.e - 1)


class FlatGenerator(nn.Sequential):
    """Perceptron of noise and condition; gray levels leave it through tanh, between their ends.

    Most pixels of a picture are black: tanh is there at once, where a linear layer has to hit the
    same number in every event, and is told apart by its last digits.

    Parameters
    ----------
    spec : TensorSpec
    n_latent, n_hidden, n_layers : int
    """

    def __init__(self, spec: TensorSpec, n_latent: int, *, n_hidden: int, n_layers: int) -> None:
        self.n_latent = n_latent
        n_in = n_latent + spec.n_conditions
        super().__init__(*MLP(n_in, spec.n_features, n_hidden=n_hidden, n_layers=n_layers))
        self.bounds = spec.bounds

    def look(self, x: Tensor) -> None:
        """Nothing to learn from the first batch."""

    def draw(self, condition: Tensor, rng: Random) -> Tensor:
        """Events at these conditions, (n_events, n_features)."""
        z = rng.normal(len(condition), self.n_latent)
        made: Tensor = self(torch.cat((z, condition), dim=1))
        if self.bounds is None:
            return made
        low, high = self.bounds
        return (low + high) / 2 + (high - low) / 2 * torch.tanh(made)


class CurveGenerator(nn.Module):
    """A curve for every feature from a network for arrays, at noise of its own.

    Parameters
    ----------
    spec : TensorSpec
    n_latent : int
        Noise variables that all features share.
    network : Perceptron, UNet, VoxelTransformer or SetTransformer
    """

    knots: Tensor
    widths: Tensor
    start: Tensor
    has_looked: Tensor

    def __init__(self, spec: TensorSpec, n_latent: int, network: ArrayNetwork) -> None:
        super().__init__()
        self.n_latent, self.n_features = n_latent, spec.n_features
        self.network = Unfolded(spec, n_latent, 1 + len(_KNOTS), network)
        knots = torch.tensor(_KNOTS)[:, None]
        self.register_buffer("knots", knots, persistent=False)
        self.register_buffer("widths", knots.diff(dim=0), persistent=False)
        start = torch.ones(1 + len(_KNOTS), spec.n_features)
        start[0] = 0
        self.register_buffer("start", start)
        self.register_buffer("has_looked", torch.tensor(False))

    def look(self, x: Tensor) -> None:
        """Start from the quantiles of the first batch of the training."""
        if bool(self.has_looked):
            return
        # half a knot to either side of every one
        knots = self.knots[:, 0].to(x.dtype)
        sides = torch.cat((knots - _HALF, knots[-1:] + _HALF, knots[_MIDDLE : _MIDDLE + 1]))
        values = torch.quantile(x, torch.special.ndtr(sides), dim=0)
        slopes = (values[:-1].diff(dim=0) / (2 * _HALF)).clamp_min(_SMALLEST_SLOPE)
        self.start.copy_(torch.cat((values[-1:], slopes)))
        self.has_looked.fill_(True)

    def draw(self, condition: Tensor, rng: Random) -> Tensor:
        """Events at these conditions, (n_events, n_features)."""
        curves = self.curves(condition, rng)
        return self.at(curves, rng.normal(len(condition), self.n_features))

    def curves(self, condition: Tensor, rng: Random) -> Tensor:
        """Offsets and slopes at the knots, (n_events, 1 + n_knots, n_features)."""
        z = rng.normal(len(condition), self.n_latent)
        found = self.network(torch.cat((z, condition), dim=1)).unflatten(1, (-1, self.n_features))
        slopes = self.start[1:] * F.softplus(found[:, 1:] + _UNIT_SLOPE)
        return torch.cat((self.start[:1] + found[:, :1], slopes), dim=1)

    def at(self, curves: Tensor, noise: Tensor) -> Tensor:
        """Curves at this noise, (n_events, n_features)."""
        slopes, first = curves[:, 1:], self._ends(curves)[:, 0]
        way = (noise[:, None] - self.knots[:-1]).clamp(min=0.0).minimum(self.widths)
        inside = slopes[:, :-1] * way + slopes.diff(dim=1) * way.square() / (2 * self.widths)
        below = slopes[:, 0] * (noise - _KNOTS[0]).clamp(max=0.0)
        above = slopes[:, -1] * (noise - _KNOTS[-1]).clamp(min=0.0)
        return first + below + inside.sum(1) + above

    def log_prob(self, x: Tensor, condition: Tensor, rng: Random) -> Tensor:
        """Logarithm of the law of every feature given one z per event, (n_events, n_features)."""
        return self.log_density(self.curves(condition, rng), x)

    def log_density(self, curves: Tensor, x: Tensor) -> Tensor:
        """Logarithm of the density of these curves at x, (n_events, n_features)."""
        slopes, ends = curves[:, 1:], self._ends(curves)
        lower, rise = slopes[:, :-1], slopes.diff(dim=1) / self.widths
        passed = (x[:, None] - ends[:, :-1]).clamp(min=0.0).minimum(ends.diff(dim=1))
        # the positive root of passed = lower * way + rise * way^2 / 2
        root = (lower.square() + 2 * rise * passed).clamp_min(_SMALLEST_SQUARE).sqrt()
        way = 2 * passed / (lower + root)
        below = (x - ends[:, 0]).clamp(max=0.0) / slopes[:, 0]
        above = (x - ends[:, -1]).clamp(min=0.0) / slopes[:, -1]
        e = _KNOTS[0] + below + way.sum(1) + above
        slope = slopes[:, 0] + (rise * way).sum(1)
        return -(e.square() + math.log(2 * math.pi)) / 2 - slope.clamp_min(1e-6).log()

    def _ends(self, curves: Tensor) -> Tensor:
        """The curves at their knots, (n_events, n_knots, n_features)."""
        steps = self.widths * (curves[:, 1:-1] + curves[:, 2:]) / 2
        heights = F.pad(steps.cumsum(1), (0, 0, 1, 0))
        return curves[:, :1] + heights - heights[:, _MIDDLE : _MIDDLE + 1]
