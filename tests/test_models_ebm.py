"""The energy-based model: its kernel, its replay buffer, its energy."""

import dataclasses
import itertools
import json
import math

import pytest
import torch
from scipy import stats

from physgen.mcmc import (
    HMC,
    Blocks,
    Gibbs,
    Info,
    InformedFlip,
    Langevin,
    Metropolis,
    SingleFlip,
    run_chains,
)
from physgen.models import (
    EBM,
    ContrastiveDivergence,
    ConvEnergy,
    DenoisingScoreMatching,
    MLPEnergy,
    SlicedScoreMatching,
    TensorSpec,
    settings_from_dict,
    settings_to_dict,
)
from physgen.models.base import HasEnergy, HasLogProb
from physgen.models.persistent import PersistentChains
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers
from physgen.shell_settings import SHELL_SETTINGS, library_settings
from physgen.simulators import Ising2D
from physgen.training import TrainingConfig, TrainingError, train

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
    # one condition: each event gets the chain that was run at its own
    chains.push(start, condition)
    chains.condition = condition.flip(0)
    chains.state = 10 * condition.flip(0)
    start = chains.oldest(condition, rng=generator_random())
    assert float((start - 10 * condition).abs().max()) < 1.5


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


# ---------------------------------------------------------------- kernels and networks

LATTICE = TensorSpec(n_features=12, n_conditions=1, binary=(True,) * 12, shape=(3, 4))
OF_NUMBERS = [Langevin(), Langevin(adjust=True), HMC()]
OF_SPINS = [SingleFlip(), Gibbs(), InformedFlip(), InformedFlip(gradient=False)]


def tiny(spec, **changes):
    with seeded_layers(1):
        return EBM(**(TINY | changes)).build(spec)


@pytest.mark.parametrize("kernel", OF_NUMBERS)
def test_kernels_of_numbers_fit_numbers_only(kernel):
    assert tiny(REAL, kernel=kernel).kernel is kernel
    for spec in (SPINS, MIXED):
        with pytest.raises(ValueError, match=rf"kernel {type(kernel).__name__} needs real feat"):
            tiny(spec, kernel=kernel)
    with pytest.raises(ValueError, match="needs real features, but 3 of the 3 are binary"):
        tiny(SPINS).moves(3, kernel=kernel)


@pytest.mark.parametrize("kernel", OF_SPINS)
def test_kernels_of_spins_fit_spins_only(kernel):
    assert tiny(SPINS, kernel=kernel).kernel is kernel
    for spec in (REAL, MIXED):
        with pytest.raises(ValueError, match=rf"kernel {type(kernel).__name__} needs binary feat"):
            tiny(spec, kernel=kernel)
    with pytest.raises(ValueError, match=r"needs binary features .* but only 0 of the 3"):
        tiny(REAL).moves(3, kernel=kernel)


def test_settings_of_kernels_that_do_not_serve_are_refused():
    with pytest.raises(ValueError, match="one number as inverse_mass"):
        tiny(REAL, kernel=HMC(inverse_mass=torch.ones(3)))
    with pytest.raises(ValueError, match=r"-1 and \+1, got values=\(0, 1\)"):
        tiny(SPINS, kernel=Gibbs(values=(0, 1)))
    sweep = tiny(SPINS, kernel=Gibbs(sweep=True))
    with pytest.raises(ValueError, match=r"Gibbs\(sweep=True\) .* is not reversible"):
        sweep.moves(3)


@pytest.mark.parametrize("kernel", [*OF_SPINS, Gibbs(sweep=True)])
def test_every_kernel_of_spins_samples_the_enumerated_law(kernel):
    """Chains of a random energy of six spins, long enough to forget the buffer."""
    spec = TensorSpec(n_features=6, binary=(True,) * 6)
    model = rough(tiny(spec, kernel=kernel))
    n, n_steps = 2000, 8 if getattr(kernel, "sweep", False) else 60
    x = model.sample(n, torch.zeros(n, 0), rng=PhiloxRandom(1, torch.arange(n)), n_steps=n_steps)
    states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)))
    index = ((x > 0).long() * 2 ** torch.arange(5, -1, -1)).sum(1)
    counts = torch.bincount(index, minlength=64).double()
    law = torch.softmax(-model.energy(states, torch.zeros(64, 0)).detach().double(), 0)
    assert 0.001 < stats.chisquare(counts, law * n).pvalue < 1
    assert stats.chisquare(counts, law.flip(0) * n).pvalue < 1e-6


def rough(model, factor=4.0):
    """A model whose energies differ by a few nats."""
    with torch.no_grad():
        for p in model.parameters():
            p *= factor if p.ndim == 1 else factor / 1.5
    return model


