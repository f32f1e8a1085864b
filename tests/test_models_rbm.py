"""The restricted Boltzmann machine as a model: what it promises, its moves, what it refuses.

Its law and gradient are tested in ``test_models_rbm_layers.py``, what it draws in ``_sampling``,
its partition function in ``_partition``, and how it learns in ``_training``.
"""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from physgen import mcmc
from physgen.models import (
    CD,
    PCD,
    RBM,
    FastPCD,
    TemperedPCD,
    TensorSpec,
    settings_from_dict,
    settings_to_dict,
)
from physgen.models.base import CompletesEvents, HasEnergy, HasLogProb, HasLogZ
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers


def all_spins(n):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)))


def random_machine(spec, *, n_hidden=4, seed=0, **settings):
    """A machine with couplings that matter."""
    with seeded_layers(seed):
        model = RBM(n_hidden=n_hidden, chains=CD(n_chains=16), **settings).build(spec).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.4 * torch.randn_like(parameter))
    return model


MIXED = TensorSpec(n_features=4, n_conditions=2, binary=(True, False, True, False))
SPINS = TensorSpec(n_features=5, binary=(True,) * 5)


def test_what_it_can_say_about_an_event():
    model = RBM(n_hidden=3, chains=CD(n_chains=4)).build(SPINS)
    for promise in (HasEnergy, HasLogProb, HasLogZ, CompletesEvents):
        assert isinstance(model, promise)


# ---------------------------------------------------------------------- moves


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


@pytest.mark.parametrize("kind", ["ising", "bernoulli"])
def test_moves_obey_detailed_balance(kind):
    """From the exact law as many chains go from x to y as back; in an ordered sweep not."""
    spec = TensorSpec(n_features=4, binary=(True,) * 4)
    model = random_machine(spec, n_hidden=2, seed=1, visible=kind, hidden=kind)
    with torch.no_grad():
        # those of zeros and ones are 4 times as large in the same law
        model.couplings.mul_(4.0 if kind == "bernoulli" else 1.0)
    v, none = all_spins(4), torch.zeros(16, 0)
    states = v.to(torch.int8).view(-1, 2, 2)
    law = model.log_prob(v, none).exp().detach()
    moves = model.moves(1)
    assert torch.equal(moves.energy(states), model.energy(v, none))
    chi2, n = asymmetry(moves.kernel, moves.energy, states, law)
    assert abs(chi2 - 1) < 4 * math.sqrt(2 / n)
    chi2, n = asymmetry(mcmc.Gibbs(sweep=True), moves.energy, states, law)
    assert chi2 > 1 + 8 * math.sqrt(2 / n)


def test_moves_take_the_ratio_of_the_free_energies():
    model, state, c = random_machine(SPINS), all_spins(5), torch.zeros(32, 0)
    moved, log_ratio = model.moves(3)(state, rng=PhiloxRandom(1, torch.arange(32)))
    assert torch.allclose(log_ratio, model.free_energy(moved, c) - model.free_energy(state, c))
    assert not log_ratio.requires_grad
    steps = model.gibbs(state, c, 3, rng=PhiloxRandom(1, torch.arange(32)))
    assert torch.equal(moved, steps)


def test_moves_make_chains_of_another_energy_exact():
    """A machine that knows nothing of a field proposes, and the energy decides."""
    model, n_chains = random_machine(SPINS, seed=2), 4000
    energy = lambda s: 0.3 * (s * s.roll(1, 1)).sum(1) - 0.4 * s.sum(1)
    states = all_spins(5)
    exact = float((torch.softmax(-energy(states), 0) * energy(states)).sum())

    def pull(kernel):
        start = torch.ones(n_chains, 5)
        chain = mcmc.run_chains(kernel, energy, start, n_steps=60, n_burn_in=30, rng=1)
        return chain.measure("energy").pull(exact)

    assert abs(pull(mcmc.Metropolis(proposal=model.moves(2)))) < 4
    # without the test the chains have the machine's law
    assert abs(pull(model.moves(2).kernel)) > 8


def test_moves_under_a_condition_and_of_real_features():
    model = random_machine(MIXED)
    c = torch.tensor([[0.5, -1.0]])
    x = torch.tensor([[1.0, 0.3, -1.0, 2.0]], dtype=torch.float64).expand(500, 4)
    rng = lambda: PhiloxRandom(1, torch.arange(500))
    moved, _ = model.moves(2, c)(x, rng=rng())
    assert moved.dtype == x.dtype
    each, _ = model.moves(2, c.expand(500, 2))(x, rng=rng())
    assert torch.equal(moved, each)
    other, _ = model.moves(2, -c)(x, rng=rng())
    assert not torch.equal(moved, other)


def test_moves_that_do_not_fit_are_refused():
    model, c = random_machine(MIXED), torch.tensor([[0.5, -1.0]])
    x, rng = torch.zeros(3, 4), PhiloxRandom(1, torch.arange(3))
    with pytest.raises(ValueError, match=r"needs a condition of shape \(n_chains, 2\).* got none"):
        model.moves(2)
    with pytest.raises(ValueError, match=r"moves real features, but the states are torch[.]int8"):
        model.moves(2, c)(x.to(torch.int8), rng=rng)
    with pytest.raises(ValueError, match="have 3 numbers per chain, but the model has 4"):
        model.moves(2, c)(x[:, :3], rng=rng)
    with pytest.raises(ValueError, match="n_steps must be 1 or more, got 0"):
        model.moves(0, c)


# ---------------------------------------------------------------------- settings

