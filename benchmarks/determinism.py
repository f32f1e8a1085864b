"""Same seed, same events? Every family, by processes, sizes, threads, devices, versions of torch.

    OMP_NUM_THREADS=1 python benchmarks/determinism.py [--pythons /other/python ...]

A small surrogate of each family and an Ising simulator make 1,500 events in one process. The table
says for other ways to the same events whether they are bit-equal, or by how much they differ at
most, in units of each column's spread; and whether the same training in another process ends with
the same weights. --pythons: interpreters with physgen and other versions of torch, which read the
surrogates and sample on their own.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

RESULT = "benchmarks/results/determinism.json"
N = 1500
SETTINGS = ("GAN", "VAE", "RBM", "EBM", "Diffusion", "MaskedDiffusion")


def truth(family):
    import physgen as pg

    random = np.random.default_rng(0)
    if family in ("RBM", "MaskedDiffusion"):
        spins = random.choice([-1, 1], (2000, 4, 4)).astype(np.int8)
        return pg.Events.from_dict({"spins": spins})
    energy = random.normal(size=(2000, 3)) @ random.normal(size=(3, 3))
    return pg.Events.from_dict({"a": energy[:, 0], "b": energy[:, 1], "c": energy[:, 2]})


def train(folder, family):
    import physgen as pg

    settings = getattr(pg, family)()
    training = pg.TrainingConfig(steps=100, batch_size=64)
    pg.Surrogate.fit(truth(family), settings, training=training, rng=1).save(folder)


def make(source, first, n, out, threads, device):
    """Events of a surrogate or of the simulator, in a process of its own."""
    import physgen as pg
    from physgen.simulators import Ising2D

    torch.set_num_threads(threads)
    if source == "Ising":
        simulator = Ising2D(8)
        events = simulator(first + n, {"beta": 0.44}, rng=5)[first:]
    else:
        simulator = pg.Surrogate.load(source)
        simulator.model.to(device)
        events = simulator(n, rng=5, first_event=first)
    columns = [np.asarray(c, np.float64).reshape(n, -1) for c in events.to_dict().values()]
    np.save(out, np.concatenate(columns, axis=1))


def child(*arguments, python=sys.executable):
    command = [python, __file__, "--child", *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())})


def made(folder, source, parts, *, threads=1, device="cpu", python=sys.executable):
    """Events made in as many processes at once as there are parts (first, n)."""
    files = [folder / f"{k}.npy" for k in range(len(parts))]
    running = [
        child("make", source, first, n, file, threads, device, python=python)
        for (first, n), file in zip(parts, files, strict=True)
    ]
    if any(process.wait() for process in running):
        return None
    return np.concatenate([np.load(file) for file in files])


def difference(a, b):
    """0 if equal, else the largest difference in units of the spread; None if b was not made."""
    if b is None or a.shape != b.shape:
        return None
    if np.array_equal(a, b):
        return 0.0
    return float((np.abs(a - b).max(axis=0) / np.maximum(a.std(axis=0), 1e-300)).max())


def in_parts(n_parts):
    edges = np.linspace(0, N, n_parts + 1).astype(int)
    return [(int(a), int(b - a)) for a, b in itertools.pairwise(edges)]


def ways(pythons):
    yield "again", {"parts": [(0, N)]}
    yield "2 processes", {"parts": in_parts(2)}
    yield "4 processes", {"parts": in_parts(4)}
    yield "calls of 1, 99, 1400", {"parts": [(0, 1), (1, 99), (100, 1400)]}
    yield "2 threads", {"parts": [(0, N)], "threads": 2}
    if torch.cuda.is_available():
        yield "cuda", {"parts": [(0, N)], "device": "cuda"}
    for python in pythons:
        version = subprocess.check_output([python, "-c", "import torch; print(torch.__version__)"])
        yield f"torch {version.decode().strip()}", {"parts": [(0, N)], "python": python}


def row_of(folder, family, pythons):
    source, row = family, {}
    if family != "Ising":
        source, second = folder / family, folder / f"{family}2"
        for path in (source, second):
            child("train", path, family).wait()
        weights = [(path / "weights.safetensors").read_bytes() for path in (source, second)]
        row["same weights"] = weights[0] == weights[1]
    first = made(folder, source, [(0, N)])
    if first is None:
        raise RuntimeError(f"{family} made no events")
    for name, how in ways(pythons):
        if family == "Ising" and "device" in how:
            continue
        row[name] = difference(first, made(folder, source, **how))
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="*", default=[])
    names = (*SETTINGS, "Ising")
    parser.add_argument("--families", nargs="*", choices=names, default=names)
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        task, *rest = args.child
        if task == "train":
            train(*rest)
        else:
            source, first, n, out, threads, device = rest
            make(source, int(first), int(n), out, int(threads), device)
        return
    from machine import read_rows, write_result

    rows = read_rows(RESULT)
    with tempfile.TemporaryDirectory() as folder:
        for family in args.families:
            rows[family] = row_of(Path(folder), family, args.pythons)
            print(family, rows[family], flush=True)
            write_result(RESULT, rows)


if __name__ == "__main__":
    main()
