"""Pictures: gray levels as probabilities, and generated ones without noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physgen.models.vae.decoders import Draft
from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = ["Gray", "GrayDecoder"]


@dataclass(frozen=True, kw_only=True)
class GrayDecoder:
    r"""Pixels between dark and bright, for pictures to look at.

    With the gray level g of a pixel from 0 (the darkest of the training) to 1,

    .. math:: \ln p(g|z) = g \ln m(z, c) + (1 - g) \ln(1 - m(z, c)),

    the cross-entropy of the textbooks. For g between 0 and 1 it is the density of nothing, so that
    the objective is no bound on ln p (Loaiza-Ganem and Cunningham, arXiv:1907.06845), and a
    picture that is made is m itself: pixels have no noise of their own.
    """

    def build(self, spec: TensorSpec, n_latent: int, draft: Draft) -> Gray:
        """Build the decoder for tensors of this spec around a network.

        Raises
        ------
        TypeError
            If the features are no gray levels: one array of integers, of two or more axes.
        """
        if spec.bounds is None:
            raise TypeError(
                "GrayDecoder is for pictures: one column of integer gray levels of shape "
                "(height, width) and nothing else that is generated; for other columns leave "
                "decoder= out"
            )
        return Gray(spec.bounds, draft.build(spec, n_latent, 1))


class Gray(nn.Module):
    """Gray levels m(z, c) on the scale of the features.

    Parameters
    ----------
    bounds : tuple of (float, float)
        Features of the darkest and of the brightest pixel.
    network : nn.Module
        From (n_events, n_latent + n_conditions) to the logits of the gray levels.
    """

    def __init__(self, bounds: tuple[float, float], network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.darkest, self.brightest = bounds

    def look(self, x: Tensor) -> None:
        """Nothing to learn from the first batch."""

    def log_prob(self, x: Tensor, z: Tensor, condition: Tensor) -> Tensor:
        """Minus the cross-entropy, shape (n_events,); see :class:`GrayDecoder`."""
        gray = ((x - self.darkest) / (self.brightest - self.darkest)).clamp(0, 1)
        logit = self._logit(z, condition)
        return -F.binary_cross_entropy_with_logits(logit, gray, reduction="none").sum(1)

    def sample(self, z: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Gray levels given z, shape (n_events, n_features); nothing is drawn."""
        m = torch.sigmoid(self._logit(z, condition))
        return self.darkest + (self.brightest - self.darkest) * m

    def _logit(self, z: Tensor, condition: Tensor) -> Tensor:
        found: Tensor = self.network(torch.cat((z, condition), dim=1))
        return found
