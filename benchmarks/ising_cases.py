"""What benchmarks/ising.py measures: flips, clusters, independent configurations, and the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from ising_timing import Peers, Run, cpu_seconds, fresh, summary

from physgen.mcmc.diagnostics import integrated_autocorrelation_time
from physgen.simulators.clusters import swendsen_wang, wolff
from physgen.simulators.ising import Ising2D, Ising3D
from physgen.simulators.ising_exact import CRITICAL_BETA, torus
from physgen.simulators.planning import make_farm
from physgen.simulators.sampling import chunk_size
from physgen.simulators.spin_simulator import SpinSimulator
from physgen.simulators.xoshiro import seed_states

CUBE_SIDES = {16: 6, 32: 10, 64: 16, 128: 26, 256: 40}

DENSITY = """
from physgen.simulators.ising_exact import density_of_states
density_of_states(4)
start = time.process_time()
density_of_states({side})
result = time.process_time() - start
"""

# events are dropped as they come, as a writer would; the peak is that of this program's memory,
# since getrusage(2) also counts what the parent had when it started this one
STREAM = """
from pathlib import Path
from physgen.simulators.ising import Ising2D
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
Ising2D(8)(512, {{"beta": 1 / 3}}, rng=1)
result = {{"mb_before": peak()}}
start = time.process_time()
n = sum(len(piece) for piece in Ising2D(64).stream({n_events}, {{"beta": 1 / 3}}, rng=1))
result |= {{"mb_peak": peak(), "n_events": n, "cpu_s": time.process_time() - start}}
"""


def flipping(simulator: SpinSimulator, rule: str) -> Run:
    """Sweeps of 512 lattices that were swept before."""
    model = simulator.model
    beta = np.full(512, model.lattice.critical_coupling)
    farm = make_farm(model, rule, beta, np.zeros(512, dtype=bool), seed=1)
    farm.sweep(max(2, 100_000 // model.lattice.n_sites))
    n_spins = 512 * model.lattice.n_sites
    return lambda n: (n * n_spins, cpu_seconds(lambda: farm.sweep(n)))


def flip_runs(side: int, peers: Peers | None) -> dict[str, Run]:
    cube = CUBE_SIDES[side]
    runs = {
        "physgen metropolis": flipping(Ising2D(side), "metropolis"),
        "physgen heat bath": flipping(Ising2D(side), "heat_bath"),
        "physgen metropolis, field 0.1": flipping(Ising2D(side, field=0.1), "metropolis"),
        "physgen metropolis, triangular": flipping(
            Ising2D(side, lattice="triangular"), "metropolis"
        ),
        f"physgen metropolis, cubic {cube}": flipping(Ising3D(cube), "metropolis"),
    }
    if peers:
        mcising = {"move": "metropolis", "side": side}
        runs |= {
            "mcising metropolis": peers.run("mcising", **mcising),
            "mcising metropolis, field 0.1": peers.run("mcising", **mcising, field=0.1),
            "mcising metropolis, triangular": peers.run(
                "mcising", **mcising, lattice="triangular"
            ),
            f"mcising metropolis, cubic {cube}": peers.run(
                "mcising", move="metropolis", side=cube, lattice="cubic"
            ),
            "peapods metropolis": peers.run("peapods", move="metropolis", side=side),
            "peapods heat bath": peers.run("peapods", move="gibbs", side=side),
            "isingenerator metropolis": peers.run("isingenerator", side=side),
        }
    return runs


def clustering(move: str, side: int) -> Run:
    """Cluster moves of 8 lattices; the work is the spins in clusters, flipped or not."""
    lattice = Ising2D(side).model.lattice
    spins = np.ones((8, lattice.n_sites), dtype=np.int8)
    states = seed_states(1, 0, len(spins))
    swendsen_wang(spins, lattice.neighbors, CRITICAL_BETA, 100, states)

    def run(n: int) -> tuple[float, float]:
        start = time.process_time()
        if move == "wolff":
            size = wolff(spins, lattice.neighbors, CRITICAL_BETA, n, states)
            return n * float(size.sum()), time.process_time() - start
        swendsen_wang(spins, lattice.neighbors, CRITICAL_BETA, n, states)
        return n * spins.size, time.process_time() - start

    return run


def cluster_runs(side: int, peers: Peers | None) -> dict[str, Run]:
    runs = {}
    for move in ("wolff", "swendsen_wang"):
        runs[f"physgen {move}"] = clustering(move, side)
        if peers:
            runs[f"mcising {move}"] = peers.run("mcising", move=move, side=side)
    return runs


def slower_tau(series: Mapping[str, np.ndarray]) -> float:
    """tau of the slower series, in configurations."""
    return max(integrated_autocorrelation_time(s, min_length=0).value for s in series.values())


def series_of(simulator: SpinSimulator, spins: np.ndarray) -> dict[str, np.ndarray]:
    """Energy and squared magnetization, one column per lattice of each chunk.

    Event i of a chunk belongs to lattice i % n_lanes.
    """
    n_lanes = 32 if simulator.algorithm in ("wolff", "swendsen_wang") else 512
    chunk = min(len(spins), chunk_size(simulator.model.lattice.n_sites, n_lanes))
    shape = (len(spins) // chunk, chunk // n_lanes, n_lanes)
    m2 = spins.reshape(len(spins), -1).mean(axis=1) ** 2
    return {
        name: values.reshape(shape).swapaxes(0, 1).reshape(shape[1], -1)
        for name, values in (("energy", simulator.energy(spins)), ("m2", m2))
    }


def public_call(simulator: SpinSimulator, n_events: int, beta: float) -> dict[str, float]:
    """Thermalization and call, timed apart; ``beta`` must be one not yet thermalized."""
    pilot = cpu_seconds(lambda: simulator.thermalization(beta))
    start = time.process_time()
    spins = simulator(n_events, {"beta": beta}, rng=1)["spins"]
    call = time.process_time() - start
    tau = slower_tau(series_of(simulator, spins))
    n_independent = n_events / (2 * tau)
    return {
        "per_s": n_independent / call,
        "per_s_with_pilot": n_independent / (call + pilot),
        "delivered_per_s": n_events / call,
        "tau": tau,
        "pilot_s": pilot,
    }


def peer_call(peers: Peers, move: str, side: int, interval: int) -> dict[str, float]:
    """A chain of about 1e8 / L^2 moves; it goes on where the last one stopped."""
    n = round(1e8 / side**2 / interval)
    series, cpu = peers.ask("configurations", n=n, move=move, side=side, interval=interval)
    tau = slower_tau({name: np.array(s) for name, s in series.items()})
    return {"per_s": n / (2 * tau) / cpu, "delivered_per_s": n / cpu, "tau": tau}


def nearby(k: int) -> float:
    """The critical beta up to its last digits: one that no pilot has been run for."""
    return CRITICAL_BETA * (1 + 1e-13 * (k + 1))


def simulators_at(side: int, size: int) -> dict[str, tuple[SpinSimulator, int]]:
    """Simulators with the spacing that they choose, and with a short one as peers' chains have."""
    if side == 32:
        short = Ising2D(side, algorithm="metropolis", n_burn_in=400, spacing=48)
        return {
            "metropolis": (Ising2D(side, algorithm="metropolis"), size << 15),
            "metropolis, every 48": (short, size << 15),
        }
    found: dict[str, tuple[SpinSimulator, int]] = {}
    for move in ("wolff", "swendsen_wang"):
        short = Ising2D(side, algorithm=move, n_burn_in=50, spacing=3)
        found[move] = (Ising2D(side, algorithm=move), size << 8)
        found[f"{move}, every 3"] = (short, size << 10)
    return found


