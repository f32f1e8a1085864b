"""Masked diffusion against enumeration: bound, sampler, completion, weights, symmetries."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen import mcmc
from physgen.models.masked import MaskedDiffusion
from physgen.models.masked_corrector import Corrector
from physgen.models.masked_order import Lattice, counts
from physgen.networks.mlp import Perceptron
from physgen.networks.unet import UNet
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import boltzmann, enumerate_states, spins_of_state
from physgen.tensor_spec import TensorSpec
from physgen.training import TrainingConfig, train

SHAPE, N, BETA = (2, 3), 6, 0.25
SPEC = TensorSpec(n_features=N, binary=(True,) * N, shape=SHAPE, periodic=(True, True))
STATES = torch.from_numpy(spins_of_state(np.arange(64), SHAPE).reshape(64, N)).float()
ISING = boltzmann(enumerate_states(SHAPE), BETA)
LAW = torch.from_numpy(ISING.probabilities)
SMALL = UNet(n_channels=16, n_levels=1, n_blocks=1)
QUICK = Perceptron(n_hidden=16, n_blocks=1)


def numbers(n, seed=5):
    return PhiloxRandom(seed, torch.arange(n))


def generator(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def none(n):
    return torch.zeros(n, 0)


def index_of(x):
    """Numbers of states, as enumeration counts them."""
    return ((x > 0).long() * 2 ** torch.arange(N)).sum(1)


def reduced_energy(x):
    return -(LAW.log() + ISING.ln_z)[index_of(x)]


def restless(settings, spec=SPEC, seed=0):
    """A model that knows nothing, and is of strong opinions."""
    with seeded_layers(seed):
        model = settings.build(spec)
        nn.init.normal_(model.network.last.weight, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def trained():
    with seeded_layers(0):
        model = MaskedDiffusion(network=SMALL, flip_symmetric=True, learning_rate=1e-2).build(SPEC)
    drawn = torch.multinomial(
        LAW, 40_000, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    config = TrainingConfig(steps=400, batch_size=256)
    train(model, STATES[drawn], config=config, rng=0)
    return model


class Exact:
    """Bound, and law of the sampler with one site per step, by all sets of known sites."""

    @torch.no_grad()
    def __init__(self, model):
        law = torch.zeros(64, 64, dtype=torch.float64)  # [set of known sites, state]
        bound = torch.zeros(64, 64, dtype=torch.float64)
        law[0] = 1.0
        for known in range(1, 64):
            for site in range(N):
                if known >> site & 1:
                    before = known & ~(1 << site)
                    mask = torch.tensor([before >> i & 1 for i in range(N)])
                    logits = model.logits(STATES * mask, none(64))[:, site].double()
                    log_p = nn.functional.logsigmoid(STATES[:, site] * logits)
                    n_known = known.bit_count()
                    law[known] += law[before] * log_p.exp() / n_known
                    bound[known] += (bound[before] + log_p) / n_known
        self.law, self.elbo = law[63], bound[63]


def chi2_pull(x, law):
    """Deviation of the counts of all states from a law, in standard deviations of chi2."""
    seen = torch.bincount(index_of(x), minlength=64).double()
    chi2 = float(((seen - len(x) * law).square() / (len(x) * law)).sum())
    return (chi2 - 63) / math.sqrt(2 * 63)


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize(
    "settings", [MaskedDiffusion(network=SMALL), MaskedDiffusion(network=QUICK)]
)
def test_bound_is_the_mean_over_all_orders(settings):
    model = restless(settings)
    exact = Exact(model)
    assert exact.law.sum() == pytest.approx(1.0, abs=1e-5)
    assert (exact.elbo < exact.law.log()).all()
    elbo, error = model.elbo(STATES, none(64), rng=generator(), n_samples=400)
    pulls = (elbo - exact.elbo) / error
    assert pulls.abs().max() < 4.5
    # evenly spaced numbers of masks: the true error is below the one that is told
    assert 0.2 < pulls.std() < 1.1
    # negative control: another model has another bound
    other = Exact(restless(settings, seed=3))
    assert ((elbo - other.elbo) / error).abs().max() > 20


def test_loss_is_minus_the_bound():
    model = restless(MaskedDiffusion(network=QUICK))
    exact = Exact(model)
    losses = torch.stack(
        [
            model.loss(STATES, none(64), player="network", rng=generator(seed)).detach()
            for seed in range(400)
        ]
    ).double()
    pull = (losses.mean() + exact.elbo.mean()) / (losses.std() / losses.numel() ** 0.5)
    assert abs(pull) < 4


def test_numbers_of_masks_are_spread_over_the_batch(monkeypatch):
    model, seen = restless(MaskedDiffusion(network=QUICK)), []
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda x, c: seen.append((x == 0).sum(1)) or logits(x, c))
    for seed in range(20):
        model.loss(STATES, none(64), player="network", rng=generator(seed))
    counted = torch.stack([torch.bincount(n, minlength=N + 1) for n in seen])
    assert (counted[:, 0] == 0).all()
    # 64 events, 6 numbers
    assert counted[:, 1:].min() == 10
    assert counted[:, 1:].max() == 11


def test_what_is_learned(trained):
    exact = Exact(trained)
    entropy = float(LAW @ LAW.log())
    divergence = entropy - float(LAW @ exact.law.log())
    assert 0 <= divergence < 0.005
    assert divergence <= entropy - float(LAW @ exact.elbo) < 0.01
    assert entropy - float(LAW @ Exact(restless(MaskedDiffusion(network=SMALL))).law.log()) > 0.1


def test_the_bound_sees_conditions():
    """A spin that is the sign of its condition."""
    spec = TensorSpec(n_features=1, n_conditions=1, binary=(True,))
    with seeded_layers(0):
        model = MaskedDiffusion(network=Perceptron(n_hidden=16, n_blocks=1)).build(spec)
    c = 2.0 * (generator().uniform(4000, 1) < 0.5) - 1
    train(model, c.clone(), c, config=TrainingConfig(steps=200, batch_size=128), rng=0)
    assert (model.sample(200, c[:200], rng=numbers(200)) == c[:200]).float().mean() > 0.98


# ---------------------------------------------------------------- sampling


def test_one_site_per_step_is_the_law_of_all_orders():
    model = restless(MaskedDiffusion(network=QUICK))
    law = Exact(model).law
    x = model.sample(20_000, none(20_000), rng=numbers(20_000), n_steps=N)
    assert abs(chi2_pull(x, law)) < 4
    # more steps than sites are no different, fewer are
    assert torch.equal(x, model.sample(20_000, none(20_000), rng=numbers(20_000), n_steps=99))
    at_once = model.sample(20_000, none(20_000), rng=numbers(20_000), n_steps=1)
    assert chi2_pull(at_once, law) > 20


def test_a_row_depends_on_its_own_draws(trained):
    whole = trained.sample(64, none(64), rng=numbers(64))
    part = PhiloxRandom(5, torch.arange(32, 96))
    assert torch.equal(whole[32:], trained.sample(64, none(64), rng=part)[:32])


@pytest.mark.parametrize(("n_sites", "n_steps"), [(256, 64), (256, 256), (6, 2), (9, 9), (5, 1)])
def test_every_step_adds_a_site_and_the_last_one_all(n_sites, n_steps):
    known = np.array([0.0, *counts(n_sites, n_steps)]) * n_sites
    assert len(known) == n_steps + 1
    assert known[-1] == n_sites
    steps = np.diff(known)
    assert (steps > 1 - 1e-6).all()
    assert (np.diff(steps[:-1]) > -1e-6).all()
    if n_steps == n_sites:
        assert np.array_equal(np.round(known), np.arange(n_sites + 1))


def neighbors(grid):
    """Pairs of neighbors of a lattice that is periodic along its first axis."""
    return int((grid & grid.roll(1, 1)).sum() + (grid[:, :, 1:] & grid[:, :, :-1]).sum())


def test_sites_made_at_once_are_no_neighbors():
    spec = TensorSpec(n_features=64, binary=(True,) * 64, shape=(8, 8), periodic=(True, False))
    priority, unknown = generator().uniform(500, 64), torch.ones(500, 64, dtype=torch.bool)
    unknown[250:] = generator(1).uniform(250, 64) < 0.7
    shares = counts(64, 24)
    step = Lattice(spec, moves=False).groups(priority, unknown, shares)
    assert torch.equal(step >= 0, unknown)
    sizes = torch.stack([(step == k).sum(1) for k in range(24)])
    wanted = (unknown.sum(1) * torch.tensor(shares)[:, None]).round()
    assert torch.equal(sizes.cumsum(0), wanted.long())
    assert sizes[-1].min() > 2
    touching = sum(neighbors((step == k).view(-1, 8, 8)) for k in range(24))
    # negative control: without neighbors known
    flat = TensorSpec(n_features=64, binary=(True,) * 64)
    alone = Lattice(flat, moves=False).groups(priority, unknown, shares)
    assert torch.equal(torch.stack([(alone == k).sum(1) for k in range(24)]), sizes)
    assert touching < 0.05 * sum(neighbors((alone == k).view(-1, 8, 8)) for k in range(24))


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("n_steps", [2, N])
def test_weights_of_proposals_give_ln_z_and_exact_chains(n_steps):
    model = restless(MaskedDiffusion(network=QUICK, translation_symmetric=True))
    n = 60_000
    x, log_q = model.propose(n, none(n), rng=numbers(n), n_steps=n_steps)
    weight = (-reduced_energy(x) - log_q).exp()
    error = weight.std() / n**0.5
    assert abs(weight.mean() - math.exp(ISING.ln_z)) < 4 * error
    chain = mcmc.independence_chains(
        reduced_energy, x.view(600, 100, N), log_q.view(600, 100), n_burn_in=30, rng=2
    )
    found = chain.measure("energy")
    assert abs(found.pull(BETA * ISING.energy)) < 4
    # negative control: the proposals themselves have another energy
    raw = reduced_energy(x)
    assert abs(raw.mean() - BETA * ISING.energy) > 10 * raw.std() / n**0.5


def test_the_corrector_brings_the_law_of_the_energy():
    model = restless(MaskedDiffusion(network=QUICK))
    n = 20_000
    made = lambda n_moves: model.sample(
        n, none(n), rng=numbers(n), corrector=Corrector(energy=reduced_energy, n_moves=n_moves)
    )
    assert abs(chi2_pull(made(150), LAW)) < 4
    assert chi2_pull(made(0), LAW) > 20
    assert torch.equal(made(0), model.sample(n, none(n), rng=numbers(n)))
    with pytest.raises(ValueError, match="n_moves must be 0 or more"):
        made(-1)


# ---------------------------------------------------------------- completion


def test_unknown_sites_follow_their_law_given_the_others(trained):
    known = torch.tensor([[True, False, True, True, False, False]])
    for state in (5, 44):
        given = STATES[state : state + 1]
        agree = ((given == STATES) | ~known).all(1)
        law = torch.where(agree, LAW, 0.0) / LAW[agree].sum()
        start = torch.where(known, given, 7.0).expand(20_000, -1)
        x = trained.complete(start, known, none(20_000), rng=numbers(20_000), n_steps=N)
        assert (x == STATES[index_of(x)]).all()
        assert (x[:, known[0]] == given[:, known[0]]).all()
        seen = torch.bincount(index_of(x), minlength=64) / 20_000
        assert (seen - law).abs().max() < 0.06
        assert (seen - LAW).abs().max() > 0.2


@pytest.mark.parametrize("moves", [False, True])
def test_each_event_may_know_other_sites(moves):
    model = restless(MaskedDiffusion(network=Perceptron(n_hidden=8), translation_symmetric=moves))
    x = STATES[:50]
    known = generator(2).uniform(50, N) < torch.linspace(0, 1, 50)[:, None]
    done = model.complete(x, known, none(50), rng=numbers(50), n_steps=3)
    assert (done.abs() == 1).all()
    assert torch.equal(done[known], x[known])
    assert not torch.equal(done, x)
    part = model.complete(
        x[20:], known[20:], none(30), rng=PhiloxRandom(5, torch.arange(20, 50)), n_steps=3
    )
    assert torch.equal(done[20:], part)


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("network", [SMALL, Perceptron(n_hidden=16)])
def test_flips(network):
    x = STATES * (generator().uniform(64, N) < 0.5)
    model = restless(MaskedDiffusion(network=network, flip_symmetric=True))
    logits = model.logits(x, none(64))
    assert logits.abs().max() > 0.01
    assert torch.equal(model.logits(-x, none(64)), -logits)
    plain = restless(MaskedDiffusion(network=network))
    assert (plain.logits(-x, none(64)) + plain.logits(x, none(64))).abs().max() > 0.01


def orbit_chi2(model, n=30_000):
    """Pull of the counts of states from the mean over all translations of the lattice."""
    seen = torch.bincount(
        index_of(model.sample(n, none(n), rng=numbers(n))), minlength=64
    ).double()
    grid = STATES.view(-1, *SHAPE)
    moved = [
        index_of(grid.roll(by, (1, 2)).flatten(1)) for by in itertools.product(range(2), range(3))
    ]
    mean = torch.stack([seen[index] for index in moved]).mean(0).clamp_min(1e-9)
    n_orbits = len({tuple(sorted(set(states))) for states in torch.stack(moved).T.tolist()})
    dof = 64 - n_orbits
    return (float(((seen - mean).square() / mean).sum()) - dof) / math.sqrt(2 * dof)


def test_translations():
    network = Perceptron(n_hidden=16)
    symmetric = MaskedDiffusion(network=network, translation_symmetric=True)
    assert abs(orbit_chi2(restless(symmetric))) < 4
    assert orbit_chi2(restless(MaskedDiffusion(network=network))) > 20
    # convolutions at full resolution need no help, and get none
    assert not restless(MaskedDiffusion(network=SMALL, translation_symmetric=True)).lattice.moves
    assert abs(orbit_chi2(restless(MaskedDiffusion(network=SMALL)))) < 4


def test_translations_roll_events():
    lattice = Lattice(SPEC, moves=True)
    shift = lattice.shifts(64, rng=generator())
    rolled = lattice.rolled(STATES, shift).view(-1, *SHAPE)
    for one, by, state in zip(rolled, shift.tolist(), STATES.view(-1, *SHAPE), strict=True):
        assert torch.equal(one, state.roll(by, (0, 1)))
    assert torch.equal(lattice.rolled(rolled.flatten(1), -shift), STATES)
    assert shift[:, 0].unique().tolist() == [0, 1]
    assert shift[:, 1].unique().tolist() == [0, 1, 2]
    half = TensorSpec(n_features=N, binary=(True,) * N, shape=SHAPE, periodic=(False, True))
    assert (Lattice(half, moves=True).shifts(64, rng=generator())[:, 0] == 0).all()


# ---------------------------------------------------------------- in a surrogate


def test_surrogate_of_lattices(tmp_path):
    truth = Ising2D(n_side=4)(2000, {"beta": [0.3] * 1000 + [0.5] * 1000}, rng=1)
    settings = MaskedDiffusion(
        network=UNet(n_channels=8, n_levels=2, n_blocks=1),
        flip_symmetric=True,
        translation_symmetric=True,
        n_sampling_steps=8,
    )
    surrogate = pg.Surrogate.fit(
        truth, settings, fields=["spins"], conditions=["beta"], steps=30, rng=1
    )
    surrogate.save(tmp_path / "run")
    again = pg.Surrogate.load(tmp_path / "run")
    made = surrogate(300, {"beta": 0.4}, rng=2, n_steps=4)
    assert np.array_equal(made["spins"], again(300, {"beta": 0.4}, rng=2, n_steps=4)["spins"])
    assert made["spins"].shape == (300, 4, 4)
    moved = surrogate(
        300,
        {"beta": 0.4},
        rng=2,
        corrector=Corrector(energy=Ising2D(n_side=4).reduced_energy(0.4), n_moves=20),
    )
    assert not np.array_equal(made["spins"], moved["spins"])
    known = np.arange(16).reshape(4, 4) % 3 == 0
    filled = surrogate.complete(truth, {"spins": known}, rng=3, n_steps=4)
    assert np.array_equal(filled["spins"][:, known], truth["spins"][:, known])
    with pytest.raises(TypeError, match="does not take 'sampler'"):
        surrogate(3, {"beta": 0.4}, rng=1, sampler="pt")


def test_what_is_refused():
    real = TensorSpec(n_features=2, binary=(True, False))
    with pytest.raises(ValueError, match="some of these are real; use Diffusion"):
        MaskedDiffusion().build(real)
    potts = TensorSpec(n_features=3, binary=(True,) * 3, one_hot=((0, 3),))
    with pytest.raises(ValueError, match="some of these are categorical; use RBM"):
        MaskedDiffusion().build(potts)
    flat = TensorSpec(n_features=3, binary=(True,) * 3)
    with pytest.raises(ValueError, match="of no array and no periodic axis"):
        MaskedDiffusion(translation_symmetric=True).build(flat)
    with pytest.raises(TypeError, match="network must be UNet"):
        MaskedDiffusion(network="unet")
    with pytest.raises(ValueError, match="n_sampling_steps must be positive"):
        MaskedDiffusion(n_sampling_steps=0)
    model = MaskedDiffusion().build(flat)
    with pytest.raises(ValueError, match="n_steps must be at least 1"):
        model.sample(2, none(2), rng=numbers(2), n_steps=0)
    with pytest.raises(ValueError, match="n_samples must be at least 2"):
        model.elbo(torch.ones(2, 3), none(2), rng=numbers(2), n_samples=1)
