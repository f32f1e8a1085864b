"""CPU seconds of a whole default report, and of its page.

20,000 against 20,000 events of data/zmumu.root: in all its columns with their packs, and in the
eleven flat columns; and smaller samples. benchmarks/mmd.py measures the MMD by itself.

    OMP_NUM_THREADS=1 python benchmarks/comparison.py

writes benchmarks/results/comparison.json. Times are CPU seconds of the process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import write_result

import physgen as pg

ROOT = Path(__file__).parents[1]
COLUMNS = ["mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi", "mu1_charge", "met",
           "met_phi", "ht", "njet"]  # fmt: skip


def seconds(call: Callable[[], object]) -> tuple[object, float]:
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def main() -> None:
    rows = []
    for n, fields in ((1_000, COLUMNS), (20_000, COLUMNS), (20_000, None)):
        events = pg.read_events(ROOT / "data/zmumu.root", fields=fields, stop=2 * n)
        first, second = events.split(0.5, rng=0)
        report, spent = seconds(lambda a=first, b=second: pg.compare(a, b))
        with tempfile.TemporaryDirectory() as folder:
            _, page = seconds(lambda r=report, f=folder: r.save(Path(f) / "report.html"))
        rows.append(
            {
                "events_per_side": n,
                "observables": len(report.table),
                "report_cpu_s": spent,
                "page_cpu_s": page,
                "outcome": report.outcome,
            }
        )
        print(rows[-1], flush=True)
    write_result(ROOT / "benchmarks/results/comparison.json", rows)


if __name__ == "__main__":
    main()