def yields(
    simulators: Mapping[str, tuple[SpinSimulator, int]], n_repeats: int, peers: Peers | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Each simulator with its number of events, and mcising's moves at several intervals."""
    calls: dict[str, Callable[[int], dict[str, float]]] = {
        f"physgen {name}": lambda k, a=arguments: public_call(*a, nearby(k))
        for name, arguments in simulators.items()
    }
    if peers:
        side = next(iter(simulators.values()))[0].n_side
        for move, interval in (("wolff", 1), ("wolff", 3), ("swendsen_wang", 1)):
            calls[f"mcising {move}, every {interval}"] = lambda _, a=(move, side, interval): (
                peer_call(peers, *a)
            )
    found = {name: [] for name in calls}
    for k in range(n_repeats):
        for name, call in calls.items():
            found[name].append(call(k))
    return {
        name: {key: summary([result[key] for result in results]) for key in results[0]}
        for name, results in found.items()
    }


def thread_tries(n_events: int, n_tries: int) -> dict[str, object]:
    """Wall-clock seconds and CPUs in use with one and two threads, in turns."""
    simulator = Ising2D(32)
    simulator.thermalization(CRITICAL_BETA)
    tries = []
    for _ in range(n_tries):
        result = {}
        for n in (1, 2):
            wall, cpu = time.perf_counter(), time.process_time()
            replace(simulator, n_threads=n)(n_events, {"beta": CRITICAL_BETA}, rng=1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            result |= {f"wall_{n}": wall, f"cpu_{n}": cpu, f"cpus_in_use_{n}": cpu / wall}
        tries.append(result | {"speedup": result["wall_1"] / result["wall_2"]})
    keys = ("speedup", "cpus_in_use_1", "cpus_in_use_2")
    summaries = {key: summary([t[key] for t in tries]) for key in keys}
    return {**summaries, "cpu_2_over_cpu_1": summary([t["cpu_2"] / t["cpu_1"] for t in tries])}


def exact_seconds(n_repeats: int) -> dict[str, dict[str, float]]:
    torus(8, CRITICAL_BETA)
    return {
        "torus(64)": summary(
            [cpu_seconds(lambda: torus(64, CRITICAL_BETA)) for _ in range(n_repeats)]
        ),
        "density_of_states(32)": summary(
            [fresh(DENSITY.format(side=32)) for _ in range(n_repeats)]
        ),
    }


def pilot_seconds(side: int, n_repeats: int) -> dict[str, float]:
    simulator = Ising2D(side)
    betas = [nearby(k + n_repeats) for k in range(n_repeats)]
    return summary([cpu_seconds(lambda b=b: simulator.thermalization(b)) for b in betas])
