"""How well restricted Boltzmann machines learn 16 x 16 Ising lattices, and what sampling costs.

    python -m venv peers
    peers/bin/pip install rbms==0.5.0 scikit-learn==1.9.1 torch==2.13.0
    OMP_NUM_THREADS=1 python benchmarks/rbm_ising.py --peers peers/bin/python

writes benchmarks/results/rbm_ising.json (not with --quick; with --only some sections, whose rows
are added to the others). Without --peers the other packages are skipped.

- One machine at each of beta = 0.40, beta_c and 0.48, and one for all beta, which learns at eight
  other values and is asked at these three. Pulls are deviations in standard errors of both
  samples: energy and specific heat from the exact values (Kaufman), the others from a
  simulation. JS is that of P(E) from the exact density of states, in bits; its floor is the mean
  over exact samples of the same size. All means at once are judged by the chi2 of their
  differences from the simulation. KL is that of the exact law from the machine, in nats per
  lattice, found by weights of simulated lattices, so that no sample of the machine enters.
- What an independent lattice costs: autocorrelation times of Gibbs steps, tempering and trajectory
  tempering, in steps and in block Gibbs steps of one machine (rungs times 2 tau).
- On the same data, for about as many CPU seconds: a machine without symmetries, scikit-learn and
  rbms, at rates that were not tuned.
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
from machine import read_rows, write_result
from scipy.stats import chi2

import physgen as pg
from physgen import mcmc
from physgen.models import CD, PCD
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
# This machine can be the Ising law: two filters, each of one bond, are enough (a law for which
# contrastive divergence has no bias). The rate is what it takes to leave the plateau where filters
# are stars, and with two filters one seed of five stayed there; so it has three.
MACHINE = pg.RBM(
    n_hidden=768,
    chains=CD(n_steps=6, n_chains=4096),
    learning_rate=0.3,
    flip_symmetric=True,
    translation_symmetric=True,
    filter_size=3,
)


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


def means(spins):
    """The numbers of each lattice whose means are compared at once, (n_lattices, 12)."""
    s = spins.astype(np.float32)
    m = s.mean((1, 2), dtype=float)
    along = lambda r: sum((s * np.roll(s, r, axis)).mean((1, 2)) for axis in (1, 2)) / 2
    e = -2 * along(1).astype(float)
    return np.stack((e, e**2, np.abs(m), m**2, m**4, *map(along, range(2, SIDE // 2 + 1))), axis=1)


def joint(events, simulated):
    """Chi2 of the differences of all means, and its probability."""
    ours, theirs = means(events["spins"]), means(simulated)
    difference = ours.mean(0) - theirs.mean(0)
    covariance = np.cov(theirs.T) * (1 / len(ours) + 1 / len(theirs))
    value = float(difference @ np.linalg.solve(covariance, difference))
    return {"value": value, "dof": len(difference), "p": float(chi2.sf(value, len(difference)))}


@torch.no_grad()
def divergence(surrogate, beta, simulated):
    """KL of the exact law from the machine's, in nats: ln <w> - <ln w>, w = p_machine / p."""
    rng = GeneratorRandom(as_generator(5))
    condition = surrogate.preprocessor.condition({"beta": np.full(1, beta)}, 1, rng=rng)
    x = torch.from_numpy(simulated.reshape(len(simulated), -1)).float()
    machine = surrogate.model.parameters_at(condition)
    free_energy = torch.cat([machine.free_energy(part) for part in x.split(5000)])
    log_w = beta * ising_energy(simulated) - free_energy.double().numpy()
    log_w -= log_w.mean()
    return float(np.log(np.exp(log_w).mean()))


def judged(events, beta, simulated):
    """Each average with its pull, all at once, and the divergence of P(E)."""
    exact, truth = torus(SIDE, beta), averages(simulated, beta)
    known = {"energy": exact.energy_per_site, "specific_heat": exact.specific_heat_per_site}
    rows = {}
    for name, (value, error) in averages(events, beta).items():
        right, its_error = (known[name], 0.0) if name in known else truth[name]
        pull = (value - right) / np.hypot(error, its_error)
        rows[name] = {"value": value, "error": error, "truth": right, "pull": pull}
    js_energy, floor = js_of_energy(events, beta)
    rows["js_energy"] = {"value": js_energy, "floor": floor}
    return rows | {"chi2": joint(events, simulated["spins"])}


def fit(events, settings, steps, conditions=()):
    start = time.process_time()
    training = pg.TrainingConfig(steps=steps, batch_size=256, averaging=0.15)
    surrogate = pg.Surrogate.fit(
        events, settings, fields=["spins"], conditions=list(conditions), training=training, rng=1
    )
    return surrogate, time.process_time() - start


