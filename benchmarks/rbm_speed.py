"""Speed of training a restricted Boltzmann machine, next to scikit-learn, rbms and bare GEMMs.

    python -m venv peers
    peers/bin/pip install rbms==0.5.0 scikit-learn==1.9.1 torch==2.13.0
    OMP_NUM_THREADS=1 python benchmarks/rbm_speed.py --peers peers/bin/python

writes benchmarks/results/rbm_speed.json (not with --quick) and fails if a bar is missed. Without
--peers the other packages are skipped, and the file says so.

An update is one step of PCD-k with batches of 500 and 500 chains, float32, on one thread. The
codes take turns; ratios are medians of those within a turn, so that a busy machine disturbs all
alike. Times are CPU seconds (with --device cuda those of the wall clock, after synchronization).

- physgen: ``physgen.training.train`` with its defaults, that is with Adam, averaged weights,
  clipped gradients and validation, but without the looks into the model: 5 % of a long training
  at most, but all of one as short as here. Runs take 4 s, since a training of any length takes
  0.1 s to begin and to end.
- rbms: the update of its own loop, without the HDF5 file that version 0.5.0 writes at each one.
- scikit-learn: the update of BernoulliRBM.fit, which is PCD-1, in float64, as it is done for all
  data but arrays of float32; and for these.
- GEMMs: the 2 k + 4 products of an update as the formulas have them: two for each Gibbs step,
  and for each of the two phases the field on the hidden units and the sum of v_i h_j. Chains that
  are kept with their hidden units need one product fewer.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from ising_timing import Peers, Run, long_enough, summary
from machine import write_result

from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.rbm import PCD, RBM
from physgen.training import TrainingConfig, train

RESULT = Path(__file__).parent / "results" / "rbm_speed.json"
BATCH = N_CHAINS = 500
N_STEPS = (1, 10)
SHAPES = ((784, 500), (256, 512))
BARS = {"scikit-learn float64": 2.0, "rbms": 1.7, "GEMMs": 1 / 1.2}


def build(n_visible: int, n_hidden: int, k: int) -> GenerativeModel:
    chains = PCD(n_steps=k, n_chains=N_CHAINS)
    spec = TensorSpec(n_features=n_visible, binary=(True,) * n_visible)
    return RBM(n_hidden=n_hidden, chains=chains).build(spec)


def clock_of(device: str) -> Callable[[], float]:
    if device == "cpu":
        return time.process_time

    def synchronized() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronized


def timed(update: Callable[[int], object], device: str) -> Run:
    clock = clock_of(device)

    def run(n: int) -> tuple[float, float]:
        start = clock()
        update(n)
        return n, clock() - start

    return run


def training(n_visible: int, n_hidden: int, k: int, device: str) -> Run:
    torch.manual_seed(1)
    model = build(n_visible, n_hidden, k)
    model.diagnose = None
    pixels = np.random.default_rng(1).random((10_000, n_visible)) < 0.3
    x = torch.where(torch.from_numpy(pixels), 1.0, -1.0).to(device)

    def updates(n: int) -> None:
        config = TrainingConfig(steps=n, batch_size=BATCH, device=device)
        train(model, x, config=config, rng=1)

    return timed(updates, device)


def products(n_visible: int, n_hidden: int, k: int, device: str) -> Run:
    w = torch.randn(n_visible, n_hidden, device=device)
    v = torch.randn(N_CHAINS, n_visible, device=device).sign()
    h = torch.randn(N_CHAINS, n_hidden, device=device).sign()
    of_w, of_v, of_h = torch.empty_like(w), torch.empty_like(v), torch.empty_like(h)

    def updates(n: int) -> None:
        for _ in range(n):
            for _ in range(k):
                torch.mm(v, w, out=of_h)
                torch.mm(h, w.T, out=of_v)
            for _ in range(2):
                torch.mm(v, w, out=of_h)
                torch.mm(v.T, h, out=of_w)

    return timed(updates, device)


def runs_of(
    n_visible: int, n_hidden: int, k: int, device: str, peers: Peers | None
) -> dict[str, Run]:
    runs = {
        "physgen": training(n_visible, n_hidden, k, device),
        "GEMMs": products(n_visible, n_hidden, k, device),
    }
    shape = {"n_visible": n_visible, "n_hidden": n_hidden, "batch": BATCH}
    if peers:
        runs["rbms"] = peers.run("rbms", **shape, k=k, device=device)
    if peers and k == 1 and device == "cpu":
        for dtype in ("float64", "float32"):
            runs[f"scikit-learn {dtype}"] = peers.run("scikit-learn", **shape, dtype=dtype)
    return runs


def compare(
    runs: Mapping[str, Run], n_repeats: int, seconds: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Updates per second of each code, and how many times those of each other physgen makes."""
    lengths = {name: long_enough(run, seconds) for name, run in runs.items()}
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(n_repeats):
        for name, run in runs.items():
            n, taken = run(lengths[name])
            speeds[name].append(n / taken)
    ours = np.array(speeds["physgen"])
    ratios = {name: ours / speeds[name] for name in runs if name != "physgen"}
    return {
        "updates_per_s": {name: summary(values) for name, values in speeds.items()},
        "physgen_over": {name: summary(values.tolist()) for name, values in ratios.items()},
    }


