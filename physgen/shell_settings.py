"""Settings of the models as the shell sees them: dataclasses of numbers and words only."""

import dataclasses
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter

from physgen.mcmc import HMC, Gibbs, InformedFlip, Langevin, SingleFlip
from physgen.models import (
    CD,
    FAMILIES,
    PCD,
    ContrastiveDivergence,
    ConvEnergy,
    DenoisingScoreMatching,
    FastPCD,
    MLPEnergy,
    NonSaturating,
    Relativistic,
    SlicedScoreMatching,
    TemperedPCD,
)

__all__ = ["SHELL_SETTINGS", "library_settings"]

# behaviors that are objects in Python have a name in the shell, with their settings behind a colon
PARTS: dict[str, type[Any]] = {
    "relativistic": Relativistic,
    "non-saturating": NonSaturating,
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
        choices = [name for name, part in PARTS.items() if part in get_args(hint)]
        if choices:
            default = next((n for n, part in PARTS.items() if type(default) is part), "automatic")
            hint = Annotated[str, Parameter(help=_part_help(choices, optional=f.default is None))]
        fields.append((f.name, hint, dataclasses.field(default=default)))
    namespace = {"__doc__": kind.__doc__, "__module__": __name__}
    return dataclasses.make_dataclass(
        kind.__name__, fields, namespace=namespace, frozen=True, kw_only=True
    )


def _part_help(choices: list[str], *, optional: bool) -> str:
    names = ", ".join((["automatic"] if optional else []) + choices)
    example = dataclasses.fields(PARTS[choices[0]])[0]
    return f"One of {names}; with settings as {choices[0]}:{example.name}={example.default}."


def library_settings(family: str, given: Any) -> Any:
    """The settings of the library from those of the shell."""
    kind = FAMILIES[family]
    values = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    for f in dataclasses.fields(kind):
        if f.name in values and isinstance(values[f.name], str) and not isinstance(f.default, str):
            values[f.name] = _part(f.name, values[f.name])
    return kind(**values)


def _part(option: str, text: str) -> Any:
    name, _, settings = text.partition(":")
    if name == "automatic":
        return None
    if name not in PARTS:
        raise ValueError(f"unknown {option} {name!r}; use one of automatic, {', '.join(PARTS)}")
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
