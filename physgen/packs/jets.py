"""Jets: the particles of JetNet's layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from physgen.events import Events
from physgen.observables.jagged import padded
from physgen.observables.jets import (
    energy_correlation_ratios,
    energy_flow_polynomial,
    jet_girth,
    jet_mass,
    pt_dispersion,
    split_particles,
)
from physgen.packs.pack import Columns, Pack
from physgen.schema import Schema

__all__ = ["jets"]

_LISTS = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")
_ARRAY = "particle_features"


def jets(events: Events) -> Iterator[Pack]:
    """Find the particles of jets, as lists or as JetNet's padded array."""
    names = _fields(events.schema)
    if names:
        yield Pack(
            "jets",
            f"{', '.join(names)} are the particles of jets as in JetNet: mass, number and spectra "
            "of the particles, girth, dispersion, C2, D2 and energy flow",
            names,
            lambda events: _observe(*_particles(events, names)),
        )


def _fields(schema: Schema) -> tuple[str, ...]:
    if all(name in schema and schema[name].jagged for name in _LISTS):
        return _LISTS
    if _ARRAY in schema and len(schema[_ARRAY].shape) == 2 and schema[_ARRAY].shape[1] == 4:
        return (_ARRAY,)
    return ()


def _particles(events: Events, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if len(names) == 1:
        return split_particles(events[names[0]])
    eta, phi, pt = (padded(events[name]) for name in names)
    return eta, phi, pt


def _observe(eta: np.ndarray, phi: np.ndarray, pt: np.ndarray) -> Columns:
    first = np.argmax(pt, axis=1)[:, None]
    lead_eta, lead_phi, lead_pt = (np.take_along_axis(v, first, 1)[:, 0] for v in (eta, phi, pt))
    total = pt.sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    c2, d2 = energy_correlation_ratios(eta, phi, pt)
    return {
        "number of particles": (pt > 0).sum(axis=1).astype(np.float64),
        "jet mass / pt": jet_mass(eta, phi, pt),
        "pt_rel sum": total,
        "pt_rel of the leading particle": lead_pt,
        "eta_rel of the leading particle": lead_eta,
        "phi_rel of the leading particle": lead_phi,
        "eta_rel mean": (pt * eta).sum(axis=1) / safe,
        "phi_rel mean": (pt * phi).sum(axis=1) / safe,
        "girth": jet_girth(eta, phi, pt),
        "pt dispersion": pt_dispersion(pt),
        "C2": c2,
        "D2": d2,
        "EFP edge": energy_flow_polynomial(eta, phi, pt, [(0, 1)]),
        "EFP wedge": energy_flow_polynomial(eta, phi, pt, [(0, 1), (1, 2)]),
    }
