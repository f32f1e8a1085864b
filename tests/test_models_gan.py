"""The generative adversarial network: objectives, penalties, spins, choice of the weights."""

import math

import pytest
import torch

from physgen.models import (
    GAN,
    Hinge,
    NonSaturating,
    Relativistic,
    TensorSpec,
    WassersteinGP,
    settings_from_dict,
    settings_to_dict,
)
from physgen.models.gan.model import GANModel, _straight_through
from physgen.models.gan.scoring import energy_score
from physgen.models.scores import two_sample_score
from physgen.networks.mlp import Perceptron
from physgen.networks.set_transformer import SetTransformer
from physgen.networks.unet import UNet
from physgen.networks.voxel_transformer import VoxelTransformer
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers
from physgen.tensor_spec import Rows
from physgen.training import TrainingConfig, train
from physgen.training.looks import Looks

REAL = TensorSpec(n_features=2, n_conditions=1)


def generator_random(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def small_gan(spec=REAL, **changes):
    with seeded_layers(0):
        return GAN(**({"n_hidden": 16, "n_layers": 2} | changes)).build(spec)


def test_non_saturating_is_binary_cross_entropy():
    real, fake = torch.randn(20), torch.randn(20)
    bce = torch.nn.BCEWithLogitsLoss(reduction="none")
    objective = NonSaturating()
    expected = bce(real, torch.ones(20)) + bce(fake, torch.zeros(20))
    assert torch.allclose(objective.discriminator(real, fake), expected, atol=1e-6)
    assert torch.allclose(objective.generator(real, fake), bce(fake, torch.ones(20)), atol=1e-6)


def test_equilibrium_marks():
    """A discriminator that cannot tell: 2 ln 2 and ln 2 for the lecture's losses, ln 2 twice."""
    zero = torch.zeros(1)
    assert NonSaturating().discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert NonSaturating().generator(zero, zero).item() == pytest.approx(math.log(2))
    for loss in (Relativistic().discriminator, Relativistic().generator):
        assert loss(zero + 3, zero + 3).item() == pytest.approx(math.log(2))


OBJECTIVES = [Relativistic(), NonSaturating(), Hinge(), WassersteinGP()]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)


@every_objective
def test_losses_stay_finite_at_huge_logits(objective):
    huge = torch.tensor([1e4, -1e4])
    for loss in (objective.discriminator, objective.generator):
        assert torch.isfinite(loss(huge, -huge)).all()


def test_penalties_are_per_event_gradients():
    """With a linear discriminator D = w x the penalty is gamma |w|^2 for every pair."""
    x, c = torch.randn(10, 2), torch.randn(10, 1)
    plain = small_gan(objective=Relativistic(gamma=0.0))
    penalized = small_gan(objective=Relativistic(gamma=3.0))
    for model in (plain, penalized):
        with seeded_layers(1):
            model.discriminator = torch.nn.Linear(3, 1)
    losses = [
        m.loss(x, c, player="discriminator", rng=generator_random()) for m in (plain, penalized)
    ]
    square = penalized.discriminator.weight[0, :2].square().sum()
    assert torch.allclose(losses[1] - losses[0], (3.0 * square).expand(10), atol=1e-5)


def test_spins_are_exact_and_their_gradient_is_that_of_tanh():
    logit = torch.linspace(-3, 3, 101, requires_grad=True)
    u = torch.full((101,), 0.3)
    spins = _straight_through(logit, u)
    assert spins.detach().abs().eq(1).all()
    (gradient,) = torch.autograd.grad(spins.sum(), logit)
    soft = torch.tanh(logit.detach() + torch.logit(u) / 2)
    assert torch.allclose(gradient, 1 - soft.square(), atol=1e-6)


