"""What stands in the reference, and where: each public name once.

A name that several modules offer (``Diffusion`` of physgen and of physgen.models) is at home in
the first of :func:`public_modules`.
"""

import importlib
import inspect
import pkgutil
import re
from functools import cache, cached_property

import physgen

MEMBERS = (property, cached_property, classmethod, staticmethod)


def page(module, names):
    """Markdown for a table of the names and the documentation of those at home here."""
    homes = [home_of(module, name) for name in names]
    table = [
        f"   ~{home}.{name}"
        for home, name in zip(homes, names, strict=True)
        if has_docstring(value_of(module, name))
    ]
    here = [name for home, name in zip(homes, names, strict=True) if home == module]
    blocks = [line for name in here for line in documented(module, name)]
    start = ["```{eval-rst}", ".. currentmodule:: None", ""]
    summary = [".. autosummary::", "   :nosignatures:", "", *table, ""]
    return [*start, *summary, *blocks, "```"]


def documented(module, name):
    value = value_of(module, name)
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        yield f".. auto{kind}:: {module}.{name}"
        if members := members_of(value):
            yield f"   :members: {', '.join(members)}"
        if "__call__" in members:
            yield "   :special-members: __call__"
    elif inspect.isroutine(value):
        yield f".. autofunction:: {module}.{name}"
    elif not inspect.ismodule(value):
        yield from (f".. py:data:: {module}.{name}", "", f"   {words_for(value)}")
    yield ""


def has_docstring(value):
    return inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)


def words_for(value):
    """What a dict, a number or a type alias is; their own docstrings speak of ``dict``."""
    if isinstance(value, dict):
        return f"By name: {', '.join(f'``{key}``' for key in value)}."
    if isinstance(value, float):
        return f"{value:.10g}"
    return f"Short for ``{re.sub(r'[a-z_]+[.]', '', str(value))}``."


def members_of(kind):
    """Methods and properties with a docstring that physgen wrote, those of parents too."""
    found = []
    for parent in reversed(kind.__mro__):
        if parent.__module__.startswith("physgen"):
            found += [name for name, value in vars(parent).items() if is_member(name, value)]
    return [name for name in dict.fromkeys(found) if inspect.getdoc(getattr(kind, name))]


def is_member(name, value):
    if name.startswith("_") and name != "__call__":
        return False
    return inspect.isfunction(value) or isinstance(value, MEMBERS)


def value_of(module, name):
    return getattr(importlib.import_module(module), name)


def home_of(module, name):
    """The module that documents this name."""
    value = value_of(module, name)
    if inspect.ismodule(value):
        return value.__name__.rpartition(".")[0]
    for other in public_modules():
        if name in all_of(other) and value_of(other, name) is value:
            return other
    return module


@cache
def public_modules():
    """Packages with public names, the outer ones first."""
    packages = pkgutil.walk_packages(physgen.__path__, "physgen.")
    found = [info.name for info in packages if info.ispkg and all_of(info.name)]
    return sorted(["physgen", *found], key=lambda name: (name.count("."), name))


def all_of(module):
    return list(getattr(importlib.import_module(module), "__all__", ()))
