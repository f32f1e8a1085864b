"""Ising packages from PyPI, run for benchmarks/ising.py by an interpreter that has them.

Reads one request per line as JSON and answers each with one line: the work done and the CPU
seconds of the simulation alone. Lattices are made and thermalized outside the timed part.
"""

import json
import math
import sys
import time
import warnings
from functools import cache
from importlib.metadata import version

import isingenerator
import mcising
import numpy as np
import peapods

PACKAGES = ("mcising", "peapods", "isingenerator")
CRITICAL = {
    "square": 2 / math.log(1 + math.sqrt(2)),
    "triangular": 4 / math.log(3),
    "cubic": 1 / 0.221654626,
}


@cache
def mcising_lattice(move, side, lattice, field):
    simulation = mcising.IsingSimulation(side, 1.0, 0.0, 0.0, field, 1, move, lattice)
    # Wolff clusters grow from order; 500 sweeps are many more than T_c needs to change speed
    simulation.set_spins(np.ones_like(simulation.get_spins()))
    simulation.sweep(500, temperature=CRITICAL[lattice])
    return simulation


def run_mcising(n, move, side, lattice="square", field=0.0):
    simulation = mcising_lattice(move, side, lattice, field)
    start = time.process_time()
    _, attempted, _ = simulation.sweep(n, temperature=CRITICAL[lattice])
    return attempted, time.process_time() - start


@cache
def peapods_lattice(side):
    model = peapods.Ising((side, side), temperatures=np.array([CRITICAL["square"]]))
    model.sample(500)
    return model


def run_peapods(n, move, side):
    model = peapods_lattice(side)
    start = time.process_time()
    # all sweeps as warm-up: the fastest mode, since peapods measures after every other sweep
    model.sample(n, sweep_mode=move, warmup_ratio=1.0)
    return n * side * side, time.process_time() - start


@cache
def isingenerator_lattice(side):
    simulation = isingenerator.Simulation(side, side, seed=1)
    simulation.run_single_temperature(CRITICAL["square"], 500, 1, 1, 1)
    return simulation


def run_isingenerator(n, side):
    simulation = isingenerator_lattice(side)
    start = time.process_time()
    # all but one sweep as equilibration: the fastest mode, no measurement in between
    simulation.run_single_temperature(CRITICAL["square"], n, 1, 1, 1)
    return (n + 1) * side * side, time.process_time() - start


def configurations(n, move, side, interval):
    """An array of n configurations of one chain, and their energies and magnetizations."""
    simulation = mcising_lattice(move, side, "square", 0.0)
    start = time.process_time()
    chain = simulation.production_sweeps(
        n, interval, temperature=CRITICAL["square"], store_configs=True
    )
    seconds = time.process_time() - start
    series = {"energy": chain["energies"], "m2": chain["magnetizations"] ** 2}
    return {name: values.tolist() for name, values in series.items()}, seconds


TASKS = {
    "versions": lambda: ({name: version(name) for name in PACKAGES}, 0.0),
    "mcising": run_mcising,
    "peapods": run_peapods,
    "isingenerator": run_isingenerator,
    "configurations": configurations,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # peapods divides by the number of its measurements, zero
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(TASKS[request.pop("task")](**request)), flush=True)
