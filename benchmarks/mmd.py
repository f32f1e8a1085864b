"""Speed and memory of the exact MMD, next to the bare GEMM, a lecture's code and other packages.

    python -m venv peers
    peers/bin/pip install alibi-detect hyppo jetnet scikit-learn
    OMP_NUM_THREADS=1 python benchmarks/mmd.py --peers peers/bin/python

writes benchmarks/results/mmd.json (not with --quick) after each part and fails if a bar is missed.
Without --peers the other packages are skipped, and the file says so.

All on one thread, float32 input of standard normals; CPU seconds. Codes take turns and the
smallest time of each counts; ratios are of these. Memory is by how much a call raises the peak of
the resident set of a fresh process that has the packages loaded and the data made.

- GEMM: the products of the tiles of the upper triangle of the pooled Gram matrix, and nothing
  else: about 320 GFLOP for 10,000 + 10,000 events of 784 features, tiles on the diagonal included.
- lecture: what the lecture's code computes (physgen.metrics.lecture_mmd names it), in its way: the
  whole Gram matrices, in float32.
- scikit-learn: means of ``rbf_kernel``, V-statistic, no test. jetnet: ``kpd``, ten batches of
  5,000, polynomial kernel, no test. alibi-detect: ``MMDDrift`` with 100 permutations, at 2,000
  events, where a copy of the Gram matrix per permutation is affordable. hyppo: the statistic
  alone, at 2,000 events. POT has no MMD.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from ising_timing import ONE_THREAD, Peers
from machine import read_rows, write_result
from mmd_memory import peak, reset_peak, resident

from physgen.metrics import Radial, lecture_mmd, mmd

RESULT = Path(__file__).parent / "results" / "mmd.json"
ONE = Radial("gaussian", n_bandwidths=1)
TILE = 512
Samples = tuple[np.ndarray, np.ndarray]


def samples(n: int, d: int) -> Samples:
    x, y = np.random.default_rng(1).standard_normal((2, n, d), dtype=np.float32)
    return x, y


def bare_gemm(x: np.ndarray, y: np.ndarray) -> None:
    z = torch.from_numpy(np.concatenate((x, y)))
    out = torch.empty(TILE, TILE)
    for i in range(0, len(z), TILE):
        for j in range(i, len(z), TILE):
            u, v = z[i : i + TILE], z[j : j + TILE]
            torch.mm(u, v.T, out=out[: len(u), : len(v)])


def lecture(x: np.ndarray, y: np.ndarray) -> float:
    """Three whole distance matrices, three whole kernels."""

    def squares(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(u), len(v))
        found.copy_(u.square().sum(1)[:, None] + v.square().sum(1)[None] - 2 * torch.mm(u, v.T))
        return found

    u, v = torch.from_numpy(x), torch.from_numpy(y)
    xx, xy, yy = squares(u, u), squares(u, v), squares(v, v)
    twice = 2 * xx.mean()
    means = [torch.exp(-m / twice).mean() for m in (xx, yy, xy)]
    return float((means[0] + means[1] - 2 * means[2]).clamp(min=0).sqrt())


CODES: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "GEMM": bare_gemm,
    "one bandwidth": lambda x, y: mmd(x, y, kernel=ONE, n_permutations=0, rng=0),
    "one bandwidth, 500 permutations": lambda x, y: mmd(
        x, y, kernel=ONE, n_permutations=500, rng=0
    ),
    "lecture": lecture,
    "lecture_mmd": lambda x, y: lecture_mmd(x, y, rescales_generated=False),
    "five bandwidths, 500 permutations": lambda x, y: mmd(x, y, n_permutations=500, rng=0),
    "Laplace, one bandwidth": lambda x, y: mmd(
        x, y, kernel=Radial("laplace", 1), n_permutations=0, rng=0
    ),
    "1024 random features, 500 permutations": lambda x, y: mmd(
        x, y, kernel=ONE, features=1024, n_permutations=500, rng=0
    ),
    "all pairs of 50,000, 499 permutations": lambda x, y: mmd(
        x, y, kernel=ONE, n_permutations=499, exact=True, rng=0
    ),
}
FIRST = list(CODES)[:5]
PEERS_AT = {"scikit-learn": 10_000, "alibi-detect": 2000, "jetnet": 10_000, "hyppo": 2000}


def cpu_seconds(code: Callable[[np.ndarray, np.ndarray], object], data: Samples) -> float:
    start = time.process_time()
    code(*data)
    return time.process_time() - start


def in_turns(names: list[str], data: Samples, n_repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {}
    for _ in range(n_repeats):
        for name in names:
            times.setdefault(name, []).append(cpu_seconds(CODES[name], data))
    return {name: min(values) for name, values in times.items()}


def memory(name: str, n: int, d: int) -> dict[str, float]:
    """Megabytes that a code adds and that the process has at its peak, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory", name, str(n), str(d)],
        stdout=subprocess.PIPE, text=True, check=True, env=os.environ | ONE_THREAD,
    )  # fmt: skip
    return json.loads(done.stdout)


