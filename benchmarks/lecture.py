"""The lecture's GAN: seconds per epoch as written and by the fast path, and the law of its losses.

    OMP_NUM_THREADS=1 python benchmarks/lecture.py --data ../shared/data/mnist

- speed: CPU seconds of one epoch on 60,000 digits, both paths in turn, the smallest of some; and
  of the matrix products alone, the floor of this machine.
- long: a training of 100 epochs by the fast path, measured whole.
- losses: first epoch of either path from ten seeds; Welch's t of each mean.
- quality: MMD^2 of the lecture's kernel (unbiased) and 1-NN accuracy of 5,000 images against the
  10,000 test digits, for budgets of CPU seconds; and of 5,000 training digits, the floor.

One thread. With --only some sections, their rows are added to the others.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import read_rows, write_result
from sklearn.neighbors import NearestNeighbors

import physgen as pg
from physgen.lectures import mnist
from physgen.lectures.gan_fast import FastGan
from physgen.lectures.gan_written import WrittenGan
from physgen.metrics import lecture_mmd
from physgen.models import GrayDecoder, Relativistic

RESULT = "benchmarks/results/lecture.json"
NAMES = ("generator", "discriminator", "real", "fake")
PATHS = {"as written": WrittenGan, "fast": FastGan}
FAMILIES = {
    "GAN (relativistic)": pg.GAN(objective=Relativistic(gamma=10.0), learning_rate=4e-3),
    "VAE": pg.VAE(decoder=GrayDecoder(), kl_weight=1.0, n_latent=20, n_hidden=400, n_layers=1),
}


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


def section_speed(digits, _, args):
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


def section_long(digits, _, args):
    gan = FastGan(digits, seed=1)
    seconds = cpu_seconds(lambda: [gan.epoch() for _ in range(args.epochs - 1)])
    return {"epochs": args.epochs, "last": gan.epoch(), "cpu_seconds_but_one_epoch": seconds}


def section_losses(digits, _, args):
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


def nearest(real, made):
    """1-NN accuracy of the real and of the generated side, leaving out the image itself."""
    both = torch.cat((real, made)).numpy()
    index = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(both).kneighbors(both)[1]
    own = np.arange(len(both))
    other = np.where(index[:, 0] == own, index[:, 1], index[:, 0])
    right = (other < len(real)) == (own < len(real))
    return float(right[: len(real)].mean()), float(right[len(real) :].mean())


def judged(test, images):
    real, made = (
        torch.from_numpy(np.ascontiguousarray(x)).reshape(len(x), -1) / 127.5 - 1
        for x in (test, images)
    )
    order = torch.Generator().manual_seed(0)
    side = nearest(real[torch.randperm(len(real), generator=order)[: len(made)]], made)
    return {
        "mmd2": lecture_mmd(real, made, rescales_generated=False, is_biased=False),
        "nn_real": side[0],
        "nn_fake": side[1],
    }


def fit(train, settings, cpu_seconds, batch_size):
    """A training of so many CPU seconds, by the time of 50 steps, and what it took."""

    def after(steps):
        training = pg.TrainingConfig(steps=steps, batch_size=batch_size)
        start = time.process_time()
        surrogate = pg.Surrogate.fit(
            train, settings, fields=["images"], conditions=[], training=training, rng=1
        )
        return surrogate, time.process_time() - start

    begin = after(1)[1]
    per_step = max(after(51)[1] - begin, 1e-3) / 50
    return after(max(1, int((cpu_seconds - begin) / per_step)))


def section_quality(_, args_data, args):
    train, test = (mnist(part, args_data) for part in ("train", "test"))
    rows = {"training digits": judged(test["images"], train["images"][:5000])}
    print("training digits", rows["training digits"], flush=True)
    for budget in args.budgets:
        for name, settings in FAMILIES.items():
            if args.families and name not in args.families:
                continue
            surrogate, seconds = fit(train, settings, budget, args.batch_size)
            row = judged(test["images"], surrogate(5000, rng=2)["images"])
            row |= {"training_cpu_seconds": seconds, "steps": int(surrogate.history.steps[-1])}
            rows[f"{name}, {budget} s"] = row
            print(name, budget, row, flush=True)
    return rows


SECTIONS = ("speed", "long", "losses", "quality")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budgets", type=int, nargs="*", default=[30])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--families", nargs="*", choices=list(FAMILIES))
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = np.ascontiguousarray(mnist("train", args.data)["images"])
    for section in args.only:
        row = globals()[f"section_{section}"](digits, args.data, args)
        print(section, row, flush=True)
        write_result(RESULT, read_rows(RESULT) | {section: row})


if __name__ == "__main__":
    main()
