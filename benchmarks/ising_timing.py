"""Tools of the benchmarks: timing in turns, and programs in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

Run = Callable[[int], tuple[float, float]]
"""Repeats a move n times; returns the work done and the CPU seconds it took."""


class Peers:
    """The other packages, in a process of their own."""

    def __init__(self, python: str, program: str = "ising_peers.py") -> None:
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )

    def ask(self, task: str, **arguments: object) -> tuple:
        print(json.dumps({"task": task, **arguments}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peers' interpreter stopped at {task} {arguments}")
        return tuple(json.loads(answer))

    def run(self, task: str, **arguments: object) -> Run:
        return lambda n: self.ask(task, n=n, **arguments)


def cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def summary(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}


def rates(runs: Mapping[str, Run], n_repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Work per CPU-ns of each run, in turns, each time for about this many seconds."""
    lengths = {name: long_enough(run, seconds) for name, run in runs.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(n_repeats):
        for name, run in runs.items():
            work, cpu = run(lengths[name])
            found[name].append(work / cpu / 1e9)
    return {name: summary(values) for name, values in found.items()}


def long_enough(run: Run, seconds: float) -> int:
    run(1)  # compiles
    n, cpu = 1, 0.0
    while cpu < seconds / 4:
        n *= 2
        cpu = run(n)[1]
    return max(1, round(n * seconds / cpu))


def fresh(code: str) -> dict[str, float]:
    """Run code that leaves ``result`` in an interpreter that has done nothing yet."""
    program = f"import json, time\n{code}\nprint(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | ONE_THREAD,
    )
    return json.loads(done.stdout)
