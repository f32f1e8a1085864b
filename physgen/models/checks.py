"""Checks of settings that every model shares."""

from __future__ import annotations

from typing import Any

__all__ = ["require_non_negative", "require_positive"]


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


def _message(settings: Any, name: str, wanted: str) -> str:
    return f"{type(settings).__name__}: {name} must be {wanted}, got {getattr(settings, name)!r}"
