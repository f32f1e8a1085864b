"""Files larger than the memory they may take, to train on and compare: memory, speed, results.

    python benchmarks/streaming.py --gigabytes 2 --memory "200 MB"

makes HDF5 files of that size (10 columns, 40 bytes an event), trains a diffusion model on them in
a process of its own, and the same one on the first of them in memory; and compares the first half
of them with the second, which is of the same law.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import write_result
from mmd_memory import peak, reset_peak, resident

import physgen as pg
from physgen.files.parts import write_stream
from physgen.schema import Field, Schema

PIECE = 1 << 19
N_FILES = 4
MODEL = pg.Diffusion(n_hidden=64, n_blocks=2)
# a pass over all events is made before, so that more of them show only how fast a model is
MAX_STEPS = 400
SCHEMA = Schema(
    (
        *(Field(f"x{k}", "float32") for k in range(8)),
        Field("k", "int32"),
        Field("energy", "float32", unit="GeV", role="condition"),
    )
)


def piece(first, n):
    random = np.random.default_rng(first)
    energy = random.uniform(1, 100, n).astype(np.float32)
    columns = {f"x{k}": random.normal(size=n, scale=1 + k / 8) for k in range(5)}
    columns |= {f"x{k}": random.exponential(energy) for k in range(5, 8)}
    columns |= {"k": random.poisson(energy / 20), "energy": energy}
    return pg.Events(SCHEMA, {f.name: columns[f.name].astype(f.dtype) for f in SCHEMA})


def make_files(folder, n_events):
    per_file = n_events // N_FILES // PIECE * PIECE
    for k in range(N_FILES):
        write_stream(
            folder / f"part{k}.h5",
            lambda start, k=k: (
                piece(k * per_file + at, PIECE) for at in range(start, per_file, PIECE)
            ),
            per_file,
            {"benchmark": "streaming"},
        )
    return per_file


def fitted(events, n_events):
    """An epoch or 400 steps; the seconds, and the last losses of events held out."""
    config = pg.TrainingConfig(batch_size=4096, steps=min(MAX_STEPS, n_events // 4096))
    start = time.perf_counter()
    surrogate = pg.Surrogate.fit(events, MODEL, training=config, rng=1)
    losses = {p: round(v[-1], 4) for p, v in surrogate.history.validation.items()}
    return time.perf_counter() - start, losses


def train(pattern, memory, small):
    """In a process of its own: memory above what the imports and a small training take."""
    imported = resident()
    fitted(pg.stream(small, memory="20 MB"), 40_960)  # libraries that are loaded when needed
    reset_peak()
    warm = resident()
    stream = pg.stream(pattern, memory=memory)
    seconds, losses = fitted(stream, stream.n_entries)
    print(
        json.dumps(
            {
                "events": stream.n_entries,
                "seconds": round(seconds, 1),
                "MB of the imports": round(imported),
                "MB above the imports": round(peak() - imported),
                "MB above a small training": round(peak() - warm),
                "losses": losses,
            }
        )
    )


def compare(first, second, memory, small):
    """In a process of its own: memory above a comparison whose joint tests are as large."""
    warm = pg.read_events(small)
    pg.compare(warm[:20_000], warm[20_000:40_000], rng=1)
    reset_peak()
    before = resident()
    sides = [pg.stream(side.split(","), memory=memory) for side in (first, second)]
    start = time.process_time()
    same = pg.compare(*sides, rng=1)
    row = {
        "events": [side.n_entries for side in sides],
        "compared": same.n_events,
        "CPU seconds": round(time.process_time() - start),
        "MB above a comparison of 20,000 events": round(peak() - before),
        "outcome": same.outcome,
        "p-value": round(same.p_value, 4),
    }
    print(json.dumps(row))


def own_process(*arguments):
    line = [sys.executable, __file__, *arguments]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--memory", default="200 MB")
    parser.add_argument("--folder", type=Path, help="where to keep the files; a temporary one")
    parser.add_argument("--train", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, default="benchmarks/results/streaming.json")
    options = parser.parse_args()
    if options.train:
        train(*options.train)
        return
    if options.compare:
        compare(*options.compare)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / f"part{N_FILES - 1}.h5").exists():
            make_files(folder, int(options.gigabytes * 1e9 / 40))
            pg.write_events(folder / "small.h5", piece(1, 50_000))
        parts = [str(folder / f"part{k}.h5") for k in range(N_FILES)]
        small = str(folder / "small.h5")
        on_disk = sum(Path(part).stat().st_size for part in parts)
        row = own_process("--train", str(folder / "part*.h5"), options.memory, small)
        halves = ",".join(parts[: N_FILES // 2]), ",".join(parts[N_FILES // 2 :])
        compared = own_process("--compare", *halves, options.memory, small)
        events = pg.read_events(folder / "part0.h5", stop=1_000_000)
        seconds, losses = fitted(events, row["events"])
    size = row["events"] * 40
    rows = {
        f"{size / 1e9:.2g} GB of events within {options.memory}": {
            "MB in memory": round(size / 1e6), "MB on disk": round(on_disk / 1e6), **row,
        },
        "the first 1,000,000 of them in memory, as many steps": {
            "seconds": round(seconds, 1), "losses": losses,
        },
        "its halves compared": compared,
    }  # fmt: skip
    write_result(options.output, rows)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
