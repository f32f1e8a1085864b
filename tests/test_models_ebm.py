"""The energy-based model: its kernel, its replay buffer, its energy."""

import dataclasses
import math

import pytest
import torch

from physgen.mcmc import Blocks, Info, Langevin, Metropolis, SingleFlip, run_chains
from physgen.models import EBM, ContrastiveDivergence, MLPEnergy, TensorSpec
from physgen.models.base import HasEnergy, HasLogProb
from physgen.models.persistent import PersistentChains
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers

REAL = TensorSpec(n_features=3)
SPINS = TensorSpec(n_features=3, binary=(True,) * 3)
MIXED = TensorSpec(n_features=3, binary=(False, True, False))
TINY = {"network": MLPEnergy(n_hidden=8), "objective": ContrastiveDivergence(n_chains=32)}


def generator_random(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def test_the_features_choose_the_kernel():
    assert isinstance(EBM(**TINY).build(REAL).kernel, Langevin)
    assert isinstance(EBM(**TINY).build(SPINS).kernel, SingleFlip)
    kernel = EBM(**TINY).build(MIXED).kernel
    assert isinstance(kernel, Blocks)
    assert kernel.columns == ((0, 2), (1,))
    mine = Langevin(step_size=0.3, adjust=True)
    assert EBM(**TINY, kernel=mine).build(REAL).kernel is mine


@pytest.mark.parametrize("spec", [SPINS, MIXED])
def test_langevin_on_spins_is_refused(spec):
    with pytest.raises(
        ValueError, match=r"Langevin needs real features, but . of the 3 are binary"
    ):
        EBM(kernel=Langevin()).build(spec)


@pytest.mark.parametrize("spec", [REAL, MIXED])
def test_flips_of_real_numbers_are_refused(spec):
    with pytest.raises(ValueError, match=r"SingleFlip needs binary features .*only . of the 3"):
        EBM(kernel=SingleFlip()).build(spec)


def test_energy_confines_the_real_features():
    model = EBM(**TINY).build(MIXED)
    x = torch.tensor([[0.0, 1.0, 0.0], [50.0, 1.0, 0.0]])
    energy = model.energy(x, torch.zeros(2, 0))
    assert energy.shape == (2,)
    assert energy[1] > energy[0] + 1000
    assert isinstance(model, HasEnergy)
    assert not isinstance(model, HasLogProb)


def test_chains_live_from_update_to_update_in_training_only():
    model = EBM(**TINY).build(REAL)
    x, c = torch.zeros(8, 3), torch.zeros(8, 0)
    before = model.chains.state.clone()
    model.train().loss(x, c, player="ebm", rng=generator_random())
    assert torch.equal(model.chains.state[8:], before[8:])
    assert not torch.equal(model.chains.state[:8], before[:8])
    kept = model.chains.state.clone()
    model.eval().loss(x, c, player="ebm", rng=generator_random())
    assert torch.equal(model.chains.state, kept)


def test_no_chain_is_lost_when_conditions_pair_them():
    spec = TensorSpec(n_features=1, n_conditions=1)
    chains = PersistentChains(spec, 64)
    condition = torch.linspace(-2, 2, 64)[:, None]
    start = chains.oldest(condition, rng=generator_random())
    assert torch.equal(start.sort(0).values, chains.state.sort(0).values)
    # each event gets the chain of its own condition
    chains.n_pushed.fill_(1)
    chains.condition = condition.flip(0)
    chains.state = 10 * condition.flip(0)
    start = chains.oldest(condition, rng=generator_random())
    assert float((start - 10 * condition).abs().max()) < 1.5


def test_chains_keep_their_condition_where_there_are_enough():
    """A batch whose shares of three conditions vary takes no chain of another one."""
    chains = PersistentChains(TensorSpec(n_features=1, n_conditions=1), 300)
    rng, generator = generator_random(), torch.Generator().manual_seed(1)
    for step in range(50):
        level = torch.randint(3, (60, 1), generator=generator) - 1.0
        start = chains.oldest(level, rng=rng)
        if step:
            assert torch.equal(start, level)
        else:  # from here on a state says which condition it was run at
            chains.state.copy_(chains.condition)
        chains.push(level, level)
    assert chains.n_pushed == 3000


def test_more_events_than_chains():
    model = EBM(**TINY).build(REAL).train()
    loss = model.loss(
        torch.zeros(100, 3), torch.zeros(100, 0), player="ebm", rng=generator_random()
    )
    assert loss.shape == (100,)
    assert len(model.chains.state) == 32


def test_a_sample_starts_from_chains_of_a_similar_condition():
    chains = PersistentChains(TensorSpec(n_features=1, n_conditions=1), 256)
    chains.condition = torch.where(torch.arange(256)[:, None] < 128, -1.0, 1.0)
    chains.state = chains.condition.clone()
    condition = torch.where(torch.arange(100)[:, None] % 2 == 0, -1.0, 1.0)
    start = chains.draw(100, condition, rng=PhiloxRandom(0, torch.arange(100)))
    assert torch.equal(start, condition)


def corrected_mean(model, energy, start, observable, n_steps=5):
    kernel = Metropolis(proposal=model.moves(n_steps))
    chain = run_chains(
        kernel, energy, start, n_steps=150, n_burn_in=30, observables={"o": observable}, rng=1
    )
    return chain.measure("o")


def test_an_untrained_model_proposes_spins_and_the_energy_decides():
    with seeded_layers(1):
        model = EBM(**TINY).build(TensorSpec(n_features=4, binary=(True,) * 4))
    ring = lambda s: -0.5 * (s * s.roll(1, 1)).sum(1).float()
    start = torch.ones(200, 4, dtype=torch.int8)
    t = math.tanh(0.5)
    exact = -2 * (t + t**3) / (1 + t**4)
    assert abs(corrected_mean(model, ring, start, ring).pull(exact)) < 4
    # without the Metropolis test the chain follows the model's law
    moves = model.moves(5)
    alone = run_chains(
        lambda _, s, rng: (moves(s, rng=rng)[0], Info(torch.ones(len(s)))),
        ring, start, n_steps=100, n_burn_in=30, rng=1,
    )  # fmt: skip
    assert abs(alone.measure("energy").pull(exact)) > 8


def test_langevin_moves_are_tested_against_the_energy_of_the_model():
    """A step so long that the unadjusted one is far off its law."""
    with seeded_layers(1):
        model = EBM(**TINY, kernel=Langevin(step_size=0.5)).build(TensorSpec(n_features=1))
    energy = lambda x: x.square().sum(1) / 2
    square = lambda x: x.square().sum(1)
    found = corrected_mean(model, energy, torch.zeros(200, 1), square, n_steps=2)
    assert abs(found.pull(1)) < 4
    without = dataclasses.replace(model.moves(2), kernel=as_it_is(model))
    chain = run_chains(
        Metropolis(proposal=without), energy, torch.zeros(200, 1), n_steps=150, n_burn_in=30,
        observables={"o": square}, rng=1,
    )  # fmt: skip
    assert abs(chain.measure("o").pull(1)) > 8


def as_it_is(model):
    empty = torch.zeros(200, 0)
    return lambda _, x, rng: model.kernel(lambda y: model.energy(y, empty), x, rng=rng)


def test_moves_of_two_kinds_in_turn_are_refused():
    with pytest.raises(ValueError, match=r"1 of the 3 are binary.*not reversible"):
        EBM(**TINY).build(MIXED).moves(3)
