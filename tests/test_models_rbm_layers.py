"""The law of a Boltzmann machine and its gradient, against sums over all states of both layers."""

import itertools

import pytest
import torch

from physgen.models import CD, EBM, PCD, RBM, MLPEnergy, TensorSpec
from physgen.models.rbm import learning
from physgen.models.rbm.layers import Visible
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers

SPINS = TensorSpec(n_features=4, binary=(True,) * 4)
SPECS = {
    "spins": SPINS,
    "potts": TensorSpec(n_features=5, binary=(True,) * 5, one_hot=((0, 3), (3, 2))),
    "real": TensorSpec(n_features=2),
    "all kinds": TensorSpec(
        n_features=6, binary=(True, False, True, True, True, True), one_hot=((2, 3),)
    ),
    "given": TensorSpec(n_features=3, n_conditions=2, binary=(True, False, True)),
    "potts given": TensorSpec(n_features=4, n_conditions=1, binary=(True,) * 4, one_hot=((1, 3),)),
}
BINARY = ("ising", "bernoulli")
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
every_kind = pytest.mark.parametrize(
    "kinds", list(itertools.product(BINARY, BINARY)), ids="-".join
)


def machine(spec, *, seed=0, spread=0.4, **settings):
    """A machine in float64 with couplings, biases and widths that matter."""
    settings = {"n_hidden": 3, "chains": CD(n_chains=16)} | settings
    with seeded_layers(seed):
        model = RBM(**settings).build(spec).double()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(spread * torch.randn_like(p))
    return model.eval()


def conditions(spec, n):
    """A condition, the same for n events."""
    return torch.tensor([[0.7, -1.2]], dtype=torch.float64)[:, : spec.n_conditions].expand(n, -1)


