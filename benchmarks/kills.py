"""Trainings killed at random moments, and whether they end with the weights of an undisturbed one.

python benchmarks/kills.py [--kills 200] [--families vae,gan,...] [--seed 1]

Each family trains through the shell and is killed (SIGKILL) again and again, at any moment from
the start of Python on: in steps, in looks, while checkpoints are written, while the surrogate is
saved. Then the same line is left alone, and weights.safetensors compared with those of a training
that nobody touched.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import write_result

import physgen as pg

RESULT = Path(__file__).parent / "results" / "kills.json"
TINY = {
    "vae": "--vae.n-hidden 16",
    "gan": "--gan.n-hidden 16",
    "diffusion": "--diffusion.n-hidden 16 --diffusion.n-blocks 1",
    "rbm": "--rbm.n-hidden 8 --rbm.chains pcd:n_steps=1,n_chains=64",
    "ebm": "--ebm.objective contrastive:n_steps=2,n_chains=64",
    "masked": "",
}
STEPS = 400


def sample():
    rng = np.random.default_rng(0)
    return pg.Events.from_dict({"spins": rng.choice([-1, 1], (500, 9)).astype(np.int8)})


def command(family, data, output, seed):
    line = (
        f"train {data} --model {family} {TINY[family]} --steps {STEPS} --batch-size 32 "
        f"--checkpoint-every 3 --seed {seed} -o {output}"
    )
    return [sys.executable, "-m", "physgen", *line.split()]


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
    child = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        child.wait(wait)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return place(folder)
    if child.returncode:
        raise SystemExit(f"{' '.join(line)} failed")
    return None


def campaign(family, n_kills, folder, seed, rng):
    data, counts, wrong, n_trainings, done = folder / "spins.h5", {}, 0, 0, 0
    line = command(family, data, folder / "whole", seed)
    startup = seconds_to_train(line, folder / "whole")
    whole = (folder / "whole" / "weights.safetensors").read_bytes()
    while done < n_kills:
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            line = command(family, data, here / "run", seed)
            for _ in range(min(20, n_kills - done)):
                # most of them while it trains, some before
                where = killed(line, here, startup * rng.uniform(0.9, 1.25))
                if where is None:
                    break
                counts[where] = counts.get(where, 0) + 1
                done += 1
            subprocess.run(line, check=True, capture_output=True)
            n_trainings += 1
            wrong += (here / "run" / "weights.safetensors").read_bytes() != whole
            wrong += (here / "run.training").exists()
    shutil.rmtree(folder / "whole")
    return {
        "kills": done, "trainings": n_trainings, "wrong": wrong,
        **{f"killed {where}": n for where, n in sorted(counts.items())},
    }  # fmt: skip


def seconds_to_train(line, output):
    """Run the line; seconds from the start of its process to its first checkpoint."""
    start, taken = time.monotonic(), None
    child = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        if taken is None and list(output.parent.glob(f"{output.name}.training/checkpoint-*")):
            taken = time.monotonic() - start
        time.sleep(0.01)
    if child.returncode or taken is None:
        raise SystemExit(f"{' '.join(line)} failed")
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--families", default=",".join(TINY))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    families = given.families.split(",")
    rng, rows = np.random.default_rng(given.seed), {}
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
