"""Neural MCMC: a small autoregressive network proposes, the exact energy decides."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen.mcmc import (
    Independence,
    Metropolis,
    independence_chains,
    run,
    run_chains,
)
from physgen.models import EBM, RBM, VAE, TensorSpec
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers

K_C = math.log(1 + math.sqrt(2)) / 2
EXACT = -1.565623787638  # energy per site of the 4x4 torus at K_C, by enumeration
SPINS = TensorSpec(n_features=16, binary=(True,) * 16)


def bonds(s):
    s = s.float().reshape(-1, 4, 4)
    return -(s * s.roll(1, 1) + s * s.roll(1, 2)).sum((1, 2))


def lattice(s):
    return K_C * bonds(s)


def per_site(s):
    return bonds(s) / 16


class MaskedNetwork(nn.Module):
    """p(s) = prod_i p(s_i | s_1 ... s_{i-1}) from one masked perceptron (MADE)."""

    def __init__(self, n_spins=16, n_hidden=64):
        super().__init__()
        place, degree = torch.arange(n_spins), torch.arange(n_hidden) % (n_spins - 1)
        self.first, self.second = nn.Linear(n_spins, n_hidden), nn.Linear(n_hidden, n_spins)
        self.sees = (degree[:, None] >= place).float()
        self.tells = (place[:, None] > degree).float()

    def logits(self, s):
        hidden = torch.tanh(
            nn.functional.linear(s, self.first.weight * self.sees, self.first.bias)
        )
        return nn.functional.linear(hidden, self.second.weight * self.tells, self.second.bias)

    def log_prob(self, x, condition):
        return nn.functional.logsigmoid(x * self.logits(x)).sum(1)

    @torch.no_grad()
    def sample(self, n_events, condition, *, rng):
        u, s = rng.uniform(n_events, 16), torch.zeros(n_events, 16)
        for i in range(16):
            s[:, i] = torch.where(u[:, i] < torch.sigmoid(self.logits(s)[:, i]), 1.0, -1.0)
        return s


@pytest.fixture(scope="module")
def network():
    """Maximum likelihood on exact samples, stopped early so that much is left to correct."""
    states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=16)))
    law = torch.softmax(-lattice(states).double(), 0)
    generator = torch.Generator().manual_seed(1)
    with seeded_layers(1):
        model = MaskedNetwork()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        batch = states[torch.multinomial(law, 512, replacement=True, generator=generator)]
        loss = -model.log_prob(batch, None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(requires_grad=False)


def test_the_network_is_normalized(network):
    states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=16)))
    log_q = network.log_prob(states, None).double()
    assert abs(float(torch.logsumexp(log_q, 0))) < 1e-5


def test_neural_mcmc_gives_the_exact_energy_and_the_network_alone_does_not(network):
    start = torch.ones(400, 4, 4, dtype=torch.int8)
    kernel = Independence(proposal=network)
    chain = run_chains(
        kernel, lattice, start, n_steps=250, n_burn_in=30, observables={"e": per_site}, rng=1
    )
    e = chain.measure("e")
    print(f"neural MCMC: e = {e}, exact {EXACT}, acceptance {chain.acceptance.mean():.3f}")  # noqa: T201
    assert abs(e.pull(EXACT)) < 4
    assert e.std_error < 0.003
    assert 0.2 < chain.acceptance.mean() < 0.9
    drawn = network.sample(100_000, None, rng=PhiloxRandom(2, torch.arange(100_000)))
    assert abs(pull_of_energy(drawn)) > 8


def test_proposals_drawn_before_give_the_same_law(network):
    rng = PhiloxRandom(3, torch.arange(100_000))
    drawn = network.sample(100_000, None, rng=rng)
    log_q = network.log_prob(drawn, None)
    chain = independence_chains(
        lattice, drawn.view(250, 400, 4, 4), log_q.view(250, 400), n_burn_in=30,
        observables={"e": per_site}, keep_states=True, rng=4,
    )  # fmt: skip
    e = chain.measure("e")
    assert abs(e.pull(EXACT)) < 4
    assert e.std_error < 0.003
    assert chain.states.shape == (220, 400, 4, 4)
    assert np.allclose(per_site(chain.states.flatten(0, 1)).view(220, 400), chain.series["e"])
    assert torch.equal(chain.states[-1], chain.state)
    # without the test, or with another density than the draws are from, it is wrong
    wrong = independence_chains(
        lattice, drawn.view(250, 400, 4, 4), 0.8 * log_q.view(250, 400), n_burn_in=30,
        observables={"e": per_site}, rng=4,
    )  # fmt: skip
    assert abs(wrong.measure("e").pull(EXACT)) > 4


def test_a_drawn_batch_equals_the_kernel_step_by_step(network):
    """The same proposals and the same uniform numbers make the same chain."""
    n_steps, n_chains = 12, 30
    drawn = network.sample(n_steps * n_chains, None, rng=PhiloxRandom(5, torch.arange(360)))
    drawn = drawn.view(n_steps, n_chains, 16)
    log_q = network.log_prob(drawn.flatten(0, 1), None).view(n_steps, n_chains)
    batch = independence_chains(lattice, drawn, log_q, keep_states=True, rng=6)
    u = PhiloxRandom(6, torch.arange(n_chains)).uniform(n_chains, n_steps)

    class Replay:
        step = 0

        def uniform(self, *shape):
            return u[:, self.step]

    class Next:
        def sample(self, n_events, condition, *, rng):
            return drawn[rng.step]

        def log_prob(self, x, condition):
            return network.log_prob(x, condition)

    state, rng = drawn[0], Replay()
    for rng.step in range(1, n_steps):
        state, _ = Independence(proposal=Next())(lattice, state, rng=rng)
        assert torch.equal(state, batch.states[rng.step])
    assert (batch.acceptance > 0).all()
    assert (batch.acceptance < 1).all()


def test_conditions_go_to_the_proposal():
    """Normal numbers around a condition per chain, proposed by a wider law around the same."""

    class Around:
        def sample(self, n_events, condition, *, rng):
            return condition + 2 * rng.normal(n_events, 1)

        def log_prob(self, x, condition):
            return torch.distributions.Normal(condition[:, 0], 2.0).log_prob(x[:, 0])

    condition = torch.tensor([[-5.0], [0.0], [20.0]]).repeat(200, 1)
    energy = lambda x: (x - condition).square().sum(1) / 2
    kernel = Independence(proposal=Around(), condition=condition)
    chain = run_chains(
        kernel, energy, condition, n_steps=100, rng=1,
        observables={"z": lambda x: (x - condition)[:, 0]},
    )  # fmt: skip
    assert abs(chain.measure("z").pull(0)) < 4
    assert abs(chain.measure("energy").pull(0.5)) < 4
    with pytest.raises(ValueError, match="conditions for 600 chains, got 3"):
        kernel(energy, torch.zeros(3, 1), rng=PhiloxRandom(0, torch.arange(3)))


def test_an_rbm_proposes_by_its_own_moves():
    """Without its normalization: an exact sample stays exact; its own moves alone lose it."""
    with seeded_layers(3):
        rbm = RBM(n_hidden=24).build(SPINS)
    generator = torch.Generator().manual_seed(1)
    states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=16)))
    law = torch.softmax(-lattice(states).double(), 0)
    optimizer = rbm.players()["rbm"]
    none = torch.empty(512, 0)
    for _ in range(200):
        batch = states[torch.multinomial(law, 512, replacement=True, generator=generator)]
        loss = rbm.loss(batch, none, player="rbm", rng=GeneratorRandom(generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    n_chains = 5000
    start = states[torch.multinomial(law, n_chains, replacement=True, generator=generator)]
    proposal = rbm.moves(10)
    start = start.view(n_chains, 4, 4).to(torch.int8)
    rng = PhiloxRandom(1, torch.arange(n_chains))
    state, info = run(Metropolis(proposal=proposal), lattice, start, 15, rng=rng)
    assert abs(pull_of_energy(state)) < 4
    assert info.acceptance.mean() > 0.2
    assert (state != start).flatten(1).any(1).float().mean() > 0.3
    alone, _ = run(proposal.kernel, proposal.energy, start, 50, rng=rng)
    assert abs(pull_of_energy(alone)) > 8


def pull_of_energy(state):
    e = per_site(state).double()
    return (float(e.mean()) - EXACT) / float(e.std()) * math.sqrt(len(e))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (VAE(n_hidden=8), r"VAEModel has no log_prob \(its elbo is only a bound\)"),
        (RBM(n_hidden=8), r"RBMModel samples by a Markov chain.*moves\(n_steps\)"),
        (EBM(), r"EBMModel samples by a Markov chain.*moves\(n_steps\)"),
    ],
)
def test_models_without_an_exact_density_are_refused(settings, message):
    with pytest.raises(TypeError, match=message):
        Independence(proposal=settings.build(SPINS))


def test_of_a_surrogate_its_model_is_meant():
    spins = np.random.default_rng(0).choice([-1, 1], (200, 4, 4)).astype(np.int8)
    events = pg.Events.from_dict({"spins": spins})
    surrogate = pg.Surrogate.fit(events, pg.Diffusion(n_hidden=8), steps=2, rng=0)
    with pytest.raises(TypeError, match=r"Surrogate makes events.*proposal=surrogate\.model"):
        Independence(proposal=surrogate)


def test_what_does_not_fit_is_refused(network):
    rng = PhiloxRandom(0, torch.arange(4))
    kernel = Independence(proposal=network)
    with pytest.raises(ValueError, match=r"shape \(4, 16\) for states of shape \(4, 5\)"):
        kernel(lattice, torch.ones(4, 5), rng=rng)

    class Flow:
        def sample(self, n_events, condition, *, rng):
            return rng.normal(n_events, 16)

        def log_prob(self, x, condition):
            return -x.square().sum(1) / 2

    with pytest.raises(ValueError, match="a density of real numbers cannot propose spins"):
        Independence(proposal=Flow())(lattice, torch.ones(4, 16, dtype=torch.int8), rng=rng)
    drawn = torch.ones(5, 4, 16)
    with pytest.raises(ValueError, match=r"log_prob must be of shape \(5, 4\)"):
        independence_chains(lattice, drawn, torch.zeros(5), rng=1)
    with pytest.raises(ValueError, match="n_burn_in must be 0 to 4, got 5"):
        independence_chains(lattice, drawn, torch.zeros(5, 4), n_burn_in=5, rng=1)
