"""The one table of formats: which module reads and writes which file name."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FORMATS", "Format", "format_of"]


@dataclass(frozen=True)
class Format:
    """A format: the names of its files, the module that knows it, and its settings for writing.

    Parameters
    ----------
    name : str
        For messages.
    pattern : str
        Regular expression that a file name must match as a whole.
    module : str
        Module with ``open_source(path, *, tree, binning)`` and ``write(path, events, ...)``.
    settings : tuple of str
        Arguments of ``write_events`` that mean something to it.
    """

    name: str
    pattern: str
    module: str
    settings: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import the module; uproot, awkward and h5py are loaded by the first use only."""
        return importlib.import_module(self.module)


FORMATS = (
    Format("HDF5", r".*\.(h5|hdf5)", "physgen.files.hdf5", ("layout", "compression")),
    Format("ROOT", r".*\.root", "physgen.files.root", ("tree", "rntuple", "compression")),
    Format("IDX", r".*[.-]idx\d-ubyte(\.gz)?", "physgen.files.idx"),
)


def format_of(path: Path) -> Format:
    """Return the format of a file name.

    Raises
    ------
    ValueError
        If no format has such names.
    """
    for form in FORMATS:
        if re.fullmatch(form.pattern, path.name, flags=re.IGNORECASE):
            return form
    raise ValueError(
        f"physgen does not know the format of {path.name!r}; use a name that ends in .h5, .hdf5 "
        "or .root, or a MNIST name like train-images-idx3-ubyte.gz"
    )
