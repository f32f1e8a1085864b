"""Reading and writing event files: HDF5, ROOT and MNIST's IDX.

The suffix of a file decides its format; :data:`FORMATS` is the one table of them. A format is a
module with ``open_source(path, *, tree, binning) -> Source`` and ``write(path, events, *,
settings)``.
"""

from __future__ import annotations

from physgen.files.atomic import atomic_directory, atomic_path
from physgen.files.binning import Binning
from physgen.files.describe import Description, describe
from physgen.files.paths import event_files
from physgen.files.reading import iter_events, read_events
from physgen.files.streams import EventStream, stream
from physgen.files.writing import check_target, write_events

__all__ = [
    "Binning",
    "Description",
    "EventStream",
    "atomic_directory",
    "atomic_path",
    "check_target",
    "describe",
    "event_files",
    "iter_events",
    "read_events",
    "stream",
    "write_events",
]