def visible_states(spec):
    """All visible states with the volume that each stands for: (n, n_features), (n,).

    Real features are on a fine grid, on which the trapezoidal rule is exact for Gaussians.
    """
    start = dict(spec.one_hot)
    inside = {i for first, n in spec.one_hot for i in range(first + 1, first + n)}
    grid = torch.arange(-14, 14, 0.07, dtype=torch.float64)[:, None]
    parts, volume = [], 1.0
    for i in range(spec.n_features):
        if i in start:
            parts.append(2 * torch.eye(start[i], dtype=torch.float64) - 1)
        elif i not in inside and spec.binary[i]:
            parts.append(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
        elif i not in inside:
            parts.append(grid)
            volume *= 0.07
    index = torch.cartesian_prod(*(torch.arange(len(p)) for p in parts)).view(-1, len(parts))
    x = torch.cat([p[i] for p, i in zip(parts, index.T, strict=True)], dim=1)
    return x, torch.full((len(x),), volume, dtype=torch.float64)


def hidden_states(model):
    """All states of the hidden layer."""
    values = (-1.0, 1.0) if model.settings.hidden == "ising" else (0.0, 1.0)
    states = list(itertools.product(values, repeat=model.settings.n_hidden))
    return torch.tensor(states, dtype=torch.float64)


def joint_energy(model, x, h, condition):
    """E(v, h) for events x (n, n_features) and one h, unit by unit and pair by pair."""
    spec, n_hidden = model.spec, model.settings.n_hidden
    a, b = model.visible_bias[None], model.hidden_bias[None]
    gain = torch.ones(1, n_hidden, dtype=torch.float64)
    if spec.n_conditions:
        added = model.conditioner(condition)
        a = a + added[:, : spec.n_features]
        b = b + added[:, spec.n_features : spec.n_features + n_hidden]
        gain = added[:, -n_hidden:].exp()
    in_unit = {i for first, n in spec.one_hot for i in range(first, first + n)}
    real = [i for i in range(spec.n_features) if not spec.binary[i]]
    energy = torch.zeros(len(x), dtype=torch.float64)
    for i in range(spec.n_features):
        if i in real:
            s = model.log_sigma[real.index(i)].exp() ** 2
            value = x[:, i] / s
            energy = energy + (x[:, i] - a[:, i]) ** 2 / (2 * s)
        else:
            ising = model.settings.visible == "ising" and i not in in_unit
            value = x[:, i] if ising else (x[:, i] + 1) / 2
            energy = energy - a[:, i] * value
        for j in range(n_hidden):
            energy = energy - value * model.couplings[i, j] * gain[:, j] * h[j]
    for j in range(n_hidden):
        energy = energy - b[:, j] * h[j]
    return energy


@every_kind
@every_spec
def test_free_energy_sums_over_the_hidden_states(spec, kinds):
    model = machine(spec, visible=kinds[0], hidden=kinds[1])
    states, _ = visible_states(spec)
    x = states[:: max(1, len(states) // 200)]
    c = conditions(spec, len(x))
    energies = torch.stack([joint_energy(model, x, h, c) for h in hidden_states(model)])
    torch.testing.assert_close(
        model.free_energy(x, c), -torch.logsumexp(-energies, 0), rtol=1e-12, atol=1e-11
    )
    assert torch.equal(model.energy(x, c), model.free_energy(x, c))


@every_kind
@every_spec
def test_hidden_means_are_those_of_the_joint_law(spec, kinds):
    model = machine(spec, visible=kinds[0], hidden=kinds[1], seed=2)
    x = visible_states(spec)[0][:6]
    c, hidden = conditions(spec, 6), hidden_states(model)
    weights = torch.softmax(-torch.stack([joint_energy(model, x, h, c) for h in hidden]), 0)
    torch.testing.assert_close(model.hidden_means(x, c), weights.T @ hidden)


@every_kind
@every_spec
def test_partition_function_sums_over_both_layers(spec, kinds):
    """From the smaller layer, and events of all probabilities add up to one."""
    x, volume = visible_states(spec)
    c = conditions(spec, 1)
    for n_hidden in (2, 5):
        model = machine(spec, visible=kinds[0], hidden=kinds[1], n_hidden=n_hidden, seed=1)
        with torch.no_grad():
            energies = [joint_energy(model, x, h, c) for h in hidden_states(model)]
            joint = torch.logsumexp(-torch.stack(energies), 0)
            total = float(torch.logsumexp(joint + volume.log(), 0))
            p = (model.log_prob(x, c.expand(len(x), -1)).exp() * volume).sum()
        found = model.log_z(c, method="exact")
        assert found.value == pytest.approx(total, abs=1e-9)
        assert (found.std_error, found.method) == (0, "exact")
        assert float(p) == pytest.approx(1, abs=1e-9)


def test_units_of_zero_and_one_are_the_same_law():
    """v = 2u - 1, h = 2g - 1: W' = 4W, a' = 2a - 2 W 1, b' = 2b - 2 W^T 1; and each alone."""
    ising = machine(SPINS)
    w, a, b = ising.couplings.detach(), ising.visible_bias.detach(), ising.hidden_bias.detach()
    same = {
        ("bernoulli", "bernoulli"): (4 * w, 2 * a - 2 * w.sum(1), 2 * b - 2 * w.sum(0)),
        ("bernoulli", "ising"): (2 * w, 2 * a, b - w.sum(0)),
        ("ising", "bernoulli"): (2 * w, a - w.sum(1), 2 * b),
    }
    x, _ = visible_states(SPINS)
    none = torch.zeros(16, 0, dtype=torch.float64)
    for kinds, (w01, a01, b01) in same.items():
        model = machine(SPINS, visible=kinds[0], hidden=kinds[1])
        with torch.no_grad():
            model.couplings.copy_(w01)
            model.visible_bias.copy_(a01)
            model.hidden_bias.copy_(b01)
        torch.testing.assert_close(model.log_prob(x, none), ising.log_prob(x, none))


@pytest.mark.parametrize("kind", BINARY)
def test_free_units_with_the_means_of_the_data(kind):
    """The bias that ``field_of`` gives makes free units of these means."""
    spec = SPECS["all kinds"]
    layer = Visible(spec, kind).double()
    variance = torch.tensor([1, 0.3, 1, 1, 1, 1], dtype=torch.float64)
    x = torch.tensor([[0.6, -0.4, -0.2, -0.9, 0.1, -0.3]], dtype=torch.float64)
    bias = layer.field_of(layer.values(x, variance)[0], variance)
    torch.testing.assert_close(layer.mean(bias[None]), x)


def test_what_is_no_part_of_a_model_is_refused_at_once():
    for wrong in ("pcd", PCD):
        with pytest.raises(TypeError, match=r"such as chains=PCD\(n_steps=10\), got .*(pcd|PCD)"):
            RBM(chains=wrong)
    for name, wrong in {"network": MLPEnergy, "kernel": "hmc", "objective": CD()}.items():
        with pytest.raises(TypeError, match=rf"EBM: {name} must be made by one of [A-Z]\w+\(\), "):
            EBM(**{name: wrong})


def test_energies_stay_finite_where_fields_are_large():
    model = machine(SPINS)
    with torch.no_grad():
        model.couplings.mul_(1e4)
    x, _ = visible_states(SPINS)
    assert torch.isfinite(model.free_energy(x, torch.zeros(16, 0))).all()


# ---------------------------------------------------------------------- gradients


def likelihood_weights(model, x, volume, c):
    """Probabilities of all states."""
    with torch.no_grad():
        return model.log_prob(x, c).exp() * volume


def some_data(spec, n=20, seed=5):
    """Rows of the states, drawn at random."""
    states, _ = visible_states(spec)
    generator = torch.Generator().manual_seed(seed)
    return states[torch.randint(len(states), (n,), generator=generator)]


@every_kind
@every_spec
def test_gradient_of_the_likelihood_is_positive_minus_negative_phase(spec, kinds):
    model = machine(spec, visible=kinds[0], hidden=kinds[1], n_hidden=2)
    states, volume = visible_states(spec)
    data = some_data(spec)
    c, each = conditions(spec, len(data)), conditions(spec, len(states))
    p = likelihood_weights(model, states, volume, each)
    parameters = list(model.parameters())
    contrast = model.free_energy(data, c).mean() - (p * model.free_energy(states, each)).sum()
    exact = torch.autograd.grad(-model.log_prob(data, c).mean(), parameters)
    for g, expected in zip(torch.autograd.grad(contrast, parameters), exact, strict=True):
        assert torch.linalg.norm(g - expected) <= 1e-6 * torch.linalg.norm(expected)
        assert expected.abs().sum() > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"translation_symmetric": True},
        {"translation_symmetric": True, "flip_symmetric": True},
        {"translation_symmetric": True, "filter_size": 3},
        {"flip_symmetric": True},
        {"translation_symmetric": True, "visible": "bernoulli", "hidden": "bernoulli"},
    ],
    ids=str,
)
def test_gradient_of_symmetric_machines(settings):
    """Filters gather the gradient of all couplings that they stand for."""
    spec = TensorSpec(n_features=6, binary=(True,) * 6, shape=(6,))
    model = machine(spec, n_hidden=6, **settings)
    states, volume = visible_states(spec)
    data, none = some_data(spec), torch.zeros(1, 0, dtype=torch.float64)
    p = likelihood_weights(model, states, volume, none.expand(len(states), 0))
    exact = torch.autograd.grad(
        -model.log_prob(data, none.expand(len(data), 0)).mean(), model.couplings
    )[0]
    all_of_them = model.parameters_at(none)
    of_each = torch.zeros_like(all_of_them.couplings)
    for rows, weights in ((data, torch.full((len(data),), -1 / len(data))), (states, p)):
        values = rows if model.settings.visible == "ising" else (rows + 1) / 2
        of_each += (weights[:, None] * values).T @ model.hidden_means(rows, none)
    expected = torch.autograd.grad(all_of_them.couplings, model.couplings, of_each)[0]
    assert torch.linalg.norm(exact - expected) <= 1e-6 * torch.linalg.norm(expected)


