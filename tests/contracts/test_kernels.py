"""What every kernel promises: a known law stays, a seed is a chain, no other chain matters."""

import itertools

import pytest
import torch
from scipy import stats

from physgen.mcmc import (
    HMC,
    Blocks,
    Gibbs,
    Independence,
    InformedFlip,
    Langevin,
    Metropolis,
    RandomWalk,
    SingleFlip,
    SurrogateMoves,
    run,
)
from physgen.random import GeneratorRandom, PhiloxRandom

N_CHAINS = 5_000
STATES = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=9))).view(-1, 3, 3)
MEAN = torch.tensor([0.5, -0.3])
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]])
CHOLESKY = torch.linalg.cholesky(COVARIANCE)


def ising(s):
    """Periodic 3x3 lattice at beta = 0.2 with a field on one site: no symmetry is left."""
    s = s.float()
    bonds = s * s.roll(1, -1) + s * s.roll(1, -2)
    return -0.2 * bonds.sum((1, 2)) - 0.3 * s[:, 0, 0]


def gauss(x):
    """Correlated normal law of two coordinates."""
    return whiten(x).square().sum(1) / 2


def whiten(x):
    return (x - MEAN.to(x.dtype)) @ torch.linalg.inv(CHOLESKY.to(x.dtype)).T


def rather_up(s, *, rng):
    """Draw one spin anew, up in 7 of 10 times; not symmetric."""
    site = torch.eye(9, dtype=torch.bool)[(rng.uniform(len(s)) * 9).long()].view(-1, 3, 3)
    up = (rng.uniform(len(s)) < 0.7)[:, None, None]
    new = torch.where(site, torch.where(up, 1, -1).to(s.dtype), s)
    log_odds = torch.log(torch.tensor(0.7 / 0.3)) / 2
    return new, log_odds * (s - new).sum((1, 2)).float()


class FreeSpins:
    """Independent spins, up in 6 of 10 times."""

    def sample(self, n_events, condition, *, rng):
        return torch.where(rng.uniform(n_events, 9) < 0.6, 1.0, -1.0)

    def log_prob(self, x, condition):
        return torch.where(x > 0, 0.6, 0.4).log().sum(1)


class WideNormal:
    """Independent normal numbers of width 1.5."""

    def sample(self, n_events, condition, *, rng):
        return 1.5 * rng.normal(n_events, 2)

    def log_prob(self, x, condition):
        return torch.distributions.Normal(0.0, 1.5).log_prob(x).sum(1)


def surrogate(kernel, energy, n_steps):
    return Metropolis(proposal=SurrogateMoves(kernel=kernel, energy=energy, n_steps=n_steps))


# kernels of spins and of numbers, with moves enough to forget the start
SPINS = {
    "single_flip": (SingleFlip(), 250),
    "gibbs": (Gibbs(), 150),
    "gibbs_block": (Gibbs(block_size=3), 50),
    "gibbs_sweep": (Gibbs(sweep=True), 15),
    "gibbs_block_sweep": (Gibbs(block_size=4, sweep=True), 12),
    "informed": (InformedFlip(), 120),
    "informed_barker": (InformedFlip(gradient=False, barker=True), 120),
    "metropolis": (Metropolis(proposal=rather_up), 200),
    "surrogate": (surrogate(SingleFlip(), lambda s: 0.6 * ising(s), 9), 25),
    "independence": (Independence(proposal=FreeSpins()), 200),
}
NUMBERS = {
    "random_walk": (Metropolis(proposal=RandomWalk(step_size=1.0)), 120),
    "mala": (Langevin(step_size=0.3, adjust=True), 50),
    "hmc": (HMC(step_size=0.6, n_leapfrog=3), 25),
    "hmc_mass": (HMC(step_size=0.7, n_leapfrog=2, inverse_mass=COVARIANCE.diag(), jitter=0), 25),
    "surrogate": (surrogate(HMC(step_size=0.8, n_leapfrog=2), lambda x: 0.7 * gauss(x), 2), 25),
    "independence": (Independence(proposal=WideNormal()), 80),
    "blocks": (
        Blocks(kernels=(HMC(step_size=0.8, n_leapfrog=2), Langevin(adjust=True, step_size=0.4)),
               columns=((0,), (1,))),
        60,
    ),
}  # fmt: skip
every_spin_kernel = pytest.mark.parametrize(("kernel", "n_moves"), SPINS.values(), ids=SPINS)
every_real_kernel = pytest.mark.parametrize(("kernel", "n_moves"), NUMBERS.values(), ids=NUMBERS)
every_kernel = pytest.mark.parametrize(
    ("kernel", "energy", "shape"),
    [(k, ising, (3, 3)) for k, _ in SPINS.values()]
    + [(k, gauss, (2,)) for k, _ in NUMBERS.values()],
    ids=[f"spins-{name}" for name in SPINS] + [f"numbers-{name}" for name in NUMBERS],
)  # fmt: skip


def draws(n_chains=N_CHAINS, seed=11, first=0):
    return PhiloxRandom(seed, torch.arange(first, first + n_chains))


def p_value_of_spins(state):
    index = ((state.flatten(1) > 0).long() * 2 ** torch.arange(8, -1, -1)).sum(1)
    expected = torch.softmax(-ising(STATES).double(), 0) * len(state)
    counts = torch.bincount(index, minlength=512).double()
    # the rarest states in one bin with an ordinary one
    rare = expected < max(5.0, float(expected.min()) + 1e-9)
    merge = lambda n: torch.cat((n[~rare], n[rare].sum()[None]))
    return stats.chisquare(merge(counts), merge(expected)).pvalue


