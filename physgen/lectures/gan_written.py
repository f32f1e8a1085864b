"""The lecture's training loop, step for step as it is written there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from physgen.lectures.gan_networks import (
    N_PIXELS,
    Z_SIZE,
    Noise,
    create_noise,
    make_discriminator_network,
    make_generator_network,
)
from physgen.random import seeded_layers

__all__ = ["WrittenGan", "first_losses"]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images one by one, each by way of a picture and two transforms, as torchvision does it."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image  # comes with matplotlib

        picture = Image.fromarray(self._images[index])
        gray = torch.from_numpy(np.array(picture, copy=True)).view(28, 28, 1)
        pixels = gray.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, std = torch.as_tensor(0.5), torch.as_tensor(0.5)
        if (std == 0).any():
            raise ValueError("the standard deviation of the pixels is zero")
        return pixels.clone().sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1)), 0


def first_losses(
    images: np.ndarray, *, seed: int = 1, mode_z: Noise = "uniform"
) -> dict[str, float]:
    """One batch of 32 through both untrained networks.

    Parameters
    ----------
    images : array of shape (n, 28, 28), uint8
    seed : int, default 1
        For torch's global generator, whose state is put back afterwards.
    mode_z : {"uniform", "normal"}

    Returns
    -------
    dict
        Binary cross-entropies ``generator``, ``discriminator real`` and ``discriminator fake``.
    """
    loss_fn = nn.BCELoss()
    with seeded_layers(seed):
        generator = make_generator_network(Z_SIZE, num_output_units=N_PIXELS)
        discriminator = make_discriminator_network(N_PIXELS)
        x, _ = next(iter(DataLoader(Pictures(images), 32, shuffle=False)))
        torch.default_generator.manual_seed(seed)
        fake = generator(create_noise(32, Z_SIZE, mode_z))
        p_real, p_fake = discriminator(x.view(32, -1)), discriminator(fake)
    real, none = torch.ones_like(p_real), torch.zeros_like(p_fake)
    return {
        "generator": loss_fn(p_fake, real).item(),
        "discriminator real": loss_fn(p_real, real).item(),
        "discriminator fake": loss_fn(p_fake, none).item(),
    }


class WrittenGan:
    """Networks, optimizers and loader; one call of :meth:`epoch` is one of the lecture's.

    The randomness is torch's global generator, as there: initial weights, order of the images,
    noise and dropout come from one stream, which is begun anew before the loop. Its state is this
    object's own, and nobody else's is touched.

    Parameters
    ----------
    images : array of shape (n, 28, 28), uint8
    seed : int
    batch_size : int, default 64
    mode_z : {"uniform", "normal"}
    """

    def __init__(
        self, images: np.ndarray, *, seed: int, batch_size: int = 64, mode_z: Noise = "uniform"
    ) -> None:
        self._mode_z: Noise = mode_z
        with seeded_layers(seed):
            self._loader = DataLoader(
                Pictures(images), batch_size=batch_size, shuffle=True, drop_last=True
            )
            self.generator = make_generator_network(Z_SIZE, num_output_units=N_PIXELS)
            self.discriminator = make_discriminator_network(N_PIXELS)
            self.fixed_z = create_noise(batch_size, Z_SIZE, mode_z)
            torch.default_generator.manual_seed(seed)
            self._random_state = torch.get_rng_state()
        self._loss_fn = nn.BCELoss()
        self._optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters()),
            "discriminator": torch.optim.Adam(self.discriminator.parameters()),
        }

    def epoch(self) -> dict[str, float]:
        """Train once through all images; means of both losses and of D(x) and D(G(z))."""
        found = []
        with self._own_stream():
            for x, _ in self._loader:
                loss_d, p_real, p_fake = self._train_discriminator(x)
                found.append((self._train_generator(x), loss_d, p_real, p_fake))
        names = ("generator", "discriminator", "real", "fake")
        return dict(zip(names, torch.tensor(found).mean(0).tolist(), strict=True))

    def _train_discriminator(self, x: Tensor) -> tuple[float, float, float]:
        self.discriminator.zero_grad()
        n = x.size(0)
        p_real = self.discriminator(x.view(n, -1))
        loss_real = self._loss_fn(p_real, torch.ones(n, 1))
        # not detached, so gradients of the generator are found, and thrown away
        p_fake = self.discriminator(self.generator(create_noise(n, Z_SIZE, self._mode_z)))
        loss_fake = self._loss_fn(p_fake, torch.zeros(n, 1))
        loss = loss_real + loss_fake
        loss.backward()
        self._optimizers["discriminator"].step()
        return loss.item(), p_real.detach().mean().item(), p_fake.detach().mean().item()

    def _train_generator(self, x: Tensor) -> float:
        self.generator.zero_grad()
        n = x.size(0)
        p_fake = self.discriminator(self.generator(create_noise(n, Z_SIZE, self._mode_z)))
        loss = self._loss_fn(p_fake, torch.ones(n, 1))
        loss.backward()
        self._optimizers["generator"].step()
        return float(loss.item())

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random_state)
            yield
            self._random_state = torch.get_rng_state()

    def state(self) -> dict[str, Tensor]:
        """Everything that the next epoch depends on."""
        tensors = {"random": self._random_state, "fixed_z": self.fixed_z}
        for name, module in (("generator", self.generator), ("discriminator", self.discriminator)):
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
            moments = self._optimizers[name].state_dict()["state"]
            for k, entries in moments.items():
                tensors |= {f"adam.{name}.{k}.{key}": value for key, value in entries.items()}
        return {name: value.clone() for name, value in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state` was taken."""
        self._random_state, self.fixed_z = tensors["random"], tensors["fixed_z"]
        for name, module in (("generator", self.generator), ("discriminator", self.discriminator)):
            module.load_state_dict({k: tensors[f"{name}.{k}"] for k in module.state_dict()})
            optimizer, prefix = self._optimizers[name], f"adam.{name}."
            moments: dict[int, dict[str, Any]] = {}
            for key, value in tensors.items():
                if key.startswith(prefix):
                    k, entry = key.removeprefix(prefix).split(".")
                    moments.setdefault(int(k), {})[entry] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
