"""
A model of your own in 30 lines
===============================

One class with ``loss`` and ``sample``, and it is a surrogate like the others.

This one is conditional flow matching (Lipman et al., arXiv:2210.02747) with a straight path from
noise to event and Euler steps back: 30 lines, no base class, nothing to register.

.. code-block:: sh

    python examples/new_model_in_30_lines.py [--quick]
"""

import argparse

import torch
from torch import nn

import physgen as pg
from physgen.networks.mlp import MLP
from physgen.simulators import GaussianRing


class FlowMatching(nn.Module):
    def __init__(self, n_features, n_conditions=0, n_steps=50):
        super().__init__()
        self.n_features, self.n_steps = n_features, n_steps
        self.velocity = MLP(n_features + n_conditions + 1, n_features)

    def loss(self, x, condition, *, player, rng):
        noise = rng.normal(*x.shape)
        t = rng.uniform(len(x), 1)
        at_t = (1 - t) * noise + t * x
        velocity = self.velocity(torch.cat((at_t, condition, t), dim=1))
        return (velocity - (x - noise)).square().mean(dim=1)

    @torch.no_grad()
    def sample(self, n_events, condition, *, rng):
        x = rng.normal(n_events, self.n_features)
        for step in range(self.n_steps):
            t = torch.full((n_events, 1), step / self.n_steps)
            x = x + self.velocity(torch.cat((x, condition, t), dim=1)) / self.n_steps
        return x


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)

    truth = GaussianRing()(10_000, rng=0)
    train, test = truth.split(0.5, rng=0)
    surrogate = pg.Surrogate.fit(
        train, FlowMatching(n_features=2), steps=100 if args.quick else 3000, rng=1
    )
    report = pg.compare(test, surrogate(len(test), rng=2), rng=0)
    print(report)
    return report


if __name__ == "__main__":
    main()
