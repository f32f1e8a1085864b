"""16 x 16 Ising lattices at the critical point by masked diffusion, judged by exact results.

    OMP_NUM_THREADS=1 python benchmarks/masked_ising.py --surrogate run

trains on one core, keeps the surrogate in the folder ``run`` (where it is there already, it is
used and not trained again) and writes benchmarks/results/masked_ising.json (not with --quick).
With --only some sections, their rows are added to the others.

- samples: energy, |m|, U4, specific heat, susceptibility and correlations of lattices made in some
  numbers of steps. Pulls are deviations in standard errors of both samples: energy and
  specific heat from the exact values (Kaufman), the others from a simulation of 100,000 lattices.
  Then, for the first of these numbers: the same lattices with weights exp(-beta E) / q, where q is
  the probability to make them in the order in which their sites came, ln Z from these weights, a
  chain of the independence sampler through them; and after sweeps of Metropolis moves
  with the known energy, beside what as many sweeps make of random spins.
- bound: the ELBO of simulated lattices against their exact ln p = -beta E - ln Z. The mean of the
  difference bounds the divergence KL(p || model) from above.
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

    def __init__(self, args):
        scale = 50 if args.quick else 1
        self.steps, self.n_sampling_steps, self.jobs = args.steps // scale, args.n_steps, args.jobs
        self.n_events, self.n_moved = args.events // (10 if args.quick else 1), 2048
        self.n_truth, self.n_bound = 100_000 // scale, 2048 // scale


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


def made(surrogate, n_events, n_steps, jobs):
    """Lattices as of ``surrogate(n_events, rng=2)``, ln q of each, CPU milliseconds for each."""
    with ProcessPoolExecutor(jobs) as pool:
        parts = list(pool.map(partial(block, surrogate, n_steps), range(0, n_events, 256)))
    x, log_q = (torch.cat(part)[:n_events] for part in zip(*(p[:2] for p in parts), strict=True))
    return x, log_q, 1000 * sum(p[2] for p in parts) / (256 * len(parts))


def block(surrogate, n_steps, first):
    torch.set_num_threads(1)
    start = time.process_time()
    rng = PhiloxRandom(2, torch.arange(first, first + 256))
    x, log_q = surrogate.model.propose(256, torch.zeros(256, 0), rng=rng, n_steps=n_steps)
    return x, log_q, time.process_time() - start


def section_samples(surrogate, sizes, truth):
    rows = {}
    for n_steps in sizes.n_sampling_steps:
        x, log_q, cost = made(surrogate, sizes.n_events, n_steps, sizes.jobs)
        name = f"{n_steps} steps"
        rows[name] = judged(events_of(x), truth)
        rows[name] |= {"n_lattices": len(x), "cpu_ms_per_lattice": cost}
        show(name, rows[name])
        rows[f"{name}, weights"] = weighted(x, log_q, truth)
        show(f"{name}, weights", rows[f"{name}, weights"])
        if n_steps == sizes.n_sampling_steps[0]:
            rows |= corrected(name, x[: sizes.n_moved], truth)
    uniform = PhiloxRandom(9, torch.arange(sizes.n_moved)).uniform(sizes.n_moved, SIDE**2)
    return rows | corrected("random spins", torch.where(uniform < 0.5, -1.0, 1.0), truth)


def weighted(x, log_q, truth):
    """Averages with weights, ln Z, and a chain: all exact but for their errors."""
    energy = ISING.reduced_energy(CRITICAL_BETA)
    log_w = -energy(x).double() - log_q
    w = (log_w - log_w.max()).exp().numpy()
    m = x.mean(1).abs().double().numpy()
    each = np.stack((-energy(x).double().numpy() / (-CRITICAL_BETA * SIDE**2), m, m**2, m**4))
    groups = np.array_split(np.arange(len(w)), 100)
    left_out = [np.setdiff1d(np.arange(len(w)), group) for group in groups]
    values = weighted_averages(each, w)
    jackknife = np.array([weighted_averages(each[:, i], w[i]) for i in left_out])
    errors = np.sqrt((len(groups) - 1) * jackknife.var(axis=0))
    rows = {}
    names = ("energy", "abs_magnetization", "binder_cumulant")
    for name, value, error in zip(names, values, errors, strict=True):
        exact = (EXACT.energy_per_site, 0.0) if name == "energy" else truth[name]
        pull = (value - exact[0]) / np.hypot(error, exact[1])
        rows[name] = {
            "value": float(value), "error": float(error), "truth": exact[0], "pull": float(pull)
        }  # fmt: skip
    rows |= {
        "ln_z": float(np.log(w.mean()) + log_w.max()),
        "ln_z_error": float(w.std() / w.mean() / len(w) ** 0.5),
        "ln_z_exact": EXACT.ln_z,
        "ln_z_variational": float(log_w.mean()),
        "effective_sample_fraction": float(w.sum() ** 2 / (w**2).sum() / len(w)),
    }
    return rows | chain_of(x, log_q, energy)


def weighted_averages(each, w):
    e, m, m2, m4 = (each * w).sum(1) / w.sum()
    return e, m, 1 - m4 / (3 * m2**2)


def chain_of(x, log_q, energy):
    """Independence sampler through the lattices made, as 16 chains."""
    n = len(x) // 16 * 16
    chain = mcmc.independence_chains(
        energy,
        x[:n].view(-1, 16, x.shape[1]),
        log_q[:n].view(-1, 16),
        n_burn_in=n // 160,
        observables={"e": lambda s: energy(s) / (SIDE**2 * CRITICAL_BETA)},
        rng=4,
    )
    found = mcmc.measure([chain.series["e"]], min_length=0)
    return {
        "chain_acceptance": float(chain.acceptance.mean()),
        "chain_tau": float(found.tau),
        "chain_energy": float(found.value),
        "chain_energy_error": float(found.std_error),
        "chain_energy_pull": float(found.pull(EXACT.energy_per_site)),
    }


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
        name = f"{start}, {n_sweeps} sweeps"
        rows[name] = judged(events_of(x), truth)
        rows[name] |= {"n_lattices": len(x), "cpu_ms_per_sweep": cost}
        show(name, rows[name])
    return rows


def events_of(x):
    return pg.Events.from_dict({"spins": x.view(-1, SIDE, SIDE).to(torch.int8).numpy()})


def section_bound(surrogate, sizes, _):
    lattices = ISING(sizes.n_bound, {"beta": CRITICAL_BETA}, rng=8)["spins"]
    x = torch.from_numpy(lattices.reshape(len(lattices), -1)).float()
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


SECTIONS = ("bound", "samples")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surrogate", type=Path, help="folder of the surrogate, new or trained")
    parser.add_argument("--steps", type=int, default=2000, help="of the training")
    parser.add_argument(
        "--n-steps", type=int, nargs="*", default=[32, 128], help="of the sampling"
    )
    parser.add_argument("--events", type=int, default=10_000, help="lattices made")
    parser.add_argument("--jobs", type=int, default=1, help="processes that make lattices")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(args)
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
