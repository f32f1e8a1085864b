"""Units of two values drawn on a CPU, in one pass that makes its own random numbers.

The numbers come from xoshiro128++ (Blackman and Vigna, ACM TOMS 47 (2021) 36), as many generators
side by side as fill the vector units of a processor. They start anew at each call, from 128 bits
each of the generator that is given, whose state thus remains all that must be saved.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["draw_pairs"]

_N_LANES = 64


@torch.no_grad()
def draw_pairs(p: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """``high`` with these probabilities, exact to 2^-24, else ``low``; in the place of ``p``.

    Parameters
    ----------
    p : Tensor of any shape, contiguous, on a CPU
        Overwritten.
    low, high : float
    generator : torch.Generator
        Of a CPU.

    Examples
    --------
    >>> up = draw_pairs(torch.full((1000, 100), 0.3), 0, 1, torch.Generator().manual_seed(1))
    >>> abs(float(up.mean()) - 0.3) < 0.006
    True
    """
    words = torch.randint(-(2**31), 2**31, (4, _N_LANES), generator=generator, dtype=torch.int32)
    flat = p.view(-1).numpy()
    whole = len(flat) - len(flat) % _N_LANES
    type_of = flat.dtype.type
    _compiled()(
        flat[:whole].reshape(-1, _N_LANES), flat[whole:], words.numpy().view("uint32"),
        type_of(low), type_of(high),
    )  # fmt: skip
    return p


@cache
def _compiled() -> Callable[..., None]:
    import numpy as np
    from numba import njit  # takes longer to import than to do without in what needs no draws

    n_lanes, word, unit = _N_LANES, np.uint32, np.float32(2.0**-24)
    # numba computes in 64 bits where it is not told otherwise at each step

    @njit(nogil=True, cache=True)
    def draw(rows: Any, rest: Any, state: Any, low: Any, high: Any) -> None:
        lanes, u = state.copy(), np.empty(n_lanes, dtype=np.float32)
        for row in range(len(rows) + 1):
            # loops of fixed length without branches become vectors
            for i in range(n_lanes):
                a, b, c, d = lanes[0, i], lanes[1, i], lanes[2, i], lanes[3, i]
                total = word(a + d)
                turned = word(word(total << word(7)) | word(total >> word(25)))
                u[i] = np.float32(np.int32(word(turned + a) >> word(8))) * unit
                shifted = word(b << word(9))
                c, d = word(c ^ a), word(d ^ b)
                b, a, c = word(b ^ c), word(a ^ d), word(c ^ shifted)
                d = word(word(d << word(11)) | word(d >> word(21)))
                lanes[0, i], lanes[1, i], lanes[2, i], lanes[3, i] = a, b, c, d
            if row < len(rows):
                for i in range(n_lanes):
                    rows[row, i] = high if u[i] < rows[row, i] else low
        for i in range(len(rest)):
            rest[i] = high if u[i] < rest[i] else low

    return draw
