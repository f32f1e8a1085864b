"""All five families on MNIST, 28 x 28, asked for given digits: quality by seconds of training.

    OMP_NUM_THREADS=1 python benchmarks/digits.py --data ../shared/data/mnist

5,000 digits of each family, with the labels of test digits, and 5,000 training digits (the floor):

- mmd2: lecture's kernel, unbiased, against the 10,000 test digits
- nn_real, nn_made: share of either side whose nearest neighbor is of the same side
- right: share in which the five nearest of 10,000 training digits see what was asked for

RBMs learn black-and-white digits, and are compared with such; all others gray levels. The
lecture's own GAN is not asked for digits. One thread; CPU seconds; with --families, their rows are
added to the others.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import read_rows, write_result
from sklearn.neighbors import KNeighborsClassifier

import physgen as pg
from physgen.lectures import mnist
from physgen.lectures.gan_fast import FastGan
from physgen.lectures.gan_networks import create_noise
from physgen.metrics import lecture_mmd
from physgen.metrics.neighbors import nearest
from physgen.models import (
    DenoisingScoreMatching,
    GrayDecoder,
    MLPEnergy,
    Perceptron,
    Relativistic,
)
from physgen.transforms import OneHot

RESULT = "benchmarks/results/digits.json"
N = 5000
FAMILIES = {
    "GAN": pg.GAN(objective=Relativistic(gamma=7.0)),
    "VAE": pg.VAE(decoder=GrayDecoder(), kl_weight=1.0, n_latent=20, n_hidden=400, n_layers=1),
    "RBM": pg.RBM(n_hidden=500, n_snapshots=0),
    "EBM": pg.EBM(network=MLPEnergy(n_hidden=512), objective=DenoisingScoreMatching(sigma=0.3)),
    "diffusion": pg.Diffusion(network=Perceptron(n_hidden=512)),
}
LECTURE = "GAN of the lecture"


def gray(events):
    """Pixels between -1 and 1, one row per digit."""
    return torch.from_numpy(np.ascontiguousarray(events["images"])).flatten(1) / 127.5 - 1


def black_and_white(events):
    return torch.where(gray(events) > 0, 1.0, -1.0)


class Judge:
    """Test digits, and the five nearest training digits as a classifier."""

    def __init__(self, train, test, pixels):
        self.real, self.pixels = pixels(test), pixels
        known = train[20_000:30_000]
        self.classifier = KNeighborsClassifier(5).fit(pixels(known), known["labels"])

    def __call__(self, made, labels):
        both = torch.cat((self.real[:N], made)).numpy()
        same = (nearest(both)[1][:, 0] < N) == (np.arange(2 * N) < N)
        row = {
            "mmd2": lecture_mmd(self.real, made, rescales_generated=False, is_biased=False),
            "nn_real": float(same[:N].mean()),
            "nn_made": float(same[N:].mean()),
        }
        if labels is not None:
            row["right"] = float(self.classifier.score(made, labels))
        return row


def fitted(train, settings, cpu_seconds):
    """A training of so many CPU seconds, by the time of 200 steps, and what it took."""

    def after(steps):
        training = pg.TrainingConfig(steps=steps, batch_size=64)
        how = {"conditions": ["labels"], "transforms": {"labels": OneHot()}}
        start = time.process_time()
        surrogate = pg.Surrogate.fit(train, settings, **how, training=training, rng=1)
        return surrogate, time.process_time() - start

    after(1)  # imports what a first training does
    begin = after(1)[1]
    per_step = (after(201)[1] - begin) / 200
    if per_step <= 0:
        raise RuntimeError("200 steps took no time: the machine is too busy to measure")
    return after(max(1, int((cpu_seconds - begin) / per_step)))


def family_row(settings, train, labels, judge, budget):
    surrogate, seconds = fitted(train, settings, budget)
    start = time.process_time()
    made = surrogate(N, {"labels": labels}, rng=2)
    row = {
        "steps": int(surrogate.history.steps[-1]),
        "training_cpu_seconds": seconds,
        "sampling_cpu_seconds": time.process_time() - start,
    }
    return row | judge(judge.pixels(made), labels)


def lecture_row(train, judge, budget):
    gan = FastGan(np.ascontiguousarray(train["images"]), seed=1)
    start = time.process_time()
    epochs = 0
    while time.process_time() - start < budget:
        gan.epoch()
        epochs += 1
    row = {"epochs": epochs, "training_cpu_seconds": time.process_time() - start}
    gan.generator.eval()
    with torch.no_grad():
        made = gan.generator(create_noise(N, generator=torch.Generator().manual_seed(2))).flatten(
            1
        )
    return row | judge(made, None)


def black(events):
    """The same digits in black and white, 255 and 0."""
    columns = events.to_dict()
    columns["images"] = np.where(columns["images"] > 127, 255, 0).astype(np.uint8)
    return pg.Events.from_dict(columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--budgets", type=int, nargs="*", default=[10, 30, 120])
    names = (LECTURE, *FAMILIES)
    parser.add_argument("--families", nargs="*", choices=names, default=names)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (mnist(part, args.data) for part in ("train", "test"))
    labels = test["labels"][:N]
    judges = {
        name: Judge(train, test, p) for name, p in (("gray", gray), ("black", black_and_white))
    }
    rows = read_rows(RESULT)
    for name, judge in judges.items():
        rows[f"training digits, {name}"] = judge(judge.pixels(train[:N]), train["labels"][:N])
    for budget in args.budgets:
        for name in args.families:
            if name == LECTURE:
                row = lecture_row(train, judges["gray"], budget)
            elif name == "RBM":
                row = family_row(FAMILIES[name], black(train), labels, judges["black"], budget)
            else:
                row = family_row(FAMILIES[name], train, labels, judges["gray"], budget)
            rows[f"{name}, {budget} s"] = row
            print(f"{name}, {budget} s", row, flush=True)
            write_result(RESULT, rows)


if __name__ == "__main__":
    main()
