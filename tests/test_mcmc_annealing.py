"""Annealed importance sampling against partition functions known by enumeration."""

import itertools
import math

import pytest
import torch
from scipy import stats

from physgen.mcmc import (
    HMC,
    Gibbs,
    Info,
    LogZ,
    SingleFlip,
    annealed_importance,
    geometric,
    reverse_annealed_importance,
    tempered,
)

K_C = math.log(1 + math.sqrt(2)) / 2
FREE = 16 * math.log(2)


def lattice(s):
    """Periodic 4x4 Ising model at its critical temperature."""
    s = s.float()
    return -K_C * (s * s.roll(1, 1) + s * s.roll(1, 2)).sum((1, 2))


@pytest.fixture(scope="module")
def states():
    return torch.tensor(list(itertools.product((-1, 1), repeat=16)), dtype=torch.int8).view(
        -1, 4, 4
    )


@pytest.fixture(scope="module")
def energies(states):
    return lattice(states).double()


@pytest.fixture(scope="module")
def exact(energies):
    return float(torch.logsumexp(-energies, 0))


def free_spins(n_chains, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (n_chains, 4, 4), generator=generator, dtype=torch.int8) * 2 - 1


def betas(n):
    return torch.linspace(0, 1, n).tolist()


def anneal(n_chains=1000, n_betas=60, seed=0, kernel=None, path=None):
    return annealed_importance(
        kernel or Gibbs(block_size=2), path or tempered(lattice), free_spins(n_chains, seed),
        betas=betas(n_betas), base_log_z=FREE, n_moves=2, rng=seed,
    )  # fmt: skip


@pytest.mark.parametrize("kernel", [Gibbs(), Gibbs(block_size=3), SingleFlip()])
def test_ln_z_of_the_lattice(exact, kernel):
    log_z = anneal(kernel=kernel, n_betas=150)
    assert abs(log_z.pull(exact)) < 4
    assert log_z.std_error < 0.15
    assert 1 < log_z.effective_sample_size < 1000
    assert log_z.log_weights.shape == (1000,)
    assert str(log_z).startswith(f"{log_z.value:.4f} ± {log_z.std_error:.4f} (")


def test_moves_at_another_temperature_are_noticed(exact):
    """Negative control: moves that do not leave the laws of the path invariant."""

    def too_hot(energy, state, *, rng):
        return Gibbs(block_size=2)(lambda s: 0.8 * energy(s), state, rng=rng)

    assert abs(anneal(kernel=too_hot).pull(exact)) > 4


def test_errors_cover_the_truth_as_often_as_they_should(exact):
    """200 estimates of 250 chains each, all in one tensor."""
    weights = anneal(50_000, 40).log_weights.view(200, 250)
    values = FREE + torch.logsumexp(weights, 1) - math.log(250)
    relative = (weights - weights.max(1, keepdim=True).values).exp()
    errors = relative.std(1) / relative.mean(1) / math.sqrt(250)
    pulls = ((values - exact) / errors).numpy()
    n_inside = int((abs(pulls) < 1).sum())
    assert stats.binomtest(n_inside, 200, 0.6827).pvalue > 0.001
    assert abs(pulls.mean()) < 0.5
    assert 0.8 < pulls.std() < 1.3


def test_more_steps_make_the_weights_more_equal():
    few, many = anneal(n_betas=10), anneal(n_betas=100)
    assert many.effective_sample_size > 2 * few.effective_sample_size
    assert many.std_error < few.std_error


def test_forward_and_reverse_enclose_the_truth(states, energies, exact):
    """With few betas both are biased by much more than their errors, to either side."""
    generator = torch.Generator().manual_seed(2)
    weights = torch.softmax(-energies, 0)
    drawn = states[torch.multinomial(weights, 1000, replacement=True, generator=generator)]
    settings = {"base_log_z": FREE, "rng": 4}
    path, kernel = tempered(lattice), Gibbs()
    backward = reverse_annealed_importance(
        kernel, path, drawn, betas=betas(60), n_moves=3, **settings
    )
    assert abs(backward.pull(exact)) < 4
    assert abs(anneal().pull(exact)) < 4
    # the mean logarithm of single weights is a bound each way
    forward = FREE + float(anneal(n_betas=8).log_weights.mean())
    coarse = reverse_annealed_importance(kernel, path, drawn, betas=betas(8), **settings)
    assert forward < exact - 0.5
    assert FREE - float(coarse.log_weights.mean()) > exact + 0.5