def test_spins_are_drawn_with_their_probability():
    n = 100_000
    u = PhiloxRandom(0, torch.arange(n)).uniform(n)
    spins = _straight_through(torch.full((n,), 0.4), u)
    p = 1 / (1 + math.exp(-0.8))
    assert abs(float((spins == 1).float().mean()) - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_hinge_and_wasserstein_losses():
    real, fake = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([-3.0, 0.5, 2.0])
    hinge, wasserstein = Hinge(), WassersteinGP()
    assert hinge.discriminator(real, fake).tolist() == [3.0, 2.0, 3.0]
    assert wasserstein.discriminator(real, fake).tolist() == [-1.0, 0.0, -1.0]
    for objective in (hinge, wasserstein):
        assert objective.generator(real, fake).tolist() == [3.0, -0.5, -2.0]


def linear_layers(model):
    return [f for f in model.discriminator if isinstance(f, torch.nn.Linear)]


def largest_singular_value(layer):
    return torch.linalg.matrix_norm(layer.weight.detach(), 2).item()


def test_layers_of_the_hinge_discriminator_have_norm_one():
    """After some power iterations; those of the generator, and of other GANs, are as they are."""
    model = small_gan(objective=Hinge())
    x, c = torch.randn(10, 2), torch.randn(10, 1)
    with torch.no_grad():
        for layer in linear_layers(model):
            layer.parametrizations.weight.original.mul_(7)
        for _ in range(300):
            model._critic(c, x)
    model.eval()
    for layer in linear_layers(model):
        assert largest_singular_value(layer) == pytest.approx(1, abs=1e-3)
    plain = linear_layers(small_gan())
    assert all(abs(largest_singular_value(f) - 1) > 0.01 for f in plain)


def test_slopes_other_than_one_are_penalized():
    """With a linear discriminator D = w x the penalty is lambda (|w| - 1)^2 for every pair."""
    x, c = torch.randn(10, 2), torch.randn(10, 1)
    model = small_gan(objective=WassersteinGP(penalty_weight=3.0))
    with seeded_layers(1):
        model.discriminator = torch.nn.Linear(3, 1)
    found = model.loss(x, c, player="discriminator", rng=generator_random())
    fake = model._generate(10, c, generator_random())
    plain = model._critic(c, fake) - model._critic(c, x)
    slope = model.discriminator.weight[0, :2].norm()
    assert torch.allclose(found - plain, (3 * (slope - 1) ** 2).expand(10), atol=1e-5)
    assert (slope - 1).abs() > 0.1


def two_bumps(n, seed=0):
    """A Gaussian of width 0.3 at +-1, where the condition says, and one of width 1."""
    rng = generator_random(seed)
    c = torch.where(rng.uniform(n, 1) < 0.5, -1.0, 1.0)
    return torch.cat((c + 0.3 * rng.normal(n, 1), rng.normal(n, 1)), dim=1), c


@pytest.mark.parametrize(
    "objective",
    [Relativistic(), NonSaturating(), Hinge(), WassersteinGP(penalty_weight=0.1)],
    ids=lambda o: type(o).__name__,
)
def test_every_objective_learns_a_law_under_a_condition(objective):
    x, c = two_bumps(8000)
    with seeded_layers(0):
        model = GAN(n_hidden=32, n_latent=8, objective=objective).build(
            TensorSpec(n_features=2, n_conditions=1)
        )
    before = two_sample_score(*sampled(model))
    train(model, x, c, config=TrainingConfig(steps=400, batch_size=128), rng=1)
    assert two_sample_score(*sampled(model)) < 0.3
    assert before > 0.9
    for sign in (-1.0, 1.0):
        y = model.sample(2000, torch.full((2000, 1), sign), rng=generator_random(4))
        assert abs(float(y[:, 0].mean()) - sign) < 0.25


def sampled(model):
    x, c = two_bumps(2000, seed=2)
    return x, model.sample(2000, c, rng=generator_random(3)), c


def test_the_discriminator_has_several_turns():
    class Counted(GANModel):
        def loss(self, x, condition, *, player, rng):
            self.seen.append((player, x[0, 0].item()))
            return super().loss(x, condition, player=player, rng=rng)

    with seeded_layers(0):
        model = Counted(
            GAN(n_hidden=4, objective=WassersteinGP(turns=3)), TensorSpec(n_features=1)
        )
    model.seen = []
    config = TrainingConfig(steps=2, batch_size=8, validation_fraction=0, keep="last")
    history = train(model, torch.arange(64.0)[:, None], config=config, rng=0)
    players, batches = zip(*model.seen, strict=True)
    assert players == ("discriminator", "discriminator", "discriminator", "generator") * 2
    assert len(set(batches[:3])) == 3
    assert batches[3] == batches[0]
    assert history.n_events_seen == 48


# ---------------------------------------------------------------- choice of the weights


class WorseLate(GANModel):
    """From step 150 on its generator is driven away from the truth."""

    n_losses = 0

    def loss(self, x, condition, *, player, rng):
        self.n_losses += self.training
        if player == "generator" and self.n_losses > 2 * 150:
            return self._generate(len(x), condition, rng)[:, 0] * 5
        return super().loss(x, condition, player=player, rng=rng)


def trained_worse_late(keep, monkeypatch):
    """A look every 100 steps whatever the clock says."""
    monkeypatch.setattr(Looks, "due", lambda _, step, elapsed: step % 50 == elapsed * 0)
    monkeypatch.setattr("physgen.training.loop._LOG_STEPS", 50)
    monkeypatch.setattr("physgen.training.loop._LOG_SECONDS", 0.0)
    with seeded_layers(0):
        model = WorseLate(GAN(n_hidden=32), TensorSpec(n_features=2, n_conditions=1))
    config = TrainingConfig(steps=400, batch_size=128, decay=0.0, keep=keep)
    history = train(model, *two_bumps(8000), config=config, rng=1)
    return history, two_sample_score(*sampled(model))


def test_a_gan_that_gets_worse_ends_with_its_best_weights(monkeypatch):
    history, best = trained_worse_late("best", monkeypatch)
    steps, scores = history.diagnostics["step"], history.diagnostics["score"]
    assert history.kept_step == steps[scores.index(min(scores))]
    assert 100 <= history.kept_step <= 200
    assert f"kept are the averaged weights of step {history.kept_step}" in history.describe()
    other, last = trained_worse_late("last", monkeypatch)
    assert other.kept_step is None
    assert "score" not in other.diagnostics
    assert best < 0.4
    assert last > 3 * best


def test_the_score_falls_with_the_distance_of_two_samples():
    rng = generator_random(5)
    x, y = rng.normal(1000, 3), rng.normal(1000, 3)
    scores = [two_sample_score(x, y + shift) for shift in (0.0, 0.1, 0.3, 1.0)]
    assert scores == sorted(scores)
    assert scores[0] < 0.15
    assert math.isnan(two_sample_score(x, y * torch.nan))


def test_the_score_sees_what_columns_do_not():
    """The same columns, but the correlation is missing; or the dependence on the condition."""
    rng = generator_random(6)
    x = rng.normal(1000, 1).expand(-1, 2).contiguous()
    floor = two_sample_score(x, rng.normal(1000, 1).expand(-1, 2).contiguous())
    assert two_sample_score(x, torch.stack((x[:, 0], x[:, 1].roll(1)), dim=1)) > floor + 0.05
    assert two_sample_score(x, x.roll(1, 0), x[:, :1]) > 0.05
    assert two_sample_score(x, x, x[:, :1]) == pytest.approx(0, abs=2e-3)


# ---------------------------------------------------------------- groups of features


def test_stages_and_padded_rows():
    """A number, then so many rows: padding is zero in what is made."""
    first = TensorSpec(n_features=1)
    rows = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.5, 1.5))
    spec = TensorSpec(n_features=7, stages=(first, rows))
    with seeded_layers(0):
        model = GAN(n_hidden=16).build(spec)
    assert list(model.players()) == [
        f"{k}: {n}" for k in (1, 2) for n in ("discriminator", "generator")
    ]
    x = torch.randn(256, 7, generator=torch.Generator().manual_seed(0))
    x[:, 1:] *= rows.mask(x[:, :1])
    train(model, x, config=TrainingConfig(steps=5, batch_size=64), rng=0)
    y = model.sample(500, torch.zeros(500, 0), rng=generator_random())
    assert ((y[:, 1:] == 0) == (rows.mask(y[:, :1]) == 0)).all()