def measure_memory(name: str, n: int, d: int) -> None:
    torch.set_num_threads(1)
    x, y = samples(n, d)
    CODES[name](x[:100], y[:100])
    reset_peak()
    before, start = resident(), time.process_time()
    CODES[name](x, y)
    print(
        json.dumps(
            {
                "added_mb": peak() - before,
                "peak_mb": peak(),
                "cpu_s": time.process_time() - start,
            }
        )
    )


def of_peers(peers: Peers, n_most: int) -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for name, n in PEERS_AT.items():
        found, seconds, added = peers.ask(name, n=min(n, n_most), d=784)
        if found is None:
            rows[name] = {"not_measured": added}
        else:
            rows[name] = {"n": min(n, n_most), "cpu_s": seconds, "added_mb": added}
        print(f"{name:40s}", rows[name])
    return rows


def bars_of(
    times: Mapping[str, float], added: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """What is asked for; every ratio at most its bar."""
    one, lectures = times["one bandwidth"], times["lecture"]
    found = {
        "one bandwidth over GEMM": (one / times["GEMM"], 1.3),
        "with 500 permutations over GEMM": (
            times["one bandwidth, 500 permutations"] / times["GEMM"],
            2.3,
        ),
        "one bandwidth over lecture": (one / lectures, 1 / 2.5),
        "memory over lecture": (
            added["one bandwidth"]["added_mb"] / added["lecture"]["added_mb"],
            1 / 20,
        ),
    }
    if "all pairs of 50,000, 499 permutations" in added:
        large = added["all pairs of 50,000, 499 permutations"]["peak_mb"]
        found["peak MB of 50,000 x 50 twice"] = (large, 500)
    return {name: {"found": ratio, "bar": bar} for name, (ratio, bar) in found.items()}


def measure(
    quick: bool, n_repeats: int, peers: Peers | None, store: Callable[..., None]
) -> dict[str, dict]:
    n, d = (3000, 784) if quick else (10_000, 784)
    data = samples(n, d)
    times = in_turns(FIRST, data, n_repeats)
    store(cpu_s=times, n_repeats=n_repeats)
    added = {name: memory(name, n, d) for name in FIRST[1:]}
    store(memory=added)
    if not quick:
        times |= in_turns(list(CODES)[5:8], data, 1)
        store(cpu_s=times)
        name = list(CODES)[8]
        added[name] = memory(name, 50_000, 50)
        store(memory=added)
    small = samples(min(n, 2000), d)
    times_small = in_turns(["one bandwidth", "one bandwidth, 500 permutations"], small, 3)
    store(cpu_s_at_2000=times_small)
    for name, seconds in times.items():
        print(f"{name:40s}{seconds:8.2f} s", added.get(name, ""), flush=True)
    print("at 2,000 events:", times_small)
    if peers:
        store(peers=of_peers(peers, n), versions=peers.ask("versions")[0])
    return bars_of(times, added)


def main() -> int:
    """Measure, print, store; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with other packages")
    parser.add_argument("--quick", action="store_true", help="a look; stores nothing")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the main codes")
    parser.add_argument("--memory", nargs=3, metavar=("CODE", "N", "D"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        name, n, d = options.memory
        measure_memory(name, int(n), int(d))
        return 0
    torch.set_num_threads(1)
    rows = {} if options.quick else read_rows(RESULT)
    if not options.peers:
        rows.setdefault("peers", "not measured: no --peers")

    def store(**found: object) -> None:
        rows.update(found)
        if not options.quick:
            write_result(RESULT, rows)

    peers = Peers(options.peers, "mmd_peers.py") if options.peers else None
    bars = measure(options.quick, options.repeats, peers, store)
    store(bars=bars, load=os.getloadavg()[0])
    for name, row in bars.items():
        print(f"{name:36s}{row['found']:8.3f}   bar {row['bar']:.3f}")
    return int(any(row["found"] > row["bar"] for row in bars.values()))


if __name__ == "__main__":
    sys.exit(main())
