"""What a caller gives to an Ising simulator, checked before anything is simulated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from physgen.schema import no_such_field

__all__ = ["check_name", "checked_beta"]


def check_name(what: str, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is none of those allowed, with the nearest one."""
    if name not in allowed:
        near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what} must be one of {', '.join(allowed)}, got {name!r}{hint}")


def checked_beta(
    n_events: int, conditions: Mapping[str, Any] | None, simulator: str
) -> np.ndarray:
    """Inverse temperatures of the events, float64 of shape (n_events,), or a clear error."""
    if n_events < 1:
        raise ValueError(f"n_events must be 1 or more, got {n_events}")
    given = dict(conditions or {})
    for name in given:
        if name != "beta":
            raise ValueError(no_such_field(name, ("beta",), f"the conditions of {simulator}"))
    if "beta" not in given:
        raise ValueError(
            f"{simulator} needs the inverse temperature, in 1/J: "
            "ising(n_events, {'beta': 0.44}, rng=1)"
        )
    beta = np.asarray(given["beta"], dtype=np.float64)
    if beta.shape not in ((), (n_events,)):
        raise ValueError(
            f"beta must be one number or one per event, shape ({n_events},), got {beta.shape}"
        )
    bad = ~(np.isfinite(beta) & (beta >= 0))
    if bad.any():
        raise ValueError(
            f"beta must be 0 or more and finite, got {beta[bad][0] if beta.ndim else beta}; "
            "for an antiferromagnet give coupling=-1"
        )
    return np.broadcast_to(beta, (n_events,)).astype(np.float64)