def test_gradient_in_numbers():
    """dW = <v h>_model - <v h>_data, da = <v>_model - <v>_data, db = <h>_model - <h>_data."""
    model = machine(SPINS)
    states, _ = visible_states(SPINS)
    data, none = some_data(SPINS), torch.zeros(20, 0, dtype=torch.float64)
    p = model.log_prob(states, none[:16]).exp().detach()
    h, h_data = (model.hidden_means(x, none[: len(x)]).detach() for x in (states, data))
    expected = (
        (p[:, None] * states).T @ h - data.T @ h_data / 20,
        p @ states - data.mean(0),
        p @ h - h_data.mean(0),
    )
    machine_parameters = (model.couplings, model.visible_bias, model.hidden_bias)
    exact = torch.autograd.grad(-model.log_prob(data, none).mean(), machine_parameters)
    for g, e in zip(exact, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-12)


@every_kind
@every_spec
def test_gradient_of_the_loss_is_that_of_autograd(spec, kinds):
    """For events of unequal weights, against free energies without derivatives of our own."""
    model = machine(spec, visible=kinds[0], hidden=kinds[1], chains=PCD(n_chains=20)).train()
    data, c = some_data(spec), conditions(spec, 20)
    model.snapshots.n_updates = 1  # the biases stay as they are
    rng = GeneratorRandom(torch.Generator().manual_seed(1))
    loss = model.loss(data, c, player="rbm", rng=rng)
    chains = model.chains.state[:, : spec.n_features]
    weights = torch.linspace(0.2, 1.8, 20, dtype=torch.float64)
    if spec.n_conditions:  # which chain went with which event is not known
        weights.fill_(0.7)
    negative = model.free_energy(chains, c)
    negative = negative if spec.n_conditions else negative.mean()
    expected = model.free_energy(data, c) - negative
    torch.testing.assert_close(loss.mean(), expected.mean())
    parameters = list(model.parameters())
    wanted = torch.autograd.grad(weights @ expected, parameters)
    for g, e in zip(torch.autograd.grad(weights @ loss, parameters), wanted, strict=True):
        assert torch.linalg.norm(g - e) <= 1e-6 * torch.linalg.norm(e)
        assert e.abs().sum() > 0


