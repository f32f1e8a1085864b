"""What a machine does around a gradient step besides the loss: means, snapshots, centering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from physgen.models.rbm.chains import FastPCD

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["CenteredStep", "before_update", "center_gradient", "follow_couplings", "follow_means"]

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
def follow_means(model: RBMModel, values: Tensor, hidden: Tensor) -> None:
    """Follow the means of the visible values and of the hidden units."""
    if model.settings.flip_symmetric:
        return
    model.visible_mean.lerp_(values.mean(0), 1 - _MEMORY)
    model.hidden_mean.lerp_(hidden.mean(0), 1 - _MEMORY)


class CenteredStep:
    """What surrounds a step of the optimizer, so that it is one of a machine of deviations.

    In the centered parametrization the couplings join the deviations u - mu and h - lambda from
    the means of the units. There the optimizer's step is taken; the biases of the machine as it
    is then follow the couplings: a = a' - W lambda, b = b' - W^T mu.

    References
    ----------
    Melchior, Fischer and Wiskott, J. Mach. Learn. Res. 17 (2016) 99, eqs. (6)-(8).
    """

    def __init__(self, model: RBMModel) -> None:
        self._model = model
        # room for those before the step, since it costs more to ask for it at each step
        self._couplings = torch.empty_like(model.couplings.detach())

    @torch.no_grad()
    def before(self, *_: object) -> None:
        """Let the fast addition follow the gradient, and make it the centered one."""
        model = self._model
        if isinstance(model.settings.chains, FastPCD):
            gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            rate, decay = model.settings.chains.rate, model.settings.chains.decay
            model.fast.mul_(decay).sub_(rate * torch.cat(gradients))
        if _is_centered(model):
            self._couplings.copy_(model.couplings)
            center_gradient(model)

    @torch.no_grad()
    def after(self, *_: object) -> None:
        """Let the biases follow the couplings."""
        if _is_centered(self._model):
            change = torch.sub(self._model.couplings, self._couplings, out=self._couplings)
            follow_couplings(self._model, change)


def center_gradient(model: RBMModel) -> None:
    """Subtract da lambda^T + mu db^T from the gradient of the couplings."""
    w, a, b = model.couplings.grad, model.visible_bias.grad, model.hidden_bias.grad
    if w is None or a is None or b is None:
        return
    mu, offset, across = _offsets(model, w)
    across.addr_(offset, a.expand(across.shape[1]), alpha=-1)
    across.addr_(b, mu.expand(across.shape[1]), alpha=-1)


def follow_couplings(model: RBMModel, change: Tensor) -> None:
    """Change the biases such that those of the centered machine stay as they are."""
    mu, offset, across = _offsets(model, change)
    a = model.visible_bias
    a.sub_(torch.mv(across.T, offset).sum_to_size(a.shape))
    model.hidden_bias.sub_(across @ mu.expand(across.shape[1]))


def _is_centered(model: RBMModel) -> bool:
    return model.settings.centered and not model.settings.flip_symmetric


def _offsets(model: RBMModel, couplings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The means mu and lambda as far as they are free, and couplings (n_columns, ...)."""
    mu = model.sharing.free_visible(model.visible_mean)
    offset = model.sharing.free_hidden(model.hidden_mean)
    # the filters of a translation symmetry lie in the rows, the columns of others in columns
    return mu, offset, couplings if model.sharing.translations else couplings.T
