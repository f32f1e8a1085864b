"""Variational autoencoder: encoder, decoders, settings."""

from physgen.models.vae.decoders import GaussianDecoder, ZeroInflated
from physgen.models.vae.model import VAE, Bound, VAEModel

__all__ = ["VAE", "Bound", "GaussianDecoder", "VAEModel", "ZeroInflated"]
