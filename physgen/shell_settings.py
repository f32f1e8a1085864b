"""Settings of the models as the shell sees them: dataclasses of numbers and words only."""

import dataclasses
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter

from physgen.mcmc import HMC, Gibbs, InformedFlip, Langevin, SingleFlip
from physgen.models import (
    CD,
    EDM,
    FAMILIES,
    PCD,
    VP,
    ContrastiveDivergence,
    ConvEnergy,
    DenoisingScoreMatching,
    FastPCD,
    FlowPrior,
    GaussianDecoder,
    GrayDecoder,
    Hinge,
    Linear,
    MixtureDecoder,
    MixturePrior,
    MLPEnergy,
    NonSaturating,
    Perceptron,
    Relativistic,
    SetTransformer,
    SlicedScoreMatching,
    TemperedPCD,
    UNet,
    VoxelTransformer,
    WassersteinGP,
    ZeroInflated,
)

__all__ = ["SHELL_SETTINGS", "library_settings"]

# behaviors that are objects in Python have a name in the shell, with their settings behind a colon
PARTS: dict[str, type[Any]] = {
    "relativistic": Relativistic,
    "non-saturating": NonSaturating,
    "hinge": Hinge,
    "mixture": MixturePrior,
    "flow": FlowPrior,
    "gaussian": GaussianDecoder,
    "zero-inflated": ZeroInflated,
    "mixture-decoder": MixtureDecoder,
    "gray-decoder": GrayDecoder,
    "wasserstein-gp": WassersteinGP,
    "edm": EDM,
    "linear": Linear,
    "vp": VP,
    "perceptron": Perceptron,
    "unet": UNet,
    "voxel-transformer": VoxelTransformer,
    "set-transformer": SetTransformer,
    "mlp": MLPEnergy,
    "conv": ConvEnergy,
    "contrastive": ContrastiveDivergence,
    "denoising": DenoisingScoreMatching,
    "sliced": SlicedScoreMatching,
    "langevin": Langevin,
    "hmc": HMC,
    "single-flip": SingleFlip,
    "gibbs": Gibbs,
    "informed-flip": InformedFlip,
    "cd": CD,
    "pcd": PCD,
    "fast-pcd": FastPCD,
    "tempered-pcd": TemperedPCD,
}


def _shell_settings(kind: type[Any]) -> type[Any]:
    """The dataclass with every field that holds an object replaced by its name."""
    hints = get_type_hints(kind)
    fields: list[Any] = []
    for f in dataclasses.fields(kind):
        hint: Any = hints[f.name]
        default: Any = f.default
        choices = _choices(hint)
        if choices:
            default = next((n for n, part in PARTS.items() if type(default) is part), "automatic")
            hint = Annotated[str, Parameter(help=_part_help(choices))]
        fields.append((f.name, hint, dataclasses.field(default=default)))
    namespace = {"__doc__": kind.__doc__, "__module__": __name__}
    return dataclasses.make_dataclass(
        kind.__name__, fields, namespace=namespace, frozen=True, kw_only=True
    )


def _choices(hint: Any) -> list[str]:
    """Names of the parts that a field takes; none if it takes a number or a word."""
    taken = get_args(hint)
    names = [name for name, part in PARTS.items() if part in taken]
    return ["automatic", *names] if names and NoneType in taken else names


def _part_help(choices: list[str]) -> str:
    first = next(name for name in choices if name in PARTS)
    example = dataclasses.fields(PARTS[first])[0]
    return (
        f"One of {', '.join(choices)}; with settings as {first}:{example.name}={example.default}."
    )


def library_settings(family: str, given: Any) -> Any:
    """The settings of the library from those of the shell."""
    kind = FAMILIES[family]
    values = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    for option, hint in get_type_hints(kind).items():
        if option in values and (choices := _choices(hint)):
            values[option] = _part(option, values[option], choices)
    return kind(**values)


def _part(option: str, text: str, choices: list[str]) -> Any:
    name, _, settings = text.partition(":")
    if name not in choices:
        raise ValueError(f"unknown {option} {name!r}; use one of {', '.join(choices)}")
    if name == "automatic":
        return None
    types = {f.name: type(f.default) for f in dataclasses.fields(PARTS[name])}
    values = {}
    for pair in filter(None, settings.split(",")):
        key, _, value = pair.partition("=")
        if key not in types:
            raise ValueError(f"{name} has no setting {key!r} (settings: {', '.join(types)})")
        kind: Any = types[key]
        values[key] = value == "true" if kind is bool else kind(value)
    return PARTS[name](**values)


SHELL_SETTINGS = {family: _shell_settings(kind) for family, kind in FAMILIES.items()}