def show(title: str, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    print(f"\n{title}\n  {'':22s}{'updates/s':>10s}   {'(low to high)':20s}physgen over it")
    for name, row in found["updates_per_s"].items():
        ratio = found["physgen_over"].get(name)
        spread = f"({row['low']:.4g} to {row['high']:.4g})"
        print(
            f"  {name:22s}{row['median']:10.4g}   {spread:20s}"
            + (
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
                if ratio
                else ""
            )
        )


def measure(device: str, quick: bool, peers: Peers | None) -> dict[str, dict]:
    n_repeats, seconds = (3, 1.0) if quick else (7, 4.0)
    rows = {}
    for n_visible, n_hidden in SHAPES[:1] if quick else SHAPES:
        for k in N_STEPS:
            title = f"{n_visible} x {n_hidden}, PCD-{k}"
            rows[title] = compare(
                runs_of(n_visible, n_hidden, k, device, peers), n_repeats, seconds
            )
            show(title, rows[title])
    return rows


def against_bars(rows: Mapping[str, dict]) -> dict[str, dict[str, float]]:
    """Ratios that are demanded, at the first shape; those that were not measured are left out."""
    n_visible, n_hidden = SHAPES[0]
    found = {}
    for k in N_STEPS:
        ratios = rows[f"{n_visible} x {n_hidden}, PCD-{k}"]["physgen_over"]
        for name in (name for name in BARS if name in ratios):
            found[f"PCD-{k} over {name}"] = {"bar": BARS[name], "found": ratios[name]["median"]}
    return found


def main() -> int:
    """Measure, print, store; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", metavar="PYTHON", help="interpreter that has the other packages"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="a look; stores nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    precision = torch.get_float32_matmul_precision()
    print(f"float32 products: {precision} ('highest' is float32 throughout, no TF32 or bf16)")
    peers = Peers(options.peers, "rbm_peers.py") if options.peers else None
    load = [os.getloadavg()[0]]
    rows = measure(options.device, options.quick, peers)
    load.append(os.getloadavg()[0])
    bars = against_bars(rows) if options.device == "cpu" else {}
    for name, row in bars.items():
        print(f"{name:32s} {row['found']:6.2f}   bar {row['bar']:.2f}")
    if not options.quick:
        settings = {
            "peers": peers.ask("versions")[0] if peers else "not measured: no --peers",
            "device": options.device,
            "float32_matmul_precision": precision,
            "load_before_and_after": load,
        }
        result = RESULT if options.device == "cpu" else RESULT.with_stem("rbm_speed_cuda")
        write_result(result, {"run": settings, "bars": bars, **rows})
    return int(any(row["found"] < row["bar"] for row in bars.values()))


if __name__ == "__main__":
    sys.exit(main())
