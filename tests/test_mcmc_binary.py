"""The heat bath: blocks, sweeps, other values than -1 and +1."""

import itertools

import pytest
import torch
from scipy import stats

from physgen.mcmc import Gibbs, SingleFlip, run
from physgen.random import PhiloxRandom

N_CHAINS = 10_000
OCCUPIED = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)))


def lattice_gas(n):
    """Attraction of neighbors on a ring, and a chemical potential on one site."""
    return -1.2 * (n * n.roll(1, 1)).sum(1) + 0.9 * n.sum(1) - 0.5 * n[:, 0]


def p_value(state, energy=lattice_gas):
    index = (state.long() * torch.tensor([8, 4, 2, 1])).sum(1)
    counts = torch.bincount(index, minlength=16).double()
    law = torch.softmax(-energy(OCCUPIED.double()), 0)
    return stats.chisquare(counts, law * len(state)).pvalue


@pytest.mark.parametrize(
    ("kernel", "n_moves"),
    [(Gibbs(values=(0, 1)), 60), (Gibbs(values=(0, 1), block_size=3, sweep=True), 8)],
)
def test_occupation_numbers_follow_their_law(kernel, n_moves):
    start = torch.zeros(N_CHAINS, 4, dtype=torch.int8)
    state, _ = run(
        kernel, lattice_gas, start, n_moves, rng=PhiloxRandom(1, torch.arange(N_CHAINS))
    )
    assert 0.001 < p_value(state) < 1
    assert p_value(state, lambda n: 0.8 * lattice_gas(n)) < 1e-6


@pytest.mark.parametrize(
    "kernel", [Gibbs(block_size=4, values=(0, 1)), Gibbs(block_size=9, values=(0, 1), sweep=True)]
)
def test_a_block_of_all_sites_is_an_independent_draw(kernel):
    start = torch.zeros(N_CHAINS, 4)
    state, info = kernel(lattice_gas, start, rng=PhiloxRandom(2, torch.arange(N_CHAINS)))
    assert 0.001 < p_value(state) < 1
    assert (info.acceptance == 1).all()


def test_a_block_crosses_where_single_spins_freeze():
    """Two spins bound by a large coupling turn only together."""
    bound = lambda s: -30 * s[:, 0] * s[:, 1]
    start = torch.ones(2000, 2)
    rng = PhiloxRandom(3, torch.arange(2000))
    alone, _ = run(Gibbs(sweep=True), bound, start, 20, rng=rng)
    together, _ = run(Gibbs(block_size=2, sweep=True), bound, start, 1, rng=rng)
    assert (alone == 1).all()
    assert abs(float(together[:, 0].mean())) < 4 / 2000**0.5
    assert (together[:, 0] == together[:, 1]).all()


def test_an_energy_may_hold_something_per_chain():
    """As a tempered or conditional energy does."""
    field = torch.linspace(-1, 1, 8).repeat_interleave(1000)
    rng = PhiloxRandom(4, torch.arange(8000))
    state, _ = Gibbs(sweep=True, block_size=2)(
        lambda s: -field * s.sum(1), torch.ones(8000, 4), rng=rng
    )
    mean = state.view(8, 4000).mean(1)
    assert ((mean - torch.linspace(-1, 1, 8).tanh()).abs() < 4 / 4000**0.5).all()


def test_what_cannot_be_is_refused():
    rng = PhiloxRandom(0, torch.arange(2))
    mixed = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match=r"Gibbs moves .* -1 and 1, but found 0; give values="):
        Gibbs()(lattice_gas, mixed, rng=rng)
    with pytest.raises(ValueError, match=r"SingleFlip .* but found 0; for 0 and 1 use Gibbs"):
        SingleFlip()(lattice_gas, mixed, rng=rng)
    with pytest.raises(ValueError, match="block_size of Gibbs must be 1 to 12"):
        Gibbs(block_size=13)
    with pytest.raises(ValueError, match="two different numbers"):
        Gibbs(values=(1, 1))
