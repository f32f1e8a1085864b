"""Kernels leave a known law invariant; the tests count states against the enumerated law."""

import itertools
import math

import pytest
import torch
from scipy import stats

from physgen.mcmc import Blocks, Info, Langevin, SingleFlip, run
from physgen.random import PhiloxRandom

N_CHAINS = 20_000


@pytest.fixture
def rng():
    return PhiloxRandom(11, torch.arange(N_CHAINS))


def ring_energy(spins):
    """Ising ring with a field, at beta = 0.5: no symmetry helps a wrong kernel."""
    return -0.5 * (spins * spins.roll(1, 1)).sum(1) - 0.2 * spins[:, 0]


STATES = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)))
RING_LAW = torch.softmax(-ring_energy(STATES.double()), 0)


def double_well(x):
    return ((x.square() - 1).square() * 2 + 0.3 * x).sum(1)


def well_bins(n_bins=24):
    """Edges with equal probability under exp(-double_well), by a fine sum."""
    grid = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    cumulative = torch.softmax(-double_well(grid[:, None]), 0).cumsum(0)
    return grid[torch.searchsorted(cumulative, torch.arange(1, n_bins) / n_bins)]


def p_value_of_ring(state):
    index = ((state > 0).long() * torch.tensor([8, 4, 2, 1])).sum(1)
    counts = torch.bincount(index, minlength=16).double()
    return stats.chisquare(counts, RING_LAW * counts.sum()).pvalue


def p_value_of_well(state):
    edges = well_bins()
    counts = torch.bincount(torch.bucketize(state[:, 0].double(), edges), minlength=24).double()
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_single_flip_leaves_the_ising_law(rng, dtype):
    start = torch.where(rng.uniform(N_CHAINS, 4) < 0.5, -1.0, 1.0).to(dtype)
    state, info = run(SingleFlip(), ring_energy, start, 60, rng=rng)
    assert state.dtype == dtype
    assert 0.001 < p_value_of_ring(state) < 1
    assert 0 < info.acceptance.min() <= info.acceptance.max() <= 1


def test_single_flip_keeps_an_exact_sample_exact(rng):
    """One move from the exact law: the detailed balance itself, without convergence."""
    generator = torch.Generator().manual_seed(3)
    exact = STATES[torch.multinomial(RING_LAW, N_CHAINS, replacement=True, generator=generator)]
    state, _ = SingleFlip()(ring_energy, exact, rng=rng)
    assert 0.001 < p_value_of_ring(state) < 1


def test_single_flip_on_a_lattice(rng):
    start = torch.ones(N_CHAINS, 2, 2)
    state, _ = SingleFlip()(lambda s: 0 * s.sum((1, 2)), start, rng=rng)
    assert state.shape == start.shape
    assert (state.sum((1, 2)) == 2).all()
    assert (start == 1).all()


def test_adjusted_langevin_leaves_the_double_well(rng):
    start = 2 * rng.uniform(N_CHAINS, 1) - 1
    kernel = Langevin(step_size=0.1, adjust=True)
    state, info = run(kernel, double_well, start, 200, rng=rng)
    assert 0.001 < p_value_of_well(state) < 1
    assert 0 < info.acceptance.min() <= info.acceptance.max() <= 1


def test_unadjusted_langevin_has_the_known_bias(rng):
    """On E = x^2/2 the stationary variance of the unadjusted move is 1 / (1 - step/2)."""
    start = rng.normal(N_CHAINS, 1)
    state, info = run(Langevin(step_size=0.4), lambda x: x.square().sum(1) / 2, start, 30, rng=rng)
    assert (info.acceptance == 1).all()
    expected = 1 / (1 - 0.4 / 2)
    assert abs(float(state.var()) / expected - 1) < 4 * math.sqrt(2 / N_CHAINS)


def test_the_count_notices_a_wrong_law(rng):
    """Negative control: unadjusted moves, and flips at another temperature, do not pass."""
    start = 2 * rng.uniform(N_CHAINS, 1) - 1
    state, _ = run(Langevin(step_size=0.1), double_well, start, 100, rng=rng)
    assert p_value_of_well(state) < 1e-6
    spins = torch.ones(N_CHAINS, 4)
    state, _ = run(SingleFlip(), lambda s: 0.9 * ring_energy(s), spins, 60, rng=rng)
    assert p_value_of_ring(state) < 1e-6


def test_blocks_move_spins_and_numbers_together(rng):
    """Spins of the ring and a number x ~ N(s_0, 1)."""
    joint = lambda s: ring_energy(s[:, 1:]) + (s[:, 0] - s[:, 1]).square() / 2
    kernel = Blocks(
        kernels=(Langevin(step_size=0.5, adjust=True), SingleFlip()),
        columns=((0,), (1, 2, 3, 4)),
    )
    start = torch.cat((rng.normal(N_CHAINS, 1), torch.ones(N_CHAINS, 4)), dim=1)
    state, info = run(kernel, joint, start, 80, rng=rng)
    assert 0.001 < p_value_of_ring(state[:, 1:]) < 1
    assert stats.kstest(state[:, 0] - state[:, 1], "norm").pvalue > 0.001
    assert 0 < info.acceptance.min() <= info.acceptance.max() <= 1


def test_run_counts_its_steps():
    calls = []

    def kernel(_energy, state, *, rng):
        calls.append(rng)
        return state + 1, Info(torch.full((len(state),), 0.5))

    state, info = run(kernel, None, torch.zeros(3, 1), 4, rng=PhiloxRandom(0, torch.arange(3)))
    assert len(calls) == 4
    assert (state == 4).all()
    assert (info.acceptance == 0.5).all()
    state, info = run(kernel, None, state, 0, rng=PhiloxRandom(0, torch.arange(3)))
    assert (state == 4).all()
    assert (info.acceptance == 1).all()


@pytest.mark.parametrize("kernel", [Langevin(adjust=True), SingleFlip()])
def test_a_chain_depends_only_on_its_own_draws(kernel):
    start = torch.where(torch.arange(32)[:, None] % 2 == 0, 1.0, -1.0).expand(32, 4).contiguous()
    energy = lambda s: -0.5 * (s * s.roll(1, 1)).sum(1)
    all_of_them, _ = run(kernel, energy, start, 5, rng=PhiloxRandom(2, torch.arange(32)))
    late, _ = run(kernel, energy, start[16:], 5, rng=PhiloxRandom(2, torch.arange(16, 32)))
    assert torch.equal(all_of_them[16:], late)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="step_size of Langevin must be positive, got 0"):
        Langevin(step_size=0)
    with pytest.raises(ValueError, match="n_steps must be 0 or more, got -1"):
        run(SingleFlip(), ring_energy, torch.ones(2, 4), -1, rng=PhiloxRandom(0, torch.arange(2)))
    with pytest.raises(ValueError, match="2 kernels and 1 groups"):
        Blocks(kernels=(Langevin(), SingleFlip()), columns=((0,),))
