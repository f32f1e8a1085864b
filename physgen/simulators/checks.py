"""What a caller gives to an Ising simulator, checked before anything is simulated."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from physgen.events import Events
from physgen.schema import no_such_field

__all__ = ["check_name", "checked_beta", "checked_count", "checked_spins"]


def check_name(what: str, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is none of those allowed, with the nearest one."""
    if name not in allowed:
        near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what} must be one of {', '.join(allowed)}, got {name!r}{hint}")


def checked_count(name: str, value: Any, low: int) -> int:
    """Return a whole number of at least ``low``, of Python or numpy."""
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if count < low:
        raise ValueError(f"{name} must be {low} or more, got {count}")
    return count


def checked_spins(spins: Any, n_sites: int) -> np.ndarray:
    """Spins of -1 and +1, int8 of shape (n_events, n_sites), or a clear error."""
    given = np.asarray(spins)
    if given.ndim < 2 or given.size != len(given) * n_sites:
        raise ValueError(
            f"configurations of {n_sites} spins are needed, shape (n_events, ...), got an array "
            f"of shape {given.shape}"
        )
    if not (np.abs(given) == 1).all():
        wrong = given[np.abs(given) != 1].flat[0]
        raise ValueError(f"spins are -1 or +1, got {wrong:g}; of 0 and 1 make 2 * s - 1")
    return np.ascontiguousarray(given, dtype=np.int8).reshape(-1, n_sites)


def checked_beta(
    n_events: int, conditions: Mapping[str, Any] | Events | None, simulator: str
) -> np.ndarray:
    """Inverse temperatures of the events, float64 of shape (n_events,), or a clear error."""
    if isinstance(conditions, Events):
        conditions = {n: c for n, c in conditions.to_dict().items() if n == "beta"}
    if not isinstance(conditions, Mapping | None):
        raise ValueError(
            f"the conditions of {simulator} are a dict, {{'beta': 0.44}}, got {conditions!r}"
        )
    given = dict(conditions or {})
    for name in given:
        if name != "beta":
            raise ValueError(no_such_field(name, ("beta",), f"the conditions of {simulator}"))
    if "beta" not in given:
        raise ValueError(
            f"{simulator} needs the inverse temperature, in 1/J: "
            "ising(n_events, {'beta': 0.44}, rng=1)"
        )
    beta = _real_numbers(given["beta"])
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


def _real_numbers(beta: Any) -> np.ndarray:
    if isinstance(beta, torch.Tensor):
        beta = beta.detach().cpu().numpy()
    array = np.asarray(beta)
    if array.dtype.kind not in "iuf" or np.ma.is_masked(beta):
        raise ValueError(f"beta must be real numbers, got {beta!r}")
    return array.astype(np.float64)
