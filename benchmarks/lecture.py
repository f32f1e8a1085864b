"""The lecture's GAN: seconds per epoch as written and by the fast path, and the law of its losses.

    OMP_NUM_THREADS=1 python benchmarks/lecture.py --data ../shared/data/mnist

- speed: CPU seconds of one epoch on 60,000 digits, both paths in turn, the smallest of some; and
  of the matrix products alone, the floor of this machine.
- long: a training of 100 epochs by the fast path, measured whole.
- losses: first epoch of either path from ten seeds; Welch's t of each mean.

One thread. With --only some sections, their rows are added to the others.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import read_rows, write_result

from physgen.lectures import mnist
from physgen.lectures.gan_fast import FastGan
from physgen.lectures.gan_written import WrittenGan

RESULT = "benchmarks/results/lecture.json"
NAMES = ("generator", "discriminator", "real", "fake")
PATHS = {"as written": WrittenGan, "fast": FastGan}


def cpu_seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def products(n_steps=937, n=64):
    """The matrix products of one epoch of the fast path, and nothing else."""
    z, a, x = torch.rand(2 * n, 20), torch.rand(2 * n, 100), torch.rand(2 * n, 784)
    first, last, hidden = torch.rand(100, 20), torch.rand(784, 100), torch.rand(100, 784)
    for _ in range(n_steps):
        z @ first.t()
        a @ last.t()
        x @ hidden.t()
        a.t() @ x
        x[:n] @ hidden.t()
        a[:n] @ hidden
        x[:n].t() @ a[:n]
        x[:n] @ last
        a[:n].t() @ z[:n]


def section_speed(digits, args):
    seconds = {name: [] for name in (*PATHS, "matrix products")}
    gans = {name: kind(digits, seed=1) for name, kind in PATHS.items()}
    for _ in range(args.repeats):
        for name, gan in gans.items():
            seconds[name].append(cpu_seconds(gan.epoch))
        seconds["matrix products"].append(cpu_seconds(products))
    best = {name: min(found) for name, found in seconds.items()}
    return {
        "cpu_seconds_per_epoch": best,
        "times_faster": best["as written"] / best["fast"],
        "all": seconds,
    }


def section_long(digits, args):
    gan = FastGan(digits, seed=1)
    seconds = cpu_seconds(lambda: [gan.epoch() for _ in range(args.epochs - 1)])
    return {"epochs": args.epochs, "last": gan.epoch(), "cpu_seconds_but_one_epoch": seconds}


def section_losses(digits, args):
    rows = {
        name: np.array([list(kind(digits, seed=s).epoch().values()) for s in range(args.seeds)])
        for name, kind in PATHS.items()
    }
    a, b = rows.values()
    error = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / args.seeds)
    return {
        "seeds": args.seeds,
        "mean": {
            name: dict(zip(NAMES, found.mean(0).tolist(), strict=True))
            for name, found in rows.items()
        },
        "t": dict(zip(NAMES, ((a - b).mean(0) / error).tolist(), strict=True)),
    }


SECTIONS = ("speed", "long", "losses")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = np.ascontiguousarray(mnist("train", args.data)["images"])
    for section in args.only:
        row = globals()[f"section_{section}"](digits, args)
        print(section, row, flush=True)
        write_result(RESULT, read_rows(RESULT) | {section: row})


if __name__ == "__main__":
    main()
