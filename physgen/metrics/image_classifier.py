"""A small convolutional network for the classifier test on images, lattices and voxels."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from physgen.metrics.classifier import Fit, Score
from physgen.random import seeded_layers

__all__ = ["image_classifier"]

_CHANNELS = (16, 32, 32)
_GRID = 4  # cells per axis that keep their place
_BATCH, _SCORED = 128, 1024
_RATE, _DECAY = 3e-3, 1e-3
_HELD_OUT = 0.15  # share of the events that say when to stop
_LOOKS = 15  # at them


def image_classifier(
    shape: Sequence[int], *, periodic: Sequence[int] = (), n_steps: int = 300
) -> Fit:
    """Return how to train a small CNN, for :func:`physgen.metrics.classifier.classifier_test`.

    Three convolutions of 3 cells per axis, 16 to 32 channels, with means over pairs of cells
    between them. The logit is linear in the means of all channels over the whole image, which see
    any sum over neighbors (the energy of a lattice), and in the last channels on a grid of at
    most 4 cells per axis, which see where something is. Periodic axes have no border and no grid:
    on them places a multiple of 4 cells apart count as alike where 4 divides their number;
    others differ by the pairs that they fall into.

    Numbers of all images share one scale, learned from the training events of both samples: their
    mean and spread, or log(1 + x / median of the positive ones) first where none is negative and
    the largest exceeds the mean by more than 20 times (energies of voxels). No layer normalizes
    an image by itself, which would hide its total, and none has running statistics: the first
    batch sets the scale of each channel once. 15 % of the events are held out, and of the
    weights after each of 15 parts of the training those with the least loss on them are kept.

    Parameters
    ----------
    shape : sequence of int
        Cells of an image along its 2 or 3 axes; events may also come flat.
    periodic : sequence of int, default ()
        Axes of ``shape`` that close upon themselves, counted from 0.
    n_steps : int, default 300
        Steps of training, on 128 events each; the cost does not depend on the number of events.

    Returns
    -------
    callable
        ``fit(x, labels, weights, *, seed)``. It runs on one thread of the CPU, and the same seed
        gives the same scores; no global generator moves. Events of one block of a chain may be
        on both sides of the inner split, which makes it stop later, but the test is not touched.

    Raises
    ------
    ValueError
        If the shape has not 2 or 3 axes, an axis is not one of them, or images have another size.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, labels = rng.normal(size=(400, 6, 6)), np.arange(400) % 2
    >>> x[labels == 1, 2:4, 2:4] += 2
    >>> score = image_classifier((6, 6), n_steps=60)(x[:200], labels[:200], None, seed=0)
    >>> bool(((score(x[200:]) > 0) == labels[200:]).mean() > 0.9)
    True
    """
    shape, periodic = tuple(shape), tuple(periodic)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"images have 2 or 3 axes of at least one cell, got the shape {shape}")
    if not set(periodic) <= set(range(len(shape))):
        raise ValueError(f"periodic axes must be among 0 to {len(shape) - 1}, got {periodic}")

    def fit(x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, *, seed: int) -> Score:
        scale = _Scale(_images(x, shape))
        w = np.ones(len(x)) if weights is None else np.asarray(weights) / np.mean(weights)
        targets = torch.from_numpy(np.stack((labels, w), axis=1)).float()
        with _one_thread():
            network = _train(
                scale(_images(x, shape)), targets, shape, periodic, n_steps=n_steps, seed=seed
            )

        def score(events: np.ndarray) -> np.ndarray:
            with _one_thread():
                return _logits(network, scale(_images(events, shape))).double().numpy()

        return score

    return fit


class _Scale:
    """One scale for all cells, learned from pooled events."""

    def __init__(self, images: Tensor) -> None:
        mean, largest = float(images.mean()), float(images.max())
        self.median = 0.0
        if float(images.min()) >= 0 and largest > 20 * mean > 0:
            self.median = float(images[images > 0].median())
        z = self._curved(images)
        self.mean, self.spread = float(z.mean()), float(z.std()) or 1.0

    def _curved(self, images: Tensor) -> Tensor:
        return torch.log1p(images.clamp(min=0) / self.median) if self.median else images

    def __call__(self, images: Tensor) -> Tensor:
        return (self._curved(images) - self.mean) / self.spread


class _Network(nn.Module):
    """Convolutions, the means of their channels, and a linear logit."""

    def __init__(self, shape: tuple[int, ...], periodic: tuple[int, ...]) -> None:
        super().__init__()
        conv = nn.Conv2d if len(shape) == 2 else nn.Conv3d
        channels = (1, *_CHANNELS)
        self.layers = nn.ModuleList(conv(i, o, 3) for i, o in itertools.pairwise(channels))
        self.periodic, self.n_axes = periodic, len(shape)
        sides = [math.ceil(n / 2 ** (len(_CHANNELS) - 1)) for n in shape]
        grid = [1 if i in periodic else min(_GRID, n) for i, n in enumerate(sides)]
        pool: Any = nn.AdaptiveAvgPool2d if len(shape) == 2 else nn.AdaptiveAvgPool3d
        self.pool = pool(tuple(grid))
        n_features = sum(_CHANNELS) + _CHANNELS[-1] * math.prod(grid)
        self.head = nn.Linear(n_features, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, z: Tensor) -> Tensor:
        features = []
        for k, layer in enumerate(self.layers):
            if k > 0:
                z = self._halved(z)
            z = functional.gelu(layer(self._padded(z)))
            features.append(z.flatten(2).mean(2))
        features.append(self.pool(z).flatten(1))
        return self.head(torch.cat(features, 1))[:, 0]

    def _padded(self, z: Tensor) -> Tensor:
        """One more cell on every side: of the other end on periodic axes, else 0."""
        ends = [(1, 1) if i in self.periodic else (0, 0) for i in range(self.n_axes)]
        zeros = [(1 - a, 1 - b) for a, b in ends]
        if self.periodic:
            z = functional.pad(z, [n for pair in reversed(ends) for n in pair], mode="circular")
        return functional.pad(z, [n for pair in reversed(zeros) for n in pair])

    def _halved(self, z: Tensor) -> Tensor:
        pool = functional.avg_pool2d if self.n_axes == 2 else functional.avg_pool3d
        steps = [2 if n > 1 else 1 for n in z.shape[2:]]
        return pool(z, steps, ceil_mode=True)

    @torch.no_grad()
    def set_scales(self, z: Tensor) -> None:
        """Give every channel mean 0 and spread 1 before its nonlinearity, over these images."""
        for k, layer in enumerate(self.layers):
            z = self._padded(self._halved(z) if k > 0 else z)
            spread, mean = torch.std_mean(layer(z).transpose(0, 1).flatten(1), dim=1)
            spread.clamp_(min=1e-6)
            weight, bias = layer.parameters()
            bias.sub_(mean).div_(spread)
            weight.div_(spread.reshape(-1, *[1] * (weight.dim() - 1)))
            z = functional.gelu(layer(z))


def _train(
    images: Tensor,
    targets: Tensor,
    shape: tuple[int, ...],
    periodic: tuple[int, ...],
    *,
    n_steps: int,
    seed: int,
) -> _Network:
    """Network with the least loss on held-out events, of those seen on the way."""
    generator = torch.Generator().manual_seed(seed)
    with seeded_layers(seed):
        network = _Network(shape, periodic)
    order = torch.randperm(len(images), generator=generator)
    n_held = max(1, round(_HELD_OUT * len(images)))
    held, seen = order[:n_held], order[n_held:]
    network.set_scales(images[seen[:_SCORED]])
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=n_steps + 1)
    best, least = network.state_dict(), math.inf
    batches = _batches(seen, generator)
    for step in range(1, n_steps + 1):
        rows = next(batches)
        optimizer.zero_grad()
        _loss(network(images[rows]), targets[rows]).backward()
        optimizer.step()
        schedule.step()
        if step % max(1, n_steps // _LOOKS) == 0 or step == n_steps:
            loss = float(_loss(_logits(network, images[held]), targets[held]))
            if loss < least:
                least = loss
                best = {name: w.clone() for name, w in network.state_dict().items()}
    network.load_state_dict(best)
    return network


def _batches(rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    size = min(_BATCH, len(rows))
    while True:
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        for start in range(0, len(rows) - size + 1, size):
            yield shuffled[start : start + size]


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    labels, weights = targets[:, 0], targets[:, 1]
    return functional.binary_cross_entropy_with_logits(logits, labels, weights)


@torch.no_grad()
def _logits(network: _Network, images: Tensor) -> Tensor:
    return torch.cat([network(part) for part in images.split(_SCORED)])


def _images(x: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Events as float32 images with one channel."""
    if math.prod(x.shape[1:]) != math.prod(shape):
        raise ValueError(f"the classifier is for images of {shape}, got events of {x.shape[1:]}")
    flat = np.ascontiguousarray(x.reshape(len(x), 1, *shape), dtype=np.float32)
    return torch.from_numpy(flat)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
