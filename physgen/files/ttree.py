"""Columns of a TTree."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from physgen.files.checks import damaged, name_problem, printable
from physgen.files.source import Column, checked_lists
from physgen.schema import Field

__all__ = ["collection_of", "columns", "unit_in"]

_UNIT = re.compile(r"\[\s*([kMGT]?eV(?:/c(?:\^?2)?)?|m?rad|[mcµun]?m|[mnpuµ]?s)\s*\]")
# titles that only repeat name and type: "Jet_pt[nJet]/F"
_LEAF_TITLE = re.compile(r".+/[A-Za-z]")

Columns = dict[str, Column]


def columns(tree: Any, path: Path) -> tuple[Columns, Columns, dict[str, str]]:
    """Return columns, hidden columns (counters) and what is left out, with reasons."""
    found: Columns = {}
    left_out: dict[str, str] = {}
    counters: dict[str, None] = {}
    for name, branch in _named_branches(tree, left_out):
        if problem := name_problem(name):
            left_out[printable(name)] = problem
            continue
        made = _column(name, branch, tree.num_entries, path)
        if isinstance(made, str):
            left_out[name] = made
            continue
        found[name] = made
        if made.field.jagged and branch.count_branch is not None:
            counters[branch.count_branch.name] = None
    hidden = {name: found.pop(name) for name in counters if name in found}
    return found, hidden, left_out


def _named_branches(tree: Any, left_out: dict[str, str]) -> list[tuple[str, Any]]:
    """Branches with values of their own, by a name that is unique."""
    leaves = [b for b in tree.itervalues(recursive=True) if not len(b.branches)]
    paths = [b.name if b.parent is tree else f"{b.parent.name}/{b.name}" for b in leaves]
    counts = Counter(b.name for b in leaves)
    named: dict[str, Any] = {}
    for branch, full in zip(leaves, paths, strict=True):
        name = branch.name if counts[branch.name] == 1 else full
        if name in named:
            left_out[f"{name} (again)"] = "a second branch of the same name"
        else:
            named[name] = branch
    return list(named.items())


def _column(name: str, branch: Any, n_events: int, path: Path) -> Column | str:
    reading = branch.interpretation
    is_jagged = isinstance(reading, uproot.AsJagged)
    content = reading.content if is_jagged else reading
    if not isinstance(content, uproot.interpretation.numerical.Numerical):
        return f"type {branch.typename}; physgen holds numbers and lists of numbers"
    dtype, shape = _dtype_and_shape(content)
    if dtype.names is not None:
        return f"type {branch.typename}, several numbers in one; physgen holds numbers"
    if dtype.kind not in "biuf":
        return f"type {branch.typename}; physgen holds numbers"
    if is_jagged and shape:
        return f"lists of arrays ({branch.typename}); physgen holds lists of numbers"
    if branch.num_entries != n_events:
        return f"it has {branch.num_entries} entries, and the tree {n_events}"
    counter = branch.count_branch if is_jagged else None
    field = Field(
        name,
        dtype.name,
        unit=unit_in(branch.title),
        shape=shape,
        jagged=is_jagged,
        collection=collection_of(counter.name) if counter is not None else "",
        description=_description(branch),
    )
    sizes = _JaggedSizes(branch, path) if is_jagged else None
    width = dtype.itemsize * int(np.prod(shape))

    def read(start: int, stop: int) -> Any:
        with damaged(path, f"branch {name!r}"):
            if is_jagged:
                return checked_lists(branch.array(entry_start=start, entry_stop=stop))
            return branch.array(entry_start=start, entry_stop=stop, library="np")

    return Column(
        field, n_events, read, sizes if sizes is not None else lambda a, b: (b - a) * width
    )


def _dtype_and_shape(content: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if isinstance(content, uproot.AsDtype):
        dtype = content.to_dtype
        return dtype.subdtype if dtype.subdtype else (dtype, ())
    return content.numpy_dtype, getattr(content, "to_dims", ())


class _JaggedSizes:
    """Bytes of a range of a jagged branch, from the sizes of its baskets."""

    def __init__(self, branch: Any, path: Path) -> None:
        self._path = path
        self._branch = branch
        self._edges: np.ndarray | None = None

    def __call__(self, start: int, stop: int) -> int:
        with damaged(self._path, "the baskets"):
            return self._n_bytes(start, stop)

    def _n_bytes(self, start: int, stop: int) -> int:
        if self._edges is None:
            self._edges, self._bytes = _basket_bytes(self._branch)
        low, high = np.interp([start, stop], self._edges, self._bytes)
        return int(high - low) + 8 * (stop - start)


def _basket_bytes(branch: Any) -> tuple[np.ndarray, np.ndarray]:
    edges = np.asarray(branch.entry_offsets, dtype=np.float64)
    packed = np.asarray(branch.member("fBasketBytes")[: len(edges) - 1], dtype=np.float64)
    if len(packed) < len(edges) - 1 or packed.sum() <= 0:
        return np.array([0.0, branch.num_entries]), np.array([0.0, branch.uncompressed_bytes])
    grown = packed * (branch.uncompressed_bytes / packed.sum())
    return edges, np.concatenate(([0.0], np.cumsum(grown)))


def collection_of(counter: str) -> str:
    """Name of the collection that a counter counts.

    Examples
    --------
    >>> [collection_of(name) for name in ("nJet", "NMuon", "Jet_size", "multiplicity")]
    ['Jet', 'Muon', 'Jet', 'multiplicity']
    """
    match = re.fullmatch(r"[nN]_?(.+)|(.+?)_(?:size|n|N)", counter)
    return next(group for group in match.groups() if group) if match else counter


def unit_in(title: str) -> str:
    """Unit that a title names in square brackets, or nothing.

    Examples
    --------
    >>> unit_in("transverse momentum [GeV]"), unit_in("Jet_pt[nJet]/F")
    ('GeV', '')
    """
    match = _UNIT.search(title)
    return match[1] if match else ""


def _description(branch: Any) -> str:
    title = printable(str(branch.title).strip(), 1000)
    return "" if title == branch.name or _LEAF_TITLE.fullmatch(title) else title