@every_objective
def test_settings_are_stored(objective):
    settings = GAN(objective=objective)
    assert settings_from_dict(settings_to_dict(settings)) == settings


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="GAN: n_latent must be positive, got 0"):
        GAN(n_latent=0)
    with pytest.raises(ValueError, match="GAN: score_weight must be 0 or more, got -1"):
        GAN(score_weight=-1)
    with pytest.raises(ValueError, match="Relativistic: gamma must be 0 or more, got -1"):
        Relativistic(gamma=-1)
    with pytest.raises(ValueError, match="WassersteinGP: turns must be positive, got 0"):
        WassersteinGP(turns=0)
    with pytest.raises(ValueError, match="keep must be 'best' or 'last', got 'first'"):
        TrainingConfig(keep="first")


# ---------------------------------------------------------------- arrays

ARRAY = TensorSpec(n_features=48, n_conditions=1, shape=(4, 4, 3), periodic=(False, True, False))


def small_network():
    return VoxelTransformer(n_hidden=8, n_blocks=1, n_heads=1)


def curved(**changes):
    """A generator of curves whose network no longer returns zero."""
    model = small_gan(ARRAY, network=small_network(), **changes)
    with seeded_layers(1):
        torch.nn.init.normal_(model.generator.network.network.last.weight, std=0.5)
    return model.generator


