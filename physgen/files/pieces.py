"""HDF5 files that grow by pieces, in physgen's own layout.

Datasets of one row per event have the same chunks in a part and in the joined file, so joining
copies compressed chunks as they are wherever a part begins at the edge of a chunk.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from physgen.events import Events
from physgen.files.attributes import read_attributes
from physgen.files.checks import damaged
from physgen.files.dialects import Dialect
from physgen.files.hdf5 import FORMAT_VERSION, stored_schema
from physgen.files.interrupts import uninterrupted
from physgen.files.sink import Sink
from physgen.files.source import jagged_parts
from physgen.schema import Field, Schema

__all__ = ["join", "join_dialect", "write_part"]

_CHUNK_BYTES = 1 << 19
_MAX_CHUNK_ROWS = 1 << 14
_CONTENT_ROWS = 1 << 16


def write_part(path: Path, events: Events) -> None:
    """Write events to a file that :func:`join` can join with others of the same schema.

    Parameters
    ----------
    path : Path
        Written from the start.
    events : Events
    """
    with _new_file(path, events.schema) as (file, sink):
        for field in events.schema:
            if sink.error is not None:
                return
            if field.jagged:
                content, offsets = jagged_parts(events[field.name])
                _append(file[f"{field.name}/content"], content)
                if _owns_offsets(events.schema, field):
                    _append(file[f"{field.name}/offsets"], offsets)
            else:
                _append(file[field.name], events[field.name])


def join(paths: Sequence[Path], target: Path) -> None:
    """Join files of :func:`write_part` into one, a chunk at a time; Ctrl-C ends it between two.

    Parameters
    ----------
    paths : sequence of Path
        At least one; of one schema.
    target : Path
        Written from the start.

    Raises
    ------
    OSError
        If a part is damaged or the disk is full.
    """
    with damaged(paths[0], "the schema"), h5py.File(paths[0], "r") as part:
        schema = stored_schema(read_attributes(part, paths[0]), paths[0])
    if schema is None:
        raise OSError(f"{paths[0]} has no schema, so it is no part of events; make it again")
    with uninterrupted() as interrupts, _new_file(target, schema) as (file, sink):
        for path in paths:
            interrupts.deliver()
            with damaged(path, "its datasets"), h5py.File(path, "r") as part:
                for field in schema:
                    if field.jagged:
                        _join_jagged(file, part, field.name, _owns_offsets(schema, field))
                    else:
                        _join_flat(file[field.name], part[field.name])
            if sink.error is not None:  # no use to copy the rest
                return


def join_dialect(pieces: Iterable[Events], target: Path, dialect: Dialect) -> None:
    """Write pieces of events, at least one, into one file of another layout.

    Parameters
    ----------
    pieces : iterable of Events
        Of one schema.
    target : Path
        Written from the start.
    dialect : Dialect
        Its datasets must have the same widths for every piece.

    Raises
    ------
    OSError
        If a piece cannot be read or the disk is full.
    """
    waiting = iter(pieces)
    first = next(waiting)
    with uninterrupted() as interrupts, _file(target, first.schema, dialect.name) as (file, sink):
        for events in itertools.chain([first], waiting):
            interrupts.deliver()
            # the dialect makes whole datasets; so it makes those of a piece, in memory
            with h5py.File("piece", "w", driver="core", backing_store=False) as memory:
                dialect.write(memory, events, "none")
                for name in dialect.datasets:
                    made = memory[name]
                    if name not in file:
                        _empty(file, name, made.dtype.name, made.shape[1:], shuffle=True)
                    _append(file[name], made[:])
            if sink.error is not None:  # no use to go on
                return


@contextlib.contextmanager
def _new_file(path: Path, schema: Schema) -> Iterator[tuple[h5py.File, Sink]]:
    with _file(path, schema, "physgen") as (file, sink):
        for field in schema:
            _create(file, schema, field)
        yield file, sink


@contextlib.contextmanager
def _file(path: Path, schema: Schema, layout: str) -> Iterator[tuple[h5py.File, Sink]]:
    with uninterrupted(), contextlib.closing(Sink(path)) as sink:
        with h5py.File(sink, "w") as file:
            file.attrs["physgen_format"] = FORMAT_VERSION
            file.attrs["physgen_schema"] = json.dumps(schema.to_dict())
            file.attrs["physgen_layout"] = layout
            yield file, sink
        sink.check()


def _create(file: h5py.File, schema: Schema, field: Field) -> None:
    if not field.jagged:
        _empty(file, field.name, field.dtype, field.shape, **_packing(field))
        return
    _empty(file, f"{field.name}/content", field.dtype, (), shuffle=True)
    if _owns_offsets(schema, field):
        _empty(file, f"{field.name}/offsets", "int64", (), shuffle=True)
    else:  # a second name of the same dataset: one multiplicity per collection
        first = schema.collections[field.collection][0]
        file[f"{field.name}/offsets"] = file[f"{first}/offsets"]


def _owns_offsets(schema: Schema, field: Field) -> bool:
    return schema.collections[field.collection][0] == field.name


def _packing(field: Field) -> dict[str, Any]:
    # HDF5's own packing into as few bits as the values need: spins become a third smaller than by
    # gzip alone, in the same time
    few = len(field.allowed or ()) > 0 and np.dtype(field.dtype).kind in "iu"
    return {"scaleoffset": 0} if few else {"shuffle": True}


def _empty(file: h5py.File, name: str, dtype: str, shape: tuple[int, ...], **packing: Any) -> None:
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape))
    # powers of two, since those who make events by the million make them in powers of two
    rows = 1 << max(0, (_CHUNK_BYTES // max(1, row_bytes)).bit_length() - 1)
    file.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        dtype=dtype,
        chunks=(min(rows, _MAX_CHUNK_ROWS), *(max(1, n) for n in shape)),
        compression="gzip",
        compression_opts=1,
        **packing,
    )


def _append(dataset: h5py.Dataset, values: np.ndarray) -> None:
    first = len(dataset)
    dataset.resize(first + len(values), axis=0)
    dataset[first:] = values


def _join_flat(target: h5py.Dataset, part: h5py.Dataset) -> None:
    first = len(target)
    if first % target.chunks[0]:
        _append(target, part[:])
        return
    target.resize(first + len(part), axis=0)
    for k in range(part.id.get_num_chunks()):
        at = part.id.get_chunk_info(k).chunk_offset
        mask, content = part.id.read_direct_chunk(at)
        target.id.write_direct_chunk((first + at[0], *at[1:]), content, mask)


def _join_jagged(file: h5py.File, part: h5py.File, name: str, owns_offsets: bool) -> None:
    content, offsets = file[f"{name}/content"], file[f"{name}/offsets"]
    if owns_offsets:
        edges = part[f"{name}/offsets"][:] + len(content)
        _append(offsets, edges[1:] if len(offsets) else edges)
    added = part[f"{name}/content"]
    for start in range(0, len(added), _CONTENT_ROWS):
        _append(content, added[start : start + _CONTENT_ROWS])
