"""Multilayer perceptrons."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physgen.checks import require_positive
from physgen.tensor_spec import TensorSpec

__all__ = ["MLP", "Perceptron", "ResidualMLP"]


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """A residual perceptron of all features, whatever their shape.

    Parameters
    ----------
    n_hidden : int, default 256
        Width of the hidden layers.
    n_blocks : int, default 3
        Number of residual blocks.
    """

    n_hidden: int = 256
    n_blocks: int = 3

    def __post_init__(self) -> None:
        require_positive(self, "n_hidden", "n_blocks")

    def build(self, spec: TensorSpec, n_context: int, *, n_outputs: int = 1) -> ResidualMLP:
        """Network of x (n, n_features), context (n, n_context) and condition.

        It returns (n, n_outputs * n_features), one array of features behind the other.
        """
        n, sizes = spec.n_features, {"n_hidden": self.n_hidden, "n_blocks": self.n_blocks}
        return ResidualMLP(n, n_outputs * n, n_context, **sizes)


class MLP(nn.Sequential):
    """Plain perceptron with hidden layers of one width.

    Parameters
    ----------
    n_in, n_out : int
        Widths of the input and the output.
    n_hidden : int, default 256
        Width of each hidden layer.
    n_layers : int, default 3
        Number of hidden layers.
    activation : type of nn.Module, default nn.SiLU
        Applied after every hidden layer.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        n_hidden: int = 256,
        n_layers: int = 3,
        activation: type[nn.Module] = nn.SiLU,
    ) -> None:
        widths = [n_in] + [n_hidden] * n_layers
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), activation()]
        super().__init__(*layers, nn.Linear(widths[-1], n_out))


class ResidualMLP(nn.Module):
    """Perceptron of residual blocks, each modulated by a context vector.

    Block: ``h + W2 silu(scale(context) * norm(W1 h) + shift(context))``. The last layer starts at
    zero, so that an untrained network returns zero.

    Parameters
    ----------
    n_in, n_out : int
        Widths of the input and the output.
    n_context : int
        Width of the context (noise level, conditions).
    n_hidden : int, default 256
        Width of the hidden layers.
    n_blocks : int, default 3
        Number of residual blocks.
    """

    def __init__(
        self, n_in: int, n_out: int, n_context: int, *, n_hidden: int = 256, n_blocks: int = 3
    ) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, n_hidden)
        self.blocks = nn.ModuleList(_Block(n_hidden, n_context) for _ in range(n_blocks))
        self.last = nn.Linear(n_hidden, n_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x (n, n_in) with context (n, n_context) to (n, n_out)."""
        h = self.first(x)
        for block in self.blocks:
            h = block(h, context)
        return self.last(nn.functional.silu(h))


class _Block(nn.Module):
    def __init__(self, n_hidden: int, n_context: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_hidden)
        self.first = nn.Linear(n_hidden, n_hidden)
        self.modulation = nn.Linear(n_context, 2 * n_hidden)
        self.second = nn.Linear(n_hidden, n_hidden)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.modulation(context).chunk(2, dim=1)
        inner = torch.addcmul(shift, self.first(self.norm(h)), 1.0 + scale)
        return h + self.second(nn.functional.silu(inner))
