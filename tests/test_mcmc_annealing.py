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
from physgen.random import GeneratorRandom

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


def estimate(log_weights, base_log_z=0.0, annealed=annealed_importance):
    """The estimate of chains with these weights: one step of a path on which ln w is the state."""
    path = lambda x, beta: -beta * x
    return annealed(None, path, log_weights, betas=[0, 1], base_log_z=base_log_z, rng=0)


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
    estimates = [estimate(w, FREE) for w in weights]
    pulls = torch.tensor([e.pull(exact) for e in estimates])
    assert stats.binomtest(int((pulls.abs() < 1).sum()), 200, 0.6827).pvalue > 0.001
    assert abs(pulls.mean()) < 0.5
    assert 0.8 < pulls.std() < 1.3
    inside = [e.interval()[0] < exact < e.interval()[1] for e in estimates]
    assert stats.binomtest(sum(inside), 200, 0.95).pvalue > 0.001


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


class Machine:
    """20 visible and 10 hidden units of 0 and 1; the path is that of the couplings times beta."""

    def __init__(self, width):
        generator = torch.Generator().manual_seed(3)
        self.w = width * torch.randn(20, 10, generator=generator)
        self.a, self.b = (0.3 * torch.randn(n, generator=generator) for n in (20, 10))
        hidden = torch.tensor(list(itertools.product((0.0, 1.0), repeat=10))).double()
        visible = softplus(hidden @ self.w.T.double() + self.a).sum(1)
        self.exact = float(torch.logsumexp(hidden @ self.b.double() + visible, 0))

    def path(self, v, beta):
        fields = self.b + beta[:, None] * (v @ self.w)
        return -(v @ self.a) - softplus(fields.double()).sum(1)

    def block_gibbs(self, energy, v, *, rng):
        beta = energy.beta[:, None].float()
        h = draw(self.b + beta * (v @ self.w), rng)
        return draw(self.a + beta * (h @ self.w.T), rng), Info(torch.ones(len(v)))

    def anneal(self, n_chains, n_betas, kernel=None):
        rng = GeneratorRandom(torch.Generator().manual_seed(5))
        free = float(softplus(self.a.double()).sum() + softplus(self.b.double()).sum())
        start = draw(self.a.expand(n_chains, 20), rng)
        return annealed_importance(
            kernel or self.block_gibbs, self.path, start, betas=betas(n_betas), base_log_z=free,
            rng=rng,
        )  # fmt: skip

    def estimates(self, n_estimates, n_chains, n_betas):
        """Independent estimates, all in one tensor."""
        together = self.anneal(n_estimates * n_chains, n_betas)
        shift = together.value - estimate(together.log_weights).value
        return [estimate(w, shift) for w in together.log_weights.view(n_estimates, n_chains)]


def softplus(x):
    return torch.nn.functional.softplus(x, threshold=60)


def draw(field, rng):
    return (rng.uniform(*field.shape) < torch.sigmoid(field)).float()


@pytest.mark.parametrize("width", [0.3, 2.0])
def test_an_rbm_with_its_own_block_gibbs(width):
    """The kernel reads the beta at which it is to move."""
    machine = Machine(width)
    log_z = machine.anneal(1000, 100)
    assert abs(log_z.pull(machine.exact)) < 4
    assert log_z.std_error < 0.03


def covers(estimates, exact, *, shrink=1.0, rate=0.95):
    """Whether as many intervals as should hold the truth; all of them shrunk towards the value."""
    ends = [(e.value, *e.interval(rate)) for e in estimates]
    inside = sum(shrink * (low - x) < exact - x < shrink * (high - x) for x, low, high in ends)
    return stats.binomtest(inside, len(estimates), rate).pvalue > 0.01


@pytest.mark.parametrize("width", [0.3, 2.0])
def test_intervals_of_an_rbm_cover_the_truth(width):
    machine = Machine(width)
    estimates = machine.estimates(40, 250, 50)
    assert covers(estimates, machine.exact)
    assert covers(estimates, machine.exact, rate=0.6827)
    # negative control
    assert not covers(estimates, machine.exact, shrink=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "n_pooled"), [(0.3, 1), (2.0, 20)])
def test_a_thousand_betas_are_within_5_millinats(width, n_pooled):
    """40 seeds of 1000 chains; at strong couplings 0.005 nat are 3 sigma of 20,000 chains."""
    machine = Machine(width)
    estimates = machine.estimates(40, 1000, 1000)
    assert covers(estimates, machine.exact)
    assert not covers(estimates, machine.exact, shrink=0.5)
    pulls = torch.tensor([e.pull(machine.exact) for e in estimates]).abs()
    assert stats.binomtest(int((pulls < 1.96).sum()), 40, 0.95).pvalue > 0.01
    assert stats.binomtest(int((2 * pulls < 1.96).sum()), 40, 0.95).pvalue < 0.01
    weights = torch.stack([e.log_weights for e in estimates]).view(40 // n_pooled, -1)
    shift = estimates[0].value - estimate(estimates[0].log_weights).value
    values = torch.tensor([estimate(w, shift).value for w in weights])
    assert ((values - machine.exact).abs() < 0.005).all()


def test_unequal_weights_need_the_studentized_interval():
    """Log-normal weights with few effective chains: the interval misses too often, pulls more."""
    generator = torch.Generator().manual_seed(1)
    weights = 2.0 * torch.randn(300, 100, generator=generator, dtype=torch.float64)
    estimates = [estimate(w) for w in weights]
    missed_by_error = sum(abs(e.pull(2.0)) > 1.96 for e in estimates)
    missed = sum(not e.interval()[0] < 2.0 < e.interval()[1] for e in estimates)
    assert max(e.effective_sample_size for e in estimates) < 50
    assert missed < 0.8 * missed_by_error


def test_intervals_by_hand():
    generator = torch.Generator().manual_seed(1)
    weights = 0.1 * torch.randn(1000, generator=generator, dtype=torch.float64)
    forward = estimate(weights, 5.0)
    assert forward.std_error == pytest.approx(0.1 / math.sqrt(1000), rel=0.1)
    low, high = forward.interval()
    assert high - low == pytest.approx(2 * 1.96 * forward.std_error, rel=0.1)
    assert low < forward.interval(0.5)[0] < forward.value < forward.interval(0.5)[1] < high
    # the way back: the same weights say the opposite, so the interval is mirrored
    backward = estimate(-weights, 5.0, reverse_annealed_importance)
    assert backward.value == pytest.approx(10 - forward.value)
    assert backward.interval() == pytest.approx((10 - high, 10 - low))
    same = estimate(torch.zeros(10, dtype=torch.float64), 5.0)
    assert (same.std_error, same.interval()) == (0, (5, 5))
    # groups of chains are resampled where these are many
    many = estimate(weights.repeat(30), 5.0)
    assert many.std_error == pytest.approx(forward.std_error / math.sqrt(30), rel=0.1)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        forward.interval(95)


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
