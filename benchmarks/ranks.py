"""Events per second of one training in one and more processes.

    OMP_NUM_THREADS=1 python benchmarks/ranks.py [--families vae] [--steps 300]

Strong scaling: a batch of 1024 events for all processes. Weak scaling: 1024 for each. Processes
have one thread each and talk over gloo on this machine; the time is that of the steps alone, from
the first log to the last one. A run is repeated, and the fastest counts.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from machine import write_result

import physgen as pg

RESULT = "benchmarks/results/ranks.json"
BATCH = 1024
FAMILIES = {"diffusion": pg.Diffusion(), "vae": pg.VAE(), "gan": pg.GAN()}


def trained(family, batch_size, steps):
    """Events per second in the processes that this is one of."""
    x = np.random.default_rng(0).normal(size=(20_000, 8))
    truth = pg.Events.from_dict({f"x{k}": column for k, column in enumerate(x.T)})
    training = pg.TrainingConfig(
        steps=steps, batch_size=batch_size, validation_fraction=0, keep="last"
    )
    history = pg.Surrogate.fit(truth, FAMILIES[family], training=training, rng=1).history
    n_steps = history.steps[-1] - history.steps[0]
    return n_steps * batch_size / (history.seconds[-1] - history.seconds[0])


def measured(family, batch_size, n, steps):
    script = [__file__, "--child", family, str(batch_size), "--steps", str(steps)]
    runner = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    line = [sys.executable, *(runner if n > 1 else []), *script]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.child:
        rate = trained(options.child[0], int(options.child[1]), options.steps)
        if os.environ.get("RANK", "0") == "0":
            sys.stdout.write(json.dumps(rate))
        return
    rows = {"load": [round(load, 1) for load in os.getloadavg()]}
    for family in options.families:
        for kind in ("strong", "weak"):
            row = rows.setdefault(f"{family}, {kind}", {})
            for n in options.processes:
                batch = BATCH * (n if kind == "weak" else 1)
                rates = [measured(family, batch, n, options.steps) for _ in range(options.repeats)]
                row[str(n)] = round(max(rates))
                print(family, kind, n, f"{max(rates):,.0f} events/s", flush=True)
    write_result(Path(RESULT), rows)


if __name__ == "__main__":
    main()
