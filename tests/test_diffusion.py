"""Diffusion: preconditioning, the learned denoiser and the sampler against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.models.base import TensorSpec
from physgen.models.diffusion import Diffusion, DiffusionModel
from physgen.random import GeneratorRandom, PhiloxRandom, as_generator
from physgen.training import TrainingConfig, train

NONE = torch.zeros(1, 0)


def no_condition(n):
    return torch.zeros(n, 0)


def gaussian(n, mean, covariance, seed=0):
    z = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(mean) + z @ torch.linalg.cholesky(torch.tensor(covariance)).T


# ---------------------------------------------------------------- preconditioning


def untrained(x, **settings):
    model = Diffusion(n_hidden=16, n_blocks=1, **settings).build(TensorSpec(n_features=x.shape[1]))
    model.loss(x, no_condition(len(x)), player="denoiser", rng=GeneratorRandom(as_generator(0)))
    return model


def test_sigma_data_is_measured_once():
    x = 3 * gaussian(1000, [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    model = untrained(x)
    assert model.sigma_data == x.std()
    model.loss(2 * x, no_condition(1000), player="", rng=GeneratorRandom(as_generator(0)))
    assert model.sigma_data == x.std()


def test_an_untrained_denoiser_is_c_skip_times_x():
    """The network starts at zero: eq. (7) with F = 0."""
    model = untrained(2 * gaussian(1000, [0.0], [[1.0]]))
    x = torch.tensor([[1.0], [-3.0]])
    for sigma in (0.01, 1.0, 30.0):
        c_skip = model.sigma_data**2 / (sigma**2 + model.sigma_data**2)
        denoised = model.denoise(x, torch.full((2, 1), sigma), no_condition(2))
        assert torch.allclose(denoised, c_skip * x)


def test_the_loss_of_an_untrained_net_is_1():
    """The target of F has unit variance at every noise level: that is what eq. (7) is made for."""
    x = 0.7 * gaussian(50_000, [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    model = untrained(x)
    for mean in (-4.0, 0.0, 3.0):
        model.settings = replace(model.settings, log_sigma_mean=mean)
        rng = GeneratorRandom(as_generator(1))
        loss = model.loss(x, no_condition(len(x)), player="denoiser", rng=rng)
        assert loss.shape == (50_000,)
        assert loss.mean().item() == pytest.approx(1, abs=4 * loss.std().item() / 50_000**0.5)


def test_the_loss_is_the_weighted_denoising_error():
    """Eq. (2) with the weight of eq. (8): (sigma^2 + sd^2) / (sigma sd)^2 |D(x + n) - x|^2."""
    x = gaussian(64, [0.3], [[1.0]])
    model = untrained(x)
    torch.nn.init.normal_(model.network.last.weight, generator=torch.Generator().manual_seed(2))
    loss = model.loss(x, no_condition(64), player="denoiser", rng=GeneratorRandom(as_generator(5)))
    rng, s = GeneratorRandom(as_generator(5)), model.settings
    sigma = (s.log_sigma_mean + s.log_sigma_std * rng.normal(64, 1)).exp()
    denoised = model.denoise(x + sigma * rng.normal(64, 1), sigma, no_condition(64))
    weight = (sigma**2 + model.sigma_data**2) / (sigma * model.sigma_data) ** 2
    assert torch.allclose(loss, (weight * (denoised - x) ** 2)[:, 0], rtol=1e-3, atol=1e-5)


def test_noise_levels():
    """Eq. (5): the ends are exact, the levels fall, the last is zero; rho = 7 in between."""
    s = Diffusion(n_sampling_steps=10, sigma_min=0.01, sigma_max=50.0)
    levels = s.build(TensorSpec(n_features=1))._noise_levels(torch.device("cpu"))
    assert len(levels) == 11
    assert levels[0].item() == pytest.approx(50.0)
    assert levels[-2].item() == pytest.approx(0.01)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    roots = levels[:-1].double() ** (1 / 7)
    assert torch.allclose(roots.diff(), roots.diff()[:1].expand(9), rtol=1e-4)


# ---------------------------------------------------------------- sampler on exact denoisers


class Exact(DiffusionModel):
    """The denoiser of a one-dimensional Gaussian mixture in closed form."""

    means = torch.tensor([-2.0, 1.0, 1.5])
    widths = torch.tensor([0.3, 0.5, 0.1])
    shares = torch.tensor([0.3, 0.5, 0.2])

    def denoise(self, x, sigma, condition):
        variance = self.widths**2 + sigma**2
        logs = self.shares.log() - 0.5 * variance.log() - 0.5 * (x - self.means) ** 2 / variance
        posterior_mean = self.means + self.widths**2 / variance * (x - self.means)
        return (logs.softmax(dim=1) * posterior_mean).sum(dim=1, keepdim=True)

    def cdf(self, x):
        parts = zip(self.shares.tolist(), self.means.tolist(), self.widths.tolist(), strict=True)
        return sum(share * stats.norm(mean, width).cdf(x) for share, mean, width in parts)


def exact(n_steps, kind=Exact, **changes):
    return kind(Diffusion(n_sampling_steps=n_steps, **changes), TensorSpec(n_features=1))


def test_the_sampler_reproduces_a_mixture():
    model = exact(32)
    x = model.sample(20_000, no_condition(20_000), rng=PhiloxRandom(1, torch.arange(20_000)))
    assert stats.kstest(x[:, 0].numpy(), model.cdf).pvalue > 1e-3
    # control: too few steps are noticed by the same test
    coarse = exact(4).sample(
        20_000, no_condition(20_000), rng=PhiloxRandom(1, torch.arange(20_000))
    )
    assert stats.kstest(coarse[:, 0].numpy(), model.cdf).pvalue < 1e-6


class Single(Exact):
    means, widths, shares = torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([1.0])


def test_the_error_of_the_sampler_falls_with_the_second_order():
    """For one Gaussian the flow is known: x(0) = x(T) / sqrt(1 + T^2)."""

    def error(n_steps):
        model = exact(n_steps, Single, sigma_max=20.0, sigma_min=0.05)
        rng = PhiloxRandom(3, torch.arange(500))
        start = PhiloxRandom(3, torch.arange(500)).normal(500, 1) * 20.0
        found = model.sample(500, no_condition(500), rng=rng)
        # the last step, from sigma_min to 0, is Euler's in any case: count its part in
        last = 1 / math.sqrt(1 + 0.05**2)
        return ((found / last - start / math.sqrt(1 + 20.0**2)).abs().mean()).item()

    errors = [error(n) for n in (8, 16, 32)]
    orders = np.diff(-np.log2(errors))
    assert orders == pytest.approx([2, 2], abs=0.5)


def test_event_i_does_not_hang_on_the_others():
    model = exact(8)
    whole = model.sample(100, no_condition(100), rng=PhiloxRandom(1, torch.arange(100)))
    part = model.sample(30, no_condition(30), rng=PhiloxRandom(1, torch.arange(50, 80)))
    assert torch.allclose(whole[50:80], part, atol=1e-5)


def test_binary_features_are_exactly_plus_or_minus_1():
    spec = TensorSpec(n_features=3, binary=(True, False, True))
    model = Diffusion(n_hidden=8, n_blocks=1, n_sampling_steps=4).build(spec)
    model.sigma_data.fill_(1.0)
    x = model.sample(200, no_condition(200), rng=PhiloxRandom(0, torch.arange(200)))
    assert set(x[:, [0, 2]].unique().tolist()) == {-1.0, 1.0}
    assert len(x[:, 1].unique()) > 100


# ---------------------------------------------------------------- learning


def trained(x, condition=None, steps=600):
    n_conditions = 0 if condition is None else condition.shape[1]
    spec = TensorSpec(n_features=x.shape[1], n_conditions=n_conditions)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = Diffusion(n_hidden=64, n_blocks=2).build(spec)
    train(model, x, condition, config=TrainingConfig(steps=steps, validation_fraction=0), rng=0)
    return model


def test_the_trained_denoiser_is_the_posterior_mean():
    """For a Gaussian: E[x | y] = m + C (C + sigma^2)^-1 (y - m)."""
    mean = torch.tensor([0.5, -0.2])
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.8]])
    model = trained(gaussian(20_000, mean.tolist(), covariance.tolist()))
    for sigma in (0.1, 0.5, 2.0):
        noisy = gaussian(2000, mean.tolist(), (covariance + sigma**2 * torch.eye(2)).tolist(), 7)
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(2))
        exact_mean = mean + (noisy - mean) @ gain.T
        found = model.denoise(noisy, torch.full((2000, 1), sigma), no_condition(2000))
        error = (found - exact_mean).square().mean().sqrt().item()
        # the learned correction is of order min(sigma, 1); an untrained net is off by about 0.3
        assert error < 0.08 * min(sigma, 1.0)
    new = model.sample(5000, no_condition(5000), rng=PhiloxRandom(5, torch.arange(5000)))
    assert new.mean(dim=0).tolist() == pytest.approx(mean.tolist(), abs=0.08)
    assert new.T.cov().flatten().tolist() == pytest.approx(covariance.flatten().tolist(), abs=0.1)


def test_the_condition_is_learned():
    """x given c is normal around 2 c."""
    c = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = 2 * c + 0.5 * gaussian(20_000, [0.0], [[1.0]])
    model = trained(x, c, steps=500)
    for value in (-0.8, 0.0, 0.8):
        given = torch.full((2000, 1), value)
        new = model.sample(2000, given, rng=PhiloxRandom(5, torch.arange(2000)))
        assert new.mean().item() == pytest.approx(2 * value, abs=0.12)
        assert new.std().item() == pytest.approx(0.5, abs=0.1)
