"""ROOT: TTree and RNTuple, both ways.

A tree that physgen wrote has a text beside it (``Events_physgen``, a ``TObjString`` with the
schema as JSON), so that reading it back gives the same units, roles and conventions; other
programs see just the tree. Reading is in :mod:`physgen.files.ttree` and
:mod:`physgen.files.rntuple`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uproot

from physgen.files import rntuple as rntuples
from physgen.files import ttree
from physgen.files.checks import check_magic, damaged, printable
from physgen.files.guesses import grouped_by_name, with_weight
from physgen.files.rootbounds import BoundedSource
from physgen.files.rootwrite import write
from physgen.files.source import Source, as_stored
from physgen.schema import Schema

__all__ = ["FORMAT_VERSION", "open_source", "write"]

FORMAT_VERSION = 1
# what NanoAOD files hold beside their Events: one entry per run or file, not per event
_BOOKKEEPING = {"Runs", "LuminosityBlocks", "MetaData", "ParameterSets"}
_KINDS = {"TTree": ttree, "ROOT::RNTuple": rntuples}


def open_source(path: Path, *, tree: str | None, binning: Path | None) -> Source:
    """Open a tree of a ROOT file.

    Raises
    ------
    OSError
        If the file is truncated or damaged.
    ValueError
        If it is no ROOT file, the tree is missing, or several could be meant.
    """
    if binning is not None:
        raise ValueError(f"binning= belongs to CaloChallenge files (.h5), not to {path}")
    check_magic(path, b"root", "a ROOT file")
    _check_complete(path)
    with contextlib.ExitStack() as resources:
        with damaged(path, "the header"):
            file = resources.enter_context(_opened(path))
            found = _trees(file)
            found = {n: kind for n, kind in found.items() if n.isprintable()}
        name = _choose(found, tree, path)
        stored = _stored_schema(file, name, path)
        with damaged(path, f"tree {name!r}"):
            opened = file[tree or name]
            sizes = {n: int((opened if n == name else file[n]).num_entries) for n in found}
        kind = _KINDS[found[name]]
        with damaged(path, f"the columns of tree {name!r}"):
            columns, hidden, left_out = kind.columns(opened, path)
            if stored is None:
                columns, guessed = grouped_by_name(with_weight(columns))
            else:
                columns, guessed = as_stored(columns, hidden, stored), frozenset()
        return Source(
            path=path,
            layout="ttree" if kind is ttree else "rntuple",
            columns=columns,
            hidden=hidden,
            left_out={printable(n): printable(why, 200) for n, why in left_out.items()},
            conventions=dict(stored.conventions) if stored else {},
            trees=sizes,
            tree=name,
            guessed=guessed,
            resources=resources.pop_all(),
        )


def _opened(path: Path) -> Any:
    """Open without uproot's caches (up to 100 MB of arrays beside ours) and its event loop."""
    # a dict, since uproot reads a colon in a plain string as 'file:object'
    opened = uproot.open(
        {str(path): None},
        object_cache=None,
        array_cache=None,
        handler=BoundedSource,
    )
    opened.file.hook_before_read_streamer_key = _once()
    return opened


def _once() -> Callable[..., None]:
    """For descriptions of classes, which after damage may need themselves to be read."""
    calls = itertools.count()

    def hook(**_: Any) -> None:
        if next(calls):
            raise ValueError("the descriptions of its classes need each other")

    return hook


def _check_complete(path: Path) -> None:
    """Compare the size that the header declares with what is there."""
    with path.open("rb") as file:
        header = file.read(24)
    declared = 0
    if len(header) == 24:
        version = struct.unpack(">i", header[4:8])[0]
        large = version >= 1_000_000  # files above 2 GB have 64-bit pointers
        declared = struct.unpack(
            ">q" if large else ">i", header[12:20] if large else header[12:16]
        )[0]
    n_bytes = path.stat().st_size
    if not 24 < declared <= n_bytes:
        raise OSError(
            f"{path} is truncated: its header declares {declared} bytes and it has {n_bytes}; "
            "copy or make it again"
        )


def _trees(file: Any) -> dict[str, str]:
    """Class of each tree by its name; of several cycles of a name ROOT itself takes the last."""
    classes = file.classnames(recursive=True, cycle=False)
    return {name: kind for name, kind in classes.items() if kind in _KINDS}


def _choose(found: dict[str, str], tree: str | None, path: Path) -> str:
    listed = ", ".join(found)
    if not found:
        raise ValueError(f"{path} holds no TTree and no RNTuple, so it has no events to read")
    if tree is not None:
        wanted = tree.split(";")[0]
        if wanted not in found:
            raise ValueError(f"no tree {tree!r} in {path}; it has {listed}")
        return wanted
    candidates = [name for name in found if name.split("/")[-1] not in _BOOKKEEPING]
    if len(found) == 1 or len(candidates) == 1:
        return (candidates or list(found))[0]
    raise ValueError(f"{path} has several trees: {listed}; say which one with tree=")


def _stored_schema(file: Any, tree: str, path: Path) -> Schema | None:
    key = f"{tree}_physgen"
    with damaged(path, "the schema"):
        if file.classnames(recursive=True, cycle=False).get(key) != "TObjString":
            return None
        stored = json.loads(str(file[key]))
        version = int(stored["format"])
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} was written in physgen's ROOT format {version}, and this physgen "
            f"reads up to {FORMAT_VERSION}; update physgen to read it"
        )
    with damaged(path, "the schema"):
        return Schema.from_dict(stored["schema"])
