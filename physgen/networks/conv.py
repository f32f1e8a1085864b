"""Convolutions on periodic lattices."""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["PeriodicConv"]


class PeriodicConv(nn.Module):
    r"""Sum over the sites of a lattice of one local function, the same at every site.

    .. math:: f(x, c) = \sum_r \phi\big(x_{r + \delta}, |\delta_a| \le n_{layers} (k - 1) / 2;
              \; c\big)

    Convolutions with k sites along each axis and periodic padding, each followed by a scale and a
    shift per channel that the context sets (FiLM) and by a SiLU; then one linear map per site.
    So f is invariant under every translation of the lattice.

    Parameters
    ----------
    shape : tuple of int
        Sides of the lattice, two or three.
    n_context : int
        Width of the context (conditions of an event); 0 for none.
    n_channels : int, default 32
        Channels of the hidden layers.
    n_layers : int, default 2
        Number of convolutions.
    kernel_size : int, default 3
        Their width k; odd, and no larger than the smallest side.

    References
    ----------
    Perez et al., *FiLM*, arXiv:1709.07871.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        n_context: int,
        *,
        n_channels: int = 32,
        n_layers: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        self.shape = shape
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[len(shape)]
        widths = [1] + [n_channels] * (n_layers - 1)
        self.convolutions = nn.ModuleList(
            conv(n, n_channels, kernel_size, padding="same", padding_mode="circular")
            for n in widths
        )
        self.modulations = nn.ModuleList(
            nn.Linear(n_context, 2 * n_channels) for _ in widths if n_context
        )
        self.last = nn.Linear(n_channels, 1)
        # so that the sum over all sites starts of order one
        nn.init.uniform_(self.last.weight, -1, 1)
        self.last.weight.data /= math.sqrt(n_channels * math.prod(shape))
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map x (n, n_sites) with context (n, n_context) to numbers of shape (n,)."""
        h = x.view(-1, 1, *self.shape)
        for i, convolution in enumerate(self.convolutions):
            h = convolution(h)
            if len(self.modulations):
                axes = (-1, h.shape[1], *(1,) * len(self.shape))
                scale, shift = (m.view(axes) for m in self.modulations[i](context).chunk(2, 1))
                h = h * (1 + scale) + shift
            h = nn.functional.silu(h)
        # a linear map of the sum is the sum of the linear maps
        sites = math.prod(self.shape)
        return h.flatten(2).sum(2) @ self.last.weight[0] + sites * self.last.bias
