"""Networks for sets of rows: the particles of a jet, the hits of an event."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from physgen.checks import require_positive
from physgen.tensor_spec import Rows, TensorSpec

__all__ = ["SetNetwork", "SetTransformer"]


@dataclass(frozen=True, kw_only=True)
class SetTransformer:
    r"""A network for features that are rows of a set, such as the particles of a jet.

    Every row h_i goes through the same layers, and knows of the others by a vector g of the whole
    event. In each block

    .. math:: u_i &= \mathrm{silu}\big(s(g)\,W_1\,\mathrm{norm}(h_i) + t(g)\big) \\
              h_i &\leftarrow h_i + W_2 u_i \\
              g &\leftarrow g + \mathrm{MLP}\big(g, \tfrac1{n_{max}} \textstyle\sum_i u_i,
                    \sum_i w_{ki} u_{ki}\big), \qquad
                    w_{ki} = \mathrm{softmax}_i(q_k \cdot u_i)

    starting with the context as g; u_k is the k-th part of u. So g attends to the rows with
    ``n_heads`` queries q, and the rows to g: this costs n where attention of all rows to all
    others costs n^2. With ``attention=True`` the rows attend to each other as well. Rows that an
    event does not have neither count nor have an output other than 0.

    The output of a row follows it through every permutation of the rows, unless they are known to
    stand in an order, such as that of falling momentum: then each is told its place by a vector
    added to it (``ordered=False`` does without). The hardest particle of a jet and the tenth have
    different laws, which the network need not find out.

    Parameters
    ----------
    n_hidden : int, default 64
        Numbers per row, a multiple of ``n_heads``; a block has twice as many inside.
    n_blocks : int, default 4
        Number of blocks.
    n_heads : int, default 4
        Queries with which g, and with ``attention`` every row, attends to the rows.
    attention : bool, default False
        Self-attention among the rows at the start of each block; steps take longer.
    ordered : bool, default True
        Whether to use the order of the rows, where there is one.

    References
    ----------
    Buhmann, Kasieczka and Thaler, *EPiC-GAN*, arXiv:2301.08128, sec. 3 (a vector of the event
    beside its rows). Lee et al., *Set Transformer*, arXiv:1810.00825 (attention to a few
    queries). Peebles and Xie, arXiv:2212.09748, sec. 3.2 (adaptive normalization; without
    its gates that start at zero).

    Examples
    --------
    >>> spec = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 2.0, 1.0))
    >>> network = SetTransformer(n_hidden=8).build(spec, n_context=4)
    >>> network(torch.randn(5, 6), torch.randn(5, 4), torch.zeros(5, 1)).shape
    torch.Size([5, 6])
    """

    n_hidden: int = 64
    n_blocks: int = 4
    n_heads: int = 4
    attention: bool = False
    ordered: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "n_hidden", "n_blocks", "n_heads")
        if self.n_hidden % self.n_heads:
            raise ValueError(
                "SetTransformer: n_hidden is a multiple of n_heads, got "
                f"n_hidden={self.n_hidden} and n_heads={self.n_heads}"
            )

    def build(self, spec: TensorSpec, n_context: int, *, n_outputs: int = 1) -> SetNetwork:
        """Network of x (n, n_features), context (n, n_context) and condition.

        It returns (n, n_outputs * n_features), one array of rows behind the other.

        Raises
        ------
        ValueError
            If the features are no rows, or nothing tells their number.
        """
        if spec.rows is None or len(spec.shape) != 2:
            raise ValueError(
                "SetTransformer needs features that are rows of a set, whose number a condition "
                f"or an earlier stage tells, but got the shape {spec.shape} with rows={spec.rows};"
                " use Perceptron or UNet, and for a collection leave its counter to the default "
                "transform"
            )
        return SetNetwork(self, spec, spec.rows, n_context, n_outputs)


class SetNetwork(nn.Module):
    """The network of :class:`SetTransformer`."""

    def __init__(
        self,
        settings: SetTransformer,
        spec: TensorSpec,
        rows: Rows,
        n_context: int,
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.rows, self.shape = rows, (spec.shape[0], spec.shape[1])
        n_hidden = settings.n_hidden
        self.first = nn.Linear(self.shape[1], n_hidden)
        self.places = None
        if rows.ordered and settings.ordered:
            self.places = nn.Parameter(0.3 * torch.randn(self.shape[0], n_hidden))
        self.blocks = nn.ModuleList(
            _Block(settings, self.shape[0], n_context) for _ in range(settings.n_blocks)
        )
        self.modulation = nn.Linear(n_context, 2 * n_hidden)
        self.last = nn.Linear(n_hidden, n_outputs * self.shape[1])
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor, condition: Tensor) -> Tensor:
        """Map x (n, n_max * width) with context (n, n_context) to n_outputs such arrays."""
        present = self._present(condition)
        h = self.first(x.view(-1, *self.shape).masked_fill(~present, 0.0))
        if self.places is not None:
            h = h + self.places
        g = context
        for block in self.blocks:
            h, g = block(h, g, present)
        scale, shift = self.modulation(functional.silu(g))[:, None].chunk(2, dim=2)
        output = self.last(torch.addcmul(shift, _norm(h), 1 + scale))
        arrays = output.masked_fill(~present, 0.0).unflatten(2, (self.n_outputs, -1))
        return arrays.transpose(1, 2).flatten(1)

    def _present(self, condition: Tensor) -> Tensor:
        """Whether an event has a row, of shape (n, n_max, 1)."""
        row = torch.arange(self.shape[0], device=condition.device)
        return (row < self.rows.count(condition)[:, None])[..., None]


class _Block(nn.Module):
    def __init__(self, settings: SetTransformer, n_max: int, n_context: int) -> None:
        super().__init__()
        n_hidden, n_inner = settings.n_hidden, 2 * settings.n_hidden
        self.n_max, self.n_heads = n_max, settings.n_heads
        self.modulation = nn.Linear(n_context, 2 * n_inner)
        self.first = nn.Linear(n_hidden, n_inner, bias=False)
        self.second = nn.Linear(n_inner, n_hidden)
        self.queries = nn.Linear(n_inner, settings.n_heads, bias=False)
        self.update = nn.Sequential(
            nn.Linear(n_context + 2 * n_inner, n_context),
            nn.SiLU(),
            nn.Linear(n_context, n_context),
        )
        self.attention = _Attention(settings, n_context) if settings.attention else None

    def forward(self, h: Tensor, g: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        if self.attention is not None:
            h = self.attention(h, g, present)
        scale, shift = self.modulation(functional.silu(g))[:, None].chunk(2, dim=2)
        u = functional.silu(torch.addcmul(shift, self.first(_norm(h)), 1 + scale))
        return h + self.second(u), g + self.update(torch.cat((g, self._pooled(u, present)), dim=1))

    def _pooled(self, u: Tensor, present: Tensor) -> Tensor:
        """Sum of the rows, and a part of their mean weighted by each query; (n, 2 n_inner)."""
        # finite, so that an event without rows has weights; they are then taken away
        scores = self.queries(u).masked_fill(~present, torch.finfo(u.dtype).min)
        there = present.to(u.dtype)
        weights = torch.cat((scores.softmax(dim=1) * there, there / self.n_max), dim=2)
        sums = weights.transpose(1, 2) @ u
        means = sums[:, :-1].unflatten(2, (self.n_heads, -1)).diagonal(dim1=1, dim2=2)
        return torch.cat((means.flatten(1), sums[:, -1]), dim=1)


class _Attention(nn.Module):
    """Self-attention among the rows that an event has."""

    def __init__(self, settings: SetTransformer, n_context: int) -> None:
        super().__init__()
        n_hidden = settings.n_hidden
        self.n_heads = settings.n_heads
        self.modulation = nn.Linear(n_context, 2 * n_hidden)
        self.first = nn.Linear(n_hidden, 3 * n_hidden)
        self.second = nn.Linear(n_hidden, n_hidden)

    def forward(self, h: Tensor, g: Tensor, present: Tensor) -> Tensor:
        n, n_max, n_hidden = h.shape
        scale, shift = self.modulation(functional.silu(g))[:, None].chunk(2, dim=2)
        parts = self.first(torch.addcmul(shift, _norm(h), 1 + scale))
        heads = parts.view(n, n_max, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        # rows of an event without any may see each other: their output counts nowhere
        seen = present | ~present.any(dim=1, keepdim=True)
        mixed = functional.scaled_dot_product_attention(
            heads[0], heads[1], heads[2], attn_mask=seen[:, None, None, :, 0]
        )
        return h + self.second(mixed.transpose(1, 2).reshape(n, n_max, n_hidden))


def _norm(h: Tensor) -> Tensor:
    return functional.layer_norm(h, h.shape[-1:])
