"""HDF5 layouts of others: CaloChallenge, Geant4 Par04 and JetNet, both ways.

A dialect is recognised by the names and shapes of the datasets. Its name travels in the
convention ``layout``, so that :func:`~physgen.files.write_events` makes the same layout again from
events (also generated ones) that still have exactly its fields.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from physgen.events import Events
from physgen.files.binning import Binning
from physgen.files.datasets import create_dataset, dataset_column
from physgen.files.source import Column, jagged, jagged_parts
from physgen.schema import Field, SchemaError

__all__ = ["DIALECTS", "Dialect", "binning_conventions", "for_events", "recognise"]

logger = logging.getLogger(__name__)

Datasets = Mapping[str, h5py.Dataset]


@dataclass(frozen=True)
class Dialect:
    """One layout.

    Parameters
    ----------
    name : str
        Value of the convention ``layout``.
    datasets : tuple of str
        Datasets that it consists of.
    shapes : callable
        Whether the shapes of these datasets fit.
    columns : callable
        Columns from the datasets.
    conventions : callable
        Further conventions from the datasets.
    fields : callable
        Whether events have exactly the fields of the layout.
    write : callable of (file, events, compression)
        Writes the datasets.
    """

    name: str
    datasets: tuple[str, ...]
    shapes: Callable[..., bool]
    columns: Callable[[Datasets, Path], dict[str, Column]]
    conventions: Callable[[Datasets], dict[str, str]]
    fields: Callable[[Events], bool]
    write: Callable[[h5py.File, Events, str], None]


def recognise(datasets: Datasets) -> Dialect | None:
    """Return the dialect of a file, if it is one of ours."""
    for dialect in DIALECTS:
        found = [datasets.get(name) for name in dialect.datasets]
        if all(d is not None and d.dtype.kind == "f" for d in found) and dialect.shapes(*found):
            return dialect
    return None


def for_events(events: Events, layout: str | None) -> Dialect | None:
    """Return the dialect to write events in; None for physgen's own format.

    Raises
    ------
    ValueError
        If the layout is not known, or asked for and the fields do not fit it.
    """
    wanted = layout or events.schema.conventions.get("layout", "physgen")
    dialect = next((d for d in DIALECTS if d.name == wanted), None)
    if dialect is None:
        if layout not in (None, "physgen"):
            names = ", ".join(("physgen", *(d.name for d in DIALECTS)))
            raise ValueError(f"no HDF5 layout {layout!r}; there are {names}")
        return None
    if dialect.fields(events):
        return dialect
    if layout is not None:
        raise SchemaError(
            f"the layout {layout!r} needs other fields than {', '.join(events.schema.names)}; "
            "see its description in the documentation, or write layout='physgen'"
        )
    logger.info("the fields are no longer those of %s; writing physgen's own layout", wanted)
    return None


def binning_conventions(
    binning: Path, columns: Mapping[str, Column], path: Path
) -> dict[str, str]:
    """Read a binning XML and check that it has the voxels of the showers.

    Raises
    ------
    ValueError
        If the file has no flat showers, or another number of voxels.
    """
    showers = columns.get("showers")
    if showers is None or len(showers.field.shape) != 1:
        raise ValueError(
            f"binning= belongs to files in the CaloChallenge layout, and {path} has no dataset "
            "'showers' of shape (n_events, n_voxels)"
        )
    found = Binning.from_xml(binning, n_voxels=showers.field.shape[0])
    return {"binning": found.to_xml()}


def _nothing(_: Datasets) -> dict[str, str]:
    return {}


def _energy(name: str, dtype: np.dtype[Any]) -> Field:
    return Field(
        name, dtype.name, unit="MeV", role="condition", description="energy of the particle"
    )


def _showers(dataset: h5py.Dataset) -> Field:
    return Field(
        "showers",
        dataset.dtype.name,
        unit="MeV",
        shape=dataset.shape[1:],
        description="energy in each voxel",
    )


def _calochallenge_columns(datasets: Datasets, path: Path) -> dict[str, Column]:
    energies, showers = datasets["incident_energies"], datasets["showers"]
    field = _energy("incident_energies", energies.dtype)
    return {
        "incident_energies": dataset_column(field, energies, path, lambda block: block[:, 0]),
        "showers": dataset_column(_showers(showers), showers, path),
    }


def _write_calochallenge(file: h5py.File, events: Events, compression: str) -> None:
    energies = np.asarray(events["incident_energies"])[:, None]
    create_dataset(file, "incident_energies", energies, compression)
    create_dataset(file, "showers", events["showers"], compression)


def _par04_columns(datasets: Datasets, path: Path) -> dict[str, Column]:
    energy, showers = datasets["incident_energy"], datasets["showers"]
    field = _energy("incident_energy", energy.dtype)
    return {
        "incident_energy": dataset_column(field, energy, path),
        "showers": dataset_column(_showers(showers), showers, path),
    }


def _write_par04(file: h5py.File, events: Events, compression: str) -> None:
    for name in ("incident_energy", "showers"):
        create_dataset(file, name, events[name], compression)


def _has_fields(energy: str, n_axes: int) -> Callable[[Events], bool]:
    def fits(events: Events) -> bool:
        schema = events.schema
        return (
            set(schema.names) == {energy, "showers"}
            and schema[energy].shape == ()
            and len(schema["showers"].shape) == n_axes
            and not schema[energy].jagged
        )

    return fits


_PARTICLE = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")
_JET = {"pt": "GeV", "eta": "", "mass": "GeV", "n_particles": ""}


def _jetnet_columns(datasets: Datasets, path: Path) -> dict[str, Column]:
    particles, jets = datasets["particle_features"], datasets["jet_features"]
    n_jets, n_max, _ = particles.shape
    # the columns share one dataset: keep the last block instead of reading it once per column
    rows = lru_cache(maxsize=1)(dataset_column(Field("all"), particles, path).read)
    features = lru_cache(maxsize=1)(dataset_column(Field("all"), jets, path).read)

    def n_bytes(start: int, stop: int) -> int:
        return (stop - start) * (n_max * particles.dtype.itemsize + 8)

    def jet_bytes(start: int, stop: int) -> int:
        return (stop - start) * jets.dtype.itemsize

    columns = {}
    for i, name in enumerate(_PARTICLE):
        unit = "rad" if name == "particle_phi_rel" else ""
        field = Field(name, particles.dtype.name, unit=unit, jagged=True, collection="particle")

        def read(start: int, stop: int, i: int = i) -> Any:
            return _unpadded(rows(start, stop), i, path)

        columns[name] = Column(field, n_jets, read, n_bytes)
    for i, (name, unit) in enumerate(_JET.items()):
        field = Field(name, jets.dtype.name, unit=unit)

        def read_jets(start: int, stop: int, i: int = i) -> np.ndarray:
            return np.ascontiguousarray(features(start, stop)[:, i])

        columns[name] = Column(field, len(jets), read_jets, jet_bytes)
    return columns


def _unpadded(block: np.ndarray, i: int, path: Path) -> Any:
    mask = block[..., 3]
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(f"the mask of the particles in {path} has values other than 0 and 1")
    kept = mask == 1
    if (np.diff(mask, axis=1) > 0).any() or block[~kept].any():
        logger.warning("%s pads between particles or with numbers; the padding is dropped", path)
    offsets = np.concatenate(([0], np.cumsum(kept.sum(axis=1)))).astype(np.int64)
    return jagged(block[..., i][kept], offsets)


def _jetnet_fields(events: Events) -> bool:
    schema = events.schema
    return (
        set(schema.names) == {*_PARTICLE, *_JET}
        and len({field.dtype for field in schema}) == 1
        and all(schema[name].jagged for name in _PARTICLE)
        and len({schema[name].collection for name in _PARTICLE}) == 1
        and all(schema[name].shape == () and not schema[name].jagged for name in _JET)
    )


def _write_jetnet(file: h5py.File, events: Events, compression: str) -> None:
    counts = events.multiplicity(_PARTICLE[0])
    n_max = int(events.schema.conventions.get("n_particles_max", counts.max()))
    if counts.max() > n_max:
        raise ValueError(
            f"event {int(counts.argmax())} has {counts.max()} particles, and the JetNet layout of "
            f"these events holds {n_max}; cut them, or change the convention 'n_particles_max'"
        )
    dtype = events.schema["pt"].dtype
    particles = np.zeros((len(events), n_max, 4), dtype=dtype)
    kept = np.arange(n_max) < counts[:, None]
    for i, name in enumerate(_PARTICLE):
        particles[..., i][kept] = jagged_parts(events[name])[0]
    particles[..., 3] = kept
    create_dataset(file, "particle_features", particles, compression)
    jets = np.stack([events[name] for name in _JET], axis=1)
    create_dataset(file, "jet_features", jets, compression)


DIALECTS = (
    Dialect(
        "calochallenge",
        ("incident_energies", "showers"),
        lambda energies, showers: energies.shape[1:] == (1,) and showers.ndim == 2,
        _calochallenge_columns,
        lambda _: {"voxel_order": "z, alpha, r (r fastest)"},
        _has_fields("incident_energies", 1),
        _write_calochallenge,
    ),
    Dialect(
        "par04",
        ("incident_energy", "showers"),
        lambda energy, showers: energy.ndim == 1 and showers.ndim == 4,
        _par04_columns,
        lambda _: {"voxel_order": "r, phi, z (z fastest)"},
        _has_fields("incident_energy", 3),
        _write_par04,
    ),
    Dialect(
        "jetnet",
        ("particle_features", "jet_features"),
        lambda particles, jets: (
            particles.ndim == 3 and particles.shape[2] == 4 and jets.shape[1:] == (4,)
        ),
        _jetnet_columns,
        lambda datasets: {"n_particles_max": str(datasets["particle_features"].shape[1])},
        _jetnet_fields,
        _write_jetnet,
    ),
)