def test_a_convolution_needs_a_lattice():
    conv = EBM(network=ConvEnergy(n_channels=3))
    model = conv.build(LATTICE)
    x = torch.where(torch.randn(5, 12) < 0, -1.0, 1.0)
    c = torch.zeros(5, 1)
    moved = x.view(-1, 3, 4).roll((1, 2), (1, 2)).flatten(1)
    assert torch.allclose(model.energy(x, c), model.energy(moved, c), atol=1e-5)
    with pytest.raises(ValueError, match=r"one array of two or three axes.*no single array"):
        conv.build(SPINS)
    with pytest.raises(ValueError, match=r"an array of shape \(3,\); use MLPEnergy"):
        conv.build(dataclasses.replace(SPINS, shape=(3,)))
    with pytest.raises(ValueError, match=r"kernel_size 5 is larger than the smallest side"):
        EBM(network=ConvEnergy(kernel_size=5)).build(LATTICE)
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        ConvEnergy(kernel_size=4)


def test_settings_survive_json_and_have_names_in_the_shell():
    for settings in (
        EBM(network=ConvEnergy(n_layers=3), kernel=Gibbs(block_size=2)),
        EBM(kernel=InformedFlip(barker=True), objective=ContrastiveDivergence(restart=0.1)),
        EBM(kernel=HMC(step_size=0.2), objective=SlicedScoreMatching(n_projections=3)),
        EBM(objective=DenoisingScoreMatching(sigma=0.2)),
    ):
        stored = json.loads(json.dumps(settings_to_dict(settings)))
        assert dataclasses.asdict(settings_from_dict(stored)) == dataclasses.asdict(settings)
    given = SHELL_SETTINGS["ebm"](
        network="conv:n_channels=4", kernel="informed-flip", objective="contrastive:n_steps=3"
    )
    assert library_settings("ebm", given) == EBM(
        network=ConvEnergy(n_channels=4),
        kernel=InformedFlip(),
        objective=ContrastiveDivergence(n_steps=3),
    )


# ---------------------------------------------------------------- chains


def test_chains_that_restart_forget_the_buffer():
    objective = ContrastiveDivergence(n_chains=500, restart=0.5, n_steps=1)
    model = tiny(REAL, objective=objective).train()
    model.chains.state += 10.0
    x, rng = torch.full((500, 3), 10.0), generator_random()
    model.loss(x, torch.zeros(500, 0), player="ebm", rng=rng)
    fresh = model.chains.state.mean(1) < 5
    assert 0.4 < fresh.float().mean() < 0.6
    with pytest.raises(ValueError, match=r"restart must be in \[0, 1\], got 2"):
        ContrastiveDivergence(restart=2)


def test_the_effort_of_a_sample_is_an_argument():
    model = tiny(REAL)
    draw = lambda **effort: model.sample(
        8, torch.zeros(8, 0), rng=PhiloxRandom(1, torch.arange(8)), **effort
    )
    assert torch.equal(draw(), draw(n_steps=100))
    assert not torch.equal(draw(), draw(n_steps=101))
    with pytest.raises(ValueError, match="n_steps must be at least 1, got 0"):
        draw(n_steps=0)


def look(model, x=None):
    x = torch.where(torch.arange(60).view(20, 3) % 2 == 0, 1.0, -1.0) if x is None else x
    return model.diagnose(x, torch.zeros(len(x), 0), rng=generator_random())


@pytest.mark.parametrize("spec", [REAL, SPINS, MIXED])
def test_a_look_leaves_the_model_alone(spec):
    model = tiny(spec)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    found, warnings = look(model)
    gap = found["energy of data [nat]"] - found["energy of chains [nat]"]
    assert abs(found["energy gap [nat]"] - gap) < 1e-5
    assert 0 < found["acceptance"] <= 1
    assert found["divergent moves"] == 0
    assert warnings == []
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert look(model) == (found, warnings)


def test_warnings_say_what_to_do():
    far = tiny(REAL)
    far.chains.state *= 8
    assert any("runs away from the data's" in w for w in look(far)[1])
    long = tiny(REAL, kernel=Langevin(step_size=30.0))
    assert look(long)[0]["acceptance"] < 0.05
    assert any("fewer than 1 in 20" in w and "lower step_size" in w for w in look(long)[1])
    wild = tiny(REAL, kernel=HMC(step_size=20.0))
    assert look(wild)[0]["divergent moves"] > 0.9
    assert any("trajectories of HMC break down" in w for w in look(wild)[1])


def test_chains_that_run_away_stop_the_training_in_the_last_good_state():
    """Steps so long that the unadjusted chains explode."""
    model = tiny(REAL, kernel=Langevin(step_size=3.0))
    x = generator_random().normal(500, 3)
    config = TrainingConfig(steps=200, batch_size=32)
    with pytest.raises(TrainingError, match=r"energy ran away from the data's.*step_size"):
        train(model, x, config=config, rng=0)
    assert all(t.isfinite().all() for t in model.state_dict().values())
    lost = tiny(REAL)
    lost.chains.state *= 100
    with pytest.raises(FloatingPointError, match="nats apart, for 3 features"):
        look(lost)


# ---------------------------------------------------------------- the partition function


