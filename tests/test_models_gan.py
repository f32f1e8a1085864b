"""The generative adversarial network: objectives, penalties, straight-through spins."""

import math

import pytest
import torch

from physgen.models import GAN, NonSaturating, Relativistic, TensorSpec
from physgen.models.gan import _straight_through
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers

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


@pytest.mark.parametrize("objective", [NonSaturating(), Relativistic()])
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


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="GAN: n_latent must be positive, got 0"):
        GAN(n_latent=0)
    with pytest.raises(ValueError, match="Relativistic: gamma must be 0 or more, got -1"):
        Relativistic(gamma=-1)
