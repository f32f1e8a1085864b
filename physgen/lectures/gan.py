r"""The lecture's generative adversarial network on MNIST, and what its losses say.

With the best discriminator :math:`D^* = p_r/(p_r + p_g)` its gain is
:math:`L(G, D^*) = 2\,{\rm JS} - 2\ln 2` (Goodfellow et al., arXiv:1406.2661). The loss that is
printed is -L, of a discriminator that is not the best, so every epoch proves
:math:`{\rm JS} \ge 1 - {\rm loss}/(2 \ln 2)` bits. Where both laws agree, D = 1/2 everywhere, the
loss of the discriminator is :math:`2 \ln 2` and that of the generator :math:`\ln 2`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from physgen.files.atomic import atomic_path, check_writable
from physgen.lectures.gan_fast import FastGan
from physgen.lectures.gan_networks import Noise, create_noise
from physgen.lectures.gan_written import WrittenGan
from physgen.metrics import lecture_mmd
from physgen.training import threads

__all__ = ["SHOWN_EPOCHS", "GanTraining", "js_bound", "line", "scores", "train_gan"]

SHOWN_EPOCHS = (1, 2, 4, 10, 50, 100)
Epoch = dict[str, float]


@dataclass
class GanTraining:
    """A generative adversarial network and how it came about.

    Attributes
    ----------
    generator, discriminator : nn.Sequential
    epochs : list of dict
        Means over each epoch: losses ``generator`` and ``discriminator``, probabilities ``real``
        for D(x) and ``fake`` for D(G(z)); ``seconds`` of the processor.
    samples : dict of int to Tensor
        Images (64, 784) from -1 to 1 made of one fixed noise after some epochs.
    resumed_at : int
        Epochs that an earlier call had done.
    settings : dict
        What the training was called with, and the SHA-256 of its images.
    """

    generator: nn.Sequential
    discriminator: nn.Sequential
    epochs: list[Epoch]
    samples: dict[int, Tensor]
    resumed_at: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Make n images, (n, 784) from -1 to 1, of noise with this seed."""
        z_size = next(self.generator.parameters()).shape[1]
        random = torch.Generator().manual_seed(seed)
        z = create_noise(n, z_size, self.settings["mode_z"], generator=random)
        with torch.no_grad():
            return self.generator(z)


def train_gan(
    images: np.ndarray,
    *,
    n_epochs: int = 100,
    faithful: bool = False,
    seed: int = 1,
    batch_size: int = 64,
    mode_z: Noise = "uniform",
    stop_within: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> GanTraining:
    """Train the lecture's networks with its losses.

    Parameters
    ----------
    images : array of shape (n, 28, 28), uint8
        As from :func:`physgen.lectures.mnist`.
    n_epochs : int, default 100
        Times through all images.
    faithful : bool, default False
        Go step for step as the lecture does, with the same random numbers; otherwise the same
        mathematics in a quarter of the time.
    seed : int, default 1
    batch_size : int, default 64
    mode_z : {"uniform", "normal"}
        Law of the noise.
    stop_within : float, optional
        Stop where both means of D were this close to 1/2 for three epochs: the discriminator
        tells nothing any more.
    checkpoint : path, optional
        File that is written after every epoch, whole or not at all. If it is there, the training
        goes on from it, and ends with the weights it would have had without interruption.
    on_epoch : callable, optional
        Called with the number of the epoch and its means.

    Returns
    -------
    GanTraining

    Raises
    ------
    ValueError
        If the images have another size or type, are fewer than a batch, or the checkpoint belongs
        to another training.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, (128, 28, 28)).astype(np.uint8)
    >>> run = train_gan(images, n_epochs=2)
    >>> run.sample(5, seed=3).shape
    torch.Size([5, 784])
    """
    _check(images, n_epochs, batch_size)
    settings = {
        "faithful": faithful,
        "seed": seed,
        "batch_size": batch_size,
        "mode_z": mode_z,
        "images": hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest(),
    }
    path = None if checkpoint is None else Path(checkpoint)
    with threads(1):
        kind = WrittenGan if faithful else FastGan
        gan = kind(np.ascontiguousarray(images), seed=seed, batch_size=batch_size, mode_z=mode_z)
        epochs: list[Epoch] = []
        samples: dict[int, Tensor] = {}
        if path is not None:
            check_writable(path)
            if path.exists():
                epochs, samples = _resume(path, gan, settings)
        resumed_at = len(epochs)
        while len(epochs) < n_epochs and not _is_over(epochs, stop_within):
            start = time.process_time()
            epochs.append(gan.epoch() | {"seconds": time.process_time() - start})
            number = len(epochs)
            if number in SHOWN_EPOCHS or number == n_epochs:
                with torch.no_grad():
                    samples[number] = gan.generator(gan.fixed_z)
            if path is not None:
                _save(path, gan, settings, epochs, samples)
            if on_epoch is not None:
                on_epoch(number, epochs[-1])
    return GanTraining(gan.generator, gan.discriminator, epochs, samples, resumed_at, settings)


def _check(images: np.ndarray, n_epochs: int, batch_size: int) -> None:
    if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise ValueError(
            "the lecture's networks take images of shape (n, 28, 28) and type uint8; these have "
            f"shape {images.shape} and type {images.dtype} (other images: pg.GAN)"
        )
    if len(images) < batch_size:
        raise ValueError(f"{len(images)} images do not fill one batch of {batch_size}")
    if n_epochs < 1 or batch_size < 1:
        raise ValueError(f"n_epochs and batch_size are at least 1, got {n_epochs}, {batch_size}")


def _is_over(epochs: list[Epoch], stop_within: float | None) -> bool:
    if stop_within is None or len(epochs) < 3:
        return False
    last = (abs(epoch[name] - 0.5) for epoch in epochs[-3:] for name in ("real", "fake"))
    return max(last) < stop_within


def _save(
    path: Path,
    gan: WrittenGan | FastGan,
    settings: Mapping[str, Any],
    epochs: list[Epoch],
    samples: Mapping[int, Tensor],
) -> None:
    tensors = gan.state() | {f"samples.{number}": x.clone() for number, x in samples.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"lecture": json.dumps([settings, epochs])})


