"""What a Boltzmann machine draws, against its enumerated law; each test has a broken twin."""

import itertools
import math

import pytest
import torch

from physgen import mcmc
from physgen.models import CD, RBM, TensorSpec
from physgen.models.rbm import BlockGibbs
from physgen.random import PhiloxRandom, seeded_layers

SPINS = TensorSpec(n_features=4, binary=(True,) * 4)
ALL_KINDS = TensorSpec(
    n_features=6, binary=(True, False, True, True, True, True), one_hot=((2, 3),)
)
GIVEN = TensorSpec(n_features=5, n_conditions=1, binary=(True,) * 5, one_hot=((2, 3),))
BINARY = ("ising", "bernoulli")


def machine(spec, *, seed=0, spread=0.5, **settings):
    """A machine in float64 with couplings, biases and widths that matter."""
    settings = {"n_hidden": 3, "chains": CD(n_chains=64)} | settings
    with seeded_layers(seed):
        model = RBM(**settings).build(spec).double()
        with torch.no_grad():
            for name, p in model.named_parameters():
                # the many numbers of the perceptron add up
                p.add_((0.2 if "conditioner" in name else 1) * spread * torch.randn_like(p))
    return model.eval()


def stepping(n, seed=1):
    return PhiloxRandom(seed, torch.arange(n))


def spin_states(n):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64)


def nothing(n):
    return torch.zeros(n, 0, dtype=torch.float64)


def law_of(model, states):
    """Probabilities of all visible states."""
    with torch.no_grad():
        return torch.softmax(-model.free_energy(states, nothing(len(states))), 0)


def pull(cells, law):
    """Chi-square of counts in cells, in its standard deviations; rare cells are one."""
    counts = torch.bincount(cells, minlength=len(law)).double()
    expected = law * len(cells)
    rare = expected < 10
    if rare.any():
        counts = torch.cat((counts[~rare], counts[rare].sum()[None]))
        expected = torch.cat((expected[~rare], expected[rare].sum()[None]))
    dof = len(counts) - 1
    return float(((counts - expected).square() / expected).sum() - dof) / math.sqrt(2 * dof)


def cells_of(x, states):
    """Number of the state that each row is."""
    direction = torch.rand(states.shape[1], generator=generator(9), dtype=torch.float64)
    ordered, order = (states @ direction).sort()
    middles = (ordered[1:] + ordered[:-1]) / 2
    cells = order[torch.bucketize(x.to(states) @ direction, middles)]
    assert torch.equal(states[cells], x.to(states))
    return cells


def drawn(law, n, seed=3):
    return torch.multinomial(law, n, replacement=True, generator=generator(seed))


def generator(seed):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- block Gibbs


