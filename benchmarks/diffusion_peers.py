"""Diffusion packages from PyPI, run for diffusion_speed.py by an interpreter that has them.

Reads one request per line as JSON, ``{"package": "torchebm", "data": "x.npy", "batch": 512,
"n_steps": 500}``, trains the same network on the same events, and answers with CPU seconds.
"""

import json
import sys
import tempfile
import time
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from physgen.networks.mlp import ResidualMLP

PACKAGES = ("denoising-diffusion-pytorch", "torchebm", "torch")


class Network(nn.Module):
    """physgen's perceptron and embedding of the time, as the peers call a network."""

    channels, self_condition = 1, False

    def __init__(self, n_features):
        super().__init__()
        self.frequencies = nn.Buffer(torch.linspace(0, 5.3, 16).exp())
        self.context = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.network = ResidualMLP(n_features, n_features, 64)

    def forward(self, x, t, _self_condition=None):
        phase = t.float()[:, None] * self.frequencies
        context = self.context(torch.cat((phase.cos(), phase.sin()), dim=1))
        return self.network(x.flatten(1), context).view_as(x)


def lucidrains(x, batch, n_steps):
    """Its Trainer1D as its README says; it reads events through worker processes."""
    # its package imports torchvision for images alone, which must match the build of torch
    sys.modules["torchvision"] = SimpleNamespace(transforms=None, utils=None)
    from denoising_diffusion_pytorch import Dataset1D, GaussianDiffusion1D, Trainer1D

    model = GaussianDiffusion1D(
        Network(x.shape[1]), seq_length=x.shape[1], objective="pred_v", auto_normalize=False
    )
    trainer = Trainer1D(
        model, Dataset1D(torch.from_numpy(x)[:, None]), train_batch_size=batch, train_lr=1e-3,
        train_num_steps=n_steps, save_and_sample_every=10**9, results_folder=tempfile.mkdtemp(),
    )  # fmt: skip
    return trainer.train


def torchebm(x, batch, n_steps):
    """Its FlowMatchingLoss in the loop of its documentation."""
    from torchebm.losses import FlowMatchingLoss

    model = Network(x.shape[1])
    loss_of = FlowMatchingLoss(model, interpolant="linear")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x))
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)

    def train():
        done = 0
        while done < n_steps:
            for (events,) in loader:
                optimizer.zero_grad()
                loss_of(events).backward()
                optimizer.step()
                done += 1
                if done == n_steps:
                    return

    return train


def main():
    torch.set_num_threads(1)
    peers = {"denoising-diffusion-pytorch": lucidrains, "torchebm": torchebm}
    for line in sys.stdin:
        request = json.loads(line)
        x = np.load(request["data"])
        train = peers[request["package"]](x, request["batch"], request["n_steps"])
        start = time.process_time()
        train()
        spent = time.process_time() - start
        print(json.dumps({"seconds": spent, "versions": {p: version(p) for p in PACKAGES}}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