def test_gradient_of_the_loss_is_that_of_the_likelihood():
    """With chains of the machine's own law; with chains of another law it is not."""
    model = machine(SPINS, chains=PCD(n_chains=20))
    states, _ = visible_states(SPINS)
    data, none = some_data(SPINS), torch.zeros(20, 0, dtype=torch.float64)
    parameters = list(model.parameters())
    exact = torch.autograd.grad(-model.log_prob(data, none).mean(), parameters)
    p = model.log_prob(states, none[:16]).exp().detach()
    many = data.repeat(1000, 1)

    def deviation(law):
        counts = (law * 20_000).round().long()
        counts[0] += 20_000 - counts.sum()
        chains = states.repeat_interleave(counts, dim=0)
        model.chains.state = torch.cat((chains, torch.zeros(20_000, 3)), dim=1)
        loss = model.loss(many, many[:, :0], player="rbm", rng=PhiloxRandom(0, torch.arange(2)))
        found = torch.autograd.grad(loss.mean(), parameters)
        return max(float((g - e).abs().max()) for g, e in zip(found, exact, strict=True))

    assert deviation(p) < 1e-3
    assert deviation(p.flip(0)) > 0.1


@pytest.mark.parametrize("kinds", list(itertools.product(BINARY, BINARY)), ids="-".join)
@pytest.mark.parametrize("spec", [SPINS, SPECS["potts"], SPECS["all kinds"]], ids=str)
def test_centered_gradient_is_that_of_a_machine_of_deviations(spec, kinds):
    """(u - mu) W (h - lambda) + a' u + b' h: a = a' - W lambda and b = b' - W^T mu."""
    model = machine(spec, visible=kinds[0], hidden=kinds[1])
    data, (states, volume) = some_data(spec), visible_states(spec)
    none = torch.zeros(1, 0, dtype=torch.float64)
    p = likelihood_weights(model, states, volume, none.expand(len(states), 0))
    model.visible_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    model.hidden_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    mu, offset = model.visible_mean, model.hidden_mean

    def contrast(named):
        machine_there = model.parameters_at(none, named)
        positive = machine_there.free_energy(data).mean()
        return positive - (p * machine_there.free_energy(states)).sum()

    named = dict(model.named_parameters())
    plain = torch.autograd.grad(contrast(named), list(named.values()))
    w = named["couplings"].detach().requires_grad_()
    a = (named["visible_bias"] + w @ offset).detach().requires_grad_()
    b = (named["hidden_bias"] + w.T @ mu).detach().requires_grad_()
    there = {"couplings": w, "visible_bias": a - w @ offset, "hidden_bias": b - w.T @ mu}
    gw, ga, gb = torch.autograd.grad(contrast(named | there), (w, a, b))
    # a step of (W, a', b') against its gradient is this step of (W, a, b)
    expected = {"couplings": gw, "visible_bias": ga - gw @ offset, "hidden_bias": gb - gw.T @ mu}
    for parameter, gradient in zip(named.values(), plain, strict=True):
        parameter.grad = gradient.clone()
    for (name, change), gradient in zip(centered_step(model), plain, strict=True):
        torch.testing.assert_close(change, expected.get(name, gradient))
        assert name == "log_sigma" or not torch.allclose(change, gradient)


