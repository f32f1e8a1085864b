"""Nothing in the MCMC layer leaves the device of its start; a GPU finds the same laws."""

import math

import pytest
import torch

from physgen import mcmc
from physgen.random import PhiloxRandom

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
SPINS = [mcmc.SingleFlip(), mcmc.Gibbs(), mcmc.Gibbs(block_size=2, sweep=True)]
NUMBERS = [
    mcmc.Langevin(step_size=0.5, adjust=True),
    mcmc.HMC(step_size=0.5, n_leapfrog=3, inverse_mass=torch.ones(4)),
    mcmc.Metropolis(proposal=mcmc.RandomWalk()),
    mcmc.Blocks(kernels=(mcmc.HMC(), mcmc.HMC()), columns=((0, 1), (2, 3))),
]


class Free:
    """Fair spins."""

    def sample(self, n_events, condition, *, rng):
        return torch.where(rng.uniform(n_events, 4) < 0.5, 1.0, -1.0)

    def log_prob(self, x, condition):
        return -math.log(2) * x.square().sum(1)


def bonds(s):
    return -0.4 * (s[:, 1:] * s[:, :-1]).sum(1)


def unit(x):
    return x.square().sum(1) / 2


@every_device
@pytest.mark.parametrize("kernel", [*SPINS, mcmc.Independence(proposal=Free())])
def test_spins(kernel, device):
    start = torch.ones(500, 4, dtype=torch.int8, device=device)
    chain = mcmc.run_chains(kernel, bonds, start, n_steps=100, n_burn_in=20, rng=1)
    assert chain.state.device == start.device
    assert abs(chain.measure("energy").pull(-1.2 * math.tanh(0.4))) < 4


@every_device
@pytest.mark.parametrize("kernel", NUMBERS)
def test_numbers(kernel, device):
    start = torch.zeros(500, 4, device=device)
    chain = mcmc.run_chains(kernel, unit, start, n_steps=100, n_burn_in=50, rng=1)
    assert chain.state.device == start.device
    assert abs(chain.measure("energy").pull(2.0)) < 4


@every_device
def test_tempering_annealing_and_tuning(device):
    start = torch.ones(3, 500, 4, device=device)
    settings = {"betas": (0.2, 0.6, 1.0), "n_steps": 100, "n_burn_in": 10, "rng": 1}
    result = mcmc.parallel_tempering(mcmc.Gibbs(), mcmc.tempered(bonds), start, **settings)
    assert result.state.device == start.device
    assert abs(result.chain.measure("energy").pull(-1.2 * math.tanh(0.4))) < 4
    free = Free().sample(500, None, rng=PhiloxRandom(2, torch.arange(500, device=device)))
    log_z = mcmc.annealed_importance(
        mcmc.Gibbs(), mcmc.tempered(bonds), free, betas=(0, 0.5, 1), base_log_z=4 * math.log(2),
        rng=3,
    )  # fmt: skip
    assert log_z.log_weights.device == start.device
    assert abs(log_z.pull(math.log(2) + 3 * math.log(2 * math.cosh(0.4)))) < 4
    kernel, state = mcmc.tune_step_size(mcmc.HMC(), unit, start[0], n_steps=50, rng=4)
    assert state.device == start.device
    assert kernel.step_size > 0.1


@every_device
def test_proposals_drawn_before(device):
    drawn = Free().sample(50_000, None, rng=PhiloxRandom(1, torch.arange(50_000, device=device)))
    log_q = Free().log_prob(drawn, None).view(100, 500)
    chain = mcmc.independence_chains(bonds, drawn.view(100, 500, 4), log_q, n_burn_in=20, rng=2)
    assert chain.state.device == drawn.device
    assert abs(chain.measure("energy").pull(-1.2 * math.tanh(0.4))) < 4