def _resume(
    path: Path, gan: WrittenGan | FastGan, settings: Mapping[str, Any]
) -> tuple[list[Epoch], dict[int, Tensor]]:
    """Bring the networks to where the file was written; its epochs and samples."""
    try:
        with safe_open(path, "pt") as file:
            known, epochs = json.loads((file.metadata() or {})["lecture"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or not of this lecture ({error}); remove it to begin anew"
        ) from error
    if other := [name for name, value in settings.items() if known.get(name) != value]:
        raise ValueError(
            f"{path} holds a training whose {' and '.join(other)} differ; choose another folder, "
            "or remove it to begin anew"
        )
    gan.restore(tensors)
    prefix = "samples."
    shown = {
        int(name.removeprefix(prefix)): x for name, x in tensors.items() if name.startswith(prefix)
    }
    return epochs, shown


def line(number: int, epoch: Epoch) -> str:
    """One epoch in the lecture's words."""
    return (
        f"Epoch {number:03d} | Avg Losses >> G/D {epoch['generator']:.4f}/"
        f"{epoch['discriminator']:.4f} [D-Real: {epoch['real']:.4f} D-Fake: {epoch['fake']:.4f}]"
    )


def js_bound(discriminator_loss: float) -> float:
    """How far apart digits and images are at least, as JS divergence in bits (0 to 1)."""
    return max(0.0, 1 - discriminator_loss / (2 * math.log(2)))


def scores(training: GanTraining, test: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The lecture's score of what should be good and bad, as printed and mended.

    Parameters
    ----------
    training : GanTraining
    test : array of shape (n, 28, 28), uint8
        At least 10,000 digits that the training has not seen make the numbers comparable.
    seed : int, default 0
        Of the noise.

    Returns
    -------
    dict
        By name (real digits, the generator, blank images, noise) the score ``as_printed``, of 64
        images, and ``mended``, the unbiased MMD^2 of 2,000; smaller is meant to be better.
    """
    random = torch.Generator().manual_seed(seed)
    # the second half of MNIST's test digits comes from other writers than the first
    mixed = test[torch.randperm(len(test), generator=random).numpy()]
    pixels = torch.from_numpy(mixed).view(len(test), -1) / 127.5 - 1
    half = len(pixels) // 2
    real, others = pixels[:half], pixels[half:]
    n = min(2000, len(others))
    candidates = {
        "other real digits": others[:n],
        "the generator": training.sample(n, seed=seed),
        "blank images": torch.full((n, pixels.shape[1]), -1.0),
        "noise": torch.rand(n, pixels.shape[1], generator=random) * 2 - 1,
    }
    return {
        name: {
            "as_printed": lecture_mmd(real, x[:64]),
            "mended": lecture_mmd(real, x, rescales_generated=False, is_biased=False),
        }
        for name, x in candidates.items()
    }
