"""Random numbers: one draw interface, two sources.

Sampling uses :class:`PhiloxRandom`, a counter-based generator in which every number is a function
of (seed, event, draw): event i of a sample does not depend on the batch size, the number of
processes or the device. Training uses :class:`GeneratorRandom`, which is faster and whose state
can be saved.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "GeneratorRandom",
    "PhiloxRandom",
    "Random",
    "Rng",
    "as_generator",
    "as_seed",
    "derived_seed",
    "philox",
    "seeded_layers",
]

# an integer of Python or numpy, or a generator
Rng = SupportsIndex | torch.Generator

_MASK = 0xFFFFFFFF
# multipliers and Weyl constants of Philox4x32 (Salmon et al., SC'11, doi:10.1145/2063384.2063405)
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85

# blocks of four words that torch makes on a CPU while numba is loaded, and during the overhead
# of one draw
_WORTH_NUMBA, _OVERHEAD = 1 << 22, 1 << 12


class Random(Protocol):
    """What models and kernels draw from; the first axis of a shape is the event (or chain)."""

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """Uniform float32 numbers in the open interval (0, 1)."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers."""
        ...


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox4x32-10: four random 32-bit words for each 128-bit counter.

    Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3* (SC'11). Integer
    operations only, so the words are equal on every device.

    Parameters
    ----------
    counter : Tensor of shape (4, n), int64
        Four 32-bit words each, the least significant first.
    key : pair of int
        Two 32-bit words.

    Returns
    -------
    Tensor of shape (4, n), int64
        Words in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # 32 x 32 bit products wrap in int64, but their 64 bits are right: mask after the shift
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return torch.stack((c0, c1, c2, c3))


@cache
def _compiled() -> Callable[..., None]:
    """Compile the draws of a CPU: the words of :func:`philox`, in one pass over the numbers."""
    from numba import njit  # takes longer to import than small draws to make

    low, half = np.uint64(_MASK), np.uint64(32)
    m0, m1, w0, w1 = (np.uint64(constant) for constant in (_M0, _M1, _W0, _W1))
    n_lanes = 32

    @njit(nogil=True, cache=True)
    def fill(
        events: Any, first: Any, stream: Any, k0: Any, k1: Any, drop: Any, unit: Any, out: Any
    ) -> None:
        n_blocks, flat = out.shape[1], out.reshape(-1)
        counters = np.empty((3, n_lanes), dtype=np.uint64)
        numbers = np.empty((4, n_lanes), dtype=out.dtype)
        row, block, n = 0, 0, out.shape[0] * n_blocks
        for start in range(0, n, n_lanes):
            width = min(n_lanes, n - start)
            for i in range(width):
                event = np.uint64(events[row])
                counters[0, i], counters[1, i] = event & low, event >> half
                counters[2, i] = first + np.uint64(block)
                block += 1
                if block == n_blocks:
                    row, block = row + 1, 0
            # always all lanes: a loop of fixed length without branches becomes vectors
            for i in range(n_lanes):
                c0, c1, c2, c3 = counters[0, i], counters[1, i], counters[2, i], stream
                a, b = k0, k1
                for _ in range(10):
                    p0, p1 = c0 * m0, c2 * m1
                    c0, c1, c2, c3 = (
                        (p1 >> half) ^ c1 ^ a,
                        p1 & low,
                        (p0 >> half) ^ c3 ^ b,
                        p0 & low,
                    )
                    a, b = (a + w0) & low, (b + w1) & low
                numbers[0, i] = (np.uint32(c0 >> drop) + 0.5) * unit
                numbers[1, i] = (np.uint32(c1 >> drop) + 0.5) * unit
                numbers[2, i] = (np.uint32(c2 >> drop) + 0.5) * unit
                numbers[3, i] = (np.uint32(c3 >> drop) + 0.5) * unit
            for i in range(width):
                for j in range(4):
                    flat[4 * (start + i) + j] = numbers[j, i]

    return fill


class PhiloxRandom:
    """Draws of a block of events, each a function of (seed, event, draw) alone.

    Parameters
    ----------
    seed : int
        64-bit seed.
    events : Tensor of shape (n_events,), int64
        Numbers of the events, each >= 0; row i of every draw belongs to ``events[i]``.
    stream : int, default 0
        Independent streams of one seed (the model draws from 0, the preprocessing from 1).

    Examples
    --------
    >>> rng = PhiloxRandom(7, torch.arange(100))
    >>> late = PhiloxRandom(7, torch.arange(40, 100))
    >>> bool((rng.normal(100, 3)[40:] == late.normal(60, 3)).all())
    True
    """

    def __init__(self, seed: int, events: Tensor, *, stream: int = 0) -> None:
        seed %= 1 << 64
        self._key = (seed & _MASK, seed >> 32)
        self._events = events
        self._stream = stream
        self._n_blocks = self._work = 0

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        return self._events.device

    def uniform(self, *shape: int) -> Tensor:
        """Uniform float32 numbers in (0, 1) with 23 random bits, of this shape."""
        u = self._blocks(shape, torch.float32, 23)
        return u[:, : math.prod(shape[1:])].reshape(shape).contiguous()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers of this shape (Box-Muller in float64; below 6.8)."""
        u = self._blocks(shape, torch.float64, 32)
        n_half = u.shape[1] // 2
        radius = u[:, :n_half].contiguous().log_().mul_(-2.0).sqrt_()
        angle = u[:, n_half:].contiguous().mul_(2.0 * math.pi)
        z = torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)
        return z[:, : math.prod(shape[1:])].to(torch.float32).reshape(shape)

    def _blocks(self, shape: tuple[int, ...], dtype: torch.dtype, n_bits: int) -> Tensor:
        """Numbers (k + 1/2) / 2^n_bits of whole blocks, k the top bits of their words."""
        n_events = len(self._events)
        if not shape or shape[0] != n_events:
            raise ValueError(
                f"a draw of shape {shape} was asked for {n_events} events; the first axis must be "
                "the events"
            )
        n_blocks = max(1, -(-math.prod(shape[1:]) // 4))
        first, self._n_blocks = self._n_blocks, self._n_blocks + n_blocks
        if self._is_compiled(n_events * n_blocks):
            out = torch.empty(n_events, 4 * n_blocks, dtype=dtype)
            self._fill(out.numpy().reshape(n_events, n_blocks, 4), first, n_bits)
            return out
        return ((self._words(first, n_blocks) >> (32 - n_bits)).to(dtype) + 0.5) * 2.0**-n_bits

    def _is_compiled(self, n_blocks: int) -> bool:
        """Whether numba makes this draw: if it is loaded, or after as much work as loading it."""
        if self.device.type != "cpu":
            return False
        self._work += max(n_blocks, _OVERHEAD)
        return self._work > _WORTH_NUMBA or _compiled.cache_info().currsize > 0

    def _fill(self, out: NDArray[Any], first: int, n_bits: int) -> None:
        events = np.ascontiguousarray(self._events.numpy(), dtype=np.int64)
        numbers = (first, self._stream, *self._key, 32 - n_bits)
        _compiled()(events, *(np.uint64(number) for number in numbers), 2.0**-n_bits, out)

    def _words(self, first: int, n_blocks: int) -> Tensor:
        """Words of the blocks from the first one on, (n_events, 4 * n_blocks)."""
        n_events = len(self._events)
        block = torch.arange(first, first + n_blocks, device=self.device)
        event = self._events[:, None].expand(n_events, n_blocks).reshape(-1)
        draw = block[None, :].expand(n_events, n_blocks).reshape(-1)
        stream = torch.full_like(event, self._stream)
        counter = torch.stack((event & _MASK, (event >> 32) & _MASK, draw, stream))
        words = philox(counter, self._key)
        return (
            words.reshape(4, n_events, n_blocks).permute(1, 2, 0).reshape(n_events, 4 * n_blocks)
        )


class GeneratorRandom:
    """Draws from a torch generator: fast, in sequence, with a state that can be saved."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        return self.generator.device

    def uniform(self, *shape: int) -> Tensor:
        """Uniform float32 numbers in (0, 1) of this shape."""
        bits = torch.randint(1 << 23, shape, generator=self.generator, device=self.device)
        return (bits.to(torch.float32) + 0.5) * 2.0**-23

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers of this shape."""
        return torch.randn(shape, generator=self.generator, device=self.device)


def as_generator(rng: Rng, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on the device, seeded by an integer or by a draw from a generator."""
    return torch.Generator(device=device).manual_seed(as_seed(rng))


def as_seed(rng: Rng) -> int:
    """Return the integer modulo 2^64, or draw one from the generator (which moves on).

    Examples
    --------
    >>> as_seed(7), as_seed(-1) == 2**64 - 1
    (7, True)
    """
    if isinstance(rng, torch.Generator):
        return int(torch.randint(1 << 62, (), generator=rng, device=rng.device))
    if isinstance(rng, bool) or not isinstance(rng, SupportsIndex):
        raise TypeError(
            f"rng must be an integer seed or a torch.Generator, got {type(rng).__name__}"
        )
    # a torch generator takes no more than 64 bits, and numpy's nothing below 0
    return operator.index(rng) % (1 << 64)


def derived_seed(seed: int, *path: int) -> int:
    """Seed of a part of the work, a 64-bit hash of the seed and the numbers that name the part.

    Parameters
    ----------
    seed : int
        At least 0.
    *path : int
        At least 0 each.

    Examples
    --------
    >>> derived_seed(1, 0) == derived_seed(1, 0), derived_seed(1, 0) == derived_seed(1, 0, 0)
    (True, False)
    """
    # a list of all numbers would not do: SeedSequence takes [1, 2] and [1, 2, 0] for the same
    sequence = np.random.SeedSequence(seed, spawn_key=path)
    return int(sequence.generate_state(1, np.uint64)[0])


@contextlib.contextmanager
def seeded_layers(seed: int) -> Iterator[None]:
    """Seed the layers that are built inside, and leave the caller's global generator untouched.

    torch's layers draw their initial weights from the global generator, which is not ours to move.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
