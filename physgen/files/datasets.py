"""HDF5 datasets: finding them, reading them by range, writing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from physgen.files.checks import damaged, name_problem, printable
from physgen.files.chunks import check_chunks, guarded
from physgen.files.source import Column
from physgen.schema import Field

__all__ = [
    "check_written",
    "create_dataset",
    "dataset_column",
    "datasets_of",
    "row_reader",
    "type_name",
]

_CHUNK_BYTES = 512 * 1024
_MAX_DEPTH = 32


def datasets_of(file: h5py.File, path: Path) -> tuple[dict[str, h5py.Dataset], dict[str, str]]:
    """Datasets by their path in the file, and what is left out."""
    found: dict[str, h5py.Dataset] = {}
    left_out: dict[str, str] = {}
    with damaged(path, "the list of datasets"):
        for name, item in _walk(file, "", {file["/"].id}):
            if problem := name_problem(name):
                left_out[printable(name)] = problem
            elif isinstance(item, str):
                left_out[name] = printable(item, 200)
            elif reason := _unreadable(item):
                left_out[name] = reason
            else:
                found[name] = item
    return found, left_out


def _walk(group: h5py.Group, prefix: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    if prefix.count("/") > _MAX_DEPTH:
        yield prefix, f"more than {_MAX_DEPTH} groups deep"
        return
    for name in group:
        full = f"{prefix}{name}"
        link = group.get(name, getlink=True)
        # a link may name any file of this machine, so it is not followed
        if isinstance(link, h5py.ExternalLink):
            yield full, f"a link to another file ({link.filename}), which physgen does not follow"
            continue
        if isinstance(link, h5py.SoftLink):
            yield full, f"a second name of {link.path}"
            continue
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield full, item
        elif isinstance(item, h5py.Group) and item.id not in seen:
            seen.add(item.id)
            yield from _walk(item, f"{full}/", seen)


def _unreadable(dataset: h5py.Dataset) -> str | None:
    if dataset.is_virtual or dataset.external:
        return "its values are in another file, which physgen does not follow"
    if dataset.shape is None or dataset.shape == ():
        return "a single value, not one entry per event"
    if dataset.size == 0 and dataset.shape[0]:
        return f"shape {dataset.shape}, which holds no values"
    if dataset.dtype.names is None and dataset.dtype.kind not in "biuf":
        return f"type {type_name(dataset.dtype)}; physgen holds numbers"
    if dataset.dtype.names is None and dataset.dtype.itemsize > 8:
        return f"type {dataset.dtype}; physgen holds numbers of up to 64 bits"
    return None


def type_name(dtype: np.dtype[Any]) -> str:
    """Name of a type for people."""
    if h5py.check_string_dtype(dtype):
        return "text"
    return "list or reference" if dtype.kind == "O" else str(dtype)


def dataset_column(
    field: Field,
    dataset: h5py.Dataset,
    path: Path,
    convert: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Column:
    """Return the column that is a dataset; `convert` changes the shape per event of a block.

    Raises
    ------
    OSError
        If the file declares more values than were ever written.
    """
    check_written(dataset, path)
    rows = row_reader(dataset, path)
    bytes_per_event = np.dtype(field.dtype).itemsize * math.prod(field.shape)

    def read(start: int, stop: int) -> np.ndarray:
        block = rows(start, stop)
        return block if convert is None else convert(block)

    return Column(
        field, dataset.shape[0], read, lambda start, stop: (stop - start) * bytes_per_event
    )


def row_reader(
    dataset: h5py.Dataset, path: Path, members: list[str] | None = None
) -> Callable[[int, int], np.ndarray]:
    """Return the function that reads rows, or some members of them; it keeps the declared size."""
    chunks = lru_cache(maxsize=1)(partial(guarded, dataset))
    rows = dataset if members is None else dataset.fields(members)

    def read(start: int, stop: int) -> np.ndarray:
        with damaged(path, f"dataset {dataset.name!r}"):
            packed = chunks()
            if packed is not None and packed.is_ours:
                return packed.read(start, stop)
            if packed is not None:
                packed.check(start, stop)
            return rows[start:stop]

    return read


def check_written(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse a dataset that declares more values than were ever written."""
    # without this a file of a few bytes could make us allocate what it declares
    with damaged(path, f"dataset {dataset.name!r}"):
        written = dataset.size == 0 or _is_written(dataset)
    if not written:
        raise OSError(
            f"dataset {dataset.name!r} of {path} declares the shape {dataset.shape}, but not all "
            "of it was written; the program that made the file stopped early, so make it again"
        )
    check_chunks(dataset, path)


def _is_written(dataset: h5py.Dataset) -> bool:
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() > 0)
    sizes = zip(dataset.shape, dataset.chunks, strict=True)
    n_chunks = math.prod(-(-n // chunk) for n, chunk in sizes)
    return bool(dataset.id.get_num_chunks() == n_chunks)


def create_dataset(file: h5py.File, name: str, values: np.ndarray, compression: str) -> None:
    """Write an array as a chunked, compressed dataset."""
    if values.size == 0 or compression == "none":
        file.create_dataset(name, data=values)
        return
    row_bytes = max(1, values.nbytes // len(values))
    rows = min(len(values), max(1, _CHUNK_BYTES // row_bytes))
    file.create_dataset(
        name,
        data=values,
        chunks=(rows, *values.shape[1:]),
        compression=compression,
        shuffle=True,
    )
