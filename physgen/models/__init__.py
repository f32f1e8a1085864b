"""Generative models on tensors, and their settings as plain dicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from physgen import mcmc
from physgen.models.base import GenerativeModel, ModelSettings, TensorSpec
from physgen.models.diffusion import EDM, VP, Diffusion, Grid, Linear
from physgen.models.ebm import (
    EBM,
    ContrastiveDivergence,
    ConvEnergy,
    DenoisingScoreMatching,
    MLPEnergy,
    SlicedScoreMatching,
)
from physgen.models.gan import GAN, Hinge, NonSaturating, Relativistic, WassersteinGP
from physgen.models.masked import MaskedDiffusion
from physgen.models.masked_corrector import Corrector
from physgen.models.prior import FlowPrior, MixturePrior
from physgen.models.rbm import CD, PCD, RBM, FastPCD, TemperedPCD
from physgen.models.vae import VAE, GaussianDecoder, GrayDecoder, MixtureDecoder, ZeroInflated
from physgen.networks.mlp import Perceptron
from physgen.networks.set_transformer import SetTransformer
from physgen.networks.unet import UNet
from physgen.networks.voxel_transformer import VoxelTransformer

__all__ = [
    "CD",
    "EBM",
    "EDM",
    "FAMILIES",
    "GAN",
    "PCD",
    "RBM",
    "VAE",
    "VP",
    "ContrastiveDivergence",
    "ConvEnergy",
    "Corrector",
    "DenoisingScoreMatching",
    "Diffusion",
    "FastPCD",
    "FlowPrior",
    "GaussianDecoder",
    "GenerativeModel",
    "GrayDecoder",
    "Grid",
    "Hinge",
    "Linear",
    "MLPEnergy",
    "MaskedDiffusion",
    "MixtureDecoder",
    "MixturePrior",
    "ModelSettings",
    "NonSaturating",
    "Perceptron",
    "Relativistic",
    "SetTransformer",
    "SlicedScoreMatching",
    "TemperedPCD",
    "TensorSpec",
    "UNet",
    "VoxelTransformer",
    "WassersteinGP",
    "ZeroInflated",
    "settings_from_dict",
    "settings_to_dict",
]

FAMILIES: dict[str, type[Any]] = {
    "diffusion": Diffusion,
    "gan": GAN,
    "vae": VAE,
    "rbm": RBM,
    "ebm": EBM,
    "masked": MaskedDiffusion,
}
_PARTS: tuple[type[Any], ...] = (
    CD,
    PCD,
    FastPCD,
    TemperedPCD,
    NonSaturating,
    Relativistic,
    Hinge,
    WassersteinGP,
    MixturePrior,
    FlowPrior,
    GaussianDecoder,
    ZeroInflated,
    MixtureDecoder,
    GrayDecoder,
    EDM,
    Linear,
    VP,
    Grid,
    Perceptron,
    UNet,
    VoxelTransformer,
    SetTransformer,
    MLPEnergy,
    ConvEnergy,
    ContrastiveDivergence,
    DenoisingScoreMatching,
    SlicedScoreMatching,
    mcmc.Langevin,
    mcmc.HMC,
    mcmc.SingleFlip,
    mcmc.Gibbs,
    mcmc.InformedFlip,
)
_KINDS = {kind.__name__: kind for kind in (*FAMILIES.values(), *_PARTS)}


def settings_to_dict(settings: ModelSettings) -> dict[str, Any]:
    """Settings as plain dicts, each with the name of its class under ``kind``."""
    plain: dict[str, Any] = _to_plain(settings)
    return plain


def settings_from_dict(stored: Mapping[str, Any]) -> ModelSettings:
    """Rebuild settings from :func:`settings_to_dict`.

    Raises
    ------
    ValueError
        If a class or a setting is unknown, e.g. from a newer version.
    """
    settings: ModelSettings = _from_plain(stored)
    return settings


def _to_plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return {"kind": type(value).__name__} | {
        f.name: _to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)
    }


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):  # JSON's word for a tuple
        return tuple(value)
    if not isinstance(value, Mapping):
        return value
    kind = _KINDS.get(value["kind"])
    if kind is None:
        raise ValueError(f"unknown model settings {value['kind']!r} (known: {', '.join(_KINDS)})")
    return kind(**{name: _from_plain(v) for name, v in value.items() if name != "kind"})
