"""Few-step students beside their teacher on the Z to mu mu sample: quality and time per event.

    python benchmarks/students.py --teacher-seconds 700 --student-steps 20000 --steps 8,4,2,1

Trains a diffusion model on 40,000 events, then students on what it makes, and asks boosted trees
(3 folds) to tell 20,000 generated events from as many that no training has seen, with and without
the dimuon mass. One core; CPU time. ``--teacher FOLDER`` takes one that was saved before.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from machine import read_rows, write_result
from zmumu import COLUMNS, SIMULATION_MS, auc, fit_physgen

import physgen as pg
from physgen.benchmarking import milliseconds


def judged(surrogate, test, seed):
    start = time.process_time()
    fake = surrogate(len(test), rng=seed)
    rate = (time.process_time() - start) / len(test)
    times = milliseconds(surrogate, test)
    return {
        "auc": auc(test, fake, with_mass=False),
        "auc_with_mass": auc(test, fake, with_mass=True),
        "ms_per_event": {str(n): t for n, t in times.items()},
        "ms_per_event_called": 1e3 * rate,
        "times_pythia": SIMULATION_MS / min(times.values()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/zmumu.root")
    parser.add_argument("--teacher", default="")
    parser.add_argument("--teacher-seconds", type=float, default=700.0)
    parser.add_argument("--student-steps", type=int, default=20_000)
    parser.add_argument("--n-events", type=int, default=60_000)
    parser.add_argument("--steps", default="8,4,2,1")
    parser.add_argument("--save", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default="benchmarks/results/students.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    events = pg.read_events(args.data, fields=COLUMNS)
    train, test = events.split(2 / 3, rng=0)
    rows = read_rows(args.output)
    half = test.split(0.5, rng=0)
    rows["truth against truth"] = {
        "auc": auc(*half, with_mass=False), "auc_with_mass": auc(*half, with_mass=True),
        "n_events": len(half[0]),
    }  # fmt: skip
    if args.teacher:
        teacher, cpu = pg.Surrogate.load(args.teacher), None
    else:
        teacher, cpu = fit_physgen("diffusion", train, args.teacher_seconds, args.seed)
        if args.save:
            teacher.save(args.save)
    rows["teacher"] = judged(teacher, test, args.seed + 1) | {"training_cpu_seconds": cpu}
    print("teacher", rows["teacher"], flush=True)
    for n in map(int, args.steps.split(",")):
        start = time.process_time()
        student = pg.distill(
            teacher, n, n_events=args.n_events, steps=args.student_steps, rng=args.seed
        )
        spent = time.process_time() - start
        name = f"student, {n} steps"
        rows[name] = judged(student, test, args.seed + 1) | {"training_cpu_seconds": spent}
        print(name, rows[name], flush=True)
        write_result(args.output, rows)


if __name__ == "__main__":
    main()
