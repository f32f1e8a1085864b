"""The restricted Boltzmann machine against sums over all its states."""

import itertools
import math

import pytest
import torch

from physgen import mcmc
from physgen.models import RBM, TensorSpec
from physgen.models.base import HasEnergy, HasLogProb
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers
from physgen.training import TrainingConfig, train


def all_spins(n):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64)


def random_machine(spec, n_hidden=4, seed=0):
    """A machine in float64 with couplings that matter."""
    with seeded_layers(seed):
        model = RBM(n_hidden=n_hidden, n_chains=16).build(spec).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.4 * torch.randn_like(parameter))
    return model


MIXED = TensorSpec(n_features=4, n_conditions=2, binary=(True, False, True, False))
SPINS = TensorSpec(n_features=5, binary=(True,) * 5)
NOTHING = torch.zeros(1, 0, dtype=torch.float64)


def joint_energy(model, v, h, condition):
    """E(v, h) of the module's formula, term by term."""
    a, b = model._biases(condition)
    sigma = iter(model.log_sigma.exp() if hasattr(model, "log_sigma") else ())
    energy = -(b * h).sum(1)
    for i, binary in enumerate(model.spec.binary):
        s = 1.0 if binary else next(sigma) ** 2
        local = -a[:, i] * v[:, i] if binary else (v[:, i] - a[:, i]) ** 2 / (2 * s)
        energy = energy + local - v[:, i] / s * (h @ model.couplings[i])
    return energy


@pytest.mark.parametrize("spec", [MIXED, SPINS], ids=["mixed", "spins"])
def test_free_energy_is_the_sum_over_hidden_states(spec):
    model = random_machine(spec)
    v = torch.randn(6, spec.n_features, dtype=torch.float64)
    v = torch.where(torch.tensor(spec.binary), v.sign(), v)
    c = torch.randn(6, spec.n_conditions, dtype=torch.float64)
    energies = [joint_energy(model, v, h.expand(6, -1), c) for h in all_spins(4)]
    expected = -torch.logsumexp(-torch.stack(energies), 0)
    assert torch.allclose(model.free_energy(v, c), expected, atol=1e-10)
    assert torch.equal(model.energy(v, c), model.free_energy(v, c))


def test_both_layers_give_the_same_partition_function():
    wide, narrow = random_machine(SPINS, n_hidden=7), random_machine(SPINS, n_hidden=3)
    for model in (wide, narrow):
        v = all_spins(5)
        expected = torch.logsumexp(-model.free_energy(v, NOTHING.expand(32, 0)), 0)
        assert torch.allclose(model.log_partition(NOTHING), expected, atol=1e-10)
        total = model.log_prob(v, NOTHING.expand(32, 0)).exp().sum()
        assert total.item() == pytest.approx(1)


def test_density_of_spins_and_numbers_integrates_to_one():
    spec = TensorSpec(n_features=2, n_conditions=1, binary=(True, False))
    model = random_machine(spec)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    for value in (-1.0, 0.5):
        total = 0.0
        for spin in (-1.0, 1.0):
            x = torch.stack((torch.full_like(grid, spin), grid), dim=1)
            log_z = model.log_partition(torch.tensor([[value]], dtype=torch.float64))
            c = torch.full((len(grid), 1), value, dtype=torch.float64)
            total += (-model.free_energy(x, c) - log_z).exp().sum().item() * 60 / 60_000
        assert total == pytest.approx(1, abs=1e-8)


def test_units_of_zero_and_one_are_the_same_law():
    """v = 2u - 1, h = 2g - 1: W' = 4W, a' = 2a - 2 W 1, b' = 2b - 2 W^T 1."""
    model = random_machine(SPINS, n_hidden=3)
    w, a, b = model.couplings, model.visible_bias, model.hidden_bias
    w01, a01, b01 = 4 * w, 2 * a - 2 * w.sum(1), 2 * b - 2 * w.sum(0)
    v = all_spins(5)
    u = (v + 1) / 2
    free_energy_01 = -u @ a01 - torch.nn.functional.softplus(b01 + u @ w01).sum(1)
    difference = free_energy_01 - model.free_energy(v, NOTHING.expand(32, 0))
    assert torch.allclose(difference, difference[:1].expand(32), atol=1e-10)


def test_gibbs_steps_leave_the_law():
    """Spins and numbers from long chains against the enumerated law of the spins."""
    spec = TensorSpec(n_features=3, binary=(True, False, True))
    model = random_machine(spec, seed=4).float()
    n_chains = 20_000
    start = torch.ones(n_chains, 3)
    c = torch.zeros(n_chains, 0)
    v = model.gibbs(start, c, 50, rng=PhiloxRandom(1, torch.arange(n_chains)))
    grid = torch.linspace(-30, 30, 6001)
    for s, t in itertools.product((-1.0, 1.0), repeat=2):
        x = torch.stack((torch.full_like(grid, s), grid, torch.full_like(grid, t)), dim=1)
        p = model.log_prob(x, torch.zeros(len(grid), 0)).exp().sum().item() * 0.01
        seen = float(((v[:, 0] == s) & (v[:, 2] == t)).float().mean())
        assert abs(seen - p) < 5 * math.sqrt(p * (1 - p) / n_chains)


def asymmetry(kernel, energy, states, law, n_chains=300_000):
    """Chi-square per degree of freedom of n(x to y) against n(y to x), from the law."""
    rng = PhiloxRandom(7, torch.arange(n_chains))
    generator = torch.Generator().manual_seed(3)
    before = torch.multinomial(law, n_chains, replacement=True, generator=generator)
    moved, _ = kernel(energy, states[before], rng=rng)
    after = (moved.flatten(1)[:, None] == states.flatten(1)).all(2).int().argmax(1)
    n = len(states)
    counts = torch.bincount(before * n + after, minlength=n * n).view(n, n).double()
    pairs = torch.triu(counts + counts.T, 1) > 20
    chi2 = ((counts - counts.T).square() / (counts + counts.T))[pairs]
    return float(chi2.mean()), len(chi2)