def exact_spins(n_chains=N_CHAINS):
    generator = torch.Generator().manual_seed(5)
    law = torch.softmax(-ising(STATES).double(), 0)
    return STATES[torch.multinomial(law, n_chains, replacement=True, generator=generator)]


def p_value_of_numbers(x):
    """Least p-value, times their number, of both coordinates, their product and the radius."""
    z = whiten(x.double())
    both = (z[:, 0] + z[:, 1]) / 2**0.5
    p = [stats.kstest(v.numpy(), "norm").pvalue for v in (z[:, 0], z[:, 1], both)]
    p.append(stats.kstest(z.square().sum(1).numpy(), stats.chi2(2).cdf).pvalue)
    return min(1.0, 4 * min(p))


def exact_numbers(n_chains=N_CHAINS):
    z = torch.randn(n_chains, 2, generator=torch.Generator().manual_seed(6))
    return MEAN + z @ CHOLESKY.T


def starts(shape, n_chains):
    return exact_spins(n_chains) if shape == (3, 3) else exact_numbers(n_chains)


@every_spin_kernel
def test_exact_spins_stay_exact_and_move(kernel, n_moves):
    start = exact_spins()
    state, info = run(kernel, ising, start, max(2, n_moves // 10), rng=draws())
    assert 0.001 < p_value_of_spins(state) < 1
    assert (state != start).flatten(1).any(1).float().mean() > 0.5
    assert 0 <= info.acceptance.min() <= info.acceptance.max() <= 1
    assert info.acceptance.mean() > 0.1


@every_spin_kernel
def test_spins_from_an_ordered_start_find_the_law(kernel, n_moves):
    start = torch.ones(N_CHAINS, 3, 3, dtype=torch.int8)
    state, _ = run(kernel, ising, start, n_moves, rng=draws(seed=12))
    assert state.dtype == torch.int8
    assert 0.001 < p_value_of_spins(state) < 1


@every_real_kernel
def test_exact_numbers_stay_exact_and_move(kernel, n_moves):
    start = exact_numbers()
    state, info = run(kernel, gauss, start, max(2, n_moves // 10), rng=draws())
    assert p_value_of_numbers(state) > 0.001
    assert (state != start).any(1).float().mean() > 0.5
    assert 0 <= info.acceptance.min() <= info.acceptance.max() <= 1
    assert info.acceptance.mean() > 0.1


@every_real_kernel
def test_numbers_from_one_point_find_the_law(kernel, n_moves):
    start = torch.full((N_CHAINS, 2), 2.0, dtype=torch.float64)
    state, _ = run(kernel, gauss, start, n_moves, rng=draws(seed=13))
    assert state.dtype == torch.float64
    assert p_value_of_numbers(state) > 0.001


def always(state, candidate, log_ratio, *, rng):
    """A Metropolis test that accepts whatever comes."""
    from physgen.mcmc import metropolis_test

    return metropolis_test(state, candidate, torch.zeros_like(log_ratio), rng=rng)


@pytest.fixture
def broken(monkeypatch):
    """All kernels without their Metropolis test; the heat bath with a wrong temperature."""
    for module in ("binary", "continuous", "independence", "informed", "proposals"):
        monkeypatch.setattr(f"physgen.mcmc.{module}.metropolis_test", always)


@every_spin_kernel
@pytest.mark.usefixtures("broken")
def test_a_broken_kernel_of_spins_is_noticed(kernel, n_moves):
    energy = (lambda s: 0.8 * ising(s)) if isinstance(kernel, Gibbs) else ising
    state, _ = run(kernel, energy, exact_spins(), n_moves, rng=draws())
    assert p_value_of_spins(state) < 1e-6


@every_real_kernel
@pytest.mark.usefixtures("broken")
def test_a_broken_kernel_of_numbers_is_noticed(kernel, n_moves):
    state, _ = run(kernel, gauss, exact_numbers(), n_moves, rng=draws())
    assert p_value_of_numbers(state) < 1e-6


@every_kernel
def test_a_seed_makes_the_chain_and_the_start_is_left_alone(kernel, energy, shape):
    start = starts(shape, 32)
    kept = start.clone()
    again = [run(kernel, energy, start, 5, rng=draws(32, seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    assert torch.equal(start, kept)
    assert not again[0].requires_grad


@every_kernel
def test_a_chain_depends_only_on_its_own_number(kernel, energy, shape):
    start = starts(shape, 32)
    together, info = run(kernel, energy, start, 5, rng=draws(32))
    late, late_info = run(kernel, energy, start[20:], 5, rng=draws(12, first=20))
    assert torch.equal(together[20:], late)
    assert torch.equal(info.acceptance[20:], late_info.acceptance)


@every_kernel
def test_any_source_of_random_numbers_will_do(kernel, energy, shape):
    rng = GeneratorRandom(torch.Generator().manual_seed(4))
    state, info = run(kernel, energy, starts(shape, 32), 3, rng=rng)
    assert state.shape == (32, *shape)
    assert info.acceptance.shape == (32,)


@every_kernel
def test_no_chain_enters_a_state_without_energy(kernel, energy, shape):
    """Beyond a wall the energy is infinite or NaN; kernels with a test never go there."""
    forbidden = lambda x: x.flatten(1)[:, -1] > 0
    wall = lambda value: lambda x: torch.where(forbidden(x), value, energy(x))
    start = starts(shape, 500)
    start = start[~forbidden(start)]
    for value in (torch.inf, torch.nan, -torch.inf):
        state, info = run(kernel, wall(value), start, 10, rng=draws(len(start)))
        assert not forbidden(state).any()
        assert state.isfinite().all()
        assert info.acceptance.isfinite().all()
        assert (state != start).any()
