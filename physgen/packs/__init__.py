"""Packs: the observables that physicists look at, chosen by what the fields of a sample are.

A pack recognizes fields by their schema and makes columns of one number per event from them, by
label with unit. To add one, write a function from a sample to the packs it finds, and list it in
:data:`PACKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from physgen.events import Events
from physgen.packs.ising import ising
from physgen.packs.jets import jets
from physgen.packs.pack import Pack
from physgen.packs.pairs import pairs
from physgen.packs.showers import showers

__all__ = ["PACKS", "Pack", "find_packs"]

PACKS: dict[str, Callable[[Events], Iterator[Pack]]] = {
    "ising": ising,
    "pairs": pairs,
    "jets": jets,
    "showers": showers,
}
_NEEDS = {
    "ising": "they need an array with the values allowed=(-1, 1)",
    "pairs": "they need pt, eta and phi of two particles (mu1_pt, ..., mu2_phi) or of lists",
    "jets": "they need JetNet's particle_eta_rel, particle_phi_rel, particle_pt_rel",
    "showers": "they need showers and incident_energies (or incident_energy) in one unit",
}


def find_packs(events: Events, names: Sequence[str] | None = None) -> list[Pack]:
    """Return the packs that fit the fields of a sample.

    Parameters
    ----------
    events : Events
        The reference; fields that may not be used are left out before.
    names : sequence of str, optional
        Keys of :data:`PACKS`; all by default.

    Raises
    ------
    ValueError
        If there is no such pack, or one that was asked for fits no field.

    Examples
    --------
    >>> import numpy as np
    >>> up = np.ones((3, 4, 4), dtype=np.int8)
    >>> events = Events.from_dict({"spins": up})
    >>> spins = events.schema.with_field("spins", allowed=(-1, 1))
    >>> [pack.name for pack in find_packs(events.replace_schema(spins))]
    ['ising']
    """
    for name in names or ():
        if name not in PACKS:
            raise ValueError(f"no observables {name!r}; there are {', '.join(PACKS)}")
    found = [pack for name in names or PACKS for pack in PACKS[name](events)]
    for name in names or ():
        if name not in [pack.name for pack in found]:
            raise ValueError(
                f"the observables {name!r} fit no field of {', '.join(events.schema.names)}; "
                f"{_NEEDS[name]}"
            )
    return found
