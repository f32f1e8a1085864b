"""
From a ROOT file to a validated file of new events
==================================================

The demo, a few minutes on a laptop.

A diffusion model learns 60,000 Pythia events pp -> Z -> mu mu (less a part held out), makes new
ones and is compared with what it has not seen, also in the dimuon mass, which no column holds.

.. code-block:: sh

    python examples/zmumu_surrogate.py --output demo [--quick]
"""

import argparse
import time
from pathlib import Path

from rich.progress import Progress

import physgen as pg
from physgen.plotting import comparison_figure

DATA = Path(pg.__file__).parents[1] / "data" / "zmumu.root"  # in a checkout
UNITS = {"mu1_pt": "GeV", "mu2_pt": "GeV", "met": "GeV", "ht": "GeV"} | dict.fromkeys(
    ("mu1_phi", "mu2_phi", "met_phi"), "rad"
)
FIELDS = [
    "mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi", "mu1_charge",
    "met", "met_phi", "ht", "njet",
]  # fmt: skip


def dimuon_mass(events):
    return pg.observables.invariant_mass(
        events["mu1_pt"], events["mu1_eta"], events["mu1_phi"],
        events["mu2_pt"], events["mu2_eta"], events["mu2_phi"],
    )  # fmt: skip


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--budget", default="150s", help="time to train")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)

    truth = pg.read_events(
        args.data, fields=FIELDS, units=UNITS, stop=3000 if args.quick else None
    )
    train, test = truth.split(0.7, rng=0)
    print(f"{len(train):,} events to learn from, {len(test):,} to compare with")

    with Progress() as bar:
        task = bar.add_task("training a diffusion model", total=1.0)
        surrogate = pg.Surrogate.fit(
            train,
            pg.Diffusion(n_hidden=32) if args.quick else pg.Diffusion(),
            **({"steps": 100} if args.quick else {"budget": args.budget}),
            rng=1,
            progress=lambda at: bar.update(task, completed=at.fraction),
        )
        bar.update(task, completed=1.0)
    surrogate.save(args.output / "run")

    start = time.process_time()
    fake = surrogate(len(test), rng=2)
    rate = len(fake) / (time.process_time() - start)
    pg.write_events(args.output / "fake.root", fake)
    print(f"{len(fake):,} new events in {args.output / 'fake.root'}: {rate:,.0f} per CPU-second,")
    print(f"the simulation makes {1 / 0.026:.0f} (26 ms each)\n")

    observables = {"dimuon mass [GeV]": dimuon_mass}
    report = pg.compare(test, fake, observables=observables, rng=0)
    print(report)
    report.save(args.output / "report.html")

    figure = comparison_figure(
        test,
        fake,
        names=("Pythia", "physgen"),
        fields=["mu1_pt", "mu2_pt", "mu1_eta", "met", "ht"],
        observables=observables,
    )
    figure.savefig(args.output / "distributions.png")
    print(f"\nreport: {args.output / 'report.html'}, figure: {args.output / 'distributions.png'}")
    return report


if __name__ == "__main__":
    main()
