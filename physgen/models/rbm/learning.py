"""What a machine does around a gradient step besides the loss: means, snapshots, centering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from physgen.models.rbm.chains import FastPCD

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["before_step", "before_update", "follow_means"]

# memory of the running means of the units, in updates
_MEMORY = 0.99


@torch.no_grad()
def before_update(model: RBMModel, x: Tensor) -> None:
    """Count, keep a snapshot where one is due; start from the means of the first batch."""
    if model.snapshots.n_updates == 0:
        p = model.parameters_at(x.new_zeros(1, model.spec.n_conditions))
        model.visible_mean.copy_(p.values(x).mean(0))
        if model.sharing.n_visible:
            bias = model.layers.visible.field_of(model.visible_mean, p.variance)
            model.visible_bias.copy_(model.sharing.free_visible(bias))
    model.snapshots.count(model.numbers)


@torch.no_grad()
def follow_means(model: RBMModel, values: Tensor, field: Tensor) -> None:
    """Follow the means of the visible values, and of the hidden ones in this field."""
    if model.settings.flip_symmetric:
        return
    model.visible_mean.lerp_(values.mean(0), 1 - _MEMORY)
    model.hidden_mean.lerp_(model.layers.hidden.mean(field).mean(0), 1 - _MEMORY)


@torch.no_grad()
def before_step(model: RBMModel) -> None:
    """Let the fast addition follow the gradient, and center it."""
    if isinstance(model.settings.chains, FastPCD):
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        model.fast.mul_(model.settings.chains.decay).sub_(model.settings.chains.rate * gradient)
    if model.settings.centered and not model.settings.flip_symmetric:
        center_gradients(model)


def center_gradients(model: RBMModel) -> None:
    """Turn gradients into those for couplings of deviations from the means, at equal moments.

    Melchior, Fischer and Wiskott, eqs. (6)-(8): with the offsets mu and lambda,
    dW = dW - da lambda^T - mu db^T, then da = da - dW lambda and db = db - dW^T mu.
    """
    w, a, b = model.couplings.grad, model.visible_bias.grad, model.hidden_bias.grad
    if w is None or a is None or b is None:
        return
    mu = model.sharing.free_visible(model.visible_mean)
    offset = model.sharing.free_hidden(model.hidden_mean)
    # the filters of a translation symmetry lie in the rows, the columns of others in columns
    across = w if model.sharing.translations else w.T
    across.addr_(offset, a.expand(across.shape[1]), alpha=-1)
    across.addr_(b, mu.expand(across.shape[1]), alpha=-1)
    a.sub_(torch.mv(across.T, offset).sum_to_size(a.shape))
    b.sub_(across @ mu.expand(across.shape[1]))
