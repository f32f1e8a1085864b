"""Variational autoencoder: encoder, decoders, settings."""

from physgen.models.vae.decoders import GaussianDecoder, MixtureDecoder, ZeroInflated
from physgen.models.vae.gray import GrayDecoder
from physgen.models.vae.model import VAE, Bound, VAEModel

__all__ = [
    "VAE",
    "Bound",
    "GaussianDecoder",
    "GrayDecoder",
    "MixtureDecoder",
    "VAEModel",
    "ZeroInflated",
]
