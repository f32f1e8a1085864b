"""How well restricted Boltzmann machines learn 16 x 16 Ising lattices, and what sampling costs.

    python -m venv peers
    peers/bin/pip install rbms==0.5.0 scikit-learn==1.9.1 torch==2.13.0
    OMP_NUM_THREADS=1 python benchmarks/rbm_ising.py --peers peers/bin/python

writes benchmarks/results/rbm_ising.json (not with --quick). Without --peers the other packages are
skipped.

- One machine at each of beta = 0.40, beta_c and 0.48, and one for all beta, which learns at eight
  other values and is asked at these three. Pulls are deviations in standard errors of both
  samples: energy and specific heat from the exact values (Kaufman), the others from a
  simulation. JS is that of P(E) from the exact density of states, in bits; its floor is the mean
  over exact samples of the same size.
- What an independent lattice costs: autocorrelation times of Gibbs steps, tempering and trajectory
  tempering, in steps and in block Gibbs steps of one machine (rungs times 2 tau).
- The same data and CPU seconds for a machine without symmetries, scikit-learn and rbms.
- As a proposal of a Markov chain with the exact energy: acceptance, and pulls of its averages.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from ising_timing import Peers
from machine import write_result

import physgen as pg
from physgen import mcmc
from physgen.models import PCD
from physgen.models.rbm import sampling
from physgen.observables import ising_energy
from physgen.random import GeneratorRandom, as_generator
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import CRITICAL_BETA, energy_distribution, torus
from physgen.thermodynamics import correlation_function, thermodynamics

RESULT = Path(__file__).parent / "results" / "rbm_ising.json"
SIDE = 16
BETAS = (0.40, CRITICAL_BETA, 0.48)
TRAINED = (0.38, 0.39, 0.41, 0.43, 0.45, 0.46, 0.47, 0.49)
SYMMETRIC = {"flip_symmetric": True, "translation_symmetric": True, "filter_size": 3}


def spins_of(events, beta):
    """Spins with the temperature that the averages need."""
    made = pg.Events.from_dict({"spins": events["spins"]})
    made = made.with_columns({"beta": np.full(len(made), beta)})
    return made.replace_schema(made.schema.with_roles(conditions=["beta"]))


def averages(events, beta):
    """Averages and their errors by name, of independent events."""
    spins = spins_of(events, beta)
    table = thermodynamics(spins, independent=True)
    curves = {
        "energy": table.energy_per_site,
        "specific_heat": table.specific_heat,
        "abs_magnetization": table.abs_magnetization,
        "susceptibility": table.susceptibility,
        "binder_cumulant": table.binder_cumulant,
    }
    found = {name: (float(c.value[0]), float(c.std_error[0])) for name, c in curves.items()}
    c = correlation_function(spins["spins"], independent=True)
    for r in range(1, SIDE // 2 + 1):
        found[f"correlation_{r}"] = (float(c.value[r]), float(c.std_error[r]))
    return found


def js_of_energy(events, beta):
    """Jensen-Shannon divergence of P(E) from the exact law, and of exact samples, in bits."""
    levels, law = energy_distribution(SIDE, beta)
    energy = ising_energy(events["spins"])
    counts = np.array([(energy == level).sum() for level in levels])
    exact = np.random.default_rng(0).multinomial(len(energy), law / law.sum(), size=20)
    return js(counts, law), float(np.mean([js(sample, law) for sample in exact]))


def js(counts, law):
    q, p = counts / counts.sum(), law / law.sum()
    m = (p + q) / 2
    terms = [np.sum(x[x > 0] * np.log2(x[x > 0] / m[x > 0])) for x in (p, q)]
    return float(sum(terms) / 2)


def judged(events, beta, truth):
    """Each average with its pull, and the divergence of P(E)."""
    exact = torus(SIDE, beta)
    known = {"energy": exact.energy_per_site, "specific_heat": exact.specific_heat_per_site}
    rows = {}
    for name, (value, error) in averages(events, beta).items():
        right, its_error = (known[name], 0.0) if name in known else truth[name]
        pull = (value - right) / np.hypot(error, its_error)
        rows[name] = {"value": value, "error": error, "truth": right, "pull": pull}
    divergence, floor = js_of_energy(events, beta)
    return rows | {"js_energy": {"value": divergence, "floor": floor}}


def fit(events, settings, steps, conditions=()):
    start = time.process_time()
    training = pg.TrainingConfig(steps=steps, batch_size=256)
    surrogate = pg.Surrogate.fit(
        events, settings, fields=["spins"], conditions=list(conditions), training=training, rng=1
    )
    return surrogate, time.process_time() - start


def show(title, rows):
    print(title)
    for name, row in rows.items():
        if name == "js_energy":
            print(f"  JS of P(E)         {row['value']:.5f} bits (floor {row['floor']:.5f})")
        else:
            print(
                f"  {name:<18} {row['value']:+.5f} ± {row['error']:.5f}   truth "
                f"{row['truth']:+.5f}   {row['pull']:+.1f} sigma"
            )


def costs(surrogate, n_steps):
    """Autocorrelation times of the three samplers at the machine's own law."""
    model, n_chains = surrogate.model, 32
    condition = torch.zeros(1, 0)
    spins = lambda x: x.view(-1, SIDE, SIDE).numpy()
    watched = {
        "E": lambda x: torch.from_numpy(ising_energy(spins(x)).astype(float)),
        "m2": lambda x: x.mean(1).square(),
    }
    rows = {}
    for name in ("gibbs", "pt", "ptt"):
        path = model.trajectory(condition, snapshots=name == "ptt")
        rungs = (0.0, path.end) if name == "gibbs" else sampling.ladder(model, name)
        rng = GeneratorRandom(as_generator(3))
        start = sampling.start_of(path, rungs, n_chains, rng)
        run = {"n_steps": n_steps, "n_burn_in": n_steps // 5, "observables": watched, "rng": rng}
        if name == "gibbs":
            energy = mcmc.PathEnergy.at(path.energy, path.end, start[1])
            chain, n_rungs, swaps = (
                mcmc.run_chains(model.kernel(path), energy, start[1], **run), 1, None
            )  # fmt: skip
        else:
            tempering = mcmc.parallel_tempering(
                model.kernel(path), path.energy, start, betas=rungs, **run
            )
            chain, n_rungs = tempering.chain, len(rungs)
            swaps = [float(tempering.swap_rates.min()), float(tempering.swap_rates.max())]
        tau = {key: chain.measure(key).tau for key in watched}
        rows[name] = {
            "rungs": n_rungs,
            "swap_rates": swaps,
            **{f"tau_{key}": float(value) for key, value in tau.items()},
            "gibbs_steps_per_independent_lattice": 2 * n_rungs * max(tau.values()),
        }
        print(
            f"  {name:<6}{n_rungs:>3} rungs, tau of E {tau['E']:.1f}, of m2 {tau['m2']:.1f} steps"
        )
    return rows


def proposal(surrogate, n_steps):
    """The machine's moves under the exact energy at the critical point."""
    ising = Ising2D(n_side=SIDE)
    energy = ising.reduced_energy(CRITICAL_BETA)
    start = torch.from_numpy(ising(200, {"beta": CRITICAL_BETA}, rng=9)["spins"])
    rows = {}
    for n_moves in (1, 10, 100):
        chain = mcmc.run_chains(
            mcmc.Metropolis(proposal=surrogate.model.moves(n_moves)),
            energy,
            start,
            n_steps=max(50, n_steps // n_moves),
            observables={"e": lambda s: energy(s) / (SIDE**2 * CRITICAL_BETA)},
            rng=GeneratorRandom(as_generator(4)),
        )
        found = chain.measure("e")
        pull = found.pull(torus(SIDE, CRITICAL_BETA).energy_per_site)
        rows[str(n_moves)] = {
            "acceptance": float(chain.acceptance.mean()),
            "energy": found.value,
            "error": found.std_error,
            "pull": float(pull),
            "tau": found.tau,
        }
        print(
            f"  {n_moves} Gibbs steps: acceptance {chain.acceptance.mean():.3f}, energy "
            f"{found.value:.5f} ± {found.std_error:.5f} ({pull:+.1f} sigma), tau {found.tau:.1f}"
        )
    return rows


def peers_rows(python, training, truth, seconds, n_events):
    peers, rows = Peers(python, "rbm_peers.py"), {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "train.npz"
        np.savez(data, spins=training["spins"])
        for package, k in (("scikit-learn", 1), ("rbms", 10)):
            out = Path(folder) / f"{package}.npz"
            n_updates, cpu = peers.ask(
                "train", package=package, data=str(data), out=str(out), cpu_seconds=seconds,
                n_hidden=512, batch=256, learning_rate=0.01, k=k, n_samples=n_events, n_steps=1000,
            )  # fmt: skip
            made = pg.Events.from_dict({"spins": np.load(out)["spins"]})
            rows[package] = judged(made, CRITICAL_BETA, truth)
            show(f"{package}: {n_updates} updates, {cpu:.0f} CPU s", rows[package])
            rows[package]["training"] = {"updates": n_updates, "cpu_seconds": cpu}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scale = 20 if args.quick else 1
    n_train, n_events = 100_000 // scale, 10_000 // scale
    steps, effort = 3000 // scale, {"n_steps": 500 // scale}
    ising, rows = Ising2D(n_side=SIDE), {}
    truths = {
        beta: averages(ising(200_000 // scale, {"beta": beta}, rng=7), beta) for beta in BETAS
    }
    machine = pg.RBM(n_hidden=512, learning_rate=0.02, chains=PCD(n_steps=10), **SYMMETRIC)
    for beta in BETAS:
        training = ising(n_train, {"beta": beta}, rng=1)
        surrogate, cpu = fit(pg.Events.from_dict({"spins": training["spins"]}), machine, steps)
        made = surrogate(n_events, rng=2, **effort)
        rows[f"beta {beta:.4f}"] = judged(made, beta, truths[beta])
        show(f"beta = {beta:.4f}, trained for {cpu:.0f} CPU s", rows[f"beta {beta:.4f}"])
        rows[f"beta {beta:.4f}"]["training"] = {"steps": steps, "cpu_seconds": cpu}
        if beta == CRITICAL_BETA:
            critical, critical_cpu, critical_events = surrogate, cpu, training
    print("cost of an independent lattice at beta_c")
    rows["samplers"] = costs(critical, 1000 // scale)
    print("as a proposal with the exact energy at beta_c")
    rows["proposal"] = proposal(critical, 2000 // scale)
    rows["conditional"] = conditional(ising, n_train, 4 * steps // 3, n_events, effort, truths)
    plain = pg.RBM(n_hidden=512, chains=PCD(n_steps=10))
    dense, cpu = fit(
        pg.Events.from_dict({"spins": critical_events["spins"]}), plain, 2 * steps // 3
    )
    rows["without symmetries"] = judged(
        dense(n_events, rng=2, **effort), CRITICAL_BETA, truths[CRITICAL_BETA]
    )
    show(f"without symmetries, trained for {cpu:.0f} CPU s", rows["without symmetries"])
    rows["without symmetries"]["training"] = {"steps": 2 * steps // 3, "cpu_seconds": cpu}
    if args.peers:
        rows |= peers_rows(
            args.peers, critical_events, truths[CRITICAL_BETA], critical_cpu, n_events
        )
    if not args.quick:
        write_result(RESULT, rows)


def conditional(ising, n_train, steps, n_events, effort, truths):
    """One machine for all beta, asked at three that it has not seen."""
    training = ising(n_train, {"beta": np.resize(TRAINED, n_train)}, rng=1)
    settings = pg.RBM(
        n_hidden=512, learning_rate=0.02, chains=PCD(n_steps=10, n_chains=2048), **SYMMETRIC
    )
    surrogate, cpu = fit(training, settings, steps, ["beta"])
    rows = {"training": {"steps": steps, "cpu_seconds": cpu, "betas": TRAINED}}
    for beta in BETAS:
        made = surrogate(n_events, {"beta": beta}, rng=2, **effort)
        rows[f"beta {beta:.4f}"] = judged(made, beta, truths[beta])
        show(f"one machine for all beta, at {beta:.4f}", rows[f"beta {beta:.4f}"])
    return rows


if __name__ == "__main__":
    main()
