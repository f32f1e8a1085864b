"""The numbers that make a Boltzmann machine; fields, energies and moves follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.models.rbm.layers import Hidden, Visible
from physgen.random import Random

__all__ = ["Layers", "Parameters"]


@dataclass(frozen=True, eq=False)
class Layers:
    """The two layers; which values their units have."""

    visible: Visible
    hidden: Hidden


@dataclass(frozen=True, eq=False)
class Parameters:
    """Parameters at given conditions; with a leading axis, of several machines at once.

    Parameters
    ----------
    layers : Layers
    visible_bias : Tensor of shape (1 or n_events, n_features)
        The biases a.
    hidden_bias : Tensor of shape (1 or n_events, n_hidden)
        The biases b.
    couplings : Tensor of shape (n_features, n_hidden)
        W.
    variance : Tensor of shape (n_features,)
        Squared widths of the real features, 1 elsewhere.
    gain : Tensor of shape (1 or n_events, n_hidden), optional
        Factors g of the couplings, column by column, where these depend on a condition.
    """

    layers: Layers
    visible_bias: Tensor
    hidden_bias: Tensor
    couplings: Tensor
    variance: Tensor
    gain: Tensor | None = None

    def values(self, x: Tensor) -> Tensor:
        """Values of the visible units."""
        return self.layers.visible.values(x, self.variance)

    def hidden_field(self, values: Tensor) -> Tensor:
        """Field on the hidden units, of shape (..., n_hidden)."""
        if self.gain is not None:
            return self.hidden_bias + self.gain * (values @ self.couplings)
        if values.ndim == 2 and len(self.hidden_bias) == 1:
            return torch.addmm(self.hidden_bias, values, self.couplings)
        return self.hidden_bias + values @ self.couplings

    def visible_field(self, h: Tensor) -> Tensor:
        """Field on the visible units, of shape (..., n_features)."""
        if self.gain is not None:
            h = self.gain * h
        if h.ndim == 2 and len(self.visible_bias) == 1:
            return torch.addmm(self.visible_bias, h, self.couplings.T)
        return self.visible_bias + h @ self.couplings.mT

    def free_energy(self, x: Tensor) -> Tensor:
        """Free energy F of features x, of shape (...,)."""
        values = self.values(x)
        log_sum = self.layers.hidden.log_sum(self.hidden_field(values))
        return self.free_energy_with(log_sum, x, values)

    def free_energy_with(self, log_sum: Tensor, x: Tensor, values: Tensor) -> Tensor:
        """Free energy where the logarithm of the sum over the hidden states is known."""
        local = self.layers.visible.local_energy(x, values, self.visible_bias, self.variance)
        return local - log_sum

    def gibbs(self, x: Tensor, n_steps: int, rng: Random) -> Tensor:
        """Block Gibbs steps: all hidden units given the visible ones, then the reverse."""
        for _ in range(n_steps):
            h = self.layers.hidden.draw(self.hidden_field(self.values(x)), rng)
            x = self.draw_visible(h, rng)
        return x

    def draw_visible(self, h: Tensor, rng: Random) -> Tensor:
        """Features drawn given hidden units of shape (..., n_hidden)."""
        return self.layers.visible.draw(self.visible_field(h), self.variance, rng)

    def log_weight_of_hidden(self, h: Tensor) -> Tensor:
        """Logarithm of the sum over the visible states given hidden ones, shape (...,)."""
        field, bias = self.visible_field(h), self.visible_bias
        return (h * self.hidden_bias).sum(-1) + self.layers.visible.log_sum(
            field, bias, self.variance
        )

    def log_z_without_couplings(self) -> Tensor:
        """Logarithm of Z of the machine if its couplings were zero, of shape (1 or n_events,)."""
        visible = self.layers.visible.log_sum(self.visible_bias, self.visible_bias, self.variance)
        return visible + self.layers.hidden.log_sum(self.hidden_bias)