class JointLaw:
    """All states of both layers; a real feature counts by the quarter that it falls in.

    Given the hidden units it is a Gaussian, of which each quarter has probability 1/4.
    """

    def __init__(self, model):
        self.p = model.parameters_at(nothing(1))
        spec, self.layers = model.spec, model.layers
        self.real = [i for i in range(spec.n_features) if not spec.binary[i]]
        units = dict(spec.one_hot)
        inside = {i for first, n in spec.one_hot for i in range(first + 1, first + n)}
        parts = []
        for i in range(spec.n_features):
            if i in units:
                parts.append((2 * torch.eye(units[i]) - 1).tolist())
            elif i not in inside:
                parts.append([[-1.0], [1.0]] if spec.binary[i] else [[0.0], [1.0], [2.0], [3.0]])
        rows = [list(itertools.chain(*c)) for c in itertools.product(*parts)]
        values = self.layers.hidden.values
        hidden = list(itertools.product(values, repeat=model.settings.n_hidden))
        both = itertools.product(rows, hidden)
        self.cells = torch.tensor([[*v, *h] for v, h in both], dtype=torch.float64)
        self.n_features = spec.n_features
        with torch.no_grad():
            self.law = torch.softmax(self._log_weights(), 0)

    def _log_weights(self):
        v, h = self.cells.tensor_split((self.n_features,), dim=1)
        p, total = self.p, (h * self.p.hidden_bias).sum(1)
        field = p.visible_bias + h @ p.couplings.T
        for i in range(self.n_features):
            if i in self.real:
                s = p.variance[i]
                total = total + (field[:, i] ** 2 - p.visible_bias[:, i] ** 2) / (2 * s)
            else:
                value = v[:, i] if self.layers.visible.scale[i] == 1 else (v[:, i] + 1) / 2
                total = total + field[:, i] * value
        return total

    def draw(self, n):
        """Visible and hidden states of the law."""
        v, h = self.cells[drawn(self.law, n)].tensor_split((self.n_features,), dim=1)
        v = v.clone()
        for i in self.real:
            within = torch.rand(n, generator=generator(4), dtype=torch.float64)
            score = torch.special.ndtri((v[:, i] + within) / 4)
            v[:, i] = self._center(h)[:, i] + self.p.variance[i].sqrt() * score
        return v, h

    def _center(self, h):
        return self.p.visible_bias + h @ self.p.couplings.T

    def pull(self, v, h):
        v = v.clone()
        for i in self.real:
            score = (v[:, i] - self._center(h)[:, i]) / self.p.variance[i].sqrt()
            v[:, i] = (4 * torch.special.ndtr(score)).floor().clamp(max=3)
        return pull(cells_of(torch.cat((v, h), dim=1), self.cells), self.law)


@pytest.mark.parametrize("kinds", list(itertools.product(BINARY, BINARY)), ids="-".join)
@pytest.mark.parametrize("spec", [SPINS, ALL_KINDS], ids=["spins", "all kinds"])
@torch.no_grad()
def test_block_gibbs_leaves_the_joint_law(spec, kinds):
    model = machine(spec, visible=kinds[0], hidden=kinds[1], seed=3)
    joint, n = JointLaw(model), 60_000
    v, h = joint.draw(n)
    assert abs(joint.pull(v, h)) < 4
    rng = stepping(n)

    def pulls(p):
        again = p.layers.hidden.draw(p.hidden_field(p.values(v)), rng)
        after_v = p.draw_visible(again, rng)
        moved = p.gibbs(v, 3, rng)
        after = p.layers.hidden.draw(p.hidden_field(p.values(moved)), rng)
        return joint.pull(v, again), joint.pull(after_v, again), joint.pull(moved, after)

    assert all(abs(one) < 4 for one in pulls(model.parameters_at(nothing(1))))
    model.couplings.mul_(1.2)
    assert all(one > 8 for one in pulls(model.parameters_at(nothing(1))))


@torch.no_grad()
def test_chains_that_go_on_from_hidden_units_have_the_law():
    """A persistent chain with its hidden units, as PCD moves it in training."""
    model = machine(ALL_KINDS, seed=5)
    joint, n = JointLaw(model), 60_000
    _, h = joint.draw(n)
    p, rng = model.parameters_at(nothing(1)), stepping(n)
    moved = p.gibbs(p.draw_visible(h, rng), 2, rng)
    after = p.layers.hidden.draw(p.hidden_field(p.values(moved)), rng)
    assert abs(joint.pull(moved, after)) < 4
    # a hidden state of another event is not that of the visible one
    assert joint.pull(moved, after.roll(1, 0)) > 8


# ---------------------------------------------------------------------- the path


def ring(n, coupling, n_snapshots=12, **settings):
    """A machine whose law is that of n Ising spins on a ring, with snapshots on its way there.

    A hidden unit per bond: ln 2 cosh w(s + s') is larger by ln cosh 2w = 2J for equal spins.
    """
    spec = TensorSpec(n_features=n, binary=(True,) * n)
    settings = {"n_hidden": n, "chains": CD(n_chains=64), "n_snapshots": n_snapshots} | settings
    model = RBM(**settings).build(spec).double().eval()
    w = torch.eye(n, dtype=torch.float64) + torch.eye(n, dtype=torch.float64).roll(1, 1)
    with torch.no_grad():
        for k in range(1, n_snapshots + 1):
            strength = math.acosh(math.exp(2 * coupling * k / n_snapshots)) / 2
            model.couplings.copy_(strength * w)
            model.snapshots.n_updates = max(model.snapshots._next(), 0)
            model.snapshots.count(model.numbers)
    return model


