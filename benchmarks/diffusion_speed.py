"""Training steps per CPU second of a diffusion model, beside two packages from PyPI.

    python benchmarks/diffusion_speed.py --peers PYTHON

The same perceptron (256 x 3 blocks), the same 40,000 events of 11 columns, the same batch, one
thread, one run. physgen's figure is that of its whole loop: average of the weights, limits of the
gradient, validation loss. PYTHON is an interpreter with denoising-diffusion-pytorch and torchebm;
the worker processes in which the former reads events are not counted.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import read_rows, write_result
from zmumu import COLUMNS

import physgen as pg
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom, seeded_layers
from physgen.training import TrainingConfig, train

HERE = Path(__file__).parent


def own(x, batch, n_steps):
    from physgen.tensor_spec import TensorSpec

    spec = TensorSpec(n_features=x.shape[1])
    with seeded_layers(0):
        model = pg.Diffusion().build(spec)
    start = time.process_time()
    train(model, x, config=TrainingConfig(steps=n_steps, batch_size=batch), rng=0)
    return time.process_time() - start


class Peer:
    def __init__(self, python):
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
        self.process = subprocess.Popen(
            [python, HERE / "diffusion_peers.py"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __call__(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith('{"seconds"'):
                return json.loads(line)
        raise SystemExit(f"the peer ended at {request}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/zmumu.root")
    parser.add_argument("--peers", default="")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--n-steps", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", default="benchmarks/results/diffusion_speed.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    events = pg.read_events(args.data, fields=COLUMNS)[:40_000]
    x, _ = Preprocessor.fit(events).forward(events, rng=PhiloxRandom(0, torch.arange(len(events))))
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x.numpy())
        peer = Peer(args.peers) if args.peers else None
        for _ in range(args.repeats):
            seconds.setdefault("physgen", []).append(own(x, args.batch, args.n_steps))
            for name in ("denoising-diffusion-pytorch", "torchebm") if peer else ():
                said = peer(
                    package=name, data=str(Path(folder) / "x.npy"), batch=args.batch,
                    n_steps=args.n_steps,
                )  # fmt: skip
                seconds.setdefault(name, []).append(said["seconds"])
    rows = read_rows(args.output)
    for name, found in seconds.items():
        rows[name] = {
            "steps_per_cpu_second": args.n_steps / min(found),
            "times_physgen": min(found) / min(seconds["physgen"]),
            "cpu_seconds": found,
        }
        print(name, rows[name], flush=True)
    if peer:
        rows["versions of the peers"] = said["versions"]
    write_result(args.output, rows)


if __name__ == "__main__":
    main()
