"""Packages with an MMD, run for mmd.py by an interpreter that has them.

Reads one request per line as JSON and answers each with one line: what it found, the CPU seconds
of the call alone, and by how many megabytes it raised the peak of the resident memory:

    {"task": "scikit-learn", "n": 10000, "d": 784}

Packages that are not installed are answered for with null.
"""

import json
import math
import sys
import time
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from mmd_memory import peak, reset_peak, resident

PACKAGES = ("scikit-learn", "alibi-detect", "hyppo", "jetnet", "torch", "numpy")


def samples(n, d):
    x, y = np.random.default_rng(1).standard_normal((2, n, d), dtype=np.float32)
    return x, y


def versions():
    def of(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: of(name) for name in PACKAGES}


def scikit_learn(x, y):
    from sklearn.metrics.pairwise import rbf_kernel

    gamma = 1 / (4 * x.shape[1])
    means = [rbf_kernel(u, v, gamma=gamma).mean() for u, v in ((x, x), (y, y), (x, y))]
    return float(means[0] + means[1] - 2 * means[2])


def alibi_detect(x, y):
    from alibi_detect.cd import MMDDrift

    test = MMDDrift(x, backend="pytorch", n_permutations=100, device="cpu")
    return float(test.predict(y)["data"]["distance"])


def hyppo(x, y):
    from hyppo.ksample import MMD

    return float(MMD().statistic(x.astype(float), y.astype(float)))


def jetnet(x, y):
    from jetnet.evaluation import kpd

    return float(kpd(x, y, num_batches=10, batch_size=min(5000, len(x)))[0])


TASKS = {
    "scikit-learn": scikit_learn, "alibi-detect": alibi_detect, "hyppo": hyppo, "jetnet": jetnet,
}  # fmt: skip


def measured(task, n, d):
    x, y = samples(n, d)
    try:
        TASKS[task](x[:30], y[:30])  # imports and compiles
    except ImportError as error:
        return None, math.nan, str(error)
    reset_peak()
    before, start = resident(), time.process_time()
    found = TASKS[task](x, y)
    return found, time.process_time() - start, peak() - before


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("task")
        answer = (versions(),) if task == "versions" else measured(task, **request)
        print(json.dumps(answer), flush=True)
