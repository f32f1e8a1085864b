"""What can stand in the way of an export."""

from __future__ import annotations

__all__ = ["ExportError"]


class ExportError(ValueError):
    """A surrogate cannot become a file that runs without physgen; the text says why."""
