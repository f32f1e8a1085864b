r"""The same training as :mod:`physgen.lectures.gan_written`, four times faster.

Same networks, losses, dropout, batches and optimizer; what is left out is what the mathematics
does not need: pictures read one by one, gradients that are thrown away, a graph that is built
anew for every batch. With D(x) the sigmoid of l(x), the loss of the discriminator for a batch of n
real images and n others is

.. math:: \frac1n \sum_{\rm real} \ln(1 + e^{-l(x)}) + \frac1n \sum_{\rm made} \ln(1 + e^{l(x)})

so that :math:`\partial/\partial l = (D - 1)/n` for a real image and :math:`D/n` for one that was
made. From there the gradients go backward through a layer at a time. The generator does not change
while the discriminator learns, so one pass makes the images for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from physgen.lectures.gan_networks import (
    N_PIXELS,
    Z_SIZE,
    Noise,
    create_noise,
    make_discriminator_network,
    make_generator_network,
)
from physgen.random import seeded_layers

__all__ = ["FastGan"]

N_HIDDEN = 100
SLOPE = 0.01  # of the leaky ReLU, torch's default
# steps for which noise and dropout are drawn at once
_BLOCK = 32


class FastGan:
    """Networks and their training; one call of :meth:`epoch` goes once through all images.

    Parameters
    ----------
    images : array of shape (n, 28, 28), uint8
        Kept as bytes; a batch is scaled to -1 to 1 when its turn comes.
    seed : int
        Initial weights, batches, noise and dropout come from one generator of its own.
    batch_size : int, default 64
    mode_z : {"uniform", "normal"}

    Attributes
    ----------
    generator, discriminator : nn.Sequential
        The lecture's modules; they see every step, since they share its memory.
    """

    def __init__(
        self, images: np.ndarray, *, seed: int, batch_size: int = 64, mode_z: Noise = "uniform"
    ) -> None:
        self._pixels = torch.from_numpy(images).view(len(images), N_PIXELS)
        self._n, self._mode_z = batch_size, mode_z
        self._random = torch.Generator().manual_seed(seed)
        with seeded_layers(seed):
            self.generator = make_generator_network(Z_SIZE, num_output_units=N_PIXELS)
            self.discriminator = make_discriminator_network(N_PIXELS)
        self.fixed_z = create_noise(batch_size, Z_SIZE, mode_z, generator=self._random)
        self._adam = {
            "generator": _Adam(self.generator),
            "discriminator": _Adam(self.discriminator),
        }
        real = torch.arange(2 * batch_size) < batch_size
        self._is_real = real[:, None].float()
        self._sign = 1 - 2 * self._is_real
        # a row per byte: its bits as 0 and 2, what dropout of one half multiplies with
        bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
        self._dropouts = 2.0 * bits.float()

    def epoch(self) -> dict[str, float]:
        """Train once through all images; means of both losses and of D(x) and D(G(z))."""
        n = self._n
        n_steps = len(self._pixels) // n
        order = torch.randperm(len(self._pixels), generator=self._random)
        rows = order[: n_steps * n].view(n_steps, n)
        found = torch.empty(n_steps, 4)
        both = torch.empty(2 * n, N_PIXELS)
        with torch.no_grad():
            for first in range(0, n_steps, _BLOCK):
                noise, dropout = self._draw(min(_BLOCK, n_steps - first))
                for k in range(len(noise)):
                    batch = self._pixels.index_select(0, rows[first + k])
                    torch.mul(batch, 1 / 127.5, out=both[:n]).sub_(1)
                    self._step(both, noise[k], dropout[k], found[first + k])
        names = ("generator", "discriminator", "real", "fake")
        return dict(zip(names, found.mean(0).tolist(), strict=True))

    def _draw(self, n_steps: int) -> tuple[Tensor, Tensor]:
        """Noise for both players and what dropout multiplies the hidden units with."""
        n = self._n
        z = create_noise(2 * n * n_steps, Z_SIZE, self._mode_z, generator=self._random)
        shape = (n_steps, 3 * n, N_HIDDEN)
        n_words = -(-n_steps * 3 * n * N_HIDDEN // 64)
        words = torch.empty(n_words, dtype=torch.int64)
        words.random_(-(2**63), None, generator=self._random)
        dropout = self._dropouts.index_select(0, words.view(torch.uint8).int()).view(-1)
        return z.view(n_steps, 2 * n, Z_SIZE), dropout[: np.prod(shape)].view(shape)

    def _step(self, both: Tensor, z: Tensor, dropout: Tensor, found: Tensor) -> None:
        """One turn of either player; losses and probabilities go into ``found``.

        ``both`` holds the real images in its first half, and takes those made in its second.
        """
        n = self._n
        first_w, first_b, last_w, last_b = self._adam["generator"].parameters
        hidden_w, out_w, out_b = self._adam["discriminator"].parameters
        h = torch.addmm(first_b, z, first_w.t())
        a = leaky_relu(h, SLOPE)
        made = torch.addmm(last_b, a, last_w.t()).tanh_()

        both[n:] = made[:n]
        u = both @ hidden_w.t()
        kept = leaky_relu(u, SLOPE).mul_(dropout[: 2 * n])
        logits = torch.addmm(out_b, kept, out_w.t())
        p = logits.sigmoid()
        found[1] = softplus(self._sign * logits).sum() / n
        found[2], found[3] = p[:n].mean(), p[n:].mean()
        d_hidden_w, d_out_w, d_out_b = self._adam["discriminator"].gradients
        d = (p - self._is_real).div_(n)
        torch.mm(d.t(), kept, out=d_out_w)
        torch.sum(d, 0, out=d_out_b)
        d = _through(torch.mm(d, out_w).mul_(dropout[: 2 * n]), u)
        torch.mm(d.t(), both, out=d_hidden_w)
        self._adam["discriminator"].step()

        x, a, h, z = made[n:], a[n:], h[n:], z[n:]
        u = x @ hidden_w.t()
        logits = torch.addmm(out_b, leaky_relu(u, SLOPE).mul_(dropout[2 * n :]), out_w.t())
        found[0] = softplus(-logits).mean()
        d_first_w, d_first_b, d_last_w, d_last_b = self._adam["generator"].gradients
        d = (logits.sigmoid() - 1).div_(n)
        d = _through(torch.mm(d, out_w).mul_(dropout[2 * n :]), u)
        d = torch.ops.aten.tanh_backward(torch.mm(d, hidden_w), x)
        torch.mm(d.t(), a, out=d_last_w)
        torch.sum(d, 0, out=d_last_b)
        d = _through(torch.mm(d, last_w), h)
        torch.mm(d.t(), z, out=d_first_w)
        torch.sum(d, 0, out=d_first_b)
        self._adam["generator"].step()

    def state(self) -> dict[str, Tensor]:
        """Everything that the next epoch depends on."""
        tensors = {"random": self._random.get_state(), "fixed_z": self.fixed_z}
        for name, adam in self._adam.items():
            tensors |= {f"{name}.{key}": value for key, value in adam.state().items()}
        return {name: value.clone() for name, value in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state` was taken."""
        self._random.set_state(tensors["random"])
        self.fixed_z = tensors["fixed_z"]
        for name, adam in self._adam.items():
            for key, value in adam.state().items():
                value.copy_(tensors[f"{name}.{key}"])


