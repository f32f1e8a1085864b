"""Writing a TTree or an RNTuple."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from physgen.events import Events
from physgen.schema import Field, SchemaError

__all__ = ["write", "write_pieces"]

# uproot makes one basket per call: below 100 kB the headers cost more than the data, and above
# some ten MB a reader cannot skip what it does not want
_MIN_BRANCH_BYTES = 100_000
_MAX_CHUNK_BYTES = 64_000_000
_COMPRESSIONS = {
    "zstd": (uproot.ZSTD, 5),
    "lz4": (uproot.LZ4, 4),
    "zlib": (uproot.ZLIB, 4),
    "lzma": (uproot.LZMA, 4),
}


def write(
    path: Path,
    events: Events,
    *,
    tree: str | None,
    rntuple: bool | None,
    compression: str | None,
) -> None:
    """Write events as a TTree, or as an RNTuple.

    Parameters
    ----------
    path : Path
        Written from the start.
    events : Events
        At least one.
    tree : str, optional
        Name of the tree, ``"Events"`` by default.
    rntuple : bool, optional
        An RNTuple instead of a TTree.
    compression : str, optional
        ``"zstd"`` (level 5) by default: much faster than zlib at about the same size.

    Raises
    ------
    SchemaError
        If ROOT cannot hold a type or a name.
    """
    write_pieces(path, [events], tree=tree, rntuple=rntuple, compression=compression)


def write_pieces(
    path: Path,
    pieces: Iterable[Events],
    *,
    tree: str | None = None,
    rntuple: bool | None = None,
    compression: str | None = None,
) -> None:
    """Write events that come in pieces, at least one; arguments as for :func:`write`."""
    name = tree or "Events"
    waiting = iter(pieces)
    first = next(waiting)
    for field in first.schema:
        _check_field(field)
    blocks = (block for piece in itertools.chain([first], waiting) for block in _blocks(piece))
    with uproot.recreate(path, compression=_compression(compression)) as file:
        if rntuple:
            _write_rntuple(file, name, blocks)
        else:
            _write_ttree(file, name, first, blocks)
        stored = {"format": 1, "schema": first.schema.to_dict()}
        file[f"{name}_physgen"] = json.dumps(stored)


def _check_field(field: Field) -> None:
    if np.dtype(field.dtype).kind == "f" and field.dtype not in ("float32", "float64"):
        raise SchemaError(
            f"field {field.name!r} has type {field.dtype}, which a ROOT tree cannot hold; convert "
            "it to float32 or float64, or write .h5"
        )


def _compression(text: str | None) -> Any:
    if text == "none":
        return None
    name, _, level = (text or "zstd").partition(":")
    if name not in _COMPRESSIONS or not (level.isdigit() or not level):
        raise ValueError(
            f"compression {text!r} is not known to ROOT; use {', '.join(_COMPRESSIONS)} or none, "
            "with a level as in 'zstd:9'"
        )
    make, usual = _COMPRESSIONS[name]
    return make(int(level) if level else usual)


def _write_ttree(file: Any, name: str, first: Events, blocks: Iterator[Events]) -> None:
    counters = {f.name for f in first.schema if _is_counter(f, first)}
    flat = [f for f in first.schema if not f.jagged and f.name not in counters]
    collections = first.schema.collections
    types: dict[str, Any] = {f.name: np.dtype((f.dtype, f.shape)) for f in flat}
    for collection, names in collections.items():
        # json quotes a name as datashape wants it
        members = (f"{json.dumps(n)}: {first.schema[n].dtype}" for n in names)
        types[_key(collection)] = f"var * {{{', '.join(members)}}}"
    tree = file.mktree(
        name,
        types,
        title="physgen events",
        counter_name=lambda key: f"n{key[1:]}",
        field_name=lambda outer, inner: inner,  # noqa: ARG005  (uproot names them)
    )
    for block in blocks:
        for counter in counters:
            _is_counter(block.schema[counter], block)
        tree.extend(
            {f.name: block[f.name] for f in flat}
            | {_key(c): _zipped(block, names) for c, names in collections.items()}
        )


def _key(collection: str) -> str:
    # a collection may have the name of a flat field; its key is never seen in the file
    return f"#{collection}"


def _zipped(block: Events, names: tuple[str, ...]) -> Any:
    import awkward as ak

    return ak.zip({name: block[name] for name in names})


def _is_counter(field: Field, events: Events) -> bool:
    """Whether the column is the counter that a collection gets anyway."""
    counted = {f"n{c}": names for c, names in events.schema.collections.items()}
    if field.name not in counted:
        return False
    names = counted[field.name]
    if field.shape or not np.array_equal(events[field.name], events.multiplicity(names[0])):
        raise SchemaError(
            f"column {field.name!r} is not the multiplicity of {names[0]!r}, whose counter has "
            "that name in a ROOT tree; leave it out or rename it"
        )
    return True


def _write_rntuple(file: Any, name: str, blocks: Iterator[Events]) -> None:
    import awkward as ak

    def columns(block: Events) -> dict[str, Any]:
        return {n: ak.to_packed(ak.Array(block[n])) for n in block.schema.names}

    ntuple = file.mkrntuple(name, columns(next(blocks)), "physgen events")
    for block in blocks:
        ntuple.extend(columns(block))


def _blocks(events: Events) -> Iterator[Events]:
    sizes = [int(events[name].nbytes) for name in events.schema.names]
    n_blocks = min(sizes) // _MIN_BRANCH_BYTES
    if sum(sizes) > n_blocks * _MAX_CHUNK_BYTES:
        n_blocks = -(-sum(sizes) // _MAX_CHUNK_BYTES)
    n_blocks = min(max(1, n_blocks), len(events))
    edges = np.linspace(0, len(events), n_blocks + 1).astype(int).tolist()
    for start, stop in itertools.pairwise(edges):
        yield events[start:stop]
