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
from collections.abc import Iterator
from typing import Protocol, SupportsIndex

import numpy as np
import torch
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
        self._n_blocks = 0

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        return self._events.device

    def uniform(self, *shape: int) -> Tensor:
        """Uniform float32 numbers in (0, 1) with 23 random bits, of this shape."""
        words = self._words(*shape)
        return ((words >> 9).to(torch.float32) + 0.5) * 2.0**-23

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers of this shape (Box-Muller in float64; below 6.8)."""
        words = self._words(*shape, even=True)
        u = (words.to(torch.float64) + 0.5) * 2.0**-32
        n_half = u.shape[1] // 2
        radius = torch.sqrt(-2.0 * torch.log(u[:, :n_half].contiguous()))
        angle = (2.0 * math.pi) * u[:, n_half:].contiguous()
        z = torch.cat((radius * torch.cos(angle), radius * torch.sin(angle)), dim=1)
        return z[:, : math.prod(shape[1:])].to(torch.float32).reshape(shape)

    def _words(self, *shape: int, even: bool = False) -> Tensor:
        n_events = len(self._events)
        if not shape or shape[0] != n_events:
            raise ValueError(
                f"a draw of shape {shape} was asked for {n_events} events; the first axis must be "
                "the events"
            )
        n_words = math.prod(shape[1:])
        n_blocks = max(1, -(-n_words // 4))
        block = torch.arange(self._n_blocks, self._n_blocks + n_blocks, device=self.device)
        self._n_blocks += n_blocks
        event = self._events[:, None].expand(n_events, n_blocks).reshape(-1)
        draw = block[None, :].expand(n_events, n_blocks).reshape(-1)
        stream = torch.full_like(event, self._stream)
        counter = torch.stack((event & _MASK, (event >> 32) & _MASK, draw, stream))
        words = philox(counter, self._key)
        rows = (
            words.reshape(4, n_events, n_blocks).permute(1, 2, 0).reshape(n_events, 4 * n_blocks)
        )
        return rows if even else rows[:, :n_words].reshape(shape)


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
