"""The two layers of a Boltzmann machine: the values of their units, and the laws of these.

A unit in a field f has its values u with the weights exp(f u); a Gaussian unit of bias a with the
weights exp(f u - s u^2 / 2 - a^2 / (2 s)), where s is the variance of its feature:

========== ============ ========================== ============================
unit       values u     ln of the sum of weights   features x of a visible unit
========== ============ ========================== ============================
Ising      -1, +1       ln 2 cosh f                u
Bernoulli  0, 1         ln(1 + e^f)                2u - 1
Potts      one-hot      ln sum_k e^{f_k}           2u - 1, one feature per value
Gaussian   real         (f^2 - a^2) / (2 s), and   u s
                        ln(2 pi s) / 2, over x
========== ============ ========================== ============================
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from physgen.models.base import TensorSpec
from physgen.models.rbm.draws import draw_pairs
from physgen.random import GeneratorRandom, Random

__all__ = ["Binary", "Hidden", "Visible"]

Binary = Literal["ising", "bernoulli"]

# means of the data are kept this far from the ends, where the field would be infinite
_EDGE = 1e-3


class Hidden:
    """Hidden units of two values.

    Parameters
    ----------
    kind : "ising" or "bernoulli"
    """

    def __init__(self, kind: Binary) -> None:
        self.kind = kind

    @property
    def values(self) -> tuple[float, float]:
        """The two values of a unit."""
        return (-1.0, 1.0) if self.kind == "ising" else (0.0, 1.0)

    def log_sum(self, field: Tensor) -> Tensor:
        """Logarithm of the sum over all hidden states, shape (...,)."""
        return (log_2_cosh(field) if self.kind == "ising" else _softplus(field)).sum(-1)

    def log_sum_and_mean(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`log_sum`, and the means as its first derivative; of no higher ones."""
        found: tuple[Tensor, Tensor] = _LogSum.apply(field, self)  # type: ignore[no-untyped-call]
        return found

    def mean(self, field: Tensor) -> Tensor:
        """Mean of each unit."""
        if self.kind == "bernoulli":
            return torch.sigmoid(field)
        # tanh, from the function that is several times quicker on a CPU
        return (2 * field).sigmoid_().sub(0.5).mul_(2)

    @torch.no_grad()
    def draw(self, field: Tensor, rng: Random) -> Tensor:
        """Values drawn from the law of each unit, in the place of its field."""
        if self.kind == "ising":
            return spins(field, rng)
        return zeros_and_ones(field, rng)


