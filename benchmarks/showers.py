"""Quality on Geant4 showers of 576 voxels: one family, one core, a given CPU time.

    python benchmarks/showers.py --data showers.h5 --binning binning.xml --cpu-minutes 60
    python benchmarks/showers.py ... --family gan --cpu-minutes 30
    python benchmarks/showers.py ... --load run --student 2 --cpu-minutes 10

Trains on 15,000 showers, generates 5,000 at the energies of those held out, and asks boosted trees
(3 folds) to tell them apart, by the high-level features of the CaloChallenge and by voxels, beside
truth against truth; FPD, KPD, recall and the separation power of every feature, too. With
``--student`` a student of so many steps is made of the surrogate that ``--load`` names. These are
showers of our own, not data of the CaloChallenge: no score of its table compares with them.
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
from physgen.benchmarking import milliseconds
from physgen.challenge import high_level_features
from physgen.files.binning import Binning
from physgen.metrics import fpd, kpd, prdc, triangular_discrimination
from physgen.metrics.classifier import classifier_auc
from physgen.models import GAN, VAE, Relativistic
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
        "fpd": estimate(fpd(*high, batch_sizes=(n // 2, n), n_permutations=99, rng=0)),
        "kpd": estimate(kpd(*high, batch_size=n // 2, n_permutations=99, rng=0)),
        "separation": separations(*high),
    }
    nearest = prdc(*[np.log10(np.where(x > 0, x, 0.1)) for x in (a, b)], n_permutations=19, rng=0)
    row |= {name: estimate(getattr(nearest, name)) for name in ("precision", "recall")}
    row |= {"truth_precision": nearest.truth[0], "truth_recall": nearest.truth[1]}
    for name, moment in (("response", np.mean), ("resolution", np.std)):
        of = [[float(moment(x[i].sum(1) / y[i])) for i in binned(y)] for x, y in ((a, e), (b, f))]
        row[f"{name}_ratio"] = (np.array(of[1]) / of[0]).round(4).tolist()
    return row | {"n_events": n}


def estimate(found):
    return {"value": found.value, "std_error": found.std_error, "floor": found.floor}


def separations(a, b):
    """Separation power of every feature in 40 bins over the range of the truth."""
    values = []
    for x, y in zip(a.T, b.T, strict=True):
        if x.std() > 0:
            edges = np.linspace(x.min(), x.max(), 41)
            values.append(
                triangular_discrimination(x, y, edges=edges, n_permutations=9, rng=0).value
            )
    return {"mean": float(np.mean(values)), "largest": float(np.max(values))}


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
    parser.add_argument("--family", choices=("diffusion", "gan", "vae"), default="diffusion")
    parser.add_argument("--load", default="")
    parser.add_argument("--student", type=int, default=0)
    parser.add_argument("--student-steps", type=int, default=2000)
    parser.add_argument("--n-hidden", type=int, default=64)
    parser.add_argument("--n-blocks", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--score-weight", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", default="")
    parser.add_argument("--output", default="benchmarks/results/showers.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    events = pg.read_events(args.data, binning=args.binning)
    layers = Binning.from_schema(events.schema).layers
    train, test = events[:N_TRAIN], events[N_TRAIN : N_TRAIN + N_TEST]
    rows = read_rows(args.output)
    if "truth against truth" not in rows:
        rows["truth against truth"] = scores(test, events[N_TRAIN + N_TEST :], layers)
    surrogate, row = made(args, train)
    if args.save:
        surrogate.save(args.save)
    start = time.process_time()
    energies = {"incident_energies": test["incident_energies"]}
    effort = {"n_steps": 18, "sampler": "dpm"} if name_of(args).startswith("diffusion") else {}
    fake = surrogate(N_TEST, energies, rng=args.seed + 1, **effort)
    row["ms_per_event_called"] = 1e3 * (time.process_time() - start) / N_TEST
    row["ms_per_event"] = {str(n): t for n, t in milliseconds(surrogate, test).items()}
    rows[name_of(args)] = scores(test, fake, layers) | row
    print(name_of(args), rows[name_of(args)], flush=True)
    write_result(args.output, rows)


def name_of(args):
    if args.student:
        return f"student, {args.student} steps"
    if args.family == "diffusion":
        return f"diffusion {args.n_hidden}x{args.n_blocks}, {args.cpu_minutes:g} min"
    weight = f", score weight {args.score_weight:g}" if args.score_weight != 1 else ""
    return f"{args.family}, {args.cpu_minutes:g} min{weight}"


def made(args, train):
    """The surrogate, and what it cost."""
    if args.load and not args.student:
        return pg.Surrogate.load(args.load), {}
    config = TrainingConfig(batch_size=args.batch_size)
    if args.student:
        return student(args, train, config)
    network = VoxelTransformer(
        n_hidden=args.n_hidden, n_blocks=args.n_blocks, n_heads=args.n_hidden // 32
    )
    settings = {
        "diffusion": pg.Diffusion(network=network, array_learning_rate=args.learning_rate),
        "gan": GAN(
            network=network,
            n_hidden=512,
            score_weight=args.score_weight,
            objective=Relativistic(gamma=0.1),
        ),
        "vae": VAE(network=network, n_hidden=512),
    }[args.family]
    if args.family == "gan":  # in short runs the first look had the lowest score
        config = dataclasses.replace(config, keep="last")
    surrogate, steps, cpu = fit(train, settings, config, 60 * args.cpu_minutes, args.seed)
    return surrogate, {"training_cpu_seconds": cpu, "steps": steps}


def student(args, train, config):
    """A student of the loaded surrogate; the teacher's showers count as training time."""
    teacher = pg.Surrogate.load(args.load)
    energies = {"incident_energies": train["incident_energies"]}
    start = time.process_time()
    config = dataclasses.replace(config, steps=args.student_steps)
    surrogate = pg.distill(
        teacher, args.student, conditions=energies, n_events=len(train), teacher_steps=14,
        training=config, rng=args.seed,
    )  # fmt: skip
    return surrogate, {"training_cpu_seconds": time.process_time() - start}


if __name__ == "__main__":
    main()
