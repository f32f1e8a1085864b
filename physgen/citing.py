"""The papers behind a surrogate, as BibTeX."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from physgen.models import FAMILIES
from physgen.models.base import ModelSettings
from physgen.surrogate import Surrogate

__all__ = ["citation"]

_ENTRY = re.compile(r"^@\w+\{.*?^\}", re.MULTILINE | re.DOTALL)
_METHODS = re.compile(r",\n  methods = \{(.*?)\}")


def citation(*used: Surrogate | ModelSettings) -> str:
    """BibTeX entries of physgen and of the methods that surrogates or settings use.

    Parameters
    ----------
    *used : Surrogate or settings
        What is described in the paper; without any, physgen itself.

    Returns
    -------
    str
        For a ``.bib`` file, every paper once: of the family of the model, its objective, path,
        sampler, networks and moves, of special transforms, and of the random numbers.

    Raises
    ------
    TypeError
        If something is neither a surrogate nor the settings of a model.

    Examples
    --------
    >>> from physgen import GAN
    >>> text = citation(GAN())
    >>> "goodfellow2014gan" in text, "kingma2013vae" in text
    (True, False)
    """
    methods: set[str] = set()
    for one in used:
        methods |= {"*", *_methods(one)}
    entries = [_own()]
    for entry in _ENTRY.findall((Path(__file__).parent / "methods.bib").read_text()):
        [found] = _METHODS.findall(entry)
        if methods & {name.strip() for name in found.split(",")}:
            entries.append(_METHODS.sub("", entry))
    return "\n\n".join(entries) + "\n"


def _methods(one: Any) -> Iterator[str]:
    if isinstance(one, Surrogate):
        yield from _classes(one.settings)
        # the network that was chosen where the settings leave it open
        yield from (type(module).__name__ for module in one.model.modules())
        for transform in one.preprocessor.transforms.values():
            yield from _classes(transform)
    elif isinstance(one, tuple(FAMILIES.values())):
        yield from _classes(one)
    else:
        raise TypeError(
            "citation takes surrogates and settings of models, such as pg.GAN(); got "
            f"{type(one).__name__}"
        )


def _classes(settings: Any) -> Iterator[str]:
    """Names of the classes within, and of their settings with their values."""
    name = type(settings).__name__
    yield name
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _classes(value)
        else:
            yield f"{name}.{field.name}={value}"


def _own() -> str:
    import physgen

    return (
        "@software{physgen,\n"
        "  author = {{The physgen authors}},\n"
        "  title = {{physgen: Monte Carlo event generation with learned surrogates}},\n"
        f"  version = {{{physgen.__version__}}},\n"
        "  year = {2026}\n}"
    )
