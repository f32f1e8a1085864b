"""HDF5: physgen's own format, and plain columns of anybody's.

The own format (version 1) is what any HDF5 reader can use without us: one dataset per flat field
at the root, one group with ``content`` and ``offsets`` per jagged field (event i is
``content[offsets[i]:offsets[i + 1]]``), and two root attributes, ``physgen_format`` (the version)
and ``physgen_schema`` (JSON). The layouts of others are in :mod:`physgen.files.dialects`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from physgen.events import Events
from physgen.files import dialects
from physgen.files.attributes import read_attributes
from physgen.files.checks import check_magic, damaged, printable
from physgen.files.datasets import (
    check_written,
    create_dataset,
    dataset_column,
    datasets_of,
    row_reader,
    type_name,
)
from physgen.files.guesses import with_weight
from physgen.files.interrupts import uninterrupted
from physgen.files.sink import Sink
from physgen.files.source import Column, Source, as_stored, jagged, jagged_parts
from physgen.schema import Field, Schema

__all__ = ["FORMAT_VERSION", "open_source", "stored_schema", "write"]

FORMAT_VERSION = 1
_MAX_CONVENTION = 1000
_COMPRESSIONS = ("gzip", "lzf", "none")


def open_source(path: Path, *, tree: str | None, binning: Path | None) -> Source:
    """Open an HDF5 file and recognise its layout.

    Raises
    ------
    OSError
        If the file is truncated or damaged.
    ValueError
        If it is no HDF5 file, of a newer format version, or has no columns.
    """
    if tree is not None:
        raise ValueError(
            f"tree={tree!r} was given, but {path} is an HDF5 file, which has no trees"
        )
    check_magic(path, b"\x89HDF\r\n\x1a\n", "an HDF5 file")
    with contextlib.ExitStack() as resources:
        with damaged(path, "the header"):
            file = resources.enter_context(h5py.File(path, "r", locking="best-effort"))
        with damaged(path, "its attributes"):
            attributes = read_attributes(file, path)
        stored = stored_schema(attributes, path)
        datasets, left_out = datasets_of(file, path)
        conventions = _conventions(attributes, stored)
        dialect = None if _is_own(attributes, stored) else dialects.recognise(datasets)
        if dialect is not None:
            columns = dialect.columns(datasets, path)
            columns |= _plain(datasets, path, skip=dialect.datasets)
            conventions |= {"layout": dialect.name, **dialect.conventions(datasets)}
        elif stored is not None:
            columns = _own(datasets, stored, path)
        else:
            columns = _plain(datasets, path)
            left_out |= _members_left_out(datasets)
        columns = with_weight(columns) if stored is None else as_stored(columns, {}, stored)
        if binning is not None:
            conventions |= dialects.binning_conventions(binning, columns, path)
        return Source(
            path=path,
            layout=dialect.name if dialect else "physgen" if stored else "columns",
            columns=columns,
            left_out=left_out,
            conventions=conventions,
            resources=resources.pop_all(),
        )


def _is_own(attributes: Mapping[str, Any], stored: Schema | None) -> bool:
    return stored is not None and attributes.get("physgen_layout", "physgen") == "physgen"


def stored_schema(attributes: Mapping[str, Any], path: Path) -> Schema | None:
    """Schema in the attributes of a file; None for files of others.

    Raises
    ------
    OSError, ValueError
        If it is damaged, or of a newer format.
    """
    if "physgen_format" not in attributes:
        return None
    with damaged(path, "the schema"):
        version = int(attributes["physgen_format"])
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has physgen's HDF5 format {version}, and this physgen reads up to "
            f"{FORMAT_VERSION}; update physgen to read it"
        )
    with damaged(path, "the schema"):
        return Schema.from_dict(json.loads(attributes["physgen_schema"]))


def _conventions(attributes: Mapping[str, Any], stored: Schema | None) -> dict[str, str]:
    if stored is not None:
        return dict(stored.conventions)
    return {
        printable(name): printable(str(value), _MAX_CONVENTION)
        for name, value in attributes.items()
        if isinstance(value, str | np.number | np.bool_)
    }


def _own(datasets: Mapping[str, h5py.Dataset], schema: Schema, path: Path) -> dict[str, Column]:
    columns = {}
    shared: dict[int, _Offsets] = {}
    for field in schema:
        parts = (
            [f"{field.name}/content", f"{field.name}/offsets"] if field.jagged else [field.name]
        )
        missing = [part for part in parts if part not in datasets]
        if missing:
            raise OSError(
                f"{path} lacks the dataset {missing[0]!r} that its schema lists; the file is "
                "incomplete, so make it again"
            )
        if field.jagged:
            content, dataset = datasets[parts[0]], datasets[parts[1]]
            with damaged(path, f"dataset {dataset.name!r}"):
                address = h5py.h5o.get_info(dataset.id).addr
            offsets = shared.setdefault(address, _Offsets(dataset, path))
            columns[field.name] = _jagged_column(field, content, offsets, path)
        else:
            columns[field.name] = _checked_column(field, datasets[field.name], path)
    return columns


def _checked_column(field: Field, dataset: h5py.Dataset, path: Path) -> Column:
    found = (dataset.dtype.name, dataset.shape[1:])
    if found != (field.dtype, field.shape):
        raise OSError(
            f"dataset {field.name!r} of {path} has type {found[0]} and shape {found[1]} per "
            f"event, but its schema says {field.dtype} and {field.shape}; the file was changed"
        )
    return dataset_column(field, dataset, path)


def _jagged_column(field: Field, content: h5py.Dataset, offsets: _Offsets, path: Path) -> Column:
    check_written(content, path)
    if content.dtype.name != field.dtype or content.ndim != 1:
        raise OSError(
            f"dataset {content.name!r} of {path} is no list of {field.dtype}, as its schema says"
        )

    values_of = row_reader(content, path)

    def read(start: int, stop: int) -> Any:
        edges = offsets.read(start, stop)
        if edges[-1] > len(content):
            raise OSError(
                f"the offsets of field {field.name!r} in {path} go up to {edges[-1]}, and it has "
                f"{len(content)} values; the file is damaged, so copy or make it again"
            )
        values = values_of(edges[0], edges[-1])
        return jagged(values, edges - edges[0] if edges[0] else edges)

    def n_bytes(start: int, stop: int) -> int:
        return offsets.n_entries(start, stop) * content.dtype.itemsize + (stop - start) * 8

    return Column(field, len(offsets.dataset) - 1, read, n_bytes)


class _Offsets:
    """Offsets of jagged fields; the fields of a collection share one dataset, and so one array."""

    def __init__(self, dataset: h5py.Dataset, path: Path) -> None:
        check_written(dataset, path)
        if dataset.dtype.kind not in "iu" or dataset.ndim != 1 or not len(dataset):
            raise OSError(f"the offsets {dataset.name!r} of {path} are no list of integers")
        self.dataset, self._path = dataset, path
        self.read = lru_cache(maxsize=1)(self._read)
        self._rows = row_reader(dataset, path)

    def _read(self, start: int, stop: int) -> np.ndarray:
        edges = self._rows(start, stop + 1).astype(np.int64, copy=False)
        if edges[0] < 0 or (edges[1:] < edges[:-1]).any():
            raise OSError(
                f"the offsets {self.dataset.name!r} of {self._path} do not increase from 0; the "
                "file is damaged, so copy or make it again"
            )
        return edges

    def n_entries(self, start: int, stop: int) -> int:
        first, last = (int(self._rows(at, at + 1)[0]) for at in (start, stop))
        return max(0, last - first)


def _plain(
    datasets: Mapping[str, h5py.Dataset], path: Path, skip: tuple[str, ...] = ()
) -> dict[str, Column]:
    """Every dataset and every member of a structured one as a column; 'a/b' becomes 'a_b'."""
    columns = {}
    for key, dataset in datasets.items():
        if key in skip:
            continue
        name = key.replace("/", "_")
        name = key if name in columns or (name != key and name in datasets) else name
        if dataset.dtype.names is None:
            field = Field(name, dataset.dtype.name, shape=dataset.shape[1:])
            columns[name] = dataset_column(field, dataset, path)
        else:
            columns |= _structured(name if len(datasets) > 1 else "", dataset, path)
    return columns


def _structured(prefix: str, dataset: h5py.Dataset, path: Path) -> dict[str, Column]:
    check_written(dataset, path)
    members = _numeric_members(dataset)
    # without the texts beside the numbers, which may lie anywhere
    block = lru_cache(maxsize=1)(row_reader(dataset, path, members))
    columns = {}
    for member in members:
        base, shape = _base(dataset.dtype[member])
        name = f"{prefix}_{member}" if prefix else member
        field = Field(name, base.name, shape=(*dataset.shape[1:], *shape))

        def read(start: int, stop: int, member: str = member) -> np.ndarray:
            return np.ascontiguousarray(block(start, stop)[member])

        columns[name] = Column(
            field,
            dataset.shape[0],
            read,
            lambda start, stop: (stop - start) * dataset.dtype.itemsize,
        )
    return columns


def _base(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    return dtype.subdtype if dtype.subdtype else (dtype, ())


def _numeric_members(dataset: h5py.Dataset) -> list[str]:
    names = dataset.dtype.names or ()
    bases = {name: _base(dataset.dtype[name])[0] for name in names if name and name.isprintable()}
    return [name for name, base in bases.items() if base.kind in "biuf" and base.itemsize <= 8]


def _members_left_out(datasets: Mapping[str, h5py.Dataset]) -> dict[str, str]:
    return {
        f"{key}.{printable(member)}": (
            f"type {type_name(dataset.dtype[member])}; physgen holds numbers"
        )
        for key, dataset in datasets.items()
        for member in dataset.dtype.names or ()
        if member not in _numeric_members(dataset)
    }


def write(path: Path, events: Events, *, layout: str | None, compression: str | None) -> None:
    """Write the events to an HDF5 file, in the layout that they came in if they still fit it.

    Parameters
    ----------
    path : Path
        Written from the start.
    events : Events
        At least one.
    layout : str, optional
        ``"physgen"`` for the own format, or the name of a dialect; by default the convention
        ``layout`` of the schema.
    compression : {"gzip", "lzf", "none"}, optional
        ``"gzip"`` by default; ``"lzf"`` is faster and known to h5py only.
    """
    if compression not in (None, *_COMPRESSIONS):
        raise ValueError(
            f"compression {compression!r} is not known to HDF5; use {', '.join(_COMPRESSIONS)}"
        )
    dialect = dialects.for_events(events, layout)
    method = compression or "gzip"
    with uninterrupted(), contextlib.closing(Sink(path)) as sink:
        with h5py.File(sink, "w") as file:
            file.attrs["physgen_format"] = FORMAT_VERSION
            file.attrs["physgen_schema"] = json.dumps(events.schema.to_dict())
            file.attrs["physgen_layout"] = "physgen" if dialect is None else dialect.name
            if dialect is not None:
                dialect.write(file, events, method)
            else:
                _write_own(file, events, method, sink)
        sink.check()


def _write_own(file: h5py.File, events: Events, compression: str, sink: Sink) -> None:
    for field in events.schema:
        if sink.error is not None:  # no use to compress the rest
            return
        if field.jagged:
            _write_jagged(file, field, events, compression)
        else:
            create_dataset(file, field.name, events[field.name], compression)


def _write_jagged(file: h5py.File, field: Field, events: Events, compression: str) -> None:
    content, offsets = jagged_parts(events[field.name])
    create_dataset(file, f"{field.name}/content", content, compression)
    first = events.schema.collections[field.collection][0]
    if first == field.name:
        create_dataset(file, f"{field.name}/offsets", offsets, compression)
    else:  # a second name of the same dataset: one multiplicity per collection
        file[f"{field.name}/offsets"] = file[f"{first}/offsets"]
