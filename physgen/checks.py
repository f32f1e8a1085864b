"""Checks of settings and arguments."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

__all__ = ["check_effort", "require_non_negative", "require_positive", "whole_number"]


def check_effort(method: Callable[..., Any], effort: Iterable[str], *, filled_in: str) -> None:
    """Refuse arguments that a method of a model does not take.

    One that takes any (``**effort``) checks them itself.

    Parameters
    ----------
    method : callable
    effort : iterable of str
        Names of the arguments that a user gives.
    filled_in : str
        Names of those that the surrogate gives itself.
    """
    taken = inspect.signature(method).parameters
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return
    known = [n for n in taken if n not in filled_in.split()]
    for name in effort:
        if name not in known:
            raise TypeError(
                f"{method.__qualname__} does not take {name!r} (it takes: "
                f"{', '.join(known) or 'nothing that could be chosen'})"
            )


def require_positive(settings: Any, *names: str) -> None:
    """Refuse settings with a field that is zero or negative."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(_message(settings, name, "positive"))


def require_non_negative(settings: Any, *names: str) -> None:
    """Refuse settings with a negative field."""
    for name in names:
        if not getattr(settings, name) >= 0:
            raise ValueError(_message(settings, name, "0 or more"))


def whole_number(name: str, value: SupportsIndex, smallest: int) -> int:
    """Return an integer of Python or numpy as an int; refuse others and smaller ones."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if operator.index(value) < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value}")
    return operator.index(value)


def _message(settings: Any, name: str, wanted: str) -> str:
    return f"{type(settings).__name__}: {name} must be {wanted}, got {getattr(settings, name)!r}"
