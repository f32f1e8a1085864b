"""Reading speed: physgen against bare uproot and bare h5py on the same columns.

Both sides open the file, read all columns of it into numpy and awkward arrays, and close it;
physgen also infers the schema, checks that every number is finite and makes Events. The runs
alternate and the smallest CPU time of each counts, so that a busy machine disturbs both alike.

    python benchmarks/reading.py

writes benchmarks/results/reading.json and fails if physgen takes more than 1.3 times as long.
Reading an uncompressed HDF5 file is one copy of memory, so that the pass for finiteness alone is
a third on top; it is listed, with a limit of 2.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import uproot
from machine import write_result

from physgen.events import Events
from physgen.files import read_events, write_events

ROOT = Path(__file__).parents[1]
LIMIT, LIMIT_UNCOMPRESSED = 1.3, 2.0
N_RUNS = 30


def events_of(n_events: int) -> Events:
    """Ten flat columns and a collection of three with a mean of ten entries: 172 bytes each."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(10, n_events)
    columns = {f"x{i}": rng.normal(size=n_events).astype("f4") for i in range(10)}
    for name in ("Jet_pt", "Jet_eta", "Jet_phi"):
        content = rng.normal(size=counts.sum()).astype("f4")
        columns[name] = ak.unflatten(content, counts)
    return Events.from_dict(columns)


def bare_uproot(path: Path) -> object:
    """All columns but the counter, flat ones in numpy, jagged ones in awkward."""
    with uproot.open(path) as file:
        tree = file["Events"]
        jagged = [name for name in tree.keys(recursive=False) if name.startswith("Jet_")]
        flat = [n for n in tree.keys(recursive=False) if n not in (*jagged, "nJet")]
        return tree.arrays(flat, library="np"), tree.arrays(jagged, library="ak", how=tuple)


def bare_rntuple(path: Path) -> object:
    """All columns, in awkward."""
    with uproot.open(path) as file:
        return file["Events"].arrays()


def bare_h5py(path: Path) -> object:
    """All datasets; jagged ones as content and offsets."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def cpu_seconds(read: Callable[[Path], object], path: Path) -> float:
    """CPU time of one call, this process and all its threads."""
    start = time.process_time()
    read(path)
    return time.process_time() - start


def compare(name: str, bare: Callable[[Path], object], path: Path) -> dict[str, object]:
    """Smallest CPU times of alternating runs."""
    times = [(cpu_seconds(read_events, path), cpu_seconds(bare, path)) for _ in range(N_RUNS)]
    ours, theirs = np.min(times[1:], axis=0)
    result = {
        "case": name,
        "file_megabytes": round(path.stat().st_size / 1e6, 1),
        "physgen_seconds": round(float(ours), 4),
        "bare_seconds": round(float(theirs), 4),
        "ratio": round(float(ours / theirs), 3),
        "limit": LIMIT_UNCOMPRESSED if name.startswith("uncompressed") else LIMIT,
    }
    print(
        "{case:24} {file_megabytes:6} MB  physgen {physgen_seconds:.4f} s  bare "
        "{bare_seconds:.4f} s  ratio {ratio:.3f}".format(**result)
    )
    return result


def main() -> int:
    """Run all cases, print and store the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        events = events_of(400_000)
        cases = [
            ("zmumu.root", bare_uproot, ROOT / "data" / "zmumu.root"),
            ("showers.h5", bare_h5py, ROOT / "data" / "showers.h5"),
        ]
        for name, bare, settings in (
            ("ttree.root", bare_uproot, {}),
            ("rntuple.root", bare_rntuple, {"rntuple": True}),
            ("gzip.h5", bare_h5py, {}),
            ("uncompressed.h5", bare_h5py, {"compression": "none"}),
        ):
            path = Path(folder) / name
            write_events(path, events, **settings)
            cases.append((name, bare, path))
        results = [compare(*case) for case in cases]
    write_result(ROOT / "benchmarks" / "results" / "reading.json", results)
    return int(any(result["ratio"] > result["limit"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