def show(title, rows):
    print(title)
    for name, row in rows.items():
        if name == "js_energy":
            print(f"  JS of P(E)         {row['value']:.5f} bits (floor {row['floor']:.5f})")
        elif name == "chi2":
            print(f"  chi2 of all means  {row['value']:.1f} for {row['dof']} (p = {row['p']:.2g})")
        elif name == "kl":
            print(f"  KL                 {row:.5f} nats per lattice")
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
        tau = {
            key: mcmc.integrated_autocorrelation_time(chain.series[key], min_length=5).value
            for key in watched
        }
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
    for n_moves, n_times in ((1, 1), (10, 2), (100, 5)):
        chain = mcmc.run_chains(
            mcmc.Metropolis(proposal=surrogate.model.moves(n_moves)),
            energy,
            start,
            n_steps=n_steps // n_times,
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
        # rbms divides its gradient by its norm, so that its rates are larger
        for package, k, rate in (("scikit-learn", 1, 0.01), ("rbms", 10, 0.5)):
            out = Path(folder) / f"{package}.npz"
            n_updates, cpu = peers.ask(
                "train", package=package, data=str(data), out=str(out), cpu_seconds=seconds,
                n_hidden=512, batch=256, learning_rate=rate, k=k, n_samples=n_events, n_steps=1000,
            )  # fmt: skip
            made = pg.Events.from_dict({"spins": np.load(out)["spins"]})
            rows[package] = judged(made, CRITICAL_BETA, truth)
            show(f"{package}: {n_updates} updates, {cpu:.0f} CPU s", rows[package])
            rows[package]["training"] = {"updates": n_updates, "cpu_seconds": cpu}
    return rows


SECTIONS = ("fixed", "conditional", "critical", "peers")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for section in args.only:
        rows = globals()[f"section_{section}"](Sizes(args.quick), args.peers)
        if not args.quick:
            write_result(RESULT, read_rows(RESULT) | rows)


class Sizes:
    """How much of everything."""

    def __init__(self, quick):
        scale = 20 if quick else 1
        self.n_train, self.n_events = 400_000 // scale, 10_000 // scale
        self.n_truth, self.steps = 100_000 // scale, 4000 // scale
        self.chain_steps, self.seconds = (2000, 2) if quick else (8000, 120)
        self.effort = {"n_steps": 1000 // scale}


def truth_at(beta, sizes):
    return Ising2D(n_side=SIDE)(sizes.n_truth, {"beta": beta}, rng=7)


def judged_machine(surrogate, made, beta, sizes):
    """As :func:`judged`, with the divergence of the machine's law."""
    simulated = truth_at(beta, sizes)
    rows = judged(made, beta, simulated)
    return rows | {"kl": divergence(surrogate, beta, simulated["spins"])}


def machine_at(beta, settings, steps, title, sizes):
    """A machine that learned lattices of one temperature, and how it is judged."""
    lattices = Ising2D(n_side=SIDE)(sizes.n_train, {"beta": beta}, rng=1)
    surrogate, cpu = fit(pg.Events.from_dict({"spins": lattices["spins"]}), settings, steps)
    made = surrogate(sizes.n_events, rng=2, **sizes.effort)
    rows = judged_machine(surrogate, made, beta, sizes)
    show(f"{title}, beta = {beta:.4f}, trained for {cpu:.0f} CPU s", rows)
    training = {"steps": steps, "cpu_seconds": cpu, "machine": repr(settings)}
    return surrogate, rows | {"training": training}


def section_fixed(sizes, _):
    found = {}
    for beta in (0.40, 0.48):
        _, found[f"beta {beta:.4f}"] = machine_at(beta, MACHINE, sizes.steps, "symmetric", sizes)
    return found


def section_critical(sizes, _):
    surrogate, rows = machine_at(CRITICAL_BETA, MACHINE, sizes.steps, "symmetric", sizes)
    rows = {f"beta {CRITICAL_BETA:.4f}": rows}
    print("as a proposal with the exact energy at beta_c")
    rows["proposal"] = proposal(surrogate, sizes.chain_steps)
    print("cost of an independent lattice at beta_c")
    return rows | {"samplers": costs(surrogate, sizes.chain_steps)}


def section_peers(sizes, python):
    """Machines without symmetries: ours, and those of other packages for the same CPU time."""
    plain = pg.RBM(n_hidden=512, chains=PCD(n_steps=10))
    steps = sizes.steps // 2
    _, rows = machine_at(CRITICAL_BETA, plain, steps, "without symmetries", sizes)
    rows = {"without symmetries": rows}
    if python is None:
        return rows
    lattices = Ising2D(n_side=SIDE)(sizes.n_train, {"beta": CRITICAL_BETA}, rng=1)
    truth = truth_at(CRITICAL_BETA, sizes)
    return rows | peers_rows(python, lattices, truth, sizes.seconds, sizes.n_events)


def section_conditional(sizes, _):
    """One machine for all beta, asked at three that it has not seen."""
    ising = Ising2D(n_side=SIDE)
    lattices = ising(sizes.n_train, {"beta": np.resize(TRAINED, sizes.n_train)}, rng=1)
    steps = 5 * sizes.steps // 4
    surrogate, cpu = fit(lattices, MACHINE, steps, ["beta"])
    training = {"steps": steps, "cpu_seconds": cpu, "machine": repr(MACHINE), "betas": TRAINED}
    rows = {"training": training}
    for beta in BETAS:
        made = surrogate(sizes.n_events, {"beta": beta}, rng=2, **sizes.effort)
        rows[f"beta {beta:.4f}"] = judged_machine(surrogate, made, beta, sizes)
        show(f"one machine for all beta, at {beta:.4f}", rows[f"beta {beta:.4f}"])
    return {"conditional": rows}


if __name__ == "__main__":
    main()
