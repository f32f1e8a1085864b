"""Transformer of the voxels of an image or a shower, cut into patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from physgen.checks import require_positive
from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = ["VoxelTransformer", "patch_for", "roll_and_flip"]


@dataclass(frozen=True, kw_only=True)
class VoxelTransformer:
    r"""Transformer of patches of an array of two or three axes, such as a shower.

    Every patch is a token with a learned place. A block is attention and a perceptron, both with
    :math:`h + g\,F((1 + a)\,{\rm norm}(h) + b)` where a, b and g are linear in the context and
    start at zero (adaLN-zero, arXiv:2212.09748, sec. 3.2); the context is also added to the tokens
    through a matrix for each, since the energy of a layer concerns the tokens of that layer.

    Parameters
    ----------
    patch : tuple of int, optional
        Voxels of a patch along each axis, divisors of the shape; by default those of
        :func:`patch_for`. More tokens learn more from an event, and take longer.
    n_hidden : int, default 64
        Width of the tokens.
    n_blocks : int, default 4
        Number of blocks.
    n_heads : int, default 2
        Heads of the attention, a divisor of ``n_hidden``; wide ones (32) are fastest on a CPU.

    References
    ----------
    Peebles and Xie, *Scalable diffusion models with transformers*, arXiv:2212.09748.

    Examples
    --------
    >>> shower = TensorSpec(n_features=576, shape=(12, 8, 6))
    >>> network = VoxelTransformer(n_hidden=32, n_blocks=2, n_heads=1).build(shower, 16)
    >>> network(torch.zeros(5, 576), torch.zeros(5, 16), torch.zeros(5, 0)).shape
    torch.Size([5, 576])
    """

    patch: tuple[int, ...] = ()
    n_hidden: int = 64
    n_blocks: int = 4
    n_heads: int = 2

    def __post_init__(self) -> None:
        require_positive(self, "n_hidden", "n_blocks", "n_heads")
        if any(side < 1 for side in self.patch):
            raise ValueError(f"VoxelTransformer: patch has sides of 1 or more, got {self.patch}")
        if self.n_hidden % self.n_heads:
            raise ValueError(
                f"VoxelTransformer: n_hidden={self.n_hidden} is no multiple of "
                f"n_heads={self.n_heads}"
            )

    def build(self, spec: TensorSpec, n_context: int, *, n_outputs: int = 1) -> nn.Module:
        """Network of x (n, n_features), context (n, n_context) and condition.

        It returns (n, n_outputs * n_features), one array of features behind the other.

        Raises
        ------
        ValueError
            If the events are no array of two or three axes, or the patches do not tile it.
        """
        shape = spec.shape
        if len(shape) not in (2, 3) or spec.rows is not None:
            raise ValueError(
                "VoxelTransformer is for images and showers, arrays of 2 or 3 axes; these events "
                f"have the shape {shape or (spec.n_features,)}: use Perceptron()"
                + (", or SetTransformer() for particles" if spec.rows else "")
            )
        patch = self.patch or patch_for(shape)
        if len(patch) != len(shape) or any(n % p for n, p in zip(shape, patch, strict=True)):
            raise ValueError(
                f"VoxelTransformer: patches of {patch} do not tile an array of {shape}; every "
                "side must divide that of the array"
            )
        return _Transformer(self, shape, patch, n_context, n_outputs)


def patch_for(shape: Sequence[int]) -> tuple[int, ...]:
    """Sides of the patches that cut an array into 48 tokens, or fewer if they do not go into it.

    Arrays of more than 2304 voxels get a token for every 48 voxels. Patches are as small as that
    allows; of equal ones an image gets the most compact, a shower the thinnest in its first axis
    and then its second: layers stay apart as long as possible.

    Examples
    --------
    >>> patch_for((12, 8, 6)), patch_for((45, 16, 9)), patch_for((16, 16))
    ((1, 2, 6), (1, 16, 3), (2, 4))
    """
    n_tokens = max(48, math.prod(shape) // 48)
    sides = [[p for p in range(1, n + 1) if n % p == 0] for n in shape]
    return min(
        (patch for patch in itertools.product(*sides) if _n_tokens(shape, patch) <= n_tokens),
        key=lambda patch: (math.prod(patch), max(patch) if len(patch) == 2 else 0, patch),
    )


def roll_and_flip(
    x: Tensor, shape: Sequence[int], periodic: Sequence[bool], rng: Random
) -> Tensor:
    """Turn and mirror every event at random along the periodic axes of its array.

    Where a detector looks the same from all angles this is another event of the same law, so that
    a model sees up to ``2 n`` of each along an axis of n.

    Parameters
    ----------
    x : Tensor of shape (n_events, n_features)
    shape : sequence of int
        Shape of the array of an event.
    periodic : sequence of bool
        For each of its axes whether the ends meet.
    rng : Random

    Returns
    -------
    Tensor of shape (n_events, n_features)
    """
    n_events = len(x)
    array = x.reshape(n_events, *shape)
    for axis, (n, turns) in enumerate(zip(shape, periodic, strict=True), start=1):
        if not turns or n == 1:
            continue
        drawn = rng.uniform(n_events, 2).to(x.device)
        shift, sign = (drawn[:, :1] * n).long(), 1 - 2 * (drawn[:, 1:] < 0.5).long()
        place = (shift + sign * torch.arange(n, device=x.device)) % n
        beside = [n if k == axis else 1 for k in range(1, array.ndim)]
        array = array.gather(axis, place.view(n_events, *beside).expand_as(array))
    return array.reshape(x.shape)


def _n_tokens(shape: Sequence[int], patch: Sequence[int]) -> int:
    return math.prod(n // p for n, p in zip(shape, patch, strict=True))


class _Transformer(nn.Module):
    """Patches to tokens, blocks, tokens to patches."""

    def __init__(
        self,
        settings: VoxelTransformer,
        shape: tuple[int, ...],
        patch: tuple[int, ...],
        n_context: int,
        n_outputs: int,
    ) -> None:
        super().__init__()
        n_hidden, n_axes = settings.n_hidden, len(shape)
        self.n_outputs = n_outputs
        self.n_tokens, n_voxels = _n_tokens(shape, patch), math.prod(patch)
        # (grid, patch) of each axis alternate; all grid axes go first, and back
        self._split = [k for n, p in zip(shape, patch, strict=True) for k in (n // p, p)]
        self._order = [0, *range(1, 2 * n_axes, 2), *range(2, 2 * n_axes + 1, 2)]
        self._sorted = [self._split[k - 1] for k in self._order[1:]]
        self._back = [self._order.index(k) for k in range(2 * n_axes + 1)]
        self.first = nn.Linear(n_voxels, n_hidden)
        self.place = nn.Parameter(0.02 * torch.randn(self.n_tokens, n_hidden))
        self.placed_context = _zero(nn.Linear(n_context, self.n_tokens * n_hidden))
        self.blocks = nn.ModuleList(
            _Block(n_hidden, settings.n_heads, n_context) for _ in range(settings.n_blocks)
        )
        self.modulation = _zero(nn.Linear(n_context, 2 * n_hidden))
        self.last = _zero(nn.Linear(n_hidden, n_outputs * n_voxels))

    def forward(self, x: Tensor, context: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x (n, n_features) with context (n, n_context) to (n, n_outputs * n_features)."""
        patches = x.unflatten(1, self._split).permute(self._order).flatten(1)
        placed = self.placed_context(context).unflatten(1, (self.n_tokens, -1))
        h = self.first(patches.unflatten(1, (self.n_tokens, -1))) + self.place + placed
        for block in self.blocks:
            h = block(h, context)
        scale, shift = self.modulation(context).unsqueeze(1).chunk(2, dim=2)
        patches = self.last(_modulated(h, scale, shift)).unflatten(2, (self.n_outputs, -1))
        # every output is a batch of its own while patches go back to their places
        patches = patches.transpose(1, 2).flatten(2).flatten(0, 1)
        array = patches.unflatten(1, self._sorted).permute(self._back).flatten(1)
        return array.unflatten(0, (-1, self.n_outputs)).flatten(1)


class _Block(nn.Module):
    """Attention among the tokens, and a perceptron of each."""

    def __init__(self, n_hidden: int, n_heads: int, n_context: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.modulation = _zero(nn.Linear(n_context, 6 * n_hidden))
        self.queries = nn.Linear(n_hidden, 3 * n_hidden)
        self.gathered = nn.Linear(n_hidden, n_hidden)
        self.up, self.down = nn.Linear(n_hidden, 4 * n_hidden), nn.Linear(4 * n_hidden, n_hidden)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        a, b, gate, c, d, gate2 = self.modulation(context).unsqueeze(1).chunk(6, dim=2)
        h = torch.addcmul(h, gate, self._attention(_modulated(h, a, b)))
        inner = functional.gelu(self.up(_modulated(h, c, d)))
        return torch.addcmul(h, gate2, self.down(inner))

    def _attention(self, h: Tensor) -> Tensor:
        heads = self.queries(h).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads.unbind(0))
        gathered: Tensor = self.gathered(seen.transpose(1, 2).flatten(2))
        return gathered


def _modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, functional.layer_norm(h, h.shape[-1:]), 1.0 + scale)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