def _through(gradient: Tensor, before: Tensor) -> Tensor:
    """Gradient at the entry of a leaky ReLU."""
    return torch.ops.aten.leaky_relu_backward(gradient, before, SLOPE, False)


class _Adam:
    """Adam with torch's defaults for a whole network as one vector: one call instead of many.

    ``parameters`` and ``gradients`` are views of that vector and of the one of its gradients.
    """

    def __init__(self, network: nn.Module) -> None:
        given = list(network.parameters())
        self._values = torch.cat([p.detach().flatten() for p in given])
        self._gradient = torch.zeros_like(self._values)
        self._mean = torch.zeros_like(self._values)
        self._square = torch.zeros_like(self._values)
        self._n_steps = torch.zeros(())
        sizes = [p.numel() for p in given]
        self.parameters = _views(self._values, sizes, given)
        self.gradients = _views(self._gradient, sizes, given)
        for p, value in zip(given, self.parameters, strict=True):
            p.data = value

    def step(self) -> None:
        self._n_steps += 1
        torch._fused_adam_(
            [self._values], [self._gradient], [self._mean], [self._square], [], [self._n_steps],
            lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False,
            maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        return {
            "values": self._values,
            "mean": self._mean,
            "square": self._square,
            "n_steps": self._n_steps,
        }


def _views(vector: Tensor, sizes: Sequence[int], like: Sequence[Tensor]) -> list[Tensor]:
    return [part.view_as(p) for part, p in zip(vector.split(list(sizes)), like, strict=True)]
