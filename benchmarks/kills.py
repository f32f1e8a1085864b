"""Trainings killed at random moments, and whether they end with the weights of an undisturbed one.

python benchmarks/kills.py [--kills 200] [--families vae,gan,...] [--seed 1]

Each family trains with `physgen train`, in processes that are forked from this one to save the
import, and is killed (SIGKILL) again and again at any moment: while events are read, in steps, in
looks, while checkpoints are written, while the surrogate is saved. Then the same line is left
alone, and weights.safetensors compared with those of a training that nobody touched.
"""

import argparse
import json
import math
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import read_rows, write_result

import physgen as pg
from physgen.cli import main as shell

RESULT = Path(__file__).parent / "results" / "kills.json"
TINY = {
    "vae": "--vae.n-hidden 16",
    "gan": "--gan.n-hidden 16",
    "diffusion": "--diffusion.n-hidden 16 --diffusion.n-blocks 1",
    "rbm": "--rbm.n-hidden 8 --rbm.chains pcd:n_steps=1,n_chains=64",
    "ebm": "--ebm.objective contrastive:n_steps=2,n_chains=64",
    "masked": "",
}
STEPS = 120


def sample():
    rng = np.random.default_rng(0)
    return pg.Events.from_dict({"spins": rng.choice([-1, 1], (500, 9)).astype(np.int8)})


def command(family, data, output, seed):
    line = (
        f"train {data} --model {family} {TINY[family]} --steps {STEPS} --batch-size 32 "
        f"--checkpoint-every 2 --seed {seed} -o {output}"
    )
    return line.split()


def begun(line):
    """Number of a process that runs the line."""
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os._exit(shell(line))
    return child


def ended(child, wait=math.inf):
    """Whether the process has ended within so many seconds; SystemExit if it failed."""
    limit = time.monotonic() + wait
    while time.monotonic() < limit:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if status:
                raise SystemExit(f"a training failed with status {status}")
            return True
        time.sleep(0.001)
    return False


def place(folder):
    """Where a killed process was, by what it left."""
    kept = folder / "run.training"
    if (folder / "run").exists():
        return "after the end"
    if not kept.exists():
        return "before training"
    if list(kept.glob(".checkpoint-*")):
        return "writing a checkpoint"
    if list(folder.glob(".run.*")):
        return "saving"
    return "training"


def killed(line, folder, wait):
    """Kill the line after so many seconds; where it was, or None if it ended before."""
    child = begun(line)
    if ended(child, wait):
        return None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return place(folder)


def campaign(family, n_kills, folder, seed, rng):
    data, counts, wrong, n_trainings, done = folder / "spins.h5", {}, 0, 0, 0
    line = command(family, data, folder / "whole", seed)
    start = time.monotonic()
    ended(begun(line))
    longest = 0.4 * (time.monotonic() - start)
    whole = (folder / "whole" / "weights.safetensors").read_bytes()
    while done < n_kills:
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            line = command(family, data, here / "run", seed)
            for _ in range(min(20, n_kills - done)):
                where = killed(line, here, rng.uniform(0, longest))
                if where is None:
                    longest *= 0.8
                    break
                if where == "before training":
                    longest *= 1.2
                counts[where] = counts.get(where, 0) + 1
                done += 1
            ended(begun(line))
            n_trainings += 1
            wrong += (here / "run" / "weights.safetensors").read_bytes() != whole
            wrong += (here / "run.training").exists()
    shutil.rmtree(folder / "whole")
    return {
        "kills": done, "trainings": n_trainings, "wrong": wrong,
        **{f"killed {where}": n for where, n in sorted(counts.items())},
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--families", default=",".join(TINY))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    families = given.families.split(",")
    rng, rows = np.random.default_rng(given.seed), read_rows(RESULT)
    with tempfile.TemporaryDirectory() as folder:
        pg.write_events(Path(folder) / "spins.h5", sample())
        for k, family in enumerate(families):
            n_kills = (k + 1) * given.kills // len(families) - k * given.kills // len(families)
            rows[family] = campaign(family, n_kills, Path(folder), given.seed + k, rng)
            print(family, json.dumps(rows[family]), flush=True)
            write_result(RESULT, rows)
    if any(row["wrong"] for row in rows.values()):
        raise SystemExit("a training was not the same after its kills")


if __name__ == "__main__":
    main()