def test_an_untrained_generator_of_arrays_has_the_quantiles_of_the_first_batch():
    model = small_gan(ARRAY, network=small_network())
    noise = 2 * generator_random(1).normal(50, 48)
    curves = model.generator.curves(torch.zeros(50, 1), generator_random())
    assert torch.allclose(model.generator.at(curves, noise), noise, atol=1e-6)
    x = generator_random(2).uniform(4000, 48) * 3
    model.loss(x, torch.zeros(4000, 1), player="discriminator", rng=generator_random())
    y = model.sample(4000, torch.zeros(4000, 1), rng=generator_random(3))
    ranks = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    found, wanted = (torch.quantile(events, ranks, dim=0) for events in (y, x))
    assert (found - wanted).abs().max() < 0.15
    model.loss(x * 9, torch.zeros(4000, 1), player="discriminator", rng=generator_random())
    again = model.sample(4000, torch.zeros(4000, 1), rng=generator_random(3))
    assert torch.equal(again, y)


def test_curves_rise_with_slopes_that_are_linear_between_knots():
    generator = curved()
    curves = generator.curves(torch.zeros(1, 1), generator_random())
    assert curves.shape == (1, 10, 48)
    grid = torch.linspace(-4, 4, 161) + 1e-4  # at a knot itself a minimum has no derivative
    e = grid[:, None].repeat(1, 48).requires_grad_()
    x = generator.at(curves.expand(161, -1, -1), e)
    (slopes,) = torch.autograd.grad(x.sum(), e)
    assert (slopes > 0).all()
    assert torch.allclose(x[80], curves[0, 0], atol=1e-2)  # the offset is the value at 0
    at_knots, middles = slopes[40:121:10], slopes[45:121:10]
    assert torch.allclose(at_knots, curves[0, 1:], atol=2e-3)
    assert torch.allclose(middles, (at_knots[1:] + at_knots[:-1]) / 2, atol=2e-3)
    assert torch.allclose(slopes[0], slopes[40], atol=2e-3)  # straight beyond the last knot


def test_features_share_the_latent_noise_and_have_noise_of_their_own():
    generator = curved()
    curves = generator.curves(torch.zeros(4000, 1), generator_random())
    assert (curves[0] != curves[1]).any()
    alike = generator.at(curves[:1].expand(4000, -1, -1), generator_random(2).normal(4000, 48))
    correlation = torch.corrcoef(alike.T.detach()) - torch.eye(48)
    assert correlation.abs().max() < 5 / math.sqrt(4000)  # 48 * 47 / 2 of them


class OneLatent:
    """The same z for every event."""

    def normal(self, n, width):
        return generator_random().normal(1, width).expand(n, -1)