def test_the_ring_is_an_ising_ring():
    model, states = ring(6, 0.8), spin_states(6)
    exact = torch.softmax(0.8 * (states * states.roll(1, 1)).sum(1), 0)
    torch.testing.assert_close(law_of(model, states), exact)
    assert len(model.snapshots.taken()) == 12


@pytest.mark.parametrize("snapshots", [True, False])
@torch.no_grad()
def test_points_of_a_path_lie_on_straight_lines_between_machines(snapshots):
    model = machine(GIVEN, n_snapshots=4)
    first = model.numbers()
    model.snapshots.count(lambda: 0.3 * first)
    model.snapshots.count(lambda: 0.6 * first)
    c = torch.linspace(-1, 1, 10, dtype=torch.float64)[:, None]
    path = model.trajectory(c, snapshots=snapshots)
    free, *_ = path.points
    lines = [free, 0.3 * first, 0.6 * first, first] if snapshots else [free, first]
    assert path.end == len(lines) - 1
    x = torch.where(torch.rand(10, 5, generator=generator(0)) < 0.5, -1.0, 1.0).double()
    for t in (0.0, 0.25, 0.5, 1.0, *((1.75, 2.5, 3.0) if snapshots else ())):
        k = min(int(t), len(lines) - 2)
        numbers = (1 - (t - k)) * lines[k] + (t - k) * lines[k + 1]
        expected = model.parameters_at(c, model._named(numbers)).free_energy(x)
        torch.testing.assert_close(path.at(t).free_energy(x), expected)
        torch.testing.assert_close(path.energy(x, torch.full((10,), t).double()), expected)
    torch.testing.assert_close(path.at(path.end).free_energy(x), model.free_energy(x, c))
    assert path.at(0).couplings.abs().sum() == 0


@torch.no_grad()
def test_energies_of_rows_that_stand_on_different_rungs():
    """Each row at its own place, and each chain under its own condition."""
    model = machine(GIVEN)
    c = torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None]
    path = model.trajectory(c)
    x = torch.where(torch.rand(6, 3, 5, generator=generator(1)) < 0.5, -1.0, 1.0).double()
    places = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    order = torch.rand(6, 3, generator=generator(2)).argsort(1)
    t = places[order]
    found = path.energy(x.flatten(0, 1), t.flatten()).view(6, 3)
    for chain, copy in itertools.product(range(6), range(3)):
        alone = model.trajectory(c[chain : chain + 1]).at(float(t[chain, copy]))
        expected = alone.free_energy(x[chain, copy : copy + 1])
        torch.testing.assert_close(found[chain, copy : copy + 1], expected)
    with pytest.raises(ValueError, match=r"as many chains must stand at each place.*\[2, 1\]"):
        path.energy(x[0], torch.tensor([0.1, 0.1, 0.5]))


@torch.no_grad()
def test_block_gibbs_along_the_path_leaves_each_law():
    """Rows of three places in one tensor; with the law of the next place it fails."""
    model, states, n = machine(SPINS, seed=6, spread=0.8), spin_states(4), 30_000
    path = model.trajectory(nothing(1))
    places = (0.3, 0.7, 1.0)
    laws = [torch.softmax(-path.at(t).free_energy(states), 0) for t in places]
    x = torch.stack([states[drawn(law, n)] for law in laws], dim=1)
    t = torch.tensor(places, dtype=torch.float64).repeat(n)
    energy = mcmc.PathEnergy(path.energy, t)
    moved, info = mcmc.run(model.kernel(path), energy, x.flatten(0, 1), 3, rng=stepping(3 * n))
    cells = cells_of(moved, states).view(n, 3)
    for k in range(3):
        assert abs(pull(cells[:, k], laws[k])) < 4
        assert pull(cells[:, k], laws[k - 1]) > 8
    assert (info.acceptance == 1).all()


