"""How a Boltzmann machine learns, what it keeps along the way, and what it shows of itself."""

import itertools
import math

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.models import CD, PCD, RBM, FastPCD, TemperedPCD, TensorSpec
from physgen.models.base import LogPartition
from physgen.models.rbm import diagnosis
from physgen.models.rbm.draws import draw_pairs
from physgen.models.rbm.layers import spins, zeros_and_ones
from physgen.models.rbm.snapshots import Snapshots
from physgen.random import GeneratorRandom, seeded_layers
from physgen.simulators import ising_exact
from physgen.training import TrainingConfig, train

SPINS = TensorSpec(n_features=6, binary=(True,) * 6)
WAYS = {
    "cd": CD(n_steps=2, n_chains=256),
    "pcd": PCD(n_steps=3, n_chains=256),
    "fast": FastPCD(n_steps=2, n_chains=256),
    "tempered": TemperedPCD(n_chains=256, n_rungs=4),
}
every_way = pytest.mark.parametrize("way", WAYS)


def build(spec, *, seed=0, **settings):
    with seeded_layers(seed):
        return RBM(**settings).build(spec)


def all_spins(n):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)))


def noise(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def ring_law(n, coupling, field):
    """Probabilities of spins on a ring, in the order of ``all_spins``."""
    x = all_spins(n).double()
    return torch.softmax(coupling * (x * x.roll(1, 1)).sum(1) + field * x.sum(1), 0)


def drawn(law, n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    states = all_spins(int(math.log2(len(law))))
    return states[torch.multinomial(law, n, replacement=True, generator=generator)]


@torch.no_grad()
def divergence(law, model):
    """KL(law || machine) in nats."""
    x = all_spins(model.spec.n_features)
    log_q = torch.log_softmax(-model.free_energy(x, torch.zeros(1, 0)).double(), 0)
    return float((law * (law.log() - log_q)).sum())


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("way", "kind", "bar"),
    [
        ("cd", "ising", 0.02),
        ("pcd", "ising", 0.012),
        ("fast", "ising", 0.012),
        ("tempered", "ising", 0.012),
        ("pcd", "bernoulli", 0.02),
    ],
)
def test_every_negative_phase_learns_the_law(way, kind, bar):
    law = ring_law(6, 0.35, 0.1)
    kinds = {"visible": kind, "hidden": kind}
    model = build(SPINS, n_hidden=6, chains=WAYS[way], learning_rate=0.03, **kinds)
    assert divergence(law, model) > 0.3
    config = TrainingConfig(steps=700, batch_size=128, validation_fraction=0)
    model.diagnose = None  # no looks, which cost more than this training
    train(model, drawn(law, 20_000), config=config, rng=2)
    assert divergence(law, model) < bar


def test_learning_needs_the_negative_phase():
    """Chains of another law, here that of free spins, lead elsewhere."""

    class Free(CD):
        def fantasies(self, model, x, condition, *, rng):
            return torch.where(rng.uniform(*x.shape) < 0.5, -1.0, 1.0)

    law = ring_law(6, 0.35, 0.1)
    model = build(SPINS, n_hidden=6, chains=Free(n_chains=256), learning_rate=0.03)
    config = TrainingConfig(steps=300, batch_size=256, validation_fraction=0)
    train(model, drawn(law, 20_000), config=config, rng=2)
    assert divergence(law, model) > 0.1


def test_biases_start_from_the_means_of_the_data():
    """Of real features as they are, of others as free units have them."""
    spec = TensorSpec(n_features=2, binary=(False, True))
    x = torch.tensor([[0.4, -1.0], [1.2, 1.0], [0.2, 1.0], [-0.6, 1.0]])
    model = build(spec, n_hidden=3).train()
    model.loss(x, x[:, :0], player="rbm", rng=noise())
    expected = torch.tensor([0.3, math.atanh(0.5)])
    torch.testing.assert_close(model.visible_bias.detach(), expected)
    free = model.trajectory(torch.zeros(1, 0)).at(0.0)
    torch.testing.assert_close(free.visible_bias[0], expected, atol=0.02, rtol=0)


def test_quick_draws_of_training_have_the_law_of_each_unit():
    field = torch.tensor([-30.0, -1.0, 0.0, 0.3, 2.0, 30.0]).repeat(100_000, 1)
    for draw, p in (
        (spins, torch.sigmoid(2 * field[0])),
        (zeros_and_ones, torch.sigmoid(field[0])),
    ):
        up = (draw(field.clone(), noise(1)) > 0.5).double()
        pull = (up.mean(0) - p) / (p * (1 - p) / 100_000).sqrt().clamp(min=1e-9)
        assert pull[1:-1].abs().max() < 4
        assert (up.mean(0)[0], up.mean(0)[-1]) == (0, 1)
        other = (p.roll(1) - up.mean(0))[2:-1]
        assert (other.abs() > 0.05).all()
        columns = up[:, 1:5] - up[:, 1:5].mean(0)
        correlation = (columns.T @ columns / 100_000)[~torch.eye(4).bool()]
        assert correlation.abs().max() < 4 * 0.25 / math.sqrt(100_000)


@pytest.mark.parametrize("n", [1, 63, 64, 1000])
def test_draws_are_those_of_xoshiro128(n):
    """Against the generator written out, also where the last lanes are in part unused."""
    p = torch.rand(n, generator=torch.Generator().manual_seed(3))
    seeds = torch.Generator().manual_seed(5)
    words = torch.randint(-(2**31), 2**31, (4, 64), generator=seeds, dtype=torch.int32)
    lanes = [xoshiro128(state) for state in words.numpy().view("uint32").T.tolist()]
    u = [next(lane) / 2**24 for _ in range(n // 64 + 1) for lane in lanes][:n]
    for dtype in (torch.float32, torch.float64):
        drawn = draw_pairs(p.to(dtype), -1, 1, torch.Generator().manual_seed(5))
        expected = torch.where(torch.tensor(u, dtype=torch.float64) < p, 1.0, -1.0)
        assert torch.equal(drawn, expected.to(dtype))


def xoshiro128(s):
    """The upper 24 bits of xoshiro128++ (Blackman and Vigna)."""
    turn = lambda x, k: (x << k | x >> 32 - k) & 0xFFFFFFFF
    while True:
        yield (turn(s[0] + s[3] & 0xFFFFFFFF, 7) + s[0] & 0xFFFFFFFF) >> 8
        shifted = s[1] << 9 & 0xFFFFFFFF
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = turn(s[3], 11)


def test_penalties_add_their_gradient():
    x = drawn(ring_law(6, 0.3, 0.0), 32)
    gradients = []
    for settings in ({}, {"l1": 0.3}, {"l2": 0.2}):
        model = build(SPINS, n_hidden=4, chains=PCD(n_chains=32), **settings).eval()
        loss = model.loss(x, x[:, :0], player="rbm", rng=noise()).mean()
        gradients.append(torch.autograd.grad(loss, model.couplings)[0])
    w = model.couplings.detach()
    torch.testing.assert_close(gradients[1], gradients[0] + 0.3 * w.sign())
    torch.testing.assert_close(gradients[2], gradients[0] + 0.2 * w)


# ---------------------------------------------------------------------- chains


def two_wells(coupling, way, **settings):
    """The Ising ring of strong coupling, not trained, with all chains in one well."""
    model = build(SPINS, n_hidden=6, chains=way, **settings).train()
    with torch.no_grad():
        strength = math.acosh(math.exp(2 * coupling)) / 2
        model.couplings.copy_(strength * (torch.eye(6) + torch.eye(6).roll(1, 1)))
        model.hidden_bias.zero_()
    model.chains.state[..., :6] = 1.0
    if model.chains.state.shape[-1] > 6:
        model.chains.state[..., 6:] = 1.0
    return model


def updates(model, n, batch=256):
    """Updates without a step of the optimizer."""
    x = all_spins(6)[[0, -1]].repeat(batch // 2, 1)
    with torch.no_grad():
        for _ in range(n):
            model.loss(x, x[:, :0], player="rbm", rng=noise(int(model.snapshots.counter)))


def share_up(model):
    state = model.chains.state
    state = state[:, -1] if state.ndim == 3 else state
    return float((state[:, :6].sum(1) > 0).float().mean())


def test_tempered_chains_cross_where_plain_ones_do_not():
    tempered = two_wells(1.6, TemperedPCD(n_chains=256, n_rungs=6))
    plain = two_wells(1.6, PCD(n_steps=1, n_chains=256))
    for model in (tempered, plain):
        updates(model, 150)
    assert abs(share_up(tempered) - 0.5) < 4 * 0.5 / math.sqrt(256)
    assert share_up(plain) > 0.8


def test_the_ladder_ends_where_all_pairs_swap_equally_often():
    model = two_wells(1.6, TemperedPCD(n_chains=128, n_rungs=6))
    start = model.chains.ladder.clone()
    assert torch.equal(start, torch.linspace(0, 1, 6, dtype=torch.float64))
    updates(model, 95, batch=128)  # before the rungs first move
    even = model.chains.swap_rates.clone()
    updates(model, 500, batch=128)
    tuned = model.chains.swap_rates
    assert even.max() - even.min() > 0.2
    assert tuned.max() - tuned.min() < 0.08
    ladder = model.chains.ladder
    assert (ladder[0], ladder[-1]) == (0, 1)
    assert (ladder.diff() > 0).all()
    assert not torch.allclose(ladder, start, atol=0.02)


def test_tempered_chains_have_the_law_of_the_machine():
    law = ring_law(6, 1.0, 0.0)
    model = two_wells(1.0, TemperedPCD(n_chains=4000, n_rungs=4))
    updates(model, 60, batch=4000)
    cells = ((model.chains.state[:, -1] > 0).long() * 2 ** torch.arange(5, -1, -1)).sum(1)
    counts, expected = torch.bincount(cells, minlength=64).double(), 4000 * law
    rare = expected < 10
    counts = torch.cat((counts[~rare], counts[rare].sum()[None]))
    expected = torch.cat((expected[~rare], expected[rare].sum()[None]))
    dof = len(counts) - 1
    chi2 = float(((counts - expected).square() / expected).sum())
    assert abs(chi2 - dof) < 4 * math.sqrt(2 * dof)
    # where the chains started
    assert float((4000 - expected[-2]) ** 2 / expected[-2]) > dof + 8 * math.sqrt(2 * dof)


def events_of(x):
    return pg.Events.from_dict({"spins": x.numpy().astype(np.int8).reshape(-1, 2, 3)})


@every_way
def test_a_saved_machine_goes_on_bit_for_bit(way, tmp_path):
    truth = events_of(drawn(ring_law(6, 0.5, 0.0), 1000))
    settings = RBM(n_hidden=4, chains=WAYS[way], n_steps_sample=5)
    config = TrainingConfig(batch_size=64)
    trained = pg.Surrogate.fit(truth, settings, steps=130, training=config, rng=3)
    trained.save(tmp_path / "rbm")
    loaded = pg.Surrogate.load(tmp_path / "rbm")
    kept, found = trained.model.state_dict(), loaded.model.state_dict()
    assert kept.keys() == found.keys()
    assert {"chains.state", "snapshots.numbers", "snapshots.counter"} <= kept.keys()
    assert {"tempered": "chains.ladder", "fast": "fast"}.get(way, "couplings") in kept
    for name, tensor in kept.items():
        assert torch.equal(tensor, found[name]), name
    assert loaded.model.snapshots.updates() == trained.model.snapshots.updates() != []
    assert loaded.model.snapshots.n_updates == trained.model.snapshots.n_updates == 130
    for sampler in ("gibbs", "pt", "ptt"):
        one, other = (s(50, rng=1, sampler=sampler, n_steps=3) for s in (trained, loaded))
        np.testing.assert_array_equal(one["spins"], other["spins"])
    x = drawn(ring_law(6, 0.5, 0.0), 64)
    losses = [
        s.model.train().loss(x, x[:, :0], player="rbm", rng=noise()).detach()
        for s in (trained, loaded)
    ]
    assert torch.equal(*losses)
    assert torch.equal(trained.model.chains.state, loaded.model.chains.state)


# ---------------------------------------------------------------------- snapshots


@pytest.mark.parametrize("n_max", [2, 8, 24])
def test_snapshots_at_growing_intervals(n_max):
    kept = Snapshots(n_max, 2)
    for n in range(3000):
        kept.count(lambda n=n: torch.tensor([n, -n]).float())
        assert len(kept.taken()) <= n_max
    taken = kept.updates()
    assert taken[0] == 0
    assert len(taken) >= n_max // 2
    assert torch.equal(kept.taken(), torch.tensor([[n, -n] for n in taken]).float())
    apart = np.diff(taken)
    assert (np.diff(apart) >= 0).all()
    assert taken[-1] > 3000 / 3
    assert kept.n_updates == int(kept.counter) == 3000
    again = Snapshots(n_max, 2)
    again.load_state_dict(kept.state_dict())
    assert again.updates() == taken
    assert again.n_updates == 3000


@pytest.mark.parametrize("n_max", [0, 1])
def test_no_room_for_snapshots(n_max):
    kept = Snapshots(n_max, 2)
    for _ in range(20):
        kept.count(lambda: pytest.fail("asked for parameters"))
    assert (len(kept.taken()), kept.updates(), kept.n_updates) == (0, [], 20)


def test_a_trajectory_passes_the_snapshots_of_the_training():
    law = ring_law(6, 0.35, 0.0)
    x = drawn(law, 2000)
    config = TrainingConfig(steps=150, batch_size=64, validation_fraction=0)
    model = build(SPINS, n_hidden=4, chains=WAYS["pcd"], n_snapshots=8)
    train(model, x, config=config, rng=0)
    n_taken = len(model.snapshots.taken())
    path = model.trajectory(torch.zeros(1, 0))
    assert 4 <= n_taken <= 8
    assert path.end == n_taken + 1
    assert torch.equal(path.points[1:-1], model.snapshots.taken())
    assert torch.equal(path.points[-1], model.numbers())
    assert model.trajectory(torch.zeros(1, 0), snapshots=False).end == 1
    none = build(SPINS, n_hidden=4, chains=WAYS["pcd"], n_snapshots=0)
    train(none, x, config=config, rng=0)
    assert none.trajectory(torch.zeros(1, 0)).end == 1
    # snapshots change nothing in what is learned
    assert torch.equal(none.couplings, model.couplings)


# ---------------------------------------------------------------------- a look


def looked_at(model, n=200, seed=0):
    x = drawn(ring_law(6, 0.4, 0.0), n)
    return model.eval().diagnose(x, x[:, :0], rng=noise(seed))


@every_way
def test_a_look_leaves_the_machine_alone(way):
    model = build(SPINS, n_hidden=4, chains=WAYS[way])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, _ = looked_at(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert model.snapshots.n_updates == 0
    again, _ = looked_at(model)
    assert again == first
    assert all(math.isfinite(value) for value in first.values())
    assert {"positive_energy", "reconstruction_error", "log_likelihood", "tau"} <= first.keys()
    config = TrainingConfig(steps=20, batch_size=64, validation_fraction=0)
    train(model, drawn(ring_law(6, 0.4, 0.0), 500), config=config, rng=0)
    assert looked_at(model)[0].keys() == first.keys()


def random_machine(seed=3, **settings):
    model = build(SPINS, n_hidden=5, **settings).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)))
    return model


@pytest.mark.parametrize("kind", ["ising", "bernoulli"])
def test_numbers_of_a_look_against_enumeration(kind):
    model, x = random_machine(visible=kind, hidden=kind), all_spins(6).double()
    none = torch.zeros(64, 0).double()
    p = model.log_prob(x, none).exp().detach()
    index = (x > 0).long() @ 2 ** torch.arange(5, -1, -1)
    assert torch.equal(index, torch.arange(64))
    pseudo = torch.zeros(64).double()
    for i in range(6):
        flipped = p[index ^ (1 << (5 - i))]
        pseudo += (p / (p + flipped)).log()
    n = 20_000
    many = x.repeat(n // 64 + 1, 1)
    with torch.no_grad():
        found = [
            diagnosis.pseudo_log_likelihood(model, many, many[:, :0], noise(seed))
            for seed in range(5)
        ]
    error = np.std(found, ddof=1) / math.sqrt(5)
    assert abs(np.mean(found) - float(pseudo.mean())) < 6 * error
    assert error < 0.02
    with torch.no_grad():
        model.couplings.mul_(1.3)
        other = diagnosis.pseudo_log_likelihood(model, many, many[:, :0], noise())
        model.couplings.div_(1.3)
    assert abs(other - float(pseudo.mean())) > 6 * error
    # reconstruction: the mean of each feature given the hidden means, written out
    values = x if kind == "ising" else (x + 1) / 2
    w, a, b = (p.detach() for p in (model.couplings, model.visible_bias, model.hidden_bias))
    squash = torch.tanh if kind == "ising" else torch.sigmoid
    back = squash(a + squash(b + values @ w) @ w.T)
    back = back if kind == "ising" else 2 * back - 1
    with torch.no_grad():
        error = diagnosis.reconstruction_error(model, x, none)
    assert error == pytest.approx(float((x - back).square().mean()), abs=1e-12)
    numbers, _ = model.diagnose(x, none, rng=noise())
    assert numbers["log_likelihood"] == pytest.approx(float(p.log().mean()), abs=1e-6)
    assert (numbers["log_z"], numbers["log_z_error"]) == (model.log_z().value, 0)
    spread = float(p.log().std()) / math.sqrt(64)
    assert numbers["log_likelihood_error"] == pytest.approx(spread, abs=1e-6)
    energy = model.free_energy(x, none).mean().item()
    assert numbers["positive_energy"] == pytest.approx(energy)
    spectrum = torch.linalg.svdvals(w)
    assert numbers["singular_value_1"] == pytest.approx(float(spectrum[0]))
    assert numbers["singular_value_5"] == pytest.approx(float(spectrum[4]))


def test_pseudo_likelihood_needs_single_binary_features():
    spec = TensorSpec(n_features=3, binary=(True,) * 3, one_hot=((0, 3),))
    model = build(spec, n_hidden=2)
    x = 2 * torch.eye(3) - 1
    numbers, _ = model.eval().diagnose(x.repeat(9, 1), x.repeat(9, 1)[:, :0], rng=noise())
    assert "pseudo_log_likelihood" not in numbers
    assert all(math.isfinite(value) for value in numbers.values())


def test_errors_of_a_log_likelihood_add_in_quadrature(monkeypatch):
    model, x = random_machine(), all_spins(6).double()
    none = x[:, :0]
    exact = model.diagnose(x, none, rng=noise())[0]["log_likelihood_error"]
    known = LogPartition(3.0, 0.4, "ais", 50.0)
    monkeypatch.setattr(model, "log_z", lambda **_: known)
    numbers, _ = model.diagnose(x, none, rng=noise())
    assert numbers["log_z_error"] == 0.4
    assert numbers["log_likelihood_error"] == pytest.approx(math.hypot(exact, 0.4))
    one, _ = model.diagnose(x[:1], none[:1], rng=noise())
    assert math.isnan(one["log_likelihood_error"])


def test_a_look_takes_each_chain_once():
    model = random_machine(chains=PCD(n_chains=200))
    model.chains.state.copy_(torch.arange(200.0)[:, None].expand(model.chains.state.shape))
    none = torch.zeros(1, 0).double()
    for n in (64, 200, 300):
        found = diagnosis._nearest(model, none, n, noise())
        assert found.shape == (min(n, 200), 6)
        assert len(found[:, 0].unique()) == len(found)
    assert len(model.chains.draw(200, none.expand(200, 0), rng=noise())[:, 0].unique()) < 150
    # all of them where there is one event only
    model.chains.state.copy_(random_machine(chains=PCD(n_chains=200)).chains.state)
    numbers, _ = model.diagnose(all_spins(6)[:1].double(), none, rng=noise())
    energies = model.free_energy(model.chains.state[:, :6], none)
    assert numbers["negative_energy"] == pytest.approx(energies.mean().item())


# ---------------------------------------------------------------------- mixing of a look


def one_bond(tau):
    """One spin that remembers a share r of itself per step, 1/2 + r/(1 - r) = tau, at its law."""
    spec = TensorSpec(n_features=1, binary=(True,))
    model = build(spec, n_hidden=1, chains=PCD(n_steps=2, n_chains=64)).eval()
    r = (tau - 0.5) / (tau + 0.5)
    with torch.no_grad():
        model.couplings.fill_(math.atanh(math.sqrt(r)))
        model.hidden_bias.zero_()
    model.chains.state[::2], model.chains.state[1::2] = -1.0, 1.0
    x = torch.tensor([[-1.0], [1.0]]).repeat(32, 1)
    numbers, warnings = model.diagnose(x, x[:, :0], rng=noise(1))
    return numbers["tau"], warnings


def error_of_tau(tau, n_steps):
    """Eq. (42) of Wolff, hep-lat/0306017, for 64 chains and a window of 6 tau."""
    return 2 * tau * math.sqrt(min(6 * tau, n_steps / 2) / (64 * n_steps))


@pytest.mark.parametrize(("tau", "n_steps"), [(3, 200), (16, 400), (60, 1600)])
def test_tau_of_a_look_is_that_of_the_machine(tau, n_steps):
    found, warnings = one_bond(tau)
    assert abs(found - tau) < 4 * error_of_tau(tau, n_steps)
    assert len(warnings) == (tau > 10)
    assert not any("at least" in text for text in warnings)


@pytest.mark.parametrize("tau", [199, 999])
def test_a_long_tau_is_a_lower_bound(tau, monkeypatch):
    found, (text,) = one_bond(tau)
    assert f"their autocorrelation time is at least {found:.3g} block Gibbs steps" in text
    # what a window of half the steps sees
    bound = tau * (1 - math.exp(-800 / tau))
    assert abs(found - bound) < 4 * error_of_tau(tau, 1600)
    # the control: 200 steps see 100 at most, whatever tau is
    monkeypatch.setattr(diagnosis, "_MAX_STEPS", 200)
    assert one_bond(tau)[0] < 100


@pytest.fixture
def short(monkeypatch):
    """Looks of 200 steps, where tau does not matter."""
    monkeypatch.setattr(diagnosis, "_MAX_STEPS", 200)


def test_a_large_machine_makes_fewer_steps(monkeypatch):
    steps = []
    of = diagnosis._mixing_of
    monkeypatch.setattr(diagnosis, "_mixing_of", lambda s: (steps.append(len(s)), of(s))[1])
    one_bond(999)
    monkeypatch.setattr(diagnosis, "_MAX_WORK", 64 * 500)
    one_bond(999)
    assert steps == [n for n in (200, 400, 800, 1600, 200, 400) for _ in range(2)]


def test_a_look_warns_of_chains_that_do_not_mix():
    """Two wells with chains in both: frozen at strong coupling, free at weak coupling."""
    warned = {}
    for coupling in (0.2, 2.5):
        model = two_wells(coupling, PCD(n_steps=2, n_chains=256))
        model.chains.state[::2] = -1.0
        _, warned[coupling] = looked_at(model, n=300)
    assert warned[0.2] == []
    (text,) = warned[2.5]
    assert text.startswith("the chains no longer mix: their autocorrelation time is at least ")
    assert "an update makes 2 (R-hat " in text
    assert "use chains=TemperedPCD() or more n_steps, and sample with sampler='ptt'" in text


@pytest.mark.usefixtures("short")
def test_chains_that_start_at_the_data_matter_for_samples_alone():
    warned = {}
    for n_steps in (20, 1600):
        model = two_wells(2.5, CD(n_chains=64), n_steps_sample=n_steps)
        model.chains.state[::2] = -1.0
        _, warned[n_steps] = looked_at(model)
    assert warned[1600] == []
    (text,) = warned[20]
    assert text.startswith("samples made with sampler='gibbs' will be slow: the autocorrelation")
    assert "at least" in text
    assert "and n_steps_sample=20 (R-hat " in text
    assert text.endswith("sample with sampler='ptt' or more n_steps")


@pytest.mark.usefixtures("short")
def test_a_ladder_is_judged_by_its_swaps():
    way = TemperedPCD(n_chains=64, n_rungs=6)
    model = two_wells(2.5, way, n_steps_sample=1600)
    model.chains.state[::2] = -1.0
    numbers, warnings = looked_at(model)
    assert numbers["tau"] > 40
    assert (numbers["smallest_swap_rate"], warnings) == (0.5, [])
    model.chains.swap_rates[2] = 0.02
    numbers, (text,) = looked_at(model)
    assert numbers["smallest_swap_rate"] == 0.02
    assert text.startswith("the ladder is broken between rungs 3 and 4 of 6: only 0.02 of their")
    assert text.endswith("use chains=TemperedPCD(n_rungs=12) or more")
    slow = two_wells(2.5, way, n_steps_sample=20)
    slow.chains.state[::2] = -1.0
    (text,) = looked_at(slow)[1]
    assert text.startswith("samples made with sampler='gibbs' will be slow")


def test_a_look_at_a_machine_that_never_moves():
    model = two_wells(9.0, PCD(n_steps=2, n_chains=64))
    numbers, _ = looked_at(model)
    assert not math.isnan(numbers["tau"])
    assert not math.isnan(numbers["r_hat"])
    looked_at(model, n=1)


# ---------------------------------------------------------------------- a look, with conditions


def two_wells_above_zero():
    """Couplings 0.6 exp(c), the chains in both wells at all conditions from -1.5 to 1."""
    spec = TensorSpec(n_features=6, binary=(True,) * 6, n_conditions=1)
    model = build(spec, n_hidden=6, chains=PCD(n_steps=2, n_chains=256)).eval()
    model.conditioner = torch.nn.Linear(1, sum(model.widths))
    with torch.no_grad():
        model.couplings.copy_(0.6 * (torch.eye(6) + torch.eye(6).roll(1, 1)))
        model.hidden_bias.zero_()
        model.conditioner.weight.zero_()[-model.widths[-1] :] = 1.0
        model.conditioner.bias.zero_()
    model.chains.condition[:, 0] = torch.linspace(-1.5, 1, 256)
    model.chains.state[::2], model.chains.state[1::2] = -1.0, 1.0
    return model


def looked_at_under(low, high, *, backwards=False, n=301):
    model, x = two_wells_above_zero(), drawn(ring_law(6, 0.4, 0.0), n)
    condition = torch.linspace(low, high, n)[:, None]
    rows = torch.arange(n).flip(0) if backwards else torch.arange(n)
    numbers, warnings = model.diagnose(x[rows], condition[rows], rng=noise())
    return model, x, condition, numbers, warnings


def test_mixing_is_that_of_the_worst_condition_in_any_order():
    *_, numbers, warnings = looked_at_under(-1.5, 1.0)
    *_, other, told = looked_at_under(-1.5, 1.0, backwards=True)
    assert (numbers["tau"], numbers["r_hat"], warnings) == (other["tau"], other["r_hat"], told)
    assert len(warnings) == 1
    *_, below, silent = looked_at_under(-1.5, -0.5)
    assert silent == []
    assert below["tau"] < 10 < numbers["tau"]


@pytest.mark.usefixtures("short")
def test_couplings_of_a_look_have_the_gains_of_the_median_condition():
    model, *_, numbers, _ = looked_at_under(-1.5, 1.0)
    bare = torch.linalg.matrix_norm(model.couplings.detach(), 2).item()
    assert numbers["singular_value_1"] == pytest.approx(bare * math.exp(-0.25), rel=1e-5)


@pytest.mark.usefixtures("short")
def test_the_likelihood_of_a_look_under_conditions(monkeypatch):
    model, x, condition, numbers, _ = looked_at_under(-1.5, 1.0)
    assert "log_z" not in numbers
    with torch.no_grad():
        log_z = [
            torch.logsumexp(-model.free_energy(all_spins(6), c.expand(64, 1)), 0)
            for c in condition
        ]
        log_p = (-model.free_energy(x, condition) - torch.stack(log_z))[:256].double()
    assert numbers["log_likelihood"] == pytest.approx(float(log_p.mean()), abs=1e-4)
    error = float(log_p.std()) / 16
    assert numbers["log_likelihood_error"] == pytest.approx(error, rel=1e-4)
    monkeypatch.setattr(diagnosis, "_MAX_SUMMED", 100 * 2**6 * 6)
    fewer = looked_at_under(-1.5, 1.0)[3]
    assert fewer["log_likelihood"] == pytest.approx(float(log_p[:100].mean()), abs=1e-4)
    monkeypatch.setattr(diagnosis.partition, "_QUICK", 5)
    assert "log_likelihood" not in looked_at_under(-1.5, 1.0)[3]


# ---------------------------------------------------------------------- the 4x4 Ising model

BETA_C = math.log(1 + math.sqrt(2)) / 2


def ising_law():
    """Probabilities of the 65,536 states at the critical point, and the states."""
    states = ising_exact.enumerate_states((4, 4))
    law = torch.from_numpy(ising_exact.boltzmann(states, BETA_C).probabilities)
    spins = ising_exact.spins_of_state(np.arange(2**16), (4, 4))
    return law, torch.from_numpy(spins.reshape(-1, 16)).float()


def ising_divergence(settings, steps, seed):
    law, x = ising_law()
    generator = torch.Generator().manual_seed(seed)
    data = x[torch.multinomial(law, 100_000, replacement=True, generator=generator)]
    spec = TensorSpec(n_features=16, binary=(True,) * 16, shape=(4, 4))
    with seeded_layers(seed):
        model = settings.build(spec)
    config = TrainingConfig(steps=steps, batch_size=512, validation_fraction=0)
    model.diagnose = None  # no looks: only the training is timed
    train(model, data, config=config, rng=seed)
    with torch.no_grad():
        log_q = torch.log_softmax(-model.free_energy(x, torch.zeros(1, 0)).double(), 0)
    return float((law * (law.log() - log_q)).sum())


def test_the_critical_ising_model_is_learned_to_a_hundredth_of_a_nat():
    settings = RBM(n_hidden=16, flip_symmetric=True, chains=CD(), learning_rate=0.03)
    assert ising_divergence(settings, 1500, seed=1) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("way", [PCD(), CD()], ids=["pcd", "cd"])
def test_the_critical_ising_model_is_learned_at_every_seed(way, seed):
    settings = RBM(n_hidden=16, flip_symmetric=True, chains=way, learning_rate=0.03)
    assert ising_divergence(settings, 3000, seed) <= 0.005


def test_gradients_of_shared_parameters_count_in_sites():
    spec = TensorSpec(n_features=16, binary=(True,) * 16, shape=(4, 4))
    assert RBM(n_hidden=16, translation_symmetric=True).build(spec).gradient_scale == 16
    assert RBM(n_hidden=16).build(spec).gradient_scale == 1
