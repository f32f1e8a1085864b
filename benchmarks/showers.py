"""Quality on Geant4 showers of 576 voxels: one family, one core, a given CPU time.

    python benchmarks/showers.py --data showers.h5 --binning binning.xml --cpu-minutes 60

Trains on 15,000 showers, generates 5,000 at the energies of those held out, and asks boosted trees
(3 folds) to tell them apart, by the high-level features of the CaloChallenge and by voxels, beside
truth against truth. These are showers of our own, not data of the CaloChallenge: no score of its
table compares with them.
"""

import argparse
import dataclasses
import itertools
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import read_rows, write_result

import physgen as pg
from physgen.challenge import high_level_features
from physgen.files.binning import Binning
from physgen.metrics.classifier import classifier_auc
from physgen.networks.voxel_transformer import VoxelTransformer
from physgen.training import TrainingConfig

N_TRAIN, N_TEST = 15_000, 5_000
BINS = np.array([1e3, 3e3, 8e3, 2e4, 5e4])  # MeV


def numbers(events):
    voxels = np.asarray(events["showers"], dtype=np.float64)
    return voxels, np.asarray(events["incident_energies"], dtype=np.float64)


def scores(truth, fake, layers):
    """AUC by features and by voxels, and response and resolution relative to the truth."""
    n = min(len(truth), len(fake))
    (a, e), (b, f) = numbers(truth[:n]), numbers(fake[:n])
    high = [high_level_features(x, y, layers) for x, y in ((a, e), (b, f))]
    low = [np.column_stack((np.log1p(x), np.log10(y))) for x, y in ((a, e), (b, f))]
    row = {
        "auc_features": classifier_auc(*high, rng=0).value,
        "auc_voxels": classifier_auc(*low, rng=0).value,
        "occupancy": [float((x > 0).mean()) for x in (a, b)],
    }
    for name, moment in (("response", np.mean), ("resolution", np.std)):
        of = [[float(moment(x[i].sum(1) / y[i])) for i in binned(y)] for x, y in ((a, e), (b, f))]
        row[f"{name}_ratio"] = (np.array(of[1]) / of[0]).round(4).tolist()
    return row | {"n_events": n}


def binned(energies):
    return [(energies >= low) & (energies < high) for low, high in itertools.pairwise(BINS)]


def fit(train, settings, config, cpu_seconds, seed):
    """Train for as many steps as a first hundred says that there is time for."""
    start = time.process_time()
    pg.Surrogate.fit(train, settings, training=dataclasses.replace(config, steps=100), rng=seed)
    steps = int(0.95 * cpu_seconds / (time.process_time() - start) * 100)
    start = time.process_time()
    config = dataclasses.replace(config, steps=max(steps, 100))
    surrogate = pg.Surrogate.fit(train, settings, training=config, rng=seed)
    return surrogate, config.steps, time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--binning", required=True)
    parser.add_argument("--cpu-minutes", type=float, default=60.0)
    parser.add_argument("--n-hidden", type=int, default=64)
    parser.add_argument("--n-blocks", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", default="")
    parser.add_argument("--output", default="benchmarks/results/showers.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    events = pg.read_events(args.data, binning=args.binning)
    layers = Binning.from_schema(events.schema).layers
    train, test = events[:N_TRAIN], events[N_TRAIN : N_TRAIN + N_TEST]
    rows = read_rows(args.output)
    rows["truth against truth"] = scores(test, events[N_TRAIN + N_TEST :], layers)
    network = VoxelTransformer(
        n_hidden=args.n_hidden, n_blocks=args.n_blocks, n_heads=args.n_hidden // 32
    )
    settings = pg.Diffusion(network=network, array_learning_rate=args.learning_rate)
    config = TrainingConfig(batch_size=args.batch_size)
    surrogate, steps, cpu = fit(train, settings, config, 60 * args.cpu_minutes, args.seed)
    if args.save:
        surrogate.save(args.save)
    start = time.process_time()
    energies = {"incident_energies": test["incident_energies"]}
    fake = surrogate(N_TEST, energies, rng=args.seed + 1, n_steps=18, sampler="dpm")
    per_event = (time.process_time() - start) / N_TEST
    name = f"diffusion {args.n_hidden}x{args.n_blocks}, {args.cpu_minutes:g} min"
    rows[name] = scores(test, fake, layers) | {
        "training_cpu_seconds": cpu,
        "steps": steps,
        "ms_per_event": 1e3 * per_event,
    }
    print(name, rows[name], flush=True)
    write_result(args.output, rows)


if __name__ == "__main__":
    main()
