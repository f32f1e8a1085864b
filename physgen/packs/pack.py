"""Pack: observables of some fields of a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physgen.events import Events

__all__ = ["Columns", "Pack"]

Columns = dict[str, np.ndarray]
"""One number per event, by label; ``"m(mu1 mu2) [GeV]"`` carries its unit."""


@dataclass(frozen=True)
class Pack:
    """Observables of some fields.

    Attributes
    ----------
    name : str
        Key in :data:`physgen.packs.PACKS`.
    reason : str
        Why it fits, and what it adds, for the notes of a report.
    replaces : tuple of str
        Fields that it says all of: they need no other summary.
    observe : callable
        Columns of a sample that has the same fields.
    """

    name: str
    reason: str
    replaces: tuple[str, ...]
    observe: Callable[[Events], Columns]
