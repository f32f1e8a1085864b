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

    With the gray level g of a pixel from 0 (the darkest of the first batch of the training) to 1,

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
            If features are binary, or entries of a collection: these are no pixels.
        """
        if spec.n_binary or spec.rows is not None:
            raise TypeError(
                "GrayDecoder is for pictures, and these features are binary or entries of a "
                "collection; leave decoder= out"
            )
        return Gray(spec, n_latent, draft)


class Gray(nn.Module):
    """Gray levels m(z, c) on the scale of the features.

    Parameters
    ----------
    spec : TensorSpec
    n_latent : int
    draft : Draft
        Of the network.
    """

    darkest: Tensor
    brightest: Tensor
    has_looked: Tensor

    def __init__(self, spec: TensorSpec, n_latent: int, draft: Draft) -> None:
        super().__init__()
        self.network = draft.build(spec, n_latent, 1)
        self.register_buffer("darkest", torch.tensor(-1.0))
        self.register_buffer("brightest", torch.tensor(1.0))
        self.register_buffer("has_looked", torch.tensor(False))

    def look(self, x: Tensor) -> None:
        """Find the range of the pixels in the first batch of the training."""
        if not bool(self.has_looked) and float(x.max()) > float(x.min()):
            self.darkest.copy_(x.min())
            self.brightest.copy_(x.max())
            self.has_looked.fill_(True)

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
