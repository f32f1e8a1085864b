"""U-Nets for arrays of one, two or three axes: lattices, images, calorimeters."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from physgen.checks import require_positive
from physgen.tensor_spec import TensorSpec

__all__ = ["LatticeUNet", "UNet", "wrapped"]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True, kw_only=True)
class UNet:
    r"""A U-Net for features that are one array of one, two or three axes.

    Residual blocks of two convolutions, each normalized and modulated by the context, at the full
    resolution and at coarser ones, with half the sites along each axis and twice the channels per
    level. Axes that ``spec.periodic`` names are padded with their other end, the others with
    zeros. With ``n_levels=1`` the network commutes with every translation along periodic axes;
    with more, with those by multiples of :math:`2^{n_{levels} - 1}` sites, where that divides the
    side.

    Parameters
    ----------
    n_channels : int, default 32
        Channels at full resolution; even.
    n_levels : int, default 3
        Resolutions; coarsening stops earlier where one site is left.
    n_blocks : int, default 2
        Residual blocks per level and direction.
    kernel_size : int, default 3
        Sites along each axis that a convolution sees; odd.
    attention : bool, default False
        Self-attention among the sites of the coarsest level.

    References
    ----------
    Ronneberger, Fischer and Brox, arXiv:1505.04597. Dhariwal and Nichol, arXiv:2105.05233, sec. 3
    (adaptive group normalization).

    Examples
    --------
    >>> spec = TensorSpec(n_features=81, shape=(9, 9), periodic=(True, True))
    >>> network = UNet(n_channels=8).build(spec, n_context=4)
    >>> network(torch.randn(5, 81), torch.randn(5, 4)).shape
    torch.Size([5, 81])
    """

    n_channels: int = 32
    n_levels: int = 3
    n_blocks: int = 2
    kernel_size: int = 3
    attention: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "n_channels", "n_levels", "n_blocks", "kernel_size")
        if self.n_channels % 2 or self.kernel_size % 2 == 0:
            raise ValueError(
                "UNet: n_channels is even and kernel_size odd, got "
                f"n_channels={self.n_channels} and kernel_size={self.kernel_size}"
            )

    def build(
        self,
        spec: TensorSpec,
        n_context: int,
        *,
        n_inputs: int = 1,
        n_outputs: int = 1,
        odd: bool = False,
    ) -> LatticeUNet:
        """Network of x (n, n_inputs * n_features), context (n, n_context) and condition.

        Parameters
        ----------
        spec : TensorSpec
            With ``shape`` of one to three axes.
        n_context : int
            Width of the context.
        n_inputs : int, default 1
            Arrays in x, one behind the other.
        n_outputs : int, default 1
            Arrays in the output, likewise.
        odd : bool, default False
            Of two arrays in x, the output changes its sign with the second and keeps it with the
            first, exactly.

        Raises
        ------
        ValueError
            If the features are no array, or a set of rows whose order means nothing.
        """
        if len(spec.shape) not in _CONVOLUTIONS or spec.rows is not None:
            what = "a set of rows" if spec.rows is not None else f"of shape {spec.shape}"
            raise ValueError(
                f"UNet needs features that are one array of one to three axes, but these are "
                f"{what}; use Perceptron, or a SetTransformer for sets"
            )
        if odd and n_inputs != 2:
            raise ValueError(f"an odd UNet has an even and an odd input array, got {n_inputs}")
        numbers = {"n_inputs": n_inputs, "n_outputs": n_outputs}
        return LatticeUNet(self, spec, n_context, **numbers, odd=odd)


class LatticeUNet(nn.Module):
    """The network of :class:`UNet`.

    With ``odd``, half of the channels are even and half odd under a change of sign of the odd
    input: convolutions do not mix them, normalization and modulation keep their parity, and a
    nonlinearity mixes them as a convolution over the group of two elements does (Cohen and
    Welling, arXiv:1602.07576). That costs half as much as a network without the symmetry.
    """

    def __init__(
        self,
        settings: UNet,
        spec: TensorSpec,
        n_context: int,
        *,
        n_inputs: int,
        n_outputs: int,
        odd: bool,
    ) -> None:
        super().__init__()
        self.shape, self.n_inputs, self.odd = spec.shape, n_inputs, odd
        self.sides = _sides(spec.shape, settings.n_levels)
        widths = [settings.n_channels * 2**level for level in range(len(self.sides))]
        conv = _Convolutions(spec.periodic, settings.kernel_size, groups=2 if odd else 1)

        def blocks(width: int) -> nn.ModuleList:
            made = (_Block(width, n_context, conv, odd=odd) for _ in range(settings.n_blocks))
            return nn.ModuleList(made)

        self.first = conv(n_inputs, widths[0])
        # without it an array of zeros would stay one, and could not be normalized
        self.bias = nn.Parameter(torch.randn(widths[0] // (2 if odd else 1)))
        self.down = nn.ModuleList(blocks(width) for width in widths)
        self.coarser = nn.ModuleList(
            conv(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(widths)
        )
        self.attention = _Attention(widths[-1], conv) if settings.attention else nn.Identity()
        self.finer = nn.ModuleList(
            conv(coarse, fine, kernel_size=1) for fine, coarse in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(blocks(width) for width in widths[:-1])
        self.activation = _activation(odd)
        self.last = nn.Linear(widths[0] // (2 if odd else 1), n_outputs, bias=not odd)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x (n, n_inputs * n_features) with the context to (n, n_outputs * n_features)."""
        h = _shifted(self.first(x.reshape(-1, self.n_inputs, *self.shape)), self.bias[None])
        skips = []
        for level, blocks in enumerate(self.down):
            h = self.coarser[level - 1](h) if level else h
            for block in blocks:  # type: ignore[attr-defined]  # a ModuleList
                h = block(h, context)
            skips.append(h)
        h = self.attention(skips.pop())
        for level in reversed(range(len(self.up))):
            h = functional.interpolate(self.finer[level](h), size=self.sides[level])
            h = h + skips.pop()
            for block in self.up[level]:  # type: ignore[attr-defined]  # a ModuleList
                h = block(h, context)
        h = self.activation(_normalize(h)).flatten(2)
        h = h[:, h.shape[1] // 2 :] if self.odd else h
        return self.last(h.transpose(1, 2)).transpose(1, 2).flatten(1)


def _sides(shape: tuple[int, ...], n_levels: int) -> list[tuple[int, ...]]:
    """Shape of the array at each level, from the finest; none after a single site."""
    sides = [shape]
    while len(sides) < n_levels and max(sides[-1]) > 1:
        sides.append(tuple(math.ceil(side / 2) for side in sides[-1]))
    return sides


@dataclass(frozen=True)
class _Convolutions:
    """What all convolutions of a network share; makes one from its channels."""

    periodic: tuple[bool, ...]
    kernel_size: int
    groups: int

    def __call__(
        self, n_in: int, n_out: int, *, stride: int = 1, kernel_size: int | None = None
    ) -> _Convolution:
        size = kernel_size or self.kernel_size
        return _Convolution(n_in, n_out, size, stride, self.groups, self.periodic)


class _Convolution(nn.Module):
    """Convolution without a bias (the modulations have it), periodic along some axes."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int,
        stride: int,
        groups: int,
        periodic: tuple[bool, ...],
    ) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        self.convolve = _CONVOLUTIONS[len(periodic)]
        fan_in = n_in // groups * kernel_size ** len(periodic)
        self.weight = nn.Parameter(
            torch.empty(n_out, n_in // groups, *(kernel_size,) * len(periodic))
        )
        nn.init.normal_(self.weight, std=fan_in**-0.5)
        self.reach = kernel_size // 2
        self.periodic = periodic
        self.zeros = tuple(0 if meets else self.reach for meets in periodic)

    def forward(self, h: Tensor) -> Tensor:
        return self.convolve(
            wrapped(h, self.periodic, self.reach),
            self.weight,
            stride=self.stride,
            padding=self.zeros,
            groups=self.groups,
        )


def wrapped(h: Tensor, periodic: tuple[bool, ...], width: int) -> Tensor:
    """Arrays (n, n_channels, ...) with sites of the other end around them.

    Parameters
    ----------
    h : Tensor of shape (n, n_channels, ...)
    periodic : tuple of bool
        For each axis after the first two whether it is continued.
    width : int
        By how many sites at either end.

    Examples
    --------
    >>> wrapped(torch.arange(3.0).view(1, 1, 3), (True,), 1)
    tensor([[[2., 0., 1., 2., 0.]]])
    """
    for axis, meets in enumerate(periodic, 2):
        if meets and width:
            side = h.shape[axis]
            # a side shorter than the width is passed more than once
            turns = -(-width // side)
            ends = [h] * (turns - 1)
            before = h.narrow(axis, turns * side - width, side - (turns * side - width))
            behind = h.narrow(axis, 0, width - (turns - 1) * side)
            h = torch.cat((before, *ends, h, *ends, behind), axis)
    return h


class _Block(nn.Module):
    """Two convolutions around a modulation, added to what came in."""

    def __init__(self, width: int, n_context: int, conv: _Convolutions, *, odd: bool) -> None:
        super().__init__()
        self.width = width
        self.activation = _activation(odd)
        self.first, self.second = conv(width, width), conv(width, width)
        # a shift of odd channels would not change its sign
        self.modulation = nn.Linear(n_context, width + width // (2 if odd else 1))

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        inner = _normalize(self.first(self.activation(_normalize(h))))
        numbers = self.modulation(context)
        scale = 1.0 + numbers[:, : self.width].view(-1, self.width, *(1,) * (h.ndim - 2))
        inner = _shifted(inner * scale, numbers[:, self.width :])
        return h + self.second(self.activation(inner))


def _shifted(h: Tensor, shift: Tensor) -> Tensor:
    """Channels plus a number each; odd channels, behind those that have one, keep their sign."""
    shift = functional.pad(shift, (0, h.shape[1] - shift.shape[1]))
    return h + shift.view(-1, h.shape[1], *(1,) * (h.ndim - 2))


def _normalize(h: Tensor) -> Tensor:
    """Each event divided by the root mean square over its channels and sites.

    One number for even and odd channels: where nothing odd is known, these are all zero, and
    normalized apart from the even ones would blow up the gradient.
    """
    square = torch.linalg.vector_norm(h.flatten(1), dim=1).square() / h[0].numel()
    return h * (square + 1e-5).rsqrt().view(-1, *(1,) * (h.ndim - 1))


def _activation(odd: bool) -> nn.Module:
    return _OddSiLU() if odd else nn.SiLU()


class _OddSiLU(nn.Module):
    """SiLU of functions on the group of two elements, given by their even and odd parts."""

    def forward(self, h: Tensor) -> Tensor:
        even, odd = h.chunk(2, dim=1)
        plus, minus = functional.silu(even + odd), functional.silu(even - odd)
        return torch.cat((plus + minus, plus - minus), dim=1) / 2


class _Attention(nn.Module):
    """Self-attention among all sites, added to what came in."""

    def __init__(self, width: int, conv: _Convolutions) -> None:
        super().__init__()
        self.queries, self.keys, self.values, self.out = (
            conv(width, width, kernel_size=1) for _ in range(4)
        )

    def forward(self, h: Tensor) -> Tensor:
        inner = _normalize(h)
        q, k, v = (
            part(inner).flatten(2).transpose(1, 2)
            for part in (self.queries, self.keys, self.values)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return h + self.out(mixed.transpose(1, 2).reshape(h.shape))
