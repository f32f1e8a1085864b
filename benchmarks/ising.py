"""Speed of the Ising simulators, next to the packages on PyPI.

    python -m venv peers
    peers/bin/pip install mcising==1.1.0 peapods==0.2.0 isingenerator==3.1.2
    OMP_NUM_THREADS=1 python benchmarks/ising.py --peers peers/bin/python

writes benchmarks/results/ising.json (not with --quick) and fails if a bar is missed. Without
--peers the other packages are skipped, and the file says so.

Times are CPU seconds of one thread: the median of several runs, with the smallest and the largest
beside it. The codes take turns, so that a busy machine disturbs all alike. Everything is at the
critical temperature of its infinite lattice unless the line says otherwise; compilation,
construction and thermalization of lattices are outside the timed part, but where a public call
is timed all that it does is inside.

Independent configurations are counted alike for all codes: n configurations that lie as an array
in memory count as n / (2 tau), tau = 1/2 + sum of rho measured on these very configurations by
physgen.mcmc.diagnostics, for the slower one of energy and squared magnetization.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import ising_cases as cases
from ising_timing import Peers, fresh, rates
from machine import write_result

RESULT = Path(__file__).parent / "results" / "ising.json"
SIDES = (16, 32, 64, 128, 256)
BARS = {
    "metropolis_64_flips_per_ns": 2.0,
    "metropolis_64_over_mcising": 10.0,
    "independent_32x32_per_core_second": 25_000,
}


def with_ratios(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The speeds, each physgen one with its ratio to the same move of every peer."""
    table = {name: dict(row) for name, row in rows.items()}
    for name, row in table.items():
        package, move = name.split(" ", 1)
        if package == "physgen":
            for other, speed in rows.items():
                if other != name and other.split(" ", 1)[1] == move:
                    row[f"over_{other.split(' ')[0]}"] = row["median"] / speed["median"]
    return table


def show(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    print(f"\n{title}")
    for name, row in rows.items():
        ratios = "  ".join(
            f"{key.removeprefix('over_')} x {value:.1f}"
            for key, value in row.items()
            if key.startswith("over_")
        )
        spread = f"({row['low']:.4g} to {row['high']:.4g})"
        print(f"  {name:42s} {row['median']:10.4g}   {spread:24s} {ratios}".rstrip())


def show_yields(title: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    for key, what in (("per_s", ""), ("per_s_with_pilot", ", pilot included")):
        show(title + what, {name: row[key] for name, row in rows.items() if key in row})
    taus = ", ".join(f"{name} {row['tau']['median']:.2f}" for name, row in rows.items())
    print(f"  tau in configurations: {taus}")


def measure(quick: bool, peers: Peers | None) -> dict[str, object]:
    n_repeats, seconds = (2, 0.05) if quick else (5, 0.15)
    rows: dict[str, object] = {"flips_per_cpu_ns": {}, "cluster_spins_per_cpu_ns": {}}
    for side in (64,) if quick else SIDES:
        found = with_ratios(rates(cases.flip_runs(side, peers), n_repeats, seconds))
        rows["flips_per_cpu_ns"][f"L = {side}"] = found
        show(f"flips per CPU-ns, L = {side}", found)
    for side in (64,) if quick else (64, 256):
        found = with_ratios(rates(cases.cluster_runs(side, peers), n_repeats, seconds))
        rows["cluster_spins_per_cpu_ns"][f"L = {side}"] = found
        show(f"spins in clusters per CPU-ns, L = {side}", found)
    rows["independent_per_cpu_s"] = {}
    for side in (32,) if quick else (32, 128):
        found = cases.yields(cases.simulators_at(side, 1 if quick else 4), n_repeats, peers)
        rows["independent_per_cpu_s"][f"L = {side}"] = found
        show_yields(f"independent configurations per CPU-s, L = {side}", found)
    rows["two_threads"] = cases.thread_tries(1 << 15 if quick else 1 << 16, n_repeats)
    show("two threads over chunks, 32 x 32 (wall clock)", rows["two_threads"])
    rows["exact_cpu_s"] = cases.exact_seconds(n_repeats)
    show("exact results, CPU-s", rows["exact_cpu_s"])
    rows["pilot_cpu_s"] = {
        f"L = {side}": cases.pilot_seconds(side, n_repeats) for side in (32, 64)
    }
    show("thermalization at T_c, CPU-s", rows["pilot_cpu_s"])
    n_events = 20_000 if quick else 200_000
    rows["stream_64x64"] = fresh(cases.STREAM.format(n_events=n_events))
    print(
        "\nstream of {n_events} configurations of 64 x 64 at T = 3".format(**rows["stream_64x64"])
    )
    print("  {mb_peak:.0f} MB at most, {mb_before:.0f} MB before".format(**rows["stream_64x64"]))
    return rows


def against_bars(rows: Mapping[str, dict]) -> dict[str, dict[str, float | None]]:
    metropolis = rows["flips_per_cpu_ns"]["L = 64"]["physgen metropolis"]
    found = {
        "metropolis_64_flips_per_ns": metropolis["median"],
        "metropolis_64_over_mcising": metropolis.get("over_mcising"),
        "independent_32x32_per_core_second": rows["independent_per_cpu_s"]["L = 32"][
            "physgen metropolis"
        ]["per_s"]["median"],
    }
    return {name: {"bar": bar, "found": found[name]} for name, bar in BARS.items()}


def main() -> int:
    """Measure, print, store; 1 if a bar is missed."""
    # the cases with a spacing of their own are meant so
    logging.getLogger("physgen").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", metavar="PYTHON", help="interpreter that has the other packages"
    )
    parser.add_argument("--quick", action="store_true", help="a look; stores nothing")
    options = parser.parse_args()
    peers = Peers(options.peers) if options.peers else None
    load = [os.getloadavg()[0]]
    rows = measure(options.quick, peers)
    load.append(os.getloadavg()[0])
    bars = against_bars(rows)
    missed = [
        n for n, row in bars.items() if row["found"] is not None and row["found"] < row["bar"]
    ]
    for name, row in bars.items():
        found = "not measured" if row["found"] is None else f"{row['found']:,.2f}"
        print(f"{name:36s} {found:>14}   bar {row['bar']:,}")
    if not options.quick:
        settings = {
            "peers": peers.ask("versions")[0] if peers else "not measured: no --peers",
            "numba": version("numba"),
            "load_before_and_after": load,
        }
        write_result(RESULT, {"run": settings, "bars": bars, **rows})
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