@pytest.mark.parametrize("filter_size", [0, 3])
def test_centered_gradient_of_filters(filter_size):
    """The same for w_f, one visible bias and one hidden bias per filter."""
    spec = TensorSpec(n_features=8, binary=(True,) * 8, shape=(8,))
    model = machine(spec, n_hidden=16, translation_symmetric=True, filter_size=filter_size)
    data, (states, _) = some_data(spec), visible_states(spec)
    none = torch.zeros(1, 0, dtype=torch.float64)
    p = likelihood_weights(model, states, torch.ones(1), none.expand(len(states), 0))
    model.visible_mean.fill_(0.3)
    offset = torch.tensor([0.2, -0.5], dtype=torch.float64)
    model.hidden_mean.copy_(offset.repeat_interleave(8))

    def contrast(w, a, b):
        named = {"couplings": w, "visible_bias": a, "hidden_bias": b}
        there = model.parameters_at(none, named)
        return there.free_energy(data).mean() - (p * there.free_energy(states)).sum()

    parameters = (model.couplings, model.visible_bias, model.hidden_bias)
    plain = torch.autograd.grad(contrast(*parameters), parameters)
    w = model.couplings.detach().requires_grad_()
    to_a, to_b = (offset @ w).sum(), 0.3 * w.sum(1)
    a = (model.visible_bias + to_a).detach().requires_grad_()
    b = (model.hidden_bias + to_b).detach().requires_grad_()
    gw, ga, gb = torch.autograd.grad(contrast(w, a - to_a, b - to_b), (w, a, b))
    for parameter, gradient in zip(parameters, plain, strict=True):
        parameter.grad = gradient.clone()
    change = dict(centered_step(model))
    torch.testing.assert_close(change["couplings"], gw)
    torch.testing.assert_close(change["visible_bias"], ga - (offset @ gw).sum(0, keepdim=True))
    torch.testing.assert_close(change["hidden_bias"], gb - 0.3 * gw.sum(1))


def centered_step(model):
    """How much each parameter falls, per rate, in a step of gradient descent with the hooks."""
    step, rate = learning.CenteredStep(model), 1e-3
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step.before()
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(p.grad, alpha=rate)
    step.after()
    return [(n, (before[n] - p.detach()) / rate) for n, p in model.named_parameters()]