def test_the_density_of_a_curve():
    """That of the noise over the slope, and its gradient that of its differences."""
    generator = curved()
    e = torch.linspace(-3, 3, 62)[:, None].repeat(1, 48).requires_grad_()
    curves = generator.curves(torch.zeros(1, 1), OneLatent()).expand(62, -1, -1)
    x = generator.at(curves, e)
    (slope,) = torch.autograd.grad(x.sum(), e)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(e) - slope.log()
    found = generator.log_prob(x.detach(), torch.zeros(62, 1), OneLatent())
    assert torch.allclose(found, expected, atol=5e-3)


def test_the_gradient_of_the_likelihood_knows_all_of_it():
    """A likelihood with jumps would have another gradient than its differences say."""
    generator, c = curved().double(), torch.zeros(4000, 1, dtype=torch.float64)
    x = 2 * generator_random(3).normal(4000, 48).double()
    bias = generator.network.network.last.bias

    def likelihood():
        return generator.log_prob(x, c, Doubled()).mean()

    (gradient,) = torch.autograd.grad(likelihood(), bias)
    with torch.no_grad():
        for k in range(0, len(bias), max(1, len(bias) // 5)):
            kept, values = bias[k].clone(), []
            for shift in (1e-5, -1e-5):
                bias[k] = kept + shift
                values.append(likelihood())
            bias[k] = kept
            difference = float(values[0] - values[1]) / 2e-5
            assert difference == pytest.approx(float(gradient[k]), rel=0.02, abs=1e-5)


class Doubled(OneLatent):
    def normal(self, n, width):
        return super().normal(n, width).double()


def test_the_law_of_a_feature_is_learned_by_its_score():
    """Half empty cells beside a narrow peak, with a discriminator that hardly sees."""
    spec = TensorSpec(n_features=8, shape=(2, 2, 2))
    rng = generator_random(7)
    empty = rng.uniform(4000, 8) < 0.5
    x = torch.where(empty, -rng.uniform(4000, 8), 1 + rng.normal(4000, 8) / 8)
    config = TrainingConfig(steps=150, batch_size=128, keep="last")
    distances = {}
    for weight in (0.0, 1.0):
        settings = {"score_weight": weight, "n_hidden": 1, "learning_rate": 5e-3}
        model = small_gan(spec, network=small_network(), **settings)
        train(model, x, config=config, rng=0)
        y = model.sample(4000, torch.zeros(4000, 0), rng=generator_random(8))
        distances[weight] = float((x.sort(0).values - y.sort(0).values).abs().mean())
    assert distances[1.0] < 0.12
    assert distances[0.0] > 0.2


def test_the_energy_score_is_that_of_its_formula():
    x, y, z = (generator_random(k).normal(30, 2) for k in range(3))
    each = ((x - y).abs() - (y - z).abs() / 2).mean(1)
    norms = (x - y).norm(dim=1) - (y - z).norm(dim=1) / 2
    expected = each + norms / math.sqrt(2)
    assert torch.allclose(energy_score(x, y, z), expected, atol=1e-6)


def test_the_gradient_of_the_energy_score_is_that_of_both_events():
    """With respect to the width of the generated events, which is too small here."""
    n = 20_000
    x, y, z = (generator_random(k).normal(n, 1) for k in range(3))
    scale = torch.full((1,), 0.6, requires_grad=True)
    energy_score(x, scale * y, scale * z).mean().backward()
    both = torch.full((1,), 0.6, requires_grad=True)
    pairs = (x - both * y).abs() / 2 + (x - both * z).abs() / 2 - (both * (y - z)).abs() / 2
    (2 * pairs.mean()).backward()  # features, and all of them together: the same
    assert float(scale.grad - both.grad) == pytest.approx(0, abs=0.02)
    assert float(both.grad) < -0.1


@pytest.mark.parametrize("wrong", ["shifted", "wide", "narrow", "uncorrelated"])
def test_the_energy_score_is_smallest_for_the_law_of_the_truth(wrong):
    n = 40_000

    def drawn(seed, kind="true"):
        rng = generator_random(seed)
        both = rng.normal(n, 1).expand(-1, 2)
        y = rng.normal(n, 2) if kind == "uncorrelated" else both + 0.3 * rng.normal(n, 2)
        return y * {"wide": 1.8, "narrow": 0.5}.get(kind, 1.0) + 0.3 * (kind == "shifted")

    x = drawn(0)
    loss = energy_score(x, drawn(1, wrong), drawn(2, wrong))
    loss = loss - energy_score(x, drawn(3), drawn(4))
    assert float(loss.mean()) > 4 * float(loss.std()) / math.sqrt(n)


@pytest.mark.parametrize(
    "network", [Perceptron(n_hidden=8), UNet(n_channels=4, n_blocks=1), small_network(), None]
)
def test_any_network_for_arrays_is_a_generator(network):
    model = small_gan(ARRAY, network=network)
    settings = model.settings
    assert settings_from_dict(settings_to_dict(settings)) == settings
    x, c = generator_random().normal(6, 48), torch.zeros(6, 1)
    for player in model.players():
        assert model.loss(x, c, player=player, rng=generator_random()).shape == (6,)
    assert model.sample(6, c, rng=generator_random()).shape == (6, 48)


def test_particles_by_a_set_transformer():
    rows = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.5, 1.5))
    model = small_gan(rows, network=SetTransformer(n_hidden=8, n_blocks=1))
    c = torch.tensor([[-1.0], [1.0]]).repeat(50, 1)
    y = model.sample(100, c, rng=generator_random())
    assert ((y == 0) == (rows.mask(c) == 0)).all()