def test_moves_obey_detailed_balance():
    """From the exact law as many chains go from x to y as back; in an ordered sweep not."""
    model = random_machine(TensorSpec(n_features=4, binary=(True,) * 4), n_hidden=2, seed=1)
    v = all_spins(4)
    states = v.to(torch.int8).view(-1, 2, 2)
    law = model.log_prob(v, NOTHING.expand(16, 0)).exp().detach()
    moves = model.float().moves(1)
    assert torch.equal(moves.energy(states), model.energy(v.float(), torch.zeros(16, 0)))
    chi2, n = asymmetry(moves.kernel, moves.energy, states, law)
    assert abs(chi2 - 1) < 4 * math.sqrt(2 / n)
    chi2, n = asymmetry(mcmc.Gibbs(sweep=True), moves.energy, states, law)
    assert chi2 > 1 + 8 * math.sqrt(2 / n)


def test_moves_take_the_ratio_of_the_free_energies():
    model = random_machine(SPINS).float()
    state = all_spins(5).float()
    moved, log_ratio = model.moves(3)(state, rng=PhiloxRandom(1, torch.arange(32)))
    c = torch.zeros(32, 0)
    assert torch.allclose(log_ratio, model.free_energy(moved, c) - model.free_energy(state, c))
    assert not log_ratio.requires_grad
    steps = model.gibbs(state, c, 3, rng=PhiloxRandom(1, torch.arange(32)))
    assert torch.equal(moved, steps)


def test_moves_under_a_condition_and_of_real_features():
    model = random_machine(MIXED).float()
    c = torch.tensor([[0.5, -1.0]])
    x = torch.tensor([[1.0, 0.3, -1.0, 2.0]], dtype=torch.float64).expand(500, 4)
    rng = lambda: PhiloxRandom(1, torch.arange(500))
    moved, _ = model.moves(2, c)(x, rng=rng())
    assert moved.dtype == x.dtype
    each, _ = model.moves(2, c.expand(500, 2))(x, rng=rng())
    assert torch.equal(moved, each)
    other, _ = model.moves(2, -c)(x, rng=rng())
    assert not torch.equal(moved, other)
    with pytest.raises(ValueError, match=r"needs a condition of shape \(n_chains, 2\).* got none"):
        model.moves(2)
    with pytest.raises(ValueError, match=r"moves real features, but the states are torch[.]int8"):
        model.moves(2, c)(x.to(torch.int8), rng=rng())
    with pytest.raises(ValueError, match="have 3 numbers per chain, but the model has 4"):
        model.moves(2, c)(x[:, :3], rng=rng())
    with pytest.raises(ValueError, match="n_steps must be 1 or more, got 0"):
        model.moves(0, c)


def test_gradient_of_the_loss_is_that_of_the_likelihood():
    """With many chains at equilibrium the contrastive gradient is the exact one."""
    model = random_machine(SPINS, n_hidden=3).float()
    n_chains = 50_000
    rng = GeneratorRandom(torch.Generator().manual_seed(0))
    start = torch.ones(n_chains, 5)
    state = model.gibbs(start, torch.zeros(n_chains, 0), 50, rng=rng).detach()
    model.chains.state = state
    model.chains.condition = torch.zeros(n_chains, 0)
    x = torch.ones(n_chains, 5)
    x[: n_chains // 2, 0] = -1
    c = torch.zeros(n_chains, 0)
    parameters = list(model.parameters())
    loss = model.loss(x, c, player="rbm", rng=rng).mean()
    estimated = torch.autograd.grad(loss, parameters)
    exact = torch.autograd.grad(-model.log_prob(x, c).mean(), parameters)
    for one, other in zip(estimated, exact, strict=True):
        assert torch.allclose(one, other, atol=0.03)


def test_training_raises_the_exact_likelihood():
    spec = TensorSpec(n_features=4, binary=(True,) * 4)
    with seeded_layers(1):
        model = RBM(n_hidden=6, n_chains=256, n_gibbs=3).build(spec)
    generator = torch.Generator().manual_seed(2)
    first = torch.where(torch.rand(4000, 1, generator=generator) < 0.5, -1.0, 1.0)
    x = torch.cat((first, first, -first, torch.ones_like(first)), dim=1)
    log_prob = lambda: model.log_prob(x, torch.zeros(len(x), 0)).mean().item()
    before = log_prob()
    train(model, x, config=TrainingConfig(steps=300, batch_size=128), rng=0)
    assert before < -2
    assert log_prob() > -1.2  # at best minus the entropy, -ln 2 = -0.69


def test_log_prob_of_a_large_machine_is_refused():
    spec = TensorSpec(n_features=30, binary=(True,) * 30)
    model = RBM(n_hidden=25, n_chains=4).build(spec)
    with pytest.raises(ValueError, match=r"at most 20 binary units, but this RBM has 25 hidden"):
        model.log_prob(torch.ones(2, 30), torch.zeros(2, 0))


def test_what_it_can_say_about_an_event():
    model = RBM(n_hidden=3, n_chains=4).build(SPINS)
    assert isinstance(model, HasEnergy)
    assert isinstance(model, HasLogProb)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="RBM: n_hidden must be positive, got 0"):
        RBM(n_hidden=0)
    with pytest.raises(ValueError, match="RBM: learning_rate must be positive, got -1"):
        RBM(learning_rate=-1)
