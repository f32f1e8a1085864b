"""Networks that an energy can be made of, as settings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physgen.checks import require_positive
from physgen.models.base import TensorSpec
from physgen.networks.conv import PeriodicConv
from physgen.networks.mlp import MLP

__all__ = ["ConvEnergy", "MLPEnergy"]


@dataclass(frozen=True, kw_only=True)
class MLPEnergy:
    """A perceptron of all features and conditions.

    Parameters
    ----------
    n_hidden : int, default 128
        Width of the hidden layers.
    n_layers : int, default 2
        Number of hidden layers.
    """

    n_hidden: int = 128
    n_layers: int = 2

    def __post_init__(self) -> None:
        require_positive(self, "n_hidden", "n_layers")

    def build(self, spec: TensorSpec) -> nn.Module:
        """Network f(x, condition) of shape (n_events,)."""
        return _OfAll(spec, self)


@dataclass(frozen=True, kw_only=True)
class ConvEnergy:
    """A sum over the sites of a periodic lattice of one local energy, learned by convolutions.

    The energy is invariant under translations, which a perceptron has to learn. It sees as far
    as ``n_layers * (kernel_size - 1) / 2`` sites along each axis. Conditions scale and shift every
    channel.

    Parameters
    ----------
    n_channels : int, default 32
        Channels of the hidden layers.
    n_layers : int, default 2
        Number of convolutions.
    kernel_size : int, default 3
        Sites along each axis that a convolution sees; odd.
    """

    n_channels: int = 32
    n_layers: int = 2
    kernel_size: int = 3

    def __post_init__(self) -> None:
        require_positive(self, "n_channels", "n_layers", "kernel_size")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"ConvEnergy: kernel_size must be odd, got {self.kernel_size}")

    def build(self, spec: TensorSpec) -> PeriodicConv:
        """Network f(x, condition) of shape (n_events,).

        Raises
        ------
        ValueError
            If an event is no lattice of two or three axes, or smaller than the kernel.
        """
        if len(spec.shape) not in (2, 3):
            found = f"an array of shape {spec.shape}" if spec.shape else "no single array"
            raise ValueError(
                "ConvEnergy needs events that are one array of two or three axes, such as "
                f"the spins of a lattice, but these are {found}; use MLPEnergy()"
            )
        if self.kernel_size > min(spec.shape):
            raise ValueError(
                f"ConvEnergy: kernel_size {self.kernel_size} is larger than the smallest side of "
                f"the lattice {spec.shape}"
            )
        return PeriodicConv(
            spec.shape,
            spec.n_conditions,
            n_channels=self.n_channels,
            n_layers=self.n_layers,
            kernel_size=self.kernel_size,
        )


class _OfAll(nn.Module):
    """Perceptron of features and conditions side by side."""

    def __init__(self, spec: TensorSpec, settings: MLPEnergy) -> None:
        super().__init__()
        self.layers = MLP(
            spec.n_features + spec.n_conditions,
            1,
            n_hidden=settings.n_hidden,
            n_layers=settings.n_layers,
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.layers(torch.cat((x, condition), dim=1))[:, 0]
