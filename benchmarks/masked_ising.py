"""16 x 16 Ising lattices at the critical point by masked diffusion, judged by exact results.

    OMP_NUM_THREADS=1 python benchmarks/masked_ising.py --surrogate run

trains on one core, keeps the surrogate in the folder ``run`` (where it is there already, it is
used and not trained again) and writes benchmarks/results/masked_ising.json (not with --quick).
With --only some sections, their rows are added to the others.

- samples: energy, |m|, U4, specific heat, susceptibility and correlations of lattices made in a
  few numbers of steps. Pulls are deviations in standard errors of both samples: energy and
  specific heat from the exact values (Kaufman), the others from a simulation of 100,000 lattices.
  Then the same lattices after sweeps of Metropolis moves with the known energy; and what as many
  sweeps make of random spins.
- bound: the ELBO of simulated lattices against their exact ln p = -beta E - ln Z. The mean of the
  difference bounds the divergence KL(p || model) from above.
- weights: ln Z from the probabilities of the lattices made, each in the order its sites came,
  effective sample size, and chains of the independence sampler, which are exact.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import read_rows, write_result
from rbm_ising import averages, js_of_energy

import physgen as pg
from physgen import mcmc
from physgen.models import Corrector, UNet
from physgen.observables import ising_energy
from physgen.random import GeneratorRandom, PhiloxRandom, as_generator
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import CRITICAL_BETA, torus

RESULT = Path(__file__).parent / "results" / "masked_ising.json"
SIDE = 16
ISING = Ising2D(n_side=SIDE)
EXACT = torus(SIDE, CRITICAL_BETA)
MODEL = pg.MaskedDiffusion(
    network=UNet(n_channels=32, n_levels=3, n_blocks=1), flip_symmetric=True, learning_rate=2e-3
)
BATCH = 64


class Sizes:
    """How much of everything."""

    def __init__(self, quick, steps, jobs):
        scale = 50 if quick else 1
        self.steps, self.jobs = steps // scale, jobs
        self.n_events, self.n_slow = 10_000 // scale, 1024 // (4 if quick else 1)
        self.n_truth, self.n_bound = 100_000 // scale, 4096 // scale


def trained(folder, sizes):
    """The surrogate of the folder, or a new one with the CPU seconds of its training."""
    if folder is not None and folder.exists():
        return pg.Surrogate.load(folder)
    lattices = ISING(min(400_000, sizes.steps * BATCH), {"beta": CRITICAL_BETA}, rng=1)
    training = pg.TrainingConfig(steps=sizes.steps, batch_size=BATCH, averaging=0.1)
    start = time.process_time()
    surrogate = pg.Surrogate.fit(
        lattices, MODEL, fields=["spins"], conditions=[], training=training, rng=1
    )
    surrogate.info["cpu_seconds"] = time.process_time() - start
    if folder is not None:
        surrogate.save(folder)
    return surrogate


def show(title, rows):
    print(title)
    for name, row in rows.items():
        if isinstance(row, dict) and "pull" in row:
            print(
                f"  {name:<18} {row['value']:+.5f} ± {row['error']:.5f}   truth "
                f"{row['truth']:+.5f}   {row['pull']:+.1f} sigma"
            )
        else:
            print(f"  {name:<18} {row}")


def judged(events, truth):
    """Averages of independent lattices, with their pulls, and the divergence of P(E) in bits."""
    known = {"energy": EXACT.energy_per_site, "specific_heat": EXACT.specific_heat_per_site}
    rows = {}
    for name, (value, error) in averages(events, CRITICAL_BETA).items():
        right, its_error = (known[name], 0.0) if name in known else truth[name]
        pull = (value - right) / np.hypot(error, its_error)
        rows[name] = {"value": value, "error": error, "truth": right, "pull": float(pull)}
    js, floor = js_of_energy(events, CRITICAL_BETA)
    return rows | {"js_energy": js, "js_floor": floor}


def made(surrogate, n_events, jobs, **effort):
    """Lattices, the same for any number of jobs, and CPU milliseconds for each."""
    n_each = 256 * -(-n_events // (256 * jobs))  # whole blocks of the surrogate
    starts = range(0, n_events, n_each)
    part = partial(timed_part, surrogate, n_events, n_each, effort)
    with ProcessPoolExecutor(jobs) as pool:
        parts = list(pool.map(part, starts))
    events = pg.concatenate([events for events, _ in parts])
    return events, 1000 * sum(seconds for _, seconds in parts) / n_events


def timed_part(surrogate, n_events, n_each, effort, first):
    torch.set_num_threads(1)
    start = time.process_time()
    n = min(n_each, n_events - first)
    return surrogate(n, rng=2, first_event=first, **effort), time.process_time() - start


def section_samples(surrogate, sizes, truth):
    rows = {}
    for n_steps, n_events in ((32, sizes.n_events), (128, sizes.n_slow)):
        events, cost = made(surrogate, n_events, sizes.jobs, n_steps=n_steps)
        name = f"{n_steps} steps, {n_events} lattices"
        rows[name] = judged(events, truth) | {"cpu_ms_per_lattice": cost}
        show(name, rows[name])
        if n_events == sizes.n_events:
            rows |= corrected(f"{n_steps} steps", tensor_of(events), truth)
    uniform = PhiloxRandom(9, torch.arange(sizes.n_slow)).uniform(sizes.n_slow, SIDE**2)
    return rows | corrected("random spins", torch.where(uniform < 0.5, -1.0, 1.0), truth)


def corrected(start, x, truth):
    """Lattices after one sweep, and after four."""
    energy, rows = ISING.reduced_energy(CRITICAL_BETA), {}
    for n_more, n_sweeps in ((1, 1), (3, 4)):
        corrector = Corrector(energy=energy, n_moves=n_more * SIDE**2)
        begin = time.process_time()
        x = torch.cat(
            [
                corrector(x[block], rng=PhiloxRandom(5, block, stream=n_sweeps))
                for block in torch.arange(len(x)).split(256)
            ]
        )
        cost = 1000 * (time.process_time() - begin) / len(x) / n_more
        spins = x.view(-1, SIDE, SIDE).to(torch.int8).numpy()
        name = f"{start}, {n_sweeps} sweeps"
        rows[name] = judged(pg.Events.from_dict({"spins": spins}), truth)
        rows[name]["cpu_ms_per_sweep"] = cost
        show(name, rows[name])
    return rows


def tensor_of(events):
    return torch.from_numpy(events["spins"].reshape(len(events), -1)).float()


def section_bound(surrogate, sizes, _):
    lattices = ISING(sizes.n_bound, {"beta": CRITICAL_BETA}, rng=8)["spins"]
    x = tensor_of({"spins": lattices})
    rng = GeneratorRandom(as_generator(3))
    parts = [
        surrogate.model.elbo(part, torch.zeros(len(part), 0), rng=rng, n_samples=16)[0]
        for part in x.split(256)
    ]
    log_p = -CRITICAL_BETA * ising_energy(lattices) - EXACT.ln_z
    difference = log_p - torch.cat(parts).numpy()
    n = len(difference)
    row = {
        "ln_z": EXACT.ln_z,
        "mean_log_p": float(log_p.mean()),
        "mean_elbo": float((log_p - difference).mean()),
        "divergence_bound": float(difference.mean()),
        "error": float(difference.std() / n**0.5),
        "relative_to_ln_z": float(difference.mean() / EXACT.ln_z),
        "n_lattices": n,
    }
    show("ELBO of simulated lattices, in nats per lattice", row)
    return row


def section_weights(surrogate, sizes, _):
    """Weights of lattices made in one step per site, and an exact chain of them."""
    n_chains, n = 16, sizes.n_slow
    x, log_q = (
        torch.cat(parts)
        for parts in zip(
            *(
                surrogate.model.propose(
                    256, torch.zeros(256, 0), rng=PhiloxRandom(6, torch.arange(i, i + 256)),
                    n_steps=128,
                )
                for i in range(0, n, 256)
            ),
            strict=True,
        )
    )  # fmt: skip
    energy = ISING.reduced_energy(CRITICAL_BETA)
    log_w = -energy(x).double() - log_q
    w = (log_w - log_w.max()).exp()
    chain = mcmc.independence_chains(
        energy,
        x.view(-1, n_chains, x.shape[1]),
        log_q.view(-1, n_chains),
        n_burn_in=n // n_chains // 8,
        observables={"e": lambda s: energy(s) / (SIDE**2 * CRITICAL_BETA)},
        rng=4,
    )
    found = chain.measure("e")
    row = {
        "steps": 128,
        "n_lattices": n,
        "ln_z": float(w.mean().log() + log_w.max()),
        "ln_z_error": float(w.std() / w.mean() / n**0.5),
        "ln_z_exact": EXACT.ln_z,
        "ln_z_variational": float(log_w.mean()),
        "effective_sample_fraction": float(w.sum() ** 2 / w.square().sum() / n),
        "acceptance": float(chain.acceptance.mean()),
        "chain_tau": found.tau,
        "chain_energy": found.value,
        "chain_energy_error": found.std_error,
        "chain_energy_pull": float(found.pull(EXACT.energy_per_site)),
    }
    show("weights", row)
    return row


SECTIONS = ("samples", "bound", "weights")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surrogate", type=Path, help="folder of the surrogate, new or trained")
    parser.add_argument("--steps", type=int, default=2000, help="of the training")
    parser.add_argument("--jobs", type=int, default=1, help="processes that make lattices")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(args.quick, args.steps, args.jobs)
    surrogate = trained(args.surrogate, sizes)
    training = {
        "cpu_seconds": surrogate.info["cpu_seconds"],
        "steps": surrogate.info["training"]["steps"],
        "batch_size": BATCH,
        "model": repr(surrogate.settings),
    }
    print(training)
    truth = averages(ISING(sizes.n_truth, {"beta": CRITICAL_BETA}, rng=7), CRITICAL_BETA)
    for section in args.only:
        rows = {section: globals()[f"section_{section}"](surrogate, sizes, truth)}
        if not args.quick:
            write_result(RESULT, read_rows(RESULT) | {"training": training} | rows)


if __name__ == "__main__":
    main()
