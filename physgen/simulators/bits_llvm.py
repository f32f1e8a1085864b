"""The move of one site in all bit-coded lattices, written in LLVM's vector types.

The loop vectorizer of numba does not recognize the move; vectors of eight words are lowered by
LLVM to whatever the processor has. :mod:`physgen.simulators.bits` explains the method.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["N_BITS", "N_WORDS", "site_move"]

N_WORDS = 8
N_BITS = 64
# bits that are compared before the first look whether all lattices are decided
_UNROLLED = 4

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, N_WORDS)


class _Words:
    """Vector operations on the words of a site."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def constant(self, word: int) -> ir.Constant:
        return ir.Constant(_VECTOR, [word] * N_WORDS)

    def row(self, base: ir.Value, index: ir.Value) -> ir.Value:
        """Pointer to vector number ``index`` of an array of words."""
        start = self.builder.mul(index, _WORD(N_WORDS))
        return self.builder.bitcast(self.builder.gep(base, [start]), _VECTOR.as_pointer())

    def load(self, base: ir.Value, index: ir.Value) -> ir.Value:
        return self.builder.load(self.row(base, index), align=8)

    def store(self, words: ir.Value, base: ir.Value, index: ir.Value) -> None:
        self.builder.store(words, self.row(base, index), align=8)

    def inverted(self, words: ir.Value) -> ir.Value:
        return self.builder.xor(words, self.constant(-1))

    def rotated(self, words: ir.Value, k: int) -> ir.Value:
        left = self.builder.shl(words, self.constant(k))
        return self.builder.or_(left, self.builder.lshr(words, self.constant(64 - k)))

    def any(self, words: ir.Value) -> ir.Value:
        wide = ir.IntType(64 * N_WORDS)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(words, wide), wide(0))

    def union(self, many: list[ir.Value]) -> ir.Value:
        total = self.constant(0)
        for words in many:
            total = self.builder.or_(total, words)
        return total


def site_move(n_neighbors: int, n_classes: int) -> Any:
    """Build ``move(words, neighbors, site, planes, group, state)`` for compiled functions.

    Parameters
    ----------
    n_neighbors, n_classes : int
        As in :func:`physgen.simulators.bits.sweeper`.
    """

    @intrinsic
    def move(
        _: Any, words: Any, neighbors: Any, site: Any, planes: Any, group: Any, state: Any
    ) -> Any:
        def generate(ctx: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(k: int) -> ir.Value:
                return ctx.make_array(signature.args[k])(ctx, builder, arguments[k]).data

            v = _Words(builder)
            x = v.load(data(0), arguments[2])
            digits = _antiparallel(v, x, data(0), data(1), arguments[2], n_neighbors)
            masks = _classes(v, x, digits, n_neighbors, n_classes)
            first = builder.mul(arguments[4], _WORD(n_classes))
            flips = _accept(v, masks, data(3), first, data(5), sure=n_classes <= n_neighbors)
            v.store(builder.xor(x, flips), data(0), arguments[2])
            return ctx.get_dummy_value()

        return types.void(words, neighbors, site, planes, group, state), generate

    return move


def _antiparallel(
    v: _Words, x: ir.Value, words: ir.Value, neighbors: ir.Value, site: ir.Value, n_neighbors: int
) -> list[ir.Value]:
    """Digits of the number of antiparallel neighbors, the least significant first."""
    digits: list[ir.Value] = []
    for j in range(n_neighbors):
        at = v.builder.add(v.builder.mul(site, _WORD(n_neighbors)), _WORD(j))
        neighbor = v.builder.sext(v.builder.load(v.builder.gep(neighbors, [at])), _WORD)
        carry = v.builder.xor(x, v.load(words, neighbor))
        for k, digit in enumerate(digits):
            digits[k], carry = v.builder.xor(digit, carry), v.builder.and_(digit, carry)
        if (j + 1).bit_length() > len(digits):
            digits.append(carry)
    return digits


def _classes(
    v: _Words, x: ir.Value, digits: list[ir.Value], n_neighbors: int, n_classes: int
) -> list[ir.Value]:
    """One mask per class: the lattices in which the site belongs to it."""
    masks = []
    for k in range(min(n_classes, n_neighbors + 1)):
        mask = v.constant(-1)
        for j, digit in enumerate(digits):
            mask = v.builder.and_(mask, digit if (k >> j) & 1 else v.inverted(digit))
        masks.append(mask)
    if n_classes > n_neighbors + 1:
        down = [v.builder.and_(mask, v.inverted(x)) for mask in masks]
        return down + [v.builder.and_(mask, x) for mask in masks]
    return masks


def _accept(
    v: _Words,
    masks: list[ir.Value],
    planes: ir.Value,
    first: ir.Value,
    state: ir.Value,
    *,
    sure: bool,
) -> ir.Value:
    """Lattices that flip: U <= p by comparing bits; with ``sure`` those in no class flip too."""
    builder = v.builder
    before = builder.block
    generators = [v.load(state, _WORD(k)) for k in range(4)]
    some_class = v.union(masks)
    none = v.inverted(some_class) if sure else v.constant(0)
    starts = [*generators, none, some_class]
    loop, end = builder.append_basic_block("levels"), builder.append_basic_block("decided")
    builder.branch(loop)
    builder.position_at_end(loop)
    level = builder.phi(_WORD)
    level.add_incoming(_WORD(0), before)
    phis = [builder.phi(_VECTOR) for _ in starts]
    for phi, start in zip(phis, starts, strict=True):
        phi.add_incoming(start, before)
    generators, accepted, undecided = list(phis[:4]), phis[4], phis[5]
    for step in range(_UNROLLED):
        generators, random = _xoshiro(v, generators)
        at = builder.add(level, _WORD(step))
        p = v.union([
            builder.and_(mask, v.load(planes, builder.add(
                builder.mul(builder.add(first, _WORD(k)), _WORD(N_BITS)), at)))
            for k, mask in enumerate(masks)
        ])  # fmt: skip
        below = builder.and_(undecided, builder.and_(p, v.inverted(random)))
        accepted = builder.or_(accepted, below)
        undecided = builder.and_(undecided, v.inverted(builder.xor(p, random)))
    following = builder.add(level, _WORD(_UNROLLED))
    level.add_incoming(following, loop)
    for phi, value in zip(phis, [*generators, accepted, undecided], strict=True):
        phi.add_incoming(value, loop)
    more = builder.and_(v.any(undecided), builder.icmp_unsigned("<", following, _WORD(N_BITS)))
    builder.cbranch(more, loop, end)
    builder.position_at_end(end)
    for k, words in enumerate(generators):
        v.store(words, state, _WORD(k))
    return builder.or_(accepted, undecided)


def _xoshiro(v: _Words, generators: list[ir.Value]) -> tuple[list[ir.Value], ir.Value]:
    """One step of the eight xoshiro256++ generators, and the words they give."""
    a, b, c, d = generators
    xor = v.builder.xor
    random = v.builder.add(v.rotated(v.builder.add(a, d), 23), a)
    shifted = v.builder.shl(b, v.constant(17))
    c, d = xor(c, a), xor(d, b)
    b, a = xor(b, c), xor(a, d)
    return [a, b, xor(c, shifted), v.rotated(d, 45)], random
