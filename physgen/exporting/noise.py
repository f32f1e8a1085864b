"""Noise as an input: which numbers a sampler draws, and where it finds them in two tensors.

A first run notes every draw; from then on the numbers come from columns of the tensors ``normal``
and ``uniform``, in the order of the draws. So the host's generator makes them, and the model
itself holds no random operation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physgen.random import PhiloxRandom, Random

__all__ = ["Draw", "NoiseInputs", "NotedRandom", "philox_noise", "widths"]

KINDS = ("normal", "uniform")


@dataclass(frozen=True)
class Draw:
    """One call of a source of random numbers.

    Parameters
    ----------
    kind : str
        ``"normal"`` or ``"uniform"``.
    stream : int
        Stream of the seed: 0 for the model, 1 for the transforms.
    shape : tuple of int
        Of the numbers of one event.
    """

    kind: str
    stream: int
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many numbers an event takes."""
        return math.prod(self.shape)


class NotedRandom:
    """A source of random numbers that writes down what is drawn from it."""

    def __init__(self, source: Random, stream: int, draws: list[Draw]) -> None:
        self._source, self._stream, self._draws = source, stream, draws
        self.device = source.device

    def uniform(self, *shape: int) -> Tensor:
        self._draws.append(Draw("uniform", self._stream, tuple(shape[1:])))
        return self._source.uniform(*shape)

    def normal(self, *shape: int) -> Tensor:
        self._draws.append(Draw("normal", self._stream, tuple(shape[1:])))
        return self._source.normal(*shape)


class NoiseInputs:
    """A source of random numbers that hands out columns of given tensors, draw by draw.

    Parameters
    ----------
    draws : sequence of Draw
        What will be asked for, in order.
    tensors : mapping of str to Tensor of shape (n_events, width of all draws of the kind)
    """

    def __init__(self, draws: Sequence[Draw], tensors: Mapping[str, Tensor]) -> None:
        self._draws, self._tensors = list(draws), tensors
        self._start = dict.fromkeys(KINDS, 0)
        self.device = torch.device("cpu")

    def uniform(self, *shape: int) -> Tensor:
        return self._next("uniform", shape)

    def normal(self, *shape: int) -> Tensor:
        return self._next("normal", shape)

    def _next(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        draw = self._draws.pop(0) if self._draws else None
        if draw is None or (draw.kind, draw.shape) != (kind, tuple(shape[1:])):
            raise RuntimeError(
                f"the second run of sample asks for {kind} numbers of shape {tuple(shape[1:])} "
                f"per event where the first asked for {draw or 'nothing more'}; its draws must "
                "not depend on the values of earlier ones"
            )
        first = self._start[kind]
        self._start[kind] = first + draw.width
        return self._tensors[kind][:, first : first + draw.width].reshape(-1, *draw.shape)


def widths(draws: Sequence[Draw]) -> dict[str, int]:
    """Width of each noise input; kinds that are not drawn are left out."""
    found = {kind: sum(d.width for d in draws if d.kind == kind) for kind in KINDS}
    return {kind: width for kind, width in found.items() if width}


def philox_noise(
    draws: Sequence[Draw], seed: int, events: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Noise with which a model makes the events that its surrogate makes with this seed.

    Parameters
    ----------
    draws : sequence of Draw
    seed : int
        64 bits.
    events : array of shape (n_events,)
        Numbers of the events.

    Returns
    -------
    dict of str to array of shape (n_events, width), float32

    Examples
    --------
    >>> noise = philox_noise([Draw("normal", 0, (3,)), Draw("normal", 0, ())], 7, np.arange(2))
    >>> noise["normal"].shape, bool((noise["normal"][:, :3] == noise["normal"][:, 3:]).any())
    ((2, 4), False)
    """
    numbers = torch.from_numpy(np.asarray(events, dtype=np.int64))
    streams = {s: PhiloxRandom(seed, numbers, stream=s) for s in {d.stream for d in draws}}
    made: dict[str, list[Tensor]] = {kind: [] for kind in widths(draws)}
    for draw in draws:
        numbers_of = getattr(streams[draw.stream], draw.kind)
        part: Tensor = numbers_of(len(numbers), *draw.shape)
        if draw.width:
            made[draw.kind].append(part.reshape(len(numbers), draw.width))
    return {kind: torch.cat(parts, dim=1).numpy() for kind, parts in made.items()}