def test_gray_levels_reach_their_ends_and_no_further():
    generator = small_gan(TensorSpec(n_features=4, shape=(2, 2), bounds=(-0.5, 1.5))).generator
    with seeded_layers(1):
        torch.nn.init.normal_(generator[-1].weight, std=100.0)
    made = generator.draw(torch.zeros(500, 0), generator_random())
    assert (made.min(), made.max()) == (-0.5, 1.5)
    free = small_gan(TensorSpec(n_features=4, shape=(2, 2))).generator
    free.load_state_dict(generator.state_dict())
    raw = free.draw(torch.zeros(500, 0), generator_random())
    assert raw.abs().max() > 10
    torch.testing.assert_close(made, 0.5 + raw.tanh())


def test_flat_columns_stay_with_the_perceptron_and_without_a_score():
    flat, array = small_gan(), small_gan(ARRAY)
    assert type(flat.generator).__name__ == "FlatGenerator"
    assert (flat.score_weight, array.score_weight) == (0.0, 1.0)
    assert (flat.turns_around, array.turns_around) == (False, True)
    assert not small_gan(ARRAY, symmetric=False).turns_around


def test_the_score_of_particles_does_not_see_what_is_not_there():
    """Padding may hold anything: the game and the score of the generator stay as they are."""
    rows = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.5, 1.5))
    model = small_gan(rows, network=SetTransformer(n_hidden=8, n_blocks=1)).eval()
    c = torch.tensor([[-1 / 3], [1.0]])  # one particle, and three
    x = generator_random(1).normal(2, 6)
    fake, score = model._scored(x, c, generator_random(2))
    assert ((fake == 0) == (rows.mask(c) == 0)).all()
    there = rows.mask(c) == 1
    for changed, same in ((~there, [True, True]), (there, [False, False])):
        _, other = model._scored(torch.where(changed, x + 1, x), c, generator_random(2))
        assert (other == score).tolist() == same


def test_binary_arrays_are_scored_by_the_energy_score():
    spec = TensorSpec(n_features=8, binary=(True,) * 8, shape=(2, 2, 2))
    model = small_gan(spec, network=small_network()).eval()
    x, c = torch.ones(5, 8), torch.zeros(5, 0)
    fake, score = model._scored(x, c, generator_random(3))
    assert (fake.abs() == 1).all()
    rng = generator_random(3)
    one, other = (model._generate(5, c, rng) for _ in range(2))
    torch.testing.assert_close(score, energy_score(x, one, other))
