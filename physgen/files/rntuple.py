"""Columns of an RNTuple."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from physgen.files.checks import damaged, name_problem, printable
from physgen.files.source import Column, checked_lists
from physgen.files.ttree import Columns, unit_in
from physgen.schema import Field

__all__ = ["columns"]


def columns(ntuple: Any, path: Path) -> tuple[Columns, Columns, dict[str, str]]:
    """Return columns, hidden columns (none) and what is left out, with reasons."""
    form, *_ = ntuple.to_akform()
    found: Columns = {}
    left_out: dict[str, str] = {}
    for name in ntuple.keys(recursive=False):
        for key, part in _parts(name, form.content(name)):
            if problem := name_problem(key):
                left_out[printable(key)] = problem
                continue
            made = _column(key, part, ntuple, path)
            if isinstance(made, str):
                left_out[key.replace(".", "_")] = made
            else:
                found[made.field.name] = made
    return found, {}, left_out


def _parts(name: str, form: Any) -> list[tuple[str, Any]]:
    """A collection of records as one list per member, anything else as it is."""
    if form.is_list and not form.is_regular and form.content.is_record:
        lists = [
            type(form)(form.offsets, part) if hasattr(form, "offsets") else part
            for part in form.content.contents
        ]
        return [
            (f"{name}.{member}", part)
            for member, part in zip(form.content.fields, lists, strict=True)
        ]
    return [(name, form)]


def _column(key: str, form: Any, ntuple: Any, path: Path) -> Column | str:
    shape: tuple[int, ...] = ()
    is_jagged = form.is_list and not form.is_regular
    content = form.content if is_jagged else form
    while content.is_regular and not is_jagged:
        shape = (*shape, content.size)
        content = content.content
    if not content.is_numpy or content.parameters.get("__array__") or content.inner_shape:
        return f"type {form.type}; physgen holds numbers and lists of numbers"
    collection, _, member = key.rpartition(".")
    name = f"{collection}_{member}" if collection else key
    description = printable(str(ntuple[key].description), 1000)
    field = Field(
        name,
        content.primitive,
        unit=unit_in(description),
        shape=shape,
        jagged=is_jagged,
        collection=collection if is_jagged else "",
        description=description,
    )

    def read(start: int, stop: int) -> Any:
        with damaged(path, f"field {key!r}"):
            array = ntuple[key].array(entry_start=start, entry_stop=stop)
            return checked_lists(array) if is_jagged else array.to_numpy()

    width = np.dtype(field.dtype).itemsize
    if is_jagged:
        sizes = _ClusterSizes(ntuple, content.form_key, width, path)
        return Column(field, ntuple.num_entries, read, sizes)
    per_event = width * int(np.prod(shape))
    return Column(field, ntuple.num_entries, read, lambda a, b: (b - a) * per_event)


class _ClusterSizes:
    """Bytes of a range of a jagged field, from the number of elements in each cluster."""

    def __init__(self, ntuple: Any, form_key: str, width: int, path: Path) -> None:
        self._path = path
        self._ntuple, self._column, self._width = ntuple, int(form_key.split("-")[1]), width
        self._edges: np.ndarray | None = None

    def __call__(self, start: int, stop: int) -> int:
        with damaged(self._path, "the clusters"):
            return self._n_bytes(start, stop)

    def _n_bytes(self, start: int, stop: int) -> int:
        if self._edges is None:
            summaries = self._ntuple.cluster_summaries
            edges = [s.num_first_entry for s in summaries]
            counts = [
                sum(page.num_elements for page in pages[self._column].pages)
                for pages in self._ntuple.page_link_list
            ]
            self._edges = np.array([*edges, self._ntuple.num_entries], dtype=np.float64)
            self._elements = np.concatenate(([0], np.cumsum(counts)))
        low, high = np.interp([start, stop], self._edges, self._elements)
        return int((high - low) * self._width) + 8 * (stop - start)
