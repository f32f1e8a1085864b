"""Quality on the Z to mu mu sample: every family and zuko's NSF, same columns and CPU budget.

    python benchmarks/zmumu.py --cpu-seconds 300 --models diffusion,gan,vae,nsf

Trains on 40,000 events, generates 20,000 and asks scikit-learn's HistGradientBoosting (3-fold) to
tell them from the 20,000 held out, with and without the dimuon mass as a further column. One core.
The peer needs ``pip install zuko``.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import read_rows, write_result
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import physgen as pg
from physgen.models import FAMILIES
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom, seeded_layers
from physgen.transforms import Integer, Quantile

COLUMNS = [
    "mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi", "mu1_charge",
    "met", "met_phi", "ht", "njet",
]  # fmt: skip
SIMULATION_MS = 26.0  # Pythia 8 with the detector response, per event on one core


def mass(events):
    return pg.observables.invariant_mass(
        events["mu1_pt"], events["mu1_eta"], events["mu1_phi"],
        events["mu2_pt"], events["mu2_eta"], events["mu2_phi"],
    )  # fmt: skip


def auc(reference, candidate, *, with_mass, seed=0):
    def table(events):
        columns = [events[name].astype(np.float32) for name in COLUMNS]
        return np.stack([*columns, mass(events)] if with_mass else columns, axis=1)

    x = np.concatenate([table(reference), table(candidate)])
    y = np.repeat([0, 1], [len(reference), len(candidate)])
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    classifier = HistGradientBoostingClassifier(random_state=seed)
    score = cross_val_predict(classifier, x, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, score))


def fit_physgen(family, train, cpu_seconds, seed):
    settings = FAMILIES[family]()
    start = time.process_time()
    pg.Surrogate.fit(train, settings, steps=100, rng=seed)
    per_step = (time.process_time() - start) / 100
    start = time.process_time()
    surrogate = pg.Surrogate.fit(
        train, settings, steps=max(100, int(0.95 * cpu_seconds / per_step)), rng=seed
    )
    return surrogate, time.process_time() - start


class NSF:
    """The peer: zuko's neural spline flow, with columns laid out as a density on R^n needs them.

    Angles relative to the first muon, every column through a normal score, integers spread over
    their interval, charge blurred, and the empty ht of events without jets filled with noise.
    """

    angles = ("mu2_phi", "met_phi")

    def __init__(self, train, cpu_seconds, seed):
        import zuko

        plain = self._turned(train, -1)
        overrides = {n: Quantile() for n in COLUMNS if n not in ("mu1_charge", "njet", "ht")}
        self.preprocessor = Preprocessor.fit(plain, {**overrides, "njet": Integer()})
        noise = PhiloxRandom(seed, torch.arange(len(train)))
        x, _ = self.preprocessor.forward(plain, rng=noise)
        generated = list(self.preprocessor.transforms)
        no_jet = torch.from_numpy(plain["njet"] == 0)
        x[no_jet, generated.index("ht")] = noise.normal(len(x))[no_jet]
        binary = torch.tensor(self.preprocessor.spec.binary)
        generator = torch.Generator().manual_seed(seed)
        with seeded_layers(seed):
            self.flow = zuko.flows.NSF(x.shape[1], transforms=5, hidden_features=[128, 128])
            optimizer = torch.optim.Adam(self.flow.parameters(), lr=1e-3)
            start = time.process_time()
            while (spent := time.process_time() - start) < cpu_seconds:
                for group in optimizer.param_groups:
                    group["lr"] = 1e-3 * 0.5 * (1 + np.cos(np.pi * spent / cpu_seconds))
                batch = x[torch.randint(len(x), (512,), generator=generator)]
                blur = 0.25 * torch.randn(batch.shape, generator=generator)
                loss = -self.flow().log_prob(torch.where(binary, batch + blur, batch)).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 1.0)
                optimizer.step()

    def _turned(self, events, sign):
        turned = {}
        for name in self.angles:
            angle = events[name] + sign * events["mu1_phi"].astype(np.float64)
            turned[name] = ((angle + np.pi) % (2 * np.pi) - np.pi).astype(np.float32)
        return events.with_columns(turned)

    def __call__(self, n_events, *, rng):
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(rng)
            x = self.flow().sample((n_events,))
        columns = self.preprocessor.inverse(x, {})
        schema = self.preprocessor.schema
        return self._turned(pg.Events(schema, {n: columns[n] for n in schema.names}), +1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/zmumu.root")
    parser.add_argument("--cpu-seconds", type=float, default=300.0)
    parser.add_argument("--models", default="diffusion,gan,vae,nsf")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default="benchmarks/results/zmumu.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    events = pg.read_events(args.data, fields=COLUMNS)
    train, test = events.split(2 / 3, rng=0)
    half = test.split(0.5, rng=0)
    rows = read_rows(args.output)
    rows["truth against truth"] = {
        "auc": auc(*half, with_mass=False),
        "auc_with_mass": auc(*half, with_mass=True),
        "n_events": len(half[0]),
    }
    for name in args.models.split(","):
        if name == "nsf":
            start = time.process_time()
            surrogate = NSF(train, args.cpu_seconds, args.seed)
            cpu = time.process_time() - start
        else:
            surrogate, cpu = fit_physgen(name, train, args.cpu_seconds, args.seed)
        start = time.process_time()
        fake = surrogate(len(test), rng=args.seed + 1)
        rate = len(test) / (time.process_time() - start)
        rows[name] = {
            "auc": auc(test, fake, with_mass=False),
            "auc_with_mass": auc(test, fake, with_mass=True),
            "training_cpu_seconds": cpu,
            "events_per_cpu_second": rate,
            "times_faster_than_simulation": rate * SIMULATION_MS / 1e3,
        }
        print(name, {k: round(v, 4) for k, v in rows[name].items()}, flush=True)
        write_result(args.output, rows)


if __name__ == "__main__":
    main()
