"""The partition function of a Boltzmann machine: annealed, bracketed, known once, refused."""

import itertools
import math

import numpy as np
import pytest
import torch

from physgen.models import CD, RBM, TensorSpec
from physgen.models.rbm import LogPartition, partition
from physgen.random import PhiloxRandom, seeded_layers
from physgen.training import TrainingConfig, train

WAYS = ("ais", "trajectory", "reverse ais", "reverse trajectory")
every_way = pytest.mark.parametrize("way", WAYS)


def machine(n_visible, n_hidden, *, seed=0, spread=0.3, n_conditions=0, **settings):
    """A machine in float64 whose parameters are Gaussian, with snapshots on a straight way."""
    spec = TensorSpec(n_features=n_visible, n_conditions=n_conditions, binary=(True,) * n_visible)
    settings = {"chains": CD(n_chains=64), "n_snapshots": 12, "n_steps_sample": 15} | settings
    with seeded_layers(seed):
        model = RBM(n_hidden=n_hidden, **settings).build(spec).double().eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_((0.15 if "cond" in name else spread) * torch.randn_like(p))
    last = model.numbers()
    for k in range(1, 9):
        model.snapshots.n_updates = model.snapshots._next()
        model.snapshots.count(lambda k=k: last * k / 8)
    return model


def all_spins(n):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64)


def exact(model, condition=None):
    return model.log_z(condition, method="exact").value


@every_way
def test_annealing_agrees_with_the_exact_sum(way):
    model = machine(20, 10)
    found = model.log_z(method=way, n_chains=300, n_betas=300, rng=1)
    assert found.method == way
    assert 100 < found.effective_sample_size <= 300
    assert abs(found.value - exact(model)) < 4 * found.std_error
    assert found.std_error < 0.06
    assert f"{found.value:.4f} ± {found.std_error:.4f} ({way}, " in str(found)
    # of another machine
    assert abs(found.value - exact(machine(20, 10, seed=1))) > 8 * found.std_error


def trained(kind, seed):
    """20 x 10 units of width 0.3 that start from free ones of their means, as after a training."""
    model = machine(20, 10, seed=seed, visible=kind, hidden=kind)
    h = (all_spins(10) + 1) / 2 if kind == "bernoulli" else all_spins(10)
    p = model.parameters_at(torch.zeros(1, 0).double())
    with torch.no_grad():
        field = p.visible_field(h)
        means = torch.sigmoid(field) if kind == "bernoulli" else torch.tanh(field)
        model.visible_mean.copy_(torch.softmax(p.log_weight_of_hidden(h), 0) @ means)
    return model


# couplings of spins are as strong as four times those of zeros and ones
@pytest.mark.parametrize(("kind", "largest"), [("bernoulli", 0.0005), ("ising", 0.003)])
def test_a_thousand_chains_and_betas_are_within_5_millinats(kind, largest):
    model = trained(kind, seed=0)
    found = model.log_z(method="ais", rng=0)
    assert abs(found.value - exact(model)) < 0.005
    assert found.std_error < largest


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_within"), [("bernoulli", 40), ("ising", 32)])
def test_forty_machines_are_within_5_millinats(kind, n_within):
    """Of spins 0.005 nat are two standard errors."""
    models = [trained(kind, seed) for seed in range(40)]
    found = [model.log_z(method="ais", rng=seed) for seed, model in enumerate(models)]
    errors = np.array([f.value - exact(m) for f, m in zip(found, models, strict=True)])
    assert (abs(errors) < 0.005).sum() >= n_within


def test_places_are_spaced_by_distance_and_not_by_noise():
    """Neighbors are so close that noise could hide their distance; none is left far away."""
    model = trained("ising", seed=0)
    path = model.trajectory(torch.zeros(1, 0), snapshots=False, dtype=torch.float64)
    apart = np.diff(partition.spaced(path, 1000))
    assert apart.max() < 6 * apart.min()
    assert apart.max() > 1.5 * apart.min()


def pulls(model, way, n_seeds, **effort):
    truth = exact(model)
    found = [model.log_z(method=way, rng=seed, **effort) for seed in range(n_seeds)]
    return np.array([(one.value - truth) / one.std_error for one in found])


@pytest.fixture
def quick(monkeypatch):
    """A machine that draws exactly, with even steps on its path: what costs time is left out."""
    model = machine(10, 4)
    states = all_spins(10)
    law = torch.softmax(-model.free_energy(states, torch.zeros(1, 0).double()), 0).detach()

    def sample(n_events, condition, *, rng, sampler):  # noqa: ARG001
        u = rng.uniform(n_events, 1).double()
        return states[torch.searchsorted(law.cumsum(0), u[:, 0]).clamp(max=1023)]

    monkeypatch.setattr(model, "sample", sample)
    even = lambda path, n: tuple(np.linspace(0, path.end, n).tolist())
    monkeypatch.setattr(partition, "spaced", even)
    return model


