"""RBM packages from PyPI, run for the benchmarks by an interpreter that has them.

Reads one request per line as JSON and answers each with one line: what was done, and the seconds
of the training alone (CPU seconds; with a GPU, of the wall clock). As it is used by rbm_speed.py:

    {"task": "rbms", "n": 10, "k": 1, "n_visible": 784, "n_hidden": 500, "batch": 500}

Train either package on the array ``spins`` (-1 and +1) of an .npz file for a number of CPU
seconds, and write the spins of its chains after so many Gibbs steps:

    {"task": "train", "package": "rbms", "data": "in.npz", "out": "out.npz", "cpu_seconds": 60,
     "n_hidden": 256, "batch": 500, "learning_rate": 0.01, "k": 10, "n_samples": 10000,
     "n_steps": 1000}
"""

import json
import sys
import time
from functools import cache
from importlib.metadata import version

import numpy as np
import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.dataset.dataset_class import RBMDataset
from rbms.training.pcd import fit_batch_pcd
from sklearn.neural_network import BernoulliRBM

PACKAGES = ("rbms", "scikit-learn", "torch", "numpy")


class Rbms:
    """The inner update of rbms.training.pcd.train, without the file that it writes each time."""

    def __init__(self, x, n_hidden, batch, k=1, learning_rate=0.01, n_chains=500, device="cpu"):
        ones = np.ones(len(x))
        self.data = RBMDataset(
            x, ones, ones, ones, "data", is_binary=True, device=device, dtype=torch.float32
        )
        self.parameters = BBRBM.init_parameters(n_hidden, self.data, device, torch.float32)
        self.parameters.init_grad()
        self.chains = self.parameters.init_chains(n_chains)
        # its default optimizer
        self.optimizer = torch.optim.SGD(
            self.parameters.parameters(), lr=learning_rate, maximize=True
        )
        self.batch, self.k = batch, k

    def update(self):
        rows = torch.randperm(len(self.data))[: self.batch]
        batch = (self.data.data[rows], self.data.weights[rows])
        self.optimizer.zero_grad(set_to_none=False)
        self.chains, _ = fit_batch_pcd(batch, self.chains, self.parameters, self.k, beta=1.0)
        self.optimizer.step()

    def sample(self, n_samples, n_steps):
        chains = self.parameters.init_chains(n_samples)
        return self.parameters.sample_state(chains, n_steps)["visible"].numpy()


class Sklearn:
    """The inner update of BernoulliRBM.fit.

    It computes in float32 if the data are, and in float64 for all others (bytes, integers, bools).
    """

    def __init__(self, x, n_hidden, batch, k=1, learning_rate=0.01, dtype="float32"):
        if k != 1:
            raise ValueError("scikit-learn's chains take one step per update")
        self.x = x.astype(dtype)
        self.rng = np.random.RandomState(0)
        self.model = BernoulliRBM(
            n_hidden, learning_rate=learning_rate, batch_size=batch, n_iter=1, random_state=0
        )
        self.model.fit(self.x[:batch])
        self.batch = batch

    def update(self):
        first = self.rng.randint(len(self.x) - self.batch + 1)
        self.model._fit(self.x[first : first + self.batch], self.rng)

    def sample(self, n_samples, n_steps):
        v = self.rng.randint(2, size=(n_samples, self.x.shape[1])).astype(np.float32)
        for _ in range(n_steps):
            v = self.model.gibbs(v)
        return v


TRAINERS = {"rbms": Rbms, "scikit-learn": Sklearn}


@cache
def machine(package, n_visible, **settings):
    x = (np.random.default_rng(1).random((10_000, n_visible)) < 0.3).astype(np.float32)
    return TRAINERS[package](x, **settings)


def timed(package, n, **settings):
    trainer = machine(package, **settings)
    device = settings.get("device", "cpu")
    clock = time.process_time
    if device == "cuda":

        def clock():
            torch.cuda.synchronize()
            return time.perf_counter()

    start = clock()
    with torch.no_grad():
        for _ in range(n):
            trainer.update()
    return n, clock() - start


def train(package, data, out, cpu_seconds, n_samples, n_steps, **settings):
    """Train on shuffled 0/1 units; sample from random states, as spins -1 and +1."""
    spins = np.load(data)["spins"]
    x = (spins.reshape(len(spins), -1) > 0).astype(np.float32)
    trainer = TRAINERS[package](np.random.default_rng(0).permutation(x), **settings)
    n_updates, start = 0, time.process_time()
    with torch.no_grad():
        while time.process_time() - start < cpu_seconds:
            trainer.update()
            n_updates += 1
        seconds = time.process_time() - start
        samples = trainer.sample(n_samples, n_steps)
    spins_out = np.where(samples > 0.5, 1, -1).astype(np.int8)
    np.savez_compressed(out, spins=spins_out.reshape(n_samples, *spins.shape[1:]))
    return n_updates, seconds


TASKS = {
    "versions": lambda: ({name: version(name) for name in PACKAGES}, 0.0),
    "rbms": lambda **request: timed("rbms", **request),
    "scikit-learn": lambda **request: timed("scikit-learn", **request),
    "train": train,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(TASKS[request.pop("task")](**request)), flush=True)