class Visible(nn.Module):
    """Visible units, of one kind or several, as the features of the data say.

    Parameters
    ----------
    spec : TensorSpec
    kind : "ising" or "bernoulli"
        Values of the binary features; those of one-hot units are 0 and 1 in any case.
    """

    real: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, spec: TensorSpec, kind: Binary) -> None:
        super().__init__()
        self.spec = spec
        in_unit = torch.zeros(spec.n_features, dtype=torch.bool)
        for first, n_values in spec.one_hot:
            in_unit[first : first + n_values] = True
        binary = torch.tensor(spec.binary)
        zero_one = in_unit | binary if kind == "bernoulli" else in_unit
        scale = torch.where(zero_one, 0.5, 1.0)
        self.register_buffer("real", ~binary, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", 1 - scale, persistent=False)
        self.any_real = bool(self.real.any())
        self.all_ising = bool((scale == 1).all()) and not self.any_real
        self.any_single = bool((binary & ~in_unit).any())
        self.widths = sorted({n_values for _, n_values in spec.one_hot})
        for width in self.widths:
            index = [torch.arange(i, i + q) for i, q in spec.one_hot if q == width]
            self.register_buffer(f"units_{width}", torch.stack(index), persistent=False)

    @property
    def units(self) -> list[Tensor]:
        """Features of the one-hot units, (n_units, n_values) each, one tensor per width."""
        return [getattr(self, f"units_{width}") for width in self.widths]

    def values(self, x: Tensor, variance: Tensor) -> Tensor:
        """Values u of features x, of shape (..., n_features)."""
        if self.all_ising:
            return x
        scale = torch.where(self.real, 1 / variance, self.scale) if self.any_real else self.scale
        return x * scale + self.shift

    def local_energy(self, x: Tensor, values: Tensor, bias: Tensor, variance: Tensor) -> Tensor:
        """Energy of the visible units without the hidden ones, shape (...,)."""
        if not self.any_real:
            return -_row_products(values, bias)
        distance = (x - bias).square() / (2 * variance)
        return torch.where(self.real, distance, -bias * values).sum(-1)

    @torch.no_grad()
    def draw(self, field: Tensor, variance: Tensor, rng: Random) -> Tensor:
        """Features drawn from the law of each unit, of the shape of ``field``, which is lost."""
        if self.all_ising:
            return spins(field, rng)
        x = field
        if self.any_real:
            x = field + variance.sqrt() * rng.normal(*field.shape)
        if self.any_single:
            x = torch.where(self.real, x, spins(self.scale * field, rng))
        for index in self.units:
            x = x.index_copy(-1, index.flatten(), _one_hot(field[..., index], rng))
        return x

    def mean(self, field: Tensor) -> Tensor:
        """Means of the features in these fields."""
        x = torch.where(self.real, field, torch.tanh(self.scale * field))
        for index in self.units:
            shares = torch.softmax(field[..., index], -1).flatten(-2)
            x = x.index_copy(-1, index.flatten(), 2 * shares - 1)
        return x

    def log_sum(self, field: Tensor, bias: Tensor, variance: Tensor) -> Tensor:
        """Logarithm of the sum (or integral) over all visible states, shape (...,)."""
        # ln 2 cosh f for spins (scale 1), ln(1 + e^f) for 0 and 1 (scale 1/2)
        single = _softplus(2 * self.scale * field) - (2 * self.scale - 1) * field
        if self.any_real:
            gauss = (field.square() - bias.square()) / (2 * variance)
            gauss = gauss + torch.log(2 * math.pi * variance) / 2
            single = torch.where(self.real, gauss, single)
        total = single.sum(-1)
        for index in self.units:
            of_unit = torch.logsumexp(field[..., index], -1).sum(-1)
            total = total + of_unit - single[..., index.flatten()].sum(-1)
        return total

    def field_of(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Bias of free units that have these means of the values, shape (n_features,)."""
        low, high = torch.where(self.scale == 1, -1.0, 0.0), 1.0
        share = ((mean - low) / (high - low)).clamp(_EDGE, 1 - _EDGE)
        field = torch.logit(share) / (2 * self.scale)
        for index in self.units:
            field = field.index_copy(0, index.flatten(), share[index.flatten()].log())
        return torch.where(self.real, mean * variance, field)


class _LogSum(torch.autograd.Function):
    """Sums over hidden units with their derivatives at once, quicker than taking these again."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, layer: Hidden) -> tuple[Tensor, Tensor]:
        mean = layer.mean(field)
        ctx.save_for_backward(mean)
        ctx.mark_non_differentiable(mean)
        return layer.log_sum(field), mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sums: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (mean,) = ctx.saved_tensors
        return of_sums[..., None] * mean, None


def log_2_cosh(x: Tensor) -> Tensor:
    """ln(2 cosh x), also where cosh x overflows."""
    return x - F.logsigmoid(2 * x)


def spins(field: Tensor, rng: Random) -> Tensor:
    """Spins -1 and +1 with p(+1) = sigmoid(2 field), in the place of the field."""
    return _either(field.mul_(2), -1.0, rng)


def zeros_and_ones(field: Tensor, rng: Random) -> Tensor:
    """Zeros and ones with p(1) = sigmoid(field), in the place of the field."""
    return _either(field, 0.0, rng)


def _either(log_odds: Tensor, low: float, rng: Random) -> Tensor:
    """1 with these odds, else ``low``."""
    p = log_odds.sigmoid_()
    if isinstance(rng, GeneratorRandom) and p.device.type == "cpu":
        return draw_pairs(p, low, 1.0, rng.generator)
    # comparing in place is several times quicker than ``where``
    return p.gt_(rng.uniform(*p.shape)).mul_(1 - low).add_(low)


def _row_products(rows: Tensor, bias: Tensor) -> Tensor:
    """Sum of rows (..., n) times bias (..., 1 or n_events, n) over the last axis."""
    if bias.ndim == 2 and len(bias) == 1:
        return rows @ bias[0]
    return (rows * bias).sum(-1)


def _softplus(x: Tensor) -> Tensor:
    # torch's softplus is slower, and takes a shortcut whose error of e^-20 shows in float64
    return -F.logsigmoid(-x)


def _one_hot(field: Tensor, rng: Random) -> Tensor:
    """One of each unit's values drawn: features of shape (..., n_units * n_values)."""
    cumulative = torch.softmax(field, -1).cumsum(-1)[..., :-1]
    chosen = (rng.uniform(*cumulative.shape[:-1])[..., None] > cumulative).sum(-1)
    return (2.0 * F.one_hot(chosen, field.shape[-1]) - 1).to(field.dtype).flatten(-2)
