"""Train, sample, write, read, compare, again and again: does memory grow, do files stay open?

    OMP_NUM_THREADS=1 python benchmarks/soak.py --minutes 60

Each round takes the next family, trains it for a moment, saves and loads it, writes its events to
HDF5 or ROOT, reads them and compares them with the truth. Memory is what is resident after a
collection of garbage: after a tenth of the rounds, half of them, and all.
"""

import argparse
import gc
import itertools
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from machine import write_result

import physgen as pg

RESULT = "benchmarks/results/soak.json"
FAMILIES = (pg.Diffusion(), pg.GAN(), pg.VAE(), pg.EBM())


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def one_round(settings, truth, folder, suffix, seed):
    training = pg.TrainingConfig(steps=50, batch_size=128)
    surrogate = pg.Surrogate.fit(truth, settings, training=training, rng=seed)
    surrogate.save(folder / "run")
    path = folder / f"made{suffix}"
    pg.write_events(path, pg.Surrogate.load(folder / "run")(len(truth), rng=seed))
    report = pg.compare(truth, pg.read_events(path), n_permutations=401, max_events=300, rng=seed)
    report.save(folder / "report.html")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    truth = pg.read_events("data/zmumu.root", stop=1000)
    start, hours, memory, files = time.monotonic(), [], [], []
    with tempfile.TemporaryDirectory() as folder:
        cases = itertools.cycle(itertools.product((".h5", ".root"), FAMILIES))
        for seed, (suffix, settings) in enumerate(cases):
            one_round(settings, truth, Path(folder), suffix, seed)
            gc.collect()
            hours.append((time.monotonic() - start) / 3600)
            memory.append(resident_mb())
            files.append(len(list(Path("/proc/self/fd").iterdir())))
            if hours[-1] * 60 >= args.minutes:
                break
    tenth, half = len(hours) // 10, len(hours) // 2
    row = {
        "hours": hours[-1],
        "rounds": len(hours),
        "memory_mb": {"tenth": memory[tenth], "half": memory[half], "end": memory[-1]},
        "open_files": {"first": files[0], "end": files[-1], "largest": max(files)},
    }
    write_result(RESULT, {"soak": row})
    print(row)


if __name__ == "__main__":
    main()