def test_block_gibbs_wants_the_energies_of_a_path():
    model = machine(SPINS)
    kernel = model.kernel(model.trajectory(nothing(1)))
    assert isinstance(kernel, BlockGibbs)
    with pytest.raises(TypeError, match=r"got an energy of type function.*moves\(n_steps\)"):
        kernel(lambda x: x.sum(1), spin_states(4), rng=stepping(16))


@torch.no_grad()
def test_parallel_tempering_along_the_path():
    """Chains that start in one well; swaps by energies of the wrong sign give another law."""
    model, states, n = ring(6, 1.2), spin_states(6), 4000
    path = model.trajectory(nothing(1))
    betas = torch.linspace(0, path.end, 8).tolist()
    start = torch.ones(8, n, 6, dtype=torch.float64)

    def cold_pull(path_energy):
        run = mcmc.parallel_tempering(
            model.kernel(path), path_energy, start, betas=betas, n_steps=60, rng=2
        )
        return pull(cells_of(run.state[-1], states), law_of(model, states))

    assert abs(cold_pull(path.energy)) < 4
    # the kernel moves by the path itself, so that only the swaps are wrong
    assert cold_pull(lambda x, t: -path.energy(x, t)) > 8


@pytest.mark.parametrize("sampler", ["pt", "ptt"])
def test_samples_of_a_ladder_cross_between_wells(sampler):
    """Chains in one well: the ladder finds both, block Gibbs does not."""
    model, states, n = ring(6, 1.5), spin_states(6), 10_000
    model.chains.state.fill_(1.0)
    law = law_of(model, states)
    x = model.sample(n, nothing(n), rng=stepping(n), n_steps=80, sampler=sampler)
    assert abs(pull(cells_of(x, states), law)) < 4
    slow = model.sample(n, nothing(n), rng=stepping(n), n_steps=10)
    assert pull(cells_of(slow, states), law) > 8


def test_sample_of_a_ladder_under_conditions():
    """Each event at its own condition, of two."""
    model = machine(GIVEN, seed=2, spread=0.4)
    rows = [
        [a, b, *unit]
        for a, b in itertools.product((-1.0, 1.0), repeat=2)
        for unit in (2 * torch.eye(3) - 1).tolist()
    ]
    states, n = torch.tensor(rows, dtype=torch.float64), 10_000
    c = torch.tensor([[-1.0], [1.5]], dtype=torch.float64).repeat(n, 1)
    x = model.sample(2 * n, c, rng=stepping(2 * n), n_steps=15, sampler="pt")
    cells = cells_of(x, states).view(n, 2)
    laws = [torch.softmax(-model.free_energy(states, c[k : k + 1]), 0).detach() for k in (0, 1)]
    for k in (0, 1):
        assert abs(pull(cells[:, k], laws[k])) < 4
        assert pull(cells[:, k], laws[1 - k]) > 8


def test_samples_of_plain_chains_have_the_law():
    model, states, n = machine(SPINS, seed=1), spin_states(4), 30_000
    x = model.sample(n, nothing(n), rng=stepping(n), n_steps=50)
    assert abs(pull(cells_of(x, states), law_of(model, states))) < 4
    assert pull(cells_of(x, states), law_of(machine(SPINS, seed=2), states)) > 8


def test_an_unknown_sampler_or_no_steps_are_refused():
    model = machine(SPINS)
    with pytest.raises(ValueError, match="sampler must be 'gibbs', 'pt' or 'ptt', got 'hmc'"):
        model.sample(2, nothing(2), rng=stepping(2), sampler="hmc")
    with pytest.raises(ValueError, match="n_steps must be at least 1, got 0"):
        model.sample(2, nothing(2), rng=stepping(2), n_steps=0)