ways = st.one_of(
    st.builds(CD, n_steps=st.integers(1, 3), n_chains=st.integers(1, 40)),
    st.builds(PCD, n_steps=st.integers(1, 3), n_chains=st.integers(1, 40)),
    st.builds(FastPCD, n_chains=st.integers(1, 40), rate=st.floats(0, 0.1)),
    st.builds(TemperedPCD, n_chains=st.integers(1, 40), n_rungs=st.integers(2, 4)),
)
kinds = st.sampled_from(["ising", "bernoulli"])


@st.composite
def units(draw):
    """Features of all kinds, in any order."""
    parts = draw(st.lists(st.sampled_from(["spin", "real", 2, 3]), min_size=1, max_size=4))
    binary, one_hot = [], []
    for part in parts:
        if isinstance(part, int):
            one_hot.append((len(binary), part))
            binary += [True] * part
        else:
            binary.append(part == "spin")
    return TensorSpec(
        n_features=len(binary),
        n_conditions=draw(st.integers(0, 2)),
        binary=tuple(binary),
        one_hot=tuple(one_hot),
    )


@hypothesis.settings(max_examples=12)
@given(spec=units(), chains=ways, visible=kinds, hidden=kinds, n_events=st.integers(1, 50))
def test_every_machine_learns_draws_and_keeps_its_units(spec, chains, visible, hidden, n_events):
    """More or fewer events than chains, too; settings survive being written down."""
    shared = isinstance(chains, CD) or not spec.n_conditions
    hypothesis.assume(shared or n_events <= chains.n_chains)
    settings = RBM(
        n_hidden=3, chains=chains, visible=visible, hidden=hidden, n_steps_sample=2, n_snapshots=4
    )
    assert settings_from_dict(settings_to_dict(settings)) == settings
    rng = PhiloxRandom(1, torch.arange(n_events))
    with seeded_layers(0):
        model = settings.build(spec).train()
    c = rng.normal(n_events, spec.n_conditions)
    x = model.sample(n_events, c, rng=rng)
    optimizer = model.players()["rbm"]
    training = GeneratorRandom(torch.Generator().manual_seed(0))
    for _ in range(3):
        loss = model.loss(x, c, player="rbm", rng=training)
        assert loss.shape == (n_events,)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    for sampler in ("gibbs", "pt", "ptt"):
        made = model.sample(n_events, c, rng=rng, sampler=sampler)
        assert torch.isfinite(made).all()
        assert made.shape == x.shape
        assert (made[:, torch.tensor(spec.binary)].abs() == 1).all()
        for first, n_values in spec.one_hot:
            assert (made[:, first : first + n_values].sum(1) == 2 - n_values).all()
    assert model.chains.state.shape[0] == chains.n_chains
    with torch.no_grad():
        assert torch.isfinite(model.log_prob(x, c)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_hidden": 0}, "RBM: n_hidden must be positive, got 0"),
        ({"learning_rate": -1}, "RBM: learning_rate must be positive, got -1"),
        ({"n_steps_sample": 0}, "RBM: n_steps_sample must be positive, got 0"),
        ({"l1": -0.1}, "RBM: l1 must be 0 or more, got -0.1"),
        ({"n_snapshots": -1}, "RBM: n_snapshots must be 0 or more, got -1"),
        ({"visible": "potts"}, "RBM: visible must be 'ising' or 'bernoulli', got 'potts'"),
        ({"hidden": "gauss"}, "RBM: hidden must be 'ising' or 'bernoulli', got 'gauss'"),
        ({"filter_size": 3}, "goes with translation_symmetric=True, got 3 and False"),
        ({"filter_size": 2, "translation_symmetric": True}, "filter_size is an odd number"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RBM(**settings)


@pytest.mark.parametrize(
    ("way", "settings", "message"),
    [
        (CD, {"n_steps": 0}, "CD: n_steps must be positive, got 0"),
        (PCD, {"n_chains": 0}, "PCD: n_chains must be positive, got 0"),
        (FastPCD, {"rate": -1.0}, "FastPCD: rate must be 0 or more, got -1.0"),
        (FastPCD, {"decay": -0.5}, "FastPCD: decay must be 0 or more, got -0.5"),
        (TemperedPCD, {"n_rungs": 1}, "TemperedPCD: n_rungs must be 2 or more, got 1"),
    ],
)
def test_chains_that_make_no_sense_are_refused(way, settings, message):
    with pytest.raises(ValueError, match=message):
        way(**settings)


LATTICE = TensorSpec(n_features=12, binary=(True,) * 12, shape=(3, 4))
REAL = TensorSpec(n_features=3)
POTTS = TensorSpec(n_features=3, binary=(True,) * 3, one_hot=((0, 3),))


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        (REAL, {"flip_symmetric": True}, "needs binary features only.* 3 features are real"),
        (POTTS, {"flip_symmetric": True}, "1 units have several values"),
        (SPINS, {"flip_symmetric": True, "hidden": "bernoulli"}, "hidden='bernoulli'"),
        (SPINS, {"translation_symmetric": True}, "have the shape of no array"),
        (LATTICE, {"translation_symmetric": True, "n_hidden": 16}, "multiple of the 12 sites"),
        (
            LATTICE,
            {"translation_symmetric": True, "n_hidden": 12, "filter_size": 5},
            r"filter_size 5 is larger than the lattice \(3, 4\)",
        ),
    ],
    ids=str,
)
def test_symmetries_that_the_units_do_not_have_are_refused(spec, settings, message):
    with pytest.raises(ValueError, match=message):
        RBM(**settings).build(spec)
