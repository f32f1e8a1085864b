"""The variational autoencoder: its terms against torch.distributions and against integrals."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from physgen.models import VAE, TensorSpec
from physgen.models.prior import AutoregressiveMixture
from physgen.models.vae import _kl_to_normal
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers

MIXED = TensorSpec(n_features=3, n_conditions=1, binary=(False, True, False))


def generator_random(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def small_vae(spec=MIXED, **changes):
    with seeded_layers(0):
        return VAE(**({"n_hidden": 16, "n_layers": 2} | changes)).build(spec)


def small_prior(n_latent, n_conditions=0):
    with seeded_layers(3):
        prior = AutoregressiveMixture(n_latent, n_conditions, n_components=4, n_hidden=32)
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter.mul_(2)
    return prior


def test_divergence_is_analytic():
    mu, log_variance = torch.randn(50, 4), torch.randn(50, 4)
    expected = kl_divergence(Normal(mu, (log_variance / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(_kl_to_normal(mu, log_variance), expected, atol=1e-5)


def test_likelihood_of_the_decoder():
    model = small_vae()
    x = torch.tensor([[0.3, -1.0, -0.7], [1.2, 1.0, 0.1]])
    z, c = torch.randn(2, 3), torch.randn(2, 1)
    mean, log_variance = model._decode(z, c)
    gauss = Normal(mean, (log_variance / 2).exp()).log_prob(x)
    spin = Bernoulli(logits=mean[:, 1]).log_prob((x[:, 1] + 1) / 2)
    expected = gauss[:, 0] + spin + gauss[:, 2]
    assert torch.allclose(model._log_likelihood(x, z, c), expected, atol=1e-5)


def test_elbo_is_a_bound_and_tightens_with_draws():
    """The mean over draws of z of the weight p(x, z) / q(z) is p(x) itself; its log is larger."""
    model = small_vae(TensorSpec(n_features=1))
    x = torch.tensor([[0.4]]).expand(20_000, 1)
    c = torch.zeros(20_000, 0)
    log_weight = model.elbo(x, c, rng=generator_random()).detach().double()
    z, mu, log_variance = model._latent(x, c, generator_random())
    q = Normal(mu, (log_variance / 2).exp()).log_prob(z).sum(1)
    exact = model._log_likelihood(x, z, c) + model.prior.log_prob(z, c) - q
    importance = torch.logsumexp(exact.detach().double(), 0) - math.log(20_000)
    assert log_weight.mean() < importance
    assert abs(float(log_weight.mean() - exact.detach().double().mean())) < 0.1


def test_free_bits_stop_the_divergence():
    model = small_vae(free_bits=40.0)
    x, c = torch.randn(10, 3).sign(), torch.randn(10, 1)
    loss = model.loss(x, c, player="vae", rng=generator_random())
    z, _, _ = model._latent(x, c, generator_random())
    expected = 3 * 40 * math.log(2) * model.settings.kl_weight - model._log_likelihood(x, z, c)
    assert torch.allclose(loss, expected, atol=1e-3)


def test_prior_is_a_density():
    """One and two coordinates: the sum over a fine grid is 1."""
    grid = torch.linspace(-25, 25, 1001)
    one = small_prior(1).log_prob(grid[:, None], torch.zeros(1001, 0)).exp().sum() * 0.05
    assert one.item() == pytest.approx(1, abs=1e-3)
    both = torch.cartesian_prod(grid, grid)
    condition = torch.full((len(both), 1), 0.7)
    two = small_prior(2, n_conditions=1).log_prob(both, condition).exp().sum() * 0.05**2
    assert two.item() == pytest.approx(1, abs=5e-3)


def test_prior_looks_only_back():
    """The mixture of coordinate i has no gradient with respect to z_i, z_(i+1), ..."""
    prior = small_prior(4, n_conditions=2)
    z = torch.randn(1, 4, requires_grad=True)
    condition = torch.randn(1, 2, requires_grad=True)
    for i in range(4):
        mean = prior._components(z, condition)[1][0, i].sum()
        by_z, by_condition = torch.autograd.grad(mean, (z, condition))
        assert (by_z[0, i:] == 0).all()
        assert (by_z[0, :i] != 0).all()
        assert (by_condition != 0).all()


def test_prior_samples_its_density():
    prior = small_prior(2, n_conditions=1)
    n = 20_000
    condition = torch.full((n, 1), -0.5)
    with torch.no_grad():
        z = prior.sample(n, condition, rng=PhiloxRandom(1, torch.arange(n)))
    grid = torch.linspace(-25, 25, 1001)
    both = torch.cartesian_prod(grid, grid)
    p = prior.log_prob(both, torch.full((len(both), 1), -0.5)).exp().detach() * 0.05**2
    for i in range(2):
        mean = (p * both[:, i]).sum()
        variance = (p * both[:, i].square()).sum() - mean**2
        assert abs(z[:, i].mean() - mean) < 5 * (variance / n).sqrt()
    product = both.prod(1)
    spread = ((p * product.square()).sum() / n).sqrt()
    assert abs(z.prod(1).mean() - (p * product).sum()) < 5 * spread


def test_as_many_latent_variables_as_features():
    assert small_vae().prior.n_latent == 3
    assert small_vae(n_latent=7).prior.n_latent == 7
    assert small_vae(TensorSpec(n_features=100)).prior.n_latent == 64


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="VAE: kl_weight must be 0 or more, got -1"):
        VAE(kl_weight=-1)
    with pytest.raises(ValueError, match="VAE: n_latent must be positive, got 0"):
        VAE(n_latent=0)
