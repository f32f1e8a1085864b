"""Which parameters of a machine are free, and how the others follow from a symmetry."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physgen.models.base import TensorSpec
from physgen.models.rbm.settings import RBM

__all__ = ["Sharing"]


class Sharing(nn.Module):
    """Free parameters of a machine with these symmetries, and the way to all parameters.

    Without a symmetry all are free. Flip symmetry leaves no biases. Under translations a row of
    the free couplings is a filter w_f over the lattice, the unit f at site y couples to site x by
    w_f(x - y), and all sites have one bias.

    Attributes
    ----------
    n_visible, n_hidden : int
        Numbers of free biases of each layer.
    n_columns : int
        Number of free columns of the couplings, each with a gain of its own under conditions.
    """

    site: Tensor
    window: Tensor

    def __init__(self, settings: RBM, spec: TensorSpec) -> None:
        super().__init__()
        self.translations = settings.translation_symmetric
        self._n_features, self._n_units = spec.n_features, settings.n_hidden
        n_columns, n_visible = settings.n_hidden, spec.n_features
        if self.translations:
            n_columns, n_visible = settings.n_hidden // spec.n_features, 1
            self.register_buffer("site", _differences(spec.shape), persistent=False)
            window = _window(spec.shape, settings.filter_size)
            self.register_buffer("window", window, persistent=False)
        self.n_columns = n_columns
        self.n_visible = 0 if settings.flip_symmetric else n_visible
        self.n_hidden = 0 if settings.flip_symmetric else n_columns

    def couplings(self, free: Tensor) -> Tensor:
        """All couplings, (n_features, n_hidden), of the free ones, of that shape or filters."""
        if not self.translations:
            return free
        filters = free.new_zeros(len(free), self._n_features).index_copy(1, self.window, free)
        return filters[:, self.site].permute(1, 0, 2).flatten(1)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the free couplings."""
        if self.translations:
            return self.n_columns, len(self.window)
        return self._n_features, self.n_columns

    def visible(self, free: Tensor) -> Tensor:
        """A number for each feature, (..., n_features), from the free ones (..., n_visible)."""
        if not self.n_visible:
            return free.new_zeros(*free.shape[:-1], self._n_features)
        return free.expand(*free.shape[:-1], self._n_features)

    def hidden(self, free: Tensor) -> Tensor:
        """A number for each hidden unit, (..., n_hidden), from the free ones."""
        if not free.shape[-1]:
            return free.new_zeros(*free.shape[:-1], self._n_units)
        if self.translations:
            return free.repeat_interleave(self._n_features, dim=-1)
        return free

    def free_visible(self, all_of_them: Tensor) -> Tensor:
        """Free numbers of the features from all of them, which the symmetry makes equal."""
        if not self.n_visible:
            return all_of_them[:0]
        return all_of_them.mean(0, keepdim=True) if self.translations else all_of_them

    def free_hidden(self, all_of_them: Tensor) -> Tensor:
        """Free numbers of the hidden units from all of them, which the symmetry makes equal."""
        return all_of_them.view(self.n_columns, -1).mean(1)


def _differences(shape: tuple[int, ...]) -> Tensor:
    """Flat index of x - y on a periodic lattice, for all sites x (rows) and y (columns)."""
    coordinates = torch.stack(
        torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    ).flatten(1)
    sides = torch.tensor(shape)[:, None, None]
    apart = (coordinates[:, :, None] - coordinates[:, None, :]) % sides
    index = torch.zeros_like(apart[0])
    for along, side in zip(apart, shape, strict=True):
        index = index * side + along
    return index


def _window(shape: tuple[int, ...], side: int) -> Tensor:
    """Flat indices of the sites around the origin within a cube of this side; 0 for all."""
    sites = torch.zeros(1, dtype=torch.int64)
    for n in shape:
        near = torch.arange(n) if side == 0 else torch.arange(-(side // 2), side // 2 + 1) % n
        sites = (sites[:, None] * n + near).flatten()
    return sites
