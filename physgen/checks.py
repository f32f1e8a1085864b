"""Checks of settings and arguments."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

__all__ = ["require_non_negative", "require_positive", "whole_number"]


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
