"""Quality on jets of 30 particles: multiplicity first, then the cloud; gluons and tops.

    python benchmarks/jets.py --cpu-seconds 1200 --classes gluon,top --networks set,attention

Trains on 10,000 jets, makes 10,000 and compares them with the 10,000 held out: Wasserstein
distances W1, the Fréchet and kernel physics distances (FPD, KPD) of the substructure, and the AUC
of scikit-learn's HistGradientBoosting (2-fold) on it. The floor is what halves of the truth of
10,000 jets each score, the mean over ten ways to halve it. One core. ``--data`` names the files,
in JetNet's layout.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import awkward as ak
import numpy as np
import torch
from machine import read_rows, write_result
from scipy.stats import wasserstein_distance
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import physgen as pg
from physgen.metrics import fpd, kpd
from physgen.packs import find_packs

PARTICLE = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")
SIMULATION_MS = 10.0  # Pythia 8 and the jet finder, per jet on one core
NETWORKS = {
    "set": pg.models.SetTransformer(),
    "unordered": pg.models.SetTransformer(ordered=False),
    "attention": pg.models.SetTransformer(attention=True),
    "perceptron": pg.models.Perceptron(),
}


def substructure(events):
    """One number per jet and name; the last says whether particles and jet agree."""
    columns = dict(find_packs(events)[0].observe(events))
    columns["mass of the particles / jet mass"] = (
        columns["jet mass / pt"] * events["pt"] / events["mass"]
    )
    return columns


def columns_of(events, found):
    """What W1 compares: the substructure, columns of the jet, entries of the particles."""
    return found | {n: events[n] for n in ("pt", "eta", "mass", "n_particles", *PARTICLE)}


def distances(a, b):
    """W1 in the unit of the column, by name."""

    def flat(column):
        return column if isinstance(column, np.ndarray) else ak.to_numpy(ak.flatten(column))

    return {name: float(wasserstein_distance(flat(a[name]), flat(b[name]))) for name in a}


def floors(columns, n_jets, n_splits=10):
    found = []
    for seed in range(n_splits):
        halves = np.split(np.random.default_rng(seed).permutation(n_jets), 2)
        found.append(distances(*({n: c[half] for n, c in columns.items()} for half in halves)))
    return {name: float(np.mean([f[name] for f in found])) for name in columns}


def auc(a, b):
    x = np.concatenate((a, b))
    y = np.repeat([0, 1], [len(a), len(b)])
    classifier = HistGradientBoostingClassifier(random_state=0)
    score = cross_val_predict(classifier, x, y, cv=2, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, score))


def judge(truth, fake, floor):
    found = [substructure(events) for events in (truth, fake)]
    tables = [np.stack(list(columns.values()), axis=1) for columns in found]
    w1 = distances(columns_of(truth, found[0]), columns_of(fake, found[1]))
    estimates = {"fpd": fpd(*tables, rng=1), "kpd": kpd(*tables, rng=1)}
    return {
        "w1": w1,
        "w1_over_floor": {name: w1[name] / floor[name] for name in w1},
        "auc": auc(*tables),
        **{name: {"value": e.value, "floor": e.floor, "p_value": e.p_value}
           for name, e in estimates.items()},
    }  # fmt: skip


def fit(train, settings, cpu_seconds, batch_size, seed):
    def after(steps):
        training = pg.TrainingConfig(steps=steps, batch_size=batch_size)
        start = time.process_time()
        surrogate = pg.Surrogate.fit(train, settings, training=training, rng=seed)
        return surrogate, time.process_time() - start

    after(1)  # what is loaded once belongs to no step
    n_probe = 50
    per_step = after(n_probe)[1] / n_probe
    return after(max(n_probe, int(0.95 * cpu_seconds / per_step)))


def run(name, train, truth, floor, args):
    settings = pg.Diffusion(
        network=NETWORKS[name],
        array_learning_rate=args.learning_rate,
        n_sampling_steps=args.sampling_steps,
    )
    surrogate, training = fit(train, settings, args.cpu_seconds, args.batch_size, args.seed)
    start = time.process_time()
    fake = surrogate(len(truth), rng=args.seed + 1)
    per_jet = 1e3 * (time.process_time() - start) / len(fake)
    steps = surrogate.history.steps[-1]
    return {
        **judge(truth, fake, floor),
        "training_cpu_seconds": training,
        "steps": int(steps),
        **{k: getattr(args, k) for k in ("batch_size", "learning_rate", "sampling_steps", "seed")},
        "ms_per_jet": per_jet,
        "times_faster_than_simulation": SIMULATION_MS / per_jet,
    }


def show(name, row):
    print(name, {k: round(v, 4) for k, v in row.items() if isinstance(v, float)}, flush=True)
    for key in ("fpd", "kpd"):
        print("  ", key, {k: float(f"{v:.3g}") for k, v in row[key].items()})
    print(
        "   W1 over floor", {k: round(v, 2) for k, v in row["w1_over_floor"].items()}, flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/jets_{}.h5")
    parser.add_argument("--classes", default="gluon,top")
    parser.add_argument("--networks", default="set")
    parser.add_argument("--cpu-seconds", type=float, default=1200.0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--sampling-steps", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default="benchmarks/results/jets.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    rows = read_rows(args.output)
    for kind in args.classes.split(","):
        jets = pg.read_events(args.data.format(kind))
        train, truth = jets.split(0.5, rng=0)
        floor = floors(columns_of(jets, substructure(jets)), len(jets))
        rows[f"{kind}: truth against truth"] = {"w1": floor, "n_jets": len(truth)}
        for name in args.networks.split(","):
            rows[f"{kind}: {name}"] = run(name, train, truth, floor, args)
            show(f"{kind}: {name}", rows[f"{kind}: {name}"])
            write_result(args.output, rows)


if __name__ == "__main__":
    main()