def test_log_z_of_spins_against_enumeration():
    spec = TensorSpec(n_features=8, n_conditions=1, binary=(True,) * 8, shape=(2, 4))
    model = rough(tiny(spec))
    states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=8)))
    conditions = torch.tensor([[-2.0]]), torch.tensor([[2.0]])
    exact = [
        float(torch.logsumexp(-model.energy(states, c.expand(256, 1)).detach(), 0))
        for c in conditions
    ]
    for i, c in enumerate(conditions):
        found = model.log_z(c, n_betas=60, n_moves=4, rng=1)
        assert abs(found.value - exact[i]) < 4 * found.std_error < 0.2
        assert abs(found.value - exact[1 - i]) > 8 * found.std_error
    with pytest.raises(ValueError, match=r"of shape \(1, 1\), got \(1, 0\)"):
        model.log_z(rng=1)


@pytest.mark.parametrize("objective", [ContrastiveDivergence(), DenoisingScoreMatching(sigma=0.5)])
def test_log_z_of_a_number_against_quadrature(objective):
    spec = TensorSpec(n_features=1)
    model = rough(tiny(spec, objective=objective, kernel=HMC(step_size=0.5, n_leapfrog=3)))
    x = torch.linspace(-12, 12, 20_001)[:, None]
    density = torch.logsumexp(-model.energy(x, torch.zeros(len(x), 0)).detach(), 0)
    exact = float(density) + math.log(24 / 20_000)
    found = model.log_z(n_betas=100, rng=1)
    assert abs(found.value - exact) < 4 * found.std_error < 0.2


# ---------------------------------------------------------------- long trainings


def bounded(model, x, n_steps, **config):
    """Train without a return to an earlier state; the energy gap at all looks."""
    config = TrainingConfig(steps=n_steps, **config)
    history = train(model, x, config=config, rng=0)
    shown = torch.tensor([v for n, v in history.diagnostics.items() if n != "step"])
    assert shown.isfinite().all()
    assert not any("went back" in message for message in history.messages)
    return torch.tensor(history.diagnostics["energy gap [nat]"])


ANGLES = torch.arange(4) * math.pi / 2


def mixture(n_events):
    """Four Gaussians of width 0.2 on a circle, variance about 1."""
    generator = torch.Generator().manual_seed(0)
    mode = ANGLES[torch.randint(4, (n_events,), generator=generator)]
    centers = 1.4 * torch.stack((mode.cos(), mode.sin()), 1)
    return centers + 0.2 * torch.randn(n_events, 2, generator=generator)


def lattices(n_events):
    return torch.from_numpy(
        Ising2D(8)(n_events, {"beta": 0.44068679}, rng=1)["spins"]
    ).float().flatten(1)  # fmt: skip


def stray(x):
    centers = 1.4 * torch.stack((ANGLES.cos(), ANGLES.sin()), 1)
    return float((torch.cdist(x, centers).min(1).values > 0.8).float().mean())


def long_training_of_numbers(n_steps):
    objective = ContrastiveDivergence(n_steps=5, n_chains=512)
    network = MLPEnergy(n_hidden=32)
    settings = EBM(network=network, objective=objective, learning_rate=3e-3)
    with seeded_layers(0):
        model = settings.build(TensorSpec(n_features=2))
    gap = bounded(model, mixture(20_000), n_steps, batch_size=64)
    assert (gap.abs() < 2).all()
    x = model.sample(2000, torch.zeros(2000, 0), rng=PhiloxRandom(1, torch.arange(2000)))
    assert stray(x) < 0.1


def long_training_of_spins(n_steps, bound):
    objective = ContrastiveDivergence(n_steps=8, n_chains=128, n_steps_sample=400)
    network = ConvEnergy(n_channels=4, n_layers=1)
    settings = EBM(network=network, objective=objective, learning_rate=3e-3)
    with seeded_layers(0):
        model = settings.build(TensorSpec(n_features=64, binary=(True,) * 64, shape=(8, 8)))
    gap = bounded(model, lattices(5000), n_steps, batch_size=32)
    # a nat per spin while the chains catch up, and then a part of the spread, which is 9 nats
    assert (gap.abs() < 64).all()
    assert gap[-1].abs() < 9
    x = model.sample(500, torch.zeros(500, 0), rng=PhiloxRandom(1, torch.arange(500)))
    s = x.view(-1, 8, 8)
    energy = -(s * s.roll(1, 1) + s * s.roll(1, 2)).sum((1, 2))
    assert abs(float(energy.mean()) + 95.6) < bound


def test_a_training_of_numbers_stays_bounded():
    long_training_of_numbers(600)


def test_a_training_of_spins_stays_bounded():
    long_training_of_spins(400, bound=20)


@pytest.mark.slow
def test_ten_thousand_steps_of_numbers():
    long_training_of_numbers(10_000)


@pytest.mark.slow
def test_ten_thousand_steps_of_spins():
    long_training_of_spins(10_000, bound=8)