@pytest.mark.parametrize("width", [0.3, 1.0])
def test_an_rbm_with_its_own_block_gibbs(width):
    """20 visible and 10 hidden units with all fields times beta; the kernel reads the beta."""
    generator = torch.Generator().manual_seed(3)
    w = width * torch.randn(20, 10, generator=generator)
    a, b = (0.3 * torch.randn(n, generator=generator) for n in (20, 10))
    log_2_cosh = lambda x: torch.logaddexp(x, -x)

    def path(v, beta):
        return -beta * (v @ a) - log_2_cosh(beta[:, None] * (v @ w + b)).sum(1)

    def block_gibbs(energy, v, *, rng):
        beta = energy.beta[:, None].float()
        h = draw(beta * (v @ w + b), rng)
        return draw(beta * (h @ w.T + a), rng), Info(torch.ones(len(v)))

    def draw(field, rng):
        return torch.where(rng.uniform(*field.shape) < torch.sigmoid(2 * field), 1.0, -1.0)

    hidden = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=10)))
    exact = float(torch.logsumexp(hidden @ b + log_2_cosh(hidden @ w.T + a).sum(1), 0))
    start = torch.randint(2, (1000, 20), generator=generator) * 2.0 - 1
    log_z = annealed_importance(
        block_gibbs, path, start, betas=betas(300), base_log_z=30 * math.log(2), rng=5
    )
    assert abs(log_z.pull(exact)) < 4
    assert log_z.std_error < 0.05


def test_a_density_of_real_numbers():
    """From a standard normal law to a narrow one elsewhere: Z is a Gaussian integral."""
    base = lambda x: x.square().sum(1) / 2
    target = lambda x: 8 * (x - 1).square().sum(1)
    start = torch.randn(1000, 3, generator=torch.Generator().manual_seed(1))
    log_z = annealed_importance(
        HMC(step_size=0.2, n_leapfrog=5), geometric(base, target), start, betas=betas(50),
        base_log_z=1.5 * math.log(2 * math.pi), rng=6,
    )  # fmt: skip
    assert abs(log_z.pull(1.5 * math.log(math.pi / 8))) < 4
    assert log_z.std_error < 0.05


def test_without_steps_it_is_importance_sampling(exact):
    log_z = anneal(200_000, 2)
    assert log_z.std_error > 3 * anneal(2000).std_error
    assert abs(log_z.pull(exact)) < 5


def test_large_energies_lose_no_digits():
    """Weights are sums of small differences of large energies: a constant of 10^6 cancels."""
    shifted = anneal(200, 100, path=lambda s, beta: beta * lattice(s) + 1e6)
    assert torch.allclose(shifted.log_weights, anneal(200, 100).log_weights, atol=1e-6)


def test_a_seed_makes_the_estimate():
    assert torch.equal(anneal(50, 5, seed=1).log_weights, anneal(50, 5, seed=1).log_weights)
    assert not torch.equal(anneal(50, 5, seed=1).log_weights, anneal(50, 5, seed=2).log_weights)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="two or more increasing numbers"):
        annealed_importance(
            Gibbs(), tempered(lattice), free_spins(4), betas=[1, 0], base_log_z=FREE, rng=1
        )
    with pytest.raises(ValueError, match="two chains or more, got 1"):
        anneal(1)
    with pytest.raises(ValueError, match="50 of 50 weights are 0, infinite or NaN"):
        anneal(50, path=lambda s, beta: torch.where(beta > 0.5, torch.nan, beta * lattice(s)))
    assert LogZ(1.0, 0.5, 2.0, torch.zeros(3)).pull(2.0) == -2
