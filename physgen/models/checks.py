"""Checks of settings and arguments that models share."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

from physgen.models.base import TensorSpec

__all__ = ["refuse_one_hot", "require_non_negative", "require_positive", "whole_number"]


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


def refuse_one_hot(kind: str, spec: TensorSpec) -> None:
    """Refuse categorical units in models that draw binary features one by one."""
    if spec.one_hot:
        raise ValueError(
            f"{kind} draws binary features one by one and cannot keep exactly one of a unit's "
            f"{spec.one_hot[0][1]} values; use RBM, or the transform Categories in place of OneHot"
        )


def whole_number(name: str, value: SupportsIndex, smallest: int) -> int:
    """Return an integer of Python or numpy as an int; refuse others and smaller ones."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if operator.index(value) < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value}")
    return operator.index(value)


def _message(settings: Any, name: str, wanted: str) -> str:
    return f"{type(settings).__name__}: {name} must be {wanted}, got {getattr(settings, name)!r}"