@every_way
def test_errors_cover_the_truth(quick, way):
    """95 % intervals in at least 34 of 40 seeds (by chance fewer in 1 of 700 tests)."""
    z = pulls(quick, way, 40, n_chains=100, n_betas=20)
    assert (abs(z) < 1.96).sum() >= 34
    # were the errors a third as large, it would show
    assert (abs(z) < 1.96 / 3).sum() < 34


@pytest.mark.slow
@every_way
def test_errors_cover_the_truth_at_full_effort(way):
    z = pulls(machine(20, 10), way, 40, n_chains=1000, n_betas=1000)
    assert (abs(z) < 1.96).sum() >= 34
    assert (abs(z) < 1.96 / 3).sum() < 34
    assert abs(z.mean()) < 4 / math.sqrt(40)
    assert 0.5 < z.std() < 1.5


def test_forward_is_too_low_and_reverse_too_high(quick):
    """With few betas the truth lies between the two, on average over seeds."""
    truth = exact(quick)
    for way, sign in zip(WAYS, (-1, -1, 1, 1), strict=True):
        values = [
            quick.log_z(method=way, n_chains=2, n_betas=3, rng=seed).value for seed in range(300)
        ]
        error = np.std(values, ddof=1) / math.sqrt(300)
        assert sign * (np.mean(values) - truth) > 4 * error


def test_the_better_of_two_ways_is_kept():
    """A trajectory that makes a detour leaves fewer chains effective than the straight way."""
    model = machine(20, 18)
    effort = {"n_chains": 100, "n_betas": 40, "rng": 1}

    def found():
        ways = [model.log_z(method=way, **effort) for way in WAYS[:2]]
        return ways, model.log_z(**effort)

    (straight, by_snapshots), kept = found()
    assert kept == max(straight, by_snapshots, key=lambda one: one.effective_sample_size)
    model.snapshots.numbers.neg_()
    (straight, by_snapshots), kept = found()
    assert straight.effective_sample_size > 2 * by_snapshots.effective_sample_size
    assert kept == straight
    model.snapshots.numbers.neg_()
    # free units whose means are far from those of the machine
    model.visible_mean.copy_(-model.visible_bias.detach().sign())
    (straight, by_snapshots), kept = found()
    assert kept == max(straight, by_snapshots, key=lambda one: one.effective_sample_size)


def test_small_layers_are_summed_and_blocks_add_up():
    """Either layer of 15 units, of a machine and of its mirror image, gives the same."""
    one, other = machine(16, 15), machine(15, 16)
    with torch.no_grad():
        other.couplings.copy_(one.couplings.T)
        other.visible_bias.copy_(one.hidden_bias)
        other.hidden_bias.copy_(one.visible_bias)
    assert one.log_z().method == other.log_z().method == "exact"
    assert one.log_z().value == pytest.approx(other.log_z().value, abs=1e-9)
    assert partition._BLOCK < 2**15


def test_too_many_units_to_enumerate():
    model = machine(40, 30)
    with pytest.raises(
        ValueError,
        match=r"2\^30 states of the smaller layer, which would take about \d[\d.]* minutes here "
        r"\(at most 2\^25 are allowed\); use log_z\(method='ais'\) or method='trajectory'",
    ):
        model.log_z(method="exact")
    with pytest.raises(ValueError, match=r"2\^70 .* about [\d.e+]+ years here"):
        machine(80, 70).log_z(method="exact")
    # one-hot and real features are no binary layer
    spec = TensorSpec(n_features=3, binary=(True,) * 3, one_hot=((0, 3),))
    with pytest.raises(ValueError, match=r"2\^26 states"):
        RBM(n_hidden=26, chains=CD(n_chains=4)).build(spec).log_z(method="exact")


def test_what_cannot_be_asked_for():
    model = machine(6, 4, n_snapshots=0)
    with pytest.raises(ValueError, match=r"method must be one of automatic, exact, ais.*'bridge'"):
        model.log_z(method="bridge")
    with pytest.raises(ValueError, match=r"has none \(n_snapshots=0\); use 'reverse ais'"):
        model.log_z(method="reverse trajectory")
    with pytest.raises(ValueError, match=r"shape \(1, 0\); got \(1, 2\)"):
        model.log_z(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"one condition, of shape \(1, 1\); got \(1, 0\)|none"):
        machine(6, 4, n_conditions=1).log_z()
    with pytest.raises(ValueError, match="n_chains must be at least 2, got 1"):
        model.log_z(method="ais", n_chains=1)
    with pytest.raises(ValueError, match="n_betas must be at least 2, got 0"):
        model.log_z(method="ais", n_betas=0)


# ---------------------------------------------------------------------- under conditions


