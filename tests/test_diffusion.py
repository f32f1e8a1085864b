"""Diffusion: preconditioning, the learned denoiser and the sampler against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.models.diffusion import EDM, VP, Diffusion, DiffusionModel, Grid, Linear
from physgen.models.diffusion.paths import scalings
from physgen.networks.mlp import Perceptron
from physgen.random import GeneratorRandom, PhiloxRandom, as_generator
from physgen.tensor_spec import Rows, TensorSpec
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
        model.settings = replace(model.settings, path=EDM(log_sigma_mean=mean))
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
    rng, s = GeneratorRandom(as_generator(5)), model.settings.path
    sigma = (s.log_sigma_mean + s.log_sigma_std * rng.normal(64, 1)).exp()
    denoised = model.denoise(x + sigma * rng.normal(64, 1), sigma, no_condition(64))
    weight = (sigma**2 + model.sigma_data**2) / (sigma * model.sigma_data) ** 2
    assert torch.allclose(loss, (weight * (denoised - x) ** 2)[:, 0], rtol=1e-3, atol=1e-5)


def test_noise_levels():
    """Eq. (5): the ends are exact, the levels fall, the last is zero; rho = 7 in between."""
    levels = EDM(sigma_min=0.01, sigma_max=50.0).levels(10)
    assert len(levels) == 11
    assert levels[0].item() == pytest.approx(50.0)
    assert levels[-2].item() == pytest.approx(0.01)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    roots = levels[:-1] ** (1 / 7)
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
    settings = Diffusion(n_sampling_steps=n_steps, n_hidden=8, **changes)
    model = kind(settings, TensorSpec(n_features=1), Perceptron(n_hidden=8))
    model.sigma_data.fill_(1.0)
    return model


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
        model = exact(n_steps, Single, path=EDM(sigma_max=20.0, sigma_min=0.05))
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


def trained(x, condition=None, steps=600, settings=None, spec=None, config=None):
    n_conditions = 0 if condition is None else condition.shape[1]
    spec = spec or TensorSpec(n_features=x.shape[1], n_conditions=n_conditions)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = (settings or Diffusion(n_hidden=64, n_blocks=2)).build(spec)
    config = config or TrainingConfig(steps=steps, validation_fraction=0)
    train(model, x, condition, config=config, rng=0)
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


# ---------------------------------------------------------------- paths

PATHS = [EDM(), Linear(), Linear(times="uniform"), Linear(times="power"), VP()]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_levels_fall_to_zero_and_draws_are_levels(path):
    levels = path.levels(7)
    assert len(levels) == 8
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    assert levels[0] == pytest.approx(path.sigma_max)
    drawn = path.draw(20_000, GeneratorRandom(as_generator(0)))
    assert drawn.shape == (20_000, 1)
    assert drawn.min() > 0
    assert (drawn > levels[-2]).float().mean() > 0.2


def test_times_of_the_linear_path():
    rng = GeneratorRandom(as_generator(0))
    n = 20_000

    def kept(path):
        return (1 / (1 + path.draw(n, rng)[:, 0])).double().numpy()

    assert stats.kstest(kept(Linear(times="uniform")), "uniform").pvalue > 1e-3
    assert stats.kstest(kept(Linear(times="power", exponent=2.0)), lambda t: t**3).pvalue > 1e-3
    odds = np.log(1 / kept(Linear(mean=0.3, std=0.8)) - 1)
    assert stats.kstest(odds, stats.norm(0.3, 0.8).cdf).pvalue > 1e-3
    # the control: another power is seen
    assert stats.kstest(kept(Linear(times="power")), "uniform").pvalue < 1e-6


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("predict", ["velocity", "event", "noise"])
def test_the_target_stands_for_the_event(path, predict):
    """With F at its target D is the event, whatever is predicted."""
    sigma = torch.tensor([[0.01], [0.5], [3.0], [30.0]], dtype=torch.float64)
    x, noise = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    y = x + sigma * noise
    _, c_skip, c_out = scalings(path, predict, sigma, torch.tensor(0.9))
    target = ((1 - c_skip) * x - c_skip * sigma * noise) / c_out
    assert torch.allclose(c_skip * y + c_out * target, x)
    wanted = {
        "event": x,
        "noise": noise,
        "velocity": {
            Linear: noise - x,
            VP: (noise - sigma * x) / (1 + sigma**2).sqrt(),
            EDM: (x * sigma / 0.9 - 0.9 * noise) / (sigma**2 + 0.81).sqrt(),
        }[type(path)],
    }[predict]
    assert torch.allclose(target, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "path",
    [EDM(sigma_max=10.0, sigma_min=0.02), Linear(mean=0.0, sigma_max=10.0), VP(sigma_max=10.0)],
    ids=lambda path: type(path).__name__,
)
@pytest.mark.parametrize(
    "predict",
    [
        "velocity",
        pytest.param("event", marks=pytest.mark.slow),
        pytest.param("noise", marks=pytest.mark.slow),
    ],
)
def test_every_path_learns_a_gaussian(path, predict):
    x = gaussian(8000, [0.5, -0.5], [[1.0, 0.7], [0.7, 0.9]])
    settings = Diffusion(n_hidden=48, n_blocks=2, path=path, predict=predict)
    model = trained(x, settings=settings, steps=400)
    new = model.sample(4000, no_condition(4000), rng=PhiloxRandom(5, torch.arange(4000)))
    assert new.mean(dim=0).tolist() == pytest.approx([0.5, -0.5], abs=0.15)
    assert new.T.cov().flatten().tolist() == pytest.approx([1.0, 0.7, 0.7, 0.9], abs=0.2)


def test_optimal_coupling_straightens_the_paths():
    """One Euler step from the largest noise level tells how straight they are."""
    x = torch.where(torch.rand(8000, 1, generator=torch.Generator().manual_seed(3)) < 0.5, -1, 1)
    x = x + 0.1 * gaussian(8000, [0.0], [[1.0]])
    middle = {}
    config = TrainingConfig(steps=300, batch_size=128, validation_fraction=0)
    for coupling in ("independent", "optimal"):
        settings = Diffusion(
            n_hidden=48, path=Linear(times="uniform"), coupling=coupling, n_sampling_steps=2
        )
        model = trained(x, settings=settings, config=config)
        rng = PhiloxRandom(5, torch.arange(2000))
        new = model.sample(2000, no_condition(2000), rng=rng, sampler="euler")
        middle[coupling] = (new.abs() < 0.7).float().mean().item()
    assert middle["optimal"] < 0.5 * middle["independent"]
    with pytest.raises(ValueError, match="mix up conditions"):
        Diffusion(coupling="optimal").build(TensorSpec(n_features=2, n_conditions=1))


# ---------------------------------------------------------------- samplers


@pytest.mark.parametrize(
    ("sampler", "path", "n_steps"),
    [
        ("dpm", EDM(), 32),
        ("dpm", VP(), 60),
        ("heun", Linear(), 60),
        ("ancestral", EDM(), 200),
        ("euler", EDM(), 400),
    ],
)
def test_every_sampler_reproduces_a_mixture(sampler, path, n_steps):
    model = exact(n_steps, path=path, sampler=sampler)
    x = model.sample(5000, no_condition(5000), rng=PhiloxRandom(1, torch.arange(5000)))
    assert stats.kstest(x[:, 0].numpy(), model.cdf).pvalue > 1e-3
    coarse = model.sample(
        5000, no_condition(5000), rng=PhiloxRandom(1, torch.arange(5000)), n_steps=3
    )
    assert stats.kstest(coarse[:, 0].numpy(), model.cdf).pvalue < 1e-6


def test_orders_of_the_samplers():
    """For one Gaussian the flow is known; noise-free samplers converge with their order."""

    def error(sampler, n_steps):
        model = exact(n_steps, Single, path=EDM(sigma_max=20.0, sigma_min=0.05))
        rng = PhiloxRandom(3, torch.arange(200))
        start = PhiloxRandom(3, torch.arange(200)).normal(200, 1) * 20.0
        found = model.sample(200, no_condition(200), rng=rng, sampler=sampler)
        last = 1 / math.sqrt(1 + 0.05**2)
        return (found / last - start / math.sqrt(401.0)).abs().mean().item()

    for sampler, order in (("euler", 1), ("dpm", 2)):
        errors = [error(sampler, n) for n in (16, 32, 64)]
        assert np.diff(-np.log2(errors)) == pytest.approx([order] * 2, abs=0.6), sampler


def test_sampling_refuses_what_it_cannot_do():
    model = exact(4)
    for changes, words in (
        ({"sampler": "rk45"}, "sampler is one of heun"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"guidance": 2.0}, "drop_condition"),
    ):
        with pytest.raises(ValueError, match=words):
            model.sample(2, no_condition(2), rng=PhiloxRandom(0, torch.arange(2)), **changes)
    for settings in ({"sampler": "x"}, {"predict": "x"}, {"coupling": "x"}, {"drop_condition": 1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Diffusion(**settings)
    with pytest.raises(ValueError, match="ancestral sampler takes them to be; use sampler='heun'"):
        Diffusion(coupling="optimal", sampler="ancestral")
    with pytest.raises(ValueError, match=r"times is .*, got 'cosine'"):
        Linear(times="cosine")
    with pytest.raises(ValueError, match="exponent must be above -1, got -1"):
        Linear(exponent=-1)
    with pytest.raises(ValueError, match="sigmas"):
        Grid(sigmas=(1.0, 2.0))
    with pytest.raises(ValueError, match="2 steps and knows no other"):
        Grid(sigmas=(2.0, 1.0)).levels(3)


# ---------------------------------------------------------------- guidance, density, rows


def test_guidance_of_one_is_the_law_and_more_narrows_it():
    """x given c = -1, 1 is normal around c; without c it is the mixture of both."""
    c = torch.where(
        torch.rand(8000, 1, generator=torch.Generator().manual_seed(3)) < 0.5, -1.0, 1.0
    )
    x = c + 0.8 * gaussian(8000, [0.0], [[1.0]])
    model = trained(x, c, settings=Diffusion(n_hidden=48, drop_condition=0.2), steps=900)
    given = torch.ones(3000, 1)
    found = {}
    for guidance in (1.0, 3.0):
        rng = PhiloxRandom(5, torch.arange(3000))
        found[guidance] = model.sample(3000, given, rng=rng, guidance=guidance)
    assert found[1.0].mean().item() == pytest.approx(1.0, abs=0.15)
    assert found[1.0].std().item() == pytest.approx(0.8, abs=0.1)
    assert found[3.0].std() < 0.9 * found[1.0].std()
    assert found[3.0].mean() > found[1.0].mean() + 0.1


def test_log_prob_of_a_mixture():
    model = exact(24)
    x = torch.linspace(-3.5, 3.0, 60)[:, None]
    found, error = model.log_density(x, no_condition(60), n_steps=256)
    assert (error == 0).all()
    grid = zip(model.shares.tolist(), model.means.tolist(), model.widths.tolist(), strict=True)
    wanted = np.log(sum(p * stats.norm(m, w).pdf(x.numpy()[:, 0]) for p, m, w in grid))
    assert found.numpy() == pytest.approx(wanted, abs=0.05)
    # a density integrates to one
    grid = torch.linspace(-8, 8, 1601)[:, None]
    density = model.log_prob(grid, no_condition(1601)).exp()
    assert density.sum().item() * 0.01 == pytest.approx(1, abs=0.005)


def test_random_probes_agree_with_the_exact_trace():
    x = gaussian(8000, [0.0, 0.0, 0.0], [[1.0, 0.7, 0], [0.7, 0.9, 0], [0, 0, 0.3]])
    model = trained(x, steps=300)
    exact_one, nothing = model.log_density(x[:20], no_condition(20), n_probes=0, n_steps=32)
    estimate, error = model.log_density(x[:20], no_condition(20), n_probes=30, n_steps=32)
    assert (nothing == 0).all()
    assert ((estimate - exact_one) / error).abs().max() < 5
    assert ((estimate - exact_one) / error).square().mean().item() == pytest.approx(1, abs=0.7)
    with pytest.raises(ValueError, match="n_probes"):
        model.log_density(x[:2], no_condition(2), n_probes=1)


def test_binary_features_have_no_density():
    model = Diffusion(n_hidden=8).build(TensorSpec(n_features=2, binary=(True, False)))
    with pytest.raises(TypeError, match="real features"):
        model.log_prob(torch.zeros(2, 2), no_condition(2))


def test_rows_that_an_event_has_not_stay_zero():
    spec = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.0, 1.0))
    model = Diffusion(n_hidden=8, n_blocks=1, n_sampling_steps=3).build(spec)
    condition = torch.tensor([[-1.0], [0.0], [2.0]])
    x = torch.ones(3, 6) * spec.mask(condition)
    loss = model.loss(x, condition, player="denoiser", rng=GeneratorRandom(as_generator(0)))
    assert torch.isfinite(loss).all()
    for sampler in ("heun", "ancestral"):
        rng = PhiloxRandom(0, torch.arange(3))
        new = model.sample(3, condition, rng=rng, sampler=sampler)
        assert (new * (1 - spec.mask(condition)) == 0).all()
        assert (new[2] != 0).all()


# ---------------------------------------------------------------- stages


def test_stages_are_made_one_after_the_other():
    """The second stage is the first plus a little noise: the pair keeps its correlation."""
    stages = (TensorSpec(n_features=1), TensorSpec(n_features=1, n_conditions=1))
    spec = TensorSpec(n_features=2, stages=stages)
    z = torch.randn(8000, 2, generator=torch.Generator().manual_seed(0))
    x = torch.stack((z[:, 0], 0.9 * z[:, 0] + 0.44 * z[:, 1]), 1)
    model = trained(x, spec=spec, settings=Diffusion(n_hidden=48, n_blocks=2))
    assert set(model.players()) == {"1: denoiser", "2: denoiser"}
    rng = PhiloxRandom(5, torch.arange(4000))
    new = model.sample(4000, no_condition(4000), rng=rng, n_steps=20)
    assert new.T.corrcoef()[0, 1].item() == pytest.approx(0.9, abs=0.04)
    found = model.log_prob(x[:200], no_condition(200)).mean().item()
    wanted = stats.multivariate_normal(cov=x.T.cov().numpy()).logpdf(x[:200].numpy()).mean()
    assert found == pytest.approx(wanted, abs=0.1)
    with pytest.raises(TypeError, match="does not take 'warmth'"):
        model.sample(2, no_condition(2), rng=rng, warmth=1)
