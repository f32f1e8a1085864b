"""Locally informed flips: exact whatever the estimates, and worth their price where it is cold."""

import itertools

import pytest
import torch
from scipy import stats

from physgen.mcmc import InformedFlip, SingleFlip, informed, kernels, run, run_chains
from physgen.random import PhiloxRandom

N_CHAINS = 10_000
STATES = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)))
every_kind = pytest.mark.parametrize(
    "kernel", [InformedFlip(gradient=g, barker=b) for g in (True, False) for b in (False, True)]
)


def triples(s):
    """Interactions of three spins and a square that the gradient sees and a flip does not."""
    s = s.float()
    field = 0.4 * s[:, 0] - 0.2 * s[:, 3]
    return -0.7 * s[:, 0] * s[:, 1] * s[:, 2] - field + 0.3 * s.sum(1) ** 2


def draws(n=N_CHAINS, seed=1):
    return PhiloxRandom(seed, torch.arange(n))


def p_value(state, energy=triples):
    index = ((state > 0).long() * torch.tensor([8, 4, 2, 1])).sum(1)
    counts = torch.bincount(index, minlength=16).double()
    law = torch.softmax(-energy(STATES).double(), 0)
    return stats.chisquare(counts, law * len(state)).pvalue


@every_kind
def test_the_law_is_exact_whatever_the_estimates(kernel):
    start = torch.ones(N_CHAINS, 4, dtype=torch.int8)
    state, info = run(kernel, triples, start, 60, rng=draws())
    assert 0.001 < p_value(state) < 1
    assert p_value(state, lambda s: 0.8 * triples(s)) < 1e-6
    assert 0.3 < info.acceptance.mean() < 1


@every_kind
def test_a_ratio_without_the_proposals_is_noticed(kernel, monkeypatch):
    """The test of a symmetric proposal, which these are not."""

    def symmetric(state, candidate, _, *, rng):
        ratio = kernels.energy_drop(triples(state), triples(candidate))
        return kernels.metropolis_test(state, candidate, ratio, rng=rng)

    monkeypatch.setattr(informed, "metropolis_test", symmetric)
    state, _ = run(kernel, triples, torch.ones(N_CHAINS, 4), 60, rng=draws())
    assert p_value(state) < 1e-6


def test_a_gradient_knows_the_flips_of_pair_interactions():
    coupling = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    coupling = coupling.triu(1)
    pairs = lambda s: -((s @ coupling) * s).sum(1) - s[:, 0]
    states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)), dtype=torch.float64)
    assert torch.allclose(
        informed._by_gradient(pairs, states)[1], informed._by_evaluation(pairs, states)[1]
    )
    # and not those of others
    cube = lambda s: s.sum(1) ** 3
    assert not torch.allclose(
        informed._by_gradient(cube, states)[1], informed._by_evaluation(cube, states)[1]
    )


def cold_ring(s):
    return -1.0 * (s * s.roll(1, 1)).sum(1)


def test_it_moves_where_most_flips_are_hopeless():
    """Ring at beta = 1: the energy forgets the start sooner per move."""
    chains = {
        kind: run_chains(kernel, cold_ring, torch.ones(40, 16), n_steps=1200, n_burn_in=200, rng=1)
        for kind, kernel in {"informed": InformedFlip(), "flip": SingleFlip()}.items()
    }
    tau = {kind: chain.measure("energy").tau for kind, chain in chains.items()}
    assert tau["informed"] < tau["flip"] / 2
    t = torch.tensor(1.0).tanh()
    exact = float(-16 * (t + t**15) / (1 + t**16))
    for chain in chains.values():
        assert abs(chain.measure("energy").pull(exact)) < 4


def test_chains_do_not_move_in_step():
    """Without an energy nothing is refused, and still odd and even chains mix."""
    free = lambda s: 0 * s.sum(1)
    state, info = run(InformedFlip(), free, torch.ones(N_CHAINS, 4), 40, rng=draws())
    assert (info.acceptance == 1).all()
    assert abs(float(state.prod(1).mean())) < 4 / N_CHAINS**0.5


def test_a_start_of_infinite_energy_is_left():
    wall = lambda s: torch.where(s.sum(1) > 3, torch.inf, triples(s))
    for gradient in (True, False):
        kernel = InformedFlip(gradient=gradient)
        state, info = run(kernel, wall, torch.ones(100, 4), 20, rng=draws(100))
        assert wall(state).isfinite().all()
        assert info.acceptance.isfinite().all()


def test_what_cannot_be_is_refused():
    start = torch.ones(2, 4)
    with pytest.raises(TypeError, match=r"differentiate; use InformedFlip\(gradient=False\)"):
        InformedFlip()(lambda s: (s.detach() > 0).float().sum(1), start, rng=draws(2))
    with pytest.raises(ValueError, match=r"InformedFlip moves .* -1 and 1, but found 0; for 0"):
        InformedFlip()(triples, torch.zeros(2, 4), rng=draws(2))
