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
from physgen.models.scores import two_sample_score
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
    with pytest.raises(ValueError, match="Relativistic: gamma must be 0 or more, got -1"):
        Relativistic(gamma=-1)
    with pytest.raises(ValueError, match="WassersteinGP: turns must be positive, got 0"):
        WassersteinGP(turns=0)
    with pytest.raises(ValueError, match="keep must be 'best' or 'last', got 'first'"):
        TrainingConfig(keep="first")