@every_way
def test_annealing_under_a_condition(way):
    model = machine(8, 5, n_conditions=2)
    for values in ([0.0, 0.0], [1.5, -1.0]):
        c = torch.tensor([values], dtype=torch.float64)
        with torch.no_grad():
            total = torch.logsumexp(-model.free_energy(all_spins(8), c), 0)
        assert exact(model, c) == pytest.approx(float(total), abs=1e-9)
        found = model.log_z(c, method=way, n_chains=200, n_betas=200, rng=2)
        assert abs(found.value - float(total)) < 4 * found.std_error
        assert found.std_error < 0.05
        assert abs(exact(model, 3 - c) - found.value) > 8 * found.std_error


@every_way
@pytest.mark.parametrize("kind", ["ising", "bernoulli"])
def test_annealing_of_all_kinds_of_units(way, kind):
    """Spins, real numbers and a Potts unit, from free ones of the means of the data."""
    spec = TensorSpec(
        n_features=6, binary=(True, False, True, True, True, False), one_hot=((2, 3),)
    )
    with seeded_layers(1):
        model = RBM(n_hidden=4, visible=kind, hidden=kind, n_snapshots=6).build(spec).double()
        with torch.no_grad():
            for p in model.eval().parameters():
                p.add_(0.3 * torch.randn_like(p))
    model.visible_mean.copy_(torch.tensor([0.2, -1.0, 0.2, 0.5, 0.3, 2.0]))
    last = model.numbers()
    for k in (1, 2, 3):
        model.snapshots.n_updates = 10 * k
        model.snapshots.count(lambda k=k: last * k / 4)
    found = model.log_z(method=way, n_chains=200, n_betas=200, rng=3)
    assert abs(found.value - exact(model)) < 4 * found.std_error
    assert found.std_error < 0.1
    model.log_sigma.data += 0.5
    assert abs(found.value - exact(model)) > 8 * found.std_error


def test_each_event_has_the_partition_function_of_its_condition():
    model = machine(5, 4, n_conditions=1)
    c = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
    x = all_spins(5)[torch.arange(100) % 32]
    together = model.log_prob(x, c)
    alone = [model.log_prob(x[i : i + 1], c[i : i + 1]) for i in range(100)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_many_conditions_of_a_large_machine_are_refused():
    model = machine(20, 18, n_conditions=1)
    c = torch.linspace(-1, 1, 65, dtype=torch.float64)[:, None]
    with pytest.raises(ValueError, match=r"under 65 different conditions.* at most 64 conditions"):
        model.log_prob(torch.ones(65, 20).double(), c)


# ---------------------------------------------------------------------- known once


@pytest.fixture
def counted(monkeypatch):
    """A machine too large to enumerate, and the conditions at which ln Z was annealed."""
    model, asked = machine(18, 17, n_conditions=1), []

    def log_z(condition):
        asked.append(float(condition))
        return LogPartition(12.5, 0.1, "ais", 100.0)

    monkeypatch.setattr(model, "log_z", log_z)
    return model, asked


def test_annealing_is_done_once_for_each_condition(counted):
    model, asked = counted
    x, c = torch.ones(6, 18).double(), torch.tensor([[1.0], [2.0]] * 3).double()
    for _ in range(2):
        log_p = model.log_prob(x, c)
    assert asked == [1, 2]
    torch.testing.assert_close(log_p, -model.free_energy(x, c) - 12.5)


def test_annealing_is_done_anew_for_other_parameters(counted):
    """However they were changed: by an optimizer, in place, by new data, or from a file."""
    model, asked = counted
    x, c = torch.ones(1, 18).double(), torch.zeros(1, 1).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def one_step():
        config = TrainingConfig(steps=1, batch_size=8, averaging=0, validation_fraction=0)
        train(model.float(), torch.ones(16, 18), torch.zeros(16, 1), config=config, rng=0)
        model.double()

    def by_data():
        for p in model.parameters():
            p.data = p.data * 0.5

    changes = (
        one_step,
        by_data,
        lambda: torch.nn.utils.vector_to_parameters(model.numbers() * 0.9, model.parameters()),
        lambda: model.load_state_dict(before),
    )
    model.log_prob(x, c)
    for n, change in enumerate(changes):
        change()
        asked.clear()
        for _ in range(2):
            model.log_prob(x, c)
        assert len(asked) == 1, n


def test_log_prob_of_a_large_machine_is_close_to_exact():
    """17 hidden units are annealed; the exact sum over them is at hand."""
    model, n = machine(18, 17, spread=0.2), 5
    x = model.sample(n, torch.zeros(n, 0).double(), rng=PhiloxRandom(1, torch.arange(n)))
    none = torch.zeros(n, 0).double()
    known = model.known_log_z(none[:1])
    expected = -model.free_energy(x, none) - exact(model)
    assert known.method in ("ais", "trajectory")
    deviation = (model.log_prob(x, none) - expected).abs().max()
    assert 0 < deviation < 4 * known.std_error
