"""Flips per nanosecond of the bit-coded Ising lattices on a GPU.

    python benchmarks/ising_gpu.py

needs a CUDA device, writes benchmarks/results/ising_gpu.json with its name, and fails if a bar is
missed: 400 Metropolis flips/ns for 2^20 lattices of 32 x 32 and of 64 x 64 at the critical
temperature, and the mean energy within 4 standard errors of Kaufman's. --lanes, --sides and
--tiles change what is measured; then nothing is written.

Times are those of the device, between two of its events, for as many sweeps as take about a
quarter of a second: the median of seven runs, with the smallest and the largest beside it. The
lattices have left their cold start long before (L^2 sweeps), since the kernel draws fewer random
words where spins are hard to flip. A flip is an attempt, accepted or not. "configurations" is
the wall time of a call of Ising2D, from the seed to an array in memory, with burn-in and spacing
as measured, without the measurement.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from machine import write_result

from physgen.simulators import Ising2D
from physgen.simulators.ising_cuda import CudaFarm
from physgen.simulators.ising_exact import CRITICAL_BETA, torus
from physgen.simulators.lattice import square
from physgen.simulators.spin_model import SpinModel

RESULT = Path(__file__).parent / "results" / "ising_gpu.json"
N_LANES = 1 << 20
SIDES = (32, 64)
TILES = ((32, 4), (32, 1), (32, 16), (64, 4))
RULES = ("metropolis", "heat_bath")
BAR, MAX_PULL = 400.0, 4.0
N_RUNS, SECONDS = 7, 0.25


def cold_farm(side: int, n_lanes: int, rule: str, tile: tuple[int, int]) -> CudaFarm:
    """Lattices at the critical temperature, all spins up."""
    model = SpinModel(square((side, side)))
    # one row that stands for all takes no memory
    start = np.broadcast_to(np.int8(1), (n_lanes, side * side))
    return CudaFarm(model, np.full(n_lanes, CRITICAL_BETA), rule, start, seed=1, tile=tile)


def device_seconds(farm: CudaFarm, n_sweeps: int) -> float:
    """Time of the device for some sweeps."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    farm.sweep(n_sweeps)
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def flip_rate(farm: CudaFarm, n_sites: int) -> dict[str, float]:
    """Flips per nanosecond: median, smallest and largest of several runs."""
    n_sweeps = max(1, round(SECONDS / device_seconds(farm, 10) * 10))
    n_flips = farm.n_lanes * n_sites * n_sweeps
    speeds = [n_flips / device_seconds(farm, n_sweeps) / 1e9 for _ in range(N_RUNS)]
    return {"median": float(np.median(speeds)), "low": min(speeds), "high": max(speeds)}


def energy_pull(farm: CudaFarm, side: int) -> float:
    """Distance of the mean energy from the exact one in standard errors of the lattices."""
    energy = farm.measure()[0] / side**2
    exact = float(torus(side, CRITICAL_BETA).energy_per_site)
    return float((energy.mean() - exact) / (energy.std() / np.sqrt(len(energy))))


def flips(side: int, n_lanes: int, rule: str, tile: tuple[int, int]) -> dict[str, float]:
    """Speed of one move on lattices of one size."""
    farm = cold_farm(side, n_lanes, rule, tile)
    farm.sweep(side**2)
    row = {**flip_rate(farm, side**2), "energy_pull": energy_pull(farm, side)}
    print(
        f"{rule:10s} L = {side:3d}  {n_lanes} lattices  tile {tile[0]:3d} x {tile[1]:2d}  "
        "{median:8.1f} flips/ns ({low:.1f} to {high:.1f})  energy pull {energy_pull:+.2f}".format(
            **row
        ),
        flush=True,
    )
    return row


def configurations(side: int, n_events: int) -> dict[str, float]:
    """Independent configurations per second of a whole call."""
    ising = Ising2D(side, device="cuda")
    times = ising.thermalization(CRITICAL_BETA)
    ising(64, {"beta": CRITICAL_BETA}, rng=1)
    start = time.perf_counter()
    ising(n_events, {"beta": CRITICAL_BETA}, rng=2)
    seconds = time.perf_counter() - start
    row = {
        "n_events": n_events,
        "seconds": seconds,
        "per_second": n_events / seconds,
        "n_burn_in": int(times.n_burn_in.max()),
        "spacing": int(times.spacing.max()),
    }
    print(f"configurations L = {side:3d}  {row['per_second']:.0f} per second", flush=True)
    return row


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, default=N_LANES)
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--tiles", action="store_true", help="compare tiles of the kernel instead")
    return parser.parse_args()


def main() -> int:
    """Measure, print and store the speeds."""
    if not torch.cuda.is_available():
        sys.exit("benchmarks/ising_gpu.py measures a GPU, and no CUDA device was found")
    given = arguments()
    if given.tiles:
        for side in given.sides:
            for tile in TILES:
                flips(side, given.lanes, "metropolis", tile)
        return 0
    rows = {
        f"{rule} L = {side}": flips(side, given.lanes, rule, TILES[0])
        for side in given.sides
        for rule in RULES
    }
    if (given.lanes, tuple(given.sides)) == (N_LANES, SIDES):
        calls = {f"L = {side}": configurations(side, 1 << 18) for side in given.sides}
        write_result(RESULT, {"n_lanes": N_LANES, "flips_per_ns": rows, "configurations": calls})
    slow = any(rows[f"metropolis L = {side}"]["median"] < BAR for side in given.sides)
    return int(slow or any(abs(row["energy_pull"]) > MAX_PULL for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
