"""Speed of the comparison: streamed MMD against a bare GEMM, and the whole report.

MMD of 10,000 against 10,000 events with 784 features, exact, cannot be cheaper than the matrix
products x.x', y.y' (upper triangles) and x.y' of the distances; the table gives its time as a
multiple of these products, timed in the same run. The report compares 20,000 against 20,000
events of data/zmumu.root in 11 columns and the dimuon mass.

    OMP_NUM_THREADS=1 python benchmarks/comparison.py

writes benchmarks/results/comparison.json. Times are CPU seconds of the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import write_result

import physgen as pg
from physgen.metrics.kernels import median_distance, mmd_ladder

ROOT = Path(__file__).parents[1]
N_EVENTS, N_FEATURES, BLOCK = 10_000, 784, 512
KINEMATICS = ("mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi")
COLUMNS = [*KINEMATICS, "mu1_charge", "met", "met_phi", "ht", "njet"]


def seconds(call: Callable[[], object], n_runs: int = 2) -> float:
    """Return the smallest CPU time of some runs."""
    times = []
    for _ in range(n_runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def products(z: torch.Tensor) -> None:
    """Upper triangle of z z' in blocks, diagonal blocks whole."""
    for i in range(0, len(z), BLOCK):
        for j in range(i, len(z), BLOCK):
            z[i : i + BLOCK] @ z[j : j + BLOCK].T


def mass(events: pg.Events) -> np.ndarray:
    return pg.observables.invariant_mass(*(events[name] for name in KINEMATICS))


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=(N_EVENTS, N_FEATURES))).float() for _ in range(2))
    equal = np.full(N_EVENTS, 1 / N_EVENTS)
    sigma = median_distance(torch.cat((x[:500], y[:500])))
    result = {"gemm_s": seconds(lambda: products(torch.cat((x, y))))}
    for n_draws in (0, 99, 499):
        result[f"mmd_5_bandwidths_{n_draws}_permutations_s"] = seconds(
            lambda n=n_draws: mmd_ladder(x, y, equal, equal, sigma, n, rng)
        )
    events = pg.read_events(ROOT / "data/zmumu.root", fields=COLUMNS)
    for n in (1_000, 20_000):
        first, second = events[: 2 * n].split(0.5, rng=0)
        result[f"report_{n}_s"] = seconds(
            lambda a=first, b=second: pg.compare(a, b, observables={"mll [GeV]": mass}, rng=0),
            n_runs=1 if n > 5_000 else 2,
        )
    result |= {
        f"{name}_over_gemm": value / result["gemm_s"]
        for name, value in list(result.items())
        if name.startswith("mmd")
    }
    for name, value in result.items():
        print(f"{name:45s} {value:8.2f}")
    write_result(ROOT / "benchmarks/results/comparison.json", result)


if __name__ == "__main__":
    main()