# ---------------------------------------------------------------------- symmetries


def test_flip_symmetry_of_law_and_sample():
    """The sign is fair although the chains are in one well and block Gibbs does not leave it."""
    model, states, n = ring(6, 2.5, flip_symmetric=True, hidden="ising"), spin_states(6), 20_000
    assert {name for name, _ in model.named_parameters()} == {"couplings"}
    torch.testing.assert_close(
        model.free_energy(states, nothing(64)), model.free_energy(-states, nothing(64))
    )
    model.chains.state.fill_(1.0)
    x = model.sample(n, nothing(n), rng=stepping(n), n_steps=2)
    up = int((x.sum(1) > 0).sum())
    n_decided = int((x.sum(1) != 0).sum())
    assert abs(up - n_decided / 2) < 4 * math.sqrt(n_decided) / 2
    assert model.gibbs(torch.ones(n, 6).double(), nothing(n), 2, rng=stepping(n)).mean() > 0.9


SHAPES = [((7,), 0), ((7,), 3), ((3, 4), 0), ((3, 5), 3), ((2, 3, 3), 0), ((3, 3, 4), 3)]


@pytest.mark.parametrize(("shape", "filter_size"), SHAPES, ids=str)
@pytest.mark.parametrize("hidden", BINARY)
def test_free_energy_is_the_same_after_every_translation(shape, filter_size, hidden):
    n = math.prod(shape)
    spec = TensorSpec(n_features=n, binary=(True,) * n, shape=shape)
    settings = {"translation_symmetric": True, "filter_size": filter_size, "hidden": hidden}
    model = machine(spec, n_hidden=2 * n, **settings)
    x = torch.where(torch.rand(5, *shape, generator=generator(0)) < 0.5, -1.0, 1.0).double()
    expected = model.free_energy(x.flatten(1), nothing(5))
    for by in itertools.product(*(range(side) for side in shape)):
        moved = x.roll(by, tuple(range(1, len(shape) + 1))).flatten(1)
        torch.testing.assert_close(
            model.free_energy(moved, nothing(5)), expected, rtol=1e-12, atol=1e-12
        )
    # a machine whose couplings are not shared
    other = machine(spec, n_hidden=2, hidden=hidden)
    moved = x.roll(1, 1).flatten(1)
    change = other.free_energy(moved, nothing(5)) - other.free_energy(x.flatten(1), nothing(5))
    assert change.abs().min() > 1e-3


@pytest.mark.parametrize(("shape", "filter_size"), SHAPES, ids=str)
def test_couplings_are_a_filter_at_every_site(shape, filter_size):
    """W of site x and unit f at site y is w_f(x - y), and 0 outside the filter."""
    n = math.prod(shape)
    spec = TensorSpec(n_features=n, binary=(True,) * n, shape=shape)
    settings = {"translation_symmetric": True, "filter_size": filter_size}
    model = machine(spec, n_hidden=2 * n, **settings)
    w = model.parameters_at(nothing(1)).couplings.view(*shape, 2, *shape)
    assert model.couplings.shape == (2, filter_size ** len(shape) if filter_size else n)
    sites = list(itertools.product(*(range(side) for side in shape)))
    origin = (0,) * len(shape)
    for x, f, y in itertools.product(sites, range(2), sites):
        apart = tuple((a - b) % side for a, b, side in zip(x, y, shape, strict=True))
        assert w[(*x, f, *y)] == w[(*apart, f, *origin)]
        far = max(min(d, side - d) for d, side in zip(apart, shape, strict=True))
        inside = filter_size == 0 or far <= filter_size // 2
        assert bool(w[(*x, f, *y)] != 0) == inside


@torch.no_grad()
def test_a_machine_of_both_symmetries_samples_its_law():
    spec = TensorSpec(n_features=4, binary=(True,) * 4, shape=(2, 2))
    settings = {"translation_symmetric": True, "flip_symmetric": True}
    model, states, n = machine(spec, n_hidden=8, spread=0.3, **settings), spin_states(4), 20_000
    x = model.sample(n, nothing(n), rng=stepping(n), n_steps=40)
    assert abs(pull(cells_of(x, states), law_of(model, states))) < 4


# ---------------------------------------------------------------------- completing events


def test_unknown_features_follow_the_conditional_law():
    """Spins, a Potts unit and a condition: what is known stays, what is not has its exact law."""
    model = machine(GIVEN, seed=4)
    unit = (2 * torch.eye(3, dtype=torch.float64) - 1).tolist()
    rows = [[a, b, *u] for a, b in itertools.product((-1.0, 1.0), repeat=2) for u in unit]
    states, n = torch.tensor(rows, dtype=torch.float64), 10_000
    c = torch.full((n, 1), 0.8, dtype=torch.float64)
    for known in ([1, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]):
        mask = torch.tensor([known], dtype=torch.bool)
        x = states[4].expand(n, -1).clone()
        garbage = torch.where(mask, x, torch.full_like(x, 99))
        filled = model.complete(garbage, mask, c, rng=stepping(n), n_steps=30)
        assert (filled == x)[mask.expand(n, -1)].all()
        fits = (states == states[4])[:, mask[0]].all(1)
        law = torch.softmax(-model.free_energy(states, c[:1]), 0).detach() * fits
        law = law / law.sum()
        cells = cells_of(filled, states)
        assert fits[cells].all()
        assert abs(pull(cells, law + 1e-300)) < 4
        flat = fits.double() / fits.sum()
        assert pull(cells, flat + 1e-300) > 8


def test_a_unit_that_is_known_in_part_is_refused():
    """It could come out with two values or none."""
    known = torch.tensor([[True, False, False, True, False]])
    model, x = machine(GIVEN), torch.ones(2, 5).double()
    with pytest.raises(ValueError, match=r"one-hot unit of the features \[2, 3, 4\] is known in"):
        model.complete(x, known, torch.zeros(2, 1).double(), rng=stepping(2))


def test_unknown_real_features_follow_the_conditional_law():
    """A mixture of Gaussians given the other features: mean and share above its median."""
    model, n = machine(ALL_KINDS, seed=1, spread=0.4), 20_000
    known = torch.tensor([[True, False, True, True, True, True]])
    x = torch.tensor([[1.0, 0.0, -1.0, 1.0, -1.0, -1.0]], dtype=torch.float64)
    filled = model.complete(x.expand(n, -1), known, nothing(n), rng=stepping(n), n_steps=40)
    grid = torch.linspace(-15, 15, 6001, dtype=torch.float64)
    states = x.repeat(6001, 1)
    states[:, 1] = grid
    cumulative = law_of(model, states).cumsum(0)
    index = torch.bucketize(filled[:, 1].contiguous(), grid).clamp(max=6000)
    deciles = (cumulative[index] * 10).long().clamp(max=9)
    assert abs(pull(deciles, torch.full((10,), 0.1).double())) < 4
    shifted = (cumulative[(index + 40).clamp(max=6000)] * 10).long().clamp(max=9)
    assert pull(shifted, torch.full((10,), 0.1).double()) > 8


def test_events_with_their_own_masks_are_completed_each_for_itself():
    model, n = machine(SPINS, seed=3), 200
    x = spin_states(4).repeat(13, 1)[:n]
    known = torch.rand(n, 4, generator=generator(1)) < 0.5
    filled = model.complete(x, known, nothing(n), rng=stepping(n))
    assert (filled == x)[known].all()
    half = PhiloxRandom(1, torch.arange(100, n))
    alone = model.complete(x[100:], known[100:], nothing(100), rng=half)
    assert torch.equal(alone, filled[100:])
